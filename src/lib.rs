//! postern: an inbound mail edge gateway.
//!
//! It reads each message once while it arrives, decides for each recipient, hands accepted mail to
//! the next hops *before* it says 250, and sends all replies in one write. It has no queue and
//! makes no bounces.
//!
//! The folders are the way of a message:
//!
//! ```text
//! octets → wire → session → scan → policy → relay → ledger → session → wire → octets
//!          └───────── shard: one core drives all of this, tls stands at its border ─────────┘
//!                   durable: the ledger's threads and files, beside the shards
//!                   control: what is not per core, and looks at all of it
//! ```
//!
//! `wire`, `session`, `scan`, `policy`, `relay` and `ledger` never touch a socket, a file, a clock or a
//! random source: octets, answers and time are arguments. So the same code runs under [`shard`] on real
//! sockets and under [`sim`] in a made-up world, thousands of times faster than life.

pub mod config;
pub mod control;
pub mod durable;
pub mod ledger;
pub mod limits;
pub mod now;
pub mod policy;
pub mod relay;
pub mod scan;
pub mod session;
pub mod shard;
pub mod sim;
pub mod tally;
pub mod tls;
pub mod tools;
pub mod wire;
