//! What a shard does with its sockets: sessions towards clients (`clients`), the relay towards next
//! hops (`hops`).
//!
//! Events of the ring become verbs of sessions and of the relay; their effects become verbs of the
//! ring. Between the two there may be TLS (`links`): sessions and the relay know plain octets only.
//! Nothing here decides anything about mail.

use super::clients::Seat;
use super::executor::Driver;
use super::links::{Links, Who};
use super::mailbox::{Letter, Mailbox};
use super::ring::{Close, Counters, Event, Ring};
use super::socket::SocketId;
use super::stores::Stores;
use super::wheel::{Timer, Wheel};
use crate::durable::{CrashPoint, Line};
use crate::ledger::Secret;
use crate::limits::{DRAIN_TIMEOUT, LEDGER_LOOK};
use crate::now::{Now, Tick};
use crate::relay::{HopId, Relay, Routes};
use crate::session::{End, Gone, LedgerLine, Listener, Record, Session, Shared, Sources, Tables};
use crate::tally::{Counts, Tally};
use crate::tls::{TlsFacts, TlsFault};
use crate::wire::Budget;
use hdrhistogram::Histogram;
use slab::Slab;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What clients are told when there is no room for them.
const FULL_NOTICE: &[u8] = b"421 4.3.2 too many connections\r\n";

/// All that a shard needs, made by the thread that starts it.
pub(super) struct ShardParts {
    /// Which shard it is, of how many.
    pub number: usize,
    pub shards: usize,
    /// The kernel chooses the shard of a connection as `steer` does.
    pub steered: bool,
    /// The listeners, by the tag of their sockets.
    pub listeners: Vec<Arc<Listener>>,
    pub tables: Arc<Tables>,
    pub routes: Arc<Routes>,
    /// Connections of clients, for this shard.
    pub clients_max: u32,
    pub body_memory_octets: u64,
    /// What every session id of this shard begins with, in this run of the program only.
    pub id_prefix: String,
    pub mailbox: Mailbox,
    pub inbox: mpsc::Receiver<Letter>,
    pub stores: Stores,
    pub log: Option<rtrb::Producer<Record>>,
    pub ledger: Option<ShardLedger>,
}

/// A shard's way to the record of outcomes.
pub(super) struct ShardLedger {
    pub line: Line,
    /// What keys are made with.
    pub secret: Secret,
    /// The number of the rules at the start. No earlier run had it: refusals of other rules are void.
    pub rules: u64,
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
    pub(super) parts: ShardParts,
    clock: Clock,
    pub(super) shared: Shared,
    pub(super) relay: Relay,
    pub(super) sessions: Slab<Seat>,
    pub(super) sessions_made: u32,
    pub(super) clients_open: u32,
    pub(super) under_load: bool,
    /// Who is at which socket.
    pub(super) links: Links,
    pub(super) hop_sockets: HashMap<HopId, SocketId, foldhash::fast::RandomState>,
    /// Sessions whose effects are to be looked at.
    pub(super) stirred: VecDeque<usize>,
    pub(super) wheel: Wheel<Due>,
    /// The relay's deadline in the wheel; it may be set earlier than the relay's.
    relay_timer: Option<(Tick, Timer)>,
    /// Where plain octets lie for the length of one event.
    plain: Vec<u8>,
    decision_us: Histogram<u64>,
    draining_until: Option<Tick>,
    /// Questions that the ledger has not answered yet.
    pub(super) ledger_asked: usize,
}

/// What is to be looked at when a timer is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Session(usize),
    Relay,
    /// A socket that was closed while octets were still to be sent, or that was parted from.
    Leaving(SocketId),
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
        let clock = Clock { began: Instant::now() };
        let mut relay = Relay::new(Arc::clone(&parts.routes));
        relay.start_up(clock.now().tick);
        let shared = Shared {
            tables: Arc::clone(&parts.tables),
            budget: Budget::new(parts.body_memory_octets),
            tally: Rc::new(Tally::default()),
            board: relay.board(),
            sources: Sources::default(),
            ledger: parts.ledger.as_ref().map(|ledger| LedgerLine {
                line: ledger.line.number(),
                secret: Rc::new(ledger.secret.clone()),
                rules: Rc::new(Cell::new(ledger.rules)),
            }),
        };
        Core {
            parts,
            clock,
            shared,
            relay,
            sessions: Slab::new(),
            sessions_made: 0,
            clients_open: 0,
            under_load: false,
            links: Links::default(),
            hop_sockets: HashMap::default(),
            stirred: VecDeque::new(),
            wheel: Wheel::new(),
            relay_timer: None,
            plain: Vec::new(),
            decision_us: new_histogram(),
            draining_until: None,
            ledger_asked: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    // ---- sockets ----------------------------------------------------------------------------

    pub(super) fn received(&mut self, ring: &mut Ring, socket: SocketId, octets: &[u8]) {
        let Some(link) = self.links.at(socket) else { return };
        let who = link.who;
        if !link.is_under_tls() {
            return self.hand_over(ring, socket, who, octets);
        }
        let mut plain = std::mem::take(&mut self.plain);
        let opened = link.open(ring, octets, &mut plain);
        if let Some((facts, resumed)) = opened.secured {
            self.secured(who, facts, resumed);
        }
        if !plain.is_empty() {
            self.hand_over(ring, socket, who, &plain);
        }
        plain.clear();
        self.plain = plain;
        if let Some(fault) = opened.failed {
            self.tls_failed(ring, socket, who, &fault);
        } else if opened.closed {
            self.peer_closed(ring, socket);
        }
    }

    /// Plain octets for whoever is at a socket.
    fn hand_over(&mut self, ring: &Ring, socket: SocketId, who: Who, octets: &[u8]) {
        match who {
            Who::Client(index) => self.with_session(index, |session, now| {
                #[cfg(test)]
                fault_switch(octets);
                note_acknowledgement(session, ring, socket);
                session.receive(octets, now);
            }),
            Who::Hop(id) => self.relay.receive(id, octets, self.now().tick),
            Who::Nobody => {}
        }
    }

    fn secured(&mut self, who: Who, facts: TlsFacts, resumed: bool) {
        match who {
            Who::Client(index) => {
                self.handshake_ended(index, resumed);
                self.with_session(index, |session, now| session.secured(facts, now));
            }
            Who::Hop(id) => {
                self.shared.tally.next_hop_tls_handshakes.count();
                self.relay.secured(id, &facts, self.now().tick);
            }
            Who::Nobody => {}
        }
    }

    fn sent(&mut self, ring: &mut Ring, socket: SocketId, octets: u64) {
        let Some(link) = self.links.at(socket) else { return };
        // Under TLS this may be none: then it is still a sign of life.
        let plain = usize::try_from(link.sent(ring, octets)).unwrap_or(usize::MAX);
        let (who, left) = (link.who, link.unsent_octets(ring));
        match who {
            Who::Client(index) => {
                self.with_session(index, |session, now| {
                    session.sent(plain, now);
                    if session.awaits_acknowledgement() {
                        CrashPoint::Replied.reached();
                    }
                });
            }
            Who::Hop(id) => self.relay.sent(id, left, self.now().tick),
            Who::Nobody => {}
        }
    }

    fn peer_closed(&mut self, ring: &mut Ring, socket: SocketId) {
        match self.links.who(socket) {
            Some(Who::Client(index)) => {
                self.with_session(index, |session, now| {
                    note_acknowledgement(session, ring, socket);
                    session.peer_closed(Gone::HalfClosed, now);
                });
            }
            Some(Who::Hop(id)) => {
                self.close(ring, socket);
                self.hop_gone(id);
            }
            Some(Who::Nobody) => self.close(ring, socket),
            None => {}
        }
    }

    /// A peer broke TLS, or does not want it: it has an alert, and no octet in clear.
    fn tls_failed(&mut self, ring: &mut Ring, socket: SocketId, who: Who, fault: &TlsFault) {
        self.part(ring, socket);
        let why = fault.to_string();
        match who {
            Who::Client(index) => {
                self.with_session(index, |session, now| session.tls_failed(&why, now));
            }
            Who::Hop(id) => {
                self.shared.tally.next_hop_tls_failed.count();
                self.relay.tls_failed(id, &why, self.now().tick);
            }
            Who::Nobody => {}
        }
        self.gone(who);
    }

    fn broken(&mut self, ring: &mut Ring, socket: SocketId) {
        let who = self.links.who(socket);
        self.links.forget(socket);
        ring.close(socket, Close::Reset);
        self.gone(who.unwrap_or(Who::Nobody));
    }

    /// A connection is dead.
    fn gone(&mut self, who: Who) {
        match who {
            Who::Client(index) => self.client_gone(index),
            Who::Hop(id) => self.hop_gone(id),
            Who::Nobody => {}
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

    pub(super) fn record(&mut self, record: Record) {
        // What was lost, or ended outside of a message, has no decision that took time.
        if matches!(record.end, End::Replied | End::Unseen) {
            let us = self.clock.now().tick.since(record.ended_at).as_micros();
            self.decision_us.saturating_record(u64::try_from(us).unwrap_or(u64::MAX));
        }
        if let Some(log) = &mut self.parts.log
            && log.push(record).is_err()
        {
            self.shared.tally.log_records_lost.count();
        }
    }

    // ---- time -------------------------------------------------------------------------------

    fn timers_due(&mut self, ring: &mut Ring, now: Tick) {
        while let Some(due) = self.wheel.expire(now) {
            match due {
                Due::Session(index) => self.session_due(index),
                Due::Relay => {
                    self.relay_timer = None;
                    self.relay.timed_out(now);
                }
                Due::Leaving(socket) => {
                    self.links.forget(socket);
                    ring.close(socket, Close::Reset);
                }
            }
        }
    }

    /// Sets the relay's timer, if its deadline is nearer than the one that is set.
    fn watch_relay(&mut self) {
        if let Some(deadline) = self.relay.deadline()
            && self.relay_timer.is_none_or(|(set, _)| deadline < set)
        {
            if let Some((_, timer)) = self.relay_timer {
                self.wheel.cancel(timer);
            }
            self.relay_timer = Some((deadline, self.wheel.insert(deadline, Due::Relay)));
        }
    }

    // ---- letters ----------------------------------------------------------------------------

    /// Takes clients, from now on.
    fn listen(&mut self, ring: &mut Ring, sockets: Vec<OwnedFd>) {
        for (tag, socket) in sockets.into_iter().enumerate() {
            let implicit = self.parts.listeners.get(tag).is_some_and(|one| one.is_implicit_tls());
            // A client that expects TLS could not read it.
            ring.listen(socket, tag as u32, if implicit { b"" } else { FULL_NOTICE });
        }
    }

    /// From now on these settings hold: for sessions that begin, and their tables for messages that
    /// begin. A listener is known by its place.
    fn replace(&mut self, listeners: Vec<Arc<Listener>>, tables: &Arc<Tables>) {
        for (old, new) in self.parts.listeners.iter_mut().zip(listeners) {
            *old = new;
        }
        self.shared.tables = Arc::clone(tables);
        if let Some(ledger) = &self.shared.ledger {
            ledger.rules.set(ledger.rules.get().wrapping_add(1));
        }
        self.with_all_sessions(|session, _| session.retable(Arc::clone(tables)));
    }

    fn drain(&mut self, ring: &mut Ring) {
        ring.stop_listening();
        self.draining_until.get_or_insert(self.clock.now().tick + DRAIN_TIMEOUT);
        self.with_all_sessions(Session::drain);
    }

    /// Sessions that were busy when the drain began are ended at their next pause.
    fn drain_idle(&mut self) {
        let idle: Vec<usize> =
            self.sessions.iter().filter(|(_, seat)| !seat.is_busy()).map(|(at, _)| at).collect();
        for index in idle {
            self.with_session(index, Session::drain);
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
                if let Some(Who::Hop(id)) = self.links.who(socket) {
                    self.relay.connected(id, self.clock.now().tick);
                }
            }
            Event::ConnectFailed { socket, .. } => {
                let who = self.links.who(socket);
                self.links.forget(socket);
                self.gone(who.unwrap_or(Who::Nobody));
            }
            Event::Received { socket, octets } => self.received(ring, socket, octets),
            Event::Sent { socket, octets } => self.sent(ring, socket, octets),
            Event::PeerClosed { socket } => self.peer_closed(ring, socket),
            Event::Broken { socket, .. } => self.broken(ring, socket),
        }
        self.settle(ring);
    }

    fn woken(&mut self, ring: &mut Ring) {
        while let Ok(letter) = self.parts.inbox.try_recv() {
            match letter {
                Letter::Listen(sockets) => self.listen(ring, sockets),
                Letter::Stored(job, outcomes) => self.relay.stored(&job, outcomes),
                Letter::Remembered(answers) => {
                    for (number, answer) in answers {
                        self.remembered(number, answer);
                    }
                }
                Letter::Snapshot(answer) => answer(self.snapshot(ring)),
                Letter::Replace(listeners, tables) => self.replace(listeners, &tables),
                Letter::Drain => self.drain(ring),
            }
        }
        self.settle(ring);
    }

    fn tick(&mut self, ring: &mut Ring) -> Option<Duration> {
        let now = self.clock.now().tick;
        self.timers_due(ring, now);
        if self.draining_until.is_some() {
            self.drain_idle();
        }
        self.look_at_ledger();
        self.settle(ring);
        self.watch_relay();
        let look = (self.ledger_asked > 0).then(|| now + LEDGER_LOOK);
        let next =
            [self.wheel.quiet_until(), self.draining_until, look].into_iter().flatten().min();
        next.map(|due| due.since(now))
    }

    fn busy(&self) -> bool {
        self.relay.plans_open() > 0 || self.ledger_asked > 0
    }

    fn finished(&self) -> bool {
        let over = |until: Tick| self.sessions.is_empty() || self.clock.now().tick >= until;
        self.draining_until.is_some_and(over)
    }
}

/// What a client says, or that it ends its side, says more if it has its last reply.
fn note_acknowledgement(session: &mut Session, ring: &Ring, socket: SocketId) {
    if session.awaits_acknowledgement() && ring.is_all_acknowledged(socket) {
        session.reply_acknowledged();
    }
}

/// Two significant digits up to ten minutes, in microseconds.
fn new_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 600_000_000, 2) {
        Ok(histogram) => histogram,
        // The bounds are constants that the library takes.
        Err(error) => unreachable!("{error}"),
    }
}

/// For tests only: octets that make the session that receives them panic.
#[cfg(test)]
pub(super) const FAULT_WORD: &[u8] = b"XPANIC";

#[cfg(test)]
fn fault_switch(octets: &[u8]) {
    assert!(memchr::memmem::find(octets, FAULT_WORD).is_none(), "a mistake of ours");
}
