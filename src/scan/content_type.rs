//! What a part says of itself: its media type, its boundary, and its transfer encoding.
//!
//! Real mail breaks the grammar of RFC 2045 5.1 in many ways, and mail clients each guess in their
//! own. So nothing here fails: a value is read as most clients would, and where they may differ the
//! value is called ambiguous and, for boundaries, both readings are kept.

use super::utf7::Utf7;
use crate::limits::{BOUNDARY_OCTETS, MEDIA_TYPE_OCTETS};
use std::fmt;

/// How the octets of a leaf are encoded for transfer, as far as it matters to a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// The octets are what they are: `7bit`, `8bit`, `binary`, or an encoding that is not known.
    #[default]
    Identity,
    /// RFC 2045 6.8.
    Base64,
    /// RFC 2045 6.7.
    QuotedPrintable,
}

impl Encoding {
    /// The name in a `Content-Transfer-Encoding` field.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Base64 => "base64",
            Encoding::QuotedPrintable => "quoted-printable",
        }
    }
}

/// A media type such as `text/plain`, in lower case, cut at [`MEDIA_TYPE_OCTETS`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MediaType {
    octets: [u8; MEDIA_TYPE_OCTETS],
    length: u8,
}

impl MediaType {
    /// RFC 2045 5.2: a part without a `Content-Type` is plain text.
    pub const TEXT_PLAIN: MediaType = MediaType::known(b"text/plain");
    /// RFC 2046 5.1.5: a part of a digest without a `Content-Type` is a message.
    pub const MESSAGE: MediaType = MediaType::known(b"message/rfc822");

    const fn known(name: &[u8]) -> MediaType {
        let mut octets = [0; MEDIA_TYPE_OCTETS];
        let mut at = 0;
        while at < name.len() {
            octets[at] = name[at];
            at += 1;
        }
        MediaType { octets, length: name.len() as u8 }
    }

    /// The octets as written, but in lower case and without blanks and comments.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }

    pub(super) fn is_multipart(&self) -> bool {
        self.octets().starts_with(b"multipart/")
    }

    pub(super) fn is_digest(&self) -> bool {
        self.octets() == b"multipart/digest"
    }

    /// RFC 2046 5.2.1, and its form for internationalized mail, RFC 6532 3.7.
    pub(super) fn is_message(&self) -> bool {
        matches!(self.octets(), b"message/rfc822" | b"message/global")
    }

    /// Text, or what is read as text because it says no type that could be known (RFC 2045 5.2).
    pub(super) fn is_text(&self) -> bool {
        let says_no_type = !self.octets().contains(&b'/');
        self.octets().starts_with(b"text/") || says_no_type || self.is_html()
    }

    pub(super) fn is_html(&self) -> bool {
        matches!(self.octets(), b"text/html" | b"application/xhtml+xml")
    }

    fn push(&mut self, octet: u8) {
        if let Some(place) = self.octets.get_mut(usize::from(self.length)) {
            *place = octet.to_ascii_lowercase();
            self.length += 1;
        }
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.octets().escape_ascii())
    }
}

/// A boundary: its first octets, and how long it is in full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Boundary {
    octets: [u8; BOUNDARY_OCTETS],
    kept: u8,
    octets_in_full: u32,
}

impl Boundary {
    pub(super) const EMPTY: Boundary =
        Boundary { octets: [0; BOUNDARY_OCTETS], kept: 0, octets_in_full: 0 };

    /// The octets that are kept: all of a boundary that RFC 2046 5.1.1 permits.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.kept)]
    }

    /// How long the boundary is, whatever of it is kept.
    pub(super) fn octets_in_full(&self) -> u32 {
        self.octets_in_full
    }

    /// Whether it is longer than what is kept of it.
    pub(super) fn is_cut(&self) -> bool {
        self.octets_in_full > u32::from(self.kept)
    }

    fn push(&mut self, octet: u8) {
        self.octets_in_full = self.octets_in_full.saturating_add(1);
        if let Some(place) = self.octets.get_mut(usize::from(self.kept)) {
            *place = octet;
            self.kept += 1;
        }
    }

    // RFC 2046 5.1.1: "... up to 70 characters from a set of characters known to be very robust
    // through mail gateways, and NOT ending with white space."
    fn without_blanks_at_end(mut self) -> Boundary {
        while !self.is_cut() && self.octets().last().is_some_and(|octet| is_blank(*octet)) {
            self.kept -= 1;
            self.octets_in_full -= 1;
        }
        self
    }
}

impl fmt::Debug for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.octets().escape_ascii().to_string())
    }
}

/// The character set that a text names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Charset {
    /// None, so that it is ASCII, or what else clients take it for.
    #[default]
    Unnamed,
    /// One that is known.
    Known(&'static encoding_rs::Encoding),
    /// UTF-7, which some clients read and others do not.
    Utf7,
    /// One that is not known.
    Unknown,
}

/// A `Content-Type` value, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentType {
    pub media_type: MediaType,
    /// The boundary, and another one if the value can be read in two ways.
    pub boundaries: [Option<Boundary>; 2],
    /// The character set of a text.
    pub charset: Charset,
    /// Mail clients may read the value differently.
    pub ambiguous: bool,
}

impl Charset {
    fn read(value: &Value<'_>) -> Charset {
        let mut name = [0; CHARSET_OCTETS];
        let octets = name.iter_mut().zip(value.octets()).map(|(place, octet)| *place = octet);
        let length = octets.count();
        match encoding_rs::Encoding::for_label(&name[..length]) {
            Some(encoding) => Charset::Known(encoding),
            None if length == 0 => Charset::Unnamed,
            None if Utf7::is_named(&name[..length]) => Charset::Utf7,
            None => Charset::Unknown,
        }
    }

    /// The name of the set that a text in it is read as, if it names one.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Charset::Unnamed => None,
            Charset::Known(encoding) => Some(encoding.name()),
            Charset::Utf7 => Some("UTF-7"),
            Charset::Unknown => Some("unknown"),
        }
    }
}

/// Octets of the longest name of a character set.
const CHARSET_OCTETS: usize = 64;

impl ContentType {
    /// What is known of a part that names its type alone.
    pub(super) fn of(media_type: MediaType) -> ContentType {
        let (boundaries, charset) = ([None, None], Charset::Unnamed);
        ContentType { media_type, boundaries, charset, ambiguous: false }
    }

    /// Reads an unfolded value.
    pub(super) fn read(value: &[u8]) -> ContentType {
        let mut reader = Reader { rest: value };
        let media_type = reader.media_type();
        let mut read = ContentType::of(media_type);
        let mut pieces = Pieces { joined: Boundary::EMPTY, next: 0 };
        while let Some(name) = reader.parameter_name() {
            let Some(boundary_name) = strip_prefix_in_any_case(name, b"boundary") else {
                let value = reader.parameter_value();
                if name.eq_ignore_ascii_case(b"charset") {
                    read.charset = Charset::read(&value);
                }
                continue;
            };
            let value = reader.parameter_value();
            read.ambiguous |= value.ambiguous;
            if boundary_name.is_empty() {
                read.add(value.boundary());
            } else if boundary_name == b"*" {
                read.add(value.extended_boundary());
            } else {
                read.ambiguous |= !pieces.add(boundary_name, &value);
            }
        }
        if pieces.next > 0 {
            read.add(pieces.joined);
        }
        read
    }

    pub(super) fn add(&mut self, boundary: Boundary) {
        let boundary = boundary.without_blanks_at_end();
        self.ambiguous |= self.boundaries[0].is_some() || boundary.is_cut();
        self.ambiguous |= boundary.octets().is_empty();
        if self.boundaries.contains(&Some(boundary)) {
            return;
        }
        if let Some(place) = self.boundaries.iter_mut().find(|place| place.is_none()) {
            *place = Some(boundary);
        }
    }
}

/// Reads the value of a `Content-Transfer-Encoding` field; the flag says that clients may differ.
pub(super) fn read_encoding(value: &[u8]) -> (Encoding, bool) {
    let mut reader = Reader { rest: value };
    reader.skip_blanks_and_comments();
    let token = reader.token(b"");
    reader.skip_blanks_and_comments();
    let more = !reader.rest.is_empty();
    let is = |name: &[u8]| token.eq_ignore_ascii_case(name);
    if is(b"base64") {
        (Encoding::Base64, more)
    } else if is(b"quoted-printable") {
        (Encoding::QuotedPrintable, more)
    } else {
        // RFC 2045 6.4: an encoding that is not known makes the part opaque. `none` is written
        // by old mailers and means what it says.
        let known: [&[u8]; 4] = [b"7bit", b"8bit", b"binary", b"none"];
        (Encoding::Identity, more || !known.into_iter().any(is))
    }
}

/// The pieces `boundary*0=`, `boundary*1=` of RFC 2231 3, joined as they come in their order.
struct Pieces {
    joined: Boundary,
    next: u32,
}

impl Pieces {
    /// Adds a piece. False if it is not the next one, which leaves it out.
    fn add(&mut self, number: &[u8], value: &Value<'_>) -> bool {
        let number = number.strip_prefix(b"*").unwrap_or(number);
        let (digits, extended) = match number.strip_suffix(b"*") {
            Some(digits) => (digits, true),
            None => (number, false),
        };
        let parsed = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        if parsed != Some(self.next) {
            return false;
        }
        let piece = match (extended, self.next) {
            (true, 0) => value.extended_boundary(),
            (true, _) => percent_decoded(value.octets()),
            (false, _) => value.boundary(),
        };
        piece.octets().iter().for_each(|octet| self.joined.push(*octet));
        self.next += 1;
        true
    }
}

/// A parameter's value as it stands in the field.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) written: &'a [u8],
    quoted: bool,
    ambiguous: bool,
}

impl<'a> Value<'a> {
    /// The octets with the quoting undone.
    pub(super) fn octets(&self) -> impl Iterator<Item = u8> + 'a {
        let (mut rest, quoted) = (self.written, self.quoted);
        std::iter::from_fn(move || {
            let (mut octet, mut after) = rest.split_first()?;
            if quoted && *octet == b'\\' {
                (octet, after) = after.split_first()?;
            }
            rest = after;
            Some(*octet)
        })
    }

    fn boundary(&self) -> Boundary {
        let mut boundary = Boundary::EMPTY;
        self.octets().for_each(|octet| boundary.push(octet));
        boundary
    }

    /// RFC 2231 4: `charset'language'percent-encoded`.
    fn extended_boundary(&self) -> Boundary {
        let quotes = self.octets().filter(|octet| *octet == b'\'').count();
        let mut left = quotes.min(2);
        let text = self.octets().skip_while(move |octet| {
            let before = left > 0;
            left -= usize::from(before && *octet == b'\'');
            before
        });
        percent_decoded(text)
    }
}

fn percent_decoded(octets: impl Iterator<Item = u8>) -> Boundary {
    let mut boundary = Boundary::EMPTY;
    undo_percent(octets, |octet| boundary.push(octet));
    boundary
}

/// RFC 2231 7: an octet may be written as a percent sign and two hexadecimal digits.
pub(super) fn undo_percent(mut octets: impl Iterator<Item = u8>, mut each: impl FnMut(u8)) {
    while let Some(octet) = octets.next() {
        if octet != b'%' {
            each(octet);
            continue;
        }
        let mut digit = || octets.next().and_then(|digit| char::from(digit).to_digit(16));
        if let (Some(high), Some(low)) = (digit(), digit()) {
            each((high << 4 | low) as u8);
        }
    }
}

/// A cursor over an unfolded value.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the first parameter of a value: behind the type or the disposition.
    pub(super) fn at_parameters(value: &'a [u8]) -> Reader<'a> {
        let mut reader = Reader { rest: value };
        reader.media_type();
        reader
    }

    fn media_type(&mut self) -> MediaType {
        let mut media_type = MediaType::known(b"");
        loop {
            self.skip_blanks_and_comments();
            let token = self.token(b";");
            token.iter().for_each(|octet| media_type.push(*octet));
            // A blank may stand around the slash: RFC 822 3.1.4, which RFC 2045 5.1 builds on.
            self.skip_blanks_and_comments();
            let slash_before = token.last() == Some(&b'/');
            if token.is_empty() || !(slash_before || self.rest.first() == Some(&b'/')) {
                return media_type;
            }
        }
    }

    /// The name of the next parameter, or `None` at the end. Stands behind the `=` afterwards, or
    /// behind the name if there is none.
    pub(super) fn parameter_name(&mut self) -> Option<&'a [u8]> {
        loop {
            self.skip_blanks_and_comments();
            match self.rest.split_first()? {
                (b';' | b'=', after) => self.rest = after,
                _ => break,
            }
        }
        let name = self.token(b";=");
        if name.is_empty() {
            // An octet that no name begins with, such as a lone quote.
            self.rest = self.rest.get(1..)?;
            return Some(name);
        }
        self.skip_blanks_and_comments();
        match self.rest.strip_prefix(b"=") {
            Some(after) => {
                self.rest = after;
                Some(name)
            }
            // A word without a value says nothing.
            None => Some(b""),
        }
    }

    pub(super) fn parameter_value(&mut self) -> Value<'a> {
        self.skip_blanks_and_comments();
        let Some(quoted) = self.rest.strip_prefix(b"\"") else {
            let written = self.token(b";");
            // A comment right after a token belongs to it for clients that know no comments.
            let ambiguous = self.rest.first() == Some(&b'(');
            return Value { written, quoted: false, ambiguous };
        };
        let mut escaped = false;
        let end = quoted.iter().position(|octet| {
            let ends = *octet == b'"' && !escaped;
            escaped = *octet == b'\\' && !escaped;
            ends
        });
        let (written, after) = match end {
            Some(end) => (&quoted[..end], &quoted[end + 1..]),
            None => (quoted, &quoted[quoted.len()..]),
        };
        self.rest = after;
        let clean_end = after.first().is_none_or(|octet| b"; \t(".contains(octet));
        Value { written, quoted: true, ambiguous: end.is_none() || !clean_end }
    }

    /// Octets up to a blank, a comment, or one of `ends`.
    fn token(&mut self, ends: &[u8]) -> &'a [u8] {
        let stop = |octet: &u8| is_blank(*octet) || *octet == b'(' || ends.contains(octet);
        let length = self.rest.iter().position(stop).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        token
    }

    /// RFC 5322 3.2.2: comments nest; a count is enough to follow them.
    fn skip_blanks_and_comments(&mut self) {
        let (mut depth, mut escaped) = (0u32, false);
        let length = self.rest.iter().position(|octet| {
            let literal = escaped;
            escaped = *octet == b'\\' && !literal && depth > 0;
            match octet {
                _ if literal => {}
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                _ => return depth == 0 && !is_blank(*octet),
            }
            false
        });
        self.rest = &self.rest[length.unwrap_or(self.rest.len())..];
    }
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) fn strip_prefix_in_any_case<'a>(octets: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = octets.split_at_checked(prefix.len())?;
    let separate = tail.is_empty() || tail.starts_with(b"*");
    (head.eq_ignore_ascii_case(prefix) && separate).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 2045 5.1, RFC 2046 5.1.1, RFC 2231 3 and 4; and what is seen in mail.
    #[test]
    fn content_types_are_read() {
        let table: &[(&str, &str, &[&str], bool)] = &[
            ("text/plain", "text/plain", &[], false),
            ("Text/HTML; charset=\"utf-8\"", "text/html", &[], false),
            (" (a (b\\) c)) text / plain (x)", "text/plain", &[], false),
            ("multipart/mixed; boundary=abc", "multipart/mixed", &["abc"], false),
            ("multipart/mixed; BOUNDARY = \"a b\"", "multipart/mixed", &["a b"], false),
            ("multipart/mixed; boundary=\"a\\\"b \"", "multipart/mixed", &["a\"b"], false),
            ("multipart/mixed; boundary=a=/b; x=y", "multipart/mixed", &["a=/b"], false),
            ("multipart/mixed boundary=a", "multipart/mixed", &["a"], false),
            ("multipart/mixed;;boundary=a;", "multipart/mixed", &["a"], false),
            ("multipart/mixed; x=\";boundary=no\"; boundary=a", "multipart/mixed", &["a"], false),
            ("multipart/mixed; boundary=(c) a (d)", "multipart/mixed", &["a"], false),
            ("multipart/mixed; boundary=a(d)", "multipart/mixed", &["a"], true),
            ("multipart/mixed; boundary=\"\"", "multipart/mixed", &[""], true),
            ("multipart/mixed; boundary=\"ab", "multipart/mixed", &["ab"], true),
            ("multipart/mixed; boundary=\"ab\"c", "multipart/mixed", &["ab"], true),
            ("multipart/mixed; boundary=a; boundary=b", "multipart/mixed", &["a", "b"], true),
            ("multipart/mixed; boundary=a; boundary=a", "multipart/mixed", &["a"], true),
            ("multipart/mixed; boundary*0=a; boundary*1=\"b\"", "multipart/mixed", &["ab"], false),
            ("multipart/mixed; boundary*1=a; boundary*0=b", "multipart/mixed", &["b"], true),
            ("multipart/mixed; boundary*=us-ascii'en'a%20b", "multipart/mixed", &["a b"], false),
            (
                "multipart/mixed; boundary*0*=''a%2D; boundary*1=b",
                "multipart/mixed",
                &["a-b"],
                false,
            ),
            ("multipart/mixed; boundaryx=a", "multipart/mixed", &[], false),
            ("garbage", "garbage", &[], false),
            ("", "", &[], false),
        ];
        for (value, media_type, boundaries, ambiguous) in table {
            let read = ContentType::read(value.as_bytes());
            let found: Vec<&[u8]> = read.boundaries.iter().flatten().map(|b| b.octets()).collect();
            let expected: Vec<&[u8]> = boundaries.iter().map(|b| b.as_bytes()).collect();
            assert_eq!(read.media_type.octets(), media_type.as_bytes(), "{value}");
            assert_eq!(found, expected, "{value}");
            assert_eq!(read.ambiguous, *ambiguous, "{value}");
        }
    }

    #[test]
    fn a_boundary_is_kept_up_to_its_limit() {
        for (length, cut) in [(BOUNDARY_OCTETS, false), (BOUNDARY_OCTETS + 1, true)] {
            let value = format!("multipart/mixed; boundary={}", "b".repeat(length));
            let read = ContentType::read(value.as_bytes());
            let boundary = read.boundaries[0].unwrap();
            assert_eq!((boundary.is_cut(), read.ambiguous), (cut, cut));
            assert_eq!(boundary.octets_in_full() as usize, length);
        }
    }

    #[test]
    fn encodings_are_read() {
        let table = [
            ("base64", Encoding::Base64, false),
            (" (x) Base64 (y)", Encoding::Base64, false),
            ("Quoted-Printable", Encoding::QuotedPrintable, false),
            ("base64 7bit", Encoding::Base64, true),
            ("8BIT", Encoding::Identity, false),
            ("x-rot13", Encoding::Identity, true),
            ("", Encoding::Identity, true),
        ];
        for (value, encoding, ambiguous) in table {
            assert_eq!(read_encoding(value.as_bytes()), (encoding, ambiguous), "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(value: Vec<u8>) {
            ContentType::read(&value);
            read_encoding(&value);
        }
    }
}
