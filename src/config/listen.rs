//! `[listen.NAME]`: where clients come in, and what they may do there.

use super::fault::Wrong;
use super::names::Names;
use super::table::Table;
use super::top::Reading;
use super::{tls, value};
use crate::limits::{
    BANNER_PAUSE_RANGE, COUNT_RANGE, DATA_RATE_RANGE, DATA_TIMEOUT_RANGE, HANDSHAKE_RANGE,
    HOST_OCTETS, IDLE_TIMEOUT_RANGE, MESSAGE_OCTETS_LEAST, MESSAGE_OCTETS_RANGE, PER_SOURCE_RANGE,
    PRDR_353_AFTER_RANGE, PROGRESS_RANGE, RECIPIENTS_RANGE, SCAN_BUDGET_RANGE, SESSION_RANGE,
    WRITE_STALL_RANGE,
};
use crate::policy::RouteId;
use crate::relay::Protocol;
use crate::session::{Listener, Mixed, Networks, Offer, ResumeLevel, Trust};
use crate::wire::Newlines;
use std::net::SocketAddr;
use std::sync::Arc;
use toml::de::DeValue;

/// All listeners that have no fault, each with its address.
pub(super) fn listeners(
    top: &mut Table<'_>,
    reading: &Reading<'_>,
    routes: &Names<RouteId>,
) -> Vec<(SocketAddr, Arc<Listener>)> {
    let tables = top.named_tables("listen");
    if tables.is_empty() {
        reading.faults.add(0..0, "nothing is listened on", "add a table [listen.mx]");
    }
    let mut listeners: Vec<(SocketAddr, Arc<Listener>)> = Vec::new();
    for (name, mut table) in tables {
        let listener = listener(name.text, &mut table, reading, routes);
        let (protocol, lenient) = (listener.protocol, listener.lenient_commands);
        let listener = Arc::new(listener);
        for text in table.texts("address").unwrap_or_default() {
            let (what, help) = match value::socket_address(text.text) {
                Err(help) => (format!("bad address {:?}", text.text), help),
                Ok(address) if is_taken(address, &listeners) => (
                    format!("{address} is listened on twice"),
                    "give each listener an address of its own",
                ),
                // RFC 2033 5: LMTP must not be offered on port 25.
                Ok(address) if address.port() == 25 && protocol == Protocol::Lmtp => (
                    "LMTP on port 25".to_owned(),
                    "RFC 2033 forbids it: choose another port, 24 is common",
                ),
                // RFC 5321 2.3.8: what lets a bare LF through is a door for smuggled commands.
                Ok(address) if address.port() == 25 && lenient => (
                    "`lenient-commands` on port 25".to_owned(),
                    "leave it out where the world comes in: health checks may have another port",
                ),
                Ok(address) => {
                    listeners.push((address, Arc::clone(&listener)));
                    continue;
                }
            };
            reading.faults.add(text.span, what, help);
        }
        table.end();
    }
    listeners
}

/// Port 0 is a port that the kernel chooses: it is never taken.
fn is_taken(address: SocketAddr, listeners: &[(SocketAddr, Arc<Listener>)]) -> bool {
    address.port() != 0 && listeners.iter().any(|(other, _)| *other == address)
}

/// The listener that a table describes; what has a fault is as if it were not there.
fn listener(
    name: &str,
    table: &mut Table<'_>,
    reading: &Reading<'_>,
    routes: &Names<RouteId>,
) -> Listener {
    table.requires("address", "address = \"[::]:25\"");
    table.requires("protocol", "protocol = \"smtp\"");
    let protocols = [("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)];
    let protocol = table.choice("protocol", &protocols).unwrap_or(Protocol::Smtp);
    let mut listener = Listener::new(name, protocol, reading.hostname);
    content(table, &mut listener, reading);
    mixed(table, &mut listener, reading, routes);
    offers(table, &mut listener, reading);
    remembers(table, &mut listener);
    listener.tls = tls::of_listener(table, reading);
    listener.trust = trust(table);
    times(table, &mut listener, reading);
    counts(table, &mut listener);
    listener
}

/// A key that is there, and without a fault, takes the place of the default.
pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn content(table: &mut Table<'_>, listener: &mut Listener, reading: &Reading<'_>) {
    let span = table.value("size").map(toml::Spanned::span);
    let size = table.size("size", MESSAGE_OCTETS_RANGE);
    // RFC 5321 4.5.3.1.7: at least 64K octets must be taken; 0 is no limit (RFC 1870 4).
    if let (Some(octets @ 1..MESSAGE_OCTETS_LEAST), Some(span)) = (size, span) {
        let help = "at least 64KiB (RFC 5321 4.5.3.1.7), or 0 for no limit";
        reading.faults.add(span, format!("{octets} octets are too few"), help);
    }
    set(&mut listener.size_octets_max, size);
    let newlines = [("reject", Newlines::Reject), ("normalize", Newlines::Normalize)];
    set(&mut listener.newlines, table.choice("newlines", &newlines));
    set(&mut listener.normalized_from, networks(table, "newlines-normalized-from"));
    set(&mut listener.lenient_commands, table.switch("lenient-commands"));
    let long_lines = [("accept", false), ("refuse", true)];
    set(&mut listener.long_lines_refused, table.choice("long-lines", &long_lines));
    let ids = table.each("authserv-ids", authserv_id);
    set(&mut listener.own_authserv_ids, ids.map(Arc::from));
}

/// RFC 8601 2.2: an `authserv-id` is a token or a quoted text; domains are both.
fn authserv_id(text: &str) -> Result<String, Wrong> {
    if !(1..=HOST_OCTETS).contains(&text.len())
        || !text.bytes().all(|octet| octet.is_ascii_graphic())
    {
        let help = "write it as in Authentication-Results, such as \"mx.example.net\"";
        return Err(Wrong::new(format!("{text:?} is no authserv-id"), help));
    }
    Ok(text.trim_end_matches('.').to_owned())
}

fn mixed(
    table: &mut Table<'_>,
    listener: &mut Listener,
    reading: &Reading<'_>,
    routes: &Names<RouteId>,
) {
    listener.quarantine = match table.text("quarantine") {
        Some(name) => routes.named(reading.faults, &name),
        None => routes.get("quarantine"),
    };
    let choices = [
        ("split", Mixed::Split),
        ("quarantine", Mixed::Quarantine),
        ("strictest", Mixed::Strictest),
    ];
    set(&mut listener.mixed, table.choice("mixed", &choices));
    if let (Mixed::Quarantine, None, Some(mixed)) =
        (listener.mixed, listener.quarantine, table.text("mixed"))
    {
        let help = "add `quarantine = \"ROUTE\"`, or call a route \"quarantine\"";
        reading.faults.add(mixed.span, "quarantine leads nowhere", help);
    }
}

fn offers(table: &mut Table<'_>, listener: &mut Listener, reading: &Reading<'_>) {
    set(&mut listener.smtputf8, offer(table, "smtputf8", reading));
    set(&mut listener.dsn, offer(table, "dsn", reading));
    set(&mut listener.binarymime, offer(table, "binarymime", reading));
    let span = table.value("prdr").map(toml::Spanned::span);
    set(&mut listener.prdr, table.switch("prdr"));
    if let (Protocol::Lmtp, true, Some(span)) = (listener.protocol, listener.prdr, span) {
        let help = "leave it out: with LMTP each recipient has a reply by itself";
        reading.faults.add(span, "PRDR is an extension of SMTP", help);
    }
}

/// What is remembered for clients that lost a reply; whom RESUME is offered to says `trust`.
fn remembers(table: &mut Table<'_>, listener: &mut Listener) {
    let levels = [
        ("off", ResumeLevel::Off),
        ("outcome", ResumeLevel::Outcome),
        ("partial", ResumeLevel::Partial),
    ];
    listener.resume = table.choice("resume", &levels).unwrap_or(ResumeLevel::Outcome);
    listener.checkpoint = table.switch("checkpoint").unwrap_or(false);
    listener.replay = table.switch("replay").unwrap_or(true);
}

/// `true`, `false`, or `"auto"`: when the next hops of all routes are known to honour it.
fn offer(table: &mut Table<'_>, key: &'static str, reading: &Reading<'_>) -> Option<Offer> {
    let value = table.value(key)?;
    match value.get_ref() {
        DeValue::Boolean(true) => Some(Offer::Always),
        DeValue::Boolean(false) => Some(Offer::Never),
        DeValue::String(word) if word == "auto" => Some(Offer::WhenHonoured),
        _ => {
            let help = "write true, false, or \"auto\" (when all next hops honour it)";
            reading.faults.add(value.span(), format!("bad value for `{key}`"), help);
            None
        }
    }
}

fn trust(table: &mut Table<'_>) -> Trust {
    let mut trust = Trust::default();
    if let Some(mut table) = table.table("trust") {
        set(&mut trust.proxy, networks(&mut table, "proxy"));
        set(&mut trust.xclient, networks(&mut table, "xclient"));
        set(&mut trust.xforward, networks(&mut table, "xforward"));
        set(&mut trust.resume, networks(&mut table, "resume"));
        table.end();
    }
    trust
}

fn networks(table: &mut Table<'_>, key: &'static str) -> Option<Networks> {
    let networks = table.each(key, value::networks)?;
    Some(Networks::new(networks.into_iter().flatten().collect()))
}

fn times(table: &mut Table<'_>, listener: &mut Listener, reading: &Reading<'_>) {
    set(&mut listener.banner_pause, table.time("banner-pause", BANNER_PAUSE_RANGE));
    let early_talk = [("reject", true), ("allow", false)];
    set(&mut listener.early_talk_refused, table.choice("early-talk", &early_talk));
    set(&mut listener.idle_timeout, table.time("idle", IDLE_TIMEOUT_RANGE));
    set(&mut listener.data_timeout, table.time("data-timeout", DATA_TIMEOUT_RANGE));
    set(&mut listener.data_rate_octets_per_s, table.size("data-rate", DATA_RATE_RANGE));
    set(&mut listener.write_stall_timeout, table.time("write-stall", WRITE_STALL_RANGE));
    set(&mut listener.progress_timeout, table.time("progress", PROGRESS_RANGE));
    set(&mut listener.session_timeout, table.time("session", SESSION_RANGE));
    set(&mut listener.handshake_timeout, table.time("handshake", HANDSHAKE_RANGE));
    set(&mut listener.scan_budget, table.time("scan", SCAN_BUDGET_RANGE));
    let span = table.value("prdr-353-after").map(toml::Spanned::span);
    let after = table.time("prdr-353-after", PRDR_353_AFTER_RANGE);
    if let (Some(after), Some(span)) = (after, span)
        && after >= listener.scan_budget
    {
        let scan = value::shown(listener.scan_budget);
        let help = format!("less than `scan`, which is {scan}: then the verdicts are there");
        reading.faults.add(span, "this time never comes", help);
    }
    set(&mut listener.prdr_353_after, after);
}

fn counts(table: &mut Table<'_>, listener: &mut Listener) {
    let recipients = table.number("recipients", RECIPIENTS_RANGE);
    set(&mut listener.recipients_max, recipients.and_then(|count| usize::try_from(count).ok()));
    let mut count = |key| table.number(key, COUNT_RANGE).and_then(|n| u32::try_from(n).ok());
    set(&mut listener.messages_max, count("messages"));
    set(&mut listener.errors_max, count("errors"));
    set(&mut listener.junk_max, count("junk"));
    set(&mut listener.unknown_recipients_max, count("unknown-recipients"));
    set(&mut listener.received_max, count("loops"));
    let sources = table.number("connections-per-source", PER_SOURCE_RANGE);
    let sources = sources.and_then(|count| u32::try_from(count).ok());
    set(&mut listener.connections_per_source, sources);
}
