//! What a listener's sessions are told by the configuration.

use crate::limits;
use crate::policy::{Policy, RouteId};
use crate::relay::Protocol;
use crate::scan::Rules;
use crate::wire::Newlines;
use std::sync::Arc;
use std::time::Duration;

/// How sessions of one listener behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The name in the configuration.
    pub name: String,
    /// Our name: banner, greeting, Received.
    pub hostname: String,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// Largest message in octets of content; 0 is no limit.
    pub size_octets_max: u64,
    /// Accepted recipients of one transaction.
    pub recipients_max: usize,
    /// MAIL commands of one connection.
    pub messages_max: u32,
    /// What becomes of line ends that are not CRLF.
    pub newlines: Newlines,
    /// What is done for plain SMTP when recipients would get different answers.
    pub mixed: Mixed,
    /// Where copies go that [`Mixed::Quarantine`] lays aside.
    pub quarantine: Option<RouteId>,
    /// SMTPUTF8 is offered.
    pub smtputf8: bool,
    /// DSN is offered.
    pub dsn: bool,
    /// The banner is put off by so much, to see who talks first.
    pub banner_pause: Duration,
    /// Who talks before the banner is turned away.
    pub early_talk_refused: bool,
    /// Longest wait for a command.
    pub idle_timeout: Duration,
    /// Longest wait for octets of a message.
    pub data_timeout: Duration,
    /// Errors of the client's own making; the last of them closes.
    pub errors_max: u32,
    /// Commands without progress; the last of them closes.
    pub junk_max: u32,
    /// Received fields with which a message is taken for one in a loop.
    pub received_max: u32,
}

/// What a plain SMTP client gets when recipients would get different answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mixed {
    /// A recipient whose class may decide otherwise is put off at RCPT, to another transaction.
    #[default]
    Split,
    /// The message is accepted; copies of those who would not have it are laid aside.
    Quarantine,
    /// The message is refused if one refuses it, put off if one puts it off.
    Strictest,
}

/// The tables that decide, shared by all shards and swapped whole.
#[derive(Debug)]
pub struct Tables {
    /// Recipients and classes.
    pub policy: Policy,
    /// What the scan looks for.
    pub rules: Arc<Rules>,
}

impl Listener {
    /// A listener with every setting at its default.
    pub fn new(name: &str, protocol: Protocol, hostname: &str) -> Listener {
        Listener {
            name: name.to_owned(),
            hostname: hostname.to_owned(),
            protocol,
            size_octets_max: limits::MESSAGE_OCTETS_DEFAULT,
            recipients_max: limits::RECIPIENTS_DEFAULT,
            messages_max: limits::MESSAGES_DEFAULT,
            newlines: Newlines::Reject,
            mixed: Mixed::Split,
            quarantine: None,
            smtputf8: true,
            dsn: true,
            banner_pause: Duration::ZERO,
            early_talk_refused: true,
            idle_timeout: limits::IDLE_TIMEOUT_DEFAULT,
            data_timeout: limits::DATA_TIMEOUT_DEFAULT,
            errors_max: limits::ERRORS_DEFAULT,
            junk_max: limits::JUNK_DEFAULT,
            received_max: limits::RECEIVED_DEFAULT,
        }
    }
}
