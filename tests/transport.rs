//! What clients may do to a shard, over real sockets: too many of them, silent ones, hasty ones, and
//! such as do not keep to the protocol below SMTP. Each leaves the others unharmed and the shard as
//! quiet as before.
//!
//! Nothing here sleeps to wait for something: every wait is for octets or for an end, with a time-out
//! that only a failure reaches.

// The dialogue runner has stages that these tests do not use.
#[allow(dead_code)]
mod dialogues_runner;

use dialogues_runner::installation::{HOSTNAME, Installation, base_listener, routes};
use postern::relay::{Address, Protocol};
use postern::session::{Listener, ListenerTls, TlsMode};
use postern::shard::Snapshot;
use postern::shard::gateway::{Gateway, GatewaySettings};
use postern::tally::Counts;
use postern::tls::{ClientTls, HopTrust, Identity, Pem, ServerTls, TlsStream};
use postern::tools::sink::{Kept, Script, Serving, serve};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
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
    _sink: Serving,
    _quarantine: TempDir,
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
        let any = SocketAddr::from((OWN, 0));
        let hop = TcpListener::bind(any).unwrap();
        let next_hop = Address::Tcp(hop.local_addr().unwrap());
        let (kept, quarantine) = (Kept::default(), tempfile::tempdir().unwrap());
        let script = Arc::new(Script::default());
        let sink = serve(hop, Protocol::Lmtp, script, kept.clone()).unwrap();
        let routes = routes(next_hop, Protocol::Lmtp, quarantine.path().to_owned());
        let gateway = Gateway::start(GatewaySettings {
            shards,
            listeners: listeners(settings).into_iter().map(|one| (any, one)).collect(),
            tables: Installation::with(settings).tables,
            routes: Arc::new(routes),
            connections_max,
            body_memory_octets: 64 << 20,
            log: Vec::new(),
            ledger: None,
        });
        Running { gateway: gateway.unwrap(), kept, _sink: sink, _quarantine: quarantine }
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
        assert!(snapshots.iter().all(|one| (one.ring.rescued, one.ring.stale) == (0, 0)));
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

// ---- a client under TLS ---------------------------------------------------------------------

/// A client's side of TLS on a socket that blocks.
struct SealedClient {
    stream: TcpStream,
    tls: TlsStream,
    plain: Vec<u8>,
}

fn new_tls() -> TlsStream {
    let tls = ClientTls::from_pem(HOSTNAME, HopTrust::Anybody, None, 0).unwrap();
    TlsStream::client(&tls).unwrap()
}

impl SealedClient {
    fn connect(to: SocketAddr) -> SealedClient {
        let mut client = SealedClient { stream: connect(to), tls: new_tls(), plain: Vec::new() };
        client.flush();
        while client.tls.facts().is_none() {
            assert!(client.take_some() > 0, "the server closed in mid-handshake");
        }
        client
    }

    fn flush(&mut self) {
        let sealed = self.tls.take_sealed();
        self.stream.write_all(&sealed).unwrap();
    }

    /// Reads once; gives the octets that came from the socket.
    fn take_some(&mut self) -> usize {
        let mut sealed = [0; 20_000];
        let length = self.stream.read(&mut sealed).unwrap();
        self.tls.receive(&sealed[..length], &mut self.plain).unwrap();
        self.flush();
        length
    }
}

impl Read for SealedClient {
    fn read(&mut self, octets: &mut [u8]) -> std::io::Result<usize> {
        while self.plain.is_empty() {
            if self.take_some() == 0 {
                return Ok(0);
            }
        }
        let length = octets.len().min(self.plain.len());
        octets[..length].copy_from_slice(&self.plain[..length]);
        self.plain.drain(..length);
        Ok(length)
    }
}

impl Write for SealedClient {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.tls.send(octets);
        self.flush();
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// ---- mail under TLS -------------------------------------------------------------------------

#[test]
fn mail_goes_through_under_tls_and_a_reply_set_is_one_send() {
    let running = Running::start(&base_listener(), 1, 100);
    hand_in(&mut SealedClient::connect(running.address(SEALED)));
    assert_eq!(running.kept.count(), 1);
    let mut client = SealedClient::connect(running.address(SEALED));
    assert!(reply(&mut client).starts_with("220 "));
    says(&mut client, "EHLO client.example\r\n", "250 ");
    let before = running.gateway.sends();
    // A group of commands is answered in one piece, sealed or not.
    client.write_all(b"NOOP\r\nNOOP\r\nMAIL FROM:<a@client.example>\r\nRSET\r\n").unwrap();
    (0..4).for_each(|_| assert!(reply(&mut client).starts_with("250 ")));
    assert_eq!(running.gateway.sends() - before, 1);
    says(&mut client, "QUIT\r\n", "221 ");
    // An orderly end says so under TLS, too.
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    assert!(client.tls.peer_closed(), "no close_notify");
    drop(client);
    let counts = running.ends_quiet();
    assert_eq!((counts.tls_handshakes, counts.tls_handshakes_failed), (2, 0));
}

#[test]
fn a_session_that_goes_on_from_an_earlier_one_is_counted_as_such() {
    let running = Running::start(&base_listener(), 1, 100);
    let tls = ClientTls::from_pem(HOSTNAME, HopTrust::Anybody, None, 0).unwrap();
    for _ in 0..3 {
        let stream = connect(running.address(SEALED));
        let tls = TlsStream::client(&tls).unwrap();
        let mut client = SealedClient { stream, tls, plain: Vec::new() };
        client.flush();
        hand_in(&mut client);
    }
    let counts = running.ends_quiet();
    assert_eq!((counts.tls_handshakes, counts.tls_resumed), (3, 2));
}

/// who does not come to the end of a handshake is let go at its deadline, without a word in
/// clear, and holds nobody up.
#[test]
fn a_12_handshakes_that_come_to_no_end_are_let_go_and_hold_nobody_up() {
    let handshake_timeout = Duration::from_millis(300);
    let settings = Listener { handshake_timeout, connections_per_source: 0, ..base_listener() };
    let running = Running::start(&settings, 1, 1_000);
    let hello = new_tls().take_sealed();
    let one_octet_records = hello[5..].iter().flat_map(|octet| [0x16, 3, 1, 0, 1, *octet]);
    let flights: Vec<Vec<u8>> = vec![
        Vec::new(),
        hello[..1].to_vec(),
        hello[..hello.len() - 1].to_vec(),
        hello.clone(),
        one_octet_records.collect(),
        [0x16, 3, 3, 0, 0].repeat(1_000),
        [hello.as_slice(), &[0x15, 3, 3, 0, 2, 1, 0]].concat(),
        b"EHLO client.example\r\n".to_vec(),
    ];
    const ROUNDS: usize = 6;
    with_canary(running.address(CLEAR), || {
        let began = Instant::now();
        let clients: Vec<TcpStream> = (0..ROUNDS * flights.len())
            .map(|number| {
                let mut client = connect(running.address(SEALED));
                // One that is refused at once may be gone before it has said all.
                let _ = client.write_all(&flights[number % flights.len()]);
                client
            })
            .collect();
        for mut client in clients {
            let told = rest(&mut client);
            assert!(!told.windows(3).any(|octets| octets == b"421" || octets == b"220"));
            // Records of handshakes and alerts, if anything.
            assert!(told.first().is_none_or(|octet| matches!(octet, 0x15 | 0x16)), "{told:?}");
        }
        assert!(began.elapsed() < handshake_timeout + SOON, "{:?}", began.elapsed());
    });
    let counts = running.ends_quiet();
    assert_eq!(counts.tls_handshakes, 0);
    assert_eq!(counts.tls_handshakes_failed, (ROUNDS * flights.len()) as u64);
}

/// a source that may have any number of connections has a number of handshakes under way.
#[test]
fn a_12_one_source_has_its_share_of_handshakes() {
    let settings = Listener { connections_per_source: 0, ..base_listener() };
    let running = Running::start(&settings, 1, 1_000);
    let hello = new_tls().take_sealed();
    let mut clients: Vec<TcpStream> = (0..51).map(|_| connect(running.address(SEALED))).collect();
    assert!(rest(&mut clients[50]).is_empty());
    // The others are served, and a place that is given back is there for the next one.
    clients[49].write_all(&hello).unwrap();
    clients[49].read_exact(&mut [0; 5]).unwrap();
    clients.truncate(49);
    let end = Instant::now() + PATIENCE;
    loop {
        let mut client = connect(running.address(SEALED));
        let _ = client.write_all(&hello);
        if client.read_exact(&mut [0; 5]).is_ok() {
            break;
        }
        assert!(Instant::now() < end, "the place is not given back");
    }
    hand_in(&mut connect(running.address(CLEAR)));
    drop(clients);
    assert!(running.ends_quiet().tls_handshakes_refused >= 1);
}

/// A-27, CVE-2026-45185: a body that ends with close_notify is no message, and what follows in clear
/// is nothing at all.
#[test]
fn a_27_a_body_that_ends_with_close_notify_is_not_delivered() {
    let running = Running::start(&base_listener(), 1, 100);
    for more in [&b""[..], b".\r\nQUIT\r\n", &[0x17, 3, 3, 0, 1, 0]] {
        let mut client = SealedClient::connect(running.address(SEALED));
        assert!(reply(&mut client).starts_with("220 "));
        says(&mut client, "EHLO client.example\r\n", "250 ");
        says(&mut client, "MAIL FROM:<a@client.example>\r\n", "250 ");
        says(&mut client, "RCPT TO:<ok1@example.net>\r\n", "250 ");
        says(&mut client, "DATA\r\n", "354 ");
        client.write_all(b"Subject: x\r\n\r\nhalf of it\r\n").unwrap();
        client.tls.close();
        client.flush();
        // The server may be gone by now.
        let _ = client.stream.write_all(more);
        let told = rest(&mut client.stream);
        assert!(told.first().is_none_or(|octet| *octet == 0x17 || *octet == 0x15), "{told:?}");
    }
    assert_eq!(running.kept.count(), 0);
    let counts = running.ends_quiet();
    assert_eq!((counts.messages, counts.messages_lost), (0, 3));
}

/// a broken record ends the connection with an alert, and drops the message that was coming.
#[test]
fn a_28_a_broken_record_drops_the_message_and_nothing_is_said_in_clear() {
    let running = Running::start(&base_listener(), 1, 100);
    let broken: [&[u8]; 4] = [
        &[
            0x17, 3, 3, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3,
            4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0,
        ],
        b".\r\nQUIT\r\n",
        &[0x17, 3, 3, 0xff, 0xff, 0],
        &[0x15, 3, 3, 0, 2, 2, 10],
    ];
    for octets in broken {
        let mut client = SealedClient::connect(running.address(SEALED));
        assert!(reply(&mut client).starts_with("220 "));
        says(&mut client, "EHLO client.example\r\n", "250 ");
        says(&mut client, "MAIL FROM:<a@client.example>\r\n", "250 ");
        says(&mut client, "RCPT TO:<ok1@example.net>\r\n", "250 ");
        says(&mut client, "DATA\r\n", "354 ");
        client.write_all(b"Subject: x\r\n\r\nhello\r\n").unwrap();
        client.stream.write_all(octets).unwrap();
        let told = rest(&mut client.stream);
        assert_eq!(told.first(), Some(&0x17), "an alert, sealed");
        let mut plain = Vec::new();
        let end = client.tls.receive(&told, &mut plain);
        assert!(plain.is_empty() && end.is_err(), "{end:?}");
    }
    assert_eq!(running.kept.count(), 0);
    let counts = running.ends_quiet();
    assert_eq!((counts.tls_handshakes, counts.messages_lost), (4, 4));
}

// ---- too many, too silent, too fast ---------------------------------------------------------

/// silent clients are let go when they have been so for long, and sooner when connections are
/// scarce: one connection inside the limit, one outside.
#[test]
fn a_02_silent_clients_are_let_go_sooner_under_load() {
    let soon = Duration::from_millis(200);
    let settings =
        Listener { idle_timeout_under_load: soon, connections_per_source: 0, ..base_listener() };
    let running = Running::start(&settings, 1, 20);
    let mut clients: Vec<TcpStream> = (0..16).map(|_| connect(running.address(CLEAR))).collect();
    clients.iter_mut().for_each(|client| assert!(line(client).starts_with("220 ")));
    // 16 of 20 are 80 %, which is not more. Not a synchronisation: the span over which nothing may
    // happen.
    thread::sleep(3 * soon);
    clients.iter_mut().for_each(|client| says(client, "NOOP\r\n", "250 "));
    let began = Instant::now();
    clients.push(connect(running.address(CLEAR)));
    assert!(line(&mut clients[16]).starts_with("220 "));
    for client in &mut clients {
        assert!(rest(client).starts_with(b"421 4.4.2 "));
    }
    assert!(began.elapsed() >= soon && began.elapsed() < soon + SOON, "{:?}", began.elapsed());
    drop(clients);
    assert_eq!(running.ends_quiet().timeouts, 17);

    let settings = Listener { idle_timeout: soon, connections_per_source: 0, ..base_listener() };
    let running = Running::start(&settings, 1, 1_000);
    let clients: Vec<TcpStream> = (0..200).map(|_| connect(running.address(CLEAR))).collect();
    for mut client in clients {
        assert!(line(&mut client).starts_with("220 "));
        assert!(rest(&mut client).starts_with(b"421 4.4.2 "));
    }
    assert_eq!(running.ends_quiet().timeouts, 200);
}

/// a client that writes and never reads is read no more when its replies have filled what there
/// is for them, and is let go when it has taken none for long.
#[test]
fn a_03_a_client_that_never_reads_is_held_back_and_let_go() {
    let settings = Listener { write_stall_timeout: Duration::from_millis(500), ..base_listener() };
    let running = Running::start(&settings, 1, 100);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&running.address(CLEAR).into()).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut client = TcpStream::from(socket);
    client.write_all(b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n").unwrap();
    let group = b"RCPT TO:<ok1@example.net>\r\n".repeat(1_000);
    let (began, mut written) = (Instant::now(), 0);
    let end = loop {
        match client.write_all(&group) {
            Ok(()) => written += group.len(),
            Err(error) => break error.kind(),
        }
        assert!(written < 64 << 20, "the gateway reads on and on");
    };
    // Not before the stall, and not by our own time-out.
    assert!(matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{end:?}");
    assert!(began.elapsed() < PATIENCE);
    let counts = running.ends_quiet();
    println!("{written} octets were written, after {:?} it was over", began.elapsed());
    assert_eq!(counts.timeouts, 1, "{counts:?}");
}

/// more connections than one source may have are told so and closed, and cost nobody else
/// anything; the count is one for all shards.
#[test]
fn a_04_one_source_has_its_share_and_others_are_answered() {
    let running = Running::start(&base_listener(), 3, 2_000);
    let to = running.address(CLEAR);
    with_canary(to, || {
        let (mut served, mut refused) = (Vec::new(), 0);
        for _ in 0..500 {
            let mut client = connect_from(2, to);
            match line(&mut client) {
                banner if banner.starts_with("220 ") => served.push(client),
                notice => {
                    assert!(notice.starts_with("421 4.7.0 "), "{notice}");
                    assert!(rest(&mut client).is_empty());
                    refused += 1;
                }
            }
        }
        assert_eq!((served.len(), refused), (50, 450));
        // A place that is given back is there for the next one.
        says(&mut served[0], "QUIT\r\n", "221 ");
        assert!(rest(&mut served[0]).is_empty());
        served.remove(0);
        let end = Instant::now() + PATIENCE;
        while !line(&mut connect_from(2, to)).starts_with("220 ") {
            assert!(Instant::now() < end, "the place is not given back");
        }
    });
    let counts = running.ends_quiet();
    assert!(counts.connections_refused >= 450, "{counts:?}");
}

/// beyond what all may have together, the notice is another one.
#[test]
fn a_04_a_full_gateway_says_so() {
    let settings = Listener { connections_per_source: 0, ..base_listener() };
    let running = Running::start(&settings, 1, 10);
    let to = running.address(CLEAR);
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(to)).collect();
    clients.iter_mut().for_each(|client| assert!(line(client).starts_with("220 ")));
    for _ in 0..20 {
        let mut client = connect(to);
        assert!(rest(&mut client).starts_with(b"421 4.3.2 "));
    }
    // Who expects TLS could not read it.
    assert!(rest(&mut connect(running.address(SEALED))).is_empty());
    drop(clients);
    assert_eq!(running.ends_quiet().connections_shed, 21);
}

/// sockets that are gone before they are looked at concern nobody else.
#[test]
fn a_05_a_storm_of_resets_leaves_nothing_behind() {
    let settings = Listener { connections_per_source: 0, ..base_listener() };
    let running = Running::start(&settings, 2, 4_000);
    let to = [running.address(CLEAR), running.address(SEALED)];
    with_canary(to[CLEAR], || {
        thread::scope(|scope| {
            for thread in 0..4u8 {
                scope.spawn(move || {
                    for round in 0..500usize {
                        let mut client = connect_from(10 + thread, to[round % 2]);
                        if round % 3 == 0 {
                            let _ = client.write_all(b"EHLO x\r\n\x16\x03\x01");
                        }
                        if round % 5 > 0 {
                            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                    }
                });
            }
        });
    });
    hand_in(&mut connect(to[CLEAR]));
    hand_in(&mut SealedClient::connect(to[SEALED]));
    running.ends_quiet();
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
