//! What next hops may do to a gateway.

use super::*;
use postern::config::Config;
use postern::relay::Routes;
use postern::session::Tables;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A gateway whose next hop is another one, under TLS.
pub fn start_before(next_hop: SocketAddr, settings: &Listener, tls: HopTls) -> Gateway {
    let quarantine = PathBuf::from("quarantine");
    let mut routes = routes(Address::Tcp(next_hop), Protocol::Smtp, quarantine);
    routes.routes[0].tls = tls;
    start(settings, Installation::with(settings).tables, Arc::new(routes))
}

/// A gateway with a next hop for each of two domains.
fn start_between(good: SocketAddr, other: SocketAddr) -> Gateway {
    let configuration = format!(
        "[listen.mx]\naddress = \"127.0.0.1:0\"\nprotocol = \"smtp\"\n\
         [route.good]\nto = \"smtp://{good}\"\n[route.other]\nto = \"smtp://{other}\"\n\
         [domain.\"example.net\"]\nroute = \"good\"\nrecipients = \"any\"\n\
         [domain.\"other.example\"]\nroute = \"other\"\nrecipients = \"any\"\n"
    );
    let config = Config::parse(&configuration, "two routes", Path::new(".")).unwrap();
    let settings = Listener {
        connections_per_source: 0,
        messages_max: 1_000,
        junk_max: 1_000,
        size_octets_max: 1 << 20,
        ..base_listener()
    };
    start(&settings, config.tables, config.routes)
}

fn start(settings: &Listener, tables: Arc<Tables>, routes: Arc<Routes>) -> Gateway {
    let any = SocketAddr::from((OWN, 0));
    let gateway = Gateway::start(GatewaySettings {
        shards: 1,
        listeners: vec![(any, Arc::new(settings.clone()))],
        tables,
        routes,
        connections_max: 100,
        body_memory_octets: 64 << 20,
        log: Vec::new(),
        ledger: None,
    });
    gateway.unwrap()
}

/// The message goes through two gateways, sealed between them, and arrives as it was; with the wrong
/// key pinned none does.
#[test]
fn mail_goes_to_a_next_hop_under_tls_whole_and_to_the_right_one_only() {
    let settings = Listener { size_octets_max: 20 << 20, ..base_listener() };
    let behind = Running::start(&settings, 1, 100);
    let client = |trust| Arc::new(ClientTls::from_pem(HOSTNAME, trust, None, 0).unwrap());
    let anybody = || client(HopTrust::Anybody);
    let wrong = || client(HopTrust::Keys(&[[0; 32]]));
    let (clear, sealed) = (behind.address(CLEAR), behind.address(SEALED));
    let table = [
        (clear, HopTls::Opportunistic(anybody()), true),
        (clear, HopTls::Required(anybody()), true),
        (sealed, HopTls::Implicit(anybody()), true),
        (clear, HopTls::Required(wrong()), false),
        (sealed, HopTls::Implicit(wrong()), false),
    ];
    let line = format!("{}\r\n", "0123456789".repeat(7));
    for (to, tls, arrives) in table {
        let before = behind.kept.count();
        let gateway = start_before(to, &settings, tls.clone());
        for lines in [1, 100, 150_000] {
            let mut client = connect(gateway.addresses()[0]);
            assert!(reply(&mut client).starts_with("220 "));
            says(&mut client, "EHLO client.example\r\n", "250 ");
            says(&mut client, "MAIL FROM:<a@client.example>\r\n", "250 ");
            client.write_all(b"RCPT TO:<ok1@example.net>\r\n").unwrap();
            // A next hop that is known to be down puts the recipient off at once.
            if reply(&mut client).starts_with("451 ") {
                assert!(!arrives, "{tls:?}");
                continue;
            }
            says(&mut client, "DATA\r\n", "354 ");
            let body = format!("Subject: x\r\n\r\n{}.\r\n", line.repeat(lines));
            says(&mut client, &body, if arrives { "250 " } else { "451 " });
            if arrives {
                let kept = behind.kept.messages().pop().unwrap().content;
                let sent = &body.as_bytes()[..body.len() - 3];
                assert!(kept.ends_with(sent), "{tls:?}: {lines} lines are not what they were");
            }
        }
        assert_eq!(behind.kept.count() - before, if arrives { 3 } else { 0 }, "{tls:?}");
        let counts = gateway.counts();
        assert_eq!(counts.next_hop_tls_handshakes > 0, arrives, "{counts:?}");
        assert_eq!(counts.next_hop_tls_failed > 0, !arrives, "{counts:?}");
        gateway.stop().unwrap();
    }
    let counts = behind.ends_quiet();
    assert!(counts.tls_handshakes >= 3 && counts.tls_handshakes_failed >= 2, "{counts:?}");
}

/// A next hop that takes all commands, and not an octet of what follows DATA.
fn deaf(hop: TcpListener) -> Arc<Mutex<Vec<TcpStream>>> {
    let held = Arc::new(Mutex::new(Vec::new()));
    let its_held = Arc::clone(&held);
    // What the kernel takes in its place shall be little.
    SockRef::from(&hop).set_recv_buffer_size(4_096).unwrap();
    // It ends with the test's process.
    thread::spawn(move || {
        for mut stream in hop.incoming().map_while(Result::ok) {
            let held = Arc::clone(&its_held);
            thread::spawn(move || {
                let _ = stream.write_all(b"220 deaf\r\n");
                while let Some(command) = command(&mut stream) {
                    let told: &[u8] =
                        if command.starts_with("DATA") { b"354 go\r\n" } else { b"250 ok\r\n" };
                    let _ = stream.write_all(told);
                    if told.starts_with(b"354") {
                        return held.lock().unwrap().push(stream);
                    }
                }
            });
        }
    });
    held
}

/// The next command; none at the end.
fn command(stream: &mut TcpStream) -> Option<String> {
    let (mut line, mut octet) = (Vec::new(), [0]);
    while !line.ends_with(b"\n") {
        stream.read_exact(&mut octet).ok()?;
        line.push(octet[0]);
    }
    String::from_utf8(line).ok()
}

/// Hands in a message for a domain; gives the code that ends it, at RCPT or behind the data.
fn hand_in_for(domain: &str, body: &str, client: &mut TcpStream) -> String {
    says(client, "MAIL FROM:<a@client.example>\r\n", "250 ");
    client.write_all(format!("RCPT TO:<ok1@{domain}>\r\n").as_bytes()).unwrap();
    let answer = reply(client);
    if answer.starts_with("250 ") {
        says(client, "DATA\r\n", "354 ");
        client.write_all(format!("Subject: x\r\n\r\n{body}.\r\n").as_bytes()).unwrap();
        return reply(client)[..3].to_owned();
    }
    says(client, "RSET\r\n", "250 ");
    answer[..3].to_owned()
}

fn greeted(to: SocketAddr) -> TcpStream {
    let mut client = connect(to);
    assert!(reply(&mut client).starts_with("220 "));
    says(&mut client, "EHLO client.example\r\n", "250 ");
    client
}

fn served(hop: TcpListener, kept: &Kept) -> Serving {
    serve(hop, Protocol::Smtp, Arc::new(Script::default()), kept.clone()).unwrap()
}

/// 64 messages to a next hop that does not read are held back, and nobody else's is.
#[test]
fn a_75_a_next_hop_that_does_not_read_holds_up_its_own_mail_alone() {
    let bind = || TcpListener::bind((OWN, 0)).unwrap();
    let (good, other, kept) = (bind(), bind(), Kept::default());
    let gateway = start_between(good.local_addr().unwrap(), other.local_addr().unwrap());
    let _sink = served(good, &kept);
    let held = deaf(other);
    let to = gateway.addresses()[0];
    let body = "0123456789\r\n".repeat(30_000);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| hand_in_for("other.example", &body, &mut greeted(to))))
            .collect();
        let end = Instant::now() + PATIENCE;
        while held.lock().unwrap().len() < 64 {
            assert!(Instant::now() < end, "{} messages are held", held.lock().unwrap().len());
            thread::yield_now();
        }
        for _ in 0..20 {
            let began = Instant::now();
            hand_in(&mut connect(to));
            assert!(began.elapsed() < SOON, "another's mail waits {:?}", began.elapsed());
        }
        assert!(clients.iter().all(|client| !client.is_finished()), "told before it was taken");
        held.lock().unwrap().clear();
        let told: HashSet<String> = clients.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(told, HashSet::from(["451".to_owned()]));
    });
    assert_eq!(kept.count(), 20);
    let end = Instant::now() + PATIENCE;
    while gateway.handle().snapshots().iter().any(|one| one.body_octets > 0) {
        assert!(Instant::now() < end, "bodies are held");
        thread::yield_now();
    }
    gateway.stop().unwrap();
}

/// while a next hop refuses connections its recipients are put off at once, before a body, and
/// it is found again within two seconds.
#[test]
fn a_76_a_next_hop_that_refuses_connections_costs_nothing_and_is_found_again() {
    let bind = |port| TcpListener::bind((OWN, port)).unwrap();
    let (good, other, kept) = (bind(0), bind(0), Kept::default());
    let (good_at, other_at) = (good.local_addr().unwrap(), other.local_addr().unwrap());
    drop(other);
    let gateway = start_between(good_at, other_at);
    let good_sink = served(good, &kept);
    let to = gateway.addresses()[0];
    let mut client = greeted(to);
    let began = Instant::now();
    for _ in 0..300 {
        assert_eq!(hand_in_for("other.example", "text\r\n", &mut client), "451");
        assert_eq!(hand_in_for("example.net", "text\r\n", &mut client), "250");
    }
    let counts = gateway.counts();
    // One connection when the shard begins, and two messages, show that it is down.
    assert!(counts.messages <= 300 + 3, "{} bodies were taken", counts.messages);
    assert!(began.elapsed() < PATIENCE);
    let found = Kept::default();
    let sink = served(bind(other_at.port()), &found);
    let back = Instant::now();
    while hand_in_for("other.example", "text\r\n", &mut greeted(to)) != "250" {
        assert!(back.elapsed() < Duration::from_secs(2) + SOON, "it is not found again");
    }
    assert_eq!((kept.count(), found.count()), (300, 1));
    drop((client, sink, good_sink));
    gateway.stop().unwrap();
}
