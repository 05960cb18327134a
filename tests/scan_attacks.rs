//! What hostile senders do to a scanner. Each test is named after the row of the list of attacks that
//! it keeps; costs are held in work units, which are the same on every machine.

use postern::limits::RECEIVE_BUFFER_OCTETS;
use postern::scan::{Findings, RuleError, RuleSpec, Rules, Scanner, Surface, TagId, Tags};
use std::path::Path;
use std::sync::Arc;

/// A rule for a word on each of some surfaces, with the surface's name as its tag.
fn rules(surfaces: &[Surface]) -> Arc<Rules> {
    let spec = |surface: &Surface| RuleSpec {
        name: surface.name().into(),
        literals: vec![b"viagra".to_vec()],
        surfaces: vec![*surface],
        tag: surface.name().into(),
        ..RuleSpec::default()
    };
    let specs: Vec<RuleSpec> = surfaces.iter().map(spec).collect();
    Arc::new(Rules::compile(Tags::new(), &specs).unwrap())
}

fn scan<'a>(rules: &Arc<Rules>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Findings {
    let mut scanner = Scanner::new(Arc::clone(rules));
    pieces.into_iter().for_each(|piece| scanner.feed(piece));
    scanner.finish()
}

fn has(rules: &Rules, findings: &Findings, tag: &str) -> bool {
    rules.tags().find(tag).is_some_and(|tag| findings.has(tag))
}

/// Scans a message with the stack of a small thread: nothing may recurse with the input.
fn on_a_small_stack(message: Vec<u8>, surfaces: &'static [Surface]) -> (Arc<Rules>, Findings) {
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let scanning = small.spawn(move || {
        let rules = rules(surfaces);
        let findings = scan(&rules, message.chunks(4096));
        (rules, findings)
    });
    scanning.unwrap().join().unwrap()
}

/// Both line ends, and a preamble or none, for a message with bare line feeds.
fn forms(message: &str) -> Vec<Vec<u8>> {
    [message.to_owned(), message.replace('\n', "\r\n")].map(String::into_bytes).to_vec()
}

/// In every form and some cuts, the word is found on the surface, with or without the tag.
fn is_found(name: &str, message: &str, surface: Surface, tag: Option<TagId>) {
    let rules = rules(&[surface]);
    for message in forms(message) {
        let whole = scan(&rules, [&message[..]]);
        assert!(has(&rules, &whole, surface.name()), "{name}: {:?}", message.escape_ascii());
        assert!(tag.is_none_or(|tag| whole.has(tag)), "{name} without its tag");
        for piece in [1, 3, 7] {
            assert!(whole == scan(&rules, message.chunks(piece)), "{name} in pieces of {piece}");
        }
    }
}

#[test]
fn a_39_a_line_without_end_takes_no_memory_and_is_searched_to_its_end() {
    let rules = rules(&[Surface::Raw, Surface::Text, Surface::Header, Surface::Subject]);
    let line = [b"\r\n".to_vec(), vec![b'x'; 8 << 20], b"viagra".to_vec()].concat();
    let findings = scan(&rules, line.chunks(16 * 1024));
    assert!(has(&rules, &findings, "raw") && has(&rules, &findings, "text"));
    let field = [b"Subject: ".to_vec(), vec![b'x'; 1 << 20], b"viagra\r\n\r\n".to_vec()].concat();
    let findings = scan(&rules, field.chunks(16 * 1024));
    assert!(has(&rules, &findings, "raw") && has(&rules, &findings, "header"));
    assert!(findings.has(Tags::HEADER_LIMIT) && !has(&rules, &findings, "subject"));
}

#[test]
fn a_40_headers_without_end_cost_what_their_octets_cost() {
    let rules = rules(&Surface::ALL);
    for line in ["To: a@b\r\n", " x\r\n", "Subject: =?utf-8?Q?a?=\r\n", "From: a@b\r\n"] {
        let units = |lines: usize| {
            let message = ["To: a@b\r\n", &line.repeat(lines), "\r\nviagra"].concat();
            let findings = scan(&rules, message.as_bytes().chunks(4096));
            assert!(findings.has(Tags::HEADER_LIMIT) && has(&rules, &findings, "text"), "{line:?}");
            findings.units()
        };
        let (few, many) = (units(100_000), units(500_000));
        assert!(many <= 6 * few, "{line:?}: {many} for {few}");
    }
}

#[test]
fn a_41_nesting_takes_no_stack_and_the_innermost_part_is_read_raw() {
    let multiparts: String = (0..10_000)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"))
        .collect();
    let messages = "Content-Type: message/rfc822\n\n".repeat(100_000);
    let both: String = (0..10_000)
        .map(|level| {
            format!(
                "Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n\
                 Content-Type: message/rfc822\n\n"
            )
        })
        .collect();
    for nested in [multiparts, messages, both] {
        let message = format!("{nested}\nviagra").into_bytes();
        let (rules, findings) = on_a_small_stack(message, &[Surface::Raw]);
        assert!(has(&rules, &findings, "raw") && findings.has(Tags::MIME_LIMIT));
    }
}

#[test]
fn a_42_parts_without_end_cost_what_plain_text_costs() {
    let rules = rules(&Surface::ALL);
    let head = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    let parts = format!("{head}{}", "--a\r\n\r\n".repeat(300_000));
    let findings = scan(&rules, parts.as_bytes().chunks(4096));
    assert!(findings.has(Tags::MIME_LIMIT));
    let plain = format!("\r\n{}", "plain text\r\n".repeat(parts.len() / 12));
    let plain = scan(&rules, plain.as_bytes().chunks(4096));
    assert!(findings.units() <= 4 * plain.units());
}

// The part is encoded, so that only who finds its delimiter can see the word.
#[test]
fn a_43_every_boundary_that_a_client_may_take_is_followed() {
    let part = "Content-Transfer-Encoding: base64\n\ndmlhZ3Jh\n";
    let table = [
        ("boundary=A; boundary=B", &["A", "B"][..]),
        ("boundary=\"A\"; boundary=B", &["A", "B"]),
        ("boundary=B; x=y; boundary=\"A\"", &["A", "B"]),
        ("boundary=A; boundary*=us-ascii''B", &["A", "B"]),
        ("boundary*=us-ascii''B; boundary=A", &["A", "B"]),
        ("boundary=C; boundary*0=A; boundary*1=B", &["C", "AB"]),
        ("boundary*0=A; boundary*1=B", &["AB"]),
        ("boundary=\"A \"", &["A", "A ", "A\t"]),
        ("boundary=\" A\"", &[" A"]),
        ("boundary=B1; boundary=B10", &["B1", "B10"]),
        ("boundary=B10; boundary=B1", &["B1", "B10"]),
        ("boundary=\"\"", &[""]),
        ("boundary=", &[""]),
        ("boundary=\"A\\\"B\"", &["A\"B"]),
        ("boundary=(x) A (y)", &["A"]),
        ("boundary=\"A", &["A"]),
        ("BOUNDARY=A", &["A"]),
        ("boundary=a=b", &["a=b"]),
        ("x=\"; boundary=B\"; boundary=A", &["A"]),
    ];
    let mut tried = 0;
    for (parameters, delimiters) in table {
        for delimiter in delimiters {
            for preamble in ["", "preamble\n", "--\n--x\n"] {
                let preamble = if delimiter.is_empty() { "" } else { preamble };
                let message = format!(
                    "Content-Type: multipart/mixed; {parameters}\n\n{preamble}--{delimiter}\n{part}\
                     --{delimiter}--\n"
                );
                is_found(parameters, &message, Surface::Text, None);
                tried += 1;
            }
        }
    }
    assert!(tried >= 60, "{tried} forms");
}

#[test]
fn a_44_every_encoding_and_type_that_a_client_may_take_is_read() {
    let (ambiguous, encoding) = (Some(Tags::MIME_AMBIGUOUS), "Content-Transfer-Encoding");
    let base64 = "dmlhZ3Jh\n";
    let printable = "v=69agra\n";
    let mut tried = 0;
    for (first, second) in [
        ("7bit", "base64"),
        ("base64", "7bit"),
        ("8bit", "base64"),
        ("x-unknown", "base64"),
        ("base64", "x-unknown"),
        ("quoted-printable", "base64"),
        ("base64", "quoted-printable"),
        ("base64", "base64"),
    ] {
        let fields = format!("{encoding}: {first}\nX: y\n{encoding}: {second}\n");
        is_found(first, &format!("{fields}\n{base64}"), Surface::Text, ambiguous);
        is_found(first, &format!("{fields}\nviagra\n"), Surface::Raw, ambiguous);
        tried += 2;
    }
    for value in ["base64 x", "x base64", "BASE64", "base64;", "(c) base64 (d)", "\"base64\""] {
        let message = format!("{encoding}: {value}\n\nviagra {base64}");
        is_found(value, &message, Surface::Raw, None);
        tried += 1;
    }
    for value in ["base64", "BASE64", "base64 (c)", "(c)base64"] {
        is_found(value, &format!("{encoding}: {value}\n\n{base64}"), Surface::Text, None);
        tried += 1;
    }
    for value in [
        "quoted-printable",
        "Quoted-Printable",
        "7bit\nContent-Transfer-Encoding: \
                   quoted-printable",
    ] {
        is_found(value, &format!("{encoding}: {value}\n\n{printable}"), Surface::Text, None);
        tried += 1;
    }
    for kind in ["multipart/mixed; boundary=b", "message/rfc822", "multipart/digest; boundary=b"] {
        let message = format!("Content-Type: {kind}\n{encoding}: base64\n\nCgp2aWFncmEK\n");
        is_found(kind, &message, Surface::Text, ambiguous);
        tried += 1;
    }
    let parts = "--b\nContent-Transfer-Encoding: base64\n\ndmlhZ3Jh\n--b--\n";
    for (one, other) in [
        ("text/plain", "multipart/mixed; boundary=b"),
        ("multipart/mixed; boundary=b", "text/plain"),
        ("multipart/mixed; boundary=c", "multipart/mixed; boundary=b"),
        ("multipart/mixed; boundary=b", "multipart/mixed; boundary=c"),
        ("message/rfc822", "multipart/mixed; boundary=b"),
        ("x", "multipart/mixed; boundary=b"),
    ] {
        let message = format!("Content-Type: {one}\nContent-Type: {other}\n\n{parts}");
        is_found(one, &message, Surface::Text, ambiguous);
        tried += 1;
    }
    assert!(tried >= 38, "{tried} forms");
}

// RFC 5322 2.1: the header ends at the first empty line. Both readings of what is none are searched.
#[test]
fn a_47_a_header_ends_once_for_every_client() {
    let encoded = "Content-Transfer-Encoding: base64\n\ndmlhZ3Jh\n";
    for fields in ["", "A: b\n", "A: b\n c\n", "A: b\n \nB: c\n", "A : b\n", "From : a@b\n"] {
        is_found(fields, &format!("{fields}{encoded}"), Surface::Text, None);
    }
    for broken in ["no colon\n", " blank first\n", ": no name\n", "a b: c\n", "\u{e9}: x\n", "=\n"]
    {
        for after in ["", "A: b\n"] {
            let message = format!("{broken}{after}Subject: viagra\n\nviagra\n");
            is_found(broken, &message, Surface::Text, Some(Tags::MIME_AMBIGUOUS));
            is_found(broken, &message, Surface::Raw, None);
        }
    }
    for empty in [1, 2, 100] {
        let message = format!("{}Subject: x\n\nviagra", "\n".repeat(empty));
        is_found("empty lines first", &message, Surface::Text, None);
    }
    is_found("body at once", "\nviagra", Surface::Text, None);
    is_found("no empty line", "A: b\nviagra", Surface::Text, Some(Tags::MIME_AMBIGUOUS));
}

#[test]
fn a_49_comments_and_groups_take_no_stack() {
    const SURFACES: &[Surface] = &[Surface::To, Surface::From, Surface::Type];
    for field in ["To", "From", "Date", "Content-Type", "Content-Transfer-Encoding"] {
        for nested in ["(".repeat(100_000), "a:b:c:".repeat(20_000), "(a(b)".repeat(20_000)] {
            let message = format!("{field}: {nested}\r\nX: y\r\n\r\nviagra").into_bytes();
            let (_, findings) = on_a_small_stack(message, SURFACES);
            assert!(findings.has(Tags::FROM_AMBIGUOUS), "{field}");
        }
    }
}

/// Base64 of octets, without padding between.
fn base64(octets: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(octets)
}

// Forged or not, a field of a hop costs what any other field costs, and those of parts are no hops.
#[test]
fn a_50_hops_without_end_are_counted_and_cost_what_their_octets_cost() {
    let rules = rules(&Surface::ALL);
    let scan_hops = |field: &str, hops: usize| {
        let message = ["From: a@b\r\n", &field.repeat(hops), "\r\nviagra"].concat();
        scan(&rules, message.as_bytes().chunks(4096))
    };
    for (field, hops) in [("Received: x\r\n", 1), ("RECEIVED : x\r\n y\r\n", 1), ("X: y\r\n", 0)] {
        for count in [0, 1, 99, 100, 999] {
            assert_eq!(scan_hops(field, count).received_fields(), hops * count as u32, "{field:?}");
        }
        let (few, many) = (scan_hops(field, 10_000), scan_hops(field, 100_000));
        assert!(many.units() <= 11 * few.units(), "{field:?}");
        assert_eq!(many.received_fields() >= 1_000, hops > 0, "{field:?}");
    }
    let inner = "Content-Type: message/rfc822\r\n\r\n".to_owned() + &"Received: x\r\n".repeat(100);
    assert_eq!(scan(&rules, [inner.as_bytes()]).received_fields(), 0);
}

// RFC 2045 6.7 and 6.8, as clients read what breaks them.
#[test]
fn a_51_dirty_encodings_are_read_as_clients_read_them() {
    let every = |text: &str, step: usize, dirt: &str| -> String {
        let pieces = text.as_bytes().chunks(step).map(|piece| String::from_utf8_lossy(piece));
        pieces.map(|piece| piece.into_owned() + dirt).collect()
    };
    for offset in 0..3 {
        let plain = format!("{}viagra{}", "x".repeat(offset), "y".repeat(5 - offset));
        let wire = base64(plain.as_bytes());
        let unpadded = wire.trim_end_matches('=');
        let broken = [
            every(unpadded, 3, "!"),
            every(unpadded, 1, "\n"),
            every(unpadded, 1, "\r\n\t "),
            every(unpadded, 2, "\u{e9}"),
            every(unpadded, 4, "\0"),
            every(unpadded, 5, "-\n").replace('-', "."),
            unpadded.to_owned(),
            format!("{wire}===="),
            format!("{wire}{}", base64(b"more")),
            format!("eA=={wire}"),
            format!("====\n{wire}"),
            format!("{wire}\n--\n"),
            format!("{wire}A"),
        ];
        for text in broken {
            let message = format!("Content-Transfer-Encoding: base64\n\n{text}");
            is_found(&text, &message, Surface::Text, None);
        }
        let before = "z".repeat(offset);
        for text in [
            "via=\ngra",
            "via=\n=\n=\ngra",
            "via= \t\ngra",
            "v=69a=67ra",
            "=76iagra=",
            "viagra=ZZ",
            "viagra=3",
            "=viagra",
            "viagra =",
            "=\nviagra",
        ] {
            let message = format!("Content-Transfer-Encoding: quoted-printable\n\n{before}{text}");
            is_found(text, &message, Surface::Text, None);
        }
    }
    let soft = format!(
        "Content-Transfer-Encoding: quoted-printable\r\n\r\nvia{}gra",
        "=\r\n".repeat(1_000_000)
    );
    let rules = rules(&[Surface::Text]);
    assert!(has(&rules, &scan(&rules, soft.as_bytes().chunks(16 * 1024)), "text"));
}

#[test]
fn a_58_the_worst_text_costs_a_few_times_the_plain_one() {
    let rules = rules(&Surface::ALL);
    let cost = |body: &[u8]| {
        let message = [&b"Subject: x\r\n\r\n"[..], &body.repeat((1 << 20) / body.len())].concat();
        let findings = scan(&rules, message.chunks(16 * 1024));
        assert!(findings.hits().len() <= 16);
        findings.units() as f64 / message.len() as f64
    };
    let plain = cost(b"the minutes of the last meeting are attached\r\n");
    let floods: [&[u8]; 7] =
        [b"viagr", b"v", b"iagra", b"viagra", b"-\r\n", b"--\r\n", b"=?utf-8?Q?viagra?= "];
    for flood in floods {
        let cost = cost(flood);
        assert!(cost <= 4.0 * plain, "{:?}: {cost} for {plain}", flood.escape_ascii());
    }
}

#[test]
fn a_59_rules_that_break_the_bound_are_refused_with_the_reason() {
    let rule = RuleSpec {
        name: "x".into(),
        surfaces: vec![Surface::Text],
        tag: "x".into(),
        ..RuleSpec::default()
    };
    for regex in ["(?:){4294967295}", "a.{0,9999}.{0,9999}b", "((a{100}){100}){100}", r"(?<=a)b"] {
        let spec = RuleSpec { regexes: vec![regex.into()], ..rule.clone() };
        let error = Rules::compile(Tags::new(), &[spec]).unwrap_err();
        let RuleError::Regex { rule: 0, regex: 0, reason } = &error else { panic!("{error}") };
        assert!(reason.contains(':') || reason.contains(','), "{reason} says no way out");
    }
    let literals = (0..1_000_000).map(|number| format!("{number:07}").into_bytes()).collect();
    let spec = RuleSpec { literals, ..rule.clone() };
    let error = Rules::compile(Tags::new(), &[spec]).unwrap_err();
    assert_eq!(error, RuleError::TooManyLiterals { rule: 0 });
    let alike = (1..100).map(|length| vec![b'a'; length]).collect();
    let spec = RuleSpec { literals: alike, ..rule };
    let error = Rules::compile(Tags::new(), &[spec]).unwrap_err();
    assert!(matches!(error, RuleError::TooManyEnds { rule: 0, .. }), "{error}");
}

/// A shard serves its other sessions between any two receives, so what is fed at once must be small,
/// and cost no more late in a message than early.
#[test]
fn a_61_no_piece_of_a_large_message_holds_up_a_shard() {
    const PIECE: usize = RECEIVE_BUFFER_OCTETS as usize;
    const _: () = assert!(PIECE <= 256 * 1024);
    let rules = rules(&Surface::ALL);
    let cost = rules.cost();
    let html = "Content-Type: text/html\r\n\r\n";
    let base64 = "Content-Transfer-Encoding: base64\r\n\r\n";
    let parts = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    let floods = [
        (html, "<b>viagr</b>&#118; "),
        (base64, "dmlhZ3Jh\r\n"),
        (parts, "--a\r\n\r\n"),
        ("", "Subject: =?utf-8?Q?viagr?=\r\n"),
        ("\r\n", "http://viagr.example.com/"),
        ("\r\n", "PK\u{3}\u{4}"),
    ];
    for (head, flood) in floods {
        let message = [head, &flood.repeat(12 * PIECE / flood.len())].concat();
        let pieces: Vec<&[u8]> = message.as_bytes().chunks(PIECE).collect();
        let units = |count: usize| scan(&rules, pieces[..count].iter().copied()).units();
        let all: Vec<u64> = (0..=pieces.len()).map(units).collect();
        let steps: Vec<u64> = all.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        let bound = cost.units_at_once + cost.units_an_octet * PIECE as u64;
        assert!(steps.iter().all(|step| *step <= bound), "{flood:?}: {steps:?} over {bound}");
        let (early, late) = steps.split_at(steps.len() / 2);
        let most = |steps: &[u64]| steps.iter().copied().max().unwrap_or_default();
        assert!(4 * most(late) <= 5 * most(early), "{flood:?}: {steps:?}");
    }
}

/// What `cargo bench --bench worst` has found: messages that come nearer to the bound, or take longer,
/// than any other that it could make of mail and floods.
#[test]
fn the_dearest_messages_known_stay_within_the_bound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worst");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let messages: Vec<Vec<u8>> = entries.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(messages.len() >= 2);
    let common = expressions(COMMON.split_whitespace().map(common));
    for rules in [rules(&Surface::ALL), common] {
        let cost = rules.cost();
        for message in &messages {
            let findings = scan(&rules, [&message[..]]);
            let bound = cost.units_at_once + cost.units_an_octet * message.len() as u64;
            assert!(findings.units() <= bound, "{} of {bound}", findings.units());
            assert!(findings == scan(&rules, message.chunks(61)));
        }
    }
}

/// The other side of the budget: mail that nobody made to spend it does not, be it alone or a great
/// many letters as one, in which what may be spent at once is nothing. With half a hundred expressions
/// whose gates are common words; and with hundreds from the corpus beside the project, where it is at
/// hand.
#[test]
fn honest_mail_does_not_spend_the_budget() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = expressions(COMMON.split_whitespace().map(common));
    assert_unspent(&rules, &here.join("tests/corpus"), 10);
    // It is no budget that nothing can spend.
    let gates = format!("\r\n{}", COMMON.repeat(4000));
    assert!(scan(&rules, [gates.as_bytes()]).has(Tags::BUDGET_SPENT));
    let corpus = here.join("../shared/corpus");
    let Ok(list) = std::fs::read_to_string(corpus.join("patterns/regexes-300.txt")) else { return };
    let in_use = list.lines().filter_map(|line| line.split('\t').nth(2).map(str::to_owned));
    assert_unspent(&expressions(in_use), &corpus, 300);
}

/// Words that many letters hold.
const COMMON: &str = "the and you for with this that from have your are not will was all can has but \
    our one out use new get more any please here about http:// www. .com mail free click time list \
    order email send money <br> style";

/// An expression that needs a common word, and more that is rare but no literal: on either side, near
/// or far.
fn common(word: &str) -> String {
    let word = word.replace('.', r"\.");
    match word.len() % 3 {
        0 => format!(r"(?i)\b{word}.{{0,20}}v[i1!]+[a4]gr[a4]"),
        1 => format!(r"(?i)[0-9]{{6}} {word} [a-z]+[0-9]{{2}}"),
        _ => format!(r"(?i){word}[^/]+\.[ex]{{3}}\b"),
    }
}

/// Rules for those expressions that need a literal.
fn expressions(all: impl Iterator<Item = String>) -> Arc<Rules> {
    let spec = |(number, regex): (usize, String)| RuleSpec {
        regexes: vec![regex],
        surfaces: vec![Surface::Subject, Surface::Visible],
        tag: format!("tag-{}", number % 100),
        ..RuleSpec::default()
    };
    let is_gated = |spec: &RuleSpec| {
        let alone = Rules::compile(Tags::new(), std::slice::from_ref(spec));
        alone.is_ok_and(|rules| rules.tables().ungated.0 == 0)
    };
    let specs: Vec<RuleSpec> = all.enumerate().map(spec).filter(is_gated).collect();
    assert!(specs.len() > 30, "{}", specs.len());
    Arc::new(Rules::compile(Tags::new(), &specs).unwrap())
}

/// No letter of a corpus spends the budget, nor do the texts of all of them in one.
fn assert_unspent(rules: &Arc<Rules>, corpus: &Path, letters: usize) {
    let mut all = [&b"Content-Type: text/html\r\n\r\n"[..], b""].concat();
    let mut scanned = 0;
    for folder in ["ham", "spam"] {
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let letter = std::fs::read(&path).unwrap();
            let findings = scan(rules, [&letter[..]]);
            assert!(!findings.has(Tags::BUDGET_SPENT), "{}", path.display());
            all.extend_from_slice(&letter);
            scanned += 1;
        }
    }
    assert!(scanned >= letters, "{scanned}");
    while all.len() < 1 << 20 {
        all.extend_from_within(..);
    }
    let findings = scan(rules, all.chunks(16 * 1024));
    assert!(!findings.has(Tags::BUDGET_SPENT), "{} letters in one", scanned);
}

/// A gzip file of zeroes, which DEFLATE makes a thousand times smaller, in a message.
fn gzip_of_zeroes(octets: usize) -> Vec<u8> {
    let packed = miniz_oxide::deflate::compress_to_vec(&vec![0; octets], 9);
    let head = b"From: a@b\r\nContent-Type: application/gzip\r\n\r\n";
    [head, &b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"[..], &packed, &[0; 8]].concat()
}

#[test]
fn a_53_a_bomb_costs_what_was_allowed_and_is_told() {
    let spec = RuleSpec {
        literals: vec![b"viagra".to_vec()],
        digests: vec![[0; 32]],
        md5: vec![[0; 16]],
        surfaces: vec![Surface::Part],
        tag: "part".into(),
        ..RuleSpec::default()
    };
    let rules = Rules::compile(Tags::new(), &[spec]).unwrap().unpacking(8 << 20);
    let (cost, rules) = (rules.cost(), Arc::new(rules));
    let message = gzip_of_zeroes(64 << 20);
    let findings = scan(&rules, message.chunks(4096));
    assert!(findings.has(Tags::ARCHIVE_BOMB) && findings.has(Tags::ARCHIVE_LIMIT));
    let bound = cost.units_at_once + cost.units_an_octet * message.len() as u64;
    assert!(findings.units() <= bound, "{} of {bound}", findings.units());
    // What it was allowed was unpacked.
    assert!(findings.units() >= 8 << 20);
}
