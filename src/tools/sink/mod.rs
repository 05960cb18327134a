//! A next hop for tests: takes mail by SMTP or LMTP, answers as scripted, and keeps what it got.
//!
//! [`SinkSession`] is sans-IO, as everything that speaks a protocol here: the simulated world drives
//! it in memory, [`serve()`] over sockets.

mod script;
mod serve;
mod session;

pub use script::{Script, ScriptFault, Scripted};
pub use serve::{Serving, SinkListener, serve};
pub use session::{SinkEffect, SinkSession};

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

    /// Takes all that is kept.
    pub fn take(&self) -> Vec<KeptMessage> {
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy of all that is kept.
    pub fn messages(&self) -> Vec<KeptMessage> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells on standard output, for ever, what a sink takes: a line a message. With `folder`, each
/// message becomes a file there, and none is held in memory.
///
/// # Errors
/// A file cannot be written.
pub fn watch(kept: &Kept, folder: Option<&Path>) -> std::io::Result<()> {
    let mut number = 0u64;
    loop {
        for message in kept.take() {
            number += 1;
            let recipients: Vec<String> =
                message.recipients.iter().map(|one| one.escape_ascii().to_string()).collect();
            println!("{number}: {} octets for {}", message.content.len(), recipients.join(", "));
            if let Some(folder) = folder {
                std::fs::write(folder.join(format!("{number}.eml")), &message.content)?;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
