//! How the header lines that we put on top are joined to a message, whatever it begins with.

use crate::limits::FIELD_NAME_OCTETS;

/// What stands between our header lines and the first octet of a message, so that neither becomes
/// part of the other. Nothing of the message is changed.
///
/// A message that begins with a header field, or with the empty line before its body, needs
/// nothing. One that begins with anything else is a body alone (RFC 5322 2.1), from which our lines
/// are divided by the empty line that it lacks: otherwise its first line would be lost among header
/// fields, or, beginning with a blank, go on our own Received. The `From ` line of a mailbox, which
/// would end the header for those who read on, becomes the value of a field, as it does in Postfix.
pub(super) fn joint<'a>(content: impl Iterator<Item = &'a [u8]>) -> &'static [u8] {
    let mut first = [0u8; FIELD_NAME_OCTETS + 1];
    let mut length = 0;
    for octet in content.flatten().take(first.len()) {
        first[length] = *octet;
        length += 1;
    }
    match &first[..length] {
        [] | [b'\r', b'\n', ..] | [b'\n', ..] => b"",
        begin if begins_with_field(begin) => b"",
        begin if begin.starts_with(b"From ") || begin.starts_with(b">From ") => b"X-Mailbox-Line: ",
        _ => b"\r\n",
    }
}

/// RFC 5322 2.2: a field name is made of printable characters without colon; obsolete fields
/// (4.5) may have blanks between the name and the colon.
fn begins_with_field(begin: &[u8]) -> bool {
    let name = begin.iter().take_while(|octet| octet.is_ascii_graphic() && **octet != b':').count();
    let rest = begin[name..].trim_ascii_start();
    let blanks = begin.len() - name - rest.len();
    let on_one_line = begin[name..name + blanks].iter().all(|octet| matches!(octet, b' ' | b'\t'));
    name > 0 && on_one_line && rest.first() == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_stays_what_it_is() {
        let table: [(&[u8], &[u8]); 16] = [
            (b"", b""),
            (b"\r\nbody\r\n", b""),
            (b"Subject: x\r\n\r\nbody\r\n", b""),
            (b"X-Odd_1!: x\r\n", b""),
            (b"From : a@b\r\n", b""),
            (b"From:a@b\r\n", b""),
            (b"From a@b Mon Nov 23 08:00:00 2026\r\nSubject: x\r\n", b"X-Mailbox-Line: "),
            (b">From a@b Mon Nov 23 08:00:00 2026\r\nSubject: x\r\n", b"X-Mailbox-Line: "),
            (b"just a body\r\n", b"\r\n"),
            (b" folded: from nowhere\r\n", b"\r\n"),
            (b"\tfolded\r\n", b"\r\n"),
            (b": no name\r\n", b"\r\n"),
            (b"name\r\n: x\r\n", b"\r\n"),
            (b"n\xc3\xa4me: x\r\n", b"\r\n"),
            (b"no end", b"\r\n"),
            (b".\r\n", b"\r\n"),
        ];
        for (content, expected) in table {
            for size in 1..=content.len().max(1) {
                let shown = content.escape_ascii();
                assert_eq!(joint(content.chunks(size)), expected, "{shown} by {size}");
            }
        }
        let field = |octets: usize| [vec![b'x'; octets], b": y\r\n".to_vec()].concat();
        assert_eq!(joint([&*field(FIELD_NAME_OCTETS)].into_iter()), b"");
        assert_eq!(joint([&*field(FIELD_NAME_OCTETS + 1)].into_iter()), b"\r\n");
    }
}
