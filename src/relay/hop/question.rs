//! A recipient is asked about: MAIL, RCPT, RSET, and no message.
//!
//! A refusal is remembered and given to clients, so it is believed only if it cannot be a reply too
//! many, with that to RCPT taken for RSET's: a VRFY follows, and where its reply tells nothing, a DATA,
//! which nobody can be sent behind a RSET.

use super::commands::{VERIFY, is_answer_to_verify};
use super::{Hop, HopEffect, OUT_OF_STEP, State, Turn};
use crate::relay::work::Question;
use crate::wire::{Kind, Reply};
use smallvec::SmallVec;

/// The commands of a question, and how far they were answered.
#[derive(Debug)]
pub(super) struct Asking {
    steps: SmallVec<[Step; 6]>,
    answered: usize,
    /// The reply to MAIL, if it was a refusal.
    sender_refused: Option<Reply>,
    /// The reply to RCPT.
    answer: Option<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Reset,
    Mail,
    Rcpt,
    /// VRFY, whose reply is seldom like that of RSET.
    Verify,
    /// DATA, whose reply is never like that of RSET or VRFY: it is refused.
    Data,
}

const STEPS: [Step; 4] = [Step::Reset, Step::Mail, Step::Rcpt, Step::Reset];

impl Asking {
    /// Whether all is answered but what shows that each reply was given to its own command.
    pub(super) fn is_confirming(&self) -> bool {
        matches!(self.steps.get(self.answered), Some(Step::Verify | Step::Data))
    }

    /// The step that shows whether the refusal at hand is one, if there is one to be shown.
    fn confirmation(&self, reply: &Reply) -> Option<Step> {
        let refused = self.sender_refused.is_none()
            && self.answer.as_ref().is_some_and(|it| !it.is_positive());
        match self.steps.last() {
            Some(Step::Verify) => (!is_answer_to_verify(reply)).then_some(Step::Data),
            Some(Step::Data) => None,
            _ => refused.then_some(Step::Verify),
        }
    }

    fn into_answer(self) -> Result<Reply, Reply> {
        match (self.sender_refused, self.answer) {
            (None, Some(answer)) => Ok(answer),
            (refusal, _) => Err(refusal.unwrap_or(OUT_OF_STEP)),
        }
    }
}

impl Hop {
    pub(super) fn ask(&mut self, question: Box<Question>, turn: &mut Turn<'_>) {
        if question.smtputf8 && !self.offers.has.smtputf8 {
            // RFC 6531 3.2: a message for the recipient could not be sent either.
            let reply = Reply::new(550, 6, 7, "next hop does not take SMTPUTF8 mail");
            self.rest(turn);
            return turn.effects.push(HopEffect::Answered(question, Ok(reply)));
        }
        let reused = std::mem::replace(&mut self.used, true);
        self.transactions += 1;
        let steps = SmallVec::from_slice(if reused { &STEPS[..] } else { &STEPS[1..] });
        let now_sent = if self.offers.has.pipelining { steps.len() } else { 1 };
        send(&steps[..now_sent], &question, turn);
        let asking = Asking { steps, answered: 0, sender_refused: None, answer: None };
        self.state = State::Asking(question, asking);
        self.wait(turn.route.timeouts.command, turn);
    }

    /// The answer to one command of a question.
    pub(super) fn asked(
        &mut self,
        reply: &Reply,
        question: Box<Question>,
        mut asking: Asking,
        turn: &mut Turn<'_>,
    ) {
        let in_step = match (asking.steps[asking.answered], reply.kind()) {
            (_, Kind::Intermediate) => false,
            // Were all replies one late, this one would be the answer to RCPT.
            (Step::Reset, kind) => kind == Kind::Positive,
            (Step::Mail, kind) => {
                asking.sender_refused = (kind != Kind::Positive).then(|| reply.clone());
                true
            }
            (Step::Rcpt, _) => {
                asking.answer = Some(reply.clone());
                true
            }
            (Step::Verify, _) => true,
            // Were all replies one late, this one would be the answer to VRFY or to RSET.
            (Step::Data, kind) => matches!(kind, Kind::Transient | Kind::Permanent),
        };
        if !in_step {
            self.state = State::Asking(question, asking);
            return self.broken(&OUT_OF_STEP, turn);
        }
        asking.answered += 1;
        let planned = asking.steps.get(asking.answered).copied();
        let Some(next) = planned.or_else(|| asking.confirmation(reply)) else {
            self.rest(turn);
            return turn.effects.push(HopEffect::Answered(question, asking.into_answer()));
        };
        if planned.is_none() {
            asking.steps.push(next);
        }
        // With all commands sent at once the replies may come so, too.
        let one_by_one = planned.is_none() || !self.offers.has.pipelining;
        if one_by_one && turn.more_came {
            self.state = State::Asking(question, asking);
            return self.broken(&OUT_OF_STEP, turn);
        }
        if one_by_one {
            send(&[next], &question, turn);
        }
        self.state = State::Asking(question, asking);
        self.wait(turn.route.timeouts.command, turn);
    }

    /// The connection has ended while a refusal was to be confirmed: nothing speaks against it.
    pub(super) fn answered_unconfirmed(
        &mut self,
        question: Box<Question>,
        asking: Asking,
        turn: &mut Turn<'_>,
    ) {
        turn.effects.push(HopEffect::Answered(question, asking.into_answer()));
    }
}

fn send(steps: &[Step], question: &Question, turn: &mut Turn<'_>) {
    let mut commands = Vec::new();
    for step in steps {
        match step {
            Step::Reset => commands.extend_from_slice(b"RSET"),
            // RFC 5321 4.5.5: a null reverse-path must be taken, and nobody is told of anything.
            Step::Mail => commands.extend_from_slice(b"MAIL FROM:<>"),
            Step::Rcpt => {
                commands.extend_from_slice(b"RCPT TO:<");
                commands.extend_from_slice(&question.key.address);
                commands.push(b'>');
            }
            Step::Verify => commands.extend_from_slice(VERIFY),
            Step::Data => commands.extend_from_slice(b"DATA"),
        }
        if *step == Step::Mail && question.smtputf8 {
            commands.extend_from_slice(b" SMTPUTF8");
        }
        commands.extend_from_slice(b"\r\n");
    }
    turn.send(commands);
}
