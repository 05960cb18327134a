//! Command lines for next hops.

use super::envelope::{Step, Talk};
use super::{Delivery, Hop};
use crate::limits::{HOP_XCLIENT_OCTETS, ORCPT_OCTETS};
use crate::relay::offers::Attributes;
use crate::relay::plan::Origin;
use crate::wire::{BodyKind, Notify, Reply, Ret, encode_xtext, unitext_in_seven_bits};
use core::net::IpAddr;

/// The command whose reply shows that no reply too many has come.
pub(super) const VERIFY: &[u8] = b"VRFY postmaster";

/// Whether this is a reply to VRFY and to no other command that stands near it.
///
/// RFC 5321 3.5.3: 252 says that a mailbox cannot be verified, 502 that VRFY is not done.
pub(super) fn is_answer_to_verify(reply: &Reply) -> bool {
    matches!(reply.code(), 252 | 500 | 502)
}

impl Hop {
    pub(super) fn write_step(
        &self,
        step: Step,
        delivery: &Delivery,
        talk: &Talk,
        out: &mut Vec<u8>,
    ) {
        match step {
            Step::Reset => out.extend_from_slice(b"RSET"),
            Step::Data => out.extend_from_slice(b"DATA"),
            Step::Verify => out.extend_from_slice(VERIFY),
            Step::Resume => {
                out.extend_from_slice(b"RESUME");
                let transid = talk.named.as_ref().map(|named| named.transid.as_bytes());
                write_transid(b" ", transid, out);
            }
            Step::Mail => self.write_mail(delivery, talk, out),
            Step::Rcpt(place) => self.write_rcpt(delivery, place, out),
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_rcpt(&self, delivery: &Delivery, place: usize, out: &mut Vec<u8>) {
        let recipient = &delivery.envelope.recipients[delivery.group.recipients[place]];
        out.extend_from_slice(b"RCPT TO:<");
        out.extend_from_slice(&recipient.address);
        out.push(b'>');
        if self.offers.has.dsn {
            write_notify(recipient.notify, out);
            self.write_orcpt(recipient.orcpt.as_deref(), out);
        }
    }

    /// RFC 6533 3: an address in UTF-8 goes out as it came to a server that offers SMTPUTF8, and in
    /// seven bits to any other. RFC 3461 4.2: what grows over 500 characters by that goes not at all,
    /// and a notice then names the address that the recipient has now.
    fn write_orcpt(&self, orcpt: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(orcpt) = orcpt else { return };
        if self.offers.has.smtputf8 || orcpt.is_ascii() {
            return write_value(b" ORCPT=", Some(orcpt), out);
        }
        let converted = unitext_in_seven_bits(orcpt);
        write_value(b" ORCPT=", Some(&*converted).filter(|it| it.len() <= ORCPT_OCTETS), out);
    }

    /// MAIL with the parameters that the next hop offers.
    ///
    /// draft-fanf-smtp-rfc1845bis-01 2.9: the MAIL of a resume is the first one but for TRANSOFF. So
    /// one with a name tells no size: it may be asked for by a message with other lines on top.
    fn write_mail(&self, delivery: &Delivery, talk: &Talk, out: &mut Vec<u8>) {
        let envelope = &*delivery.envelope;
        out.extend_from_slice(b"MAIL FROM:<");
        out.extend_from_slice(&envelope.reverse_path);
        out.push(b'>');
        if self.offers.has.size && talk.named.is_none() {
            out.extend_from_slice(format!(" SIZE={}", delivery.octets()).as_bytes());
        }
        // RFC 6152 3: without the extension nothing can be said of 8-bit content. It is passed on as
        // it is: to change it would be to break its signatures.
        out.extend_from_slice(match envelope.body {
            BodyKind::SevenBit if self.offers.has.eight_bit_mime => b" BODY=7BIT",
            BodyKind::EightBitMime if self.offers.has.eight_bit_mime => b" BODY=8BITMIME",
            BodyKind::BinaryMime => b" BODY=BINARYMIME",
            _ => b"",
        });
        if envelope.smtputf8 {
            out.extend_from_slice(b" SMTPUTF8");
        }
        if envelope.requiretls {
            out.extend_from_slice(b" REQUIRETLS");
        }
        if talk.prdr {
            out.extend_from_slice(b" PRDR");
        }
        if self.offers.has.dsn {
            out.extend_from_slice(match envelope.ret {
                None => b"",
                Some(Ret::Full) => b" RET=FULL",
                Some(Ret::Headers) => b" RET=HDRS",
            });
            write_value(b" ENVID=", envelope.envid.as_deref(), out);
        }
        if let Some(named) = &talk.named {
            write_transid(b" TRANSID=", Some(named.transid.as_bytes()), out);
            out.extend_from_slice(format!(" TRANSOFF={}", named.offset).as_bytes());
        }
    }
}

impl Attributes {
    /// Writes XCLIENT with all that may be told. What is not known is told to be so: otherwise the
    /// next hop would go on believing what it was told of another client, or what it sees of us.
    pub(super) fn write(self, origin: &Origin, out: &mut Vec<u8>) {
        let address = origin.address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("IPV6:{address}"),
        });
        let port = origin.port.map(|port| port.to_string());
        let protocol = if origin.extended { "ESMTP" } else { "SMTP" };
        let told: [(bool, &str, Option<&[u8]>); 6] = [
            (self.addr, "ADDR", address.as_deref().map(str::as_bytes)),
            (self.port, "PORT", port.as_deref().map(str::as_bytes)),
            (self.proto, "PROTO", Some(protocol.as_bytes())),
            (self.name, "NAME", origin.name.as_deref()),
            (self.login, "LOGIN", origin.login.as_deref()),
            (self.helo, "HELO", Some(&origin.helo)),
        ];
        const UNAVAILABLE: &[u8] = b"[UNAVAILABLE]";
        let mut wanted = told.iter().filter(|(wanted, ..)| *wanted).count();
        let mut line = b"XCLIENT".to_vec();
        for (_, name, value) in told.into_iter().filter(|(wanted, ..)| *wanted) {
            let mut text = Vec::new();
            encode_xtext(value.unwrap_or_default(), &mut text);
            wanted -= 1;
            // The others must find room to say that they are not available.
            let room = HOP_XCLIENT_OCTETS - b"\r\n".len() - wanted * b" PROTO=[UNAVAILABLE]".len();
            let fits = line.len() + b" PROTO=".len() + text.len() <= room;
            line.extend_from_slice(format!(" {name}=").as_bytes());
            line.extend_from_slice(if fits && !text.is_empty() { &text } else { UNAVAILABLE });
        }
        out.extend_from_slice(&line);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_notify(notify: Option<Notify>, out: &mut Vec<u8>) {
    let Some(notify) = notify else { return };
    out.extend_from_slice(b" NOTIFY=");
    let wishes =
        [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let wanted: Vec<&str> = wishes.iter().filter(|wish| wish.0).map(|wish| wish.1).collect();
    let list = if wanted.is_empty() { "NEVER".to_owned() } else { wanted.join(",") };
    out.extend_from_slice(list.as_bytes());
}

fn write_transid(name: &[u8], transid: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(transid) = transid {
        out.extend_from_slice(name);
        out.push(b'<');
        out.extend_from_slice(transid);
        out.push(b'>');
    }
}

fn write_value(name: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Attributes =
        Attributes { name: true, addr: true, port: true, proto: true, helo: true, login: true };

    fn line(attributes: Attributes, origin: &Origin) -> String {
        let mut out = Vec::new();
        attributes.write(origin, &mut out);
        String::from_utf8(out).unwrap()
    }

    // XCLIENT_README: attribute values are xtext; [UNAVAILABLE] is what is not known; an IPv6 address
    // has a prefix; a command has at most 512 octets.
    #[test]
    fn xclient_tells_what_is_offered_and_known() {
        let unknown = Origin::default();
        assert_eq!(
            line(ALL, &unknown),
            "XCLIENT ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] PROTO=SMTP NAME=[UNAVAILABLE] \
             LOGIN=[UNAVAILABLE] HELO=[UNAVAILABLE]\r\n"
        );
        let known = Origin {
            address: Some("2001:db8::1".parse().unwrap()),
            port: Some(2525),
            name: Some(b"client.example".as_slice().into()),
            helo: b"a b\r\nRSET".as_slice().into(),
            extended: true,
            login: Some(b"me+you".as_slice().into()),
        };
        assert_eq!(
            line(ALL, &known),
            "XCLIENT ADDR=IPV6:2001:db8::1 PORT=2525 PROTO=ESMTP NAME=client.example \
             LOGIN=me+2Byou HELO=a+20b+0D+0ARSET\r\n"
        );
        let few = Attributes { addr: true, ..Attributes::default() };
        let mapped = Origin { address: Some("::ffff:192.0.2.1".parse().unwrap()), ..known };
        assert_eq!(line(few, &mapped), "XCLIENT ADDR=192.0.2.1\r\n");
    }

    #[test]
    fn xclient_keeps_to_its_length() {
        for octets in [1, 200, 255] {
            for text in [b'x', b' '] {
                let long: Box<[u8]> = vec![text; octets].into();
                let (name, login) = (Some(long.clone()), Some(long.clone()));
                let origin = Origin { name, login, helo: long, ..Origin::default() };
                let line = line(ALL, &origin);
                assert!(line.len() <= HOP_XCLIENT_OCTETS, "{line}");
                assert_eq!(line.matches('=').count(), 6, "{line}");
            }
        }
    }
}
