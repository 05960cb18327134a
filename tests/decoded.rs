//! The scanner beside Python's `email`: each leaf of the corpus has the media type, character set,
//! decoded octets and text that `expected/decoded.py` wrote into its table.
//!
//! Where the two differ, `expected/differences.tsv` says so of the leaf and the column, with the
//! reason, and a line of it that is no longer true fails as well.

use encoding_rs::Encoding;
use postern::scan::{PartBegins, PartKind, RuleSpec, Rules, Scanner, Surface, Tags, Watch};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A leaf as the table has it.
#[derive(Debug, PartialEq, Eq)]
struct Leaf {
    media_type: String,
    charset: String,
    octets: usize,
    digest: String,
    /// The digest of the text in UTF-8, if it is one in a set that is known.
    text: Option<String>,
}

// ---- what the scanner reads -------------------------------------------------------------------

/// Gathers the leaves of a message.
#[derive(Debug, Default)]
struct Leaves {
    leaves: Vec<Read>,
}

#[derive(Debug, Default)]
struct Read {
    media_type: String,
    charset: Option<&'static str>,
    octets: Vec<u8>,
    text: Vec<u8>,
}

impl Watch for Leaves {
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        if part.kind == PartKind::Leaf {
            let media_type = String::from_utf8_lossy(part.media_type.octets()).into_owned();
            self.leaves.push(Read { media_type, charset: part.charset, ..Read::default() });
        }
    }

    fn decoded(&mut self, _: u32, octets: &[u8]) {
        self.leaves.last_mut().unwrap().octets.extend_from_slice(octets);
    }

    fn text(&mut self, _: u32, utf8: &[u8]) {
        self.leaves.last_mut().unwrap().text.extend_from_slice(utf8);
    }
}

/// The leaves of a message that comes in pieces of so many octets.
fn our_leaves(rules: &Arc<Rules>, message: &[u8], octets: usize) -> Vec<Leaf> {
    let mut scanner = Scanner::watched(rules.clone(), Leaves::default());
    message.chunks(octets).for_each(|piece| scanner.feed(piece));
    scanner.finish();
    let leaf = |read: Read| Leaf {
        charset: read.charset.unwrap_or("-").to_owned(),
        octets: read.octets.len(),
        digest: digest(&read.octets),
        text: (read.media_type.starts_with("text/") && read.charset != Some("unknown"))
            .then(|| digest(&read.text)),
        media_type: read.media_type,
    };
    scanner.into_watch().leaves.into_iter().map(leaf).collect()
}

/// A rule that has texts converted.
fn rules() -> Arc<Rules> {
    let rule = RuleSpec {
        name: "visible".into(),
        literals: vec![b"viagra".to_vec()],
        surfaces: vec![Surface::Visible],
        tag: "visible".into(),
        ..RuleSpec::default()
    };
    Arc::new(Rules::compile(Tags::new(), &[rule]).unwrap())
}

fn digest(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

// ---- what the table has -----------------------------------------------------------------------

/// The leaves of each message, by its path in the corpus.
fn their_leaves() -> BTreeMap<String, Vec<Leaf>> {
    let table = std::fs::read_to_string(tests().join("expected/decoded.tsv")).unwrap();
    let mut messages: BTreeMap<String, Vec<Leaf>> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [message, places, media_type, charset, octets, digest, text] = columns[..] else {
            panic!("not a line of the table: {line}");
        };
        let leaves = messages.entry(message.to_owned()).or_default();
        let (first, last) = places.split_once('-').unwrap_or((places, places));
        for place in first.parse::<usize>().unwrap()..=last.parse().unwrap() {
            leaves.push(Leaf {
                media_type: media_type.to_owned(),
                charset: name_of_charset(charset),
                octets: octets.parse().unwrap(),
                digest: digest.to_owned(),
                text: (text != "-").then(|| text.to_owned()),
            });
            assert_eq!(leaves.len(), place, "{line}");
        }
    }
    messages
}

/// The name of the set of this label, as [`PartBegins::charset`] has it.
fn name_of_charset(label: &str) -> String {
    match Encoding::for_label(label.as_bytes()) {
        Some(encoding) => encoding.name().to_owned(),
        None if label == "-" => "-".to_owned(),
        None if label == "utf-7" => "UTF-7".to_owned(),
        None => "unknown".to_owned(),
    }
}

// ---- the comparison ---------------------------------------------------------------------------

/// What differs, as in `differences.tsv`: message, leaf and column.
type Difference = (String, String, String);

/// The differences that are known, with the reason of each.
fn stated_differences() -> BTreeMap<Difference, String> {
    let text = std::fs::read_to_string(tests().join("expected/differences.tsv")).unwrap();
    let line = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [message, leaf, column, reason] = columns[..] else {
            panic!("not message, leaf, column and reason: {line}");
        };
        assert!(!reason.trim().is_empty(), "{line} has no reason");
        ((message.to_owned(), leaf.to_owned(), column.to_owned()), reason.to_owned())
    };
    let stated: BTreeMap<Difference, String> = text.lines().map(line).collect();
    assert_eq!(stated.len(), text.lines().count(), "a difference is stated twice");
    stated
}

/// In what a message is read differently: the first column of each leaf, for what follows from it
/// says no more, and the number of the leaves. Both sides are shown.
fn differences(message: &str, ours: &[Leaf], theirs: &[Leaf]) -> BTreeMap<Difference, String> {
    let mut found = BTreeMap::new();
    let mut note = |leaf: String, column: &str, shown: String| {
        found.insert((message.to_owned(), leaf, column.to_owned()), shown);
    };
    if ours.len() != theirs.len() {
        note("all".into(), "leaves", format!("{} != {}", ours.len(), theirs.len()));
    }
    for (index, (our, their)) in ours.iter().zip(theirs).enumerate() {
        let column = if our.media_type != their.media_type {
            "media type"
        } else if our.charset != their.charset {
            "charset"
        } else if (our.octets, &our.digest) != (their.octets, &their.digest) {
            "octets"
        } else if our.text != their.text {
            "text"
        } else {
            continue;
        };
        note((index + 1).to_string(), column, format!("{our:?} != {their:?}"));
    }
    found
}

#[test]
fn leaves_are_decoded_as_python_decodes_them() {
    let (rules, theirs, mut stated) = (rules(), their_leaves(), stated_differences());
    let corpus = tests().join("corpus");
    let mut wrong = String::new();
    for (message, theirs) in &theirs {
        let octets = std::fs::read(corpus.join(message)).unwrap();
        let ours = our_leaves(&rules, &octets, octets.len());
        assert!(ours == our_leaves(&rules, &octets, 1), "{message} in single octets");
        for (difference, shown) in differences(message, &ours, theirs) {
            if stated.remove(&difference).is_none() {
                let (message, leaf, column) = difference;
                wrong += &format!("{message}\t{leaf}\t{column}\t{shown}\n");
            }
        }
    }
    for ((message, leaf, column), _) in stated {
        wrong += &format!("{message}\t{leaf}\t{column}\tis listed, but agrees\n");
    }
    assert!(wrong.is_empty(), "differences.tsv is not exact:\n{wrong}");
}

#[test]
fn the_table_has_every_message_of_the_corpus() {
    let mut messages = Vec::new();
    for folder in std::fs::read_dir(tests().join("corpus")).unwrap() {
        let folder = folder.unwrap().path();
        for path in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = path.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "eml") {
                let path = path.strip_prefix(tests().join("corpus")).unwrap();
                messages.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    messages.sort();
    let listed: Vec<String> = their_leaves().into_keys().collect();
    assert_eq!(listed, messages, "tests/expected/decoded.py writes the table again");
}
