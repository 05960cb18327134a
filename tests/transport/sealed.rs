//! Clients under TLS: mail, handshakes that come to nothing, and records that are broken.

use super::*;

// ---- a client under TLS ---------------------------------------------------------------------

/// A client's side of TLS on a socket that blocks.
pub struct SealedClient {
    stream: TcpStream,
    tls: TlsStream,
    plain: Vec<u8>,
}

pub fn new_tls() -> TlsStream {
    let tls = ClientTls::from_pem(HOSTNAME, HopTrust::Anybody, None, 0).unwrap();
    TlsStream::client(&tls).unwrap()
}

impl SealedClient {
    pub fn connect(to: SocketAddr) -> SealedClient {
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

// Checkpoint 6: that a client has its reply is read from the TCP socket, under TLS too; what it does then
// decides.
#[test]
fn what_a_client_under_tls_has_of_its_reply_is_read_from_its_socket() {
    let running = Running::remembering(&Listener { replay: true, ..base_listener() });
    let until_replied = || {
        let mut client = SealedClient::connect(running.address(SEALED));
        assert!(reply(&mut client).starts_with("220 "));
        says(&mut client, "EHLO client.example\r\n", "250 ");
        says(&mut client, "MAIL FROM:<a@client.example>\r\n", "250 ");
        says(&mut client, "RCPT TO:<ok1@example.net>\r\n", "250 ");
        says(&mut client, "DATA\r\n", "354 ");
        says(&mut client, "Subject: the same\r\n\r\nx\r\n.\r\n", "250 ");
        client
    };
    // Acknowledged, and a command after it: an equal message is one that is wanted.
    says(&mut until_replied(), "NOOP\r\n", "250 ");
    assert_eq!(running.kept.count(), 1);
    // Acknowledged, and an orderly end.
    let client = until_replied();
    assert_eq!(running.kept.count(), 2);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest_of(client), 0);
    // Acknowledged, and then reset: an equal message is a retry, and gets the reply that was lost.
    let client = until_replied();
    assert_eq!(running.kept.count(), 3);
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let handle = running.gateway.handle();
    while handle.snapshots().iter().any(|one| one.sessions_open > 0) {
        thread::yield_now();
    }
    says(&mut until_replied(), "QUIT\r\n", "221 ");
    assert_eq!(running.kept.count(), 3);
}

/// Reads to the end; gives the octets in clear that came.
fn rest_of(mut client: SealedClient) -> usize {
    while client.take_some() > 0 {}
    client.plain.len()
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
    let records = running.records.clone();
    let counts = running.ends_quiet();
    assert_eq!((counts.tls_handshakes, counts.messages_lost), (4, 4));
    let ends = records.all();
    assert_eq!(ends.len(), 4);
    for end in ends {
        assert!(matches!(&end, End::Lost(why) if why.starts_with("TLS ")), "{end:?}");
    }
}

/// What a client that fails in the handshake has done is told by the one record that it leaves.
#[test]
fn a_handshake_that_fails_leaves_its_reason() {
    let running = Running::start(&base_listener(), 1, 100);
    let flights: [(&[u8], &str); 3] = [
        (b"EHLO client.example\r\n", "corrupt message"),
        (&[0x15, 3, 1, 0, 2, 2, 48], "UnknownCA"),
        (&[0x16, 3, 1, 0, 4, 1, 0, 0, 0], "corrupt message"),
    ];
    for (flight, reason) in flights {
        let mut client = connect(running.address(SEALED));
        client.write_all(flight).unwrap();
        rest(&mut client);
        drop(client);
        let end = running.records.next();
        let told = matches!(&end, End::Closed(why) if why.contains(reason));
        assert!(told, "{}: {end:?}", flight.escape_ascii());
    }
    let records = running.records.clone();
    assert_eq!(running.ends_quiet().tls_handshakes_failed, 3);
    assert!(records.all().is_empty(), "one each");
}
