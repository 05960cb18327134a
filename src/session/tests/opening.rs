//! Before and between the commands: who talks first, who the client is, TLS.

use super::*;

// ---- the beginning -----------------------------------------------------------------------------

// Who talks first is judged when the banner is due, not before; if it is let in, nothing that it
// said is lost and nothing waits for more.
#[test]
fn early_talk_is_judged_when_the_banner_is_due() {
    let pause = Duration::from_millis(300);
    for (refused, told) in [(true, "554"), (false, "220 250 250")] {
        let mut lone =
            Lone::on(Listener { banner_pause: pause, early_talk_refused: refused, ..smtp() });
        assert_eq!(lone.say("EHLO client.example\r\nNO"), "");
        assert_eq!(lone.say("OP\r\n"), "");
        assert_eq!(lone.wait_just(pause), told);
        assert_eq!(lone.ended.is_empty(), !refused);
    }
}

// RFC 9422 4: limits are announced with one to six digits.
#[test]
fn what_limits_announces_has_at_most_six_digits() {
    for (messages_max, told) in [(0, "1"), (1, "1"), (999_999, "999999"), (u32::MAX, "999999")] {
        let mut lone = Lone::on(Listener { messages_max, ..smtp() });
        lone.session.receive(b"EHLO client.example\r\n", lone.now());
        lone.drain();
        let text = String::from_utf8(lone.sent.clone()).unwrap();
        assert!(text.contains(&format!("-LIMITS RCPTMAX=100 MAILMAX={told}\r\n")), "{text}");
    }
}

// ---- who the client is -------------------------------------------------------------------------

// A port is told onward only together with the address that it belongs to.
#[test]
fn a_port_belongs_to_its_address() {
    let trust = trust(Networks::default(), here());
    let table = [
        ("", Some(4711)),
        ("XCLIENT NAME=real.example\r\n", Some(4711)),
        ("XCLIENT ADDR=198.51.100.1\r\n", None),
        ("XCLIENT ADDR=[UNAVAILABLE]\r\n", None),
        ("XCLIENT ADDR=198.51.100.1 PORT=25\r\n", Some(25)),
        ("XCLIENT PORT=[UNAVAILABLE]\r\n", None),
    ];
    for (command, port) in table {
        let mut lone = Lone::on(Listener { trust: trust.clone(), ..smtp() });
        lone.say(command);
        lone.say("EHLO client.example\r\n");
        lone.say(format!("{ENVELOPE}DATA\r\n"));
        lone.say("x\r\n.\r\n");
        let Some(Ask::Relay(plan)) = &lone.asked else { panic!("{command}") };
        assert_eq!(plan.envelope.origin.port, port, "{command}");
    }
}

// behind a peer that speaks for its clients each of these counts as a source of its own, also
// for the guesses of an earlier connection; the peer itself counts as nobody.
#[test]
fn a_66_clients_behind_a_trusted_peer_are_counted_each_for_itself() {
    let proxied = || Listener { trust: trust(here(), here()), ..smtp() };
    let listener = Listener { connections_per_source: 2, unknown_recipients_max: 3, ..proxied() };
    let sources = Sources::default();
    let connect = || {
        let mut lone = Lone::on(listener.clone());
        lone.session.shared.sources = sources.clone();
        lone
    };
    let header = |last: u8| format!("PROXY TCP4 198.51.100.{last} 192.0.2.25 4711 25\r\n");
    let mut open = Vec::new();
    for (last, told) in [(1, "220"), (1, "220"), (1, "421"), (2, "220")] {
        let mut lone = connect();
        assert_eq!(lone.say(header(last)), told, "{last}");
        assert_eq!(lone.ended.is_empty(), told == "220");
        open.push(lone);
    }
    // What XCLIENT says takes the place of that, and gives it back.
    assert_eq!(open[0].say("XCLIENT ADDR=198.51.100.2\r\n"), "220");
    assert_eq!(open[1].say("XCLIENT ADDR=198.51.100.2\r\n"), "421");
    open[2] = connect();
    assert_eq!(open[2].say(header(1)), "220");
    let mut lone = connect();
    assert_eq!(lone.say(format!("{}EHLO a\r\n", header(2))), "421", "and nothing behind it");
    drop(open);
    let guess = "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<nouser@example.net>\r\n";
    for (last, told) in [(1, "550"), (1, "550"), (2, "550"), (1, "421"), (1, "421"), (2, "550")] {
        let mut lone = connect();
        lone.say(header(last));
        assert_eq!(lone.say(guess), format!("250 250 {told}"), "{last}");
    }
    let implicit = Listener { tls: Some(tls(TlsMode::Implicit)), ..listener.clone() };
    let mut lone = Lone::on(implicit);
    lone.session.shared.sources = sources.clone();
    let counted = Source::of(0, "198.51.100.9".parse().unwrap());
    let _both = [(); 2].map(|()| sources.connected(counted, 0));
    assert_eq!(lone.say(header(9)), "");
    assert_eq!((lone.ended, lone.records.len()), (vec!["close"], 1));
}

// an address that is not known is on no list, not even on one of all addresses.
#[test]
fn a_11_a_peer_without_an_address_is_trusted_with_nothing() {
    let all = || Networks::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
    let listener = Listener { trust: trust(all(), all()), normalized_from: all(), ..smtp() };
    let mut lone = Lone::from(None, listener, Board::new(1), 1 << 20);
    assert_eq!(lone.codes(), "220", "no PROXY header is awaited");
    lone.say("EHLO client.example\r\n");
    assert_eq!(lone.say("XCLIENT ADDR=192.0.2.9\r\nXFORWARD ADDR=192.0.2.9\r\n"), "550 550");
    assert_eq!(lone.say(format!("{ENVELOPE}DATA\r\n")), "250 250 354");
    assert_eq!(lone.say("a\nb\r\n.\r\n"), "550", "a bare LF of nobody in particular");
}

// ---- TLS ---------------------------------------------------------------------------------------

// a command behind STARTTLS is never run, whether it comes together with it or a little later;
// what can be the client's first record goes to TLS, and to nobody else.
#[test]
fn a_25_what_stands_behind_starttls_is_never_run() {
    let offered = || Listener { tls: Some(tls(TlsMode::Offered)), ..smtp() };
    let octets = format!("STARTTLS\r\n{ENVELOPE}DATA\r\n.\r\n");
    for at in 0..=octets.len() {
        let mut lone = Lone::on(offered());
        lone.say("EHLO client.example\r\n");
        let told = lone.say(&octets[..at]) + &lone.say(&octets[at..]);
        // Exactly between the two, the late octets meet the handshake, which is the driver's.
        let between = at == "STARTTLS\r\n".len();
        assert_eq!(told, if between { "220" } else { "554" }, "cut at {at}");
        assert_eq!(lone.tls_early.as_deref(), between.then_some(&b""[..]));
        if between {
            assert_eq!(lone.secured(), "", "cut at {at}: something was kept");
            assert_eq!(lone.say("RCPT TO:<u@example.net>\r\n"), "503");
        }
    }
    let mut lone = Lone::on(offered());
    let hello = b"\x16\x03\x01\0\x05MAIL FROM:<a@client.example>\r\n";
    assert_eq!(lone.say([b"STARTTLS\r\n", &hello[..]].concat()), "220 220");
    assert_eq!(lone.tls_early.as_deref(), Some(&hello[..]));
    assert_eq!(lone.secured(), "");
    assert_eq!(lone.say(ENVELOPE), "503 503");
}

// RFC 3207 4.2: the server must discard any knowledge obtained from the client before TLS.
// Where the client is, which a trusted peer has told, stays.
#[test]
fn a_26_what_was_learned_in_clear_is_void() {
    let trust = trust(Networks::default(), here());
    let mut lone = Lone::on(Listener { tls: Some(tls(TlsMode::Offered)), trust, ..smtp() });
    assert_eq!(lone.say("XCLIENT ADDR=198.51.100.7\r\nEHLO clear.example\r\n"), "220 220 250");
    assert_eq!(lone.say("XFORWARD ADDR=203.0.113.9 IDENT=clear\r\n"), "250");
    // A refused MAIL excuses what follows from it, but not beyond the handshake.
    assert_eq!(lone.say("MAIL FROM:<a> \r\nSTARTTLS\r\n"), "501 220");
    assert_eq!(lone.secured(), "");
    let errors = lone.session.errors;
    assert_eq!(lone.say(format!("{ENVELOPE}DATA\r\n")), "503 503 503");
    assert_eq!(lone.session.errors, errors + 3);
    assert_eq!(lone.say("STARTTLS\r\n"), "503");
    assert_eq!(lone.say(format!("EHLO sealed.example\r\n{ENVELOPE}DATA\r\n")), "250 250 250 354");
    lone.say("x\r\n.\r\n");
    let Some(Ask::Relay(plan)) = &lone.asked else { panic!("nothing is handed on") };
    let trace = String::from_utf8(plan.groups[0].prepend.clone()).unwrap();
    assert!(trace.starts_with("Received: from sealed.example ([198.51.100.7])\r\n"), "{trace}");
    assert!(trace.contains(" with ESMTPS ") && !trace.contains("clear"), "{trace}");
    assert_eq!(lone.answer(), "250");
    let record = lone.records.last().unwrap();
    assert_eq!((record.tls, record.forwarded.is_none()), (Some("TLS1.3"), true));
}

// RFC 3207 4: where TLS is demanded, 530 is told to every command but NOOP, EHLO, STARTTLS and QUIT.
// The octets of a chunk are dropped, and behind a refused DATA nothing is run.
#[test]
fn before_tls_is_demanded_nothing_else_is_done() {
    let demanding = |listener| Listener { tls: Some(tls(TlsMode::Required)), ..listener };
    let table = [
        ("EHLO c\r\n", "250"),
        ("NOOP\r\n", "250"),
        ("HELO c\r\n", "530"),
        ("RSET\r\n", "530"),
        ("MAIL FROM:<>\r\nRCPT TO:<u@example.net>\r\n", "530 530"),
        ("VRFY x\r\nHELP\r\nEXPN x\r\nXCLIENT A=1\r\n", "530 530 530 530"),
        ("WIBBLE\r\n", "530"),
        ("BDAT 6\r\nNOOP\r\n", "530"),
        ("BDAT 6 LAST\r\nNOOP\r\n", "530"),
        ("DATA\r\n", "530"),
        ("DATA\r\nQUIT\r\n", "530 421"),
        ("GET / HTTP/1.1\r\n", "421"),
        ("QUIT\r\n", "221"),
        ("STARTTLS\r\n", "220"),
    ];
    for (said, told) in table {
        let mut lone = Lone::on(demanding(smtp()));
        lone.codes();
        assert_eq!(lone.say(said), told, "{said}");
    }
    let mut lone = Lone::on(demanding(lmtp()));
    lone.codes();
    assert_eq!(lone.say("BDAT 6 LAST\r\nNOOP\r\nLHLO c\r\nBDAT 6\r\nNOOP\r\n"), "250 530");
    lone.say("STARTTLS\r\n");
    lone.secured();
    assert_eq!(lone.say(format!("LHLO c\r\n{ENVELOPE}")), "250 250 250");
}
