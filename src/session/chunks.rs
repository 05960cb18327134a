//! BDAT (RFC 3030): a message in chunks whose lengths are told beforehand.
//!
//! The octets that a BDAT announces are read in any case, whatever is answered: a client may have
//! sent them together with the command, and they must never be taken for commands.

use super::{Blame, Intake, Listener, Session, State};
use crate::ledger::Transfer;
use crate::now::{Now, Tick};
use crate::wire::{Chunk, Kind, Reply, replies};

/// A message that is coming by BDAT.
#[derive(Debug)]
pub(super) struct Chunked {
    intake: Intake,
    /// A chunk failed: those that follow are dropped and get this reply, up to LAST or RSET.
    failed: Option<Reply>,
    /// Octets that its commands have announced.
    announced: u64,
}

/// A chunk that belongs to no message.
#[derive(Debug)]
pub(super) struct Dropping {
    left: u64,
    /// What is said when its octets have passed; LMTP has no reply to a LAST without recipients.
    reply: Option<Reply>,
    blame: Blame,
    /// Where the session goes on.
    then: State,
}

impl Chunked {
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Octets that its commands have announced.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    pub fn keeps_pace(&mut self, now: Tick, listener: &Listener) -> bool {
        self.intake.keeps_pace(now, listener)
    }

    pub fn deadline(&self, listener: &Listener) -> Tick {
        self.intake.deadline(listener)
    }
}

impl Session {
    pub(super) fn bdat(&mut self, argument: &[u8], now: Now) {
        let chunk = match Chunk::read(argument) {
            Ok(chunk) => chunk,
            // How many octets follow is not known, so nothing of what follows can be trusted.
            Err(reply) => return self.end_session(&reply, now),
        };
        if self.is_far_too_big(chunk.octets) {
            return self.end_session(&replies::FAR_TOO_BIG, now);
        }
        if self.lacks_tls() {
            return self.drop_octets(chunk, replies::TLS_FIRST, Blame::Junk, now);
        }
        if !self.offers().extended {
            return self.drop_octets(chunk, replies::BDAT_NEEDS_EHLO, Blame::Error, now);
        }
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Rcpt(mut transaction) => {
                self.content_begins(&mut transaction, Transfer::Bdat);
                let intake = Box::new(Intake::by_chunks(*transaction, self, now.tick));
                self.first_chunk(intake, chunk, now);
            }
            State::Resumed(transaction) => self.bdat_again(transaction, chunk, now),
            State::Chunks(message) => self.chunk(*message, chunk, now),
            State::Mail(transaction) => {
                let blame = Blame::unless(transaction.recipient_refused);
                let reply = self.no_recipients();
                // RFC 5321 4.1.1.4: the transaction has begun to be sent, and can only fail.
                if !chunk.last {
                    let mut intake = Intake::by_chunks(*transaction, self, now.tick);
                    intake.refuse(replies::CHUNK_FAILED);
                    let (failed, announced) = (Some(replies::CHUNK_FAILED), chunk.octets);
                    self.state = State::Chunks(Box::new(Chunked { intake, failed, announced }));
                }
                self.drop_octets(chunk, reply, blame, now);
            }
            state => {
                self.state = state;
                let blame = Blame::unless(self.mail_refused);
                self.drop_octets(chunk, replies::MAIL_FIRST, blame, now);
            }
        }
    }

    /// The first chunk of a message.
    pub(super) fn first_chunk(&mut self, intake: Box<Intake>, chunk: Chunk, now: Now) {
        let announced = intake.octets();
        self.chunk(Chunked { intake: *intake, failed: None, announced }, chunk, now);
    }

    /// A chunk of a message that was begun by DATA.
    pub(super) fn drop_mixed(&mut self, chunk: Chunk, now: Now) {
        self.drop_octets(chunk, replies::RESUME_DIFFERS, Blame::Error, now);
    }

    /// Whether so many octets are not worth being waited for.
    fn is_far_too_big(&self, octets: u64) -> bool {
        let limit = self.listener.size_octets_max;
        limit > 0 && octets > limit.saturating_mul(2)
    }

    /// Begins to take a chunk of a message.
    fn chunk(&mut self, mut message: Chunked, chunk: Chunk, now: Now) {
        message.announced = message.announced.saturating_add(chunk.octets);
        let limit = self.listener.size_octets_max;
        if self.is_far_too_big(message.announced) {
            self.state = State::Chunks(Box::new(message));
            return self.end_session(&replies::FAR_TOO_BIG, now);
        }
        if limit > 0 && message.announced > limit {
            message.intake.refuse(replies::TOO_BIG);
        }
        if let Some(reply) = &message.failed {
            message.intake.refuse(reply.clone());
        }
        message.intake.begin_chunk(now.tick);
        let message = Box::new(message);
        match chunk.octets {
            0 => self.chunk_ended(message, chunk.last, true, now),
            left => self.state = State::Chunk { message, left, last: chunk.last },
        }
    }

    /// Takes octets of the chunk at hand.
    pub(super) fn take_chunk(&mut self, input: &mut &[u8], now: Now) {
        let State::Chunk { message, left, .. } = &mut self.state else { return };
        let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
        let (octets, rest) = input.split_at(length);
        *input = rest;
        *left -= length as u64;
        message.intake.take_chunk(octets, now.tick);
        let (kept, more) = (message.intake.kept_copy(), *left > 0);
        if let Some((transaction, octets)) = kept {
            self.keep_content(transaction, octets);
        }
        if more {
            return;
        }
        if let State::Chunk { message, last, .. } = std::mem::replace(&mut self.state, State::Ready)
        {
            self.chunk_ended(message, last, false, now);
        }
    }

    fn chunk_ended(&mut self, mut message: Box<Chunked>, last: bool, empty: bool, now: Now) {
        self.waiting_since = now.tick;
        message.intake.end_chunk(now.tick);
        if last {
            return self.message_ended(*message, now);
        }
        // RFC 3030 2: a chunk that fails is told at once. What is wrong with the lines is told by
        // the reply to LAST, as a line may go on in the next chunk.
        let of_lines =
            |reply: &Reply| [replies::BARE_NEWLINE, replies::TEXT_LINE_TOO_LONG].contains(reply);
        let refusal = message.intake.refusal().filter(|reply| !of_lines(reply));
        let reply = refusal.cloned();
        message.failed = reply.as_ref().map(|reply| match reply.kind() {
            // What failed only for now must not become a refusal for good with the last chunk.
            Kind::Transient => reply.clone(),
            _ => replies::CHUNK_FAILED,
        });
        self.state = State::Chunks(message);
        match reply {
            Some(reply) => self.reply(&reply),
            None if empty => self.junk(&replies::CHUNK_OK, now),
            None => self.reply(&replies::CHUNK_OK),
        }
    }

    fn message_ended(&mut self, message: Chunked, now: Now) {
        let transaction = &message.intake.transaction;
        let resumed = transaction.is_resumed();
        if resumed || !transaction.envelope.recipients.is_empty() {
            return self.decide(message.intake, now);
        }
        if let Some(reply) = self.reply_for_nobody(true, replies::CHUNK_FAILED) {
            self.reply(&reply);
        }
    }

    /// The reply to a chunk for which nobody was accepted.
    ///
    /// RFC 2033 4.3: BDAT LAST has as many replies as RCPTs were accepted, so here none at all; a
    /// client that counts would be out of step for ever. A chunk that is not the last has one.
    fn reply_for_nobody(&self, last: bool, reply: Reply) -> Option<Reply> {
        (!self.is_lmtp() || !last).then_some(reply)
    }

    // ---- chunks that belong to no message ---------------------------------------------------

    /// Drops the octets of a chunk; then `reply` is said and the session goes on where it stands.
    fn drop_octets(&mut self, chunk: Chunk, reply: Reply, blame: Blame, now: Now) {
        let reply = self.reply_for_nobody(chunk.last, reply);
        let then = std::mem::replace(&mut self.state, State::Ready);
        let dropping = Dropping { left: chunk.octets, reply, blame, then };
        match chunk.octets {
            0 => self.dropped(dropping, now),
            _ => self.state = State::Dropping(Box::new(dropping)),
        }
    }

    pub(super) fn drop_chunk(&mut self, input: &mut &[u8], now: Now) {
        let State::Dropping(dropping) = &mut self.state else { return };
        let length = usize::try_from(dropping.left).unwrap_or(usize::MAX).min(input.len());
        *input = &input[length..];
        dropping.left -= length as u64;
        self.waiting_since = now.tick;
        if dropping.left > 0 {
            return;
        }
        if let State::Dropping(dropping) = std::mem::replace(&mut self.state, State::Ready) {
            self.dropped(*dropping, now);
        }
    }

    fn dropped(&mut self, dropping: Dropping, now: Now) {
        let Dropping { reply, blame, then, .. } = dropping;
        self.state = then;
        // What has no reply is counted all the same, and the last that may be has one.
        self.counted(blame, reply.as_ref(), now);
    }
}

impl Chunked {
    pub fn check_invariants(&self) {
        let transaction = &self.intake.transaction;
        let nobody = transaction.envelope.recipients.is_empty() && !transaction.is_resumed();
        debug_assert!(!nobody || self.failed.is_some(), "a message for nobody that is kept");
        debug_assert!(self.failed.is_none() || self.intake.refusal().is_some());
    }
}

impl Dropping {
    pub fn check_invariants(&self) {
        debug_assert!(self.left > 0, "octets that were dropped were not looked at");
        let goes_on = matches!(
            self.then,
            State::Ready | State::Mail(_) | State::Rcpt(_) | State::Resumed(_) | State::Chunks(_)
        );
        debug_assert!(goes_on, "dropped octets lead to {:?}", self.then);
    }
}
