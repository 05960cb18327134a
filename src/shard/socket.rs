//! What the ring remembers of one socket: its name, what is wanted of it, which operations the
//! kernel still has, and the octets that wait to be sent.

use super::ring::Close;
use crate::limits::{SEND_SLICES_MAX, SEND_STEP_OCTETS};
use crate::wire::Output;
use std::collections::VecDeque;
use std::os::fd::RawFd;

/// A socket of one ring. It stays unique when its slot is used again, so a late answer for a closed
/// connection cannot reach the next one (up to 2^24 uses of one slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub(super) slot: u32,
    generation: u32,
}

/// Bits of a generation: what user_data has room for beside the operation and the slot.
const GENERATION_BITS: u32 = 24;

impl SocketId {
    pub(super) fn new(slot: u32, generation: u32) -> SocketId {
        debug_assert!(generation >> GENERATION_BITS == 0);
        SocketId { slot, generation }
    }

    /// A small number, below the ring's number of sockets, that no other open socket has: good for
    /// an index into a table beside the ring's.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    pub(super) fn generation(self) -> u32 {
        self.generation
    }
}

/// Where a socket stands between its slot being taken and given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The slot belongs to nobody.
    Free,
    /// connect is under way; what is sent meanwhile waits.
    Connecting,
    /// Octets may go both ways.
    Open,
    /// The consumer is done with it; operations are still coming back.
    Closing(Close),
    /// Only the close of the descriptor is still to come back.
    Closed,
}

/// The multishot receive of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// None is armed.
    Idle,
    /// The kernel has it.
    Armed,
    /// The kernel has it and was asked to give it up.
    Cancelled,
    /// It ended for want of a buffer and waits in the queue of the starved.
    Starved,
    /// Nothing more comes: the peer closed, or the connection broke.
    Over,
}

/// The write side's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteEnd {
    /// More may be sent.
    Open,
    /// shutdown(2) follows the last queued octet.
    Wanted,
    /// shutdown(2) was called.
    Done,
}

/// One slot of the ring's table.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) generation: u32,
    pub(super) fd: RawFd,
    pub(super) phase: Phase,
    /// It came from a listener.
    pub(super) accepted: bool,
    pub(super) receive: Receive,
    /// The consumer wants octets now.
    pub(super) reading: bool,
    pub(super) write_end: WriteEnd,
    /// A send or connect is in the kernel.
    pub(super) sending: bool,
    pub(super) connecting: bool,
    /// The send or connect in the kernel was asked to end.
    pub(super) abandoned: bool,
    /// Errno of the send that failed; the consumer hears of it when reading has ended.
    pub(super) send_error: Option<i32>,
    /// The consumer was told that the connection is broken.
    pub(super) broken: bool,
    /// It stands in the ring's list of sockets to settle.
    pub(super) unsettled: bool,
    pub(super) outgoing: Outgoing,
    /// The list of slices of the send in the kernel.
    pub(super) message: Option<Box<Message>>,
    /// The address of the connect in the kernel.
    pub(super) address: Option<Box<socket2::SockAddr>>,
}

impl Socket {
    pub(super) fn free() -> Socket {
        Socket {
            generation: 0,
            fd: -1,
            phase: Phase::Free,
            accepted: false,
            receive: Receive::Idle,
            reading: true,
            write_end: WriteEnd::Open,
            sending: false,
            connecting: false,
            abandoned: false,
            send_error: None,
            broken: false,
            unsettled: false,
            outgoing: Outgoing::default(),
            message: None,
            address: None,
        }
    }

    /// Takes the slot for a new descriptor.
    pub(super) fn occupy(&mut self, fd: RawFd, phase: Phase) {
        debug_assert_eq!(self.phase, Phase::Free);
        debug_assert!(self.outgoing.is_empty() && self.message.is_none());
        self.fd = fd;
        self.phase = phase;
        self.accepted = false;
        self.receive = Receive::Idle;
        self.reading = true;
        self.write_end = WriteEnd::Open;
        self.abandoned = false;
        self.send_error = None;
        self.broken = false;
    }

    /// Gives the slot back; every identifier of it is stale from now on.
    pub(super) fn vacate(&mut self) {
        self.check_invariants();
        self.fd = -1;
        self.phase = Phase::Free;
        self.outgoing.clear();
        self.generation = (self.generation + 1) & ((1 << GENERATION_BITS) - 1);
    }

    /// Whether the kernel has an operation that names the descriptor or our memory.
    pub(super) fn in_kernel(&self) -> bool {
        self.sending
            || self.connecting
            || matches!(self.receive, Receive::Armed | Receive::Cancelled)
    }

    pub(super) fn check_invariants(&self) {
        debug_assert!(!self.sending || !self.outgoing.is_empty(), "a send pins its octets");
        debug_assert!(self.message.is_none() || self.sending, "slices belong to a send");
        debug_assert!(self.address.is_some() == self.connecting, "a connect pins its address");
        debug_assert!(
            !matches!(self.phase, Phase::Free | Phase::Closed) || !self.in_kernel(),
            "the descriptor outlives its operations"
        );
    }
}

/// Octets that wait to be sent, or are being sent, in order. When there are none no memory is held:
/// most sockets are idle most of the time.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    outputs: VecDeque<Output>,
    /// Octets of the first output that the kernel has taken already.
    taken: u64,
    octets: u64,
}

impl Outgoing {
    pub(super) fn push(&mut self, output: Output) {
        let octets = output.octets();
        if octets > 0 {
            self.octets += octets;
            self.outputs.push_back(output);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// What the kernel has not taken yet, in order.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let begin = |index: usize| if index == 0 { self.taken } else { 0 };
        let outputs = self.outputs.iter().enumerate();
        outputs.flat_map(move |(index, output)| output.slices_from(begin(index)))
    }

    /// Octets that the kernel has not taken yet.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn clear(&mut self) {
        *self = Outgoing::default();
    }

    /// The kernel has taken `octets` more; outputs that are done are dropped.
    pub(super) fn advance(&mut self, octets: u64) {
        debug_assert!(octets <= self.octets, "the kernel takes what it was given");
        self.octets -= octets;
        self.taken += octets;
        while let Some(first) = self.outputs.front() {
            let whole = first.octets();
            if whole > self.taken {
                break;
            }
            self.taken -= whole;
            self.outputs.pop_front();
        }
        if self.outputs.is_empty() {
            self.clear();
        }
    }

    /// Lists the slices of the next send. They stay where they are until `advance` or `clear`:
    /// an output's octets do not move when the output does.
    pub(super) fn gather(&self, slices: &mut Vec<libc::iovec>) {
        slices.clear();
        let mut octets = 0;
        for slice in self.slices() {
            let full = slices.len() == SEND_SLICES_MAX || octets + slice.len() > SEND_STEP_OCTETS;
            if full && !slices.is_empty() {
                return;
            }
            octets += slice.len();
            slices.push(libc::iovec {
                iov_base: slice.as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            });
        }
    }
}

/// The header and the slices of one SENDMSG, boxed because the kernel knows their address.
#[derive(Debug)]
pub(super) struct Message {
    header: libc::msghdr,
    pub(super) slices: Vec<libc::iovec>,
}

impl Message {
    pub(super) fn new() -> Box<Message> {
        // SAFETY: all zero is msghdr's empty value: null pointers with lengths of zero.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Message { header, slices: Vec::new() })
    }

    /// The header, pointing at the slices as they are now.
    pub(super) fn header(&mut self) -> *const libc::msghdr {
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len();
        &raw const self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{BodyBuilder, Budget, Piece, SLICES_WALKED};

    fn gathered(outgoing: &Outgoing) -> (usize, Vec<u8>) {
        let mut slices = Vec::new();
        outgoing.gather(&mut slices);
        let octets = slices
            .iter()
            .flat_map(|slice| {
                // SAFETY: the slices were made from `outgoing`, which is still borrowed.
                unsafe { std::slice::from_raw_parts(slice.iov_base.cast::<u8>(), slice.iov_len) }
            })
            .copied()
            .collect();
        (slices.len(), octets)
    }

    #[test]
    fn a_111_short_sends_go_on_where_they_stopped_whatever_the_cut() {
        let outputs: [&[&'static [u8]]; 3] =
            [&[b"250-one\r\n", b"250 two\r\n"], &[b"221 bye\r\n"], &[b"", b"x"]];
        let whole: Vec<u8> = outputs.iter().flat_map(|output| output.concat()).collect();
        for step in 1..=whole.len() {
            let mut outgoing = Outgoing::default();
            for pieces in outputs {
                let mut output = Output::new();
                pieces.iter().for_each(|piece| output.push(Piece::Fixed(piece)));
                outgoing.push(output);
            }
            let mut sent = 0;
            while !outgoing.is_empty() {
                assert_eq!(gathered(&outgoing).1, whole[sent..]);
                let now = step.min(whole.len() - sent);
                outgoing.advance(now as u64);
                sent += now;
                assert_eq!(outgoing.octets(), (whole.len() - sent) as u64);
            }
            assert_eq!(sent, whole.len());
        }
    }

    #[test]
    fn a_send_takes_a_bounded_number_of_slices_and_octets() {
        let mut outgoing = Outgoing::default();
        for _ in 0..SEND_SLICES_MAX + 1 {
            outgoing.push(Output::from(b"x".to_vec()));
        }
        assert_eq!(gathered(&outgoing).0, SEND_SLICES_MAX);
        let mut outgoing = Outgoing::default();
        outgoing.push(Output::from(vec![b'x'; SEND_STEP_OCTETS - 1]));
        outgoing.push(Output::from(vec![b'x'; 1]));
        outgoing.push(Output::from(vec![b'x'; 1]));
        assert_eq!(gathered(&outgoing).0, 2, "just inside the step, just outside");
        let mut outgoing = Outgoing::default();
        outgoing.push(Output::from(vec![b'x'; 2 * SEND_STEP_OCTETS]));
        assert_eq!(gathered(&outgoing).0, 1, "one slice is never cut");
    }

    /// Slices that are walked over while a body of so many lines goes out as the kernel takes it, in
    /// the form in which it did not come.
    fn slices_walked(lines: usize) -> u64 {
        let (content, wire) = (b".\r\n".repeat(lines), b"..\r\n".repeat(lines));
        let mut from_bdat = BodyBuilder::plain(&Budget::new(1 << 30));
        from_bdat.push(&content, false).unwrap();
        let mut from_data = BodyBuilder::new(&Budget::new(1 << 30));
        wire.chunks(4).for_each(|line| from_data.push(line, true).unwrap());
        let outputs = [
            (Piece::Wire(from_bdat.finish()), wire),
            (Piece::Content(from_data.finish()), content),
        ];
        SLICES_WALKED.with(|walked| walked.set(0));
        for (piece, expected) in outputs {
            let mut output = Output::new();
            output.push(piece);
            let mut outgoing = Outgoing::default();
            outgoing.push(output);
            let mut sent = 0;
            while !outgoing.is_empty() {
                let octets = gathered(&outgoing).1;
                assert!(expected[sent..].starts_with(&octets));
                outgoing.advance(octets.len() as u64);
                sent += octets.len();
            }
            assert_eq!(sent, expected.len());
        }
        SLICES_WALKED.with(std::cell::Cell::get)
    }

    // A body of nothing but dots is cut into a slice a line, and a send takes a bounded number of
    // them: the sends that follow must not begin at the beginning.
    #[test]
    fn a_converted_body_of_dots_costs_work_in_proportion_to_its_octets() {
        let (small, large) = (slices_walked(100_000), slices_walked(800_000));
        assert!(
            large < small * 9,
            "{small} slices for 100,000 lines, {large} for eight times that"
        );
        assert!(small < 100_000 * 10, "{small} slices for 100,000 lines in both forms");
    }
}
