//! The relay of a shard: plans in, connections to next hops, outcomes out.

use super::board::Board;
use super::hop::{Delivery, Hop, HopEffect, HopEffects, failed};
use super::plan::{Outcome, Plan};
use super::route::{Address, NextHop, Routes};
use super::store::{StoreJob, StoreKey};
use crate::limits::{HOP_CONNECTIONS_MAX, HOP_DELIVERY_TIMEOUT, HOP_WAITING_MAX};
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
/// which answer when the disk does).
#[derive(Debug)]
pub struct Relay {
    routes: Arc<Routes>,
    board: Board,
    queues: Vec<RouteQueue>,
    hops: Slab<HopSlot>,
    hops_made: u64,
    jobs: Slab<Job>,
    effects: VecDeque<RelayEffect>,
    #[cfg(test)]
    bug_planted: bool,
}

/// What the relay asks of its driver.
#[derive(Debug)]
pub enum RelayEffect {
    /// Make a connection; answer with [`Relay::connected`] or [`Relay::lost`].
    Connect(HopId, Address),
    /// Send octets.
    Send(HopId, Output),
    /// After what was sent: begin TLS as [`Relay::route_tls`] says; answer with [`Relay::secured`], or
    /// with [`Relay::lost`].
    StartTls(HopId),
    /// Send what is still to be sent, then close. The id is free from now on.
    Close(HopId),
    /// Store a message; answer with [`Relay::stored`].
    Store(StoreJob),
    /// A plan is carried out: an outcome for each recipient that is in one of its groups.
    Done(Ticket, Vec<(usize, Outcome)>),
}

/// A connection to a next hop. Never the same for two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HopId {
    slot: usize,
    number: u64,
}

/// What the asker calls its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

#[derive(Debug)]
struct HopSlot {
    number: u64,
    route: RouteId,
    hop: Hop,
}

/// The connections of a route that wait for work, and the work that waits for a connection.
#[derive(Debug, Default)]
struct RouteQueue {
    /// The one used last stands last, so that spare ones grow old and are closed.
    idle: Vec<usize>,
    connections: usize,
    waiting: VecDeque<Delivery>,
    /// The address that worked last.
    address: usize,
}

/// A plan that is being carried out.
#[derive(Debug)]
struct Job {
    ticket: Ticket,
    open_groups: usize,
    outcomes: Vec<(usize, Outcome)>,
}

impl Relay {
    /// A relay without connections.
    pub fn new(routes: Arc<Routes>) -> Relay {
        let queues = routes.routes.iter().map(|_| RouteQueue::default()).collect();
        let board = Board::new(routes.routes.len());
        Relay {
            routes,
            board,
            queues,
            hops: Slab::new(),
            hops_made: 0,
            jobs: Slab::new(),
            effects: VecDeque::new(),
            #[cfg(test)]
            bug_planted: false,
        }
    }

    /// What is known of the routes; it is kept up to date.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Carries a plan out.
    pub fn start(&mut self, ticket: Ticket, plan: Plan, now: Tick) {
        let Plan { id, envelope, body, groups } = plan;
        if groups.is_empty() {
            return self.effects.push_back(RelayEffect::Done(ticket, Vec::new()));
        }
        let job = Job { ticket, open_groups: groups.len(), outcomes: Vec::new() };
        let job = self.jobs.insert(job);
        for (group_index, group) in groups.into_iter().enumerate() {
            match &self.routes.routes[group.route.index()].to {
                NextHop::Maildir(folder) => {
                    let store = StoreJob {
                        key: StoreKey { job, group: group_index },
                        folder: folder.clone(),
                        envelope: Arc::clone(&envelope),
                        recipients: group.recipients,
                        prepend: group.prepend,
                        body: Arc::clone(&body),
                        id: format!("{id}-{group_index}"),
                    };
                    self.effects.push_back(RelayEffect::Store(store));
                }
                NextHop::Server { .. } => {
                    let outcomes = vec![None; group.recipients.len()];
                    let delivery = Delivery {
                        job,
                        envelope: Arc::clone(&envelope),
                        address: self.queues[group.route.index()].address,
                        group,
                        body: Arc::clone(&body),
                        give_up_at: now + HOP_DELIVERY_TIMEOUT,
                        attempts: 0,
                        outcomes,
                    };
                    self.dispatch(delivery, now);
                }
            }
        }
    }

    /// The connection stands.
    pub fn connected(&mut self, id: HopId, now: Tick) {
        if let Some(slot) = self.slot(id) {
            slot.hop.connected(now);
        }
    }

    /// The handshake that [`RelayEffect::StartTls`] began is done.
    pub fn secured(&mut self, _id: HopId, _facts: &TlsFacts, _now: Tick) {}

    /// How the next hop of a connection is talked to under TLS.
    pub fn route_tls(&self, _id: HopId) -> Option<&Arc<ClientTls>> {
        None
    }

    /// Octets came from a next hop.
    pub fn receive(&mut self, id: HopId, octets: &[u8], now: Tick) {
        let routes = Arc::clone(&self.routes);
        let mut effects = HopEffects::new();
        if let Some(slot) = self.slot(id) {
            slot.hop.receive(octets, &routes.hostname, now, &mut effects);
        }
        self.carry_out(id, effects, now);
    }

    /// The connection could not be made, or was closed or lost.
    pub fn lost(&mut self, id: HopId, now: Tick) {
        let mut effects = HopEffects::new();
        if let Some(slot) = self.slot(id) {
            slot.hop.lost(&mut effects);
        }
        self.carry_out(id, effects, now);
    }

    /// A store has answered: an outcome for each recipient of the job, in its order.
    pub fn stored(&mut self, job: &StoreJob, outcomes: Vec<Outcome>) {
        let outcomes = job.recipients.iter().copied().zip(outcomes).collect();
        self.group_done(job.key.job, outcomes);
    }

    /// Looks at all deadlines. To be called when [`Relay::deadline`] has come, and not rarer.
    pub fn timed_out(&mut self, now: Tick) {
        let due: Vec<HopId> = self
            .hops
            .iter()
            .filter(|(_, slot)| slot.hop.deadline() <= now)
            .map(|(index, slot)| HopId { slot: index, number: slot.number })
            .collect();
        for id in due {
            let mut effects = HopEffects::new();
            if let Some(slot) = self.slot(id) {
                slot.hop.timed_out(now, &mut effects);
            }
            self.carry_out(id, effects, now);
        }
        for queue in 0..self.queues.len() {
            while self.queues[queue].waiting.front().is_some_and(|one| one.give_up_at <= now) {
                if let Some(delivery) = self.queues[queue].waiting.pop_front() {
                    self.finished(failed(delivery, &replies::NEXT_HOP_BUSY));
                }
            }
        }
    }

    /// The next deadline of all connections and of all work that waits.
    pub fn deadline(&self) -> Option<Tick> {
        let hops = self.hops.iter().map(|(_, slot)| slot.hop.deadline());
        let waiting = self.queues.iter().filter_map(|queue| queue.waiting.front());
        hops.chain(waiting.map(|delivery| delivery.give_up_at)).min()
    }

    /// The next thing to be done by the driver.
    pub fn poll_effect(&mut self) -> Option<RelayEffect> {
        self.effects.pop_front()
    }

    /// Whether there are connections to next hops, which have deadlines.
    pub fn has_connections(&self) -> bool {
        !self.hops.is_empty()
    }

    /// Plans that are not answered yet.
    pub fn plans_open(&self) -> usize {
        self.jobs.len()
    }

    /// For tests of the simulation's oracle: from now on, what may have been taken is sent again.
    #[cfg(test)]
    pub(crate) fn plant_bug(&mut self) {
        self.bug_planted = true;
    }

    fn slot(&mut self, id: HopId) -> Option<&mut HopSlot> {
        self.hops.get_mut(id.slot).filter(|slot| slot.number == id.number)
    }

    /// Gives a delivery to an idle connection, to a new one, or to the queue of its route.
    fn dispatch(&mut self, delivery: Delivery, now: Tick) {
        let route = delivery.group.route;
        let queue = &mut self.queues[route.index()];
        // Only the first attempt may take an old connection: it may have been closed behind our
        // back, and the second attempt must learn something new.
        if delivery.attempts == 0
            && let Some(index) = queue.idle.pop()
        {
            let mut effects = HopEffects::new();
            let slot = &mut self.hops[index];
            slot.hop.begin(delivery, now, &mut effects);
            let id = HopId { slot: index, number: slot.number };
            return self.carry_out(id, effects, now);
        }
        if queue.connections < HOP_CONNECTIONS_MAX {
            return self.connect(delivery, now);
        }
        if queue.waiting.len() < HOP_WAITING_MAX {
            return queue.waiting.push_back(delivery);
        }
        self.finished(failed(delivery, &replies::NEXT_HOP_BUSY));
    }

    fn connect(&mut self, mut delivery: Delivery, now: Tick) {
        let route = delivery.group.route;
        let NextHop::Server { protocol, addresses } = &self.routes.routes[route.index()].to else {
            return self.finished(failed(delivery, &replies::LOCAL_FAULT));
        };
        let address = addresses[delivery.address % addresses.len()].clone();
        delivery.attempts += 1;
        self.queues[route.index()].connections += 1;
        self.hops_made += 1;
        #[cfg_attr(not(test), expect(unused_mut, reason = "only a planted bug changes it"))]
        let mut hop = Hop::connecting(*protocol, delivery, now);
        #[cfg(test)]
        {
            hop.sends_again = self.bug_planted;
        }
        let slot = self.hops.insert(HopSlot { number: self.hops_made, route, hop });
        let id = HopId { slot, number: self.hops_made };
        self.effects.push_back(RelayEffect::Connect(id, address));
    }

    fn carry_out(&mut self, id: HopId, effects: HopEffects, now: Tick) {
        let Some(route) = self.slot(id).map(|slot| slot.route) else { return };
        for effect in effects {
            match effect {
                HopEffect::Send(output) => self.effects.push_back(RelayEffect::Send(id, output)),
                HopEffect::Finished(delivery) => {
                    self.queues[route.index()].address = delivery.address;
                    self.finished(delivery);
                }
                HopEffect::Unsent(delivery, reply) => self.try_elsewhere(delivery, &reply, now),
                HopEffect::Ready => self.ready(id, route, now),
                HopEffect::Close => self.close(id, route, now),
            }
        }
    }

    /// The connection can take the work that waits longest, or lies idle.
    fn ready(&mut self, id: HopId, route: RouteId, now: Tick) {
        match self.queues[route.index()].waiting.pop_front() {
            Some(delivery) => {
                let mut effects = HopEffects::new();
                self.hops[id.slot].hop.begin(delivery, now, &mut effects);
                self.carry_out(id, effects, now);
            }
            None => self.queues[route.index()].idle.push(id.slot),
        }
    }

    fn close(&mut self, id: HopId, route: RouteId, now: Tick) {
        self.hops.remove(id.slot);
        let queue = &mut self.queues[route.index()];
        queue.idle.retain(|slot| *slot != id.slot);
        queue.connections -= 1;
        self.effects.push_back(RelayEffect::Close(id));
        if let Some(delivery) = self.queues[route.index()].waiting.pop_front() {
            self.connect(delivery, now);
        }
    }

    /// A connection failed before the body was sent: the other addresses, and once more the same
    /// one if the connection was an old one, are tried before the client is put off.
    fn try_elsewhere(&mut self, mut delivery: Delivery, reply: &Reply, now: Tick) {
        let addresses = match &self.routes.routes[delivery.group.route.index()].to {
            NextHop::Server { addresses, .. } => addresses.len(),
            NextHop::Maildir(_) => 0,
        };
        if delivery.attempts >= addresses || now >= delivery.give_up_at {
            return self.finished(failed(delivery, reply));
        }
        if delivery.attempts > 0 {
            delivery.address = (delivery.address + 1) % addresses;
        }
        delivery.forget_outcomes();
        self.connect(delivery, now);
    }

    fn finished(&mut self, delivery: Delivery) {
        let outcomes = delivery.group.recipients.iter().copied().zip(
            delivery
                .outcomes
                .into_iter()
                .map(|outcome| outcome.unwrap_or(Outcome::Failed(replies::NEXT_HOP_DOWN))),
        );
        let outcomes: Vec<_> = outcomes.collect();
        self.group_done(delivery.job, outcomes);
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
