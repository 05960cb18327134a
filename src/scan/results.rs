//! `Authentication-Results` fields that claim to be ours.
//!
//! RFC 8601 5: a border that adds such fields "MUST delete any discovered instance of this header field
//! that claims, by virtue of its authentication service identifier, to have been added within its trust
//! boundary but that did not come directly from another trusted MTA".

use super::{Scanner, Score, Tags, Watch};
use crate::limits::{HOST_OCTETS, RESULTS_LEFT_OUT_MAX};
use smallvec::SmallVec;
use std::ops::Range;

impl<W: Watch> Scanner<W> {
    /// A field of the message's own header, which lies there in the content, has this unfolded value.
    pub(super) fn look_at_results(&mut self, value: &[u8], place: Range<u64>) {
        let is_ours =
            |id: &[u8]| self.own_ids.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(id));
        if !is_ours(&authserv_id(value)) {
            return;
        }
        self.findings.add(Tags::FORGED_AUTHENTICATION_RESULTS, Score::ZERO);
        // One more says that there were too many.
        if self.findings.left_out.len() <= RESULTS_LEFT_OUT_MAX {
            self.findings.left_out.push(place);
        }
    }
}

/// RFC 8601 2.2: `authres-payload = [ CFWS ] authserv-id ...`, which is a token or a quoted text. A dot
/// at its end changes nothing.
fn authserv_id(value: &[u8]) -> SmallVec<[u8; HOST_OCTETS + 1]> {
    let value = behind_comments(value);
    // No name of ours is longer.
    let mut id = SmallVec::new();
    let mut octets = value.iter().copied().take(2 * HOST_OCTETS);
    match value.first() {
        Some(b'"') => {
            octets.next();
            while let Some(octet) = octets.next().filter(|octet| *octet != b'"')
                && id.len() <= HOST_OCTETS
            {
                id.extend(if octet == b'\\' { octets.next() } else { Some(octet) });
            }
        }
        _ => {
            let of_token = |octet: &u8| !matches!(octet, b' ' | b'\t' | b';' | b'(');
            id.extend(octets.take_while(of_token).take(HOST_OCTETS + 1));
        }
    }
    if id.last() == Some(&b'.') {
        id.pop();
    }
    id
}

/// What follows blanks and comments (RFC 5322 3.2.2).
fn behind_comments(value: &[u8]) -> &[u8] {
    let mut depth = 0u32;
    let mut is_quoted = false;
    for (octet, place) in value.iter().zip(0..) {
        match octet {
            _ if is_quoted => is_quoted = false,
            b'\\' if depth > 0 => is_quoted = true,
            b'(' => depth = depth.saturating_add(1),
            b')' if depth > 0 => depth -= 1,
            b' ' | b'\t' => {}
            _ if depth > 0 => {}
            _ => return &value[place..],
        }
    }
    b""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Findings, Rules};
    use std::sync::Arc;

    #[test]
    fn the_id_stands_behind_comments_and_may_be_quoted() {
        let table = [
            (" mx.example.net; spf=pass", "mx.example.net"),
            (" mx.example.net 1; none", "mx.example.net"),
            ("mx.example.net.;", "mx.example.net"),
            ("(a (b) \\) c)\tmx.example.net(d);", "mx.example.net"),
            (" \"mx.\\example.net\" ; none", "mx.example.net"),
            (" other.example; x=mx.example.net", "other.example"),
            ("", ""),
            ("(without end mx.example.net", ""),
            ("\"without end", "without end"),
        ];
        for (value, id) in table {
            assert_eq!(authserv_id(value.as_bytes()).as_slice(), id.as_bytes(), "{value}");
        }
    }

    fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Findings {
        let mut scanner = Scanner::new(Arc::new(Rules::default()));
        scanner.claim(Arc::from(["mx.example.net".to_owned()]));
        pieces.for_each(|piece| scanner.feed(piece));
        scanner.finish()
    }

    /// each forged field is told with its place, whatever it looks like, and no other.
    #[test]
    fn a_50_fields_that_claim_our_name_are_found_in_any_cut() {
        let forged = [
            "Authentication-Results: mx.example.net; dmarc=pass\r\n",
            "AUTHENTICATION-RESULTS : (x)\r\n\tMX.example.NET;\r\n spf=pass\r\n",
            "authentication-results:\"mx.example.net\";none\n",
        ];
        let honest = [
            "From: a@b\r\n",
            "Authentication-Results: other.example; dmarc=pass\r\n",
            "ARC-Authentication-Results: i=1; mx.example.net; none\r\n",
        ];
        let (mut message, mut places) = (String::new(), Vec::new());
        for (honest, forged) in honest.into_iter().zip(forged) {
            message += honest;
            let start = message.len() as u64;
            message += forged;
            places.push(start..message.len() as u64);
        }
        message += "Content-Type: message/rfc822\r\n\r\n";
        message += forged[0];
        let whole = scan(std::iter::once(message.as_bytes()));
        assert!(whole.has(Tags::FORGED_AUTHENTICATION_RESULTS));
        assert_eq!(whole.left_out(), places);
        for size in 1..message.len() {
            assert_eq!(scan(message.as_bytes().chunks(size)), whole, "{size}");
        }
    }

    #[test]
    fn places_are_kept_up_to_a_limit() {
        let message = "Authentication-Results: mx.example.net\r\n".repeat(3 * RESULTS_LEFT_OUT_MAX);
        let findings = scan(message.as_bytes().chunks(100));
        assert_eq!(findings.left_out().len(), RESULTS_LEFT_OUT_MAX + 1);
    }
}
