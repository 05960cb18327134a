//! What a record means to a client that comes again: pure functions of records and commands.
//!
//! The numbers of sections are those of the revision of RFC 1845 (draft-fanf-smtp-rfc1845bis-01); what
//! it leaves open is decided here, once for sessions of all kinds.

use super::record::{CopyState, Form, Mail, Phase, Recipient, Record, Sending, Told, Transfer};
use super::{IdentityKey, Key};
use crate::limits::{LEDGER_SENDINGS_MAX, RESUMES_MAX};
use std::sync::Arc;

/// What the ledger knows of an id that a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Recalled {
    /// Nothing that may be told: the id is unknown, someone else's, expired, of another TLS level, or
    /// of a transaction that did not come to its end. All of these look the same.
    #[default]
    Nothing,
    /// Its content has come in part and lies in a file.
    Parked(Arc<Record>),
    /// Its content has come whole, and another connection (or none) still works at it.
    Running(Arc<Record>),
    /// Its outcome is known.
    Stored(Arc<Record>),
}

impl Recalled {
    /// The offset that `355` tells: octets that need not be sent again.
    pub fn offset(&self) -> u64 {
        match self {
            Recalled::Nothing => 0,
            Recalled::Running(record) => record.content.map_or(0, |content| content.octets),
            Recalled::Parked(record) | Recalled::Stored(record) => offset(record),
        }
    }

    /// The record, if there is one.
    pub fn record(&self) -> Option<&Arc<Record>> {
        match self {
            Recalled::Nothing => None,
            Recalled::Parked(record) | Recalled::Running(record) | Recalled::Stored(record) => {
                Some(record)
            }
        }
    }
}

/// The offset of a record.
///
/// Section 2.4: un-stuffed octets; with DATA only at the start of a line, with BDAT anywhere.
/// Checkpoint 5: committed or whole: the size; open: what is durable; without kept data: 0.
pub fn offset(record: &Record) -> u64 {
    let kept = record.partial.map_or(0, |partial| match record.transfer {
        Transfer::Data => partial.line_end,
        Transfer::Bdat => partial.synced,
    });
    match (&record.phase, record.content) {
        (Phase::Committed(_), Some(content)) => content.octets,
        (Phase::Committed(_), None) => 0,
        // A crash came between intent and outcome: the content must come again, unless it was kept.
        (Phase::Open | Phase::Intent, Some(content)) => {
            let whole = record.partial.is_some_and(|partial| partial.synced >= content.octets);
            if whole { content.octets } else { 0 }
        }
        (Phase::Open | Phase::Intent, None) => kept,
    }
}

/// Whether a record may be told to whoever asks.
///
/// Checkpoint 4: an unknown id and someone else's cannot be told apart, and what was stored under TLS
/// is not told in clear. A record from the future counts as new.
pub fn is_told_to(record: &Record, key: Key, identity: IdentityKey, tls: bool, now_s: u64) -> bool {
    record.key == Some(key)
        && record.identity == identity
        && record.tls == tls
        && now_s < record.expires_s.max(record.created_s)
}

/// What a connection has asked for by RESUME: what MAIL with an offset is measured by.
#[derive(Clone, Debug, Default)]
pub struct Resumes {
    asked: Vec<(Key, Recalled)>,
    count: usize,
}

/// What a MAIL with TRANSID is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailRuling {
    /// A new transaction: 250, and whatever was held under the id is thrown away.
    New,
    /// The rest of an earlier one: 250, or 355 with the offset in the CHECKPOINT form.
    Resumed(Recalled),
    /// Not what was begun: `503 5.5.1`.
    Refused,
}

impl Resumes {
    /// Notes what RESUME has found, and gives the offset to be told. A later RESUME of the same id
    /// replaces the earlier one.
    pub fn note(&mut self, key: Key, recalled: Recalled) -> u64 {
        let offset = recalled.offset();
        self.asked.retain(|(asked, _)| *asked != key);
        self.asked.push((key, recalled));
        self.count += 1;
        offset
    }

    /// Whether the connection has asked too often: `421 4.7.0`.
    pub fn is_exhausted(&self) -> bool {
        self.count >= RESUMES_MAX
    }

    /// All that was learned is void: TLS has begun (RFC 3207 4.2).
    pub fn forget_all(&mut self) {
        self.asked.clear();
    }

    /// The id has been used: its offset does not count a second time.
    pub fn forget(&mut self, key: Key) {
        self.asked.retain(|(asked, _)| *asked != key);
    }

    /// What a MAIL with TRANSID and TRANSOFF is.
    ///
    /// Section 2.8: a non-zero TRANSOFF without an earlier RESUME of the id on this connection, with
    /// another offset, or with a changed MAIL, is answered 503. Section 2.3: 0 asserts «new».
    pub fn mail(&self, key: Key, transoff: u64, mail: &Mail) -> MailRuling {
        if transoff == 0 {
            return MailRuling::New;
        }
        match self.asked.iter().find(|(asked, _)| *asked == key) {
            Some((_, recalled)) if recalled.offset() == transoff => resumed(recalled, mail),
            _ => MailRuling::Refused,
        }
    }

    /// What a MAIL with TRANSID alone is: RESUME and MAIL at the offset found.
    ///
    /// Section 3.2: MAIL's failure if it would fail; 250 if the offset is 0; else 355.
    pub fn checkpoint_mail(&self, recalled: &Recalled, mail: &Mail) -> MailRuling {
        match recalled.offset() {
            0 => MailRuling::New,
            _ => resumed(recalled, mail),
        }
    }
}

fn resumed(recalled: &Recalled, mail: &Mail) -> MailRuling {
    match recalled.record() {
        Some(record) if record.mail == *mail => MailRuling::Resumed(recalled.clone()),
        _ => MailRuling::Refused,
    }
}

/// A resumed transaction's envelope, as the client repeats it or not.
#[derive(Clone, Debug)]
pub struct Repeated {
    record: Arc<Record>,
    next: usize,
}

impl Repeated {
    /// The envelope of a record, none of its RCPTs repeated yet.
    pub fn new(record: Arc<Record>) -> Repeated {
        Repeated { record, next: 0 }
    }

    /// The record.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The reply that a RCPT got before. `None` if it is not in the record, or out of order:
    /// `553 5.1.3`. `rcpt` is what [`super::folded_rcpt`] made of it.
    ///
    /// Section 2.9: all, some or none may be given again, in their order, and each gets the reply
    /// that it got before.
    pub fn rcpt(&mut self, rcpt: &[u8]) -> Option<&Told> {
        let left = self.record.recipients.get(self.next..)?;
        let place = left.iter().position(|recipient| *recipient.rcpt == *rcpt)?;
        self.next += place + 1;
        Some(&left.get(place)?.reply)
    }

    /// Whether content may be sent so: DATA and BDAT are not mixed. If not, `503 5.5.1`.
    pub fn takes(&self, transfer: Transfer) -> bool {
        self.record.transfer == transfer
    }
}

/// What is known of one recipient's copy of a message that comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was delivered, or taken in some other way: no second copy; the reply to be told.
    Done(Told),
    /// It was refused, and would be refused again: the reply to be told.
    Refused(Told),
    /// It was sent by these transactions, the oldest first, and the answer is lost: deliver, after
    /// asking next hops for them by their own RESUME, if they offer that.
    Unknown(Vec<Sending>),
}

/// What an earlier record says of a recipient. `None`: nothing, so that it is delivered.
///
/// Checkpoint 6: a stored acceptance stands; a stored 5xx is void after the rules were reloaded; a
/// stored 4xx is never replayed, its retry is judged afresh, and a next hop that was lost is asked.
pub fn known_copy(record: &Record, address: &[u8], rules: u64) -> Option<Known> {
    let (place, recipient) = record
        .accepted()
        .enumerate()
        .find(|(_, one)| !one.superseded && same_mailbox(&one.address, address))?;
    let told = told_to(record, place);
    match (&recipient.copy, told) {
        (CopyState::Done(_), Some(told)) if told.code() / 100 == 2 => {
            Some(Known::Done(told.clone()))
        }
        (CopyState::Done(done), _) => Some(Known::Done(done.clone())),
        (CopyState::Sent { .. }, None) | (CopyState::Unknown(_), _) => {
            Some(Known::Unknown(record.sendings(recipient)))
        }
        (_, Some(told)) => match told.code() / 100 {
            2 => Some(Known::Done(told.clone())),
            5 if record.rules == rules => Some(Known::Refused(told.clone())),
            _ => None,
        },
        (CopyState::NotSent, None) => None,
    }
}

/// Whether a record knows something of its `place`th accepted recipient that an earlier one does not: it has
/// its copy, or may have it, or is refused.
pub fn knows(record: &Record, place: usize, recipient: &Recipient) -> bool {
    match (&recipient.copy, told_to(record, place)) {
        (CopyState::Done(_) | CopyState::Unknown(_), _) | (CopyState::Sent { .. }, None) => true,
        (_, Some(told)) => matches!(told.code() / 100, 2 | 5),
        (CopyState::NotSent, None) => false,
    }
}

/// What earlier records of a message say of a recipient, the newest first. One that knows of a copy decides;
/// as long as none does, all may have sent one.
pub fn known_of<'a>(
    earlier: impl IntoIterator<Item = &'a Record>,
    address: &[u8],
    rules: u64,
) -> Option<Known> {
    let mut in_doubt: Option<Vec<Sending>> = None;
    for record in earlier {
        match (known_copy(record, address, rules), &mut in_doubt) {
            (Some(Known::Unknown(older)), Some(sendings)) => {
                let unheard = |one: &Sending| !sendings.contains(one);
                let older: Vec<Sending> = older.into_iter().filter(unheard).collect();
                sendings.splice(..0, older);
            }
            (Some(Known::Unknown(sendings)), None) => in_doubt = Some(sendings),
            (Some(Known::Refused(_)), Some(_)) | (None, _) => {}
            (known, _) => return known,
        }
    }
    let mut sendings = in_doubt?;
    let oldest = sendings.len().saturating_sub(LEDGER_SENDINGS_MAX);
    sendings.drain(..oldest);
    Some(Known::Unknown(sendings))
}

/// The reply that the `place`th accepted recipient was told.
fn told_to(record: &Record, place: usize) -> Option<&Told> {
    let replies = &record.outcome()?.replies;
    match (record.form, replies.as_slice()) {
        // RFC 2033 4.2: one for each.
        (Form::Lmtp, each) => each.get(place),
        (_, [one]) => Some(one),
        // A PRDR block: 353, the lines, the last word, which decides whether the lines count.
        (_, [_, lines @ .., last]) => match last.code() / 100 {
            2 => lines.get(place),
            4 => lines.get(place).filter(|line| line.code() / 100 == 5).or(Some(last)),
            _ => Some(last),
        },
        (_, []) => None,
    }
}

/// The whole stored reply, if it answers a message for exactly these recipients: the client gets the
/// same octets again.
pub fn whole_reply(
    record: &Record,
    form: Form,
    addresses: &[&[u8]],
    rules: u64,
) -> Option<Vec<Told>> {
    let outcome = record.outcome()?;
    let same = record.form == form
        && record.accepted().count() == addresses.len()
        && record
            .accepted()
            .zip(addresses)
            .all(|(one, address)| same_mailbox(&one.address, address));
    let answered = |address: &&[u8]| {
        matches!(known_copy(record, address, rules), Some(Known::Done(_) | Known::Refused(_)))
    };
    // A 4xx that stands for all may hide copies that were delivered: it is never replayed.
    let replayable = outcome
        .replies
        .last()
        .is_some_and(|last| form == Form::Lmtp || matches!(last.code() / 100, 2 | 5));
    (same && replayable && addresses.iter().all(answered)).then(|| outcome.replies.clone())
}

/// What a message that comes again under its id is spared, after a crash between intent and outcome:
/// what was done for its recipients, if it is the same message.
pub fn carries_over(earlier: &Record, now: &Record) -> bool {
    let same_content = match (earlier.content, now.content) {
        (Some(earlier), Some(now)) => earlier == now,
        _ => false,
    };
    same_content && earlier.mail == now.mail && matches!(earlier.phase, Phase::Intent)
}

/// What is said when the outcome could not be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// The reply that was decided.
    TrueReply,
    /// `451 4.3.0` to all: nothing is lost by another try.
    TryAgain,
}

/// What is said when the outcome could not be made durable.
///
/// Checkpoint 5: 451 if nothing was handed on; if something was, the true reply, as a false 451 costs
/// a duplicate for sure. Who did not name the transaction did not ask for a record: for such a client
/// a store that fails changes nothing.
pub fn without_record(named: bool, handed_on: bool) -> Unrecorded {
    match named && !handed_on {
        true => Unrecorded::TryAgain,
        false => Unrecorded::TrueReply,
    }
}

/// Whether two addresses are one mailbox: the case of the domain does not matter.
fn same_mailbox(one: &[u8], other: &[u8]) -> bool {
    let at = memchr::memrchr(b'@', one).unwrap_or(one.len());
    one.len() == other.len() && one.get(..at) == other.get(..at) && one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests;
