//! What a listener's sessions are told by the configuration.

use super::trust::{Networks, Trust};
use crate::limits;
use crate::policy::{Policy, RouteId};
use crate::relay::Protocol;
use crate::scan::Rules;
use crate::tls::ServerTls;
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
    /// A bare LF ends a command line: for health checks, and never where the world comes in.
    pub lenient_commands: bool,
    /// Text lines over [`limits::TEXT_LINE_OCTETS`] refuse a message.
    pub long_lines_refused: bool,
    /// What is done for plain SMTP when recipients would get different answers.
    pub mixed: Mixed,
    /// Who we are in `Authentication-Results` fields: those that clients bring are left out of a message.
    pub own_authserv_ids: Arc<[String]>,
    /// Where copies go that [`Mixed::Quarantine`] lays aside.
    pub quarantine: Option<RouteId>,
    /// Clients whose bare LF are line ends, whatever [`Listener::newlines`] says.
    pub normalized_from: Networks,
    /// SMTPUTF8 is offered.
    pub smtputf8: Offer,
    /// DSN is offered.
    pub dsn: Offer,
    /// BINARYMIME is offered.
    pub binarymime: Offer,
    /// PRDR is offered (never with LMTP).
    pub prdr: bool,
    /// When the verdicts are so late, the 353 of a PRDR block goes out before them.
    pub prdr_353_after: Duration,
    /// Connections that one source may have open here; 0 is no limit.
    pub connections_per_source: u32,
    /// How much is remembered of transactions that clients give an id (RESUME).
    pub resume: ResumeLevel,
    /// CHECKPOINT, the older form of it, is offered as well.
    pub checkpoint: bool,
    /// Mail that is sent again without an id is known again.
    pub replay: bool,
    /// TLS, if there is a certificate.
    pub tls: Option<ListenerTls>,
    /// Who may say who the client is.
    pub trust: Trust,
    /// The banner is put off by so much, to see who talks first.
    pub banner_pause: Duration,
    /// Who talks before the banner is turned away.
    pub early_talk_refused: bool,
    /// Longest wait for a command.
    pub idle_timeout: Duration,
    /// The same while connections are scarce, where it is shorter.
    pub idle_timeout_under_load: Duration,
    /// Longest wait for octets of a message.
    pub data_timeout: Duration,
    /// Octets a second that a message must come with, averaged over
    /// [`limits::DATA_RATE_WINDOW`]; 0 is no floor.
    pub data_rate_octets_per_s: u64,
    /// Longest wait for a client that takes none of our octets.
    pub write_stall_timeout: Duration,
    /// Longest time without an accepted message.
    pub progress_timeout: Duration,
    /// Longest life of a connection; a message that is coming is brought to its end.
    pub session_timeout: Duration,
    /// Longest wait for a whole TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest wait for verdicts after the end mark; then the message is tagged `scan-late`.
    pub scan_budget: Duration,
    /// Errors of the client's own making; the last of them closes.
    pub errors_max: u32,
    /// Commands without progress; the last of them closes.
    pub junk_max: u32,
    /// RCPTs of one connection for recipients that do not exist; the last of them closes.
    pub unknown_recipients_max: u32,
    /// Received fields with which a message is taken for one in a loop.
    pub received_max: u32,
}

/// Whether an extension is offered that only the next hops can honour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// When the next hops of all routes are known to honour it.
    #[default]
    WhenHonoured,
    /// Always: the operator says that they do.
    Always,
    /// Never.
    Never,
}

/// How much is remembered of transactions that clients give an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResumeLevel {
    /// RESUME is not offered.
    #[default]
    Off,
    /// The outcomes.
    Outcome,
    /// The outcomes, and content that has come in part: for trusted peers.
    Partial,
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Certificates, keys, and whose client certificates are believed.
    pub server: Arc<ServerTls>,
    /// When TLS begins.
    pub mode: TlsMode,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// When the client says STARTTLS, if it does.
    Offered,
    /// The client must say STARTTLS before anything else (RFC 3207 4).
    Required,
    /// At once, before the banner.
    Implicit,
}

impl PartialEq for ListenerTls {
    fn eq(&self, other: &ListenerTls) -> bool {
        self.mode == other.mode && Arc::ptr_eq(&self.server, &other.server)
    }
}

impl Eq for ListenerTls {}

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
    /// Whether clients expect TLS from the first octet.
    pub fn is_implicit_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Implicit)
    }

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
            lenient_commands: false,
            long_lines_refused: false,
            mixed: Mixed::Split,
            own_authserv_ids: match protocol {
                // The world comes in.
                Protocol::Smtp => Arc::from([hostname.to_owned()]),
                // A mail server of ours asks, which may have written some itself.
                Protocol::Lmtp => Arc::default(),
            },
            quarantine: None,
            normalized_from: Networks::default(),
            smtputf8: Offer::WhenHonoured,
            dsn: Offer::WhenHonoured,
            binarymime: Offer::WhenHonoured,
            prdr: true,
            prdr_353_after: limits::PRDR_353_AFTER_DEFAULT,
            connections_per_source: limits::CONNECTIONS_PER_SOURCE_DEFAULT,
            resume: ResumeLevel::Off,
            checkpoint: false,
            replay: false,
            tls: None,
            trust: Trust::default(),
            banner_pause: Duration::ZERO,
            early_talk_refused: true,
            idle_timeout: limits::IDLE_TIMEOUT_DEFAULT,
            idle_timeout_under_load: limits::IDLE_TIMEOUT_UNDER_LOAD_DEFAULT,
            data_timeout: limits::DATA_TIMEOUT_DEFAULT,
            data_rate_octets_per_s: limits::DATA_RATE_DEFAULT,
            write_stall_timeout: limits::WRITE_STALL_DEFAULT,
            progress_timeout: limits::PROGRESS_DEFAULT,
            session_timeout: limits::SESSION_DEFAULT,
            handshake_timeout: limits::HANDSHAKE_DEFAULT,
            scan_budget: limits::SCAN_BUDGET_DEFAULT,
            errors_max: limits::ERRORS_DEFAULT,
            junk_max: limits::JUNK_DEFAULT,
            unknown_recipients_max: limits::UNKNOWN_RECIPIENTS_DEFAULT,
            received_max: limits::RECEIVED_DEFAULT,
        }
    }
}
