//! What rules see on each surface.

use super::*;

#[test]
fn each_surface_sees_its_own_octets() {
    structures_hold(&[
        ("subject", "Subject: via\n gra\n", "        0 text/plain identity \"\"", ""),
        (
            "subject",
            "Subject: viagra\n",
            "        0 text/plain identity \"\"",
            "raw header subject",
        ),
        ("another field", "X: viagra\n", "        0 text/plain identity \"\"", "raw header"),
        ("text", "\nVIAgra\n", "        0 text/plain identity \"VIAgra\\n\"", "raw text part"),
        (
            "a part that is no text",
            "Content-Type: image/gif\nContent-Transfer-Encoding: base64\n\ndmlh\nZ3Jh\n",
            "        0 image/gif base64 \"viagra\"",
            "part",
        ),
        (
            "quoted-printable",
            "Content-Transfer-Encoding: quoted-printable\n\nv=69a=\ngra\n",
            "        0 text/plain quoted-printable \"viagra\\n\"",
            "text part",
        ),
        (
            "not across parts",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nvia\n--b\n\ngra\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"via\"
          2 text/plain identity \"gra\"",
            "",
        ),
        (
            "preamble",
            "Content-Type: multipart/mixed; boundary=b\n\nviagra\n--b--",
            "        0 multipart/mixed multipart",
            "raw",
        ),
        (
            "dirt",
            "Content-Transfer-Encoding: base64\n\ndml!hZ3Jh\n",
            "        0 text/plain base64 \"viagra\"",
            "decode-dirty text part",
        ),
    ]);
}

// RFC 5322 2.2.3: unfolding removes the line end, and the blank that follows it stays.
#[test]
fn a_subject_is_unfolded() {
    let rules = compile(&[rule("folded", "cheap pills", &[Surface::Subject])]);
    for subject in ["Subject: cheap\r\n pills\r\n\r\n", "Subject: cheap\n pills"] {
        let (findings, _, _) = scan_in_every_cut(&rules, subject.as_bytes());
        assert_eq!(tags_of(&rules, &findings), "folded");
    }
    let inner = b"Content-Type: message/rfc822\n\nSubject: cheap pills\n\n";
    let (findings, _, _) = scan_in_every_cut(&rules, inner);
    assert_eq!(tags_of(&rules, &findings), "", "only the message's own subject is one");
}

#[test]
fn a_hit_says_which_octet_completed_it() {
    let rules = surface_rules();
    let table = [
        ("\nviagra", vec![(Surface::Raw, 6), (Surface::Text, 6), (Surface::Part, 6)]),
        (
            "Content-Transfer-Encoding: base64\n\ndml!h\nZ3Jh",
            vec![(Surface::Text, 44), (Surface::Part, 44)],
        ),
        (
            "Content-Transfer-Encoding: base64\n\nIHZpYWdyYQ==",
            vec![(Surface::Text, 45), (Surface::Part, 45)],
        ),
        (
            "Content-Transfer-Encoding: quoted-printable\n\n=76ia=\ngr=61 =",
            vec![(Surface::Text, 56), (Surface::Part, 56)],
        ),
    ];
    for (message, expected) in table {
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        let exact = findings.hits().iter().filter(|hit| hit.surface != Surface::Visible);
        let found: Vec<_> = exact.map(|hit| (hit.surface, hit.offset)).collect();
        assert_eq!(found, expected, "{message:?}");
    }
}

#[test]
fn visible_text_is_searched_as_a_reader_sees_it() {
    let table = [
        ("text/html", "vi<b>a</b>gr<!-- x -->a", true),
        ("text/html", "&#118;iagra", true),
        ("TEXT/HTML; charset=utf-8", "vi&shy;ag\u{200b}ra", true),
        ("text/plain", "vi\u{200b}agra", true),
        ("text/plain", "vi<b>a</b>gra", false),
        ("text/html", "<a title=viagra>x</a>", false),
        ("application/xhtml+xml", "via<i/>gra", true),
        ("text/html", "via<br>gra", false),
    ];
    let rules = compile(&[rule("seen", "viagra", &[Surface::Visible])]);
    for (media_type, body, seen) in table {
        let message = format!("Content-Type: {media_type}\r\n\r\n{body}");
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        assert_eq!(tags_of(&rules, &findings), if seen { "seen" } else { "" }, "{body}");
    }
    // A phrase over the end of a line, and one that `text` finds because it is visible.
    let rules = compile(&[rule("seen", "cheap pills", &[Surface::Text])]);
    for body in ["cheap\r\n pills", "cheap  pills", "cheap=20=\r\npills"] {
        let encoding = "Content-Transfer-Encoding: quoted-printable";
        let message = format!("{encoding}\r\n\r\n{body}");
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        assert_eq!(tags_of(&rules, &findings), "seen", "{body}");
    }
}

// Raw octets are always searched; the text as well where its character set is known.
#[test]
fn a_52_a_text_is_read_in_its_character_set() {
    let rules = compile(&[rule("seen", "viagra", &[Surface::Text])]);
    let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "viagra".encode_utf16().flat_map(order).collect()
    };
    let big_end_first = [b"\xfe\xff".to_vec(), wide(u16::to_be_bytes)].concat();
    let table: [(&str, Vec<u8>, &str); 10] = [
        ("utf-16", big_end_first, "seen"),
        ("utf-16le", wide(u16::to_le_bytes), "seen"),
        ("\"UTF-16BE\"", wide(u16::to_be_bytes), "seen"),
        ("utf-16", wide(u16::to_le_bytes), "seen"),
        ("us-ascii", b"viagra \xe9".to_vec(), "seen"),
        ("x-unknown", b"viagra".to_vec(), "charset-unknown seen"),
        ("utf-7", b"+AHY-iagra".to_vec(), "mime-ambiguous seen"),
        ("utf-7", b"viagra".to_vec(), "mime-ambiguous seen"),
        ("iso-2022-jp", b"\x1b(Bviagra".to_vec(), "seen"),
        ("ebcdic-us", b"viagra".to_vec(), "charset-unknown seen"),
    ];
    for (charset, body, tags) in table {
        let mut message =
            format!("Content-Type: text/plain; charset={charset}\r\n\r\n").into_bytes();
        message.extend(body);
        let (findings, _, _) = scan_in_every_cut(&rules, &message);
        assert_eq!(tags_of(&rules, &findings), tags, "{charset}");
    }
}

#[test]
fn the_raw_walk_stands_in_for_leaves_that_are_not_encoded() {
    let rules = compile(&[rule("both", "viagra", &[Surface::Raw, Surface::Part])]);
    let table = [
        ("\nviagra", Surface::Raw),
        ("Content-Transfer-Encoding: base64\n\ndmlhZ3Jh", Surface::Part),
    ];
    for (message, surface) in table {
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        let surfaces: Vec<Surface> = findings.hits().iter().map(|hit| hit.surface).collect();
        assert_eq!((tags_of(&rules, &findings).as_str(), surfaces), ("both", vec![surface]));
    }
}

#[test]
fn hosts_are_looked_up_where_their_rules_look() {
    let listed = |tag: &str, surfaces: &[Surface]| RuleSpec {
        literals: vec![],
        domains: vec![b"Evil.example".to_vec()],
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        fields: vec![b"received".to_vec()],
        ..rule(tag, "", surfaces)
    };
    let rules = compile(&[
        listed("text", &[Surface::Text]),
        listed("url", &[Surface::Url]),
        listed("from", &[Surface::From]),
        listed("received", &[Surface::Field]),
        rule("link", "/get?", &[Surface::Url]),
        RuleSpec { regexes: vec!["^https".into()], ..rule("tls", "//nothing", &[Surface::Url]) },
    ]);
    let table = [
        ("\nsee www.EVIL.example.", "text"),
        ("\nsee notevil.example or evil.example.com", ""),
        ("\nhttp://192.0.2.7/get?a=1 here", "text url link"),
        ("\n/get?a=1 https:// ", "tls"),
        ("Content-Type: text/html\n\n<a href='https://x.evil.example/'>a</a>", "text url tls"),
        ("Content-Transfer-Encoding: base64\n\naHR0cDovL2V2aWwuZXhhbXBsZQ==\n", "text url"),
        ("Content-Transfer-Encoding: quoted-printable\n\nhttp://evil=2Eexam=\nple", "text url"),
        ("Content-Type: image/png\n\nhttp://evil.example", ""),
        ("From: =?utf-8?q?x=40evil=2Eexample?= <a@b.example>\n\n", "from"),
        ("Received: from [192.0.2.255] by x\n\n", "received"),
        ("Received: from [192.0.3.255] by x\n\n", ""),
    ];
    for (message, tags) in table {
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        let found = tags_of(&rules, &findings).replace("from-ambiguous", "");
        assert_eq!(found.trim(), tags, "{message}");
    }
}

/// RFC 5891: a name is the same in its own alphabet and in A-labels, in lists as in texts.
#[test]
fn hosts_of_other_alphabets_are_looked_up_in_one_form() {
    let listed = |tag: &str, domain: &str| RuleSpec {
        literals: vec![],
        domains: vec![domain.as_bytes().to_vec()],
        ..rule(tag, "", &[Surface::Text])
    };
    let rules = compile(&[
        listed("own", "B\u{fc}cher.example"),
        listed("ascii", "xn--9ckxbq5co.example"),
        listed("plain", "evil.example"),
    ]);
    let table = [
        ("http://b\u{fc}cher.example/", "own"),
        ("http://www.xn--bcher-kva.example/", "own"),
        ("http://bu&#776;cher&#x3002;example/", "own"),
        ("http://\u{30c9}\u{30e1}\u{30a4}\u{30f3}\u{4f8b}.example", ""),
        ("http://XN--9CKXBQ5CO.example", "ascii"),
        ("http://\u{ff45}v\u{ad}il\u{ff0e}example", "plain"),
        ("http://\u{435}vil.example", ""),
        ("http://b\u{fc}\u{5b8}.evil.example", "plain"),
    ];
    for (text, tags) in table {
        let (findings, _, _) = scan_in_every_cut(&rules, format!("\n{text}\n").as_bytes());
        assert_eq!(tags_of(&rules, &findings), tags, "{text}");
    }
    // Reading them has a bound; what comes behind it is looked up as it is written.
    let cost = rules.cost();
    let many = "\n".to_owned() + &"\u{e9}.example ".repeat(2_000);
    let (findings, _, _) = scan(&rules, [many.as_bytes()]);
    assert!(findings.units() <= cost.units_at_once + cost.units_an_octet * many.len() as u64);
    assert!(findings.has(Tags::BUDGET_SPENT));
    let (behind, _, _) = scan(&rules, [format!("{many}evil.example").as_bytes()]);
    assert_eq!(tags_of(&rules, &behind), "scan-budget-spent plain");
}

#[test]
fn a_type_is_what_is_declared_and_what_the_first_octets_tell() {
    let rules = compile(&[
        rule("program", "portable-executable", &[Surface::Type]),
        rule("pdf", "application/pdf", &[Surface::Type]),
    ]);
    let table = [
        ("Content-Type: application/pdf\n\nwords", "pdf"),
        ("Content-Type: text/plain\n\nMZ words", "program"),
        ("Content-Type: image/png\nContent-Transfer-Encoding: base64\n\nTVogd29yZHM=\n", "program"),
        ("Content-Type: application/pdf\n\nMZ", "program pdf"),
        ("\nwords MZ", ""),
    ];
    for (message, tags) in table {
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        let found = tags_of(&rules, &findings).replace("from-ambiguous", "");
        assert_eq!(found.trim(), tags, "{message}");
    }
}

// FIPS 180-2 B.1: the digest of "abc".
#[test]
fn a_digest_is_that_of_the_decoded_leaf() {
    let digest = [
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22,
        0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00,
        0x15, 0xad,
    ];
    let known = RuleSpec { literals: vec![], ..rule("known", "", &[]) };
    let by_sha256 = RuleSpec { digests: vec![digest], ..known.clone() };
    let by_blake3 = RuleSpec { blake3: vec![*blake3::hash(b"abc").as_bytes()], ..known.clone() };
    // One kind of digest is not looked up among the other.
    let mixed_up = RuleSpec { blake3: vec![digest], tag: "mixed-up".into(), ..known };
    let tables = [compile(&[by_sha256, mixed_up.clone()]), compile(&[by_blake3, mixed_up])];
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";
    for (leaf, tags) in [
        ("\r\nabc", "known"),
        ("Content-Transfer-Encoding: base64\r\n\r\nYW\r\nJj\r\n", "known"),
        ("Content-Transfer-Encoding: quoted-printable\r\n\r\na=\r\n=62c", "known"),
        ("\r\nabcd", ""),
        ("\r\nabc\r\n", ""),
    ] {
        let message = format!("{head}{leaf}\r\n--b--\r\nabc");
        for rules in &tables {
            let (findings, _, _) = scan_in_every_cut(rules, message.as_bytes());
            assert_eq!(tags_of(rules, &findings), tags, "{leaf:?}");
        }
    }
}

// RFC 2047, RFC 5322 3.4, RFC 2183, RFC 2231: what clients show, not only what is written.
#[test]
fn each_field_surface_sees_what_clients_show() {
    let (from, to, reply_to) = (Surface::From, Surface::To, Surface::ReplyTo);
    let table = [
        (Surface::Subject, "Subject: =?utf-8?B?dmlhZ3Jh?="),
        (Surface::Subject, "Subject: x =?utf-8?Q?via?=\n =?utf-8?Q?gra?="),
        (Surface::Header, "X: =?utf-8?Q?vi=61gra?="),
        (from, "From: viagra <a@b.example>"),
        (from, "From: \"vi\\agra\" <a@b.example>"),
        (from, "From: a <x(comment)@via(other)gra.example>"),
        (from, "From: =?iso-8859-1?Q?vi=61?= =?iso-8859-1?Q?gra?= <a@b.example>"),
        (from, "Sender: viagra@b.example"),
        (to, "To: a@b.example, viagra@c.example"),
        (to, "cc: viagra@c.example"),
        (reply_to, "Reply-To: viagra@c.example"),
        (Surface::Field, "X-Mailer: =?utf-8?B?dmlhZ3Jh?="),
        (Surface::Field, "x-mailer: viagra"),
        (Surface::Name, "Content-Type: image/gif; name=\"viagra.gif\""),
        (Surface::Name, "Content-Disposition: inline; filename*0=via; filename*1=gra"),
        (Surface::Type, "Content-Type: application/x-viagra; name=x"),
    ];
    for (surface, fields) in table {
        let fields_named = vec![b"X-Mailer".to_vec()];
        let named = RuleSpec { fields: fields_named, ..rule("found", "viagra", &[surface]) };
        let rules = compile(&[named]);
        let message = format!("Date: x\n{fields}\n\n");
        for message in [message.replace('\n', "\r\n"), message.clone()] {
            let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
            assert_eq!(tags_of(&rules, &findings), "found", "{fields}");
            let hits: Vec<_> = findings.hits().iter().map(|hit| hit.surface).collect();
            assert_eq!(hits, [surface], "{fields}");
        }
        let inner = format!("Content-Type: message/rfc822\n\n{fields}\n\n");
        let (findings, _, _) = scan(&rules, [inner.as_bytes()]);
        let any_part = matches!(surface, Surface::Header | Surface::Name | Surface::Type);
        assert_eq!(!findings.hits().is_empty(), any_part, "{fields} of a message inside");
    }
}

#[test]
fn a_46_a_sender_that_is_not_exactly_one_is_a_finding() {
    let table = [
        ("From: a@b\n", false),
        ("from: \"a, b\" <a@b> (c, d)\n", false),
        ("From: =?utf-8?Q?a=2C_b?= <a@b>\n", false),
        ("From: a@b, c@d\n", true),
        ("From: <a@x>:<b@y>\n", true),
        ("From: <a@x><b@y>\n", true),
        ("From: =?utf-8?Q?a=00?= <a@b>\n", true),
        ("From: a@b\nFrom: a@b\n", true),
        ("From: a@b\nX: y\nFROM : c@d\n", true),
        ("From:\n", true),
        ("X: y\n", true),
        ("Content-Type: message/rfc822\nFrom: a@b\n\nFrom: c@d\n", false),
    ];
    let rules = surface_rules();
    for (fields, ambiguous) in table {
        let message = format!("{fields}\nbody");
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        assert_eq!(findings.has(Tags::FROM_AMBIGUOUS), ambiguous, "{fields}");
    }
}
