//! Level partial: content in part, in a file beside the store.
//!
//! Only for trusted peers, for minutes, and bounded: unfinished transactions can be piled up more
//! cheaply than finished ones (revision 4). When there is no room the transaction goes on without.

use super::live::LiveId;
use super::reading::{LookupId, Reason};
use super::{Effect, Keeper};
use crate::ledger::index::Row;
use crate::ledger::record::{Partial, Phase, Record};
use crate::ledger::request::{Answer, Holder, Level, Transaction};
use crate::ledger::rules;
use crate::limits;
use crate::now::Tick;
use std::sync::Arc;

/// Content in part of a live transaction.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Octets that were given to the file.
    appended: u64,
    /// Octets up to the end of the last whole line among them.
    line_end: u64,
    /// Octets that were asked to be made durable.
    sync_asked: u64,
    /// Who waits for that.
    waiting: Vec<LookupId>,
}

/// What shall be done to a file, by a thread that may wait. Jobs are done in their order. A file is
/// named by the row of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileJob {
    /// Add octets at the end; the first one makes the file.
    Append {
        /// Which file.
        file: Row,
        /// The octets.
        octets: Vec<u8>,
    },
    /// Make it durable; [`FileDone::Synced`].
    Sync {
        /// Which file.
        file: Row,
        /// What will be durable then.
        partial: Partial,
    },
    /// Cut it to this length.
    Cut {
        /// Which file.
        file: Row,
        /// Octets that stay.
        octets: u64,
    },
    /// Read from a place on, up to [`limits::LEDGER_LOAD_OCTETS`]; [`FileDone::Loaded`].
    Read {
        /// Which file.
        file: Row,
        /// The first octet.
        from: u64,
        /// To be given back.
        ticket: u64,
    },
    /// Remove it.
    Remove {
        /// Which file.
        file: Row,
    },
}

/// What was done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDone {
    /// Octets were added, or could not be.
    Appended {
        /// Which file.
        file: Row,
        /// How many.
        octets: usize,
        /// Whether they are in the file.
        done: bool,
    },
    /// It is durable up to here, or could not be made so.
    Synced {
        /// Which file.
        file: Row,
        /// What is durable.
        partial: Partial,
        /// Whether it is.
        done: bool,
    },
    /// What was read; `None` if it could not be.
    Loaded {
        /// As it was given.
        ticket: u64,
        /// The octets.
        octets: Option<Vec<u8>>,
    },
}

impl Keeper {
    /// The content begins to come. At level partial the envelope is written, and a file begun.
    pub(super) fn content(&mut self, transaction: Transaction, record: Record, now: Tick) {
        let Some(id) = self.live_of(transaction) else { return };
        self.replace_record(id, record);
        self.set_end(id, now + limits::LEDGER_TRANSACTION_MAX);
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.level == Level::Outcome || live.unkept || live.file.is_some() {
            return;
        }
        live.file = Some(File::default());
        let record = Arc::make_mut(&mut live.record);
        record.phase = Phase::Open;
        record.partial = Some(Partial::default());
        self.put_record(id);
        self.batch.urgent = true;
        if let Some(row) = self.live.get(&id).and_then(|live| live.row) {
            self.files.insert(row, id);
        }
    }

    /// Content octets have come.
    pub(super) fn append(&mut self, transaction: Transaction, octets: Vec<u8>, now: Tick) {
        let Some(id) = self.live_of(transaction) else { return };
        self.set_end(id, now + limits::LEDGER_TRANSACTION_MAX);
        let Some(live) = self.live.get_mut(&id) else { return };
        let (Some(file), Some(row)) = (&mut live.file, live.row) else { return };
        let more = octets.len() as u64;
        let kept = self.kept_by_identity.entry(live.record.identity).or_default();
        let room = *kept + more <= self.settings.partial_octets_client
            && self.kept_octets + more <= self.settings.partial_octets
            && self.file_octets_waiting + more <= limits::LEDGER_FILE_WAITING_OCTETS;
        if !room {
            self.counts.partial_refused += 1;
            return self.stop_keeping(id);
        }
        *kept += more;
        self.kept_octets += more;
        self.file_octets_waiting += more;
        if let Some(end) = memchr::memrchr(b'\n', &octets) {
            file.line_end = file.appended + end as u64 + 1;
        }
        file.appended += more;
        let unsynced = file.appended - file.sync_asked;
        self.effects.push_back(Effect::File(FileJob::Append { file: row, octets }));
        if unsynced >= limits::LEDGER_SYNC_OCTETS {
            self.sync_file(id, None);
        }
    }

    /// Asks for durability of what has come, if it is not asked for yet.
    pub(super) fn sync_file(&mut self, id: LiveId, waiter: Option<LookupId>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let (Some(file), Some(row)) = (&mut live.file, live.row) else { return };
        file.waiting.extend(waiter);
        if file.sync_asked < file.appended || waiter.is_some() {
            file.sync_asked = file.appended;
            let partial = Partial { synced: file.appended, line_end: file.line_end };
            self.effects.push_back(Effect::File(FileJob::Sync { file: row, partial }));
        }
    }

    /// RESUME of content in part: the offset is told when it is durable.
    pub(super) fn recall_parked(&mut self, id: LiveId, holder: Holder, now: Tick) {
        let lookup = self.add_lookup(Reason::Parked { id, holder }, 1, now);
        self.sync_file(id, Some(lookup));
    }

    /// The transaction goes on at the offset that was told; what lies behind it comes again.
    pub(super) fn cut_to_offset(&mut self, id: LiveId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let offset = rules::offset(&live.record);
        let identity = live.record.identity;
        let (Some(file), Some(row)) = (&mut live.file, live.row) else { return };
        let dropped = file.appended.saturating_sub(offset);
        (file.appended, file.line_end) = (offset, offset);
        file.sync_asked = offset;
        Arc::make_mut(&mut live.record).partial =
            Some(Partial { synced: offset, line_end: offset });
        self.effects.push_back(Effect::File(FileJob::Cut { file: row, octets: offset }));
        self.release_octets(identity, dropped);
    }

    /// The content that is kept is wanted back.
    pub(super) fn load(&mut self, transaction: Transaction, from: u64, now: Tick) {
        let row = self
            .live_of(transaction)
            .and_then(|id| self.live.get(&id))
            .filter(|live| live.file.is_some())
            .and_then(|live| live.row);
        let holder = transaction.holder;
        let Some(file) = row else { return self.answer(holder, Answer::Loaded(None)) };
        let LookupId(ticket) = self.add_lookup(Reason::Load { holder }, 1, now);
        self.effects.push_back(Effect::File(FileJob::Read { file, from, ticket }));
    }

    /// A file's thread has done something.
    pub fn file_done(&mut self, done: FileDone, now: Tick) {
        match done {
            FileDone::Appended { file, octets, done } => {
                self.file_octets_waiting = self.file_octets_waiting.saturating_sub(octets as u64);
                if let Some(id) = self.files.get(&file).copied().filter(|_| !done) {
                    self.counts.store_failures += 1;
                    self.stop_keeping(id);
                }
            }
            FileDone::Synced { file, partial, done } => self.synced(file, partial, done, now),
            FileDone::Loaded { ticket, octets } => {
                if let Some(holder) = self.close_load(LookupId(ticket)) {
                    self.answer(holder, Answer::Loaded(octets));
                }
            }
        }
        self.end_verb(now);
    }

    fn synced(&mut self, row: Row, partial: Partial, done: bool, now: Tick) {
        let Some(id) = self.files.get(&row).copied() else { return };
        if !done {
            self.counts.store_failures += 1;
            return self.stop_keeping(id);
        }
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(file) = &mut live.file else { return };
        // A cut may have come in between: what lies behind it is not the content any more.
        if partial.synced > file.appended {
            return;
        }
        let waiting = match partial.synced == file.appended {
            true => std::mem::take(&mut file.waiting),
            false => Vec::new(),
        };
        Arc::make_mut(&mut live.record).partial = Some(partial);
        self.put_record(id);
        self.batch.urgent = true;
        for lookup in waiting {
            self.finish_lookup(lookup, now);
        }
    }

    /// The transaction goes on, its content is kept no more. A parked one is nothing without it.
    fn stop_keeping(&mut self, id: LiveId) {
        self.drop_file(id);
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.transaction.is_none() {
            return self.drop_live(id, true);
        }
        if let (Phase::Open, Some(row)) = (&live.record.phase, live.row) {
            live.written = false;
            self.batch.delete(row);
        }
    }

    pub(super) fn drop_file(&mut self, id: LiveId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let (Some(file), Some(row)) = (live.file.take(), live.row) else { return };
        Arc::make_mut(&mut live.record).partial = None;
        let identity = live.record.identity;
        self.files.remove(&row);
        self.release_octets(identity, file.appended);
        self.effects.push_back(Effect::File(FileJob::Remove { file: row }));
        // Whoever waits for it is answered by the deadline at the latest.
        for lookup in file.waiting {
            self.unkept_lookups.push(lookup);
        }
    }

    fn release_octets(&mut self, identity: crate::ledger::IdentityKey, octets: u64) {
        self.kept_octets = self.kept_octets.saturating_sub(octets);
        if let Some(kept) = self.kept_by_identity.get_mut(&identity) {
            *kept = kept.saturating_sub(octets);
            if *kept == 0 {
                self.kept_by_identity.remove(&identity);
            }
        }
    }

    /// A file that was found at the start is the content of a parked transaction.
    pub(super) fn keep_found(&mut self, id: LiveId, row: Row, partial: Partial) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Partial { synced, line_end } = partial;
        let file = File { appended: synced, line_end, sync_asked: synced, waiting: Vec::new() };
        (live.row, live.written, live.file) = (Some(row), true, Some(file));
        let identity = live.record.identity;
        self.files.insert(row, id);
        self.kept_octets += synced;
        *self.kept_by_identity.entry(identity).or_default() += synced;
        self.effects.push_back(Effect::File(FileJob::Cut { file: row, octets: synced }));
    }
}
