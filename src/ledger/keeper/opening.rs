//! The start: what lies in the store becomes the index, and what a crash has left is put in order.

use super::{Keeper, Level, Live, LiveId};
use crate::ledger::encoding::Unreadable;
use crate::ledger::index::{Life, Row, Standing};
use crate::ledger::key::Key;
use crate::ledger::record::{Outcome, Partial, Phase, Record};
use crate::now::Tick;
use std::sync::Arc;

/// What was found in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Records that are of use.
    pub records: u64,
    /// Intents without an outcome.
    pub unknown: u64,
    /// Records that could not be read.
    pub damaged: u64,
}

impl Keeper {
    /// Takes one row of the store, in the order of their numbers, the first one first. It fails on a
    /// record of a newer version: nothing must be thrown away that another program understands.
    pub fn load_row(&mut self, row: Row, octets: &[u8], now: Tick) -> Result<(), Unreadable> {
        self.next_row = self.next_row.max(row + 1);
        let mut record = match Record::decode(octets) {
            Ok(record) => record,
            Err(Unreadable::Damaged) => {
                // a bad record is skipped and counted; it must not come back at each start.
                self.counts.damaged += 1;
                self.batch.delete(row);
                return Ok(());
            }
            Err(newer) => return Err(newer),
        };
        let now_s = self.now_s(now);
        // a record from the future counts as new.
        record.created_s = record.created_s.min(now_s);
        if u64::from(self.lifetime(&record).1) <= now_s {
            self.counts.expired += 1;
            self.batch.delete(row);
            return Ok(());
        }
        match record.phase {
            Phase::Committed(Outcome { confirmed: true, .. }) => {
                let end = Keeper::short_s(now_s + self.settings.confirmed_grace.as_secs());
                if let Some(name) = self.load_committed(row, &record, octets.len()) {
                    self.index.refile(name, row, Standing::Confirmed, Life::Grace, end);
                }
            }
            Phase::Committed(_) => _ = self.load_committed(row, &record, octets.len()),
            Phase::Open | Phase::Intent => self.load_unfinished(row, record, octets.len(), now),
        }
        Ok(())
    }

    /// The store could not be opened until now: what was given a place in it has none yet. To be said
    /// before the first row.
    pub fn forget_rows(&mut self) {
        self.batch.forget_changes();
        let kept: Vec<LiveId> = self.files.values().copied().collect();
        kept.into_iter().for_each(|id| self.drop_file(id));
        for live in self.live.values_mut() {
            (live.row, live.written) = (None, false);
        }
    }

    /// What was found, when all rows were taken.
    pub fn opened(&self) -> Opened {
        // An intent that is parked is in the index as well.
        let parked = |live: &&Live| live.record.phase == Phase::Open;
        Opened {
            records: (self.index.rows() + self.live.values().filter(parked).count()) as u64,
            unknown: self.counts.unknown_intents,
            damaged: self.counts.damaged,
        }
    }

    /// The files that belong to records, when all rows were taken: others are of no use.
    pub fn is_kept_file(&self, file: Row) -> bool {
        self.files.contains_key(&file)
    }

    /// The process that had the connections is gone: what was not confirmed is not.
    fn load_committed(&mut self, row: Row, record: &Record, octets: usize) -> Option<Key> {
        let names = record.names(&self.secret);
        let standing = match record.is_owed() || record.is_in_doubt() {
            true => Standing::Owed,
            false => Standing::Unconfirmed,
        };
        self.file(&names, record, row, octets, standing)
    }

    fn load_unfinished(&mut self, row: Row, mut record: Record, octets: usize, now: Tick) {
        let partial = record.partial.filter(|partial| partial.synced > 0);
        let is_whole = |partial: &Partial| {
            record.content.is_none_or(|content| partial.synced >= content.octets)
        };
        let intent = record.phase == Phase::Intent;
        if intent {
            // A crash came between intent and outcome.
            self.counts.unknown_intents += 1;
        }
        match partial.filter(|partial| !intent || is_whole(partial)) {
            Some(partial) => {
                if intent {
                    // Its client may come again by another id, or by none.
                    let names = record.names(&self.secret);
                    self.file(&names, &record, row, octets, Standing::Unknown);
                }
                self.load_parked(row, record, partial, now);
            }
            None if intent => {
                record.partial = None;
                let names = record.names(&self.secret);
                self.file(&names, &record, row, octets, Standing::Unknown);
            }
            None => self.batch.delete(row),
        }
    }

    fn load_parked(&mut self, row: Row, record: Record, partial: Partial, now: Tick) {
        let (key, created_s) = (record.key, record.created_s);
        let id: LiveId = self.add_live(None, record, Level::Partial, now);
        if let Some(live) = self.live.get_mut(&id) {
            Arc::make_mut(&mut live.record).created_s = created_s;
        }
        self.names.extend(key.map(|key| (key, id)));
        self.keep_found(id, row, partial);
        self.limit_open(id);
        self.set_end(id, now + self.settings.partial_lifetime);
    }
}
