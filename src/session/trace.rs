//! The Received field that each message gets on top.

use crate::relay::Protocol;
use crate::tls::TlsFacts;
use crate::wire::is_greeting_name;
use core::net::IpAddr;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::TimeZone;

/// What a Received field tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace<'a> {
    /// The name of the client's greeting, as it came.
    pub helo: &'a [u8],
    /// The client's name in the DNS, if a trusted peer has told it.
    pub name: Option<&'a [u8]>,
    /// Where the client is; `None` if that is not known.
    pub client: Option<IpAddr>,
    /// Our name.
    pub hostname: &'a str,
    /// What was spoken.
    pub protocol: Protocol,
    /// Greeted with EHLO.
    pub extended: bool,
    /// What was spoken under TLS.
    pub tls: Option<&'a TlsFacts>,
    /// SMTPUTF8 was used.
    pub smtputf8: bool,
    /// The transaction.
    pub id: &'a str,
    /// The recipient, if there is but one: the others must not learn of each other.
    pub only_recipient: Option<&'a [u8]>,
    /// The date, in seconds since 1970.
    pub unix_s: i64,
}

impl Trace<'_> {
    /// The field with its CRLF, in lines of at most 998 octets.
    ///
    /// RFC 5321 4.4: "from" holds the name of the greeting and, from the TCP connection, the
    /// address; "by" our name; "with" the protocol (RFC 3848); "for" at most one path.
    pub fn field(&self) -> Vec<u8> {
        let mut field = b"Received: from ".to_vec();
        field.extend_from_slice(&clean_name(self.helo));
        let address = match self.client {
            Some(IpAddr::V4(address)) => format!("[{address}]"),
            Some(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
            None => "unknown".to_owned(),
        };
        field.extend_from_slice(b" (");
        if let Some(name) = self.name {
            field.extend_from_slice(&clean_name(name));
            field.push(b' ');
        }
        field.extend_from_slice(address.as_bytes());
        field.push(b')');
        let (hostname, with, id) = (self.hostname, self.with(), self.id);
        field.extend(format!("\r\n\tby {hostname} with {with} id {id}").bytes());
        if let Some(recipient) = self.only_recipient {
            field.extend_from_slice(b"\r\n\tfor <");
            field.extend_from_slice(recipient);
            field.push(b'>');
        }
        // RFC 8314 4.3: the registered clause that names the cipher suite.
        if let Some(tls) = self.tls {
            field.extend(format!("\r\n\ttls {}", tls.cipher).bytes());
        }
        field.extend(format!(";\r\n\t{}\r\n", date(self.unix_s)).bytes());
        field
    }

    /// RFC 3848 and RFC 6531 4.3: the names of protocols.
    fn with(&self) -> &'static str {
        match (self.protocol, self.smtputf8, self.tls.is_some()) {
            (Protocol::Smtp, true, true) => "UTF8SMTPS",
            (Protocol::Smtp, true, false) => "UTF8SMTP",
            // There is no name for HELO under TLS.
            (Protocol::Smtp, false, _) if !self.extended => "SMTP",
            (Protocol::Smtp, false, true) => "ESMTPS",
            (Protocol::Smtp, false, false) => "ESMTP",
            (Protocol::Lmtp, true, true) => "UTF8LMTPS",
            (Protocol::Lmtp, true, false) => "UTF8LMTP",
            (Protocol::Lmtp, false, true) => "LMTPS",
            (Protocol::Lmtp, false, false) => "LMTP",
        }
    }
}

/// The name of a greeting, fit for a header: what is outside its grammar is left out.
fn clean_name(helo: &[u8]) -> Vec<u8> {
    if is_greeting_name(helo) {
        return helo.to_vec();
    }
    let harmless = |octet: &u8| octet.is_ascii_alphanumeric() || b".-_:".contains(octet);
    let name: Vec<u8> = helo.iter().copied().filter(harmless).collect();
    if name.is_empty() { b"unknown".to_vec() } else { name }
}

/// RFC 5322 3.3: the date of a Received field, in UTC.
fn date(unix_s: i64) -> String {
    let moment = Timestamp::from_second(unix_s).unwrap_or(Timestamp::UNIX_EPOCH);
    let zoned = moment.to_zoned_datetime(TimeZone::UTC);
    DateTimePrinter::new().zoned_datetime_to_string(&zoned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(helo: &[u8]) -> Trace<'_> {
        Trace {
            helo,
            name: None,
            client: Some(IpAddr::from([192, 0, 2, 7])),
            hostname: "mx.example.net",
            protocol: Protocol::Smtp,
            extended: true,
            tls: None,
            smtputf8: false,
            id: "a1",
            only_recipient: Some(b"ok1@example.net"),
            unix_s: 1_795_507_200,
        }
    }

    #[test]
    fn a_field_says_who_when_and_how() {
        let field = String::from_utf8(trace(b"client.example").field()).unwrap();
        assert_eq!(
            field,
            "Received: from client.example ([192.0.2.7])\r\n\tby mx.example.net with ESMTP id a1\
             \r\n\tfor <ok1@example.net>;\r\n\tTue, 24 Nov 2026 08:00:00 +0000\r\n"
        );
    }

    #[test]
    fn a_field_says_what_was_told_and_what_was_sealed() {
        let facts =
            TlsFacts { version: "TLS1.3", cipher: "TLS_AES_128_GCM_SHA256", client_key: None };
        let told = Trace { name: Some(b"real.example"), tls: Some(&facts), ..trace(b"x.example") };
        let field = String::from_utf8(told.field()).unwrap();
        assert_eq!(
            field,
            "Received: from x.example (real.example [192.0.2.7])\r\n\tby mx.example.net with ESMTPS \
             id a1\r\n\tfor <ok1@example.net>\r\n\ttls TLS_AES_128_GCM_SHA256;\
             \r\n\tTue, 24 Nov 2026 08:00:00 +0000\r\n"
        );
        let unknown = Trace { client: None, ..trace(b"x.example") };
        assert!(unknown.field().starts_with(b"Received: from x.example (unknown)\r\n"));
    }

    // RFC 3848, RFC 6531 4.3: the names of protocols.
    #[test]
    fn protocols_have_their_names() {
        let facts = TlsFacts::default();
        for (protocol, extended, smtputf8, sealed, name) in [
            (Protocol::Smtp, false, false, false, "SMTP"),
            (Protocol::Smtp, false, false, true, "SMTP"),
            (Protocol::Smtp, true, false, false, "ESMTP"),
            (Protocol::Smtp, true, false, true, "ESMTPS"),
            (Protocol::Smtp, true, true, false, "UTF8SMTP"),
            (Protocol::Smtp, true, true, true, "UTF8SMTPS"),
            (Protocol::Lmtp, true, false, false, "LMTP"),
            (Protocol::Lmtp, true, false, true, "LMTPS"),
            (Protocol::Lmtp, true, true, false, "UTF8LMTP"),
            (Protocol::Lmtp, true, true, true, "UTF8LMTPS"),
        ] {
            let tls = sealed.then_some(&facts);
            let trace = Trace { protocol, extended, smtputf8, tls, ..trace(b"x") };
            assert_eq!(trace.with(), name);
        }
    }

    // odd names are cleaned in the trace header, which stays under 998 octets a line.
    #[test]
    fn a_20_odd_names_are_cleaned() {
        for helo in [&b"a\r\nX-Inject: 1"[..], b"\x1b[2J", b"()<>", &[b'x'; 255], b"\xff\xfe"] {
            let field = trace(helo).field();
            assert!(field.split(|octet| *octet == b'\n').all(|line| line.len() <= 998));
            assert_eq!(field.iter().filter(|octet| **octet == b'\n').count(), 4);
            assert!(
                field.iter().all(|octet| octet.is_ascii_graphic() || b" \t\r\n".contains(octet))
            );
        }
    }
}
