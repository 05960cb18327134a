//! What was answered is remembered first: the record of outcomes.
//!
//! A client that lost the final reply gets the same one again, without a second scan or delivery
//! (RFC 1047 has the trouble, RFC 1845 and its revision of 2007 the cure): by the id that it gave the
//! transaction, or, without ids, by what the message is.
//!
//! ```text
//! session ──▶ Request ──▶ Keeper ──▶ Work ──▶ the store's thread ──▶ done ──▶ Keeper
//!    ▲                      │
//!    └────── Answer ◀───────┘
//! ```
//!
//! [`Record`] is what is remembered, [`Key`] what it is found by, [`Digest`] and [`Fingerprint`] make a
//! key of a message without an id. [`rules`] says what a record means to a client that comes again.
//! The [`Keeper`] knows what is running, what is stored (an index in memory, so that a miss costs no
//! disk), what waits for the disk (one commit in flight, the next batch gathers meanwhile), and what
//! has expired. All of this is sans-IO: the disk is someone else's, answers and time are arguments.

mod digest;
mod encoding;
mod index;
mod keeper;
mod key;
mod record;
mod request;
pub mod rules;
#[cfg(test)]
pub(crate) mod sample;

pub use digest::{ContentDigest, Digest};
pub use encoding::{Unreadable, VERSION};
pub use index::{Entry, Filed, Index, Life, Row, Standing};
pub use keeper::{
    Effect, FileDone, FileJob, Keeper, LedgerCounts, LedgerFigures, Opened, Settings, Work,
};
pub use key::{Fingerprint, Identity, IdentityKey, Key, Naming, Secret};
pub use record::{
    Content, CopyState, Form, Mail, Outcome, Partial, Phase, Recipient, Record, Sending, Told,
    Transfer, folded_rcpt,
};
pub use request::{Answer, Begun, Holder, Level, Recognised, Request, Transaction};
pub use rules::{Known, MailRuling, Recalled, Repeated, Resumes};
