//! The rules and the mail that the benches of the scan have in common: from the sample, and from the
//! corpus beside the project where it is at hand.
#![allow(dead_code)] // Each bench takes what it needs.

use postern::scan::{RuleSpec, Rules, Score, Surface, Tags};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub fn corpora() -> [PathBuf; 2] {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    [here.join("tests/corpus"), here.join("../shared/corpus")]
}

pub fn list(literals: &str) -> Option<Vec<Vec<u8>>> {
    let path = |corpus: PathBuf| corpus.join(format!("patterns/literals-{literals}.txt"));
    let text = corpora().into_iter().find_map(|corpus| std::fs::read(path(corpus)).ok())?;
    let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(Vec::from).collect())
}

/// Expressions in use. Those that are refused, since they run over every octet or are too large, are
/// left out.
pub fn expressions() -> Option<Vec<RuleSpec>> {
    let path = |corpus: PathBuf| corpus.join("patterns/regexes-300.txt");
    let text = corpora().into_iter().find_map(|c| std::fs::read_to_string(path(c)).ok())?;
    let expressions = text.lines().filter_map(|line| line.split('\t').nth(2));
    let spec = |(number, regex): (usize, &str)| RuleSpec {
        regexes: vec![regex.to_owned()],
        surfaces: vec![Surface::Subject, Surface::Visible],
        tag: format!("tag-{}", number % 100),
        ..RuleSpec::default()
    };
    let is_taken = |spec: &RuleSpec| {
        let alone = Rules::compile(Tags::new(), std::slice::from_ref(spec));
        alone.is_ok_and(|rules| rules.tables().ungated.0 == 0)
    };
    Some(expressions.enumerate().map(spec).filter(is_taken).collect())
}

pub fn compiled(specs: &[RuleSpec]) -> Arc<Rules> {
    Arc::new(Rules::compile(Tags::new(), specs).expect("the rules of the corpus compile"))
}

/// Rules of some hundred literals.
pub fn specs(literals: &[Vec<u8>], surfaces: &[Surface]) -> Vec<RuleSpec> {
    let spec = |(index, literals): (usize, &[Vec<u8>])| RuleSpec {
        name: format!("list {index}"),
        literals: literals.to_vec(),
        surfaces: surfaces.to_vec(),
        tag: format!("tag-{}", index % 100),
        score: Score(1000),
        ..RuleSpec::default()
    };
    let size = literals.len().div_ceil(100).max(20);
    literals.chunks(size).enumerate().map(spec).collect()
}

// ---- inputs ---------------------------------------------------------------------------------

pub fn mail() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for folder in ["ham", "spam"] {
        let entries =
            corpora().into_iter().rev().find_map(|c| std::fs::read_dir(c.join(folder)).ok());
        for entry in entries.into_iter().flatten() {
            messages.push(std::fs::read(entry.expect("an entry").path()).expect("a message"));
        }
    }
    messages
}
