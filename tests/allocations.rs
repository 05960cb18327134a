//! A scan takes no memory once it is warm: everything it needs is in the scanner and in the scratch
//! of its thread, whatever the message. And what a message keeps that waits for more is small.

use postern::limits::RULES_MAX;
use postern::scan::{LentScanner, RuleSpec, Rules, Scanner, Surface, Tags};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
    /// Octets that this thread took and did not give back.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + 1));
        TAKEN.with(|taken| taken.set(taken.get() + layout.size() as isize));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        TAKEN.with(|taken| taken.set(taken.get() - layout.size() as isize));
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn sample() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let folders = ["crafted", "edge", "ham", "spam"].map(|folder| corpus.join(folder));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Literals, expressions and a condition on every surface.
fn rules() -> Arc<Rules> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/patterns/literals-200.txt");
    let list = std::fs::read(list).unwrap();
    let words = list.split(|octet| *octet == b'\n').filter(|word| !word.is_empty());
    let literals: Vec<Vec<u8>> = words.map(Vec::from).collect();
    let mut specs: Vec<RuleSpec> = Vec::new();
    for surface in Surface::ALL {
        let regexes =
            vec![r"\bfree\b.{0,20}\bcall\b".into(), r"(?i)https?://[^/]+/.{1,9}\.exe".into()];
        specs.push(RuleSpec {
            name: surface.name().into(),
            literals: literals.clone(),
            regexes: if surface == Surface::Raw { Vec::new() } else { regexes },
            domains: vec![b"example.com".to_vec()],
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            surfaces: vec![surface],
            digests: vec![[0; 32]],
            sha1: vec![[0; 20]],
            md5: vec![[0; 16]],
            blake3: vec![[0; 32]],
            fields: vec![b"x-mailer".to_vec()],
            tag: surface.name().into(),
            ..RuleSpec::default()
        });
    }
    Arc::new(Rules::compile(Tags::new(), &specs).unwrap())
}

#[test]
fn a_warm_scan_allocates_nothing() {
    let (messages, rules) = (sample(), rules());
    let scan = |message: &[u8]| {
        let before = ASKED.with(Cell::get);
        let mut scanner = LentScanner::new(Arc::clone(&rules));
        message.chunks(1460).for_each(|piece| scanner.feed(piece));
        let findings = scanner.finish();
        assert!(findings.units() >= message.len() as u64);
        ASKED.with(Cell::get) - before
    };
    let cold: usize = messages.iter().map(|message| scan(message)).sum();
    assert!(cold > 0, "the allocator does not count");
    let warm: usize = messages.iter().map(|message| scan(message)).sum();
    assert_eq!(warm, 0, "for {} messages", messages.len());
}

/// The most that a message keeps while it waits for its next octets, at every 1460 of them: the
/// scanner itself and all that it took.
fn kept(rules: &Arc<Rules>, message: &[u8]) -> usize {
    // What is taken once for the thread is none of it.
    let mut warm = Scanner::new(Arc::clone(rules));
    warm.feed(message);
    warm.finish();
    let before = TAKEN.with(Cell::get);
    let mut scanner = Box::new(Scanner::new(Arc::clone(rules)));
    let mut most = 0;
    for piece in message.chunks(1460) {
        scanner.feed(piece);
        most = most.max(TAKEN.with(Cell::get) - before);
    }
    most.unsigned_abs()
}

/// Rules with literals alone, each of its own, on every surface that leaves and fields have.
fn literals(count: usize) -> Arc<Rules> {
    let spec = |number: usize| RuleSpec {
        name: number.to_string(),
        literals: vec![format!("word-{number}-").into_bytes()],
        surfaces: vec![Surface::Raw, Surface::Text, Surface::Visible, Surface::Subject],
        tag: "tag".into(),
        ..RuleSpec::default()
    };
    let specs: Vec<RuleSpec> = (0..count).map(spec).collect();
    Arc::new(Rules::compile(Tags::new(), &specs).unwrap())
}

const TWO_PARTS: &str = "From: a@b\r\nSubject: =?utf-8?Q?words?=\r\n\
    Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\
    Content-Type: text/plain; charset=koi8-r\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\r\n";

/// All that is taken is counted. Literals keep no more than 4 KiB. Expressions keep what they reach of
/// a text as it came and as it is seen, some 2 KiB; a BLAKE3 digest keeps 2 KiB, links and hosts half
/// a KiB.
#[test]
fn what_a_message_keeps_that_waits_is_small() {
    let (few, full, all) = (literals(200), literals(RULES_MAX), rules());
    let image = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let bodies = ["=20x words\r\n".repeat(1000), "iVBORw0KGgoAAAANSUhEUgAA\r\n".repeat(1000)];
    let typical = [TWO_PARTS, &bodies[0], "--b\r\n", image, &bodies[1], "--b--\r\n"].concat();
    let octets = kept(&few, typical.as_bytes());
    assert!((1024..=4096).contains(&octets), "{octets}");
    for rules in [&few, &full, &all] {
        let (waiting, _) = rules.suspended_octets();
        let octets = kept(rules, typical.as_bytes());
        assert!(octets <= waiting, "{octets} of {waiting}");
    }
    assert!(few.suspended_octets().0 <= 4096, "{:?}", few.suspended_octets());
    assert!(all.suspended_octets().0 <= 8704, "{:?}", all.suspended_octets());
    assert!(full.suspended_octets().1 <= 32 * 1024, "{:?}", full.suspended_octets());
}

/// Archives, long fields and deep nesting included, it is never more than what `check` shows.
#[test]
fn what_a_message_keeps_at_the_most_is_known() {
    let deep: String = (0..40)
        .map(|depth| {
            format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n")
        })
        .collect();
    let fields = format!("Subject: {}\r\n\r\n", "x y ".repeat(20_000));
    let mut messages = sample();
    messages.extend([deep, fields].map(String::into_bytes));
    for rules in [literals(200), rules()] {
        let (_, most) = rules.suspended_octets();
        for message in &messages {
            let octets = kept(&rules, message);
            assert!(octets <= most, "{octets} of {most}");
        }
    }
}
