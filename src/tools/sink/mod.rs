//! A next hop for tests: takes mail by SMTP or LMTP, answers as scripted, and keeps what it got.
//!
//! [`SinkSession`] is sans-IO, as everything that speaks a protocol here: the simulated world drives
//! it in memory, [`serve`] over sockets.

mod script;
mod serve;
mod session;

pub use script::{Script, ScriptFault, Scripted};
pub use serve::{Serving, SinkListener, serve};
pub use session::{SinkEffect, SinkSession};

use std::sync::{Arc, Mutex, PoisonError};

/// The messages that a sink has taken, in the order of its final replies.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    messages: Arc<Mutex<Vec<KeptMessage>>>,
}

/// A message that a sink has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// The line of MAIL, with its parameters.
    pub mail: Vec<u8>,
    /// The addresses for which the final reply was positive.
    pub recipients: Vec<Vec<u8>>,
    /// The content, un-stuffed.
    pub content: Vec<u8>,
}

impl Kept {
    /// Keeps a message.
    pub fn push(&self, message: KeptMessage) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// How many messages are kept.
    pub fn count(&self) -> usize {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A copy of all that is kept.
    pub fn messages(&self) -> Vec<KeptMessage> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
