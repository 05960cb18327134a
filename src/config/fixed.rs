//! What of a configuration cannot change while it is served.
//!
//! Sockets, threads, memory and connections to next hops are laid out once, at the start.

use super::Config;
use std::net::SocketAddr;

impl Config {
    /// What is different in another configuration and would need a restart, in words; `None` if it
    /// can be served in the place of this one.
    pub fn fixed_difference(&self, other: &Config) -> Option<String> {
        let all = [
            (self.hostname == other.hostname, "`hostname`"),
            (self.shards == other.shards, "`shards`"),
            (self.connections_max == other.connections_max, "`connections`"),
            (self.body_memory_octets == other.body_memory_octets, "`memory`"),
            (self.log == other.log, "`log`"),
            (self.addresses() == other.addresses(), "an `address` of [listen]"),
            (self.route_settings == other.route_settings, "[route] (with `state`)"),
            (self.remembers_as(other), "[ledger] (with `state`)"),
            (self.admin == other.admin, "[admin]"),
        ];
        let different: Vec<&str> =
            all.iter().filter(|(same, _)| !same).map(|(_, what)| *what).collect();
        (!different.is_empty()).then(|| different.join(" and "))
    }

    /// Whether the ledger is the same, in the same place; or there is none.
    fn remembers_as(&self, other: &Config) -> bool {
        self.ledger == other.ledger && (self.ledger.is_none() || self.state == other.state)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.listeners.iter().map(|(address, _)| *address).collect();
        addresses.sort_unstable();
        addresses
    }
}
