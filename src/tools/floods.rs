//! Texts that a hostile sender would make of a rule set, and a mail that an honest one would send:
//! what the cost of a scan is measured with.

use crate::scan::Rules;
use std::fmt::Write;

/// A text with a name that says what it is hard on.
pub type Flood = (&'static str, Vec<u8>);

/// Texts of about so many octets that are hard on the tables of these rules, on the decoders, and on
/// the reading of the structure.
pub fn floods(rules: &Rules, octets: usize) -> Vec<Flood> {
    let mut all = of_encodings(octets);
    all.extend(of_literals(rules, octets));
    all
}

/// Texts that are hard on what looks for the literals of these rules.
pub fn of_literals(rules: &Rules, octets: usize) -> Vec<Flood> {
    let mut literals: Vec<&[u8]> = rules.literal_sample().collect();
    if literals.is_empty() {
        literals.push(b"a");
    }
    // In an order in which one has little to do with the next.
    literals.sort_by_key(|literal| {
        let mix = |sum: u64, octet: &u8| (sum ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        literal.iter().fold(7, mix)
    });
    let of = |part: fn(&[u8]) -> &[u8]| -> Vec<u8> {
        let text: Vec<u8> = literals.iter().flat_map(|one| part(one).iter().copied()).collect();
        flood("", if text.is_empty() { b"a" } else { &text }, octets)
    };
    vec![
        ("near misses", of(|literal| &literal[..literal.len() - 1])),
        ("heads cut off", of(|literal| &literal[1..])),
        ("nothing but literals", of(|literal| literal)),
        ("first three octets", of(|literal| &literal[..literal.len().min(3)])),
        ("last ten octets", of(|literal| &literal[literal.len().saturating_sub(10)..])),
        ("one octet", flood("", b"a", octets)),
    ]
}

/// Texts that are hard on the decoders and on the reading of the structure.
pub fn of_encodings(octets: usize) -> Vec<Flood> {
    const BASE64: &str = "Content-Transfer-Encoding: base64\r\n";
    const PRINTABLE: &str = "Content-Transfer-Encoding: quoted-printable\r\n";
    const MULTIPART: &str = "Content-Type: multipart/mixed; boundary=b\r\n";
    const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";
    const DIGITS: &str =
        "aGVyZSBhcmUgdGhlIG1pbnV0ZXMgb2YgdGhlIGxhc3QgbWVldGluZyBhbmQgbW9yZSBvZiBpdCE+\r\n";
    const ONE_FOREIGN: &str =
        "aGVyZSBhcmUgdGhlIG1pbnV0ZXMgb2YgdGhlIGxhc3QgbWVldGluZyBhbmQgbW9yZSBvZiBpdC!+\r\n";
    const TEXT: &str = "the minutes of the =E2=80=9Clast=E2=80=9D meeting are attached, and=\r\n ";
    let table: [(&str, &str, &str); 25] = [
        ("base64, clean", BASE64, DIGITS),
        ("base64, one digit a line", BASE64, "a\r\nG\r\nV\r\ny\r\n"),
        ("base64, foreign octets", BASE64, "aGV!yZS!Bhc!mUg\r\n"),
        ("base64, padding", BASE64, "aG=="),
        ("base64, one foreign octet a line", BASE64, ONE_FOREIGN),
        ("printable, text", PRINTABLE, TEXT),
        ("printable, soft breaks", PRINTABLE, "=\r\n"),
        ("printable, equals signs", PRINTABLE, "="),
        ("printable, escapes", PRINTABLE, "=41"),
        ("printable, blanks", PRINTABLE, " "),
        ("printable, line ends", PRINTABLE, "\r\n"),
        ("printable, short words", PRINTABLE, "a =\r\n"),
        ("lines of two dashes", MULTIPART, "--\r\n"),
        ("lines of one dash", MULTIPART, "-\r\n"),
        ("lines that nearly are boundaries", MULTIPART, "--c\r\n"),
        ("empty parts", MULTIPART, "--b\r\n\r\n"),
        ("line ends", MULTIPART, "\r\n"),
        ("html, short tags", HTML, "<b>a</b>"),
        ("html, entities", HTML, "&amp;&#65;&zwj;"),
        ("html, entities that are none", HTML, "&am&#x&"),
        ("html, comments", HTML, "a<!-- -->"),
        ("html, open brackets", HTML, "<"),
        ("html, characters of no width", HTML, "a\u{200b}\u{200d}"),
        ("links", "", "http://a.b.c.d.e.example/ "),
        ("colons and slashes", "", "://"),
    ];
    let of_body = |(name, fields, body): &(&'static str, &str, &str)| {
        (*name, flood(fields, body.as_bytes(), octets))
    };
    let mut all: Vec<Flood> = table.iter().map(of_body).collect();
    all.extend([
        ("fields", b"a:b\r\n".repeat(octets / 5)),
        ("continuation lines", [&b"a: b"[..], &b"\r\n ".repeat(octets / 3)].concat()),
        ("encoded words", b"Subject: =?utf-8?q?=41_b?= =?utf-8?b?YWI=?=\r\n".repeat(octets / 46)),
    ]);
    all
}

/// Octets over and over, as the body of a message with these header fields.
fn flood(fields: &str, body: &[u8], octets: usize) -> Vec<u8> {
    let mut message = format!("Subject: flood\r\n{fields}\r\n").into_bytes();
    let times = octets.saturating_sub(message.len()).div_ceil(body.len());
    message.extend_from_slice(&body.repeat(times));
    message
}

/// A letter as people send it: a text, the same in HTML, and an attachment.
pub fn letter() -> Vec<u8> {
    const WORDS: &str = "the minutes of our last meeting are attached please read them before Thursday and \
                         tell me what is missing in a few words I shall send final version to everybody who \
                         was there on Friday at noon with kind regards";
    let known: Vec<&str> = WORDS.split(' ').collect();
    // A text without a period that a table could learn.
    let mut drawn = 1u32;
    let mut draw = |below: usize| {
        drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (drawn >> 8) as usize % below
    };
    let (mut text, mut html) = (String::new(), String::from("<html><body>\r\n"));
    for line in 0..160 {
        let words: Vec<&str> = (0..11).map(|_| known[draw(known.len())]).collect();
        let words = words.join(" ");
        let _ = write!(text, "{words}.\r\n");
        let _ = write!(html, "<p style=3D\"margin: 0\">{words} &amp; more.<br></p>\r\n");
        if line % 20 == 0 {
            html.push_str("<a href=3D\"https://www.example.org/minutes?page=3D2\">here</a>=\r\n");
        }
    }
    let digits: String = (0..480)
        .map(|_| {
            const ALPHABET: &[u8; 64] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let line: String = (0..76).map(|_| char::from(ALPHABET[draw(64)])).collect();
            line + "\r\n"
        })
        .collect();
    format!(
        "Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mx.example.net;\r\n\t\
         Tue, 3 Nov 2026 10:00:00 +0000\r\nFrom: \"A. Sender\" <a@example.org>\r\n\
         To: b@example.net\r\nSubject: =?utf-8?q?The_minutes_of_our_meeting?=\r\n\
         Date: Tue, 3 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_a\"\r\n\r\n\
         --=_a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\
         --=_a\r\nContent-Type: text/html; charset=utf-8\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\n{html}</body></html>\r\n\
         --=_a\r\nContent-Type: application/pdf; name=\"minutes.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{digits}--=_a--\r\n"
    )
    .into_bytes()
}
