//! The body leaves, as slices of its blocks: by DATA in wire form, by BDAT as content.

use super::envelope::Talk;
use super::final_replies::Finals;
use super::{Hop, HopEffect, State, Turn};
use crate::relay::work::Delivery;
use crate::wire::{Output, Piece};
use std::sync::Arc;

impl Hop {
    pub(super) fn send_body(&mut self, delivery: Box<Delivery>, talk: Talk, turn: &mut Turn<'_>) {
        let is_there = talk.named.as_ref().is_some_and(|named| named.offset > 0);
        let octets = match is_there {
            true => Output::from(end_of(talk.chunked).to_vec()),
            false => message(&delivery, talk.chunked),
        };
        turn.effects.push(HopEffect::Send(octets));
        self.unsent = true;
        let finals = Finals::new(self.protocol, talk.accepted, talk.prdr, talk.named);
        self.state = State::Final(delivery, finals);
        self.wait(turn.route.timeouts.final_reply, turn);
    }
}

/// The end of a message whose octets the next hop has already.
///
/// draft-fanf-smtp-rfc1845bis-01 2.10: DATA and its end mark, or BDAT 0 LAST.
fn end_of(chunked: bool) -> &'static [u8] {
    if chunked { b"BDAT 0 LAST\r\n" } else { b".\r\n" }
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
