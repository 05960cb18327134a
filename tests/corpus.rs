//! Real and nasty mail through the whole gateway in memory: it arrives octet for octet, with nothing
//! but header lines on top, in any cut; what holds a bare CR or a NUL is refused.
//!
//! `tests/corpus` is a sample. Where the whole corpus lies beside the project, it is read as well.

use fastrand::Rng;
use postern::config::Config;
use postern::relay::{Address, Protocol};
use postern::sim::{Faults, Sink, World};
use postern::tools::sink::{Kept, Script};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
        match through_the_gateway(&content, number as u64) {
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

/// What the next hop got; `None` if the message was refused.
fn through_the_gateway(content: &[u8], seed: u64) -> Option<Vec<u8>> {
    let config = Config::parse(CONFIGURATION, "corpus", Path::new(".")).unwrap();
    let kept = Kept::default();
    let sink = Sink {
        address: Address::Tcp("127.0.0.1:1".parse().unwrap()),
        protocol: Protocol::Lmtp,
        script: Arc::new(Script::default()),
        kept: kept.clone(),
    };
    let listeners = config.listeners.iter().map(|(_, listener)| Arc::clone(listener)).collect();
    let (tables, routes) = (Arc::clone(&config.tables), Arc::clone(&config.routes));
    let mut world = World::new(listeners, tables, routes, vec![sink], seed, Faults::default());
    let client = world.connect("filter", IpAddr::from([127, 0, 0, 1])).unwrap();
    let mut octets = b"LHLO client.example\r\nMAIL FROM:<a@client.example>\r\n".to_vec();
    octets.extend_from_slice(b"RCPT TO:<ok1@example.net>\r\nDATA\r\n");
    octets.extend(dot_stuffed(content));
    octets.extend_from_slice(b".\r\nQUIT\r\n");
    let mut chance = Rng::with_seed(seed);
    let mut rest = octets.as_slice();
    while !rest.is_empty() {
        let most = if chance.bool() { 16 } else { 16 * 1024 };
        let (piece, later) = rest.split_at(chance.usize(1..=most).min(rest.len()));
        world.write(client, piece);
        rest = later;
    }
    world.run_for(Duration::from_secs(1));
    let replies = world.take_received(client).concat();
    assert!(replies.ends_with(b"221 2.0.0 bye\r\n"), "{}", replies.escape_ascii());
    assert!(world.is_quiet() && world.body_octets_held() == 0);
    let mut messages = kept.take();
    assert!(messages.len() <= 1);
    messages.pop().map(|message| message.content)
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
