//! The gateway in a made-up world: the same sessions and the same relay, with clients, next hops,
//! stores and time that exist only here.
//!
//! [`World`] is the stage: one thread, one virtual clock, every fault drawn from one seed.
//! [`scenario`] fills it with clients that send mail and lose their connections, and with an oracle
//! that knows every message and counts what became of it. [`retries`] fills it with clients that come
//! again until they know, while disks fail and the process dies: nothing lost, nothing twice.

mod disk;
pub mod retries;
pub mod scenario;
mod world;

pub use world::{ClientId, Faults, Loss, Planted, Question, Sink, Stored, World};
