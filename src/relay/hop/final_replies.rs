//! What became of the message, for each recipient.
//!
//! SMTP answers once for all, LMTP once for each (RFC 2033 4.2). With PRDR a next hop may answer once,
//! or with 353, a reply for each, and one for the message.

use super::envelope::Named;
use super::{Hop, HopEffect, OUT_OF_STEP, State, Taken, Turn, told};
use crate::relay::plan::Outcome;
use crate::relay::route::Protocol;
use crate::relay::work::{Delivery, Interrupted};
use crate::wire::{Kind, Reply, replies};

/// The replies that are awaited, and those that have come.
#[derive(Debug)]
pub(super) struct Finals {
    /// Places in the group whose RCPT was accepted, in that order.
    accepted: Vec<usize>,
    /// Replies that have come for them, in the same order.
    lines: Vec<Reply>,
    form: Form,
    /// The next hop was asked for PRDR.
    prdr: bool,
    /// The name of the transaction, if it has one.
    named: Option<Named>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One reply for all.
    One,
    /// One for each.
    Each,
    /// One for all, or 353, which begins a block.
    OneOrBlock,
    /// One for each, then one for the message.
    Block,
}

impl Finals {
    pub fn new(
        protocol: Protocol,
        accepted: Vec<usize>,
        prdr: bool,
        named: Option<Named>,
    ) -> Finals {
        let form = match protocol {
            Protocol::Lmtp => Form::Each,
            Protocol::Smtp if prdr => Form::OneOrBlock,
            Protocol::Smtp => Form::One,
        };
        Finals { accepted, lines: Vec::new(), form, prdr, named }
    }

    /// What is to be asked for, the replies being lost.
    pub fn into_interrupted(self) -> Option<Interrupted> {
        let Named { transid, octets, .. } = self.named?;
        Some(Interrupted { transid, octets, prdr: self.prdr, places: self.accepted })
    }
}

impl Hop {
    /// Whether the next hop may have the message, and can be asked.
    ///
    /// draft-fanf-smtp-rfc1845bis-01 2.12: only a connection that was lost is resumed, not one that
    /// ended with a 421. What an earlier connection has brought there may be there in any case.
    pub(super) fn can_be_asked(&self, finals: &Finals, taken: Taken) -> bool {
        let may_be_there = taken == Taken::Unknown && !self.unsent;
        finals.named.as_ref().is_some_and(|named| may_be_there || named.offset > 0)
    }

    pub(super) fn final_reply(
        &mut self,
        reply: &Reply,
        mut delivery: Box<Delivery>,
        mut finals: Finals,
        turn: &mut Turn<'_>,
    ) {
        let complete = match (finals.form, reply.kind()) {
            (Form::OneOrBlock, Kind::Intermediate) if reply.code() == 353 => {
                finals.form = Form::Block;
                false
            }
            (_, Kind::Intermediate) => {
                self.state = State::Final(delivery, finals);
                return self.broken(&OUT_OF_STEP, turn);
            }
            (Form::One | Form::OneOrBlock, _) => {
                finals.accepted.iter().for_each(|place| delivery.settle(*place, outcome(reply)));
                true
            }
            (Form::Each, _) => {
                delivery.settle(finals.accepted[finals.lines.len()], outcome(reply));
                finals.lines.push(reply.clone());
                finals.lines.len() == finals.accepted.len()
            }
            (Form::Block, _) if finals.lines.len() < finals.accepted.len() => {
                finals.lines.push(reply.clone());
                false
            }
            (Form::Block, _) => {
                for (place, line) in finals.accepted.iter().zip(&finals.lines) {
                    delivery.settle(*place, of_block(line, reply));
                }
                true
            }
        };
        if complete {
            return self.conclude(delivery, Vec::new(), turn);
        }
        self.state = State::Final(delivery, finals);
        self.wait(turn.route.timeouts.final_reply, turn);
    }

    /// The connection has ended before the last reply. Those whose reply had come keep it, but for a
    /// block, of which nothing counts without its last reply.
    pub(super) fn unanswered(
        &mut self,
        mut delivery: Box<Delivery>,
        finals: Finals,
        reply: &Reply,
        taken: Taken,
        turn: &mut Turn<'_>,
    ) {
        let certainly_not = self.unsent || taken == Taken::No;
        let answered = if finals.form == Form::Each { finals.lines.len() } else { 0 };
        for (index, place) in finals.accepted.iter().enumerate().skip(answered) {
            let refused = finals.lines.get(index).is_some_and(|line| !line.is_positive());
            delivery.settle(
                *place,
                match certainly_not || refused {
                    true => Outcome::Failed(reply.clone()),
                    false => Outcome::Unknown(reply.clone()),
                },
            );
        }
        turn.effects.push(HopEffect::hand_back(delivery));
    }
}

fn outcome(reply: &Reply) -> Outcome {
    match reply.kind() {
        Kind::Positive => Outcome::Delivered,
        _ => Outcome::Failed(told(reply)),
    }
}

/// What a line of a block and the reply behind it say of a recipient.
///
/// draft-hall-prdr-00 4.5: nothing is taken on before the last reply; a line then counts as if it had
/// been the reply to RCPT, and the last reply as the one to the data. So a copy is delivered only if
/// both are positive: there are servers whose last reply is 250 when every line is 450.
fn of_block(line: &Reply, last: &Reply) -> Outcome {
    match (line.kind(), last.kind()) {
        (Kind::Positive, _) | (_, Kind::Permanent) => outcome(last),
        _ => Outcome::Failed(match told(line).kind() {
            Kind::Permanent | Kind::Transient => told(line),
            _ => replies::NEXT_HOP_DOWN,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_delivered_only_if_its_line_and_the_last_reply_say_so() {
        let ok = Reply::new(250, 1, 5, "ok");
        let busy = Reply::new(450, 2, 0, "busy");
        let no = Reply::new(550, 1, 1, "no");
        let failed = |reply: &Reply| Outcome::Failed(reply.clone());
        let table = [
            (&ok, &ok, Outcome::Delivered),
            (&busy, &ok, failed(&busy)),
            (&no, &ok, failed(&no)),
            (&ok, &busy, failed(&busy)),
            (&busy, &busy, failed(&busy)),
            (&no, &busy, failed(&no)),
            (&ok, &no, failed(&no)),
            (&busy, &no, failed(&no)),
            (&no, &no, failed(&no)),
        ];
        for (line, last, expected) in table {
            assert_eq!(of_block(line, last), expected, "{line} then {last}");
        }
    }
}
