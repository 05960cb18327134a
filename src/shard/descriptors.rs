//! How many clients the process's descriptors leave room for.
//!
//! A client that is taken though the last descriptor is gone with it costs others more than it gets:
//! their mail can neither be handed on nor stored. So some are kept for next hops and files, whatever
//! the number of connections that is configured.

use crate::limits::{DESCRIPTORS_RESERVED, EXECUTOR_DESCRIPTORS, RING_DESCRIPTORS};

/// Of the clients that are wanted, as many as there is room for, and at least one a shard. To be asked
/// when the listeners are open and the shards are not.
pub(super) fn clients_possible(wanted: usize, shards: usize) -> usize {
    let permitted = permitted();
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    room(wanted, shards, permitted, open)
}

fn room(wanted: usize, shards: usize, permitted: usize, open: usize) -> usize {
    let own = shards * (EXECUTOR_DESCRIPTORS + RING_DESCRIPTORS);
    let left = permitted.saturating_sub(open + own + DESCRIPTORS_RESERVED);
    wanted.min(left).max(shards)
}

/// The descriptors that the process may have. It may raise its limit up to another one, which is what
/// an operator has set; the lower one is there for programs that use `select`.
fn permitted() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or fill one structure of ours.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return usize::MAX;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            limit = raised;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // some descriptors are kept for next hops and files, whatever is configured.
    #[test]
    fn a_99_clients_leave_descriptors_for_next_hops_and_files() {
        let own = EXECUTOR_DESCRIPTORS + RING_DESCRIPTORS;
        let table = [
            (10_000, 1, usize::MAX, 20, 10_000),
            (10_000, 1, 1_024, 20, 1_024 - 20 - own - DESCRIPTORS_RESERVED),
            (10_000, 2, 1_024, 20, 1_024 - 20 - 2 * own - DESCRIPTORS_RESERVED),
            (100, 2, 1_024, 20, 100),
            (100, 2, 30, 20, 2),
            (1, 4, 1_000, 0, 4),
        ];
        for (wanted, shards, permitted, open, expected) in table {
            let found = room(wanted, shards, permitted, open);
            assert_eq!(found, expected, "{wanted} {shards} {permitted} {open}");
        }
    }
}
