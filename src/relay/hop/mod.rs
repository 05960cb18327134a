//! One connection to a next hop: the client side of SMTP and LMTP.
//!
//! It goes through the files of this folder so: `greeting` brings it from the connection to the first
//! command (banner, EHLO, STARTTLS, XCLIENT), `envelope` offers recipients, `transfer` sends the body,
//! `final_replies` reads what became of it, for each recipient; `question` asks about a recipient
//! without a message; `recall` asks what became of one whose replies were lost; `commands` writes the
//! lines.
//!
//! Replies carry no mark of the command that they answer, so a reply too many would be given to the
//! wrong message. Whatever is out of place ends the connection: a reply while nothing was asked, one
//! behind the last of an envelope, one before the body has left. A body follows an envelope only after
//! a reply that can be the answer to the last command alone: 354 for DATA, and 252 or its like for the
//! VRFY that stands before a BDAT, whose own replies look like those of any command. So BDAT is never
//! pipelined behind RCPT, and what is more: as long as no octet of a body has left, the message can be
//! tried elsewhere. It is used on connections that have had no transaction since their greeting.
//!
//! Behind the last octet of a body there is no such proof: the first reply then is the answer, as it is
//! for any client. A second one finds a connection that waits for nothing, and ends it.

mod commands;
mod envelope;
mod final_replies;
mod greeting;
mod question;
mod recall;
mod transfer;

use super::board::HopOffers;
use super::offers::Offers;
use super::plan::Origin;
use super::route::{HopTls, Protocol, Route};
use super::told::{deferred, told};
use super::work::{Delivery, Question, Work};
use crate::limits::{HOP_IDLE_TIMEOUT, HOP_TRANSACTIONS_MAX};
use crate::now::Tick;
use crate::wire::{Output, Reply, ReplyReader, replies};
use envelope::Talk;
use final_replies::Finals;
use question::Asking;
use smallvec::SmallVec;
use std::time::Duration;

/// A connection to a next hop.
#[derive(Debug)]
pub(super) struct Hop {
    protocol: Protocol,
    state: State,
    reader: ReplyReader,
    offers: Offers,
    tls: Tls,
    /// The client that XCLIENT has named.
    origin: Option<Origin>,
    /// A greeting was read to its end.
    greeted: bool,
    /// There was a MAIL since the greeting: something may be left over from it.
    used: bool,
    transactions: u32,
    /// Octets of a body have not left yet.
    unsent: bool,
    deadline: Tick,
    /// A bug for tests of the simulation's oracle: what may have been taken is sent again.
    #[cfg(test)]
    pub sends_again: bool,
}

#[derive(Debug)]
enum State {
    Connecting(Option<Work>),
    /// TLS is being made; `bannered` tells that STARTTLS began it.
    Securing {
        work: Option<Work>,
        bannered: bool,
    },
    Banner(Option<Work>),
    Greeting {
        work: Option<Work>,
        extended: bool,
    },
    StartTls(Option<Work>),
    Introducing {
        delivery: Box<Delivery>,
        reset: bool,
    },
    Idle,
    Envelope(Box<Delivery>, Talk),
    Final(Box<Delivery>, Finals),
    Asking(Box<Question>, Asking),
    Closed,
}

/// Where the connection stands with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// It is wanted, if it can be had.
    Wanted,
    /// The connection goes on in clear.
    Without,
    /// It is there.
    Active,
}

/// What one verb is told, and what it wants.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub route: &'a Route,
    /// Our name.
    pub hostname: &'a str,
    pub now: Tick,
    pub effects: SmallVec<[HopEffect; 3]>,
    /// Octets stand behind the reply at hand.
    more_came: bool,
}

/// What a verb asks of the pool.
#[derive(Debug)]
pub(super) enum HopEffect {
    /// Octets for the next hop.
    Send(Output),
    /// TLS begins.
    StartTls,
    /// The greeting was read to its end for the first time.
    Greeted(HopOffers),
    /// Every recipient has its outcome.
    Finished(Box<Delivery>),
    /// The work, or what is left of it, needs a new connection; nothing has failed.
    Unfit(Work),
    /// The next hop has answered: its reply to RCPT, or to MAIL if it refused that.
    Answered(Box<Question>, Result<Reply, Reply>),
    /// The connection failed before a body was sent: the work may be tried elsewhere.
    Unsent(Work, Reply),
    /// TLS failed, which the route does not demand: the work may be tried without.
    Unsealed(Option<Work>),
    /// The next hop was asked for all earlier transactions, and has none of them, or cannot be asked.
    Denied(Box<Delivery>),
    /// The connection was lost behind the last octet of a message whose transaction has a name: what
    /// became of it can be asked.
    Interrupted(Box<Delivery>, Reply),
    /// The connection failed while something was awaited.
    Failed,
    /// The connection is of no more use; after what was sent, it is to be closed.
    Close,
    /// The connection is of no more use; what was not sent yet must not be sent.
    Abort,
}

impl HopEffect {
    /// A delivery goes back to the pool: done, or with recipients left that were put off to another
    /// transaction and have lost nothing.
    fn hand_back(mut delivery: Box<Delivery>) -> HopEffect {
        delivery.interrupted = None;
        let done = delivery.open().next().is_none();
        match done {
            true => HopEffect::Finished(delivery),
            false => HopEffect::Unfit(Work::Delivery(delivery)),
        }
    }
}

impl<'a> Turn<'a> {
    pub fn new(route: &'a Route, hostname: &'a str, now: Tick) -> Turn<'a> {
        Turn { route, hostname, now, effects: SmallVec::new(), more_came: false }
    }

    fn send(&mut self, commands: Vec<u8>) {
        self.effects.push(HopEffect::Send(commands.into()));
    }
}

impl Hop {
    /// A connection that is being made. Without work it is a try whether the next hop is there.
    /// `without_tls` tells that TLS, which is not demanded, has failed with it.
    pub fn connecting(
        protocol: Protocol,
        work: Option<Work>,
        without_tls: bool,
        turn: &Turn<'_>,
    ) -> Hop {
        let in_clear = without_tls || turn.route.tls == HopTls::Off;
        let mut hop = Hop {
            protocol,
            state: State::Connecting(work),
            reader: ReplyReader::default(),
            offers: Offers::default(),
            tls: if in_clear { Tls::Without } else { Tls::Wanted },
            origin: None,
            greeted: false,
            used: false,
            transactions: 0,
            unsent: false,
            deadline: turn.now,
            #[cfg(test)]
            sends_again: false,
        };
        hop.wait(turn.route.timeouts.connect, turn);
        hop
    }

    /// The moment at which [`Hop::timed_out`] is due.
    pub fn deadline(&self) -> Tick {
        self.deadline
    }

    /// Whether it waits for work.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether a connection that is idle can take this: a next hop may allow so many transactions
    /// only, binary content needs a connection of its own, and mail of one client must not go where
    /// another was named and no other can be. A question is ours, and asked in no client's name.
    pub fn suits(&self, work: &Work) -> bool {
        let Work::Delivery(delivery) = work else {
            return !self.is_spent() && self.origin.is_none();
        };
        let too_late = delivery.is_binary() && self.used;
        let named = self.origin.as_ref();
        // Postfix judges the right to XCLIENT by the address that it was told last.
        let another = named.is_some_and(|named| *named != delivery.envelope.origin)
            && !self.offers.xclient.any();
        !self.is_spent() && !too_late && !another
    }

    /// Whether it has had as many transactions as it may have.
    pub fn is_spent(&self) -> bool {
        let most = self.offers.transactions_max.unwrap_or(HOP_TRANSACTIONS_MAX);
        self.transactions >= most.min(HOP_TRANSACTIONS_MAX)
    }

    /// The connection stands.
    pub fn connected(&mut self, turn: &mut Turn<'_>) {
        if let State::Connecting(work) = &mut self.state {
            let work = work.take();
            self.open(work, turn);
        }
    }

    /// The TLS handshake is done.
    pub fn secured(&mut self, turn: &mut Turn<'_>) {
        if let State::Securing { work, bannered } = &mut self.state {
            let (work, bannered) = (work.take(), *bannered);
            self.sealed(work, bannered, turn);
        }
    }

    /// The next hop's side has taken octets; so many are still to be taken.
    pub fn sent(&mut self, octets_left: u64, turn: &Turn<'_>) {
        if self.unsent {
            self.unsent = octets_left > 0;
            self.wait(turn.route.timeouts.final_reply, turn);
        }
    }

    /// Takes up work on an idle connection.
    pub fn begin(&mut self, work: Work, turn: &mut Turn<'_>) {
        debug_assert!(self.is_idle());
        match work {
            Work::Delivery(delivery) => self.deliver(delivery, turn),
            Work::Question(question) => self.ask(question, turn),
        }
    }

    /// Takes octets of the next hop.
    pub fn receive(&mut self, mut octets: &[u8], turn: &mut Turn<'_>) {
        while !matches!(self.state, State::Closed) {
            match self.reader.next(&mut octets) {
                Ok(Some(reply)) => {
                    turn.more_came = !octets.is_empty();
                    self.replied(&reply, turn);
                }
                Ok(None) if self.may_be_answered() || !self.reader.is_in_reply() => return,
                // Part of a reply that nothing asked for, or what is no reply.
                Ok(None) | Err(_) => self.broken(&OUT_OF_STEP, turn),
            }
        }
    }

    /// Whether a reply can come that belongs to something.
    fn may_be_answered(&self) -> bool {
        let idle =
            matches!(self.state, State::Connecting(_) | State::Securing { .. } | State::Idle);
        !idle && !self.unsent
    }

    fn replied(&mut self, reply: &Reply, turn: &mut Turn<'_>) {
        if !self.may_be_answered() {
            return self.broken(&OUT_OF_STEP, turn);
        }
        if reply.code() == 421 {
            // RFC 5321 4.2.1: the server closes after it. Behind a body it says that none was taken.
            return self.ended(&told(reply), Taken::No, turn);
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Banner(work) => self.bannered(reply, work, turn),
            State::Greeting { work, extended } => self.greeted(reply, work, extended, turn),
            State::StartTls(work) => self.tls_answered(reply, work, turn),
            State::Introducing { delivery, reset } => {
                self.introduced(reply, delivery, reset, turn);
            }
            State::Envelope(delivery, talk) => self.step(reply, delivery, talk, turn),
            State::Final(delivery, finals) => self.final_reply(reply, delivery, finals, turn),
            State::Asking(question, asking) => self.asked(reply, question, asking, turn),
            State::Connecting(_) | State::Securing { .. } | State::Idle | State::Closed => {}
        }
    }

    /// The next hop closed, or the connection could not be made or was lost.
    pub fn lost(&mut self, turn: &mut Turn<'_>) {
        let reply = match self.state {
            State::Securing { .. } => {
                replies::NEXT_HOP_DOWN.with_text("next hop closed instead of TLS")
            }
            _ => replies::NEXT_HOP_DOWN,
        };
        self.broken(&reply, turn);
    }

    /// TLS failed: what was sealed cannot be trusted to have come, and nothing goes on in clear here.
    pub fn tls_failed(&mut self, why: &str, turn: &mut Turn<'_>) {
        self.broken(&replies::NEXT_HOP_DOWN.with_text(format!("next hop: {why}")), turn);
    }

    /// The deadline has come.
    pub fn timed_out(&mut self, turn: &mut Turn<'_>) {
        if turn.now < self.deadline {
            return;
        }
        match self.state {
            State::Idle => self.retire(turn),
            _ => self.broken(&replies::NEXT_HOP_DOWN.with_text("next hop does not answer"), turn),
        }
    }

    /// Ends an idle connection in good order.
    pub fn retire(&mut self, turn: &mut Turn<'_>) {
        self.state = State::Closed;
        turn.send(b"QUIT\r\n".to_vec());
        turn.effects.push(HopEffect::Close);
    }

    /// The connection is of no more use. What was not answered is put off with `reply`.
    fn broken(&mut self, reply: &Reply, turn: &mut Turn<'_>) {
        self.ended(reply, Taken::Unknown, turn);
    }

    /// The connection has ended. `taken` tells what is known of a body that has left.
    fn ended(&mut self, reply: &Reply, taken: Taken, turn: &mut Turn<'_>) {
        let close = if self.unsent { HopEffect::Abort } else { HopEffect::Close };
        let work = match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting(work)
            | State::Banner(work)
            | State::Greeting { work, .. }
            | State::StartTls(work) => work,
            State::Securing { work, .. } => {
                if !turn.route.tls.is_demanded() {
                    turn.effects.push(HopEffect::Unsealed(work));
                    turn.effects.push(close);
                    return;
                }
                work
            }
            State::Envelope(delivery, talk) if talk.confirming && *reply != OUT_OF_STEP => {
                self.unconfirmed(delivery, talk, turn);
                return turn.effects.push(close);
            }
            State::Asking(question, asking) if asking.is_confirming() && *reply != OUT_OF_STEP => {
                self.answered_unconfirmed(question, asking, turn);
                return turn.effects.push(close);
            }
            State::Introducing { delivery, .. } | State::Envelope(delivery, _) => {
                Some(Work::Delivery(delivery))
            }
            State::Asking(question, _) => Some(Work::Question(question)),
            #[cfg(test)]
            State::Final(delivery, _) if self.sends_again => Some(Work::Delivery(delivery)),
            State::Final(mut delivery, finals) if self.can_be_asked(&finals, taken) => {
                delivery.interrupted = finals.into_interrupted();
                turn.effects.push(HopEffect::Failed);
                turn.effects.push(HopEffect::Interrupted(delivery, deferred(reply)));
                return turn.effects.push(close);
            }
            State::Final(delivery, finals) => {
                turn.effects.push(HopEffect::Failed);
                self.unanswered(delivery, finals, &deferred(reply), taken, turn);
                return turn.effects.push(close);
            }
            State::Idle => return turn.effects.push(close),
            State::Closed => return,
        };
        turn.effects.push(HopEffect::Failed);
        if let Some(work) = work {
            turn.effects.push(HopEffect::Unsent(work, deferred(reply)));
        }
        turn.effects.push(close);
    }

    /// Something was brought to its end; the connection may be used again.
    fn rest(&mut self, turn: &Turn<'_>) {
        self.state = State::Idle;
        self.deadline = turn.now + HOP_IDLE_TIMEOUT;
    }

    /// Waits for so long, but not longer than whoever waits for the work.
    fn wait(&mut self, span: Duration, turn: &Turn<'_>) {
        let until = match &self.state {
            State::Connecting(Some(work))
            | State::Securing { work: Some(work), .. }
            | State::Banner(Some(work))
            | State::Greeting { work: Some(work), .. }
            | State::StartTls(Some(work)) => Some(work.attempts().until),
            State::Introducing { delivery, .. }
            | State::Envelope(delivery, _)
            | State::Final(delivery, _) => Some(delivery.attempts.until),
            State::Asking(question, _) => Some(question.attempts.until),
            _ => None,
        };
        let deadline = turn.now + span;
        self.deadline = until.map_or(deadline, |until| until.min(deadline));
    }
}

/// What is known of a body that has left when the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    No,
    Unknown,
}

/// A reply that belongs to nothing, or what is no reply at all.
const OUT_OF_STEP: Reply = Reply::new(451, 4, 1, "next hop does not keep to the protocol");
