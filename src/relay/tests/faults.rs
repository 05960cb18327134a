//! Next hops that break the protocol, or fall silent.

use super::*;
use crate::tools::sink::{Misdeed, Point};
use proptest::prelude::*;

/// The points at which a next hop can fail, and whether the message has left then.
const POINTS: [(Point, bool); 6] = [
    (Point::Banner, false),
    (Point::Greeting, false),
    (Point::Mail, false),
    (Point::Rcpt, false),
    (Point::Data, false),
    (Point::End, true),
];

fn misbehaving(protocol: Protocol, point: Point, misdeed: Misdeed) -> Server {
    let mut script = Script::default();
    script.misbehave(point, misdeed);
    Server { script: Arc::new(script), ..server(protocol, &[]) }
}

const BOTH: [Protocol; 2] = [Protocol::Smtp, Protocol::Lmtp];

// 1,000 octets a line, 64 KiB a reply, whatever the point: close, and 451 at once.
#[test]
fn a_68_a_reply_without_end_ends_the_connection() {
    let endless_line = [vec![b'2'; 2_000], b"\r\n".to_vec()].concat();
    for protocol in BOTH {
        for (point, left) in POINTS {
            for misdeed in [Misdeed::Endless, Misdeed::Say(endless_line.clone())] {
                let mut bench = Bench::new(vec![misbehaving(protocol, point, misdeed)]);
                let outcomes = bench.deliver(&["ok"], &hello());
                let expected = if left { UNKNOWN } else { DOWN };
                assert_eq!(told(&outcomes), [expected], "{point:?}");
                assert_eq!(bench.now, Tick::START, "{point:?}");
                assert_eq!(bench.relay.connections(), 0);
            }
        }
    }
}

// silent at each point: a microsecond inside the deadline there is no answer, at it there is.
#[test]
fn a_69_a_next_hop_that_falls_silent_is_waited_for_as_long_as_it_says() {
    let seconds = Duration::from_secs;
    let table = [
        (Point::Banner, seconds(60), DOWN),
        (Point::Greeting, seconds(60), DOWN),
        (Point::Mail, seconds(60), DOWN),
        (Point::Rcpt, seconds(60), DOWN),
        (Point::Data, seconds(60), DOWN),
        (Point::End, seconds(240), UNKNOWN),
    ];
    for protocol in BOTH {
        for (point, span, expected) in table {
            let bench = Bench::new(vec![misbehaving(protocol, point, Misdeed::Stall)]);
            check_deadline(bench, span, expected);
        }
        let silent = Server { reach: Reach::Silent, ..server(protocol, &[]) };
        check_deadline(Bench::new(vec![silent]), seconds(10), DOWN);
        let mut slow = Bench::new(vec![server(protocol, &[])]);
        slow.taken_max = 400;
        check_deadline(slow, seconds(240), DOWN);
    }
}

fn check_deadline(mut bench: Bench, span: Duration, expected: &str) {
    let long = message(&b"Subject: x\r\n".repeat(100));
    let ticket = bench.start(&["ok"], &long);
    bench.run_for(span - Duration::from_micros(1));
    assert!(bench.done.is_empty(), "answered before {span:?}");
    bench.run_for(Duration::from_micros(1));
    assert!(bench.done.contains_key(&ticket), "not answered at {span:?}");
    assert_eq!(told(&bench.outcomes(ticket)), [expected]);
}

// A-69, RFC 5321 4.5.3.2.6: the client waits 10 minutes from its end mark, whatever is tried.
#[test]
fn a_69_the_client_is_answered_in_time_however_many_addresses_there_are() {
    let silent = || misbehaving(Protocol::Smtp, Point::Mail, Misdeed::Stall);
    let mut bench = Bench::new((0..30).map(|_| silent()).collect());
    let ticket = bench.start(&["ok"], &hello());
    bench.run_for(Duration::from_secs(479));
    assert!(bench.done.is_empty());
    bench.run_for(Duration::from_secs(1));
    assert_eq!(told(&bench.outcomes(ticket)), [DOWN]);
}

// the message has left and there is no answer: it may have been taken, so it goes nowhere else.
#[test]
fn a_70_a_message_without_an_answer_is_unknown_and_goes_nowhere_else() {
    for protocol in BOTH {
        for misdeed in [Misdeed::Close, Misdeed::Stall, Misdeed::Say(b"999 x\r\n".to_vec())] {
            let servers = vec![misbehaving(protocol, Point::End, misdeed), server(protocol, &[])];
            let mut bench = Bench::new(servers);
            assert_eq!(told(&bench.deliver(&["one", "two"], &hello())), [UNKNOWN, UNKNOWN]);
            assert_eq!(bench.kept().len(), 1);
            assert_eq!(bench.servers[1].kept.count(), 0);
        }
    }
}

// What was not sent is tried elsewhere: at each point before the message has left.
#[test]
fn a_connection_that_fails_before_the_message_has_left_is_made_good_elsewhere() {
    for protocol in BOTH {
        for (point, _) in POINTS.into_iter().filter(|(_, left)| !left) {
            for misdeed in [Misdeed::Close, Misdeed::Stall, Misdeed::Say(b"999 x\r\n".to_vec())] {
                let servers =
                    vec![misbehaving(protocol, point, misdeed.clone()), server(protocol, &[])];
                let mut bench = Bench::new(servers);
                let outcomes = bench.deliver(&["one", "two"], &hello());
                assert_eq!(told(&outcomes), ["delivered", "delivered"], "{point:?} {misdeed:?}");
                assert_eq!((bench.kept().len(), bench.servers[1].kept.count()), (0, 1));
            }
        }
    }
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{}{n}", if n % 3 == 1 { "busy" } else { "ok" })).collect()
}

fn expected_of(names: &[String]) -> Vec<&'static str> {
    names.iter().map(|n| if n.starts_with("busy") { "450 4.2.0" } else { "delivered" }).collect()
}

// A-71, RFC 2033 4.2: a reply each, in the order of RCPT; those that did not come are put off.
#[test]
fn a_71_lmtp_replies_that_are_missing_are_unknown() {
    for count in [1, 2, 60] {
        for cut in [usize::MAX, 1, 7] {
            let lines = ["busy*=end:450 4.2.0 busy", "@end=short"];
            let mut bench = Bench::new(vec![server(Protocol::Lmtp, &lines)]);
            bench.cut = cut;
            let names = many(count);
            let outcomes = bench.deliver(&refs(&names), &hello());
            let mut expected = expected_of(&names);
            expected[count - 1] = UNKNOWN;
            assert_eq!(told(&outcomes), expected);
            assert_eq!(bench.relay.connections(), 0);
        }
    }
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

// a reply too many changes no outcome, and the connection is not used again.
#[test]
fn a_71_a_surplus_reply_ends_the_connection() {
    for protocol in BOTH {
        for count in [1, 2, 60] {
            for cut in [usize::MAX, 1] {
                let lines: &[&str] = match protocol {
                    Protocol::Lmtp => &["busy*=end:450 4.2.0 busy", "@end=surplus"],
                    Protocol::Smtp => &["busy*=rcpt:450 4.2.0 busy", "@end=surplus"],
                };
                let mut bench = Bench::new(vec![server(protocol, lines)]);
                bench.cut = cut;
                let names = many(count);
                for connections in 1..=2 {
                    let outcomes = bench.deliver(&refs(&names), &hello());
                    assert_eq!(told(&outcomes), expected_of(&names));
                    assert_eq!(bench.servers[0].kept.seen().connections, connections);
                }
            }
        }
    }
}

// a final reply while the message still leaves is no answer to it; the rest must not leave.
#[test]
fn a_72_an_early_final_reply_is_no_answer() {
    for (protocol, body) in BOTH.into_iter().flat_map(|p| [(p, true), (p, false)]) {
        let long = b"Subject: x\r\n".repeat(100);
        let long = if body { plain_message(&long) } else { message(&long) };
        for early in [&b"250 2.6.0 taken\r\n"[..], b"550 5.7.1 no\r\n", b"421 4.3.0 bye\r\n", b"25"]
        {
            let mut bench = Bench::new(vec![server(protocol, &[])]);
            bench.taken_max = 400;
            let ticket = bench.start(&["ok"], &long);
            assert!(bench.done.is_empty());
            let id = bench.last_line();
            bench.relay.receive(id, early, bench.now);
            assert!(
                matches!(bench.relay.poll_effect(), Some(RelayEffect::Abort(other)) if other == id)
            );
            bench.settle();
            assert_eq!(told(&bench.outcomes(ticket)), [DOWN]);
        }
        // With the go-ahead: nothing has left yet.
        let mut bench = Bench::new(vec![
            server(protocol, &["@data=say:354 go\\r\\n250 2.6.0 taken"]),
            server(protocol, &[]),
        ]);
        let outcomes = bench.deliver(&["ok"], &message(b"Subject: x\r\n\r\n"));
        assert_eq!(told(&outcomes), ["delivered"]);
        assert_eq!((bench.kept().len(), bench.servers[1].kept.count()), (0, 1));
    }
}

// a stray reply before the next transaction: none is ever given to the wrong message.
#[test]
fn a_72_a_reply_left_over_goes_to_no_other_message() {
    let groups: [(&[&str], &[&str]); 6] = [
        (&["ok"], &["delivered"]),
        (&["gone"], &["550 5.1.1"]),
        (&["gone", "ok"], &["550 5.1.1", "delivered"]),
        (&["ok", "gone"], &["delivered", "550 5.1.1"]),
        (&["gone", "gone"], &["550 5.1.1", "550 5.1.1"]),
        (&["late", "ok", "gone"], &["450 4.2.0", "delivered", "550 5.1.1"]),
    ];
    for offers in [&[][..], &["-PIPELINING"], &["-CHUNKING"]] {
        for (names, expected) in groups {
            for stray in ["250 2.0.0 stray", "550 5.0.0 stray", "354 stray"] {
                let reset = format!("@reset=say:{stray}\\r\\n250 2.0.0 ok");
                let lines = ["gone=rcpt:550 5.1.1 gone", "late=end:450 4.2.0 late", &reset];
                let mut bench = Bench::new(vec![offering(Protocol::Lmtp, offers, &lines)]);
                let delivered = expected.iter().filter(|one| **one == "delivered").count();
                // Behind a DATA that is refused to all, RSET has to show that nothing was left over.
                let unclear =
                    delivered == 0 && offers == ["-CHUNKING"] && !stray.starts_with("250");
                let down = vec![DOWN; names.len()];
                let expected = if unclear { &down[..] } else { expected };
                for content in [&b"Subject: one\r\n\r\n"[..], b"Subject: two\r\n\r\n"] {
                    let outcomes = bench.deliver(names, &plain_message(content));
                    assert_eq!(told(&outcomes), expected, "{offers:?} {names:?} {stray}");
                }
                let kept = bench.kept();
                assert_eq!(kept.len(), 2 * usize::from(delivered > 0));
                assert!(kept.iter().all(|message| message.recipients.len() == delivered));
            }
        }
    }
}

// a reply too many in the middle of an envelope, be it the first of its connection, is found out
// before anything follows from it: nobody is told what is another's, and the message goes elsewhere.
#[test]
fn a_71_a_surplus_reply_in_an_envelope_gives_nobody_the_reply_of_another() {
    let groups: [(&[&str], &[&str]); 7] = [
        (&["ok"], &["delivered"]),
        (&["gone"], &["550 5.1.1"]),
        (&["busy"], &["450 4.2.0"]),
        (&["gone", "ok"], &["550 5.1.1", "delivered"]),
        (&["ok", "gone"], &["delivered", "550 5.1.1"]),
        (&["gone", "busy"], &["550 5.1.1", "450 4.2.0"]),
        (&["busy", "ok", "gone", "ok"], &["450 4.2.0", "delivered", "550 5.1.1", "delivered"]),
    ];
    let users = ["gone=rcpt:550 5.1.1 gone", "busy=rcpt:450 4.2.0 busy"];
    let strays = ["250 2.1.5 stray", "550 5.7.1 stray", "450 4.7.1 stray", "354 stray"];
    for protocol in BOTH {
        for offers in [&[][..], &["-PIPELINING"], &["-CHUNKING"]] {
            for (names, expected) in groups {
                for (stray, cut) in strays.into_iter().flat_map(|one| [(one, 1), (one, 9_999)]) {
                    let mail = format!("@mail=say:250 2.1.0 ok\\r\\n{stray}");
                    let servers = vec![
                        offering(protocol, offers, &[users[0], users[1], &mail]),
                        offering(protocol, offers, &users),
                    ];
                    let mut bench = Bench::new(servers);
                    bench.cut = cut;
                    let content = plain_message(b"Subject: one\r\n\r\n");
                    let outcomes = bench.deliver(names, &content);
                    assert_eq!(told(&outcomes), expected, "{offers:?} {names:?} {stray} {cut}");
                    assert_eq!(bench.servers[0].kept.count(), 0, "{offers:?} {names:?} {stray}");
                }
            }
        }
    }
}

// RFC 5321 3.5.3: where the answer to VRFY may be that of a RCPT, text goes by DATA.
#[test]
fn a_vrfy_that_tells_nothing_is_made_good_by_data() {
    for (said, chunked) in [
        ("252 2.5.2 try it", true),
        ("502 5.5.1 not done", true),
        ("250 2.1.5 <postmaster@example.net>", false),
        ("550 5.7.1 never", false),
    ] {
        let vrfy = format!("@vrfy=say:{said}");
        let lines = ["gone=rcpt:550 5.1.1 gone", vrfy.as_str()];
        let mut bench = Bench::new(vec![offering(Protocol::Smtp, &[], &lines)]);
        let content = plain_message(b"Subject: one\r\n\r\n");
        let outcomes = bench.deliver(&["ok", "gone"], &content);
        assert_eq!(told(&outcomes), ["delivered", "550 5.1.1"], "{said}");
        assert_eq!(bench.kept()[0].chunked, chunked, "{said}");
        assert_eq!(told(&bench.deliver(&["gone"], &content)), ["550 5.1.1"], "{said}");
    }
}

// A refusal that is followed by a close, or by 421, is still a refusal.
#[test]
fn a_next_hop_that_refuses_and_leaves_has_refused() {
    for bye in ["close", "say:421 4.7.0 too many errors", "stall"] {
        for (point, offers) in [
            ("reset", &["-CHUNKING"][..]),
            ("data", &["-CHUNKING"]),
            ("vrfy", &[]),
            ("vrfy", &["-PIPELINING"]),
        ] {
            let leaves = format!("@{point}={bye}");
            let lines = ["gone=rcpt:550 5.1.1 gone", leaves.as_str()];
            let mut bench = Bench::new(vec![offering(Protocol::Smtp, offers, &lines)]);
            let outcomes = bench.deliver(&["gone", "gone"], &plain_message(b"Subject: x\r\n\r\n"));
            assert_eq!(told(&outcomes), ["550 5.1.1"; 2], "{offers:?} {leaves}");
        }
    }
}

// between two transactions the input must be empty.
#[test]
fn a_72_a_reply_to_nothing_ends_an_idle_connection() {
    for stray in [&b"250 2.0.0 stray\r\n"[..], b"2", b"421 4.4.2 too idle\r\n", b"\r\n"] {
        let mut bench = Bench::new(vec![server(Protocol::Smtp, &[])]);
        bench.deliver(&["ok"], &hello());
        let id = bench.last_line();
        bench.relay.receive(id, stray, bench.now);
        bench.settle();
        assert_eq!(bench.relay.connections(), 0, "{}", stray.escape_ascii());
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
        assert!(!bench.standing().down);
    }
}

// replies as they should not be, at four points: 64 in all.
#[test]
fn a_73_odd_replies_keep_their_class_or_end_the_connection() {
    let long = format!("550-5.7.1 {}\r\n550 5.7.1 end\r\n", "x".repeat(900));
    // The reply; what is told of it at MAIL, RCPT and DATA; what behind the message.
    let table: [(&[u8], &str, &str); 16] = [
        (b"999 x\r\n", DOWN, UNKNOWN),
        (b"2x0 x\r\n", DOWN, UNKNOWN),
        (b"199 x\r\n", DOWN, UNKNOWN),
        (b"600 x\r\n", DOWN, UNKNOWN),
        (b"\xf0\x9f\x92\xa9 x\r\n", DOWN, UNKNOWN),
        (b"\r\n", DOWN, UNKNOWN),
        (b"25\r\n", DOWN, UNKNOWN),
        (b"250_x\r\n", DOWN, UNKNOWN),
        (b"353 x\r\n", DOWN, UNKNOWN),
        (b"550-5.7.1 a\r\n450 4.7.1 b\r\n", DOWN, UNKNOWN),
        (b"550 5.7.2\r\n", "550 5.7.2", "550 5.7.2"),
        (b"550\r\n", "550 5.0.0", "550 5.0.0"),
        (b"450 5.7.1 odd\r\n", "450 4.0.0", "450 4.0.0"),
        (b"550 5.7.1 \x1b[2J\xff\r\n", "550 5.7.1", "550 5.7.1"),
        (b"530 5.7.0 log in\r\n", DOWN, DOWN),
        (long.as_bytes(), "550 5.7.1", "550 5.7.1"),
    ];
    for (reply, before, behind) in table {
        for point in [Point::Mail, Point::Rcpt, Point::Data, Point::End] {
            let misdeed = Misdeed::Say(reply.to_vec());
            let mut bench = Bench::new(vec![misbehaving(Protocol::Smtp, point, misdeed)]);
            let outcomes = bench.deliver(&["ok"], &hello());
            let expected = if point == Point::End { behind } else { before };
            assert_eq!(told(&outcomes), [expected], "{} at {point:?}", reply.escape_ascii());
            let (Outcome::Failed(reply) | Outcome::Unknown(reply)) = &outcomes[0] else { continue };
            let mut octets = Vec::new();
            reply.render(&mut octets);
            let lines = octets.split_inclusive(|octet| *octet == b'\n');
            assert!(lines.into_iter().all(|line| line.len() <= 512));
            assert!(octets.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\r' | b'\n')));
        }
    }
}

// 354 and 250 where the other is due.
#[test]
fn a_73_a_go_ahead_is_no_yes_and_a_yes_no_go_ahead() {
    let table = [
        ("@mail=say:354 go", DOWN),
        ("@rcpt=say:354 go", DOWN),
        ("@data=say:250 ok", DOWN),
        ("@end=say:354 go", UNKNOWN),
        ("@mail=say:250", "delivered"),
        ("@data=say:354", "delivered"),
    ];
    for protocol in BOTH {
        for (line, expected) in table {
            let mut bench = Bench::new(vec![offering(protocol, &["-CHUNKING"], &[line])]);
            assert_eq!(told(&bench.deliver(&["ok"], &hello())), [expected], "{line}");
        }
    }
}

// each next hop has its own outcome, and each recipient is told that of its own.
#[test]
fn a_77_every_next_hop_answers_for_its_own_recipients() {
    let busy = server(Protocol::Smtp, &["*=end:450 4.2.0 busy"]);
    let dead = Server { reach: Reach::Refuses, ..server(Protocol::Smtp, &[]) };
    for (other, expected) in [(busy, "450 4.2.0"), (dead, DOWN)] {
        let mut bench = Bench::of(vec![vec![server(Protocol::Lmtp, &[])], vec![other]]);
        let outcomes = bench.deliver(&["other1", "ok", "other2"], &hello());
        assert_eq!(told(&outcomes), [expected, "delivered", expected]);
        assert_eq!(bench.kept()[0].recipients, [b"ok@example.net"]);
    }
}

// A reply too many before the first command is found out there.
#[test]
fn a_72_a_surplus_reply_to_a_greeting_ends_the_connection() {
    for line in ["@banner=surplus", "@greeting=surplus"] {
        let servers = vec![server(Protocol::Smtp, &[line]), server(Protocol::Smtp, &[])];
        let mut bench = Bench::new(servers);
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
        assert_eq!(bench.servers[0].kept.seen().mails, 0, "{line}");
    }
}

// RFC 2920 3.1: a server may say 354 though nobody was accepted; nothing is sent to it then.
#[test]
fn a_go_ahead_for_nobody_is_left_alone() {
    let lines = ["gone=rcpt:550 5.1.1 gone", "@data=say:354 go on"];
    for (offers, count) in [(&["LIMITS RCPTMAX=1"][..], 2), (&[], 1)] {
        let mut bench = Bench::new(vec![offering(Protocol::Smtp, offers, &lines)]);
        let names = vec!["gone"; count];
        assert_eq!(told(&bench.deliver(&names, &hello())), vec!["550 5.1.1"; count]);
        assert!(!bench.wire().contains("Subject"));
        assert_eq!(bench.servers[0].kept.seen().connections, count as u64);
    }
}

// RFC 5321 3.8 and 4.2.1: 421 closes, at whatever point, and is never told as it is.
#[test]
fn a_421_is_told_as_a_deferral() {
    for protocol in BOTH {
        for (point, _) in POINTS {
            let misdeed = Misdeed::Say(b"421 4.3.2 bye\r\n".to_vec());
            let mut bench = Bench::new(vec![misbehaving(protocol, point, misdeed)]);
            let outcomes = bench.deliver(&["one", "two"], &hello());
            assert_eq!(told(&outcomes), [DOWN, DOWN], "{point:?}");
            let Outcome::Failed(reply) = &outcomes[0] else { panic!("{outcomes:?}") };
            assert_eq!(reply.text(), "bye", "{point:?}");
        }
    }
}

/// Things that a next hop may say, in any order.
const SAYINGS: [&str; 23] = [
    "220 hop\r\n",
    "220 hop\r\n",
    "250-hop\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 PRDR\r\n",
    "250-hop\r\n250-PIPELINING\r\n250-XCLIENT ADDR\r\n250 LIMITS RCPTMAX=1\r\n",
    "250-hop\r\n250-PIPELINING\r\n250 RESUME\r\n",
    "250 hop\r\n",
    "250 2.1.0 ok\r\n",
    "250 2.1.0 ok\r\n",
    "250-a\r\n250 b\r\n",
    "354 go\r\n",
    "354 go\r\n",
    "353 lines follow\r\n",
    "355 0 octets\r\n",
    "355 41 octets\r\n",
    "550 5.1.1 no\r\n",
    "450 4.2.0 busy\r\n",
    "452 4.5.3 too many\r\n",
    "502 5.5.1 what\r\n",
    "421 4.3.2 bye\r\n",
    "25",
    "\r\n",
    "999 x\r\n",
    "\0\u{e9}\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    // Whatever a next hop says, in any cut: each recipient has one outcome within eight minutes, a
    // question has its answer, and nothing is left over.
    #[test]
    fn whatever_a_next_hop_says_there_is_one_outcome_for_each(
        sayings in prop::collection::vec(0..SAYINGS.len(), 0..30),
        cuts in prop::collection::vec(1..40usize, 1..8),
        lmtp in any::<bool>(),
        plain in any::<bool>(),
        earlier in any::<bool>(),
        recipients in 1..4usize,
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let by_hand = || Server { reach: Reach::ByHand, ..server(protocol, &[]) };
        let mut bench = Bench::with(vec![by_hand(), by_hand()], |route| {
            route.xclient = true;
            route.verify = Verify::Callahead;
        });
        let message = if plain { plain_message(b".\r\n") } else { hello() };
        bench.earlier = if earlier { super::earlier(&[("a-1", 41)]) } else { Vec::new() };
        let ticket = bench.start(&vec!["ok"; recipients], &message);
        let question = bench.ask("ok");
        let stream: String = sayings.iter().map(|index| SAYINGS[*index]).collect();
        let mut rest = stream.as_bytes();
        for cut in cuts.iter().cycle() {
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            if let Some(id) = bench.by_hand {
                bench.relay.receive(id, piece, bench.now);
                bench.settle();
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(bench.outcomes(ticket).len(), recipients);
        prop_assert!(bench.now <= Tick::START + Duration::from_secs(480));
        bench.run_for(Duration::from_secs(60));
        prop_assert!(bench.verified.contains_key(&question));
        prop_assert_eq!(bench.relay.plans_open(), 0);
        // Those that still try whether somebody is there fall silent, too.
        bench.servers.iter_mut().for_each(|server| server.reach = Reach::Refuses);
        bench.run_for(Duration::from_secs(600));
        prop_assert_eq!(bench.relay.connections(), 0);
    }
}
