//! Replays the wire dialogues of `tests/dialogues` (or of the folder that `POSTERN_DIALOGUES` names)
//! against the gateway, in memory in three cuts and over real sockets.
//!
//! `cargo test --test dialogues -- pipe-` runs those whose file name holds `pipe-`.

// The proofs use parts of the runner that this program does not.
#[allow(dead_code)]
mod dialogues_runner;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let folder = std::env::var_os("POSTERN_DIALOGUES").map_or_else(own, PathBuf::from);
    dialogues_runner::run::run_and_tell(&folder)
}
