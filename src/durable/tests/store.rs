//! The store: restarts, formats, damage.

use super::*;

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
