//! What is remembered of a transaction when it is over: one record, one line of the log.

use super::decision::Decision;
use super::{Connection, Effect, Intake, Session, State, Tables};
use crate::now::{Now, Tick};
use crate::relay::{Envelope, Protocol};
use crate::scan::Findings;
use crate::wire::{PeerAttributes, Reply};
use core::net::IpAddr;
use std::time::Duration;

/// Everything worth knowing of one transaction, or of a session that ended badly.
#[derive(Clone, Debug)]
pub struct Record {
    /// The transaction's id, as in its Received field and in the final reply; the session's, if it
    /// ended outside of one.
    pub id: String,
    /// The wall clock at its end, in seconds since 1970.
    pub unix_s: i64,
    /// The listener's name.
    pub listener: String,
    /// What the client speaks.
    pub protocol: Protocol,
    /// It asked for a reply for each recipient (PRDR).
    pub prdr: bool,
    /// The message came by BDAT.
    pub chunked: bool,
    /// The version of TLS under which it was spoken, if it was.
    pub tls: Option<&'static str>,
    /// Where the client is; `None` if that is not known.
    pub client: Option<IpAddr>,
    /// Where the connection came from, if a trusted peer has passed the client on.
    pub peer: Option<IpAddr>,
    /// What a trusted peer has told for the log (XFORWARD).
    pub forwarded: Option<Box<PeerAttributes>>,
    /// The name of its greeting, as it came.
    pub helo: Box<[u8]>,
    /// MAIL FROM; empty for the null sender.
    pub reverse_path: Box<[u8]>,
    /// Octets of content.
    pub octets: u64,
    /// How it ended.
    pub end: End,
    /// The tags found, by name.
    pub tags: Vec<String>,
    /// The score, in thousandths.
    pub score: i32,
    /// The fate of each accepted recipient, in RCPT order.
    pub recipients: Vec<RecipientRecord>,
    /// From MAIL to its end, in microseconds.
    pub duration_us: u64,
    /// From the end mark to the reply set, in microseconds.
    pub decision_us: u64,
    /// When the end mark was read.
    pub ended_at: Tick,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The final replies were given.
    Replied,
    /// The message was brought to its end, and its client was gone before the replies were there.
    Unseen,
    /// The message was lost before its end, for this reason.
    Lost(String),
    /// The session ended outside of a message, for this reason.
    Closed(String),
}

/// The fate of one accepted recipient.
#[derive(Clone, Debug)]
pub struct RecipientRecord {
    /// The address, as next hops are given it.
    pub address: Box<[u8]>,
    /// The name of its class.
    pub class: String,
    /// What was done.
    pub fate: &'static str,
    /// The code it was told, alone or with the others.
    pub code: u16,
    /// The line of the configuration that decided, if one did.
    pub line: Option<u32>,
}

impl Session {
    /// The record of a message whose fate was carried out.
    pub(super) fn record(&self, decision: &Decision, replies: &[Reply], now: Now) -> Record {
        let code =
            |index: usize| decision.form.reply_to(replies, index).map_or(0, |reply| reply.code());
        let policy = &decision.tables.policy;
        let end = match self.connection {
            Connection::Open | Connection::HalfClosed => End::Replied,
            Connection::Lost => End::Unseen,
        };
        let recipients = decision.envelope.recipients.iter().zip(&decision.fates).enumerate();
        Record {
            tags: tag_names(&decision.tables, &decision.findings),
            score: decision.findings.score().0,
            recipients: recipients
                .map(|(index, (recipient, fate))| RecipientRecord {
                    address: recipient.address.clone(),
                    class: policy.class_name(recipient.class).to_owned(),
                    fate: fate.name(),
                    code: code(index),
                    line: decision.lines[index],
                })
                .collect(),
            ..self.record_of_judged(decision, end, now)
        }
    }

    /// The record of a message that was dropped while its verdict was waited for.
    pub(super) fn record_of_dropped(&self, decision: &Decision, why: &str, now: Now) -> Record {
        self.record_of_judged(decision, End::Lost(why.to_owned()), now)
    }

    fn record_of_judged(&self, decision: &Decision, end: End, now: Now) -> Record {
        Record {
            octets: decision.octets,
            chunked: decision.chunked,
            prdr: decision.form.is_block(),
            duration_us: micros(now.tick - decision.began),
            decision_us: micros(now.tick - decision.ended_at),
            ended_at: decision.ended_at,
            ..self.begun_record(&decision.id, &decision.envelope, end, now)
        }
    }

    /// The record of a message whose end will not come any more.
    pub(super) fn record_of_lost(&self, intake: &Intake, why: &str, now: Now) -> Record {
        let transaction = &intake.transaction;
        let end = End::Lost(why.to_owned());
        Record {
            octets: intake.octets(),
            prdr: transaction.prdr,
            duration_us: micros(now.tick - transaction.began),
            ..self.begun_record(&transaction.id, &transaction.envelope, end, now)
        }
    }

    /// Notes that the session ends, and why, where no message is concerned.
    pub(super) fn note_end(&mut self, why: &str, now: Now) {
        let nothing = Envelope::default();
        let (id, envelope) = match &self.state {
            State::Mail(transaction)
            | State::Rcpt(transaction)
            | State::Verifying(transaction, _) => (&transaction.id, &transaction.envelope),
            _ => (&self.client.session_id, &nothing),
        };
        let record = self.begun_record(id, envelope, End::Closed(why.to_owned()), now);
        self.effects.push_back(Effect::Record(Box::new(record)));
    }

    /// What every record says.
    fn begun_record(&self, id: &str, envelope: &Envelope, end: End, now: Now) -> Record {
        let client = self.address();
        Record {
            id: id.to_owned(),
            unix_s: now.unix_s,
            listener: self.listener.name.clone(),
            protocol: self.listener.protocol,
            prdr: false,
            chunked: false,
            tls: self.tls.as_ref().map(|tls| tls.version),
            client,
            peer: self.client.address.filter(|peer| Some(*peer) != client),
            forwarded: self.forwarded.clone(),
            helo: self.helo(),
            reverse_path: envelope.reverse_path.clone(),
            octets: 0,
            end,
            tags: Vec::new(),
            score: 0,
            recipients: Vec::new(),
            duration_us: micros(now.tick - self.began),
            decision_us: 0,
            ended_at: now.tick,
        }
    }
}

fn tag_names(tables: &Tables, findings: &Findings) -> Vec<String> {
    let tags = tables.rules.tags();
    findings.tags().iter().map(|tag| tags.name(tag).to_owned()).collect()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
