//! Replies that were lost with their connection, from next hops that offer RESUME.

use super::*;
use crate::limits::HOP_RESUME_PATIENCE;

const LINES: [&str; 4] = [
    "gone*=rcpt:550 5.1.1 gone",
    "busy*=end:450 4.2.0 busy",
    "bad*=end:554 5.7.1 no",
    "slow*=late:30000",
];

fn bench(protocol: Protocol, offers: &[&str], lines: &[&str]) -> Bench {
    let offers = [&["RESUME"], offers].concat();
    let lines = [&LINES[..], lines].concat();
    Bench::new(vec![offering(protocol, &offers, &lines)])
}

/// All that a next hop can offer which changes the form of a transaction or of its replies.
const FORMS: [(Protocol, &[&str]); 5] = [
    (Protocol::Smtp, &[]),
    (Protocol::Smtp, &["PRDR"]),
    (Protocol::Smtp, &["PRDR", "-PIPELINING"]),
    (Protocol::Lmtp, &[]),
    (Protocol::Lmtp, &["-PIPELINING", "-CHUNKING"]),
];

const GROUPS: [&[&str]; 6] = [
    &["ok"],
    &["bad"],
    &["gone", "ok"],
    &["ok", "busy", "gone", "bad", "ok2"],
    &["gone"],
    &["busy", "bad"],
];

// Checkpoint 3, seen from the client: the whole reply set is asked for, and nothing is sent again.
#[test]
fn replies_that_were_lost_are_asked_for_and_nothing_is_sent_again() {
    for (protocol, offers) in FORMS {
        for names in GROUPS {
            let expected = told(&bench(protocol, offers, &[]).deliver(names, &hello()));
            for misdeed in ["close", "short", "say:nonsense", "say:354 what", "stall"] {
                for cut in [1, 9_999] {
                    let line = format!("@end={misdeed}");
                    let mut bench = bench(protocol, offers, &[&line]);
                    bench.cut = cut;
                    let shown = format!("{protocol:?} {offers:?} {names:?} {misdeed}");
                    assert_eq!(told(&bench.deliver(names, &hello())), expected, "{shown}");
                    let delivered = usize::from(expected.iter().any(|one| one == "delivered"));
                    assert_eq!(bench.kept().len(), delivered, "{shown}");
                    let lost = expected != ["550 5.1.1"];
                    let resumes = bench.wire().matches("RESUME <").count();
                    assert_eq!(resumes, usize::from(lost), "{shown}");
                    assert_eq!(bench.wire().matches("text\r\n").count(), usize::from(lost));
                    assert_eq!(bench.relay.plans_open(), 0);
                }
            }
        }
    }
}

// draft-fanf-smtp-rfc1845bis-01 2.9: the MAIL of a resume is the first one but for its offset, which
// is what the next hop has told, and its RCPTs are those of the first in their order. 2.10: no octet
// of the content is sent.
#[test]
fn a_resume_is_the_first_transaction_but_for_its_offset() {
    let mut bench = bench(Protocol::Lmtp, &[], &["@end=close"]);
    let outcomes = bench.deliver(&["ok", "gone", "ok2"], &hello());
    assert_eq!(told(&outcomes), ["delivered", "550 5.1.1", "delivered"]);
    let octets = hello().body.content_octets() + b"Received: x\r\n".len() as u64;
    let second = String::from_utf8(bench.sent[1].clone()).unwrap();
    let id = second.split_once("RESUME <").unwrap().1.split_once('>').unwrap().0.to_owned();
    let mail =
        |offset| format!("MAIL FROM:<a@client.example> TRANSID=<{id}> TRANSOFF={offset}\r\n");
    assert!(bench.sent[0].starts_with(format!("LHLO mx.example.net\r\n{}", mail(0)).as_bytes()));
    let expected = format!(
        "LHLO mx.example.net\r\nRESUME <{id}>\r\n{}RCPT TO:<ok@example.net>\r\n\
         RCPT TO:<ok2@example.net>\r\nDATA\r\n.\r\n",
        mail(octets)
    );
    assert_eq!(second, expected);
    assert!(id.ends_with("@mx.example.net"));
}

// RFC 3030 3: binary content goes by BDAT, and so is its end asked for.
#[test]
fn binary_content_is_asked_for_by_its_last_chunk() {
    let binary = plain_message(b"a\0b").with(|envelope| envelope.body = BodyKind::BinaryMime);
    for offers in [&["BINARYMIME"][..], &["BINARYMIME", "-PIPELINING"]] {
        let mut bench = bench(Protocol::Smtp, offers, &["@end=close"]);
        assert_eq!(told(&bench.deliver(&["ok"], &binary)), ["delivered"]);
        assert!(String::from_utf8_lossy(&bench.sent[1]).ends_with("BDAT 0 LAST\r\n"));
        assert_eq!(bench.kept().len(), 1);
    }
}

// A next hop that was lost before it decided knows nothing: the message is sent again, and only then.
#[test]
fn what_was_not_decided_is_sent_again() {
    for (protocol, offers) in FORMS {
        let mut bench = bench(protocol, offers, &[]);
        let ticket = bench.start(&["slow", "ok"], &hello());
        let id = bench.last_line();
        bench.lines.remove(&id);
        bench.relay.lost(id, bench.now);
        bench.settle();
        assert_eq!(told(&bench.outcomes(ticket)), ["delivered", "delivered"], "{offers:?}");
        assert_eq!(bench.kept().len(), 1);
        assert_eq!(bench.wire().matches("TRANSOFF=0\r\n").count(), 2);
    }
}

// The same address is asked, when it is back, and no other one gets the message meanwhile.
#[test]
fn a_next_hop_that_is_away_is_asked_when_it_is_back() {
    for (away, expected) in [
        (HOP_RESUME_PATIENCE - Duration::from_secs(5), "delivered"),
        (HOP_RESUME_PATIENCE + Duration::from_secs(1), UNKNOWN),
    ] {
        let servers = vec![
            offering(Protocol::Lmtp, &["RESUME"], &["slow*=late:1000", "@end=close"]),
            offering(Protocol::Lmtp, &["RESUME"], &[]),
        ];
        let mut bench = Bench::new(servers);
        let ticket = bench.start(&["slow"], &hello());
        bench.servers[0].reach = Reach::Refuses;
        // The message is taken, and the connection lost.
        bench.run_for(Duration::from_secs(1));
        assert_eq!(bench.servers[0].kept.count(), 1);
        let lost_at = bench.now;
        bench.run_for(away);
        bench.servers[0].reach = Reach::Answers;
        assert_eq!(told(&bench.outcomes(ticket)), [expected]);
        if expected == UNKNOWN {
            assert_eq!(bench.now, lost_at + away, "it was known before it came back");
        }
        assert_eq!((bench.servers[0].kept.count(), bench.servers[1].kept.count()), (1, 0));
        // Other mail goes on meanwhile and after.
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    }
}

// One that takes the message and is lost, again and again, is not asked without end.
#[test]
fn a_next_hop_that_is_lost_each_time_is_left_in_time() {
    let misdeed = ["@end=close", "@resume=close"];
    let mut bench = bench(Protocol::Smtp, &[], &misdeed);
    let began = bench.now;
    assert_eq!(told(&bench.deliver(&["ok", "ok2"], &hello())), [UNKNOWN; 2]);
    assert_eq!(bench.now, began + HOP_RESUME_PATIENCE);
    assert!(bench.connects.len() < 130, "{}", bench.connects.len());
    assert_eq!(bench.kept().len(), 1);
}

// What is no answer to RESUME leaves it unknown; one that knows nothing has the message sent again,
// and that once.
#[test]
fn a_next_hop_that_does_not_know_what_it_has_taken_gets_it_twice_at_most() {
    for (resume, taken) in [
        ("say:502 5.5.1 what", 1),
        ("say:421 4.3.2 closing", 1),
        ("say:250 2.0.0 fine", 1),
        ("say:355 what", 1),
        ("say:355 41 octets\\r\\n250 surplus", 1),
        ("say:355 0 octets", 2),
        ("say:355 1 octet", 2),
    ] {
        let line = format!("@resume={resume}");
        let mut bench = bench(Protocol::Smtp, &[], &["@end=close", &line]);
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), [UNKNOWN], "{resume}");
        assert_eq!(bench.kept().len(), taken, "{resume}");
    }
}

// An offset that was told, and that MAIL then does not get: whatever happened, it is not sent again.
#[test]
fn a_resume_that_is_refused_leaves_it_unknown() {
    let octets = hello().body.content_octets() + b"Received: x\r\n".len() as u64;
    for offers in [&["-PIPELINING"][..], &[]] {
        let line = format!("@resume=say:355 {octets} octets");
        let mut bench = bench(Protocol::Lmtp, offers, &[&line]);
        bench.earlier = earlier(&[("a-1", octets)]);
        assert_eq!(told(&bench.deliver(&["ok", "ok2"], &hello())), [UNASKED; 2]);
        assert!(bench.kept().is_empty());
        assert_eq!(bench.relay.connections(), 1, "the connection is in step");
    }
}

// Checkpoint 5, «crash between (2) and (3)»: what an earlier run has handed on is asked for before it
// is handed on again.
#[test]
fn what_an_earlier_run_has_handed_on_is_asked_for_first() {
    let octets = hello().body.content_octets() + b"Received: x\r\n".len() as u64;
    for (protocol, offers) in FORMS {
        for names in GROUPS {
            let first =
                Bench::new(vec![offering(protocol, &[&["RESUME"], offers].concat(), &LINES)]);
            let mut first = first;
            let expected = told(&first.deliver(names, &hello()));
            let delivered = first.kept().len();
            for (octets_then, sent_again) in [(octets, 0), (octets + 1, 1)] {
                let mut second = bench(protocol, offers, &[]);
                second.servers[0].kept = first.servers[0].kept.clone();
                second.earlier = earlier(&[("a-1", octets_then)]);
                second.name = "a-2".to_owned();
                let before = first.servers[0].kept.count();
                // The lines of the message may be others now: those that count are in the record.
                let shown = format!("{protocol:?} {offers:?} {names:?} {octets_then}");
                assert_eq!(told(&second.deliver(names, &hello())), expected, "{shown}");
                let again = second.kept().len() - before;
                assert_eq!(again, sent_again * delivered, "{shown}");
            }
        }
    }
    // One that has never heard of it gets it; so does one that does not offer RESUME, and may have it.
    for (offers, expected) in [(&["RESUME"][..], "delivered"), (&[], "repeated")] {
        let mut bench = Bench::new(vec![offering(Protocol::Lmtp, offers, &[])]);
        bench.earlier = earlier(&[("a-0", octets)]);
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), [expected]);
        assert_eq!(bench.kept().len(), 1);
    }
    // One that cannot be reached may still have it.
    let mut bench = bench(Protocol::Lmtp, &[], &[]);
    bench.servers[0].reach = Reach::Refuses;
    bench.earlier = earlier(&[("a-0", octets)]);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), [UNASKED]);
}

/// A message that is so many octets longer than another, and its octets as next hops count them.
fn longer(by: usize) -> (Message, u64) {
    let message = message(format!("Subject: hello\r\n\r\n{}\r\n", "x".repeat(by)).as_bytes());
    let octets = message.body.content_octets() + b"Received: x\r\n".len() as u64;
    (message, octets)
}

// Checkpoint 5: two runs have died one after the other, and their copies are not equally long. Whichever the
// next hop has, it is found by its own name; and each run's own name is none of an earlier one.
#[test]
fn each_of_several_earlier_runs_is_asked_for() {
    let runs = ["a-0", "a-1", "a-2"];
    let lengths: Vec<u64> = (0..3).map(|run| longer(run).1).collect();
    let sendings: Vec<(&str, u64)> = runs.into_iter().zip(lengths).collect();
    for had in [None, Some(0), Some(1), Some(2)] {
        for (protocol, offers) in FORMS {
            let mut bench = bench(protocol, offers, &[]);
            if let Some(run) = had {
                bench.name = runs[run].to_owned();
                bench.deliver(&["ok", "ok2"], &longer(run).0);
            }
            (bench.name, bench.earlier) = ("a-3".to_owned(), earlier(&sendings));
            let outcomes = bench.deliver(&["ok", "ok2"], &longer(3).0);
            assert_eq!(told(&outcomes), ["delivered", "delivered"], "{had:?} {offers:?}");
            assert_eq!(bench.kept().len(), 1, "{had:?} {offers:?}");
            let asked = bench.wire().matches("RESUME <").count();
            assert_eq!(asked, had.map_or(3, |run| run + 1), "{had:?} {offers:?}");
        }
    }
}

/// Who has the message, who can be reached, who offers RESUME; what comes of it, and how many copies there are.
type Case = (usize, [Reach; 2], [bool; 2], &'static str, usize);

// RFC 1845: the server that was asked first is asked first again, and not waited for if it is away; another
// one begins anew. Each that can be reached is asked, and what may then be a second copy is told as such.
#[test]
fn all_next_hops_of_a_route_that_can_be_reached_are_asked() {
    use Reach::{Answers, Refuses};
    let (message, octets) = longer(1);
    let table: [Case; 8] = [
        (0, [Answers, Answers], [true, true], "delivered", 1),
        (1, [Answers, Answers], [true, true], "delivered", 1),
        (0, [Refuses, Answers], [true, true], "repeated", 2),
        (1, [Answers, Refuses], [true, true], "repeated", 2),
        (1, [Refuses, Answers], [true, true], "delivered", 1),
        (0, [Refuses, Refuses], [true, true], UNASKED, 1),
        (1, [Answers, Answers], [false, true], "delivered", 1),
        (0, [Answers, Answers], [false, true], "repeated", 2),
    ];
    for (who, reach, resume, expected, copies) in table {
        let offers = |resume| if resume { &["RESUME"][..] } else { &[] };
        let server = |place: usize| offering(Protocol::Lmtp, offers(resume[place]), &[]);
        let mut bench = Bench::new(vec![server(0), server(1)]);
        let other = &mut bench.servers[1 - who];
        other.reach = Refuses;
        bench.deliver(&["ok"], &message);
        assert_eq!(bench.servers[who].kept.count(), 1);
        // Another process begins, and knows nothing of who can be reached.
        let mut again = Bench::new(vec![server(0), server(1)]);
        for (place, server) in again.servers.iter_mut().enumerate() {
            server.kept = bench.servers[place].kept.clone();
            server.reach = reach[place];
        }
        (again.name, again.earlier) = ("a-2".to_owned(), earlier(&[("a-1", octets)]));
        let shown = format!("{who} has it, {reach:?}, {resume:?}");
        assert_eq!(told(&again.deliver(&["ok"], &longer(2).0)), [expected], "{shown}");
        let kept = again.servers.iter().map(|server| server.kept.count()).sum::<usize>();
        assert_eq!(kept, copies, "{shown}");
    }
}

// One that is lost while it is asked is away; what another then puts off stays in doubt.
#[test]
fn what_could_not_be_asked_everywhere_stays_in_doubt_if_it_is_put_off() {
    let (message, octets) = longer(1);
    for (name, expected) in
        [("ok", "repeated"), ("busy", "unasked 450 4.2.0"), ("bad", "554 5.7.1")]
    {
        let lost = offering(Protocol::Lmtp, &["RESUME"], &["@resume=close"]);
        let other = offering(Protocol::Lmtp, &["RESUME"], &LINES);
        let mut bench = Bench::new(vec![lost, other]);
        bench.earlier = earlier(&[("a-0", octets)]);
        assert_eq!(told(&bench.deliver(&[name], &message)), [expected]);
    }
}

// RFC 9422 4.2: a next hop that takes so many recipients a transaction is asked for each of those.
#[test]
fn each_transaction_of_a_message_is_asked_for() {
    let names = ["ok", "ok2", "busy", "ok3", "gone"];
    for limit in 1..=5 {
        let limits = format!("LIMITS RCPTMAX={limit}");
        let mut bench = bench(Protocol::Lmtp, &[&limits], &[]);
        let (message, octets) = longer(1);
        let first = told(&bench.deliver(&names, &message));
        let kept = bench.kept().len();
        bench.earlier = earlier(&[("a-0", 1), ("a-1", octets)]);
        bench.name = "a-2".to_owned();
        assert_eq!(told(&bench.deliver(&names, &longer(2).0)), first, "{limit}");
        assert_eq!(bench.kept().len(), kept, "{limit}");
    }
}
