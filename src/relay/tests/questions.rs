//! Recipients that are asked about before there is a message.

use super::*;
use crate::limits::{
    VERIFY_ACCEPTED_FRESH, VERIFY_ACCEPTED_STALE, VERIFY_CONNECTIONS_MAX, VERIFY_REFUSED_ENTRIES,
    VERIFY_REFUSED_FRESH, VERIFY_TIMEOUT, VERIFY_WAITING_MAX,
};

const LINES: [&str; 3] =
    ["gone*=rcpt:550 5.1.1 gone", "busy=rcpt:450 4.2.0 busy", "odd=rcpt:503 5.5.1 odd"];

fn bench(offers: &[&str], lines: &[&str]) -> Bench {
    let lines = [&LINES[..], lines].concat();
    asking(vec![offering(Protocol::Smtp, offers, &lines)])
}

fn asking(servers: Vec<Server>) -> Bench {
    Bench::with(servers, |route| route.verify = Verify::Callahead)
}

fn says(verification: &Verification) -> String {
    match verification {
        Verification::Accepted => "accepted".to_owned(),
        Verification::Refused(reply) => {
            reply.to_string().split(' ').take(2).collect::<Vec<_>>().join(" ")
        }
    }
}

impl Bench {
    fn said(&mut self, local_part: &str) -> String {
        says(&self.verify(local_part))
    }

    fn asked(&self) -> u64 {
        self.servers[0].kept.seen().rcpts
    }
}

// A next hop that is told of clients would judge a question by the client of the mail before it.
#[test]
fn a_question_is_asked_in_no_clients_name() {
    let servers = || vec![offering(Protocol::Smtp, &["XCLIENT ADDR HELO"], &LINES)];
    let mut bench = Bench::with(servers(), |route| {
        route.verify = Verify::Callahead;
        route.xclient = true;
    });
    let from = |last: u8| {
        let address = Some([192, 0, 2, last].into());
        hello().with(|envelope| envelope.origin = Origin { address, ..Origin::default() })
    };
    assert_eq!(bench.said("ok1"), "accepted");
    assert_eq!(told(&bench.deliver(&["ok"], &from(1))), ["delivered"]);
    assert_eq!(bench.servers[0].kept.seen().connections, 1, "one that was asked carries mail");
    assert_eq!(bench.said("gone1"), "550 5.1.1");
    assert_eq!(bench.servers[0].kept.seen().connections, 2, "one that has named a client");
    assert_eq!(bench.said("ok2"), "accepted");
    assert_eq!(told(&bench.deliver(&["ok"], &from(1))), ["delivered"]);
    assert_eq!(bench.said("ok3"), "accepted");
    assert!(bench.servers[0].kept.seen().connections <= 3);
    // Between a client's name and a question on the same connection there is always a new greeting.
    assert_eq!(bench.wire().matches("XCLIENT").count(), 2);
}

#[test]
fn a_question_is_a_transaction_without_a_message() {
    for offers in [&[][..], &["-PIPELINING"], &["-ENHANCEDSTATUSCODES"]] {
        for cut in [usize::MAX, 1] {
            let mut bench = bench(offers, &[]);
            bench.cut = cut;
            assert!(bench.standing().asks_ahead);
            let table = [
                ("ok", "accepted"),
                (
                    "gone",
                    if offers == ["-ENHANCEDSTATUSCODES"] { "550 5.0.0" } else { "550 5.1.1" },
                ),
                ("odd", DOWN),
            ];
            for (name, expected) in table {
                assert_eq!(bench.said(name), expected, "{offers:?}");
            }
            assert!(bench.wire().contains("MAIL FROM:<>\r\nRCPT TO:<ok@example.net>\r\nRSET\r\n"));
            assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
            assert_eq!(bench.servers[0].kept.seen().connections, 1);
        }
    }
}

// What is known is not asked again for a while; what passes is not remembered.
#[test]
fn answers_are_remembered_as_long_as_they_are_good() {
    let mut bench = bench(&[], &[]);
    let steps = [
        ("ok", Duration::ZERO, 1),
        ("ok", VERIFY_ACCEPTED_FRESH - Duration::from_secs(1), 1),
        ("ok", Duration::from_secs(1), 2),
        ("gone", Duration::ZERO, 3),
        ("gone", VERIFY_REFUSED_FRESH - Duration::from_secs(1), 3),
        ("gone", Duration::from_secs(1), 4),
        ("busy", Duration::ZERO, 5),
        ("busy", Duration::ZERO, 6),
    ];
    for (name, pause, asked) in steps {
        bench.run_for(pause);
        let expected = match name {
            "ok" => "accepted",
            "gone" => "550 5.1.1",
            _ => "450 4.2.0",
        };
        assert_eq!(bench.said(name), expected);
        assert_eq!(bench.asked(), asked, "{name} after {pause:?}");
    }
}

// RFC 5321 2.4: a domain is the same in any case, a local-part need not be.
#[test]
fn recipients_are_told_apart_as_mailboxes_are() {
    let mut bench = bench(&[], &[]);
    for (address, asked) in
        [("ok@example.net", 1), ("ok@EXAMPLE.net", 1), ("OK@example.net", 2), ("ok@example.org", 3)]
    {
        let recipient = address.as_bytes().into();
        let probe = Probe { route: RouteId(0), recipient, smtputf8: false };
        bench.relay.verify(Ticket(asked), probe, bench.now);
        bench.settle();
        assert_eq!(bench.verified.remove(&Ticket(asked)), Some(Verification::Accepted));
        assert_eq!(bench.asked(), asked, "{address}");
    }
}

// However many ask about one recipient at a time, the next hop is asked once.
#[test]
fn one_question_at_a_time_about_a_recipient() {
    let mut bench = bench(&[], &["@rcpt=stall"]);
    let tickets: Vec<Ticket> = (0..50).map(|_| bench.ask("ok")).collect();
    assert_eq!(bench.asked(), 1);
    bench.run_for(VERIFY_TIMEOUT - Duration::from_micros(1));
    assert!(bench.verified.is_empty());
    bench.run_for(Duration::from_micros(1));
    for ticket in tickets {
        assert_eq!(says(&bench.verified[&ticket]), DOWN);
    }
    assert_eq!(bench.asked(), 1);
    assert_eq!(bench.relay.plans_open(), 0);
}

// Guesses take a few connections, wait in bounded number, and push out nobody who is known.
#[test]
fn guesses_cost_a_bounded_share() {
    let mut bench = bench(&[], &["@rcpt=stall"]);
    let most = VERIFY_CONNECTIONS_MAX + VERIFY_WAITING_MAX;
    let tickets: Vec<Ticket> = (0..most + 5).map(|n| bench.ask(&format!("guess{n}"))).collect();
    assert_eq!(bench.relay.connections(), VERIFY_CONNECTIONS_MAX);
    assert_eq!(bench.verified.len(), 5, "those who find no place are answered at once");
    assert_eq!(says(&bench.verified[&tickets[most]]), "451 4.4.5");
    bench.run_for(VERIFY_TIMEOUT);
    assert_eq!(bench.verified.len(), most + 5);
    assert_eq!(bench.relay.connections(), 0);

    let mut bench = super::questions::bench(&[], &[]);
    assert_eq!(bench.said("ok"), "accepted");
    for n in 0..VERIFY_REFUSED_ENTRIES + 10 {
        bench.ask(&format!("gone{n}"));
    }
    let asked = bench.asked();
    assert_eq!(bench.said("ok"), "accepted");
    assert_eq!(bench.asked(), asked, "it is still known");
    bench.ask("gone0");
    assert_eq!(bench.asked(), asked + 1, "the oldest refusal is forgotten");
    bench.ask(&format!("gone{}", VERIFY_REFUSED_ENTRIES + 9));
    assert_eq!(bench.asked(), asked + 1, "the newest is not");
}

// When the next hop cannot be asked, who was taken within a day is believed in, others are put off.
#[test]
fn a_next_hop_that_is_down_has_its_answer_stated() {
    let mut bench = bench(&[], &[]);
    assert_eq!(bench.said("ok"), "accepted");
    assert_eq!(bench.said("gone"), "550 5.1.1");
    bench.run_for(Duration::from_secs(60));
    bench.servers[0].reach = Reach::Refuses;
    let half_a_day = VERIFY_ACCEPTED_STALE / 2;
    bench.run_for(half_a_day);
    for name in ["gone", "other-one", "busy", "ok"] {
        let expected = if name == "ok" { "accepted" } else { DOWN };
        assert_eq!(bench.said(name.trim_start_matches("other-")), expected);
    }
    assert!(bench.standing().down);
    bench.run_for(half_a_day - Duration::from_secs(61));
    assert_eq!(bench.said("ok"), "accepted", "just inside a day");
    bench.run_for(Duration::from_secs(1));
    assert_eq!(bench.said("ok"), DOWN, "just outside");
}

#[test]
fn another_address_is_asked_when_the_first_one_fails() {
    for misdeed in ["@banner=close", "@mail=close", "@rcpt=say:354 go", "@reset=say:550 5.0.0 no"] {
        let servers = vec![
            server(Protocol::Lmtp, &[misdeed]),
            server(Protocol::Lmtp, &["gone=rcpt:550 5.1.1 gone"]),
        ];
        let mut bench = asking(servers);
        assert_eq!(bench.said("ok"), "accepted", "{misdeed}");
        assert_eq!(bench.said("gone"), "550 5.1.1", "{misdeed}");
    }
}

// A next hop that refuses the null sender says nothing of the recipient. RFC 5321 4.5.5.
#[test]
fn a_refused_null_sender_says_nothing_of_the_recipient() {
    let mut bench = bench(&[], &["@mail=say:550 5.7.1 no bounces"]);
    assert_eq!(bench.said("ok"), DOWN);
    assert_eq!(bench.said("ok"), DOWN);
    assert_eq!(bench.servers[0].kept.seen().rcpts, 2, "and it is asked again");
}

// RFC 6531 3.2: mail for such a recipient could not be sent either.
#[test]
fn an_internationalized_recipient_needs_smtputf8() {
    let mut bench = bench(&[], &[]);
    assert_eq!(bench.said("jørn"), "accepted");
    assert!(bench.wire().contains("MAIL FROM:<> SMTPUTF8\r\n"));
    let mut bench = super::questions::bench(&["-SMTPUTF8"], &[]);
    assert_eq!(bench.said("jørn"), "550 5.6.7");
    assert_eq!(bench.asked(), 0);
}

// A route that does not ask, and one that ends here, take everybody.
#[test]
fn a_route_that_asks_nobody_takes_everybody() {
    let mut bench = Bench::new(vec![server(Protocol::Smtp, &LINES)]);
    assert!(!bench.standing().asks_ahead);
    assert_eq!(bench.said("gone"), "accepted");
    assert_eq!(bench.relay.connections(), 0);
}

// were all replies one late, an answer to another question would be taken for this one's.
#[test]
fn a_72_a_reply_left_over_answers_no_question() {
    for stray in ["250 2.0.0 stray", "550 5.0.0 stray"] {
        let reset = format!("@reset=say:{stray}\\r\\n250 2.0.0 ok");
        let mut bench = bench(&[], &[&reset]);
        for (name, expected) in [("gone", "550 5.1.1"), ("ok", "accepted"), ("gone2", "550 5.1.1")]
        {
            let said = bench.said(name);
            assert!(said == expected || said == DOWN, "{name} after {stray}: {said}");
        }
    }
}

// nor is a reply too many in the middle of a question taken for the answer, and remembered.
#[test]
fn a_71_a_surplus_reply_in_a_question_is_no_answer() {
    let strays = ["250 2.1.5 stray", "550 5.7.1 stray", "450 4.7.1 stray", "354 stray"];
    let names = [("ok", "accepted"), ("gone", "550 5.1.1"), ("busy", "450 4.2.0")];
    for protocol in [Protocol::Smtp, Protocol::Lmtp] {
        for offers in [&[][..], &["-PIPELINING"]] {
            for (stray, cut) in strays.into_iter().flat_map(|one| [(one, 1), (one, 9_999)]) {
                for (name, expected) in names {
                    let mail = format!("@mail=say:250 2.1.0 ok\\r\\n{stray}");
                    let lines = [&LINES[..], &[&mail]].concat();
                    let servers = vec![
                        offering(protocol, offers, &lines),
                        offering(protocol, offers, &LINES),
                    ];
                    let mut bench = asking(servers);
                    bench.cut = cut;
                    assert_eq!(bench.said(name), expected, "{offers:?} {stray} {cut}");
                }
            }
        }
    }
}

// RFC 5321 3.5.3: what VRFY is told may be anything; a DATA that nobody can be sent shows the rest.
#[test]
fn a_refusal_is_confirmed_whatever_vrfy_is_told() {
    for said in ["252 2.5.2 try it", "502 5.5.1 not done", "250 2.1.5 <p@example.net>", "550 no"] {
        let vrfy = format!("@vrfy=say:{said}");
        let mut bench = bench(&[], &[&vrfy]);
        for name in ["gone", "gone1", "ok"] {
            let expected = if name == "ok" { "accepted" } else { "550 5.1.1" };
            assert_eq!(bench.said(name), expected, "{said}");
        }
        assert_eq!(bench.servers[0].kept.seen().connections, 1, "{said}");
        let only_vrfy = said.starts_with("252") || said.starts_with("502");
        assert_eq!(bench.wire().contains("DATA"), !only_vrfy, "{said}");
    }
}

#[test]
fn a_next_hop_that_refuses_a_question_and_leaves_has_refused() {
    for bye in ["close", "say:421 4.7.0 too many errors", "stall"] {
        let vrfy = format!("@vrfy={bye}");
        assert_eq!(bench(&[], &[&vrfy]).said("gone"), "550 5.1.1", "{bye}");
    }
}
