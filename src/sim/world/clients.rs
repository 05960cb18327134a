//! Clients of the world, and the sessions that serve them.

use super::{ClientId, Event, Planted, Stream, World};
use crate::relay::Ticket;
use crate::session::{Ask, Client, Effect, Gone, Listener, Session, Source};
use crate::tls::TlsStream;
use core::net::IpAddr;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct ClientSide {
    pub session: Session,
    /// The process that had the session is gone.
    pub crashed: bool,
    /// What the server sent: one entry a send.
    pub received: Vec<Vec<u8>>,
    /// The server has ended its side, or closed.
    pub server_ended: bool,
    /// The client is gone, or the server has closed.
    pub over: bool,
    /// The session has heard that its client is gone, or has ended its side.
    pub gone: bool,
    /// The last octets that the server sent have reached the client.
    pub acknowledged: bool,
    /// The connection is lost when so many octets more have been received.
    pub lost_after: Option<usize>,
    /// The server's side of TLS, once it has begun.
    pub tls: Option<Box<TlsStream>>,
    pub listener: Arc<Listener>,
    pub to_session: Stream,
    pub to_client: Stream,
}

impl World {
    /// A client connects to a listener. `None` if there is none of that name.
    pub fn connect(&mut self, listener: &str, from: IpAddr) -> Option<ClientId> {
        let listener = self.listeners.iter().find(|one| one.name == listener).map(Arc::clone)?;
        let id = ClientId(self.clients.len());
        let session_id = id.session_id();
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
            gone: false,
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

    pub(super) fn session_receives(&mut self, id: ClientId, octets: &[u8]) {
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
    pub(super) fn clients_tls_begins(&mut self, id: ClientId, early: &[u8]) {
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
    pub(super) fn sealed_came(&mut self, id: ClientId, sealed: &[u8]) {
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
    pub(super) fn send_sealed(&mut self, id: ClientId) {
        let octets = self.clients[id.0].sealed(Vec::new());
        if !octets.is_empty() {
            let due = self.arrival(|world| &mut world.clients[id.0].to_client);
            self.schedule(due, Event::ToClient(id, octets, 0));
        }
    }

    /// The server's side ends; under TLS it says so.
    pub(super) fn say_farewell(&mut self, id: ClientId) {
        if let Some(tls) = &mut self.clients[id.0].tls {
            tls.close();
            self.send_sealed(id);
        }
    }

    pub(super) fn client_gone(&mut self, id: ClientId, gone: Gone) {
        let now = self.now();
        let client = &mut self.clients[id.0];
        client.over |= gone == Gone::Lost;
        client.gone = true;
        if client.crashed {
            return;
        }
        if gone == Gone::HalfClosed && client.acknowledged {
            client.session.reply_acknowledged();
        }
        client.session.peer_closed(gone, now);
        self.drain_session(id);
    }

    pub(super) fn client_receives(&mut self, id: ClientId, mut octets: Vec<u8>, plain: usize) {
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

    pub(super) fn drain_session(&mut self, id: ClientId) {
        while let Some(effect) = self.clients[id.0].session.poll_effect() {
            match effect {
                Effect::Send(octets) => {
                    let due = self.arrival(|world| &mut world.clients[id.0].to_client);
                    let plain = octets.len();
                    let octets = self.clients[id.0].sealed(octets);
                    self.schedule(due, Event::ToClient(id, octets, plain));
                }
                Effect::Ask(Ask::Relay(mut plan)) => {
                    self.see_handed_on(id);
                    if self.planted == Some(Planted::NotAsked) {
                        plan.groups.iter_mut().for_each(|group| group.earlier.clear());
                    }
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
