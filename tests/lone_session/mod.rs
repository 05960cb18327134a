//! A session alone: no socket, no world around it, and next hops that answer by the recipient's name.
//!
//! What may be tried in a microsecond is tried here; [`postern::sim`] has the relay and time as well.

use postern::config::Config;
use postern::now::{Now, Tick};
use postern::relay::{Outcome, Plan, Relay};
use postern::session::{Answer, Ask, Client, Effect, Gone, Listener, Session, Shared, Sources};
use postern::tally::Tally;
use postern::wire::{Budget, Reply};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// The moment at which everything happens.
pub const NOW: Now = Now { tick: Tick::START, unix_s: 1_795_507_200 };

/// What sessions are made of. It is made once, as tables take long to compile.
pub struct Installation {
    listeners: Vec<Arc<Listener>>,
    shared: Shared,
}

impl Installation {
    /// The installation of a configuration.
    pub fn new(configuration: &str) -> Installation {
        let config = Config::parse(configuration, "the test's own", Path::new("."))
            .unwrap_or_else(|faults| panic!("{faults:?}"));
        let shared = Shared {
            tables: Arc::clone(&config.tables),
            budget: Budget::new(64 << 20),
            tally: Rc::new(Tally::default()),
            board: Relay::new(Arc::clone(&config.routes)).board(),
            sources: Sources::default(),
            ledger: None,
        };
        let listeners = config.listeners.into_iter().map(|(_, listener)| listener).collect();
        Installation { listeners, shared }
    }

    /// The same with this limit of a message's size, which may be lower than a configuration's.
    pub fn with_size_max(mut self, octets: u64) -> Installation {
        for listener in &mut self.listeners {
            Arc::make_mut(listener).size_octets_max = octets;
        }
        self
    }

    /// Octets that message bodies hold now.
    pub fn body_octets_held(&self) -> u64 {
        self.shared.budget.taken()
    }

    /// A session with a client of the listener at this place of the configuration.
    pub fn session(&self, listener: usize) -> Session {
        let client = Client {
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: None,
            session_id: "alone".to_owned(),
            seat: 1,
            listener: 0,
            place: None,
        };
        let listener = Arc::clone(&self.listeners[listener]);
        Session::new(listener, self.shared.clone(), client, NOW)
    }
}

/// A session and what came of it.
pub struct LoneSession {
    session: Session,
    /// What the relay was asked to do, and has not answered.
    plan: Option<Plan>,
    told: Told,
}

/// What others saw of a session.
#[derive(Default)]
pub struct Told {
    /// All that the client was sent.
    pub replies: Vec<u8>,
    /// What next hops and stores took: the recipients' addresses, and header lines and message in wire
    /// form.
    pub taken: Vec<(Vec<Vec<u8>>, Vec<u8>)>,
    /// Whether the connection was closed.
    pub closed: bool,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |octets: &[u8]| octets.escape_ascii().to_string();
        let copy = |(recipients, octets): &(Vec<Vec<u8>>, Vec<u8>)| {
            (recipients.iter().map(|one| text(one)).collect::<Vec<_>>(), text(octets))
        };
        f.debug_struct("Told")
            .field(
                "replies",
                &self.replies.split_inclusive(|it| *it == b'\n').map(text).collect::<Vec<_>>(),
            )
            .field("taken", &self.taken.iter().map(copy).collect::<Vec<_>>())
            .field("closed", &self.closed)
            .finish()
    }
}

impl LoneSession {
    /// Takes a session from its beginning.
    pub fn new(session: Session) -> LoneSession {
        let mut alone = LoneSession { session, plan: None, told: Told::default() };
        alone.drain();
        alone
    }

    /// The client writes.
    pub fn receive(&mut self, octets: &[u8]) {
        self.session.receive(octets, NOW);
        self.drain();
    }

    /// The relay answers, if it was asked: recipients whose names begin with `late450` or `late550` get
    /// that, the others have their copy.
    pub fn relay_answers(&mut self) {
        while let Some(plan) = self.plan.take() {
            let outcomes = plan.groups.iter().flat_map(|group| &group.recipients);
            let outcomes = outcomes.map(|at| (*at, outcome(&plan, *at))).collect();
            self.told.taken.extend(taken(&plan));
            drop(plan);
            self.session.answered(Answer::Relayed(outcomes), NOW);
            self.drain();
        }
    }

    /// The client ends its side; gives what was told to whom.
    pub fn end(mut self) -> Told {
        self.relay_answers();
        self.session.peer_closed(Gone::HalfClosed, NOW);
        self.drain();
        self.relay_answers();
        self.told
    }

    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Send(octets) => {
                    self.told.replies.extend_from_slice(&octets);
                    self.session.sent(octets.len(), NOW);
                }
                Effect::Ask(Ask::Relay(plan)) => self.plan = Some(plan),
                Effect::ShutdownWrite | Effect::Close | Effect::Abort => self.told.closed = true,
                _ => {}
            }
        }
    }
}

fn outcome(plan: &Plan, recipient: usize) -> Outcome {
    let address = &plan.envelope.recipients[recipient].address;
    if address.starts_with(b"late450") {
        Outcome::Failed(Reply::new(450, 2, 0, "busy"))
    } else if address.starts_with(b"late550") {
        Outcome::Failed(Reply::new(550, 2, 0, "no"))
    } else {
        Outcome::Delivered
    }
}

/// What the groups of a plan get, those left out who refuse it.
fn taken(plan: &Plan) -> Vec<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut taken = Vec::new();
    for group in &plan.groups {
        let takes = |at: &&usize| outcome(plan, **at) == Outcome::Delivered;
        let address = |at: &usize| plan.envelope.recipients[*at].address.to_vec();
        let recipients: Vec<Vec<u8>> = group.recipients.iter().filter(takes).map(address).collect();
        if !recipients.is_empty() {
            let body = plan.body.wire().flatten();
            taken.push((recipients, group.prepend.iter().chain(body).copied().collect()));
        }
    }
    taken
}
