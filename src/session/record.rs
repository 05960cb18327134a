//! What is remembered of a transaction when it is over: one record, one line of the log.

use crate::now::Tick;
use crate::relay::Protocol;
use core::net::IpAddr;

/// Everything worth knowing of one transaction.
#[derive(Clone, Debug)]
pub struct Record {
    /// The transaction's id, as in its Received field and in the final reply.
    pub id: String,
    /// The wall clock at its end, in seconds since 1970.
    pub unix_s: i64,
    /// The listener's name.
    pub listener: String,
    /// What the client speaks.
    pub protocol: Protocol,
    /// Where the client is; `None` for a unix socket.
    pub client: Option<IpAddr>,
    /// The name of its greeting, as it came.
    pub helo: Box<[u8]>,
    /// MAIL FROM; empty for the null sender.
    pub reverse_path: Box<[u8]>,
    /// Octets of content.
    pub octets: u64,
    /// How it ended.
    pub end: End,
    /// The tags found, by name.
    pub tags: Vec<String>,
    /// The score, in thousandths.
    pub score: i32,
    /// The fate of each accepted recipient, in RCPT order.
    pub recipients: Vec<RecipientRecord>,
    /// From MAIL to its end, in microseconds.
    pub duration_us: u64,
    /// From the end mark to the reply set, in microseconds.
    pub decision_us: u64,
    /// When the end mark was read.
    pub ended_at: Tick,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The final replies were given.
    Replied,
    /// The connection was lost while the message was coming.
    Lost,
}

/// The fate of one accepted recipient.
#[derive(Clone, Debug)]
pub struct RecipientRecord {
    /// The address, as next hops are given it.
    pub address: Box<[u8]>,
    /// The name of its class.
    pub class: String,
    /// What was done.
    pub fate: &'static str,
    /// The code it was told, alone or with the others.
    pub code: u16,
    /// The line of the configuration that decided, if one did.
    pub line: Option<u32>,
}
