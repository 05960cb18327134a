//! TLS towards the next hops of a route: when, with whom, and what we show.

use super::fault::Wrong;
use super::table::{Table, Text};
use super::tls::{Pair, PemFile, wrong};
use super::top::Reading;
use crate::relay::{Address, HopTls};
use crate::tls::{ClientTls, HopTrust};
use std::ops::Range;
use std::sync::Arc;

/// When TLS begins, by the keys `tls` and `to`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Off,
    Opportunistic,
    Required,
    /// `lmtps://`, `smtps://`: required, from the first octet on.
    Implicit,
}

/// TLS of a route, and the words that describe it.
pub(super) struct RouteTls {
    pub tls: HopTls,
    pub words: String,
}

/// The keys `tls`, `ca`, `pin`, `server-name`, `certificate` and `key`.
///
/// `implicit` says that `to` has addresses whose scheme is that of TLS.
pub(super) fn of_route(
    table: &mut Table<'_>,
    reading: &Reading<'_>,
    addresses: &[Address],
    implicit: bool,
) -> Option<RouteTls> {
    let words =
        [("off", When::Off), ("opportunistic", When::Opportunistic), ("required", When::Required)];
    let given = table.text("tls");
    let chosen = table.choice("tls", &words);
    let authorities = table.text("ca");
    let pins = table.each("pin", pin);
    let name = table.text("server-name");
    let own = (table.text("certificate"), table.text("key"));
    // A word with a fault has been told.
    if given.is_some() && chosen.is_none() {
        return None;
    }
    let when = match (implicit, chosen) {
        (true, None | Some(When::Required)) => When::Implicit,
        (true, Some(_)) => {
            let help = "leave it out, or write lmtp:// or smtp:// in `to`";
            reading.faults.add(given?.span, "`to` wants TLS from the first octet on", help);
            return None;
        }
        (false, chosen) => chosen.unwrap_or(When::Off),
    };
    let texts = [
        ("ca", authorities.clone()),
        ("server-name", name.clone()),
        ("certificate", own.0.clone()),
        ("key", own.1.clone()),
    ];
    if when == When::Off {
        let mut good = true;
        let keys = texts.into_iter().filter_map(|(key, text)| Some((key, text?.span)));
        let pin = table.value("pin").map(|pin| ("pin", pin.span()));
        for (key, span) in keys.chain(pin) {
            let what = format!("`{key}` without TLS");
            reading.faults.add(span, what, "add `tls = \"required\"`");
            good = false;
        }
        return good.then(|| RouteTls { tls: HopTls::Off, words: "no TLS".to_owned() });
    }
    let trust = Trust { authorities, pins, name };
    let identity = identity(own, table, reading);
    let place = given.map_or(table.value("to").map(toml::Spanned::span), |text| Some(text.span));
    let place = place.unwrap_or(table.span.clone());
    client(when, trust, identity?, addresses, &place, reading)
}

/// By what a next hop is known.
struct Trust<'a> {
    authorities: Option<Text<'a>>,
    pins: Option<Vec<[u8; 32]>>,
    name: Option<Text<'a>>,
}

fn client(
    when: When,
    trust: Trust<'_>,
    identity: Option<Pair>,
    addresses: &[Address],
    place: &Range<usize>,
    reading: &Reading<'_>,
) -> Option<RouteTls> {
    let faults = reading.faults;
    let (kind, mut words) = match when {
        When::Off => return None,
        When::Opportunistic => ("opportunistic", "TLS when offered".to_owned()),
        When::Required => ("required", "TLS required".to_owned()),
        When::Implicit => ("implicit", "TLS from the first octet".to_owned()),
    };
    let pinned = trust.pins.as_ref().is_some_and(|pins| !pins.is_empty());
    if when != When::Opportunistic && trust.authorities.is_none() && !pinned {
        // A `pin` with a fault has been told; that nothing is left of it need not be.
        if trust.pins.is_none() {
            let help = "add `ca = \"PEM file\"` (who signs its certificate) or `pin = [\"...\"]` \
                        (SHA-256 of its public key), or write tls = \"opportunistic\"";
            let what = format!("TLS is {kind}, and nothing says who the next hop is");
            faults.add(place.clone(), what, help);
        }
        return None;
    }
    if let (Some(ca), true) = (&trust.authorities, pinned) {
        let help = "keep one: a pinned key needs no authority";
        faults.add(ca.span.clone(), "`ca` beside `pin`", help);
        return None;
    }
    let name = server_name(&trust, addresses, reading)?;
    let bundle = match &trust.authorities {
        Some(path) => {
            words.push_str(&format!(", known by ca {} as {name}", path.text));
            Some((PemFile::read_once(reading, path)?, path.span.clone()))
        }
        None => None,
    };
    if let Some(pins) = trust.pins.as_ref().filter(|_| pinned) {
        let digits = |pin: &[u8; 32]| pin.iter().map(|octet| format!("{octet:02x}")).collect();
        let pins: Vec<String> = pins.iter().map(digits).collect();
        words.push_str(&format!(", known by key {}", pins.join(", ")));
    }
    let hop_trust = match (&bundle, &trust.pins) {
        (Some((bundle, _)), _) => HopTrust::Authorities(bundle.pem()),
        (None, Some(pins)) if pinned => HopTrust::Keys(pins),
        _ => HopTrust::Anybody,
    };
    let shown = identity.as_ref().map(Pair::identity);
    let made = ClientTls::from_pem(&name, hop_trust, shown, reading.unix_s).map_err(wrong);
    let span = bundle.as_ref().map(|(_, span)| span.clone());
    let span = identity.as_ref().map(|pair| pair.span.clone()).or(span).unwrap_or(place.clone());
    let tls = Arc::new(faults.good(span, made)?);
    reading.warn(tls.warnings());
    if identity.is_some() {
        words.push_str(", we show a certificate");
    }
    let tls = match when {
        When::Off | When::Opportunistic => HopTls::Opportunistic(tls),
        When::Required => HopTls::Required(tls),
        When::Implicit => HopTls::Implicit(tls),
    };
    Some(RouteTls { tls, words })
}

/// The name in the next hop's certificate; without one its address.
fn server_name(trust: &Trust<'_>, addresses: &[Address], reading: &Reading<'_>) -> Option<String> {
    if let Some(name) = &trust.name {
        return Some(name.text.to_owned());
    }
    let mut hosts: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            Address::Tcp(address) => address.ip().to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        })
        .collect();
    hosts.dedup();
    if let (Some(ca), true) = (&trust.authorities, hosts.len() > 1) {
        let help = "add `server-name = \"mail.example.net\"`: all of them show this name";
        reading.faults.add(ca.span.clone(), "several next hops, and no name for them", help);
        return None;
    }
    if hosts.is_empty() {
        // A `to` with a fault has been told.
        return None;
    }
    hosts.into_iter().next()
}

/// Our own certificate, if the route has one. The outer `None` is a fault.
fn identity(
    own: (Option<Text<'_>>, Option<Text<'_>>),
    table: &Table<'_>,
    reading: &Reading<'_>,
) -> Option<Option<Pair>> {
    match own {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => {
            let span = certificate.span.clone();
            let certificate = PemFile::read_once(reading, &certificate);
            let key = PemFile::read_once(reading, &key);
            Some(Some(Pair { certificate: certificate?, key: key?, span }))
        }
        (Some(_), None) => {
            table.requires("key", "key = \"key.pem\"");
            None
        }
        (None, Some(_)) => {
            table.requires("certificate", "certificate = \"fullchain.pem\"");
            None
        }
    }
}

/// SHA-256 of a public key (its SubjectPublicKeyInfo) in hexadecimal digits.
fn pin(text: &str) -> Result<[u8; 32], Wrong> {
    let mut pin = [0; 32];
    let good = text.len() == 64
        && text.is_ascii()
        && pin.iter_mut().enumerate().all(|(at, octet)| {
            let digits = text.get(2 * at..2 * at + 2).unwrap_or_default();
            let value = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
            *octet = value.unwrap_or_default();
            value.is_some()
        });
    let help = "write 64 hexadecimal digits: `openssl x509 -in certificate.pem -pubkey -noout | \
                openssl pkey -pubin -outform der | sha256sum`";
    match good {
        true => Ok(pin),
        false => Err(Wrong::new(format!("{text:?} is no SHA-256 of a public key"), help)),
    }
}
