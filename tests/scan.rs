//! The scanner over real, odd and hostile mail: no panic, the same findings in every cut, the part
//! tree that an independent parser sees, and the hits that are hidden in crafted messages.

mod cut_places;

use cut_places::places;
use mail_parser::decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode};
use mail_parser::{Encoding as TheirEncoding, Message, MessageParser, MimeHeaders, PartType};
use postern::scan::{
    Encoding, Findings, PartBegins, PartKind, RuleSpec, Rules, Scanner, Score, Surface, Tags, Watch,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

const SURFACES: [Surface; 13] = Surface::ALL;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The sample and, where it is at hand, the whole corpus it was taken from.
fn corpora() -> Vec<PathBuf> {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if whole.is_dir() {
        return vec![sample(), whole];
    }
    println!("the whole corpus is absent: only the sample in tests/corpus is read");
    vec![sample()]
}

/// The messages of a corpus by their path in it.
fn messages(corpus: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut messages = BTreeMap::new();
    for folder in ["big", "crafted", "edge", "ham", "spam"] {
        let Ok(entries) = std::fs::read_dir(corpus.join(folder)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "eml") {
                let name = path.file_name().unwrap().to_str().unwrap();
                messages.insert(format!("{folder}/{name}"), std::fs::read(&path).unwrap());
            }
        }
    }
    assert!(!messages.is_empty(), "{corpus:?}");
    messages
}

/// Every line end as CRLF, which is how the message would come over SMTP.
fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 32);
    for (index, octet) in message.iter().enumerate() {
        if *octet == b'\n' && (index == 0 || message[index - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    out
}

/// One rule for each surface, each with all literals of the sample.
fn rules() -> Arc<Rules> {
    static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
        let text = std::fs::read(sample().join("patterns/literals-200.txt")).unwrap();
        let literals: Vec<Vec<u8>> =
            text.split(|octet| *octet == b'\n').filter(|l| !l.is_empty()).map(Vec::from).collect();
        let listed = |surface| RuleSpec {
            domains: vec![b"com".to_vec(), b"example.org".to_vec()],
            networks: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..spec(surface, Vec::new())
        };
        let mut specs: Vec<RuleSpec> = SURFACES.map(listed).to_vec();
        specs.extend(SURFACES.map(|surface| spec(surface, literals.clone())));
        Arc::new(Rules::compile(Tags::new(), &specs).unwrap())
    });
    RULES.clone()
}

fn spec(surface: Surface, literals: Vec<Vec<u8>>) -> RuleSpec {
    RuleSpec {
        name: format!("literals in {}", surface.name()),
        literals,
        surfaces: vec![surface],
        fields: vec![b"x-s".to_vec()],
        tag: surface.name().into(),
        score: Score(1000),
        ..RuleSpec::default()
    }
}

// ---- cuts -----------------------------------------------------------------------------------

fn scan<'a>(rules: Arc<Rules>, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Findings, Tree) {
    let mut scanner = Scanner::watched(rules, Tree::default());
    pieces.into_iter().for_each(|piece| scanner.feed(piece));
    let findings = scanner.finish();
    (findings, scanner.into_watch())
}

/// A message in pieces whose lengths are drawn from `lengths`, over and over.
fn pieces<'a>(message: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces, mut turn) = (message, Vec::new(), lengths.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[test]
fn all_mail_gives_the_same_findings_in_any_cut() {
    for corpus in corpora() {
        for (path, message) in messages(&corpus) {
            for message in [message.clone(), with_crlf(&message)] {
                let whole = scan(rules(), [&message[..]]);
                for lengths in [&[1][..], &[1460], &[61, 3, 127, 1, 512, 2]] {
                    let cut = scan(rules(), pieces(&message, lengths));
                    assert!(whole == cut, "{path} in pieces of {lengths:?}");
                }
            }
        }
    }
}

/// Compares cuts in two with the whole; the scanner reads at most so many octets for one message.
fn check_cuts(corpus: &Path, octets_max: usize) {
    for (path, message) in messages(corpus) {
        let whole = scan(rules(), [&message[..]]);
        for at in places(&message, octets_max) {
            let (one, other) = message.split_at(at);
            assert!(whole == scan(rules(), [one, other]), "{path} cut at {at}");
        }
    }
}

#[test]
fn the_sample_gives_the_same_findings_cut_in_two() {
    check_cuts(&sample(), 1 << 20);
}

#[test]
#[ignore = "takes minutes: cargo test --release --test scan -- --ignored"]
fn the_sample_gives_the_same_findings_cut_at_every_place() {
    check_cuts(&sample(), usize::MAX);
}

#[test]
#[ignore = "takes minutes: cargo test --release --test scan -- --ignored"]
fn all_mail_gives_the_same_findings_cut_in_two() {
    corpora().iter().for_each(|corpus| check_cuts(corpus, 64 << 20));
}

static SAMPLE: LazyLock<Vec<(String, Vec<u8>)>> =
    LazyLock::new(|| messages(&sample()).into_iter().collect());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_sample_gives_the_same_findings_in_random_cuts(
        index: prop::sample::Index,
        lengths in prop::collection::vec(1usize..300, 1..40),
    ) {
        let (path, message) = index.get(&SAMPLE);
        let whole = scan(rules(), [&message[..]]);
        prop_assert!(whole == scan(rules(), pieces(message, &lengths)), "{}", path);
    }
}

// ---- the part tree --------------------------------------------------------------------------

/// A part as a line of an outline, and its decoded octets if it is a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    depth: usize,
    media_type: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Multipart,
    Message,
    Leaf(Vec<u8>),
    /// A leaf that the other parser could not decode.
    Undecodable,
}

/// The part tree in document order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tree {
    parts: Vec<Part>,
}

impl Watch for Tree {
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        let media_type = String::from_utf8_lossy(part.media_type.octets()).into_owned();
        let kind = match part.kind {
            PartKind::Leaf => Kind::Leaf(Vec::new()),
            PartKind::Multipart => Kind::Multipart,
            PartKind::Message => Kind::Message,
        };
        assert!(part.kind == PartKind::Leaf || part.encoding == Encoding::Identity);
        self.parts.push(Part { depth: part.depth, media_type, kind });
    }

    fn decoded(&mut self, _: u32, octets: &[u8]) {
        let Some(Part { kind: Kind::Leaf(leaf), .. }) = self.parts.last_mut() else {
            panic!("only leaves have decoded octets");
        };
        leaf.extend_from_slice(octets);
    }
}

/// What `mail-parser` makes of a message. `None` when it sees no message at all.
fn their_tree(message: &[u8]) -> Option<Tree> {
    let parsed = MessageParser::default().parse(message)?;
    let mut tree = Tree::default();
    add_their_part(&mut tree, &parsed, 0, 0, false);
    Some(tree)
}

fn add_their_part(tree: &mut Tree, message: &Message, index: u32, depth: usize, in_digest: bool) {
    let part = &message.parts[index as usize];
    let media_type = match part.content_type() {
        Some(read) => match read.subtype() {
            Some(subtype) => format!("{}/{subtype}", read.ctype()),
            None => read.ctype().to_owned(),
        },
        None if in_digest => "message/rfc822".to_owned(),
        None => "text/plain".to_owned(),
    };
    let media_type = media_type.to_ascii_lowercase();
    let mut push = |kind| tree.parts.push(Part { depth, media_type: media_type.clone(), kind });
    match &part.body {
        PartType::Multipart(children) => {
            push(Kind::Multipart);
            for child in children {
                let digest = media_type == "multipart/digest";
                add_their_part(tree, message, *child, depth + 1, digest);
            }
        }
        PartType::Message(inner) => {
            push(Kind::Message);
            add_their_part(tree, inner, 0, depth + 1, false);
        }
        _ => {
            let (from, to) = (part.offset_body as usize, part.offset_end as usize);
            let wire = message.raw_message.get(from..to).unwrap_or_default();
            let decoded = match part.encoding {
                _ if part.is_encoding_problem => None,
                TheirEncoding::None => Some(wire.to_vec()),
                TheirEncoding::Base64 => base64_decode(wire),
                TheirEncoding::QuotedPrintable => quoted_printable_decode(wire),
            };
            push(decoded.map_or(Kind::Undecodable, Kind::Leaf));
        }
    }
}

/// In what the two trees differ first, if they do.
fn difference(ours: &Tree, theirs: &Tree) -> Option<String> {
    for (index, (our, their)) in ours.parts.iter().zip(&theirs.parts).enumerate() {
        let same = our.depth == their.depth && our.media_type == their.media_type;
        let same_kind = match (&our.kind, &their.kind) {
            (Kind::Leaf(_), Kind::Undecodable) => true,
            (Kind::Leaf(ours), Kind::Leaf(theirs)) => ours == theirs,
            (our, their) => our == their,
        };
        if !(same && same_kind) {
            return Some(format!("part {index}: {} != {}", shown(our), shown(their)));
        }
    }
    let (our, their) = (ours.parts.len(), theirs.parts.len());
    (our != their).then(|| format!("{our} parts, they see {their}"))
}

fn shown(part: &Part) -> String {
    let kind = match &part.kind {
        Kind::Leaf(octets) => {
            let tail = octets[octets.len().saturating_sub(40)..].escape_ascii();
            format!("{} octets ending in \"{tail}\"", octets.len())
        }
        kind => format!("{kind:?}"),
    };
    format!("{} {} {kind}", part.depth, part.media_type)
}

/// The messages that are read differently, with the reason, as `tests/corpus` states it.
fn stated_differences() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(sample().join("differences.tsv")).unwrap();
    let line = |line: &str| {
        let (path, reason) = line.split_once('\t').expect("path TAB reason");
        assert!(!reason.trim().is_empty(), "{path} has no reason");
        (path.to_owned(), reason.to_owned())
    };
    text.lines().map(line).collect()
}

#[test]
fn the_part_tree_is_the_one_that_another_parser_sees() {
    let stated = stated_differences();
    let mut wrong = String::new();
    for corpus in corpora() {
        for (path, message) in messages(&corpus) {
            let forms = [message.clone(), with_crlf(&message)];
            let differences: Vec<String> = forms
                .iter()
                .filter_map(|message| {
                    let (_, ours) = scan(rules(), [&message[..]]);
                    match their_tree(message) {
                        Some(theirs) => difference(&ours, &theirs),
                        None => Some("they see no message".into()),
                    }
                })
                .collect();
            match (differences.first(), stated.get(&path)) {
                (Some(difference), None) => wrong += &format!("{path}\t{difference}\n"),
                (None, Some(_)) => wrong += &format!("{path}\tis listed, but agrees\n"),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "differences.tsv is not exact:\n{wrong}");
}

// ---- hidden hits ----------------------------------------------------------------------------

#[test]
fn hidden_hits_are_found() {
    let messages = messages(&sample());
    let table: &[(&str, &str, &str)] = &[
        ("qp-hit-all-hex", ".fridman", "text part visible"),
        ("qp-hit-split-by-soft-breaks", "for mail marketing it", "text part visible"),
        ("b64-foreign-bytes", "locking", "text part visible"),
        ("b64-inner-padding", "locking", "text part visible"),
        ("b64-lf-only", "locking", "text part visible"),
        ("b64-lone-char-end", "locking", "text part visible"),
        ("b64-no-padding", "locking", "text part visible"),
        ("b64-one-char-lines", "locking", "text part visible"),
        ("b64-text-after-end", "locking", "text part visible"),
        ("b64-twice", "cgfwzxigdghl", "text part visible"),
        ("boundary-after-close", "losing your", "raw text part visible"),
        ("boundary-two-params", "alhashimi", "raw text part visible"),
        ("boundary-two-params", "administration operator help available", "raw text part visible"),
        ("boundary-unclosed", "hark0908", "text part visible"),
        ("boundary-empty", "important to plan", "raw text part visible"),
        ("ct-twice", "homenew", "raw text part visible"),
        ("cte-base64-on-multipart", "profitable", "text part"),
        ("cte-base64-on-rfc822", "pch.cliamdept", "text part"),
        ("cte-twice", "locking", "text part visible"),
        ("html-split-hit", "buyers without any", "text visible"),
        ("text-zero-width", "buyers without any", "text visible"),
        ("text-mixed-case", "buyers without any", "raw text part visible"),
        ("charset-utf16", "acheljude000", "text visible"),
        ("rfc2047-adjacent", "in ameri ca mailin", "header field"),
        ("rfc2047-split-char", "żół", "header field"),
        ("rfc2047-broken", "=?utf-8?x?abc?=", "raw header field"),
        ("rfc2047-broken", "unclosed", "raw header field"),
        ("name-tricks", "ok.txt", "raw header name"),
        ("name-tricks", "cod.exe", "raw header name"),
        ("name-tricks", "b.scr", "raw header name"),
        ("name-tricks", "c\0.txt.exe", "name"),
        ("rfc2231-continuations", "abc.exe", "name"),
        ("rfc2231-continuations", "application/octet-stream", "raw header type"),
        ("scan-hit-across-parts", "viagra", ""),
        ("scan-hit-in-preamble-epilogue", "f7filt7er", "raw"),
        ("scan-hit-in-preamble-epilogue", "<h><ws", "raw"),
    ];
    for (name, word, surfaces) in table {
        let specs = SURFACES.map(|surface| spec(surface, vec![word.as_bytes().to_vec()]));
        let rules = Arc::new(Rules::compile(Tags::new(), &specs).unwrap());
        let (findings, _) = scan(rules.clone(), [&messages[&format!("crafted/{name}.eml")][..]]);
        let own = Tags::new().names().count();
        let found: Vec<&str> = rules.tags().names().skip(own).collect();
        let has = |tag: &&str| rules.tags().find(tag).is_some_and(|id| findings.has(id));
        let found: Vec<&str> = found.into_iter().filter(has).collect();
        assert_eq!(found.join(" "), *surfaces, "{word} in {name}");
    }
}
