//! Whether a peer's kernel has all that was sent to it.
//!
//! It is evidence that a client has its reply, and no proof: the octets may lie unread in its kernel.
//! It must be asked before the descriptor is closed. `tcpi_unacked` would lie: after a reset, and with
//! a full window, it is 0 for octets that nobody has. `SIOCOUTQ` counts what was given to the kernel
//! and not acknowledged, sent or not, and says so after a reset, too.

use std::os::fd::RawFd;

/// Whether nothing that the kernel was given for this socket is unacknowledged.
pub(super) fn is_all_acknowledged(socket: RawFd) -> bool {
    let mut octets: libc::c_int = 0;
    // `SIOCOUTQ` and `TIOCOUTQ` are one number, and the C library has only the second name.
    // SAFETY: the kernel writes one integer to where it lives.
    let answer = unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut octets) };
    answer == 0 && octets == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    const REPLY: &[u8] = b"250 2.6.0 message accepted\r\n";

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    fn is_soon_acknowledged(server: &TcpStream) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while !is_all_acknowledged(server.as_raw_fd()) {
            if Instant::now() > until {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    /// Waits for the end that the peer has made, an orderly one or a reset.
    fn wait_for_end(server: &mut TcpStream) {
        while server.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
    }

    #[test]
    fn a_reply_that_lies_in_the_clients_kernel_is_acknowledged() {
        let (mut server, client) = pair();
        assert!(is_all_acknowledged(server.as_raw_fd()), "nothing was sent");
        server.write_all(REPLY).unwrap();
        assert!(is_soon_acknowledged(&server));
        // Acknowledged, and then reset: that it was unread is not seen.
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        wait_for_end(&mut server);
        assert!(is_all_acknowledged(server.as_raw_fd()));
    }

    #[test]
    fn a_reply_to_a_client_that_is_gone_or_does_not_read_is_not() {
        let (mut server, client) = pair();
        drop(client);
        wait_for_end(&mut server);
        // The kernel takes it; the client's kernel answers with a reset.
        server.write_all(REPLY).unwrap();
        wait_for_end(&mut server);
        assert!(!is_all_acknowledged(server.as_raw_fd()));

        let (mut server, _client) = pair();
        server.set_nonblocking(true).unwrap();
        while server.write(&[b'x'; 65_536]).is_ok() {}
        assert!(!is_all_acknowledged(server.as_raw_fd()));
    }
}
