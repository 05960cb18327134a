//! The message comes in: framed, scanned, and kept, all while it arrives.

use super::Session;
use super::envelope::Transaction;
use super::settings::Listener;
use crate::ledger::{self, ContentDigest, Digest};
use crate::limits::{DATA_RATE_WINDOW, TEXT_LINE_OCTETS};
use crate::now::Tick;
use crate::scan::{Findings, LentScanner};
use crate::wire::{
    Body, BodyBuilder, BodyKind, ChunkReader, ContentSink, Framed, Framer, Reply, replies,
};
use std::sync::Arc;

/// A message that is arriving.
#[derive(Debug)]
pub(super) struct Intake {
    pub transaction: Transaction,
    framing: Framing,
    content: Content,
    last_octets_at: Tick,
    window_from: Tick,
    window_octets: u64,
    /// Since when no octets are due, the next chunk not having been announced.
    paused_at: Tick,
}

/// How the content is told from what follows it.
#[derive(Debug)]
enum Framing {
    /// By the end mark.
    Data(Framer),
    /// By the lengths that the commands announce.
    Chunks(ChunkReader),
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
    /// It came by BDAT.
    pub chunked: bool,
    /// Its digest below the client's trace, if the ledger wants it.
    pub digest: Option<ContentDigest>,
    /// What came, or why it must be refused for everybody.
    pub message: Result<(Arc<Body>, Findings), Reply>,
}

impl Transaction {
    /// Whether the client has announced octets that are no lines.
    pub fn is_binary(&self) -> bool {
        self.envelope.body == BodyKind::BinaryMime
    }
}

impl Intake {
    /// A message that comes by DATA.
    pub fn by_data(transaction: Transaction, session: &Session, now: Tick) -> Intake {
        let framing = Framing::Data(Framer::new(session.newlines()));
        let body = BodyBuilder::new(&session.shared.budget);
        Intake::new(transaction, framing, body, &session.listener, now)
    }

    /// A message that comes by BDAT.
    pub fn by_chunks(transaction: Transaction, session: &Session, now: Tick) -> Intake {
        let reader = ChunkReader::new(transaction.is_binary(), session.newlines());
        let body = BodyBuilder::plain(&session.shared.budget);
        Intake::new(transaction, Framing::Chunks(reader), body, &session.listener, now)
    }

    fn new(
        transaction: Transaction,
        framing: Framing,
        body: BodyBuilder,
        listener: &Listener,
        now: Tick,
    ) -> Intake {
        let mut scanner = LentScanner::new(Arc::clone(&transaction.tables.rules));
        scanner.claim(Arc::clone(&listener.own_authserv_ids));
        let recording = transaction.recording.as_deref();
        let keeps = recording.is_some_and(|recording| recording.keeps_content());
        // Binary content has no lines (RFC 3030 3).
        let measured = listener.long_lines_refused && !transaction.is_binary();
        let digest = recording.map(|_| Digest::new());
        Intake {
            transaction,
            framing,
            content: Content {
                octets: 0,
                octets_max: listener.size_octets_max,
                line_begins: true,
                line_octets: measured.then_some(0),
                digest,
                copy: keeps.then(Vec::new),
                kept: Ok(Kept { scanner, body }),
            },
            last_octets_at: now,
            window_from: now,
            window_octets: 0,
            paused_at: now,
        }
    }

    /// Takes octets up to the end mark, if it is among them; `input` is advanced behind them.
    pub fn take(&mut self, input: &mut &[u8], now: Tick) -> Taken {
        let Framing::Data(framer) = &mut self.framing else { return Taken::Ended };
        let framed = framer.feed(input, &mut self.content);
        let taken = match framed {
            Framed::More => input.len(),
            Framed::Ended(octets) => octets,
        };
        *input = &input[taken..];
        self.came(taken, now);
        match framed {
            _ if self.content.is_far_too_big() => Taken::FarTooBig,
            Framed::More => Taken::More,
            Framed::Ended(_) => Taken::Ended,
        }
    }

    /// The octets of a chunk begin to be waited for. The window of the data rate goes on where the
    /// chunk before has left it: many small chunks are no way around it.
    pub fn begin_chunk(&mut self, now: Tick) {
        self.last_octets_at = now;
        self.window_from = self.window_from + (now - self.paused_at);
    }

    /// The octets of a chunk have all come.
    pub fn end_chunk(&mut self, now: Tick) {
        self.paused_at = now;
    }

    /// Takes octets of a chunk.
    pub fn take_chunk(&mut self, octets: &[u8], now: Tick) {
        if let Framing::Chunks(reader) = &mut self.framing {
            reader.feed(octets, &mut self.content);
        }
        self.came(octets.len(), now);
    }

    fn came(&mut self, octets: usize, now: Tick) {
        self.last_octets_at = now;
        self.window_octets += octets as u64;
    }

    /// The message is refused for everybody, whatever else comes of it.
    pub fn refuse(&mut self, reply: Reply) {
        self.content.kept = Err(reply);
    }

    /// Why the message is refused for everybody, if it is.
    pub fn refusal(&self) -> Option<&Reply> {
        self.content.kept.as_ref().err()
    }

    /// When too little will have come.
    pub fn deadline(&self, listener: &Listener) -> Tick {
        let silence = self.last_octets_at + listener.data_timeout;
        match listener.data_rate_octets_per_s {
            0 => silence,
            _ => silence.min(self.window_from + DATA_RATE_WINDOW),
        }
    }

    /// Whether the client still sends, and fast enough; begins a new window if one has ended.
    pub fn keeps_pace(&mut self, now: Tick, listener: &Listener) -> bool {
        if now >= self.last_octets_at + listener.data_timeout {
            return false;
        }
        if now < self.window_from + DATA_RATE_WINDOW {
            return true;
        }
        let least = listener.data_rate_octets_per_s.saturating_mul(DATA_RATE_WINDOW.as_secs());
        let enough = self.window_octets >= least;
        self.window_from = now;
        self.window_octets = 0;
        enough
    }

    /// Takes content that was kept from an earlier connection: whole lines where it comes by DATA.
    pub fn take_kept(&mut self, octets: &[u8]) {
        match &mut self.framing {
            Framing::Chunks(reader) => reader.feed(octets, &mut self.content),
            Framing::Data(_) => {
                for line in octets.split_inclusive(|octet| *octet == b'\n') {
                    let begins = self.content.line_begins;
                    match line.first() {
                        // RFC 5321 4.5.2: a line that begins with a period gets another in front.
                        Some(b'.') if begins => {
                            self.content.content(&[b".", line].concat(), true);
                        }
                        _ => self.content.content(line, false),
                    }
                    self.content.line_begins = line.ends_with(b"\n");
                }
            }
        }
    }

    /// What has come since the last call, if it is to be kept, and for which transaction.
    pub fn kept_copy(&mut self) -> Option<(ledger::Transaction, Vec<u8>)> {
        let octets = self.content.copy.as_mut().map(std::mem::take)?;
        let transaction = self.transaction.recording.as_ref()?.transaction();
        Some((transaction, octets))
    }

    /// Octets of content so far.
    pub fn octets(&self) -> u64 {
        self.content.octets
    }

    /// The end was read.
    pub fn finish(mut self) -> Complete {
        let chunked = match &mut self.framing {
            Framing::Data(_) => false,
            Framing::Chunks(reader) => {
                reader.finish(&mut self.content);
                true
            }
        };
        let Content { octets, kept, digest, .. } = self.content;
        let digest = digest.map(Digest::finish);
        let message = kept.map(|kept| {
            let findings = kept.scanner.finish();
            (kept.body.finish_without(findings.left_out()), findings)
        });
        Complete { transaction: self.transaction, octets, chunked, digest, message }
    }
}

/// Where the framer's content goes. Once the message must be refused, nothing of it is kept, but
/// its octets are counted to its end.
#[derive(Debug)]
struct Content {
    octets: u64,
    octets_max: u64,
    /// In content that was kept, a line begins.
    line_begins: bool,
    /// Octets of the line that is coming, its CR apart, if long lines are refused.
    line_octets: Option<usize>,
    digest: Option<Digest>,
    /// What is to be kept for another connection, since it was last asked for.
    copy: Option<Vec<u8>>,
    kept: Result<Kept, Reply>,
}

#[derive(Debug)]
struct Kept {
    scanner: LentScanner,
    body: BodyBuilder,
}

impl Content {
    fn is_far_too_big(&self) -> bool {
        self.octets_max > 0 && self.octets > self.octets_max.saturating_mul(2)
    }

    /// Whether long lines are refused and one of `content`, with what came of it before, is one.
    fn has_long_line(&mut self, content: &[u8]) -> bool {
        let Some(octets) = &mut self.line_octets else { return false };
        let mut longest = 0;
        for line in content.split_inclusive(|octet| *octet == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            *octets += text.strip_suffix(b"\r").unwrap_or(text).len();
            longest = longest.max(*octets);
            if text.len() < line.len() {
                *octets = 0;
            }
        }
        // RFC 5321 4.5.3.1.6: 1000 octets with the CRLF, a stuffed dot not counted.
        longest > TEXT_LINE_OCTETS
    }
}

impl ContentSink for Content {
    fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
        let content = &wire[usize::from(dot_stuffed)..];
        // RFC 1870 5: stuffed dots and the end mark do not count.
        self.octets += content.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.feed(content);
        }
        if let Some(copy) = &mut self.copy {
            copy.extend_from_slice(content);
        }
        if self.octets_max > 0 && self.octets > self.octets_max && self.kept.is_ok() {
            self.kept = Err(replies::TOO_BIG);
        }
        if self.has_long_line(content) && self.kept.is_ok() {
            self.kept = Err(replies::TEXT_LINE_TOO_LONG);
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
