//! Accepted mail goes on before the client is told: who gets what, over which connection, and what
//! came of it for each recipient.
//!
//! A [`Plan`] groups the recipients of a message by next hop and action. The [`Relay`] of a shard
//! carries plans out (`pool`): it keeps `connections` to next hops, talks with each (`hop`), hands
//! bodies on as slices, and merges what the next hops say into one [`Outcome`] a recipient. It knows
//! which addresses can be reached (`health`), tells on its [`Board`] what the routes can do, and asks
//! about recipients before there is a message (`probe`). Routes that end here (Maildirs) become
//! [`StoreJob`]s for a thread that may wait for a disk.
//!
//! Everything is sans-IO: connections are numbers, octets and time are arguments.

mod board;
mod connections;
mod deadlines;
mod health;
mod hop;
mod offers;
mod plan;
mod pool;
mod probe;
mod route;
mod store;
#[cfg(test)]
mod tests;
mod told;
mod work;

pub use board::{Board, HopOffers, Standing};
pub use plan::{Earlier, Envelope, Group, Origin, Outcome, Plan, Recipient};
pub use pool::{HopId, Relay, RelayEffect, Ticket};
pub use probe::{Probe, Verification};
pub use route::{Address, HopTimeouts, HopTls, NextHop, Protocol, Route, Routes, Verify};
pub use store::{StoreJob, StoreKey};
