//! Who is connected from where: how many connections and handshakes one source has open, and how
//! often it has named recipients that do not exist.
//!
//! A source is an IPv4 address or an IPv6 network of /64, which is what one subscriber gets and can
//! use as he likes. It has a place in the table as long as one of its connections is open: so a
//! source that is live is never forgotten for another. One that guesses names is remembered for a
//! while beyond that. A source always comes to the same shard (see `shard::steer`), whose count is
//! therefore the whole one; behind a proxy, each shard has a count of its own.

use crate::limits::{HANDSHAKES_PER_SOURCE, SOURCE_MEMORY, SOURCES_REMEMBERED_MAX};
use crate::now::Tick;
use core::net::IpAddr;
use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// The sources that have connections to one shard, or had them lately.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    table: Rc<RefCell<Table>>,
}

/// Where a connection comes from, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Listeners are counted apart: what a neighbour hands in is not what strangers may.
    listener: u32,
    network: Network,
}

/// One connection in the count of its source. It is given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    sources: Sources,
    source: Source,
    handshaking: bool,
}

/// RCPTs of a source for recipients that do not exist, and for some that do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guesses {
    /// Recipients that do not exist.
    pub unknown: u32,
    /// Recipients that were accepted.
    pub known: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    /// The first half of the address.
    V6(u64),
}

#[derive(Debug, Default)]
struct Table {
    /// The hash is seeded when the process starts: nobody can choose addresses that collide.
    open: HashMap<Source, Open, foldhash::fast::RandomState>,
    /// Those whose guesses are remembered, and since when: the oldest first.
    remembered: VecDeque<(Tick, Source)>,
}

#[derive(Debug, Default)]
struct Open {
    connections: u32,
    handshakes: u32,
    /// What it has guessed since it did so first.
    guesses: Option<Guesses>,
}

impl Source {
    /// Whose connection it is. Mapped IPv4 addresses are the addresses that they map.
    pub fn of(listener: u32, address: IpAddr) -> Source {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.to_bits()),
            IpAddr::V6(address) => Network::V6((address.to_bits() >> 64) as u64),
        };
        Source { listener, network }
    }
}

impl Sources {
    /// A connection was made. `None`, and it is not counted, if its source has `most` of them; with 0
    /// there is no limit.
    pub fn connected(&self, source: Source, most: u32) -> Option<Place> {
        let mut table = self.table.borrow_mut();
        let open = table.open.entry(source).or_default();
        if most > 0 && open.connections >= most {
            return None;
        }
        open.connections += 1;
        Some(Place { sources: self.clone(), source, handshaking: false })
    }

    /// Sources in the table.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.borrow().open.len()
    }
}

impl Place {
    /// A TLS handshake begins on the connection. False, and it is not counted, if its source has too
    /// many under way.
    pub fn handshake_begins(&mut self) -> bool {
        let mut table = self.sources.table.borrow_mut();
        let Some(open) = table.open.get_mut(&self.source) else { return true };
        let room = open.handshakes < HANDSHAKES_PER_SOURCE;
        open.handshakes += u32::from(room);
        self.handshaking |= room;
        room
    }

    /// The handshake is over, whatever came of it.
    pub fn handshake_ended(&mut self) {
        if std::mem::take(&mut self.handshaking)
            && let Some(open) = self.sources.table.borrow_mut().open.get_mut(&self.source)
        {
            open.handshakes = open.handshakes.saturating_sub(1);
        }
    }

    /// A RCPT named a recipient that does not exist. Gives what the source has guessed in all lately;
    /// `known` are those of this connection that did exist, and count from the first guess on.
    pub fn guessed_wrong(&self, known: u32, now: Tick) -> Guesses {
        let mut table = self.sources.table.borrow_mut();
        table.forget_old(now);
        let Some(open) = table.open.get_mut(&self.source) else { return Guesses::default() };
        let is_new = open.guesses.is_none();
        let guesses = open.guesses.get_or_insert(Guesses { unknown: 0, known });
        guesses.unknown = guesses.unknown.saturating_add(1);
        let guesses = *guesses;
        if is_new {
            table.remembered.push_back((now, self.source));
        }
        guesses
    }

    /// A RCPT named a recipient that was accepted.
    pub fn guessed_right(&self) {
        let mut table = self.sources.table.borrow_mut();
        if let Some(guesses) = table.open.get_mut(&self.source).and_then(|it| it.guesses.as_mut()) {
            guesses.known = guesses.known.saturating_add(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshake_ended();
        let mut table = self.sources.table.borrow_mut();
        if let Entry::Occupied(mut open) = table.open.entry(self.source) {
            open.get_mut().connections = open.get().connections.saturating_sub(1);
            forget_if_nothing_is_left(open);
        }
    }
}

impl Table {
    /// Makes room for one more whose guesses are remembered.
    fn forget_old(&mut self, now: Tick) {
        while let Some((since, source)) = self.remembered.front().copied() {
            if now < since + SOURCE_MEMORY && self.remembered.len() < SOURCES_REMEMBERED_MAX {
                return;
            }
            self.remembered.pop_front();
            if let Entry::Occupied(mut open) = self.open.entry(source) {
                open.get_mut().guesses = None;
                forget_if_nothing_is_left(open);
            }
        }
    }
}

fn forget_if_nothing_is_left(open: std::collections::hash_map::OccupiedEntry<'_, Source, Open>) {
    if open.get().connections == 0 && open.get().guesses.is_none() {
        open.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn source(text: &str) -> Source {
        Source::of(0, text.parse().unwrap())
    }

    fn numbered(number: u32) -> Source {
        Source::of(0, IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn one_more_than_the_limit_is_too_many_until_one_goes() {
        let sources = Sources::default();
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut places: Vec<Place> = (0..50).map(|_| sources.connected(one, 50).unwrap()).collect();
        assert!(sources.connected(one, 50).is_none());
        assert!(sources.connected(other, 50).is_some(), "another source");
        assert!(sources.connected(Source::of(1, "192.0.2.1".parse().unwrap()), 50).is_some());
        places.pop();
        places.push(sources.connected(one, 50).unwrap());
        assert!(sources.connected(one, 50).is_none());
        places.extend((0..1_000).map(|_| sources.connected(one, 0).unwrap()));
        drop(places);
        assert_eq!(sources.len(), 0);
    }

    #[test]
    fn a_source_is_an_address_or_a_network_of_64_bits() {
        let table = [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "0.0.0.1", false),
        ];
        for (one, other, same) in table {
            assert_eq!(source(one) == source(other), same, "{one} {other}");
        }
    }

    #[test]
    fn handshakes_are_counted_apart() {
        let sources = Sources::default();
        let one = source("2001:db8::1");
        let mut places: Vec<Place> =
            (0..=HANDSHAKES_PER_SOURCE).map(|_| sources.connected(one, 0).unwrap()).collect();
        let mut last = places.pop().unwrap();
        assert!(places.iter_mut().all(Place::handshake_begins));
        assert!(!last.handshake_begins());
        places[0].handshake_ended();
        assert!(last.handshake_begins());
        // Who leaves in the middle of one has ended it.
        assert!(!places[0].handshake_begins());
        drop(places.pop());
        assert!(places[0].handshake_begins());
    }

    // guesses are counted a source over its connections, for an hour.
    #[test]
    fn a_32_guesses_are_remembered_over_connections() {
        let sources = Sources::default();
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        let at = |after: Duration| Tick::START + after;
        let second = Duration::from_secs(1);
        for unknown in 1..=100 {
            let place = sources.connected(one, 1).unwrap();
            let guesses = place.guessed_wrong(0, at(second * unknown));
            assert_eq!(guesses, Guesses { unknown, known: unknown - 1 });
            place.guessed_right();
        }
        let place = sources.connected(other, 1).unwrap();
        place.guessed_right();
        assert_eq!(place.guessed_wrong(7, at(second)), Guesses { unknown: 1, known: 7 });
        drop(place);
        let place = sources.connected(one, 1).unwrap();
        let end = at(second + SOURCE_MEMORY);
        let just = at(second + SOURCE_MEMORY - Duration::from_micros(1));
        assert_eq!(place.guessed_wrong(0, just), Guesses { unknown: 101, known: 100 });
        assert_eq!(place.guessed_wrong(3, end), Guesses { unknown: 1, known: 3 });
        assert_eq!(sources.len(), 1, "the other is forgotten");
    }

    /// a million sources one after the other leave nothing behind, and who is live is known.
    #[test]
    fn a_66_the_table_holds_who_is_connected_and_nobody_else() {
        let sources = Sources::default();
        let live = source("192.0.2.1");
        let _place = sources.connected(live, 1).unwrap();
        for number in 0..1_000_000u32 {
            assert!(sources.connected(numbered(number), 2).is_some());
            assert_eq!(sources.len(), 1);
        }
        assert!(sources.connected(live, 1).is_none(), "it is still counted");
    }

    /// of those who guess, the oldest make room; who is live keeps its place.
    #[test]
    fn a_66_memory_of_guesses_is_bounded() {
        let sources = Sources::default();
        let live = source("192.0.2.1");
        let place = sources.connected(live, 1).unwrap();
        place.guessed_wrong(0, Tick::START);
        for number in 0..2 * SOURCES_REMEMBERED_MAX as u32 {
            sources.connected(numbered(number), 2).unwrap().guessed_wrong(0, Tick::START);
            assert!(sources.len() <= SOURCES_REMEMBERED_MAX + 1);
        }
        assert!(sources.connected(live, 1).is_none(), "it is still counted");
        assert_eq!(place.guessed_wrong(0, Tick::START).unknown, 1, "what it guessed is forgotten");
    }
}
