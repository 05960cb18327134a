//! The digest of a message below the client's own trace, computed while the message arrives.
//!
//! A client that sends a message again may have put another trace on top: checkpoint 6 wants the
//! digest to begin behind it. Exactly: of the content as the sender wrote it (CRLF lines, without
//! stuffed dots), the leading header fields named Received, Return-Path and Resent-Date are left out,
//! each with its continuation lines; everything from the first other line on is digested as it is,
//! all further header fields, the empty line and the body included.

use aws_lc_rs::digest::{Context, SHA256};
use std::fmt;

/// A digest that is fed content octets in any cut: SHA-256, which takes a short message in pieces of a
/// few KiB as fast as a long one, and keeps a hundred octets.
#[derive(Clone)]
pub struct Digest {
    hasher: Context,
    state: State,
}

/// The digest of one message's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ContentDigest(pub [u8; 32]);

/// The fields that clients put on top of a message on its way (RFC 5321 4.4), as far as they differ
/// from one try to the next.
const TRACE_FIELDS: [&[u8]; 3] = [b"received:", b"return-path:", b"resent-date:"];

/// Octets of the longest of [`TRACE_FIELDS`].
const LONGEST: usize = 12;

#[derive(Clone, Debug)]
enum State {
    /// At the start of a field, of which so many octets have come, all like those of a trace field.
    Name { held: [u8; LONGEST], len: usize },
    /// Inside a line of a trace field.
    Trace,
    /// Behind a line of a trace field: a blank continues it.
    Folded,
    /// Below the trace.
    Content,
}

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Digest {
    /// A digest of nothing yet.
    pub fn new() -> Digest {
        Digest { hasher: Context::new(&SHA256), state: State::Name { held: [0; LONGEST], len: 0 } }
    }

    /// Takes content octets, in any cut.
    pub fn feed(&mut self, mut content: &[u8]) {
        while let Some(first) = content.first() {
            match &mut self.state {
                State::Content => {
                    self.hasher.update(content);
                    return;
                }
                State::Trace => match memchr::memchr(b'\n', content) {
                    None => return,
                    Some(end) => {
                        content = &content[end + 1..];
                        self.state = State::Folded;
                    }
                },
                State::Folded => {
                    self.state = match first {
                        b' ' | b'\t' => State::Trace,
                        _ => State::Name { held: [0; LONGEST], len: 0 },
                    }
                }
                // The usual case.
                State::Name { len: 0, .. } if content.len() >= LONGEST => {
                    match TRACE_FIELDS.iter().find(|field| begins_like(content, field)) {
                        Some(field) => {
                            content = &content[field.len()..];
                            self.state = State::Trace;
                        }
                        None => self.state = State::Content,
                    }
                }
                State::Name { .. } => {
                    content = &content[1..];
                    self.name_octet(*first);
                }
            }
        }
    }

    /// The digest of all that was fed.
    pub fn finish(mut self) -> ContentDigest {
        self.below_trace();
        let mut digest = [0; 32];
        digest.copy_from_slice(self.hasher.finish().as_ref());
        ContentDigest(digest)
    }

    /// One more octet of what may be the name of a trace field.
    fn name_octet(&mut self, octet: u8) {
        let State::Name { held, len } = &mut self.state else { return };
        let Some(place) = held.get_mut(*len) else { return };
        *place = octet;
        *len += 1;
        let name = held.get(..*len).unwrap_or_default();
        match TRACE_FIELDS.iter().find(|field| begins_like(field, name)) {
            Some(field) if field.len() == name.len() => self.state = State::Trace,
            Some(_) => {}
            None => self.below_trace(),
        }
    }

    /// What was held belongs to the content.
    fn below_trace(&mut self) {
        if let State::Name { held, len } = &self.state {
            self.hasher.update(held.get(..*len).unwrap_or_default());
        }
        self.state = State::Content;
    }
}

fn begins_like(content: &[u8], field: &[u8]) -> bool {
    content.get(..field.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(content: &[u8]) -> ContentDigest {
        let mut digest = Digest::new();
        digest.feed(content);
        digest.finish()
    }

    /// The definition, read from the whole message at once.
    fn by_definition(content: &[u8]) -> ContentDigest {
        let mut rest = content;
        let mut in_trace = false;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let continues = matches!(rest[0], b' ' | b'\t') && in_trace;
            let begins = TRACE_FIELDS.iter().any(|field| {
                rest.get(..field.len()).is_some_and(|name| name.eq_ignore_ascii_case(field))
            });
            if !continues && !begins {
                break;
            }
            in_trace = true;
            rest = &rest[end..];
        }
        ContentDigest(aws_lc_rs::digest::digest(&SHA256, rest).as_ref().try_into().unwrap())
    }

    const MAIL: &[u8] = b"From: a@b\r\nReceived: kept, as it is not on top\r\n\r\nbody\r\n";

    // Checkpoint 6: a retry may differ in the top Received or Resent-Date lines of the client.
    #[test]
    fn what_the_client_put_on_top_does_not_count() {
        let tops: [&str; 6] = [
            "",
            "Received: from x by y; Tue, 3 Nov 2026 10:00:00 +0000\r\n",
            "RECEIVED: from x\r\n\tby y;\r\n  Tue\r\nReceived:\r\n",
            "Return-Path: <a@b>\r\nReceived: x\r\nresent-date: now\r\n",
            "Resent-Date: \r\n \r\n",
            "received:x\r\n",
        ];
        for top in tops {
            let content = [top.as_bytes(), MAIL].concat();
            assert_eq!(digest(&content), digest(MAIL), "{top}");
        }
        let others: [&[u8]; 6] = [
            b" x\r\n",
            b"Received : x\r\n",
            b"Receive: x\r\n",
            b"X-Received: x\r\n",
            b"\r\n",
            b"Return-Pat",
        ];
        for top in others {
            assert_ne!(digest(&[top, MAIL].concat()), digest(MAIL));
        }
        assert_ne!(digest(b"From: a\r\n\r\nx"), digest(b"From: a\r\n\r\ny"));
        assert_eq!(digest(b"Received: x"), digest(b""));
        assert_eq!(digest(b"Recei"), by_definition(b"Recei"));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_digest_of_the_definition(
            lines in proptest::collection::vec(
                prop_oneof![
                    Just("Received: x\r\n"), Just("received:\r\n"), Just(" folded\r\n"),
                    Just("\tfolded\r\n"), Just("Return-Path: <>\r\n"), Just("Return-Receipt: y\r\n"),
                    Just("Resent-Date: z\r\n"), Just("\r\n"), Just("Subject: s\r\n"), Just("Rec"),
                ],
                0..12,
            ),
            cuts in proptest::collection::vec(0usize..200, 0..12),
        ) {
            let content = lines.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(content.len())).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let mut in_cuts = Digest::new();
            for pair in cuts.windows(2) {
                in_cuts.feed(&content[pair[0]..pair[1]]);
            }
            let mut by_octet = Digest::new();
            content.chunks(1).for_each(|octet| by_octet.feed(octet));
            let expected = by_definition(&content);
            prop_assert_eq!(in_cuts.finish(), expected);
            prop_assert_eq!(by_octet.finish(), expected);
            prop_assert_eq!(digest(&content), expected);
        }
    }
}
