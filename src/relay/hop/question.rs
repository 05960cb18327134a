//! A recipient is asked about: MAIL, RCPT, RSET, and no message.

use super::{Hop, HopEffect, OUT_OF_STEP, State, Turn};
use crate::relay::work::Question;
use crate::wire::{Kind, Reply};

/// The commands of a question, and how far they were answered.
#[derive(Debug)]
pub(super) struct Asking {
    steps: &'static [Step],
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
}

const STEPS: [Step; 4] = [Step::Reset, Step::Mail, Step::Rcpt, Step::Reset];

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
        let steps = if reused { &STEPS[..] } else { &STEPS[1..] };
        let asking = Asking { steps, answered: 0, sender_refused: None, answer: None };
        let now_sent = if self.offers.has.pipelining { steps.len() } else { 1 };
        send(&steps[..now_sent], &question, turn);
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
        };
        if !in_step {
            self.state = State::Asking(question, asking);
            return self.broken(&OUT_OF_STEP, turn);
        }
        asking.answered += 1;
        let Some(next) = asking.steps.get(asking.answered).copied() else {
            self.rest(turn);
            let answer = match (asking.sender_refused, asking.answer) {
                (None, Some(answer)) => Ok(answer),
                (refusal, _) => Err(refusal.unwrap_or(OUT_OF_STEP)),
            };
            return turn.effects.push(HopEffect::Answered(question, answer));
        };
        if !self.offers.has.pipelining {
            send(&[next], &question, turn);
        }
        self.state = State::Asking(question, asking);
        self.wait(turn.route.timeouts.command, turn);
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
        }
        if *step == Step::Mail && question.smtputf8 {
            commands.extend_from_slice(b" SMTPUTF8");
        }
        commands.extend_from_slice(b"\r\n");
    }
    turn.send(commands);
}
