//! Who is connected from where: how many connections, and how many handshakes, one source has open.
//!
//! A source is an IPv4 address or an IPv6 network of /64, which is what one subscriber gets and can
//! use as he likes. It has a place in the table as long as one of its connections is open: so a
//! source that is live is never forgotten for another, and the table has at most as many places as
//! the shard has connections. A source always comes to the same shard (see `steer`), whose count is
//! therefore the whole one.

use crate::limits::HANDSHAKES_PER_SOURCE;
use core::net::IpAddr;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The sources that have connections to this shard.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The hash is seeded when the process starts: nobody can choose addresses that collide.
    open: HashMap<Source, Open, foldhash::fast::RandomState>,
}

/// Where a connection comes from, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source {
    /// Listeners are counted apart: what a neighbour hands in is not what strangers may.
    listener: u32,
    network: Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    /// The first half of the address.
    V6(u64),
}

#[derive(Debug, Default)]
struct Open {
    connections: u32,
    handshakes: u32,
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
    /// A connection was made. False, and it is not counted, if its source has `most` of them; with 0
    /// there is no limit.
    pub fn connected(&mut self, source: Source, most: u32) -> bool {
        let open = match self.open.entry(source) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(Open::default()),
        };
        let room = most == 0 || open.connections < most;
        open.connections += u32::from(room);
        room
    }

    /// A connection is gone.
    pub fn closed(&mut self, source: Source) {
        if let Entry::Occupied(mut open) = self.open.entry(source) {
            let counts = open.get_mut();
            counts.connections = counts.connections.saturating_sub(1);
            if counts.connections == 0 {
                open.remove();
            }
        }
    }

    /// A TLS handshake begins on one of the source's connections. False, and it is not counted, if
    /// the source has too many under way.
    pub fn handshake_begins(&mut self, source: Source) -> bool {
        let Some(open) = self.open.get_mut(&source) else { return true };
        let room = open.handshakes < HANDSHAKES_PER_SOURCE;
        open.handshakes += u32::from(room);
        room
    }

    /// A handshake is over, whatever came of it.
    pub fn handshake_ended(&mut self, source: Source) {
        if let Some(open) = self.open.get_mut(&source) {
            open.handshakes = open.handshakes.saturating_sub(1);
        }
    }

    /// Sources in the table.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(0, text.parse().unwrap())
    }

    #[test]
    fn one_more_than_the_limit_is_too_many_until_one_goes() {
        let mut sources = Sources::default();
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        assert!((0..50).all(|_| sources.connected(one, 50)));
        assert!(!sources.connected(one, 50));
        assert!(sources.connected(other, 50), "another source");
        assert!(sources.connected(Source::of(1, "192.0.2.1".parse().unwrap()), 50));
        sources.closed(one);
        assert!(sources.connected(one, 50) && !sources.connected(one, 50));
        assert!((0..1_000).all(|_| sources.connected(one, 0)), "0 is no limit");
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
        let mut sources = Sources::default();
        let one = source("2001:db8::1");
        assert!(sources.connected(one, 0));
        assert!((0..HANDSHAKES_PER_SOURCE).all(|_| sources.handshake_begins(one)));
        assert!(!sources.handshake_begins(one));
        sources.handshake_ended(one);
        assert!(sources.handshake_begins(one));
    }

    /// a million sources one after the other leave nothing behind, and who is live is known.
    #[test]
    fn a_66_the_table_holds_who_is_connected_and_nobody_else() {
        let mut sources = Sources::default();
        let live = source("192.0.2.1");
        assert!(sources.connected(live, 1));
        for address in 0..1_000_000u32 {
            let passing = Source::of(0, IpAddr::from(address.to_be_bytes()));
            assert!(sources.connected(passing, 2));
            sources.closed(passing);
            assert!(sources.len() <= 2);
        }
        assert!(!sources.connected(live, 1), "it is still counted");
    }
}
