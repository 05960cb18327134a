//! Replies of a next hop: the same in any cut, bounded, and fit to be told to a client.

use super::Cuts;
use postern::limits::{HOP_REPLY_KEPT_OCTETS, REPLY_LINE_OCTETS};
use postern::wire::{BadReply, Reply, ReplyReader};

/// The octets are what a next hop sends.
pub fn check(octets: &[u8], cuts: Cuts) {
    let (replies, _) = cuts.agree(octets, read);
    assert!(replies.len() <= memchr::memchr_iter(b'\n', octets).count());
    for reply in &replies {
        assert!(reply.text().len() <= HOP_REPLY_KEPT_OCTETS);
        let mut rendered = Vec::new();
        reply.render(&mut rendered);
        check_form(&rendered);
        // What we tell is what we were told: the code, and so whether to come back.
        let (again, fault) = read(&[&rendered]);
        assert_eq!(fault, None);
        let [again] = again.as_slice() else { panic!("{again:?} is not one reply") };
        assert_eq!(again.code(), reply.code());
        // A text of several lines without an enhanced code may have one at the beginning of a line
        // but the first.
        if reply.enhanced().is_some()
            || rendered.iter().filter(|octet| **octet == b'\n').count() == 1
        {
            assert_eq!(again.enhanced(), reply.enhanced());
        }
    }
}

/// The replies, and the fault that ended them.
fn read(pieces: &[&[u8]]) -> (Vec<Reply>, Option<BadReply>) {
    let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        loop {
            match reader.next(&mut rest) {
                Ok(Some(reply)) => {
                    assert!(!reader.is_in_reply(), "a reply that has ended is still being read");
                    replies.push(reply);
                }
                Ok(None) => break,
                Err(fault) => return (replies, Some(fault)),
            }
        }
        assert!(rest.is_empty(), "octets are left though no reply is");
    }
    (replies, None)
}

/// Panics unless these are complete replies, as RFC 5321 4.2 and RFC 2034 4 want them; gives their
/// codes.
pub(super) fn check_form(octets: &[u8]) -> Vec<u16> {
    let (mut codes, mut open) = (Vec::new(), None);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let shown = line.escape_ascii();
        assert!(line.len() <= REPLY_LINE_OCTETS, "{shown}");
        let text = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no CRLF: {shown}"));
        assert!(text.iter().all(|octet| matches!(octet, b' '..=b'~')), "{shown}");
        let [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9', separator @ (b' ' | b'-'), ..] = text else {
            panic!("no reply: {shown}");
        };
        let digit = |at: usize| u16::from(text[at] - b'0');
        let code = digit(0) * 100 + digit(1) * 10 + digit(2);
        assert_eq!(*open.get_or_insert(code), code, "two codes in one reply: {shown}");
        if *separator == b' ' {
            codes.extend(open.take());
        }
    }
    assert_eq!(open, None, "a reply without its last line");
    codes
}
