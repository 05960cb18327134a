//! What the parts of a message are, and where their limits lie.

use super::*;
use crate::limits::*;

// RFC 5322 2.1, 2.2: the header ends at the first empty line.
#[test]
fn headers_end_where_they_end() {
    structures_hold(&[
        ("nothing", "", "        0 text/plain identity \"\"", ""),
        ("header only", "A: b\n", "        0 text/plain identity \"\"", ""),
        ("header without a line end", "A: b", "        0 text/plain identity \"\"", ""),
        ("body", "A: b\n\nx\n", "        0 text/plain identity \"x\\n\"", ""),
        ("no header", "\nx\n", "        0 text/plain identity \"x\\n\"", ""),
        ("mailbox line", "From a b:c\nA: b\n\nx", "        0 text/plain identity \"x\"", ""),
        (
            "no colon",
            "A: b\nno colon\nB: c\n\nx",
            "        0 text/plain identity \"no colon\\nB: c\\n\\nx\"",
            "mime-ambiguous",
        ),
        (
            "blank first",
            " x\nA: b\n",
            "        0 text/plain identity \" x\\nA: b\\n\"",
            "mime-ambiguous",
        ),
        ("blanks inside", "A: b\n  \nB: c\n\nx", "        0 text/plain identity \"x\"", ""),
        ("folded type", "content-type:\n text/html\n\nx", "        0 text/html identity \"x\"", ""),
        (
            "space before the colon",
            "Content-Type : text/html\n\nx",
            "        0 text/html identity \"x\"",
            "mime-ambiguous",
        ),
        (
            "two encodings",
            "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\ndmlhZ3Jh\n",
            "        0 text/plain base64 \"viagra\"",
            "mime-ambiguous text part",
        ),
        (
            "two decodable encodings",
            "Content-Transfer-Encoding: quoted-printable\nContent-Transfer-Encoding: base64\n\n\
             dmlhZ3Jh\n",
            "        0 text/plain quoted-printable \"dmlhZ3Jh\\n\"",
            "mime-ambiguous text part",
        ),
    ]);
}

// RFC 2046 5.1.1.
#[test]
fn delimiters_part_a_multipart() {
    structures_hold(&[
        (
            "two parts with preamble and epilogue",
            "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\n\nx\n--b\nContent-Type: a/b\n\n\
             y\n\n--b--\nepi",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\"
          2 a/b identity \"y\\n\"",
            "",
        ),
        (
            "padding, and boundaries that begin alike",
            "Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\n--b1\nx\n--\n-\n--b-- \n",
            "        0 multipart/mixed multipart
          1 text/plain identity \"--b1\\nx\\n--\\n-\"",
            "mime-ambiguous",
        ),
        (
            "an inner boundary that begins like the outer one",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; \
             boundary=b1\n\n--b1\n\nx\n--b1--\n--b--\n",
            "        0 multipart/mixed multipart
          1 multipart/mixed multipart
            2 text/plain identity \"x\"",
            "",
        ),
        (
            "unclosed inside",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; \
             boundary=c\n\n--c\n\nx\n--b\n\ny",
            "        0 multipart/mixed multipart
          1 multipart/mixed multipart
            2 text/plain identity \"x\"
          3 text/plain identity \"y\"",
            "",
        ),
        (
            "a bare carriage return is no line end",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\r--b\ry\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\\r--b\\ry\"",
            "",
        ),
    ]);
}

// RFC 2046 5.1.1.
#[test]
fn broken_delimiters_are_followed() {
    structures_hold(&[
        (
            "no empty line after a delimiter",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\nA: b\n--b\n-x: y\n\nz\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"\"
          2 text/plain identity \"\"
          3 text/plain identity \"z\"",
            "",
        ),
        (
            "no empty line before the first delimiter",
            "Content-Type: multipart/mixed; boundary=b\n--b\n\nx\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\"",
            "mime-ambiguous",
        ),
        (
            "text after a delimiter at once",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n-text\n-: x\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"-text\\n-: x\"",
            "mime-ambiguous",
        ),
        (
            "a delimiter after the close delimiter",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\"
          2 text/plain identity \"y\"",
            "mime-ambiguous",
        ),
    ]);
}

// RFC 2046 5.1.1.
#[test]
fn boundaries_that_are_not_one_are_followed() {
    structures_hold(&[
        (
            "two boundaries",
            "Content-Type: multipart/mixed; boundary=b; boundary=c\n\n--b\n\nx\n--b--\n--c\n\ny\n\
             --c--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\"
          2 text/plain identity \"y\"",
            "mime-ambiguous",
        ),
        (
            "two types",
            "Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\"",
            "mime-ambiguous",
        ),
        (
            "no boundary",
            "Content-Type: multipart/mixed\n\n--b\n",
            "        0 multipart/mixed identity \"--b\\n\"",
            "mime-ambiguous",
        ),
        (
            "an empty boundary",
            "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\nx\n--x\n----",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\\n--x\"",
            "mime-ambiguous",
        ),
    ]);
}

// RFC 2046 5.1.5, 5.2.1; RFC 2045 6.4.
#[test]
fn messages_in_messages_are_followed() {
    structures_hold(&[
        (
            "a message",
            "Content-Type: message/rfc822\n\nContent-Type: text/html\n\nx\n",
            "        0 message/rfc822 message
          1 text/html identity \"x\\n\"",
            "",
        ),
        (
            "a digest",
            "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: viagra\n\nx\n--d\n\
             Content-Type: text/plain\n\ny\n--d--",
            "        0 multipart/digest multipart
          1 message/rfc822 message
            2 text/plain identity \"x\"
          3 text/plain identity \"y\"",
            "raw header",
        ),
        (
            "a header that ends at text, with a message in its stead",
            "Content-Type: message/rfc822\nno colon\nx\n",
            "        0 message/rfc822 message
          1 text/plain identity \"no colon\\nx\\n\"",
            "mime-ambiguous",
        ),
        (
            "a blank first, with a message in its stead",
            "Content-Type: multipart/digest; boundary=d\n\n--d\n x\n--d--",
            "        0 multipart/digest multipart
          1 message/rfc822 message
            2 text/plain identity \" x\"",
            "mime-ambiguous",
        ),
        (
            "a delimiter where a message should begin",
            "Content-Type: multipart/digest; boundary=d\n\n--d\n--d\n\n--d--",
            "        0 multipart/digest multipart
          1 message/rfc822 message
            2 text/plain identity \"\"
          3 message/rfc822 message
            4 text/plain identity \"\"",
            "",
        ),
        (
            "a message in base64",
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n\
             QTogYgoKdmlh\nZ3Jh\n",
            "        0 message/rfc822 message
          1 text/plain identity \"QTogYgoKdmlh\\nZ3Jh\\n\"",
            "mime-ambiguous text part",
        ),
        (
            "a multipart in base64",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; \
             boundary=m\nContent-Transfer-Encoding: base64\n\nLS1tCgp2aWFn\ncmEK\n--b\n\nx\n--b--",
            "        0 multipart/mixed multipart
          1 multipart/mixed multipart
          2 text/plain identity \"x\"",
            "mime-ambiguous text part",
        ),
    ]);
}

/// A dash may begin a delimiter, and is held; here it is a base64 digit of the second reading.
#[test]
fn a_second_reading_has_every_dash() {
    let rules = compile(&[rule("found", "viagra", &[Surface::Part])]);
    let message = "Content-Transfer-Encoding: base64\n\
                   Content-Type: multipart/mixed; boundary=b\n\n--b\n-dmlhZ3Jh\n";
    let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
    assert_eq!(tags_of(&rules, &findings), "mime-ambiguous found");
}

#[test]
fn long_boundaries_are_followed_by_their_beginning() {
    let boundary = "b".repeat(2 * LINE_HELD_OCTETS);
    let message = format!(
        "Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n\r\nx\r\n\
         --{boundary}--\r\nepilogue"
    );
    let (findings, outline, _) = scan_in_every_cut(&surface_rules(), message.as_bytes());
    assert_eq!(outline, "0 multipart/mixed multipart\n  1 text/plain identity \"x\"\n");
    assert!(findings.has(Tags::MIME_AMBIGUOUS));
}

fn tag_found(message: &[u8], tag: TagId) -> bool {
    let rules = surface_rules();
    let whole = scan(&rules, [message]);
    assert_eq!(whole, scan(&rules, message.chunks(7)));
    whole.0.has(tag)
}

#[test]
fn structure_limits_hold_at_their_edge() {
    let nested = |levels: usize| "Content-Type: message/rfc822\n\n".repeat(levels) + "\nviagra";
    assert!(!tag_found(nested(MIME_DEPTH_MAX).as_bytes(), Tags::MIME_LIMIT));
    assert!(tag_found(nested(MIME_DEPTH_MAX + 1).as_bytes(), Tags::MIME_LIMIT));

    let head = "Content-Type: multipart/mixed; boundary=b\n\n";
    let parts = |count: u32| head.to_owned() + &"--b\n\n".repeat(count as usize);
    assert!(!tag_found(parts(MIME_PARTS_MAX - 1).as_bytes(), Tags::MIME_LIMIT));
    assert!(tag_found(parts(MIME_PARTS_MAX).as_bytes(), Tags::MIME_LIMIT));
}

#[test]
fn header_limits_hold_at_their_edge() {
    let fields = |count: u32| "A:b\n".repeat(count as usize) + "\n";
    assert!(!tag_found(fields(HEADER_FIELDS_MAX).as_bytes(), Tags::HEADER_LIMIT));
    assert!(tag_found(fields(HEADER_FIELDS_MAX + 1).as_bytes(), Tags::HEADER_LIMIT));

    let block = |octets: u64| format!("A:{}\n\n", "x".repeat(octets as usize - 3));
    assert!(!tag_found(block(HEADER_BLOCK_OCTETS).as_bytes(), Tags::HEADER_LIMIT));
    assert!(tag_found(block(HEADER_BLOCK_OCTETS + 1).as_bytes(), Tags::HEADER_LIMIT));

    let value = |octets: usize| format!("Content-Type:{:octets$}\n\n", "a/b");
    assert!(!tag_found(value(HEADER_FIELD_OCTETS).as_bytes(), Tags::HEADER_LIMIT));
    assert!(tag_found(value(HEADER_FIELD_OCTETS + 1).as_bytes(), Tags::HEADER_LIMIT));
}
