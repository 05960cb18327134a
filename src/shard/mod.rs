//! One core and all its sockets: the room where the sans-IO parts meet the kernel.
//!
//! ```text
//! listener ──▶ ring ──▶ Driver::event ──▶ (sessions, deliveries) ──▶ ring
//! other threads ──▶ bell ──▶ Driver::woken
//! ```
//!
//! A shard is a thread with a glommio executor ([`executor`]) and one raw io_uring ring for all
//! sockets ([`ring`]). The ring takes verbs (listen, connect, send, pause, close) and gives
//! [`Event`]s; it knows nothing of mail and names no executor. Octets arrive in [`buffers`] that
//! the kernel fills by itself. Whoever has something for a sleeping shard pulls its [`bell`].
//!
//! Bundled receives (several buffers in one completion) are left out: they measured within the
//! noise, and without them a buffer is lent and given back in one place.

mod accept;
pub mod bell;
pub mod buffers;
pub mod executor;
pub mod listener;
pub mod ring;
mod socket;
mod start;

pub use bell::{Bell, BellRope};
pub use executor::{Driver, Shard, ShardSettings, run_alone, run_shard};
pub use ring::{Address, Close, Counters, Event, Ring, RingSettings};
pub use socket::SocketId;
pub use start::StartError;
