//! The relay with next hops in memory: sinks, on a clock that only moves when nothing is left to do.

mod faults;
mod health;
mod offers;
mod questions;
mod recall;
mod sealed;

use super::*;
use crate::ledger::{Naming, Secret};
use crate::now::Tick;
use crate::policy::{ClassId, RouteId};
use crate::tls::{ClientTls, HopTrust, TlsFacts};
use crate::tools::sink::{Kept, KeptMessage, Script, SinkEffect, SinkSession};
use crate::wire::{Body, BodyBuilder, BodyKind, Budget, Output, Reply};
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A relay and all that is behind it.
struct Bench {
    relay: Relay,
    now: Tick,
    servers: Vec<Server>,
    lines: BTreeMap<HopId, Line>,
    /// All that the relay has sent, connection by connection, in the order of connecting.
    sent: Vec<Vec<u8>>,
    /// Replies arrive in pieces of so many octets.
    cut: usize,
    /// Bodies are taken as far as that, and no further.
    taken_max: usize,
    plans: u64,
    /// The id of what is handed on.
    name: String,
    done: BTreeMap<Ticket, Vec<(usize, Outcome)>>,
    verified: BTreeMap<Ticket, Verification>,
    /// When connections were asked for.
    connects: Vec<Tick>,
    /// The connection that was made last to a next hop for which a test speaks.
    by_hand: Option<HopId>,
    /// Handshakes fail.
    tls_fails: bool,
    /// TLS comes before the banner.
    begins_sealed: bool,
    /// Next hops may have what is handed on from earlier runs.
    earlier: Vec<Earlier>,
}

/// A next hop.
struct Server {
    address: Address,
    protocol: Protocol,
    script: Arc<Script>,
    kept: Kept,
    reach: Reach,
}

/// What becomes of a connection to a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Answers,
    Refuses,
    /// Nothing ever comes back.
    Silent,
    /// It stands, and a test says what comes back.
    ByHand,
}

/// A connection.
struct Line {
    /// Its place in [`Bench::sent`].
    place: usize,
    session: SinkSession,
    waits: BTreeSet<Tick>,
}

fn route_of(local_part: &str) -> RouteId {
    RouteId(u16::from(local_part.starts_with("other")))
}

fn address(port: u16) -> Address {
    Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A server that does as scripted.
fn server(protocol: Protocol, script: &[&str]) -> Server {
    offering(protocol, &[], script)
}

/// A server that offers these extensions beside the usual ones; `-X` takes one away.
fn offering(protocol: Protocol, offers: &[&str], lines: &[&str]) -> Server {
    let mut script = Script::default();
    lines.iter().for_each(|line| script.add(line).unwrap());
    for offer in offers {
        match offer.strip_prefix('-') {
            Some(keyword) => script.offers.remove(keyword),
            None => script.offers.add(offer).unwrap(),
        }
    }
    Server {
        address: address(0),
        protocol,
        script: Arc::new(script),
        kept: Kept::default(),
        reach: Reach::Answers,
    }
}

fn naming(id: &str) -> Naming {
    Secret::new([7; 32]).naming(id)
}

/// Transactions of so many octets, by these ids.
fn earlier(sendings: &[(&str, u64)]) -> Vec<Earlier> {
    sendings.iter().map(|(id, octets)| Earlier { naming: naming(id), octets: *octets }).collect()
}

fn some_tls() -> Arc<ClientTls> {
    let tls = ClientTls::from_pem("mx.example.net", HopTrust::Anybody, None, 0);
    Arc::new(tls.expect("a name and no files"))
}

impl Bench {
    /// A relay with one route to these servers, the first of which is preferred.
    fn new(servers: Vec<Server>) -> Bench {
        Bench::with(servers, |_| {})
    }

    fn with(servers: Vec<Server>, change: impl FnOnce(&mut Route)) -> Bench {
        let mut bench = Bench::of(vec![servers]);
        let mut routes = (*bench.relay.routes).clone();
        change(&mut routes.routes[0]);
        bench.begins_sealed = matches!(routes.routes[0].tls, HopTls::Implicit(_));
        bench.relay = Relay::new(Arc::new(routes));
        bench
    }

    /// A relay with several routes.
    fn of(routes: Vec<Vec<Server>>) -> Bench {
        let mut servers = Vec::new();
        let mut route = |its: Vec<Server>| {
            let protocol = its[0].protocol;
            let first = servers.len();
            for mut server in its {
                server.address = address(1 + servers.len() as u16);
                servers.push(server);
            }
            let addresses = servers[first..].iter().map(|server| server.address.clone());
            let to = NextHop::Server { protocol, addresses: addresses.collect() };
            Route::new("next-hop", to)
        };
        let routes = routes.into_iter().map(&mut route).collect();
        let routes = Routes { routes, hostname: "mx.example.net".to_owned() };
        Bench {
            relay: Relay::new(Arc::new(routes)),
            now: Tick::START,
            servers,
            lines: BTreeMap::new(),
            sent: Vec::new(),
            cut: usize::MAX,
            taken_max: usize::MAX,
            plans: 0,
            name: "a-1".to_owned(),
            done: BTreeMap::new(),
            verified: BTreeMap::new(),
            connects: Vec::new(),
            by_hand: None,
            tls_fails: false,
            begins_sealed: false,
            earlier: Vec::new(),
        }
    }

    fn standing(&self) -> Standing {
        self.relay.board().standing(RouteId(0))
    }

    /// Hands on a message for these local-parts; `other...` go by the second route.
    fn start(&mut self, local_parts: &[&str], message: &Message) -> Ticket {
        let recipients = local_parts.iter().map(|local_part| Recipient {
            address: format!("{local_part}@example.net").into_bytes().into(),
            notify: message.notify,
            orcpt: message.orcpt.map(|orcpt| orcpt.as_bytes().into()),
            class: ClassId(0),
            route: route_of(local_part),
        });
        let envelope = Envelope { recipients: recipients.collect(), ..message.envelope.clone() };
        let mut plan = Plan::new("a-1".to_owned(), Arc::new(envelope), Arc::clone(&message.body));
        for (recipient, local_part) in local_parts.iter().enumerate() {
            let route = route_of(local_part);
            plan.add(recipient, route, b"Received: x\r\n", None, self.earlier.clone());
        }
        plan.naming = Some(naming(&self.name));
        self.plans += 1;
        let ticket = Ticket(self.plans);
        self.relay.start(ticket, plan, self.now);
        self.settle();
        ticket
    }

    /// Hands on a message and lets time pass until it is known what became of it.
    fn deliver(&mut self, local_parts: &[&str], message: &Message) -> Vec<Outcome> {
        let ticket = self.start(local_parts, message);
        self.outcomes(ticket)
    }

    /// Lets time pass until it is known what became of a message, for each recipient.
    fn outcomes(&mut self, ticket: Ticket) -> Vec<Outcome> {
        let until = self.now + Duration::from_secs(600);
        while !self.done.contains_key(&ticket) {
            assert!(self.step(until), "no outcome within ten minutes");
        }
        let mut outcomes = self.done.remove(&ticket).unwrap_or_default();
        outcomes.sort_by_key(|(recipient, _)| *recipient);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn ask(&mut self, local_part: &str) -> Ticket {
        self.plans += 1;
        let ticket = Ticket(self.plans);
        let recipient = format!("{local_part}@example.net").into_bytes().into();
        let probe = Probe { route: RouteId(0), recipient, smtputf8: !local_part.is_ascii() };
        self.relay.verify(ticket, probe, self.now);
        self.settle();
        ticket
    }

    /// Asks about a recipient and lets time pass until there is an answer.
    fn verify(&mut self, local_part: &str) -> Verification {
        let ticket = self.ask(local_part);
        let until = self.now + Duration::from_secs(600);
        while !self.verified.contains_key(&ticket) {
            assert!(self.step(until), "no answer within ten minutes");
        }
        self.verified.remove(&ticket).expect("it was waited for")
    }

    /// Lets time pass.
    fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = until;
    }

    /// Does what is due next, if it is due by `until`. False if nothing was.
    fn step(&mut self, until: Tick) -> bool {
        let waits = self.lines.values().filter_map(|line| line.waits.first().copied());
        let next = waits.chain(self.relay.deadline()).min();
        let Some(due) = next.filter(|due| *due <= until) else { return false };
        self.now = self.now.max(due);
        self.relay.timed_out(self.now);
        let mut awake = Vec::new();
        for (id, line) in &mut self.lines {
            if line.waits.remove(&due) {
                awake.push(*id);
            }
        }
        for id in awake {
            if let Some(line) = self.lines.get_mut(&id) {
                line.session.resume();
            }
            self.answer(id);
        }
        self.settle();
        true
    }

    /// Carries out what the relay wants, until it wants nothing more.
    fn settle(&mut self) {
        while let Some(effect) = self.relay.poll_effect() {
            match effect {
                RelayEffect::Connect(id, address) => self.connect(id, &address),
                RelayEffect::Send(id, output) => self.send(id, &output),
                RelayEffect::StartTls(id) => self.start_tls(id),
                RelayEffect::Close(id) | RelayEffect::Abort(id) => _ = self.lines.remove(&id),
                RelayEffect::Store(job) => panic!("no route leads to a store: {job:?}"),
                RelayEffect::Done(ticket, outcomes) => {
                    let before = self.done.insert(ticket, outcomes);
                    assert!(before.is_none(), "a plan is answered once");
                }
                RelayEffect::Verified(ticket, verification) => {
                    let before = self.verified.insert(ticket, verification);
                    assert!(before.is_none(), "a question is answered once");
                }
            }
        }
    }

    fn connect(&mut self, id: HopId, address: &Address) {
        self.connects.push(self.now);
        let found = self.servers.iter().position(|server| server.address == *address);
        let index = found.expect("the relay connects to its routes");
        let server = &self.servers[index];
        match server.reach {
            Reach::Refuses => self.relay.lost(id, self.now),
            Reach::Silent => {}
            Reach::ByHand => {
                self.by_hand = Some(id);
                self.relay.connected(id, self.now);
            }
            Reach::Answers => {
                let (script, kept) = (Arc::clone(&server.script), server.kept.clone());
                let session = SinkSession::new(server.protocol, script, kept);
                let (place, waits) = (self.sent.len(), BTreeSet::new());
                self.sent.push(Vec::new());
                self.lines.insert(id, Line { place, session, waits });
                self.relay.connected(id, self.now);
                if !self.begins_sealed {
                    self.answer(id);
                }
            }
        }
    }

    fn send(&mut self, id: HopId, output: &Output) {
        let octets: Vec<u8> = output.slices().flatten().copied().collect();
        assert_eq!(octets.len() as u64, output.octets(), "an output knows its length");
        let Some(line) = self.lines.get_mut(&id) else { return };
        let taken = octets.len().min(self.taken_max);
        self.sent[line.place].extend_from_slice(&octets[..taken]);
        line.session.receive(&octets[..taken]);
        self.relay.sent(id, (octets.len() - taken) as u64, self.now);
        self.answer(id);
    }

    fn start_tls(&mut self, id: HopId) {
        if self.tls_fails {
            self.lines.remove(&id);
            return self.relay.tls_failed(id, "TLS failed: of a test", self.now);
        }
        let Some(line) = self.lines.get_mut(&id) else { return };
        let place = line.place;
        self.sent[place].extend_from_slice(b"<TLS>\r\n");
        line.session.secured();
        self.relay.secured(id, &TlsFacts::default(), self.now);
        self.answer(id);
    }

    /// What a sink has to say reaches the relay.
    fn answer(&mut self, id: HopId) {
        loop {
            let effect = self.lines.get_mut(&id).and_then(|line| line.session.poll_effect());
            match effect {
                None => return,
                Some(SinkEffect::Send(octets)) => {
                    for piece in octets.chunks(self.cut.min(octets.len())) {
                        self.relay.receive(id, piece, self.now);
                    }
                }
                // The relay begins it when it has read the reply.
                Some(SinkEffect::StartTls(_)) => {}
                Some(SinkEffect::Wait(span)) => {
                    let due = self.now + span;
                    self.lines.get_mut(&id).expect("it was just there").waits.insert(due);
                }
                Some(SinkEffect::Close) => {
                    self.lines.remove(&id);
                    self.relay.lost(id, self.now);
                }
            }
        }
    }

    /// The messages that the first server has taken.
    fn kept(&self) -> Vec<KeptMessage> {
        self.servers[0].kept.messages()
    }

    /// All that was sent, as text.
    fn wire(&self) -> String {
        String::from_utf8_lossy(&self.sent.concat()).into_owned()
    }

    /// The connection that was made last.
    fn last_line(&self) -> HopId {
        *self.lines.keys().max_by_key(|id| id.number).expect("there is a connection")
    }
}

/// A message that is to be handed on.
struct Message {
    envelope: Envelope,
    body: Arc<Body>,
    notify: Option<crate::wire::Notify>,
    orcpt: Option<&'static str>,
}

/// A message that came by DATA. Its lines have no dots to be stuffed.
fn message(content: &[u8]) -> Message {
    let mut builder = BodyBuilder::new(&Budget::new(1 << 30));
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        let stuffed = line.starts_with(b".");
        let wire = [if stuffed { &b"."[..] } else { b"" }, line].concat();
        builder.push(&wire, stuffed).unwrap();
    }
    Message { envelope: envelope(), body: builder.finish(), notify: None, orcpt: None }
}

/// A message that came by BDAT.
fn plain_message(content: &[u8]) -> Message {
    let mut builder = BodyBuilder::plain(&Budget::new(1 << 30));
    builder.push(content, false).unwrap();
    Message { envelope: envelope(), body: builder.finish(), notify: None, orcpt: None }
}

fn envelope() -> Envelope {
    Envelope { reverse_path: b"a@client.example".as_slice().into(), ..Envelope::default() }
}

impl Message {
    fn with(mut self, change: impl FnOnce(&mut Envelope)) -> Message {
        change(&mut self.envelope);
        self
    }
}

fn hello() -> Message {
    message(b"Subject: hello\r\n\r\ntext\r\n")
}

/// Outcomes in short: `delivered`, `451 4.4.1`, `unknown 451 4.4.1`.
fn told(outcomes: &[Outcome]) -> Vec<String> {
    let codes = |reply: &Reply| {
        let text = reply.to_string();
        text.split(' ').take(2).collect::<Vec<_>>().join(" ")
    };
    let told = |outcome: &Outcome| match outcome {
        Outcome::Delivered => "delivered".to_owned(),
        Outcome::Failed(reply) => codes(reply),
        Outcome::Repeated => "repeated".to_owned(),
        Outcome::Unknown(reply) => format!("unknown {}", codes(reply)),
        Outcome::Unasked(reply) => format!("unasked {}", codes(reply)),
    };
    outcomes.iter().map(told).collect()
}

const DOWN: &str = "451 4.4.1";
const UNKNOWN: &str = "unknown 451 4.4.1";
const UNASKED: &str = "unasked 451 4.4.1";
