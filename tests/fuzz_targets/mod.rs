//! What is fuzzed: one function a target. Octets go in, and it panics where a property does not hold.
//!
//! `fuzz/` drives them with libFuzzer; `tests/fuzz.rs` replays the committed corpora, in every cut.

pub mod address;
pub mod bdat;
pub mod command_line;
mod cuts;
pub mod framer;
pub mod next_hop;
pub mod proxy;
pub mod replies;
pub mod scan;
pub mod session;

pub use cuts::Cuts;

/// A target: its name, which is that of its corpus and its program, and its function.
pub type Target = (&'static str, fn(&[u8], Cuts));

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("address", address::check),
    ("bdat", bdat::check),
    ("command_line", command_line::check),
    ("framer", framer::check),
    ("next_hop", next_hop::check),
    ("proxy", proxy::check),
    ("replies", replies::check),
    ("scan", scan::check),
    ("session", session::check),
];
