//! Replays the attacks of `tests/attacks`, each named after its row in the list of attacks, as
//! [`dialogues`](../dialogues.rs) are replayed: in memory in three cuts, and over real sockets.
//!
//! `cargo test --test attacks -- a-13` runs those whose file name holds `a-13`.

// The proofs use parts of the runner that this program does not.
#[allow(dead_code)]
mod dialogues_runner;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    dialogues_runner::run::run_and_tell(&folder)
}
