//! The stage over sockets: real shards, and a sink behind them over TCP on loopback.
//!
//! One thread plays the client. Its sockets do not block: it reads whatever is there as soon as the
//! kernel says so, also while it writes, and asks the kernel how many segments a read took in.

use super::installation::{Installation, routes, taken_for};
use super::stage::{Arrived, ConnectionId, Stage};
use postern::durable::{Ledger, LedgerReport, LedgerSettings};
use postern::relay::{Address, Protocol};
use postern::shard::gateway::{Gateway, GatewaySettings};
use postern::tools::sink::{Kept, Serving, serve};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A gateway on loopback.
#[derive(Debug)]
pub struct Sockets {
    /// Always there until the stage is dropped.
    gateway: Option<Gateway>,
    listeners: Vec<(String, SocketAddr)>,
    _sink: Serving,
    kept: Kept,
    quarantine: TempDir,
    /// It ends after the gateway.
    ledger: Ledger,
    _outcomes: TempDir,
    clients: Vec<Client>,
    began: Instant,
}

/// A client's side of a connection.
#[derive(Debug)]
pub struct Client {
    /// `None` when the client has closed.
    stream: Option<TcpStream>,
    /// What was read and not handed over yet.
    pub arrived: Vec<Arrived>,
    /// Segments with data that reads have taken in.
    segments: u64,
    ended: bool,
}

impl Sockets {
    /// Starts a gateway with a next hop that speaks `protocol`.
    pub fn start(installation: &Installation, protocol: Protocol) -> Result<Sockets, String> {
        Sockets::start_with(installation, protocol, |_| {})
    }

    /// The same, with settings of the ledger.
    pub fn start_with(
        installation: &Installation,
        protocol: Protocol,
        set: impl FnOnce(&mut LedgerSettings),
    ) -> Result<Sockets, String> {
        let fault = |error: std::io::Error| error.to_string();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hop = TcpListener::bind(any).map_err(fault)?;
        let address = Address::Tcp(hop.local_addr().map_err(fault)?);
        let kept = Kept::default();
        let sink =
            serve(hop, protocol, Arc::clone(&installation.script), kept.clone()).map_err(fault)?;
        let quarantine = tempfile::tempdir().map_err(fault)?;
        let listeners = &installation.listeners;
        let outcomes = tempfile::tempdir().map_err(fault)?;
        let mut settings = LedgerSettings::new(outcomes.path());
        set(&mut settings);
        let ledger = Ledger::start(settings).map_err(|error| error.to_string())?;
        let gateway = Gateway::start(GatewaySettings {
            shards: 1,
            listeners: listeners.iter().map(|one| (any, Arc::clone(one))).collect(),
            tables: Arc::clone(&installation.tables),
            routes: Arc::new(routes(address, protocol, quarantine.path().to_owned())),
            connections_max: 1_000,
            body_memory_octets: 64 << 20,
            log: Vec::new(),
            ledger: Some(&ledger),
        })
        .map_err(|error| error.to_string())?;
        let names = listeners.iter().map(|one| one.name.clone());
        Ok(Sockets {
            listeners: names.zip(gateway.addresses()).collect(),
            gateway: Some(gateway),
            _sink: sink,
            kept,
            quarantine,
            ledger,
            _outcomes: outcomes,
            clients: Vec::new(),
            began: Instant::now(),
        })
    }

    /// What the ledger tells of itself.
    pub fn remembered(&self) -> LedgerReport {
        self.ledger.handle().report()
    }

    /// Waits until the gateway has greeted its next hop, as it does when it starts: from then on it
    /// sends only what clients cause.
    pub fn greeted(&self, patience: Duration) {
        while self.kept.seen().greetings == 0 {
            assert!(self.began.elapsed() < patience, "the next hop is not greeted");
            std::thread::yield_now();
        }
    }

    /// Send operations of the gateway, to clients and to the next hop.
    pub fn sends(&self) -> u64 {
        self.gateway.as_ref().map_or(0, Gateway::sends)
    }

    fn client(&mut self, connection: ConnectionId) -> &mut Client {
        &mut self.clients[connection.0]
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // Without clients there is nothing to wait for.
        self.clients.clear();
        if let Some(Err(error)) = self.gateway.take().map(Gateway::stop)
            && !std::thread::panicking()
        {
            panic!("a shard has panicked: {error:?}");
        }
    }
}

impl Stage for Sockets {
    fn connect(&mut self, listener: &str, from: IpAddr) -> Result<ConnectionId, String> {
        let found = self.listeners.iter().find(|(name, _)| name == listener);
        let (_, address) = found.ok_or_else(|| format!("there is no listener {listener}"))?;
        let stream = connect(*address, from).map_err(|error| format!("connect: {error}"))?;
        self.clients.push(Client::on(stream));
        Ok(ConnectionId(self.clients.len() - 1))
    }

    fn write(&mut self, connection: ConnectionId, octets: &[u8]) {
        let client = self.client(connection);
        let mut rest = octets;
        while let (false, Some(stream)) = (rest.is_empty(), &mut client.stream) {
            match stream.write(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(stream, libc::POLLIN | libc::POLLOUT, Duration::from_secs(5));
                    client.read();
                }
                Err(_) => {
                    client.read();
                    client.ended = true;
                    return;
                }
            }
        }
    }

    fn half_close(&mut self, connection: ConnectionId) {
        if let Some(stream) = &self.client(connection).stream {
            // A connection that is gone already is seen by the next read.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        let client = self.client(connection);
        client.read();
        client.stream = None;
    }

    fn abort(&mut self, connection: ConnectionId) {
        if let Some(stream) = self.client(connection).stream.take() {
            // If this fails the close is an orderly one, and the dialogue will show it.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn wait(&mut self, connection: ConnectionId, span: Duration) -> Vec<Arrived> {
        let until = Instant::now() + span;
        let client = self.client(connection);
        loop {
            client.read();
            let left = until.saturating_duration_since(Instant::now());
            if !client.arrived.is_empty() || client.ended || left.is_zero() {
                return std::mem::take(&mut client.arrived);
            }
            match &client.stream {
                Some(stream) => poll(stream, libc::POLLIN, left),
                None => return Vec::new(),
            }
        }
    }

    fn has_ended(&self, connection: ConnectionId) -> bool {
        let client = &self.clients[connection.0];
        client.ended && client.arrived.is_empty()
    }

    fn advance(&mut self, span: Duration) {
        std::thread::sleep(span);
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn delivered(&self, recipient: &str) -> Vec<Vec<u8>> {
        taken_for(self.kept.messages(), recipient)
    }

    fn quarantined(&self, recipient: &str) -> Vec<Vec<u8>> {
        let (local_part, domain) = recipient.rsplit_once('@').unwrap_or((recipient, ""));
        let folder: PathBuf = self.quarantine.path().join(domain).join(local_part).join("new");
        // A Maildir that is not there holds nothing.
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read(file.path()).ok()).collect()
    }

    fn scans(&self) -> u64 {
        self.gateway.as_ref().map_or(0, |gateway| gateway.counts().scans)
    }
}

impl Client {
    /// A client on a new connection that does not block.
    pub fn on(stream: TcpStream) -> Client {
        Client { stream: Some(stream), arrived: Vec::new(), segments: 0, ended: false }
    }

    /// Reads what is there, without waiting.
    pub fn read(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut octets = vec![0; 256 * 1024];
        while !self.ended {
            let before = data_segments(stream);
            match stream.read(&mut octets) {
                Ok(0) => self.ended = true,
                Ok(length) => {
                    // A segment that came between question and read was taken in, if nothing is
                    // left to be read.
                    let after = data_segments(stream);
                    let all = if is_readable(stream) { before } else { after };
                    let segments = all.saturating_sub(self.segments);
                    self.segments = all;
                    self.arrived.push(Arrived { octets: octets[..length].to_vec(), segments });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A reset counts as closing.
                Err(_) => self.ended = true,
            }
        }
    }
}

fn connect(to: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    // The largest reply sets shall fit into one segment and one window.
    socket.set_recv_buffer_size(1 << 20)?;
    socket.connect(&to.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Waits until the socket is ready for one of `events`.
fn poll(stream: &TcpStream, events: libc::c_short, span: Duration) {
    let mut waited = libc::pollfd { fd: stream.as_raw_fd(), events, revents: 0 };
    let span_ms = i32::try_from(span.as_millis()).unwrap_or(i32::MAX).max(1);
    // SAFETY: one entry, which lives until the call returns; the descriptor is open.
    unsafe { libc::poll(&raw mut waited, 1, span_ms) };
}

fn is_readable(stream: &TcpStream) -> bool {
    let mut octet = [0];
    stream.peek(&mut octet).is_ok_and(|length| length > 0)
}

/// Segments with data that have come on a connection so far.
fn data_segments(stream: &TcpStream) -> u64 {
    // Linux has grown this structure since the one of the C library: only its end is new, and the
    // kernel fills what it is given. RFC 4898 tcpEStatsPerfDataSegsIn.
    const DATA_SEGS_IN_AT: usize = 152;
    let mut info = [0u32; 64];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets into `info`, which is plain numbers.
    let answer = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert!(answer == 0 && length as usize >= DATA_SEGS_IN_AT + 4, "TCP_INFO tells no segments");
    u64::from(info[DATA_SEGS_IN_AT / 4])
}
