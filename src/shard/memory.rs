//! Memory that is not needed for now, given back to the system by who has freed it.

/// Gives back what this thread and the process have freed.
///
/// The allocator keeps what is freed for a second, and then whichever thread asks for memory next
/// gives it back. After large tables that takes milliseconds, and the thread may be a shard's: so who
/// has freed much calls this. It may take as long, and is not for shards.
pub(crate) fn give_back() {
    // SAFETY: mi_collect has no conditions, and does nothing for the heaps of other threads. In a
    // program with another allocator it finds nothing to give back.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
