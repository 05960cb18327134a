//! A process that is killed between any two steps of the order of writes.

use super::*;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

/// What the child does with each message, and what it has written down of it: a line for each delivery
/// and each reply, durable before it counts, as a next hop and a client would have it.
fn deliver_and_reply(asker: &Asker, folder: &Path, id: u64) {
    assert_eq!(asker.open(id), Answer::Opened);
    assert_eq!(asker.begin(id), Answer::Begun(Begun::GoOn { recorded: true }));
    note(folder, "delivered", id);
    assert_eq!(asker.commit(id), Answer::Committed { recorded: true });
    note(folder, "replied", id);
    CrashPoint::Replied.reached();
    asker.tell(Request::Gone { holder: asker.line.holder(id) });
}

fn note(folder: &Path, name: &str, id: u64) {
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join(name)).unwrap();
    file.write_all(format!("{id}\n").as_bytes()).unwrap();
    file.sync_data().unwrap();
}

/// How often each message was noted.
fn noted(folder: &Path, name: &str) -> BTreeMap<u64, u64> {
    let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
    let mut times = BTreeMap::new();
    for id in text.lines().filter_map(|line| line.parse().ok()) {
        *times.entry(id).or_default() += 1;
    }
    times
}

/// The process that is killed: it runs as a test of its own, when it is told a folder.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os("POSTERN_LEDGER_VICTIM") else { return };
    let folder = PathBuf::from(folder);
    let asker = Asker::start(settings(&folder.join("ledger")));
    let first = noted(&folder, "begun").keys().last().map_or(0, |last| last + 1);
    for id in first..first + 10_000 {
        note(&folder, "begun", id);
        deliver_and_reply(&asker, &folder, id);
    }
}

fn start_victim(folder: &Path, crash: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durable::tests::kills::victim", "--test-threads", "1"])
        .env("POSTERN_LEDGER_VICTIM", folder)
        .env("POSTERN_CRASH", crash)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The client of the last message comes again, as checkpoint 3 says. Copies that were delivered though
/// an earlier one may have been.
fn resume_last(folder: &Path) -> u64 {
    let asker = Asker::start(settings(&folder.join("ledger")));
    let last = *noted(folder, "begun").keys().last().unwrap();
    if asker.recall(last).offset() == 0 {
        assert_eq!(asker.open(last), Answer::Opened);
        match asker.begin(last) {
            Answer::Begun(Begun::GoOn { recorded: true }) => note(folder, "delivered", last),
            Answer::Begun(Begun::Known(known)) => {
                use crate::ledger::Known;
                assert!(matches!(known.each[..], [Some(Known::Unknown(_))]));
                note(folder, "delivered", last);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(asker.commit(last), Answer::Committed { recorded: true });
    }
    note(folder, "resumed", last);
    asker.ledger.handle().report().figures.counts.unknown_redelivered
}

/// After all is done: nothing lost, and no more duplicates than were counted.
fn judge(folder: &Path, counted: u64) {
    let delivered = noted(folder, "delivered");
    for id in noted(folder, "replied").into_keys().chain(noted(folder, "resumed").into_keys()) {
        assert!(delivered.contains_key(&id), "{id} was accepted and is lost");
    }
    let duplicates: u64 = delivered.values().map(|times| times - 1).sum();
    assert!(duplicates <= counted, "{duplicates} duplicates, {counted} counted");
}

// killed between each pair of the steps of the order of writes.
#[test]
fn a_86_killed_at_each_point_nothing_is_lost_and_duplicates_are_counted() {
    for point in CrashPoint::ALL {
        for times in [1, 4] {
            let folder = tempfile::tempdir().unwrap();
            let crash = format!("{}:{times}", point.name());
            let ended = start_victim(folder.path(), &crash).wait().unwrap();
            assert!(!ended.success(), "it died at {crash}");
            let counted = resume_last(folder.path());
            judge(folder.path(), counted);
            let expected = u64::from(matches!(point, CrashPoint::HandedOn | CrashPoint::Intent));
            assert_eq!(counted, expected, "an intent without an outcome at {crash}");
            let delivered = noted(folder.path(), "delivered").into_values().max();
            let twice = u64::from(point == CrashPoint::HandedOn);
            assert_eq!(delivered, Some(1 + twice), "the documented case is {crash} alone");
        }
    }
}

// SIGKILL at random times, again and again over the same store.
#[test]
fn a_86_killed_at_any_time_nothing_is_lost_and_duplicates_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(86);
    let mut counted = 0;
    for _ in 0..12 {
        let mut victim = start_victim(folder.path(), "");
        let begun = noted(folder.path(), "begun").len();
        let until = Instant::now() + PATIENCE;
        // It must have begun; then some messages more, and the kill falls where it falls.
        let enough = begun + random.usize(1..40);
        while noted(folder.path(), "begun").len() < enough {
            assert!(Instant::now() < until && victim.try_wait().unwrap().is_none());
            thread::yield_now();
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        counted += resume_last(folder.path());
    }
    judge(folder.path(), counted);
}
