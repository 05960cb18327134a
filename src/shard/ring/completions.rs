//! What the kernel has done becomes events, and changes of what is remembered of sockets.

use super::{Close, Event, Handler, Operation, Ring, RingSettings, untag};
use crate::shard::accept::tell;
use crate::shard::socket::{Phase, Receive, SocketId};
use io_uring::cqueue;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

impl Ring {
    /// Hands over what has completed by now; what completes meanwhile waits for the next round.
    pub(super) fn reap(&mut self, handler: &mut Handler<'_>) -> usize {
        let ready = self.uring.completion().len();
        let mut reaped = 0;
        // One at a time, so that a handler that panics leaves the others in the queue for `end`.
        while reaped < ready {
            let next = self.uring.completion().next();
            let Some(completion) = next else { break };
            reaped += 1;
            self.complete(&completion, handler);
        }
        reaped
    }

    pub(super) fn complete(&mut self, completion: &cqueue::Entry, handler: &mut Handler<'_>) {
        let (operation, generation, slot) = untag(completion.user_data());
        let (result, flags) = (completion.result(), completion.flags());
        let last = !cqueue::more(flags);
        if last && operation != Some(Operation::Amend) {
            self.in_flight -= 1;
        }
        let id = SocketId::new(slot, generation);
        match operation {
            Some(Operation::Accept) => self.accept_completed(slot as usize, result, last, handler),
            Some(Operation::Receive) => self.receive_completed(id, result, flags, handler),
            Some(Operation::Send) => self.send_completed(id, result, handler),
            Some(Operation::Connect) => self.connect_completed(id, result, handler),
            Some(Operation::Close) => self.close_completed(id),
            Some(Operation::Alarm) => self.alarm.due = None,
            Some(Operation::Bell) => {
                if let Some(bell) = &mut self.bell {
                    bell.armed = false;
                }
                if !self.ending {
                    self.arm_bell_watch();
                }
            }
            Some(Operation::Amend) => {}
            None => debug_assert!(false, "a completion of an operation that we do not know"),
        }
    }

    pub(super) fn accept_completed(
        &mut self,
        index: usize,
        result: i32,
        last: bool,
        handler: &mut Handler<'_>,
    ) {
        let acceptor = &mut self.acceptors[index];
        acceptor.armed &= !last;
        if result >= 0 {
            acceptor.succeeded();
            // SAFETY: the kernel has just made this descriptor for us.
            let client = unsafe { OwnedFd::from_raw_fd(result) };
            self.admit(index, client, handler);
        } else {
            self.accept_failed(index, -result);
        }
        let acceptor = &mut self.acceptors[index];
        if acceptor.stopping && !acceptor.armed {
            acceptor.listener = None;
        }
    }

    pub(super) fn admit(&mut self, index: usize, client: OwnedFd, handler: &mut Handler<'_>) {
        if self.ending {
            return;
        }
        // A client that has reset the connection by now has no name; that concerns it alone.
        let Ok(peer) = socket2::SockRef::from(&client).peer_addr() else {
            self.counters.aborted += 1;
            return;
        };
        let RingSettings { sockets_max, sockets_for_next_hops, .. } = self.settings;
        let room = sockets_max - sockets_for_next_hops;
        if self.accepted_open >= room || self.sockets_open >= sockets_max {
            self.counters.shed += 1;
            tell(client.as_fd(), self.acceptors[index].full_notice);
            return;
        }
        self.counters.accepts += 1;
        let socket = self.occupy(client.into_raw_fd(), Phase::Open);
        self.accepted_open += 1;
        self.sockets[socket.slot()].accepted = true;
        self.unsettle(socket.slot);
        let tag = self.acceptors[index].tag;
        handler(self, Event::Accepted { tag, socket, peer: peer.as_socket() });
    }

    pub(super) fn accept_failed(&mut self, index: usize, errno: i32) {
        let acceptor = &mut self.acceptors[index];
        if errno == libc::ECANCELED && (acceptor.stopping || self.ending) {
            return;
        }
        self.counters.accept_failures += 1;
        let was_single_shot = acceptor.single_shot;
        let out_of_descriptors = acceptor.failed(errno, Instant::now());
        self.counters.single_shot += u64::from(acceptor.single_shot && !was_single_shot);
        if out_of_descriptors
            && !acceptor.armed
            && let Some(listener) = &acceptor.listener
        {
            self.counters.shed += self.spare_descriptor.shed(listener, acceptor.full_notice);
        }
    }

    pub(super) fn receive_completed(
        &mut self,
        id: SocketId,
        result: i32,
        flags: u32,
        handler: &mut Handler<'_>,
    ) {
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if result > 0 {
                self.counters.receives += 1;
                if self.hears(id) {
                    let buffers = Rc::clone(&self.buffers);
                    let octets = buffers.octets(buffer, result as usize);
                    handler(self, Event::Received { socket: id, octets });
                }
            }
            self.buffers.give_back(buffer);
        }
        if cqueue::more(flags) {
            return;
        }
        let Some(socket) = self.known(id) else { return };
        socket.receive = Receive::Idle;
        self.unsettle(id.slot);
        match -result {
            libc::ENOBUFS => self.starve(id),
            0 => self.reading_ended(id, None, handler),
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            errno if errno > 0 => self.reading_ended(id, Some(errno), handler),
            // Octets, and the multishot ended all the same: it is armed again.
            _ => {}
        }
    }

    pub(super) fn starve(&mut self, id: SocketId) {
        self.counters.no_buffers += 1;
        if let Some(open) = self.open(id)
            && open.reading
        {
            open.receive = Receive::Starved;
            self.starved.push_back(id);
        }
    }

    /// The peer sends no more: with an error because the connection is lost, without one because it
    /// said so. If a send has failed before, that is the reason the consumer hears.
    pub(super) fn reading_ended(
        &mut self,
        id: SocketId,
        errno: Option<i32>,
        handler: &mut Handler<'_>,
    ) {
        let Some(socket) = self.known(id) else { return };
        socket.receive = Receive::Over;
        match socket.send_error.or(errno) {
            Some(errno) => self.break_off(id, errno, handler),
            None if self.hears(id) => handler(self, Event::PeerClosed { socket: id }),
            None => {}
        }
    }

    pub(super) fn break_off(&mut self, id: SocketId, errno: i32, handler: &mut Handler<'_>) {
        let Some(socket) = self.known(id) else { return };
        socket.send_error.get_or_insert(errno);
        if !socket.sending {
            socket.outgoing.clear();
        }
        let heard = self.hears(id);
        if let Some(socket) = self.known(id) {
            socket.broken = true;
        }
        if heard {
            let error = io::Error::from_raw_os_error(errno);
            handler(self, Event::Broken { socket: id, error });
        }
    }

    pub(super) fn send_completed(&mut self, id: SocketId, result: i32, handler: &mut Handler<'_>) {
        let Some(socket) = self.known(id) else { return };
        socket.sending = false;
        if let Some(mut message) = socket.message.take() {
            message.slices.clear();
            self.messages.push(message);
        }
        self.unsettle(id.slot);
        if result > 0 {
            let octets = result as u64;
            if let Some(socket) = self.known(id) {
                socket.outgoing.advance(octets);
            }
            if self.hears(id) {
                handler(self, Event::Sent { socket: id, octets });
            }
        } else if !matches!(-result, libc::EINTR | libc::EAGAIN | libc::ECANCELED) {
            // A send of something that took nothing would go on for ever.
            let errno = if result == 0 { libc::EPIPE } else { -result };
            self.send_failed(id, errno, handler);
        }
    }

    /// Sending is over. A server that says 5xx and closes while it is sent to has its reply in our
    /// receive queue: so reading goes on to its end, which such an error has brought, and then the
    /// consumer hears of it.
    pub(super) fn send_failed(&mut self, id: SocketId, errno: i32, handler: &mut Handler<'_>) {
        let Some(socket) = self.known(id) else { return };
        socket.send_error.get_or_insert(errno);
        socket.outgoing.clear();
        let end_follows = matches!(errno, libc::EPIPE | libc::ECONNRESET)
            && socket.reading
            && socket.receive != Receive::Over;
        if !end_follows {
            self.break_off(id, errno, handler);
        }
    }

    pub(super) fn connect_completed(
        &mut self,
        id: SocketId,
        result: i32,
        handler: &mut Handler<'_>,
    ) {
        let Some(socket) = self.known(id) else { return };
        socket.connecting = false;
        socket.address = None;
        let wanted = socket.phase == Phase::Connecting;
        self.unsettle(id.slot);
        let Some(socket) = self.known(id) else { return };
        if !wanted {
            // Closed meanwhile: settling closes the descriptor.
        } else if result == 0 {
            socket.phase = Phase::Open;
            handler(self, Event::Connected { socket: id });
        } else {
            socket.phase = Phase::Closing(Close::Orderly);
            socket.outgoing.clear();
            let error = io::Error::from_raw_os_error(-result);
            handler(self, Event::ConnectFailed { socket: id, error });
        }
    }

    pub(super) fn close_completed(&mut self, id: SocketId) {
        if let Some(socket) = self.known(id) {
            socket.vacate();
            let accepted = u32::from(socket.accepted);
            self.sockets_open -= 1;
            self.accepted_open -= accepted;
            self.free.push_back(id.slot);
        }
    }
}
