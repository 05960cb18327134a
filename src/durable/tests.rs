//! The ledger with its threads and a real disk: restarts, kills, damage, and disks that fail.

use super::store::Change;
use super::threads::REQUESTS_A_STEP;
use super::*;
use crate::ledger::{Begun, Row};
use crate::ledger::{
    CopyState, Form, Identity, Key, Level, Outcome, Phase, Recalled, Told, Transaction, sample,
};
use crate::limits;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

// ---- the store ------------------------------------------------------------------------------

#[test]
fn rows_are_there_after_a_restart_and_gone_when_they_were_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).unwrap();
    store.commit(&some_rows(1..100)).unwrap();
    store.commit(&[(5, None), (7, Some(vec![1, 2, 3])), (200, None)]).unwrap();
    store.settle().unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::InUse(_))));
    drop(store);
    let mut store = open(folder.path()).unwrap();
    let rows = rows_of(&mut store);
    assert_eq!((rows.len(), rows[&7].as_slice()), (98, &[1u8, 2, 3][..]));
    assert!(!rows.contains_key(&5));
    assert_eq!(store.read(7).unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(store.read(5).unwrap(), None);
    let (some, next) = store.some_from(90, 5).unwrap();
    assert_eq!((some.len(), next), (5, Some(95)));
    assert_eq!(store.some_from(95, 50).unwrap().1, None);
}

// foreign file, and one of a newer version: refuse to start, with the reason, and touch nothing.
#[test]
fn a_84_a_foreign_or_newer_file_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    fs::write(&path, "From: somebody's mailbox\n").unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::Foreign(_))));
    let error = Ledger::start(settings(folder.path())).unwrap_err();
    assert!(error.to_string().contains("no ledger of this program"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"From: somebody's mailbox\n");
    fs::remove_file(&path).unwrap();

    // A database of another program.
    let other = redb::Database::create(&path).unwrap();
    let write = other.begin_write().unwrap();
    write.open_table(redb::TableDefinition::<u64, u64>::new("things")).unwrap();
    write.commit().unwrap();
    drop(other);
    assert!(matches!(open(folder.path()), Err(OpenError::Foreign(_))));
    fs::remove_file(&path).unwrap();

    // A newer format.
    drop(open(folder.path()).unwrap());
    let newer = redb::Database::open(&path).unwrap();
    let write = newer.begin_write().unwrap();
    let format = redb::TableDefinition::<&str, u64>::new("format");
    write.open_table(format).unwrap().insert("version", 99).unwrap();
    write.commit().unwrap();
    drop(newer);
    assert!(matches!(open(folder.path()), Err(OpenError::Newer { .. })));

    // A secret that is none.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "short").unwrap();
    assert!(matches!(Ledger::start(settings(folder.path())), Err(LedgerError::Secret(_))));

    // Files that a death in their making has left.
    let folder = tempfile::tempdir().unwrap();
    for octets in [&[][..], &[0; 4096]] {
        fs::write(folder.path().join("ledger.redb"), octets).unwrap();
        open(folder.path()).unwrap();
        fs::remove_file(folder.path().join("ledger.redb")).unwrap();
    }
}

// The first format had no journal, and its records were of the first version; a database of that time is
// taken over as it is.
#[test]
fn a_store_of_the_first_format_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let stored: Vec<Record> = {
        let asker = Asker::start(settings(folder.path()));
        (1..4).map(|id| committed(asker.record(id))).chain([asker.record(4)]).collect()
    };
    fs::remove_file(folder.path().join("ledger.journal")).unwrap();
    fs::remove_file(folder.path().join("ledger.redb")).unwrap();
    let first = redb::Database::create(folder.path().join("ledger.redb")).unwrap();
    let write = first.begin_write().unwrap();
    {
        let format = redb::TableDefinition::<&str, u64>::new("format");
        write.open_table(format).unwrap().insert("version", 1).unwrap();
        let rows = redb::TableDefinition::<u64, &[u8]>::new("records");
        let mut rows = write.open_table(rows).unwrap();
        for (row, record) in (1..).zip(&stored) {
            let mut record = record.clone();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            (record.created_s, record.expires_s) = (now, now + 3_600);
            if row == 4 {
                record.phase = Phase::Intent;
            }
            let octets = sample::octets_of_version(1, &record);
            rows.insert(row, octets.as_slice()).unwrap();
        }
    }
    write.commit().unwrap();
    drop(first);
    for start in ["the first", "the next"] {
        let asker = Asker::start(settings(folder.path()));
        let opened = asker.ledger.opened();
        assert_eq!((opened.records, opened.unknown, opened.damaged), (4, 1, 0), "{start}");
        for id in 1..4 {
            assert_eq!(asker.recall(id).offset(), 17, "{start}");
        }
        assert_eq!(asker.recall(4), Recalled::Nothing, "its content must come again");
    }
    let asker = Asker::start(settings(folder.path()));
    asker.whole(5);
    drop(asker);
    assert_eq!(Asker::start(settings(folder.path())).recall(5).offset(), 17);
}

/// What became of a store of 60 rows whose file was damaged: how many are left, and whether all later
/// work finds its place.
fn after_damage(folder: &Path, octets: &[u8]) -> usize {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("ledger.redb"), octets).unwrap();
    let mut store = match open(folder) {
        Ok(store) => store,
        // The very beginning is damaged: it is not known whose it is.
        Err(OpenError::Foreign(_)) => return 60,
        Err(OpenError::Newer { .. }) => return 60,
        Err(error) => panic!("{error}"),
    };
    let rows = rows_of(&mut store);
    let good = rows.values().filter(|octets| Record::decode(octets).is_ok()).count();
    store.commit(&some_rows(1_000..1_010)).unwrap();
    drop(store);
    let rows = rows_of(&mut open(folder).unwrap());
    let later = rows
        .iter()
        .filter(|(row, octets)| **row >= 1_000 && Record::decode(octets).is_ok())
        .count();
    assert_eq!(later, 10, "what came later is all there");
    good
}

/// A folder without a disk under it, where there is one: thousands of stores are opened in it.
fn memory_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The file of a store with 60 rows, as a kill at rest leaves it.
fn settled_file(folder: &Path) -> Vec<u8> {
    let mut store = open(folder).unwrap();
    for begin in (1..61).step_by(4) {
        store.commit(&some_rows(begin..begin + 4)).unwrap();
    }
    store.settle().unwrap();
    fs::read(folder.join("ledger.redb")).unwrap()
}

// one bit flipped, 1,000 times: never a panic or a loop, one record lost at most in nearly all
// cases, and all later records found.
#[test]
fn a_84_a_flipped_bit_costs_at_most_the_record_that_it_hits() {
    let folder = memory_folder();
    let file = settled_file(&folder.path().join("good"));
    let mut random = fastrand::Rng::with_seed(84);
    let (mut whole, mut one_lost, mut more_lost) = (0, 0, 0);
    let from = Instant::now();
    for _ in 0..1_000 {
        let mut damaged = file.clone();
        // Where there is something; the file has room for more.
        let place = loop {
            let place = random.usize(..damaged.len());
            if damaged[place] != 0 || random.u8(..50) == 0 {
                break place;
            }
        };
        damaged[place] ^= 1 << random.u8(..8);
        match after_damage(&folder.path().join("bad"), &damaged) {
            60 => whole += 1,
            59 => one_lost += 1,
            _ => more_lost += 1,
        }
    }
    assert!(whole + one_lost >= 950, "{whole} {one_lost} {more_lost}");
    assert!(one_lost > 100, "the flips did hit records");
    assert!(from.elapsed() < Duration::from_secs(60));
}

// cut at any place, or zeros at the end: what is left is used, or put aside.
#[test]
fn a_84_a_file_that_was_cut_starts_again() {
    let folder = memory_folder();
    let file = settled_file(&folder.path().join("good"));
    for part in 0..100 {
        // Whatever is left of it, it starts, and what comes later finds its place.
        after_damage(&folder.path().join("bad"), &file[..file.len() * part / 100]);
    }
    for zeros in [1, 4096, 10_000] {
        let longer = [&file[..], &vec![0; zeros]].concat();
        assert_eq!(after_damage(&folder.path().join("bad"), &longer), 60, "{zeros}");
    }
}

// ---- the ledger -----------------------------------------------------------------------------

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

// a front that hangs is not waited for: who asks is answered at once, and it is said.
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

// a thread that has died, by a panic, is not waited for at all: mail goes on without records until the
// next start, which finds what was durable.
#[test]
fn a_85_a_ledger_whose_thread_has_died_stops_no_mail() {
    for fault in [DiskFault::FrontDies, DiskFault::StoreDies] {
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
    for _ in 0..limits::LEDGER_REQUESTS_WAITING + REQUESTS_A_STEP + 100 {
        let (key, identity) = (Key([1; 16]), crate::ledger::IdentityKey([1; 16]));
        let request = Request::Recall { holder, key, identity, tls: false };
        match line.ask(request) {
            None => {}
            Some(Answer::Recalled(Recalled::Nothing)) => answered_at_once += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answered_at_once > 0);
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

// ---- kills ----------------------------------------------------------------------------------

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
        .args(["--exact", "durable::tests::victim", "--test-threads", "1"])
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

// ---- size -----------------------------------------------------------------------------------

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
