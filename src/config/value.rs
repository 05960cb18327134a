//! Single values: sizes, times, addresses, replies, header lines.

use crate::relay::{Address, Protocol};
use crate::wire::{Enhanced, Reply};
use std::net::SocketAddr;
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

/// A [`duration`] that a peer can keep: at least a second.
pub(super) fn timeout(text: &str) -> Result<Duration, &'static str> {
    duration(text).and_then(|time| match time >= Duration::from_secs(1) {
        true => Ok(time),
        false => Err("at least 1s"),
    })
}

/// A [`size`] that some message fits into.
pub(super) fn memory(text: &str) -> Result<u64, &'static str> {
    size(text).and_then(|octets| if octets >= 1 << 20 { Ok(octets) } else { Err("at least 1MiB") })
}

/// `127.0.0.1:2525`, `[::]:25`.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port: 127.0.0.1:2525 or [::]:25")
}

/// Where a route leads, as one text says it.
pub(super) enum Target {
    Server(Protocol, Address),
    Maildir(PathBuf),
}

/// `lmtp://10.0.0.5:24`, `smtp://[::1]:25`, `lmtp:/run/dovecot/lmtp`, `maildir:mail`.
pub(super) fn target(text: &str, state: &Path) -> Result<Target, &'static str> {
    const HELP: &str = "write lmtp://IP:PORT, smtp://IP:PORT, lmtp:/path/of/a/socket, \
                        smtp:/path/of/a/socket or maildir:FOLDER (names of hosts are not looked up)";
    let (scheme, rest) = text.split_once(':').ok_or(HELP)?;
    let protocol = match scheme {
        "maildir" if !rest.is_empty() => return Ok(Target::Maildir(state.join(rest))),
        "lmtp" => Protocol::Lmtp,
        "smtp" => Protocol::Smtp,
        _ => return Err(HELP),
    };
    let address = match rest.strip_prefix("//") {
        Some(address) => Address::Tcp(address.parse().map_err(|_| HELP)?),
        None if rest.starts_with('/') => Address::Unix(rest.into()),
        None => return Err(HELP),
    };
    Ok(Target::Server(protocol, address))
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
    let (name, value) = text.split_once(':').ok_or(HELP)?;
    // RFC 5322 2.2: a field name is printable ASCII without the colon; a line has at most 998.
    let name_ok = !name.is_empty() && name.bytes().all(|octet| matches!(octet, b'!'..=b'~'));
    let value_ok = value.bytes().all(|octet| matches!(octet, b' '..=b'~' | b'\t'));
    if !name_ok || !value_ok || text.len() > 998 {
        return Err(HELP);
    }
    Ok([text.as_bytes(), b"\r\n"].concat().into())
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
        for bad in ["X", "X Y: 1", ": x", "X: a\r\nY: b", "X: ä"] {
            assert!(header_line(bad).is_err(), "{bad}");
        }
        for bad in ["lmtp", "lmtp://mail.example:24", "http://1.2.3.4:5", "maildir:", "lmtp:x"] {
            assert!(target(bad, Path::new(".")).is_err(), "{bad}");
        }
    }
}
