//! The disk below the ledger of the world: rows and files.

use crate::ledger::{FileDone, FileJob, Row};
use crate::limits::LEDGER_LOAD_OCTETS;
use fastrand::Rng;
use std::collections::BTreeMap;

/// A change of one row; `None` deletes.
type Change = (Row, Option<Vec<u8>>);

/// What the ledger of a world has written.
#[derive(Debug, Default)]
pub struct Disk {
    /// Rows as the process sees them.
    rows: BTreeMap<Row, Vec<u8>>,
    /// Rows as they are after a power failure.
    durable: BTreeMap<Row, Vec<u8>>,
    /// Groups that are written and not durable, the oldest first.
    unsynced: Vec<Vec<Change>>,
    files: BTreeMap<Row, Vec<u8>>,
    /// Octets of each file that are durable.
    synced: BTreeMap<Row, usize>,
}

impl Disk {
    /// Reads a row.
    pub fn read(&self, row: Row) -> Option<Vec<u8>> {
        self.rows.get(&row).cloned()
    }

    /// Writes a group: it outlives the process.
    pub fn write(&mut self, changes: &[Change]) {
        apply(&mut self.rows, changes);
        self.unsynced.push(changes.to_vec());
    }

    /// Makes durable what was written.
    pub fn sync(&mut self) {
        for group in self.unsynced.drain(..) {
            apply(&mut self.durable, &group);
        }
    }

    /// Does a job; some have an answer.
    pub fn file(&mut self, job: FileJob) -> Option<FileDone> {
        match job {
            FileJob::Append { file, octets } => {
                let count = octets.len();
                self.files.entry(file).or_default().extend(octets);
                Some(FileDone::Appended { file, octets: count, done: true })
            }
            FileJob::Sync { file, partial } => {
                let length = self.files.get(&file).map_or(0, Vec::len);
                self.synced.insert(file, length);
                Some(FileDone::Synced { file, partial, done: true })
            }
            FileJob::Cut { file, octets } => {
                let kept = self.files.entry(file).or_default();
                kept.truncate(usize::try_from(octets).unwrap_or(usize::MAX));
                None
            }
            FileJob::Read { file, from, ticket } => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let rest = self.files.get(&file).and_then(|kept| kept.get(from..));
                let octets = rest.map(|rest| rest[..rest.len().min(LEDGER_LOAD_OCTETS)].to_vec());
                Some(FileDone::Loaded { ticket, octets })
            }
            FileJob::Remove { file } => {
                self.files.remove(&file);
                self.synced.remove(&file);
                None
            }
        }
    }

    /// All rows, in their order.
    pub fn rows(&self) -> impl Iterator<Item = (Row, &[u8])> {
        self.rows.iter().map(|(row, octets)| (*row, octets.as_slice()))
    }

    /// The rows that a power failure would leave.
    pub fn durable_rows(&self) -> impl Iterator<Item = &[u8]> {
        self.durable.values().map(Vec::as_slice)
    }

    /// The power fails: groups that were not synced are there up to any one.
    pub fn lose_power(&mut self, chance: &mut Rng) {
        self.unsynced.truncate(chance.usize(..=self.unsynced.len()));
        self.sync();
        self.rows = self.durable.clone();
    }

    /// Loses rows that it must not lose.
    pub fn lose(&mut self, which: impl Fn(&[u8]) -> bool) {
        self.rows.retain(|_, octets| !which(octets));
        self.durable.retain(|_, octets| !which(octets));
    }

    /// A crash: of content that was not synced any part is there.
    pub fn tear(&mut self, chance: &mut Rng) {
        for (file, octets) in &mut self.files {
            let synced = self.synced.get(file).copied().unwrap_or(0).min(octets.len());
            octets.truncate(chance.usize(synced..=octets.len()));
        }
    }

    /// After a crash: files that belong to nothing go.
    pub fn keep_files(&mut self, is_kept: impl Fn(Row) -> bool) {
        self.files.retain(|file, _| is_kept(*file));
    }
}

fn apply(rows: &mut BTreeMap<Row, Vec<u8>>, changes: &[Change]) {
    for (row, change) in changes {
        match change {
            Some(octets) => _ = rows.insert(*row, octets.clone()),
            None => _ = rows.remove(row),
        }
    }
}
