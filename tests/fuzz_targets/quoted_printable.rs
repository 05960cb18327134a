//! Quoted-printable: what was encoded comes out again, however it was written.

use super::Cuts;
use super::hidden::{Choices, scan};

const HEAD: &[u8] = b"From: a@b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";

/// The octets are a body as it came; and they are what is encoded, and how.
pub fn check(octets: &[u8], cuts: Cuts) {
    let (_, decoded) = scan(&[HEAD, octets].concat(), cuts);
    assert!(decoded.len() <= octets.len(), "decoding makes nothing longer");
    let mut choices = Choices::new(octets);
    let mut message = HEAD.to_vec();
    for octet in octets {
        let is_plain = octet.is_ascii_graphic() && *octet != b'=';
        let written = match choices.below(3) {
            0 if is_plain => char::from(*octet).to_string(),
            1 => format!("={octet:02x}"),
            _ => format!("={octet:02X}"),
        };
        message.extend_from_slice(written.as_bytes());
        // RFC 2045 6.7 (5): a soft line break, perhaps with blanks that were added on the way.
        message.extend_from_slice(choices.one_of(&[
            &b""[..],
            b"",
            b"",
            b"=\r\n",
            b"= \t\r\n",
            b"=\n",
        ]));
    }
    let (_, decoded) = scan(&message, cuts);
    assert!(decoded == octets, "{:?} from {}", decoded.escape_ascii(), message.escape_ascii());
}
