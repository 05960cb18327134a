//! TLS with next hops: begun, refused, failed, and demanded.

use super::*;

fn with_tls(servers: Vec<Server>, tls: HopTls) -> Bench {
    Bench::with(servers, |route| route.tls = tls)
}

fn offering_tls(lines: &[&str]) -> Server {
    offering(Protocol::Smtp, &["STARTTLS", "REQUIRETLS"], lines)
}

fn both() -> [HopTls; 2] {
    [HopTls::Opportunistic(some_tls()), HopTls::Required(some_tls())]
}

// RFC 3207 4.2: after the handshake the client forgets what it learned, and greets again.
#[test]
fn after_the_handshake_the_next_hop_is_greeted_again() {
    for tls in both() {
        for cut in [usize::MAX, 1] {
            let mut bench = with_tls(vec![offering_tls(&[])], tls.clone());
            bench.cut = cut;
            assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
            let commands: Vec<String> = bench.wire().lines().take(5).map(str::to_owned).collect();
            let expected = ["EHLO mx.example.net", "STARTTLS", "<TLS>", "EHLO mx.example.net"]
                .map(str::to_owned);
            assert_eq!(commands[..4], expected);
            assert!(commands[4].starts_with("MAIL FROM"));
            let offers = bench.standing().offers.unwrap();
            assert!(offers.starttls && offers.requiretls);
        }
    }
}

#[test]
fn implicit_tls_comes_before_the_banner() {
    let server = offering(Protocol::Lmtp, &["REQUIRETLS"], &[]);
    let mut bench = with_tls(vec![server], HopTls::Implicit(some_tls()));
    let demanding = hello().with(|envelope| envelope.requiretls = true);
    assert_eq!(told(&bench.deliver(&["ok"], &demanding)), ["delivered"]);
    assert!(bench.wire().starts_with("<TLS>\r\nLHLO mx.example.net\r\nMAIL FROM"));
    bench.tls_fails = true;
    bench.relay.lost(bench.last_line(), bench.now);
    bench.settle();
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), [DOWN]);
}

// A-74, RFC 3207 6: what stands in clear behind the 220 is never taken for an answer under TLS.
#[test]
fn a_74_octets_in_clear_behind_the_220_end_the_connection() {
    for tls in both() {
        let line = "@starttls=say:220 go\\r\\n250 injected";
        let mut bench = with_tls(vec![offering_tls(&[line])], tls);
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), [DOWN]);
        assert!(!bench.wire().contains("MAIL") && !bench.wire().contains("<TLS>"));
    }
}

// a next hop without TLS where the route demands it: nothing in clear.
#[test]
fn a_74_without_tls_nothing_leaves_where_it_is_demanded() {
    let servers: [fn() -> Server; 4] = [
        || server(Protocol::Smtp, &[]),
        || offering_tls(&["@starttls=say:454 4.7.0 not now"]),
        || offering_tls(&["@greeting=say:502 5.5.1 EHLO what"]),
        || offering_tls(&["@starttls=say:250 fine"]),
    ];
    for server in servers {
        let mut bench = with_tls(vec![server()], HopTls::Required(some_tls()));
        let outcomes = bench.deliver(&["ok"], &hello());
        assert_eq!(told(&outcomes), [DOWN]);
        assert!(!bench.wire().contains("MAIL"), "{}", bench.wire());
    }
}

#[test]
fn opportunistic_tls_goes_on_in_clear() {
    let tls = || HopTls::Opportunistic(some_tls());
    for server in [server(Protocol::Smtp, &[]), offering_tls(&["@starttls=say:454 4.7.0 not now"])]
    {
        let mut bench = with_tls(vec![server], tls());
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
        assert_eq!(bench.servers[0].kept.seen().connections, 1);
    }
    // A handshake that fails: a new connection, in clear, and no mark against the address.
    let mut bench = with_tls(vec![offering_tls(&[])], tls());
    bench.tls_fails = true;
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    assert_eq!(bench.servers[0].kept.seen().connections, 2);
    assert!(bench.relay.states[0].addresses[0].is_up());
    bench.relay.start_up(bench.now);
    bench.settle();
    assert!(bench.standing().offers.is_some() && bench.relay.states[0].addresses[0].is_up());
    // Where it is demanded, that is the end.
    let mut bench = with_tls(vec![offering_tls(&[])], HopTls::Required(some_tls()));
    bench.tls_fails = true;
    let outcomes = bench.deliver(&["ok"], &hello());
    assert_eq!(told(&outcomes), [DOWN]);
    let shown = format!("{outcomes:?}");
    assert!(shown.contains("next hop: TLS failed: of a test"), "the record tells why: {shown}");
    assert_eq!(bench.servers[0].kept.seen().mails, 0);
}

// RFC 8689 4.2.1: REQUIRETLS goes under TLS to a server that has shown who it is and offers it.
#[test]
fn a_74_requiretls_goes_nowhere_else() {
    let demanding = || hello().with(|envelope| envelope.requiretls = true);
    let without = || offering(Protocol::Smtp, &["STARTTLS"], &[]);
    let refused = "550 5.7.30";
    let table: [(HopTls, Server, &str); 6] = [
        (HopTls::Off, offering_tls(&[]), refused),
        (HopTls::Opportunistic(some_tls()), offering_tls(&[]), refused),
        (HopTls::Required(some_tls()), without(), refused),
        (HopTls::Required(some_tls()), offering_tls(&[]), "delivered"),
        (HopTls::Required(some_tls()), server(Protocol::Smtp, &[]), DOWN),
        (HopTls::Implicit(some_tls()), server(Protocol::Smtp, &[]), refused),
    ];
    for (tls, server, expected) in table {
        let shown = format!("{tls:?}");
        // Another address would take it in clear.
        let mut bench = with_tls(vec![server, super::server(Protocol::Smtp, &[])], tls);
        assert_eq!(told(&bench.deliver(&["ok"], &demanding())), [expected], "{shown}");
        assert_eq!(bench.servers[1].kept.seen().mails, 0, "{shown}");
        let mails = u64::from(expected == "delivered");
        assert_eq!(bench.servers[0].kept.seen().mails, mails, "{shown}");
        assert_eq!(bench.wire().contains(" REQUIRETLS"), expected == "delivered", "{shown}");
    }
}

// The handshake has its own deadline.
#[test]
fn a_handshake_without_end_is_given_up() {
    let mut bench = with_tls(vec![offering_tls(&[])], HopTls::Required(some_tls()));
    let ticket = Ticket(99);
    let envelope = Envelope {
        recipients: vec![Recipient {
            address: b"ok@example.net".as_slice().into(),
            notify: None,
            orcpt: None,
            class: ClassId(0),
            route: RouteId(0),
        }],
        ..envelope()
    };
    let mut plan = Plan::new("a".to_owned(), Arc::new(envelope), hello().body);
    plan.add(0, RouteId(0), b"", None, Vec::new());
    bench.relay.start(ticket, plan, bench.now);
    // The driver never says what became of the handshake.
    while let Some(effect) = bench.relay.poll_effect() {
        match effect {
            RelayEffect::Connect(id, address) => bench.connect(id, &address),
            RelayEffect::Send(id, output) => bench.send(id, &output),
            _ => {}
        }
    }
    bench.run_for(Duration::from_micros(9_999_999));
    assert!(bench.done.is_empty());
    bench.run_for(Duration::from_micros(1));
    assert_eq!(told(&bench.outcomes(ticket)), [DOWN]);
}
