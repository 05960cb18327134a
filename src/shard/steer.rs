//! Which shard a client comes to: always the same one for the same source.
//!
//! The listeners of all shards on one address are one SO_REUSEPORT group. Without help the kernel
//! chooses among them by a hash of both addresses and ports, so that the connections of one client
//! are everywhere, and no shard could count them. The program here chooses by the client's address
//! alone (of IPv6, by its /64), and [`shard_of`] is the same choice in Rust, which each shard
//! compares.

use core::net::IpAddr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The factor of Fibonacci hashing: 2^32 divided by the golden ratio, to the nearest odd number.
const FACTOR: u32 = 0x9E37_79B1;

/// The shard, of `shards`, to which the clients of an address come.
pub(super) fn shard_of(address: IpAddr, shards: usize) -> usize {
    let word = match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits >> 96) as u32 ^ (bits >> 64) as u32
        }
    };
    (word.wrapping_mul(FACTOR) >> 16) as usize % shards.max(1)
}

/// Has the kernel choose among the listeners of the group that `listener` belongs to, by the order
/// in which they began to listen. All of them listen already, and none is closed alone: the kernel
/// would put the last into its place.
pub(super) fn attach(listener: BorrowedFd<'_>, shards: usize) -> io::Result<()> {
    let mut program = program(shards as u32);
    let filter =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: the option takes one sock_fprog, whose instructions live until the call returns; the
    // kernel copies them.
    let attached = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if attached == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The program in the instructions of classic BPF. What it is shown begins behind the TCP header;
/// the IP header lies at `NET`.
fn program(shards: u32) -> [libc::sock_filter; 13] {
    const NET: u32 = libc::SKF_NET_OFF as u32;
    let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |size: u32, at: u32| step(libc::BPF_LD | size | libc::BPF_ABS, NET + at);
    let alu = |operation: u32, k: u32| step(libc::BPF_ALU | operation | libc::BPF_K, k);
    let is_ipv6 = libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 2,
        jf: 0,
        k: 6,
    };
    [
        // The version is the high half of the first octet.
        load(libc::BPF_B, 0),
        alu(libc::BPF_RSH, 4),
        is_ipv6,
        // IPv4: the source address.
        load(libc::BPF_W, 12),
        step(libc::BPF_JMP | libc::BPF_JA, 4),
        // IPv6: both words of the first half of the source address.
        load(libc::BPF_W, 8),
        step(libc::BPF_MISC | libc::BPF_TAX, 0),
        load(libc::BPF_W, 12),
        step(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0),
        alu(libc::BPF_MUL, FACTOR),
        alu(libc::BPF_RSH, 16),
        alu(libc::BPF_MOD, shards),
        step(libc::BPF_RET | libc::BPF_A, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::listener;
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
    use std::os::fd::AsFd;

    /// Connects from each address; gives the listener at which each of them has arrived.
    fn arrivals(at: &str, to: &str, from: &[IpAddr], shards: usize) -> Vec<(IpAddr, usize)> {
        let at: SocketAddr = at.parse().unwrap();
        let group = listener::open(at, shards, at.ip().is_unspecified()).unwrap();
        attach(group.sockets[0].as_fd(), shards).unwrap();
        let listeners: Vec<TcpListener> =
            group.sockets.into_iter().map(TcpListener::from).collect();
        listeners.iter().for_each(|one| one.set_nonblocking(true).unwrap());
        let to = SocketAddr::new(to.parse().unwrap(), group.address.port());
        let mut arrivals = Vec::new();
        for address in from {
            // Whatever the client's port is.
            for _ in 0..3 {
                let client = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
                client.bind(&SocketAddr::new(*address, 0).into()).unwrap();
                client.connect(&to.into()).unwrap();
                let here = listeners.iter().position(|one| one.accept().is_ok());
                arrivals.push((*address, here.expect("nobody was given the connection")));
            }
        }
        arrivals
    }

    fn check(at: &str, to: &str, from: &[IpAddr]) {
        for shards in [1, 2, 3, 7] {
            let arrivals = arrivals(at, to, from, shards);
            for (address, here) in &arrivals {
                assert_eq!(*here, shard_of(*address, shards), "{address} at {at}, {shards} shards");
            }
            let used = (0..shards).filter(|shard| arrivals.iter().any(|one| one.1 == *shard));
            assert!(from.len() < 2 || used.count() > shards / 2, "{shards}: {arrivals:?}");
        }
    }

    fn ipv4() -> Vec<IpAddr> {
        (1..=24u8).map(|last| Ipv4Addr::new(127, 0, last, last).into()).collect()
    }

    #[test]
    fn every_connection_of_an_address_comes_to_the_shard_that_is_computed() {
        check("127.0.0.1:0", "127.0.0.1", &ipv4());
    }

    #[test]
    fn ipv4_clients_of_a_dual_stack_listener_are_steered_as_such() {
        check("[::]:0", "127.0.0.1", &ipv4());
    }

    /// Loopback has one IPv6 address; that others of its /64 come to the same shard is arithmetic.
    #[test]
    fn ipv6_clients_are_steered_by_their_network() {
        check("[::1]:0", "::1", &[Ipv6Addr::LOCALHOST.into()]);
        let in_network = |network: u32, host: u64| {
            let bits = 0x2001_0db8u128 << 96 | u128::from(network) << 64 | u128::from(host);
            IpAddr::from(Ipv6Addr::from_bits(bits))
        };
        for network in 0..64 {
            let shard = shard_of(in_network(network, 1), 8);
            assert!((2..20).all(|host| shard_of(in_network(network, host << 50), 8) == shard));
        }
        let used: std::collections::BTreeSet<usize> =
            (0..64).map(|network| shard_of(in_network(network, 1), 8)).collect();
        assert_eq!(used.len(), 8, "networks are spread over all shards");
    }
}
