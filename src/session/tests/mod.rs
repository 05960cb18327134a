//! Sessions alone, on a clock that is set by hand: what no dialogue can show.

mod anything;
mod ends;
mod message;
mod opening;
mod times;

use super::*;
use crate::ledger::{Begun, Key, Recalled, Request, Secret};
use crate::policy::{
    Action, Class, ClassId, Domain, Line as PolicyLine, LocalParts, Place, Policy, Recipients,
    RouteId, When,
};
use crate::relay::{Standing, Verification};
use crate::scan::{RuleSpec, Rules, Score, Surface, TagSet, Tags};
use crate::tls::{Identity, Pem, ServerTls};
use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

/// What a session is with: a client, whoever it asks, and time.
struct Lone {
    session: Session,
    tick: Tick,
    /// What was sent and not looked at.
    sent: Vec<u8>,
    /// The client takes what is sent.
    reads: bool,
    /// What was asked and not answered.
    asked: Option<Ask>,
    /// What the ledger has made durable, if there is one.
    outcomes: HashMap<Key, Arc<ledger::Record>>,
    records: Vec<Record>,
    /// How the session has ended, as far as it has: each effect that ends something, in order.
    ended: Vec<&'static str>,
    tls_early: Option<Vec<u8>>,
}

impl Lone {
    fn on(listener: Listener) -> Lone {
        Lone::with(listener, Board::new(1), 64 << 20)
    }

    fn with(listener: Listener, board: Board, body_octets: u64) -> Lone {
        Lone::from(Some(IpAddr::from([192, 0, 2, 1])), listener, board, body_octets)
    }

    fn from(address: Option<IpAddr>, listener: Listener, board: Board, body_octets: u64) -> Lone {
        let shared = Shared {
            tables: Arc::new(tables()),
            budget: Budget::new(body_octets),
            tally: Rc::new(Tally::default()),
            board,
            sources: Sources::default(),
            ledger: None,
        };
        let session_id = "s1".to_owned();
        let client =
            Client { address, port: Some(4711), session_id, seat: 1, listener: 0, place: None };
        let tick = Tick::START;
        let mut lone = Lone {
            session: Session::new(Arc::new(listener), shared, client, now_at(tick)),
            tick,
            sent: Vec::new(),
            reads: true,
            asked: None,
            outcomes: HashMap::new(),
            records: Vec::new(),
            ended: Vec::new(),
            tls_early: None,
        };
        lone.drain();
        lone
    }

    /// From now on there is a ledger. It forgets nothing, and parks nothing.
    fn keep_ledger(&mut self) {
        let secret = Rc::new(Secret::new([7; 32]));
        self.session.shared.ledger =
            Some(LedgerLine { line: 0, secret, rules: Rc::new(Cell::new(1)) });
    }

    fn recorded(&mut self, request: &Request) -> ledger::Answer {
        match request {
            Request::Recall { key, .. } => ledger::Answer::Recalled(match self.outcomes.get(key) {
                Some(record) => Recalled::Stored(Arc::clone(record)),
                None => Recalled::Nothing,
            }),
            Request::Begin { .. } => ledger::Answer::Begun(Begun::GoOn { recorded: true }),
            Request::Commit { record, .. } => {
                if let Some(key) = record.key {
                    self.outcomes.insert(key, Arc::new((**record).clone()));
                }
                ledger::Answer::Committed { recorded: true }
            }
            other => other.unanswered().expect("it has an answer"),
        }
    }

    /// Another connection takes the transaction that this one is at.
    fn superseded(&mut self) {
        let holder = ledger::Holder { line: 0, seat: 1 };
        let transaction = ledger::Transaction { holder, number: self.session.transactions };
        let answer = Answer::Ledger(Box::new(ledger::Answer::Superseded(transaction)));
        self.session.answered(answer, self.now());
        self.drain();
    }

    fn now(&self) -> Now {
        now_at(self.tick)
    }

    /// The client writes; gives the codes of all that it has been told since.
    fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        self.session.receive(octets.as_ref(), self.now());
        self.drain();
        self.codes()
    }

    /// Time passes, and what is due in it is done; gives the codes of what is told meanwhile.
    fn wait(&mut self, span: Duration) -> String {
        let until = self.tick + span;
        while let Some(due) = self.session.deadline().filter(|due| *due <= until) {
            self.tick = self.tick.max(due);
            self.session.timed_out(self.now());
            self.drain();
        }
        self.tick = until;
        self.codes()
    }

    /// One microsecond less than `limit` does nothing; the last one brings what is told.
    fn wait_just(&mut self, limit: Duration) -> String {
        let before = self.ended.len();
        assert_eq!(self.wait(limit - Duration::from_micros(1)), "", "too early");
        assert_eq!(self.ended.len(), before, "too early");
        self.wait(Duration::from_micros(1))
    }

    /// Whoever was asked says yes to everything; gives the codes of what is told then.
    fn answer(&mut self) -> String {
        self.answer_silently();
        self.codes()
    }

    fn answer_silently(&mut self) {
        let answer = match self.asked.take() {
            Some(Ask::Relay(plan)) => {
                let recipients = plan.groups.iter().flat_map(|group| &group.recipients);
                Answer::Relayed(recipients.map(|at| (*at, Outcome::Delivered)).collect())
            }
            Some(Ask::Verify(_)) => Answer::Verified(Verification::Accepted),
            Some(Ask::Ledger(request)) => Answer::Ledger(Box::new(self.recorded(&request))),
            None => panic!("nothing was asked"),
        };
        self.session.answered(answer, self.now());
        self.drain();
    }

    fn secured(&mut self) -> String {
        let cipher = "TLS_AES_128_GCM_SHA256";
        let facts = TlsFacts { version: "TLS1.3", cipher, client_key: None };
        self.session.secured(facts, self.now());
        self.drain();
        self.codes()
    }

    /// The peer's side takes so many octets of what was sent.
    fn takes(&mut self, octets: usize) {
        self.session.sent(octets, self.now());
        self.drain();
    }

    fn goes(&mut self, gone: Gone) {
        self.session.peer_closed(gone, self.now());
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Send(octets) => {
                    if self.reads {
                        self.session.sent(octets.len(), self.now());
                    }
                    self.sent.extend(octets);
                }
                // What the ledger is only told has no answer.
                Effect::Ask(Ask::Ledger(request)) if request.unanswered().is_none() => {}
                Effect::Ask(ask) => assert!(self.asked.replace(ask).is_none(), "asked twice"),
                Effect::StartTls(early) => self.tls_early = Some(early),
                Effect::Record(record) => self.records.push(*record),
                Effect::ShutdownWrite => self.ended.push("shut"),
                Effect::Close => self.ended.push("close"),
                Effect::Abort => self.ended.push("abort"),
            }
        }
    }

    fn codes(&mut self) -> String {
        let text = String::from_utf8(std::mem::take(&mut self.sent)).unwrap();
        let last = text.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last.map(|line| &line[..3]).collect::<Vec<_>>().join(" ")
    }
}

fn now_at(tick: Tick) -> Now {
    Now { tick, unix_s: 1_795_507_200 + (tick.as_us() / 1_000_000) as i64 }
}

fn listener(protocol: Protocol) -> Listener {
    Listener { size_octets_max: 1_000, ..Listener::new("test", protocol, "mx.example.net") }
}

fn smtp() -> Listener {
    listener(Protocol::Smtp)
}

fn lmtp() -> Listener {
    listener(Protocol::Lmtp)
}

/// Trust in peers of these networks: for their PROXY header, and for what they tell by commands.
fn trust(proxy: Networks, told: Networks) -> Trust {
    let proxy = Trust { proxy, ..Trust::default() };
    Trust { xclient: told.clone(), xforward: told, ..proxy }
}

/// The network of the client.
fn here() -> Networks {
    Networks::new(vec!["192.0.2.0/24".parse().unwrap()])
}

/// Certificates that no handshake of these tests looks at.
fn tls(mode: TlsMode) -> ListenerTls {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["mx.example.net".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let identity = Identity {
        certificates: Pem { path: "cert.pem", octets: certificate.as_bytes() },
        key: Pem { path: "key.pem", octets: key.as_bytes() },
    };
    let server = ServerTls::from_pem(&[identity], None, 1_795_500_000).unwrap();
    ListenerTls { server: Arc::new(server), mode }
}

/// One domain, in which there is everybody but `nouser`; what holds `HOLD` is judged after 10 s.
fn tables() -> Tables {
    let mut tags = Tags::new();
    let hold = tags.intern("hold").unwrap();
    let rule = RuleSpec {
        name: "hold".to_owned(),
        literals: vec![b"HOLD".to_vec()],
        surfaces: vec![Surface::Raw],
        tag: "hold".to_owned(),
        score: Score::ZERO,
        ..RuleSpec::default()
    };
    let late = PolicyLine {
        when: When { tag: Some(Tags::SCAN_LATE), score: None },
        then: Action::Defer(Reply::new(451, 7, 1, "scan out of time")),
        add: None,
        place: Place::default(),
    };
    let domain = Domain {
        route: RouteId(0),
        recipients: Recipients::Any,
        class: ClassId(0),
        plus: None,
        exceptions: LocalParts::of([("lax*", ClassId(1))]),
        refused: LocalParts::of([("nouser", replies::NO_SUCH_MAILBOX)]),
    };
    let policy = Policy::new(
        [(b"example.net".as_slice().into(), domain)],
        b"example.net".as_slice().into(),
        vec![Class::new("standard", vec![late]), Class::new("lax", Vec::new())],
        &TagSet::default(),
        Score::ZERO,
    );
    let policy = policy.with_holds(vec![(hold, Duration::from_secs(10))]);
    Tables { policy, rules: Arc::new(Rules::compile(tags, &[rule]).unwrap()) }
}

const ENVELOPE: &str = "MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.net>\r\n";
