//! The stage: connections, a clock, and faults. `clients` has the one side, `hops` the other.
//!
//! Whatever happens is an event with its time; events of one moment happen in the order of scheduling.

mod clients;
mod hops;
mod ledger;
mod witness;

use crate::now::{Now, Tick};
use crate::relay::{
    Address, Board, HopId, Probe, Protocol, Relay, Routes, StoreJob, Ticket, Verification,
};
use crate::session::{Answer, Gone, Listener, Record, Shared, Sources, Tables};
use crate::tally::Tally;
use crate::tools::sink::{Kept, Script};
use crate::wire::Budget;
use clients::ClientSide;
use fastrand::Rng;
use hops::HopSide;
use ledger::Ledger;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use witness::Witness;

pub use witness::{Loss, transaction_of};

/// A gateway with everything around it.
#[derive(Debug)]
pub struct World {
    now: Tick,
    chance: Rng,
    faults: Faults,
    shared: Shared,
    listeners: Vec<Arc<Listener>>,
    routes: Arc<Routes>,
    relay: Relay,
    clients: Vec<ClientSide>,
    sinks: Vec<Sink>,
    hops: HashMap<HopId, HopSide>,
    stored: Vec<Stored>,
    records: Vec<Record>,
    ledger: Option<Ledger>,
    /// The ledger's wishes are being fulfilled.
    draining_ledger: bool,
    witness: Witness,
    planted: Option<Planted>,
    /// How often the process has died.
    crashes: u64,
    /// How far the wall clock was set forward.
    clock_offset_s: i64,
    /// Contents that a next hop took while its answer was lost on the way to us.
    unanswered: Vec<Vec<u8>>,
    questions: Vec<Question>,
    /// Probes of sessions that the relay has not answered yet.
    probes_open: usize,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
}

/// A client of the world, by the order of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(usize);

impl ClientId {
    /// What the ids of its transactions begin with.
    pub fn session_id(self) -> String {
        format!("sim{}", self.0)
    }
}

/// A next hop of the world.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: Address,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it answers.
    pub script: Arc<Script>,
    /// What it has taken.
    pub kept: Kept,
}

/// A question about a recipient that did not come from a session.
#[derive(Clone, Debug)]
pub struct Question {
    /// What was asked.
    pub probe: Probe,
    /// When.
    pub at: Tick,
    /// When it was answered, and how.
    pub answer: Option<(Tick, Verification)>,
}

/// Tickets from this one on are those of questions that did not come from a session.
const QUESTIONS: u64 = 1 << 63;

/// A message in a Maildir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The route's folder, as text.
    pub folder: String,
    /// The recipient's address.
    pub recipient: Vec<u8>,
    /// The file.
    pub content: Vec<u8>,
}

/// How often things go wrong: each a chance in a thousand of its occasions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Octets arrive in pieces, and late by up to so many microseconds.
    pub latency_us_max: u64,
    /// A piece of a client's octets is lost with its connection.
    pub client_lost: u32,
    /// A connection to a next hop cannot be made.
    pub connect_fails: u32,
    /// Octets to or from a next hop are lost with their connection.
    pub hop_lost: u32,
    /// A next hop falls silent.
    pub hop_stalls: u32,
    /// A TLS handshake with a next hop fails.
    pub tls_fails: u32,
    /// A store fails.
    pub store_fails: u32,
    /// A commit of the ledger takes up to so many microseconds.
    pub disk_us_max: u64,
    /// A commit of the ledger fails.
    pub disk_fails: u32,
}

/// What must not happen, and what the oracle must not excuse: each is like a [`Loss`], and nothing was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The ledger takes commits for failed that are durable: like [`Loss::Refused`].
    TakenForRefused,
    /// Durable outcomes are not there when the process starts again: like [`Loss::Died`].
    NotThereAtTheStart,
    /// Rows are said not to be there: like [`Loss::Unread`].
    NotFound,
    /// The ledger is not told that connections are gone: like [`Loss::Unseen`].
    NotHeardOf,
    /// Next hops that offer RESUME are not asked what they have: like [`Loss::Unanswered`].
    NotAsked,
}

/// What was sent first arrives first.
#[derive(Debug, Default)]
struct Stream {
    last_due: Tick,
}

#[derive(Debug)]
struct Scheduled {
    due: Tick,
    order: u64,
    event: Event,
}

#[derive(Debug)]
enum Event {
    ToSession(ClientId, Vec<u8>),
    ClientGone(ClientId, Gone),
    /// Octets for a client, and for how many plain ones of its session they stand.
    ToClient(ClientId, Vec<u8>, usize),
    ServerEnded(ClientId),
    HopConnected(HopId),
    HopLost(HopId),
    /// The TLS handshake with a next hop is done.
    HopSecured(HopId),
    ToSink(HopId, Vec<u8>),
    /// Octets for the gateway, and the contents that they settle.
    ToHop(HopId, Vec<u8>, Vec<Vec<u8>>),
    SinkResumes(HopId),
    Stored(Box<StoreJob>),
    DiskDone,
}

impl World {
    /// A world with these listeners, tables, routes and next hops.
    pub fn new(
        listeners: Vec<Arc<Listener>>,
        tables: Arc<Tables>,
        routes: Arc<Routes>,
        sinks: Vec<Sink>,
        seed: u64,
        faults: Faults,
    ) -> World {
        let mut relay = Relay::new(Arc::clone(&routes));
        relay.start_up(Tick::START);
        let shared = Shared {
            tables,
            budget: Budget::new(64 << 20),
            tally: Rc::new(Tally::default()),
            board: relay.board(),
            sources: Sources::default(),
            ledger: None,
        };
        let mut world = World {
            now: Tick::START,
            chance: Rng::with_seed(seed),
            faults,
            shared,
            listeners,
            routes,
            relay,
            clients: Vec::new(),
            sinks,
            hops: HashMap::new(),
            stored: Vec::new(),
            records: Vec::new(),
            ledger: None,
            draining_ledger: false,
            witness: Witness::default(),
            planted: None,
            crashes: 0,
            clock_offset_s: 0,
            unanswered: Vec::new(),
            questions: Vec::new(),
            probes_open: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
        };
        world.drain_relay();
        world
    }

    /// Lets happen what happens within `span`, deadlines included.
    pub fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Lets happen what is due now; no time passes.
    pub fn run_now(&mut self) {
        let now = self.now;
        while self.step(now) {}
    }

    /// Does the next thing that is due, if it is due by `until`. False if nothing was.
    pub fn step(&mut self, until: Tick) -> bool {
        let event = self.events.peek().map(|Reverse(next)| next.due);
        let relay = self.relay.deadline();
        let session = self.next_session_deadline();
        let ledger = self.ledger_deadline();
        let next = [event, relay, ledger, session.map(|(due, _)| due)].into_iter().flatten().min();
        let Some(due) = next.filter(|due| *due <= until) else { return false };
        self.now = self.now.max(due);
        if event == Some(due) {
            if let Some(Reverse(Scheduled { event, .. })) = self.events.pop() {
                self.happen(event);
            }
        } else if relay == Some(due) {
            self.relay.timed_out(self.now);
            self.drain_relay();
        } else if ledger == Some(due) {
            self.ledger_due(due);
        } else if let Some((_, id)) = session {
            let now = self.now();
            self.clients[id.0].session.timed_out(now);
            self.drain_session(id);
        }
        self.check_invariants();
        true
    }

    /// Whether nothing is on its way and no transaction is open.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && self.relay.plans_open() == 0
    }

    /// The time on the world's clock.
    pub fn tick(&self) -> Tick {
        self.now
    }

    /// What the sessions have counted.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// The records of all transactions that are over.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What is known of the routes.
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// The next hops.
    pub fn sinks(&self) -> &[Sink] {
        &self.sinks
    }

    /// The messages in Maildirs.
    pub fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// Somebody asks the relay about a recipient.
    pub fn ask(&mut self, probe: Probe) {
        let ticket = Ticket(QUESTIONS + self.questions.len() as u64);
        self.questions.push(Question { probe: probe.clone(), at: self.now, answer: None });
        self.relay.verify(ticket, probe, self.now);
        self.drain_relay();
    }

    /// All questions, with their answers.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Contents that a next hop took while its answer was lost on the way to us.
    pub fn unanswered(&self) -> &[Vec<u8>] {
        &self.unanswered
    }

    /// Octets that message bodies hold now.
    pub fn body_octets_held(&self) -> u64 {
        self.shared.budget.taken()
    }

    /// For tests of the oracle: a relay that sends again what may have been taken.
    #[cfg(test)]
    pub(super) fn plant_bug(&mut self) {
        self.relay.plant_bug();
    }

    /// For tests of the oracle: something that must not happen.
    pub fn plant(&mut self, planted: Planted) {
        self.planted = Some(planted);
    }

    // ---- what happens -----------------------------------------------------------------------

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToSession(id, octets) => self.session_receives(id, &octets),
            Event::ClientGone(id, gone) => self.client_gone(id, gone),
            Event::ToClient(id, octets, plain) => self.client_receives(id, octets, plain),
            Event::ServerEnded(id) => self.clients[id.0].server_ended = true,
            Event::HopConnected(id) => {
                self.relay.connected(id, self.now);
                self.drain_relay();
                // With TLS from the first octet on, even the banner comes after the handshake.
                if self.hops.get(&id).is_some_and(|hop| !hop.securing) {
                    self.drain_sink(id, usize::MAX);
                }
            }
            Event::HopSecured(id) => self.hop_secured(id),
            Event::HopLost(id) => {
                self.hops.remove(&id);
                self.relay.lost(id, self.now);
                self.drain_relay();
            }
            Event::ToSink(id, octets) => self.sink_receives(id, &octets),
            Event::ToHop(id, octets, settles) => self.hop_receives(id, &octets, settles),
            Event::SinkResumes(id) => {
                let Some(hop) = self.hops.get_mut(&id) else { return };
                let before = self.sinks[hop.sink].kept.count();
                hop.session.resume();
                self.drain_sink(id, before);
            }
            Event::Stored(job) => self.store(&job),
            Event::DiskDone => self.disk_done(),
        }
    }

    // ---- effects ----------------------------------------------------------------------------

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(number) = ticket.0.checked_sub(QUESTIONS) {
            if let Answer::Verified(verification) = answer {
                self.questions[number as usize].answer = Some((self.now, verification));
            }
            return;
        }
        if matches!(answer, Answer::Verified(_)) {
            self.probes_open -= 1;
        }
        let (id, now) = (ClientId(ticket.0 as usize), self.now());
        self.clients[id.0].session.answered(answer, now);
        self.drain_session(id);
    }

    // ---- chance and time --------------------------------------------------------------------

    fn now(&self) -> Now {
        Now {
            tick: self.now,
            unix_s: 1_795_507_200 + self.clock_offset_s + (self.now.as_us() / 1_000_000) as i64,
        }
    }

    fn happens(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && self.chance.u32(0..1_000) < in_a_thousand
    }

    fn latency(&mut self) -> Duration {
        match self.faults.latency_us_max {
            0 => Duration::ZERO,
            most => self.drawn_up_to(most),
        }
    }

    fn drawn_up_to(&mut self, most_us: u64) -> Duration {
        Duration::from_micros(self.chance.u64(0..=most_us))
    }

    /// When something sent now arrives, behind all that was sent on the same stream.
    fn arrival(&mut self, stream: impl Fn(&mut World) -> &mut Stream) -> Tick {
        let due = self.now + self.latency();
        let stream = stream(self);
        stream.last_due = stream.last_due.max(due);
        stream.last_due
    }

    fn schedule(&mut self, due: Tick, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse(Scheduled { due, order: self.scheduled, event }));
    }

    fn next_session_deadline(&self) -> Option<(Tick, ClientId)> {
        let alive = |client: &ClientSide| !client.crashed && !client.session.is_over();
        let deadlines = self.clients.iter().enumerate().filter(|(_, client)| alive(client));
        deadlines
            .filter_map(|(index, client)| Some((client.session.deadline()?, ClientId(index))))
            .min()
    }

    fn check_invariants(&self) {
        let asking: HashSet<usize> = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| !client.crashed && client.session.is_busy())
            .map(|(index, _)| index)
            .collect();
        let questions = self.questions.iter().filter(|question| question.answer.is_none());
        debug_assert!(
            self.relay.plans_open() <= asking.len() + questions.count() + self.probes_open,
            "each open plan has its session"
        );
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}
