//! XCLIENT and XFORWARD: what a trusted peer says of the client that it speaks for.
//!
//! Both are Postfix's: <https://www.postfix.org/XCLIENT_README.html>, XFORWARD_README.html.

use super::{Reply, decode_xtext, is_greeting_name, replies};
use crate::limits::PEER_VALUE_OCTETS;
use core::net::{IpAddr, Ipv6Addr};
use memchr::memchr;

/// The attributes that we know, as the greeting offers them.
pub const XCLIENT_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// The attributes that we know, as the greeting offers them.
pub const XFORWARD_ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO IDENT SOURCE";

/// Attributes of a client, as far as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAttributes {
    /// NAME: its name in the DNS.
    pub name: Told<Box<[u8]>>,
    /// ADDR: its address.
    pub address: Told<IpAddr>,
    /// PORT: its port.
    pub port: Told<u16>,
    /// PROTO: whether it greeted with EHLO (`ESMTP`).
    pub extended: Told<bool>,
    /// HELO: the name of its greeting.
    pub helo: Told<Box<[u8]>>,
    /// LOGIN: the name that it has authenticated with. XCLIENT only.
    pub login: Told<Box<[u8]>>,
    /// IDENT: the transaction's name at the peer. XFORWARD only.
    pub ident: Told<Box<[u8]>>,
}

/// What was said of one attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told<T> {
    /// Nothing.
    #[default]
    Nothing,
    /// `[UNAVAILABLE]` or `[TEMPUNAVAIL]`: it is not known.
    Unknown,
    /// This.
    Is(T),
}

/// Which of the two commands it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerCommand {
    /// The session starts again as that client's.
    Xclient,
    /// For the log only.
    Xforward,
}

impl<T> Told<T> {
    /// What is known, if anything is.
    pub fn known(&self) -> Option<&T> {
        match self {
            Told::Is(value) => Some(value),
            Told::Nothing | Told::Unknown => None,
        }
    }

    fn replace_with(&mut self, newer: Told<T>) {
        if !matches!(newer, Told::Nothing) {
            *self = newer;
        }
    }
}

impl PeerAttributes {
    /// Reads what stands behind the verb: `1*(SP name=xtext)`.
    ///
    /// A value that hides control octets, or that is none of its kind, is `501 5.5.4`: nothing of
    /// the command is then taken.
    pub fn read(argument: &[u8], command: PeerCommand) -> Result<PeerAttributes, Reply> {
        let mut attributes = PeerAttributes::default();
        let words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
        let mut any = false;
        for word in words {
            any = true;
            let equals = memchr(b'=', word).ok_or(replies::BAD_ARGUMENT)?;
            attributes.take(&word[..equals], &word[equals + 1..], command)?;
        }
        if any { Ok(attributes) } else { Err(replies::BAD_ARGUMENT) }
    }

    /// Puts what `newer` says over what is known.
    pub fn update(&mut self, newer: PeerAttributes) {
        let PeerAttributes { name, address, port, extended, helo, login, ident } = newer;
        self.name.replace_with(name);
        self.address.replace_with(address);
        self.port.replace_with(port);
        self.extended.replace_with(extended);
        self.helo.replace_with(helo);
        self.login.replace_with(login);
        self.ident.replace_with(ident);
    }

    fn take(&mut self, name: &[u8], value: &[u8], command: PeerCommand) -> Result<(), Reply> {
        let value = decode_xtext(value)
            .filter(|value| value.is_ascii() && (1..=PEER_VALUE_OCTETS).contains(&value.len()))
            .ok_or(replies::BAD_ARGUMENT)?;
        let mut upper = name.to_vec();
        upper.make_ascii_uppercase();
        let xclient = command == PeerCommand::Xclient;
        match upper.as_slice() {
            b"NAME" => self.name = told(&value, host_name)?,
            b"ADDR" => self.address = told(&value, address)?,
            b"PORT" => self.port = told(&value, number)?,
            b"PROTO" => self.extended = told(&value, protocol)?,
            // A bad name in a greeting is no reason to refuse (RFC 5321 4.1.4), whoever passes it on.
            b"HELO" => self.helo = told(&value, text)?,
            b"LOGIN" if xclient => self.login = told(&value, text)?,
            b"IDENT" if !xclient => self.ident = told(&value, text)?,
            // What we are told of ourselves, and where the peer has its mail from, changes nothing.
            b"DESTADDR" if xclient => _ = told(&value, address)?,
            b"DESTPORT" if xclient => _ = told(&value, number)?,
            b"SOURCE" if !xclient => _ = told(&value, text)?,
            _ => return Err(replies::BAD_ARGUMENT),
        }
        Ok(())
    }
}

fn told<T>(value: &[u8], read: fn(&[u8]) -> Option<T>) -> Result<Told<T>, Reply> {
    if value.eq_ignore_ascii_case(b"[UNAVAILABLE]") || value.eq_ignore_ascii_case(b"[TEMPUNAVAIL]")
    {
        return Ok(Told::Unknown);
    }
    read(value).map(Told::Is).ok_or(replies::BAD_ARGUMENT)
}

/// A name that may stand in a trace field as it is.
fn host_name(value: &[u8]) -> Option<Box<[u8]>> {
    is_greeting_name(value).then(|| value.into())
}

/// `192.0.2.1`, `IPV6:2001:db8::1`; the prefix may be left out.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = core::str::from_utf8(value).ok()?;
    let prefix = text.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("IPV6:"));
    let address = match prefix {
        true => text[5..].parse::<Ipv6Addr>().ok()?.into(),
        false => text.parse::<IpAddr>().ok()?,
    };
    Some(address.to_canonical())
}

fn number(value: &[u8]) -> Option<u16> {
    let digits = value.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(value).ok()?.parse().ok().filter(|_| digits)
}

fn protocol(value: &[u8]) -> Option<bool> {
    match value {
        value if value.eq_ignore_ascii_case(b"ESMTP") => Some(true),
        value if value.eq_ignore_ascii_case(b"SMTP") => Some(false),
        _ => None,
    }
}

fn text(value: &[u8]) -> Option<Box<[u8]>> {
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(argument: &str) -> Result<PeerAttributes, u16> {
        PeerAttributes::read(argument.as_bytes(), PeerCommand::Xclient)
            .map_err(|reply| reply.code())
    }

    // what is no address, or hides control octets, is 501; nothing of it is taken.
    #[test]
    fn a_11_values_are_of_their_kind_or_501() {
        let bad = [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=999.1.1.1",
            "ADDR=192.0.2.9 ADDR=1",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=IPV6:",
            "PORT=65536",
            "PORT=+1",
            "PORT=x",
            "PROTO=LMTP",
            "HELO=a+0D+0AX:y",
            "NAME=a+20b",
            "NAME=+ZZ",
            "LOGIN=a+00",
            "WIBBLE=1",
            "IDENT=1",
            "SOURCE=LOCAL",
        ];
        for argument in bad {
            assert_eq!(read(argument), Err(501), "{argument}");
        }
        let long = |octets: usize| format!("LOGIN={}", "x".repeat(octets));
        assert!(read(&long(PEER_VALUE_OCTETS)).is_ok());
        assert_eq!(read(&long(PEER_VALUE_OCTETS + 1)), Err(501));
    }

    #[test]
    fn what_is_told_is_known_and_newer_words_stand_over_older_ones() {
        let mut known =
            read("ADDR=192.0.2.9 name=real.client.example PORT=4711 PROTO=esmtp").unwrap();
        assert_eq!(known.address, Told::Is(IpAddr::from([192, 0, 2, 9])));
        assert_eq!(known.name.known().map(|name| &**name), Some(&b"real.client.example"[..]));
        assert_eq!((&known.port, &known.extended), (&Told::Is(4711), &Told::Is(true)));
        known.update(read("ADDR=[UNAVAILABLE] HELO=[192.0.2.1] LOGIN=admin+20x").unwrap());
        assert_eq!(known.address, Told::Unknown);
        assert_eq!(known.port, Told::Is(4711));
        let odd = read("HELO=(odd+20name)").unwrap().helo;
        assert_eq!(odd.known().map(|name| &**name), Some(&b"(odd name)"[..]));
        assert_eq!(known.login.known().map(|name| &**name), Some(&b"admin x"[..]));
        for (text, expected) in [
            ("ADDR=IPV6:2001:db8::1", "2001:db8::1"),
            ("ADDR=ipv6:::ffff:192.0.2.1", "192.0.2.1"),
            ("ADDR=2001:db8::1", "2001:db8::1"),
        ] {
            let address = read(text).unwrap().address;
            assert_eq!(address, Told::Is(expected.parse().unwrap()), "{text}");
        }
        let forwarded = PeerAttributes::read(b"IDENT=a1 SOURCE=REMOTE", PeerCommand::Xforward);
        assert_eq!(forwarded.unwrap().ident.known().map(|ident| &**ident), Some(&b"a1"[..]));
    }
}
