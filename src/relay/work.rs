//! What connections to next hops are made for: deliveries, and questions about recipients.

use super::plan::{Envelope, Group, Outcome};
use super::probe::Key;
use crate::ledger::Naming;
use crate::now::Tick;
use crate::policy::RouteId;
use crate::wire::{Body, BodyKind, Reply};
use smallvec::SmallVec;
use std::sync::Arc;

/// Something to be done with a next hop of a route.
#[derive(Debug)]
pub(super) enum Work {
    /// A group of a plan is handed on.
    Delivery(Box<Delivery>),
    /// A recipient is asked about.
    Question(Box<Question>),
}

/// A group on its way to a next hop.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The plan it belongs to.
    pub job: usize,
    pub envelope: Arc<Envelope>,
    pub group: Group,
    pub body: Arc<Body>,
    /// What is known for good of each recipient of the group.
    pub outcomes: Vec<Option<Outcome>>,
    /// What its transactions are named by with next hops that offer RESUME.
    pub naming: Option<Naming>,
    /// The transaction that was lost with its connection behind the last octet of the message.
    pub interrupted: Option<Interrupted>,
    /// A next hop that was asked for it had nothing of it, and got it once more.
    pub sent_again: bool,
    pub attempts: Attempts,
}

/// A transaction whose reply was lost: the next hop may have the message.
#[derive(Clone, Debug)]
pub(super) struct Interrupted {
    /// Its id, without angle brackets.
    pub transid: Box<str>,
    /// Octets of the message with the lines on top of it.
    pub octets: u64,
    /// PRDR was asked for.
    pub prdr: bool,
    /// Places in the group whose RCPT was accepted, as far as that is known, in their order.
    pub places: Vec<usize>,
}

/// A recipient that a next hop is asked about.
#[derive(Debug)]
pub(super) struct Question {
    pub key: Key,
    pub smtputf8: bool,
    pub attempts: Attempts,
}

/// How a piece of work was tried so far.
#[derive(Debug)]
pub(super) struct Attempts {
    /// When whoever waits must have an answer, whatever was tried.
    pub until: Tick,
    /// The addresses, by their places in the route's list, with which a new connection failed.
    pub tried: SmallVec<[usize; 4]>,
    /// It needs a new connection: an old one failed, or would not do.
    pub fresh: bool,
    /// Why it failed last.
    pub failure: Option<Reply>,
}

impl Work {
    pub fn route(&self) -> RouteId {
        match self {
            Work::Delivery(delivery) => delivery.group.route,
            Work::Question(question) => question.key.route,
        }
    }

    pub fn attempts(&self) -> &Attempts {
        match self {
            Work::Delivery(delivery) => &delivery.attempts,
            Work::Question(question) => &question.attempts,
        }
    }

    pub fn attempts_mut(&mut self) -> &mut Attempts {
        match self {
            Work::Delivery(delivery) => &mut delivery.attempts,
            Work::Question(question) => &mut question.attempts,
        }
    }
}

impl Attempts {
    /// Work that was not tried yet.
    pub fn until(until: Tick) -> Attempts {
        Attempts { until, tried: SmallVec::new(), fresh: false, failure: None }
    }
}

impl Delivery {
    /// Places in the group whose outcome is not known.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        let places = self.outcomes.iter().enumerate();
        places.filter(|(_, outcome)| outcome.is_none()).map(|(place, _)| place)
    }

    /// Notes what became of a recipient.
    pub fn settle(&mut self, place: usize, outcome: Outcome) {
        if let Some(known) = self.outcomes.get_mut(place) {
            *known = Some(outcome);
        }
    }

    /// Notes who was refused.
    pub fn settle_refused(&mut self, refused: Vec<(usize, Reply)>) {
        for (place, reply) in refused {
            self.settle(place, Outcome::Failed(reply));
        }
    }

    /// Gives `reply` to every recipient whose outcome is not known.
    pub fn fail_rest(&mut self, reply: &Reply) {
        for outcome in &mut self.outcomes {
            outcome.get_or_insert_with(|| Outcome::Failed(reply.clone()));
        }
    }

    /// The addresses of the recipients at these places.
    pub fn addresses(&self, places: &[usize]) -> impl Iterator<Item = &[u8]> {
        places.iter().map(|place| {
            let recipient = &self.envelope.recipients[self.group.recipients[*place]];
            &*recipient.address
        })
    }

    /// Nobody can be asked what became of a transaction that the next hop may have.
    pub fn leave_unknown(&mut self, reply: &Reply) {
        let all = self.group.earlier_octets.take().map(|_| self.open().collect());
        let places = self.interrupted.take().map(|one| one.places).or(all);
        for place in places.into_iter().flatten() {
            if let Some(outcome) = self.outcomes.get_mut(place) {
                outcome.get_or_insert_with(|| Outcome::Unknown(reply.clone()));
            }
        }
    }

    /// Octets of the message with the lines on top of it.
    pub fn octets(&self) -> u64 {
        self.group.prepend.len() as u64 + self.body.content_octets()
    }

    /// Whether the content is not made of lines, so that DATA cannot carry it. RFC 3030 3.
    pub fn is_binary(&self) -> bool {
        self.envelope.body == BodyKind::BinaryMime
    }
}
