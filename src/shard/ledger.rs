//! The ledger's part of a shard: questions of sessions, and their answers.
//!
//! Every question has its answer, and soon; but a ledger whose thread has died, or hangs, gives none.
//! Then the shard answers in its place, and mail goes on without records. Such a session asks no more:
//! a late answer would be taken for one to another question.

use super::driver::{Core, ShardLedger};
use super::hops::seat_of;
use crate::ledger::{self, Request};
use crate::relay::Ticket;
use crate::session::Answer;

/// How a session stands with the ledger.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// What it is answered if the ledger does not.
    instead: Option<ledger::Answer>,
    /// It was answered so: it asks no more.
    gave_up: bool,
}

impl Core {
    /// Tells the ledger something, or asks it; whoever finds it deaf has an answer at once.
    pub(super) fn ask_ledger(&mut self, index: usize, request: Request) {
        let Some(seat) = self.sessions.get_mut(index) else { return };
        let instead = request.unanswered();
        let answer = match &self.parts.ledger {
            Some(ShardLedger { line, .. }) if !seat.asked.gave_up => line.ask(request),
            _ => instead.clone(),
        };
        match answer {
            Some(answer) => self.with_session(index, |session, now| {
                session.answered(Answer::Ledger(Box::new(answer)), now);
            }),
            None => {
                self.ledger_asked += usize::from(instead.is_some());
                if instead.is_some() {
                    seat.asked.instead = instead;
                }
            }
        }
    }

    /// The ledger has an answer. One that comes unasked is none that was waited for.
    pub(super) fn remembered(&mut self, number: u64, answer: ledger::Answer) {
        let unasked = matches!(answer, ledger::Answer::Superseded(_));
        if let Some(seat) = seat_of(&mut self.sessions, Ticket(number)) {
            if seat.asked.gave_up {
                return;
            }
            if !unasked {
                seat.asked.instead = None;
            }
        }
        if !unasked {
            self.ledger_asked = self.ledger_asked.saturating_sub(1);
        }
        self.answer(Ticket(number), Answer::Ledger(Box::new(answer)));
    }

    /// A ledger that is deaf is not waited for.
    pub(super) fn look_at_ledger(&mut self) {
        let deaf = |ledger: &ShardLedger| ledger.line.is_deaf();
        if self.ledger_asked == 0 || !self.parts.ledger.as_ref().is_some_and(deaf) {
            return;
        }
        self.ledger_asked = 0;
        let asking = |(index, seat): (usize, &mut super::clients::Seat)| {
            let instead = seat.asked.instead.take()?;
            seat.asked.gave_up = true;
            Some((index, instead))
        };
        let answers: Vec<_> = self.sessions.iter_mut().filter_map(asking).collect();
        for (index, answer) in answers {
            self.with_session(index, |session, now| {
                session.answered(Answer::Ledger(Box::new(answer)), now);
            });
        }
    }
}
