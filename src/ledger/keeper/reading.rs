//! What lies on the disk is read for those who ask.

use super::Keeper;
use super::live::LiveId;
use crate::ledger::index::Row;
use crate::ledger::key::{IdentityKey, Key};
use crate::ledger::record::Record;
use crate::ledger::request::{Answer, Holder};
use crate::ledger::rules::{self, Recalled};
use crate::now::Tick;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LookupId(pub u64);

/// Somebody waits for what lies on the disk.
#[derive(Debug)]
pub(super) struct Lookup {
    reason: Reason,
    rows_left: usize,
    found: Vec<(Row, Arc<Record>)>,
}

/// Why something is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason {
    /// RESUME.
    Recall { holder: Holder, key: Key, identity: IdentityKey, tls: bool },
    /// The end mark at the end of a transaction.
    Outcome { holder: Holder, key: Key },
    /// An intent lies under the id of a new transaction.
    Open(LiveId),
    /// The message may have been here before.
    Begin(LiveId),
    /// Content in part becomes durable, for RESUME.
    Parked { id: LiveId, holder: Holder },
    /// Content in part is wanted back.
    Load { holder: Holder },
}

impl Keeper {
    /// Reads rows for somebody. A store that has failed is tried again before patience ends.
    pub(super) fn look_up(&mut self, reason: Reason, rows: Vec<Row>, now: Tick) {
        let id = self.add_lookup(reason, rows.len(), now);
        for row in rows {
            let readers = self.readers.entry(row).or_default();
            if readers.is_empty() {
                self.wanted_rows.push(row);
            }
            readers.push(id);
        }
    }

    pub(super) fn add_lookup(&mut self, reason: Reason, rows_left: usize, now: Tick) -> LookupId {
        self.lookups_made += 1;
        let id = LookupId(self.lookups_made);
        self.lookups.insert(id, Lookup { reason, rows_left, found: Vec::new() });
        self.lookup_deadlines.push_back((now + self.settings.answer_timeout, id));
        id
    }

    /// A row was read. `None` if it is not there, or could not be read.
    pub fn found(&mut self, row: Row, octets: Option<&[u8]>, now: Tick) {
        let record = octets.and_then(|octets| match Record::decode(octets) {
            Ok(record) => Some(Arc::new(record)),
            Err(_) => {
                self.counts.damaged += 1;
                None
            }
        });
        for id in self.readers.remove(&row).unwrap_or_default() {
            let Some(lookup) = self.lookups.get_mut(&id) else { continue };
            lookup.found.extend(record.clone().map(|record| (row, record)));
            lookup.rows_left = lookup.rows_left.saturating_sub(1);
            if lookup.rows_left == 0 {
                self.finish_lookup(id, now);
            }
        }
        self.end_verb(now);
    }

    pub(super) fn finish_lookup(&mut self, id: LookupId, now: Tick) {
        let Some(Lookup { reason, mut found, .. }) = self.lookups.remove(&id) else { return };
        self.trim_lookup_deadlines();
        match reason {
            Reason::Recall { holder, key, identity, tls } => {
                let now_s = self.now_s(now);
                found.retain(|(_, one)| rules::is_told_to(one, key, identity, tls, now_s));
                self.recall_stored((holder, key), found.pop());
            }
            Reason::Outcome { holder, key } => {
                found.retain(|(_, one)| one.key == Some(key) && one.outcome().is_some());
                self.outcome_told(holder, found.pop().map(|(_, record)| record));
            }
            Reason::Open(live) => self.opened_after_crash(live, found.pop()),
            Reason::Begin(live) => self.recognise(live, found, now),
            Reason::Parked { id, holder } => {
                let record = self.live.get(&id).filter(|live| live.transaction.is_none());
                let recalled = record
                    .map(|live| Recalled::Parked(Arc::clone(&live.record)))
                    .filter(|parked| parked.offset() > 0);
                self.recalled(holder, recalled.unwrap_or_default());
            }
            Reason::Load { holder } => self.answer(holder, Answer::Loaded(None)),
        }
    }

    /// Who waits for content that was read; `None` if nobody does any more.
    pub(super) fn close_load(&mut self, id: LookupId) -> Option<Holder> {
        let Lookup { reason, .. } = self.lookups.remove(&id)?;
        self.trim_lookup_deadlines();
        match reason {
            Reason::Load { holder } => Some(holder),
            _ => None,
        }
    }

    /// The first deadline is always one of a look-up that waits.
    pub(super) fn trim_lookup_deadlines(&mut self) {
        while self.lookup_deadlines.front().is_some_and(|(_, id)| !self.lookups.contains_key(id)) {
            self.lookup_deadlines.pop_front();
        }
    }
}
