//! The whole scan of one message, rules and structure, as throughput of content octets.
//!
//! The near-miss flood is made of the literals without their last octet: the worst that a hostile
//! sender can do to an automaton. It should stay within a few times of plain text.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use postern::scan::{RuleSpec, Rules, Scanner, Score, Surface, Tags};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const LITERALS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/patterns/literals-200.txt"));

/// Ten rules of twenty literals, on the surfaces that a usual rule asks for.
fn rules(surfaces: &[Surface]) -> Arc<Rules> {
    let literals: Vec<Vec<u8>> = LITERALS.lines().map(|line| line.as_bytes().to_vec()).collect();
    let specs: Vec<RuleSpec> = literals
        .chunks(20)
        .enumerate()
        .map(|(index, literals)| RuleSpec {
            name: format!("list {index}"),
            literals: literals.to_vec(),
            surfaces: surfaces.to_vec(),
            tag: format!("tag-{index}"),
            score: Score(1000),
            observe: false,
        })
        .collect();
    Arc::new(Rules::compile(Tags::new(), &specs).expect("the literals of the sample compile"))
}

const HEADER: &str = "Received: from a.example (a.example [192.0.2.1]) by b.example;\r\n \
    Tue, 3 Nov 2026 10:00:00 +0000\r\nFrom: a1@example.org\r\nTo: b@example.net\r\n\
    Subject: the minutes of the last meeting\r\nDate: Tue, 3 Nov 2026 10:00:00 +0000\r\n\
    Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n";

const WORDS: &str =
    "the minutes of the last meeting are attached and the next one is on tuesday\r\n";

fn mail(fields: &str, body: &str) -> Vec<u8> {
    format!("{HEADER}{fields}\r\n{body}").into_bytes()
}

fn base64(octets: usize) -> String {
    let line = "aGVyZSBhcmUgdGhlIG1pbnV0ZXMgb2YgdGhlIGxhc3QgbWVldGluZyBhbmQgbW9yZSBvZiBpdCE+\r\n";
    line.repeat(octets / line.len())
}

fn benches(criterion: &mut Criterion) {
    let text = WORDS.repeat(4096 / WORDS.len() - 4);
    let parts = format!("--b\r\n\r\n{}--b--\r\n", WORDS.repeat(800));
    let misses: String = LITERALS.lines().map(|line| &line[..line.len() - 1]).collect();
    let encoding = |name: &str| format!("Content-Transfer-Encoding: {name}\r\n");
    let mails = [
        ("text 4 KiB", mail("Content-Type: text/plain\r\n", &text)),
        (
            "text 64 KiB in a multipart",
            mail("Content-Type: multipart/mixed; boundary=b\r\n", &parts),
        ),
        ("base64 64 KiB", mail(&encoding("base64"), &base64(65536))),
        (
            "quoted-printable 64 KiB",
            mail(
                &encoding("quoted-printable"),
                &"the minutes of the =E2=80=9Clast=E2=80=9D meeting are attached, and=\r\n "
                    .repeat(900),
            ),
        ),
        ("near misses 64 KiB", mail("", &misses.repeat(65536 / misses.len()))),
        (
            "near misses in quoted-printable",
            mail(&encoding("quoted-printable"), &misses.repeat(65536 / misses.len())),
        ),
        (
            "lines of two dashes",
            mail("Content-Type: multipart/mixed; boundary=b\r\n", &"--\r\n".repeat(16384)),
        ),
    ];
    let usual = rules(&[Surface::Raw, Surface::Subject, Surface::Text]);
    let decoded = rules(&[Surface::Text]);
    for (set, rules) in [("raw, subject, text", usual), ("text alone", decoded)] {
        let mut group = criterion.benchmark_group(format!("200 literals on {set}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(600));
        for (name, mail) in &mails {
            group.throughput(Throughput::Bytes(mail.len() as u64));
            let mut scanner = Scanner::new(rules.clone());
            group.bench_function(*name, |bencher| {
                bencher.iter(|| {
                    scanner.reset(rules.clone());
                    mail.chunks(16 * 1024).for_each(|piece| scanner.feed(black_box(piece)));
                    scanner.finish()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(scan, benches);
criterion_main!(scan);
