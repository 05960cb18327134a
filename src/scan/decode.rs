//! The two transfer encodings that hide octets: base64 and quoted-printable, undone octet by octet.
//!
//! Both decoders can stop after every octet and go on later, and each octet costs about the same
//! whatever the text is. They read what mail clients would read: octets that do not belong are
//! passed over or kept, never an error, and say so through [`Decoder::dirty`].

use super::content_type::Encoding;
use super::sixteen::{self, Word, equal};
use crate::limits::{DECODE_STEP_OCTETS, QP_BLANKS_HELD};
use memchr::memchr2;

/// Octets that one decoding step can give at most: quoted-printable may let go the blanks it held.
pub(super) const DECODED_STEP_OCTETS: usize = DECODE_STEP_OCTETS + QP_BLANKS_HELD + 4;

/// A leaf's decoder, and how far it is.
#[derive(Clone, Debug)]
pub(super) enum Decoder {
    /// The octets are what they are: `7bit`, `8bit`, `binary`, or none that is known.
    Identity,
    /// RFC 2045 6.8.
    Base64(Base64),
    /// RFC 2045 6.7.
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// The decoder for an encoding, before any octet.
    pub(super) fn new(encoding: Encoding) -> Decoder {
        match encoding {
            Encoding::Identity => Decoder::Identity,
            Encoding::Base64 => Decoder::Base64(Base64::default()),
            Encoding::QuotedPrintable => Decoder::QuotedPrintable(QuotedPrintable::default()),
        }
    }

    /// Whether octets were seen that do not belong in this encoding.
    pub(super) fn dirty(&self) -> bool {
        match self {
            Decoder::Identity => false,
            Decoder::Base64(base64) => base64.dirty,
            Decoder::QuotedPrintable(printable) => printable.dirty,
        }
    }

    /// Decodes at most [`DECODE_STEP_OCTETS`] of `wire` into `plain`. Returns how many octets were
    /// written.
    pub(super) fn step(&mut self, wire: &[u8], plain: &mut [u8; DECODED_STEP_OCTETS]) -> usize {
        debug_assert!(wire.len() <= DECODE_STEP_OCTETS);
        let mut output = Output { octets: plain, length: 0 };
        match self {
            Decoder::Identity => output.extend(wire),
            Decoder::Base64(base64) => base64.step(wire, &mut output),
            Decoder::QuotedPrintable(printable) => printable.step(wire, &mut output),
        }
        output.length
    }

    /// The end of the leaf: gives what was held back and still counts.
    pub(super) fn finish(&mut self, plain: &mut [u8; DECODED_STEP_OCTETS]) -> usize {
        let mut output = Output { octets: plain, length: 0 };
        match self {
            Decoder::Identity => {}
            Decoder::Base64(base64) => base64.end_group(&mut output),
            Decoder::QuotedPrintable(printable) => printable.finish(&mut output),
        }
        output.length
    }
}

/// Decoded octets of one step. The room is enough by construction; an octet beyond it is dropped
/// rather than a reason to fail.
struct Output<'a> {
    octets: &'a mut [u8; DECODED_STEP_OCTETS],
    length: usize,
}

impl Output<'_> {
    #[inline]
    fn push(&mut self, octet: u8) {
        debug_assert!(self.length < DECODED_STEP_OCTETS);
        if let Some(place) = self.octets.get_mut(self.length) {
            *place = octet;
            self.length += 1;
        }
    }

    /// Undoes whole groups of digits at once. False, and nothing done, if they are not all digits.
    fn base64(&mut self, digits: &[u8]) -> bool {
        let room = base64_simd::Out::from_slice(&mut self.octets[self.length..]);
        let plain = base64_simd::STANDARD_NO_PAD.decode(digits, room).map_or(0, |out| out.len());
        self.length += plain;
        plain > 0
    }

    /// Takes the octets of `wire` up to the first one that is marked, and returns how many there are.
    #[inline]
    fn run(&mut self, wire: &[u8], marks: impl Fn(Word) -> Word) -> usize {
        let mut taken = 0;
        while let Some(word) = wire[taken..].first_chunk() {
            let Some(room) = self.octets[self.length..].first_chunk_mut() else { break };
            // All of them are put there, since that is one step; those too many are written over.
            *room = *word;
            let length = sixteen::before(sixteen::bits(marks(Word::new(*word))));
            (self.length, taken) = (self.length + length, taken + length);
            if length < sixteen::OCTETS {
                return taken;
            }
        }
        let rest = &wire[taken..];
        let last = sixteen::until(rest, marks);
        self.extend(&rest[..last]);
        taken + last
    }

    fn extend(&mut self, octets: &[u8]) {
        let room = self.octets.len() - self.length;
        debug_assert!(octets.len() <= room);
        let octets = &octets[..octets.len().min(room)];
        self.octets[self.length..][..octets.len()].copy_from_slice(octets);
        self.length += octets.len();
    }
}

// ---- base64 ---------------------------------------------------------------------------------

/// A base64 text, with up to three characters of the group that is open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Base64 {
    group: u32,
    count: u8,
    /// Padding was seen, so that no further group should come.
    padded: bool,
    dirty: bool,
}

/// Octets of a line from which on the fast way pays, and those that it tries at once: what it tried
/// in vain is then gone over slowly, and should not be much.
const FAST_OCTETS_MIN: usize = 32;
const FAST_OCTETS_MAX: usize = 1024;

/// Values in [`BASE64`] that are no digits.
const URL_DIGIT: u8 = 64;
const BLANK: u8 = 128;
const PADDING: u8 = 129;
const FOREIGN: u8 = 130;

/// What each octet is in a base64 text: a digit, one of the URL alphabet (with [`URL_DIGIT`] added,
/// RFC 4648 5), white space, padding, or foreign.
static BASE64: [u8; 256] = base64_table();

const fn base64_table() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [FOREIGN; 256];
    let mut digit = 0;
    while digit < 64 {
        table[alphabet[digit] as usize] = digit as u8;
        digit += 1;
    }
    table[b'-' as usize] = URL_DIGIT + 62;
    table[b'_' as usize] = URL_DIGIT + 63;
    table[b' ' as usize] = BLANK;
    table[b'\t' as usize] = BLANK;
    table[b'\r' as usize] = BLANK;
    table[b'\n' as usize] = BLANK;
    table[b'=' as usize] = PADDING;
    table
}

impl Base64 {
    fn step(&mut self, wire: &[u8], output: &mut Output<'_>) {
        let mut rest = wire;
        while !rest.is_empty() {
            let mut slow = FAST_OCTETS_MIN;
            if self.count == 0 && !self.padded {
                let line = clean_line(rest);
                if !line.is_empty() && output.base64(line) {
                    rest = &rest[line.len()..];
                    continue;
                }
                slow = slow.max(line.len());
            }
            // One octet at a time, to where the fast way may go on.
            let mut taken = 0;
            for octet in rest.iter().take(slow) {
                self.octet(*octet, output);
                taken += 1;
                if *octet == b'\n' && self.count == 0 {
                    break;
                }
            }
            rest = &rest[taken..];
        }
    }

    #[inline]
    fn octet(&mut self, octet: u8, output: &mut Output<'_>) {
        match BASE64[usize::from(octet)] {
            digit if digit < URL_DIGIT => self.digit(digit, output),
            digit if digit < BLANK => {
                self.dirty = true;
                self.digit(digit - URL_DIGIT, output);
            }
            BLANK => {}
            PADDING => {
                self.end_group(output);
                self.padded = true;
            }
            // RFC 2045 6.8: "All line breaks or other characters not found in Table 1 must be
            // ignored by decoding software."
            _ => self.dirty = true,
        }
    }

    fn digit(&mut self, digit: u8, output: &mut Output<'_>) {
        // Digits after padding: mail clients go on with a new group, and so does this.
        self.dirty |= self.padded;
        self.group = self.group << 6 | u32::from(digit);
        self.count += 1;
        if self.count == 4 {
            let [_, first, second, third] = self.group.to_be_bytes();
            output.push(first);
            output.push(second);
            output.push(third);
            (self.group, self.count) = (0, 0);
        }
    }

    /// Padding or the end: two or three digits are one or two octets, a lone digit is none.
    fn end_group(&mut self, output: &mut Output<'_>) {
        let [_, first, second, _] = (self.group << (6 * (4 - u32::from(self.count)))).to_be_bytes();
        match self.count {
            0 => {}
            1 => self.dirty = true,
            2 => output.push(first),
            _ => {
                output.push(first);
                output.push(second);
            }
        }
        (self.group, self.count) = (0, 0);
    }
}

// ---- quoted-printable -----------------------------------------------------------------------

/// A quoted-printable text, with the blanks and the escape that are open.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotedPrintable {
    escape: Escape,
    /// The blanks that are held, first one lowest: a bit is set for a tab.
    tabs: u128,
    blank_count: u8,
    dirty: bool,
}

/// Octets that are read one by one before the fast way is tried again.
const SLOW_OCTETS: usize = 16;

/// How much of an escape has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Equals,
    /// The sign and one hexadecimal digit.
    Digit(u8),
    /// The sign and blanks, which are held.
    Blanks,
    /// The sign and a carriage return, perhaps with blanks between.
    Return,
}

impl Default for QuotedPrintable {
    fn default() -> QuotedPrintable {
        QuotedPrintable { escape: Escape::None, tabs: 0, blank_count: 0, dirty: false }
    }
}

/// Whether an octet has a meaning of its own in quoted-printable.
static QP_SPECIAL: [bool; 256] = qp_special_table();

const fn qp_special_table() -> [bool; 256] {
    let mut table = [false; 256];
    table[b'=' as usize] = true;
    table[b' ' as usize] = true;
    table[b'\t' as usize] = true;
    table[b'\r' as usize] = true;
    table[b'\n' as usize] = true;
    table
}

impl QuotedPrintable {
    fn step(&mut self, wire: &[u8], output: &mut Output<'_>) {
        let mut rest = wire;
        while !rest.is_empty() {
            if self.escape == Escape::None {
                rest = self.plain_run(rest, output);
            }
            let slow = rest.len().min(SLOW_OCTETS);
            for octet in &rest[..slow] {
                if self.escape == Escape::None {
                    self.text(*octet, output);
                } else {
                    self.escaped(*octet, output);
                }
            }
            rest = &rest[slow..];
        }
    }

    /// The fast way: text, and the escapes and line ends that are there as a whole. Returns what it
    /// left.
    fn plain_run<'a>(&mut self, wire: &'a [u8], output: &mut Output<'_>) -> &'a [u8] {
        let mut rest = wire;
        while self.blank_count == 0 {
            let run = output
                .run(rest, |word| equal(word, b'=') | equal(word, b'\r') | equal(word, b'\n'));
            let (text, after) = rest.split_at(run);
            let blanks = text.iter().rev().take_while(|octet| is_blank(**octet)).count();
            // As many as would be held: each time that they are too many they are let go.
            let blanks = if blanks == 0 { 0 } else { (blanks - 1) % QP_BLANKS_HELD + 1 };
            rest = match *after {
                [b'\r', b'\n', ref next_line @ ..] => {
                    output.length -= blanks;
                    output.extend(b"\r\n");
                    next_line
                }
                [b'\n', ref next_line @ ..] => {
                    output.length -= blanks;
                    output.push(b'\n');
                    next_line
                }
                [b'=', b'\r', b'\n', ref next_line @ ..] | [b'=', b'\n', ref next_line @ ..] => {
                    next_line
                }
                [b'=', high, low, ref behind @ ..] if is_hexadecimal(high, low) => {
                    output.push(hexadecimal(high) << 4 | hexadecimal(low));
                    behind
                }
                _ => {
                    output.length -= blanks;
                    let held = &text[run - blanks..];
                    held.iter().for_each(|blank| self.hold_blank(*blank, output));
                    return after;
                }
            };
        }
        rest
    }

    #[inline]
    fn text(&mut self, octet: u8, output: &mut Output<'_>) {
        if !QP_SPECIAL[usize::from(octet)] {
            if self.blank_count > 0 {
                self.release_blanks(output);
            }
            output.push(octet);
            return;
        }
        match octet {
            b' ' | b'\t' => self.hold_blank(octet, output),
            b'=' => {
                self.release_blanks(output);
                self.escape = Escape::Equals;
            }
            _ => {
                // RFC 2045 6.7 (3): "any trailing white space on a Quoted-Printable line must be
                // deleted, as it will necessarily have been added by intermediate transport agents."
                (self.blank_count, self.tabs) = (0, 0);
                output.push(octet);
            }
        }
    }

    fn escaped(&mut self, octet: u8, output: &mut Output<'_>) {
        match (self.escape, octet) {
            (Escape::Equals, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.escape = Escape::Digit(octet);
            }
            (Escape::Digit(high), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                output.push(hexadecimal(high) << 4 | hexadecimal(octet));
                self.escape = Escape::None;
            }
            // RFC 2045 6.7 (5): an equals sign last on the line is a soft line break, and by (3)
            // it still is the last one when blanks were added.
            (Escape::Equals | Escape::Blanks, b'\r') => {
                (self.blank_count, self.tabs) = (0, 0);
                self.escape = Escape::Return;
            }
            (Escape::Equals | Escape::Blanks | Escape::Return, b'\n') => {
                (self.blank_count, self.tabs) = (0, 0);
                self.escape = Escape::None;
            }
            (Escape::Equals | Escape::Blanks, b' ' | b'\t')
                if usize::from(self.blank_count) < QP_BLANKS_HELD =>
            {
                self.escape = Escape::Blanks;
                self.hold_blank(octet, output);
            }
            _ => {
                self.broken_escape(output);
                self.text(octet, output);
            }
        }
    }

    /// What began like an escape is none, and stands for itself.
    fn broken_escape(&mut self, output: &mut Output<'_>) {
        self.dirty = true;
        match std::mem::replace(&mut self.escape, Escape::None) {
            Escape::None | Escape::Return => {}
            Escape::Equals | Escape::Blanks => {
                output.push(b'=');
                self.release_blanks(output);
            }
            Escape::Digit(digit) => {
                output.push(b'=');
                output.push(digit);
            }
        }
    }

    fn hold_blank(&mut self, octet: u8, output: &mut Output<'_>) {
        if usize::from(self.blank_count) == QP_BLANKS_HELD {
            self.release_blanks(output);
        }
        self.tabs |= u128::from(octet == b'\t') << self.blank_count;
        self.blank_count += 1;
    }

    fn release_blanks(&mut self, output: &mut Output<'_>) {
        if self.blank_count == 0 {
            return;
        }
        for _ in 0..self.blank_count {
            output.push(if self.tabs & 1 != 0 { b'\t' } else { b' ' });
            self.tabs >>= 1;
        }
        (self.blank_count, self.tabs) = (0, 0);
    }

    fn finish(&mut self, output: &mut Output<'_>) {
        // The line end of a soft break before a delimiter belongs to the delimiter, so a lone sign
        // at the end is clean.
        if let Escape::Digit(_) = self.escape {
            self.broken_escape(output);
        }
        (self.escape, self.blank_count, self.tabs) = (Escape::None, 0, 0);
    }
}

/// The whole groups of digits that begin `wire`, as far as the line ends tell; nothing when they are
/// too few to pay. Trying them in vain costs a fraction of what going slowly over them does.
fn clean_line(wire: &[u8]) -> &[u8] {
    let most = &wire[..wire.len().min(FAST_OCTETS_MAX)];
    let length = memchr2(b'\r', b'\n', most).unwrap_or(most.len()) & !3;
    if length < FAST_OCTETS_MIN { &[] } else { &most[..length] }
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

fn is_hexadecimal(high: u8, low: u8) -> bool {
    high.is_ascii_hexdigit() && low.is_ascii_hexdigit()
}

fn hexadecimal(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: Encoding, wire: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
        let mut decoder = Decoder::new(encoding);
        let (mut all, mut plain) = (Vec::new(), [0; DECODED_STEP_OCTETS]);
        let mut from = 0;
        for to in cuts.iter().copied().chain([wire.len()]) {
            for piece in wire[from..to].chunks(DECODE_STEP_OCTETS) {
                let length = decoder.step(piece, &mut plain);
                all.extend_from_slice(&plain[..length]);
            }
            from = to;
        }
        let length = decoder.finish(&mut plain);
        all.extend_from_slice(&plain[..length]);
        (all, decoder.dirty())
    }

    /// Every entry whole, cut once at every octet, and in one-octet pieces.
    fn holds(encoding: Encoding, table: &[(&str, &str, bool)]) {
        for (wire, plain, dirty) in table {
            let expected = (plain.as_bytes().to_vec(), *dirty);
            let wire = wire.as_bytes();
            let each: Vec<usize> = (0..wire.len()).collect();
            assert_eq!(decoded(encoding, wire, &[]), expected, "{wire:?}");
            assert_eq!(decoded(encoding, wire, &each), expected, "{wire:?} in single octets");
            for cut in each {
                assert_eq!(decoded(encoding, wire, &[cut]), expected, "{wire:?} cut at {cut}");
            }
        }
    }

    // RFC 2045 6.8 for the clean ones; the dirty ones are read as mail clients read them.
    #[test]
    fn base64_is_undone() {
        holds(
            Encoding::Base64,
            &[
                ("", "", false),
                ("dmlhZ3Jh", "viagra", false),
                ("dmlh\r\nZ3Jh\r\n", "viagra", false),
                ("d m\tl\nh", "via", false),
                ("dg==", "v", false),
                ("dmk=", "vi", false),
                ("dmk", "vi", false),
                ("dmlhZ", "via", true),
                ("dm!lh", "via", true),
                ("dg==dmlh", "vvia", true),
                ("dmk=\r\nYQ==", "via", true),
                ("d===", "", true),
                ("=", "", false),
                ("Pz8_", "???", true),
                ("Pj4-", ">>>", true),
            ],
        );
    }

    // RFC 2045 6.7.
    #[test]
    fn quoted_printable_is_undone() {
        holds(
            Encoding::QuotedPrintable,
            &[
                ("", "", false),
                ("plain text", "plain text", false),
                ("=76=69=61", "via", false),
                ("=2e=2E", "..", false),
                ("via=\r\ngra", "viagra", false),
                ("via=\ngra", "viagra", false),
                ("via= \t\r\ngra", "viagra", false),
                ("via= \ngra", "viagra", false),
                ("via \t\r\ngra", "via\r\ngra", false),
                ("via \ngra", "via\ngra", false),
                ("via  gra", "via  gra", false),
                ("via =\r\ngra", "via gra", false),
                ("via=20\r\ngra", "via \r\ngra", false),
                ("via=", "via", false),
                ("via=\r", "via", false),
                ("via \t", "via", false),
                ("via=Zgra", "via=Zgra", true),
                ("via=7", "via=7", true),
                ("via=7g", "via=7g", true),
                ("==41", "=A", true),
                ("=4=41", "=4A", true),
                ("= x", "= x", true),
                ("=\rx", "x", true),
                ("=\r=41", "A", true),
            ],
        );
    }

    #[test]
    fn a_run_of_blanks_is_held_up_to_its_limit() {
        let held = " ".repeat(QP_BLANKS_HELD);
        let (fits, over) = (format!("a{held}\r\nb"), format!("a {held}\r\nb"));
        assert_eq!(decoded(Encoding::QuotedPrintable, fits.as_bytes(), &[]).0, b"a\r\nb");
        let (plain, dirty) = decoded(Encoding::QuotedPrintable, over.as_bytes(), &[]);
        assert!(!dirty && plain == format!("a{held}\r\nb").into_bytes());
        for (wire, dirty) in [(format!("={held}\nb"), false), (format!("= {held}\nb"), true)] {
            let each: Vec<usize> = (0..wire.len()).collect();
            let whole = decoded(Encoding::QuotedPrintable, wire.as_bytes(), &[]);
            assert_eq!(whole, decoded(Encoding::QuotedPrintable, wire.as_bytes(), &each));
            assert_eq!(whole.1, dirty);
        }
    }

    proptest::proptest! {
        /// The fast ways give what going octet by octet gives.
        #[test]
        fn any_text_is_undone_alike_in_any_cut(
            lines in proptest::collection::vec("[ -~\t\r=]{0,90}|[A-Za-z0-9+/]{0,90}|[= \t]{0,300}", 0..12),
            ends in "[rn!=]{12}",
            cut: proptest::sample::Index,
        ) {
            let ends = ends.bytes().map(|end| match end {
                b'r' => "\r\n",
                b'n' => "\n",
                b'!' => "!",
                _ => "=\r\n",
            });
            let wire: String = lines.iter().zip(ends).flat_map(|(line, end)| [line, end]).collect();
            let each: Vec<usize> = (0..wire.len()).collect();
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
                let slow = decoded(encoding, wire.as_bytes(), &each);
                proptest::prop_assert_eq!(&decoded(encoding, wire.as_bytes(), &[]), &slow);
                let cut = cut.index(wire.len() + 1);
                proptest::prop_assert_eq!(&decoded(encoding, wire.as_bytes(), &[cut]), &slow);
            }
        }
    }
}
