//! Messages from other threads to a shard.

use super::bell::BellRope;
use super::driver::Snapshot;
use crate::ledger;
use crate::relay::{Outcome, StoreJob};
use crate::session::{Listener, Tables};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;

/// What another thread has for a shard.
pub(super) enum Letter {
    /// All shards stand: take clients from these listeners, in the order of their settings.
    Listen(Vec<OwnedFd>),
    /// A store has answered.
    Stored(Box<StoreJob>, Vec<Outcome>),
    /// The ledger has answers for sessions: those of a group, so that it rings once.
    Remembered(Vec<(u64, ledger::Answer)>),
    /// Somebody wants to know what the shard has counted.
    Snapshot(Box<dyn FnOnce(Snapshot) + Send>),
    /// Other settings for the listeners, in their order, and other tables.
    Replace(Vec<Arc<Listener>>, Arc<Tables>),
    /// No new connections; end when the open transactions have ended.
    Drain,
}

/// The way to a shard, from any thread.
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    letters: mpsc::Sender<Letter>,
    rope: BellRope,
}

impl Mailbox {
    /// A mailbox beside the bell of `rope`, and the shard's end of it.
    pub fn new(rope: BellRope) -> (Mailbox, mpsc::Receiver<Letter>) {
        let (letters, inbox) = mpsc::channel();
        (Mailbox { letters, rope }, inbox)
    }

    /// Puts a letter down and wakes the shard. False if the shard is no more.
    pub fn post(&self, letter: Letter) -> bool {
        let alive = self.letters.send(letter).is_ok();
        self.rope.ring();
        alive
    }
}
