//! Lists of signatures as ClamAV has them: texts (`.ndb`) and digests of files (`.hdb`, `.hsb`).
//!
//! Such lists come from others, and hold kinds of signatures that are not looked for here: those are
//! left out and counted, so that the list can be taken as it is. A line that is no signature at all
//! is a fault: then the file is not what it was thought to be.

use super::fault::{Spot, Wrong};
use super::table::{Table, Text};
use super::top::Reading;
use crate::limits::{LITERAL_FILE_OCTETS_MAX, LITERAL_OCTETS};
use crate::scan::RuleSpec;
use std::rc::Rc;

/// What a line of a list is.
#[derive(Debug, PartialEq, Eq)]
enum Signature {
    Text(Vec<u8>),
    Md5([u8; 16]),
    Sha1([u8; 20]),
    Sha256([u8; 32]),
    /// Of a kind that is not looked for; which one.
    Untaken(&'static str),
}

/// How the lines of a list are read.
type Read = fn(&str) -> Result<Signature, Wrong>;

/// Reads the list that the key `signatures` names into the rule. Returns the places of its texts;
/// nothing if something is wrong with the list.
pub(super) fn signatures(
    table: &mut Table<'_>,
    reading: &Reading<'_>,
    rule: &mut RuleSpec,
) -> Option<Vec<Spot>> {
    let Some(Text { text, span }) = table.text("signatures") else {
        return table.value("signatures").is_none().then(Vec::new);
    };
    let read: Option<(&str, Read)> = text.strip_prefix("file:").and_then(|path| {
        let end = path.rsplit_once('.')?.1;
        let read: Read = match end {
            "ndb" => text_signature,
            "hdb" | "hsb" => digest_signature,
            _ => return None,
        };
        Some((path, read))
    });
    let Some((path, read)) = read else {
        let help = "write \"file:PATH\" of a list of ClamAV: .ndb, .hdb or .hsb";
        reading.faults.add(span, format!("{text:?} is no list of signatures"), help);
        return None;
    };
    let octets = reading.faults.good(span, reading.files.read(path, LITERAL_FILE_OCTETS_MAX))?;
    let file: Rc<str> = reading.files.path(path).display().to_string().into();
    let mut spots = Vec::new();
    let (mut all, mut untaken, mut first, mut good) = (0, 0, None, true);
    for (line, number) in octets.split(|octet| *octet == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        all += 1;
        let spot = || Spot::Line(Rc::clone(&file), number);
        let text = String::from_utf8_lossy(line);
        match read(&text) {
            Ok(Signature::Text(literal)) => {
                rule.literals.push(literal);
                spots.push(spot());
            }
            Ok(Signature::Md5(digest)) => rule.md5.push(digest),
            Ok(Signature::Sha1(digest)) => rule.sha1.push(digest),
            Ok(Signature::Sha256(digest)) => rule.digests.push(digest),
            Ok(Signature::Untaken(why)) => {
                untaken += 1;
                first.get_or_insert((number, why));
            }
            Err(wrong) => {
                reading.faults.add_at(&spot(), &text, wrong);
                good = false;
            }
        }
    }
    if let Some((line, why)) = first {
        reading.leave_out(format!(
            "{untaken} of {all} signatures in {file} are not taken, the first in line {line}: {why}"
        ));
    }
    good.then_some(spots)
}

/// `NAME:TARGET:OFFSET:HEX`, with versions behind it.
///
/// ASCII letters match in either case, as in all literals.
fn text_signature(line: &str) -> Result<Signature, Wrong> {
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
    if !matches!(target, "0" | "3" | "4" | "7") {
        return Ok(Signature::Untaken("it is for another kind of file than 0, 3, 4, 7"));
    }
    if offset != "*" {
        return Ok(Signature::Untaken("it is to lie at an offset"));
    }
    if hex.contains(|letter| "?*{}()[]|!".contains(letter)) {
        return Ok(Signature::Untaken("it has wildcards"));
    }
    let octets = octets(hex).ok_or_else(|| {
        Wrong::new("the signature is no hexadecimal text", "write two digits for each octet")
    })?;
    match octets.len() {
        0 => Err(Wrong::new("an empty signature would be found everywhere", "remove the line")),
        1..=LITERAL_OCTETS => Ok(Signature::Text(octets)),
        _ => Ok(Signature::Untaken("it is longer than a literal may be")),
    }
}

/// `DIGEST:SIZE:NAME`, with versions behind it. The size says nothing that the digest does not say.
fn digest_signature(line: &str) -> Result<Signature, Wrong> {
    let no_digest = || {
        let help = "write DIGEST:SIZE:NAME, as lists of ClamAV have it";
        Wrong::new("this is no digest of a file", help)
    };
    let fields: Vec<&str> = line.split(':').collect();
    let (&[digest, size, _] | &[digest, size, _, _] | &[digest, size, _, _, _]) = fields.as_slice()
    else {
        return Err(no_digest());
    };
    if size != "*" && size.parse::<u64>().is_err() {
        return Err(Wrong::new(format!("{size:?} is no size"), "write a number, or *"));
    }
    let octets = octets(digest).ok_or_else(no_digest)?;
    match octets.len() {
        16 => Ok(Signature::Md5(octets.try_into().unwrap_or_default())),
        20 => Ok(Signature::Sha1(octets.try_into().unwrap_or_default())),
        32 => Ok(Signature::Sha256(octets.try_into().unwrap_or_default())),
        _ => Err(no_digest()),
    }
}

/// A digest as hexadecimal digits; what follows them says what it is of, as `sha256sum` and `b3sum`
/// write it.
pub(super) fn digest<const OCTETS: usize>(text: &str, kind: &str) -> Result<[u8; OCTETS], Wrong> {
    let word = text.split(' ').next().unwrap_or_default();
    octets(word).and_then(|octets| octets.try_into().ok()).ok_or_else(|| {
        let other = match word.len() {
            32 => "; it looks like one of MD5",
            40 => "; it looks like one of SHA-1",
            64 => "; it looks like one of SHA-256 or BLAKE3",
            _ => "",
        };
        let help = format!("write {} hexadecimal digits{other}", 2 * OCTETS);
        Wrong::new(format!("{word:?} is no {kind} digest"), help)
    })
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
        let table = [("T:0:*:766961677261", &b"viagra"[..]), ("T:7:*:4aFf:51:99", b"J\xff")];
        for (line, octets) in table {
            assert_eq!(text_signature(line).ok(), Some(Signature::Text(octets.to_vec())));
        }
    }

    #[test]
    fn kinds_that_are_not_looked_for_are_left_out() {
        let long = format!("T:0:*:{}", "61".repeat(LITERAL_OCTETS + 1));
        let table = [
            "T:0:0:6161",
            "T:1:EP+0:6161",
            "T:1:*:6161",
            "T:0:*:61??61",
            "T:0:*:61*61",
            "T:0:*:61{2-4}61",
            "T:0:*:61(62|63)61",
            &long,
        ];
        for line in table {
            let read = text_signature(line);
            assert!(matches!(read, Ok(Signature::Untaken(_))), "{line}: {read:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_signature_is_a_fault() {
        let texts = [
            "viagra",
            "T:0:*",
            "T:x:*:6161",
            "T::*:6161",
            "T:0:*:",
            "T:0:*:616",
            "T:0:*:zz",
            "T:0:*:61:1:2:3",
        ];
        for line in texts {
            assert!(text_signature(line).is_err(), "{line}");
        }
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        for line in [md5, &format!("{md5}:x:T"), &format!("{md5}9:3:T"), "61:3:T", "zz:3:T", ":3:T"]
        {
            assert!(digest_signature(line).is_err(), "{line}");
        }
    }

    #[test]
    fn digests_are_told_by_their_length() {
        let line = |octets: usize| format!("{}:*:Test.Name:73", "0f".repeat(octets));
        assert_eq!(digest_signature(&line(16)).ok(), Some(Signature::Md5([15; 16])));
        assert_eq!(digest_signature(&line(20)).ok(), Some(Signature::Sha1([15; 20])));
        assert_eq!(digest_signature(&line(32)).ok(), Some(Signature::Sha256([15; 32])));
    }
}
