//! What lies between a socket of the ring and who is at it: nothing, or TLS.

use super::ring::Ring;
use super::socket::{Outgoing, SocketId};
use crate::limits::{TLS_PLAIN_RECORD_OCTETS, TLS_SEALED_AHEAD_OCTETS};
use crate::relay::HopId;
use crate::tls::{TlsFacts, TlsStream};
use crate::wire::Output;

/// The sockets of a shard, by their slots.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_slot: Vec<Option<Link>>,
}

/// One socket.
#[derive(Debug)]
pub(super) struct Link {
    socket: SocketId,
    pub who: Who,
    tls: Option<Box<Tls>>,
}

/// Who is at a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    /// The session at this place.
    Client(usize),
    Hop(HopId),
    /// The last word was said: what still comes is dropped.
    Nobody,
}

#[derive(Debug)]
struct Tls {
    stream: TlsStream,
    /// It was said that the handshake is done, and that the peer sends no more.
    told_secured: bool,
    told_closed: bool,
    /// Plain octets that are not sealed yet, as the kernel has not taken what was sealed before.
    waiting: Outgoing,
}

/// What came of octets that were received under TLS, beside the plain ones.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The handshake is done now: what it has shown, and whether an earlier one was resumed.
    pub secured: Option<(TlsFacts, bool)>,
    /// The peer has said now that it sends no more.
    pub closed: bool,
    /// The connection is of no more use; the alert is on its way.
    pub failed: bool,
}

impl Links {
    /// Somebody new is at a socket.
    pub fn seat(&mut self, socket: SocketId, who: Who) {
        if self.by_slot.len() <= socket.slot() {
            self.by_slot.resize_with(socket.slot() + 1, || None);
        }
        self.by_slot[socket.slot()] = Some(Link { socket, who, tls: None });
    }

    /// The link of a socket, if it is the one that has the slot now.
    pub fn at(&mut self, socket: SocketId) -> Option<&mut Link> {
        self.by_slot.get_mut(socket.slot())?.as_mut().filter(|link| link.socket == socket)
    }

    pub fn who(&self, socket: SocketId) -> Option<Who> {
        let link = self.by_slot.get(socket.slot())?.as_ref()?;
        (link.socket == socket).then_some(link.who)
    }

    /// Nobody is at the socket any more.
    pub fn forget(&mut self, socket: SocketId) {
        if self.at(socket).is_some() {
            self.by_slot[socket.slot()] = None;
        }
    }
}

impl Link {
    pub fn is_under_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// From now on octets are sealed, behind those that were sent before.
    pub fn start_tls(&mut self, ring: &mut Ring, mut stream: TlsStream) {
        stream.follow(ring.unsent_octets(self.socket));
        let waiting = Outgoing::default();
        let tls = Tls { stream, told_secured: false, told_closed: false, waiting };
        self.tls.insert(Box::new(tls)).flush(ring, self.socket);
    }

    /// Takes sealed octets; the plain ones are put behind `plain`.
    pub fn open(&mut self, ring: &mut Ring, sealed: &[u8], plain: &mut Vec<u8>) -> Opened {
        let Some(tls) = &mut self.tls else { return Opened::default() };
        let failed = tls.stream.receive(sealed, plain).is_err();
        let mut opened = Opened { failed, ..Opened::default() };
        if !tls.told_secured
            && let Some(facts) = tls.stream.facts()
        {
            tls.told_secured = true;
            opened.secured = Some((facts.clone(), tls.stream.is_resumed()));
        }
        if !tls.told_closed && tls.stream.peer_closed() {
            tls.told_closed = true;
            opened.closed = true;
        }
        tls.flush(ring, self.socket);
        opened
    }

    /// Sends octets that shall leave together, in one send.
    pub fn send_whole(&mut self, ring: &mut Ring, octets: Vec<u8>) {
        match &mut self.tls {
            None => ring.send(self.socket, octets.into()),
            Some(tls) => {
                tls.stream.send(&octets);
                tls.flush(ring, self.socket);
            }
        }
    }

    /// Sends an output of any size. Under TLS it is sealed in steps, as the kernel takes it.
    pub fn send(&mut self, ring: &mut Ring, output: Output) {
        match &mut self.tls {
            None => ring.send(self.socket, output),
            Some(tls) => {
                tls.waiting.push(output);
                tls.seal_some(ring, self.socket);
            }
        }
    }

    /// The kernel has taken octets; returns for how many plain ones they stand.
    pub fn sent(&mut self, ring: &mut Ring, octets: u64) -> u64 {
        match &mut self.tls {
            None => octets,
            Some(tls) => {
                tls.seal_some(ring, self.socket);
                tls.stream.sent(octets)
            }
        }
    }

    /// Octets of outputs that the kernel has not taken yet.
    pub fn unsent_octets(&self, ring: &Ring) -> u64 {
        let unsealed = self.tls.as_ref().map_or(0, |tls| tls.waiting.octets());
        unsealed + ring.unsent_octets(self.socket)
    }

    /// Says, behind all that was sent, that nothing more will come; under TLS only.
    pub fn close_notify(&mut self, ring: &mut Ring) {
        if let Some(tls) = &mut self.tls {
            tls.stream.close();
            tls.flush(ring, self.socket);
        }
    }
}

impl Tls {
    fn flush(&mut self, ring: &mut Ring, socket: SocketId) {
        let sealed = self.stream.take_sealed();
        if !sealed.is_empty() {
            ring.send(socket, sealed.into());
        }
    }

    /// Seals what waits, until so much is sealed that the kernel is busy with it for a while. Small
    /// slices share a record.
    fn seal_some(&mut self, ring: &mut Ring, socket: SocketId) {
        let ahead = ring.unsent_octets(socket);
        if self.waiting.is_empty() || ahead > TLS_SEALED_AHEAD_OCTETS / 2 {
            return;
        }
        let room = TLS_SEALED_AHEAD_OCTETS - ahead;
        let (mut taken, mut small) = (0, Vec::new());
        for slice in self.waiting.slices() {
            if taken >= room {
                break;
            }
            taken += slice.len() as u64;
            if small.is_empty() && slice.len() >= TLS_PLAIN_RECORD_OCTETS {
                self.stream.send(slice);
                continue;
            }
            small.extend_from_slice(slice);
            if small.len() >= TLS_PLAIN_RECORD_OCTETS {
                self.stream.send(&small);
                small.clear();
            }
        }
        self.stream.send(&small);
        self.waiting.advance(taken);
        self.flush(ring, socket);
    }
}
