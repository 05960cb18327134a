//! How a shard asks: a queue that is bounded, and an answer at once when the ledger cannot be asked.

use super::shared::Shared;
use crate::ledger::{Answer, Holder, Request};
use crate::limits;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

/// A shard's way to the ledger.
#[derive(Clone, Debug)]
pub struct Line {
    pub(super) number: u32,
    pub(super) requests: Sender<Request>,
    pub(super) shared: Arc<Shared>,
}

impl Line {
    /// Which line it is.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether the ledger has died, or nobody could have the keeper for long. Nobody is answered.
    pub fn is_deaf(&self) -> bool {
        self.shared.is_deaf(self.shared.clock.now())
    }

    /// A connection of this line, as requests name it.
    pub fn holder(&self, seat: u64) -> Holder {
        Holder { line: self.number, seat }
    }

    /// Asks. The answer is returned if there is one already, as also if the ledger cannot be asked: then
    /// the transaction goes on without a record. Otherwise it comes by what [`super::Ledger::line`] was
    /// given.
    pub fn ask(&self, request: Request) -> Option<Answer> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let asker = request.wants_answer().then(|| request.holder());
        if shared.is_dead() || asker.is_some() && shared.is_deaf(now) {
            shared.refused.fetch_add(u64::from(asker.is_some()), Ordering::Relaxed);
            return request.unanswered();
        }
        let request = match shared.requests_waiting() {
            0..limits::LEDGER_REQUESTS_WAITING => request,
            _ => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                match essence(request) {
                    Ok(notice) => notice,
                    Err(question) => return question.unanswered(),
                }
            }
        };
        // The queue lives as long as what it is shared with.
        let _ = self.requests.send(request);
        shared.asked(asker, now)
    }
}

/// What must arrive of a request though too many are on their way, or the request if it need not.
/// What is over must be heard of, and is at most a few words a connection. Content is not: a transaction
/// whose content would have a hole is kept no more.
fn essence(request: Request) -> Result<Request, Request> {
    match request {
        Request::Content { transaction, .. } | Request::Append { transaction, .. } => {
            Ok(Request::Forget { transaction })
        }
        request if request.wants_answer() => Err(request),
        request => Ok(request),
    }
}
