//! The clients of a shard: connections become sessions, and what sessions want becomes verbs of the
//! ring.

use super::driver::{Core, Due};
use super::ledger::Asked;
use super::links::Who;
use super::ring::{Close, Ring};
use super::socket::SocketId;
use super::steer;
use super::wheel::Timer;
use crate::ledger::Request;
use crate::limits::{LINGER_TIMEOUT, LOAD_FROM_PERCENT, LOAD_UNTIL_PERCENT};
use crate::now::{Now, Tick};
use crate::relay::Ticket;
use crate::session::{Ask, Client, Effect, Gone, Listener, Session, Source};
use crate::tls::TlsStream;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a client is told whose source has too many connections.
const SOURCE_NOTICE: &[u8] = b"421 4.7.0 too many connections from your address\r\n";

/// What a client is told whose session met a mistake of ours.
const FAULT_NOTICE: &[u8] = b"421 4.3.0 local fault, closing\r\n";

/// A session and its connection.
pub(super) struct Seat {
    /// In a place of its own: the table of seats can grow without a copy of every session.
    session: Box<Session>,
    pub number: u32,
    listener: Arc<Listener>,
    /// `None` when the connection is gone and the transaction goes on.
    pub socket: Option<SocketId>,
    /// A TLS handshake is under way.
    handshaking: bool,
    paused: bool,
    /// Its deadline in the wheel; it may be set earlier than the session's.
    timer: Option<(Tick, Timer)>,
    /// A verb of the session has panicked: no other may be called.
    failed: bool,
    /// What it has asked the ledger.
    pub asked: Asked,
}

impl Core {
    // ---- connections ------------------------------------------------------------------------

    pub(super) fn accepted(
        &mut self,
        ring: &mut Ring,
        tag: u32,
        socket: SocketId,
        peer: Option<SocketAddr>,
    ) {
        let Some(listener) = self.parts.listeners.get(tag as usize).map(Arc::clone) else {
            return ring.close(socket, Close::Reset);
        };
        // IPv4 clients of a dual-stack listener have their own address, not a mapped one.
        let address = peer.map(|peer| peer.ip().to_canonical());
        if let (Some(address), true) = (address, self.parts.steered)
            && steer::shard_of(address, self.parts.shards) != self.parts.number
        {
            self.shared.tally.connections_astray.count();
        }
        // All clients of a peer that speaks for them have its address: they are counted when it has
        // named them.
        let trust = &listener.trust;
        let speaks_for_others = trust.proxy.contain(address) || trust.xclient.contain(address);
        let source = address.filter(|_| !speaks_for_others).map(|one| Source::of(tag, one));
        let most = listener.connections_per_source;
        let place = source.and_then(|source| self.shared.sources.connected(source, most));
        if source.is_some() && place.is_none() {
            self.shared.tally.connections_refused.count();
            let notice = if listener.is_implicit_tls() { b"" } else { SOURCE_NOTICE };
            return ring.refuse(socket, notice);
        }
        self.sessions_made = self.sessions_made.wrapping_add(1);
        let number = self.sessions_made;
        let client = Client {
            address,
            port: peer.map(|peer| peer.port()),
            seat: ticket(number, self.sessions.vacant_key()).0,
            session_id: format!("{}{number:x}", self.parts.id_prefix),
            listener: tag,
            place,
        };
        let (now, shared) = (self.now(), self.shared.clone());
        let mut session = Session::new(Arc::clone(&listener), shared, client, now);
        session.under_load(self.under_load);
        let seat = Seat {
            session: Box::new(session),
            number,
            listener,
            socket: Some(socket),
            handshaking: false,
            paused: false,
            timer: None,
            failed: false,
            asked: Asked::default(),
        };
        let index = self.sessions.insert(seat);
        self.links.seat(socket, Who::Client(index));
        self.stirred.push_back(index);
        self.shared.tally.connections.count();
        self.clients_open += 1;
        self.weigh_load();
    }

    /// A session's connection is there no more.
    pub(super) fn disconnected(&mut self, index: usize) {
        let seat = &mut self.sessions[index];
        seat.socket = None;
        if std::mem::take(&mut seat.handshaking) {
            self.shared.tally.tls_handshakes_failed.count();
        }
        self.shared.tally.connections_closed.count();
        self.clients_open -= 1;
        self.weigh_load();
    }

    /// Tells all sessions when the shard begins to run out of connections, and when it has enough
    /// again.
    fn weigh_load(&mut self) {
        let percent = if self.under_load { LOAD_UNTIL_PERCENT } else { LOAD_FROM_PERCENT };
        let bound = u64::from(self.parts.clients_max) * u64::from(percent) / 100;
        let under_load = u64::from(self.clients_open) > bound;
        if under_load != self.under_load {
            self.under_load = under_load;
            self.with_all_sessions(|session, _| session.under_load(under_load));
        }
    }

    // ---- verbs of sessions ------------------------------------------------------------------

    /// Calls a verb of a session; its effects are looked at later. A panic in it is a mistake of
    /// ours, and costs this session alone.
    pub(super) fn with_session(&mut self, index: usize, verb: impl FnOnce(&mut Session, Now)) {
        let now = self.now();
        if let Some(seat) = self.sessions.get_mut(index) {
            seat.guarded(|session| verb(session, now));
            self.stirred.push_back(index);
        }
    }

    pub(super) fn with_all_sessions(&mut self, verb: impl Fn(&mut Session, Now)) {
        let now = self.now();
        for (index, seat) in &mut self.sessions {
            seat.guarded(|session| verb(session, now));
            self.stirred.push_back(index);
        }
    }

    /// The deadline of a session has come, or was put off meanwhile.
    pub(super) fn session_due(&mut self, index: usize) {
        if let Some(seat) = self.sessions.get_mut(index) {
            seat.timer = None;
        }
        self.with_session(index, |session, now| session.timed_out(now));
    }

    /// The handshake on a session's connection is done.
    pub(super) fn handshake_ended(&mut self, index: usize, resumed: bool) {
        let Some(seat) = self.sessions.get_mut(index) else { return };
        seat.handshaking = false;
        self.shared.tally.tls_handshakes.count();
        self.shared.tally.tls_resumed.add(u64::from(resumed));
    }

    // ---- effects of sessions ----------------------------------------------------------------

    pub(super) fn settle_session(&mut self, ring: &mut Ring, index: usize) {
        while let Some(effect) = self.sessions.get_mut(index).and_then(Seat::poll_effect) {
            self.session_effect(ring, index, effect);
        }
        let Some(seat) = self.sessions.get_mut(index) else { return };
        if seat.failed {
            return self.session_failed(ring, index);
        }
        if seat.session.is_over() && seat.socket.is_none() {
            return self.forget_session(index);
        }
        if let Some(socket) = seat.socket
            && seat.paused == seat.session.wants_octets()
        {
            seat.paused = !seat.paused;
            if seat.paused { ring.pause(socket) } else { ring.resume(socket) }
        }
        if let Some(deadline) = seat.session.deadline()
            && seat.timer.is_none_or(|(set, _)| deadline < set)
        {
            if let Some((_, timer)) = seat.timer {
                self.wheel.cancel(timer);
            }
            seat.timer = Some((deadline, self.wheel.insert(deadline, Due::Session(index))));
        }
    }

    fn session_effect(&mut self, ring: &mut Ring, index: usize, effect: Effect) {
        let seat = &self.sessions[index];
        let link = seat.socket.and_then(|socket| Some((socket, self.links.at(socket)?)));
        match (effect, link) {
            (Effect::Send(octets), Some((_, link))) => link.send_whole(ring, octets),
            (Effect::StartTls(early), Some((socket, _))) => {
                self.start_client_tls(ring, index, socket, &early);
            }
            (Effect::ShutdownWrite, Some((socket, link))) => {
                link.close_notify(ring);
                ring.shutdown_write(socket);
            }
            (Effect::Close, Some((socket, link))) => {
                link.close_notify(ring);
                self.disconnected(index);
                self.close(ring, socket);
            }
            (Effect::Abort, Some((socket, _))) => {
                self.links.forget(socket);
                ring.close(socket, Close::Reset);
                self.client_gone(index);
            }
            (Effect::Ask(Ask::Relay(plan)), _) => {
                self.relay.start(ticket(seat.number, index), plan, self.now().tick);
            }
            (Effect::Ask(Ask::Verify(probe)), _) => {
                self.relay.verify(ticket(seat.number, index), probe, self.now().tick);
            }
            (Effect::Ask(Ask::Ledger(request)), _) => self.ask_ledger(index, *request),
            (Effect::Record(record), _) => self.record(*record),
            // The connection is gone.
            (
                Effect::Send(_)
                | Effect::StartTls(_)
                | Effect::ShutdownWrite
                | Effect::Close
                | Effect::Abort,
                None,
            ) => {}
        }
    }

    fn start_client_tls(&mut self, ring: &mut Ring, index: usize, socket: SocketId, early: &[u8]) {
        let seat = &mut self.sessions[index];
        seat.handshaking = true;
        let tls = seat.listener.tls.as_ref();
        let stream = tls.and_then(|tls| TlsStream::server(&tls.server).ok());
        let (Some(stream), Some(link)) = (stream, self.links.at(socket)) else {
            return self.turn_away(ring, index, socket);
        };
        link.start_tls(ring, stream);
        if !early.is_empty() {
            self.received(ring, socket, early);
        }
    }

    /// Closes without a word more than was said.
    fn turn_away(&mut self, ring: &mut Ring, index: usize, socket: SocketId) {
        self.close(ring, socket);
        self.client_gone(index);
    }

    /// The connection of a session is dead, and its link forgotten.
    pub(super) fn client_gone(&mut self, index: usize) {
        self.disconnected(index);
        self.with_session(index, |session, now| session.peer_closed(Gone::Lost, now));
    }

    /// A verb of the session has panicked. Nothing it says can be believed; its client is told so.
    fn session_failed(&mut self, ring: &mut Ring, index: usize) {
        self.shared.tally.sessions_panicked.count();
        if let Some(socket) = self.sessions[index].socket {
            if let Some(link) = self.links.at(socket) {
                link.send_whole(ring, FAULT_NOTICE.to_vec());
            }
            self.disconnected(index);
            self.part(ring, socket);
        }
        if let Some(ledger) = &self.parts.ledger {
            let seat = ticket(self.sessions[index].number, index).0;
            self.ask_ledger(index, Request::Gone { holder: ledger.line.holder(seat) });
        }
        self.forget_session(index);
    }

    fn forget_session(&mut self, index: usize) {
        let seat = self.sessions.remove(index);
        if let Some((_, timer)) = seat.timer {
            self.wheel.cancel(timer);
        }
        // A session that has failed may do so once more.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(seat)));
    }

    /// Says, behind all that was sent, that this was the last word. What the peer still sends is
    /// dropped for a moment, as a close with unread input would make the kernel send a reset that
    /// can destroy it.
    pub(super) fn part(&mut self, ring: &mut Ring, socket: SocketId) {
        if let Some(link) = self.links.at(socket) {
            link.close_notify(ring);
            link.who = Who::Nobody;
            ring.shutdown_write(socket);
            ring.resume(socket);
            self.wheel.insert(self.now().tick + LINGER_TIMEOUT, Due::Leaving(socket));
        }
    }
}

/// How the relay and the ledger know a session: by its number, which no other has, and its place.
fn ticket(number: u32, index: usize) -> Ticket {
    Ticket(u64::from(number) << 32 | index as u64)
}

impl Seat {
    /// Whether the session has something under way that a drain should wait for.
    pub fn is_busy(&self) -> bool {
        !self.failed && self.session.is_busy()
    }

    fn guarded<T>(&mut self, verb: impl FnOnce(&mut Session) -> T) -> Option<T> {
        if self.failed {
            return None;
        }
        let done = catch_unwind(AssertUnwindSafe(|| verb(&mut self.session)));
        self.failed = done.is_err();
        done.ok()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.guarded(Session::poll_effect).flatten()
    }
}
