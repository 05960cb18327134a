//! Character sets: from what a text says it is to UTF-8.
//!
//! encoding_rs knows every set that browsers read, and `utf7` the one that mail clients read beside.
//! What neither knows stays as it is, with a tag.

use super::content_type::Charset;
use super::utf7::Utf7;
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8};

/// Octets that are converted at once; the most that they become is three times as many.
const STEP_OCTETS: usize = 1024;

/// Converts a text to UTF-8, in any cut. What is no character becomes U+FFFD.
pub(super) struct ToUtf8 {
    way: Way,
}

/// The way to UTF-8.
enum Way {
    /// Of a set that is not known, or needs no conversion: the octets stay as they are.
    Unchanged,
    Decoder(Decoder),
    Utf7(Utf7),
}

impl std::fmt::Debug for ToUtf8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match &self.way {
            Way::Unchanged => "unchanged",
            Way::Decoder(decoder) => decoder.encoding().name(),
            Way::Utf7(_) => "UTF-7",
        };
        write!(f, "ToUtf8({name})")
    }
}

impl ToUtf8 {
    /// From the set of that name, whatever the case. None if it is not known.
    pub(super) fn from_name(name: &[u8]) -> Option<ToUtf8> {
        if Utf7::is_named(name) {
            return Some(ToUtf8 { way: Way::Utf7(Utf7::default()) });
        }
        let encoding = Encoding::for_label(name)?;
        Some(ToUtf8 { way: Way::Decoder(encoding.new_decoder_without_bom_handling()) })
    }

    /// The octets as they are.
    pub(super) fn unchanged() -> ToUtf8 {
        ToUtf8 { way: Way::Unchanged }
    }

    /// From what a text names. UTF-8 needs no conversion, and RFC 2045 5.2 has a text that names
    /// nothing be US-ASCII, which clients read as UTF-8 where it is none.
    pub(super) fn from_charset(charset: Charset) -> ToUtf8 {
        match charset {
            // A byte order mark overrules what is said, as browsers have it.
            Charset::Known(encoding) if encoding != UTF_8 => {
                ToUtf8 { way: Way::Decoder(encoding.new_decoder()) }
            }
            Charset::Utf7 => ToUtf8 { way: Way::Utf7(Utf7::default()) },
            _ => ToUtf8::unchanged(),
        }
    }

    /// Converts the next octets, and gives them piece by piece.
    pub(super) fn convert(&mut self, octets: &[u8], mut each: impl FnMut(&[u8])) {
        match &mut self.way {
            Way::Unchanged => each(octets),
            Way::Utf7(utf7) => utf7.convert(octets, &mut each),
            Way::Decoder(decoder) => {
                for step in octets.chunks(STEP_OCTETS) {
                    step_through(decoder, step, false, &mut each);
                }
            }
        }
    }

    /// The text has ended: gives what is left of it.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        match std::mem::replace(&mut self.way, Way::Unchanged) {
            Way::Unchanged => {}
            Way::Utf7(mut utf7) => utf7.finish(&mut each),
            Way::Decoder(mut decoder) => step_through(&mut decoder, &[], true, &mut each),
        }
    }
}

fn step_through(decoder: &mut Decoder, octets: &[u8], last: bool, each: &mut impl FnMut(&[u8])) {
    let mut utf8 = [0; 3 * STEP_OCTETS + 16];
    let mut rest = octets;
    loop {
        let (result, taken, given, _) = decoder.decode_to_utf8(rest, &mut utf8, last);
        each(&utf8[..given]);
        rest = &rest[taken..];
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_utf8_in_any_cut() {
        let table: [(&str, &[u8], &str); 8] = [
            ("us-ascii", b"viagra", "viagra"),
            ("ISO-8859-1", b"caf\xe9", "café"),
            ("utf-16le", b"v\0i\0a\0", "via"),
            ("utf-16be", b"\0v\0i", "vi"),
            ("koi8-r", b"\xd7\xc9", "ви"),
            ("iso-2022-jp", b"\x1b$B$\"\x1b(B!", "あ!"),
            ("utf-7", b"+AHY-ia", "via"),
            ("utf-8", b"a\xff\xe2\x82", "a\u{fffd}\u{fffd}"),
        ];
        for (name, octets, expected) in table {
            for cut in 0..=octets.len() {
                let mut converter = ToUtf8::from_name(name.as_bytes()).unwrap();
                let mut out = Vec::new();
                converter.convert(&octets[..cut], |piece| out.extend_from_slice(piece));
                converter.convert(&octets[cut..], |piece| out.extend_from_slice(piece));
                converter.finish(|piece| out.extend_from_slice(piece));
                assert_eq!(out, expected.as_bytes(), "{name} cut at {cut}");
            }
        }
        assert!(ToUtf8::from_name(b"x-none").is_none());
    }
}
