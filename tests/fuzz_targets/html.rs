//! HTML: a word that its reader sees as one is found, whatever markup cuts it.

use super::Cuts;
use super::hidden::{Choices, WORD, is_found, scan};
use postern::scan::Surface;

const HEAD: &str = "From: a@b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";

/// The octets are a body as it came; and they choose how a word is written.
pub fn check(octets: &[u8], cuts: Cuts) {
    scan(&[HEAD.as_bytes(), octets].concat(), cuts);
    let mut choices = Choices::new(octets);
    let mut message = HEAD.to_owned();
    for letter in WORD.chars() {
        message += &match choices.below(4) {
            0 => format!("&#{};", letter as u32),
            1 => format!("&#x{:x};", letter as u32),
            2 => format!("&#X000{:X};", letter as u32),
            _ => letter.to_string(),
        };
        message += choices.one_of(&[
            "",
            "<b>",
            "</font>",
            "<span title='>'>",
            "<!-- -->",
            "<!---->",
            "&shy;",
            "&zwnj;",
            "\u{200b}",
            "&#8203;",
            "<script>x</script>",
            "<style>x</style>",
        ]);
    }
    is_found(message.as_bytes(), Surface::Visible, cuts);
}
