//! The whole scan of one message, rules and structure.
//!
//! The near-miss flood is made of the literals without their last octet: the worst that a hostile
//! sender can do to an automaton. It should stay within a few times of plain text.

use super::{LITERALS, Size, WORDS, Workload};
use postern::scan::{RuleSpec, Rules, Scanner, Score, Surface, Tags};
use std::hint::black_box;
use std::sync::Arc;

pub fn workloads() -> Vec<Workload> {
    let sets: [(&str, &[Surface]); 2] = [
        ("200 literals on raw, subject, text", &[Surface::Raw, Surface::Subject, Surface::Text]),
        ("200 literals on text alone", &[Surface::Text]),
    ];
    sets.into_iter().flat_map(|(group, surfaces)| of_set(group, surfaces)).collect()
}

fn of_set(group: &'static str, surfaces: &'static [Surface]) -> Vec<Workload> {
    let workload = |(name, mail): (&str, Vec<u8>)| Workload {
        group,
        name: name.to_owned(),
        size: Size::Octets(mail.len()),
        prepare: Box::new(move || {
            let (rules, mail) = (rules(surfaces), mail.clone());
            let mut scanner = Scanner::new(Arc::clone(&rules));
            Box::new(move || {
                scanner.reset(Arc::clone(&rules));
                mail.chunks(16 * 1024).for_each(|read| scanner.feed(black_box(read)));
                black_box(scanner.finish());
            })
        }),
    };
    mails().into_iter().map(workload).collect()
}

fn mails() -> [(&'static str, Vec<u8>); 7] {
    let text = WORDS.repeat(4096 / WORDS.len() - 4);
    let parts = format!("--b\r\n\r\n{}--b--\r\n", WORDS.repeat(800));
    let misses: String = LITERALS.lines().map(|line| &line[..line.len() - 1]).collect();
    let misses = misses.repeat(65536 / misses.len());
    let encoding = |name: &str| format!("Content-Transfer-Encoding: {name}\r\n");
    let quoted = "the minutes of the =E2=80=9Clast=E2=80=9D meeting are attached, and=\r\n ";
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n";
    [
        ("text 4 KiB", mail("Content-Type: text/plain\r\n", &text)),
        ("text 64 KiB in a multipart", mail(multipart, &parts)),
        ("base64 64 KiB", mail(&encoding("base64"), &base64(65536))),
        ("quoted-printable 64 KiB", mail(&encoding("quoted-printable"), &quoted.repeat(900))),
        ("near misses 64 KiB", mail("", &misses)),
        ("near misses in quoted-printable", mail(&encoding("quoted-printable"), &misses)),
        ("lines of two dashes 64 KiB", mail(multipart, &"--\r\n".repeat(16384))),
    ]
}

fn mail(fields: &str, body: &str) -> Vec<u8> {
    const HEADER: &str = "Received: from a.example (a.example [192.0.2.1]) by b.example;\r\n \
        Tue, 3 Nov 2026 10:00:00 +0000\r\nFrom: a1@example.org\r\nTo: b@example.net\r\n\
        Subject: the minutes of the last meeting\r\nDate: Tue, 3 Nov 2026 10:00:00 +0000\r\n\
        Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n";
    format!("{HEADER}{fields}\r\n{body}").into_bytes()
}

fn base64(octets: usize) -> String {
    let line = "aGVyZSBhcmUgdGhlIG1pbnV0ZXMgb2YgdGhlIGxhc3QgbWVldGluZyBhbmQgbW9yZSBvZiBpdCE+\r\n";
    line.repeat(octets / line.len())
}

/// Ten rules of twenty literals, on the surfaces that a usual rule asks for.
fn rules(surfaces: &[Surface]) -> Arc<Rules> {
    let literals: Vec<Vec<u8>> = LITERALS.lines().map(|line| line.as_bytes().to_vec()).collect();
    let spec = |(index, literals): (usize, &[Vec<u8>])| RuleSpec {
        name: format!("list {index}"),
        literals: literals.to_vec(),
        surfaces: surfaces.to_vec(),
        tag: format!("tag-{index}"),
        score: Score(1000),
        ..RuleSpec::default()
    };
    let specs: Vec<RuleSpec> = literals.chunks(20).enumerate().map(spec).collect();
    Arc::new(Rules::compile(Tags::new(), &specs).expect("the literals of the sample compile"))
}
