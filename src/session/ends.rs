//! How a session ends, and what is broken off by it: with a last reply, without a word, or because the
//! client is gone. What was handed on is brought to its end all the same.

use super::pending::Pending;
use super::{Connection, Effect, Record, Session, State};
use crate::limits::LINGER_TIMEOUT;
use crate::now::Now;
use crate::wire::Reply;

impl Session {
    /// What every verb ends with: replies go out together, and a session whose client is gone ends
    /// as soon as nothing is at work.
    pub(super) fn settle(&mut self, now: Now) {
        self.flush(now);
        let nothing_left = self.pending.is_empty() || matches!(self.state, State::Closing { .. });
        // A half-closed client reads what comes of its last octets. One that is gone does not, but
        // what was handed on already is brought to its end all the same.
        let over = match self.connection {
            Connection::Open => false,
            Connection::HalfClosed => !self.is_at_work() && nothing_left,
            Connection::Lost => !self.outlives_client(),
        };
        if over {
            if !self.lose_message("the connection was lost", now)
                && let Some(what) = self.interrupted()
            {
                self.note_end(what, now);
            }
            self.close(now);
        }
        self.check_invariants();
    }

    /// What is broken off when the client leaves now. A client that only looks in, or that leaves
    /// between two transactions without QUIT, deserves no line of the log.
    fn interrupted(&self) -> Option<&'static str> {
        match &self.state {
            State::Proxy(reader) if reader.has_begun() => Some("lost in a PROXY header"),
            State::Handshake => Some("lost in the TLS handshake"),
            State::Mail(_) | State::Rcpt(_) | State::Resumed(_) | State::Verifying(..) => {
                Some("lost in a transaction")
            }
            State::Dropping(_) => Some("lost in a chunk"),
            _ => None,
        }
    }

    /// Whether the work at hand goes on though the client is gone: something was handed on, or an
    /// outcome is remembered for a client that comes again.
    pub(super) fn outlives_client(&self) -> bool {
        match &self.state {
            State::Committing(_) => true,
            State::Asking(question) => question.outlives_client(),
            State::Judging(decision) => {
                decision.recording.as_ref().is_some_and(|recording| recording.outlives_client())
            }
            _ => false,
        }
    }

    /// Gives the last reply (RFC 5321 3.8: never a close without a word, but where none could be
    /// understood). What the client still sends is dropped for a moment, as a close with
    /// unread input would make the kernel send a reset that can destroy the reply.
    pub(super) fn end_session(&mut self, reply: &Reply, now: Now) {
        if !self.lose_message(reply.text(), now) && !reply.is_positive() {
            self.note_end(reply.text(), now);
        }
        self.reply(reply);
        self.flush(now);
        self.pending = Pending::default();
        self.effects.push_back(Effect::ShutdownWrite);
        self.state = State::Closing { until: now.tick + LINGER_TIMEOUT, dropped: 0 };
    }

    /// Leaves without a word.
    pub(super) fn abandon(&mut self, why: &str, now: Now) {
        self.shared.tally.timeouts.count();
        let goes_on = self.outlives_client();
        self.note_broken(why, now);
        self.lose_connection();
        self.effects.push_back(Effect::Abort);
        if !goes_on {
            self.close(now);
        }
        self.settle(now);
    }

    /// Notes what an end without a word breaks off.
    pub(super) fn note_broken(&mut self, why: &str, now: Now) {
        let ended_before = matches!(self.state, State::Closing { .. } | State::Closed);
        let lost = !self.outlives_client() && self.lose_message(why, now);
        if !lost && !ended_before {
            self.note_end(why, now);
        }
    }

    pub(super) fn lose_connection(&mut self) {
        self.connection = Connection::Lost;
        self.pending = Pending::default();
        self.client.place = None;
        // A retry that comes while the work goes on waits for the end of it.
        if self.is_at_work() {
            self.gone_recorded();
        }
    }

    pub(super) fn close(&mut self, now: Now) {
        if !matches!(self.state, State::Closed) {
            self.flush(now);
            self.pending = Pending::default();
            self.state = State::Closed;
            self.client.place = None;
            self.gone_recorded();
            self.effects.push_back(Effect::Close);
        }
    }

    /// A message whose end will not come any more is dropped, and remembered in the log. False if
    /// there was none.
    pub(super) fn lose_message(&mut self, why: &str, now: Now) -> bool {
        let record = match std::mem::replace(&mut self.state, State::Ready) {
            State::Body(intake) => self.record_of_lost(&intake, why, now),
            State::Chunks(message) | State::Chunk { message, .. } => {
                let record = self.record_of_lost(message.intake(), why, now);
                Record { chunked: true, ..record }
            }
            State::Judging(decision) => self.record_of_dropped(&decision, why, now),
            state => {
                self.state = state;
                return false;
            }
        };
        self.shared.tally.messages_lost.count();
        self.effects.push_back(Effect::Record(Box::new(record)));
        true
    }
}
