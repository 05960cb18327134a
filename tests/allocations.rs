//! A scan takes no memory once it is warm: everything it needs is in the scanner and in the scratch
//! of its thread, whatever the message.

use postern::scan::{LentScanner, RuleSpec, Rules, Surface, Tags};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
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
