//! Address fields as they are shown, and how many mailboxes they name.
//!
//! Rules look for pieces of addresses and display names, so what matters is to show each of them in
//! the open: encoded words undone, comments away, quoting away. How many mailboxes there are is a
//! finding of its own: a sender that is not exactly one is read differently by different clients.

use crate::limits::COMMENT_DEPTH_MAX;

/// Writes a value without its comments and its quoting into `out`, and counts its mailboxes. `None`
/// when the value cannot be read as a list of mailboxes.
pub(super) fn bare(value: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut list = List::default();
    let (mut mailboxes, mut well_formed) = (0, true);
    let mut depth = 0u32;
    for octet in value.iter().copied() {
        if std::mem::take(&mut list.escaped) {
            if depth == 0 {
                list.has_text = true;
                out.push(octet);
            }
            continue;
        }
        match (octet, list.inside) {
            (b'\\', Inside::Quotes) => list.escaped = true,
            (b'\\', _) if depth > 0 => list.escaped = true,
            (b'"', Inside::Quotes) => list.inside = Inside::Text,
            (b'"', Inside::Text) if depth == 0 => list.inside = Inside::Quotes,
            (_, Inside::Quotes) => {
                list.has_text = true;
                out.push(octet);
            }
            (b'(', Inside::Text) if depth < COMMENT_DEPTH_MAX => depth += 1,
            (b')', Inside::Text) if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            (b',' | b';', Inside::Text) => {
                well_formed &= list.angles <= 1;
                mailboxes += usize::from(list.has_text);
                (list.angles, list.has_text) = (0, false);
                list.in_group &= octet != b';';
                out.push(octet);
            }
            (b'<', Inside::Text) => {
                list.angles += 1;
                list.has_text = true;
                out.push(octet);
            }
            (b':', Inside::Text) => {
                // RFC 5322 3.4: a group, which holds no other, and what stood before is its name.
                well_formed &= list.angles == 0 && !list.in_group;
                (list.in_group, list.has_text) = (true, false);
                out.push(octet);
            }
            _ => {
                well_formed &= octet != 0;
                list.has_text |= !matches!(octet, b' ' | b'\t' | b'>');
                out.push(octet);
            }
        }
    }
    well_formed &= list.angles <= 1 && depth == 0 && list.inside == Inside::Text;
    mailboxes += usize::from(list.has_text);
    well_formed.then_some(mailboxes)
}

/// Where in a list of mailboxes a reader stands.
#[derive(Default)]
struct List {
    inside: Inside,
    escaped: bool,
    /// Opening angle brackets of the mailbox.
    angles: u32,
    has_text: bool,
    in_group: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Text,
    Quotes,
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5322 3.4; and what is sent to have two clients see two senders.
    #[test]
    fn mailboxes_are_bared_and_counted() {
        let deep = "(".repeat(100_000);
        let table = [
            ("a@b", "a@b", Some(1)),
            ("", "", Some(0)),
            ("A <a@b>", "A <a@b>", Some(1)),
            ("\"A, \\\"B\\\"\" <a@b>", "A, \"B\" <a@b>", Some(1)),
            ("a(x(y)\\))@b", "a@b", Some(1)),
            ("a@b, c@d", "a@b, c@d", Some(2)),
            ("a@b,", "a@b,", Some(1)),
            ("group: a@b, c@d;", "group: a@b, c@d;", Some(2)),
            ("undisclosed:;", "undisclosed:;", Some(0)),
            ("a:b:c@d;", "a:b:c@d;", None),
            ("<a@x>:<b@y>", "<a@x>:<b@y>", None),
            ("<a@x><b@y>", "<a@x><b@y>", None),
            ("a\0@b", "a\0@b", None),
            ("\"a@b", "a@b", None),
            ("a@b (x", "a@b ", None),
        ];
        for (value, bared, count) in table {
            let mut out = Vec::new();
            assert_eq!(bare(value.as_bytes(), &mut out), count, "{value}");
            assert_eq!(String::from_utf8_lossy(&out), bared, "{value}");
        }
        assert_eq!(bare(deep.as_bytes(), &mut Vec::new()), None);
    }
}
