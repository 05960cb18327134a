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
    // What begins with a dash is meant for the harness of other tests.
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let outcome = dialogues_runner::run::run_folder(&folder, &filters);
    for failure in &outcome.failed {
        println!("{failure}\n");
    }
    for (name, reason) in &outcome.skipped {
        println!("skipped {name}: {reason}");
    }
    let (passed, failed, skipped) = (outcome.passed, outcome.failed.len(), outcome.skipped.len());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
