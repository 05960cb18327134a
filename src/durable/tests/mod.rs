//! The ledger with its threads and a real disk: restarts, kills, damage, and disks that fail.

use super::store::Change;
use super::*;
use crate::ledger::{Begun, Row};
use crate::ledger::{
    CopyState, Form, Identity, Key, Level, Outcome, Phase, Recalled, Told, Transaction, sample,
};
use crate::limits;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

mod kills;
mod store;

/// A ledger with one line, asked as a shard would.
struct Asker {
    line: Line,
    inbox: Receiver<(u64, Answer)>,
    ledger: Ledger,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Asker {
    fn start(settings: LedgerSettings) -> Asker {
        let ledger = Ledger::start(settings).unwrap();
        let (sender, inbox) = mpsc::channel();
        let line = ledger.line(move |answers| {
            // The test may have ended.
            let _ = answers.into_iter().try_for_each(|one| sender.send(one));
        });
        Asker { line, inbox, ledger }
    }

    fn tell(&self, request: Request) {
        assert_eq!(self.line.ask(request), None);
    }

    fn ask(&self, request: Request) -> Answer {
        let seat = request.holder().seat;
        if let Some(answer) = self.line.ask(request) {
            return answer;
        }
        let (to, answer) = self.inbox.recv_timeout(PATIENCE).expect("every request is answered");
        assert_eq!(to, seat);
        answer
    }

    fn transaction(&self, seat: u64) -> Transaction {
        Transaction { holder: self.line.holder(seat), number: 1 }
    }

    fn record(&self, id: u64) -> Record {
        let secret = self.ledger.secret();
        let identity = secret.identity(Identity::Unknown, "mx");
        let key = secret.transaction(identity, id.to_string().as_bytes());
        let trace_id = format!("t-{id}").into();
        let mut record = sample::record(&["a@x"]);
        record.recipients[0].copy = sample::sent(20);
        Record { key: Some(key), identity, trace_id, phase: Phase::Open, ..record }
    }

    fn key(&self, id: u64) -> Key {
        self.record(id).key.unwrap()
    }

    fn open(&self, id: u64) -> Answer {
        let mut record = self.record(id);
        record.content = None;
        let (transaction, level) = (self.transaction(id), Level::Outcome);
        self.ask(Request::Open { transaction, record: Box::new(record), level })
    }

    fn begin(&self, id: u64) -> Answer {
        let record = Box::new(self.record(id));
        let transaction = self.transaction(id);
        self.tell(Request::Received { transaction, record: record.clone() });
        self.ask(Request::Begin { transaction, record, look_up: true, gone: false })
    }

    fn commit(&self, id: u64) -> Answer {
        let record = Box::new(committed(self.record(id)));
        self.ask(Request::Commit { transaction: self.transaction(id), record, gone: false })
    }

    fn whole(&self, id: u64) {
        assert_eq!(self.open(id), Answer::Opened);
        assert_eq!(self.begin(id), Answer::Begun(Begun::GoOn { recorded: true }));
        assert_eq!(self.commit(id), Answer::Committed { recorded: true });
    }

    fn recall(&self, id: u64) -> Recalled {
        let record = self.record(id);
        let holder = self.line.holder(1_000_000 + id);
        let (key, identity) = (self.key(id), record.identity);
        match self.ask(Request::Recall { holder, key, identity, tls: false }) {
            Answer::Recalled(recalled) => recalled,
            other => panic!("{other:?}"),
        }
    }
}

fn committed(mut record: Record) -> Record {
    let told = Told::new(*b"250 2.6.0 ok\r\n");
    record.form = Form::Smtp;
    record.recipients[0].copy = CopyState::Done(told.clone());
    record.phase = Phase::Committed(Outcome { replies: vec![told], confirmed: false });
    record
}

fn settings(folder: &Path) -> LedgerSettings {
    LedgerSettings::new(folder)
}

fn rows_of(store: &mut Store) -> BTreeMap<Row, Vec<u8>> {
    let mut rows = BTreeMap::new();
    store
        .each(|row, octets| {
            rows.insert(row, octets.to_vec());
            Ok::<(), ()>(())
        })
        .unwrap()
        .unwrap();
    rows
}

fn open(folder: &Path) -> Result<Store, OpenError> {
    Store::open(folder, FaultSwitch::default())
}

/// Rows of the size of records.
fn some_rows(numbers: std::ops::Range<Row>) -> Vec<Change> {
    numbers.map(|row| (row, Some(committed(numbered(row)).encode()))).collect()
}

fn numbered(row: Row) -> Record {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&row.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    Record { key: Some(Key(key)), trace_id: format!("t-{row}").into(), ..sample::record(&["a@x"]) }
}

#[test]
fn a_stored_reply_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let asker = Asker::start(settings(folder.path()));
    (0..50).for_each(|id| asker.whole(id));
    assert_eq!(asker.open(50), Answer::Opened);
    asker.begin(50);
    let report = asker.ledger.handle().report();
    assert_eq!(report.figures.counts.recorded, 101);
    assert!(!report.commit_us.is_empty() && report.refused == 0);
    drop(asker);
    let asker = Asker::start(settings(folder.path()));
    assert_eq!(asker.ledger.opened(), Opened { records: 51, unknown: 1, damaged: 0 });
    for id in 0..50 {
        let recalled = asker.recall(id);
        let reply = recalled.record().and_then(|record| record.final_reply());
        assert_eq!(reply.as_deref(), Some(&b"250 2.6.0 ok\r\n"[..]));
    }
    assert_eq!(asker.recall(50), Recalled::Nothing);
    assert_eq!(asker.recall(51), Recalled::Nothing);
    let shown = asker.ledger.handle().show("t-7").recv_timeout(PATIENCE).unwrap();
    assert_eq!(shown.map(|record| record.trace_id), Some("t-7".into()));
    let nothing = asker.ledger.handle().show("t-99").recv_timeout(PATIENCE).unwrap();
    assert_eq!(nothing, None);
}

// Dataplane 4: many who ask at once share commits, and everybody is answered in the order of asking.
#[test]
fn those_who_wait_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let asker = Asker::start(settings(folder.path()));
    let faults = FaultSwitch::default();
    drop(asker);
    let asker = Asker::start(LedgerSettings { faults: faults.clone(), ..settings(folder.path()) });
    faults.set(DiskFault::Stalled);
    for id in 0..200 {
        let record = Box::new(Record { key: None, ..committed(asker.record(id)) });
        let fingerprint = Some(crate::ledger::Fingerprint([id as u8; 32]));
        let record = Box::new(Record { fingerprint, ..*record });
        let transaction = asker.transaction(id);
        asker.tell(Request::Commit { transaction, record, gone: false });
    }
    faults.set(DiskFault::None);
    for id in 0..200 {
        let (seat, answer) = asker.inbox.recv_timeout(PATIENCE).unwrap();
        assert_eq!((seat, answer), (id, Answer::Committed { recorded: true }));
    }
    let counts = asker.ledger.handle().report().figures.counts;
    assert!(counts.commits < 100, "{} commits", counts.commits);
}

// Nobody takes requests in particular: whoever finds the keeper in use leaves his to the one who has it.
#[test]
fn all_who_ask_at_once_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let Asker { ledger, .. } = Asker::start(settings(folder.path()));
    let threads = 0..8;
    thread::scope(|scope| {
        for thread in threads.clone() {
            let (sender, inbox) = mpsc::channel();
            let line = ledger.line(move |answers| {
                let _ = answers.into_iter().try_for_each(|one| sender.send(one));
            });
            let secret = ledger.secret().clone();
            scope.spawn(move || {
                let asked = |request: Request| {
                    let seat = request.holder().seat;
                    let at_once = line.ask(request).map(|answer| (seat, answer));
                    let later = || inbox.recv_timeout(PATIENCE).expect("it is answered");
                    let (to, answer) = at_once.unwrap_or_else(later);
                    assert_eq!(to, seat);
                    answer
                };
                for seat in 0..200 {
                    let transaction = Transaction { holder: line.holder(seat), number: 1 };
                    let identity = secret.identity(Identity::Unknown, "mx");
                    let id = format!("{thread} {seat}");
                    let key = Some(secret.transaction(identity, id.as_bytes()));
                    let record = Record { key, identity, ..sample::record(&["a@x"]) };
                    let record = Box::new(committed(record));
                    let open = Request::Open {
                        transaction,
                        record: Box::new(Record { content: None, ..Record::clone(&record) }),
                        level: Level::Outcome,
                    };
                    assert_eq!(asked(open), Answer::Opened);
                    let commit = Request::Commit { transaction, record, gone: false };
                    assert_eq!(asked(commit), Answer::Committed { recorded: true });
                }
            });
        }
    });
    assert_eq!(ledger.handle().report().figures.counts.recorded, 200 * threads.len() as u64);
}

// a store that stalls delays its own transactions only, and those until the deadline.
#[test]
fn a_85_a_stalled_store_delays_only_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.keeper.answer_timeout = Duration::from_millis(200);
    let faults = settings.faults.clone();
    let asker = Asker::start(settings);
    asker.whole(1);
    faults.set(DiskFault::Stalled);
    assert_eq!(asker.open(2), Answer::Opened);
    let record = Box::new(asker.record(2));
    let transaction = asker.transaction(2);
    asker.tell(Request::Begin { transaction, record, look_up: true, gone: false });
    // Others are answered meanwhile, before the one that waits.
    for id in 3..100 {
        assert_eq!(asker.open(id), Answer::Opened);
        assert_eq!(asker.recall(1_000 + id), Recalled::Nothing);
    }
    let (seat, answer) = asker.inbox.recv_timeout(PATIENCE).unwrap();
    assert_eq!((seat, answer), (2, Answer::Begun(Begun::GoOn { recorded: false })));
    faults.set(DiskFault::None);
    assert_eq!(asker.commit(2), Answer::Committed { recorded: true });
    assert_eq!(asker.recall(2).offset(), 17);
}

// a disk that is full, read-only, or fails its syncs: mail goes on; records go on when the
// disk does.
#[test]
fn a_85_a_disk_that_fails_stops_no_mail() {
    for fault in [DiskFault::Full, DiskFault::ReadOnly, DiskFault::SyncFails] {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let faults = settings.faults.clone();
        let asker = Asker::start(settings);
        (0..10).for_each(|id| asker.whole(id));
        faults.set(fault);
        for id in 10..20 {
            assert_eq!(asker.open(id), Answer::Opened);
            // An intent is written and not waited for longer.
            let recorded = fault == DiskFault::SyncFails && id == 10;
            assert_eq!(asker.begin(id), Answer::Begun(Begun::GoOn { recorded }), "{fault:?}");
            assert_eq!(asker.commit(id), Answer::Committed { recorded: false }, "{fault:?}");
        }
        assert!(!asker.ledger.handle().report().figures.store_works);
        faults.set(DiskFault::None);
        let until = Instant::now() + PATIENCE;
        while !asker.ledger.handle().report().figures.store_works {
            assert!(Instant::now() < until, "it is tried again");
            thread::yield_now();
        }
        asker.whole(20);
        for id in (0..10).chain([20]) {
            assert_eq!(asker.recall(id).offset(), 17, "{fault:?} {id}");
        }
        drop(asker);
        let asker = Asker::start(LedgerSettings::new(folder.path()));
        for id in (0..10).chain([20]) {
            assert_eq!(asker.recall(id).offset(), 17, "{fault:?} {id}");
        }
        assert_eq!(asker.recall(15), Recalled::Nothing);
    }
}

// A store that cannot be opened at the start is used as soon as it can be.
#[test]
fn a_85_a_disk_that_fails_at_the_start_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let asker = Asker::start(settings(folder.path()));
    (0..10).for_each(|id| asker.whole(id));
    drop(asker);
    let settings = settings(folder.path());
    let faults = settings.faults.clone();
    faults.set(DiskFault::ReadOnly);
    let asker = Asker::start(settings);
    assert_eq!(asker.open(11), Answer::Opened);
    assert_eq!(asker.begin(11), Answer::Begun(Begun::GoOn { recorded: false }));
    assert_eq!(asker.recall(1), Recalled::Nothing);
    faults.set(DiskFault::None);
    let until = Instant::now() + PATIENCE;
    while !asker.ledger.handle().report().figures.store_works {
        assert!(Instant::now() < until, "it is tried again");
        thread::yield_now();
    }
    assert_eq!(asker.recall(1).offset(), 17);
    assert_eq!(asker.commit(11), Answer::Committed { recorded: true });
    asker.whole(12);
    for id in (0..10).chain([11, 12]) {
        assert_eq!(asker.recall(id).offset(), 17, "{id}");
    }
}

// a keeper that cannot be had is not waited for: who asks is answered at once, and it is said.
#[test]
fn a_85_a_deaf_ledger_stops_no_mail() {
    let folder = tempfile::tempdir().unwrap();
    let deaf_after = Duration::from_millis(700);
    let settings = LedgerSettings { deaf_after, ..settings(folder.path()) };
    let faults = settings.faults.clone();
    let asker = Asker::start(settings);
    asker.whole(1);
    faults.set(DiskFault::Deaf);
    let until = Instant::now() + PATIENCE;
    while !asker.line.is_deaf() {
        assert!(Instant::now() < until, "it is found to be deaf");
        thread::yield_now();
    }
    assert_eq!(asker.open(2), Answer::Opened);
    let (transaction, record) = (asker.transaction(2), Box::new(asker.record(2)));
    let begin = Request::Begin { transaction, record, look_up: true, gone: false };
    let at_once = asker.line.ask(begin);
    assert_eq!(at_once, Some(Answer::Begun(Begun::GoOn { recorded: false })));
    let report = asker.ledger.handle().report();
    assert!(report.refused >= 2 && !report.figures.store_works);
    faults.set(DiskFault::None);
    while asker.line.is_deaf() {
        assert!(Instant::now() < until, "it answers again");
        thread::yield_now();
    }
    asker.whole(3);
    assert_eq!(asker.recall(1).offset(), 17);
}

// a thread that has died, by a panic, is not waited for at all, and a keeper that panics kills nobody
// who asks it: mail goes on without records until the next start, which finds what was durable.
#[test]
fn a_85_a_ledger_whose_thread_has_died_stops_no_mail() {
    for fault in [DiskFault::ClockDies, DiskFault::StoreDies, DiskFault::KeeperDies] {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path());
        let faults = settings.faults.clone();
        let asker = Asker::start(settings);
        asker.whole(1);
        faults.set(fault);
        // Something to do, over which it dies; whoever has asked is answered by its shard.
        let record = Box::new(asker.record(2));
        let transaction = asker.transaction(2);
        asker.line.ask(Request::Begin { transaction, record, look_up: true, gone: false });
        let until = Instant::now() + PATIENCE;
        while !asker.line.is_deaf() {
            assert!(Instant::now() < until, "{fault:?}: it is found to be dead");
            thread::yield_now();
        }
        faults.set(DiskFault::None);
        let at_once = |request| asker.line.ask(request);
        let (transaction, record) = (asker.transaction(3), Box::new(asker.record(3)));
        let begin =
            Request::Begin { transaction, record: record.clone(), look_up: true, gone: false };
        assert_eq!(at_once(begin), Some(Answer::Begun(Begun::GoOn { recorded: false })));
        let commit = Request::Commit { transaction, record, gone: false };
        assert_eq!(at_once(commit), Some(Answer::Committed { recorded: false }));
        let report = asker.ledger.handle().report();
        assert!(report.refused >= 2 && !report.figures.store_works, "{fault:?}");
        drop(asker);
        let asker = Asker::start(LedgerSettings::new(folder.path()));
        assert_eq!(asker.recall(1).offset(), 17, "{fault:?}");
        asker.whole(4);
    }
}

// A line that is full, and a ledger that has ended: answered at once, without a record.
#[test]
fn a_81_who_finds_the_line_full_goes_on_without_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let Asker { line, ledger, inbox } = Asker::start(settings(folder.path()));
    let state = ledger.shared.lock();
    let holder = line.holder(1);
    let mut answered_at_once = 0;
    for _ in 0..limits::LEDGER_REQUESTS_WAITING + 100 {
        let (key, identity) = (Key([1; 16]), crate::ledger::IdentityKey([1; 16]));
        let request = Request::Recall { holder, key, identity, tls: false };
        match line.ask(request) {
            None => {}
            Some(Answer::Recalled(Recalled::Nothing)) => answered_at_once += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered_at_once, 100);
    drop(state);
    drop((ledger, inbox));
    let request = Request::Await { holder, key: Key([1; 16]) };
    assert_eq!(line.ask(request), Some(Answer::Outcome(None)));
}

// Content in part in real files: kept over a restart, read back, and gone after its end.
#[test]
fn content_in_part_lies_in_files_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let asker = Asker::start(settings(folder.path()));
    let content: Vec<u8> = (0..limits::LEDGER_LOAD_OCTETS + 999).map(|n| n as u8).collect();
    let begin = |asker: &Asker| {
        let (transaction, level) = (asker.transaction(1), Level::Partial);
        let transfer = crate::ledger::Transfer::Bdat;
        let record = Record { content: None, transfer, ..asker.record(1) };
        let open = Request::Open { transaction, record: record.clone().into(), level };
        assert_eq!(asker.ask(open), Answer::Opened);
        asker.tell(Request::Content { transaction, record: record.into() });
    };
    begin(&asker);
    for piece in content.chunks(10_000) {
        let transaction = asker.transaction(1);
        asker.tell(Request::Append { transaction, octets: piece.to_vec() });
    }
    asker.tell(Request::Gone { holder: asker.line.holder(1) });
    assert_eq!(asker.recall(1).offset(), content.len() as u64);
    drop(asker);
    // What belongs to no record is removed at the start, what is something else is not.
    let partial = folder.path().join("partial");
    fs::write(partial.join("ffff.part"), "x").unwrap();
    fs::write(partial.join("README"), "x").unwrap();
    let asker = Asker::start(settings(folder.path()));
    assert_eq!(asker.recall(1).offset(), content.len() as u64);
    let (transaction, key) = (asker.transaction(2), asker.key(1));
    assert!(matches!(asker.ask(Request::Take { transaction, key }), Answer::Taken(Some(_))));
    let mut loaded = Vec::new();
    loop {
        let from = loaded.len() as u64;
        match asker.ask(Request::Load { transaction, from }) {
            Answer::Loaded(Some(octets)) if octets.is_empty() => break,
            Answer::Loaded(Some(octets)) => loaded.extend(octets),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(loaded, content);
    let record = committed(asker.record(1)).into();
    let commit = Request::Commit { transaction, record, gone: false };
    assert_eq!(asker.ask(commit), Answer::Committed { recorded: true });
    drop(asker);
    let left: Vec<_> =
        fs::read_dir(&partial).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left, ["README"]);
}

/// Start-up with a million records, and what they cost: `cargo test --release --lib million --
/// --ignored --nocapture`.
#[test]
#[ignore = "takes a minute and half a gigabyte of disk"]
fn a_million_records_are_read_in_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).unwrap();
    for begin in (1..1_000_001).step_by(10_000) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let fresh = |row: Row| {
            let record = Record { created_s: now_s, ..committed(numbered(row)) };
            (row, Some(record.encode()))
        };
        let rows: Vec<Change> = (begin..begin + 10_000).map(fresh).collect();
        store.commit(&rows).unwrap();
    }
    // As a kill in the middle of commits leaves it: the library looks through all of it first.
    let killed = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("ledger.redb"), killed.path().join("ledger.redb")).unwrap();
    let from = Instant::now();
    let asker = Asker::start(settings(killed.path()));
    println!("killed in mid-commit: started in {:?}", from.elapsed());
    assert_eq!(asker.ledger.opened().records, 1_000_000);
    drop(asker);
    store.settle().unwrap();
    drop(store);
    let from = Instant::now();
    let asker = Asker::start(settings(folder.path()));
    let started = from.elapsed();
    let report = asker.ledger.handle().report();
    assert_eq!(asker.ledger.opened().records, 1_000_000);
    let octets = report.figures.index_octets / report.figures.names;
    println!("1,000,000 records: started in {started:?}, {octets} octets of memory a record");
    assert!(started < Duration::from_secs(10) && octets <= 44);
}
