//! UTF-7 (RFC 2152): a word is found, whichever of its letters are hidden.

use super::Cuts;
use super::base64::encoded;
use super::hidden::{Choices, WORD, is_found, scan};
use postern::scan::Surface;

const HEAD: &str = "From: a@b\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n";

/// The octets are a body as it came; and they choose how a word is written.
pub fn check(octets: &[u8], cuts: Cuts) {
    scan(&[HEAD.as_bytes(), octets].concat(), cuts);
    let mut choices = Choices::new(octets);
    let mut message = HEAD.to_owned();
    let mut rest = WORD;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + usize::from(choices.below(rest.len() as u8)));
        if choices.below(2) == 0 {
            message += piece;
        } else {
            let units: Vec<u8> = piece.encode_utf16().flat_map(u16::to_be_bytes).collect();
            message += &format!("+{}-", String::from_utf8_lossy(&encoded(&units)));
        }
        rest = after;
    }
    is_found(message.as_bytes(), Surface::Visible, cuts);
}
