//! Whom a listener believes what its peers say of others.

use core::net::IpAddr;
use ipnet::IpNet;

/// Networks by address. An address that is not known is in none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
}

/// Who may say who the client is. It is judged by the TCP peer and by its certificate, never by an
/// address that a peer has claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Peers that must begin with a PROXY header.
    pub proxy: Networks,
    /// Peers that may use XCLIENT.
    pub xclient: Networks,
    /// Peers that may use XFORWARD.
    pub xforward: Networks,
    /// Peers that RESUME is offered to, beside those with a verified certificate.
    pub resume: Networks,
    /// Bearers of these keys may use XCLIENT and XFORWARD from anywhere: SHA-256 of the public key
    /// of a client certificate that was verified.
    pub keys: Vec<[u8; 32]>,
}

impl Networks {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Networks {
        Networks { networks }
    }

    /// Whether an address lies in one of them. IPv4 addresses in their IPv6 form are IPv4.
    pub fn contain(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address.map(|address| address.to_canonical()) else { return false };
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// All of them.
    pub fn list(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // mapped addresses are unmapped before any list, and an unknown address is on no list.
    #[test]
    fn a_11_mapped_addresses_are_their_ipv4_selves_and_unknown_ones_are_nowhere() {
        let local = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let table = [
            (Some("127.0.0.1"), true),
            (Some("::ffff:127.0.0.1"), true),
            (Some("::1"), false),
            (Some("192.0.2.1"), false),
            (None, false),
        ];
        for (address, expected) in table {
            let address = address.map(|text| text.parse().unwrap());
            assert_eq!(local.contain(address), expected, "{address:?}");
        }
        let all = Networks::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        assert!(!all.contain(None) && all.contain("2001:db8::1".parse().ok()));
    }
}
