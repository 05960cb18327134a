//! What is true of a session at the end of every verb, whatever its peer has sent.
//!
//! These are checked where debug assertions are: in tests, in the simulated world, under fuzzing.

use super::{Ask, Connection, Decision, Effect, Intake, Session, State};
use crate::limits::LINGER_OCTETS;
use crate::session::envelope::Transaction;

impl Session {
    pub(super) fn check_invariants(&self) {
        if cfg!(debug_assertions) {
            self.check_counts();
            self.check_waiting();
            self.check_effects();
            self.check_state();
        }
    }

    /// A limit that is reached ends the session, which takes nothing more of its client then.
    fn check_counts(&self) {
        let listener = &*self.listener;
        debug_assert!(self.transactions <= self.messages, "a transaction without its MAIL");
        debug_assert!(self.messages <= listener.messages_max);
        if matches!(self.state, State::Closing { .. } | State::Closed) {
            return;
        }
        let below = |count: u32, most: u32| count < most.max(1);
        debug_assert!(below(self.errors, listener.errors_max), "{} errors", self.errors);
        debug_assert!(below(self.junk, listener.junk_max), "{} idle commands", self.junk);
    }

    /// Nothing is held back without a reason, and nothing is waited for without an end.
    fn check_waiting(&self) {
        debug_assert!(self.out.is_empty(), "replies that were not handed on");
        debug_assert!(self.pending.is_empty() || self.waits(), "octets that nothing holds back");
        let closed = matches!(self.state, State::Closed);
        debug_assert!(!closed || self.pending.is_empty());
        // What the relay or the ledger was asked has its deadlines there.
        let asked =
            matches!(self.state, State::Verifying(..) | State::Committing(_) | State::Asking(_));
        debug_assert!(closed || asked || self.deadline().is_some(), "a wait without an end");
        let alive = self.connection != Connection::Lost || closed;
        debug_assert!(alive || self.outlives_client(), "nobody is there");
    }

    /// Who has ended, or has begun to seal, sends nothing more in clear.
    fn check_effects(&self) {
        let mut ended = false;
        for effect in &self.effects {
            match effect {
                Effect::Send(octets) => {
                    debug_assert!(!ended, "a send behind the end");
                    debug_assert!(octets.ends_with(b"\r\n"), "half a reply");
                }
                Effect::StartTls(_) => {
                    debug_assert!(!ended && matches!(self.state, State::Handshake | State::Closed));
                    ended = true;
                }
                Effect::ShutdownWrite | Effect::Close | Effect::Abort => ended = true,
                Effect::Ask(_) | Effect::Record(_) => {}
            }
        }
        let asks = self.effects.iter().filter(|effect| match effect {
            // What the ledger is only told has no answer.
            Effect::Ask(Ask::Ledger(request)) => request.wants_answer(),
            Effect::Ask(Ask::Relay(_) | Ask::Verify(_)) => true,
            _ => false,
        });
        let asks = asks.count();
        debug_assert!(asks <= 1, "one question at a time");
    }

    /// Each state's own facts.
    fn check_state(&self) {
        let welcomes =
            matches!(self.state, State::Proxy(_) | State::Handshake | State::Banner { .. });
        let over = matches!(self.state, State::Closing { .. } | State::Closed);
        debug_assert!(self.welcomed || welcomes || over, "commands before the banner");
        match &self.state {
            State::Proxy(_) => debug_assert!(!self.welcomed && self.proxied.is_none()),
            State::Handshake => debug_assert!(self.tls.is_none()),
            State::Banner { .. } => debug_assert!(!self.welcomed),
            State::Ready | State::Closed => {}
            State::Mail(transaction) => {
                self.check_transaction(transaction);
                debug_assert!(transaction.envelope.recipients.is_empty());
            }
            State::Rcpt(transaction) => {
                self.check_transaction(transaction);
                debug_assert!(!transaction.envelope.recipients.is_empty());
            }
            State::Verifying(transaction, recipient) => {
                self.check_transaction(transaction);
                debug_assert!(transaction.envelope.recipients.len() < self.listener.recipients_max);
                debug_assert!(self.shared.board.standing(recipient.route).asks_ahead);
            }
            State::Resumed(transaction) => {
                debug_assert!(transaction.is_resumed() && self.greeting.is_some());
            }
            State::Asking(_) => debug_assert!(self.shared.ledger.is_some()),
            State::Body(intake) => {
                self.check_intake(intake);
                let limit = self.listener.size_octets_max;
                debug_assert!(limit == 0 || intake.octets() <= limit.saturating_mul(2));
                let resumed = intake.transaction.is_resumed();
                debug_assert!(resumed || !intake.transaction.envelope.recipients.is_empty());
                debug_assert!(!intake.transaction.is_binary(), "binary content by DATA");
            }
            State::Chunks(message) => {
                self.check_intake(message.intake());
                message.check_invariants();
            }
            State::Chunk { message, left, .. } => {
                self.check_intake(message.intake());
                message.check_invariants();
                debug_assert!(*left > 0, "a chunk that is complete was not looked at");
                debug_assert!(*left <= message.announced());
            }
            State::Dropping(dropping) => dropping.check_invariants(),
            State::Judging(decision) => {
                self.check_decision(decision);
                decision.check_judging();
            }
            State::Committing(decision) => {
                self.check_decision(decision);
                decision.check_committing();
            }
            State::Closing { dropped, .. } => debug_assert!(*dropped <= LINGER_OCTETS),
        }
    }

    fn check_transaction(&self, transaction: &Transaction) {
        let recipients = &transaction.envelope.recipients;
        debug_assert!(self.greeting.is_some(), "a transaction without a greeting");
        debug_assert!(!self.lacks_tls(), "a transaction in clear where TLS is demanded");
        debug_assert!(!self.mail_refused);
        debug_assert!(recipients.len() <= self.listener.recipients_max);
        debug_assert!(!(transaction.prdr && self.is_lmtp()));
        let known = |class| recipients.iter().any(|recipient| recipient.class == class);
        debug_assert!(transaction.classes.iter().all(|class| known(*class)));
        let mut classes = recipients.iter().map(|recipient| recipient.class);
        debug_assert!(classes.all(|class| transaction.classes.contains(&class)));
    }

    fn check_intake(&self, intake: &Intake) {
        self.check_transaction(&intake.transaction);
        let limit = self.listener.size_octets_max;
        debug_assert!(limit == 0 || intake.octets() <= limit || intake.refusal().is_some());
    }

    fn check_decision(&self, decision: &Decision) {
        debug_assert!(!decision.envelope.recipients.is_empty());
        debug_assert!(!(decision.form.is_block() && self.is_lmtp()));
    }
}
