//! One core and all its sockets: the room where the sans-IO parts meet the kernel.
//!
//! ```text
//! listener ──▶ ring ──▶ Driver::event ──▶ (sessions, relay) ──▶ ring
//! other threads ──▶ mailbox, bell ──▶ Driver::woken
//! ```
//!
//! A shard is a thread with a glommio executor ([`executor`]) and one raw io_uring ring for all
//! sockets ([`ring`]). The ring takes verbs (listen, connect, send, pause, close) and gives
//! [`Event`]s; it knows nothing of mail and names no executor. Octets arrive in [`buffers`] that
//! the kernel fills by itself. Whoever has something for a sleeping shard puts it into its mailbox
//! and pulls its [`bell`]. [`gateway`] starts the shards of a process; what each of them does with its
//! sockets is `driver`: it binds sessions and the relay to the ring. Mail that ends here is written by
//! the threads of `stores`, as a shard never waits for a disk.
//!
//! Bundled receives (several buffers in one completion) are left out: they measured within the
//! noise, and without them a buffer is lent and given back in one place.

mod accept;
mod acknowledged;
pub mod bell;
pub mod buffers;
mod clients;
mod descriptors;
mod driver;
pub mod executor;
pub mod gateway;
mod hops;
mod ledger;
mod links;
pub mod listener;
mod mailbox;
pub(crate) mod memory;
pub mod ring;
mod socket;
mod start;
mod steer;
mod stores;
mod wheel;

pub use crate::relay::Address;
pub use bell::{Bell, BellRope};
pub use driver::Snapshot;
pub use executor::{Driver, Shard, ShardSettings, run_alone, run_shard};
pub use ring::{Close, Counters, Event, Ring, RingSettings};
pub use socket::SocketId;
pub use start::StartError;
