//! Whatever ends a session badly leaves one record, which says what and from where.

use super::*;

/// A way to end: what was said before, and what then happens.
struct Ending {
    listener: Listener,
    said: String,
    then: Then,
    /// What the one record must tell; `None` for an end that deserves no record.
    why: Option<&'static str>,
    /// The record is one of a message.
    of_message: bool,
}

#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Goes(Gone),
    /// Nothing more comes.
    Silence,
    /// The client takes nothing of what it was told.
    NotRead,
    Drained,
    /// The peer breaks TLS.
    TlsFails,
}

impl Ending {
    fn of(listener: Listener, said: impl Into<String>, then: Then) -> Ending {
        Ending { listener, said: said.into(), then, why: None, of_message: false }
    }

    fn closed(self, why: &'static str) -> Ending {
        Ending { why: Some(why), ..self }
    }

    fn lost(self, why: &'static str) -> Ending {
        Ending { why: Some(why), of_message: true, ..self }
    }
}

fn bad_endings() -> Vec<Ending> {
    let ehlo = |rest: &str| format!("EHLO client.example\r\n{rest}");
    let mail = |rest: &str| ehlo(&format!("{ENVELOPE}{rest}"));
    let on = |said: String, then| Ending::of(smtp(), said, then);
    let proxied = || Listener { trust: trust(here(), Networks::default()), ..smtp() };
    let sealed = |mode| Listener { tls: Some(tls(mode)), ..smtp() };
    let few = || Listener {
        errors_max: 2,
        junk_max: 2,
        unknown_recipients_max: 2,
        messages_max: 1,
        ..smtp()
    };
    let paused = || Listener { banner_pause: Duration::from_secs(1), ..smtp() };
    let (fin, rst, end) = (Then::Goes(Gone::HalfClosed), Then::Goes(Gone::Lost), Then::Nothing);
    let (unknown, foreign) = ("RCPT TO:<nouser@example.net>\r\n", "GET / HTTP/1.1\r\n");
    let fill = "x".repeat(2_001);
    vec![
        Ending::of(paused(), "EHLO x\r\n", Then::Silence).closed("before the banner"),
        Ending::of(proxied(), "EHLO x\r\n", end).closed("no PROXY header"),
        Ending::of(proxied(), "PROXY TCP4 x\r\n", end).closed("bad PROXY line"),
        Ending::of(proxied(), "", Then::Silence).closed("no PROXY header came"),
        Ending::of(proxied(), "PROXY TCP4 1", Then::Silence).closed("no PROXY header came"),
        Ending::of(proxied(), "PROXY TCP4 1", fin).closed("in a PROXY header"),
        Ending::of(sealed(TlsMode::Implicit), "", Then::Silence).closed("handshake took too long"),
        Ending::of(sealed(TlsMode::Implicit), "", rst).closed("in the TLS handshake"),
        Ending::of(sealed(TlsMode::Offered), "STARTTLS\r\n", fin).closed("in the TLS handshake"),
        Ending::of(sealed(TlsMode::Offered), "STARTTLS\r\nRSET\r\n", end).closed("behind STARTTLS"),
        Ending::of(sealed(TlsMode::Implicit), "", Then::TlsFails).closed("no common cipher"),
        Ending::of(sealed(TlsMode::Offered), "STARTTLS\r\n", Then::TlsFails).closed("no common"),
        on(mail("DATA\r\nx"), Then::TlsFails).lost("no common cipher"),
        on(mail(""), Then::TlsFails).closed("no common cipher"),
        on(String::new(), Then::Silence).closed("timeout"),
        on(mail(""), Then::Silence).closed("timeout"),
        on(mail("BDAT 1\r\nx"), Then::Silence).lost("timeout"),
        on(mail("BDAT 2\r\nx"), Then::Silence).lost("timeout"),
        on(mail("DATA\r\nx"), Then::Silence).lost("timeout"),
        on(ehlo("BDAT 9\r\nx"), Then::Silence).closed("timeout"),
        on(mail("DATA\r\nx"), fin).lost("connection was lost"),
        on(mail("DATA\r\nx"), rst).lost("connection was lost"),
        on(mail("DATA\r\nHOLD\r\n.\r\n"), rst).lost("connection was lost"),
        on(mail("BDAT 2\r\nx"), fin).lost("connection was lost"),
        on(mail("BDAT 1\r\nx"), rst).lost("connection was lost"),
        on(ehlo("BDAT 9\r\nx"), fin).closed("lost in a chunk"),
        on(mail(""), fin).closed("lost in a transaction"),
        on(ehlo("MAIL FROM:<>\r\n"), rst).closed("lost in a transaction"),
        Ending::of(few(), ehlo("X\r\nX\r\n"), end).closed("too many errors"),
        Ending::of(few(), ehlo("NOOP\r\nNOOP\r\n"), end).closed("without progress"),
        Ending::of(few(), mail(unknown).to_owned() + unknown, end).closed("unknown recipients"),
        Ending::of(few(), mail("RSET\r\nMAIL FROM:<>\r\n"), end).closed("too many messages"),
        on("x".repeat(2 << 20), end).closed("without end"),
        on(ehlo(foreign), end).closed("not SMTP"),
        on(mail("BDAT x\r\n"), end).closed("bad BDAT"),
        on(mail("BDAT 1\r\nxBDAT x\r\n"), end).lost("bad BDAT"),
        on(mail("BDAT 2001\r\n"), end).closed("far too big"),
        on(mail("BDAT 1001\r\n").to_owned() + &fill[..1_001] + "BDAT 1000\r\n", end)
            .lost("far too big"),
        on(mail("DATA\r\n").to_owned() + &fill, end).lost("far too big"),
        on(ehlo("DATA\r\nx\r\n.\r\n"), end).closed("without a go-ahead"),
        on(ehlo(""), Then::NotRead).closed("takes no octets"),
        on(mail("DATA\r\nx"), Then::NotRead).lost("takes no octets"),
        on(mail("DATA\r\nx\r\n.\r\n"), Then::NotRead).closed("takes no octets"),
        on(ehlo(""), Then::Drained).closed("shutting down"),
        on(mail(""), Then::Drained).closed("shutting down"),
        Ending::of(paused(), "", Then::Drained).closed("shutting down"),
        Ending::of(proxied(), "", Then::Drained).closed("shutting down"),
        Ending::of(proxied(), "PROXY TCP4 1", Then::Drained).closed("shutting down"),
        Ending::of(sealed(TlsMode::Implicit), "\x16", Then::Drained).closed("shutting down"),
        Ending::of(sealed(TlsMode::Offered), "STARTTLS\r\n", Then::Drained).closed("shutting down"),
    ]
}

fn good_endings() -> Vec<Ending> {
    let proxied = || Listener { trust: trust(here(), Networks::default()), ..smtp() };
    let (fin, rst) = (Then::Goes(Gone::HalfClosed), Then::Goes(Gone::Lost));
    vec![
        Ending::of(smtp(), "", fin),
        Ending::of(smtp(), "EHLO client.example\r\n", rst),
        Ending::of(smtp(), "EHLO client.example\r\nQUIT\r\n", Then::Silence),
        Ending::of(smtp(), format!("EHLO x\r\n{ENVELOPE}QUIT\r\n"), fin),
        Ending::of(proxied(), "", fin),
        Ending::of(proxied(), "PROXY UNKNOWN\r\n", rst),
    ]
}

/// Whatever ends a session badly leaves one record, which says what and from where.
#[test]
fn a_bad_end_leaves_one_record_and_a_good_one_none() {
    for ending in bad_endings().into_iter().chain(good_endings()) {
        let Ending { listener, said, then, why, of_message } = ending;
        let shown: String = said.escape_debug().take(100).collect();
        // The clock of the write stall shall be the one that runs out.
        let patient = matches!(then, Then::NotRead);
        let mut lone = Lone::on(match patient {
            true => Listener { data_rate_octets_per_s: 0, ..listener },
            false => listener,
        });
        lone.reads = !patient;
        for piece in said.as_bytes().chunks(16 * 1024) {
            lone.say(piece);
        }
        match then {
            Then::Nothing => assert!(!lone.ended.is_empty(), "{shown}: it goes on"),
            Then::Goes(gone) => lone.goes(gone),
            Then::Silence | Then::NotRead => _ = lone.wait(Duration::from_secs(301)),
            Then::TlsFails => {
                lone.session.tls_failed("TLS failed: no common cipher", lone.now());
                lone.drain();
            }
            Then::Drained => {
                lone.session.drain(lone.now());
                lone.drain();
            }
        }
        // What the relay has begun goes on to its end, and is told by a record of its own.
        if lone.asked.is_some() {
            lone.answer();
        }
        lone.wait(Duration::from_secs(301));
        lone.goes(Gone::Lost);
        assert!(lone.session.is_over(), "{shown}: it is not over");
        assert!(lone.session.deadline().is_none(), "{shown}");
        let is_good = |end: &End| matches!(end, End::Replied | End::Unseen);
        let bad: Vec<&Record> = lone.records.iter().filter(|one| !is_good(&one.end)).collect();
        match (why, bad.as_slice()) {
            (None, []) => {}
            (Some(why), [record]) => {
                let (text, lost) = match &record.end {
                    End::Lost(text) => (text, true),
                    End::Closed(text) => (text, false),
                    End::Replied | End::Unseen => unreachable!("filtered"),
                };
                assert!(text.contains(why), "{shown}: {text}, not {why}");
                assert_eq!(lost, of_message, "{shown}");
                assert_eq!(record.client, Some(IpAddr::from([192, 0, 2, 1])), "{shown}");
                assert_eq!(record.listener, "test");
                assert!(record.id.starts_with("s1"), "{shown}: {}", record.id);
            }
            (_, records) => panic!("{shown}: {} records: {records:#?}", records.len()),
        }
    }
}

// What waited behind a message is not run any more when the client is given up for taking nothing of
// its replies, though the message is brought to its end.
#[test]
fn a_client_that_is_given_up_is_not_obeyed_any_more() {
    let mut lone = Lone::on(smtp());
    lone.say("EHLO client.example\r\n");
    lone.reads = false;
    lone.say(format!("{ENVELOPE}DATA\r\n"));
    lone.say("x\r\n.\r\n");
    lone.say("MAIL FROM:<b@client.example>\r\n");
    lone.wait(Duration::from_secs(120));
    assert_eq!(lone.ended, ["abort"]);
    lone.answer();
    assert_eq!(lone.ended, ["abort", "close"]);
    let ends: Vec<&End> = lone.records.iter().map(|record| &record.end).collect();
    assert!(matches!(ends[..], [End::Closed(_), End::Unseen]), "{ends:?}");
}

// Replies that are made for nobody are told apart in the record: the client will come again.
#[test]
fn what_a_client_that_is_gone_would_have_been_told_is_unseen() {
    for (gone, end) in [(Gone::Lost, End::Unseen), (Gone::HalfClosed, End::Replied)] {
        let mut lone = Lone::on(smtp());
        lone.say("EHLO client.example\r\n");
        lone.say(format!("{ENVELOPE}DATA\r\n"));
        lone.say("x\r\n.\r\n");
        lone.goes(gone);
        lone.answer();
        let ends: Vec<&End> = lone.records.iter().map(|record| &record.end).collect();
        assert_eq!(ends, [&end]);
    }
}

// A client that does not even take its last reply has one record of its end, not two.
#[test]
fn an_end_that_is_not_read_is_noted_once() {
    let mut lone = Lone::on(Listener { errors_max: 1, ..smtp() });
    lone.say("EHLO client.example\r\n");
    lone.reads = false;
    lone.say("NOOP\r\n");
    lone.wait(Duration::from_secs(119));
    lone.say("WHAT\r\n");
    lone.wait(Duration::from_secs(1));
    assert_eq!(lone.ended, ["shut", "abort", "close"]);
    assert_eq!(lone.records.len(), 1);
}

/// The record tells of the client that a trusted peer speaks for, and of the peer.
#[test]
fn a_bad_end_is_told_of_the_client_behind_a_trusted_peer() {
    let (told, peer) = (IpAddr::from([198, 51, 100, 7]), IpAddr::from([192, 0, 2, 1]));
    let proxied = "PROXY TCP4 198.51.100.7 192.0.2.2 1 25\r\n";
    let claimed = "XCLIENT ADDR=198.51.100.7\r\n";
    let bodies = ["GET / HTTP/1.1\r\n", "EHLO x\r\nMAIL FROM:<>\r\nBDAT x\r\n"];
    for (trust, first) in [
        (trust(here(), Networks::default()), proxied),
        (trust(Networks::default(), here()), claimed),
    ] {
        for body in bodies {
            let mut lone = Lone::on(Listener { trust: trust.clone(), ..smtp() });
            lone.say(first);
            lone.say(body);
            assert_eq!(lone.records.len(), 1, "{first}{body}");
            let record = &lone.records[0];
            assert_eq!((record.client, record.peer), (Some(told), Some(peer)), "{first}{body}");
        }
    }
}
