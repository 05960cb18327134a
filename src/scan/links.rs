//! Hosts, addresses and links in a text that streams.
//!
//! A text is runs of octets between blanks, quotes and brackets. Of a run with a dot or a colon, or
//! with an escape that may be one, the escapes of links and of HTML are undone; then each piece that
//! may be a host or an address is looked up, and what begins with a scheme is a link. A run that the
//! text breaks off is held up to [`RUN_OCTETS`]; a longer one is looked at piece by piece, no host of
//! which is cut. Where the pieces lie depends on where the run begins alone, and never on how the text
//! was cut.

use crate::limits::{HOST_OCTETS, RUN_OCTETS};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use memchr::{memchr2, memchr3, memmem};

/// Octets before a piece that is kept, lest what parts it from the piece before is lost.
const CONTEXT_OCTETS: usize = 16;

/// What is held of the run that is open.
#[derive(Debug)]
pub(super) struct Links {
    run: [u8; RUN_OCTETS],
    length: usize,
    /// Pieces that begin before this place have been looked at.
    looked_to: usize,
    /// A link that began earlier in the run has been given.
    in_link: bool,
}

impl Default for Links {
    fn default() -> Links {
        Links { run: [0; RUN_OCTETS], length: 0, looked_to: 0, in_link: false }
    }
}

/// What a run holds.
pub(super) struct Found<'a> {
    pub what: What<'a>,
    /// It stands in a run with a link.
    pub in_link: bool,
}

/// A thing that can be looked up, or into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// A name with a dot, in lower case.
    Host(&'a [u8]),
    Address(IpAddr),
    /// A link, or its first octets, in lower case.
    Link(&'a [u8]),
}

/// Octets of which no run is.
static PARTS: [bool; 256] = {
    let mut parts = [false; 256];
    let mut octet = 0;
    while octet <= b' ' {
        parts[octet as usize] = true;
        octet += 1;
    }
    let others = b"<>\"'()[]{}|\\^`,\x7f";
    let mut place = 0;
    while place < others.len() {
        parts[others[place] as usize] = true;
        place += 1;
    }
    parts
};

fn parts(octet: &u8) -> bool {
    PARTS[usize::from(*octet)]
}

impl Links {
    /// Reads the next octets of a text, and gives what they hold. Returns the octets of the runs that
    /// were looked at.
    pub(super) fn read(&mut self, octets: &[u8], mut each: impl FnMut(Found<'_>)) -> usize {
        let (mut rest, mut looked) = (octets, 0);
        while !rest.is_empty() {
            if self.length == 0 && self.looked_to == 0 && !self.in_link {
                // Runs that lie whole in these octets are looked at where they lie.
                let Some(at) = memchr3(b'.', b':', b'&', rest) else {
                    let run = rest.iter().rposition(parts).map_or(0, |at| at + 1);
                    rest = &rest[run..];
                    looked += self.hold(rest, &mut each);
                    break;
                };
                let start = rest[..at].iter().rposition(parts).map_or(0, |at| at + 1);
                let end = rest[at..].iter().position(parts).map(|end| at + end);
                if let Some(end) = end.filter(|end| end - start <= RUN_OCTETS) {
                    looked += look_at(&rest[start..end], 0, true, false, &mut each).octets;
                    rest = &rest[end + 1..];
                    continue;
                }
                rest = &rest[start..];
            }
            let end = rest.iter().position(parts);
            looked += self.hold(&rest[..end.unwrap_or(rest.len())], &mut each);
            rest = match end {
                None => break,
                Some(end) => {
                    looked += self.finish(&mut each);
                    &rest[end + 1..]
                }
            };
        }
        looked
    }

    /// A message begins: what another one left is no part of it.
    pub(super) fn clear(&mut self) {
        (self.length, self.looked_to, self.in_link) = (0, 0, false);
    }

    /// The run has ended, and perhaps the text.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Found<'_>)) -> usize {
        let run = &self.run[..self.length];
        let looked = look_at(run, self.looked_to, true, self.in_link, &mut each).octets;
        self.clear();
        looked
    }

    /// Holds octets of the run, and looks at it each time that there is no room for more.
    fn hold(&mut self, octets: &[u8], each: &mut impl FnMut(Found<'_>)) -> usize {
        let (mut rest, mut looked) = (octets, 0);
        loop {
            let (piece, after) = rest.split_at(rest.len().min(RUN_OCTETS - self.length));
            self.run[self.length..][..piece.len()].copy_from_slice(piece);
            self.length += piece.len();
            rest = after;
            if rest.is_empty() {
                return looked;
            }
            let done = look_at(&self.run, self.looked_to, false, self.in_link, each);
            looked += done.octets;
            self.in_link = done.in_link;
            self.go_on();
        }
    }

    /// Keeps the last piece of the run, which may be the first half of a host, with what is before it
    /// if that begins a link.
    fn go_on(&mut self) {
        let host = self.run.iter().rposition(|octet| !of_host(*octet)).map_or(0, |at| at + 1);
        if RUN_OCTETS - host > HOST_OCTETS {
            // No host is so long, and what comes next of it is none.
            (self.length, self.looked_to) = (0, 1);
            return;
        }
        let context = host.saturating_sub(CONTEXT_OCTETS);
        let from = match link_in(&self.run) {
            Some(link) if !self.in_link => link.min(context),
            _ => context,
        };
        self.run.copy_within(from.., 0);
        (self.length, self.looked_to) = (RUN_OCTETS - from, host - from);
    }
}

/// Where a link begins with its scheme.
fn link_in(text: &[u8]) -> Option<usize> {
    let at = memmem::find(text, b"://")?;
    let before = text[..at].iter().rposition(|octet| !octet.is_ascii_alphanumeric());
    Some(before.map_or(0, |at| at + 1))
}

/// Octets of a host as it may be written: those of names, of other alphabets, and of escapes.
fn of_host(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(octet, b'-' | b'_' | b'.' | b'%' | b'&' | b'#' | b';')
        || octet >= 0x80
}

/// What came of looking at a run.
struct Looked {
    octets: usize,
    /// A link in it was given, now or earlier.
    in_link: bool,
}

/// Looks at the pieces of a run that begin at `from` or behind; at the last one only if it is `whole`.
fn look_at(
    run: &[u8],
    from: usize,
    whole: bool,
    in_link: bool,
    each: &mut impl FnMut(Found<'_>),
) -> Looked {
    if memchr3(b'.', b':', b'&', run).is_none() {
        return Looked { octets: 0, in_link };
    }
    let mut undone = [0; RUN_OCTETS];
    let (before, behind) = run.split_at(from.min(run.len()));
    let from = undo(before, &mut undone);
    let length = from + undo(behind, &mut undone[from..]);
    let text = &undone[..length];
    if memchr2(b'.', b':', text).is_none() {
        return Looked { octets: run.len(), in_link };
    }
    // A link that begins near the end is waited for.
    let link = link_in(text).filter(|start| !in_link && (whole || length - start > HOST_OCTETS));
    let in_link = in_link || link.is_some();
    if let Some(start) = link {
        each(Found { what: What::Link(&text[start..]), in_link });
    }
    if let Some(address) = address(text, link) {
        each(Found { what: What::Address(address), in_link });
    }
    let mut rest = from;
    if from > 0 && of_name(text[from - 1]) {
        // The rest of a piece that was too long.
        rest += text[from..].iter().position(|octet| !of_name(*octet)).unwrap_or(length - from);
    }
    while let Some(start) = text[rest..].iter().position(|octet| of_name(*octet)) {
        let start = rest + start;
        let end = text[start..].iter().position(|octet| !of_name(*octet));
        if end.is_none() && !whole {
            break;
        }
        let end = end.map_or(length, |end| start + end);
        piece(&text[start..end], &mut |what| each(Found { what, in_link }));
        rest = end;
    }
    Looked { octets: run.len(), in_link }
}

fn of_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.') || octet >= 0x80
}

/// A piece that may be a host or an IPv4 address.
fn piece(piece: &[u8], each: &mut impl FnMut(What<'_>)) {
    let trim = |octet: &u8| matches!(octet, b'.' | b'-');
    let start = piece.iter().position(|octet| !trim(octet)).unwrap_or(piece.len());
    let end = piece.iter().rposition(|octet| !trim(octet)).map_or(start, |at| at + 1);
    let host = &piece[start..end];
    if !host.contains(&b'.') || host.len() > HOST_OCTETS {
        return;
    }
    let is_number = host.iter().all(|octet| matches!(octet, b'0'..=b'9' | b'.'));
    if !is_number {
        return each(What::Host(host));
    }
    let text = std::str::from_utf8(host).ok();
    if let Some(address) = text.and_then(|text| text.parse::<Ipv4Addr>().ok()) {
        each(What::Address(address.into()));
    }
}

/// An IPv6 address that is a run of its own, perhaps behind `IPv6:` (RFC 5321 4.1.3); or the host of
/// the link at `link` as one number, which browsers take for an IPv4 address.
fn address(run: &[u8], link: Option<usize>) -> Option<IpAddr> {
    if let Some(start) = link {
        let host = memmem::find(&run[start..], b"://").map(|at| &run[start + at + 3..])?;
        let digits = host.split(|octet| !octet.is_ascii_digit()).next()?;
        let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        return (number > 0xff_ffff).then(|| Ipv4Addr::from_bits(number).into());
    }
    let text = run.strip_prefix(b"ipv6:").unwrap_or(run);
    // The longest one has an IPv4 address at its end.
    if text.len() > 45 {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(address.into())
}

/// Undoes the escapes of links and of HTML, and puts letters in lower case. Returns how many octets
/// that makes, never more than there were.
fn undo(run: &[u8], out: &mut [u8]) -> usize {
    let (mut rest, mut length) = (run, 0);
    while let Some((octet, after)) = rest.split_first() {
        let (octet, taken) = match *octet {
            b'%' => percent(after).map_or((b'%', 1), |octet| (octet, 3)),
            b'&' => match entity(after) {
                Some((character, taken)) => {
                    // No escape is shorter than its character.
                    length += character.encode_utf8(&mut out[length..]).len();
                    rest = &after[taken..];
                    continue;
                }
                None => (b'&', 1),
            },
            // Full stops of other scripts part names as the dot does (UTS 46).
            0xe3 if after.starts_with(&[0x80, 0x82]) => (b'.', 3),
            0xef if after.starts_with(&[0xbc, 0x8e]) => (b'.', 3),
            0xef if after.starts_with(&[0xbd, 0xa1]) => (b'.', 3),
            octet => (octet.to_ascii_lowercase(), 1),
        };
        out[length] = octet;
        length += 1;
        rest = &rest[taken..];
    }
    length
}

/// RFC 3986 2.1.
fn percent(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok().map(|octet| octet.to_ascii_lowercase())
}

/// The character of a numeric entity, or of one of those with a name that matter in links, as it counts
/// there; with the octets behind the ampersand.
fn entity(after: &[u8]) -> Option<(char, usize)> {
    const NAMED: [(&[u8], char); 7] = [
        (b"amp;", '&'),
        (b"period;", '.'),
        (b"colon;", ':'),
        (b"sol;", '/'),
        (b"commat;", '@'),
        (b"quest;", '?'),
        (b"num;", '#'),
    ];
    if let Some((name, character)) = NAMED.iter().find(|(name, _)| after.starts_with(name)) {
        return Some((*character, name.len()));
    }
    let number = after.strip_prefix(b"#")?;
    let (digits, radix) = match number.split_first()? {
        (b'x' | b'X', digits) => (digits, 16),
        _ => (number, 10),
    };
    let count = digits.iter().take(7).take_while(|octet| octet.is_ascii_hexdigit()).count();
    let text = std::str::from_utf8(&digits[..count]).ok()?;
    let code = u32::from_str_radix(text.trim_start_matches('0'), radix).ok()?;
    let character = match char::from_u32(code)? {
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => '.',
        character => character.to_ascii_lowercase(),
    };
    if character.is_control() {
        return None;
    }
    let end = usize::from(digits.get(count) == Some(&b';'));
    let taken = after.len() - digits.len() + count + end;
    Some((character, taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, usize) {
        let (mut links, mut all, mut looked) = (Links::default(), Vec::new(), 0);
        let mut see = |found: Found<'_>| {
            all.push(match found.what {
                What::Host(host) => String::from_utf8_lossy(host).into_owned(),
                What::Address(address) => address.to_string(),
                What::Link(link) => format!("<{}>", String::from_utf8_lossy(link)),
            });
        };
        for piece in pieces {
            looked += links.read(piece, &mut see);
        }
        looked += links.finish(&mut see);
        (all, looked)
    }

    #[test]
    fn hosts_addresses_and_links_are_found_in_any_cut() {
        let table = [
            ("see example.com, and a@mx.Example.NET.", "example.com mx.example.net"),
            ("<a href=\"HTTP://x.example/a?b=1&amp;c\">", "<http://x.example/a?b=1&c> x.example"),
            (
                "https://good.example@evil.example:8080/p",
                "<https://good.example@evil.example:8080/p> \
              good.example evil.example",
            ),
            ("http://ev%69l%2eexample", "<http://evil.example> evil.example"),
            ("http://evil&#46;ex&#x61;mple", "<http://evil.example> evil.example"),
            ("http://evil\u{3002}example", "<http://evil.example> evil.example"),
            ("http://evil&#x3002;example", "<http://evil.example> evil.example"),
            ("http&colon;&sol;/evil&period;example", "<http://evil.example> evil.example"),
            ("http://&#1077;vil.example/", "<http://\u{435}vil.example/> \u{435}vil.example"),
            ("http://a&#1;b.example &#9;", "<http://a&#1;b.example> b.example"),
            ("http://b\u{fc}cher.example/", "<http://b\u{fc}cher.example/> b\u{fc}cher.example"),
            ("[192.0.2.1] [IPv6:2001:db8::1]", "192.0.2.1 2001:db8::1"),
            ("http://3221225985/x", "<http://3221225985/x> 192.0.2.1"),
            ("1.5 and 300.1.1.1 ... a..b", "a..b"),
            ("go=http://a.b&u=http://c.d", "<http://a.b&u=http://c.d> a.b c.d"),
        ];
        for (text, expected) in table {
            let whole = found([text.as_bytes()]);
            assert_eq!(whole.0.join(" "), expected, "{text}");
            for cut in 1..text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                assert_eq!(found([head, tail]), whole, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn no_host_is_cut_in_a_long_run() {
        for before in (0..1200).step_by(7) {
            for filler in ["a/", "x."] {
                let head: String = filler.chars().cycle().take(before).collect();
                let text = format!("{head}/http://www.example.com/{}", "b/".repeat(400));
                let whole = found([text.as_bytes()]);
                assert!(whole.0.iter().any(|one| one == "www.example.com"), "{before} {filler}");
                let link = |one: &String| one.starts_with("<http://www.example.com/b/b/");
                assert!(whole.0.iter().any(link), "{before} {filler}: {whole:?}");
                assert_eq!(found(text.as_bytes().chunks(1)), whole, "{before} {filler}");
                assert_eq!(found(text.as_bytes().chunks(97)), whole, "{before} {filler}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_the_same_in_any_cut(
            tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..300),
            piece in 1usize..60,
        ) {
            let text = tokens.concat();
            let whole = found([text.as_bytes()]);
            prop_assert_eq!(&found(text.as_bytes().chunks(piece)), &whole);
            prop_assert_eq!(&found(text.as_bytes().chunks(1)), &whole);
            prop_assert!(whole.1 <= 2 * text.len());
        }
    }

    const TOKENS: &[&str] = &[
        "a",
        "example",
        ".",
        ":",
        "/",
        "://",
        "http",
        "@",
        " ",
        "%2e",
        "&#46;",
        "&amp;",
        "\u{3002}",
        "1.2.3.4",
        "-",
        "::1",
        "\"",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "%",
        "&",
    ];
}
