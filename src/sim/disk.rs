//! The disk below the ledger of the world: rows and files, and what a crash leaves of them.

use crate::ledger::{FileDone, FileJob, Row, Work};
use crate::limits::LEDGER_LOAD_OCTETS;
use std::collections::BTreeMap;

/// What the ledger of a world has written.
#[derive(Debug, Default)]
pub struct Disk {
    rows: BTreeMap<Row, Vec<u8>>,
    files: BTreeMap<Row, File>,
}

#[derive(Debug, Default)]
struct File {
    octets: Vec<u8>,
    /// So many of them survive a crash.
    synced: usize,
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
                self.files.entry(file).or_default().octets.extend(octets);
                Some(FileDone::Appended { file, octets: count, done: true })
            }
            FileJob::Sync { file, partial } => {
                let kept = self.files.entry(file).or_default();
                kept.synced = kept.octets.len();
                Some(FileDone::Synced { file, partial, done: true })
            }
            FileJob::Cut { file, octets } => {
                let kept = self.files.entry(file).or_default();
                kept.octets.truncate(usize::try_from(octets).unwrap_or(usize::MAX));
                kept.synced = kept.synced.min(kept.octets.len());
                None
            }
            FileJob::Read { file, from, ticket } => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let rest = self.files.get(&file).and_then(|kept| kept.octets.get(from..));
                let octets = rest.map(|rest| rest[..rest.len().min(LEDGER_LOAD_OCTETS)].to_vec());
                Some(FileDone::Loaded { ticket, octets })
            }
            FileJob::Remove { file } => {
                self.files.remove(&file);
                None
            }
        }
    }

    /// The process has died: what was not made durable is gone.
    pub fn crash(&mut self) {
        for file in self.files.values_mut() {
            file.octets.truncate(file.synced);
        }
    }

    /// All rows, for a ledger that is opened.
    pub fn rows(&self) -> impl Iterator<Item = (Row, &[u8])> {
        self.rows.iter().map(|(row, octets)| (*row, octets.as_slice()))
    }
}
