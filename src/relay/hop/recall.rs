//! RESUME: what became of a message whose replies were lost (draft-fanf-smtp-rfc1845bis-01).
//!
//! With a next hop that offers it each transaction has a name, and goes by DATA, unless its content is
//! binary: what is asked for must be the same transaction in all that can be seen, whatever our lines
//! on top are by then. The next hop has all of the message, and then its replies are asked for; or it
//! has decided nothing, and the message is new. A part of it is of no use: the message is here whole.

use super::envelope::{Named, Step, Talk, envelope_steps};
use super::{Delivery, Hop, HopEffect, OUT_OF_STEP, State, Turn};
use crate::relay::plan::Earlier;
use crate::relay::work::Interrupted;
use crate::wire::{Kind, Reply, replies};

impl Hop {
    /// The name of a new transaction with these recipients, if it is to have one.
    pub(super) fn name(
        &self,
        delivery: &Delivery,
        places: &[usize],
        turn: &Turn<'_>,
    ) -> Option<Named> {
        let naming = delivery.naming.filter(|_| self.offers.has.resume)?;
        let transid = naming.transid(&turn.route.name, delivery.addresses(places), turn.hostname);
        Some(Named { transid, octets: delivery.octets(), offset: 0 })
    }

    /// Asks for the next one of the transactions by which an earlier run, or an earlier try of the client,
    /// may have brought the message here.
    pub(super) fn ask_for_earlier(&mut self, mut delivery: Box<Delivery>, turn: &mut Turn<'_>) {
        let next = match self.offers.has.resume {
            true => delivery.next_to_ask(self.recipients_max()),
            false => {
                delivery.cannot_ask();
                None
            }
        };
        let Some((Earlier { naming, octets }, places)) = next else {
            self.rest(turn);
            return turn.effects.push(HopEffect::Denied(delivery));
        };
        let addresses = delivery.addresses(&places);
        let transid = naming.transid(&turn.route.name, addresses, turn.hostname);
        let prdr = self.asks_for_prdr(&places);
        delivery.interrupted = Some(Interrupted { transid, octets, prdr, places });
        self.recall(delivery, turn);
    }

    /// Asks for the transaction that was interrupted.
    pub(super) fn recall(&mut self, mut delivery: Box<Delivery>, turn: &mut Turn<'_>) {
        let Some(interrupted) = delivery.interrupted.as_ref().filter(|_| self.offers.has.resume)
        else {
            delivery.leave_unknown(&replies::NEXT_HOP_DOWN.with_text("next hop forgot RESUME"));
            self.rest(turn);
            return turn.effects.push(HopEffect::hand_back(delivery));
        };
        let Interrupted { transid, octets, prdr, .. } = interrupted;
        let named = Named { transid: transid.clone(), octets: *octets, offset: 0 };
        let prdr = *prdr;
        let reused = std::mem::replace(&mut self.used, true);
        self.transactions += 1;
        let mut steps: Vec<Step> = reused.then_some(Step::Reset).into_iter().collect();
        steps.push(Step::Resume);
        self.talk(delivery, Talk::new(steps, prdr, Some(named), reused), turn);
    }

    /// The answer to RESUME. 355 belongs to nothing else.
    pub(super) fn recalled(
        &mut self,
        reply: &Reply,
        mut delivery: Box<Delivery>,
        mut talk: Talk,
        turn: &mut Turn<'_>,
    ) {
        let (interrupted, named) = (delivery.interrupted.as_ref(), talk.named.as_mut());
        let (Some(interrupted), Some(named), false) = (interrupted, named, turn.more_came) else {
            self.state = State::Envelope(delivery, talk);
            return self.broken(&OUT_OF_STEP, turn);
        };
        match (offset(reply), reply.kind()) {
            (Some(offset), _) if offset == named.octets && offset > 0 => {
                named.offset = offset;
                if let Some(asking) = &mut delivery.asking {
                    (asking.next, asking.found) = (0, true);
                }
                talk.chunked = delivery.is_binary();
                talk.answered += 1;
                talk.steps.extend(envelope_steps(&interrupted.places, talk.chunked));
                self.talk(delivery, talk, turn);
            }
            (Some(_), _) if delivery.asking.is_some() => {
                delivery.interrupted = None;
                self.ask_for_earlier(delivery, turn);
            }
            // draft-fanf-smtp-rfc1845bis-01 2.3: an offset of 0 in MAIL throws away what is held. One
            // that loses the message each time may deliver it each time: it gets it twice at most.
            (Some(_), _) if !delivery.sent_again => {
                (delivery.interrupted, delivery.sent_again) = (None, true);
                self.offer(delivery, turn);
            }
            (Some(_), _) => {
                delivery.leave_unknown(&replies::NEXT_HOP_DOWN.with_text("next hop forgets"));
                self.rest(turn);
                turn.effects.push(HopEffect::hand_back(delivery));
            }
            (None, Kind::Transient | Kind::Permanent) => {
                delivery.leave_unknown(&super::deferred(&super::told(reply)));
                self.rest(turn);
                turn.effects.push(HopEffect::hand_back(delivery));
            }
            (None, _) => {
                self.state = State::Envelope(delivery, talk);
                self.broken(&OUT_OF_STEP, turn);
            }
        }
    }
}

/// draft-fanf-smtp-rfc1845bis-01 2.8: resume-reply = "355" SP octet-offset SP text, with 1*20DIGIT.
fn offset(reply: &Reply) -> Option<u64> {
    let first = reply.text().split([' ', '\n']).next()?;
    let is_number = (1..=20).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_digit());
    first.parse().ok().filter(|_| reply.code() == 355 && is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_the_first_word_of_a_355() {
        let said = |code, text: &str| offset(&Reply::bare(code, "").with_text(text.to_owned()));
        assert_eq!(said(355, "8123 octets are held"), Some(8_123));
        assert_eq!(said(355, "0"), Some(0));
        for none in ["", "x", "-1", "+1 x", "1x", "99999999999999999999 x", "000000000000000000001"]
        {
            assert_eq!(said(355, none), None, "{none}");
        }
        assert_eq!(said(250, "8123 octets"), None);
    }
}
