//! Text signatures of ClamAV (`.ndb`): `NAME:TARGET:OFFSET:HEX`, as far as they are literals.

use super::fault::Wrong;
use crate::limits::LITERAL_OCTETS;

/// The octets of a signature without wildcards that may lie anywhere.
///
/// Whichever kind of file it is meant for, it is looked for where the rule looks; ASCII letters match in
/// either case, as in all literals.
pub(super) fn literal(line: &str) -> Result<Vec<u8>, Wrong> {
    let fields: Vec<&str> = line.split(':').collect();
    let (&[_, target, offset, hex]
    | &[_, target, offset, hex, _]
    | &[_, target, offset, hex, _, _]) = fields.as_slice()
    else {
        let what = "this is no signature";
        return Err(Wrong::new(what, "write NAME:TARGET:OFFSET:HEX, as lists of ClamAV have it"));
    };
    if target.is_empty() || !target.bytes().all(|octet| octet.is_ascii_digit()) {
        let help = "write 0 for any file, 3 for HTML, 4 for mail, 7 for texts";
        return Err(Wrong::new(format!("{target:?} is no target of a signature"), help));
    }
    if offset != "*" {
        let what = format!("a signature at the offset {offset:?}");
        return Err(Wrong::new(what, "literals lie anywhere: write *, or remove the line"));
    }
    if let Some(wildcard) = hex.chars().find(|letter| "?*{}()[]|!".contains(*letter)) {
        let what = format!("a signature with the wildcard {wildcard:?}");
        return Err(Wrong::new(
            what,
            "write it as an expression under `regex`, or remove the line",
        ));
    }
    let octets = octets(hex).ok_or_else(|| {
        Wrong::new("the signature is no hexadecimal text", "write two digits for each octet")
    })?;
    match octets.len() {
        0 => Err(Wrong::new("an empty signature would be found everywhere", "remove the line")),
        1..=LITERAL_OCTETS => Ok(octets),
        octets => {
            let what = format!("a signature of {octets} octets");
            Err(Wrong::new(what, format!("cut it to at most {LITERAL_OCTETS}")))
        }
    }
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16).map(|digit| digit as u8);
    let octet = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    hex.as_bytes().chunks(2).map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_without_wildcards_is_a_literal() {
        assert_eq!(literal("Test.A-1:0:*:766961677261").ok(), Some(b"viagra".to_vec()));
        assert_eq!(literal("Test.A-1:7:*:4aFf:51:99").ok(), Some(b"J\xff".to_vec()));
    }

    #[test]
    fn what_cannot_be_taken_is_refused() {
        let long = format!("Test:0:*:{}", "61".repeat(LITERAL_OCTETS + 1));
        let table = [
            "",
            "viagra",
            "Test:0:*",
            "Test:x:*:6161",
            "Test::*:6161",
            "Test:0:0:6161",
            "Test:1:EP+0:6161",
            "Test:0:*:61??61",
            "Test:0:*:61*61",
            "Test:0:*:61{2-4}61",
            "Test:0:*:61(62|63)61",
            "Test:0:*:",
            "Test:0:*:616",
            "Test:0:*:zz",
            &long,
            "Test:0:*:61:1:2:3",
        ];
        for line in table {
            assert!(literal(line).is_err(), "{line}");
        }
    }
}
