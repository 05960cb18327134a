//! What next hops may do to a gateway.

use super::*;

/// A gateway whose next hop is another one, under TLS.
fn start_before(next_hop: SocketAddr, settings: &Listener, tls: HopTls) -> Gateway {
    let any = SocketAddr::from((OWN, 0));
    let quarantine = std::path::PathBuf::from("quarantine");
    let mut routes = routes(Address::Tcp(next_hop), Protocol::Smtp, quarantine);
    routes.routes[0].tls = tls;
    let gateway = Gateway::start(GatewaySettings {
        shards: 1,
        listeners: vec![(any, Arc::new(settings.clone()))],
        tables: Installation::with(settings).tables,
        routes: Arc::new(routes),
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
