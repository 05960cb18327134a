//! UTF-7 (RFC 2152), which old mail clients still read and browsers never: letters hidden from
//! whoever does not undo it.

use memchr::memchr;

/// The names under which clients know it.
const NAMES: [&[u8]; 4] = [b"utf-7", b"unicode-1-1-utf-7", b"x-unicode-2-0-utf-7", b"csutf7"];

/// Octets that are gathered before they are given.
const GIVEN_OCTETS: usize = 256;

/// A text in UTF-7 that becomes UTF-8, in any cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf7 {
    /// Between a plus sign and the end of its run, the bits that make no unit yet.
    run: Option<Run>,
    /// The first half of a pair.
    high: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Run {
    bits: u32,
    count: u8,
    /// There was a digit, so that the plus sign itself is no text.
    begun: bool,
}

/// UTF-8 that is given piece by piece.
struct Out<'a, F: FnMut(&[u8])> {
    octets: [u8; GIVEN_OCTETS],
    length: usize,
    each: &'a mut F,
}

impl Utf7 {
    /// Whether a text that names this set is in UTF-7.
    pub(super) fn is_named(name: &[u8]) -> bool {
        let name = name.trim_ascii();
        NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
    }

    /// Converts the next octets. What is no character becomes U+FFFD; octets beyond ASCII, which may
    /// not be there, stay as they are.
    pub(super) fn convert(&mut self, octets: &[u8], each: &mut impl FnMut(&[u8])) {
        let mut out = Out { octets: [0; GIVEN_OCTETS], length: 0, each };
        let mut rest = octets;
        while let Some((first, after)) = rest.split_first() {
            if self.run.is_some() {
                if self.octet_of_run(*first, &mut out) {
                    rest = after;
                }
                continue;
            }
            let plain = memchr(b'+', rest).unwrap_or(rest.len());
            out.flush();
            (out.each)(&rest[..plain]);
            self.run = (plain < rest.len()).then(Run::default);
            rest = rest.get(plain + 1..).unwrap_or_default();
        }
        out.flush();
    }

    /// The text has ended.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(&[u8])) {
        let mut out = Out { octets: [0; GIVEN_OCTETS], length: 0, each };
        self.end_run(&mut out);
        out.flush();
    }

    /// An octet behind a plus sign. False if it ends the run and is text itself.
    fn octet_of_run<F: FnMut(&[u8])>(&mut self, octet: u8, out: &mut Out<'_, F>) -> bool {
        let Some(run) = &mut self.run else { return false };
        let Some(digit) = digit(octet) else {
            self.end_run(out);
            return octet == b'-';
        };
        run.begun = true;
        run.bits = run.bits << 6 | u32::from(digit);
        run.count += 6;
        if run.count >= 16 {
            run.count -= 16;
            let unit = (run.bits >> run.count) as u16;
            run.bits &= (1 << run.count) - 1;
            self.unit(unit, out);
        }
        true
    }

    /// A unit of UTF-16.
    fn unit<F: FnMut(&[u8])>(&mut self, unit: u16, out: &mut Out<'_, F>) {
        let units = [self.high.take(), Some(unit)];
        let mut last = None;
        for character in char::decode_utf16(units.into_iter().flatten()) {
            if let Some(earlier) = last.replace(character) {
                out.push(earlier.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        match last {
            // The second half may follow.
            Some(Err(_)) if (0xd800..0xdc00).contains(&unit) => self.high = Some(unit),
            Some(character) => out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER)),
            None => {}
        }
    }

    fn end_run<F: FnMut(&[u8])>(&mut self, out: &mut Out<'_, F>) {
        if self.high.take().is_some() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
        // `+-` is a plus sign, and so is one that nothing follows.
        if self.run.take().is_some_and(|run| !run.begun) {
            out.push('+');
        }
    }
}

impl<F: FnMut(&[u8])> Out<'_, F> {
    fn push(&mut self, character: char) {
        if GIVEN_OCTETS - self.length < 4 {
            self.flush();
        }
        self.length += character.encode_utf8(&mut self.octets[self.length..]).len();
    }

    fn flush(&mut self) {
        (self.each)(&self.octets[..self.length]);
        self.length = 0;
    }
}

fn digit(octet: u8) -> Option<u8> {
    Some(match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[&[u8]]) -> String {
        let (mut utf7, mut out) = (Utf7::default(), Vec::new());
        let mut each = |octets: &[u8]| out.extend_from_slice(octets);
        pieces.iter().for_each(|piece| utf7.convert(piece, &mut each));
        utf7.finish(&mut each);
        String::from_utf8_lossy(&out).into_owned()
    }

    // RFC 2152, its examples first; the others are what Python 3 makes of them, but for those that
    // it refuses.
    #[test]
    fn a_text_becomes_utf8_in_any_cut() {
        let table = [
            ("A+ImIDkQ.", "A\u{2262}\u{391}."),
            ("Hi Mom -+Jjo--!", "Hi Mom -\u{263a}-!"),
            ("+ZeVnLIqe-", "日本語"),
            ("Item 3 is +AKM-1.", "Item 3 is £1."),
            ("1 +- 1 +-- 2", "1 + 1 +- 2"),
            ("+AHYAaQBhAGcAcgBh-", "viagra"),
            ("+AHY-i+AGE-gra", "viagra"),
            ("+AHY i", "v i"),
            ("+2D3eAA-", "😀"),
            ("+2D3-x", "\u{fffd}x"),
            ("+2D3YPd4A-", "\u{fffd}😀"),
            ("+3gA-", "\u{fffd}"),
            ("+2D0AYQ-", "\u{fffd}a"),
            ("a+", "a+"),
            ("a+!b", "a+!b"),
            ("+AHY", "v"),
            ("", ""),
        ];
        for (written, expected) in table {
            let octets = written.as_bytes();
            for cut in 0..=octets.len() {
                let (head, tail) = octets.split_at(cut);
                assert_eq!(text(&[head, tail]), expected, "{written} cut at {cut}");
            }
        }
        let long = "+2D3eAA-".repeat(1000);
        assert_eq!(text(&[long.as_bytes()]), "😀".repeat(1000));
    }

    #[test]
    fn it_is_known_by_its_names() {
        for name in ["utf-7", "UTF-7", " Utf-7 ", "unicode-1-1-utf-7", "csUTF7"] {
            assert!(Utf7::is_named(name.as_bytes()), "{name}");
        }
        for name in ["", "utf-8", "utf7 x", "utf-16"] {
            assert!(!Utf7::is_named(name.as_bytes()), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_become_the_same_in_any_cut(
            octets: Vec<u8>, text_like in "[A-Za-z0-9+/ -]{0,80}", cut: proptest::sample::Index,
        ) {
            for octets in [&octets[..], text_like.as_bytes()] {
                let (head, tail) = octets.split_at(cut.index(octets.len() + 1));
                let whole = text(&[octets]);
                proptest::prop_assert_eq!(text(&[head, tail]), whole);
            }
        }
    }
}
