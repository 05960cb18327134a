//! All sockets of one shard on one raw io_uring ring: verbs in, events out.
//!
//! A verb (send, pause, close) only writes down what is wanted of a socket and puts it on the list
//! of the unsettled. At the start of the next [`Ring::turn`] every socket on that list is settled:
//! the operations are queued that bring the kernel from what it does to what is wanted. So the
//! outputs that one event gave a socket leave in one operation, a pause that is taken back costs
//! nothing, and all operations of a round cost one system call.
//!
//! What the kernel was given stays where it is until the kernel has given it back: a descriptor is
//! closed, and octets, slice lists and addresses are dropped, only after the last completion that
//! concerns them. A completion carries the operation, the slot and the generation of its socket, so
//! one that comes late is recognised.
//!
//! A ring belongs to the thread that built it. It names no executor: see [`super::executor`] for
//! the two loops that drive it. `operations` is the way to the kernel, `completions` the way back.

mod completions;
mod operations;

use super::accept::{Acceptor, SpareDescriptor, make_blocking, tell};
use super::acknowledged;
use super::bell::Bell;
use super::buffers::Buffers;
use super::socket::{Message, Phase, Socket, SocketId, WriteEnd};
use super::start::StartError;
use crate::limits;
use crate::relay::Address;
use crate::wire::Output;
use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{IoUring, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The sockets of one shard.
pub struct Ring {
    uring: IoUring,
    buffers: Rc<Buffers>,
    settings: RingSettings,
    sockets: Vec<Socket>,
    /// Slots that were used and are free. The oldest is used first, so generations last long.
    free: VecDeque<u32>,
    sockets_open: u32,
    /// Those of them that came from listeners.
    accepted_open: u32,
    acceptors: Vec<Acceptor>,
    spare_descriptor: SpareDescriptor,
    /// Sockets of which something new is wanted.
    unsettled: Vec<u32>,
    /// Sockets whose receive ended for want of a buffer, the longest waiting first.
    starved: VecDeque<SocketId>,
    /// Operations for which the submission queue had no room, in order.
    overdue: VecDeque<squeue::Entry>,
    /// Slice lists that are in no send.
    #[expect(clippy::vec_box, reason = "the kernel knows their addresses while they are in use")]
    messages: Vec<Box<Message>>,
    alarm: Alarm,
    bell: Option<BellWatch>,
    /// Operations whose last completion is still to come.
    in_flight: u64,
    ending: bool,
    counters: Counters,
}

/// Sizes of a ring. The defaults are those of [`crate::limits`].
#[derive(Clone, Copy, Debug)]
pub struct RingSettings {
    /// Sockets in both directions.
    pub sockets_max: u32,
    /// Those of them that only [`Ring::connect`] may take.
    pub sockets_for_next_hops: u32,
    /// Receive buffers: a power of two, at most 32,768.
    pub buffers: u16,
    /// Octets of one receive buffer.
    pub buffer_octets: u32,
    /// Entries of the submission queue: a power of two.
    pub submissions: u32,
    /// Entries of the completion queue: a power of two, not below `submissions`.
    pub completions: u32,
}

impl Default for RingSettings {
    fn default() -> RingSettings {
        RingSettings {
            sockets_max: limits::SOCKETS_MAX,
            sockets_for_next_hops: limits::SOCKETS_FOR_NEXT_HOPS,
            buffers: limits::RECEIVE_BUFFERS,
            buffer_octets: limits::RECEIVE_BUFFER_OCTETS,
            submissions: limits::RING_SUBMISSIONS,
            completions: limits::RING_COMPLETIONS,
        }
    }
}

/// Something that happened to a socket. After [`Ring::close`] nothing more is heard of it.
#[derive(Debug)]
pub enum Event<'event> {
    /// A client connected. Its octets follow.
    Accepted {
        /// The listener's tag.
        tag: u32,
        /// The new socket.
        socket: SocketId,
        /// Who it is; `None` for a client of a unix socket.
        peer: Option<SocketAddr>,
    },
    /// A connect succeeded. What was sent meanwhile is on its way.
    Connected {
        /// The socket that [`Ring::connect`] gave.
        socket: SocketId,
    },
    /// A connect failed. The socket is gone already.
    ConnectFailed {
        /// The socket that [`Ring::connect`] gave.
        socket: SocketId,
        /// Why.
        error: io::Error,
    },
    /// Octets came. They are lent for the length of this event.
    Received {
        /// From where.
        socket: SocketId,
        /// At least one.
        octets: &'event [u8],
    },
    /// The kernel has taken octets to send.
    Sent {
        /// Of which socket.
        socket: SocketId,
        /// How many since the last such event.
        octets: u64,
    },
    /// The peer has sent its last octet. Sending to it is still possible.
    PeerClosed {
        /// Which peer.
        socket: SocketId,
    },
    /// The connection is lost in both directions and is to be closed. It is the last event of the
    /// socket. Octets that the peer had sent before came first; [`Event::PeerClosed`] may have, too,
    /// when a send met the reset before the receive did.
    Broken {
        /// Which socket.
        socket: SocketId,
        /// Why.
        error: io::Error,
    },
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// What was sent leaves first. If the peer never takes it, close again with `Reset`.
    ///
    /// The kernel answers with a reset if octets of the peer were never read, and that may destroy
    /// what is on its way to it. Where the last reply matters: [`Ring::shutdown_write`], read until
    /// [`Event::PeerClosed`] or a time-out, then close.
    Orderly,
    /// At once and with a reset (linger 0). What was sent and has not left is dropped.
    Reset,
}

/// What the ring has done since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub accepts: u64,
    /// Connections that were gone before they could be looked at.
    pub aborted: u64,
    /// Connections closed because no slot or descriptor was left.
    pub shed: u64,
    /// Accepts that failed.
    pub accept_failures: u64,
    /// Listeners that fell back to one connection an operation.
    pub single_shot: u64,
    /// Receives that brought octets.
    pub receives: u64,
    /// Send operations submitted.
    pub sends: u64,
    /// Calls of io_uring_enter.
    pub enters: u64,
    /// Receives that ended for want of a buffer.
    pub no_buffers: u64,
    /// Rounds in which the completion queue had overflowed. Nothing is lost by it.
    pub overflow: u64,
    /// Wake-ups that the shard's tick had to supply. Expected to stay 0.
    pub rescued: u64,
    /// Completions for a socket that is no more. Expected to stay 0: slots wait for theirs.
    pub stale: u64,
}

/// The one timer of the ring.
#[derive(Debug, Default)]
struct Alarm {
    due: Option<Instant>,
    /// Read by the kernel when the operation is submitted.
    span: Box<Timespec>,
}

/// A read of the bell by this ring itself, for the loop without an executor.
#[derive(Debug)]
struct BellWatch {
    eventfd: RawFd,
    count: Box<u64>,
    armed: bool,
}

/// What the low byte of a completion's tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Operation {
    Accept = 1,
    Receive,
    Send,
    Connect,
    Close,
    Alarm,
    Bell,
    /// Cancels and changes of the alarm. Only their failures complete, and mean that the operation
    /// had ended already.
    Amend,
}

/// Takes the events of a turn. The ring may be given verbs meanwhile.
pub type Handler<'handler> = dyn FnMut(&mut Ring, Event<'_>) + 'handler;

impl Ring {
    /// A ring without sockets. It must be driven by the thread that calls this.
    pub fn new(settings: RingSettings) -> Result<Ring, StartError> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(settings.completions)
            .build(settings.submissions)
            .map_err(|error| StartError::of("io_uring_setup", error))?;
        let buffers = Buffers::register(&uring, settings.buffers, settings.buffer_octets)?;
        // A filter that lets the others pass may forbid this call: then it is known now.
        uring.submit().map_err(|error| StartError::of("io_uring_enter", error))?;
        Ok(Ring {
            uring,
            buffers: Rc::new(buffers),
            settings,
            sockets: Vec::new(),
            free: VecDeque::new(),
            sockets_open: 0,
            accepted_open: 0,
            acceptors: Vec::new(),
            spare_descriptor: SpareDescriptor::new(),
            unsettled: Vec::new(),
            starved: VecDeque::new(),
            overdue: VecDeque::new(),
            messages: Vec::new(),
            alarm: Alarm::default(),
            bell: None,
            in_flight: 0,
            ending: false,
            counters: Counters::default(),
        })
    }

    // ---- verbs ----------------------------------------------------------------------------

    /// Accepts from `listener`; its clients come as [`Event::Accepted`] with `tag`. A client for
    /// whom there is no room is told `full_notice` (may be empty) and closed.
    pub fn listen(&mut self, listener: OwnedFd, tag: u32, full_notice: &'static [u8]) {
        make_blocking(&listener);
        self.acceptors.push(Acceptor::new(listener, tag, full_notice));
    }

    /// Ends all listeners. Clients that the kernel has handed over already still come as events.
    pub fn stop_listening(&mut self) {
        for index in 0..self.acceptors.len() {
            let acceptor = &mut self.acceptors[index];
            if !acceptor.stopping {
                acceptor.stopping = true;
                if acceptor.armed {
                    self.cancel(tag(Operation::Accept, 0, index as u32));
                } else {
                    acceptor.listener = None;
                }
            }
        }
    }

    /// Begins to connect. It may be sent to and paused at once; how it went is an event. It fails
    /// if no slot or descriptor is left, or if the address cannot be one.
    pub fn connect(&mut self, address: &Address) -> io::Result<SocketId> {
        let (domain, address) = match address {
            Address::Tcp(address) => {
                (socket2::Domain::for_address(*address), socket2::SockAddr::from(*address))
            }
            Address::Unix(path) => (socket2::Domain::UNIX, socket2::SockAddr::unix(path)?),
        };
        if self.sockets_open >= self.settings.sockets_max {
            return Err(io::Error::from_raw_os_error(libc::ENFILE));
        }
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        if domain != socket2::Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        let fd = socket.into_raw_fd();
        let id = self.occupy(fd, Phase::Connecting);
        let address = Box::new(address);
        let entry = opcode::Connect::new(Fd(fd), address.as_ptr().cast(), address.len()).build();
        let socket = &mut self.sockets[id.slot()];
        socket.connecting = true;
        socket.address = Some(address);
        self.push(entry, Operation::Connect, id);
        Ok(id)
    }

    /// Sends `output` after all that was sent before. A socket that is gone ignores it.
    ///
    /// Outputs that one socket is given in one round leave together; one slice is never cut, and
    /// one slice alone is one SEND of that memory.
    pub fn send(&mut self, socket: SocketId, output: Output) {
        if let Some(open) = self.open(socket)
            && open.write_end == WriteEnd::Open
            && open.send_error.is_none()
        {
            open.outgoing.push(output);
            self.unsettle(socket.slot);
        }
    }

    /// Octets given to [`Ring::send`] that the kernel has not taken yet.
    pub fn unsent_octets(&self, socket: SocketId) -> u64 {
        match self.sockets.get(socket.slot()) {
            Some(open) if open.generation == socket.generation() => open.outgoing.octets(),
            _ => 0,
        }
    }

    /// Whether the peer's kernel has all that was sent to a socket.
    pub fn is_all_acknowledged(&self, socket: SocketId) -> bool {
        let open = self.sockets.get(socket.slot());
        open.filter(|open| open.generation == socket.generation()).is_some_and(|open| {
            open.phase == Phase::Open
                && open.outgoing.is_empty()
                && acknowledged::is_all_acknowledged(open.fd)
        })
    }

    /// Stops reading: the peer is held back by its full window. Octets that the kernel has handed
    /// over already still come as events.
    pub fn pause(&mut self, socket: SocketId) {
        self.set_reading(socket, false);
    }

    /// Reads again.
    pub fn resume(&mut self, socket: SocketId) {
        self.set_reading(socket, true);
    }

    /// Tells the peer, after all that was sent before, that nothing more will come.
    pub fn shutdown_write(&mut self, socket: SocketId) {
        if let Some(open) = self.open(socket)
            && open.write_end == WriteEnd::Open
        {
            open.write_end = WriteEnd::Wanted;
            self.unsettle(socket.slot);
        }
    }

    /// Ends a socket; it is heard of no more. An orderly close that takes too long may be followed
    /// by a reset.
    pub fn close(&mut self, socket: SocketId, how: Close) {
        let Some(known) = self.sockets.get_mut(socket.slot()) else { return };
        if known.generation != socket.generation() {
            return;
        }
        match (known.phase, how) {
            // An orderly close of a connection that never was has nothing to flush.
            (Phase::Connecting, _) => known.phase = Phase::Closing(Close::Reset),
            (Phase::Open, how) => known.phase = Phase::Closing(how),
            (Phase::Closing(Close::Orderly), Close::Reset) => {
                known.phase = Phase::Closing(Close::Reset);
            }
            _ => return,
        }
        self.unsettle(socket.slot);
    }

    /// Turns a client away: to be called while its [`Event::Accepted`] is looked at. It is told
    /// `notice` (may be empty), as far as its window takes it at once, and closed; it costs neither a
    /// receive nor a send operation.
    pub fn refuse(&mut self, socket: SocketId, notice: &[u8]) {
        if let Some(open) = self.open(socket) {
            debug_assert!(!open.in_kernel(), "the client was just accepted");
            // SAFETY: the descriptor is open as long as the socket has a slot; it is borrowed for
            // this call only.
            tell(unsafe { BorrowedFd::borrow_raw(open.fd) }, notice);
            self.close(socket, Close::Orderly);
        }
    }

    /// Sockets that are open, or not yet fully closed.
    pub fn sockets_open(&self) -> u32 {
        self.sockets_open
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    // ---- driving --------------------------------------------------------------------------

    /// One round without sleeping: submits what is wanted, and hands over what has happened.
    /// Returns the number of completions that were looked at.
    pub fn turn(&mut self, handler: &mut Handler<'_>) -> usize {
        self.settle_all();
        self.enter(0);
        self.reap(handler)
    }

    /// The same, but sleeps until there is at least one completion.
    pub fn wait_turn(&mut self, handler: &mut Handler<'_>) -> usize {
        self.settle_all();
        self.enter(1);
        self.reap(handler)
    }

    /// Whether the next turn has something to submit, so that nobody should sleep before it.
    pub fn has_work(&mut self) -> bool {
        !self.unsettled.is_empty()
            || !self.starved.is_empty()
            || !self.overdue.is_empty()
            || !self.uring.submission().is_empty()
            || self.uring.submission().cq_overflow()
    }

    /// Whether the kernel has something for us that nobody has looked at.
    pub fn has_completions(&mut self) -> bool {
        let submission = self.uring.submission();
        let deferred = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        deferred || !self.uring.completion().is_empty()
    }

    /// Sees to it that a completion comes not later than `after` from now, or, if a listener rests,
    /// when its rest is over. An alarm that is set already and would ring earlier is left alone.
    pub fn set_alarm(&mut self, after: Option<Duration>) {
        let now = Instant::now();
        let rest_over = self.acceptors.iter().filter_map(|acceptor| acceptor.rests_until).min();
        let wanted = after.map(|after| now + after);
        let Some(due) = wanted.into_iter().chain(rest_over).min() else { return };
        if self.alarm.due.is_some_and(|set| set <= due) {
            return;
        }
        *self.alarm.span = Timespec::from(due.saturating_duration_since(now));
        let span = &raw const *self.alarm.span;
        let alarm = tag(Operation::Alarm, 0, 0);
        if self.alarm.due.replace(due).is_none() {
            let entry = opcode::Timeout::new(span).build().user_data(alarm);
            self.in_flight += 1;
            self.push_entry(entry);
        } else {
            // If the alarm is ringing just now this fails, and the sleeper wakes and asks again.
            let entry = opcode::TimeoutUpdate::new(alarm, span).build();
            self.amend(entry);
        }
    }

    /// Lets completions ring `bell`, while it is armed. It is not armed at first.
    pub(super) fn register_bell(&mut self, bell: &Bell) -> Result<(), StartError> {
        self.uring
            .submitter()
            .register_eventfd(bell.as_fd().as_raw_fd())
            .map_err(|error| StartError::of("register the bell", error))?;
        self.hush_bell();
        Ok(())
    }

    /// From now on completions ring the bell. One turn must follow before sleeping: what happened
    /// before did not ring.
    pub(super) fn arm_bell(&mut self) {
        self.uring.completion().enable_eventfd();
        // The kernel must see the flag before we look at what it has done.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Completions ring no more: the thread is awake.
    pub(super) fn hush_bell(&mut self) {
        self.uring.completion().disable_eventfd();
    }

    /// Reads the bell on this ring, so that a pull is a completion. For the loop that sleeps in
    /// [`Ring::wait_turn`]; `bell` must live until [`Ring::end`].
    pub(super) fn watch_bell(&mut self, bell: &Bell) {
        let eventfd = bell.as_fd().as_raw_fd();
        self.bell = Some(BellWatch { eventfd, count: Box::new(0), armed: false });
        self.arm_bell_watch();
    }

    pub(super) fn count_rescue(&mut self) {
        self.counters.rescued += 1;
    }

    /// Takes everything back from the kernel: cancels all operations, waits for their last
    /// completions, and closes all descriptors. Octets that were not sent are dropped. Nothing can
    /// be done with the ring afterwards.
    ///
    /// Returns whether all came back within [`limits::RING_DRAIN_MS`]; if not, the memory that the
    /// kernel may still use is given up and never freed.
    pub fn end(&mut self) -> bool {
        self.ending = true;
        self.unsettled.clear();
        self.starved.clear();
        let give_up = Instant::now() + Duration::from_millis(limits::RING_DRAIN_MS);
        while self.in_flight > 0 {
            self.submit_overdue();
            self.enter(0);
            // Not finding anything is fine: the operations are completing by themselves.
            let patience = Timespec::from(Duration::from_millis(100));
            let _ =
                self.uring.submitter().register_sync_cancel(Some(patience), CancelBuilder::any());
            if self.reap(&mut |_, _| {}) == 0 && self.in_flight > 0 {
                self.doze();
            }
            if Instant::now() > give_up {
                return false;
            }
        }
        self.release_all();
        true
    }

    /// Operations whose last completion has not come.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    // ---- the slot table -------------------------------------------------------------------

    /// The socket, if it is connecting or open.
    fn open(&mut self, id: SocketId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.slot())?;
        let open = matches!(socket.phase, Phase::Connecting | Phase::Open);
        (open && socket.generation == id.generation()).then_some(socket)
    }

    /// Whether the consumer still wants to hear of the socket.
    fn hears(&mut self, id: SocketId) -> bool {
        self.open(id).is_some_and(|open| !open.broken)
    }

    /// The socket of a completion, which may be closing.
    fn known(&mut self, id: SocketId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.slot());
        let known = socket.filter(|socket| socket.generation == id.generation());
        self.counters.stale += u64::from(known.is_none());
        known
    }

    fn set_reading(&mut self, id: SocketId, reading: bool) {
        // When a send has failed, reading goes on to its end, which is near.
        if let Some(open) = self.open(id)
            && open.reading != reading
            && open.send_error.is_none()
        {
            open.reading = reading;
            self.unsettle(id.slot);
        }
    }

    fn unsettle(&mut self, slot: u32) {
        let socket = &mut self.sockets[slot as usize];
        if !socket.unsettled {
            socket.unsettled = true;
            self.unsettled.push(slot);
        }
    }

    /// The caller has seen to it that there is room.
    fn occupy(&mut self, fd: RawFd, phase: Phase) -> SocketId {
        debug_assert!(self.sockets_open < self.settings.sockets_max);
        let slot = self.free.pop_front().unwrap_or_else(|| {
            self.sockets.push(Socket::free());
            self.sockets.len() as u32 - 1
        });
        self.sockets_open += 1;
        let socket = &mut self.sockets[slot as usize];
        socket.occupy(fd, phase);
        SocketId::new(slot, socket.generation)
    }

    /// Closes what is still open. The kernel has no operation any more.
    fn release_all(&mut self) {
        debug_assert_eq!(self.in_flight, 0);
        for socket in self.sockets.drain(..).filter(|socket| socket.fd >= 0) {
            // SAFETY: the table owned the descriptor, and no operation names it.
            drop(unsafe { OwnedFd::from_raw_fd(socket.fd) });
        }
        self.free.clear();
        self.sockets_open = 0;
        self.accepted_open = 0;
        self.acceptors.clear();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.end() {
            // The kernel may still write to buffers and read from outputs: better lost than shared.
            std::mem::forget(Rc::clone(&self.buffers));
            std::mem::forget(std::mem::take(&mut self.sockets));
            std::mem::forget(std::mem::take(&mut self.bell));
        }
    }
}

/// A full or busy queue, a signal and a moment without memory pass; the operations are kept and the
/// next round tries again. Anything else is a mistake of ours and must not go on.
fn check_entered(entered: io::Result<usize>) {
    if let Err(error) = entered {
        let passes = matches!(
            error.raw_os_error(),
            Some(libc::EBUSY | libc::EAGAIN | libc::EINTR | libc::ENOMEM | libc::ETIME)
        );
        assert!(passes, "io_uring_enter failed; is the ring on the thread that built it? {error}");
    }
}

/// What a completion brings back: operation, generation and slot.
fn tag(operation: Operation, generation: u32, slot: u32) -> u64 {
    (operation as u64) << 56 | u64::from(generation) << 32 | u64::from(slot)
}

fn untag(tag: u64) -> (Option<Operation>, u32, u32) {
    let known = [
        Operation::Accept,
        Operation::Receive,
        Operation::Send,
        Operation::Connect,
        Operation::Close,
        Operation::Alarm,
        Operation::Bell,
        Operation::Amend,
    ];
    let operation = known.get(((tag >> 56) as usize).wrapping_sub(1)).copied();
    (operation, (tag >> 32) as u32 & 0x00ff_ffff, tag as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_it_was_told() {
        for operation in [Operation::Accept, Operation::Close, Operation::Amend] {
            for (generation, slot) in [(0, 0), (1, 2), (0x00ff_ffff, u32::MAX)] {
                let tag = tag(operation, generation, slot);
                assert_eq!(untag(tag), (Some(operation), generation, slot));
            }
        }
        assert_eq!(untag(0).0, None);
        assert_eq!(untag(u64::MAX).0, None);
    }
}
