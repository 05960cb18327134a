//! Names of attachments (RFC 2231, RFC 2047 and what clients make of both): a word is found in a name,
//! however that is written.

use super::Cuts;
use super::base64::encoded;
use super::hidden::{Choices, WORD, is_found, scan};
use postern::scan::Surface;

/// The octets are a parameter as it came; and they choose how a name is written.
pub fn check(octets: &[u8], cuts: Cuts) {
    scan(&[b"Content-Disposition: attachment; ", octets].concat(), cuts);
    let mut choices = Choices::new(octets);
    let (field, key) = choices
        .one_of(&[("Content-Disposition: attachment", "filename"), ("Content-Type: a/b", "name")]);
    let mut parameters = match choices.below(4) {
        0 => vec![format!(
            "{key}=\"=?utf-8?B?{}?=\"",
            String::from_utf8_lossy(&encoded(WORD.as_bytes()))
        )],
        1 => vec![format!("{key}*=utf-8'en'{}", percent(WORD, &mut choices))],
        _ => pieces(key, &mut choices),
    };
    // RFC 2231 3: the pieces may come in any order.
    let places = parameters.len();
    for place in 0..places {
        parameters.swap(place, usize::from(choices.below(places as u8)));
    }
    let join = choices.one_of(&[";", "; ", ";\r\n\t", " ; "]);
    let message = format!("{field}{join}{}\r\n\r\n", parameters.join(join));
    is_found(message.as_bytes(), Surface::Name, cuts);
}

/// `name*0*=...; name*1=...`.
fn pieces(key: &str, choices: &mut Choices<'_>) -> Vec<String> {
    let (mut rest, mut parameters) = (WORD, Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + usize::from(choices.below(rest.len() as u8)));
        let number = parameters.len();
        parameters.push(match choices.below(3) {
            0 if number == 0 => format!("{key}*0*=''{}", percent(piece, choices)),
            0 => format!("{key}*{number}*={}", percent(piece, choices)),
            1 => format!("{key}*{number}=\"{piece}\""),
            _ => format!("{key}*{number}={piece}"),
        });
        rest = after;
    }
    parameters
}

fn percent(text: &str, choices: &mut Choices<'_>) -> String {
    let written = |octet: u8| match choices.below(3) {
        0 => char::from(octet).to_string(),
        1 => format!("%{octet:02x}"),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(written).collect()
}
