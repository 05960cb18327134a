//! The message comes in: framed, scanned, and kept, all while it arrives.

use super::commands::Transaction;
use super::settings::Listener;
use crate::limits::{DATA_RATE_DEFAULT, DATA_RATE_WINDOW};
use crate::now::Tick;
use crate::scan::{Findings, Rules, Scanner};
use crate::wire::{Body, BodyBuilder, Budget, ContentSink, Framed, Framer, Reply, replies};
use std::sync::Arc;
use std::time::Duration;

/// A message that is arriving by DATA.
#[derive(Debug)]
pub(super) struct Intake {
    pub transaction: Transaction,
    framer: Framer,
    content: Content,
    last_octets_at: Tick,
    window_from: Tick,
    window_octets: u64,
}

/// How far a read was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// More must come.
    More,
    /// The end mark was read.
    Ended,
    /// Twice the size limit has passed: it is not worth reading on.
    FarTooBig,
}

/// A message that has come whole.
#[derive(Debug)]
pub(super) struct Complete {
    pub transaction: Transaction,
    /// Octets of content.
    pub octets: u64,
    /// What came, or why it must be refused for everybody.
    pub message: Result<(Arc<Body>, Findings), Reply>,
}

impl Intake {
    pub fn new(
        transaction: Transaction,
        listener: &Listener,
        rules: &Arc<Rules>,
        budget: &Budget,
        now: Tick,
    ) -> Intake {
        Intake {
            transaction,
            framer: Framer::new(listener.newlines),
            content: Content {
                octets: 0,
                octets_max: listener.size_octets_max,
                kept: Ok(Kept {
                    scanner: Box::new(Scanner::new(Arc::clone(rules))),
                    body: BodyBuilder::new(budget),
                }),
            },
            last_octets_at: now,
            window_from: now,
            window_octets: 0,
        }
    }

    /// Takes octets up to the end mark, if it is among them; `input` is advanced behind them.
    pub fn take(&mut self, input: &mut &[u8], now: Tick) -> Taken {
        let framed = self.framer.feed(input, &mut self.content);
        let taken = match framed {
            Framed::More => input.len(),
            Framed::Ended(octets) => octets,
        };
        *input = &input[taken..];
        self.last_octets_at = now;
        self.window_octets += taken as u64;
        match framed {
            _ if self.content.is_far_too_big() => Taken::FarTooBig,
            Framed::More => Taken::More,
            Framed::Ended(_) => Taken::Ended,
        }
    }

    /// When too little will have come.
    pub fn deadline(&self, data_timeout: Duration) -> Tick {
        (self.last_octets_at + data_timeout).min(self.window_from + DATA_RATE_WINDOW)
    }

    /// Whether the client still sends, and fast enough; begins a new window if one has ended.
    pub fn keeps_pace(&mut self, now: Tick, data_timeout: Duration) -> bool {
        if now >= self.last_octets_at + data_timeout {
            return false;
        }
        if now < self.window_from + DATA_RATE_WINDOW {
            return true;
        }
        let least = DATA_RATE_DEFAULT * DATA_RATE_WINDOW.as_secs();
        let enough = self.window_octets >= least;
        self.window_from = now;
        self.window_octets = 0;
        enough
    }

    /// Octets of content so far.
    pub fn octets(&self) -> u64 {
        self.content.octets
    }

    /// What has come, after [`Taken::Ended`].
    pub fn finish(self) -> Complete {
        let octets = self.content.octets;
        let message = self.content.kept.map(|mut kept| {
            let findings = kept.scanner.finish();
            (kept.body.finish(), findings)
        });
        Complete { transaction: self.transaction, octets, message }
    }
}

/// Where the framer's content goes. Once the message must be refused, nothing of it is kept, but
/// its octets are counted to its end.
#[derive(Debug)]
struct Content {
    octets: u64,
    octets_max: u64,
    kept: Result<Kept, Reply>,
}

#[derive(Debug)]
struct Kept {
    scanner: Box<Scanner>,
    body: BodyBuilder,
}

impl Content {
    fn is_far_too_big(&self) -> bool {
        self.octets_max > 0 && self.octets > self.octets_max.saturating_mul(2)
    }
}

impl ContentSink for Content {
    fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
        let content = &wire[usize::from(dot_stuffed)..];
        // RFC 1870 5: stuffed dots and the end mark do not count.
        self.octets += content.len() as u64;
        if self.octets_max > 0 && self.octets > self.octets_max && self.kept.is_ok() {
            self.kept = Err(replies::TOO_BIG);
        }
        if let Ok(kept) = &mut self.kept {
            kept.scanner.feed(content);
            if kept.body.push(wire, dot_stuffed).is_err() {
                self.kept = Err(replies::NO_ROOM_NOW);
            }
        }
    }

    fn malformed(&mut self) {
        // The first error is the one that is told.
        if self.kept.is_ok() {
            self.kept = Err(replies::BARE_NEWLINE);
        }
    }
}
