//! The facts on which the oracle may excuse a second copy: whose record was lost, and how.
//!
//! The gateway is not asked. Requests to the ledger and answers pass here, the disk lies open, and it is
//! known when the process has died and who has gone: a record is lost only if the world has lost it.

use super::{ClientId, Stored, World};
use crate::ledger::rules::known_copy;
use crate::ledger::{Answer, Begun, ContentDigest, Key, Phase, Record, Request, Row};
use crate::limits::LEDGER_ANSWER_TIMEOUT;
use crate::now::Tick;
use crate::sim::disk::Disk;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Why a transaction could not know that an earlier one had handed the message on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The disk failed, or was too slow, when the earlier one's outcome was to be written: its reply was
    /// given without a record.
    Refused,
    /// The process died before the earlier one's outcome was written, or its machine before it was
    /// durable; and nobody could be asked, as no next hop knows RESUME, a Maildir has the copy, or the
    /// intent was lost as well.
    Died,
    /// The earlier one's record lies on the disk, which was too slow to read it.
    Unread,
    /// The earlier one's client has vanished without a word, and its connection still stood.
    Unseen,
    /// A next hop without RESUME has taken the earlier one's copy, and its answer was lost.
    Unanswered,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// Transactions that have come to their end mark, by their ids.
    ended: BTreeMap<String, Ended>,
    /// The last one of each connection.
    last: HashMap<ClientId, String>,
    /// What each connection waits for.
    asked: HashMap<ClientId, Asked>,
    /// Since when each connection has asked for a record that was not read in time.
    blind_since: HashMap<ClientId, Tick>,
    /// When each row was read.
    read: HashMap<Row, Vec<Tick>>,
    /// Commits that have failed, and whether the last one has.
    disk_failures: u64,
    disk_fails: bool,
    /// The records that the last process has written, and those that must outlive it: whether they have
    /// an outcome.
    written: BTreeMap<String, bool>,
    left: BTreeMap<String, bool>,
}

/// A transaction that has come to its end mark.
#[derive(Debug)]
struct Ended {
    client: ClientId,
    at: Tick,
    digest: Option<ContentDigest>,
    record: Fate,
    /// Earlier ones of which it could not know.
    unknown: BTreeMap<String, Loss>,
    /// It was told of an earlier one, whose place its own record takes.
    knows: bool,
    /// The recipients of whom its record says that they have their copy, or may have it.
    speaks_for: BTreeSet<Box<[u8]>>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody was told of an outcome yet.
    Open,
    /// It is there, or should be.
    Kept,
    /// The store has not taken it.
    Refused,
    /// The process has died, and the outcome is left.
    Found,
    /// It has died, and the intent is left.
    Intended,
    /// It has died, and nothing is left.
    Lost,
    /// Its client has begun anew, as it could not be read.
    ThrownAway,
}

/// A question to the ledger.
#[derive(Debug)]
struct Asked {
    at: Tick,
    disk_failures: u64,
    disk_fails: bool,
}

impl World {
    /// Why the later of two transactions could not know of the recipient's copy that the earlier one has
    /// handed on. `None`: it could.
    pub fn loss(&self, earlier: &str, later: &str, address: &str) -> Option<Loss> {
        let ended = &self.witness.ended;
        // One that sends twice knows that it has.
        if earlier == later {
            return None;
        }
        let (first, last) = (ended.get(earlier)?, ended.get(later)?);
        if let Some(loss) = self.loss_of(earlier, last, address) {
            return Some(loss);
        }
        // One that was told without a record may have left one, which is found at the next start.
        let lies_unread = |id: &str| last.unknown.get(id) == Some(&Loss::Unread);
        let took_its_place = |id: &str, one: &Ended| {
            one.digest == first.digest
                && (first.client < one.client && one.client < last.client)
                && (one.record.is_there() || lies_unread(id))
                && one.speaks_for.contains(address.as_bytes())
        };
        let heirs = ended.iter().filter(|(id, one)| took_its_place(id, one));
        let (heir, record) = heirs.max_by_key(|(_, one)| one.client)?;
        // It has taken over what it knew; of what it did not know its own record speaks now.
        let own = match lies_unread(heir) {
            true => Some(Loss::Unread),
            false => self.loss_of(heir, last, address),
        };
        own.filter(|_| record.knows).or_else(|| self.loss(earlier, heir, address))
    }

    /// Why a transaction could not know of an earlier one's record.
    fn loss_of(&self, earlier: &str, later: &Ended, address: &str) -> Option<Loss> {
        match self.witness.ended.get(earlier)?.record {
            Fate::Refused => Some(Loss::Refused),
            Fate::Lost => Some(Loss::Died),
            Fate::ThrownAway => Some(Loss::Unread),
            Fate::Intended if !self.hops_resume() || self.was_stored(earlier, address) => {
                Some(Loss::Died)
            }
            Fate::Open | Fate::Kept | Fate::Found | Fate::Intended => {
                let unanswered = !self.hops_resume() && self.was_unanswered(earlier);
                let unknown = later.unknown.get(earlier).copied();
                unanswered.then_some(Loss::Unanswered).or(unknown)
            }
        }
    }

    /// What was seen of a transaction, for whoever looks into a broken promise.
    pub fn seen(&self, id: &str) -> String {
        let seen = self.witness.ended.get(id);
        seen.map_or(format!("{id} was not recorded"), |one| {
            let Ended { record, unknown, .. } = one;
            format!("{id}: record {record:?}, could not know of {unknown:?}")
        })
    }

    fn hops_resume(&self) -> bool {
        self.sinks.iter().any(|sink| sink.script.offers.has("RESUME"))
    }

    /// Whether the copy lies in a Maildir, which cannot be asked.
    fn was_stored(&self, id: &str, address: &str) -> bool {
        let is_it = |stored: &Stored| {
            stored.recipient == address.as_bytes() && transaction_of(&stored.content) == Some(id)
        };
        self.stored.iter().any(is_it)
    }

    fn was_unanswered(&self, id: &str) -> bool {
        self.unanswered.iter().any(|content| transaction_of(content) == Some(id))
    }

    // ---- what is seen -----------------------------------------------------------------------

    /// A session asks the ledger.
    pub(super) fn see_request(&mut self, id: ClientId, request: &Request) {
        let (at, witness) = (self.now, &mut self.witness);
        if request.wants_answer() {
            let (disk_failures, disk_fails) = (witness.disk_failures, witness.disk_fails);
            witness.asked.insert(id, Asked { at, disk_failures, disk_fails });
        }
        match request {
            Request::Open { record, .. } => self.see_begun_anew(id, record.key),
            Request::Begin { record, look_up: true, .. } => {
                self.see_end(id, record);
                self.see_record(id, record);
            }
            Request::Begin { record, .. } | Request::Commit { record, .. } => {
                self.see_record(id, record);
            }
            _ => {}
        }
    }

    /// A message has come to its end mark, and its ledger is asked for earlier ones.
    fn see_end(&mut self, client: ClientId, record: &Record) {
        let digest = record.content.map(|content| content.digest);
        let stands = |one: &Ended| {
            let client = &self.clients[one.client.0];
            one.digest == digest && !(client.gone || client.crashed || client.session.is_over())
        };
        let unseen = self.witness.ended.iter().filter(|(_, one)| stands(one));
        let unknown = unseen.map(|(id, _)| (id.clone(), Loss::Unseen)).collect();
        let (at, speaks_for) = (self.now, BTreeSet::new());
        let one =
            Ended { client, at, digest, record: Fate::Open, unknown, knows: false, speaks_for };
        let id = record.trace_id.to_string();
        self.witness.ended.insert(id.clone(), one);
        self.witness.last.insert(client, id);
    }

    fn see_record(&mut self, client: ClientId, record: &Record) {
        let done = |address: &&[u8]| known_copy(record, address, record.rules).is_some();
        let addresses = record.accepted().map(|one| &*one.address);
        let speaks_for = addresses.filter(done).map(Box::from).collect();
        if let Some(one) = self.witness.last_of(client) {
            one.speaks_for = speaks_for;
        }
    }

    /// The ledger answers.
    pub(super) fn see_answer(&mut self, id: ClientId, answer: &Answer) {
        if matches!(answer, Answer::Superseded(_)) {
            return;
        }
        let witness = &mut self.witness;
        let Some(asked) = witness.asked.remove(&id) else { return };
        let late = self.now.since(asked.at) >= LEDGER_ANSWER_TIMEOUT;
        let failed = asked.disk_fails || asked.disk_failures != witness.disk_failures;
        match answer {
            Answer::Recalled(_) if late => _ = witness.blind_since.insert(id, asked.at),
            Answer::Begun(Begun::Known(_)) => {
                if let Some(one) = witness.last_of(id) {
                    one.knows = true;
                }
            }
            Answer::Committed { recorded } => {
                let refused = !recorded && (late || failed);
                if let Some(one) = witness.last_of(id) {
                    one.record = if refused { Fate::Refused } else { Fate::Kept };
                }
            }
            _ => {}
        }
    }

    /// A session hands a message on.
    pub(super) fn see_handed_on(&mut self, client: ClientId) {
        let Some((at, digest)) = self.witness.last_of(client).map(|one| (one.at, one.digest))
        else {
            return;
        };
        if self.now.since(at) < LEDGER_ANSWER_TIMEOUT {
            return;
        }
        let same = |record: &Record| record.content.map(|one| one.digest) == digest;
        let unread = self.unread_since(at, same);
        if let Some(one) = self.witness.last_of(client) {
            one.unknown.extend(unread.into_iter().map(|id| (id, Loss::Unread)));
        }
    }

    /// A client begins anew under an id, so that what lies there is thrown away. It would not have done so,
    /// had it been told of it.
    fn see_begun_anew(&mut self, id: ClientId, key: Option<Key>) {
        let Some(since) = self.witness.blind_since.get(&id).copied() else { return };
        for earlier in self.unread_since(since, |record| record.key == key) {
            if let Some(one) = self.witness.ended.get_mut(&earlier) {
                one.record = Fate::ThrownAway;
            }
        }
    }

    /// Ids of records that lie on the disk and were not read for as long from then on as one waits for it.
    fn unread_since(&self, since: Tick, is_it: impl Fn(&Record) -> bool) -> Vec<String> {
        let Some(ledger) = &self.ledger else { return Vec::new() };
        let in_time = since..since + LEDGER_ANSWER_TIMEOUT;
        let unread = |row: &Row| {
            let reads = self.witness.read.get(row).into_iter().flatten();
            !reads.into_iter().any(|read| in_time.contains(read))
        };
        let rows = ledger.disk.rows().filter(|(row, _)| unread(row));
        let records = rows.filter_map(|(_, octets)| Record::decode(octets).ok());
        records.filter(is_it).map(|record| record.trace_id.into()).collect()
    }
}

impl Fate {
    /// Whether the next transaction should find it.
    fn is_there(self) -> bool {
        matches!(self, Fate::Kept | Fate::Found | Fate::Intended)
    }
}

impl Witness {
    fn last_of(&mut self, client: ClientId) -> Option<&mut Ended> {
        self.ended.get_mut(self.last.get(&client)?)
    }

    /// The disk has read a row.
    pub fn sees_read(&mut self, row: Row, now: Tick) {
        self.read.entry(row).or_default().push(now);
    }

    /// A commit has come to its end.
    pub fn sees_commit(&mut self, fails: bool) {
        self.disk_failures += u64::from(fails);
        self.disk_fails = fails;
    }

    /// The process dies: what is durable must be found by the next one, what is written may be.
    pub fn sees_death(&mut self, disk: &Disk) {
        self.written = outcomes_by_id(disk.rows().map(|(_, octets)| octets));
        self.left = outcomes_by_id(disk.durable_rows());
        self.asked.clear();
        self.disk_fails = false;
    }

    /// It is started again.
    pub fn sees_start(&mut self, disk: &Disk) {
        self.left.extend(outcomes_by_id(disk.rows().map(|(_, octets)| octets)));
        for (id, one) in &mut self.ended {
            one.record = match (one.record, self.left.get(id)) {
                (Fate::Open, Some(true)) => Fate::Found,
                (Fate::Open, Some(false)) => Fate::Intended,
                (Fate::Open, None) => Fate::Lost,
                // It outlived a process and not its machine.
                (Fate::Found | Fate::Intended, None) if self.written.contains_key(id) => Fate::Lost,
                (fate, _) => fate,
            };
        }
    }
}

/// The ids of records of which something may have been sent, and whether each has an outcome.
fn outcomes_by_id<'a>(rows: impl Iterator<Item = &'a [u8]>) -> BTreeMap<String, bool> {
    let records = rows.filter_map(|octets| Record::decode(octets).ok());
    let sent = records.filter(|record| record.phase != Phase::Open);
    sent.map(|record| (record.trace_id.to_string(), record.outcome().is_some())).collect()
}

/// The id of the transaction by which a copy was handed on: our Received field has it.
pub fn transaction_of(content: &[u8]) -> Option<&str> {
    let begin = memchr::memmem::find(content, b" id sim")? + b" id ".len();
    let rest = content.get(begin..)?;
    let end = rest.iter().position(|octet| b";\r".contains(octet))?;
    std::str::from_utf8(&rest[..end]).ok()
}
