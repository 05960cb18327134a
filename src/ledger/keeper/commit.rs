//! A message comes to its end: is it known, what is intended, what came of it.

use super::batch::What;
use super::live::{Live, LiveId, Stage, Waiter};
use super::reading::Reason;
use super::{Effect, Keeper};
use crate::ledger::index::{Row, Standing};
use crate::ledger::record::{CopyState, Phase, Record};
use crate::ledger::request::{Answer, Begun, Level, Recognised, Transaction};
use crate::ledger::rules::{self, Known};
use crate::limits;
use crate::now::Tick;
use std::sync::Arc;

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
                self.note_unrecorded(id);
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
    pub(super) fn received_live(
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

    pub(super) fn has_names(&self, id: LiveId) -> bool {
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
    pub(super) fn recognise(&mut self, id: LiveId, found: Vec<(Row, Arc<Record>)>, now: Tick) {
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
            let earlier = live.earlier.iter().map(|(_, earlier)| &**earlier);
            rules::known_of(earlier, address, record.rules)
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
        self.counts.unknown_redelivered += count(|known| matches!(known, Known::Unknown(_)));
        self.counts.replays_answered += u64::from(whole.is_some());
        let recognised = Box::new(Recognised { whole, each });
        self.answer_live(id, Answer::Begun(Begun::Known(recognised)));
    }

    /// Checkpoint 5, (2): before the first octet goes to a next hop it is written which recipients do.
    ///
    /// Written, so that the death of the process does not lose it; it becomes durable with the next
    /// sync, which nobody waits for. Checkpoint 5, «cost»: one durable write a message.
    pub(super) fn write_intent(&mut self, id: LiveId, now: Tick) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let handed_on =
            live.record.accepted().any(|one| matches!(one.copy, CopyState::Sent { .. }));
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
    pub(super) fn claim_names(&mut self, id: LiveId) {
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

    pub(super) fn answer_live(&mut self, id: LiveId, answer: Answer) {
        if let Some(transaction) = self.live.get(&id).and_then(|live| live.transaction) {
            self.effects.push_back(Effect::Answer(transaction.holder, answer));
        }
    }
}
