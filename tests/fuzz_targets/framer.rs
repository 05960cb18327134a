//! The content of DATA: the same in any cut, as a plain reading of the rules says, and never with an
//! end mark inside of what is sent on.

use super::Cuts;
use memchr::memmem;
use postern::wire::{BodyBuilder, Budget, ContentSink, Framed, Framer, Newlines};

/// The first octet chooses the newline policy, the others are content.
pub fn check(octets: &[u8], cuts: Cuts) {
    let Some((choice, content)) = octets.split_first() else { return };
    let newlines = if choice % 2 == 0 { Newlines::Reject } else { Newlines::Normalize };
    // Whatever the content is, this ends it, and this stands behind it.
    let stream = [content, b"\r\n.\r\nQUIT\r\n"].concat();
    let framed = cuts.agree(&stream, |pieces| frame(pieces, newlines));
    let plainly = read_plainly(&stream, newlines);
    assert_eq!((framed.taken, &framed.message), (plainly.taken, &plainly.message), "{newlines:?}");
    if let Some(Message { wire, content }) = &framed.message {
        // RFC 5321 4.1.1.4: CRLF "." CRLF must be nowhere but at the end of what is sent on, and
        // nothing that a lenient server takes for it anywhere.
        let sent_on = [b"\r\n", &wire[..], b".\r\n"].concat();
        assert_eq!(memmem::find(&sent_on, b"\r\n.\r\n"), Some(sent_on.len() - 5));
        assert!(is_clean(wire), "a bare CR, a bare LF or a NUL is sent on");
        check_body(wire, content);
    }
}

/// What a framer makes of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// Octets up to and with the end mark.
    taken: usize,
    /// `None` if it is malformed.
    message: Option<Message>,
    /// Octets handed on when it was first found to be malformed: which of two faults of a message comes
    /// first must not depend on the cut.
    clean_octets: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    wire: Vec<u8>,
    content: Vec<u8>,
}

#[derive(Default)]
struct Collector {
    message: Message,
    malformed: bool,
    clean_octets: usize,
}

impl ContentSink for Collector {
    fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
        assert!(!wire.is_empty() && (!dot_stuffed || wire[0] == b'.'));
        self.message.wire.extend_from_slice(wire);
        self.message.content.extend_from_slice(&wire[usize::from(dot_stuffed)..]);
    }

    fn malformed(&mut self) {
        if !self.malformed {
            self.clean_octets = self.message.wire.len();
        }
        self.malformed = true;
    }
}

fn frame(pieces: &[&[u8]], newlines: Newlines) -> Told {
    let (mut framer, mut collector) = (Framer::new(newlines), Collector::default());
    let mut taken = 0;
    for piece in pieces {
        match framer.feed(piece, &mut collector) {
            Framed::More => taken += piece.len(),
            Framed::Ended(length) => {
                taken += length;
                break;
            }
        }
    }
    let message = (!collector.malformed).then_some(collector.message);
    Told { taken, message, clean_octets: collector.clean_octets }
}

/// The rules, line by line, with no regard to speed.
fn read_plainly(stream: &[u8], newlines: Newlines) -> Told {
    let mut message = Message::default();
    let (mut malformed, mut at, mut behind_crlf) = (false, 0, true);
    loop {
        let rest = &stream[at..];
        // A bare LF ends a line only where it is normalized.
        let bare_lf_ends = newlines == Newlines::Normalize;
        let ends_at = |feed: &usize| bare_lf_ends || (*feed > 0 && rest[feed - 1] == b'\r');
        let feed = memchr::memchr_iter(b'\n', rest).find(ends_at).expect("the stream has an end");
        at += feed + 1;
        let with_crlf = feed > 0 && rest[feed - 1] == b'\r';
        let line = &rest[..if with_crlf { feed - 1 } else { feed }];
        if behind_crlf && with_crlf && line == b"." {
            let message = (!malformed).then_some(message);
            return Told { taken: at, message, clean_octets: 0 };
        }
        malformed |= memchr::memchr3(b'\r', b'\n', 0, line).is_some();
        // A dot is a stuffed one behind a CRLF alone, and not if it is all of a line that a bare LF
        // ends: that is no end mark.
        let stuffed = behind_crlf && line.starts_with(b".") && (with_crlf || line != b".");
        let content = &line[usize::from(stuffed)..];
        message.content.extend_from_slice(content);
        message.content.extend_from_slice(b"\r\n");
        // RFC 5321 4.5.2: a line that begins with a period gets another one in front. What came with
        // one too many, as `.x` for `x`, goes on as it came.
        if stuffed || content.starts_with(b".") {
            message.wire.push(b'.');
        }
        message.wire.extend_from_slice(content);
        message.wire.extend_from_slice(b"\r\n");
        behind_crlf = with_crlf;
    }
}

/// Whether every CR has its LF, every LF its CR, and no NUL is there.
fn is_clean(wire: &[u8]) -> bool {
    let pairs = memmem::find_iter(wire, b"\r\n").count();
    let count = |octet| memchr::memchr_iter(octet, wire).count();
    count(b'\r') == pairs && count(b'\n') == pairs && count(0) == 0
}

/// Both forms come out of a body as they went in.
fn check_body(wire: &[u8], content: &[u8]) {
    let budget = Budget::new(1 << 30);
    let mut builder = BodyBuilder::new(&budget);
    for line in wire.split_inclusive(|octet| *octet == b'\n') {
        builder.push(line, line.starts_with(b".")).expect("the budget is large");
    }
    let body = builder.finish();
    assert_eq!(body.wire().collect::<Vec<_>>().concat(), wire);
    assert_eq!(body.content().collect::<Vec<_>>().concat(), content);
    assert_eq!(body.content_octets(), content.len() as u64);
}
