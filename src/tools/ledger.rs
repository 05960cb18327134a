//! `postern ledger`: what the record of outcomes holds, for operators.
//!
//! A running server has its store locked, and is asked by its admin port; without one the store is
//! opened.

use crate::durable::FaultSwitch;
use crate::durable::LedgerReport;
use crate::durable::store::{OpenError, Store, StoreFault};
use crate::ledger::{CopyState, Form, Phase, Record, Row, Told, Transfer, Unreadable};
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum LedgerToolError {
    /// There is no store.
    #[error("there is no ledger in {0}")]
    Nowhere(PathBuf),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The server cannot be asked.
    #[error("the store is in use, and {0} cannot be asked for it: {1}")]
    Admin(SocketAddr, io::Error),
    /// The server is running and has no admin port.
    #[error("the store is in use by a server without `[admin] address`")]
    NoAdmin,
    /// There is no such record.
    #[error("no record of {0}")]
    Unknown(String),
    /// What a running server does by itself.
    #[error("the store is in use: a running server lets go by itself what has expired")]
    Running,
}

/// How long a server is waited for.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);

/// `postern ledger stat`: how many records there are, and of what kind.
pub fn stat(folder: &Path, admin: Option<SocketAddr>) -> Result<String, LedgerToolError> {
    let Some(mut store) = open(folder)? else {
        return ask(admin, "/ledger").map(|(_, text)| text);
    };
    let now_s = now_s();
    let mut counts = [0u64; 7];
    let mut octets = 0;
    let read = store.each(|_, row| {
        octets += row.len() as u64;
        counts[kind(row, now_s)] += 1;
        Ok::<(), Unreadable>(())
    });
    // The closure never fails.
    let _ = read?;
    let (_, file_octets) = store.size()?;
    let mut out = String::new();
    for (name, count) in KINDS.iter().zip(counts) {
        let _ = writeln!(out, "{name:<24}{count:>12}");
    }
    let _ = writeln!(out, "{:<24}{octets:>12}", "octets of records");
    let _ = writeln!(out, "{:<24}{file_octets:>12}", "octets of the file");
    Ok(out)
}

/// `postern ledger show ID`: the record of a transaction, by the id in its Received field.
pub fn show(
    folder: &Path,
    admin: Option<SocketAddr>,
    trace_id: &str,
) -> Result<String, LedgerToolError> {
    let unknown = || LedgerToolError::Unknown(trace_id.to_owned());
    let Some(mut store) = open(folder)? else {
        let harmless = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.');
        if !trace_id.bytes().all(harmless) {
            return Err(unknown());
        }
        let (found, text) = ask(admin, &format!("/ledger/{trace_id}"))?;
        return if found { Ok(text) } else { Err(unknown()) };
    };
    let mut found = None;
    let _ = store.each(|_, octets| match Record::decode(octets) {
        Ok(record) if *record.trace_id == *trace_id => {
            found = Some(record);
            Err(())
        }
        _ => Ok(()),
    })?;
    found.map(|record| record_text(&record)).ok_or_else(unknown)
}

/// `postern ledger expire`: lets go what has expired, and gives the room back. Only without a running
/// server, which does it by itself.
pub fn expire(folder: &Path) -> Result<String, LedgerToolError> {
    let Some(mut store) = open(folder)? else { return Err(LedgerToolError::Running) };
    let now_s = now_s();
    let mut ended: Vec<(Row, Option<Vec<u8>>)> = Vec::new();
    let read = store.each(|row, octets| {
        if matches!(kind(octets, now_s), EXPIRED | DAMAGED) {
            ended.push((row, None));
        }
        Ok::<(), Unreadable>(())
    });
    let _ = read?;
    for step in ended.chunks(EXPIRED_A_STEP) {
        store.commit(step)?;
    }
    store.compact()?;
    let (left, file_octets) = store.size()?;
    Ok(format!("{} records let go, {left} left in {file_octets} octets\n", ended.len()))
}

/// The store in a folder; `None` if a server has it. Where there is none, none is made.
fn open(folder: &Path) -> Result<Option<Store>, LedgerToolError> {
    if !Store::exists(folder) {
        return Err(LedgerToolError::Nowhere(folder.to_owned()));
    }
    match Store::open(folder, FaultSwitch::default()) {
        Err(OpenError::InUse(_)) => Ok(None),
        store => Ok(Some(store?)),
    }
}

/// What a running ledger tells of itself.
pub fn report_text(report: &LedgerReport) -> String {
    let figures = &report.figures;
    let counts = &figures.counts;
    let mut out = String::new();
    let mut line = |name: &str, value: u64| {
        let _ = writeln!(out, "{name:<24}{value:>12}");
    };
    for (name, count) in &figures.standings {
        line(name, *count);
    }
    line("live", figures.live);
    line("names", figures.names);
    line("octets of records", figures.record_octets);
    line("octets of the index", figures.index_octets);
    line("octets in part", figures.partial_octets);
    line("look-ups", counts.lookups);
    line("hits", counts.hits);
    line("replays answered", counts.replays_answered);
    line("duplicates prevented", counts.duplicates_prevented);
    line("unknown intents", counts.unknown_intents);
    line("unknown redelivered", counts.unknown_redelivered);
    line("records", counts.recorded);
    line("without a record", counts.unrecorded + report.refused);
    line("commits", counts.commits);
    line("commit p50, us", report.commit_us.value_at_quantile(0.5));
    line("commit p99, us", report.commit_us.value_at_quantile(0.99));
    line("group p50", report.group.value_at_quantile(0.5));
    line("expired", counts.expired);
    line("evicted", counts.evicted);
    line("damaged", counts.damaged);
    line("store failures", counts.store_failures);
    line("store works", u64::from(figures.store_works));
    out
}

/// A record for people. Peers' octets are escaped.
pub fn record_text(record: &Record) -> String {
    let mut out = String::new();
    let _ = write_record(record, &mut out);
    out
}

fn write_record(record: &Record, out: &mut String) -> std::fmt::Result {
    let form = match record.form {
        Form::Smtp => "smtp",
        Form::Prdr => "prdr",
        Form::Lmtp => "lmtp",
    };
    let transfer = match record.transfer {
        Transfer::Data => "DATA",
        Transfer::Bdat => "BDAT",
    };
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    writeln!(out, "id          {}", record.trace_id.escape_debug())?;
    writeln!(out, "phase       {}", phase_name(&record.phase))?;
    writeln!(out, "created     {}", date(record.created_s))?;
    writeln!(out, "expires     {}", date(record.expires_s))?;
    writeln!(out, "protocol    {form}, {transfer}, under TLS: {}", yes(record.tls))?;
    writeln!(out, "named       {}", yes(record.key.is_some()))?;
    writeln!(out, "recognised  {}", yes(record.fingerprint.is_some()))?;
    write!(out, "mail        <{}>", record.mail.reverse_path.escape_ascii())?;
    for parameter in &record.mail.parameters {
        write!(out, " {}", parameter.escape_ascii())?;
    }
    writeln!(out)?;
    for recipient in &record.recipients {
        let copy = match &recipient.copy {
            CopyState::NotSent => "not sent".to_owned(),
            CopyState::Sent { octets, .. } => format!("sent, {octets} octets"),
            CopyState::Done(told) => format!("done: {}", shown(told)),
            CopyState::Unknown(sendings) => {
                let ids: Vec<&str> = sendings.iter().map(|one| &*one.trace_id).collect();
                format!("unknown, sent by {}", ids.join(", ").escape_debug())
            }
        };
        let address = recipient.address.escape_ascii();
        writeln!(out, "rcpt        <{address}> {}; {copy}", shown(&recipient.reply))?;
    }
    if let Some(content) = record.content {
        writeln!(out, "content     {} octets", content.octets)?;
    }
    if let Some(partial) = record.partial {
        writeln!(
            out,
            "kept        {} octets, {} in whole lines",
            partial.synced, partial.line_end
        )?;
    }
    for told in record.outcome().map_or(&[][..], |outcome| &outcome.replies) {
        writeln!(out, "reply       {}", shown(told))?;
    }
    Ok(())
}

fn shown(told: &Told) -> String {
    told.octets().trim_ascii_end().escape_ascii().to_string()
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Intent => "intent",
        Phase::Committed(outcome) if outcome.confirmed => "committed, confirmed",
        Phase::Committed(_) => "committed",
    }
}

fn date(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// What a row of the store may be, in the order of the report.
const KINDS: [&str; 7] =
    ["open", "unknown", "committed", "owed", "confirmed", "expired", "damaged"];
const EXPIRED: usize = 5;
const DAMAGED: usize = 6;

/// Records that are let go in one commit.
const EXPIRED_A_STEP: usize = 10_000;

/// The place of a row in [`KINDS`].
fn kind(octets: &[u8], now_s: u64) -> usize {
    let Ok(record) = Record::decode(octets) else { return DAMAGED };
    match &record.phase {
        _ if record.expires_s.max(record.created_s) <= now_s => EXPIRED,
        Phase::Open => 0,
        Phase::Intent => 1,
        Phase::Committed(outcome) if outcome.confirmed => 4,
        Phase::Committed(_) if record.is_owed() => 3,
        Phase::Committed(_) => 2,
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Asks a server's admin port: whether it has an answer, and its text.
fn ask(admin: Option<SocketAddr>, path: &str) -> Result<(bool, String), LedgerToolError> {
    let admin = admin.ok_or(LedgerToolError::NoAdmin)?;
    let told = fetch(admin, path).map_err(|error| LedgerToolError::Admin(admin, error))?;
    let (head, text) = told.split_once("\r\n\r\n").unwrap_or((&told, ""));
    Ok((head.split(' ').nth(1) == Some("200"), text.to_owned()))
}

fn fetch(admin: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, ADMIN_TIMEOUT)?;
    stream.set_read_timeout(Some(ADMIN_TIMEOUT))?;
    // HTTP/1.0: the answer ends with the connection, and comes in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ledger::admin_routes;
    use crate::durable::{Ledger, LedgerSettings};
    use crate::ledger::{Outcome, sample};

    fn committed(id: &str, created_s: u64) -> Record {
        let mut record = sample::record(&["a@x", "b\x1b@x"]);
        record.trace_id = id.into();
        (record.created_s, record.expires_s) = (created_s, created_s + 60);
        let replies = vec![Told::new(*b"250 2.6.0 ok\r\n")];
        record.phase = Phase::Committed(Outcome { replies, confirmed: false });
        record
    }

    /// A store with one record that lives, one that has expired, and one that is damaged.
    fn some_store(folder: &Path) {
        let mut store = Store::open(folder, FaultSwitch::default()).unwrap();
        let rows = [
            (1, Some(committed("t-1", now_s()).encode())),
            (2, Some(Record { key: None, ..committed("t-2", 1_000) }.encode())),
            (3, Some(vec![1, 2, 3])),
        ];
        store.commit(&rows).unwrap();
    }

    #[test]
    fn a_store_without_a_server_is_opened_and_tidied() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(stat(folder.path(), None), Err(LedgerToolError::Nowhere(_))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "none is made");
        some_store(folder.path());
        let text = stat(folder.path(), None).unwrap();
        for (kind, count) in [("committed", 1), ("expired", 1), ("damaged", 1), ("open", 0)] {
            assert!(text.contains(&format!("{kind:<24}{count:>12}")), "{text}");
        }
        let text = show(folder.path(), None, "t-1").unwrap();
        assert!(text.contains("reply       250 2.6.0 ok\n"), "{text}");
        assert!(text.contains("<b\\x1b@x>"), "{text}");
        assert!(matches!(show(folder.path(), None, "t-9"), Err(LedgerToolError::Unknown(_))));
        let text = expire(folder.path()).unwrap();
        assert!(text.starts_with("2 records let go, 1 left"), "{text}");
        assert!(show(folder.path(), None, "t-1").is_ok());
    }

    #[test]
    fn a_running_server_is_asked_by_its_admin_port() {
        let folder = tempfile::tempdir().unwrap();
        some_store(folder.path());
        let ledger = Ledger::start(LedgerSettings::new(folder.path())).unwrap();
        assert!(matches!(expire(folder.path()), Err(LedgerToolError::Running)));
        assert!(matches!(stat(folder.path(), None), Err(LedgerToolError::NoAdmin)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let admin = Some(listener.local_addr().unwrap());
        let routes = admin_routes(ledger.handle());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, routes) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let text = stat(folder.path(), admin).unwrap();
        assert!(text.contains(&format!("{:<24}{:>12}", "damaged", 1)), "{text}");
        let text = show(folder.path(), admin, "t-1").unwrap();
        assert!(text.starts_with("id          t-1\nphase       committed\n"), "{text}");
        for unknown in ["t-9", "t-2", "../metrics", "a b"] {
            let error = show(folder.path(), admin, unknown).unwrap_err();
            assert!(matches!(error, LedgerToolError::Unknown(_)), "{error}");
        }
        drop(stop);
        serving.join().unwrap();
    }
}
