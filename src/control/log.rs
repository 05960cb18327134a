//! The log: one line of JSON a transaction, written by a thread that may wait.

use crate::config::Log;
use crate::limits::{LOG_FIELD_OCTETS, LOG_RECORDS_WAITING};
use crate::relay::Protocol;
use crate::session::{End, RecipientRecord, Record};
use crate::wire::PeerAttributes;
use rtrb::{Consumer, Producer, RingBuffer};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the log rests when there is nothing to write.
const REST: Duration = Duration::from_millis(20);

/// The thread that writes the log.
#[derive(Debug)]
pub struct LogWriter {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The shards' ends of the log's queues, and the log's ends.
pub fn log_queues(shards: usize) -> (Vec<Producer<Record>>, Vec<Consumer<Record>>) {
    (0..shards).map(|_| RingBuffer::new(LOG_RECORDS_WAITING)).unzip()
}

impl LogWriter {
    /// Starts the thread. It fails if the log's file cannot be opened.
    pub fn start(log: &Log, queues: Vec<Consumer<Record>>) -> io::Result<LogWriter> {
        let out: Box<dyn Write + Send> = match log {
            Log::Off => Box::new(io::sink()),
            Log::Stdout => Box::new(io::stdout()),
            Log::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let ended = Arc::new(AtomicBool::new(false));
        let its_ended = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name("postern-log".to_owned())
            .spawn(move || write_all(queues, BufWriter::new(out), &its_ended))?;
        Ok(LogWriter { ended, thread: Some(thread) })
    }
}

impl Drop for LogWriter {
    /// Writes what is waiting, then ends the thread.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

fn write_all(mut queues: Vec<Consumer<Record>>, mut out: impl Write, ended: &AtomicBool) {
    loop {
        let last = ended.load(Ordering::Acquire);
        let mut written = 0;
        for queue in &mut queues {
            while let Ok(record) = queue.pop() {
                written += 1;
                // A log that cannot be written must not stop the mail.
                let _ = out.write_all(line(&record).as_bytes());
            }
        }
        let _ = out.flush();
        if last && written == 0 {
            return;
        }
        if written == 0 {
            thread::sleep(REST);
        }
    }
}

/// A record as its line of JSON, with its LF.
fn line(record: &Record) -> String {
    let time = jiff::Timestamp::from_second(record.unix_s).map(|time| time.to_string());
    let line = Line {
        time: time.unwrap_or_default(),
        id: &record.id,
        listener: &record.listener,
        protocol: match record.protocol {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        },
        client: record.client.map(|client| client.to_string()),
        helo: shown(&record.helo),
        from: shown(&record.reverse_path),
        octets: record.octets,
        end: match &record.end {
            End::Replied => "replied",
            End::Unseen => "unseen",
            End::Lost(_) => "lost",
            End::Closed(_) => "closed",
        },
        why: match &record.end {
            End::Replied | End::Unseen => None,
            End::Lost(why) | End::Closed(why) => Some(shown(why.as_bytes())),
        },
        tls: record.tls,
        prdr: record.prdr,
        chunked: record.chunked,
        peer: record.peer.map(|peer| peer.to_string()),
        forwarded: record.forwarded.as_deref().map(forwarded),
        tags: &record.tags,
        score: f64::from(record.score) / 1000.0,
        recipients: record.recipients.iter().map(recipient).collect(),
        duration_us: record.duration_us,
        decision_us: record.decision_us,
    };
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: &'a str,
    listener: &'a str,
    protocol: &'static str,
    client: Option<String>,
    helo: String,
    from: String,
    octets: u64,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prdr: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    chunked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<String>,
    tags: &'a [String],
    score: f64,
    recipients: Vec<RecipientLine<'a>>,
    duration_us: u64,
    decision_us: u64,
}

#[derive(Serialize)]
struct RecipientLine<'a> {
    to: String,
    class: &'a str,
    fate: &'static str,
    code: u16,
    line: Option<u32>,
}

/// What a trusted peer has told, in the order of Postfix's own log.
fn forwarded(told: &PeerAttributes) -> String {
    let name = told.name.known().map(|name| shown(name));
    let address = told.address.known().map(|address| address.to_string());
    let helo = told.helo.known().map(|helo| shown(helo));
    let ident = told.ident.known().map(|ident| shown(ident));
    let words = [("name", name), ("addr", address), ("helo", helo), ("ident", ident)];
    let said = words.into_iter().filter_map(|(word, value)| Some(format!("{word}={}", value?)));
    said.collect::<Vec<_>>().join(" ")
}

fn recipient(record: &RecipientRecord) -> RecipientLine<'_> {
    RecipientLine {
        to: shown(&record.address),
        class: &record.class,
        fate: record.fate,
        code: record.code,
        line: record.line,
    }
}

/// A peer's octets for the log: cut, and what is no text replaced. JSON escapes the rest.
fn shown(octets: &[u8]) -> String {
    String::from_utf8_lossy(&octets[..octets.len().min(LOG_FIELD_OCTETS)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::now::Tick;

    // one valid JSON line a record, control octets escaped, fields cut at 256 octets.
    #[test]
    fn a_97_hostile_fields_make_one_valid_line() {
        for field in [&b"\x1b[2J\r\n\0"[..], b"\xff\xfe", &[b'x'; 4_000], b"\"},{\""] {
            let record = Record {
                id: "a-1".to_owned(),
                unix_s: 1,
                listener: "mx".to_owned(),
                protocol: Protocol::Smtp,
                client: None,
                helo: field.into(),
                reverse_path: field.into(),
                octets: 1,
                end: End::Lost(String::from_utf8_lossy(field).into_owned()),
                prdr: false,
                chunked: false,
                tls: None,
                peer: None,
                forwarded: None,
                tags: vec!["spam".to_owned()],
                score: 5_000,
                recipients: Vec::new(),
                duration_us: 1,
                decision_us: 1,
                ended_at: Tick::START,
            };
            let line = line(&record);
            assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(value["helo"].as_str().unwrap().len() <= 3 * LOG_FIELD_OCTETS);
        }
    }
}
