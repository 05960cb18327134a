//! Encoded words of header fields (RFC 2047): a word that lies in several of them is found.

use super::Cuts;
use super::base64::encoded;
use super::hidden::{Choices, WORD, is_found, scan};
use postern::scan::Surface;

/// The octets are a field as it came; and they choose how a word is written.
pub fn check(octets: &[u8], cuts: Cuts) {
    scan(&[b"Subject: ", octets].concat(), cuts);
    let mut choices = Choices::new(octets);
    let charset = choices.one_of(&["utf-8", "UTF-8*en", "us-ascii", "iso-8859-1", "x-unknown"]);
    let mut subject = String::from("Subject: ");
    let mut rest = WORD;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + usize::from(choices.below(rest.len() as u8)));
        let word = match choices.below(3) {
            0 => format!("B?{}", String::from_utf8_lossy(&encoded(piece.as_bytes()))),
            1 => format!("Q?{piece}"),
            _ => format!(
                "q?{}",
                piece.bytes().map(|octet| format!("={octet:02x}")).collect::<String>()
            ),
        };
        subject += &format!("=?{charset}?{word}?=");
        rest = after;
        subject += choices.one_of(&["", " ", "\r\n ", " \r\n\t "]);
    }
    is_found(format!("{}\r\n\r\n", subject.trim_end()).as_bytes(), Surface::Subject, cuts);
}
