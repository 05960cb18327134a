//! MAIL and RCPT: a group is offered to the next hop, in as many transactions as that one allows.

use super::commands::is_answer_to_verify;
use super::{Hop, HopEffect, OUT_OF_STEP, State, Tls, Turn, deferred, told};
use crate::relay::route::Protocol;
use crate::relay::work::{Delivery, Work};
use crate::wire::{Enhanced, Kind, Reply, replies};

/// The commands of an envelope, and how far they were answered.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) steps: Vec<Step>,
    pub(super) answered: usize,
    sender_refused: bool,
    /// Places in the group.
    pub(super) accepted: Vec<usize>,
    refused: Vec<(usize, Reply)>,
    /// The body goes by BDAT, and not by DATA.
    pub(super) chunked: bool,
    /// The next hop is asked for PRDR.
    pub(super) prdr: bool,
    /// The name of the transaction, with a next hop that offers RESUME.
    pub(super) named: Option<Named>,
    /// The connection had a transaction before.
    reused: bool,
    /// Everybody was refused, so nothing of the message is to leave; whether each reply was given to
    /// its own command is to be seen by one more.
    pub(super) confirming: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Reset,
    /// RESUME: what became of the transaction?
    Resume,
    Mail,
    /// The recipient at this place of the group.
    Rcpt(usize),
    /// VRFY, whose reply is like that of no other command of an envelope.
    Verify,
    Data,
}

/// The name of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// The id, without angle brackets.
    pub transid: Box<str>,
    /// Octets of the message with the lines on top of it.
    pub octets: u64,
    /// Octets of it that the next hop has: none, or all.
    pub offset: u64,
}

impl Talk {
    /// Nothing is answered yet.
    pub(super) fn new(steps: Vec<Step>, prdr: bool, named: Option<Named>, reused: bool) -> Talk {
        Talk {
            chunked: steps.last() == Some(&Step::Verify),
            steps,
            answered: 0,
            sender_refused: false,
            accepted: Vec::new(),
            refused: Vec::new(),
            prdr,
            named,
            reused,
            confirming: false,
        }
    }

    fn nobody(&self) -> bool {
        self.sender_refused || self.accepted.is_empty()
    }

    /// Whether what is still to be sent would be in vain.
    fn nobody_can_be_accepted(&self) -> bool {
        let next = self.steps.get(self.answered);
        self.sender_refused || (self.accepted.is_empty() && next == Some(&Step::Data))
    }
}

impl Hop {
    /// Begins with a group, or goes on with those of it whose outcome is not known.
    pub(super) fn deliver(&mut self, mut delivery: Box<Delivery>, turn: &mut Turn<'_>) {
        let asks = delivery.interrupted.is_some();
        if let Some(reply) = self.refusal(&delivery, turn).filter(|_| !asks) {
            delivery.fail_rest(&reply);
            self.rest(turn);
            return turn.effects.push(HopEffect::Finished(delivery));
        }
        let work = Work::Delivery(delivery);
        if !self.suits(&work) {
            turn.effects.push(HopEffect::Unfit(work));
            return self.retire(turn);
        }
        let Work::Delivery(delivery) = work else { return };
        if self.must_introduce(&delivery, turn) {
            return self.introduce(delivery, turn);
        }
        match asks {
            true => self.recall(delivery, turn),
            false => self.offer(delivery, turn),
        }
    }

    /// Why the message cannot go over this connection, if it cannot: nothing of it is sent then.
    fn refusal(&self, delivery: &Delivery, turn: &Turn<'_>) -> Option<Reply> {
        let (envelope, offers) = (&delivery.envelope, &self.offers);
        // RFC 8689 4.2.1: only under TLS, to a server that has shown who it is and offers the same.
        let tls_kept =
            self.tls == Tls::Active && turn.route.tls.is_demanded() && offers.has.requiretls;
        if envelope.requiretls && !tls_kept {
            return Some(replies::NO_REQUIRETLS);
        }
        // RFC 6531 3.2: without the extension the message must not be sent.
        if envelope.smtputf8 && !offers.has.smtputf8 {
            return Some(Reply::new(550, 6, 7, "next hop does not take SMTPUTF8 mail"));
        }
        // RFC 3030 3: binary content needs both extensions; it is not converted here.
        if delivery.is_binary() && !(offers.has.binarymime && offers.has.chunking) {
            return Some(Reply::new(554, 6, 1, "next hop does not take binary content"));
        }
        // RFC 1870 6.1: over the limit that the server has declared, nothing is to be sent.
        let too_big = offers.octets_max.is_some_and(|most| delivery.octets() > most);
        too_big.then_some(Reply::new(552, 3, 4, "message too big for next hop"))
    }

    pub(super) fn offer(&mut self, delivery: Box<Delivery>, turn: &mut Turn<'_>) {
        if delivery.asking.is_some() {
            return self.ask_for_earlier(delivery, turn);
        }
        let places: Vec<usize> = delivery.open().take(self.recipients_max()).collect();
        let prdr = self.asks_for_prdr(&places);
        let named = self.name(&delivery, &places, turn);
        let reused = std::mem::replace(&mut self.used, true);
        self.transactions += 1;
        let plain = delivery.body.is_plain() && !reused && named.is_none();
        let chunked = self.offers.has.chunking && (plain || delivery.is_binary());
        // Whatever the last transaction has left behind is cleared.
        let mut steps: Vec<Step> = reused.then_some(Step::Reset).into_iter().collect();
        steps.extend(envelope_steps(&places, chunked));
        self.talk(delivery, Talk::new(steps, prdr, named, reused), turn);
    }

    /// RFC 9422 4.2: no more RCPTs in one transaction than the server has said.
    pub(super) fn recipients_max(&self) -> usize {
        self.offers.recipients_max.unwrap_or(usize::MAX)
    }

    /// A single recipient has a single reply in any case.
    pub(super) fn asks_for_prdr(&self, places: &[usize]) -> bool {
        self.protocol == Protocol::Smtp && self.offers.has.prdr && places.len() > 1
    }

    /// Begins with the first step that is not answered.
    pub(super) fn talk(&mut self, delivery: Box<Delivery>, talk: Talk, turn: &mut Turn<'_>) {
        // RFC 2920 3.1: MAIL, RCPT and RSET may stand anywhere in a group, DATA and VRFY at its end.
        // draft-fanf-smtp-rfc1845bis-01 2.8: so may RESUME.
        let steps = &talk.steps[talk.answered..];
        let now_sent = if self.offers.has.pipelining { steps.len() } else { 1 };
        self.send_steps(&steps[..now_sent], &delivery, &talk, turn);
        self.state = State::Envelope(delivery, talk);
        self.wait(turn.route.timeouts.command, turn);
    }

    fn send_steps(&self, steps: &[Step], delivery: &Delivery, talk: &Talk, turn: &mut Turn<'_>) {
        let mut commands = Vec::new();
        for step in steps {
            self.write_step(*step, delivery, talk, &mut commands);
        }
        turn.send(commands);
    }

    /// The answer to one command of the envelope.
    pub(super) fn step(
        &mut self,
        reply: &Reply,
        mut delivery: Box<Delivery>,
        mut talk: Talk,
        turn: &mut Turn<'_>,
    ) {
        let step = talk.steps[talk.answered];
        match step {
            Step::Data => return self.data_answered(reply, delivery, talk, turn),
            Step::Verify => return self.verify_answered(reply, delivery, talk, turn),
            Step::Resume => return self.recalled(reply, delivery, talk, turn),
            Step::Reset | Step::Mail | Step::Rcpt(_) => {}
        }
        let in_step = match (step, reply.kind()) {
            (_, Kind::Intermediate) => false,
            (Step::Reset, kind) => kind == Kind::Positive,
            (Step::Mail, kind) => {
                if kind != Kind::Positive {
                    talk.sender_refused = true;
                    // It has the message and does not know it again.
                    delivery.leave_unknown(&deferred(&told(reply)));
                    let open: Vec<usize> = delivery.open().collect();
                    talk.refused.extend(open.into_iter().map(|place| (place, told(reply))));
                }
                true
            }
            // What is said of recipients of a sender that was refused only follows from that.
            (Step::Rcpt(_), _) if talk.sender_refused => true,
            (Step::Rcpt(place), Kind::Positive) => {
                talk.accepted.push(place);
                true
            }
            (Step::Rcpt(_), _) if is_full(reply) && !talk.accepted.is_empty() => true,
            (Step::Rcpt(place), _) => {
                talk.refused.push((place, told(reply)));
                true
            }
            (Step::Data | Step::Verify | Step::Resume, _) => false,
        };
        if !in_step {
            self.state = State::Envelope(delivery, talk);
            return self.broken(&OUT_OF_STEP, turn);
        }
        talk.answered += 1;
        self.go_on(delivery, talk, turn);
    }

    /// The next command, if one is to be sent; else the next answer is awaited, or the body goes.
    fn go_on(&mut self, delivery: Box<Delivery>, mut talk: Talk, turn: &mut Turn<'_>) {
        if !self.offers.has.pipelining && talk.nobody_can_be_accepted() {
            // Whether that is so, or a reply too many has come, the answer to VRFY shows.
            talk.steps.truncate(talk.answered);
            talk.steps.push(Step::Verify);
        }
        let next = talk.steps.get(talk.answered).copied();
        let Some(next) = next else {
            // That was the RSET behind a DATA that was refused.
            return self.conclude(delivery, talk.refused, turn);
        };
        if !self.offers.has.pipelining {
            if turn.more_came {
                // One command was sent, and two replies came.
                self.state = State::Envelope(delivery, talk);
                return self.broken(&OUT_OF_STEP, turn);
            }
            self.send_steps(&[next], &delivery, &talk, turn);
        }
        talk.confirming = talk.nobody() && matches!(next, Step::Verify | Step::Data);
        self.state = State::Envelope(delivery, talk);
        self.wait(turn.route.timeouts.command, turn);
    }

    fn data_answered(
        &mut self,
        reply: &Reply,
        mut delivery: Box<Delivery>,
        mut talk: Talk,
        turn: &mut Turn<'_>,
    ) {
        match (reply.code(), talk.nobody()) {
            (354, false) => self.transfer(delivery, talk, turn),
            // The go-ahead is for a message without recipients: leaving is the safest end mark.
            (354, true) => {
                delivery.settle_refused(talk.refused);
                turn.effects.push(HopEffect::hand_back(delivery));
                turn.effects.push(HopEffect::Close);
            }
            (400..600, true) => self.confirm(delivery, talk, turn),
            // On a connection that had another transaction this may be the answer to RCPT, all being
            // one reply late: a new connection will show.
            (400..600, false) if !talk.reused => {
                let accepted = std::mem::take(&mut talk.accepted);
                talk.refused.extend(accepted.into_iter().map(|place| (place, told(reply))));
                self.confirm(delivery, talk, turn);
            }
            _ => {
                self.state = State::Envelope(delivery, talk);
                self.broken(&OUT_OF_STEP, turn);
            }
        }
    }

    /// The message is refused to all, unless a reply too many has come in the middle: then this one
    /// belongs to the last RCPT, and that of DATA is still to come. It would be no yes, as that to
    /// RSET is.
    fn confirm(&mut self, delivery: Box<Delivery>, mut talk: Talk, turn: &mut Turn<'_>) {
        talk.answered = talk.steps.len();
        talk.steps.push(Step::Reset);
        talk.confirming = true;
        self.send_steps(&[Step::Reset], &delivery, &talk, turn);
        self.state = State::Envelope(delivery, talk);
        self.wait(turn.route.timeouts.command, turn);
    }

    /// The answer to VRFY stands where that of a RCPT would stand, had a reply too many come before.
    ///
    /// What is not like an answer to VRFY alone may be a RCPT's: then the message goes by DATA, whose
    /// 354 belongs to nothing else. Binary content, which cannot, does not go over this connection.
    fn verify_answered(
        &mut self,
        reply: &Reply,
        delivery: Box<Delivery>,
        mut talk: Talk,
        turn: &mut Turn<'_>,
    ) {
        match (is_answer_to_verify(reply), talk.nobody()) {
            (true, true) => self.conclude(delivery, talk.refused, turn),
            (true, false) => self.transfer(delivery, talk, turn),
            _ if delivery.is_binary() || turn.more_came => {
                self.state = State::Envelope(delivery, talk);
                self.broken(&OUT_OF_STEP, turn);
            }
            _ => {
                talk.chunked = false;
                talk.confirming = talk.nobody();
                talk.answered = talk.steps.len();
                talk.steps.push(Step::Data);
                self.send_steps(&[Step::Data], &delivery, &talk, turn);
                self.state = State::Envelope(delivery, talk);
                self.wait(turn.route.timeouts.command, turn);
            }
        }
    }

    /// The connection has ended while its replies were to be confirmed: nothing speaks against them.
    pub(super) fn unconfirmed(
        &mut self,
        mut delivery: Box<Delivery>,
        talk: Talk,
        turn: &mut Turn<'_>,
    ) {
        delivery.settle_refused(talk.refused);
        turn.effects.push(HopEffect::hand_back(delivery));
    }

    /// The message may leave: somebody was accepted.
    fn transfer(&mut self, mut delivery: Box<Delivery>, mut talk: Talk, turn: &mut Turn<'_>) {
        if turn.more_came {
            // A reply to a message that has not left.
            self.state = State::Envelope(delivery, talk);
            return self.broken(&OUT_OF_STEP, turn);
        }
        delivery.settle_refused(std::mem::take(&mut talk.refused));
        self.send_body(delivery, talk, turn);
    }

    /// The transaction has come to its end. Those who were put off are offered again.
    pub(super) fn conclude(
        &mut self,
        mut delivery: Box<Delivery>,
        refused: Vec<(usize, Reply)>,
        turn: &mut Turn<'_>,
    ) {
        delivery.settle_refused(refused);
        delivery.interrupted = None;
        self.rest(turn);
        // A reply too many behind the last one would be taken for the next transaction's first.
        if delivery.open().next().is_none() || turn.more_came {
            return turn.effects.push(HopEffect::hand_back(delivery));
        }
        self.deliver(delivery, turn);
    }
}

/// MAIL, RCPT for the recipients at these places, and what stands before the body.
pub(super) fn envelope_steps(places: &[usize], chunked: bool) -> impl Iterator<Item = Step> {
    let last = if chunked { Step::Verify } else { Step::Data };
    let rcpts = places.iter().copied().map(Step::Rcpt);
    std::iter::once(Step::Mail).chain(rcpts).chain([last])
}

/// Whether RCPT was put off for the number of recipients alone.
///
/// RFC 5321 4.5.3.1.10: the client shall send the others in another transaction, with those that
/// were accepted done. A mailbox that is full has the same code.
fn is_full(reply: &Reply) -> bool {
    const TOO_MANY: Enhanced = Enhanced { subject: 5, detail: 3 };
    reply.code() == 452 && reply.enhanced().is_none_or(|code| code == TOO_MANY)
}
