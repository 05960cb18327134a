//! The disk below the ledger of the world: rows and files.

use crate::ledger::{FileDone, FileJob, Row, Work};
use crate::limits::LEDGER_LOAD_OCTETS;
use fastrand::Rng;
use std::collections::BTreeMap;

/// What the ledger of a world has written.
#[derive(Debug, Default)]
pub struct Disk {
    rows: BTreeMap<Row, Vec<u8>>,
    files: BTreeMap<Row, Vec<u8>>,
    /// Octets of each file that are durable.
    synced: BTreeMap<Row, usize>,
}

impl Disk {
    /// What is read for a piece of work, in its order.
    pub fn read(&self, work: &Work) -> Vec<(Row, Option<Vec<u8>>)> {
        work.reads.iter().map(|row| (*row, self.rows.get(row).cloned())).collect()
    }

    /// Makes the changes of a piece of work durable, all of them at once.
    pub fn commit(&mut self, work: Work) {
        for (row, octets) in work.changes {
            match octets {
                Some(octets) => _ = self.rows.insert(row, octets),
                None => _ = self.rows.remove(&row),
            }
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

    /// A crash: of what was not synced any part is there.
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
