//! What next hops offer decides what is sent to them, and how.

use super::*;
use crate::limits::BODY_BLOCK_OCTETS;
use crate::wire::{Notify, Ret};

fn bench(offers: &[&str], lines: &[&str]) -> Bench {
    Bench::new(vec![offering(Protocol::Smtp, offers, lines)])
}

/// The line of MAIL that a next hop with these offers gets.
fn mail_line(offers: &[&str], message: &Message) -> String {
    let mut bench = bench(offers, &[]);
    bench.deliver(&["ok"], message);
    let wire = bench.wire();
    let line = wire.lines().find(|line| line.starts_with("MAIL"));
    line.unwrap_or_default().trim_end().to_owned()
}

// RFC 5321 4.1.1.11: a client sends no parameter that was not offered. The sink refuses any such.
#[test]
fn parameters_are_those_that_are_offered() {
    let all = hello().with(|envelope| {
        envelope.body = BodyKind::EightBitMime;
        envelope.ret = Some(Ret::Headers);
        envelope.envid = Some(b"a+2Bb".as_slice().into());
    });
    let none = ["-SIZE", "-8BITMIME", "-SMTPUTF8", "-DSN", "-CHUNKING"];
    let octets = all.body.content_octets() + 13;
    let table: [(&[&str], String); 5] = [
        (&none, String::new()),
        (&none[1..], format!(" SIZE={octets}")),
        (&["-SIZE", "-DSN"], " BODY=8BITMIME".to_owned()),
        (&["-SIZE", "-8BITMIME"], " RET=HDRS ENVID=a+2Bb".to_owned()),
        (&["PRDR"], format!(" SIZE={octets} BODY=8BITMIME RET=HDRS ENVID=a+2Bb")),
    ];
    for (offers, parameters) in table {
        let expected = format!("MAIL FROM:<a@client.example>{parameters}");
        assert_eq!(mail_line(offers, &all), expected, "{offers:?}");
    }
    let notify = Some(Notify { success: true, failure: true, delay: false });
    let asking = Message { notify, orcpt: Some("rfc822;x+2By@z"), ..hello() };
    for (offers, parameters) in
        [(&["-DSN"][..], ""), (&[], " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@z")]
    {
        let mut bench = bench(offers, &[]);
        assert_eq!(told(&bench.deliver(&["ok"], &asking)), ["delivered"]);
        assert!(bench.wire().contains(&format!("RCPT TO:<ok@example.net>{parameters}\r\n")));
    }
    // RFC 6533 3: UTF-8 in ORCPT only where SMTPUTF8 is offered; else in seven bits, if it fits.
    let long: &str = Box::leak(format!("utf-8;{}", "ø".repeat(240)).into_boxed_str());
    for (offers, orcpt, expected) in [
        (&[][..], "utf-8;jørn@z", " ORCPT=utf-8;jørn@z"),
        (&["-SMTPUTF8"], "utf-8;jørn@z", " ORCPT=utf-8;j\\x{F8}rn@z"),
        (&["-SMTPUTF8"], long, ""),
        (&["-DSN"], "utf-8;jørn@z", ""),
    ] {
        let message = Message { orcpt: Some(orcpt), ..hello() };
        let mut bench = bench(offers, &[]);
        assert_eq!(told(&bench.deliver(&["ok"], &message)), ["delivered"]);
        assert!(bench.wire().contains(&format!("RCPT TO:<ok@example.net>{expected}\r\n")));
    }
    let never = Message { notify: Some(Notify::default()), ..hello() };
    let mut bench = bench(&[], &[]);
    bench.deliver(&["ok"], &never);
    assert!(bench.wire().contains("RCPT TO:<ok@example.net> NOTIFY=NEVER\r\n"));
}

// RFC 6152 3: 8-bit content is not changed for a next hop that does not offer 8BITMIME.
#[test]
fn eight_bit_content_is_passed_on_as_it_is() {
    let content = b"Subject: x\r\n\r\n\xe4\xf6\xfc\r\n";
    let message = message(content).with(|envelope| envelope.body = BodyKind::EightBitMime);
    let mut bench = bench(&["-8BITMIME"], &[]);
    assert_eq!(told(&bench.deliver(&["ok"], &message)), ["delivered"]);
    assert!(bench.kept()[0].content.ends_with(content));
    assert!(!bench.wire().contains("BODY="));
}

// RFC 6531 3.2, RFC 3030 3, RFC 1870 6.1: what cannot be sent is refused before anything is.
#[test]
fn what_a_next_hop_cannot_take_is_refused_before_it_is_sent() {
    let utf8 = || hello().with(|envelope| envelope.smtputf8 = true);
    let binary =
        || plain_message(b"a\rb\n\0").with(|envelope| envelope.body = BodyKind::BinaryMime);
    let octets = hello().body.content_octets() + 13;
    let size = format!("SIZE {octets}");
    let too_small = format!("SIZE {}", octets - 1);
    let table: [(&[&str], Message, &str); 9] = [
        (&["-SMTPUTF8"], utf8(), "550 5.6.7"),
        (&[], utf8(), "delivered"),
        (&[], binary(), "554 5.6.1"),
        (&["BINARYMIME", "-CHUNKING"], binary(), "554 5.6.1"),
        (&["BINARYMIME"], binary(), "delivered"),
        (&[&too_small], hello(), "552 5.3.4"),
        (&[&size], hello(), "delivered"),
        (&["SIZE 0"], hello(), "delivered"),
        (&["SIZE"], hello(), "delivered"),
    ];
    for (offers, message, expected) in table {
        let mut bench = bench(offers, &[]);
        let outcomes = bench.deliver(&["one", "two"], &message);
        assert_eq!(told(&outcomes), [expected, expected], "{offers:?}");
        let mails = u64::from(expected == "delivered");
        assert_eq!(bench.servers[0].kept.seen().mails, mails, "{offers:?}");
        assert!(!bench.standing().down);
    }
}

/// Content of all kinds that dots, line ends and borders of blocks can make trouble for.
fn contents() -> Vec<Vec<u8>> {
    let lines: [&[u8]; 15] = [
        b"",
        b".",
        b"..",
        b".x",
        b"x",
        b"\r\n",
        b".\r\n",
        b"..\r\n",
        b".x\r\n",
        b"x\r\n.\r\ny\r\n",
        b"x\r\n.\r\n",
        b"x\r\n..\r\n.\r\n...\r\n",
        b"\r\n.\r\nQUIT\r\n",
        b"x.\r\n.y\r\nz",
        b"x\r\n\r\n.",
    ];
    let short = lines.into_iter().map(<[u8]>::to_vec);
    // The same with a border between two blocks in it.
    let filler = b"y".repeat(BODY_BLOCK_OCTETS - 4);
    let long = lines.into_iter().map(|lines| [&*filler, b"\r\n", lines].concat());
    short.chain(long).collect()
}

// A-78: DATA and BDAT in, DATA and BDAT out: the octets are the same, but for the CRLF that the end
// mark of DATA begins with. RFC 5321 4.5.2, RFC 3030 2.
#[test]
fn a_78_content_is_the_same_whichever_way_it_comes_and_goes() {
    let contents = contents();
    assert_eq!(contents.len(), 30);
    for content in &contents {
        let ended = match content.is_empty() || content.ends_with(b"\r\n") {
            true => content.clone(),
            false => [content, &b"\r\n"[..]].concat(),
        };
        let ways = [
            (message(&ended), false, &ended),
            (message(&ended).with(|envelope| envelope.body = BodyKind::BinaryMime), true, &ended),
            (plain_message(content), false, &ended),
            (plain_message(content), true, content),
        ];
        for (message, chunked, expected) in ways {
            let chunking = if chunked { "CHUNKING" } else { "-CHUNKING" };
            for protocol in [Protocol::Smtp, Protocol::Lmtp] {
                let server = offering(protocol, &[chunking, "BINARYMIME"], &[]);
                let mut bench = Bench::new(vec![server]);
                assert_eq!(told(&bench.deliver(&["ok"], &message)), ["delivered"]);
                let kept = &bench.kept()[0];
                assert_eq!(kept.chunked, chunked);
                let expected = [b"Received: x\r\n", &expected[..]].concat();
                assert!(kept.content == expected, "{}", kept.content.escape_ascii());
            }
        }
    }
}

// RFC 3030 2: one chunk, whose octets are counted with the lines on top.
#[test]
fn bdat_goes_in_one_chunk_behind_the_answers_to_rcpt() {
    let mut bench = bench(&[], &["gone=rcpt:550 5.1.1 gone"]);
    let message = plain_message(b"Subject: x\r\n\r\n.\r\n");
    let outcomes = bench.deliver(&["gone", "ok"], &message);
    assert_eq!(told(&outcomes), ["550 5.1.1", "delivered"]);
    assert!(
        bench
            .wire()
            .contains("VRFY postmaster\r\nBDAT 30 LAST\r\nReceived: x\r\nSubject: x\r\n\r\n.\r\n")
    );
    // Nobody is left: nothing is sent.
    assert_eq!(told(&bench.deliver(&["gone"], &message)), ["550 5.1.1"]);
    assert_eq!(bench.wire().matches("Subject").count(), 1);
    // A connection that had a transaction carries text by DATA, and no binary content.
    assert_eq!(told(&bench.deliver(&["ok"], &message)), ["delivered"]);
    assert!(!bench.kept()[1].chunked);
    assert_eq!(bench.servers[0].kept.seen().connections, 1);
}

#[test]
fn binary_content_has_a_connection_of_its_own() {
    let mut bench = bench(&["BINARYMIME", "LIMITS RCPTMAX=1"], &[]);
    let binary = plain_message(b"\0\r").with(|envelope| envelope.body = BodyKind::BinaryMime);
    for _ in 0..2 {
        let outcomes = bench.deliver(&["one", "two"], &binary);
        assert_eq!(told(&outcomes), ["delivered", "delivered"]);
    }
    let kept = bench.kept();
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|message| message.chunked && message.content.ends_with(b"\0\r")));
    assert_eq!(bench.servers[0].kept.seen().connections, 4);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    assert_eq!(bench.servers[0].kept.seen().connections, 4, "text may follow");
}

// draft-hall-prdr-00: asked for when there are several recipients; a reply for all, or a block.
#[test]
fn prdr_gives_each_recipient_a_fate_of_its_own() {
    let lines = ["busy*=end:450 4.2.0 busy", "no*=end:550 5.7.1 no"];
    let table: [(&[&str], &[&str]); 7] = [
        (&["ok1", "busy1", "no1"], &["delivered", "450 4.2.0", "550 5.7.1"]),
        (&["no1", "ok1"], &["550 5.7.1", "delivered"]),
        (&["busy1", "no1"], &["450 4.2.0", "550 5.7.1"]),
        (&["ok1", "ok2"], &["delivered", "delivered"]),
        (&["busy1", "busy2"], &["450 4.2.0", "450 4.2.0"]),
        (&["no1"], &["550 5.7.1"]),
        (&["ok1", "ok1", "no1", "ok1"], &["delivered", "delivered", "550 5.7.1", "delivered"]),
    ];
    for cut in [usize::MAX, 1] {
        for (names, expected) in table {
            let mut bench = bench(&["PRDR"], &lines);
            bench.cut = cut;
            assert_eq!(told(&bench.deliver(names, &hello())), expected);
            assert_eq!(bench.wire().contains(" PRDR"), names.len() > 1);
        }
    }
    // LMTP has no need of it. RFC 2033 4.2.
    let mut bench = Bench::new(vec![offering(Protocol::Lmtp, &["PRDR"], &lines)]);
    assert_eq!(told(&bench.deliver(&["ok1", "no1"], &hello())), ["delivered", "550 5.7.1"]);
    assert!(!bench.wire().contains("PRDR"));
}

// Exim answers 250 to a block whose lines are all 450: nobody has the message then.
#[test]
fn the_last_reply_of_a_block_delivers_nothing_alone() {
    let last = |reply: &str| format!("busy1=last:{reply}");
    let table: [(&str, &[&str], &[&str]); 4] = [
        ("250 ok", &["busy1", "busy2x"], &["450 4.2.0", "451 4.2.1"]),
        ("250 ok", &["ok1", "busy1"], &["delivered", "450 4.2.0"]),
        ("451 4.3.0 disk", &["ok1", "busy1", "no1"], &["451 4.3.0", "450 4.2.0", "550 5.7.1"]),
        ("550 5.7.1 after all", &["ok1", "busy1"], &["550 5.7.1", "550 5.7.1"]),
    ];
    for (reply, names, expected) in table {
        let lines = [
            "busy1=end:450 4.2.0 busy",
            "busy2x=end:451 4.2.1 busier",
            "no1=end:550 5.7.1 no",
            &last(reply),
        ];
        let mut bench = bench(&["PRDR"], &lines);
        assert_eq!(told(&bench.deliver(names, &hello())), expected, "{reply}");
    }
}

// Nothing of a block counts without its last reply; what it refuses is not taken in any case.
#[test]
fn a_block_that_is_cut_off_is_unknown() {
    let lines = ["no1=end:550 5.7.1 no", "@end=short"];
    let mut bench = bench(&["PRDR"], &lines);
    let outcomes = bench.deliver(&["ok1", "no1", "ok2"], &hello());
    assert_eq!(told(&outcomes), [UNKNOWN, DOWN, UNKNOWN]);
    let mut bench =
        super::Bench::new(vec![offering(Protocol::Smtp, &["PRDR"], &["@end=say:353 go"])]);
    let outcomes = bench.deliver(&["ok1", "ok2"], &hello());
    assert_eq!(told(&outcomes), [UNKNOWN, UNKNOWN], "353 and silence");
}

// RFC 9422: no more recipients in a transaction, no more transactions on a connection.
#[test]
fn limits_of_a_next_hop_are_kept() {
    let names: Vec<String> = (0..7).map(|n| format!("ok{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let table: [(&[&str], usize, u64); 5] = [
        (&["LIMITS RCPTMAX=3"], 3, 1),
        (&["LIMITS RCPTMAX=3", "-PIPELINING"], 3, 1),
        (&["LIMITS RCPTMAX=1 MAILMAX=1"], 7, 7),
        (&["LIMITS RCPTMAX=2 MAILMAX=3"], 4, 2),
        (&["LIMITS RCPTMAX=100"], 1, 1),
    ];
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        for (offers, messages, connections) in table {
            let mut bench = Bench::new(vec![offering(protocol, offers, &[])]);
            let outcomes = bench.deliver(&names, &hello());
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{offers:?}");
            assert_eq!(bench.kept().len(), messages, "{offers:?}");
            assert_eq!(bench.servers[0].kept.seen().connections, connections, "{offers:?}");
        }
    }
}

// RFC 5321 4.5.3.1.10: the recipients behind "too many" go in another transaction, at once.
#[test]
fn recipients_that_are_too_many_go_in_another_transaction() {
    let lines = ["many*=rcpt:452 4.5.3 too many", "full=rcpt:452 4.2.2 full"];
    let mut bench = bench(&[], &lines);
    let outcomes = bench.deliver(&["ok1", "many1", "full", "ok2", "many2"], &hello());
    // Asked again alone, they are refused again.
    let expected = ["delivered", "452 4.5.3", "452 4.2.2", "delivered", "452 4.5.3"];
    assert_eq!(told(&outcomes), expected);
    assert_eq!(bench.kept().len(), 1);
    assert_eq!(bench.servers[0].kept.seen().connections, 1);
}

// XCLIENT: before the first transaction of each client, and the session begins again behind it.
#[test]
fn xclient_tells_of_each_client_before_its_mail() {
    let from = |port| {
        let origin = Origin {
            address: Some([192, 0, 2, 1].into()),
            port: Some(port),
            helo: b"client.example".as_slice().into(),
            extended: true,
            ..Origin::default()
        };
        hello().with(|envelope| envelope.origin = origin)
    };
    for offers in
        [&["XCLIENT NAME ADDR PORT HELO"][..], &["XCLIENT NAME ADDR PORT HELO", "-PIPELINING"]]
    {
        let server = offering(Protocol::Smtp, offers, &["gone=rcpt:550 5.1.1 gone"]);
        let mut bench = Bench::with(vec![server], |route| route.xclient = true);
        for (port, names) in [(1, ["ok"]), (1, ["ok"]), (2, ["gone"]), (3, ["ok"])] {
            bench.deliver(&names, &from(port));
        }
        let lines: Vec<String> = bench
            .kept()
            .into_iter()
            .map(|message| String::from_utf8(message.xclient.unwrap()).unwrap())
            .collect();
        let line = |port| {
            format!("XCLIENT ADDR=192.0.2.1 PORT={port} NAME=[UNAVAILABLE] HELO=client.example")
        };
        assert_eq!(lines, [line(1), line(1), line(3)]);
        assert_eq!(bench.wire().matches("EHLO").count(), 4);
        assert_eq!(bench.servers[0].kept.seen().connections, 1);
        assert!(bench.standing().offers.unwrap().xclient);
    }
}

// What was seen with Postfix, which lets the client that it was told of name no other: the mail of
// the second client was sent as that of the first.
#[test]
fn a_client_is_not_taken_for_one_that_was_named_before() {
    let from = |host| {
        let address = Some([192, 0, 2, host].into());
        hello().with(|envelope| envelope.origin = Origin { address, ..Origin::default() })
    };
    let mut server = offering(Protocol::Smtp, &["XCLIENT ADDR"], &[]);
    let script = Arc::get_mut(&mut server.script).unwrap();
    script.offers.xclient_once = true;
    let mut bench = Bench::with(vec![server], |route| route.xclient = true);
    for host in [1, 1, 2] {
        assert_eq!(told(&bench.deliver(&["ok"], &from(host))), ["delivered"]);
    }
    let lines: Vec<_> = bench.kept().into_iter().map(|message| message.xclient.unwrap()).collect();
    assert_eq!(lines, [1, 1, 2].map(|host| format!("XCLIENT ADDR=192.0.2.{host}").into_bytes()));
    assert_eq!(bench.servers[0].kept.seen().connections, 2);
}

#[test]
fn xclient_that_is_refused_puts_the_mail_off_and_one_that_is_not_offered_is_not_missed() {
    let change = |route: &mut Route| route.xclient = true;
    let refusing = offering(Protocol::Smtp, &["XCLIENT ADDR"], &["@xclient=say:550 5.7.0 no"]);
    let mut bench = Bench::with(vec![refusing], change);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), [DOWN]);
    assert_eq!(bench.servers[0].kept.seen().mails, 0);
    let mut bench = Bench::with(vec![server(Protocol::Smtp, &[])], change);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    // Offered, and not asked for by the route.
    let mut bench = Bench::new(vec![offering(Protocol::Smtp, &["XCLIENT ADDR"], &[])]);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    assert!(!bench.wire().contains("XCLIENT"));
}

// RFC 5321 4.1.4: a server that does not know EHLO still takes HELO. RFC 2033 4.1: LHLO has no other.
#[test]
fn a_server_of_old_is_greeted_with_helo() {
    let helo = offering(Protocol::Smtp, &["-PIPELINING"], &["@greeting=say:502 5.5.1 what"]);
    let mut bench = Bench::new(vec![helo]);
    // The sink says the same to HELO.
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), [DOWN]);
    assert!(bench.wire().starts_with("EHLO mx.example.net\r\nHELO mx.example.net\r\n"));
    let lmtp = server(Protocol::Lmtp, &["@greeting=say:502 5.5.1 what"]);
    let mut bench = Bench::new(vec![lmtp]);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), [DOWN]);
    assert_eq!(bench.wire(), "LHLO mx.example.net\r\n");
}

// Everybody gets what the sender's refusal says, also those of later transactions.
#[test]
fn a_sender_that_is_refused_is_refused_for_all() {
    for offers in [&["LIMITS RCPTMAX=1"][..], &["-PIPELINING"], &[]] {
        let mut bench = bench(offers, &["@mail=say:550 5.7.1 not you"]);
        let outcomes = bench.deliver(&["ok", "ok", "ok"], &hello());
        assert_eq!(told(&outcomes), ["550 5.7.1"; 3], "{offers:?}");
    }
}
