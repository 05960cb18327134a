//! Opening the listeners of all shards on one address.
//!
//! Each shard has its own listener in one SO_REUSEPORT group, in shard order: a steering program
//! finds a shard by the order in which the listeners began to listen. So all of them are opened
//! before the first accept, and none is closed alone.

use crate::limits::LISTEN_BACKLOG;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The listeners of all shards on one address.
#[derive(Debug)]
pub struct Listeners {
    /// Where they listen, with the port that the kernel chose if the port asked for was 0.
    pub address: SocketAddr,
    /// One for each shard, in shard order.
    pub sockets: Vec<OwnedFd>,
}

/// An address on which the gateway cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{cure}")]
pub struct ListenError {
    /// The address asked for.
    pub address: SocketAddr,
    /// The kernel's answer.
    #[source]
    pub error: io::Error,
    cure: &'static str,
}

/// Opens `shards` (at least one) listeners on `address`. With `dual_stack` an IPv6 address takes
/// IPv4 clients as well, as mapped addresses; without it only its own family.
///
/// TCP_NODELAY is set here because accepted sockets inherit it: no call is needed for each of them.
pub fn open(
    address: SocketAddr,
    shards: usize,
    dual_stack: bool,
) -> Result<Listeners, ListenError> {
    assert!(shards > 0);
    let mut listeners = Listeners { address, sockets: Vec::with_capacity(shards) };
    for _ in 0..shards {
        let socket = open_one(listeners.address, dual_stack).map_err(|error| ListenError {
            address,
            cure: cure(&error),
            error,
        })?;
        // The first one resolves port 0, and the others take the same port.
        if let Some(bound) = socket.local_addr().ok().and_then(|bound| bound.as_socket()) {
            listeners.address = bound;
        }
        listeners.sockets.push(socket.into());
    }
    Ok(listeners)
}

fn open_one(address: SocketAddr, dual_stack: bool) -> io::Result<Socket> {
    // socket2 sets close-on-exec. The socket stays blocking: io_uring takes O_NONBLOCK for the wish
    // to be answered EAGAIN, and would not wait for clients.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG as i32)?;
    Ok(socket)
}

fn cure(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "; another program has this port: stop it or choose another port \
             (`ss -ltnp` shows who it is)"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "; ports below 1024 need a privilege: give the service CAP_NET_BIND_SERVICE \
             (`AmbientCapabilities=` in systemd) or choose a higher port"
        }
        Some(libc::EADDRNOTAVAIL) => {
            "; no interface of this machine has this address: see `ip address`, or listen on \
             0.0.0.0 or [::]"
        }
        Some(libc::EAFNOSUPPORT) => "; this machine has no IPv6: listen on an IPv4 address",
        Some(libc::EMFILE | libc::ENFILE) => {
            "; no file descriptor is left: raise the limit (`LimitNOFILE=` in systemd, `ulimit -n`)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn port_zero_is_one_port_for_all_shards() {
        let listeners = open("127.0.0.1:0".parse().unwrap(), 4, false).unwrap();
        assert_eq!(listeners.sockets.len(), 4);
        assert_ne!(listeners.address.port(), 0);
        for socket in &listeners.sockets {
            let socket = socket2::SockRef::from(socket);
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(listeners.address));
            assert!(socket.tcp_nodelay().unwrap());
        }
        TcpStream::connect(listeners.address).unwrap();
    }

    #[test]
    fn an_address_that_cannot_be_had_is_named_with_the_cure() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let line = open(address, 1, false).unwrap_err().to_string();
        assert!(line.contains(&address.to_string()) && line.contains("another program"), "{line}");
        // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
        let line = open("192.0.2.1:0".parse().unwrap(), 1, false).unwrap_err().to_string();
        assert!(line.contains("192.0.2.1") && line.contains("ip address"), "{line}");
        let denied = cure(&io::Error::from_raw_os_error(libc::EACCES));
        assert!(denied.contains("CAP_NET_BIND_SERVICE"));
    }
}
