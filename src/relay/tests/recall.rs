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
        bench.earlier_octets = Some(octets);
        assert_eq!(told(&bench.deliver(&["ok", "ok2"], &hello())), [UNKNOWN; 2]);
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
            for (earlier, sent_again) in [(octets, 0), (octets + 1, 1)] {
                let mut second = bench(protocol, offers, &[]);
                second.servers[0].kept = first.servers[0].kept.clone();
                second.earlier_octets = Some(earlier);
                let before = first.servers[0].kept.count();
                // The lines of the message may be others now: those that count are in the record.
                let shown = format!("{protocol:?} {offers:?} {names:?} {earlier}");
                assert_eq!(told(&second.deliver(names, &hello())), expected, "{shown}");
                let again = second.kept().len() - before;
                assert_eq!(again, sent_again * delivered, "{shown}");
            }
        }
    }
    // One that has never heard of it, or does not offer RESUME, gets it.
    for offers in [&["RESUME"][..], &[]] {
        let mut bench = Bench::new(vec![offering(Protocol::Lmtp, offers, &[])]);
        bench.earlier_octets = Some(octets);
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
        assert_eq!(bench.kept().len(), 1);
    }
    // One that cannot be reached may still have it.
    let mut bench = bench(Protocol::Lmtp, &[], &[]);
    bench.servers[0].reach = Reach::Refuses;
    bench.earlier_octets = Some(octets);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), [UNKNOWN]);
}
