//! Replacements: what stands for octets in sent text and in patterns.

use super::installation::{HOSTNAME, SPAM, VIRUS};
use fancy_regex::Regex;
use std::collections::HashMap;

/// The values of all names in braces.
#[derive(Clone, Debug)]
pub struct Names {
    values: HashMap<String, Vec<u8>>,
}

/// A stretch of a text.
enum Piece<'a> {
    AsIs(&'a str),
    Put(Vec<u8>),
}

/// Names in angle brackets.
const OCTETS: [(&str, &[u8]); 6] = [
    ("<CR>", b"\r"),
    ("<LF>", b"\n"),
    ("<CRLF>", b"\r\n"),
    ("<NUL>", b"\0"),
    ("<TAB>", b"\t"),
    ("<SP>", b" "),
];

impl Names {
    /// The names of one run; `{id}` and `{id2}` are drawn anew.
    pub fn new() -> Names {
        let drawn = || -> String { (0..20).map(|_| fastrand::alphanumeric()).collect() };
        let values = [
            ("hostname", HOSTNAME.to_owned()),
            ("spam", SPAM.to_owned()),
            ("virus", VIRUS.to_owned()),
            ("slow", "TEST*SCAN*DELAY*1500MS".to_owned()),
            ("wait", "TEST*SCAN*DELAY*6000MS".to_owned()),
            ("id", drawn()),
            ("id2", drawn()),
        ];
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
        Names { values: values.collect() }
    }

    /// Gives a name a value, as a named group of a pattern does.
    pub fn set(&mut self, name: &str, value: Vec<u8>) {
        self.values.insert(name.to_owned(), value);
    }

    /// The octets of a text that is sent.
    pub fn octets(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut octets = Vec::new();
        for piece in self.pieces(text)? {
            match piece {
                Piece::AsIs(text) => octets.extend_from_slice(text.as_bytes()),
                Piece::Put(put) => octets.extend(put),
            }
        }
        Ok(octets)
    }

    /// A pattern, in multi-line mode and for either case; what is replaced matches itself.
    pub fn pattern(&self, text: &str) -> Result<Regex, String> {
        let mut pattern = "(?im)".to_owned();
        for piece in self.pieces(text.trim())? {
            match piece {
                Piece::AsIs(text) => push_translated(&mut pattern, text),
                Piece::Put(put) => pattern.push_str(&fancy_regex::escape(&latin1(&put))),
            }
        }
        Regex::new(&pattern).map_err(|error| format!("bad pattern {text:?}: {error}"))
    }

    fn pieces<'a>(&self, text: &'a str) -> Result<Vec<Piece<'a>>, String> {
        let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
        while let Some(found) = text[at..].find(['<', '{']) {
            at += found;
            // `(?<x41>` is a named group, not an octet.
            let group = text[..at].ends_with("(?");
            match self.replacement(&text[at..])?.filter(|_| !group) {
                Some((octets, length)) => {
                    pieces.push(Piece::AsIs(&text[from..at]));
                    pieces.push(Piece::Put(octets));
                    at += length;
                    from = at;
                }
                None => at += 1,
            }
        }
        pieces.push(Piece::AsIs(&text[from..]));
        Ok(pieces)
    }

    /// What the replacement at the beginning of `text` stands for, and its length.
    fn replacement(&self, text: &str) -> Result<Option<(Vec<u8>, usize)>, String> {
        if let Some((name, octets)) = OCTETS.iter().find(|(name, _)| text.starts_with(name)) {
            return Ok(Some((octets.to_vec(), name.len())));
        }
        if text.starts_with("{repeat:") {
            return self.repeat(text).map(Some);
        }
        if let Some(digits) = text.strip_prefix("<x").and_then(|rest| rest.get(..2)) {
            let octet = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            if let (true, Ok(octet)) = (octet, u8::from_str_radix(digits, 16))
                && text[4..].starts_with('>')
            {
                return Ok(Some((vec![octet], 5)));
            }
        }
        let name = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let value = name.and_then(|(name, _)| Some((self.values.get(name)?, name.len() + 2)));
        Ok(value.map(|(value, length)| (value.clone(), length)))
    }

    /// `{repeat:N:text}`; braces within the text come in pairs.
    fn repeat(&self, text: &str) -> Result<(Vec<u8>, usize), String> {
        let mut depth = 0;
        let end = text.bytes().position(|octet| {
            match octet {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        let end = end.ok_or("a {repeat} has no end")?;
        let inner = &text["{repeat:".len()..end];
        let (times, text) = inner.split_once(':').ok_or("a {repeat} has no text")?;
        let times = times.parse().map_err(|_| format!("cannot repeat {times:?} times"))?;
        Ok((self.octets(text)?.repeat(times), end + 1))
    }
}

/// Octets as characters, one each.
pub fn latin1(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

/// Characters as octets, one each: the way back from [`latin1`].
pub fn octets_of(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).unwrap_or(b'?')).collect()
}

/// `\Z` is the very end of the text here; for the library it may stand before a last LF.
fn push_translated(pattern: &mut String, text: &str) {
    let mut escaped = false;
    for char in text.chars() {
        pattern.push(if escaped && char == 'Z' { 'z' } else { char });
        escaped = char == '\\' && !escaped;
    }
}
