//! What becomes durable together, who waits for it, and what follows when it is, or is not.

use super::live::{LiveId, Waiter};
use super::{Attached, Health, Keeper, Unrecorded, Work};
use crate::ledger::index::{Row, Standing};
use crate::ledger::key::Key;
use crate::ledger::record::{CopyState, Phase, Record};
use crate::ledger::request::{Answer, Begun, Holder, Transaction};
use crate::limits::{self, LEDGER_COMMIT_INTERVAL};
use crate::now::Tick;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Changes that are written together. A later change of a row takes the place of an earlier one.
#[derive(Debug, Default)]
pub(super) struct Batch {
    number: u64,
    changes: BTreeMap<Row, Option<Vec<u8>>>,
    octets: usize,
    /// Somebody waits until it is written, or a crash should find it.
    pub urgent: bool,
    /// Somebody waits until it is durable.
    sync: bool,
    /// When its first change came; known at the end of the verb that has made it.
    since: Option<Tick>,
}

/// Who waits for a batch.
#[derive(Debug)]
pub(super) struct Awaited {
    batch: u64,
    deadline: Tick,
    live: LiveId,
    what: What,
}

/// Those who wait for batches, in the order in which they asked.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    all: VecDeque<Awaited>,
    /// So many of the first were answered already, as their patience was over.
    overdue: usize,
}

/// What becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An older record is gone.
    Opened,
    /// It is known what will be handed on.
    Intent,
    /// It is known what was answered.
    Outcome,
}

impl Waiting {
    /// When the next one's patience is over.
    pub fn deadline(&self) -> Option<Tick> {
        self.all.get(self.overdue).map(|one| one.deadline)
    }

    /// The next one whose patience is over: it will have been answered.
    fn pop_patience(&mut self, now: Tick) -> Option<(LiveId, What)> {
        let one = self.all.get(self.overdue).filter(|one| one.deadline <= now)?;
        self.overdue += 1;
        Some((one.live, one.what))
    }

    /// The first one, if it has waited for this batch or an earlier one; and whether it was answered.
    fn pop_through(&mut self, batch: u64) -> Option<(Awaited, bool)> {
        let first = self.all.pop_front_if(|one| one.batch <= batch)?;
        let answered = self.overdue > 0;
        self.overdue = self.overdue.saturating_sub(1);
        Some((first, answered))
    }

    pub fn check_invariants(&self) {
        debug_assert!(self.overdue <= self.all.len());
    }
}

impl Batch {
    pub fn put(&mut self, row: Row, octets: Vec<u8>) {
        self.octets += octets.len();
        self.changes.insert(row, Some(octets));
    }

    pub fn delete(&mut self, row: Row) {
        self.changes.insert(row, None);
    }

    /// Takes back what was not written, unless it was changed again since.
    fn put_back(&mut self, changes: Vec<(Row, Option<Vec<u8>>)>) {
        for (row, change) in changes {
            if !self.changes.contains_key(&row) {
                match change {
                    Some(octets) => self.put(row, octets),
                    None => self.delete(row),
                }
            }
        }
    }

    /// At the end of each verb: its changes are as old as that.
    fn note_time(&mut self, now: Tick) {
        if !self.changes.is_empty() {
            self.since.get_or_insert(now);
        }
    }

    pub fn forget_changes(&mut self) {
        self.changes.clear();
        self.octets = 0;
    }

    /// Changes of the start are, too: nobody has noted their time.
    fn is_urgent(&self) -> bool {
        self.urgent || self.since.is_none() && !self.changes.is_empty()
    }

    /// Whether the next commit is large enough as it is.
    pub fn is_long(&self) -> bool {
        self.changes.len() >= limits::LEDGER_BATCH_RECORDS
    }

    fn is_full(&self) -> bool {
        self.octets >= limits::LEDGER_BATCH_OCTETS
    }
}

impl Keeper {
    /// Somebody waits until the batch is written, or durable. If the store has failed, or cannot take
    /// more, nobody waits.
    pub(super) fn await_batch(&mut self, live: LiveId, what: What, now: Tick) {
        let deadline = now + self.settings.answer_timeout;
        let batch = self.batch.number;
        let awaited = Awaited { batch, deadline, live, what };
        if self.health != Health::Good || self.batch.is_full() {
            return self.give_up(&awaited, false);
        }
        self.batch.urgent = true;
        self.batch.sync |= what != What::Intent;
        self.waiting_for(what).all.push_back(awaited);
    }

    pub(super) fn waiting_for(&mut self, what: What) -> &mut Waiting {
        match what {
            What::Intent => &mut self.until_written,
            What::Opened | What::Outcome => &mut self.until_durable,
        }
    }

    /// What the store shall do now. `None` if there is nothing, or it is at work, or has failed and is
    /// left alone for a while; work without changes is a test of a store that has failed, or makes
    /// durable what was written before.
    pub fn take_work(&mut self, now: Tick) -> Option<Work> {
        if self.work_due(now).is_none_or(|due| due > now) {
            return None;
        }
        let next = Batch { number: self.batch.number + 1, ..Batch::default() };
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.sync |= self.health != Health::Good
            || self.unsynced_since.is_some_and(|since| since + LEDGER_COMMIT_INTERVAL <= now);
        if !batch.sync && !batch.changes.is_empty() {
            self.unsynced_since.get_or_insert(now);
        }
        let (changes, sync) = (std::mem::take(&mut batch.changes), batch.sync);
        self.in_flight = Some(batch);
        let reads = std::mem::take(&mut self.wanted_rows);
        Some(Work { reads, changes: changes.into_iter().collect(), sync })
    }

    /// The process ends in order: what nobody waits for has its turn now.
    pub fn hurry(&mut self) {
        let unsynced = self.unsynced_since.is_some();
        self.batch.urgent |= unsynced || !self.batch.changes.is_empty();
        self.batch.sync |= self.batch.urgent;
    }

    /// When [`Keeper::take_work`] has something. `None` while the store is at work, or needs not be.
    /// What nobody waits for rides along with what somebody does, or has its turn after a while.
    pub fn work_due(&self, now: Tick) -> Option<Tick> {
        match self.health {
            _ if self.in_flight.is_some() => None,
            Health::Failed { retry_at } => Some(retry_at),
            Health::Good if self.batch.is_urgent() || !self.wanted_rows.is_empty() => Some(now),
            Health::Good => {
                let oldest = [self.batch.since, self.unsynced_since].into_iter().flatten().min();
                oldest.map(|since| since + LEDGER_COMMIT_INTERVAL)
            }
        }
    }

    /// The changes of the last [`Work`] are written: they outlive the process, if not the machine.
    pub fn written(&mut self, now: Tick) {
        let Some(number) = self.in_flight.as_ref().map(|batch| batch.number) else { return };
        while let Some((Awaited { live, what, .. }, answered)) =
            self.until_written.pop_through(number)
        {
            self.durable(live, what, answered);
        }
        self.end_verb(now);
    }

    /// The last [`Work`] is done: durable, if that was wanted.
    pub fn committed(&mut self, records: usize, now: Tick) {
        self.written(now);
        let Some(batch) = self.in_flight.take() else { return };
        self.health = Health::Good;
        if batch.sync {
            self.unsynced_since = None;
        }
        self.counts.commits += u64::from(records > 0);
        self.counts.committed_records += records as u64;
        while let Some((Awaited { live, what, .. }, answered)) =
            self.until_durable.pop_through(batch.number)
        {
            self.durable(live, what, answered);
        }
        self.end_verb(now);
    }

    /// The last [`Work`] has failed, all of it or not: it is to be done again, but for what somebody has
    /// waited for. That may be there, and goes, as nobody was told of it.
    pub fn failed(&mut self, changes: Vec<(Row, Option<Vec<u8>>)>, now: Tick) {
        self.in_flight = None;
        self.counts.store_failures += 1;
        self.health = Health::Failed { retry_at: now + limits::LEDGER_RETRY_AFTER };
        self.batch.put_back(changes);
        for what in [What::Intent, What::Outcome] {
            while let Some((awaited, answered)) = self.waiting_for(what).pop_through(u64::MAX) {
                self.give_up(&awaited, answered);
            }
        }
        // Whoever asks for what is stored waits for another try: an outcome that is called unknown
        // costs a second delivery.
        self.readers.retain(|_, waiting| {
            waiting.retain(|lookup| self.lookups.contains_key(lookup));
            !waiting.is_empty()
        });
        self.wanted_rows = self.readers.keys().copied().collect();
        self.wanted_rows.sort_unstable();
        self.end_verb(now);
    }

    /// Goes on without a record. What was written of it, or would be, goes: nobody was told of it.
    pub(super) fn give_up(&mut self, Awaited { live: id, what, .. }: &Awaited, answered: bool) {
        if !answered {
            self.without_record(*id, *what);
        }
        let gone_on_with = self.gone_on_with(*id);
        let Some(live) = self.live.get_mut(id) else { return };
        let record = Arc::clone(&live.record);
        match (gone_on_with, live.row.filter(|_| live.written)) {
            // When it was answered its place was given back; that may have been confirmed since.
            (Some(_), _) if answered => {}
            (Some((row, old)), _) => self.batch.put(row, old.encode()),
            (None, Some(row)) => {
                live.written = false;
                self.batch.delete(row);
            }
            (None, None) => {}
        }
        if *what == What::Outcome {
            if !answered {
                self.file_gone_on_with(*id);
            }
            self.end_with(*id, Some(record));
        }
    }

    /// The intent of an earlier run in whose place, and with whose content, a transaction goes on, or may.
    pub(super) fn gone_on_with(&self, id: LiveId) -> Option<(Row, Record)> {
        let live = self.live.get(&id)?;
        let row = live.row?;
        let parked = (live.transaction.is_none() && live.record.phase == Phase::Intent)
            .then_some(&live.record);
        let same_place = live.earlier.iter().find(|(old_row, _)| *old_row == row);
        let old = same_place.map(|(_, old)| old).or(parked)?;
        Some((row, Record { partial: None, ..Record::clone(old) }))
    }

    /// A transaction that has gone on with an earlier one leaves no record itself: what that one has sent is
    /// still in doubt.
    fn file_gone_on_with(&mut self, id: LiveId) {
        if let Some((row, old)) = self.gone_on_with(id) {
            self.file_in_doubt(row, &old);
        }
    }

    /// What an intent without an outcome has sent is in doubt.
    pub(super) fn file_in_doubt(&mut self, row: Row, old: &Record) {
        let (names, octets) = (old.names(&self.secret), old.encode());
        self.file(&names, old, row, octets.len(), Standing::Unknown);
        self.batch.put(row, octets);
    }

    /// Those whose patience is over go on without a record; it may come into being all the same.
    pub(super) fn answer_overdue(&mut self, now: Tick) {
        while let Some((live, what)) = self.until_written.pop_patience(now) {
            self.without_record(live, what);
        }
        while let Some((live, what)) = self.until_durable.pop_patience(now) {
            self.without_record(live, what);
            if what == What::Outcome {
                self.over_without_record(live);
            }
        }
        while let Some((_, lookup)) =
            self.lookup_deadlines.front().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.counts.store_failures += 1;
            self.counts.lookups_failed += 1;
            self.finish_lookup(lookup, now);
        }
    }

    /// The reply is given: nobody else waits for the disk either, and the names are free.
    pub(super) fn over_without_record(&mut self, id: LiveId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let record = Arc::clone(&live.record);
        let waiters = std::mem::take(&mut live.waiters);
        self.woken.extend(waiters.into_iter().map(|waiter| (waiter, Some(record.clone()))));
        let names = live.names.clone();
        self.forget_names(&names, id);
        self.file_gone_on_with(id);
    }

    pub(super) fn without_record(&mut self, id: LiveId, what: What) {
        self.counts.unrecorded += u64::from(what != What::Opened);
        if what == What::Outcome {
            self.note_unrecorded(id);
        }
        self.answer_live(
            id,
            match what {
                What::Opened => Answer::Opened,
                What::Intent => Answer::Begun(Begun::GoOn { recorded: false }),
                What::Outcome => Answer::Committed { recorded: false },
            },
        );
    }

    /// The reply will be given without a record: if it comes of earlier ones, its confirmation is theirs. One
    /// that puts off says nothing of those who have their copies, or may have them.
    pub(super) fn note_unrecorded(&mut self, id: LiveId) {
        let Some(live) = self.live.get(&id) else { return };
        let (record, earlier) = (Arc::clone(&live.record), live.earlier.clone());
        let holder = live.transaction.filter(|_| !live.abandoned);
        let (Some(Transaction { holder, number }), Some(fingerprint)) =
            (holder, record.fingerprint)
        else {
            return;
        };
        if earlier.is_empty() || record.is_owed() {
            return;
        }
        let known = record.accepted().filter(|one| !matches!(one.copy, CopyState::Unknown(_)));
        let names = known.map(|one| self.secret.copy(&fingerprint, &one.address)).collect();
        let one = Unrecorded { number, named: record.key.is_some(), names, earlier };
        self.connections.entry(holder).or_default().unrecorded.push(one);
    }

    pub(super) fn durable(&mut self, id: LiveId, what: What, answered: bool) {
        self.counts.recorded += u64::from(what != What::Opened);
        match what {
            What::Opened if !answered => self.answer_live(id, Answer::Opened),
            What::Intent if !answered => {
                self.answer_live(id, Answer::Begun(Begun::GoOn { recorded: true }));
            }
            What::Outcome => self.outcome_durable(id, answered),
            What::Opened | What::Intent => {}
        }
    }

    /// The outcome is durable: it is filed, told, and takes the place of earlier records.
    pub(super) fn outcome_durable(&mut self, id: LiveId, answered: bool) {
        let gone_on_with = self.gone_on_with(id).is_some();
        let Some(live) = self.live.get_mut(&id) else { return };
        let (record, octets) = (Arc::clone(&live.record), live.octets);
        let (transaction, abandoned) = (live.transaction, live.abandoned);
        let earlier = std::mem::take(&mut live.earlier);
        let Some(row) = live.row else { return };
        if answered {
            // The reply went out long ago, confirmed or not: nobody may rely on this record.
            if !gone_on_with {
                self.batch.delete(row);
            }
            return self.end_with(id, Some(record));
        }
        let names = live.names.clone();
        let holder = transaction.filter(|_| !abandoned);
        let standing = match holder {
            Some(_) => Standing::Attached,
            None => Standing::Unconfirmed,
        };
        let name = self.file(&names, &record, row, octets, standing);
        for (old_row, old) in earlier.into_iter().filter(|(old_row, _)| *old_row != row) {
            self.supersede_record(old_row, &old, &names);
        }
        self.answer_live(id, Answer::Committed { recorded: true });
        if let (Some(transaction), Some(name)) = (holder, name) {
            let attached =
                Attached { number: transaction.number, row, name, record: record.clone() };
            self.connections.entry(transaction.holder).or_default().attached.push(attached);
        }
        self.end_with(id, Some(record));
    }

    /// An earlier record of the same message speaks no more for the recipients of this one.
    pub(super) fn supersede_record(&mut self, row: Row, old: &Record, names: &[Key]) {
        let mut rest = old.clone();
        if let Some(fingerprint) = rest.fingerprint {
            for recipient in &mut rest.recipients {
                let name = self.secret.copy(&fingerprint, &recipient.address);
                recipient.superseded |= names.contains(&name);
            }
        }
        let left = rest.names(&self.secret);
        let is_there = |name: &Key| self.index.find(*name).is_some_and(|entry| entry.row == row);
        if left.iter().any(is_there) {
            self.batch.put(row, rest.encode());
        } else if let Some(name) = old.names(&self.secret).into_iter().find(is_there) {
            self.index.remove(name, row);
            self.batch.delete(row);
        }
    }

    /// The transaction is over; what it has written stays.
    pub(super) fn end_with(&mut self, id: LiveId, outcome: Option<Arc<Record>>) {
        if let Some(live) = self.live.get_mut(&id) {
            let waiters = std::mem::take(&mut live.waiters);
            self.woken.extend(waiters.into_iter().map(|waiter| (waiter, outcome.clone())));
        }
        self.drop_live(id, false);
    }

    /// What each verb ends with.
    pub(super) fn end_verb(&mut self, now: Tick) {
        self.wake_all(now);
        self.batch.note_time(now);
        self.check_invariants();
    }

    /// Those who waited for the end of a transaction go on.
    pub(super) fn wake_all(&mut self, now: Tick) {
        for lookup in std::mem::take(&mut self.unkept_lookups) {
            self.finish_lookup(lookup, now);
        }
        while let Some((waiter, outcome)) = self.woken.pop() {
            match waiter {
                Waiter::Outcome(holder) => {
                    self.outcome_told(holder, outcome);
                }
                Waiter::Open { transaction, record, level } => {
                    self.open(transaction, record, level, now);
                }
                Waiter::Begin(id) => self.look_for_earlier(id, now),
            }
        }
    }

    pub(super) fn outcome_told(&mut self, holder: Holder, outcome: Option<Arc<Record>>) {
        if let Some(record) = &outcome
            && let Some(key) = record.key
            && let Some(entry) = self.index.find(key)
        {
            self.note_recalled(holder, key, entry.row, Arc::clone(record));
        }
        self.counts.replays_answered += u64::from(outcome.is_some());
        self.answer(holder, Answer::Outcome(outcome));
    }
}
