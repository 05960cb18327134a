//! Transactions that are not at their end: begun, taken, resumed, forgotten.

use super::batch::What;
use super::partial::File;
use super::reading::Reason;
use super::{Connection, Keeper};
use crate::ledger::index::{Row, Standing};
use crate::ledger::key::{IdentityKey, Key};
use crate::ledger::record::{Phase, Record};
use crate::ledger::request::{Answer, Holder, Level, Transaction};
use crate::ledger::rules::{self, Recalled};
use crate::limits;
use crate::now::Tick;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LiveId(pub u64);

/// A transaction that is not at its end.
#[derive(Debug)]
pub(super) struct Live {
    /// Who acts on it; nobody when it is parked.
    pub transaction: Option<Transaction>,
    /// The connection of that one is gone, the work goes on.
    pub abandoned: bool,
    pub record: Arc<Record>,
    /// What it is found by.
    pub names: Vec<Key>,
    pub stage: Stage,
    pub level: Level,
    /// It goes on without a record, as the client has too many.
    pub unkept: bool,
    /// Where its record lies, or will lie.
    pub row: Option<Row>,
    /// An intent, or content in part, lies there.
    pub written: bool,
    /// Octets of that.
    pub octets: usize,
    pub file: Option<File>,
    /// Earlier records of the same message, and where they lie.
    pub earlier: Vec<(Row, Arc<Record>)>,
    /// Who waits for its end.
    pub waiters: Vec<Waiter>,
    /// When it is given up.
    pub until: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The envelope or the content is coming, or it is parked.
    Open,
    /// The content has come whole.
    Received,
    /// The outcome is decided.
    Committing,
}

/// Who waits for the end of a transaction.
#[derive(Debug)]
pub(super) enum Waiter {
    /// For its outcome.
    Outcome(Holder),
    /// To begin anew under its id.
    Open { transaction: Transaction, record: Box<Record>, level: Level },
    /// To know whether its own message is the same.
    Begin(LiveId),
}

impl Keeper {
    /// RESUME.
    ///
    /// Revision 2.7: an id that is used on a newer connection is lost to the older one, and one that
    /// is still committing gives its result to the newer one.
    pub(super) fn recall(
        &mut self,
        holder: Holder,
        key: Key,
        identity: IdentityKey,
        tls: bool,
        now: Tick,
    ) {
        self.counts.lookups += 1;
        if let Some(id) = self.names.get(&key).copied() {
            let now_s = self.now_s(now);
            let Some(live) = self.live.get(&id) else { return };
            if !rules::is_told_to(&live.record, key, identity, tls, now_s) {
                return self.recalled(holder, Recalled::Nothing);
            }
            if live.stage >= Stage::Received {
                let record = Arc::clone(&live.record);
                return self.recalled(holder, Recalled::Running(record));
            }
            self.supersede(id, holder, now);
            return match self.live.contains_key(&id) {
                true => self.recall_parked(id, holder, now),
                false => self.recalled(holder, Recalled::Nothing),
            };
        }
        match self.index.find(key) {
            Some(entry) if u64::from(entry.expires_s) > self.now_s(now) => {
                let reason = Reason::Recall { holder, key, identity, tls };
                self.look_up(reason, vec![entry.row], now);
            }
            _ => self.recalled(holder, Recalled::Nothing),
        }
    }

    /// A stored record was read for RESUME.
    pub(super) fn recall_stored(
        &mut self,
        (holder, key): (Holder, Key),
        found: Option<(Row, Arc<Record>)>,
    ) {
        let Some((row, record)) = found else {
            return self.recalled(holder, Recalled::Nothing);
        };
        match record.phase {
            Phase::Committed(_) => {
                self.counts.replays_answered += 1;
                self.note_recalled(holder, key, row, Arc::clone(&record));
                self.recalled(holder, Recalled::Stored(record));
            }
            // Its content would have to come again: `355 0`, and the resend finds what was done.
            Phase::Open | Phase::Intent => self.recalled(holder, Recalled::Nothing),
        }
    }

    /// MAIL with TRANSOFF=0.
    ///
    /// Revision 2.3: it asserts «new», and the server throws away anything it held under that id.
    pub(super) fn open(
        &mut self,
        transaction: Transaction,
        record: Box<Record>,
        level: Level,
        now: Tick,
    ) {
        let Some(key) = record.key else { return self.answer(transaction.holder, Answer::Opened) };
        if let Some(id) = self.names.get(&key).copied() {
            match self.live.get_mut(&id) {
                // Checkpoint 5: one that is still committing is waited for, as long as a scan may take.
                Some(live) if live.stage >= Stage::Received => {
                    live.waiters.push(Waiter::Open { transaction, record, level });
                    let until = now + limits::LEDGER_OPEN_PATIENCE;
                    return self.impatient.push_back((until, id, transaction));
                }
                _ => {
                    self.supersede(id, transaction.holder, now);
                    self.drop_live(id, true);
                }
            }
        }
        let earlier = self.index.find(key);
        let id = self.add_live(Some(transaction), *record, level, now);
        self.names.insert(key, id);
        self.limit_open(id);
        match earlier {
            None => self.answer(transaction.holder, Answer::Opened),
            // What was done before a crash is still to be known at the end of this one.
            Some(entry) if entry.standing == Standing::Unknown => {
                self.look_up(Reason::Open(id), vec![entry.row], now);
            }
            Some(entry) => {
                self.index.remove(key, entry.row);
                self.batch.delete(entry.row);
                self.await_batch(id, What::Opened, now);
            }
        }
    }

    /// A new transaction has waited long enough for one that is still being committed under its id: that
    /// one is forgotten. It goes on to its end, and its outcome is not kept.
    pub(super) fn open_impatient(&mut self, now: Tick) {
        while let Some((_, id, newer)) = self.impatient.pop_front_if(|(until, ..)| *until <= now) {
            let Some(live) = self.live.get_mut(&id) else { continue };
            let is_newer = |waiter: &Waiter| matches!(waiter, Waiter::Open { transaction, .. } if *transaction == newer);
            let Some(place) = live.waiters.iter().position(is_newer) else { continue };
            let Waiter::Open { transaction, record, level } = live.waiters.remove(place) else {
                continue;
            };
            live.unkept = true;
            let names = live.names.clone();
            self.forget_names(&names, id);
            self.open(transaction, record, level, now);
        }
    }

    /// The record under the id of a new transaction was read: it is an intent without an outcome.
    pub(super) fn opened_after_crash(&mut self, id: LiveId, found: Option<(Row, Arc<Record>)>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.earlier.extend(found);
        if let Some(transaction) = live.transaction {
            self.answer(transaction.holder, Answer::Opened);
        }
    }

    /// MAIL with the offset of a parked transaction.
    pub(super) fn take(&mut self, transaction: Transaction, key: Key, now: Tick) {
        let parked = self
            .names
            .get(&key)
            .copied()
            .filter(|id| self.live.get(id).is_some_and(|live| live.transaction.is_none()));
        let Some((id, live)) = parked.and_then(|id| Some((id, self.live.get_mut(&id)?))) else {
            return self.answer(transaction.holder, Answer::Taken(None));
        };
        live.transaction = Some(transaction);
        live.abandoned = false;
        let record = Arc::clone(&live.record);
        if let (Phase::Intent, Some(row)) = (&record.phase, live.row) {
            live.earlier = vec![(row, Arc::clone(&record))];
        }
        self.connections.entry(transaction.holder).or_default().lives.push(id);
        self.set_end(id, now + limits::LEDGER_TRANSACTION_MAX);
        self.cut_to_offset(id);
        self.answer(transaction.holder, Answer::Taken(Some(record)));
    }

    /// The end mark was read.
    pub(super) fn received(&mut self, transaction: Transaction, record: Record, now: Tick) {
        let Some(id) = self.live_of(transaction) else { return };
        self.replace_record(id, record);
        if let Some(live) = self.live.get_mut(&id) {
            live.stage = Stage::Received;
        }
        self.close_open(id);
        self.set_end(id, now + limits::LEDGER_COMMIT_MAX);
        self.sync_file(id, None);
    }

    /// The end mark came at the end of a transaction that another connection is working at.
    pub(super) fn await_outcome(&mut self, holder: Holder, key: Key, now: Tick) {
        let running = self.names.get(&key).and_then(|id| self.live.get_mut(id));
        if let Some(live) = running.filter(|live| live.stage >= Stage::Received) {
            return live.waiters.push(Waiter::Outcome(holder));
        }
        match self.index.find(key) {
            Some(entry) => self.look_up(Reason::Outcome { holder, key }, vec![entry.row], now),
            None => self.answer(holder, Answer::Outcome(None)),
        }
    }

    /// RSET, or a new greeting. Revision 2.5: inside a transaction its state is discarded.
    pub(super) fn forget(&mut self, transaction: Transaction) {
        let Some(id) = self.live_of(transaction) else { return };
        if self.live.get(&id).is_some_and(|live| live.stage == Stage::Open) {
            self.drop_live(id, true);
        }
    }

    // ---- holders ----------------------------------------------------------------------------

    /// A newer connection uses the id: the older one has lost it. Content that is kept is parked;
    /// without kept content nothing is left.
    fn supersede(&mut self, id: LiveId, newer: Holder, now: Tick) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if let Some(older) = live.transaction.filter(|older| older.holder != newer) {
            self.counts.taken_over += 1;
            self.connections.entry(older.holder).or_default().lost.push(older.number);
            self.answer(older.holder, Answer::Superseded(older));
        }
        self.park_or_drop(id, now);
    }

    /// The connection that acts on it is gone.
    pub(super) fn lose_holder(&mut self, id: LiveId, now: Tick) {
        match self.live.get_mut(&id) {
            // Checkpoint 5: from the end mark on the work goes on though the client has gone.
            Some(live) if live.stage >= Stage::Received => live.abandoned = true,
            Some(_) => self.park_or_drop(id, now),
            None => {}
        }
    }

    fn park_or_drop(&mut self, id: LiveId, now: Tick) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.file.is_none() {
            return self.drop_live(id, true);
        }
        if let Some(transaction) = live.transaction.take() {
            self.leave_connection(transaction.holder, id);
        }
        self.set_end(id, now + self.settings.partial_lifetime);
        self.sync_file(id, None);
    }

    /// Too many open transactions of one client: the oldest goes. If its connection lives, it
    /// goes on without a record.
    pub(super) fn limit_open(&mut self, id: LiveId) {
        let Some(identity) = self.live.get(&id).map(|live| live.record.identity) else { return };
        let open = self.open.entry(identity).or_default();
        open.insert(id);
        if open.len() <= self.settings.open_max {
            return;
        }
        let Some(oldest) = open.pop_first() else { return };
        self.counts.evicted += 1;
        if self.live.get(&oldest).is_none_or(|live| live.transaction.is_none()) {
            return self.drop_live(oldest, true);
        }
        self.drop_file(oldest);
        if let Some(live) = self.live.get_mut(&oldest) {
            live.unkept = true;
            let names = live.names.clone();
            self.forget_names(&names, oldest);
        }
    }

    /// It does not count as open any more.
    pub(super) fn close_open(&mut self, id: LiveId) {
        let Some(identity) = self.live.get(&id).map(|live| live.record.identity) else { return };
        if let Some(open) = self.open.get_mut(&identity) {
            open.remove(&id);
            if open.is_empty() {
                self.open.remove(&identity);
            }
        }
    }

    // ---- the table --------------------------------------------------------------------------

    pub(super) fn add_live(
        &mut self,
        transaction: Option<Transaction>,
        mut record: Record,
        level: Level,
        now: Tick,
    ) -> LiveId {
        self.lives_made += 1;
        let id = LiveId(self.lives_made);
        self.stamp(&mut record, self.now_s(now));
        let names = record.names(&self.secret);
        let until = now + limits::LEDGER_TRANSACTION_MAX;
        self.live.insert(
            id,
            Live {
                transaction,
                abandoned: false,
                record: Arc::new(record),
                names,
                stage: Stage::Open,
                level,
                unkept: false,
                row: None,
                written: false,
                octets: 0,
                file: None,
                earlier: Vec::new(),
                waiters: Vec::new(),
                until,
            },
        );
        self.ends.insert((until, id));
        if let Some(transaction) = transaction {
            self.connections.entry(transaction.holder).or_default().lives.push(id);
        }
        id
    }

    /// The transaction's later record takes the place of its earlier one, and keeps its dates.
    pub(super) fn replace_record(&mut self, id: LiveId, mut record: Record) {
        let Some(live) = self.live.get_mut(&id) else { return };
        record.partial = live.record.partial;
        let older = &live.record;
        let same_names = (record.key, record.fingerprint, record.recipients.len())
            == (older.key, older.fingerprint, older.recipients.len());
        let names = (!same_names).then(|| record.names(&self.secret));
        let created_s = older.created_s;
        self.stamp(&mut record, created_s);
        if let Some(live) = self.live.get_mut(&id) {
            live.record = Arc::new(record);
            live.names = names.unwrap_or(std::mem::take(&mut live.names));
        }
    }

    fn stamp(&self, record: &mut Record, created_s: u64) {
        record.created_s = created_s;
        record.expires_s = created_s
            + match record.key {
                Some(_) => self.settings.outcome_lifetime.as_secs(),
                None => self.settings.replay_window.as_secs(),
            };
    }

    pub(super) fn live_of(&self, transaction: Transaction) -> Option<LiveId> {
        let of = |id: &&LiveId| {
            self.live.get(id).is_some_and(|live| live.transaction == Some(transaction))
        };
        self.connections.get(&transaction.holder)?.lives.iter().find(of).copied()
    }

    pub(super) fn set_end(&mut self, id: LiveId, until: Tick) {
        if let Some(live) = self.live.get_mut(&id) {
            self.ends.remove(&(live.until, id));
            live.until = until;
            self.ends.insert((until, id));
        }
    }

    pub(super) fn end_overdue_lives(&mut self, now: Tick) {
        for _ in 0..limits::LEDGER_EXPIRY_STEP {
            let Some((_, id)) = self.ends.first().copied().filter(|(end, _)| *end <= now) else {
                return;
            };
            self.end_live(id);
        }
    }

    /// Time is up: content in part goes, an intent stays as one whose outcome is unknown.
    fn end_live(&mut self, id: LiveId) {
        let Some(live) = self.live.get(&id) else { return };
        let intent = matches!(live.record.phase, Phase::Intent) && live.written;
        let (row, record) = (live.row, Arc::clone(&live.record));
        // Whoever waits on its connection is past hope, and must not wait for ever.
        self.drop_live(id, !intent);
        if let (true, Some(row)) = (intent, row) {
            let record = Record { partial: None, ..Record::clone(&record) };
            let names = record.names(&self.secret);
            let octets = record.encode();
            self.file(&names, &record, row, octets.len(), Standing::Unknown);
            self.batch.put(row, octets);
        }
    }

    /// Forgets a live transaction, and what it has written if `erase`; what an earlier run has sent stays in
    /// doubt.
    pub(super) fn drop_live(&mut self, id: LiveId, erase: bool) {
        let gone_on_with = self.gone_on_with(id);
        self.drop_file(id);
        self.close_open(id);
        let Some(live) = self.live.remove(&id) else { return };
        self.ends.remove(&(live.until, id));
        self.forget_names(&live.names, id);
        if let Some(transaction) = live.transaction {
            self.leave_connection(transaction.holder, id);
        }
        match (gone_on_with, live.row) {
            (Some((row, old)), _) if erase => self.file_in_doubt(row, &old),
            (None, Some(row)) if erase && live.written => self.batch.delete(row),
            _ => {}
        }
        self.woken.extend(live.waiters.into_iter().map(|waiter| (waiter, None)));
    }

    pub(super) fn forget_names(&mut self, names: &[Key], id: LiveId) {
        for name in names {
            if self.names.get(name) == Some(&id) {
                self.names.remove(name);
            }
        }
    }

    fn leave_connection(&mut self, holder: Holder, id: LiveId) {
        if let Some(Connection { lives, .. }) = self.connections.get_mut(&holder) {
            lives.retain(|other| *other != id);
        }
        self.forget_idle_connection(holder);
    }
}
