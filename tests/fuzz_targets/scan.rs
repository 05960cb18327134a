//! The scan: the same findings, and the same structure, in any cut.

use super::Cuts;
use postern::scan::{
    Condition, Findings, PartBegins, PartKind, RuleSpec, Rules, Scanner, Score, Surface, Tags,
    Watch,
};
use std::sync::{Arc, LazyLock};

/// Little, so that a fuzzer meets the limit.
const UNPACKED_OCTETS: u64 = 64 << 10;

/// The octets are the content of a message.
pub fn check(octets: &[u8], cuts: Cuts) {
    let (findings, outline) = cuts.agree(octets, scan);
    assert!(findings.hits().iter().all(|hit| hit.offset < octets.len() as u64));
    assert!(outline.decoded.len() <= octets.len(), "decoding makes nothing longer");
}

/// What the watch is told.
#[derive(Debug, Default, PartialEq)]
struct Outline {
    parts: Vec<(u32, usize, PartKind, u64)>,
    ended: Vec<u32>,
    fields: Vec<(u32, Vec<u8>, Option<Vec<u8>>)>,
    /// Decoded octets of all leaves, in document order.
    decoded: Vec<u8>,
}

impl Watch for Outline {
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        self.parts.push((part.part, part.depth, part.kind, part.offset));
    }

    fn decoded(&mut self, _: u32, octets: &[u8]) {
        self.decoded.extend_from_slice(octets);
    }

    fn part_ends(&mut self, part: u32) {
        self.ended.push(part);
    }

    fn header_field(&mut self, part: u32, name: &[u8], value: Option<&[u8]>) {
        self.fields.push((part, name.to_vec(), value.map(<[u8]>::to_vec)));
    }
}

fn scan(pieces: &[&[u8]]) -> (Findings, Outline) {
    static RULES: LazyLock<Arc<Rules>> = LazyLock::new(rules);
    let mut scanner = Scanner::watched(Arc::clone(&RULES), Outline::default());
    pieces.iter().for_each(|piece| scanner.feed(piece));
    (scanner.finish(), scanner.into_watch())
}

/// A rule for each surface, whose literals and expressions are short, so that a fuzzer meets them;
/// and one that hits when two of them did.
fn rules() -> Arc<Rules> {
    let literals = [&b"ab"[..], b"hit", b"\r\n-", b"=3d", b"\0"].map(<[u8]>::to_vec);
    let regexes = ["(?i)hit.{0,3}a+b", "[a-c]{2}$"].map(str::to_owned);
    let looks = Surface::ALL.map(|surface| RuleSpec {
        name: surface.name().to_owned(),
        literals: literals.to_vec(),
        // Expressions do not see raw octets.
        regexes: if surface == Surface::Raw { Vec::new() } else { regexes.to_vec() },
        domains: vec![b"a.b".to_vec()],
        networks: vec!["1.0.0.0/8".parse().expect("a network")],
        digests: vec![[0; 32]],
        sha1: vec![[0; 20]],
        md5: vec![[0; 16]],
        blake3: vec![[0; 32]],
        surfaces: vec![surface],
        fields: vec![b"x".to_vec()],
        tag: surface.name().to_owned(),
        score: Score(1),
        ..RuleSpec::default()
    });
    let tags = Surface::ALL.map(|surface| surface.name().to_owned());
    let two = RuleSpec {
        name: "two".to_owned(),
        when: Condition { any: tags.to_vec(), count: 2, ..Condition::default() },
        tag: "two".to_owned(),
        ..RuleSpec::default()
    };
    let specs = [looks.to_vec(), vec![two]].concat();
    let rules = Rules::compile(Tags::new(), &specs).expect("the target's own rules");
    Arc::new(rules.unpacking(UNPACKED_OCTETS))
}
