//! The bell beside a sleeping shard.
//!
//! It is an eventfd. The kernel rings it when a completion is on its way, and any thread may ring it
//! through a [`BellRope`] after it has put something into the shard's mailbox. A shard that is awake
//! keeps the kernel from ringing, and a rope that was pulled already is not pulled twice: a busy
//! shard costs its neighbours an atomic operation and no system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The bell of one shard. It is made before the shard, so that the ropes can be handed out first.
#[derive(Debug)]
pub struct Bell {
    shared: Arc<Shared>,
}

/// Rings the bell from any thread. It may outlive the shard; then it rings for nobody.
#[derive(Clone, Debug)]
pub struct BellRope {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    eventfd: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    /// A silent bell. It fails when no descriptor is left.
    pub fn new() -> io::Result<Bell> {
        // SAFETY: eventfd takes no memory of ours.
        let eventfd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if eventfd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made above and nobody else knows it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(eventfd) };
        Ok(Bell { shared: Arc::new(Shared { eventfd, rung: AtomicBool::new(false) }) })
    }

    /// A rope for another thread.
    pub fn rope(&self) -> BellRope {
        BellRope { shared: Arc::clone(&self.shared) }
    }

    /// Whether somebody has pulled a rope since this was last asked. Mail put down before a pull is
    /// seen by whoever gets `true` here.
    pub fn answer(&self) -> bool {
        // The plain load keeps the cache line shared in the usual case of nobody ringing.
        self.shared.rung.load(Ordering::Relaxed) && self.shared.rung.swap(false, Ordering::AcqRel)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}

impl BellRope {
    /// Wakes the shard, now or when it next wants to sleep. Put the mail down first.
    pub fn ring(&self) {
        if !self.shared.rung.swap(true, Ordering::AcqRel) {
            self.shake();
        }
    }

    /// Wakes the shard's thread without saying that there is mail.
    pub(super) fn shake(&self) {
        let one = 1u64;
        // SAFETY: eight octets of a local are read. The only possible failure is a counter at its
        // end, and then the bell is ringing anyway.
        unsafe {
            libc::write(
                self.shared.eventfd.as_raw_fd(),
                std::ptr::from_ref(&one).cast(),
                size_of::<u64>(),
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_answered_once() {
        let bell = Bell::new().unwrap();
        assert!(!bell.answer());
        let rope = bell.rope();
        rope.ring();
        rope.clone().ring();
        assert!(bell.answer());
        assert!(!bell.answer());
    }
}
