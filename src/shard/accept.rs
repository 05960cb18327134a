//! When a listener accepts again: at once, after a rest, or one connection at a time.
//!
//! A multishot accept ends for many reasons. Most concern one connection only, and the next accept
//! follows at once; when descriptors or memory ran out it rests, so that a shard in need does not
//! spend its core on asking again.

use crate::limits::{ACCEPT_FAILURES_IN_A_ROW, ACCEPT_REST_MS, ACCEPT_SHED_AT_ONCE};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A listener of the ring and the accept that the kernel has for it.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// `None` once it has stopped and its last accept has come back.
    pub(super) listener: Option<OwnedFd>,
    pub(super) tag: u32,
    /// What a client reads for whom there is no room; then it is closed.
    pub(super) full_notice: &'static [u8],
    /// The kernel has an accept.
    pub(super) armed: bool,
    pub(super) stopping: bool,
    /// Multishot accept is refused here: one connection an operation.
    pub(super) single_shot: bool,
    /// Not before this moment.
    pub(super) rests_until: Option<Instant>,
    failures: u32,
    refusals: u32,
}

impl Acceptor {
    pub(super) fn new(listener: OwnedFd, tag: u32, full_notice: &'static [u8]) -> Acceptor {
        Acceptor {
            listener: Some(listener),
            tag,
            full_notice,
            armed: false,
            stopping: false,
            single_shot: false,
            rests_until: None,
            failures: 0,
            refusals: 0,
        }
    }

    /// A connection came.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.refusals = 0;
    }

    /// An accept ended with `errno`. Returns whether the process is out of descriptors.
    pub(super) fn failed(&mut self, errno: i32, now: Instant) -> bool {
        let rest = now + Duration::from_millis(ACCEPT_REST_MS);
        match errno {
            libc::ECANCELED => {}
            libc::EMFILE | libc::ENFILE => {
                self.rests_until = Some(rest);
                return true;
            }
            libc::ENOBUFS | libc::ENOMEM => self.rests_until = Some(rest),
            libc::EINVAL => {
                // Once may be a connection that was gone already; twice in a row is a kernel or
                // filter that knows no multishot accept; after that the listener itself is ill.
                self.refusals += 1;
                if self.single_shot {
                    self.rests_until = Some(rest);
                }
                self.single_shot |= self.refusals > 1;
            }
            _ => {
                self.failures += 1;
                if self.failures > ACCEPT_FAILURES_IN_A_ROW {
                    self.rests_until = Some(rest);
                }
            }
        }
        false
    }

    /// Whether an accept is to be armed now.
    pub(super) fn is_due(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.armed || self.stopping || self.listener.is_none() {
            return false;
        }
        let due = self.rests_until.is_none_or(|moment| moment <= now());
        if due {
            self.rests_until = None;
        }
        due
    }
}

/// A descriptor kept back, so that clients can be told that there is none.
///
/// Without it they would wait in the backlog, see a connection that is established, and hear
/// nothing until they give up.
#[derive(Debug)]
pub(super) struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    pub(super) fn new() -> SpareDescriptor {
        SpareDescriptor(File::open("/dev/null").ok())
    }

    /// Accepts clients, tells each of them `notice` and closes it. Returns how many.
    pub(super) fn shed(&mut self, listener: &OwnedFd, notice: &[u8]) -> u64 {
        let mut shed = 0;
        if self.0.take().is_some() {
            while shed < u64::from(ACCEPT_SHED_AT_ONCE) {
                match accept_waiting(listener) {
                    Some(client) => tell(client.as_fd(), notice),
                    None => break,
                }
                shed += 1;
            }
        }
        *self = SpareDescriptor::new();
        shed
    }
}

/// Accepts a client that waits already. No other thread takes clients from this listener, and none
/// of our own operations does at this moment, so a listener that has one does not block.
fn accept_waiting(listener: &OwnedFd) -> Option<OwnedFd> {
    let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, and the time-out of 0 never sleeps.
    if unsafe { libc::poll(&raw mut poll, 1, 0) } != 1 || poll.revents & libc::POLLIN == 0 {
        return None;
    }
    let (address, octets) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the address of the peer is not asked for.
    let client =
        unsafe { libc::accept4(listener.as_raw_fd(), address, octets, libc::SOCK_CLOEXEC) };
    // SAFETY: a descriptor that accept4 has just made is nobody else's.
    (client >= 0).then(|| unsafe { OwnedFd::from_raw_fd(client) })
}

/// Sends `notice` if the socket takes it at once. A client that does not get it sees a close.
pub(super) fn tell(client: BorrowedFd<'_>, notice: &[u8]) {
    if notice.is_empty() {
        return;
    }
    // SAFETY: the octets are borrowed for the length of the call.
    unsafe {
        libc::send(
            client.as_raw_fd(),
            notice.as_ptr().cast(),
            notice.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
}

/// Makes a descriptor wait: io_uring would otherwise answer EAGAIN at once.
pub(super) fn make_blocking(descriptor: &OwnedFd) {
    let made = socket2::SockRef::from(descriptor).set_nonblocking(false);
    debug_assert!(made.is_ok(), "fcntl of an open descriptor");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptor() -> Acceptor {
        let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        Acceptor::new(listener.unwrap().into(), 0, b"")
    }

    #[test]
    fn a_107_what_concerns_one_connection_is_tried_again_at_once() {
        let now = Instant::now();
        for errno in [libc::ECONNABORTED, libc::EPROTO, libc::EINTR, libc::EPERM] {
            let mut acceptor = acceptor();
            for _ in 0..ACCEPT_FAILURES_IN_A_ROW {
                assert!(!acceptor.failed(errno, now));
                assert!(acceptor.is_due(|| now));
            }
            acceptor.failed(errno, now);
            assert!(!acceptor.is_due(|| now), "one failure too many: it rests");
            acceptor.rests_until = None;
            acceptor.succeeded();
            acceptor.failed(errno, now);
            assert!(acceptor.is_due(|| now));
        }
    }

    #[test]
    fn a_107_what_ran_out_gives_a_rest() {
        let now = Instant::now();
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let mut acceptor = acceptor();
            let out_of_descriptors = matches!(errno, libc::EMFILE | libc::ENFILE);
            assert_eq!(acceptor.failed(errno, now), out_of_descriptors);
            let rest = Duration::from_millis(ACCEPT_REST_MS);
            assert!(!acceptor.is_due(|| now + rest - Duration::from_millis(1)));
            assert!(acceptor.is_due(|| now + rest));
        }
    }

    #[test]
    fn a_107_a_lasting_refusal_falls_back_to_single_shot() {
        let now = Instant::now();
        let mut acceptor = acceptor();
        acceptor.failed(libc::EINVAL, now);
        assert!(!acceptor.single_shot && acceptor.is_due(|| now));
        acceptor.failed(libc::EINVAL, now);
        assert!(acceptor.single_shot && acceptor.is_due(|| now));
        acceptor.failed(libc::EINVAL, now);
        assert!(!acceptor.is_due(|| now), "not even a single accept: no tight loop");
    }

    #[test]
    fn a_listener_that_stops_is_not_armed_again() {
        let now = Instant::now();
        let mut acceptor = acceptor();
        acceptor.stopping = true;
        acceptor.failed(libc::ECANCELED, now);
        assert!(!acceptor.is_due(|| now));
    }
}
