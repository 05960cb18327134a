//! What the ledger is told of a transaction, and what it answers: RESUME and the ids of transactions
//! (draft-fanf-smtp-rfc1845bis-01), and mail that is sent again without them.
//!
//! A transaction that is recorded carries its record from MAIL on; the verbs of the ledger are asked
//! at the places where their section of the protocol wants them. Between the end mark and the reply
//! the ledger is asked twice, and nothing is said before: the intent is written before the first octet
//! goes to a next hop, the outcome is durable before the first octet of the final reply.
//!
//! `resumed` has what goes on with an earlier transaction, `outcome` what is written of this one.

mod outcome;
mod resumed;

use super::decision::{Decision, Fate};
use super::envelope::Transaction;
use super::final_reply::ReplyForm;
use super::{Answer, Ask, Connection, Effect, Intake, ResumeLevel, Session, State};
use crate::ledger::{
    self, Begun, Content, ContentDigest, CopyState, Form, Holder, Identity, IdentityKey, Key,
    Known, Level, MailRuling, Naming, Outcome, Phase, Recalled, Recognised, Record, Repeated,
    Request, Secret, Sending, Told, Transfer, folded_rcpt, rules,
};
use crate::now::Now;
use crate::policy::{ClassId, RouteId};
use crate::relay::{self, Earlier};
use crate::wire::{ForwardPath, Mail, Rcpt, Reply, Told as PeerTold, replies, resume_id};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// How a session reaches the ledger.
#[derive(Clone, Debug)]
pub struct LedgerLine {
    /// Whose answers go where.
    pub line: u32,
    /// What keys are made with.
    pub secret: Rc<Secret>,
    /// A number that is another one when the rules are others.
    pub rules: Rc<Cell<u64>>,
}

impl LedgerLine {
    /// What next hops can be asked for.
    pub(super) fn named(&self, sendings: &[Sending]) -> Vec<Earlier> {
        let named = |one: &Sending| Earlier {
            naming: self.secret.naming(&one.trace_id),
            octets: one.octets,
        };
        sendings.iter().map(named).collect()
    }
}

/// A transaction that the ledger knows of.
#[derive(Debug)]
pub(super) struct Recording {
    record: Box<Record>,
    /// The RCPT whose reply is not known yet.
    rcpt: Box<[u8]>,
    transaction: ledger::Transaction,
    /// The client has given it an id.
    named: bool,
    level: Level,
    resumed: Option<Resumed>,
    /// Earlier copies were asked for already.
    looked_up: bool,
}

/// What a transaction goes on with.
#[derive(Debug)]
struct Resumed {
    repeated: Repeated,
    kept: Kept,
}

/// How much of the message is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Its outcome is known.
    Stored,
    /// It has come whole, and is being worked at.
    Running,
    /// A part of its content lies in a file.
    Parked,
}

/// A question to the ledger whose answer is waited for.
#[derive(Debug)]
pub(super) enum Question {
    /// RESUME.
    Resume(Key),
    /// MAIL that begins a transaction.
    Open(Box<Transaction>),
    /// MAIL with an id alone: what is known of it?
    Checkpoint(Box<Transaction>),
    /// MAIL with the offset of a parked one.
    Take(Box<Transaction>, Reply),
    /// DATA or the first BDAT of a parked one: its content.
    Load(Box<Intake>, Goes),
    /// May copies be handed on?
    Begin(Box<Decision>),
    /// The outcome is being made durable; then these replies are given.
    Commit(Box<Decision>, Vec<Reply>, Committing),
    /// What came of the transaction that another connection has brought to its end mark?
    Await(ledger::Transaction),
}

/// What is still to be known of a transaction whose record is the ledger's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committing {
    transaction: ledger::Transaction,
    named: bool,
}

/// How a parked transaction goes on when its content is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// The go-ahead of DATA.
    ByData,
    /// A chunk of so many octets.
    ByChunk(crate::wire::Chunk),
}

impl Transaction {
    /// Whether it goes on with one of an earlier connection, whose content is not all wanted.
    pub(super) fn is_resumed(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.is_resumed())
    }
}

impl Question {
    /// Whether the answer is waited for though the client is gone.
    pub fn outlives_client(&self) -> bool {
        matches!(self, Question::Begin(_) | Question::Commit(..))
    }
}

impl Recording {
    /// Whether the work goes on though the client is gone. checkpoint 5: one with an id is resumed;
    /// one without is sent again in any case, and then known again.
    pub fn outlives_client(&self) -> bool {
        self.resumed.is_none()
    }

    /// Content that is to be kept while it comes.
    pub fn keeps_content(&self) -> bool {
        self.level == Level::Partial
    }

    pub fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// Notes a RCPT.
    pub fn rcpt_asked(&mut self, argument: &[u8]) {
        self.rcpt = folded_rcpt(argument);
    }

    /// Notes the reply to it, and the address that it is.
    pub fn rcpt_answered(&mut self, address: &[u8], reply: &Reply) {
        self.record.recipients.push(ledger::Recipient {
            rcpt: std::mem::take(&mut self.rcpt),
            address: address.into(),
            reply: Told::from(reply),
            copy: CopyState::NotSent,
            superseded: false,
        });
    }

    /// Where content goes that is to be kept.
    pub fn transaction(&self) -> ledger::Transaction {
        self.transaction
    }
}

impl Session {
    // ---- who is asked for -------------------------------------------------------------------

    /// Whether RESUME is offered to this client.
    pub(super) fn offers_resume(&self) -> bool {
        let known = self.tls.as_ref().is_some_and(|tls| tls.client_key.is_some())
            || self.listener.trust.resume.contain(self.client.address);
        self.shared.ledger.is_some() && self.listener.resume != ResumeLevel::Off && known
    }

    fn holder(&self, line: &LedgerLine) -> Holder {
        Holder { line: line.line, seat: self.client.seat }
    }

    /// checkpoint 5: the first that exists of an authenticated name, the key of a certificate, the
    /// address; with the listener's name.
    fn identity(&self, line: &LedgerLine) -> IdentityKey {
        let login = self.claimed.as_ref().and_then(|claimed| match &claimed.login {
            PeerTold::Is(login) => Some(login),
            _ => None,
        });
        let key = self.tls.as_ref().and_then(|tls| tls.client_key.as_ref());
        let identity = match (login, key, self.address()) {
            (Some(login), ..) => Identity::Login(login),
            (None, Some(key), _) => Identity::ClientKey(key),
            (None, None, Some(address)) => Identity::Address(address),
            (None, None, None) => Identity::Unknown,
        };
        line.secret.identity(identity, &self.listener.name)
    }

    fn ask_ledger(&mut self, request: Request) {
        self.effects.push_back(Effect::Ask(Ask::Ledger(Box::new(request))));
    }

    /// Asks, and waits for the answer. What was answered so far goes out before.
    fn question(&mut self, request: Request, question: Question, now: Now) {
        self.flush(now);
        self.ask_ledger(request);
        self.state = State::Asking(question);
    }

    /// The connection was told that a newer one has its transaction: at its next octet it ends.
    pub(super) fn superseded(&mut self, transaction: ledger::Transaction) {
        self.superseded = Some(transaction);
    }

    pub(super) fn has_lost_its_transaction(&self) -> bool {
        let Some(lost) = self.superseded else { return false };
        let current = match &self.state {
            State::Mail(transaction) | State::Rcpt(transaction) | State::Resumed(transaction) => {
                transaction.recording.as_ref()
            }
            State::Body(intake) => intake.transaction.recording.as_ref(),
            State::Chunks(message) | State::Chunk { message, .. } => {
                message.intake().transaction.recording.as_ref()
            }
            _ => None,
        };
        current.is_some_and(|recording| recording.transaction == lost)
    }

    // ---- answers ----------------------------------------------------------------------------

    pub(super) fn ledger_answered(&mut self, question: Question, answer: ledger::Answer, now: Now) {
        use ledger::Answer as A;
        self.waiting_since = now.tick;
        self.state = State::Ready;
        match (question, answer) {
            (Question::Resume(key), A::Recalled(recalled)) => {
                let offset = self.resumes.get_or_insert_default().note(key, recalled);
                // checkpoint 4: the same text, whatever is known.
                let text = format!("{offset} octets are held");
                self.reply(&Reply::bare(355, "").with_text(text));
            }
            (Question::Checkpoint(transaction), A::Recalled(recalled)) => {
                self.checkpoint_recalled(*transaction, recalled, now);
            }
            (Question::Open(transaction), A::Opened) => self.mail_accepted(*transaction),
            (Question::Take(transaction, reply), A::Taken(Some(record))) => {
                self.taken(transaction, &record, &reply);
            }
            (Question::Take(..), A::Taken(None)) => {
                self.mail_refused = true;
                self.fault(&replies::RESUME_DIFFERS, now);
            }
            (Question::Load(intake, goes), A::Loaded(octets)) => {
                self.loaded(intake, goes, octets, now);
            }
            (Question::Begin(decision), A::Begun(begun)) => self.begun(decision, begun, now),
            (Question::Commit(decision, replies, committing), A::Committed { recorded }) => {
                self.committed(decision, replies, committing, recorded, now);
            }
            (Question::Await(transaction), A::Outcome(Some(record))) => {
                self.outcome_again(transaction, &record, now);
            }
            (Question::Await(_), A::Outcome(None)) => self.reply(&replies::OUTCOME_UNKNOWN),
            (question, answer) => {
                debug_assert!(false, "{answer:?} is no answer to {question:?}");
                self.state = State::Asking(question);
            }
        }
    }
}

impl Answer {
    /// What is answered in the place of a ledger that is not there.
    pub fn without_ledger(request: &Request) -> Option<Answer> {
        request.unanswered().map(|answer| Answer::Ledger(Box::new(answer)))
    }
}
