//! One connection under TLS, without the connection.
//!
//! Sealed octets of the peer go in by [`TlsStream::receive`], which hands out the plain ones at once;
//! plain octets go in by [`TlsStream::send`]; what is to leave, alerts included, comes out of
//! [`TlsStream::take_sealed`]. Between two calls a stream holds the beginning of one record (in a
//! handshake: of one message), and nothing if there is none.
//!
//! A record is looked at when it is whole, and each must bring something: plain octets, or the
//! handshake nearer to its end. A peer that goes on with records that bring nothing is given up.

use super::TlsFacts;
use super::client::ClientTls;
use super::server::ServerTls;
use crate::limits::{TLS_RECORD_OCTETS, TLS_RECORDS_WITHOUT_PROGRESS};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A connection under TLS.
pub struct TlsStream {
    side: Side,
    /// Sealed octets that are not opened yet.
    incoming: Vec<u8>,
    /// Where in `incoming` the record begins that is still coming; before it there are, in a
    /// handshake, the records of a message that is not whole.
    record_at: usize,
    records_without_progress: u32,
    /// Plain octets that were to be sent before the handshake was done.
    waiting: Vec<u8>,
    /// Sealed octets that are to leave.
    sealed: Vec<u8>,
    /// Octets that were ever made for the peer, and that have left.
    sealed_made: u64,
    sealed_sent: u64,
    /// For how many plain octets those up to a place stand.
    marks: VecDeque<Mark>,
    facts: Option<TlsFacts>,
    peer_closed: bool,
    closed: bool,
    fault: Option<TlsFault>,
}

/// Why a connection under TLS is of no more use. It concerns this connection alone.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsFault {
    /// The peer broke the protocol, cannot be verified, or has said that it does not want us.
    #[error("TLS failed: {0}")]
    Failed(#[from] rustls::Error),
    /// The peer sends record after record, and none brings anything.
    #[error("TLS records without progress")]
    NoProgress,
    /// More was sent under one key than may be.
    #[error("TLS key used up")]
    KeyUsedUp,
}

struct Mark {
    /// Counted like `sealed_made`.
    sealed_end: u64,
    plain: u64,
}

enum Side {
    Server(Box<UnbufferedServerConnection>, Arc<ServerTls>),
    Client(Box<UnbufferedClientConnection>),
}

/// What the library wants next.
enum Step {
    /// To be asked again.
    On,
    /// More octets of the peer.
    More,
    /// Nothing more: the peer has said that it sends no more.
    PeerClosed,
}

/// Octets of a record before those that its length counts. RFC 8446 5.1.
const HEADER_OCTETS: usize = 5;

/// What a record adds to the octets that it seals, at most: header, explicit nonce, tag and type.
const OVERHEAD_OCTETS: usize = HEADER_OCTETS + 8 + 16 + 1;

impl TlsStream {
    /// The server's side of a connection that a client is about to begin.
    pub fn server(tls: &Arc<ServerTls>) -> Result<TlsStream, TlsFault> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&tls.config))?;
        Ok(TlsStream::new(Side::Server(Box::new(connection), Arc::clone(tls))))
    }

    /// The client's side of a connection; the first octets for the server can be taken at once.
    pub fn client(tls: &ClientTls) -> Result<TlsStream, TlsFault> {
        let (config, name) = (Arc::clone(&tls.config), tls.name.clone());
        let connection = UnbufferedClientConnection::new(config, name)?;
        let mut stream = TlsStream::new(Side::Client(Box::new(connection)));
        stream.advance(&mut Vec::new())?;
        Ok(stream)
    }

    /// So many octets were sent in clear before and have not left: they are counted before the sealed
    /// ones. To be called before anything else.
    pub fn follow(&mut self, clear_octets: u64) {
        debug_assert!(self.marks.is_empty() && self.sealed_sent == 0);
        self.sealed_made += clear_octets;
        self.marks.push_back(Mark { sealed_end: clear_octets, plain: clear_octets });
    }

    fn new(side: Side) -> TlsStream {
        TlsStream {
            side,
            incoming: Vec::new(),
            record_at: 0,
            records_without_progress: 0,
            waiting: Vec::new(),
            sealed: Vec::new(),
            sealed_made: 0,
            sealed_sent: 0,
            marks: VecDeque::new(),
            facts: None,
            peer_closed: false,
            closed: false,
            fault: None,
        }
    }

    /// Takes octets of the peer and puts the plain ones behind `plain`.
    ///
    /// After a fault the connection is to be closed when [`TlsStream::take_sealed`] has left, which
    /// holds the alert. Plain octets that came before the fault are good.
    pub fn receive(&mut self, mut sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        // RFC 8446 6.1: whatever is received after a closure alert must be ignored.
        while !self.peer_closed {
            match self.missing_octets() {
                0 => self.record_came(plain)?,
                _ if sealed.is_empty() => break,
                missing => {
                    let (now, later) = sealed.split_at(missing.min(sealed.len()));
                    self.incoming.extend_from_slice(now);
                    sealed = later;
                }
            }
        }
        if self.incoming.is_empty() {
            // An idle connection holds no buffer.
            self.incoming = Vec::new();
        }
        Ok(())
    }

    /// Seals octets for the peer. Before the handshake is done they wait for its end; after a fault
    /// or [`TlsStream::close`] they are dropped.
    pub fn send(&mut self, plain: &[u8]) {
        if self.closed || self.fault.is_some() || plain.is_empty() {
        } else if self.facts.is_none() {
            self.waiting.extend_from_slice(plain);
        } else if let Err(fault) = self.seal(plain) {
            self.fail(fault);
        }
    }

    /// Tells the peer that nothing more will come (close_notify).
    pub fn close(&mut self) {
        if self.closed || self.fault.is_some() {
            return;
        }
        self.closed = true;
        // Before the handshake is done there is nothing that an end could cut short.
        let start = self.sealed.len();
        self.sealed.resize(start + 2 * OVERHEAD_OCTETS, 0);
        let written = self.side.close_notify(&mut self.incoming, &mut self.sealed[start..]);
        self.sealed.truncate(start + written);
        self.sealed_made += written as u64;
    }

    /// What is to leave now: the records of all that was sent since, in one piece.
    pub fn take_sealed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sealed)
    }

    /// Octets have left; returns for how many plain ones they stand.
    pub fn sent(&mut self, sealed: u64) -> u64 {
        self.sealed_sent += sealed;
        let mut plain = 0;
        while let Some(mark) = self.marks.front()
            && mark.sealed_end <= self.sealed_sent
        {
            plain += mark.plain;
            self.marks.pop_front();
        }
        plain
    }

    /// What the handshake has shown, once it is done.
    pub fn facts(&self) -> Option<&TlsFacts> {
        self.facts.as_ref()
    }

    /// Whether the handshake went on from an earlier connection, which spares both sides the
    /// arithmetic.
    pub fn is_resumed(&self) -> bool {
        self.side.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the peer has said that it sends no more. What comes all the same is dropped.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Memory of buffers that the stream holds, in octets.
    #[cfg(test)]
    pub(super) fn held_octets(&self) -> usize {
        self.incoming.capacity() + self.waiting.capacity() + self.sealed.capacity()
    }

    /// Octets until the record that is coming is whole, or until its length is known.
    fn missing_octets(&self) -> usize {
        let record = &self.incoming[self.record_at..];
        let wanted = match record {
            [kind, version, _, high, low, ..] => {
                let length = usize::from(*high) << 8 | usize::from(*low);
                let is_record = (20..=24).contains(kind) && *version == 3;
                // What can be no record is shown to the library at once, which has the right alert.
                if is_record && length <= TLS_RECORD_OCTETS { HEADER_OCTETS + length } else { 0 }
            }
            _ => HEADER_OCTETS,
        };
        wanted.saturating_sub(record.len())
    }

    /// A record is whole.
    fn record_came(&mut self, plain: &mut Vec<u8>) -> Result<(), TlsFault> {
        let (plain_before, sealed_before) = (plain.len(), self.sealed.len());
        let handshaking = self.facts.is_none();
        self.advance(plain)?;
        let answered = handshaking && self.sealed.len() > sealed_before;
        if answered || plain.len() > plain_before {
            self.records_without_progress = 0;
            return Ok(());
        }
        self.records_without_progress += 1;
        match self.records_without_progress > TLS_RECORDS_WITHOUT_PROGRESS {
            true => {
                self.close();
                Err(self.fail(TlsFault::NoProgress))
            }
            false => Ok(()),
        }
    }

    /// Lets the library take what has come, until it wants more.
    fn advance(&mut self, plain: &mut Vec<u8>) -> Result<(), TlsFault> {
        let sealed_before = self.sealed.len();
        loop {
            let (discard, step) = self.side.step(&mut self.incoming, plain, &mut self.sealed);
            self.incoming.drain(..discard);
            match step {
                Ok(Step::On) => {}
                Ok(Step::More) => break,
                Ok(Step::PeerClosed) => {
                    self.peer_closed = true;
                    self.incoming = Vec::new();
                    break;
                }
                Err(error) => return Err(self.fail(error.into())),
            }
        }
        self.record_at = self.incoming.len();
        self.sealed_made += (self.sealed.len() - sealed_before) as u64;
        if self.facts.is_none() && !self.side.common().is_handshaking() {
            self.secured()?;
        }
        Ok(())
    }

    /// The handshake is done.
    fn secured(&mut self) -> Result<(), TlsFault> {
        self.facts = Some(self.side.facts());
        self.records_without_progress = 0;
        let waiting = std::mem::take(&mut self.waiting);
        self.seal(&waiting).map_err(|fault| self.fail(fault))
    }

    fn seal(&mut self, plain: &[u8]) -> Result<(), TlsFault> {
        let start = self.sealed.len();
        let mut room = plain.len() + (plain.len() / (16 * 1024) + 1) * OVERHEAD_OCTETS;
        let written = loop {
            self.sealed.resize(start + room, 0);
            match self.side.encrypt(&mut self.incoming, plain, &mut self.sealed[start..]) {
                Ok(written) => break Ok(written),
                Err(EncryptError::InsufficientSize(more)) if more.required_size > room => {
                    room = more.required_size;
                }
                Err(_) => break Err(TlsFault::KeyUsedUp),
            }
        };
        self.sealed.truncate(start + *written.as_ref().unwrap_or(&0));
        self.sealed_made += written? as u64;
        if !plain.is_empty() {
            let mark = Mark { sealed_end: self.sealed_made, plain: plain.len() as u64 };
            self.marks.push_back(mark);
        }
        Ok(())
    }

    /// The connection is of no more use but for the alert.
    fn fail(&mut self, fault: TlsFault) -> TlsFault {
        let sealed_before = self.sealed.len();
        self.side.put_alerts(&mut self.incoming, &mut self.sealed);
        self.sealed_made += (self.sealed.len() - sealed_before) as u64;
        self.incoming = Vec::new();
        self.record_at = 0;
        self.waiting = Vec::new();
        self.fault.insert(fault).clone()
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("facts", &self.facts)
            .field("peer_closed", &self.peer_closed)
            .field("closed", &self.closed)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl Side {
    fn common(&self) -> &CommonState {
        match self {
            Side::Server(connection, _) => connection,
            Side::Client(connection) => connection,
        }
    }

    fn facts(&self) -> TlsFacts {
        let common = self.common();
        let suite = common.negotiated_cipher_suite();
        let client_key = match self {
            Side::Server(_, tls) => tls.client_key(common.peer_certificates().unwrap_or_default()),
            Side::Client(_) => None,
        };
        TlsFacts {
            version: match common.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS1.3",
                _ => "TLS1.2",
            },
            cipher: suite.map_or("unknown", |suite| iana_name(suite.suite())),
            client_key,
        }
    }

    /// Does the next thing; returns how many octets of `incoming` are done with.
    fn step(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        sealed: &mut Vec<u8>,
    ) -> (usize, Result<Step, rustls::Error>) {
        match self {
            Side::Server(connection, _) => {
                step(connection.process_tls_records(incoming), plain, sealed)
            }
            Side::Client(connection) => {
                step(connection.process_tls_records(incoming), plain, sealed)
            }
        }
    }

    fn encrypt(
        &mut self,
        incoming: &mut [u8],
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, EncryptError> {
        match self {
            Side::Server(connection, _) => {
                encrypt(connection.process_tls_records(incoming), plain, sealed)
            }
            Side::Client(connection) => {
                encrypt(connection.process_tls_records(incoming), plain, sealed)
            }
        }
    }

    /// Writes close_notify, if the handshake is done; returns its octets.
    fn close_notify(&mut self, incoming: &mut [u8], sealed: &mut [u8]) -> usize {
        let written = match self {
            Side::Server(connection, _) => {
                close_notify(connection.process_tls_records(incoming), sealed)
            }
            Side::Client(connection) => {
                close_notify(connection.process_tls_records(incoming), sealed)
            }
        };
        written.unwrap_or(0)
    }

    /// Writes what is to be said after a fault. Nothing more is read.
    fn put_alerts(&mut self, incoming: &mut [u8], sealed: &mut Vec<u8>) {
        while self.common().wants_write() {
            if self.step(incoming, &mut Vec::new(), sealed).1.is_err() {
                return;
            }
        }
    }
}

fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Vec<u8>,
    sealed: &mut Vec<u8>,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut failed = None;
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            failed.map_or(Ok(Step::On), Err)
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let start = sealed.len();
            let mut encoded = data.encode(&mut []);
            if let Err(EncodeError::InsufficientSize(more)) = &encoded {
                sealed.resize(start + more.required_size, 0);
                encoded = data.encode(&mut sealed[start..]);
            }
            match encoded {
                Ok(_) => Ok(Step::On),
                Err(error) => Err(rustls::Error::General(error.to_string())),
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::On)
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::PeerClosed),
        // Early data is never offered, and a state that is not known here wants nothing of us.
        Ok(_) => Ok(Step::More),
        Err(error) => Err(error),
    };
    (discard, step)
}

fn encrypt<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &[u8],
    sealed: &mut [u8],
) -> Result<usize, EncryptError> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.encrypt(plain, sealed),
        // The peer has closed its side, and both have nothing more to say; or it failed before.
        _ => Ok(0),
    }
}

fn close_notify<Data>(status: UnbufferedStatus<'_, '_, Data>, sealed: &mut [u8]) -> Option<usize> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.queue_close_notify(sealed).ok(),
        _ => None,
    }
}

/// The name in IANA's registry; the library puts the version in front of those of TLS 1.3.
fn iana_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str().unwrap_or("unknown"),
    }
}
