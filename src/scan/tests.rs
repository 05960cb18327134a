//! Tests of the whole scanner: tables of (input, expected), each entry also run cut at every octet.

use super::*;
use crate::limits::*;
use proptest::prelude::*;
use std::fmt::Write;

/// Writes the part tree down: number, type, encoding and decoded octets, indented by depth.
#[derive(Debug, Default)]
struct Outline {
    lines: Vec<(usize, String)>,
    leaves: Vec<(u32, Vec<u8>)>,
    open: Vec<u32>,
    fields: Vec<String>,
}

impl Watch for Outline {
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        assert_eq!(part.depth, self.open.len());
        self.open.push(part.part);
        let media_type = String::from_utf8_lossy(part.media_type.octets());
        let line = match part.kind {
            PartKind::Leaf => format!("{} {media_type} {}", part.part, part.encoding.name()),
            PartKind::Multipart => format!("{} {media_type} multipart", part.part),
            PartKind::Message => format!("{} {media_type} message", part.part),
        };
        self.lines.push((part.depth, line));
        if part.kind == PartKind::Leaf {
            self.leaves.push((part.part, Vec::new()));
        }
    }

    fn decoded(&mut self, part: u32, octets: &[u8]) {
        let (last, leaf) = self.leaves.last_mut().unwrap();
        assert_eq!(*last, part);
        leaf.extend_from_slice(octets);
    }

    fn part_ends(&mut self, part: u32) {
        assert_eq!(self.open.pop(), Some(part));
    }

    fn header_field(&mut self, part: u32, name: &[u8], _: Option<&[u8]>) {
        self.fields.push(format!("{part} {}", String::from_utf8_lossy(name)));
    }
}

impl Outline {
    fn text(&self) -> String {
        let mut text = String::new();
        for (depth, line) in &self.lines {
            write!(text, "{:width$}{line}", "", width = 2 * depth).unwrap();
            let number: u32 = line.split(' ').next().unwrap().parse().unwrap();
            if let Some((_, leaf)) = self.leaves.iter().find(|(part, _)| *part == number) {
                write!(text, " \"{}\"", leaf.escape_ascii()).unwrap();
            }
            text.push('\n');
        }
        text
    }
}

/// What a scan gives: findings, the outline, and the fields seen.
type Seen = (Findings, String, Vec<String>);

fn scan<'a>(rules: &Arc<Rules>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut scanner = Scanner::watched(rules.clone(), Outline::default());
    pieces.into_iter().for_each(|piece| scanner.feed(piece));
    let findings = scanner.finish();
    let outline = scanner.into_watch();
    assert!(outline.open.is_empty(), "every part that began has ended");
    (findings, outline.text(), outline.fields)
}

/// The scan of a message, which is the same whole, cut at every octet, and in single octets.
fn scan_in_every_cut(rules: &Arc<Rules>, message: &[u8]) -> Seen {
    let whole = scan(rules, [message]);
    assert_eq!(whole, scan(rules, message.chunks(1)), "in single octets");
    for cut in 1..message.len() {
        let (head, tail) = message.split_at(cut);
        assert_eq!(whole, scan(rules, [head, tail]), "cut at {cut}");
    }
    whole
}

fn rule(tag: &str, literal: &str, surfaces: &[Surface]) -> RuleSpec {
    RuleSpec {
        name: format!("{tag}: {literal}"),
        literals: vec![literal.as_bytes().to_vec()],
        surfaces: surfaces.to_vec(),
        tag: tag.into(),
        score: Score(1000),
        ..RuleSpec::default()
    }
}

fn compile(specs: &[RuleSpec]) -> Arc<Rules> {
    Arc::new(Rules::compile(Tags::new(), specs).unwrap())
}

/// `viagra` on each surface, with the surface's name as the tag.
fn surface_rules() -> Arc<Rules> {
    let all = [Surface::Raw, Surface::Header, Surface::Subject, Surface::Text, Surface::Part];
    compile(&all.map(|surface| rule(surface.name(), "viagra", &[surface])))
}

fn tags_of(rules: &Rules, findings: &Findings) -> String {
    // Most messages here are too short to have a sender.
    let tags = findings.tags().iter().filter(|tag| *tag != Tags::FROM_AMBIGUOUS);
    let names: Vec<&str> = tags.map(|tag| rules.tags().name(tag)).collect();
    names.join(" ")
}

/// (name, message, outline, tags): the message once with CRLF and once with bare LF line ends.
fn structures_hold(table: &[(&str, &str, &str, &str)]) {
    let rules = surface_rules();
    for (name, message, outline, tags) in table {
        for message in [message.to_string(), message.replace('\n', "\r\n")] {
            let (findings, seen, _) = scan_in_every_cut(&rules, message.as_bytes());
            let outline: String = outline.lines().map(|l| format!("{}\n", &l[8..])).collect();
            assert_eq!(seen.replace("\\r\\n", "\\n"), outline, "{name}");
            assert_eq!(tags_of(&rules, &findings), *tags, "{name}");
        }
    }
}

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
fn multiparts_are_followed() {
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
        (
            "a bare carriage return is no line end",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\r--b\ry\n--b--",
            "        0 multipart/mixed multipart
          1 text/plain identity \"x\\r--b\\ry\"",
            "",
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
fn an_observed_rule_is_noted_and_decides_nothing() {
    let observed = RuleSpec { observe: true, ..rule("seen", "viagra", &[Surface::Raw]) };
    let rules = compile(&[observed, rule("counted", "pills", &[Surface::Raw])]);
    let (findings, _, _) = scan_in_every_cut(&rules, b"\nviagra pills");
    assert_eq!(tags_of(&rules, &findings), "counted");
    assert_eq!(findings.score(), Score(1000));
    assert!(findings.observed().has(rules.tags().find("seen").unwrap()));
    let names: Vec<&str> = findings.hits().iter().map(|hit| rules.rule_name(hit.rule)).collect();
    assert_eq!(names, ["seen: viagra", "counted: pills"]);
}

#[test]
fn expressions_are_found_on_every_surface_but_raw() {
    let surfaces = Surface::ALL.into_iter().filter(|surface| *surface != Surface::Raw);
    for surface in surfaces {
        let expression = RuleSpec {
            literals: vec![],
            regexes: vec![r"(?i)\bvia[g-i]ra\b".into(), "[0-9]{4}-nothing".into()],
            fields: vec![b"x-s".to_vec()],
            ..rule("found", "", &[surface])
        };
        let rules = compile(std::slice::from_ref(&expression));
        let value = match surface {
            Surface::Subject | Surface::Header => "Subject: a =?utf-8?Q?VIAgra?=\r\n",
            Surface::From => "From: viagra <a@b>\r\n",
            Surface::To => "To: a@viagra.example\r\n",
            Surface::ReplyTo => "Reply-To: \"vi\\agra\" <a@b>\r\n",
            Surface::Field => "X-S: viagra\r\n",
            Surface::Name => "Content-Disposition: inline; filename*0=via; filename*1=gra\r\n",
            Surface::Type => "Content-Type: image/viagra\r\n",
            _ => "",
        };
        let body = match surface {
            Surface::Url => "at http://a.example/viagra?",
            Surface::Entry => {
                "PK=03=04=14=00=00=00=00=00=00=00=00=00=00=00=00=00=05=00=00=00\
                 =05=00=00=00=06=00=00=00viagra....."
            }
            _ if value.is_empty() => "is viagra=\r\n=2E",
            _ => "viagras",
        };
        let encoding = "Content-Transfer-Encoding: quoted-printable\r\n";
        let message = format!("{value}{encoding}\r\n{body}");
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        let found = tags_of(&rules, &findings).replace("archive-broken ", "");
        assert_eq!(found, "found", "{surface:?}");
        let without = message.replace("gra", "pra");
        let missed = tags_of(&rules, &scan(&rules, [without.as_bytes()]).0);
        assert_eq!(missed.replace("archive-broken", ""), "", "{surface:?}");
        // Another surface than the one that is asked for says nothing.
        let in_body =
            [Surface::Text, Surface::Visible, Surface::Part, Surface::Url, Surface::Entry];
        if !in_body.contains(&surface) && surface != Surface::Header {
            let other = compile(&[RuleSpec { surfaces: vec![Surface::Visible], ..expression }]);
            assert_eq!(tags_of(&other, &scan(&other, [message.as_bytes()]).0), "", "{surface:?}");
        }
    }
}

#[test]
fn a_spent_budget_is_a_tag_and_the_same_in_any_cut() {
    // Each stretch holds many gates and no match, and all reach far: a sender can do no more.
    let regexes = (0..64).map(|number| format!("gate{number:02}[0-9]{{200}}")).collect();
    let gates: String = (0..64).map(|number| format!("gate{number:02}")).collect();
    let dear = RuleSpec { literals: vec![], regexes, ..rule("dear", "", &[Surface::Text]) };
    let rules = compile(&[dear, rule("late", "late", &[Surface::Part])]);
    let cheap = format!("\r\n{gates}{}", "7".repeat(200));
    let (findings, _, _) = scan(&rules, [cheap.as_bytes()]);
    assert_eq!(tags_of(&rules, &findings), "dear");
    let flood = format!("\r\n{}late", gates.repeat(200));
    let whole = scan(&rules, [flood.as_bytes()]);
    assert_eq!(tags_of(&rules, &whole.0), "scan-budget-spent late");
    for piece in [1, 100, 4096, 30_000] {
        assert!(whole == scan(&rules, flood.as_bytes().chunks(piece)), "pieces of {piece}");
    }
    let cost = rules.cost();
    let bound = cost.units_at_once + cost.units_an_octet * flood.len() as u64;
    assert!(whole.0.units() <= bound, "{} of {bound}", whole.0.units());
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

#[test]
fn a_condition_looks_at_the_tags_above_it() {
    let tags = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let when = |all: &[&str], any: &[&str], count, none: &[&str]| Condition {
        all: tags(all),
        any: tags(any),
        count,
        none: tags(none),
    };
    let only = |tag: &str, when| RuleSpec { literals: vec![], when, ..rule(tag, "", &[]) };
    let rules = compile(&[
        rule("a", "alpha", &[Surface::Raw]),
        rule("b", "beta", &[Surface::Raw]),
        rule("c", "gamma", &[Surface::Raw]),
        only("both", when(&["a", "b"], &[], 0, &[])),
        only("some", when(&[], &["a", "b"], 0, &[])),
        only("two", when(&[], &["a", "b", "c"], 2, &[])),
        only("not-c", when(&["a"], &[], 0, &["c"])),
        only("chained", when(&["both"], &[], 0, &["decode-dirty"])),
        RuleSpec { when: when(&["a"], &[], 0, &[]), ..rule("with", "delta", &[Surface::Raw]) },
    ]);
    let table = [
        ("", ""),
        ("alpha", "a some not-c"),
        ("beta gamma", "b c some two"),
        ("alpha beta", "a b both some two not-c chained"),
        ("alpha beta gamma delta", "a b c both some two chained with"),
        ("delta", ""),
    ];
    for (body, expected) in table {
        let (findings, _, _) = scan_in_every_cut(&rules, format!("\n{body}").as_bytes());
        assert_eq!(tags_of(&rules, &findings), expected, "{body}");
    }
    let forward = only("x", when(&["later"], &[], 0, &[]));
    let error = Rules::compile(Tags::new(), &[forward, rule("later", "x", &[Surface::Raw])]);
    assert_eq!(error.unwrap_err(), RuleError::NoSuchTag { rule: 0, tag: "later".into() });
}

#[test]
fn a_tag_counts_once_with_the_score_of_its_first_rule() {
    let second = RuleSpec { score: Score(5000), ..rule("tag", "earlier", &[Surface::Raw]) };
    let rules = compile(&[rule("tag", "later", &[Surface::Raw]), second]);
    let (findings, _, _) = scan_in_every_cut(&rules, b"\nearlier later");
    assert_eq!(findings.score(), Score(1000));
}

#[test]
fn received_fields_of_the_message_itself_are_counted() {
    let message =
        b"Received: a\r\n b\r\nX: y\r\nreceived: c\r\nContent-Type: message/rfc822\r\n\r\n\
        Received: inner\r\n\r\nReceived: text\r\n";
    let (findings, _, fields) = scan_in_every_cut(&surface_rules(), message);
    assert_eq!(findings.received_fields(), 2);
    assert_eq!(fields, ["0 Received", "0 X", "0 received", "0 Content-Type", "1 Received"]);
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

#[test]
fn a_scanner_is_used_again_without_a_trace() {
    let rules = surface_rules();
    let first =
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64";
    let second = b"Subject: viagra\n\n--b\n";
    let mut scanner = Scanner::new(rules.clone());
    scanner.feed(first);
    scanner.reset(rules.clone());
    scanner.feed(second);
    let reused = scanner.finish();
    assert_eq!(reused, scan(&rules, [&second[..]]).0);
    scanner.reset(rules.clone());
    assert_eq!(scanner.finish(), scan(&rules, []).0);
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

fn literal() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"abAB".as_slice()), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each walk finds what a plain search of the whole text finds.
    #[test]
    fn a_scan_finds_what_a_plain_search_finds(
        literals in prop::collection::vec(literal(), 1..8),
        text in prop::collection::vec(prop::sample::select(b"abABc".as_slice()), 0..200),
        cuts in prop::collection::vec(1usize..40, 1..8),
    ) {
        use aho_corasick::nfa::contiguous::NFA;
        use aho_corasick::{Input, automaton::Automaton};
        let surfaces = [Surface::Raw, Surface::Part];
        let specs: Vec<RuleSpec> = surfaces.iter().flat_map(|surface| {
            let spec = |literal: &Vec<u8>| RuleSpec {
                literals: vec![literal.clone()],
                ..rule(surface.name(), "", &[*surface])
            };
            literals.iter().map(spec).collect::<Vec<_>>()
        }).collect();
        let rules = compile(&specs);
        let message = [b"\n", &text[..]].concat();
        let (mut rest, mut pieces, mut turn) = (&message[..], Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        let (findings, _, _) = scan(&rules, pieces);
        let oracle = NFA::builder().ascii_case_insensitive(true).build(&literals).unwrap();
        let mut expected = Vec::new();
        let mut state = aho_corasick::automaton::OverlappingState::start();
        let mut seen = vec![false; literals.len()];
        loop {
            oracle.try_find_overlapping(&Input::new(&text), &mut state).unwrap();
            let Some(found) = state.get_match() else { break };
            if !std::mem::replace(&mut seen[found.pattern().as_usize()], true) {
                expected.push((found.pattern().as_u32() as u16, found.end() as u64));
            }
        }
        expected.sort_unstable();
        for (surface, base) in surfaces.into_iter().zip([0, literals.len() as u16]) {
            let on_surface = findings.hits().iter().filter(|hit| hit.surface == surface);
            let mut found: Vec<_> = on_surface.map(|hit| (hit.rule - base, hit.offset)).collect();
            found.sort_unstable();
            prop_assert_eq!(&found, &expected);
        }
    }

    /// Made of the pieces that matter, in any order and any cut.
    #[test]
    fn any_message_gives_the_same_in_any_cut(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..40),
        cuts in prop::collection::vec(1usize..20, 1..8),
    ) {
        let rules = surface_rules();
        let message: Vec<u8> = tokens.concat().into_bytes();
        let (mut rest, mut pieces, mut turn) = (&message[..], Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        let whole = scan(&rules, [&message[..]]);
        prop_assert_eq!(&whole, &scan(&rules, pieces));
        prop_assert_eq!(&whole, &scan(&rules, message.chunks(1)));
    }
}

const TOKENS: &[&str] = &[
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\n\n",
    "\r",
    "--b\n",
    "--b\r\n",
    "--b--\r\n",
    "--c\r\n",
    "--c--\n",
    "-",
    "--",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: message/rfc822\n",
    "Content-Type: multipart/digest; boundary=c\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\n",
    "Subject: via",
    "gra",
    "viagra",
    "dmlhZ3Jh",
    "v=69agra",
    "=\r\n",
    " ",
    "x",
    "From me\n",
    ":",
    "A: b\r\n",
    "Received: x\n",
    "=",
    "=4",
    "===",
];
