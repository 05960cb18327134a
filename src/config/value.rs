//! Single values: sizes, times, addresses, replies, header lines.

use super::fault::Wrong;
use crate::limits::TEXT_LINE_OCTETS;
use crate::relay::{Address, Protocol};
use crate::wire::{Domain, Enhanced, Mailbox, Reply};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `50MiB`, `100kB`, `4096`: octets.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    const HELP: &str = "write a number of octets, or one with a unit: 100kB, 50MiB, 1GiB";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| HELP)?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(HELP),
    };
    number.checked_mul(unit).ok_or(HELP)
}

/// `300ms`, `30s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const HELP: &str = "write a number and its unit: 300ms, 30s, 5m, 1h";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| HELP)?;
    let unit_ms: u64 = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(HELP),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(HELP)
}

/// A time as a configuration writes it.
pub(super) fn shown(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None if ms == 0 => "0s".to_owned(),
        None => format!("{ms}ms"),
    }
}

/// A number of octets as a configuration writes it.
pub(super) fn shown_octets(octets: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| octets >= *unit && octets.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", octets / unit),
        None => octets.to_string(),
    }
}

/// `10.0.0.0/8`, `2001:db8::/32`, `127.0.0.1`. Everybody is written `any`, lest a slip of the
/// keyboard trusts the whole world.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Wrong> {
    let bad = |help: &str| Err(Wrong::new(format!("{text:?} is no network"), help));
    if text == "any" {
        return Ok(vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]);
    }
    let network = match (text.parse::<IpAddr>(), text.parse::<IpNet>()) {
        (Ok(address), _) => IpNet::from(address),
        (_, Ok(network)) => network,
        _ => return bad("write an address or a network: 127.0.0.1, 10.0.0.0/8, 2001:db8::/32"),
    };
    if network.prefix_len() == 0 {
        return bad("that is everybody; if you mean it, write \"any\"");
    }
    if network.trunc() != network {
        return bad(&format!("it begins at {0}: write {0}", network.trunc()));
    }
    // Addresses of clients in this form are taken as IPv4 ones: such a network would hold nobody.
    if matches!(network, IpNet::V6(mapped) if mapped.addr().to_ipv4_mapped().is_some()) {
        return bad("write IPv4 networks as such: 10.0.0.0/8, not ::ffff:10.0.0.0/104");
    }
    Ok(vec![network])
}

/// `127.0.0.1:2525`, `[::]:25`.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port: 127.0.0.1:2525 or [::]:25")
}

/// Where a route leads, as one text says it.
pub(super) enum Target {
    /// A mail server; the last part says whether its scheme is that of TLS.
    Server(Protocol, Address, bool),
    Maildir(PathBuf),
}

/// `lmtp://10.0.0.5:24`, `smtps://[::1]:25`, `lmtp:/run/dovecot/lmtp`, `maildir:mail`.
pub(super) fn target(text: &str, state: &Path) -> Result<Target, &'static str> {
    const HELP: &str = "write lmtp://IP:PORT, smtp://IP:PORT, lmtps:// or smtps:// for TLS from the \
                        first octet on, lmtp:/path/of/a/socket, smtp:/path/of/a/socket or \
                        maildir:FOLDER (names of hosts are not looked up)";
    let (scheme, rest) = text.split_once(':').ok_or(HELP)?;
    let (protocol, implicit) = match scheme {
        "maildir" if !rest.is_empty() => return Ok(Target::Maildir(state.join(rest))),
        "lmtp" => (Protocol::Lmtp, false),
        "smtp" => (Protocol::Smtp, false),
        "lmtps" => (Protocol::Lmtp, true),
        "smtps" => (Protocol::Smtp, true),
        _ => return Err(HELP),
    };
    let address = match rest.strip_prefix("//") {
        Some(address) => Address::Tcp(address.parse().map_err(|_| HELP)?),
        None if rest.starts_with('/') => Address::Unix(rest.into()),
        None => return Err(HELP),
    };
    Ok(Target::Server(protocol, address, implicit))
}

/// `550 5.7.1` with an optional text behind it: a refusal.
pub(super) fn refusal(text: &str) -> Result<Reply, &'static str> {
    const HELP: &str = "write a 4xx or 5xx code (not 421) and its enhanced code, such as \
                        \"452 4.2.2 mailbox full\"; both begin with the same digit";
    let (code, rest) = text.split_once(' ').ok_or(HELP)?;
    let code: u16 = code.parse().map_err(|_| HELP)?;
    if !(400..600).contains(&code) || code == 421 {
        return Err(HELP);
    }
    let (enhanced, text) = Enhanced::read(rest, code / 100).ok_or(HELP)?;
    Reply::given(code, Some(enhanced), text.to_owned()).ok_or(HELP)
}

/// A header line to be added, with its CRLF.
pub(super) fn header_line(text: &str) -> Result<Box<[u8]>, &'static str> {
    const HELP: &str = "write one header line of printable ASCII: \"X-Spam-Flag: YES\"";
    const DOT: &str = "a name that begins with a period is no field name that mail servers know, and \
                       in DATA the period would be lost: write \"X-Spam-Flag: YES\"";
    let (name, value) = text.split_once(':').ok_or(HELP)?;
    // RFC 5322 2.2: a field name is printable ASCII without the colon; a line has at most 998.
    let name_ok = !name.is_empty() && name.bytes().all(|octet| matches!(octet, b'!'..=b'~'));
    let value_ok = value.bytes().all(|octet| matches!(octet, b' '..=b'~' | b'\t'));
    if !name_ok || !value_ok || text.len() > TEXT_LINE_OCTETS {
        return Err(HELP);
    }
    // RFC 5321 4.5.2: the line goes out as it is, and a period that begins it would be taken for a
    // stuffed one; a line that is one alone would end the message.
    if name.starts_with('.') {
        return Err(DOT);
    }
    Ok([text.as_bytes(), b"\r\n"].concat().into())
}

/// A name of a domain or host.
pub(super) fn domain(name: &str) -> Result<String, &'static str> {
    let address = format!("a@{name}");
    match Mailbox::read(address.as_bytes()).map(|mailbox| mailbox.domain) {
        Ok(Domain::Name(_)) => Ok(name.to_owned()),
        _ => Err("write a name such as mx1.example.net"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused() {
        assert_eq!(size("50MiB"), Ok(50 << 20));
        assert_eq!(size("0"), Ok(0));
        for bad in ["", "MiB", "1.5MiB", "5 elephants", "99999999999999999999", "-1"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "5", "s", "5 days", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(refusal("452 4.2.2 full").map(|reply| reply.code()), Ok(452));
        for bad in ["452", "452 5.2.2 x", "250 2.0.0 x", "421 4.3.2 x", "x 5.1.1 y", "600 6.0.0 x"]
        {
            assert!(refusal(bad).is_err(), "{bad}");
        }
        assert!(header_line("X-Spam-Flag: YES").is_ok());
        for bad in ["X", "X Y: 1", ": x", "X: a\r\nY: b", "X: ä", ".X: y", ".: y"] {
            assert!(header_line(bad).is_err(), "{bad}");
        }
        for good in ["300ms", "30s", "5m", "24h", "90s", "0s"] {
            assert_eq!(duration(good).map(shown).as_deref(), Ok(good));
        }
        for good in ["50MiB", "1GiB", "1000", "0"] {
            assert_eq!(size(good).map(shown_octets).as_deref(), Ok(good));
        }
        for bad in ["lmtp", "lmtp://mail.example:24", "http://1.2.3.4:5", "maildir:", "lmtp:x"] {
            assert!(target(bad, Path::new(".")).is_err(), "{bad}");
        }
    }
    #[test]
    fn networks_are_what_they_say_and_everybody_is_said_in_words() {
        let read = |text| networks(text).map_err(|wrong| wrong.help);
        assert_eq!(read("127.0.0.1"), Ok(vec!["127.0.0.1/32".parse().unwrap()]));
        assert_eq!(read("2001:db8::/32"), Ok(vec!["2001:db8::/32".parse().unwrap()]));
        assert_eq!(read("any").map(|both| both.len()), Ok(2));
        let table = [
            ("0.0.0.0/0", "\"any\""),
            ("::/0", "\"any\""),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "not ::ffff"),
            ("::ffff:10.0.0.1", "not ::ffff"),
            ("mx.example", "10.0.0.0/8"),
            ("10.0.0.0/33", "10.0.0.0/8"),
            ("", "10.0.0.0/8"),
        ];
        for (text, words) in table {
            assert!(read(text).is_err_and(|help| help.contains(words)), "{text}");
        }
    }
}
