//! What lies between a socket of the ring and who is at it: nothing, or TLS.

use super::ring::Ring;
use super::socket::{Outgoing, SocketId};
use crate::limits::{TLS_PLAIN_RECORD_OCTETS, TLS_SEALED_AHEAD_OCTETS};
use crate::relay::HopId;
use crate::tls::{TlsFacts, TlsFault, TlsStream};
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
    /// Why the connection is of no more use, if it is not; the alert is on its way.
    pub failed: Option<TlsFault>,
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
        let failed = tls.stream.receive(sealed, plain).err();
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

#[cfg(test)]
mod tests {
    use super::super::ring::{Close, Event, RingSettings};
    use super::*;
    use crate::relay::Address;
    use crate::tls::{ClientTls, HopTrust, Identity, Pem, ServerTls};
    use crate::wire::Piece;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;

    fn server() -> Arc<ServerTls> {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = rcgen::CertificateParams::new(vec!["mx.example.net".to_owned()]).unwrap();
        let (certificate, key) = (names.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let identity = Identity {
            certificates: Pem { path: "certificate", octets: certificate.as_bytes() },
            key: Pem { path: "key", octets: key.as_bytes() },
        };
        Arc::new(ServerTls::from_pem(&[identity], None, 0).unwrap())
    }

    /// A server that takes the clear octets before the handshake, and then reads when it is told to.
    fn next_hop(mut stream: TcpStream, clear: usize, go_on: &mpsc::Receiver<()>) -> Vec<u8> {
        let mut tls = TlsStream::server(&server()).unwrap();
        stream.read_exact(&mut vec![0; clear]).unwrap();
        let (mut octets, mut plain) = (vec![0; 32_768], Vec::new());
        loop {
            let length = stream.read(&mut octets).unwrap();
            if length == 0 {
                assert!(tls.peer_closed(), "an end without close_notify");
                return plain;
            }
            let secured = tls.facts().is_some();
            tls.receive(&octets[..length], &mut plain).unwrap();
            stream.write_all(&tls.take_sealed()).unwrap();
            if tls.facts().is_some() && !secured {
                go_on.recv().unwrap();
            }
        }
    }

    /// Bodies of any size, of large slices and of very small ones, go out whole and in order, while
    /// only so much is sealed as the kernel is about to take.
    #[test]
    fn a_body_is_sealed_as_the_next_hop_takes_it() {
        const CLEAR: &[u8] = b"STARTTLS\r\n";
        let large: Vec<Piece> = (0..320u32).map(|n| Piece::Owned(vec![n as u8; 16_384])).collect();
        let small: Vec<Piece> =
            (0..40_000u32).map(|n| Piece::Owned(vec![n as u8; n as usize % 40])).collect();
        let uneven: Vec<Piece> =
            (0..200u32).map(|n| Piece::Owned(vec![n as u8; (n * 331) as usize])).collect();
        for pieces in [large, small, uneven] {
            let mut output = Output::new();
            pieces.into_iter().for_each(|piece| output.push(piece));
            let expected = output.slices().flatten().copied().collect::<Vec<u8>>();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::Tcp(listener.local_addr().unwrap());
            let (go, go_on) = mpsc::channel();
            let taken =
                thread::spawn(move || next_hop(listener.accept().unwrap().0, CLEAR.len(), &go_on));
            let mut ring = Ring::new(RingSettings::default()).unwrap();
            let mut links = Links::default();
            let socket = ring.connect(&address).unwrap();
            links.seat(socket, Who::Nobody);
            let link = links.at(socket).unwrap();
            link.send_whole(&mut ring, CLEAR.to_vec());
            let tls = ClientTls::from_pem("mx.example.net", HopTrust::Anybody, None, 0).unwrap();
            link.start_tls(&mut ring, TlsStream::client(&tls).unwrap());
            let (mut plain_sent, mut output, mut over) = (0, Some(output), false);
            while !over {
                ring.wait_turn(&mut |ring, event| {
                    let link = links.at(socket).unwrap();
                    match event {
                        Event::Received { octets, .. } => {
                            link.open(ring, octets, &mut Vec::new());
                            let secured = link.tls.as_ref().unwrap().stream.facts().is_some();
                            if let Some(output) = output.take_if(|_| secured) {
                                link.send(ring, output);
                                // The next hop does not read yet: what is sealed has a bound.
                                assert!(link.unsent_octets(ring) >= expected.len() as u64);
                                go.send(()).unwrap();
                            }
                        }
                        Event::Sent { octets, .. } => plain_sent += link.sent(ring, octets),
                        Event::Broken { error, .. } => panic!("{error}"),
                        _ => {}
                    }
                    let sealed = ring.unsent_octets(socket);
                    assert!(
                        sealed <= TLS_SEALED_AHEAD_OCTETS * 5 / 4,
                        "{sealed} octets are sealed"
                    );
                    over = output.is_none() && link.unsent_octets(ring) == 0;
                });
            }
            assert_eq!(plain_sent, (CLEAR.len() + expected.len()) as u64);
            links.at(socket).unwrap().close_notify(&mut ring);
            ring.shutdown_write(socket);
            // The shutdown follows the last octet.
            while !taken.is_finished() {
                ring.turn(&mut |_, _| {});
            }
            assert!(taken.join().unwrap() == expected);
        }
    }

    /// What is left of a connection's earlier user is not taken for the next one's.
    #[test]
    fn a_slot_that_is_used_again_is_another_link() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let mut ring = Ring::new(RingSettings::default()).unwrap();
        let mut links = Links::default();
        let first = ring.connect(&address).unwrap();
        links.seat(first, Who::Client(1));
        ring.close(first, Close::Reset);
        while ring.sockets_open() > 0 {
            ring.wait_turn(&mut |_, _| {});
        }
        let second = ring.connect(&address).unwrap();
        assert_eq!(first.slot(), second.slot());
        links.seat(second, Who::Client(2));
        assert!(links.at(first).is_none() && links.who(first).is_none());
        links.forget(first);
        assert!(matches!(links.who(second), Some(Who::Client(2))));
        links.forget(second);
        assert!(links.who(second).is_none());
    }
}
