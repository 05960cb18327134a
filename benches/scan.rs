//! The whole scan of messages, as nanoseconds a content octet: on mail, and on the worst that a
//! hostile sender can make of the rules or of the encodings.
//!
//! ```text
//! cargo bench --bench scan               # everything
//! cargo bench --bench scan -- 2000       # the rows whose name holds this
//! ```
//!
//! Each figure is the best of several short runs, since on a busy machine that is the one that says
//! most; the ratio of worst to mail says more than either. Pattern sets and mail beyond the sample
//! are read from the corpus beside the project, where it is at hand.

use postern::scan::{RuleSpec, Rules, Scanner, Score, Surface, Tags};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one input of one row is measured.
const MEASURED: Duration = Duration::from_millis(150);

/// Octets that a read of a socket brings.
const READ_OCTETS: usize = 16 * 1024;

/// What each hostile input is about as long as.
const HOSTILE_OCTETS: usize = 1 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| name.contains(one));
    println!("{:<34} {:>8} {:>8} {:>7}  worst input", "rules", "mail", "worst", "ratio");
    for literals in ["200", "2000", "20000", "200000"] {
        let name = format!("{literals} literals, raw");
        let Some(list) = list(literals).filter(|_| is_wanted(&name)) else { continue };
        let begun = Instant::now();
        let rules = rules(&list, &[Surface::Raw]);
        let (built, table) = (begun.elapsed(), rules.table_octets());
        row(&name, &rules, &mail(), &floods_of_literals(&list));
        println!("    compiled in {} ms, {} KiB of tables", built.as_millis(), table / 1024);
    }
    for surfaces in [&[Surface::Text][..], &[Surface::Raw, Surface::Subject, Surface::Text]] {
        let names: Vec<&str> = surfaces.iter().map(|surface| surface.name()).collect();
        let name = format!("200 literals, {}", names.join(" "));
        let Some(list) = list("200").filter(|_| is_wanted(&name)) else { continue };
        let mut floods = floods_of_encodings();
        floods.extend(floods_of_literals(&list));
        row(&name, &rules(&list, surfaces), &mail(), &floods);
    }
}

/// Measures the mail and each flood, and prints the mail beside the worst of them.
fn row(name: &str, rules: &Arc<Rules>, mail: &[Vec<u8>], floods: &[(&str, Vec<u8>)]) {
    let typical = nanoseconds(rules, mail);
    let cost = |(name, flood): (_, &Vec<u8>)| -> (f64, &str) {
        (nanoseconds(rules, std::slice::from_ref(flood)), name)
    };
    let mut costs: Vec<_> = floods.iter().map(|(name, flood)| cost((*name, flood))).collect();
    costs.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (worst, input) = costs[0];
    println!("{name:<34} {typical:>8.3} {worst:>8.3} {:>7.1}  {input}", worst / typical);
    let others: Vec<String> =
        costs[1..].iter().map(|(cost, name)| format!("{name} {cost:.2}")).collect();
    println!("    {}", others.join(", "));
}

/// The cost of an octet.
fn nanoseconds(rules: &Arc<Rules>, messages: &[Vec<u8>]) -> f64 {
    let octets: usize = messages.iter().map(Vec::len).sum();
    let mut scanner = Scanner::new(Arc::clone(rules));
    let mut best = f64::MAX;
    let begun = Instant::now();
    let mut runs = 0;
    while runs < 3 || begun.elapsed() < MEASURED {
        let run = Instant::now();
        for message in messages {
            scanner.reset(Arc::clone(rules));
            message.chunks(READ_OCTETS).for_each(|piece| scanner.feed(black_box(piece)));
            black_box(scanner.finish());
        }
        best = best.min(run.elapsed().as_nanos() as f64 / octets as f64);
        runs += 1;
    }
    best
}

// ---- rules ----------------------------------------------------------------------------------

fn corpora() -> [PathBuf; 2] {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    [here.join("tests/corpus"), here.join("../shared/corpus")]
}

fn list(literals: &str) -> Option<Vec<Vec<u8>>> {
    let path = |corpus: PathBuf| corpus.join(format!("patterns/literals-{literals}.txt"));
    let text = corpora().into_iter().find_map(|corpus| std::fs::read(path(corpus)).ok())?;
    let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(Vec::from).collect())
}

/// Rules of some hundred literals.
fn rules(literals: &[Vec<u8>], surfaces: &[Surface]) -> Arc<Rules> {
    let spec = |(index, literals): (usize, &[Vec<u8>])| RuleSpec {
        name: format!("list {index}"),
        literals: literals.to_vec(),
        surfaces: surfaces.to_vec(),
        tag: format!("tag-{}", index % 100),
        score: Score(1000),
        ..RuleSpec::default()
    };
    let size = literals.len().div_ceil(100).max(20);
    let specs: Vec<RuleSpec> = literals.chunks(size).enumerate().map(spec).collect();
    Arc::new(Rules::compile(Tags::new(), &specs).expect("the literals of the corpus compile"))
}

// ---- inputs ---------------------------------------------------------------------------------

fn mail() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for folder in ["ham", "spam"] {
        let entries =
            corpora().into_iter().rev().find_map(|c| std::fs::read_dir(c.join(folder)).ok());
        for entry in entries.into_iter().flatten() {
            messages.push(std::fs::read(entry.expect("an entry").path()).expect("a message"));
        }
    }
    messages
}

/// Octets over and over, as the body of a message with these header fields.
fn flood(fields: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("Subject: flood\r\n{fields}\r\n").into_bytes();
    while message.len() < HOSTILE_OCTETS {
        message.extend_from_slice(body);
    }
    message
}

/// Texts that are hard on what looks for the literals.
fn floods_of_literals(literals: &[Vec<u8>]) -> Vec<(&'static str, Vec<u8>)> {
    let mut shuffled: Vec<&[u8]> = literals.iter().map(Vec::as_slice).collect();
    shuffled.sort_by_key(|literal| {
        literal
            .iter()
            .fold(7u64, |sum, octet| (sum ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3))
    });
    shuffled.truncate(150_000);
    let of = |part: fn(&[u8]) -> &[u8]| -> Vec<u8> {
        let text: Vec<u8> =
            shuffled.iter().flat_map(|literal| part(literal).iter().copied()).collect();
        flood("", &text)
    };
    vec![
        ("near misses", of(|literal| &literal[..literal.len() - 1])),
        ("heads cut off", of(|literal| &literal[1..])),
        ("nothing but literals", of(|literal| literal)),
        ("first three octets", of(|literal| &literal[..literal.len().min(3)])),
        ("last ten octets", of(|literal| &literal[literal.len().saturating_sub(10)..])),
        ("one octet", flood("", b"a")),
    ]
}

/// Texts that are hard on the decoders and on the reading of the structure.
fn floods_of_encodings() -> Vec<(&'static str, Vec<u8>)> {
    let base64 = "Content-Transfer-Encoding: base64\r\n";
    let printable = "Content-Transfer-Encoding: quoted-printable\r\n";
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n";
    vec![
        (
            "base64, clean",
            flood(
                base64,
                b"aGVyZSBhcmUgdGhlIG1pbnV0ZXMgb2YgdGhlIGxhc3QgbWVldGluZyBhbmQgbW9yZSBvZiBpdCE+\r\n",
            ),
        ),
        ("base64, one digit a line", flood(base64, b"a\r\nG\r\nV\r\ny\r\n")),
        ("base64, foreign octets", flood(base64, b"aGV!yZS!Bhc!mUg\r\n")),
        ("base64, padding", flood(base64, b"aG==")),
        (
            "base64, one foreign octet a line",
            flood(
                base64,
                b"aGVyZSBhcmUgdGhlIG1pbnV0ZXMgb2YgdGhlIGxhc3QgbWVldGluZyBhbmQgbW9yZSBvZiBpdC!+\r\n",
            ),
        ),
        (
            "printable, text",
            flood(
                printable,
                b"the minutes of the =E2=80=9Clast=E2=80=9D meeting are attached, and=\r\n ",
            ),
        ),
        ("printable, soft breaks", flood(printable, b"=\r\n")),
        ("printable, equals signs", flood(printable, b"=")),
        ("printable, escapes", flood(printable, b"=41")),
        ("printable, blanks", flood(printable, b" ")),
        ("printable, line ends", flood(printable, b"\r\n")),
        ("printable, short words", flood(printable, b"a =\r\n")),
        ("lines of two dashes", flood(multipart, b"--\r\n")),
        ("lines of one dash", flood(multipart, b"-\r\n")),
        ("lines that nearly are boundaries", flood(multipart, b"--c\r\n")),
        ("empty parts", flood(multipart, b"--b\r\n\r\n")),
        ("line ends", flood(multipart, b"\r\n")),
        ("fields", b"a:b\r\n".repeat(HOSTILE_OCTETS / 5)),
        ("continuation lines", [&b"a: b"[..], &b"\r\n ".repeat(HOSTILE_OCTETS / 3)].concat()),
    ]
}
