//! The disk below the ledger of the world: rows and files.

use crate::ledger::{FileDone, FileJob, Row, Work};
use crate::limits::LEDGER_LOAD_OCTETS;
use std::collections::BTreeMap;

/// What the ledger of a world has written.
#[derive(Debug, Default)]
pub struct Disk {
    rows: BTreeMap<Row, Vec<u8>>,
    files: BTreeMap<Row, Vec<u8>>,
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
            FileJob::Sync { file, partial } => Some(FileDone::Synced { file, partial, done: true }),
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
                None
            }
        }
    }
}
