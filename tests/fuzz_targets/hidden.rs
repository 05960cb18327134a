//! A message that hides a word in ways that octets choose, in which the scan must find it; and one
//! that holds those octets as they are.

use super::Cuts;
use postern::scan::{Findings, RuleSpec, Rules, Scanner, Surface, Tags, Watch};
use std::sync::{Arc, LazyLock};

/// What is hidden.
pub const WORD: &str = "needle";

/// The host that is hidden in links.
pub const HOST: &str = "evil.example";

/// Octets that may be unpacked: little, so that a fuzzer meets the limit.
const UNPACKED_OCTETS: u64 = 64 << 10;

/// Octets as choices, one after another, again and again.
pub struct Choices<'a> {
    octets: std::iter::Cycle<std::iter::Copied<std::slice::Iter<'a, u8>>>,
}

impl<'a> Choices<'a> {
    pub fn new(octets: &'a [u8]) -> Choices<'a> {
        Choices { octets: octets.iter().copied().cycle() }
    }

    /// A number below `below`.
    pub fn below(&mut self, below: u8) -> u8 {
        self.octets.next().unwrap_or_default() % below
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.below(all.len() as u8))]
    }
}

/// Panics unless a message gives the same in every cut. Gives the findings and the decoded octets.
pub fn scan(message: &[u8], cuts: Cuts) -> (Findings, Vec<u8>) {
    static COST: LazyLock<(u64, u64)> = LazyLock::new(|| {
        let cost = RULES.cost();
        (cost.units_at_once, cost.units_an_octet)
    });
    let (findings, decoded) = cuts.agree(message, |pieces| {
        let mut scanner = Scanner::watched(Arc::clone(&RULES), Decoded::default());
        pieces.iter().for_each(|piece| scanner.feed(piece));
        (scanner.finish(), scanner.into_watch())
    });
    let bound = COST.0 + COST.1 * message.len() as u64;
    assert!(findings.units() <= bound, "{} units of {bound}", findings.units());
    (findings, decoded.0)
}

/// Panics unless the word, or the host, is found on a surface.
pub fn is_found(message: &[u8], surface: Surface, cuts: Cuts) {
    let (findings, _) = scan(message, cuts);
    let tag = RULES.tags().find(surface.name());
    let shown = message.escape_ascii();
    assert!(tag.is_some_and(|tag| findings.has(tag)), "not found on {surface:?}: {shown}");
}

/// Decoded octets of all leaves.
#[derive(Debug, Default, PartialEq)]
struct Decoded(Vec<u8>);

impl Watch for Decoded {
    fn decoded(&mut self, _: u32, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }
}

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let looks = Surface::ALL.map(|surface| RuleSpec {
        name: surface.name().to_owned(),
        literals: vec![WORD.as_bytes().to_vec()],
        domains: vec![HOST.as_bytes().to_vec()],
        surfaces: vec![surface],
        fields: vec![b"x".to_vec()],
        tag: surface.name().to_owned(),
        ..RuleSpec::default()
    });
    let rules = Rules::compile(Tags::new(), &looks).expect("the target's own rules");
    Arc::new(rules.unpacking(UNPACKED_OCTETS))
});
