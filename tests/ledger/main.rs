//! Nothing lost, nothing twice: the record of outcomes, cut and killed everywhere.
//!
//! `cuts`: a connection that is lost after each octet of a final reply set, or of a content that is
//! kept in part, in memory; `sockets`: a part of that with a real process. `kills`: the real process, killed between each pair of steps of the order
//! of writes, and at any time; `chain`: the same of a process behind another one. `disks`: real shards over a store that
//! fails. `takeover`: one id on two shards. `table` makes of the same
//! cases the table of `docs/nothing-twice.md`.

#[path = "../dialogues_runner/mod.rs"]
#[allow(dead_code)] // The dialogue runner is used in part.
mod dialogues_runner;

#[path = "../served/mod.rs"]
mod served;

mod chain;
mod cuts;
mod disks;
mod kills;
mod message;
mod on_stage;
mod process;
mod sockets;
mod table;
mod takeover;
