//! The receive buffers: memory that the kernel picks from by itself when octets arrive.
//!
//! All sockets of a shard share them, so a connection that is silent holds none. A buffer is lent to
//! the consumer for the length of one event and then goes straight back: the consumer copies what it
//! wants to keep into memory that is counted against its own session. If instead a buffer could be
//! kept until a slow next hop had taken its octets, that one next hop would end up holding all
//! buffers, and the receives of innocent sessions would fail for want of one.

use super::StartError;
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::cell::Cell;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The only buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Receive buffers and the ring of entries in which the kernel finds the free ones.
///
/// It must outlive every receive that may still pick from it.
#[derive(Debug)]
pub struct Buffers {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    octets: u32,
    /// Entries ever published, modulo 2^16; the kernel reads it from the ring's head.
    tail: Cell<u16>,
}

impl Buffers {
    /// Makes `count` (a power of two, at most 32,768) buffers of `octets` each and hands all of
    /// them to the kernel.
    pub(super) fn register(
        uring: &IoUring,
        count: u16,
        octets: u32,
    ) -> Result<Buffers, StartError> {
        assert!(count.is_power_of_two() && octets > 0);
        let allocate = |size| {
            Mapping::new(size).map_err(|error| StartError::of("memory for receive buffers", error))
        };
        let buffers = Buffers {
            entries: allocate(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: allocate(usize::from(count) * octets as usize)?,
            count,
            octets,
            tail: Cell::new(0),
        };
        // SAFETY: the entries are page aligned, `count` of them long, and live until the ring has
        // no receive left (`Ring` sees to that before it drops them).
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                buffers.entries.start.as_ptr() as u64,
                count,
                GROUP,
                0,
            )
        }
        .map_err(|error| StartError::of("register receive buffers", error))?;
        (0..count).for_each(|buffer| buffers.give_back(buffer));
        Ok(buffers)
    }

    /// How many buffers there are.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The first `octets` octets of a buffer that the kernel has filled and not got back.
    pub(super) fn octets(&self, buffer: u16, octets: usize) -> &[u8] {
        assert!(buffer < self.count && octets <= self.octets as usize);
        let start = usize::from(buffer) * self.octets as usize;
        // SAFETY: the range lies inside the mapping (asserted above), which was zeroed when it was
        // made, and the kernel writes to a buffer only while it is in the ring of free ones.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr().add(start), octets) }
    }

    /// Hands a buffer back to the kernel. Nobody may look at its octets any more.
    pub(super) fn give_back(&self, buffer: u16) {
        assert!(buffer < self.count);
        let tail = self.tail.get();
        let start = usize::from(buffer) * self.octets as usize;
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is masked to the number of entries; the kernel does not read an entry
        // at or behind the tail, and the setters leave the tail alone, which shares memory with
        // the unused last field of the first entry.
        let entry = unsafe { &mut *entries.add(usize::from(tail & (self.count - 1))) };
        entry.set_addr(self.memory.start.as_ptr() as u64 + start as u64);
        entry.set_len(self.octets);
        entry.set_bid(buffer);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the tail is an aligned u16 inside the mapping; only this thread writes it, and
        // the kernel reads it, hence the atomic with release order.
        let published = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() };
        published.store(self.tail.get(), Ordering::Release);
    }
}

/// Zeroed, page-aligned memory that becomes resident when it is touched.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    octets: usize,
}

impl Mapping {
    fn new(octets: usize) -> io::Result<Mapping> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing else.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                octets,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => {
                Ok(Mapping { start, octets })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.octets) };
    }
}
