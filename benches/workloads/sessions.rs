//! Whole sessions without IO: greeting, envelope, content with its scan, plan, reply set.
//!
//! What 50 recipients cost more than one is their envelope and their replies; a second scan for each
//! of them would show at once.

use super::{LITERALS, Size, WORDS, Workload};
use crate::lone_session::{Installation, NOW};
use postern::relay::Outcome;
use postern::session::{Answer, Ask, Effect, Session};
use std::hint::black_box;

pub fn workloads() -> Vec<Workload> {
    let table = [(1, 4), (50, 4), (1, 64), (50, 64)];
    let workload = |(recipients, kib): (usize, usize)| Workload {
        group: "session, LMTP, 200 literals",
        name: format!("{kib} KiB for {recipients}"),
        size: Size::Octets(kib * 1024),
        prepare: Box::new(move || {
            let installation = Installation::new(&configuration());
            let octets = octets(recipients, kib * 1024);
            Box::new(move || {
                let mut session = installation.session(0);
                let mut sent = Sent::default();
                for read in octets.chunks(16 * 1024) {
                    session.receive(black_box(read), NOW);
                    drain(&mut session, &mut sent);
                }
                assert_eq!((sent.plans, session.is_over()), (1, false));
                black_box(sent);
            })
        }),
    };
    table.into_iter().map(workload).collect()
}

#[derive(Default)]
struct Sent {
    octets: usize,
    plans: usize,
}

/// Does what a driver does, with a relay that delivers at once.
fn drain(session: &mut Session, sent: &mut Sent) {
    while let Some(effect) = session.poll_effect() {
        match effect {
            Effect::Send(octets) => {
                sent.octets += octets.len();
                session.sent(octets.len(), NOW);
            }
            Effect::Ask(Ask::Relay(plan)) => {
                sent.plans += 1;
                let recipients = plan.groups.iter().flat_map(|group| &group.recipients);
                let outcomes = recipients.map(|at| (*at, Outcome::Delivered)).collect();
                session.answered(Answer::Relayed(outcomes), NOW);
            }
            effect => drop(black_box(effect)),
        }
    }
}

/// What a client writes for one message of so many octets.
fn octets(recipients: usize, content: usize) -> Vec<u8> {
    let mut octets = b"LHLO client.example\r\nMAIL FROM:<a@client.example>\r\n".to_vec();
    for number in 0..recipients {
        octets.extend(format!("RCPT TO:<user{number}@example.net>\r\n").bytes());
    }
    octets.extend_from_slice(b"DATA\r\n");
    let head = "Subject: the minutes\r\n\r\n";
    let text = WORDS.repeat(content.div_ceil(WORDS.len()));
    octets.extend_from_slice(&[head, &text].concat().as_bytes()[..content - 2]);
    octets.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
    octets
}

fn configuration() -> String {
    let literals: Vec<&str> = LITERALS.lines().collect();
    format!(
        "[listen.filter]\naddress = \"127.0.0.1:1\"\nprotocol = \"lmtp\"\n\
         [route.mail]\nto = \"lmtp://127.0.0.1:2\"\n\
         [domain.\"example.net\"]\nroute = \"mail\"\nrecipients = \"any\"\n\
         [rule.list]\nliterals = {literals:?}\nin = [\"raw\", \"subject\", \"text\"]\ntag = \"list\"\n"
    )
}
