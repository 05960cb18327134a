//! A million recipients: what they take, and what a look-up costs, by an allocator that counts.
//!
//! One test alone, as the allocator counts for the whole process.

use postern::config::Config;
use postern::policy::{Recipients, Standing};
use postern::wire::Mailbox;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const ENTRIES: usize = 1_000_000;

/// What an entry may take beside its own octets.
const OCTETS_AN_ENTRY_MAX: usize = 32;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_OCTETS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work, as it is asked.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE_OCTETS.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_OCTETS.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONFIG: &str = r#"
[listen.mx]
address = "127.0.0.1:2525"
protocol = "smtp"
[route.mail]
to = "maildir:mail"
[domain."example.net"]
route = "mail"
recipients = "file:recipients.txt"
plus = "+"
"#;

// A-32: a guess at a recipient costs the same whatever is in the list, and nothing that grows.
#[test]
fn a_32_a_million_recipients_fit_and_a_guess_among_them_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut list, mut name_octets) = (String::new(), 0);
    for number in 0..ENTRIES {
        let name = format!("first.last{number}");
        name_octets += name.len();
        writeln!(list, "{name}").unwrap();
    }
    std::fs::write(folder.path().join("recipients.txt"), list).unwrap();

    let before = LIVE_OCTETS.load(Ordering::Relaxed);
    let began = Instant::now();
    let config = Config::parse(CONFIG, "million.toml", folder.path()).unwrap();
    let loaded = began.elapsed();
    let taken = LIVE_OCTETS.load(Ordering::Relaxed) - before;
    let each = (taken - name_octets) as f64 / ENTRIES as f64;
    println!(
        "{ENTRIES} recipients: loaded in {loaded:?}, {each:.1} octets each beside their names"
    );
    assert!(taken <= name_octets + OCTETS_AN_ENTRY_MAX * ENTRIES, "{taken} octets");
    let policy = &config.tables.policy;
    let (_, domain) = policy.domains().next().unwrap();
    assert!(matches!(&domain.recipients, Recipients::Listed { list, .. } if list.len() == ENTRIES));

    let asked: Vec<(String, bool)> = (0..100_000)
        .flat_map(|number| {
            let known = number * 7 % ENTRIES;
            [
                (format!("First.Last{known}@EXAMPLE.net"), true),
                (format!("first.last{known}+tag@example.net"), true),
                (format!("user{number:04}@example.net"), false),
                (format!("first.last{}@example.net", ENTRIES + number), false),
            ]
        })
        .collect();
    let mailboxes: Vec<(Mailbox<'_>, bool)> = asked
        .iter()
        .map(|(address, known)| (Mailbox::read(address.as_bytes()).unwrap(), *known))
        .collect();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let began = Instant::now();
    let wrong = mailboxes
        .iter()
        .filter(|(mailbox, known)| {
            matches!(policy.recipient(mailbox), Standing::Accepted { .. }) != *known
        })
        .count();
    let each = began.elapsed() / mailboxes.len() as u32;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!("{} look-ups: {each:?} each, {allocations} allocations", mailboxes.len());
    assert_eq!((wrong, allocations), (0, 0));
}
