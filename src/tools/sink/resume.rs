//! What a sink that offers RESUME remembers of its transactions: those that have come to their end
//! (draft-fanf-smtp-rfc1845bis-01). It knows all clients for one.

use super::Kept;
use super::session::Message;
use crate::wire::Reply;

/// A transaction that has come to its end.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    mail: Vec<String>,
    rcpts: Vec<(Vec<u8>, Reply)>,
    pub octets: u64,
    pub chunked: bool,
    /// The final replies, in their order.
    pub replies: Vec<Reply>,
}

/// A transaction that goes on with one that has come to its end.
#[derive(Debug)]
pub(super) struct Again {
    pub finished: Finished,
    next: usize,
}

/// What MAIL says of the transaction's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Name {
    pub transid: String,
    pub offset: u64,
}

impl Name {
    /// Takes the name out of the parameters of a MAIL, which are in upper case; ids are not.
    pub fn take(parameters: &mut Vec<String>, line: &[u8]) -> Option<Name> {
        let line = String::from_utf8_lossy(line).into_owned();
        let transid = line.split("TRANSID=<").nth(1)?.split('>').next()?.to_owned();
        let offset = parameters.iter().find_map(|one| one.strip_prefix("TRANSOFF="))?;
        let offset = offset.parse().ok()?;
        parameters.retain(|one| !one.starts_with("TRANSID=") && !one.starts_with("TRANSOFF="));
        Some(Name { transid, offset })
    }
}

impl Again {
    pub fn new(finished: Finished) -> Again {
        Again { finished, next: 0 }
    }

    /// The reply that this RCPT got before. 2.9: all, some or none of them, in their order.
    pub fn rcpt(&mut self, argument: &[u8]) -> Option<Reply> {
        let left = self.finished.rcpts.get(self.next..)?;
        let place = left.iter().position(|(rcpt, _)| rcpt == argument)?;
        self.next += place + 1;
        Some(left[place].1.clone())
    }
}

impl Finished {
    /// A transaction with a name that comes to its end, and its id; the replies are not known yet.
    pub fn of(message: &Message) -> Option<(String, Finished)> {
        let finished = Finished {
            mail: message.parameters.clone(),
            rcpts: message.rcpts.clone(),
            octets: message.kept.content.len() as u64,
            chunked: message.kept.chunked,
            replies: Vec::new(),
        };
        Some((message.name.as_ref()?.transid.clone(), finished))
    }

    /// Whether the MAIL of a resume is the one that was.
    pub fn is_of(&self, mail: &[String]) -> bool {
        self.mail == mail
    }
}

impl Kept {
    pub(super) fn remember(&self, transid: String, finished: Finished) {
        self.lock().finished.insert(transid, finished);
    }

    pub(super) fn recall(&self, transid: &str) -> Option<Finished> {
        self.lock().finished.get(transid).cloned()
    }

    pub(super) fn forget(&self, transid: &str) {
        self.lock().finished.remove(transid);
    }
}
