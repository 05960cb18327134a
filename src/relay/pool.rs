//! The relay of a shard: plans and questions in, connections to next hops, outcomes and answers out.
//!
//! All work waits in a queue of its route, be it for no time at all: what is new, and what comes back
//! from a connection that failed. `connections` gives it to the next hops.

use super::board::{Board, HopOffers, Standing};
use super::deadlines::{Deadlines, Due};
use super::health::AddressState;
use super::hop::Hop;
use super::plan::{Outcome, Plan};
use super::probe::{Key, Probe, Verification, Verifications};
use super::route::{Address, NextHop, Route, Routes, Verify};
use super::store::{StoreJob, StoreKey};
use super::work::{Asking, Attempts, Delivery, Question, Work};
use crate::limits::{
    HOP_CONNECTIONS_MAX, HOP_DELIVERY_TIMEOUT, HOP_WAITING_MAX, VERIFY_CONNECTIONS_MAX,
    VERIFY_WAITING_MAX,
};
use crate::now::Tick;
use crate::policy::RouteId;
use crate::tls::{ClientTls, TlsFacts};
use crate::wire::{Output, Reply, replies};
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;

/// Carries plans out.
///
/// Verbs go in, then [`Relay::poll_effect`] is drained. Every plan that was started is answered by
/// exactly one [`RelayEffect::Done`], at the latest [`HOP_DELIVERY_TIMEOUT`] later (stores apart,
/// which answer when the disk does), and every question by one [`RelayEffect::Verified`].
#[derive(Debug)]
pub struct Relay {
    pub(super) routes: Arc<Routes>,
    pub(super) board: Board,
    pub(super) states: Vec<RouteState>,
    pub(super) hops: Slab<HopSlot>,
    pub(super) hops_made: u64,
    jobs: Slab<Job>,
    pub(super) verifications: Verifications,
    pub(super) deadlines: Deadlines,
    pub(super) effects: VecDeque<RelayEffect>,
    #[cfg(test)]
    pub(super) bug_planted: bool,
}

/// What the relay asks of its driver.
#[derive(Debug)]
pub enum RelayEffect {
    /// Make a connection; answer with [`Relay::connected`] or [`Relay::lost`].
    Connect(HopId, Address),
    /// Send octets; tell by [`Relay::sent`] what was taken of them.
    Send(HopId, Output),
    /// After all that is to be sent: TLS begins, as [`Relay::route_tls`] says. Octets that come from
    /// now on are sealed. Answer with [`Relay::secured`] or [`Relay::lost`].
    StartTls(HopId),
    /// Send what is still to be sent, then close. The id is free from now on.
    Close(HopId),
    /// Close at once: what was not sent must not be sent. The id is free from now on.
    Abort(HopId),
    /// Store a message; answer with [`Relay::stored`].
    Store(StoreJob),
    /// A plan is carried out: an outcome for each recipient that is in one of its groups.
    Done(Ticket, Vec<(usize, Outcome)>),
    /// What is known of a recipient.
    Verified(Ticket, Verification),
}

/// A connection to a next hop. Never the same for two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HopId {
    pub(super) slot: usize,
    pub(super) number: u64,
}

/// What the asker calls its plan or question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A connection's place in the relay.
#[derive(Debug)]
pub(super) struct HopSlot {
    pub number: u64,
    pub route: usize,
    /// Its place in the route's list of addresses.
    pub address: usize,
    pub hop: Hop,
    /// It stands in the list of those without work.
    pub listed: bool,
    /// It has stood there: the next hop may have closed it for its age.
    pub was_idle: bool,
    /// Where it lies among the deadlines.
    pub entry: Option<Tick>,
}

/// The connections of a route, and the work that waits for one.
#[derive(Debug, Default)]
pub(super) struct RouteState {
    pub addresses: Vec<AddressState>,
    pub connections: usize,
    /// Connections that ask about a recipient.
    pub asking: usize,
    /// In the order in which they must be answered.
    pub deliveries: VecDeque<Box<Delivery>>,
    pub questions: VecDeque<Box<Question>>,
    /// Deliveries of which the next hop at an address may have taken a part.
    pub interrupted: Vec<Interruption>,
    /// Where it lies among the deadlines.
    pub entry: Option<Tick>,
}

/// A delivery that waits until the next hop that may have it can be asked.
#[derive(Debug)]
pub(super) struct Interruption {
    /// The place of its address.
    pub address: usize,
    pub delivery: Box<Delivery>,
    /// It was not tried yet.
    pub at_once: bool,
}

/// A plan that is being carried out.
#[derive(Debug)]
struct Job {
    ticket: Ticket,
    open_groups: usize,
    outcomes: Vec<(usize, Outcome)>,
}

/// How work gets on.
enum Way {
    /// Over the connection in this slot.
    Idle(usize),
    /// Over a new connection to the address at this place.
    New(usize),
    /// All connections that there may be are at work.
    Wait,
    /// Every address has failed.
    None,
}

impl RouteState {
    /// Whether no message is spent on any of its addresses.
    pub fn is_down(&self) -> bool {
        self.addresses.iter().all(AddressState::is_down)
    }

    /// When something is due that no connection knows of.
    pub fn deadline(&self) -> Option<Tick> {
        let delivery = self.deliveries.front().map(|one| one.attempts.until);
        let question = self.questions.front().map(|one| one.attempts.until);
        let tries = self.addresses.iter().filter_map(AddressState::next_try);
        let interrupted = self.interrupted.iter().map(|one| one.delivery.attempts.until);
        tries.chain(delivery).chain(question).chain(interrupted).min()
    }
}

impl Relay {
    /// A relay without connections.
    pub fn new(routes: Arc<Routes>) -> Relay {
        let board = Board::new(routes.routes.len());
        for (index, route) in routes.routes.iter().enumerate() {
            let is_maildir = matches!(route.to, NextHop::Maildir(_));
            let standing = Standing {
                offers: is_maildir.then_some(HopOffers::OF_MAILDIRS),
                down: false,
                asks_ahead: !is_maildir && route.verify == Verify::Callahead,
            };
            board.note(RouteId::at(index as u16), standing);
        }
        let state = |route: &Route| RouteState {
            addresses: route.addresses().iter().map(|_| AddressState::default()).collect(),
            ..RouteState::default()
        };
        Relay {
            states: routes.routes.iter().map(state).collect(),
            routes,
            board,
            hops: Slab::new(),
            hops_made: 0,
            jobs: Slab::new(),
            verifications: Verifications::new(),
            deadlines: Deadlines::default(),
            effects: VecDeque::new(),
            #[cfg(test)]
            bug_planted: false,
        }
    }

    /// What is known of the routes; it is kept up to date.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Greets every next hop, so that what they offer is known before the first client comes.
    pub fn start_up(&mut self, now: Tick) {
        for route in 0..self.states.len() {
            for address in 0..self.states[route].addresses.len() {
                self.connect(route, address, None, false, now);
            }
        }
    }

    /// Carries a plan out.
    pub fn start(&mut self, ticket: Ticket, plan: Plan, now: Tick) {
        let Plan { id, envelope, body, groups, naming } = plan;
        if groups.is_empty() {
            return self.effects.push_back(RelayEffect::Done(ticket, Vec::new()));
        }
        let job = Job { ticket, open_groups: groups.len(), outcomes: Vec::new() };
        let job = self.jobs.insert(job);
        for (group_index, group) in groups.into_iter().enumerate() {
            if let NextHop::Maildir(folder) = &self.routes.routes[group.route.index()].to {
                self.effects.push_back(RelayEffect::Store(StoreJob {
                    key: StoreKey { job, group: group_index },
                    folder: folder.clone(),
                    envelope: Arc::clone(&envelope),
                    recipients: group.recipients,
                    prepend: group.prepend,
                    body: Arc::clone(&body),
                    id: format!("{id}-{group_index}"),
                }));
                continue;
            }
            let asking = (!group.earlier.is_empty()).then(Asking::default);
            let delivery = Delivery {
                job,
                envelope: Arc::clone(&envelope),
                outcomes: vec![None; group.recipients.len()],
                group,
                body: Arc::clone(&body),
                naming,
                interrupted: None,
                sent_again: false,
                asking,
                unasked: Vec::new(),
                attempts: Attempts::until(now + HOP_DELIVERY_TIMEOUT),
            };
            self.deliver(delivery, now);
        }
    }

    fn deliver(&mut self, delivery: Delivery, now: Tick) {
        let route = &self.routes.routes[delivery.group.route.index()];
        // RFC 8689 4.2.1: what must be kept under TLS goes nowhere else, and not to anybody.
        let forbidden = delivery.envelope.requiretls && !route.tls.is_demanded();
        let work = Work::Delivery(Box::new(delivery));
        match forbidden {
            true => self.give_up(work, &replies::NO_REQUIRETLS, now),
            false => self.begin(work, now),
        }
    }

    /// Asks whether a next hop takes a recipient. The answer comes at the latest when the route's
    /// `timeouts.verify` have passed.
    pub fn verify(&mut self, ticket: Ticket, probe: Probe, now: Tick) {
        let (key, route) = (Key::of(&probe), probe.route.index());
        let known = match &self.routes.routes[route] {
            Route { to: NextHop::Maildir(_), .. } | Route { verify: Verify::Off, .. } => {
                Some(Verification::Accepted)
            }
            _ => self.verifications.known(&key, now),
        };
        if let Some(verification) = known {
            return self.effects.push_back(RelayEffect::Verified(ticket, verification));
        }
        if !self.verifications.wait(&key, ticket) {
            return;
        }
        let until = now + self.routes.routes[route].timeouts.verify;
        let attempts = Attempts::until(until);
        let question = Question { key, smtputf8: probe.smtputf8, attempts };
        self.begin(Work::Question(Box::new(question)), now);
    }

    /// The connection stands.
    pub fn connected(&mut self, id: HopId, now: Tick) {
        self.turn(id, now, Hop::connected);
    }

    /// How TLS is done with a next hop.
    pub fn route_tls(&self, id: HopId) -> Option<&Arc<ClientTls>> {
        let slot = self.hops.get(id.slot).filter(|slot| slot.number == id.number)?;
        self.routes.routes[slot.route].tls.client()
    }

    /// The handshake that [`RelayEffect::StartTls`] began is done. Whether the next hop is the right
    /// one was judged by the route's [`ClientTls`]; what else was shown decides nothing.
    pub fn secured(&mut self, id: HopId, _facts: &TlsFacts, now: Tick) {
        self.turn(id, now, Hop::secured);
    }

    /// The next hop's side has taken octets; so many of those given by [`RelayEffect::Send`] are
    /// still to be taken.
    pub fn sent(&mut self, id: HopId, octets_left: u64, now: Tick) {
        self.turn(id, now, |hop, turn| hop.sent(octets_left, turn));
    }

    /// Octets came from a next hop.
    pub fn receive(&mut self, id: HopId, octets: &[u8], now: Tick) {
        self.turn(id, now, |hop, turn| hop.receive(octets, turn));
    }

    /// TLS failed, in the handshake or later; the connection is of no more use.
    pub fn tls_failed(&mut self, id: HopId, why: &str, now: Tick) {
        self.turn(id, now, |hop, turn| hop.tls_failed(why, turn));
    }

    /// The connection could not be made, or was closed or lost.
    pub fn lost(&mut self, id: HopId, now: Tick) {
        self.turn(id, now, Hop::lost);
    }

    /// A store has answered: an outcome for each recipient of the job, in its order.
    pub fn stored(&mut self, job: &StoreJob, outcomes: Vec<Outcome>) {
        let outcomes = job.recipients.iter().copied().zip(outcomes).collect();
        self.group_done(job.key.job, outcomes);
    }

    /// Does what is due. To be called when [`Relay::deadline`] has come, and not rarer.
    pub fn timed_out(&mut self, now: Tick) {
        while let Some(due) = self.deadlines.take_due(now) {
            match due {
                Due::Route(route) => {
                    self.states[route].entry = None;
                    self.expire(route, now);
                    self.try_again(route, now);
                    self.fill(route, now);
                }
                Due::Hop(slot) => {
                    let Some(hop) = self.hops.get_mut(slot) else { continue };
                    hop.entry = None;
                    let id = HopId { slot, number: hop.number };
                    self.turn(id, now, Hop::timed_out);
                }
            }
        }
    }

    /// When [`Relay::timed_out`] is due, if nothing happens before; it may be that nothing is to be
    /// done then. This costs the look at one entry.
    pub fn deadline(&self) -> Option<Tick> {
        self.deadlines.first()
    }

    /// The next thing to be done by the driver.
    pub fn poll_effect(&mut self) -> Option<RelayEffect> {
        self.effects.pop_front()
    }

    /// Connections to next hops.
    pub fn connections(&self) -> usize {
        self.hops.len()
    }

    /// Plans and questions that are not answered yet.
    pub fn plans_open(&self) -> usize {
        self.jobs.len() + self.verifications.waited_for()
    }

    /// For tests of the simulation's oracle: from now on, what may have been taken is sent again.
    #[cfg(test)]
    pub(crate) fn plant_bug(&mut self) {
        self.bug_planted = true;
    }

    // ---- work and ways ----------------------------------------------------------------------

    /// Takes new work in.
    fn begin(&mut self, work: Work, now: Tick) {
        let route = work.route().index();
        let state = &self.states[route];
        let is_full = match &work {
            Work::Delivery(_) => state.deliveries.len() >= HOP_WAITING_MAX,
            Work::Question(_) => state.questions.len() >= VERIFY_WAITING_MAX,
        };
        if is_full {
            return self.give_up(work, &replies::NEXT_HOP_BUSY, now);
        }
        self.queue(work);
        self.fill(route, now);
    }

    /// Puts work to that which waits, in the order in which it must be answered.
    pub(super) fn queue(&mut self, work: Work) {
        let state = &mut self.states[work.route().index()];
        match work {
            Work::Delivery(mut delivery) => {
                delivery.begin_asking_anew();
                let until = delivery.attempts.until;
                let place = state.deliveries.partition_point(|one| one.attempts.until <= until);
                state.deliveries.insert(place, delivery);
            }
            Work::Question(question) => {
                let until = question.attempts.until;
                let place = state.questions.partition_point(|one| one.attempts.until <= until);
                state.questions.insert(place, question);
            }
        }
    }

    /// The work of a route that waits longest. Questions are short, and few at a time: they go first.
    fn next_waiting(&mut self, route: usize) -> Option<Work> {
        let state = &mut self.states[route];
        if state.asking < VERIFY_CONNECTIONS_MAX
            && let Some(question) = state.questions.pop_front()
        {
            return Some(Work::Question(question));
        }
        state.deliveries.pop_front().map(Work::Delivery)
    }

    /// Gives the work that waits to connections, until there is none of the one or the other.
    pub(super) fn fill(&mut self, route: usize, now: Tick) {
        self.ask_again(route, now);
        while let Some(mut work) = self.next_waiting(route) {
            let way = self.way_on(route, &mut work);
            if let (Way::Idle(_) | Way::New(_), Work::Question(_)) = (&way, &work) {
                self.states[route].asking += 1;
            }
            match way {
                Way::Idle(slot) => {
                    let id = self.unlist(slot);
                    self.act(id, now, |hop, turn| hop.begin(work, turn));
                }
                Way::New(address) => self.connect(route, address, Some(work), false, now),
                Way::Wait => {
                    self.queue(work);
                    // One that nobody can use makes room for one that somebody can.
                    if !self.retire_one(route, now) {
                        break;
                    }
                }
                Way::None => {
                    let reply = work.attempts().failure.clone();
                    self.give_up(work, &reply.unwrap_or(replies::NEXT_HOP_DOWN), now);
                }
            }
        }
        self.schedule_route(route);
    }

    /// Next hops that may have a message are asked as soon as they can be reached.
    fn ask_again(&mut self, route: usize, now: Tick) {
        let state = &mut self.states[route];
        let RouteState { addresses, connections, interrupted, .. } = state;
        let mut room = HOP_CONNECTIONS_MAX.saturating_sub(*connections);
        let ready = interrupted.extract_if(.., |one| {
            let now = room > 0 && (one.at_once || addresses[one.address].is_up());
            room -= usize::from(now);
            now
        });
        for Interruption { address, delivery, .. } in ready.collect::<Vec<_>>() {
            self.connect(route, address, Some(Work::Delivery(delivery)), false, now);
        }
    }

    /// How work gets on, be it that it is asked for no more and handed on.
    fn way_on(&self, route: usize, work: &mut Work) -> Way {
        let way = self.way(route, work);
        match work {
            Work::Delivery(delivery) if delivery.has_been_asked() && matches!(way, Way::None) => {
                delivery.stop_asking(self.states[route].addresses.len());
                self.way(route, work)
            }
            _ => way,
        }
    }

    /// How work gets on: over the first address that can be reached, as far as is known. Those that
    /// fail come last, and none when the whole route is down. One that asks goes to each that is up.
    fn way(&self, route: usize, work: &Work) -> Way {
        let (state, attempts) = (&self.states[route], work.attempts());
        if state.is_down() {
            return Way::None;
        }
        let asked = work.asked();
        let untried = |up: bool| {
            let places = 0..state.addresses.len();
            let mut places =
                places.filter(|place| !attempts.tried.contains(place) && !asked.contains(place));
            places.find(|place| state.addresses[*place].is_up() == up)
        };
        let last = || untried(false).filter(|_| asked.is_empty());
        let Some(address) = untried(true).or_else(last) else {
            return Way::None;
        };
        let is_full = state.connections >= HOP_CONNECTIONS_MAX;
        // An old connection may have been closed behind our back, so only the first attempt takes
        // one: the second must learn something new.
        if !attempts.fresh {
            let places = 0..state.addresses.len();
            let mut usable =
                places.filter(|place| *place == address || is_full && !asked.contains(place));
            let idle = usable.find_map(|place| {
                let idle = state.addresses[place].idle.iter().rev();
                idle.copied().find(|slot| self.hops[*slot].hop.suits(work))
            });
            if let Some(slot) = idle {
                return Way::Idle(slot);
            }
        }
        if is_full { Way::Wait } else { Way::New(address) }
    }

    /// Answers for work that has waited for as long as it may.
    fn expire(&mut self, route: usize, now: Tick) {
        let state = &mut self.states[route];
        let mut late = Vec::new();
        while let Some(delivery) = state.deliveries.pop_front_if(|one| one.attempts.until <= now) {
            late.push(Work::Delivery(delivery));
        }
        while let Some(question) = state.questions.pop_front_if(|one| one.attempts.until <= now) {
            late.push(Work::Question(question));
        }
        let until = |one: &mut Interruption| one.delivery.attempts.until <= now;
        let asked = state.interrupted.extract_if(.., until);
        late.extend(asked.map(|one| Work::Delivery(one.delivery)));
        for work in late {
            let reply = work.attempts().failure.clone();
            self.give_up(work, &reply.unwrap_or(replies::NEXT_HOP_BUSY), now);
        }
    }

    /// Makes connections to addresses that fail, to see whether they are back.
    fn try_again(&mut self, route: usize, now: Tick) {
        for place in 0..self.states[route].addresses.len() {
            let address = &mut self.states[route].addresses[place];
            if address.next_try().is_some_and(|due| due <= now) {
                address.trying();
                self.connect(route, place, None, false, now);
            }
        }
    }

    pub(super) fn give_up(&mut self, work: Work, reply: &Reply, now: Tick) {
        match work {
            Work::Delivery(mut delivery) => {
                delivery.leave_unknown(reply);
                delivery.fail_rest(reply);
                self.finished(*delivery);
            }
            Work::Question(question) => {
                let (tickets, verification) =
                    self.verifications.unanswered(&question.key, reply, now);
                self.tell(tickets, &verification);
            }
        }
    }

    pub(super) fn tell(&mut self, tickets: Vec<Ticket>, verification: &Verification) {
        for ticket in tickets {
            self.effects.push_back(RelayEffect::Verified(ticket, verification.clone()));
        }
    }

    pub(super) fn finished(&mut self, delivery: Delivery) {
        self.group_done(delivery.job, delivery.into_outcomes().collect());
    }

    fn group_done(&mut self, job: usize, outcomes: Vec<(usize, Outcome)>) {
        let Some(open) = self.jobs.get_mut(job) else { return };
        open.outcomes.extend(outcomes);
        open.open_groups -= 1;
        if open.open_groups == 0 {
            let Job { ticket, outcomes, .. } = self.jobs.remove(job);
            self.effects.push_back(RelayEffect::Done(ticket, outcomes));
        }
    }
}
