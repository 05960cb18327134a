//! What a shard does with its sockets: sessions towards clients, the relay towards next hops.
//!
//! Events of the ring become verbs of sessions and of the relay; their effects become verbs of the
//! ring. Nothing here decides anything about mail.

use super::executor::Driver;
use super::mailbox::{Letter, Mailbox};
use super::ring::{Close, Counters, Event, Ring};
use super::socket::SocketId;
use super::stores::Stores;
use crate::limits::{DRAIN_TIMEOUT, ORDERLY_CLOSE_TIMEOUT, RELAY_TICK};
use crate::now::{Now, Tick};
use crate::relay::{HopId, Relay, RelayEffect, Routes, Ticket};
use crate::session::{
    Answer, Ask, Client, Effect, Gone, Listener, Record, Session, Shared, Tables,
};
use crate::tally::{Counts, Tally};
use crate::wire::Budget;
use hdrhistogram::Histogram;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// All that a shard needs, made by the thread that starts it.
pub(super) struct ShardParts {
    /// The listeners, by the tag of their sockets.
    pub listeners: Vec<Arc<Listener>>,
    pub tables: Arc<Tables>,
    pub routes: Arc<Routes>,
    pub body_memory_octets: u64,
    /// What every session id of this shard begins with, in this run of the program only.
    pub id_prefix: String,
    pub mailbox: Mailbox,
    pub inbox: mpsc::Receiver<Letter>,
    pub stores: Stores,
    pub log: Option<rtrb::Producer<Record>>,
}

/// What a shard has counted, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What its sessions counted.
    pub counts: Counts,
    /// What its ring counted.
    pub ring: Counters,
    /// Octets that message bodies hold.
    pub body_octets: u64,
    /// Sessions that are open, those whose client is gone included.
    pub sessions_open: u64,
    /// From the end mark to the reply set, in microseconds.
    pub decision_us: Histogram<u64>,
}

/// The driver of one shard.
pub(super) struct Core {
    parts: ShardParts,
    clock: Clock,
    shared: Shared,
    relay: Relay,
    sessions: Slab<Seat>,
    sessions_made: u32,
    /// Who is at a socket, by its slot.
    sides: Vec<Option<Side>>,
    hop_sockets: HashMap<HopId, SocketId, foldhash::fast::RandomState>,
    /// Sessions whose effects are to be looked at.
    stirred: VecDeque<usize>,
    deadlines: BinaryHeap<Reverse<(Tick, usize, u32)>>,
    relay_looked_at: Tick,
    /// Sockets that were closed while octets were still to be sent.
    leaving: VecDeque<(Tick, SocketId)>,
    decision_us: Histogram<u64>,
    draining_until: Option<Tick>,
}

/// A session and its connection.
struct Seat {
    session: Session,
    number: u32,
    /// `None` when the connection is gone and the transaction goes on.
    socket: Option<SocketId>,
    paused: bool,
    /// The deadline that lies in the queue; it may lie there longer than it holds.
    queued: Option<Tick>,
}

/// Who is at a socket.
#[derive(Clone, Copy)]
struct Side {
    socket: SocketId,
    who: Who,
}

#[derive(Clone, Copy)]
enum Who {
    Client(usize),
    Hop(HopId),
}

/// The clocks of the system, as sessions are told them.
struct Clock {
    began: Instant,
}

impl Clock {
    fn now(&self) -> Now {
        let us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { tick: Tick::from_us(us), unix_s: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX) }
    }
}

impl Core {
    /// A shard without connections.
    pub fn new(parts: ShardParts) -> Core {
        let relay = Relay::new(Arc::clone(&parts.routes));
        let shared = Shared {
            tables: Arc::clone(&parts.tables),
            budget: Budget::new(parts.body_memory_octets),
            tally: Rc::new(Tally::default()),
            board: relay.board(),
        };
        Core {
            parts,
            clock: Clock { began: Instant::now() },
            shared,
            relay,
            sessions: Slab::new(),
            sessions_made: 0,
            sides: Vec::new(),
            hop_sockets: HashMap::default(),
            stirred: VecDeque::new(),
            deadlines: BinaryHeap::new(),
            relay_looked_at: Tick::START,
            leaving: VecDeque::new(),
            decision_us: new_histogram(),
            draining_until: None,
        }
    }

    // ---- sockets ----------------------------------------------------------------------------

    fn accepted(&mut self, ring: &mut Ring, tag: u32, socket: SocketId, peer: Option<SocketAddr>) {
        let Some(listener) = self.parts.listeners.get(tag as usize) else {
            return ring.close(socket, Close::Reset);
        };
        self.sessions_made = self.sessions_made.wrapping_add(1);
        let number = self.sessions_made;
        let client = Client {
            address: peer.map(|peer| unmapped(peer.ip())),
            port: peer.map(|peer| peer.port()),
            session_id: format!("{}{number:x}", self.parts.id_prefix),
        };
        let session =
            Session::new(Arc::clone(listener), self.shared.clone(), client, self.clock.now());
        self.shared.tally.connections.count();
        let seat = Seat { session, number, socket: Some(socket), paused: false, queued: None };
        let index = self.sessions.insert(seat);
        self.seat_at(socket, Who::Client(index));
        self.stirred.push_back(index);
    }

    fn received(&mut self, socket: SocketId, octets: &[u8]) {
        let now = self.clock.now();
        match self.who(socket) {
            Some(Who::Client(index)) => {
                self.sessions[index].session.receive(octets, now);
                self.stirred.push_back(index);
            }
            Some(Who::Hop(id)) => self.relay.receive(id, octets, now.tick),
            None => {}
        }
    }

    fn sent(&mut self, socket: SocketId, octets: u64) {
        if let Some(Who::Client(index)) = self.who(socket) {
            let octets = usize::try_from(octets).unwrap_or(usize::MAX);
            self.sessions[index].session.sent(octets, self.clock.now());
            self.stirred.push_back(index);
        }
    }

    fn peer_closed(&mut self, ring: &mut Ring, socket: SocketId) {
        let now = self.clock.now();
        match self.who(socket) {
            Some(Who::Client(index)) => {
                self.sessions[index].session.peer_closed(Gone::HalfClosed, now);
                self.stirred.push_back(index);
            }
            Some(Who::Hop(id)) => {
                self.forget(socket);
                self.hop_sockets.remove(&id);
                ring.close(socket, Close::Orderly);
                self.relay.lost(id, now.tick);
            }
            None => {}
        }
    }

    fn broken(&mut self, ring: &mut Ring, socket: SocketId) {
        let who = self.who(socket);
        self.forget(socket);
        ring.close(socket, Close::Reset);
        self.gone(who);
    }

    /// A connection is dead, and its socket forgotten.
    fn gone(&mut self, who: Option<Who>) {
        let now = self.clock.now();
        match who {
            Some(Who::Client(index)) => {
                self.shared.tally.connections_closed.count();
                self.sessions[index].socket = None;
                self.sessions[index].session.peer_closed(Gone::Lost, now);
                self.stirred.push_back(index);
            }
            Some(Who::Hop(id)) => {
                self.hop_sockets.remove(&id);
                self.relay.lost(id, now.tick);
            }
            None => {}
        }
    }

    fn seat_at(&mut self, socket: SocketId, who: Who) {
        if self.sides.len() <= socket.slot() {
            self.sides.resize(socket.slot() + 1, None);
        }
        self.sides[socket.slot()] = Some(Side { socket, who });
    }

    fn who(&self, socket: SocketId) -> Option<Who> {
        let side = self.sides.get(socket.slot()).copied().flatten()?;
        (side.socket == socket).then_some(side.who)
    }

    fn forget(&mut self, socket: SocketId) {
        if self.who(socket).is_some() {
            self.sides[socket.slot()] = None;
        }
    }

    // ---- effects ----------------------------------------------------------------------------

    /// Carries out what sessions and the relay want, until neither wants anything. One list of
    /// work instead of calls in both directions: however much a client pipelines, the stack stays
    /// where it is.
    fn settle(&mut self, ring: &mut Ring) {
        loop {
            if let Some(effect) = self.relay.poll_effect() {
                self.relay_effect(ring, effect);
            } else if let Some(index) = self.stirred.pop_front() {
                self.settle_session(ring, index);
            } else {
                return;
            }
        }
    }

    fn settle_session(&mut self, ring: &mut Ring, index: usize) {
        while let Some(effect) =
            self.sessions.get_mut(index).and_then(|seat| seat.session.poll_effect())
        {
            self.session_effect(ring, index, effect);
        }
        let Some(seat) = self.sessions.get_mut(index) else { return };
        if seat.session.is_over() && seat.socket.is_none() {
            self.sessions.remove(index);
            return;
        }
        if let Some(socket) = seat.socket
            && seat.paused == seat.session.wants_octets()
        {
            seat.paused = !seat.paused;
            if seat.paused { ring.pause(socket) } else { ring.resume(socket) }
        }
        if let Some(deadline) = seat.session.deadline()
            && seat.queued.is_none_or(|queued| deadline < queued)
        {
            seat.queued = Some(deadline);
            self.deadlines.push(Reverse((deadline, index, seat.number)));
        }
    }

    fn session_effect(&mut self, ring: &mut Ring, index: usize, effect: Effect) {
        let seat = &mut self.sessions[index];
        match (effect, seat.socket) {
            (Effect::Send(octets), Some(socket)) => ring.send(socket, octets.into()),
            (Effect::ShutdownWrite, Some(socket)) => ring.shutdown_write(socket),
            (Effect::Close, Some(socket)) => {
                seat.socket = None;
                self.forget(socket);
                self.shared.tally.connections_closed.count();
                self.close(ring, socket);
            }
            (Effect::Abort, Some(socket)) => {
                self.forget(socket);
                ring.close(socket, Close::Reset);
                self.gone(Some(Who::Client(index)));
            }
            (Effect::Ask(Ask::Relay(plan)), _) => {
                let ticket = Ticket(u64::from(seat.number) << 32 | index as u64);
                self.relay.start(ticket, plan, self.clock.now().tick);
            }
            (Effect::Ask(Ask::Verify(_)), _) => {}
            (Effect::Record(record), _) => self.record(*record),
            (Effect::StartTls(_), _) => {}
            (Effect::Send(_) | Effect::ShutdownWrite | Effect::Close | Effect::Abort, None) => {}
        }
    }

    fn relay_effect(&mut self, ring: &mut Ring, effect: RelayEffect) {
        match effect {
            RelayEffect::Connect(id, address) => match ring.connect(&address) {
                Ok(socket) => {
                    self.hop_sockets.insert(id, socket);
                    self.seat_at(socket, Who::Hop(id));
                }
                Err(_) => self.relay.lost(id, self.clock.now().tick),
            },
            RelayEffect::Send(id, output) => {
                if let Some(socket) = self.hop_sockets.get(&id) {
                    ring.send(*socket, output);
                }
            }
            RelayEffect::Close(id) => {
                if let Some(socket) = self.hop_sockets.remove(&id) {
                    self.forget(socket);
                    self.close(ring, socket);
                }
            }
            RelayEffect::Store(job) => self.parts.stores.submit(job, self.parts.mailbox.clone()),
            RelayEffect::Done(Ticket(ticket), outcomes) => {
                let (index, number) = (ticket as u32 as usize, (ticket >> 32) as u32);
                let now = self.clock.now();
                if let Some(seat) = self.sessions.get_mut(index)
                    && seat.number == number
                {
                    seat.session.answered(Answer::Relayed(outcomes), now);
                    self.stirred.push_back(index);
                }
            }
        }
    }

    /// Closes when all is sent; a peer that does not take it is not waited for long.
    fn close(&mut self, ring: &mut Ring, socket: SocketId) {
        if ring.unsent_octets(socket) > 0 {
            let until = self.clock.now().tick + ORDERLY_CLOSE_TIMEOUT;
            self.leaving.push_back((until, socket));
        }
        ring.close(socket, Close::Orderly);
    }

    fn record(&mut self, record: Record) {
        let us = self.clock.now().tick.since(record.ended_at).as_micros();
        self.decision_us.saturating_record(u64::try_from(us).unwrap_or(u64::MAX));
        if let Some(log) = &mut self.parts.log
            && log.push(record).is_err()
        {
            self.shared.tally.log_records_lost.count();
        }
    }

    // ---- time -------------------------------------------------------------------------------

    fn deadlines_due(&mut self, now: Now) {
        while let Some(Reverse((due, index, number))) = self.deadlines.peek().copied() {
            if due > now.tick {
                return;
            }
            self.deadlines.pop();
            let Some(seat) = self.sessions.get_mut(index).filter(|seat| seat.number == number)
            else {
                continue;
            };
            if seat.queued == Some(due) {
                seat.queued = None;
            }
            seat.session.timed_out(now);
            self.stirred.push_back(index);
        }
    }

    fn leave(&mut self, ring: &mut Ring, now: Tick) {
        while self.leaving.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, socket)) = self.leaving.pop_front() {
                ring.close(socket, Close::Reset);
            }
        }
    }

    /// Until when nothing is due.
    fn next_deadline(&self) -> Option<Tick> {
        let relay = self.relay.has_connections().then(|| self.relay_looked_at + RELAY_TICK);
        let session = self.deadlines.peek().map(|Reverse((due, _, _))| *due);
        let leaving = self.leaving.front().map(|(until, _)| *until);
        [relay, session, leaving, self.draining_until].into_iter().flatten().min()
    }

    /// From now on these settings hold: for sessions that begin, and their tables for messages that
    /// begin. A listener is known by its place.
    fn replace(&mut self, listeners: Vec<Arc<Listener>>, tables: &Arc<Tables>) {
        for (old, new) in self.parts.listeners.iter_mut().zip(listeners) {
            *old = new;
        }
        self.shared.tables = Arc::clone(tables);
        for (_, seat) in &mut self.sessions {
            seat.session.retable(Arc::clone(tables));
        }
    }

    fn drain(&mut self, ring: &mut Ring) {
        let now = self.clock.now();
        ring.stop_listening();
        self.draining_until.get_or_insert(now.tick + DRAIN_TIMEOUT);
        for (index, seat) in &mut self.sessions {
            seat.session.drain(now);
            self.stirred.push_back(index);
        }
    }

    fn snapshot(&self, ring: &Ring) -> Snapshot {
        let ring = ring.counters();
        let mut counts = self.shared.tally.counts();
        counts.connections_shed = ring.shed;
        Snapshot {
            counts,
            ring,
            body_octets: self.shared.budget.taken(),
            sessions_open: self.sessions.len() as u64,
            decision_us: self.decision_us.clone(),
        }
    }
}

impl Driver for Core {
    fn event(&mut self, ring: &mut Ring, event: Event<'_>) {
        match event {
            Event::Accepted { tag, socket, peer } => self.accepted(ring, tag, socket, peer),
            Event::Connected { socket } => {
                if let Some(Who::Hop(id)) = self.who(socket) {
                    self.relay.connected(id, self.clock.now().tick);
                }
            }
            Event::ConnectFailed { socket, .. } => {
                let who = self.who(socket);
                self.forget(socket);
                self.gone(who);
            }
            Event::Received { socket, octets } => self.received(socket, octets),
            Event::Sent { socket, octets } => self.sent(socket, octets),
            Event::PeerClosed { socket } => self.peer_closed(ring, socket),
            Event::Broken { socket, .. } => self.broken(ring, socket),
        }
        self.settle(ring);
    }

    fn woken(&mut self, ring: &mut Ring) {
        while let Ok(letter) = self.parts.inbox.try_recv() {
            match letter {
                Letter::Stored(job, outcomes) => self.relay.stored(&job, outcomes),
                Letter::Snapshot(answer) => answer(self.snapshot(ring)),
                Letter::Replace(listeners, tables) => self.replace(listeners, &tables),
                Letter::Drain => self.drain(ring),
            }
        }
        self.settle(ring);
    }

    fn tick(&mut self, ring: &mut Ring) -> Option<Duration> {
        let now = self.clock.now();
        self.deadlines_due(now);
        if now.tick.since(self.relay_looked_at) >= RELAY_TICK {
            self.relay_looked_at = now.tick;
            self.relay.timed_out(now.tick);
        }
        self.leave(ring, now.tick);
        if self.draining_until.is_some() {
            self.drain_idle(now);
        }
        self.settle(ring);
        self.next_deadline().map(|due| due.since(now.tick))
    }

    fn busy(&self) -> bool {
        self.relay.plans_open() > 0
    }

    fn finished(&self) -> bool {
        let over = |until: Tick| self.sessions.is_empty() || self.clock.now().tick >= until;
        self.draining_until.is_some_and(over)
    }
}

impl Core {
    /// Sessions that were busy when the drain began are ended at their next pause.
    fn drain_idle(&mut self, now: Now) {
        for (index, seat) in &mut self.sessions {
            if !seat.session.is_busy() {
                seat.session.drain(now);
                self.stirred.push_back(index);
            }
        }
    }
}

/// IPv4 clients of a dual-stack listener have their own address, not a mapped one.
fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Two significant digits up to ten minutes, in microseconds.
fn new_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 600_000_000, 2) {
        Ok(histogram) => histogram,
        // The bounds are constants that the library takes.
        Err(error) => unreachable!("{error}"),
    }
}
