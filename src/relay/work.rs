//! What connections to next hops are made for: deliveries, and questions about recipients.

use super::plan::{Earlier, Envelope, Group, Outcome};
use super::probe::Key;
use crate::ledger::Naming;
use crate::now::Tick;
use crate::policy::RouteId;
use crate::wire::{Body, BodyKind, Kind, Reply, replies};
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
    /// The next hops are asked for earlier transactions, before anything is handed on.
    pub asking: Option<Asking>,
    /// Places that were not asked for everywhere, and are handed on all the same.
    pub unasked: Vec<usize>,
    pub attempts: Attempts,
}

/// How far next hops were asked for earlier transactions.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Addresses whose next hops have been asked, by their places in the route's list.
    pub asked: SmallVec<[usize; 4]>,
    /// One of them does not offer RESUME: whether it has the message cannot be known.
    pub mute: bool,
    /// The one that this next hop is asked for next, by its place in the group's list.
    pub next: usize,
    /// Places of the group of which it knows nothing.
    pub denied: Vec<usize>,
    /// It has the one that it was asked for.
    pub found: bool,
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

    /// The addresses whose next hops have been asked for earlier transactions of it.
    pub fn asked(&self) -> &[usize] {
        match self {
            Work::Delivery(delivery) => {
                delivery.asking.as_ref().map_or(&[], |asking| &asking.asked)
            }
            Work::Question(_) => &[],
        }
    }

    /// A next hop that was asked for an earlier transaction was lost before it had it: another is asked.
    pub fn forget_question(&mut self) {
        if let Work::Delivery(delivery) = self {
            delivery.interrupted = None;
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
        let interrupted = self.interrupted.take();
        let (places, outcome) = match (self.asking.take(), interrupted) {
            (Some(_), _) => (self.open().collect(), Outcome::Unasked(reply.clone())),
            (None, Some(interrupted)) => (interrupted.places, Outcome::Unknown(reply.clone())),
            (None, None) => return,
        };
        for place in places {
            if let Some(known) = self.outcomes.get_mut(place) {
                known.get_or_insert_with(|| outcome.clone());
            }
        }
    }

    /// The earlier transaction that the next hop is asked for next, and the places that it is about, so
    /// many at most. `None`: it has been asked for all.
    pub fn next_to_ask(&mut self, most: usize) -> Option<(Earlier, Vec<usize>)> {
        loop {
            let asking = self.asking.as_mut()?;
            let places = self.outcomes.iter().enumerate();
            let open = places
                .filter(|(place, outcome)| outcome.is_none() && !asking.denied.contains(place));
            let places: Vec<usize> = open.map(|(place, _)| place).take(most).collect();
            match self.group.earlier.get(asking.next) {
                _ if places.is_empty() => return None,
                Some(earlier) => {
                    (asking.next, asking.found) = (asking.next + 1, false);
                    return Some((earlier.clone(), places));
                }
                None => {
                    asking.denied.extend(places);
                    asking.next = 0;
                }
            }
        }
    }

    /// The next hop does not offer RESUME.
    pub fn cannot_ask(&mut self) {
        if let Some(asking) = &mut self.asking {
            asking.mute = true;
        }
    }

    /// Whether the next hop that it is with may have it, or has it: nobody else gets it meanwhile.
    pub fn is_bound_here(&self) -> bool {
        self.interrupted.is_some() && self.asking.as_ref().is_none_or(|asking| asking.found)
    }

    /// Whether some next hop was asked for earlier transactions of it.
    pub fn has_been_asked(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| !asking.asked.is_empty())
    }

    /// Another connection takes it: it is asked from the beginning.
    pub fn begin_asking_anew(&mut self) {
        if let Some(asking) = &mut self.asking {
            (asking.next, asking.found) = (0, false);
            asking.denied.clear();
        }
    }

    /// Whoever can be asked has been: what is open is handed on. Whether somebody has it already is
    /// known only if all were asked.
    ///
    /// RFC 1845: the same server is asked first, and not waited for if it is away.
    pub fn stop_asking(&mut self, addresses: usize) {
        let Some(asking) = self.asking.take() else { return };
        if asking.mute || asking.asked.len() < addresses {
            self.unasked = self.open().collect();
        }
    }

    /// What became of each recipient.
    pub fn into_outcomes(self) -> impl Iterator<Item = (usize, Outcome)> {
        let Delivery { group, outcomes, unasked, .. } = self;
        let known = move |(place, outcome): (usize, Option<Outcome>)| {
            let outcome = outcome.unwrap_or(Outcome::Failed(replies::NEXT_HOP_DOWN));
            match outcome {
                Outcome::Delivered if unasked.contains(&place) => Outcome::Repeated,
                Outcome::Failed(reply)
                    if unasked.contains(&place) && reply.kind() == Kind::Transient =>
                {
                    Outcome::Unasked(reply)
                }
                outcome => outcome,
            }
        };
        group.recipients.into_iter().zip(outcomes.into_iter().enumerate().map(known))
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
