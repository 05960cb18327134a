//! The stage: connections, a clock, and faults.

mod ledger;

use crate::now::{Now, Tick};
use crate::relay::{
    Address, Board, HopId, Outcome, Probe, Protocol, Relay, RelayEffect, Routes, StoreJob, Ticket,
    Verification,
};
use crate::session::{
    Answer, Ask, Client, Effect, Gone, Listener, Record, Session, Shared, Source, Sources, Tables,
};
use crate::tally::Tally;
use crate::tls::{TlsFacts, TlsStream};
use crate::tools::sink::{Kept, Misdeed, Point, Script, SinkEffect, SinkSession};
use crate::wire::{Budget, Output, replies};
use core::net::IpAddr;
use fastrand::Rng;
use ledger::Ledger;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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

#[derive(Debug)]
struct ClientSide {
    session: Session,
    /// The process that had the session is gone.
    crashed: bool,
    /// What the server sent: one entry a send.
    received: Vec<Vec<u8>>,
    /// The server has ended its side, or closed.
    server_ended: bool,
    /// The client is gone, or the server has closed.
    over: bool,
    /// The last octets that the server sent have reached the client.
    acknowledged: bool,
    /// The connection is lost when so many octets more have been received.
    lost_after: Option<usize>,
    /// The server's side of TLS, once it has begun.
    tls: Option<Box<TlsStream>>,
    listener: Arc<Listener>,
    to_session: Stream,
    to_client: Stream,
}

#[derive(Debug)]
struct HopSide {
    sink: usize,
    session: SinkSession,
    stalled: bool,
    /// A TLS handshake is under way.
    securing: bool,
    /// Octets for the sink that have not arrived.
    unsent: u64,
    to_sink: Stream,
    to_hop: Stream,
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

    /// A client connects to a listener. `None` if there is none of that name.
    pub fn connect(&mut self, listener: &str, from: IpAddr) -> Option<ClientId> {
        let listener = self.listeners.iter().find(|one| one.name == listener).map(Arc::clone)?;
        let id = ClientId(self.clients.len());
        let session_id = format!("sim{}", id.0);
        let client = Client {
            address: Some(from),
            port: None,
            session_id,
            seat: id.0 as u64,
            listener: 0,
            place: self.shared.sources.connected(Source::of(0, from), 0),
        };
        let own = Arc::clone(&listener);
        let session = Session::new(own, self.shared.clone(), client, self.now());
        self.clients.push(ClientSide {
            session,
            crashed: false,
            received: Vec::new(),
            server_ended: false,
            over: false,
            acknowledged: false,
            lost_after: None,
            tls: None,
            listener,
            to_session: Stream::default(),
            to_client: Stream::default(),
        });
        self.drain_session(id);
        Some(id)
    }

    /// The client writes.
    pub fn write(&mut self, id: ClientId, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let length = match self.faults.latency_us_max {
                0 => rest.len(),
                _ => self.chance.usize(1..=rest.len()),
            };
            let (piece, later) = rest.split_at(length);
            if self.happens(self.faults.client_lost) {
                return self.client_goes(id, Gone::Lost);
            }
            let due = self.arrival(|world| &mut world.clients[id.0].to_session);
            self.schedule(due, Event::ToSession(id, piece.to_vec()));
            rest = later;
        }
    }

    /// The client ends its side, or is gone.
    pub fn client_goes(&mut self, id: ClientId, gone: Gone) {
        let due = self.arrival(|world| &mut world.clients[id.0].to_session);
        self.schedule(due, Event::ClientGone(id, gone));
    }

    /// The connection is lost when the client has received so many octets more; not under TLS.
    pub fn lose_after(&mut self, id: ClientId, octets: usize) {
        self.clients[id.0].lost_after = Some(octets);
    }

    /// What the server sent since the last call, one entry a send.
    pub fn take_received(&mut self, id: ClientId) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.clients[id.0].received)
    }

    /// Whether the server has ended its side of the connection.
    pub fn server_ended(&self, id: ClientId) -> bool {
        self.clients[id.0].server_ended
    }

    /// Whether the connection is gone on the client's side.
    pub fn is_over(&self, id: ClientId) -> bool {
        self.clients[id.0].over
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

    fn session_receives(&mut self, id: ClientId, octets: &[u8]) {
        let now = self.now();
        let client = &mut self.clients[id.0];
        if !client.over && !client.crashed {
            if client.acknowledged && client.session.awaits_acknowledgement() {
                client.session.reply_acknowledged();
            }
            match &mut client.tls {
                Some(_) => self.sealed_came(id, octets),
                None => client.session.receive(octets, now),
            }
            self.drain_session(id);
        }
    }

    /// The session wants TLS; its client has sent these octets already.
    fn clients_tls_begins(&mut self, id: ClientId, early: &[u8]) {
        let client = &mut self.clients[id.0];
        let tls = client.listener.tls.as_ref();
        let stream = tls.and_then(|tls| TlsStream::server(&tls.server).ok());
        client.tls = stream.map(Box::new);
        match client.tls {
            Some(_) if early.is_empty() => {}
            Some(_) => self.sealed_came(id, early),
            None => self.client_gone(id, Gone::Lost),
        }
    }

    /// Sealed octets of a client: what is in them is its session's.
    fn sealed_came(&mut self, id: ClientId, sealed: &[u8]) {
        let now = self.now();
        let client = &mut self.clients[id.0];
        let Some(tls) = &mut client.tls else { return };
        let (handshaking, open) = (tls.facts().is_none(), !tls.peer_closed());
        let mut plain = Vec::new();
        let failed = tls.receive(sealed, &mut plain).is_err();
        if let Some(facts) = tls.facts().filter(|_| handshaking).cloned() {
            client.session.secured(facts, now);
        }
        if !plain.is_empty() {
            client.session.receive(&plain, now);
        }
        let closed = tls.peer_closed() && open;
        self.send_sealed(id);
        match (failed, closed) {
            (true, _) => {
                self.clients[id.0].server_ended = true;
                self.client_gone(id, Gone::Lost);
            }
            (false, true) => self.client_gone(id, Gone::HalfClosed),
            (false, false) => {}
        }
    }

    /// Sends what TLS has to say by itself.
    fn send_sealed(&mut self, id: ClientId) {
        let octets = self.clients[id.0].sealed(Vec::new());
        if !octets.is_empty() {
            let due = self.arrival(|world| &mut world.clients[id.0].to_client);
            self.schedule(due, Event::ToClient(id, octets, 0));
        }
    }

    /// The server's side ends; under TLS it says so.
    fn say_farewell(&mut self, id: ClientId) {
        if let Some(tls) = &mut self.clients[id.0].tls {
            tls.close();
            self.send_sealed(id);
        }
    }

    fn client_gone(&mut self, id: ClientId, gone: Gone) {
        let now = self.now();
        let client = &mut self.clients[id.0];
        client.over |= gone == Gone::Lost;
        if client.crashed {
            return;
        }
        if gone == Gone::HalfClosed && client.acknowledged {
            client.session.reply_acknowledged();
        }
        client.session.peer_closed(gone, now);
        self.drain_session(id);
    }

    fn client_receives(&mut self, id: ClientId, mut octets: Vec<u8>, plain: usize) {
        let now = self.now();
        let client = &mut self.clients[id.0];
        if client.crashed {
            if !client.over {
                client.received.push(octets);
            }
            return;
        }
        if let Some(left) = client.lost_after.as_mut().filter(|_| !client.over) {
            if octets.len() >= *left {
                octets.truncate(*left);
                client.session.sent(octets.len(), now);
                client.received.push(octets);
                return self.client_gone(id, Gone::Lost);
            }
            *left -= octets.len();
        }
        client.session.sent(plain, now);
        client.acknowledged = !client.over;
        if !client.over {
            client.received.push(octets);
        }
        self.drain_session(id);
    }

    fn sink_receives(&mut self, id: HopId, octets: &[u8]) {
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.unsent -= octets.len() as u64;
        self.relay.sent(id, hop.unsent, self.now);
        self.drain_relay();
        if self.happens(self.faults.hop_lost) {
            return self.lose_hop(id);
        }
        let stalls = self.happens(self.faults.hop_stalls);
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.stalled |= stalls;
        if hop.stalled {
            return;
        }
        let before = self.sinks[hop.sink].kept.count();
        hop.session.receive(octets);
        self.drain_sink(id, before);
    }

    fn hop_receives(&mut self, id: HopId, octets: &[u8], settles: Vec<Vec<u8>>) {
        let lost = self.happens(self.faults.hop_lost);
        if lost || !self.hops.contains_key(&id) {
            self.unanswered.extend(settles);
            return self.lose_hop(id);
        }
        self.relay.receive(id, octets, self.now);
        self.drain_relay();
    }

    fn hop_secured(&mut self, id: HopId) {
        if self.happens(self.faults.tls_fails) {
            return self.lose_hop(id);
        }
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.securing = false;
        hop.session.secured();
        self.relay.secured(id, &TlsFacts::default(), self.now);
        self.drain_relay();
        self.drain_sink(id, usize::MAX);
    }

    fn lose_hop(&mut self, id: HopId) {
        self.hops.remove(&id);
        self.relay.lost(id, self.now);
        self.drain_relay();
    }

    fn store(&mut self, job: &StoreJob) {
        let fails = self.happens(self.faults.store_fails);
        let outcomes = match fails {
            true => job.failed(&replies::LOCAL_FAULT),
            false => {
                job.recipients.iter().map(|recipient| self.store_copy(job, *recipient)).collect()
            }
        };
        self.relay.stored(job, outcomes);
        self.drain_relay();
    }

    fn store_copy(&mut self, job: &StoreJob, recipient: usize) -> Outcome {
        let mut content = Vec::new();
        if job.write(recipient, &mut content).is_err() {
            return Outcome::Failed(replies::LOCAL_FAULT);
        }
        self.stored.push(Stored {
            folder: job.folder.display().to_string(),
            recipient: job.envelope.recipients[recipient].address.to_vec(),
            content,
        });
        Outcome::Delivered
    }

    // ---- effects ----------------------------------------------------------------------------

    fn drain_session(&mut self, id: ClientId) {
        while let Some(effect) = self.clients[id.0].session.poll_effect() {
            match effect {
                Effect::Send(octets) => {
                    let due = self.arrival(|world| &mut world.clients[id.0].to_client);
                    let plain = octets.len();
                    let octets = self.clients[id.0].sealed(octets);
                    self.schedule(due, Event::ToClient(id, octets, plain));
                }
                Effect::Ask(Ask::Relay(plan)) => {
                    self.relay.start(Ticket(id.0 as u64), plan, self.now);
                    self.drain_relay();
                }
                Effect::Ask(Ask::Ledger(request)) => self.ask_ledger(id, *request),
                Effect::Ask(Ask::Verify(probe)) => {
                    self.probes_open += 1;
                    self.relay.verify(Ticket(id.0 as u64), probe, self.now);
                    self.drain_relay();
                }
                Effect::StartTls(early) => self.clients_tls_begins(id, &early),
                Effect::Record(record) => self.records.push(*record),
                Effect::ShutdownWrite | Effect::Close => {
                    self.say_farewell(id);
                    let due = self.arrival(|world| &mut world.clients[id.0].to_client);
                    self.schedule(due, Event::ServerEnded(id));
                }
                Effect::Abort => {
                    self.clients[id.0].server_ended = true;
                    self.clients[id.0].over = true;
                }
            }
        }
    }

    fn drain_relay(&mut self) {
        while let Some(effect) = self.relay.poll_effect() {
            match effect {
                RelayEffect::Connect(id, address) => self.make_hop(id, &address),
                RelayEffect::Send(id, output) => self.send_to_sink(id, &output),
                RelayEffect::Close(id) | RelayEffect::Abort(id) => _ = self.hops.remove(&id),
                RelayEffect::StartTls(id) => {
                    if let Some(hop) = self.hops.get_mut(&id) {
                        hop.securing = true;
                    }
                    let due = self.hop_arrival(id, |hop| &mut hop.to_hop);
                    self.schedule(due, Event::HopSecured(id));
                }
                RelayEffect::Store(job) => {
                    let due = self.now + self.latency();
                    self.schedule(due, Event::Stored(Box::new(job)));
                }
                RelayEffect::Done(ticket, outcomes) => {
                    self.answer(ticket, Answer::Relayed(outcomes));
                }
                RelayEffect::Verified(ticket, verification) => {
                    self.answer(ticket, Answer::Verified(verification));
                }
            }
        }
    }

    /// Octets go on their way to a sink, in a few pieces.
    fn send_to_sink(&mut self, id: HopId, output: &Output) {
        let octets: Vec<u8> = output.slices().flatten().copied().collect();
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.unsent += octets.len() as u64;
        let pieces = if self.faults.latency_us_max == 0 { 1 } else { self.chance.usize(1..=3) };
        for piece in octets.chunks(octets.len().div_ceil(pieces).max(1)) {
            let due = self.hop_arrival(id, |hop| &mut hop.to_sink);
            self.schedule(due, Event::ToSink(id, piece.to_vec()));
        }
    }

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

    fn make_hop(&mut self, id: HopId, address: &Address) {
        let found = self.sinks.iter().position(|sink| sink.address == *address);
        let due = self.now + self.latency();
        let Some(sink) = found.filter(|_| !self.happens(self.faults.connect_fails)) else {
            return self.schedule(due, Event::HopLost(id));
        };
        let Sink { protocol, script, kept, .. } = self.sinks[sink].clone();
        let session = SinkSession::new(protocol, script, kept);
        let (to_sink, to_hop) = (Stream { last_due: due }, Stream { last_due: due });
        let (stalled, securing, unsent) = (false, false, 0);
        let hop = HopSide { sink, session, stalled, securing, unsent, to_sink, to_hop };
        self.hops.insert(id, hop);
        self.schedule(due, Event::HopConnected(id));
    }

    /// Sends what a sink has to say; messages kept since there were `before` are settled by it.
    fn drain_sink(&mut self, id: HopId, before: usize) {
        let Some(hop) = self.hops.get(&id) else { return };
        let sink = &self.sinks[hop.sink];
        let mut settles: Vec<Vec<u8>> =
            sink.kept.since(before).into_iter().map(|message| message.content).collect();
        let misdeed = sink.script.misdeed(Point::End);
        if misdeed.is_some_and(|misdeed| *misdeed != Misdeed::Surplus) {
            self.unanswered.append(&mut settles);
        }
        while let Some(effect) = self.hops.get_mut(&id).and_then(|hop| hop.session.poll_effect()) {
            match effect {
                SinkEffect::Send(octets) => {
                    let due = self.hop_arrival(id, |hop| &mut hop.to_hop);
                    let settles = std::mem::take(&mut settles);
                    self.schedule(due, Event::ToHop(id, octets, settles));
                }
                // The handshake begins when the gateway has read the reply.
                SinkEffect::StartTls(_) => {}
                SinkEffect::Wait(span) => {
                    self.schedule(self.now + span, Event::SinkResumes(id));
                }
                SinkEffect::Close => {
                    let due = self.hop_arrival(id, |hop| &mut hop.to_hop);
                    self.schedule(due, Event::HopLost(id));
                }
            }
        }
        self.unanswered.append(&mut settles);
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

    fn hop_arrival(&mut self, id: HopId, stream: impl Fn(&mut HopSide) -> &mut Stream) -> Tick {
        let due = self.now + self.latency();
        let Some(hop) = self.hops.get_mut(&id) else { return due };
        let stream = stream(hop);
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

impl ClientSide {
    /// Octets as they leave for the client.
    fn sealed(&mut self, octets: Vec<u8>) -> Vec<u8> {
        match &mut self.tls {
            None => octets,
            Some(tls) => {
                tls.send(&octets);
                tls.take_sealed()
            }
        }
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
