//! How a shard asks: a queue that is bounded, and an answer at once when the ledger cannot be asked.

use super::threads::Shared;
use crate::ledger::{Answer, Holder, Request};
use crate::limits;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SendError, Sender};

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

    /// Whether a thread of the ledger has died, or its front has not moved for long. Nobody is answered.
    pub fn is_deaf(&self) -> bool {
        self.shared.is_deaf()
    }

    /// A connection of this line, as requests name it.
    pub fn holder(&self, seat: u64) -> Holder {
        Holder { line: self.number, seat }
    }

    /// Asks. The answer comes by what [`super::Ledger::line`] was given; or it is returned at once if the
    /// ledger cannot be asked: then the transaction goes on without a record.
    pub fn ask(&self, request: Request) -> Option<Answer> {
        let shared = &self.shared;
        if shared.is_deaf() && request.wants_answer() {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return request.unanswered();
        }
        let request = match shared.waiting.load(Ordering::Relaxed) {
            0..limits::LEDGER_REQUESTS_WAITING => request,
            _ => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                match essence(request) {
                    Ok(notice) => notice,
                    Err(question) => return question.unanswered(),
                }
            }
        };
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        // It is given back if the ledger has died.
        self.requests.send(request).err().and_then(|SendError(request)| request.unanswered())
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
