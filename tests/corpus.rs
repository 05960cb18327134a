//! Real and nasty mail through the whole gateway in memory: it arrives octet for octet, with nothing
//! but header lines on top, in any cut; what holds a bare CR or a NUL is refused.
//!
//! `tests/corpus` is a sample. Where the whole corpus lies beside the project, it is read as well.

mod cut_places;

use cut_places::places;
use fastrand::Rng;
use postern::config::Config;
use postern::relay::{Address, Protocol};
use postern::sim::{Faults, Sink, World};
use postern::tools::sink::{Kept, Script};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const CONFIGURATION: &str = r#"
[listen.filter]
address = "127.0.0.1:2424"
protocol = "lmtp"
[route.mail]
to = "lmtp://127.0.0.1:1"
[domain."example.net"]
route = "mail"
recipients = "any"
"#;

#[test]
fn mail_arrives_octet_for_octet() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = messages(&here.join("tests/corpus"));
    match here.join("../shared/corpus") {
        whole if whole.is_dir() => files.extend(messages(&whole)),
        _ => println!("the whole corpus is not beside the project: only the sample is tried"),
    }
    assert!(files.len() > 100, "{} files", files.len());
    let (mut arrived, mut refused) = (0, 0);
    for (number, path) in files.iter().enumerate() {
        let content = with_crlf(&std::fs::read(path).unwrap());
        let octets = session(&content);
        match hand_in(drawn(&octets, number as u64)).delivered {
            Some(got) => {
                let top = got.len() - content.len();
                assert!(got.ends_with(&content), "{} was changed", path.display());
                assert!(got[..top].starts_with(b"Received: from "), "{}", path.display());
                // A mailbox's `From ` line becomes the value of a field of ours.
                let joined = match content.starts_with(b"From ") || content.starts_with(b">From ") {
                    true => got[..top].ends_with(b"\r\nX-Mailbox-Line: "),
                    false => got[..top].ends_with(b"\r\n"),
                };
                assert!(joined, "{}", path.display());
                arrived += 1;
            }
            None => {
                let malformed = content.contains(&0) || has_bare_cr(&content);
                let looped = memchr::memmem::find_iter(&content, b"Received:").count() >= 100;
                assert!(malformed || looped, "{} was refused", path.display());
                refused += 1;
            }
        }
    }
    println!("{arrived} messages arrived, {refused} were refused");
    assert!(arrived > 100);
}

/// What becomes of the sample octet by octet, and cut in two, is what becomes of it in one piece; each
/// message may cost so many octets for its cuts, and is tried octet by octet if it is no longer than
/// that.
fn check_cuts(octets_max: usize) {
    let mut cuts = 0;
    for path in messages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")) {
        let octets = session(&with_crlf(&std::fs::read(&path).unwrap()));
        let whole = hand_in([&octets[..]]);
        if octets.len() <= octets_max {
            assert_eq!(hand_in(octets.chunks(1)), whole, "{} octet by octet", path.display());
        }
        for at in places(&octets, octets_max) {
            let (one, other) = octets.split_at(at);
            assert_eq!(hand_in([one, other]), whole, "{} cut at {at}", path.display());
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 1_000);
}

#[test]
fn the_sample_is_told_and_delivered_alike_in_any_cut() {
    check_cuts(128 * 1024);
}

#[test]
#[ignore = "takes minutes: cargo test --release --test corpus -- --ignored"]
fn the_sample_is_told_and_delivered_alike_cut_at_every_place() {
    // Up to some 8 KiB every place, above that those about the line ends.
    check_cuts(64 << 20);
}

/// All that a client writes to hand in one content and leave.
fn session(content: &[u8]) -> Vec<u8> {
    let mut octets = b"LHLO client.example\r\nMAIL FROM:<a@client.example>\r\n".to_vec();
    octets.extend_from_slice(b"RCPT TO:<ok1@example.net>\r\nDATA\r\n");
    octets.extend(dot_stuffed(content));
    octets.extend_from_slice(b".\r\nQUIT\r\n");
    octets
}

/// Pieces of drawn lengths.
fn drawn(octets: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut chance = Rng::with_seed(seed);
    let (mut rest, mut pieces) = (octets, Vec::new());
    while !rest.is_empty() {
        let most = if chance.bool() { 16 } else { 16 * 1024 };
        let (piece, later) = rest.split_at(chance.usize(1..=most).min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces
}

/// What became of a session.
#[derive(PartialEq)]
struct Told {
    replies: Vec<u8>,
    /// What the next hop got; `None` if the message was refused.
    delivered: Option<Vec<u8>>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delivered = self.delivered.as_deref().unwrap_or_default();
        write!(f, "{}\n{}", self.replies.escape_ascii(), delivered.escape_ascii())
    }
}

fn hand_in<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    static CONFIG: LazyLock<Config> =
        LazyLock::new(|| Config::parse(CONFIGURATION, "corpus", Path::new(".")).unwrap());
    let kept = Kept::default();
    let sink = Sink {
        address: Address::Tcp("127.0.0.1:1".parse().unwrap()),
        protocol: Protocol::Lmtp,
        script: Arc::new(Script::default()),
        kept: kept.clone(),
    };
    let listeners = CONFIG.listeners.iter().map(|(_, listener)| Arc::clone(listener)).collect();
    let (tables, routes) = (Arc::clone(&CONFIG.tables), Arc::clone(&CONFIG.routes));
    let mut world = World::new(listeners, tables, routes, vec![sink], 1, Faults::default());
    let client = world.connect("filter", IpAddr::from([127, 0, 0, 1])).unwrap();
    for piece in pieces {
        world.write(client, piece);
    }
    world.run_for(Duration::from_secs(1));
    let replies = world.take_received(client).concat();
    assert!(replies.ends_with(b"221 2.0.0 bye\r\n"), "{}", replies.escape_ascii());
    assert!(world.is_quiet() && world.body_octets_held() == 0);
    let mut messages = kept.take();
    assert!(messages.len() <= 1);
    Told { replies, delivered: messages.pop().map(|message| message.content) }
}

fn messages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(messages(&path));
        } else if path.extension().is_some_and(|ending| ending == "eml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every line end is CRLF, the last one included: what a client makes of a file.
fn with_crlf(file: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(file.len() + file.len() / 32 + 2);
    for line in file.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        content.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        content.extend_from_slice(b"\r\n");
    }
    content
}

fn dot_stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 16);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire
}

fn has_bare_cr(content: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', content).any(|at| content.get(at + 1) != Some(&b'\n'))
}
