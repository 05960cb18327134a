//! Accepted mail goes on before the client is told: who gets what, over which connection, and what
//! came of it for each recipient.
//!
//! A [`Plan`] groups the recipients of a message by next hop and action. The [`Relay`] of a shard
//! carries plans out: it keeps connections to next hops (`hop`), reuses them, hands bodies on as
//! slices, and merges what the next hops say into one [`Outcome`] a recipient. Routes that end here
//! (Maildirs) become [`StoreJob`]s for a thread that may wait for a disk.
//!
//! Everything is sans-IO: connections are numbers, octets and time are arguments.

mod board;
mod hop;
mod plan;
mod pool;
mod probe;
mod route;
mod store;

pub use board::{Board, HopOffers, Standing};
pub use plan::{Envelope, Group, Origin, Outcome, Plan, Recipient};
pub use pool::{HopId, Relay, RelayEffect, Ticket};
pub use probe::{Probe, Verification};
pub use route::{Address, NextHop, Protocol, Route, Routes};
pub use store::{StoreJob, StoreKey};
