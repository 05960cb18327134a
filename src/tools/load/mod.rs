//! A load generator: brings messages to a server over many connections, and says how they were
//! answered and how long that took.
//!
//! [`LoadClient`] is sans-IO, as everything that speaks a protocol here; [`run()`] drives one for each
//! connection, from one thread. A load ends: by its number of messages or by its time, whichever is
//! first.
//!
//! With a rate, each message has a moment at which it is due, and its times count from there: a server
//! that falls behind shows in them, even if it keeps the generator from sending.

mod arguments;
mod client;
mod drive;
mod mail;
mod report;

pub use arguments::{ArgumentFault, LoadArguments};
pub use client::{ClientFault, Dialect, LoadClient, Step};
pub use drive::{LoadFault, Target, run};
pub use mail::{LoadMail, MailFault};
pub use report::Report;

use std::num::NonZeroU32;
use std::time::Duration;

/// What is to be brought, and how.
#[derive(Debug)]
pub struct Load {
    /// The server.
    pub target: Target,
    /// What is spoken with it.
    pub dialect: Dialect,
    /// The messages, in turn.
    pub mail: LoadMail,
    /// The reverse-path of all of them.
    pub sender: String,
    /// The recipients of each.
    pub recipients: Vec<String>,
    /// Connections at one time.
    pub connections: NonZeroU32,
    /// Messages of one connection, which is made anew behind them. `None` if it stays.
    pub messages_per_connection: Option<NonZeroU32>,
    /// Messages in all.
    pub messages: u64,
    /// Messages a second that are due in all; without it, each connection brings one after the other.
    pub rate: Option<f64>,
    /// No message is begun after this time.
    pub time: Duration,
    /// How long a reply is waited for.
    pub timeout: Duration,
}
