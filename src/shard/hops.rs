//! The next hops of a shard: what the relay wants becomes verbs of the ring.

use super::clients::Seat;
use super::driver::{Core, Due};
use super::links::Who;
use super::ring::{Close, Ring};
use super::socket::SocketId;
use crate::limits::FAREWELL_OCTETS;
use crate::relay::{Address, HopId, RelayEffect, Ticket};
use crate::session::Answer;
use crate::tls::TlsStream;
use slab::Slab;

impl Core {
    pub(super) fn relay_effect(&mut self, ring: &mut Ring, effect: RelayEffect) {
        match effect {
            RelayEffect::Connect(id, address) => self.connect_hop(ring, id, &address),
            RelayEffect::Send(id, output) => {
                if let Some(socket) = self.hop_sockets.get(&id)
                    && let Some(link) = self.links.at(*socket)
                {
                    link.send(ring, output);
                }
            }
            RelayEffect::StartTls(id) => self.start_hop_tls(ring, id),
            RelayEffect::Close(id) => self.close_hop(ring, id),
            RelayEffect::Abort(id) => {
                if let Some(socket) = self.hop_sockets.remove(&id) {
                    self.links.forget(socket);
                    ring.close(socket, Close::Reset);
                }
            }
            RelayEffect::Store(job) => self.parts.stores.submit(job, self.parts.mailbox.clone()),
            RelayEffect::Done(ticket, outcomes) => self.answer(ticket, Answer::Relayed(outcomes)),
            RelayEffect::Verified(ticket, verification) => {
                self.answer(ticket, Answer::Verified(verification));
            }
        }
    }

    fn connect_hop(&mut self, ring: &mut Ring, id: HopId, address: &Address) {
        match ring.connect(address) {
            Ok(socket) => {
                self.hop_sockets.insert(id, socket);
                self.links.seat(socket, Who::Hop(id));
            }
            Err(_) => self.relay.lost(id, self.now().tick),
        }
    }

    fn start_hop_tls(&mut self, ring: &mut Ring, id: HopId) {
        let stream = self.relay.route_tls(id).and_then(|tls| TlsStream::client(tls).ok());
        let Some(socket) = self.hop_sockets.get(&id).copied() else { return };
        match (stream, self.links.at(socket)) {
            (Some(stream), Some(link)) => link.start_tls(ring, stream),
            _ => {
                self.close(ring, socket);
                self.hop_gone(id);
            }
        }
    }

    fn close_hop(&mut self, ring: &mut Ring, id: HopId) {
        let Some(socket) = self.hop_sockets.remove(&id) else { return };
        let Some(link) = self.links.at(socket) else { return };
        if link.unsent_octets(ring) > FAREWELL_OCTETS {
            // The rest of a body: what became of it was told already, so it must not arrive whole.
            self.links.forget(socket);
            return ring.close(socket, Close::Reset);
        }
        link.close_notify(ring);
        self.close(ring, socket);
    }

    /// The connection to a next hop is dead, and its link forgotten.
    pub(super) fn hop_gone(&mut self, id: HopId) {
        self.hop_sockets.remove(&id);
        self.relay.lost(id, self.now().tick);
    }

    /// Gives an answer to the session that has asked, if it is still there.
    pub(super) fn answer(&mut self, Ticket(ticket): Ticket, answer: Answer) {
        if seat_of(&mut self.sessions, Ticket(ticket)).is_some() {
            self.with_session(ticket as u32 as usize, |session, now| session.answered(answer, now));
        }
    }

    /// Closes when all is sent; a peer that does not take it is not waited for long.
    pub(super) fn close(&mut self, ring: &mut Ring, socket: SocketId) {
        self.links.forget(socket);
        if ring.unsent_octets(socket) > 0 {
            let until = self.now().tick + crate::limits::ORDERLY_CLOSE_TIMEOUT;
            self.wheel.insert(until, Due::Leaving(socket));
        }
        ring.close(socket, Close::Orderly);
    }
}

/// The seat of the session that a ticket names, if it is still there.
pub(super) fn seat_of(sessions: &mut Slab<Seat>, Ticket(ticket): Ticket) -> Option<&mut Seat> {
    let (index, number) = (ticket as u32 as usize, (ticket >> 32) as u32);
    sessions.get_mut(index).filter(|seat| seat.number == number)
}
