//! `[admin]`: where metrics and health are asked for, and who may ask for changes.

use super::fault::Wrong;
use super::table::Table;
use super::top::Reading;
use super::value;
use crate::limits::{ADMIN_TOKEN_OCTETS, ADMIN_TOKEN_OCTETS_MAX};
use std::fmt;
use std::net::SocketAddr;

/// The admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Names by which it may be asked, beside IP addresses and `localhost`, in lower case.
    pub hosts: Vec<String>,
    /// What a request for a change must show. Without it no change can be asked for.
    pub token: Option<Token>,
}

/// A secret, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

impl Token {
    /// Whether `shown` is this secret. The time that this takes says nothing of how near it was.
    pub fn is(&self, shown: &[u8]) -> bool {
        let differing = self.0.iter().zip(shown).fold(0, |bits, (one, other)| bits | (one ^ other));
        self.0.len() == shown.len() && std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

pub(super) fn admin(top: &mut Table<'_>, reading: &Reading<'_>) -> Option<Admin> {
    let mut table = top.table("admin")?;
    table.requires("address", "address = \"127.0.0.1:9925\"");
    let address = table.read("address", value::socket_address);
    let host = |name: &str| {
        let wrong = |help| Wrong::new(format!("{name:?} is no host name"), help);
        value::domain(name).map(|name| name.to_ascii_lowercase()).map_err(wrong)
    };
    let hosts = table.each("hosts", host).unwrap_or_default();
    let token = table.text("token").and_then(|text| {
        let read = token(text.text, reading);
        reading.faults.good(text.span, read)
    });
    table.end();
    Some(Admin { address: address?, hosts, token })
}

/// The secret in a file: what stands in its first line.
fn token(text: &str, reading: &Reading<'_>) -> Result<Token, Wrong> {
    let help = "put a secret of its own into a file that only postern can read: \"file:PATH\"";
    let path =
        text.strip_prefix("file:").ok_or_else(|| Wrong::new("a secret in the open", help))?;
    let (octets, _) = reading.files.read_once(path, ADMIN_TOKEN_OCTETS_MAX)?;
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default().trim_ascii();
    match line.len() >= ADMIN_TOKEN_OCTETS && line.iter().all(u8::is_ascii_graphic) {
        true => Ok(Token(line.into())),
        false => {
            let what = format!("{path} holds no secret in its first line");
            let help = format!("at least {ADMIN_TOKEN_OCTETS} letters: `openssl rand -hex 32`");
            Err(Wrong::new(what, help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_whole_or_not_at_all() {
        let token = Token(b"0123456789abcdef".as_slice().into());
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF"] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token");
    }
}
