//! The durable record of one transaction: what was said on both sides, and what came of it.
//!
//! A record goes through `open` (level partial only), `intent` (before the first octet goes to a next
//! hop) and `committed` (when the final reply is known). It borrows nothing from a connection, and
//! holds everything that is needed to give the same replies again.

use super::digest::ContentDigest;
use super::key::{Fingerprint, IdentityKey, Key, Secret};
use crate::limits::LEDGER_SENDINGS_MAX;
use crate::wire::{Enhanced, Reply, ReversePath};
use std::fmt;

/// The record of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The hash of identity and id, if the client has named the transaction.
    pub key: Option<Key>,
    /// The fingerprint, if the message shall be known again without an id.
    pub fingerprint: Option<Fingerprint>,
    /// Who the client is.
    pub identity: IdentityKey,
    /// What was said under TLS is not told in clear, nor the other way round.
    pub tls: bool,
    /// What form the final reply has.
    pub form: Form,
    /// When it began, in seconds since 1970.
    pub created_s: u64,
    /// When it ends, in seconds since 1970.
    pub expires_s: u64,
    /// A number that is the same as long as the rules are: a stored refusal is void under others.
    pub rules: u64,
    /// The transaction's id, as in its Received field, and what ids towards next hops come from.
    pub trace_id: Box<str>,
    /// MAIL as it came.
    pub mail: Mail,
    /// Every RCPT, refused ones too, in their order.
    pub recipients: Vec<Recipient>,
    /// How the content came, and how far.
    pub transfer: Transfer,
    /// The whole content, once it has come whole.
    pub content: Option<Content>,
    /// What is kept of content that has not been committed.
    pub partial: Option<Partial>,
    /// How far the transaction is.
    pub phase: Phase,
}

/// What form the final reply has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One reply for all.
    Smtp,
    /// SMTP with PRDR asked for: a block, or one reply for all.
    Prdr,
    /// A reply for each accepted recipient.
    Lmtp,
}

/// MAIL's argument as it came, keywords in upper case, without TRANSID and TRANSOFF.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Mail {
    /// The address, without angle brackets; empty for the null sender.
    pub reverse_path: Box<[u8]>,
    /// The parameters in their order.
    pub parameters: Vec<Box<[u8]>>,
}

/// One RCPT, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// RCPT's argument as it came, keywords in upper case.
    pub rcpt: Box<[u8]>,
    /// The address that next hops are given.
    pub address: Box<[u8]>,
    /// The reply to RCPT.
    pub reply: Told,
    /// Where this recipient's copy is.
    pub copy: CopyState,
    /// A later record speaks for this recipient.
    pub superseded: bool,
}

/// Where a recipient's copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// It was not handed on, and need not be.
    NotSent,
    /// A next hop may have seen it; its answer is not known yet.
    Sent {
        /// The octets of the copy, our lines on top included.
        octets: u64,
        /// Earlier transactions by which it may have been delivered, the oldest first.
        earlier: Vec<Sending>,
    },
    /// A next hop, or the store, has taken it, with this reply to be told.
    Done(Told),
    /// It was sent by these transactions, the oldest first, and no answer has come.
    Unknown(Vec<Sending>),
}

/// A transaction by which a copy was sent to a next hop: what that one can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The transaction's id, which ids towards next hops come from.
    pub trace_id: Box<str>,
    /// The octets of the copy, our lines on top included.
    pub octets: u64,
}

/// How content came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// By DATA.
    Data,
    /// By BDAT.
    Bdat,
}

/// Content that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its octets, without stuffed dots.
    pub octets: u64,
    /// Its digest, below the client's own trace.
    pub digest: ContentDigest,
}

/// Content that lies in a file beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Partial {
    /// Octets that are durable.
    pub synced: u64,
    /// Octets up to the end of the last whole line among them.
    pub line_end: u64,
}

/// How far a transaction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Content is coming.
    Open,
    /// Copies are handed on.
    Intent,
    /// The final reply is decided.
    Committed(Outcome),
}

/// The end of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The whole final reply, reply by reply: one; or one for each accepted recipient; or a PRDR
    /// block with its 353 and its last one.
    pub replies: Vec<Told>,
    /// The client has shown that it has the reply.
    pub confirmed: bool,
}

/// A reply, as the octets that were or will be sent.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Told(Box<[u8]>);

impl Record {
    /// The RCPTs that were accepted, in their order.
    pub fn accepted(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.iter().filter(|recipient| recipient.is_accepted())
    }

    /// The outcome, if the transaction has come to its end.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Committed(outcome) => Some(outcome),
            Phase::Open | Phase::Intent => None,
        }
    }

    /// The octets of the whole final reply.
    pub fn final_reply(&self) -> Option<Vec<u8>> {
        let replies = &self.outcome()?.replies;
        Some(replies.iter().flat_map(|told| told.octets()).copied().collect())
    }

    /// What the record is found by: its id, and one key for each recipient that it speaks for.
    pub fn names(&self, secret: &Secret) -> Vec<Key> {
        let mut names: Vec<Key> = self.key.into_iter().collect();
        if let Some(fingerprint) = &self.fingerprint {
            let speaks_for = self.accepted().filter(|recipient| !recipient.superseded);
            names.extend(speaks_for.map(|one| secret.copy(fingerprint, &one.address)));
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The transactions by which next hops may have a recipient's copy, the oldest first: at most
    /// [`LEDGER_SENDINGS_MAX`], of which this one is the last if it has sent the copy.
    pub fn sendings(&self, recipient: &Recipient) -> Vec<Sending> {
        let mut sendings = match &recipient.copy {
            CopyState::NotSent | CopyState::Done(_) => Vec::new(),
            CopyState::Unknown(sendings) => sendings.clone(),
            CopyState::Sent { octets, earlier } => {
                let own = Sending { trace_id: self.trace_id.clone(), octets: *octets };
                earlier.iter().cloned().chain([own]).collect()
            }
        };
        let oldest = sendings.len().saturating_sub(LEDGER_SENDINGS_MAX);
        sendings.drain(..oldest);
        sendings
    }

    /// The record of a later transaction that goes on with this one: what this one has sent, next hops can
    /// be asked for.
    pub fn goes_on_as(&self, trace_id: &str) -> Record {
        let mut record = Record { trace_id: trace_id.into(), ..self.clone() };
        for (recipient, was) in record.recipients.iter_mut().zip(&self.recipients) {
            if matches!(was.copy, CopyState::Sent { .. }) {
                recipient.copy = CopyState::Unknown(self.sendings(was));
            }
        }
        record
    }

    /// Whether some recipient has its copy although the client was told to come again.
    ///
    /// Checkpoint 6: such a record counts although the client has seen its 4xx.
    pub fn is_owed(&self) -> bool {
        let deferred =
            |outcome: &Outcome| outcome.replies.last().is_some_and(|told| told.code() / 100 == 4);
        self.form != Form::Lmtp
            && self.outcome().is_some_and(deferred)
            && self.accepted().any(|recipient| matches!(recipient.copy, CopyState::Done(_)))
    }

    /// Whether a next hop may have some recipient's copy, and can be asked when the client comes again.
    pub fn is_in_doubt(&self) -> bool {
        let in_doubt = |one: &Recipient| matches!(one.copy, CopyState::Unknown(_));
        self.outcome().is_some() && self.accepted().any(in_doubt)
    }
}

impl Recipient {
    /// Whether RCPT got 2xx.
    pub fn is_accepted(&self) -> bool {
        self.reply.code() / 100 == 2
    }
}

impl Mail {
    /// Reads what stands behind `MAIL `. `None` if it does not follow the grammar.
    pub fn read(argument: &[u8]) -> Option<Mail> {
        let (keyword, path) = argument.split_at_checked(5)?;
        if !keyword.eq_ignore_ascii_case(b"FROM:") {
            return None;
        }
        let (reverse_path, rest) = ReversePath::read(path.trim_ascii_start()).ok()?;
        let mut parameters = folded(rest);
        parameters.retain(|one| !one.starts_with(b"TRANSID=") && !one.starts_with(b"TRANSOFF="));
        Some(Mail { reverse_path: reverse_path.address().into(), parameters })
    }

    /// The parameters that make another message of it: all but the declared size, and the form in
    /// which replies are wanted.
    pub fn meaningful_parameters(&self) -> impl Iterator<Item = &[u8]> {
        let meaningful =
            |parameter: &&[u8]| !parameter.starts_with(b"SIZE=") && *parameter != b"PRDR";
        self.parameters.iter().map(|parameter| &**parameter).filter(meaningful)
    }
}

/// RCPT's argument as it came, keywords in upper case and single blanks: two that are the same
/// recipient with the same parameters are the same octets.
pub fn folded_rcpt(argument: &[u8]) -> Box<[u8]> {
    let Some((keyword, rest)) = argument.split_at_checked(3) else { return argument.into() };
    let path = rest.trim_ascii_start();
    let end = crate::wire::ForwardPath::read(path)
        .map_or(path.len(), |(_, behind)| path.len() - behind.len());
    let (path, parameters) = path.split_at(end);
    let mut line = keyword.to_ascii_uppercase();
    line.extend_from_slice(path);
    for parameter in folded(parameters) {
        line.push(b' ');
        line.extend_from_slice(&parameter);
    }
    line.into()
}

/// Parameters with their keywords in upper case.
fn folded(parameters: &[u8]) -> Vec<Box<[u8]>> {
    let words = parameters.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let fold = |word: &[u8]| {
        let end = memchr::memchr(b'=', word).unwrap_or(word.len());
        let (keyword, value) = word.split_at(end);
        [&keyword.to_ascii_uppercase(), value].concat().into_boxed_slice()
    };
    words.map(fold).collect()
}

impl Told {
    /// These octets, which are one whole reply.
    pub fn new(octets: impl Into<Box<[u8]>>) -> Told {
        Told(octets.into())
    }

    /// The octets, all lines with their CRLF.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The code; 0 if it is none.
    pub fn code(&self) -> u16 {
        match self.0.get(..3) {
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => {
                digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
            }
            _ => 0,
        }
    }

    /// The reply that rendered so. `None` if the octets are no reply.
    pub fn reply(&self) -> Option<Reply> {
        let code = self.code();
        let (mut enhanced, mut lines) = (None, Vec::new());
        for line in self.0.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            let text = core::str::from_utf8(line.get(4..)?).ok()?.trim_end_matches('\r');
            lines.push(match Enhanced::read(text, code / 100) {
                Some((found, rest)) => {
                    enhanced = Some(found);
                    rest
                }
                None => text,
            });
        }
        Reply::given(code, enhanced, lines.join("\n"))
    }
}

impl From<&Reply> for Told {
    fn from(reply: &Reply) -> Told {
        let mut octets = Vec::new();
        reply.render(&mut octets);
        Told(octets.into())
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({})", self.0.trim_ascii_end().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::replies;

    // Revision of RFC 1845, 2.9: the MAIL of a resume is the first one, but for TRANSOFF.
    #[test]
    fn mail_is_compared_without_its_offset_and_the_case_of_keywords() {
        let read = |argument: &str| Mail::read(argument.as_bytes());
        let first = read("FROM:<a@B> SIZE=10 PRDR TRANSID=<x@y> TRANSOFF=0").unwrap();
        assert_eq!(&*first.reverse_path, b"a@B");
        assert_eq!(first.parameters, [Box::from(*b"SIZE=10"), Box::from(*b"PRDR")]);
        for same in
            ["from:<a@B> size=10 prdr transid=<x@y> transoff=17", "FROM: <a@B>  SIZE=10  PRDR "]
        {
            assert_eq!(read(same).as_ref(), Some(&first), "{same}");
        }
        for other in [
            "FROM:<A@B> SIZE=10 PRDR",
            "FROM:<a@B> SIZE=11 PRDR",
            "FROM:<a@B> PRDR SIZE=10",
            "FROM:<a@B> SIZE=10",
            "FROM:<> SIZE=10 PRDR",
        ] {
            assert_ne!(read(other).as_ref(), Some(&first), "{other}");
        }
        for none in ["", "FROM", "FROM:a@b", "TO:<a@b>", "FROM:<a@b"] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(&*read("FROM:<\"a b> X=1\"@c> Y=2").unwrap().reverse_path, b"\"a b> X=1\"@c");
    }

    #[test]
    fn rcpt_is_compared_with_its_parameters() {
        let line = folded_rcpt(b"to: <a@B>  notify=NEVER");
        assert_eq!(&*line, b"TO:<a@B> NOTIFY=NEVER");
        assert_eq!(folded_rcpt(b"TO:<a@B> NOTIFY=NEVER"), line);
        assert_ne!(folded_rcpt(b"TO:<a@B>"), line);
        assert_eq!(&*folded_rcpt(b"TO"), b"TO");
        assert_eq!(&*folded_rcpt(b"TO:nonsense x=y"), b"TO:nonsense x=y");
    }

    #[test]
    fn told_octets_are_read_back_as_the_reply_that_rendered_them() {
        let long = Reply::new(550, 7, 1, "").with_text("one\ntwo\n2.1.5 three");
        for reply in [
            replies::RECIPIENT_OK,
            replies::GO_AHEAD,
            replies::CONTENT_REFUSED,
            replies::CONTENT_DEFERRED,
            long,
        ] {
            let told = Told::from(&reply);
            assert_eq!(told.code(), reply.code());
            assert_eq!(told.reply(), Some(reply));
        }
        for none in [&b""[..], b"25", b"2x0 a\r\n", b"999 a\r\n", b"250\r\n250", b"250 \xff\r\n"] {
            assert_eq!(Told::new(none).reply(), None, "{}", none.escape_ascii());
        }
    }
}
