//! Making records durable, and looking for earlier copies of a message.

use super::live::{Live, LiveId, Stage, Waiter};
use super::{Attached, Effect, Health, Keeper, Work};
use crate::ledger::index::{Row, Standing};
use crate::ledger::key::{IdentityKey, Key};
use crate::ledger::record::{CopyState, Phase, Record};
use crate::ledger::request::{Answer, Begun, Holder, Level, Recognised, Transaction};
use crate::ledger::rules::{self, Known, Recalled};
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
    /// The verdicts are known.
    pub(super) fn begin(
        &mut self,
        transaction: Transaction,
        record: Record,
        look_up: bool,
        gone: bool,
        now: Tick,
    ) {
        let Some(id) = self.received_live(transaction, record, gone, now) else {
            return self.answer(transaction.holder, Answer::Begun(Begun::Superseded));
        };
        match look_up {
            true => self.look_for_earlier(id, now),
            false => self.write_intent(id, now),
        }
    }

    /// The final reply is decided.
    pub(super) fn commit(
        &mut self,
        transaction: Transaction,
        record: Record,
        gone: bool,
        now: Tick,
    ) {
        let live = self.received_live(transaction, record, gone, now);
        let kept = live.filter(|id| self.live.get(id).is_some_and(|live| !live.unkept));
        let Some(id) = kept.filter(|id| self.has_names(*id)) else {
            if let Some(id) = live {
                self.drop_live(id, true);
            }
            return self.answer(transaction.holder, Answer::Committed { recorded: false });
        };
        if let Some(live) = self.live.get_mut(&id) {
            live.stage = Stage::Committing;
            Arc::make_mut(&mut live.record).partial = None;
        }
        self.claim_names(id);
        self.put_record(id);
        self.await_batch(id, What::Outcome, now);
    }

    /// Some next hop has answered: nobody waits for it, but a crash will find it.
    pub(super) fn progress(&mut self, transaction: Transaction, copies: Vec<(usize, CopyState)>) {
        let Some(id) = self.live_of(transaction) else { return };
        let Some(live) = self.live.get_mut(&id) else { return };
        let record = Arc::make_mut(&mut live.record);
        for (place, copy) in copies {
            if let Some(recipient) = record.recipients.get_mut(place) {
                recipient.copy = copy;
            }
        }
        if live.written && live.stage == Stage::Received {
            self.put_record(id);
            self.batch.urgent = true;
        }
    }

    /// The live transaction of one whose content has come whole. `None` if a newer connection has it.
    fn received_live(
        &mut self,
        transaction: Transaction,
        record: Record,
        gone: bool,
        now: Tick,
    ) -> Option<LiveId> {
        let id = match self.live_of(transaction) {
            Some(id) => {
                self.replace_record(id, record);
                self.close_open(id);
                id
            }
            // One with an id whose connection is gone was begun before, and is someone else's now.
            None if self.has_lost(transaction) || (gone && record.key.is_some()) => return None,
            None => self.add_live(Some(transaction), record, Level::Outcome, now),
        };
        self.set_end(id, now + limits::LEDGER_COMMIT_MAX);
        let live = self.live.get_mut(&id)?;
        live.stage = live.stage.max(Stage::Received);
        live.abandoned |= gone;
        Some(id)
    }

    fn has_names(&self, id: LiveId) -> bool {
        let named = |live: &Live| live.record.key.is_some() || live.record.fingerprint.is_some();
        self.live.get(&id).is_some_and(named)
    }

    // ---- earlier copies ---------------------------------------------------------------------

    /// Checkpoint 6: a message of the same fingerprint counts if its connection is gone without a
    /// confirmation. If its commit is still at work, the retry waits for that.
    pub(super) fn look_for_earlier(&mut self, id: LiveId, now: Tick) {
        let Some(live) = self.live.get(&id) else { return };
        let own_key = live.record.key;
        let now_s = Keeper::short_s(self.now_s(now));
        let mut rows = Vec::new();
        let mut busy = None;
        for name in live.names.iter().copied().filter(|name| Some(*name) != own_key) {
            let running = self.names.get(&name).copied().filter(|other| *other != id);
            if running.is_some_and(|other| self.live.get(&other).is_some_and(|one| one.abandoned)) {
                busy = running;
            } else if let Some(entry) = self.index.find(name)
                && matches!(
                    entry.standing,
                    Standing::Unknown | Standing::Unconfirmed | Standing::Owed
                )
                && entry.expires_s > now_s
            {
                rows.push(entry.row);
            }
        }
        if let Some(other) = busy.and_then(|other| self.live.get_mut(&other)) {
            other.waiters.push(Waiter::Begin(id));
            let patience = other.until + limits::LEDGER_COMMIT_MAX;
            return self.set_end(id, patience);
        }
        self.counts.lookups += 1;
        rows.sort_unstable_by(|one, other| other.cmp(one));
        rows.dedup();
        rows.truncate(limits::LEDGER_EARLIER_MAX);
        match rows.is_empty() {
            true => self.recognise(id, Vec::new(), now),
            false => self.look_up(Reason::Begin(id), rows, now),
        }
    }

    /// Says what is known of the message, or writes its intent if nothing is.
    fn recognise(&mut self, id: LiveId, found: Vec<(Row, Arc<Record>)>, now: Tick) {
        let now_s = self.now_s(now);
        let window_s = self.settings.replay_window.as_secs();
        let Some(live) = self.live.get_mut(&id) else { return };
        let record = Arc::clone(&live.record);
        let same_message = |(_, earlier): &(Row, Arc<Record>)| {
            earlier.fingerprint == record.fingerprint && now_s < earlier.created_s + window_s
        };
        live.earlier.retain(|(_, earlier)| rules::carries_over(earlier, &record));
        live.earlier.extend(found.into_iter().filter(same_message));
        live.earlier.sort_unstable_by_key(|(row, _)| std::cmp::Reverse(*row));
        live.earlier.dedup_by_key(|(row, _)| *row);
        let addresses: Vec<&[u8]> = record.accepted().map(|one| &*one.address).collect();
        let known = |address: &&[u8]| {
            live.earlier
                .iter()
                .find_map(|(_, earlier)| rules::known_copy(earlier, address, record.rules))
        };
        let each: Vec<Option<Known>> = addresses.iter().map(known).collect();
        let whole = live.earlier.first().and_then(|(_, earlier)| {
            rules::whole_reply(earlier, record.form, &addresses, record.rules)
        });
        if each.iter().all(Option::is_none) {
            return self.write_intent(id, now);
        }
        let count = |wanted: fn(&Known) -> bool| {
            each.iter().flatten().filter(|known| wanted(known)).count() as u64
        };
        self.counts.hits += 1;
        self.counts.duplicates_prevented += count(|known| matches!(known, Known::Done(_)));
        self.counts.unknown_redelivered += count(|known| matches!(known, Known::Unknown { .. }));
        self.counts.replays_answered += u64::from(whole.is_some());
        let recognised = Box::new(Recognised { whole, each });
        self.answer_live(id, Answer::Begun(Begun::Known(recognised)));
    }

    /// Checkpoint 5, (2): before the first octet goes to a next hop it is written which recipients do.
    ///
    /// Written, so that the death of the process does not lose it; it becomes durable with the next
    /// sync, which nobody waits for. Checkpoint 5, «cost»: one durable write a message.
    fn write_intent(&mut self, id: LiveId, now: Tick) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let handed_on = live.record.accepted().any(|one| matches!(one.copy, CopyState::Sent(_)));
        if live.unkept || !handed_on || !self.has_names(id) {
            let recorded = !handed_on;
            return self.answer_live(id, Answer::Begun(Begun::GoOn { recorded }));
        }
        if let Some(live) = self.live.get_mut(&id) {
            Arc::make_mut(&mut live.record).phase = Phase::Intent;
        }
        self.claim_names(id);
        self.put_record(id);
        self.await_batch(id, What::Intent, now);
    }

    /// From now on the transaction is found by its names. One that is at work already keeps them.
    fn claim_names(&mut self, id: LiveId) {
        let Some(live) = self.live.get(&id) else { return };
        for name in &live.names {
            self.names.entry(*name).or_insert(id);
        }
    }

    pub(super) fn put_record(&mut self, id: LiveId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let row = *live.row.get_or_insert_with(|| {
            self.next_row += 1;
            self.next_row - 1
        });
        live.written = true;
        let octets = live.record.encode();
        live.octets = octets.len();
        self.batch.put(row, octets);
    }

    // ---- the batch --------------------------------------------------------------------------

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

    fn waiting_for(&mut self, what: What) -> &mut Waiting {
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
    fn give_up(&mut self, Awaited { live: id, what, .. }: &Awaited, answered: bool) {
        if !answered {
            self.without_record(*id, *what);
        }
        let Some(live) = self.live.get_mut(id) else { return };
        if let Some(row) = live.row.filter(|_| live.written) {
            live.written = false;
            self.batch.delete(row);
        }
        if *what == What::Outcome {
            let record = Arc::clone(&live.record);
            self.end_with(*id, Some(record));
        }
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
    fn over_without_record(&mut self, id: LiveId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let record = Arc::clone(&live.record);
        let waiters = std::mem::take(&mut live.waiters);
        self.woken.extend(waiters.into_iter().map(|waiter| (waiter, Some(record.clone()))));
        let names = live.names.clone();
        self.forget_names(&names, id);
    }

    fn without_record(&mut self, id: LiveId, what: What) {
        self.counts.unrecorded += u64::from(what != What::Opened);
        self.answer_live(
            id,
            match what {
                What::Opened => Answer::Opened,
                What::Intent => Answer::Begun(Begun::GoOn { recorded: false }),
                What::Outcome => Answer::Committed { recorded: false },
            },
        );
    }

    fn durable(&mut self, id: LiveId, what: What, answered: bool) {
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
    fn outcome_durable(&mut self, id: LiveId, answered: bool) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let (record, octets) = (Arc::clone(&live.record), live.octets);
        let (transaction, abandoned) = (live.transaction, live.abandoned);
        let earlier = std::mem::take(&mut live.earlier);
        let Some(row) = live.row else { return };
        if answered {
            // The reply went out long ago, confirmed or not: nobody may rely on this record.
            self.batch.delete(row);
            return self.end_with(id, Some(record));
        }
        let names = live.names.clone();
        let holder = transaction.filter(|_| !abandoned);
        let standing = match holder {
            Some(_) => Standing::Attached,
            None => Standing::Unconfirmed,
        };
        self.file(&names, &record, row, octets, standing);
        for (old_row, old) in earlier.into_iter().filter(|(old_row, _)| *old_row != row) {
            self.supersede_record(old_row, &old, &names);
        }
        self.answer_live(id, Answer::Committed { recorded: true });
        if let (Some(transaction), Some(name)) = (holder, names.first()) {
            let attached =
                Attached { number: transaction.number, row, name: *name, record: record.clone() };
            self.connections.entry(transaction.holder).or_default().attached.push(attached);
        }
        self.end_with(id, Some(record));
    }

    /// An earlier record of the same message speaks no more for the recipients of this one.
    fn supersede_record(&mut self, row: Row, old: &Record, names: &[Key]) {
        let mut rest = old.clone();
        if let Some(fingerprint) = rest.fingerprint {
            for recipient in &mut rest.recipients {
                let name = self.secret.copy(&fingerprint, &recipient.address);
                recipient.superseded |= names.contains(&name);
            }
        }
        let left = rest.names(&self.secret);
        let still_there = |name: &Key| self.index.find(*name).is_some_and(|entry| entry.row == row);
        if left.iter().any(still_there) {
            self.batch.put(row, rest.encode());
        }
    }

    /// The transaction is over; what it has written stays.
    fn end_with(&mut self, id: LiveId, outcome: Option<Arc<Record>>) {
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
    fn wake_all(&mut self, now: Tick) {
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

    fn outcome_told(&mut self, holder: Holder, outcome: Option<Arc<Record>>) {
        if let Some(record) = &outcome
            && let Some(key) = record.key
            && let Some(entry) = self.index.find(key)
        {
            self.note_recalled(holder, key, entry.row, Arc::clone(record));
        }
        self.counts.replays_answered += u64::from(outcome.is_some());
        self.answer(holder, Answer::Outcome(outcome));
    }

    // ---- reading ----------------------------------------------------------------------------

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
    fn trim_lookup_deadlines(&mut self) {
        while self.lookup_deadlines.front().is_some_and(|(_, id)| !self.lookups.contains_key(id)) {
            self.lookup_deadlines.pop_front();
        }
    }

    fn answer_live(&mut self, id: LiveId, answer: Answer) {
        if let Some(transaction) = self.live.get(&id).and_then(|live| live.transaction) {
            self.effects.push_back(Effect::Answer(transaction.holder, answer));
        }
    }
}
