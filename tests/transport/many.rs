//! Clients that are too many, too silent, or too fast.

use super::*;

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
