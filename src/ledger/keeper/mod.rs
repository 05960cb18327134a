//! The keeper of the ledger: what is running, what is stored, what waits for the disk.
//!
//! Requests and time go in, [`Effect`]s come out; the store is driven by [`Keeper::take_work`],
//! [`Keeper::found`], [`Keeper::written`] and [`Keeper::committed`]. One group is in flight, and whatever
//! is asked meanwhile is the next one: a slow disk makes groups larger and nothing else slower. An intent
//! waits until it is written, an outcome until it is durable; what nobody waits for rides along. Whatever the
//! disk does, each request is answered: after [`Settings::answer_timeout`] without a record.
//!
//! `live` has the transactions that are not at their end, and takes one from another connection;
//! `commit` makes records durable and looks for earlier copies of a message, `confirm` lets them go when a
//! client has its reply; `partial` keeps content; `opening` fills the index when the store is opened.

mod batch;
mod commit;
mod confirm;
mod live;
mod opening;
mod partial;
mod reading;
#[cfg(test)]
mod tests;

pub use opening::Opened;
pub use partial::{FileDone, FileJob};

use super::index::{Filed, Index, Life, Row, Standing};
use super::key::{IdentityKey, Key, Secret};
use super::record::Record;
use super::request::{Answer, Holder, Level, Request, Transaction};
use super::rules::{self, Recalled};
use crate::limits;
use crate::now::Tick;
use batch::{Batch, Waiting};
use live::{Live, LiveId, Waiter};
use reading::{Lookup, LookupId};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A map whose keys come from peers: seeded for each process.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The ledger's logic.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    secret: Secret,
    /// Seconds since 1970 at [`Tick::START`]: read once, so that the wall clock can be set at any time
    /// without a record ending early or late.
    epoch_s: u64,
    index: Index,
    live: Map<LiveId, Live>,
    lives_made: u64,
    /// Names of transactions that are not at their end.
    names: Map<Key, LiveId>,
    connections: Map<Holder, Connection>,
    /// Open transactions of each client, the oldest first.
    open: Map<IdentityKey, BTreeSet<LiveId>>,
    /// Octets of content that each client has lying in files.
    kept_by_identity: Map<IdentityKey, u64>,
    kept_octets: u64,
    file_octets_waiting: u64,
    /// Whose content a file has.
    files: Map<Row, LiveId>,
    /// Look-ups whose file is gone.
    unkept_lookups: Vec<LookupId>,
    /// Those who waited for the end of a transaction that is over.
    woken: Vec<(Waiter, Option<Arc<Record>>)>,
    /// Until when a new transaction waits for a live one with its id, the first to end in front.
    impatient: VecDeque<(Tick, LiveId, Transaction)>,
    /// When a live transaction is given up.
    ends: BTreeSet<(Tick, LiveId)>,
    next_row: Row,
    batch: Batch,
    in_flight: Option<Batch>,
    /// Since when something is written that is not durable.
    unsynced_since: Option<Tick>,
    /// Who waits until a batch is written.
    until_written: Waiting,
    /// Who waits until it is durable.
    until_durable: Waiting,
    lookups: Map<LookupId, Lookup>,
    lookups_made: u64,
    /// Look-ups in the order of their deadlines; some are over already.
    lookup_deadlines: VecDeque<(Tick, LookupId)>,
    readers: Map<Row, Vec<LookupId>>,
    wanted_rows: Vec<Row>,
    health: Health,
    effects: VecDeque<Effect>,
    counts: LedgerCounts,
}

/// What may be chosen. The defaults are those of [`limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the outcome of a transaction with an id is kept.
    pub outcome_lifetime: Duration,
    /// How long a message without an id is known again.
    pub replay_window: Duration,
    /// How long a confirmed outcome is kept.
    pub confirmed_grace: Duration,
    /// How long content in part is kept after its last octet.
    pub partial_lifetime: Duration,
    /// Records in the store.
    pub records_max: usize,
    /// Octets of those records.
    pub octets_max: u64,
    /// Open transactions of one client.
    pub open_max: usize,
    /// Octets of content in part, of one client.
    pub partial_octets_client: u64,
    /// Octets of content in part, of all.
    pub partial_octets: u64,
    /// How long the disk is waited for.
    pub answer_timeout: Duration,
}

/// What the keeper wants done.
#[derive(Debug)]
pub enum Effect {
    /// Give this to a connection.
    Answer(Holder, Answer),
    /// Do this to a file with content; [`Keeper::file_done`] takes what came of it.
    File(FileJob),
}

/// What the store shall do: first the reads, then all changes at once, then make them durable.
#[derive(Debug, Default)]
pub struct Work {
    /// Rows to be read.
    pub reads: Vec<Row>,
    /// Rows to be written; `None` deletes. [`Keeper::written`] when they are.
    pub changes: Vec<(Row, Option<Vec<u8>>)>,
    /// They are to be made durable now, and with them what was written before.
    pub sync: bool,
}

/// Whether the store can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    /// It failed; another try is due then.
    Failed {
        retry_at: Tick,
    },
}

/// What the keeper has counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Look-ups of an id or of a message.
    pub lookups: u64,
    /// Look-ups that found a record.
    pub hits: u64,
    /// Stored replies given again.
    pub replays_answered: u64,
    /// Copies that were not delivered a second time.
    pub duplicates_prevented: u64,
    /// Intents without an outcome that were found at the start.
    pub unknown_intents: u64,
    /// Copies handed on again though an earlier try may have delivered them; a next hop that offers
    /// RESUME is asked first.
    pub unknown_redelivered: u64,
    /// Look-ups whose records could not be read in time.
    pub lookups_failed: u64,
    /// Transactions taken by a newer connection.
    pub taken_over: u64,
    /// Records made durable.
    pub recorded: u64,
    /// Transactions that went on without a record, as the store did not take it in time.
    pub unrecorded: u64,
    /// Commits of the store.
    pub commits: u64,
    /// Records in those commits, deletions included.
    pub committed_records: u64,
    /// Commits and look-ups that the store has failed.
    pub store_failures: u64,
    /// Records that could not be read.
    pub damaged: u64,
    /// Records that have expired.
    pub expired: u64,
    /// Records that went before their time, as there was no room.
    pub evicted: u64,
    /// Transactions of which no content was kept, as there was no room.
    pub partial_refused: u64,
}

/// What is so now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerFigures {
    /// What was counted.
    pub counts: LedgerCounts,
    /// Records by standing.
    pub standings: Vec<(&'static str, u64)>,
    /// Names in the index.
    pub names: u64,
    /// Octets of the records.
    pub record_octets: u64,
    /// Octets that the index takes.
    pub index_octets: u64,
    /// Transactions that are not at their end.
    pub live: u64,
    /// Octets of content that lie in files.
    pub partial_octets: u64,
    /// Whether the store works.
    pub store_works: bool,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Connection {
    lives: Vec<LiveId>,
    /// Committed, and not confirmed.
    attached: Vec<Attached>,
    /// Stored outcomes that it has asked for, and was not given yet; they have no number.
    recalled: Vec<Attached>,
    /// Told without a record, and not confirmed.
    unrecorded: Vec<Unrecorded>,
    /// Transactions that a newer connection has taken.
    lost: Vec<u32>,
}

/// A committed record whose connection lives, or that another one has asked for.
#[derive(Debug)]
struct Attached {
    number: u32,
    row: Row,
    name: Key,
    record: Arc<Record>,
}

/// A message whose reply comes of earlier records and is not recorded itself: when it is confirmed, those
/// have served their time.
#[derive(Debug)]
struct Unrecorded {
    number: u32,
    /// Its client has given it an id.
    named: bool,
    /// The recipients whose fate was told for good.
    names: Vec<Key>,
    earlier: Vec<(Row, Arc<Record>)>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            outcome_lifetime: limits::LEDGER_OUTCOME_LIFETIME,
            replay_window: limits::LEDGER_REPLAY_WINDOW,
            confirmed_grace: limits::LEDGER_CONFIRMED_GRACE,
            partial_lifetime: limits::LEDGER_PARTIAL_LIFETIME,
            records_max: limits::LEDGER_RECORDS_MAX,
            octets_max: limits::LEDGER_OCTETS_MAX,
            open_max: limits::LEDGER_OPEN_MAX,
            partial_octets_client: limits::LEDGER_PARTIAL_OCTETS_CLIENT,
            partial_octets: limits::LEDGER_PARTIAL_OCTETS,
            answer_timeout: limits::LEDGER_ANSWER_TIMEOUT,
        }
    }
}

impl Keeper {
    /// A keeper of an empty store. `epoch_s` is the wall clock at [`Tick::START`].
    pub fn new(settings: Settings, secret: Secret, epoch_s: u64) -> Keeper {
        Keeper {
            settings,
            secret,
            epoch_s,
            index: Index::default(),
            live: Map::default(),
            lives_made: 0,
            names: Map::default(),
            connections: Map::default(),
            open: Map::default(),
            kept_by_identity: Map::default(),
            kept_octets: 0,
            file_octets_waiting: 0,
            files: Map::default(),
            unkept_lookups: Vec::new(),
            woken: Vec::new(),
            impatient: VecDeque::new(),
            ends: BTreeSet::new(),
            next_row: 1,
            batch: Batch::default(),
            in_flight: None,
            unsynced_since: None,
            until_written: Waiting::default(),
            until_durable: Waiting::default(),
            lookups: Map::default(),
            lookups_made: 0,
            lookup_deadlines: VecDeque::new(),
            readers: Map::default(),
            wanted_rows: Vec::new(),
            health: Health::Good,
            effects: VecDeque::new(),
            counts: LedgerCounts::default(),
        }
    }

    /// Takes a request.
    pub fn ask(&mut self, request: Request, now: Tick) {
        match request {
            Request::Recall { holder, key, identity, tls } => {
                self.recall(holder, key, identity, tls, now);
            }
            Request::Open { transaction, record, level } => {
                self.open(transaction, record, level, now);
            }
            Request::Take { transaction, key } => self.take(transaction, key, now),
            Request::Load { transaction, from } => self.load(transaction, from, now),
            Request::Content { transaction, record } => self.content(transaction, *record, now),
            Request::Append { transaction, octets } => self.append(transaction, octets, now),
            Request::Received { transaction, record } => self.received(transaction, *record, now),
            Request::Begin { transaction, record, look_up, gone } => {
                self.begin(transaction, *record, look_up, gone, now);
            }
            Request::Progress { transaction, copies } => self.progress(transaction, copies),
            Request::Commit { transaction, record, gone } => {
                self.commit(transaction, *record, gone, now);
            }
            Request::Await { holder, key } => self.await_outcome(holder, key, now),
            Request::Forget { transaction } => self.forget(transaction),
            Request::Repeated { transaction, key } => self.repeated(transaction, key),
            Request::Confirm { through } => self.confirm(through, now),
            Request::Quit { holder } => self.quit(holder, now),
            Request::Gone { holder } => self.gone(holder, now),
        }
        self.end_verb(now);
    }

    /// The next thing to be done by the driver.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Keeper::timed_out`] is due.
    pub fn deadline(&self) -> Option<Tick> {
        let read = self.lookup_deadlines.front().map(|(deadline, _)| *deadline);
        let ended = self.ends.first().map(|(end, _)| *end);
        let opened = self.impatient.front().map(|(until, ..)| *until);
        let written = [self.until_written.deadline(), self.until_durable.deadline()];
        [read, ended, opened, self.expiry_due()].into_iter().chain(written).flatten().min()
    }

    /// Answers what has waited too long, and lets go what has expired: a bounded number of steps.
    pub fn timed_out(&mut self, now: Tick) {
        self.answer_overdue(now);
        self.open_impatient(now);
        self.end_overdue_lives(now);
        self.expire(now);
        self.end_verb(now);
    }

    /// What was counted, and what is so now.
    pub fn figures(&self) -> LedgerFigures {
        let count = |standing: &Standing| (standing.name(), self.index.count(*standing) as u64);
        LedgerFigures {
            counts: self.counts,
            standings: Standing::ALL.iter().map(count).collect(),
            names: self.index.names() as u64,
            record_octets: self.index.octets(),
            index_octets: self.index.memory_octets() as u64,
            live: self.live.len() as u64,
            partial_octets: self.kept_octets,
            store_works: self.health == Health::Good,
        }
    }

    // ---- time -------------------------------------------------------------------------------

    fn now_s(&self, now: Tick) -> u64 {
        self.epoch_s + now.as_us() / 1_000_000
    }

    /// Seconds as the index has them.
    fn short_s(seconds: u64) -> u32 {
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    fn tick_of(&self, seconds: u64) -> Tick {
        Tick::from_us(seconds.saturating_sub(self.epoch_s).saturating_mul(1_000_000))
    }

    fn expiry_due(&self) -> Option<Tick> {
        if self.health != Health::Good || self.batch.is_long() {
            return None;
        }
        self.index.next_expiry().map(|end| self.tick_of(u64::from(end)))
    }

    fn expire(&mut self, now: Tick) {
        let now_s = Keeper::short_s(self.now_s(now));
        for _ in 0..limits::LEDGER_EXPIRY_STEP {
            if self.batch.is_long() {
                return;
            }
            match self.index.expire(now_s) {
                None => return,
                Some(None) => {}
                Some(Some((row, life))) => {
                    // A confirmed outcome has served its time.
                    self.counts.expired += u64::from(life != Life::Grace);
                    self.batch.delete(row);
                }
            }
        }
    }

    /// Makes room for what was filed.
    fn make_room(&mut self) {
        while self.index.rows() > self.settings.records_max
            || self.index.octets() > self.settings.octets_max
            || self.index.names() > limits::LEDGER_NAMES_MAX
        {
            match self.index.evict() {
                None => return,
                Some(None) => {}
                Some(Some((row, _))) => {
                    self.counts.evicted += 1;
                    self.batch.delete(row);
                }
            }
        }
    }

    // ---- what the files have in common ------------------------------------------------------

    /// How long a committed record is kept, and when that ends.
    fn lifetime(&self, record: &Record) -> (Life, u32) {
        let (life, lifetime) = match record.key {
            Some(_) => (Life::Outcome, self.settings.outcome_lifetime),
            None => (Life::Window, self.settings.replay_window),
        };
        (life, Keeper::short_s(record.created_s + lifetime.as_secs()))
    }

    /// Files a record under its id and the copies of which it knows something: it takes the place of those that
    /// lie there. Gives one of the names; a record without any is of no use, and goes.
    fn file(
        &mut self,
        names: &[Key],
        record: &Record,
        row: Row,
        octets: usize,
        standing: Standing,
    ) -> Option<Key> {
        let names = self.names_of_known(names, record);
        if names.is_empty() {
            self.batch.delete(row);
        }
        let (life, expires_s) = self.lifetime(record);
        let orphans = self.index.file(&names, Filed { row, octets, standing, life, expires_s });
        for orphan in orphans.into_iter().filter(|orphan| *orphan != row) {
            self.batch.delete(orphan);
        }
        self.make_room();
        names.first().copied()
    }

    fn names_of_known<'a>(&self, names: &'a [Key], record: &Record) -> Cow<'a, [Key]> {
        let accepted = || record.accepted().enumerate();
        if accepted().all(|(place, one)| rules::knows(record, place, one)) {
            return Cow::Borrowed(names);
        }
        let Some(fingerprint) = &record.fingerprint else { return Cow::Borrowed(names) };
        let known = accepted().filter(|(place, one)| rules::knows(record, *place, one));
        let copies = known.map(|(_, one)| self.secret.copy(fingerprint, &one.address));
        let known: BTreeSet<Key> = copies.chain(record.key).collect();
        names.iter().copied().filter(|name| known.contains(name)).collect()
    }

    /// Whether a newer connection has taken this transaction.
    fn has_lost(&self, transaction: Transaction) -> bool {
        let connection = self.connections.get(&transaction.holder);
        connection.is_some_and(|connection| connection.lost.contains(&transaction.number))
    }

    fn answer(&mut self, holder: Holder, answer: Answer) {
        self.effects.push_back(Effect::Answer(holder, answer));
    }

    fn recalled(&mut self, holder: Holder, recalled: Recalled) {
        if recalled != Recalled::Nothing {
            self.counts.hits += 1;
        }
        self.answer(holder, Answer::Recalled(recalled));
    }

    fn check_invariants(&self) {
        self.until_written.check_invariants();
        self.until_durable.check_invariants();
        debug_assert!(self.live.len() >= self.names.values().collect::<BTreeSet<_>>().len());
        debug_assert!(self.kept_octets <= self.settings.partial_octets);
    }
}
