//! Asking a next hop about a recipient before RCPT is answered.
//!
//! What next hops have said is remembered for a while. Who asks about a recipient that is being asked
//! about waits for the same answer. When a next hop cannot be asked, or is too slow, the answer is
//! stated: a recipient that it took within [`VERIFY_ACCEPTED_STALE`] is believed in, for any other
//! RCPT is put off with 451.

use super::pool::Ticket;
use super::told::told;
use crate::limits::{
    VERIFY_ACCEPTED_ENTRIES, VERIFY_ACCEPTED_FRESH, VERIFY_ACCEPTED_STALE, VERIFY_REFUSED_ENTRIES,
    VERIFY_REFUSED_FRESH,
};
use crate::now::Tick;
use crate::policy::{RouteId, SeededMap};
use crate::wire::{Kind, Reply};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

/// The question: would the next hop take mail for this recipient?
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The route whose next hop is asked.
    pub route: RouteId,
    /// The recipient's address, without angle brackets.
    pub recipient: Box<[u8]>,
    /// The address is outside ASCII.
    pub smtputf8: bool,
}

/// The answer to a [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The next hop takes the recipient, or takes it for now.
    Accepted,
    /// It does not: the reply that RCPT gets, 4xx or 5xx.
    Refused(Reply),
}

/// A recipient of a route: the domain in lower case, the local-part as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub route: RouteId,
    pub address: Arc<[u8]>,
}

/// What is known of recipients, and who waits for what is not.
#[derive(Debug)]
pub(super) struct Verifications {
    accepted: Memory<()>,
    refused: Memory<Reply>,
    waiting: SeededMap<Key, Vec<Ticket>>,
}

impl Verifications {
    /// Nothing is known.
    pub fn new() -> Verifications {
        Verifications {
            accepted: Memory::new(VERIFY_ACCEPTED_ENTRIES),
            refused: Memory::new(VERIFY_REFUSED_ENTRIES),
            waiting: SeededMap::default(),
        }
    }

    /// What is known well enough not to ask.
    pub fn known(&self, key: &Key, now: Tick) -> Option<Verification> {
        if self.accepted.within(key, VERIFY_ACCEPTED_FRESH, now).is_some() {
            return Some(Verification::Accepted);
        }
        let refusal = self.refused.within(key, VERIFY_REFUSED_FRESH, now);
        refusal.map(|reply| Verification::Refused(reply.clone()))
    }

    /// Waits for what will be said of a recipient. True if it must be asked about.
    pub fn wait(&mut self, key: &Key, ticket: Ticket) -> bool {
        match self.waiting.entry(key.clone()) {
            Entry::Occupied(mut others) => {
                others.get_mut().push(ticket);
                false
            }
            Entry::Vacant(first) => {
                first.insert(vec![ticket]);
                true
            }
        }
    }

    /// The next hop has answered: its reply to RCPT, or to MAIL if it refused that.
    pub fn answered(
        &mut self,
        key: &Key,
        answer: &Result<Reply, Reply>,
        now: Tick,
    ) -> (Vec<Ticket>, Verification) {
        let verification = match answer {
            Ok(reply) if reply.is_positive() => {
                self.accepted.note(key, (), now);
                self.refused.forget(key);
                Verification::Accepted
            }
            Ok(reply) => {
                let reply = told(reply);
                // What passes is not remembered: the client comes again when it has waited.
                if reply.kind() == Kind::Permanent {
                    self.refused.note(key, reply.clone(), now);
                    self.accepted.forget(key);
                }
                Verification::Refused(reply)
            }
            // It takes no mail from the null sender: that says nothing of the recipient.
            Err(reply) => self.stated(key, reply, now),
        };
        (self.waiting.remove(key).unwrap_or_default(), verification)
    }

    /// The next hop could not be asked.
    pub fn unanswered(
        &mut self,
        key: &Key,
        reply: &Reply,
        now: Tick,
    ) -> (Vec<Ticket>, Verification) {
        (self.waiting.remove(key).unwrap_or_default(), self.stated(key, reply, now))
    }

    /// The answer when there is none.
    fn stated(&self, key: &Key, reply: &Reply, now: Tick) -> Verification {
        match self.accepted.within(key, VERIFY_ACCEPTED_STALE, now) {
            Some(()) => Verification::Accepted,
            None => Verification::Refused(super::told::deferred(&told(reply))),
        }
    }

    /// Recipients that somebody waits for.
    pub fn waited_for(&self) -> usize {
        self.waiting.len()
    }
}

impl Key {
    /// RFC 5321 2.4: domains are the same in any case, local-parts need not be.
    pub fn of(probe: &Probe) -> Key {
        let mut address = probe.recipient.to_vec();
        let domain = memchr::memrchr(b'@', &address).unwrap_or(0);
        address[domain..].make_ascii_lowercase();
        Key { route: probe.route, address: address.into() }
    }
}

/// A bounded memory of recipients: those noted first are forgotten first.
#[derive(Debug)]
struct Memory<V> {
    entries: SeededMap<Key, Noted<V>>,
    /// The keys with the numbers of their notes, in that order. Notes that were made again or
    /// forgotten leave their numbers behind, which are passed over.
    order: VecDeque<(Key, u64)>,
    noted: u64,
    entries_max: usize,
}

#[derive(Debug)]
struct Noted<V> {
    value: V,
    at: Tick,
    number: u64,
}

impl<V> Memory<V> {
    fn new(entries_max: usize) -> Memory<V> {
        Memory { entries: SeededMap::default(), order: VecDeque::new(), noted: 0, entries_max }
    }

    fn within(&self, key: &Key, span: Duration, now: Tick) -> Option<&V> {
        let noted = self.entries.get(key)?;
        (now < noted.at + span).then_some(&noted.value)
    }

    fn note(&mut self, key: &Key, value: V, now: Tick) {
        self.noted += 1;
        self.entries.insert(key.clone(), Noted { value, at: now, number: self.noted });
        self.order.push_back((key.clone(), self.noted));
        while self.entries.len() > self.entries_max || self.order.len() > 2 * self.entries_max {
            let Some((oldest, number)) = self.order.pop_front() else { return };
            if self.entries.get(&oldest).is_some_and(|noted| noted.number == number) {
                self.entries.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        self.entries.remove(key);
    }
}
