//! Clients that send mail in a world of faults, and an oracle that counts what became of it.
//!
//! One seed draws everything: who sends what to whom, over which protocol, what is lost where. The
//! oracle knows every message that was handed in and holds the gateway to its promise: a 2xx is one
//! delivery, a refusal is none.

use super::world::{ClientId, Faults, Question, Sink, World};
use crate::limits::VERIFY_TIMEOUT;
use crate::policy::{
    Action, Class, ClassId, Domain, Line, LocalParts, Place, Policy, Recipients, RouteId, When,
};
use crate::relay::{
    Address, HopTls, NextHop, Probe, Protocol, Route, Routes, Verification, Verify,
};
use crate::scan::{RuleSpec, Rules, Score, Surface, Tags};
use crate::session::{Gone, Listener, Mixed, Tables};
use crate::tls::{ClientTls, HopTrust};
use crate::tools::sink::{Kept, Script, SinkOffers};
use crate::wire::replies;
use core::net::{IpAddr, SocketAddr};
use fastrand::Rng;
use std::sync::Arc;
use std::time::Duration;

/// What a scenario has shown.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Messages whose end mark was written.
    pub messages: usize,
    /// Recipients that were told 2xx.
    pub accepted: usize,
    /// Recipients that were told 4xx or 5xx after the end mark.
    pub refused: usize,
    /// Recipients whose reply was lost with the connection.
    pub unknown: usize,
    /// Questions about recipients that a next hop has answered.
    pub answered: usize,
    /// Broken promises, in words; none is what is wanted.
    pub violations: Vec<String>,
}

/// Runs the scenario of one seed to its end.
pub fn run(seed: u64) -> Report {
    run_in(world(seed), seed)
}

fn run_in(mut world: World, seed: u64) -> Report {
    let mut chance = Rng::with_seed(seed ^ 0x9E37_79B9_7F4A_7C15);
    let mut senders: Vec<Sender> = (0..chance.usize(1..=6))
        .map(|number| Sender::new(number, &mut world, &mut chance))
        .collect();
    for _ in 0..4_000 {
        for sender in &mut senders {
            sender.go_on(&mut world, &mut chance);
        }
        if senders.iter().all(|sender| sender.is_done()) && world.is_quiet() {
            break;
        }
        world.run_for(Duration::from_millis(250));
    }
    let sent: Vec<Sent> = senders.into_iter().flat_map(|sender| sender.sent).collect();
    judge(&world, &sent)
}

// ---- the stage ------------------------------------------------------------------------------

const STANDARD: ClassId = ClassId(0);
const LAX: ClassId = ClassId(1);
const QUARANTINED: ClassId = ClassId(2);
const STORE: RouteId = RouteId(2);
const QUARANTINE: RouteId = RouteId(3);
const SPAM: &str = "sim-spam-mark";

fn world(seed: u64) -> World {
    let mut chance = Rng::with_seed(seed.wrapping_add(1));
    let faulty = chance.bool();
    let address = |port: u16| Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut server = |name: &str, protocol, ports: [u16; 2]| {
        let addresses = ports.into_iter().map(address).collect();
        Route {
            tls: tls(&mut chance),
            verify: if chance.bool() { Verify::Callahead } else { Verify::Off },
            xclient: chance.bool(),
            ..Route::new(name, NextHop::Server { protocol, addresses })
        }
    };
    let maildir = |name: &str| Route::new(name, NextHop::Maildir(name.to_owned().into()));
    let routes = Routes {
        hostname: "mx.example.net".to_owned(),
        routes: vec![
            server("lmtp", Protocol::Lmtp, [1, 2]),
            server("smtp", Protocol::Smtp, [3, 4]),
            maildir("store"),
            maildir("quarantine"),
        ],
    };
    let sinks: Vec<Sink> = (1..=4)
        .map(|port| Sink {
            address: address(port),
            protocol: if port <= 2 { Protocol::Lmtp } else { Protocol::Smtp },
            script: Arc::new(script(&mut chance, faulty)),
            kept: Kept::default(),
        })
        .collect();
    let mixed = [Mixed::Split, Mixed::Quarantine, Mixed::Strictest][chance.usize(0..3)];
    let listener = |name: &str, protocol| {
        let defaults = Listener::new(name, protocol, "mx.example.net");
        Arc::new(Listener { mixed, quarantine: Some(QUARANTINE), ..defaults })
    };
    let faults = if !faulty {
        Faults { latency_us_max: 20_000, ..Faults::default() }
    } else {
        Faults {
            latency_us_max: 200_000,
            client_lost: 15,
            connect_fails: 50,
            hop_lost: 40,
            hop_stalls: 10,
            tls_fails: 50,
            store_fails: 50,
            ..Faults::default()
        }
    };
    World::new(
        vec![listener("smtp", Protocol::Smtp), listener("lmtp", Protocol::Lmtp)],
        Arc::new(tables()),
        Arc::new(routes),
        sinks,
        seed,
        faults,
    )
}

fn tls(chance: &mut Rng) -> HopTls {
    let client = ClientTls::from_pem("mx.example.net", HopTrust::Anybody, None, 0);
    let client = Arc::new(client.expect("a name and no files"));
    match chance.u8(0..8) {
        0..4 => HopTls::Off,
        4..7 => HopTls::Opportunistic(client),
        _ => HopTls::Required(client),
    }
}

/// What a next hop offers and answers, and in a faulty world now and then a misdeed.
fn script(chance: &mut Rng, faulty: bool) -> Script {
    let mut script = Script::default();
    let mut add = |line: &str| script.add(line).expect("the scenario's own script");
    for line in [
        "late450=end:450 4.2.0 busy",
        "late550=end:550 5.2.0 no",
        "slow*=late:1500",
        "gone=rcpt:550 5.1.1 gone",
    ] {
        add(line);
    }
    if faulty && chance.u8(0..4) == 0 {
        add(MISDEEDS[chance.usize(0..MISDEEDS.len())]);
    }
    let mut offers = SinkOffers::default();
    for usual in ["PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"] {
        if chance.u8(0..4) == 0 {
            offers.remove(usual);
        }
    }
    let limits = format!("LIMITS RCPTMAX={} MAILMAX={}", chance.u8(1..4), chance.u8(1..4));
    for unusual in ["PRDR", "STARTTLS", "XCLIENT NAME ADDR HELO", &limits] {
        if chance.bool() {
            offers.add(unusual).expect("the scenario's own offers");
        }
    }
    script.offers = offers;
    script
}

/// Where next hops break the protocol. None of these lies about a recipient.
const MISDEEDS: [&str; 26] = [
    "@banner=close",
    "@banner=stall",
    "@banner=say:554 5.3.2 no service",
    "@greeting=close",
    "@greeting=endless",
    "@greeting=surplus",
    "@starttls=say:454 4.7.0 not now",
    "@xclient=say:550 5.7.0 no",
    "@mail=close",
    "@mail=stall",
    "@mail=say:354 go",
    "@rcpt=close",
    "@rcpt=stall",
    "@rcpt=say:999 what",
    "@data=close",
    "@data=stall",
    "@data=say:250 ok",
    "@data=say:354 go\\r\\n250 early",
    "@end=close",
    "@end=stall",
    "@end=short",
    "@end=surplus",
    "@end=endless",
    "@end=say:354 go",
    "@reset=close",
    "@reset=surplus",
];

pub(super) fn tables() -> Tables {
    let mut tags = Tags::new();
    let spam = tags.intern("spam").expect("there is room for one tag");
    let rule = RuleSpec {
        name: "mark".to_owned(),
        literals: vec![SPAM.as_bytes().to_vec()],
        surfaces: vec![Surface::Raw],
        tag: "spam".to_owned(),
        score: Score(5_000),
        ..RuleSpec::default()
    };
    let rules = Rules::compile(tags, &[rule]).expect("the scenario's own rule");
    let line = |then, add: Option<&str>| Line {
        when: When { tag: Some(spam), score: None },
        then,
        add: add.map(|text| text.as_bytes().into()),
        place: Place::default(),
    };
    let classes = vec![
        Class::new("standard", vec![line(Action::Reject(replies::CONTENT_REFUSED), None)]),
        Class::new("lax", vec![line(Action::Accept { route: None }, Some("X-Spam-Flag: YES\r\n"))]),
        Class::new("quarantined", vec![line(Action::Quarantine(QUARANTINE), None)]),
    ];
    let domain = |route| Domain {
        route,
        recipients: Recipients::Any,
        plus: None,
        class: STANDARD,
        exceptions: LocalParts::of([("lax*", LAX), ("quar*", QUARANTINED)]),
        refused: LocalParts::of([("nouser", replies::NO_SUCH_MAILBOX)]),
    };
    let mut given = crate::scan::TagSet::default();
    given.insert(spam);
    let domains = [
        ("lmtp.example".as_bytes().into(), domain(RouteId(0))),
        ("smtp.example".as_bytes().into(), domain(RouteId(1))),
        ("store.example".as_bytes().into(), domain(STORE)),
    ];
    let policy =
        Policy::new(domains, b"lmtp.example".as_slice().into(), classes, &given, Score(5_000));
    Tables { policy, rules: Arc::new(rules) }
}

// ---- the clients ----------------------------------------------------------------------------

/// A client: it sends some messages over one connection, or until the connection is gone.
#[derive(Debug)]
struct Sender {
    number: usize,
    client: ClientId,
    protocol: Protocol,
    octets: Vec<u8>,
    stage: Stage,
    messages_left: usize,
    sent: Vec<Sent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Banner,
    Greeting,
    /// The reply to MAIL is awaited.
    Mail,
    /// Replies to each RCPT, and to DATA if it was said, are awaited.
    Envelope,
    /// So many replies to chunks are awaited before the final ones.
    Chunks(usize),
    Final,
    Done,
}

/// A message that a client tried to hand in.
#[derive(Clone, Debug)]
struct Sent {
    token: String,
    protocol: Protocol,
    /// It goes by BDAT, and not by DATA.
    chunked: bool,
    /// The addresses, with the code that RCPT got.
    recipients: Vec<(String, Option<u16>)>,
    end_mark_written: bool,
    /// Final codes of the accepted recipients, as far as they came.
    finals: Vec<u16>,
}

impl Sender {
    fn new(number: usize, world: &mut World, chance: &mut Rng) -> Sender {
        let (listener, protocol) = match chance.bool() {
            true => ("smtp", Protocol::Smtp),
            false => ("lmtp", Protocol::Lmtp),
        };
        let client = world
            .connect(listener, IpAddr::from([127, 0, 0, 1]))
            .expect("the scenario has both listeners");
        Sender {
            number,
            client,
            protocol,
            octets: Vec::new(),
            stage: Stage::Banner,
            messages_left: chance.usize(1..=5),
            sent: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Reads what has come and writes what is next.
    fn go_on(&mut self, world: &mut World, chance: &mut Rng) {
        self.octets.extend(world.take_received(self.client).concat());
        if self.is_done() {
            return;
        }
        while let Some(code) = self.next_reply() {
            self.replied(code, world, chance);
        }
        if world.is_over(self.client) || world.server_ended(self.client) {
            self.stage = Stage::Done;
        }
    }

    /// The code of the next complete reply.
    fn next_reply(&mut self) -> Option<u16> {
        loop {
            let end = self.octets.iter().position(|octet| *octet == b'\n')? + 1;
            let line: Vec<u8> = self.octets.drain(..end).collect();
            if line.get(3) != Some(&b'-') {
                return std::str::from_utf8(&line[..3]).ok()?.parse().ok();
            }
        }
    }

    fn replied(&mut self, code: u16, world: &mut World, chance: &mut Rng) {
        match self.stage {
            Stage::Banner => {
                let verb = if self.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
                world.write(self.client, format!("{verb} client.example\r\n").as_bytes());
                self.stage = Stage::Greeting;
            }
            Stage::Greeting => self.next_message(world, chance),
            Stage::Mail => self.stage = Stage::Envelope,
            Stage::Envelope => self.envelope_replied(code, world, chance),
            Stage::Chunks(1) => self.stage = Stage::Final,
            Stage::Chunks(left) => self.stage = Stage::Chunks(left - 1),
            Stage::Final => self.final_replied(code, world, chance),
            Stage::Done => {}
        }
    }

    fn next_message(&mut self, world: &mut World, chance: &mut Rng) {
        if self.messages_left == 0 {
            world.write(self.client, b"QUIT\r\n");
            self.stage = Stage::Done;
            return;
        }
        self.messages_left -= 1;
        if chance.u8(0..4) == 0 {
            self.ask(world, chance);
        }
        let names =
            ["ok1", "ok2", "lax1", "quar1", "late450", "late550", "slow1", "gone", "nouser"];
        let domains = ["lmtp.example", "smtp.example", "store.example"];
        let recipients: Vec<(String, Option<u16>)> = (0..chance.usize(1..=5))
            .map(|_| {
                let (name, domain) =
                    (names[chance.usize(0..names.len())], domains[chance.usize(0..domains.len())]);
                (format!("{name}@{domain}"), None)
            })
            .collect();
        let mut commands = "MAIL FROM:<a@client.example>\r\n".to_owned();
        for (address, _) in &recipients {
            commands.push_str(&format!("RCPT TO:<{address}>\r\n"));
        }
        let chunked = chance.u8(0..3) == 0;
        if !chunked {
            commands.push_str("DATA\r\n");
        }
        self.sent.push(Sent {
            token: format!("token-{}-{}-end", self.number, self.sent.len()),
            protocol: self.protocol,
            chunked,
            recipients,
            end_mark_written: false,
            finals: Vec::new(),
        });
        self.stage = Stage::Mail;
        world.write(self.client, commands.as_bytes());
    }

    /// Somebody else asks the relay about a recipient.
    fn ask(&mut self, world: &mut World, chance: &mut Rng) {
        let name = if chance.bool() { "ok1" } else { "gone" };
        let (route, domain) = if chance.bool() { (0, "lmtp.example") } else { (1, "smtp.example") };
        let recipient = format!("{name}@{domain}").into_bytes().into();
        world.ask(Probe { route: RouteId(route), recipient, smtputf8: false });
    }

    fn envelope_replied(&mut self, code: u16, world: &mut World, chance: &mut Rng) {
        if code == 354 {
            return self.write_body(world, chance);
        }
        let Some(message) = self.sent.last_mut() else { return };
        match message.recipients.iter_mut().find(|(_, code)| code.is_none()) {
            Some((_, unanswered)) => *unanswered = Some(code),
            // DATA was refused: the transaction is still open.
            None => return self.give_up(world),
        }
        if message.chunked && message.recipients.iter().all(|(_, code)| code.is_some()) {
            let nobody = message.accepted().next().is_none();
            if nobody { self.give_up(world) } else { self.write_body(world, chance) }
        }
    }

    fn give_up(&mut self, world: &mut World) {
        world.write(self.client, b"RSET\r\n");
        self.stage = Stage::Greeting;
    }

    fn write_body(&mut self, world: &mut World, chance: &mut Rng) {
        let Some(message) = self.sent.last_mut() else { return };
        let spam = if chance.u8(0..4) == 0 { SPAM } else { "innocent" };
        let filler = "..stuffed\r\nfiller line of some length\r\n".repeat(chance.usize(0..900));
        let content = format!("Subject: {}\r\n\r\n{spam}\r\n{filler}", message.token);
        message.end_mark_written = true;
        self.stage = Stage::Final;
        match message.chunked {
            true => self.write_chunks(content.as_bytes(), world, chance),
            false => world.write(self.client, format!("{content}.\r\n").as_bytes()),
        }
        if chance.u8(0..20) == 0 {
            world.client_goes(self.client, Gone::HalfClosed);
        }
    }

    /// Several chunks, all at once, of which the last may be empty.
    fn write_chunks(&mut self, content: &[u8], world: &mut World, chance: &mut Rng) {
        let pieces: Vec<&[u8]> = content.chunks(chance.usize(40..20_000)).collect();
        let empty_last = chance.bool();
        let mut octets = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len() && !empty_last;
            let word = if last { " LAST" } else { "" };
            octets.extend_from_slice(format!("BDAT {}{word}\r\n", piece.len()).as_bytes());
            octets.extend_from_slice(piece);
        }
        let answered = if empty_last { pieces.len() } else { pieces.len() - 1 };
        if empty_last {
            octets.extend_from_slice(b"BDAT 0 LAST\r\n");
        }
        if answered > 0 {
            self.stage = Stage::Chunks(answered);
        }
        world.write(self.client, &octets);
    }

    fn final_replied(&mut self, code: u16, world: &mut World, chance: &mut Rng) {
        let Some(message) = self.sent.last_mut() else { return };
        message.finals.push(code);
        let wanted = match message.protocol {
            Protocol::Lmtp => message.accepted().count(),
            Protocol::Smtp => 1,
        };
        if message.finals.len() == wanted {
            self.next_message(world, chance);
        }
    }
}

impl Sent {
    /// The recipients whose RCPT got 2xx, in order.
    fn accepted(&self) -> impl Iterator<Item = &str> {
        let accepted =
            self.recipients.iter().filter(|(_, code)| code.is_some_and(|c| c / 100 == 2));
        accepted.map(|(address, _)| address.as_str())
    }

    /// The final code that the recipient at this place was told, if it came.
    fn told(&self, place: usize) -> Option<u16> {
        match self.protocol {
            Protocol::Lmtp => self.finals.get(place).copied(),
            Protocol::Smtp => self.finals.first().copied(),
        }
    }
}

// ---- the oracle -----------------------------------------------------------------------------

/// Counts what became of every message and compares it with what its client was told.
fn judge(world: &World, sent: &[Sent]) -> Report {
    let mut report = Report::default();
    if !world.is_quiet() {
        report.violations.push("the world did not come to rest".to_owned());
    }
    if world.body_octets_held() > 0 {
        report.violations.push("bodies are still held".to_owned());
    }
    for question in world.questions() {
        let knows = |answer: &Verification| match answer {
            Verification::Accepted => true,
            Verification::Refused(reply) => reply.code() / 100 == 5,
        };
        report.answered += usize::from(question.answer.iter().any(|(_, answer)| knows(answer)));
        report.violations.extend(judge_question(world, question));
    }
    for message in sent {
        report.messages += usize::from(message.end_mark_written);
        judge_message(world, message, &mut report);
    }
    report
}

/// What is wrong with the answer to a question: a next hop refuses `gone` for good and nobody else;
/// any other answer is that it could not be asked.
fn judge_question(world: &World, question: &Question) -> Option<String> {
    let Question { probe, at, answer } = question;
    let asks_ahead = world.board().standing(probe.route).asks_ahead;
    let gone = probe.recipient.starts_with(b"gone");
    let (good, when) = match answer {
        None => (false, *at),
        Some((when, Verification::Accepted)) => (!(gone && asks_ahead), *when),
        Some((when, Verification::Refused(reply))) => {
            (asks_ahead && (reply.code() / 100 == 4 || gone), *when)
        }
    };
    let in_time = when.since(*at) <= VERIFY_TIMEOUT;
    (!good || !in_time).then(|| format!("{probe:?} asked at {at}: {answer:?}"))
}

fn judge_message(world: &World, message: &Sent, report: &mut Report) {
    let token = &message.token;
    let holds = |content: &[u8]| memchr::memmem::find(content, token.as_bytes()).is_some();
    let answer_lost = world.unanswered().iter().any(|content| holds(content));
    let accepted: Vec<&str> = message.accepted().collect();
    for (place, address) in accepted.iter().enumerate() {
        let repeats = accepted.iter().filter(|other| *other == address).count();
        let copies = copies_for(world, address, &holds).len();
        let fault = |what: &str| format!("{token} for {address}: {what}, {copies} copies");
        match message.told(place) {
            Some(200..300) => {
                report.accepted += 1;
                // One copy for each RCPT; the same address twice may get different answers.
                if copies < 1 || copies > repeats {
                    report.violations.push(fault("accepted"));
                }
            }
            Some(_) => {
                report.refused += 1;
                // One reply for several recipients can hide that one has its copy; an answer lost
                // between the next hop and us makes a copy that nobody was told of.
                let shared = message.protocol == Protocol::Smtp && accepted.len() > 1;
                let allowed = if repeats > 1 || shared || answer_lost { repeats } else { 0 };
                if copies > allowed {
                    report.violations.push(fault("refused"));
                }
            }
            None => {
                report.unknown += 1;
                if copies > repeats || (!message.end_mark_written && copies > 0) {
                    report.violations.push(fault("reply lost"));
                }
            }
        }
    }
    let refused = message.recipients.iter().filter(|(_, code)| code.is_some_and(|c| c / 100 != 2));
    for (address, _) in refused {
        let also_accepted = accepted.contains(&address.as_str());
        if !also_accepted && !copies_for(world, address, &holds).is_empty() {
            report.violations.push(format!("{token} for {address}: refused at RCPT, delivered"));
        }
    }
}

/// The copies of a message for an address, at next hops and in stores, as they came there.
pub(super) fn copies_for(
    world: &World,
    address: &str,
    holds: &impl Fn(&[u8]) -> bool,
) -> Vec<Vec<u8>> {
    let address = address.as_bytes();
    let mut copies = Vec::new();
    let at_hops = world.sinks().iter().flat_map(|sink| sink.kept.messages());
    for message in at_hops.filter(|message| holds(&message.content)) {
        let count = message.recipients.iter().filter(|other| other.as_slice() == address).count();
        copies.extend(std::iter::repeat_n(message.content, count));
    }
    let stored = world.stored().iter();
    let stored = stored.filter(|stored| stored.recipient == address && holds(&stored.content));
    copies.extend(stored.map(|stored| stored.content.clone()));
    copies
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `POSTERN_SEED=n` replays one seed alone.
    fn seeds() -> Vec<u64> {
        match std::env::var("POSTERN_SEED").ok().and_then(|seed| seed.parse().ok()) {
            Some(seed) => vec![seed],
            None => (0..1_000).collect(),
        }
    }

    #[test]
    fn a_2xx_is_one_delivery_and_a_refusal_is_none() {
        let mut total = Report::default();
        for seed in seeds() {
            let report = run(seed);
            assert!(
                report.violations.is_empty(),
                "seed {seed}: {:#?}\nreplay it: POSTERN_SEED={seed} cargo test --lib sim",
                report.violations
            );
            total.messages += report.messages;
            total.accepted += report.accepted;
            total.refused += report.refused;
            total.unknown += report.unknown;
            total.answered += report.answered;
        }
        println!(
            "{} messages; recipients: {} accepted, {} refused, {} without a reply; {} questions",
            total.messages, total.accepted, total.refused, total.unknown, total.answered
        );
        assert!(total.messages > 0 && total.accepted > 0 && total.refused > 0);
        assert!(total.answered > 0 || std::env::var("POSTERN_SEED").is_ok());
    }

    #[test]
    fn a_relay_that_sends_twice_is_found_out() {
        let found = (0..1_000).find(|seed| {
            let mut world = world(*seed);
            world.plant_bug();
            !run_in(world, *seed).violations.is_empty()
        });
        assert!(found.is_some(), "no seed finds the planted bug");
    }

    #[test]
    fn the_same_seed_is_the_same_world() {
        let (one, two) = (run(7), run(7));
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}
