//! What clients may do to a shard, over real sockets: too many of them, silent ones, hasty ones, and
//! such as do not keep to the protocol below SMTP. Each leaves the others unharmed and the shard as
//! quiet as before.
//!
//! Nothing here sleeps to wait for something: every wait is for octets or for an end, with a time-out
//! that only a failure reaches.

// The dialogue runner has stages that these tests do not use.
#[allow(dead_code)]
#[path = "../dialogues_runner/mod.rs"]
mod dialogues_runner;
mod ends;
mod many;
mod next_hops;
mod sealed;

use dialogues_runner::installation::{HOSTNAME, Installation, base_listener, routes};
use postern::durable::{Ledger, LedgerSettings};
use postern::relay::{Address, HopTls, Protocol};
use postern::session::{End, Listener, ListenerTls, Record, TlsMode};
use postern::shard::Snapshot;
use postern::shard::gateway::{Gateway, GatewaySettings};
use postern::tally::Counts;
use postern::tls::{ClientTls, HopTrust, Identity, Pem, ServerTls, TlsStream};
use postern::tools::sink::{Kept, Script, Serving, serve};
use rtrb::{Consumer, RingBuffer};
use sealed::{SealedClient, new_tls};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is meant to happen soon, on a machine where others have the cores.
const SOON: Duration = Duration::from_secs(3);

/// Where gateways listen: an address of their own, as clients of other programs may still look on
/// 127.0.0.1 for somebody who had the port before.
const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

// ---- a gateway ------------------------------------------------------------------------------

/// A gateway with a next hop behind it. Its listeners are called as in `LISTENERS`.
struct Running {
    gateway: Gateway,
    kept: Kept,
    records: Records,
    _sink: Serving,
    _quarantine: TempDir,
    _ledger: Option<(TempDir, Ledger)>,
}

/// How sessions have ended, as the log is told.
#[derive(Clone)]
struct Records(Arc<Mutex<Vec<Consumer<Record>>>>);

impl Records {
    /// Those that nobody has taken yet.
    fn all(&self) -> Vec<End> {
        let mut queues = self.0.lock().unwrap();
        let popped = queues.iter_mut().flat_map(|queue| std::iter::from_fn(|| queue.pop().ok()));
        popped.map(|record| record.end).collect()
    }

    /// Waits for one.
    fn next(&self) -> End {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.all().pop() {
                Some(one) => return one,
                None => assert!(Instant::now() < end, "no record came"),
            }
            thread::yield_now();
        }
    }
}

/// Plain SMTP, and the same under TLS from the first octet.
const CLEAR: usize = 0;
const SEALED: usize = 1;

static SERVER: LazyLock<Arc<ServerTls>> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(vec![HOSTNAME.to_owned()]).unwrap();
    let (certificate, key) = (names.self_signed(&key).unwrap().pem(), key.serialize_pem());
    let identity = Identity {
        certificates: Pem { path: "certificate", octets: certificate.as_bytes() },
        key: Pem { path: "key", octets: key.as_bytes() },
    };
    Arc::new(ServerTls::from_pem(&[identity], None, 0).unwrap())
});

fn listeners(settings: &Listener) -> Vec<Arc<Listener>> {
    let implicit = ListenerTls { server: Arc::clone(&SERVER), mode: TlsMode::Implicit };
    let sealed = Listener { name: "sealed".to_owned(), tls: Some(implicit), ..settings.clone() };
    vec![Arc::new(settings.clone()), Arc::new(sealed)]
}

impl Running {
    fn start(settings: &Listener, shards: usize, connections_max: usize) -> Running {
        Running::start_with(settings, shards, connections_max, None)
    }

    /// With a record of outcomes.
    fn remembering(settings: &Listener) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(LedgerSettings::new(folder.path())).unwrap();
        Running::start_with(settings, 1, 100, Some((folder, ledger)))
    }

    fn start_with(
        settings: &Listener,
        shards: usize,
        connections_max: usize,
        ledger: Option<(TempDir, Ledger)>,
    ) -> Running {
        let any = SocketAddr::from((OWN, 0));
        let hop = TcpListener::bind(any).unwrap();
        let next_hop = Address::Tcp(hop.local_addr().unwrap());
        let (kept, quarantine) = (Kept::default(), tempfile::tempdir().unwrap());
        let mut script = Script::default();
        script.add("slow*=late:500").unwrap();
        let sink = serve(hop, Protocol::Lmtp, Arc::new(script), kept.clone()).unwrap();
        let routes = routes(next_hop, Protocol::Lmtp, quarantine.path().to_owned());
        let (log, records) = (0..shards).map(|_| RingBuffer::new(10_000)).unzip();
        let gateway = Gateway::start(GatewaySettings {
            shards,
            listeners: listeners(settings).into_iter().map(|one| (any, one)).collect(),
            tables: Installation::with(settings).tables,
            routes: Arc::new(routes),
            connections_max,
            body_memory_octets: 64 << 20,
            log,
            ledger: ledger.as_ref().map(|(_, ledger)| ledger),
        });
        let (gateway, records) = (gateway.unwrap(), Records(Arc::new(Mutex::new(records))));
        Running { gateway, kept, records, _sink: sink, _quarantine: quarantine, _ledger: ledger }
    }

    fn address(&self, listener: usize) -> SocketAddr {
        self.gateway.addresses()[listener]
    }

    fn counts(&self) -> Counts {
        self.gateway.counts()
    }

    /// Waits until all sessions are gone and nothing is left of them, and stops the gateway.
    fn ends_quiet(self) -> Counts {
        let end = Instant::now() + PATIENCE;
        let quiet = |one: &Snapshot| one.sessions_open == 0 && one.body_octets == 0;
        while !self.gateway.handle().snapshots().iter().all(quiet) {
            assert!(Instant::now() < end, "{:?}", self.gateway.handle().snapshots());
            thread::yield_now();
        }
        let snapshots = self.gateway.handle().snapshots();
        let counts = self.counts();
        assert!(snapshots.iter().all(|one| one.ring.stale == 0));
        assert_eq!((counts.sessions_panicked, counts.connections_astray), (0, 0));
        assert_eq!(counts.connections, counts.connections_closed, "{counts:?}");
        self.gateway.stop().unwrap();
        counts
    }
}

/// A connection from an address of loopback.
fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn connect(to: SocketAddr) -> TcpStream {
    connect_from(1, to)
}

/// Reads one line.
fn line(stream: &mut impl Read) -> String {
    let (mut line, mut octet) = (Vec::new(), [0]);
    while !line.ends_with(b"\n") {
        match stream.read(&mut octet) {
            Ok(1) => line.push(octet[0]),
            end => panic!("{end:?} behind {:?}", String::from_utf8_lossy(&line)),
        }
    }
    String::from_utf8(line).unwrap()
}

/// Reads a reply, and gives its last line.
fn reply(stream: &mut impl Read) -> String {
    loop {
        let line = line(stream);
        if line.as_bytes().get(3) != Some(&b'-') {
            return line;
        }
    }
}

/// All that comes until the end; a reset is one, too.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut octets = Vec::new();
    match stream.read_to_end(&mut octets) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => octets,
    }
}

fn says(stream: &mut (impl Read + Write), command: &str, code: &str) {
    stream.write_all(command.as_bytes()).unwrap();
    let reply = reply(stream);
    assert!(reply.starts_with(code), "{command:?}: {reply:?}");
}

/// Greets and hands in one clean message.
fn hand_in(stream: &mut (impl Read + Write)) {
    assert!(reply(stream).starts_with("220 "));
    says(stream, "EHLO client.example\r\n", "250 ");
    says(stream, "MAIL FROM:<a@client.example>\r\n", "250 ");
    says(stream, "RCPT TO:<ok1@example.net>\r\n", "250 ");
    says(stream, "DATA\r\n", "354 ");
    says(stream, "Subject: x\r\n\r\nhello\r\n.\r\n", "250 ");
    says(stream, "QUIT\r\n", "221 ");
}

/// Hands in messages from another address, one after the other, while `then` runs; each must be
/// taken, and soon.
fn with_canary<T>(to: SocketAddr, then: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let canary = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                hand_in(&mut connect_from(9, to));
                assert!(began.elapsed() < SOON, "the canary waited {:?}", began.elapsed());
            }
        });
        let result = then();
        done.store(true, Ordering::Relaxed);
        canary.join().unwrap();
        result
    })
}

// ---- foreign tongues ------------------------------------------------------------------------

/// First octets of other protocols, as their clients send them.
fn foreign_hellos() -> Vec<(&'static str, Vec<u8>)> {
    let fixed: [(&str, &[u8]); 19] = [
        ("RDP", b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r\n"),
        ("HTTP/1", b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b.example>\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0"),
        ("SMB", b"\0\0\0\x2f\xffSMBr\0\0\0\0\x18\x01\x28\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("SOCKS 4", b"\x04\x01\0\x19\x7f\0\0\x01user\0"),
        ("SOCKS 5", b"\x05\x02\0\x02"),
        ("PostgreSQL", b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("MQTT", b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04test"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("memcached", b"stats\r\n"),
        ("DNS", b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01"),
        ("LDAP", b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0"),
        ("X11", b"l\0\x0b\0\0\0\0\0\0\0\0\0"),
        ("AMQP", b"AMQP\0\0\x09\x01"),
        ("BitTorrent", b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0"),
        ("IRC", b"NICK someone\r\nUSER a b c :d\r\n"),
        ("SIP", b"OPTIONS sip:x SIP/2.0\r\n\r\n"),
        ("broken UTF-8", b"\xff\xfe\xc3\x28\xf0\x9f\x92\xa9\r\n"),
    ];
    let mut hellos: Vec<(&str, Vec<u8>)> =
        fixed.iter().map(|(name, octets)| (*name, octets.to_vec())).collect();
    hellos.push(("TLS", new_tls().take_sealed()));
    hellos
}

/// A-07, Postfix 3.7.2: a hello of another protocol is a bad command, and no string that can fail.
#[test]
fn a_07_hellos_of_other_protocols_are_bad_commands() {
    let running = Running::start(&base_listener(), 1, 100);
    for (name, hello) in foreign_hellos() {
        for piece in [1, hello.len()] {
            let mut client = connect(running.address(CLEAR));
            assert!(reply(&mut client).starts_with("220 "));
            for piece in hello.chunks(piece) {
                // It may be gone before all is said.
                let _ = client.write_all(piece);
            }
            let _ = client.write_all(b"\r\nNOOP\r\nQUIT\r\n");
            let told = String::from_utf8(rest(&mut client)).unwrap();
            assert!(
                told.starts_with("500 5.5.2 ") || told.starts_with("421 4.7.0 "),
                "{name}: {told}"
            );
            let goes_on = told.contains("\r\n250 ") && told.contains("\r\n221 ");
            assert!(goes_on || told.contains("421 4.7.0 "), "{name}: {told}");
        }
        hand_in(&mut connect(running.address(CLEAR)));
    }
    assert_eq!(running.kept.count(), 20);
    running.ends_quiet();
}

// ---- while it runs --------------------------------------------------------------------------

#[test]
fn new_settings_hold_for_who_comes_and_old_ones_for_who_is_there() {
    let running = Running::start(&base_listener(), 2, 100);
    let to = running.address(CLEAR);
    let mut there = connect(to);
    assert!(reply(&mut there).starts_with("220 mx.example.net "));
    let renamed = Listener { hostname: "other.example.net".to_owned(), ..base_listener() };
    let tables = Installation::with(&renamed).tables;
    running.gateway.handle().replace(&listeners(&renamed), &tables);
    let end = Instant::now() + PATIENCE;
    // Each shard takes its letter when it wakes.
    for source in 1..=20 {
        while !reply(&mut connect_from(source, to)).starts_with("220 other.example.net ") {
            assert!(Instant::now() < end, "the old settings hold on");
        }
    }
    there.write_all(b"EHLO client.example\r\n").unwrap();
    assert_eq!(line(&mut there), "250-mx.example.net\r\n");
    assert!(reply(&mut there).starts_with("250 "));
    says(&mut there, "QUIT\r\n", "221 ");
    drop(there);
    running.ends_quiet();
}

#[test]
fn every_source_comes_to_the_shard_that_counts_it() {
    let running = Running::start(&base_listener(), 3, 300);
    for source in 1..=40 {
        hand_in(&mut connect_from(source, running.address(CLEAR)));
    }
    let snapshots = running.gateway.handle().snapshots();
    assert!(snapshots.iter().all(|one| one.counts.connections > 0), "{snapshots:?}");
    running.ends_quiet();
}
