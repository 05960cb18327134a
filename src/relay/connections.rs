//! The connections of a relay: made, put to work, listed while they have none, and let go.

use super::deadlines::Due;
use super::hop::{Hop, HopEffect, Turn};
use super::pool::{HopId, HopSlot, Interruption, Relay, RelayEffect};
use super::route::NextHop;
use super::work::Work;
use crate::limits::HOP_RESUME_PATIENCE;
use crate::now::Tick;
use crate::policy::RouteId;
use smallvec::SmallVec;

/// What was known of a connection before it had something to do.
#[derive(Clone, Copy, Debug)]
struct Origin {
    route: usize,
    address: usize,
    /// It had been without work: a failure may come from its age.
    was_idle: bool,
}

impl Relay {
    /// Makes a connection. Without work it is there to see whether the next hop is.
    pub(super) fn connect(
        &mut self,
        route: usize,
        address: usize,
        work: Option<Work>,
        without_tls: bool,
        now: Tick,
    ) {
        let settings = &self.routes.routes[route];
        let NextHop::Server { protocol, addresses } = &settings.to else { return };
        self.states[route].connections += 1;
        self.hops_made += 1;
        let number = self.hops_made;
        let turn = Turn::new(settings, &self.routes.hostname, now);
        #[cfg_attr(not(test), expect(unused_mut, reason = "only a planted bug changes it"))]
        let mut hop = Hop::connecting(*protocol, work, without_tls, &turn);
        #[cfg(test)]
        {
            hop.sends_again = self.bug_planted;
        }
        let slot = self.hops.insert(HopSlot {
            number,
            route,
            address,
            hop,
            listed: false,
            was_idle: false,
            entry: None,
        });
        let id = HopId { slot, number };
        self.effects.push_back(RelayEffect::Connect(id, addresses[address].clone()));
        self.schedule_hop(slot);
    }

    /// Has a connection do something, and work that waits go on.
    pub(super) fn turn(
        &mut self,
        id: HopId,
        now: Tick,
        verb: impl FnOnce(&mut Hop, &mut Turn<'_>),
    ) {
        let slot = self.hops.get(id.slot).filter(|slot| slot.number == id.number);
        if let Some(route) = slot.map(|slot| slot.route) {
            self.act(id, now, verb);
            self.fill(route, now);
        }
    }

    /// Has a connection do something, and carries out what it wants.
    pub(super) fn act(&mut self, id: HopId, now: Tick, verb: impl FnOnce(&mut Hop, &mut Turn<'_>)) {
        let Some(slot) = self.hops.get_mut(id.slot) else { return };
        let origin = Origin { route: slot.route, address: slot.address, was_idle: slot.was_idle };
        let route = &self.routes.routes[origin.route];
        let mut turn = Turn::new(route, &self.routes.hostname, now);
        verb(&mut slot.hop, &mut turn);
        let effects = turn.effects;
        let (rests, spent) = (slot.hop.is_idle(), slot.hop.is_spent());
        let mut later = SmallVec::<[HopEffect; 3]>::new();
        // Its place is free before what it leaves behind is given to another.
        for effect in effects {
            match effect {
                HopEffect::Send(output) => self.effects.push_back(RelayEffect::Send(id, output)),
                HopEffect::StartTls => self.effects.push_back(RelayEffect::StartTls(id)),
                HopEffect::Close => self.release(id, RelayEffect::Close(id)),
                HopEffect::Abort => self.release(id, RelayEffect::Abort(id)),
                other => later.push(other),
            }
        }
        match (rests, spent) {
            (true, true) => self.act(id, now, Hop::retire),
            (true, false) => self.list(id.slot),
            (false, _) => {}
        }
        self.schedule_hop(id.slot);
        for effect in later {
            self.carry_out(effect, origin, now);
        }
        if rests && !self.states[origin.route].addresses[origin.address].is_up() {
            self.states[origin.route].addresses[origin.address].works();
            self.note(origin.route);
        }
    }

    fn carry_out(&mut self, effect: HopEffect, origin: Origin, now: Tick) {
        let Origin { route, address, was_idle } = origin;
        match effect {
            HopEffect::Greeted(offers) => {
                self.states[route].addresses[address].offers = Some(offers);
                self.note(route);
            }
            HopEffect::Failed if was_idle => {}
            HopEffect::Failed => {
                self.states[route].addresses[address].failed(now);
                self.note(route);
            }
            HopEffect::Finished(delivery) => self.finished(*delivery),
            HopEffect::Answered(question, answer) => {
                self.states[route].asking -= 1;
                let (tickets, verification) =
                    self.verifications.answered(&question.key, &answer, now);
                self.tell(tickets, &verification);
            }
            HopEffect::Interrupted(mut delivery, reply) => {
                let attempts = &mut delivery.attempts;
                attempts.until = attempts.until.min(now + HOP_RESUME_PATIENCE);
                attempts.failure = Some(reply);
                // One that loses it again and again is asked as often as it is tried.
                let at_once = !std::mem::replace(&mut attempts.fresh, true);
                let one = Interruption { address, delivery, at_once };
                self.states[route].interrupted.push(one);
            }
            HopEffect::Unsent(Work::Delivery(mut delivery), reply) if delivery.is_bound_here() => {
                delivery.attempts.failure = Some(reply);
                let one = Interruption { address, delivery, at_once: false };
                self.states[route].interrupted.push(one);
            }
            HopEffect::Unsent(mut work, reply) => {
                self.states[route].asking -= usize::from(matches!(work, Work::Question(_)));
                work.forget_question();
                let attempts = work.attempts_mut();
                if !was_idle {
                    attempts.tried.push(address);
                }
                attempts.fresh = true;
                attempts.failure = Some(reply);
                self.queue(work);
            }
            HopEffect::Denied(mut delivery) => {
                if let Some(asking) = &mut delivery.asking {
                    asking.asked.push(address);
                }
                self.queue(Work::Delivery(delivery));
            }
            HopEffect::Unfit(mut work) => {
                self.states[route].asking -= usize::from(matches!(work, Work::Question(_)));
                work.attempts_mut().fresh = true;
                self.queue(work);
            }
            HopEffect::Unsealed(work) => self.connect(route, address, work, true, now),
            HopEffect::Send(_) | HopEffect::StartTls | HopEffect::Close | HopEffect::Abort => {}
        }
    }

    /// A connection is gone, or of no more use.
    fn release(&mut self, id: HopId, last: RelayEffect) {
        let Some(slot) = self.hops.get_mut(id.slot) else { return };
        self.deadlines.set(Due::Hop(id.slot), None, &mut slot.entry);
        if slot.listed {
            self.unlist(id.slot);
        }
        let route = self.hops.remove(id.slot).route;
        self.states[route].connections -= 1;
        self.effects.push_back(last);
    }

    // ---- connections without work -----------------------------------------------------------

    fn list(&mut self, slot: usize) {
        let Some(hop) = self.hops.get_mut(slot).filter(|hop| !hop.listed) else { return };
        (hop.listed, hop.was_idle) = (true, true);
        self.states[hop.route].addresses[hop.address].idle.push(slot);
    }

    /// Takes a connection out of the list of those without work.
    pub(super) fn unlist(&mut self, slot: usize) -> HopId {
        let hop = &mut self.hops[slot];
        hop.listed = false;
        self.states[hop.route].addresses[hop.address].idle.retain(|other| *other != slot);
        HopId { slot, number: hop.number }
    }

    /// Ends the connection of a route that has had no work for the longest time. False if all work.
    pub(super) fn retire_one(&mut self, route: usize, now: Tick) -> bool {
        let idle = self.states[route].addresses.iter().filter_map(|address| address.idle.first());
        let oldest = idle.copied().min_by_key(|slot| self.hops[*slot].hop.deadline());
        let Some(slot) = oldest else { return false };
        let id = HopId { slot, number: self.hops[slot].number };
        self.act(id, now, Hop::retire);
        true
    }

    // ---- what is kept up to date ------------------------------------------------------------

    /// Tells on the board how a route stands.
    fn note(&mut self, route: usize) {
        let state = &self.states[route];
        let id = RouteId::at(route as u16);
        let mut standing = self.board.standing(id);
        standing.down = state.is_down();
        let offers = state.addresses.iter().filter_map(|address| address.offers);
        standing.offers = offers.reduce(|all, offers| all.common(offers));
        self.board.note(id, standing);
    }

    fn schedule_hop(&mut self, slot: usize) {
        if let Some(hop) = self.hops.get_mut(slot) {
            self.deadlines.set(Due::Hop(slot), Some(hop.hop.deadline()), &mut hop.entry);
        }
    }

    pub(super) fn schedule_route(&mut self, route: usize) {
        let state = &mut self.states[route];
        let deadline = state.deadline();
        self.deadlines.set(Due::Route(route), deadline, &mut state.entry);
    }
}
