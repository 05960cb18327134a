//! The committed corpora of the fuzz targets, and inputs that once showed a fault, through the same
//! functions and in every cut.

mod fuzz_targets;
mod lone_session;

use fuzz_targets::{Cuts, TARGETS};
use std::path::{Path, PathBuf};

/// All corpora together, so that nobody commits what a long run has found as it is.
const CORPORA_OCTETS_MAX: u64 = 200 * 1024;

#[test]
fn the_corpora_hold_every_property_in_every_cut() {
    let mut octets = 0;
    for (name, check) in TARGETS {
        let corpus = inputs("corpus", name);
        assert!(corpus.len() >= 20, "the corpus of {name} has {} inputs", corpus.len());
        for path in corpus.into_iter().chain(inputs("regressions", name)) {
            let input = std::fs::read(&path).unwrap();
            octets += input.len() as u64;
            // The test's own message names the input of whatever panics.
            println!("{}", path.display());
            check(&input, Cuts::Every);
        }
    }
    assert!(octets <= CORPORA_OCTETS_MAX, "the corpora have {octets} octets");
}

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target);
    // A target without regressions has no folder of them.
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}
