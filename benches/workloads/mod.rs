//! What is measured, as data: `throughput` takes the time of it, `instructions` counts what the
//! processor does for it.

mod commands;
mod framing;
mod policy;
mod replies;
mod scan;
mod sessions;

/// Something to be measured.
pub struct Workload {
    /// The room that does the work.
    pub group: &'static str,
    /// What is given to it.
    pub name: String,
    /// How much work one round is.
    pub size: Size,
    /// Makes all that a round needs: this is not measured.
    pub prepare: Box<dyn Fn() -> Round>,
}

/// One round of the work.
pub type Round = Box<dyn FnMut()>;

/// How much work one round is.
#[derive(Clone, Copy)]
pub enum Size {
    /// Octets that go through.
    Octets(usize),
    /// Things that are looked up, read or written: each costs about the same.
    Items(usize),
}

/// All workloads, in the order of a message's way.
pub fn all() -> Vec<Workload> {
    [
        commands::workloads(),
        framing::workloads(),
        scan::workloads(),
        policy::workloads(),
        replies::workloads(),
        sessions::workloads(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Ten rules of twenty literals each, of which no workload holds one.
const LITERALS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/patterns/literals-200.txt"));

/// A line of text as people write it.
const WORDS: &str =
    "the minutes of the last meeting are attached and the next one is on tuesday\r\n";
