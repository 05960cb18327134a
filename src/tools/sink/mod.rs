//! A next hop for tests: takes mail by SMTP or LMTP, answers as scripted, and keeps what it got.
//!
//! [`SinkSession`] is sans-IO, as everything that speaks a protocol here: the simulated world drives
//! it in memory, [`serve()`] over sockets.

mod final_replies;
mod offers;
mod resume;
mod script;
mod serve;
mod session;

pub use offers::{OfferFault, SinkOffers};
pub use script::{Misdeed, Point, Script, ScriptFault, Scripted};
pub use serve::{Serving, SinkListener, serve};
pub use session::{SinkEffect, SinkSession};

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The messages that a sink has taken, in the order of its final replies, and what it has counted.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    messages: Vec<KeptMessage>,
    seen: Seen,
    /// Transactions that RESUME can be asked for, by their ids.
    finished: BTreeMap<String, resume::Finished>,
}

/// A message that a sink has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptMessage {
    /// The line of MAIL, with its parameters.
    pub mail: Vec<u8>,
    /// The line of XCLIENT that was in force, if there was one.
    pub xclient: Option<Vec<u8>>,
    /// The addresses for which the final reply was positive.
    pub recipients: Vec<Vec<u8>>,
    /// The content, un-stuffed.
    pub content: Vec<u8>,
    /// It came by BDAT.
    pub chunked: bool,
}

/// What a sink has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections.
    pub connections: u64,
    /// Greetings: EHLO, LHLO and HELO, accepted or not.
    pub greetings: u64,
    /// MAIL commands that were accepted.
    pub mails: u64,
    /// RCPT commands, accepted or not.
    pub rcpts: u64,
    /// RESUME commands.
    pub resumes: u64,
    /// Parameters of both, by keyword in upper case; that of BODY with its value.
    pub parameters: BTreeMap<String, u64>,
}

impl Kept {
    /// Keeps a message.
    pub fn push(&self, message: KeptMessage) {
        self.lock().messages.push(message);
    }

    /// How many messages are kept.
    pub fn count(&self) -> usize {
        self.lock().messages.len()
    }

    /// Takes all that is kept.
    pub fn take(&self) -> Vec<KeptMessage> {
        std::mem::take(&mut self.lock().messages)
    }

    /// A copy of all that is kept.
    pub fn messages(&self) -> Vec<KeptMessage> {
        self.lock().messages.clone()
    }

    /// A copy of what was kept behind the first so many.
    pub fn since(&self, count: usize) -> Vec<KeptMessage> {
        self.lock().messages.get(count..).unwrap_or_default().to_vec()
    }

    /// What was counted so far.
    pub fn seen(&self) -> Seen {
        self.lock().seen.clone()
    }

    fn count_seen(&self, count: impl FnOnce(&mut Seen)) {
        count(&mut self.lock().seen);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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
