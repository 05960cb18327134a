//! What sessions ask of the ledger, and what they are answered.
//!
//! The verbs in the order in which a transaction meets them. Those with an answer have exactly one;
//! a connection has at most one of them outstanding. [`Answer::Superseded`] comes unasked.

use super::key::{IdentityKey, Key};
use super::record::{CopyState, Record, Told};
use super::rules::{Known, Recalled};
use std::sync::Arc;

/// A connection, as the ledger knows it: the line that it asks by, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    /// Whose answers go where: a shard.
    pub line: u32,
    /// The connection there. A number is not used again while the process lives.
    pub seat: u64,
}

/// A transaction of a connection. Its numbers grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Transaction {
    /// Whose it is.
    pub holder: Holder,
    /// Which one of the connection.
    pub number: u32,
}

/// How much is kept of a transaction that has not come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nothing: only outcomes are kept.
    #[default]
    Outcome,
    /// The content as far as it has come, for trusted peers.
    Partial,
}

/// What a session asks.
#[derive(Debug)]
pub enum Request {
    /// RESUME, or MAIL with TRANSID alone: what is known of this id? [`Answer::Recalled`]. From now on
    /// an older connection has lost the id, unless its content has come whole.
    Recall {
        /// Who asks.
        holder: Holder,
        /// The id.
        key: Key,
        /// Who the client is.
        identity: IdentityKey,
        /// Whether it asks under TLS.
        tls: bool,
    },
    /// MAIL with TRANSOFF=0: a new transaction; what was held under its id is thrown away.
    /// [`Answer::Opened`], after the end of one that is still being committed.
    Open {
        /// The transaction.
        transaction: Transaction,
        /// Its record, with key, identity, TLS level, form and MAIL.
        record: Box<Record>,
        /// How much of it is kept.
        level: Level,
    },
    /// MAIL with the offset of a parked transaction: it goes on here. [`Answer::Taken`].
    Take {
        /// The transaction, as its new connection numbers it.
        transaction: Transaction,
        /// The id.
        key: Key,
    },
    /// The content that is kept, from an offset on. [`Answer::Loaded`].
    Load {
        /// The transaction.
        transaction: Transaction,
        /// The first octet wanted.
        from: u64,
    },
    /// The message begins to come: the envelope is complete. No answer.
    Content {
        /// The transaction.
        transaction: Transaction,
        /// Its record, with all RCPTs.
        record: Box<Record>,
    },
    /// Content octets, un-stuffed, behind those before. No answer.
    Append {
        /// The transaction.
        transaction: Transaction,
        /// The octets.
        octets: Vec<u8>,
    },
    /// The end mark was read: from now on the transaction cannot be taken. No answer.
    Received {
        /// The transaction.
        transaction: Transaction,
        /// Its record, with all RCPTs and the content's size and digest.
        record: Box<Record>,
    },
    /// The verdicts are known: is something of this message done already, and may copies be handed on?
    /// [`Answer::Begun`], when the intent is durable.
    Begin {
        /// The transaction.
        transaction: Transaction,
        /// Its record; copies that will be handed on are [`CopyState::Sent`].
        record: Box<Record>,
        /// Look for an earlier copy. False after [`Begun::Known`] was answered.
        look_up: bool,
        /// The client's connection is known to be gone.
        gone: bool,
    },
    /// Some next hop has answered, others have not. No answer, and nobody waits for it.
    Progress {
        /// The transaction.
        transaction: Transaction,
        /// Places in the record's list, and where those copies are now.
        copies: Vec<(usize, CopyState)>,
    },
    /// The final reply is decided. [`Answer::Committed`], when it is durable.
    Commit {
        /// The transaction.
        transaction: Transaction,
        /// Its record, with the outcome.
        record: Box<Record>,
        /// The client's connection is known to be gone.
        gone: bool,
    },
    /// The message comes to the end of a transaction that [`Recalled::Running`] was told of: its
    /// outcome. [`Answer::Outcome`], when it is known.
    Await {
        /// Who asks.
        holder: Holder,
        /// The id.
        key: Key,
    },
    /// RSET, a new greeting, or any other end of a transaction before its end mark. No answer.
    Forget {
        /// The transaction.
        transaction: Transaction,
    },
    /// A stored outcome, or one that was waited for, is given as the reply of this transaction.
    /// No answer.
    Repeated {
        /// The transaction that gets it.
        transaction: Transaction,
        /// Whose outcome it is.
        key: Key,
    },
    /// The client has shown that it has the replies of its transactions up to this number: by a
    /// command that was sent after them. No answer.
    Confirm {
        /// The last transaction whose reply it has.
        through: Transaction,
    },
    /// QUIT: it has all replies to transactions with an id, those that RESUME was asked for included.
    /// It says nothing of others, as it may have been sent with their end mark. No answer.
    Quit {
        /// Whose it is.
        holder: Holder,
    },
    /// The connection is gone; what was not confirmed is not. No answer. A transaction past its end
    /// mark goes on.
    Gone {
        /// Whose it was.
        holder: Holder,
    },
}

/// What a session is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::Recall`].
    Recalled(Recalled),
    /// To [`Request::Open`]: go on.
    Opened,
    /// To [`Request::Take`]: the record, or `None` if it is gone, or another's, meanwhile.
    Taken(Option<Arc<Record>>),
    /// To [`Request::Load`]: octets; none at the end. `None` if they are kept no more.
    Loaded(Option<Vec<u8>>),
    /// To [`Request::Begin`].
    Begun(Begun),
    /// To [`Request::Commit`]: whether the record is durable.
    Committed {
        /// If not, [`super::rules::without_record`] says what to tell.
        recorded: bool,
    },
    /// To [`Request::Await`]: the committed record, or `None` if it did not come to its end.
    Outcome(Option<Arc<Record>>),
    /// Unasked: a newer connection has taken the transaction. `421 4.3.2`, and close.
    Superseded(Transaction),
}

/// The answer to [`Request::Begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Hand on. Whether the intent is durable; if not, mail goes on all the same.
    GoOn {
        /// Whether the intent is durable.
        recorded: bool,
    },
    /// This message, or some copies of it, were here before. Nothing was written: ask again with what
    /// is left to be handed on, or commit if nothing is.
    Known(Box<Recognised>),
    /// A newer connection has taken the transaction: hand nothing on.
    Superseded,
}

/// What is known of a message that comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The whole stored reply, if it fits as it is: nothing needs to be handed on or decided.
    pub whole: Option<Vec<Told>>,
    /// For each accepted recipient, in order: `None` is new.
    pub each: Vec<Option<Known>>,
}

impl Request {
    /// Who asks.
    pub fn holder(&self) -> Holder {
        match self {
            Request::Recall { holder, .. }
            | Request::Await { holder, .. }
            | Request::Quit { holder }
            | Request::Gone { holder } => *holder,
            Request::Open { transaction, .. }
            | Request::Take { transaction, .. }
            | Request::Load { transaction, .. }
            | Request::Content { transaction, .. }
            | Request::Append { transaction, .. }
            | Request::Received { transaction, .. }
            | Request::Begin { transaction, .. }
            | Request::Progress { transaction, .. }
            | Request::Commit { transaction, .. }
            | Request::Forget { transaction }
            | Request::Repeated { transaction, .. }
            | Request::Confirm { through: transaction } => transaction.holder,
        }
    }

    /// Whether there is an answer.
    pub fn wants_answer(&self) -> bool {
        self.unanswered().is_some()
    }

    /// What is answered when the ledger cannot be asked at all: mail goes on without a record.
    pub fn unanswered(&self) -> Option<Answer> {
        Some(match self {
            Request::Recall { .. } => Answer::Recalled(Recalled::Nothing),
            Request::Open { .. } => Answer::Opened,
            Request::Take { .. } => Answer::Taken(None),
            Request::Load { .. } => Answer::Loaded(None),
            Request::Begin { .. } => Answer::Begun(Begun::GoOn { recorded: false }),
            Request::Commit { .. } => Answer::Committed { recorded: false },
            Request::Await { .. } => Answer::Outcome(None),
            Request::Content { .. }
            | Request::Append { .. }
            | Request::Received { .. }
            | Request::Progress { .. }
            | Request::Forget { .. }
            | Request::Repeated { .. }
            | Request::Confirm { .. }
            | Request::Quit { .. }
            | Request::Gone { .. } => return None,
        })
    }
}
