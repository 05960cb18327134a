//! Links: the host that a browser would go to is found, however it is written.

use super::Cuts;
use super::hidden::{Choices, HOST, is_found, scan};
use postern::scan::Surface;

const HEAD: &str = "From: a@b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";

/// The octets are a text as it came; and they choose how a host is written.
pub fn check(octets: &[u8], cuts: Cuts) {
    scan(&[HEAD.as_bytes(), octets].concat(), cuts);
    let mut choices = Choices::new(octets);
    let before = choices.one_of(&["see ", "<a href=\"", "<a href='", "<a href=", "(", "[x]("]);
    let scheme = choices.one_of(&["http://", "HTTPS://", "ftp://"]);
    let user = choices.one_of(&["", "a@", "good.example@", "good.example%2f:x@", "a:b@"]);
    let below = choices.one_of(&["", "www.", "a.b."]);
    let mut host = String::new();
    for letter in HOST.chars() {
        host += &match (letter, choices.below(9)) {
            (letter, 0) => format!("%{:02x}", letter as u32),
            (letter, 1) => format!("&#{};", letter as u32),
            (letter, 2) => format!("&#x{:X};", letter as u32),
            ('.', 3) => "\u{3002}".to_owned(),
            ('.', 4) => "\u{ff0e}".to_owned(),
            ('.', 6) => "&period;".to_owned(),
            ('.', 7) => "&#x3002;".to_owned(),
            (letter, 3) => letter.to_ascii_uppercase().to_string(),
            // Fullwidth letters are the same to browsers (UTS 46), and a soft hyphen is nothing.
            (letter @ 'a'..='z', 6) => fullwidth(letter).to_string(),
            (letter @ 'a'..='z', 7) => format!("&#{};", fullwidth(letter) as u32),
            (letter, 8) => format!("{letter}\u{ad}"),
            (letter, _) => letter.to_string(),
        };
    }
    let after = choices.one_of(&["", ":8080", "/p?q=1&amp;r", "./", "#x", "?x"]);
    let message = format!("{HEAD}{before}{scheme}{user}{below}{host}{after}\r\n");
    is_found(message.as_bytes(), Surface::Url, cuts);
}

fn fullwidth(letter: char) -> char {
    char::from_u32(letter as u32 - 'a' as u32 + 0xff41).expect("a letter")
}
