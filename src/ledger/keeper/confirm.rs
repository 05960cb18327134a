//! What a client has shown to have, and what a connection that is gone has not.

use super::{Attached, Connection, Keeper, Unrecorded};
use crate::ledger::index::{Entry, Life, Row, Standing};
use crate::ledger::key::Key;
use crate::ledger::record::{CopyState, Outcome, Phase, Record};
use crate::ledger::request::{Holder, Transaction};
use crate::now::Tick;
use std::sync::Arc;

impl Keeper {
    /// The client has the replies up to this one.
    ///
    /// Checkpoint 6: a later equal message is then a wanted second copy, so the record of a message
    /// without an id goes at once; that of one with an id after a grace (checkpoint 5, QUIT).
    pub(super) fn confirm(&mut self, through: Transaction, now: Tick) {
        let Some(connection) = self.connections.get_mut(&through.holder) else { return };
        let is_told = |number: u32| number <= through.number;
        let confirmed: Vec<Attached> =
            connection.attached.extract_if(.., |one| is_told(one.number)).collect();
        let unrecorded: Vec<Unrecorded> =
            connection.unrecorded.extract_if(.., |one| is_told(one.number)).collect();
        for attached in confirmed {
            self.confirm_record(&attached, now);
        }
        self.confirm_earlier(unrecorded);
        self.forget_idle_connection(through.holder);
    }

    /// The client has replies of which there is no record; it has what they were made of as well.
    fn confirm_earlier(&mut self, unrecorded: Vec<Unrecorded>) {
        for Unrecorded { names, earlier, .. } in unrecorded {
            for (row, old) in earlier {
                self.supersede_record(row, &old, &names);
            }
        }
    }

    /// A stored outcome was given again, as the reply of this transaction: it can be confirmed.
    pub(super) fn repeated(&mut self, transaction: Transaction, key: Key) {
        let Some(connection) = self.connections.get_mut(&transaction.holder) else { return };
        let given = connection.recalled.iter().position(|one| one.name == key);
        if let Some(given) = given {
            let number = transaction.number;
            let recalled = connection.recalled.swap_remove(given);
            connection.attached.push(Attached { number, ..recalled });
        }
    }

    /// A connection has asked for a stored outcome.
    pub(super) fn note_recalled(
        &mut self,
        holder: Holder,
        name: Key,
        row: Row,
        record: Arc<Record>,
    ) {
        let recalled = &mut self.connections.entry(holder).or_default().recalled;
        recalled.retain(|one| one.name != name);
        recalled.push(Attached { number: 0, row, name, record });
    }

    fn confirm_record(&mut self, attached: &Attached, now: Tick) {
        let Attached { row, name, record, .. } = attached;
        if record.is_owed() || record.is_in_doubt() {
            let end = Keeper::short_s(record.created_s + self.settings.replay_window.as_secs());
            self.index.refile(*name, *row, Standing::Owed, Life::Window, end);
            if !record.is_owed() {
                self.keep_doubts(*row, record);
            }
            return;
        }
        if record.key.is_none() {
            if self.index.remove(*name, *row) {
                self.batch.delete(*row);
            }
            return;
        }
        self.grace(*name, *row, now);
        // Without this a restart would take an equal message, wanted a second time, for a retry.
        if let (Some(_), Some(outcome)) = (record.fingerprint, record.outcome()) {
            let outcome = Outcome { confirmed: true, ..outcome.clone() };
            let record = Record { phase: Phase::Committed(outcome), ..Record::clone(record) };
            self.batch.put(*row, record.encode());
        }
    }

    /// The client has each reply: the record speaks for those alone of whom nobody knows whether they
    /// have their copy. An equal message for the others is one that is wanted.
    fn keep_doubts(&mut self, row: Row, record: &Record) {
        let Some(fingerprint) = record.fingerprint else { return };
        let known = record.accepted().filter(|one| !matches!(one.copy, CopyState::Unknown(_)));
        let names: Vec<Key> =
            known.map(|one| self.secret.copy(&fingerprint, &one.address)).collect();
        self.supersede_record(row, record, &names);
    }

    fn grace(&mut self, name: Key, row: Row, now: Tick) {
        let end = self.now_s(now) + self.settings.confirmed_grace.as_secs();
        self.index.refile(name, row, Standing::Confirmed, Life::Grace, Keeper::short_s(end));
    }

    /// Checkpoint 6: a QUIT that was pipelined behind the end mark proves nothing to those who give no
    /// ids; they confirm by what comes after the reply.
    pub(super) fn quit(&mut self, holder: Holder, now: Tick) {
        let Some(connection) = self.connections.get_mut(&holder) else { return };
        let named: Vec<Attached> =
            connection.attached.extract_if(.., |one| one.record.key.is_some()).collect();
        let unrecorded: Vec<Unrecorded> =
            connection.unrecorded.extract_if(.., |one| one.named).collect();
        for attached in named {
            self.confirm_record(&attached, now);
        }
        self.confirm_earlier(unrecorded);
        let Some(connection) = self.connections.get_mut(&holder) else { return };
        for recalled in std::mem::take(&mut connection.recalled) {
            self.confirm_record(&recalled, now);
        }
        self.forget_idle_connection(holder);
    }

    /// The connection is gone: what it has not confirmed may be asked for again.
    pub(super) fn gone(&mut self, holder: Holder, now: Tick) {
        let Some(connection) = self.connections.get_mut(&holder) else { return };
        let Connection { lives, attached, .. } = std::mem::take(connection);
        // A transaction past its end mark goes on, and is known by its connection still.
        connection.lives.clone_from(&lives);
        for Attached { row, name, record, .. } in attached {
            // One that was given again stands as its own connection has left it.
            let attached = |entry: Entry| entry.row == row && entry.standing == Standing::Attached;
            if self.index.find(name).is_some_and(attached) {
                let (life, end) = self.lifetime(&record);
                self.index.refile(name, row, Standing::Unconfirmed, life, end);
            }
        }
        for id in lives {
            self.lose_holder(id, now);
        }
        self.forget_idle_connection(holder);
    }

    pub(super) fn forget_idle_connection(&mut self, holder: Holder) {
        let idle = |connection: &Connection| {
            connection.lives.is_empty()
                && connection.attached.is_empty()
                && connection.recalled.is_empty()
                && connection.unrecorded.is_empty()
                && connection.lost.is_empty()
        };
        if self.connections.get(&holder).is_some_and(idle) {
            self.connections.remove(&holder);
        }
    }
}
