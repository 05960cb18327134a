//! What is wanted of sockets becomes operations, and these go to the kernel.

use super::{Close, Operation, Ring, check_entered, tag};
use crate::limits;
use crate::shard::buffers;
use crate::shard::socket::{Message, Phase, Receive, SocketId, WriteEnd};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, opcode, squeue};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

impl Ring {
    pub(super) fn settle_all(&mut self) {
        // All buffers are free between two turns. A receive that starved has octets waiting, so as
        // many of them as there are buffers bring at least one buffer's worth each round: the queue
        // moves without a timer and without asking for more than can be given.
        for _ in 0..self.starved.len().min(usize::from(self.buffers.count())) {
            if let Some(socket) = self.starved.pop_front()
                && let Some(open) = self.open(socket)
                && open.receive == Receive::Starved
            {
                open.receive = Receive::Idle;
                self.unsettle(socket.slot);
            }
        }
        let mut unsettled = std::mem::take(&mut self.unsettled);
        for slot in unsettled.drain(..) {
            self.sockets[slot as usize].unsettled = false;
            self.settle(slot);
        }
        debug_assert!(self.unsettled.is_empty(), "settling wants nothing new");
        self.unsettled = unsettled;
        for index in 0..self.acceptors.len() {
            if self.acceptors[index].is_due(Instant::now) {
                self.arm_accept(index);
            }
        }
        self.submit_overdue();
    }

    pub(super) fn settle(&mut self, slot: u32) {
        match self.sockets[slot as usize].phase {
            Phase::Free | Phase::Connecting | Phase::Closed => {}
            Phase::Open => {
                self.settle_receive(slot);
                self.settle_send(slot);
            }
            Phase::Closing(how) => self.settle_close(slot, how),
        }
        self.sockets[slot as usize].check_invariants();
    }

    pub(super) fn settle_receive(&mut self, slot: u32) {
        let socket = &mut self.sockets[slot as usize];
        let id = SocketId::new(slot, socket.generation);
        match (socket.reading, socket.receive) {
            (true, Receive::Idle) => {
                socket.receive = Receive::Armed;
                let entry = opcode::RecvMulti::new(Fd(socket.fd), buffers::GROUP).build();
                self.push(entry, Operation::Receive, id);
            }
            (false, Receive::Armed) => {
                socket.receive = Receive::Cancelled;
                self.cancel(tag(Operation::Receive, id.generation(), slot));
            }
            (false, Receive::Starved) => socket.receive = Receive::Idle,
            _ => {}
        }
    }

    pub(super) fn settle_send(&mut self, slot: u32) {
        let socket = &mut self.sockets[slot as usize];
        if socket.sending || socket.send_error.is_some() {
            return;
        }
        if socket.outgoing.is_empty() {
            if socket.write_end == WriteEnd::Wanted {
                socket.write_end = WriteEnd::Done;
                // shutdown(2), not IORING_OP_SHUTDOWN: that one runs late on a worker thread, where
                // it was seen to hit the next connection with the same descriptor.
                // SAFETY: the descriptor is open as long as the socket has a slot.
                unsafe { libc::shutdown(socket.fd, libc::SHUT_WR) };
            }
            return;
        }
        let id = SocketId::new(slot, socket.generation);
        let mut message = self.messages.pop().unwrap_or_else(Message::new);
        socket.outgoing.gather(&mut message.slices);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = if let [only] = message.slices[..] {
            let octets = only.iov_len.min(limits::SEND_OCTETS_MAX) as u32;
            self.messages.push(message);
            opcode::Send::new(Fd(socket.fd), only.iov_base.cast(), octets).flags(flags).build()
        } else {
            let header = message.header();
            socket.message = Some(message);
            opcode::SendMsg::new(Fd(socket.fd), header).flags(flags as u32).build()
        };
        socket.sending = true;
        self.counters.sends += 1;
        self.push(entry, Operation::Send, id);
    }

    pub(super) fn settle_close(&mut self, slot: u32, how: Close) {
        let socket = &mut self.sockets[slot as usize];
        let id = SocketId::new(slot, socket.generation);
        if socket.receive == Receive::Armed {
            socket.receive = Receive::Cancelled;
            self.cancel(tag(Operation::Receive, id.generation(), slot));
        }
        let socket = &mut self.sockets[slot as usize];
        let flush = how == Close::Orderly && socket.send_error.is_none();
        if flush {
            self.settle_send(slot);
        } else if !socket.sending {
            socket.outgoing.clear();
        } else if !socket.abandoned {
            socket.abandoned = true;
            self.cancel(tag(Operation::Send, id.generation(), slot));
        }
        let socket = &mut self.sockets[slot as usize];
        if socket.connecting && !socket.abandoned {
            socket.abandoned = true;
            self.cancel(tag(Operation::Connect, id.generation(), slot));
        }
        let socket = &mut self.sockets[slot as usize];
        if !socket.in_kernel() && socket.outgoing.is_empty() {
            self.close_descriptor(id, how);
        }
    }

    /// Closes the descriptor. No operation names it any more, so its number may be used again at
    /// once.
    pub(super) fn close_descriptor(&mut self, id: SocketId, how: Close) {
        let socket = &mut self.sockets[id.slot()];
        debug_assert!(!socket.in_kernel());
        if how == Close::Reset && !socket.broken {
            // SAFETY: the descriptor is ours; it is borrowed for this call only.
            let borrowed = unsafe { BorrowedFd::borrow_raw(socket.fd) };
            // It fails on a connection that is gone already, and then there is nothing to reset.
            let _ = socket2::SockRef::from(&borrowed).set_linger(Some(Duration::ZERO));
        }
        socket.phase = Phase::Closed;
        let entry = opcode::Close::new(Fd(socket.fd)).build();
        self.push(entry, Operation::Close, id);
    }

    pub(super) fn arm_accept(&mut self, index: usize) {
        let acceptor = &mut self.acceptors[index];
        let Some(listener) = &acceptor.listener else { return };
        let fd = Fd(listener.as_raw_fd());
        acceptor.armed = true;
        let entry = if acceptor.single_shot {
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build()
        } else {
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()
        };
        self.in_flight += 1;
        self.push_entry(entry.user_data(tag(Operation::Accept, 0, index as u32)));
    }

    pub(super) fn arm_bell_watch(&mut self) {
        let Some(bell) = &mut self.bell else { return };
        bell.armed = true;
        let count = (&raw mut *bell.count).cast::<u8>();
        let entry = opcode::Read::new(Fd(bell.eventfd), count, size_of::<u64>() as u32).build();
        self.in_flight += 1;
        self.push_entry(entry.user_data(tag(Operation::Bell, 0, 0)));
    }

    // ---- towards the kernel ---------------------------------------------------------------

    pub(super) fn push(&mut self, entry: squeue::Entry, operation: Operation, socket: SocketId) {
        self.in_flight += 1;
        self.push_entry(entry.user_data(tag(operation, socket.generation(), socket.slot)));
    }

    /// Asks the kernel to end an operation. Its last completion comes in any case.
    pub(super) fn cancel(&mut self, target: u64) {
        self.amend(opcode::AsyncCancel2::new(CancelBuilder::user_data(target)).build());
    }

    /// Queues an operation of which only a failure completes.
    pub(super) fn amend(&mut self, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        self.push_entry(entry.user_data(tag(Operation::Amend, 0, 0)));
    }

    /// Queues an operation behind all others.
    pub(super) fn push_entry(&mut self, entry: squeue::Entry) {
        // SAFETY: whatever memory or descriptor an entry names stays until its last completion:
        // octets in the socket's `outgoing`, slices in its `message`, the address in its `address`,
        // the alarm's span and the bell's count in their boxes, descriptors in the slot table and
        // the acceptors. `end` waits for all of them before anything is freed.
        if !self.overdue.is_empty() || unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.overdue.push_back(entry);
        }
    }

    /// Moves operations into the submission queue that had no room in it.
    pub(super) fn submit_overdue(&mut self) {
        while let Some(entry) = self.overdue.front() {
            // SAFETY: as in `push_entry`.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                self.overdue.pop_front();
            } else {
                self.enter(0);
                if self.uring.submission().is_full() {
                    // The kernel takes no more until completions are looked at.
                    return;
                }
            }
        }
    }

    /// Submits, lets the kernel do its deferred work, and sleeps until there are `wanted`
    /// completions.
    pub(super) fn enter(&mut self, wanted: u32) {
        let mut submission = self.uring.submission();
        submission.sync();
        if submission.cq_overflow() {
            self.counters.overflow += 1;
        }
        let pending = submission.len() as u32;
        drop(submission);
        self.counters.enters += 1;
        let flags = EnterFlags::GETEVENTS.bits();
        // SAFETY: without an argument the kernel reads nothing but its own queues.
        let entered =
            unsafe { self.uring.submitter().enter::<libc::sigset_t>(pending, wanted, flags, None) };
        check_entered(entered);
    }

    /// Sleeps until there is a completion, at most a few milliseconds.
    pub(super) fn doze(&mut self) {
        let span = Timespec::from(Duration::from_millis(5));
        let entered =
            self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&span));
        check_entered(entered);
    }
}
