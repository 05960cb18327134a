//! Base64: what was encoded comes out again, whatever lies between its letters.

use super::Cuts;
use super::hidden::{Choices, scan};

const HEAD: &[u8] = b"From: a@b\r\nContent-Transfer-Encoding: base64\r\n\r\n";

/// The octets are a body as it came; and they are what is encoded, and how.
pub fn check(octets: &[u8], cuts: Cuts) {
    let (_, decoded) = scan(&[HEAD, octets].concat(), cuts);
    assert!(decoded.len() <= octets.len(), "decoding makes nothing longer");
    let mut choices = Choices::new(octets);
    let mut message = HEAD.to_vec();
    for letter in encoded(octets) {
        message.push(letter);
        if choices.below(8) == 0 {
            message.extend_from_slice(choices.one_of(&[
                &b"\r\n"[..],
                b" ",
                b"!",
                b"\xff",
                b"\n\t",
                b"\0",
            ]));
        }
    }
    let (_, decoded) = scan(&message, cuts);
    assert!(decoded == octets, "{:?} from {}", decoded.escape_ascii(), message.escape_ascii());
}

/// RFC 4648 4, without padding.
pub fn encoded(octets: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut letters = Vec::new();
    for group in octets.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet));
        let bits = bits << (8 * (3 - group.len()));
        let places = (0..=group.len()).map(|place| bits >> (18 - 6 * place) & 63);
        letters.extend(places.map(|place| LETTERS[place as usize]));
    }
    letters
}
