//! Lists of domains and of networks: looked up, not searched for. A host costs about the same
//! whether ten domains are listed or a million, and no domain is found inside a longer word.

use crate::limits::HOST_OCTETS;
use core::net::{IpAddr, Ipv6Addr};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use idna::AsciiDenyList;
use ipnet::IpNet;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// A name as it is looked up: in lower case, and one of another alphabet in A-labels (RFC 5890 2.3.2.1),
/// as browsers make them (UTS 46), which takes memory. `None` for what no browser takes for a name, and
/// for what becomes too long for one.
pub(crate) fn looked_up_as(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    let form = match idna::domain_to_ascii_cow(name, AsciiDenyList::EMPTY).ok()? {
        Cow::Borrowed(form) => Cow::Borrowed(form.as_bytes()),
        Cow::Owned(form) => Cow::Owned(form.into_bytes()),
    };
    (1..=HOST_OCTETS).contains(&form.len()).then_some(form)
}

/// Domains as they are looked up, each with the rules that ask for it and for all below it.
#[derive(Debug, Default)]
pub(super) struct Domains {
    table: HashTable<Place>,
    octets: Box<[u8]>,
    rules: Box<[u16]>,
    seed: Seed,
}

/// Where a domain lies in the octets, and its rules among the rules.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    rules_start: u32,
    rules: u16,
    length: u8,
}

/// What the hashes begin with and are multiplied by. Drawn for each process: nobody can compute
/// beforehand which hosts share a hash.
#[derive(Clone, Copy, Debug)]
struct Seed {
    start: u64,
    multiplier: u64,
}

impl Default for Seed {
    fn default() -> Seed {
        let drawn = RandomState::default();
        Seed { start: drawn.hash_one("start"), multiplier: drawn.hash_one("multiplier") | 1 }
    }
}

impl Seed {
    /// The hash of a name that has one octet more in front.
    fn with(self, hash: u64, octet: u8) -> u64 {
        (hash ^ u64::from(octet)).wrapping_mul(self.multiplier).rotate_left(23)
    }

    fn end(hash: u64) -> u64 {
        (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn hash(self, name: &[u8]) -> u64 {
        Seed::end(name.iter().rev().fold(self.start, |hash, octet| self.with(hash, *octet)))
    }
}

impl Domains {
    /// The domains that rules ask for, as they are looked up and without dots at their ends.
    pub(super) fn new(asked: &BTreeMap<Vec<u8>, Vec<u16>>) -> Domains {
        let seed = Seed::default();
        let (mut octets, mut all_rules) = (Vec::new(), Vec::new());
        let mut table: HashTable<Place> = HashTable::with_capacity(asked.len());
        for (name, rules) in asked {
            let place = Place {
                start: octets.len() as u32,
                rules_start: all_rules.len() as u32,
                rules: rules.len() as u16,
                length: name.len() as u8,
            };
            octets.extend_from_slice(name);
            all_rules.extend_from_slice(rules);
            let hash_of = |place: &Place| seed.hash(name_of(&octets, *place));
            table.insert_unique(hash_of(&place), place, hash_of);
        }
        Domains { table, octets: octets.into(), rules: all_rules.into(), seed }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Memory of the table, in octets.
    pub(super) fn octets(&self) -> usize {
        self.table.allocation_size() + self.octets.len() + size_of_val(&*self.rules)
    }

    /// Gives the rules that ask for a host, or for a domain in which it lies. The hash of each of these
    /// is one step from that of the one below, so a host is read once.
    pub(super) fn look_up(&self, host: &[u8], mut found: impl FnMut(u16)) {
        let mut hash = self.seed.start;
        for at in (0..host.len()).rev() {
            hash = self.seed.with(hash, host[at]);
            if at > 0 && host[at - 1] != b'.' {
                continue;
            }
            let name = &host[at..];
            let is_it = |place: &Place| name_of(&self.octets, *place) == name;
            if let Some(place) = self.table.find(Seed::end(hash), is_it) {
                let rules = &self.rules[place.rules_start as usize..][..usize::from(place.rules)];
                rules.iter().for_each(|rule| found(*rule));
            }
        }
    }
}

fn name_of(octets: &[u8], place: Place) -> &[u8] {
    &octets[place.start as usize..][..usize::from(place.length)]
}

/// Networks, each with the rules that ask for the addresses in it.
#[derive(Debug, Default)]
pub(super) struct Networks {
    /// For each length of prefix that is there, the longest first, the networks of that length.
    /// IPv4 addresses are those of `::ffff:0:0/96`.
    by_length: Vec<(u8, OfLength)>,
}

/// Networks of one length by their first address, with their rules.
type OfLength = HashMap<u128, Vec<u16>, RandomState>;

impl Networks {
    pub(super) fn new(asked: &[(IpNet, u16)]) -> Networks {
        let mut by_length: BTreeMap<u8, OfLength> = BTreeMap::new();
        for (network, rule) in asked {
            let length = match network {
                IpNet::V4(network) => network.prefix_len() + 96,
                IpNet::V6(network) => network.prefix_len(),
            };
            let bits = number(network.addr()) & mask(length);
            by_length.entry(length).or_default().entry(bits).or_default().push(*rule);
        }
        Networks { by_length: by_length.into_iter().rev().collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_length.iter().map(|(_, networks)| networks.len()).sum()
    }

    /// Memory of the tables, in octets, about.
    pub(super) fn octets(&self) -> usize {
        let an_entry = size_of::<(u128, Vec<u16>)>() + size_of::<u16>();
        self.by_length.iter().map(|(_, networks)| networks.capacity() * an_entry).sum()
    }

    /// Gives the rules that ask for a network in which an address lies.
    pub(super) fn look_up(&self, address: IpAddr, mut found: impl FnMut(u16)) {
        let bits = number(address);
        for (length, networks) in &self.by_length {
            let rules = networks.get(&(bits & mask(*length)));
            rules.into_iter().flatten().for_each(|rule| found(*rule));
        }
    }
}

fn number(address: IpAddr) -> u128 {
    let v6: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    v6.to_bits()
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_by_its_domains_and_not_inside_words() {
        let asked = ["example.com", "a.example.com", "xn--bcher-kva.example", "zip"];
        let asked =
            asked.iter().zip(0..).map(|(name, rule)| (name.as_bytes().to_vec(), vec![rule]));
        let domains = Domains::new(&asked.collect());
        let found = |host: &str| {
            let mut rules = Vec::new();
            domains.look_up(host.as_bytes(), |rule| rules.push(rule));
            rules
        };
        let table: [(&str, &[u16]); 9] = [
            ("example.com", &[0]),
            ("www.example.com", &[0]),
            ("a.example.com", &[0, 1]),
            ("b.a.example.com", &[0, 1]),
            ("notexample.com", &[]),
            ("example.com.net", &[]),
            ("com", &[]),
            ("file.zip", &[3]),
            ("", &[]),
        ];
        for (host, rules) in table {
            assert_eq!(found(host), rules, "{host}");
        }
    }

    #[test]
    fn a_name_of_another_alphabet_has_one_form() {
        let table = [
            ("example.com", Some("example.com")),
            ("B\u{fc}cher.Example", Some("xn--bcher-kva.example")),
            ("bu\u{308}cher.example", Some("xn--bcher-kva.example")),
            ("\u{ff45}\u{ff56}\u{ff49}\u{ff4c}.example", Some("evil.example")),
            ("ev\u{ad}il\u{3002}example", Some("evil.example")),
            ("\u{5b8}.example", None),
        ];
        for (name, expected) in table {
            let form = looked_up_as(name.as_bytes());
            let form = form.map(|form| String::from_utf8(form.into_owned()).unwrap());
            assert_eq!(form.as_deref(), expected, "{name}");
        }
        assert_eq!(looked_up_as(b"b\xfccher.example"), None, "of no alphabet");
        let long = "\u{fc}.".repeat(HOST_OCTETS / 3) + "example";
        assert_eq!(looked_up_as(long.as_bytes()), None, "too long as ASCII");
    }

    #[test]
    fn an_address_is_found_by_its_networks() {
        let networks = ["192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "0.0.0.0/1"];
        let asked: Vec<(IpNet, u16)> =
            networks.iter().zip(0..).map(|(net, rule)| (net.parse().unwrap(), rule)).collect();
        let networks = Networks::new(&asked);
        let found = |address: &str| {
            let mut rules = Vec::new();
            networks.look_up(address.parse().unwrap(), |rule| rules.push(rule));
            rules
        };
        assert_eq!(found("192.0.2.7"), [1, 0]);
        assert!(found("192.0.3.7").is_empty());
        assert_eq!(found("::ffff:192.0.2.1"), [0]);
        assert_eq!(found("2001:db8:1::1"), [2]);
        assert_eq!(found("10.0.0.1"), [3]);
        assert_eq!(networks.len(), 4);
    }

    /// no input can be made so that its hosts share a hash, whatever the process.
    #[test]
    fn a_62_hashes_differ_from_process_to_process() {
        let (one, other) = (Seed::default(), Seed::default());
        assert_ne!(one.hash(b"example.com"), other.hash(b"example.com"));
    }
}
