//! The body leaves, as slices of its blocks: by DATA in wire form, by BDAT as content.

use super::final_replies::Finals;
use super::{Hop, HopEffect, State, Turn};
use crate::relay::work::Delivery;
use crate::wire::{Output, Piece};
use std::sync::Arc;

impl Hop {
    pub(super) fn send_body(
        &mut self,
        delivery: Box<Delivery>,
        accepted: Vec<usize>,
        chunked: bool,
        prdr: bool,
        turn: &mut Turn<'_>,
    ) {
        turn.effects.push(HopEffect::Send(message(&delivery, chunked)));
        self.unsent = true;
        let finals = Finals::new(self.protocol, accepted, prdr);
        self.state = State::Final(delivery, finals);
        self.wait(turn.route.timeouts.final_reply, turn);
    }
}

/// A message as it is sent: our lines on top, then the body.
pub(super) fn message(delivery: &Delivery, chunked: bool) -> Output {
    let (prepend, body) = (delivery.group.prepend.clone(), Arc::clone(&delivery.body));
    let mut output = Output::new();
    if chunked {
        // RFC 3030 2: the octets of a chunk are counted, and neither stuffed nor ended by a mark.
        let command = format!("BDAT {} LAST\r\n", delivery.octets());
        output.push(Piece::Owned([command.as_bytes(), &prepend].concat()));
        output.push(Piece::Content(body));
    } else {
        output.push(Piece::Owned(prepend));
        output.push(Piece::Wire(body));
        output.push(Piece::Fixed(b".\r\n"));
    }
    output
}
