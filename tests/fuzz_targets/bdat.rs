//! Chunks of BDAT: the same content in any cut, that of a plain reading of the rules, and nothing of
//! it taken for a command.

use super::Cuts;
use super::replies::check_form;
use crate::lone_session::{Installation, LoneSession, Told};
use memchr::memmem;
use postern::wire::{Chunk, ChunkReader, ContentSink, Newlines};

const CONFIGURATION: &str = include_str!("session.toml");

/// So few octets that too many of them are met.
const SIZE_MAX: u64 = 400;

thread_local! {
    static INSTALLATION: Installation =
        Installation::new(CONFIGURATION).with_size_max(SIZE_MAX);
}

/// The first octet chooses the listener, and with it the newline policy; the others are what the
/// client sends behind its envelope.
pub fn check(octets: &[u8], cuts: Cuts) {
    let Some((choice, octets)) = octets.split_first() else { return };
    let listener = usize::from(choice % 4);
    let newlines = if listener < 2 { Newlines::Reject } else { Newlines::Normalize };
    for binary in [false, true] {
        let (content, _) = cuts.agree(octets, |pieces| content(pieces, binary, newlines));
        match binary {
            true => assert_eq!(content, Some(octets.to_vec())),
            false => assert_eq!(content, read_plainly(octets, newlines)),
        }
    }
    INSTALLATION.with(|installation| {
        let told = cuts.agree(octets, |pieces| {
            let mut session = LoneSession::new(installation.session(listener));
            let greeting = if matches!(listener, 1 | 2) { "LHLO" } else { "EHLO" };
            let envelope = format!("{greeting} c\r\nMAIL FROM:<>\r\nRCPT TO:<lax1@b.c>\r\n");
            session.receive(envelope.as_bytes());
            for piece in pieces {
                session.receive(piece);
                session.relay_answers();
            }
            Same(session.end())
        });
        check_told(octets, newlines, &told.0);
    });
}

/// What a client was told and what was handed on, which must not depend on the cut.
#[derive(Debug)]
struct Same(Told);

impl PartialEq for Same {
    fn eq(&self, other: &Same) -> bool {
        let (one, two) = (&self.0, &other.0);
        // Octets that wait behind a refused DATA close; in another cut none may be waiting yet.
        let hasty = |told: &Told| memmem::find(&told.replies, b"data sent without a go-ahead");
        match hasty(one).or(hasty(two)) {
            Some(_) => true,
            None => {
                (&one.replies, &one.taken, one.closed) == (&two.replies, &two.taken, two.closed)
            }
        }
    }
}

// ---- the content alone ------------------------------------------------------------------------

#[derive(Default)]
struct Collector {
    content: Vec<u8>,
    /// Octets that were handed on when it was first found to be malformed.
    malformed: Option<usize>,
}

impl ContentSink for Collector {
    fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
        assert!(!wire.is_empty() && !dot_stuffed);
        self.content.extend_from_slice(wire);
    }

    fn malformed(&mut self) {
        self.malformed.get_or_insert(self.content.len());
    }
}

/// What a reader makes of chunks; `None` if it is malformed, and then behind how many octets it was
/// found to be so.
fn content(chunks: &[&[u8]], binary: bool, newlines: Newlines) -> (Option<Vec<u8>>, Option<usize>) {
    let (mut reader, mut collector) = (ChunkReader::new(binary, newlines), Collector::default());
    chunks.iter().for_each(|chunk| reader.feed(chunk, &mut collector));
    reader.finish(&mut collector);
    (collector.malformed.is_none().then_some(collector.content), collector.malformed)
}

/// The rules for text, octet by octet.
fn read_plainly(octets: &[u8], newlines: Newlines) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    for (at, octet) in octets.iter().enumerate() {
        let behind_cr = at > 0 && octets[at - 1] == b'\r';
        match octet {
            0 => return None,
            b'\r' if octets.get(at + 1) != Some(&b'\n') => return None,
            b'\n' if behind_cr => content.push(b'\n'),
            b'\n' if newlines == Newlines::Reject => return None,
            b'\n' => content.extend_from_slice(b"\r\n"),
            octet => content.push(*octet),
        }
    }
    Some(content)
}

// ---- a whole session --------------------------------------------------------------------------

/// The first message of a stream of commands.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// These octets came with its chunks, the last of them included.
    Whole(Vec<u8>),
    /// It does not come to its end.
    Never,
    /// Other commands stand between, or limits are met, of which nothing is said here.
    Unsaid,
}

fn first_message(mut stream: &[u8]) -> First {
    let (mut content, mut announced, mut commands) = (Vec::new(), 0u64, 0);
    loop {
        let Some(end) = memmem::find(stream, b"\r\n") else { return First::Never };
        let line = &stream[..end];
        let argument = line.get(..5).filter(|verb| verb.eq_ignore_ascii_case(b"BDAT "));
        let chunk = match argument.map(|_| Chunk::read(&line[5..])) {
            Some(Ok(chunk)) if memchr::memchr3(b'\r', b'\n', 0, line).is_none() => chunk,
            _ => return First::Unsaid,
        };
        announced = announced.saturating_add(chunk.octets);
        commands += 1;
        if announced > SIZE_MAX || commands > 9 {
            return First::Unsaid;
        }
        stream = &stream[end + 2..];
        let Some((octets, rest)) = stream.split_at_checked(chunk.octets as usize) else {
            return First::Never;
        };
        content.extend_from_slice(octets);
        if chunk.last {
            return First::Whole(content);
        }
        stream = rest;
    }
}

fn check_told(octets: &[u8], newlines: Newlines, told: &Told) {
    let codes = check_form(&told.replies);
    assert_eq!(codes[..4], [220, 250, 250, 250]);
    for (_, message) in &told.taken {
        assert!(!message.contains(&0) && message.ends_with(b"\r\n"));
        assert!(memmem::find(message, b"\r\n.\r\n").is_none(), "an end mark is sent on");
    }
    let taken = told.taken.first().map(|(_, message)| message);
    match first_message(octets) {
        First::Unsaid => {}
        First::Never => assert!(taken.is_none(), "half a message is handed on"),
        First::Whole(content) => match (read_plainly(&content, newlines), taken) {
            (Some(content), Some(message)) => check_message(&content, message),
            // Normalized, it may be over the limit.
            (Some(content), None) => {
                assert!(content.len() as u64 > SIZE_MAX, "it is not handed on")
            }
            // What was handed on may be a later message of the stream. Where LF become CRLF, this one
            // may be over the limit before it is malformed.
            (None, _) => assert!(codes.iter().any(|code| matches!(code, 550 | 552))),
        },
    }
}

/// A message in wire form holds the content of its chunks, and ends its last line.
fn check_message(content: &[u8], message: &[u8]) {
    let mut plain = Vec::new();
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    let ended = content.is_empty() || content.ends_with(b"\r\n");
    let content = [content, if ended { b"" } else { b"\r\n" }].concat();
    assert!(
        plain.ends_with(&content),
        "{} is not {}",
        plain.escape_ascii(),
        content.escape_ascii()
    );
}
