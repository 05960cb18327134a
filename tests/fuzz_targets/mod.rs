//! What is fuzzed: one function a target. Octets go in, and it panics where a property does not hold.
//!
//! `fuzz/` drives them with libFuzzer; `tests/fuzz.rs` replays the committed corpora, in every cut.

pub mod address;
pub mod archive;
pub mod attachment_names;
pub mod base64;
pub mod bdat;
pub mod command_line;
mod cuts;
pub mod framer;
pub mod header_words;
mod hidden;
pub mod html;
pub mod links;
pub mod mime;
pub mod next_hop;
pub mod proxy;
pub mod quoted_printable;
pub mod replies;
pub mod scan;
pub mod session;
pub mod utf7;

pub use cuts::Cuts;

/// A target: its name, which is that of its corpus and its program, and its function.
pub type Target = (&'static str, fn(&[u8], Cuts));

/// All targets.
pub const TARGETS: [Target; 18] = [
    ("address", address::check),
    ("archive", archive::check),
    ("attachment_names", attachment_names::check),
    ("base64", base64::check),
    ("bdat", bdat::check),
    ("command_line", command_line::check),
    ("framer", framer::check),
    ("header_words", header_words::check),
    ("html", html::check),
    ("links", links::check),
    ("mime", mime::check),
    ("next_hop", next_hop::check),
    ("proxy", proxy::check),
    ("quoted_printable", quoted_printable::check),
    ("replies", replies::check),
    ("scan", scan::check),
    ("session", session::check),
    ("utf7", utf7::check),
];
