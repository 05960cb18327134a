//! What rules see of octets that were unpacked: literals and expressions of rules that look into parts,
//! digests, and types. Of none of these a place is known but that of the leaf.

use super::beside::{LeafPlace, look_at_type};
use super::digests::PartDigests;
use super::leaf::Sink;
use super::literals::WalkState;
use super::scratch::Search;
use super::sniff::Head;
use super::windows::Expressions;
use super::{Stream, Surface, Watch};

/// How rules have seen what was unpacked so far. It lies beside the window, in memory that is lent.
#[derive(Debug, Default)]
pub(super) struct Looking {
    has_begun: bool,
    walk: WalkState,
    expressions: Expressions,
    digests: PartDigests,
    head: Head,
}

impl Looking {
    /// Something else will be unpacked.
    pub(super) fn clear(&mut self) {
        self.has_begun = false;
    }

    /// The next octets that were unpacked.
    pub(super) fn read<W: Watch>(
        &mut self,
        octets: &[u8],
        place: LeafPlace,
        search: &mut Search,
        sink: &mut Sink<'_, W>,
    ) {
        let rules = sink.rules;
        if !std::mem::replace(&mut self.has_begun, true) {
            self.walk = rules.literals().start();
            self.expressions.begin(rules.express_in_unpacked());
            self.digests.begin(&rules.digests);
            self.head.clear();
        }
        // Unpacked, and taken by each digest.
        sink.findings.charge(octets.len() as u64 * (1 + rules.digests.kinds()));
        self.digests.update(octets);
        if let Some(media_type) = self.head.take(octets) {
            look_at_type(media_type, place, search, sink);
        }
        if rules.ask(Surface::Part) {
            sink.findings.charge(octets.len() as u64);
            self.look(octets, place, search, sink);
        }
    }

    fn look<W: Watch>(
        &mut self,
        octets: &[u8],
        place: LeafPlace,
        search: &mut Search,
        sink: &mut Sink<'_, W>,
    ) {
        let Looking { walk, expressions, .. } = self;
        let Sink { rules, matches, findings, beside, .. } = sink;
        // The work that a message may cost is counted over all that is unpacked of it.
        std::mem::swap(&mut expressions.asked, &mut beside.asked);
        let asks = |rule| rules.asks(rule, Surface::Part);
        rules.look_in_windows(walk, expressions, octets, search, asks, |rule, _| {
            if asks(rule) && matches.first(Stream::Unpacked, rule) {
                findings.note(place.hit(rule, Surface::Part));
            }
        });
        std::mem::swap(&mut expressions.asked, &mut beside.asked);
    }

    /// Nothing more comes.
    pub(super) fn finish<W: Watch>(
        &mut self,
        place: LeafPlace,
        search: &mut Search,
        sink: &mut Sink<'_, W>,
    ) {
        if !self.has_begun {
            return;
        }
        if let Some(media_type) = self.head.finish() {
            look_at_type(media_type, place, search, sink);
        }
        let Looking { expressions, digests, .. } = self;
        let Sink { rules, matches, findings, beside, .. } = sink;
        let mut found = |rule| {
            if matches.first(Stream::Unpacked, rule) {
                findings.note(place.hit(rule, Surface::Part));
            }
        };
        digests.finish(&rules.digests, &mut found);
        std::mem::swap(&mut expressions.asked, &mut beside.asked);
        rules.look_at_end(expressions, |rule| rules.asks(rule, Surface::Part), &mut found);
        std::mem::swap(&mut expressions.asked, &mut beside.asked);
    }
}

#[cfg(test)]
mod tests {
    use crate::scan::{RuleSpec, Rules, Scanner, Surface, Tags};
    use sha2::{Digest, Sha256};
    use std::sync::Arc;

    /// Long enough to be packed in earnest.
    fn inside() -> Vec<u8> {
        [b"MZ ", &b"this program says hello ".repeat(9)[..], b"and 4711"].concat()
    }

    fn rules() -> Rules {
        let spec = |tag: &str, spec: RuleSpec| RuleSpec { tag: tag.into(), ..spec };
        let part = || RuleSpec { surfaces: vec![Surface::Part], ..RuleSpec::default() };
        let specs = [
            spec("word", RuleSpec { literals: vec![b"SAYS HELLO".to_vec()], ..part() }),
            spec("number", RuleSpec { regexes: vec!["and [0-9]{4}$".into()], ..part() }),
            spec(
                "type",
                RuleSpec {
                    literals: vec![b"portable-executable".to_vec()],
                    surfaces: vec![Surface::Type],
                    ..RuleSpec::default()
                },
            ),
            spec("sha256", RuleSpec { digests: vec![Sha256::digest(inside()).into()], ..part() }),
            spec("sha1", RuleSpec { sha1: vec![sha1::Sha1::digest(inside()).into()], ..part() }),
            spec("md5", RuleSpec { md5: vec![md5::Md5::digest(inside()).into()], ..part() }),
            spec(
                "blake3",
                RuleSpec { blake3: vec![*blake3::hash(&inside()).as_bytes()], ..part() },
            ),
            // Those who look into texts do not look into what is packed.
            spec(
                "text",
                RuleSpec {
                    literals: vec![b"says hello".to_vec()],
                    surfaces: vec![Surface::Text, Surface::Raw],
                    ..RuleSpec::default()
                },
            ),
        ];
        Rules::compile(Tags::new(), &specs).unwrap()
    }

    fn message() -> Vec<u8> {
        let packed = miniz_oxide::deflate::compress_to_vec(&inside(), 9);
        let gzip = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", &packed[..], &[0; 8]].concat();
        let head = b"From: a@b\r\nContent-Type: application/gzip\r\n\r\n";
        [&head[..], &gzip].concat()
    }

    fn tags<'a>(rules: &Arc<Rules>, pieces: impl Iterator<Item = &'a [u8]>) -> (String, u64) {
        let mut scanner = Scanner::new(Arc::clone(rules));
        pieces.for_each(|piece| scanner.feed(piece));
        let findings = scanner.finish();
        let names: Vec<&str> = findings.tags().iter().map(|tag| rules.tags().name(tag)).collect();
        (names.join(" "), findings.units())
    }

    #[test]
    fn rules_that_look_into_parts_look_into_what_is_packed() {
        let rules = Arc::new(rules().unpacking(1 << 20));
        let whole = tags(&rules, std::iter::once(&message()[..]));
        assert_eq!(whole.0, "word number type sha256 sha1 md5 blake3");
        for piece in [1, 2, 7, 60] {
            assert_eq!(tags(&rules, message().chunks(piece)), whole, "{piece}");
        }
    }

    #[test]
    fn nothing_is_unpacked_unless_it_is_asked_for() {
        let rules = Arc::new(rules());
        assert_eq!(tags(&rules, std::iter::once(&message()[..])).0, "");
    }
}
