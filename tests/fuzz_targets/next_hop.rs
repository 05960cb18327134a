//! What a next hop says, to the relay's own side of the connection: each recipient has one outcome, in
//! time, that a client can be told; nothing is left over, and nothing unclean leaves.

use super::Cuts;
use super::replies::check_form;
use memchr::memmem;
use postern::ledger::Secret;
use postern::now::Tick;
use postern::policy::{ClassId, RouteId};
use postern::relay::{
    Address, Earlier, Envelope, HopId, NextHop, Outcome, Plan, Probe, Protocol, Recipient, Relay,
    RelayEffect, Route, Routes, Ticket, Verification, Verify,
};
use postern::wire::{Body, BodyBuilder, Budget, Reply};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// In the stream: the connection made last is lost.
const LOST: u8 = 0xFF;

/// In the stream: a second passes.
const SECOND: u8 = 0xFE;

/// The first octet chooses what is handed on, and how; the others are what next hops say, each to the
/// connection that was made last.
pub fn check(octets: &[u8], cuts: Cuts) {
    let Some((choice, octets)) = octets.split_first() else { return };
    cuts.agree(octets, |pieces| {
        let mut world = World::new(*choice);
        for piece in pieces {
            for part in piece.split_inclusive(|octet| matches!(*octet, LOST | SECOND)) {
                world.hears(part);
            }
        }
        world.ends()
    });
}

struct World {
    relay: Relay,
    now: Tick,
    recipients: usize,
    last: Option<HopId>,
    sent: BTreeMap<HopId, Vec<u8>>,
    done: Option<Vec<(usize, Outcome)>>,
    verified: Option<Verification>,
    refuses: bool,
}

impl World {
    fn new(choice: u8) -> World {
        let has = |bit: u8| choice >> bit & 1 == 1;
        let protocol = if has(0) { Protocol::Lmtp } else { Protocol::Smtp };
        let address = |port| Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        let to = NextHop::Server { protocol, addresses: vec![address(1), address(2)] };
        let route =
            Route { verify: Verify::Callahead, xclient: has(1), ..Route::new("next-hop", to) };
        let routes = Routes { routes: vec![route], hostname: "mx.example.net".to_owned() };
        let recipients = 1 + usize::from(choice >> 2 & 3);
        let mut world = World {
            relay: Relay::new(Arc::new(routes)),
            now: Tick::START,
            recipients,
            last: None,
            sent: BTreeMap::new(),
            done: None,
            verified: None,
            refuses: false,
        };
        let plan = plan(recipients, body(has(4)), has(5).then_some(EARLIER_OCTETS));
        world.relay.start(Ticket(1), plan, world.now);
        if has(6) {
            let recipient = b"asked@example.net".as_slice().into();
            let probe = Probe { route: RouteId::at(0), recipient, smtputf8: false };
            world.relay.verify(Ticket(2), probe, world.now);
        } else {
            world.verified = Some(Verification::Accepted);
        }
        world.settle();
        world
    }

    /// Octets of a next hop, with an event behind them or not.
    fn hears(&mut self, part: &[u8]) {
        let (said, event) = match part.split_last() {
            Some((&event @ (LOST | SECOND), said)) => (said, Some(event)),
            _ => (part, None),
        };
        if let Some(id) = self.last.filter(|_| !said.is_empty()) {
            self.relay.receive(id, said, self.now);
            self.settle();
        }
        match (event, self.last) {
            (Some(LOST), Some(id)) => self.relay.lost(id, self.now),
            (Some(SECOND), _) => self.pass(Duration::from_secs(1)),
            _ => {}
        }
        self.settle();
    }

    /// Nothing more is said. Returns only what does not depend on how the octets came.
    fn ends(mut self) -> usize {
        self.pass(Duration::from_secs(480));
        let outcomes = self.done.take().expect("every plan is answered within eight minutes");
        assert!(self.verified.is_some(), "a question is answered");
        assert_eq!(self.relay.plans_open(), 0);
        let mut places: Vec<usize> = outcomes.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        assert_eq!(places, (0..self.recipients).collect::<Vec<_>>());
        for (_, outcome) in &outcomes {
            if let Outcome::Failed(reply) | Outcome::Unknown(reply) | Outcome::Unasked(reply) =
                outcome
            {
                check_refusal(reply);
            }
        }
        if let Some(Verification::Refused(reply)) = &self.verified {
            check_refusal(reply);
        }
        for octets in self.sent.values() {
            check_sent(octets);
        }
        // Those that still try whether somebody is there are refused.
        self.refuses = true;
        self.pass(Duration::from_secs(600));
        assert_eq!(self.relay.connections(), 0);
        outcomes.len()
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(due) = self.relay.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.relay.timed_out(self.now);
            self.settle();
        }
        self.now = until;
    }

    fn settle(&mut self) {
        while let Some(effect) = self.relay.poll_effect() {
            match effect {
                RelayEffect::Connect(id, _) if self.refuses => self.relay.lost(id, self.now),
                RelayEffect::Connect(id, _) => {
                    self.last = Some(id);
                    self.relay.connected(id, self.now);
                }
                RelayEffect::Send(id, output) => {
                    let sent = self.sent.entry(id).or_default();
                    output.slices().for_each(|slice| sent.extend_from_slice(slice));
                    self.relay.sent(id, 0, self.now);
                }
                RelayEffect::Close(_) | RelayEffect::Abort(_) => {}
                RelayEffect::Done(_, outcomes) => {
                    assert!(self.done.replace(outcomes).is_none(), "a plan is answered once");
                }
                RelayEffect::Verified(_, verification) => {
                    let before = self.verified.replace(verification);
                    assert!(before.is_none(), "a question is answered once");
                }
                RelayEffect::StartTls(_) | RelayEffect::Store(_) => panic!("not in this world"),
            }
        }
    }
}

const CONTENT: &[u8] = b"Subject: x\r\n\r\nx\r\n";
const TRACE: &[u8] = b"Received: x\r\n";
const EARLIER_OCTETS: u64 = (CONTENT.len() + TRACE.len()) as u64;

fn body(plain: bool) -> Arc<Body> {
    let budget = Budget::new(1 << 20);
    let mut builder = match plain {
        true => BodyBuilder::plain(&budget),
        false => BodyBuilder::new(&budget),
    };
    builder.push(CONTENT, false).expect("there is room");
    builder.finish()
}

fn plan(recipients: usize, body: Arc<Body>, earlier: Option<u64>) -> Plan {
    let recipient = |number| Recipient {
        address: format!("r{number}@example.net").into_bytes().into(),
        notify: None,
        orcpt: None,
        class: ClassId::at(0),
        route: RouteId::at(0),
    };
    let envelope =
        Envelope { recipients: (0..recipients).map(recipient).collect(), ..Envelope::default() };
    let named = |octets| Earlier { naming: Secret::new([7; 32]).naming("a-0"), octets };
    let earlier: Vec<Earlier> = earlier.into_iter().map(named).collect();
    let mut plan = Plan::new("a-1".to_owned(), Arc::new(envelope), body);
    for place in 0..recipients {
        plan.add(place, RouteId::at(0), TRACE, None, earlier.clone());
    }
    plan.naming = Some(Secret::new([7; 32]).naming("a-1"));
    plan
}

/// What a client is told is a refusal, in good form.
fn check_refusal(reply: &Reply) {
    let mut octets = Vec::new();
    reply.render(&mut octets);
    let [code] = check_form(&octets)[..] else { panic!("{}", octets.escape_ascii()) };
    assert!((400..600).contains(&code) && code != 421, "{code} is told to the client");
}

/// Lines end with CRLF, whatever was heard.
fn check_sent(octets: &[u8]) {
    let pairs = memmem::find_iter(octets, b"\r\n").count();
    let count = |octet| memchr::memchr_iter(octet, octets).count();
    assert_eq!((count(b'\r'), count(b'\n')), (pairs, pairs), "{}", octets.escape_ascii());
}
