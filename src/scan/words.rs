//! Encoded words of header fields: `=?charset?B?...?=` (RFC 2047), read as leniently as clients do.

use super::charset::ToUtf8;
use super::content_type::Encoding;
use super::decode::{DECODED_STEP_OCTETS, Decoder};
use crate::limits::{DECODE_STEP_OCTETS, ENCODED_WORDS_MAX};
use memchr::memmem;

/// What a value holds when its encoded words are undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Encoded words that were undone.
    pub decoded: usize,
    /// Some of them name a character set that is not known, and are given as octets.
    pub unknown_charset: bool,
}

/// Undoes the encoded words of an unfolded value into `out`. Words that are broken, or beyond
/// [`ENCODED_WORDS_MAX`], stay as they are.
///
/// A word that lacks its end is taken to end with the value, one may hold blanks, and one may begin
/// inside other text: RFC 2047 5 forbids that, and clients read it.
pub(super) fn undo(
    value: &[u8],
    plain: &mut [u8; DECODED_STEP_OCTETS],
    out: &mut Vec<u8>,
) -> Words {
    let mut words = Words::default();
    let mut rest = value;
    // The converter of the word before, since a character may be cut over two words.
    let mut open: Option<(&[u8], ToUtf8)> = None;
    while let Some(at) = memmem::find(rest, b"=?") {
        let (text, begins) = rest.split_at(at);
        let word = Word::read(begins).filter(|_| words.decoded < ENCODED_WORDS_MAX);
        let Some((word, after)) = word else {
            finish(&mut open, out);
            out.extend_from_slice(text);
            out.extend_from_slice(b"=?");
            rest = &begins[2..];
            continue;
        };
        // RFC 2047 6.2: "any 'linear-white-space' that separates a pair of adjacent 'encoded-word's
        // is ignored."
        let adjacent = open.is_some() && text.iter().all(|octet| b" \t".contains(octet));
        if !adjacent {
            finish(&mut open, out);
            out.extend_from_slice(text);
        }
        if open.as_ref().is_none_or(|(charset, _)| !charset.eq_ignore_ascii_case(word.charset)) {
            finish(&mut open, out);
            let converter = ToUtf8::from_name(word.charset);
            words.unknown_charset |= converter.is_none();
            open = Some((word.charset, converter.unwrap_or_else(ToUtf8::unchanged)));
        }
        if let Some((_, converter)) = &mut open {
            word.undo(plain, |piece| converter.convert(piece, |utf8| out.extend_from_slice(utf8)));
        }
        words.decoded += 1;
        rest = after;
    }
    finish(&mut open, out);
    out.extend_from_slice(rest);
    words
}

fn finish(open: &mut Option<(&[u8], ToUtf8)>, out: &mut Vec<u8>) {
    if let Some((_, mut converter)) = open.take() {
        converter.finish(|utf8| out.extend_from_slice(utf8));
    }
}

struct Word<'a> {
    charset: &'a [u8],
    encoding: Encoding,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    /// Reads a word that begins `octets`, and gives what follows it.
    fn read(octets: &'a [u8]) -> Option<(Word<'a>, &'a [u8])> {
        let rest = octets.strip_prefix(b"=?")?;
        let (charset, rest) = split_at_mark(rest, CHARSET_OCTETS)?;
        // RFC 2231 5: a language may follow the character set.
        let charset = charset.split(|octet| *octet == b'*').next().unwrap_or_default();
        let (encoding, rest) = split_at_mark(rest, 1)?;
        let encoding = match encoding {
            b"b" | b"B" => Encoding::Base64,
            b"q" | b"Q" => Encoding::QuotedPrintable,
            _ => return None,
        };
        // The text of a Q word may begin with an equals sign, and so end the word too early.
        let end = memmem::find(rest, b"?=");
        let (text, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest, &rest[rest.len()..]),
        };
        (!charset.is_empty()).then_some((Word { charset, encoding, text }, after))
    }

    fn undo(&self, plain: &mut [u8; DECODED_STEP_OCTETS], mut each: impl FnMut(&[u8])) {
        let mut decoder = Decoder::new(self.encoding);
        let mut underscores = [0; 64];
        let step = if self.encoding == Encoding::Base64 { DECODE_STEP_OCTETS } else { 64 };
        for piece in self.text.chunks(step) {
            let mut wire = piece;
            // RFC 2047 4.2 (2): "the 8-bit hexadecimal value 20 ... may be represented as "_"".
            if self.encoding == Encoding::QuotedPrintable {
                let copy = &mut underscores[..piece.len()];
                copy.copy_from_slice(piece);
                copy.iter_mut().filter(|octet| **octet == b'_').for_each(|octet| *octet = b' ');
                wire = copy;
            }
            let length = decoder.step(wire, plain);
            each(&plain[..length]);
        }
        // A blank at the end of a word is text, not padding of a line.
        if self.encoding == Encoding::QuotedPrintable {
            let blanks = self.text.iter().rev().take_while(|octet| b"_ ".contains(octet)).count();
            (0..blanks).for_each(|_| each(b" "));
        } else {
            let length = decoder.finish(plain);
            each(&plain[..length]);
        }
    }
}

/// Octets of the longest name of a character set, with a language.
const CHARSET_OCTETS: usize = 64;

/// What stands before the next question mark, if it comes within `most` octets.
fn split_at_mark(octets: &[u8], most: usize) -> Option<(&[u8], &[u8])> {
    let end = octets.iter().take(most + 1).position(|octet| *octet == b'?')?;
    Some((&octets[..end], &octets[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(value: &str) -> (String, usize) {
        let (mut plain, mut out) = ([0; DECODED_STEP_OCTETS], Vec::new());
        let words = undo(value.as_bytes(), &mut plain, &mut out);
        (String::from_utf8_lossy(&out).into_owned(), words.decoded)
    }

    // RFC 2047 8 for the good ones; what is broken is read as clients read it.
    #[test]
    fn encoded_words_are_undone() {
        let table = [
            ("plain", "plain", 0),
            ("=?ISO-8859-1?Q?a?=", "a", 1),
            ("=?ISO-8859-1?Q?a?= b", "a b", 1),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab", 2),
            ("=?ISO-8859-1?Q?a_b?=", "a b", 1),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b", 2),
            ("=?utf-8?B?dmlhZ3Jh?=", "viagra", 1),
            ("=?utf-8*en?b?dmlhZ3Jh?=", "viagra", 1),
            ("=?utf-8?B?4oI=?= =?utf-8?B?rA==?=", "€", 2),
            ("=?utf-8?Q?=E2=82?= =?UTF-8?Q?=AC?=", "€", 2),
            ("=?utf-8?Q?via gra?=", "via gra", 1),
            ("x=?utf-8?Q?via?=gra", "xviagra", 1),
            ("=?utf-8?Q?viagra", "viagra", 1),
            ("=?utf-8?Q?a_?= b", "a  b", 1),
            ("=?utf-8?X?a?=", "=?utf-8?X?a?=", 0),
            ("=?utf-8?Qa?=", "=?utf-8?Qa?=", 0),
            ("=?utf-8", "=?utf-8", 0),
            ("=??Q?a?=", "=??Q?a?=", 0),
            ("=?=?utf-8?Q?a?=", "=?a", 1),
        ];
        for (value, text, words) in table {
            assert_eq!(undone(value), (text.to_owned(), words), "{value}");
        }
    }

    // The bound is on work: words beyond it stay as they are.
    #[test]
    fn a_48_many_words_are_undone_up_to_the_limit() {
        let value = "=?utf-8?Q?a?= ".repeat(10_000);
        let (text, words) = undone(&value);
        assert_eq!(words, ENCODED_WORDS_MAX);
        assert!(text.starts_with("aaaa") && text.ends_with("=?utf-8?Q?a?= "));
        let (text, words) = undone(&"=?".repeat(30_000));
        assert_eq!((text.len(), words), (60_000, 0));
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_read_without_a_panic(value in "[=?utf8QBqb_ a-z0-9é]{0,200}") {
            undone(&value);
        }
    }
}
