//! The scan: the same findings, and the same structure, in any cut.

use super::Cuts;
use postern::scan::{
    Findings, PartBegins, PartKind, RuleSpec, Rules, Scanner, Score, Surface, Tags, Watch,
};
use std::sync::{Arc, LazyLock};

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

/// A rule for each surface. The literals are short, so that a fuzzer meets them.
fn rules() -> Arc<Rules> {
    let surfaces = [Surface::Raw, Surface::Header, Surface::Subject, Surface::Text, Surface::Part];
    let rules = surfaces.map(|surface| RuleSpec {
        name: surface.name().to_owned(),
        literals: [&b"ab"[..], b"hit", b"\r\n-", b"=3d", b"\0"].map(<[u8]>::to_vec).to_vec(),
        surfaces: vec![surface],
        fields: Vec::new(),
        tag: surface.name().to_owned(),
        score: Score(1),
        observe: false,
    });
    Arc::new(Rules::compile(Tags::new(), &rules).expect("the target's own rules"))
}
