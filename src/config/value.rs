//! Single values: sizes, durations, addresses, names, replies, header lines.
//!
//! Each is read by itself, from text to a type that cannot be wrong, or to what is wrong with it.

use super::fault::Wrong;
use crate::limits::{ADDED_HEADER_OCTETS, LOCAL_PART_OCTETS, REPLY_TEXT_OCTETS};
use crate::wire::{Domain, Enhanced, Mailbox, Reply, unquoted};
use core::net::SocketAddr;
use std::time::Duration;

/// Octets: `50MiB`, `512KiB`, `1GiB`, `100000`.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let (digits, unit) = split_unit(text);
    let factor: Option<u64> = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let help = "write a whole number with KiB, MiB or GiB behind it, such as \"50MiB\"";
    let number = digits.parse::<u64>().ok();
    number
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| Wrong::new(format!("\"{}\" is not a size", shown(text)), help))
}

/// A time: `300ms`, `20s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let (digits, unit) = split_unit(text);
    let factor_ms: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let help = "write a whole number with ms, s, m or h behind it, such as \"300s\"";
    let number = digits.parse::<u64>().ok();
    number
        .zip(factor_ms)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .map(Duration::from_millis)
        .ok_or_else(|| Wrong::new(format!("\"{}\" is not a time", shown(text)), help))
}

/// An IP address with a port.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let help = match text.parse::<core::net::IpAddr>() {
            Ok(core::net::IpAddr::V4(address)) => format!("add the port: \"{address}:25\""),
            Ok(core::net::IpAddr::V6(address)) => format!("add the port: \"[{address}]:25\""),
            Err(_) => "write an IP address and a port, \"192.0.2.1:25\" or \"[2001:db8::1]:25\": \
                       host names are not looked up"
                .to_owned(),
        };
        Wrong::new(format!("\"{}\" is not an address with a port", shown(text)), help)
    })
}

/// A domain name, in lower case.
pub(super) fn domain_name(text: &str) -> Result<String, Wrong> {
    let address = format!("x@{text}");
    match Mailbox::read(address.as_bytes()).map(|mailbox| mailbox.domain) {
        Ok(Domain::Name(_)) => Ok(text.to_ascii_lowercase()),
        Ok(Domain::Literal(_)) => Err(Wrong::new(
            format!("\"{text}\" is an address, not a domain name"),
            "mail for address literals is not served: write a domain name",
        )),
        Err(_) => Err(Wrong::new(
            format!("\"{}\" is not a domain name", shown(text)),
            "write a name such as \"mx1.example.net\": labels of letters, digits and hyphens, \
             without a dot at the end",
        )),
    }
}

/// Our own name: a domain name in ASCII, as banners and greetings are.
pub(super) fn hostname(text: &str) -> Result<String, Wrong> {
    if !text.is_ascii() {
        return Err(Wrong::new(
            format!("the host name \"{}\" is not ASCII", shown(text)),
            "write its ASCII form, which begins with xn--",
        ));
    }
    domain_name(text)
}

/// A local-part as recipients are compared: unquoted, in lower case.
pub(super) fn local_part(text: &str) -> Result<Box<[u8]>, Wrong> {
    let wrong = |help: &str| Wrong::new(format!("\"{}\" is no local-part", shown(text)), help);
    let address = format!("{text}@x");
    match Mailbox::read(address.as_bytes()) {
        Ok(mailbox) if mailbox.local_part.len() == text.len() => {
            Ok(unquoted(mailbox.local_part).to_ascii_lowercase().into())
        }
        _ if text.contains('@') => {
            Err(wrong("leave out the @ and what follows: the domain is the table's name"))
        }
        _ if text.len() > LOCAL_PART_OCTETS => {
            Err(wrong(&format!("a local-part has at most {LOCAL_PART_OCTETS} octets")))
        }
        _ => Err(wrong(
            "write what stands before the @ of an address; put it in double quotes if it holds \
             blanks or other special characters",
        )),
    }
}

/// A local-part, or the beginning of one with a star behind it. In lower case.
pub(super) fn pattern(text: &str) -> Result<String, Wrong> {
    let (beginning, open) = match text.strip_suffix('*') {
        Some(beginning) => (beginning, true),
        None => (text, false),
    };
    if beginning.contains('*') {
        return Err(Wrong::new(
            format!("\"{}\" has a star that is not at the end", shown(text)),
            "a star may only stand at the end: \"press+*\"",
        ));
    }
    if open && beginning.is_empty() {
        return Err(Wrong::new(
            "an exception for everybody is none",
            "set `class` of the domain instead",
        ));
    }
    if beginning.starts_with('"') {
        return Err(Wrong::new(
            format!("\"{}\" is quoted", shown(text)),
            "write the local-part without its quotes",
        ));
    }
    local_part(beginning)?;
    Ok(text.to_ascii_lowercase())
}

/// Code and enhanced code, `550 5.7.1`, with what follows them as text. 4xx and 5xx only.
pub(super) fn reply(text: &str, default_text: &str) -> Result<Reply, Wrong> {
    let shape = "write code and enhanced code, 4xx with 4.x.x or 5xx with 5.x.x, such as \
                 \"550 5.7.1 no such mailbox\"";
    let wrong = |what: &str| Wrong::new(format!("\"{}\" {what}", shown(text)), shape);
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code = Some(word)
        .filter(|word| word.len() == 3 && word.bytes().all(|octet| octet.is_ascii_digit()))
        .and_then(|word| word.parse::<u16>().ok())
        // RFC 5321 4.2.1: the second digit is 0 to 5.
        .filter(|code| (code / 10) % 10 <= 5)
        .ok_or_else(|| wrong("does not begin with a reply code"))?;
    if !matches!(code / 100, 4 | 5) {
        return Err(wrong("is not a refusal"));
    }
    if code == 421 {
        return Err(Wrong::new(
            "421 closes the connection",
            "it cannot refuse a single recipient or message: use 450 or 451",
        ));
    }
    let (enhanced, rest) = Enhanced::read(rest, code / 100).ok_or_else(|| {
        wrong(&format!("has no enhanced code of class {} behind its code", code / 100))
    })?;
    let rest = if rest.is_empty() { default_text } else { rest };
    let rest = reply_text(rest)?;
    Reply::given(code, Some(enhanced), rest).ok_or_else(|| wrong("is no reply"))
}

/// Text of a reply.
pub(super) fn reply_text(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.len() > REPLY_TEXT_OCTETS {
        return Err(Wrong::new(
            format!("the text of the reply has {} octets", text.len()),
            format!("it may have 1 to {REPLY_TEXT_OCTETS}"),
        ));
    }
    if !text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return Err(Wrong::new(
            "the text of the reply holds more than printable ASCII",
            "use letters, digits, blanks and punctuation of ASCII, in one line",
        ));
    }
    Ok(text.to_owned())
}

/// A whole header line, with the CRLF that it does not have in the file.
pub(super) fn header_line(text: &str) -> Result<Box<[u8]>, Wrong> {
    let help = "write a name, a colon and a value in one line: \"X-Spam-Flag: YES\"";
    let wrong = |what: &str| Err(Wrong::new(format!("the header line {what}"), help));
    let Some((name, value)) = text.split_once(':') else {
        return wrong("has no colon");
    };
    // RFC 5322 2.2: a field name is printable US-ASCII without the colon.
    if name.is_empty() || !name.bytes().all(|octet| matches!(octet, b'!'..=b'~')) {
        return wrong("has no good field name before its colon");
    }
    if !value.bytes().all(|octet| matches!(octet, b' '..=b'~' | b'\t')) {
        return wrong("holds line ends, control characters or characters outside ASCII");
    }
    // RFC 5322 2.2.3: a line of blanks alone would end in nothing that readers agree on.
    if value.trim().is_empty() {
        return wrong("has no value behind its colon");
    }
    // RFC 5322 2.1.1: a line has at most 998 octets without its CRLF.
    if text.len() > ADDED_HEADER_OCTETS {
        return wrong(&format!("has {} octets, at most {ADDED_HEADER_OCTETS} may be", text.len()));
    }
    Ok([text.as_bytes(), b"\r\n"].concat().into())
}

/// Octets as [`size`] reads them: in the largest unit that divides them.
pub(super) fn size_text(octets: u64) -> String {
    match octets {
        0 => "0".to_owned(),
        octets if octets.is_multiple_of(1 << 30) => format!("{}GiB", octets >> 30),
        octets if octets.is_multiple_of(1 << 20) => format!("{}MiB", octets >> 20),
        octets if octets.is_multiple_of(1 << 10) => format!("{}KiB", octets >> 10),
        octets => octets.to_string(),
    }
}

/// A time as [`duration`] reads it: in the largest unit that divides it.
pub(super) fn duration_text(time: Duration) -> String {
    match u64::try_from(time.as_millis()).unwrap_or(u64::MAX) {
        ms if ms % 1_000 != 0 => format!("{ms}ms"),
        ms if ms == 0 || ms % 60_000 != 0 => format!("{}s", ms / 1_000),
        ms if ms % 3_600_000 != 0 => format!("{}m", ms / 60_000),
        ms => format!("{}h", ms / 3_600_000),
    }
}

/// A value as a message may show it: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// Characters of a value that a message shows.
const SHOWN_CHARACTERS: usize = 60;

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|octet| !octet.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        let sizes = [
            ("0", Some(0)),
            ("100000", Some(100_000)),
            ("50MiB", Some(50 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("50MB", None),
            ("50 mib", None),
            ("-1", None),
            ("", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("18446744073709551615GiB", None),
        ];
        for (text, expected) in sizes {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
        let times = [
            ("0ms", Some(0)),
            ("300ms", Some(300)),
            ("20s", Some(20_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("300", None),
            ("5min", None),
            ("", None),
        ];
        for (text, expected) in times {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for octets in [0, 1, 1_000, 1 << 10, 1_536, 50 << 20, 3 << 30] {
            assert_eq!(size(&size_text(octets)), Ok(octets));
        }
        for ms in [0, 1, 1_000, 1_500, 60_000, 90_000, 3_600_000] {
            let time = Duration::from_millis(ms);
            assert_eq!(duration(&duration_text(time)), Ok(time));
        }
    }

    // RFC 3463 2: the class of the enhanced code is that of the reply's code.
    #[test]
    fn a_refusal_has_codes_that_agree() {
        let table = [
            ("550 5.7.1", Some("550 5.7.1 text")),
            ("452 4.2.2 mailbox full", Some("452 4.2.2 mailbox full")),
            ("550", None),
            ("550 4.7.1", None),
            ("450 5.7.1 x", None),
            ("421 4.7.0 x", None),
            ("250 2.0.0 x", None),
            ("5500 5.7.1", None),
            ("560 5.7.1", None),
            ("550 5.7.1 a\nb", None),
            ("550 5.7.1 \u{e4}", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = reply(text, "text").ok().map(|reply| reply.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    // RFC 5322 2.1.1, 2.2.
    #[test]
    fn a_header_line_is_one_line() {
        let longest = format!("X: {}", "x".repeat(ADDED_HEADER_OCTETS - 3));
        assert_eq!(header_line("X-A: b").as_deref(), Ok(&b"X-A: b\r\n"[..]));
        assert!(header_line(&longest).is_ok());
        let long = format!("{longest}x");
        for bad in ["", "X", ": x", "X Y: z", "X : z", "X: a\r\nY: b", "X: \u{e4}", "X:  ", &long] {
            assert!(header_line(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn local_parts_are_compared_unquoted_and_in_lower_case() {
        let table = [
            ("Ok1", Some("ok1")),
            ("\"A b\"", Some("a b")),
            ("a.b+c", Some("a.b+c")),
            ("a@b", None),
            ("a b", None),
            ("", None),
            ("\"a\"@example.net", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|text: &str| Box::<[u8]>::from(text.as_bytes()));
            assert_eq!(local_part(text).ok(), expected, "{text}");
        }
    }
}
