//! The log: one line of JSON a transaction, written by a thread that may wait.
//!
//! No shard waits for it: records that find their queue full are lost, and so are lines that cannot be
//! written. Each of them is counted.

use crate::config::Log;
use crate::limits::{LOG_BATCH_OCTETS, LOG_FAREWELL, LOG_FIELD_OCTETS, LOG_RECORDS_WAITING};
use crate::relay::Protocol;
use crate::session::{End, RecipientRecord, Record};
use crate::wire::PeerAttributes;
use rtrb::{Consumer, Producer, RingBuffer};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long the log rests when there is nothing to write.
const REST: Duration = Duration::from_millis(20);

/// The thread that writes the log.
#[derive(Debug)]
pub struct LogWriter {
    ended: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    /// Its other end goes with the thread.
    alive: Receiver<()>,
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
            Log::Stdout => Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Log::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        LogWriter::into(out, queues)
    }

    fn into(
        out: impl Write + Send + 'static,
        mut queues: Vec<Consumer<Record>>,
    ) -> io::Result<LogWriter> {
        let ended = Arc::new(AtomicBool::new(false));
        let lost = Arc::new(AtomicU64::new(0));
        let (living, alive) = channel();
        let mut lines = Lines::into(out, Arc::clone(&lost));
        let its_ended = Arc::clone(&ended);
        thread::Builder::new().name("postern-log".to_owned()).spawn(move || {
            write_all(&mut queues, &mut lines, &its_ended);
            drop(living);
        })?;
        Ok(LogWriter { ended, lost, alive })
    }

    /// Counts lines that could not be written.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }
}

impl Drop for LogWriter {
    /// What is waiting is written, unless nobody takes it.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if self.alive.recv_timeout(LOG_FAREWELL) == Err(RecvTimeoutError::Timeout) {
            eprintln!("postern: nobody takes the log; its last lines are lost");
        }
    }
}

fn write_all(queues: &mut [Consumer<Record>], lines: &mut Lines<impl Write>, ended: &AtomicBool) {
    loop {
        let last = ended.load(Ordering::Acquire);
        for queue in &mut *queues {
            while lines.octets.len() < LOG_BATCH_OCTETS
                && let Ok(record) = queue.pop()
            {
                lines.add(&line(&record));
            }
        }
        let idle = lines.octets.is_empty();
        if last && idle {
            return;
        }
        match idle {
            true => thread::sleep(REST),
            false => lines.write(),
        }
    }
}

/// Lines on their way.
#[derive(Debug)]
struct Lines<W> {
    out: W,
    octets: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// A line was written in part: the next one begins with an end.
    torn: bool,
    /// The last try has failed.
    fails: bool,
    lost: Arc<AtomicU64>,
}

impl<W: Write> Lines<W> {
    fn into(out: W, lost: Arc<AtomicU64>) -> Lines<W> {
        Lines { out, octets: Vec::new(), ends: Vec::new(), torn: false, fails: false, lost }
    }

    fn add(&mut self, line: &str) {
        if self.octets.is_empty() && self.torn {
            self.octets.push(b'\n');
        }
        self.octets.extend_from_slice(line.as_bytes());
        self.ends.push(self.octets.len());
    }

    /// Writes what there is. What cannot be written is lost, lest what comes later has no room either.
    fn write(&mut self) {
        let mut written = 0;
        let mut failure = None;
        while written < self.octets.len() && failure.is_none() {
            match self.out.write(&self.octets[written..]) {
                Ok(0) => failure = Some(io::ErrorKind::WriteZero.into()),
                Ok(octets) => written += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failure = Some(error),
            }
        }
        // One that lacks nothing but its end gets that before the next.
        let whole = self.ends.partition_point(|end| *end <= written + 1);
        self.lost.fetch_add((self.ends.len() - whole) as u64, Ordering::Relaxed);
        if written > 0 {
            self.torn = !self.octets[..written].ends_with(b"\n");
        }
        self.octets.clear();
        self.ends.clear();
        if failure.is_some() != self.fails {
            self.fails = failure.is_some();
            match failure {
                Some(error) => {
                    eprintln!("postern: the log cannot be written: {error}; mail goes on")
                }
                None => eprintln!("postern: the log is written again"),
            }
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
    let mut text = escaped(serde_json::to_string(&line).unwrap_or_default());
    text.push('\n');
    text
}

/// JSON lets control characters above the ASCII ones stand as they are; terminals obey some of them.
fn escaped(json: String) -> String {
    let obeyed = |octet: u8| octet == 0x7F || octet == 0xC2;
    if !json.bytes().any(obeyed) {
        return json;
    }
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character.is_control() {
            true => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => text.push(character),
        }
    }
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
    shown(said.collect::<Vec<_>>().join(" ").as_bytes())
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

/// A peer's octets for the log: what is no text replaced, and cut. JSON escapes the rest.
fn shown(octets: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&octets[..octets.len().min(LOG_FIELD_OCTETS)]);
    let end = text.floor_char_boundary(LOG_FIELD_OCTETS);
    text.to_mut().truncate(end);
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::now::Tick;
    use crate::wire::Told;
    use serde_json::Value;
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    fn record() -> Record {
        Record {
            id: "a-1".to_owned(),
            unix_s: 1,
            listener: "mx".to_owned(),
            protocol: Protocol::Smtp,
            client: None,
            helo: (*b"client.example").into(),
            reverse_path: (*b"a@client.example").into(),
            octets: 1,
            end: End::Replied,
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
        }
    }

    /// What peers may say to whoever reads the log: 40 strings.
    fn hostile() -> Vec<Vec<u8>> {
        let mut strings: Vec<Vec<u8>> = [
            &b""[..],
            b"\x1b[2J",
            b"\x1b]0;title\x07",
            b"\x1b[31mred\x1b[0m",
            b"\x1bP$q\"p\x1b\\",
            b"\xc2\x9b2J",
            b"\xc2\x9d0;title\xc2\x9c",
            b"\x7f\x08\x08\x08",
            b"\r\n",
            b"\n{\"id\":\"forged\"}\n",
            b"a\r\n.\r\nb",
            b"\x0b\x0c\x85",
            b"\xe2\x80\xa8\xe2\x80\xa9",
            b"\xe2\x80\xaeexe.fdp",
            b"\0",
            b"a\0b",
            b"\xff",
            b"\xff\xfe\xfd",
            b"\xc0\xaf",
            b"\xc3",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf0\x9f\x93",
            b"\"",
            b"\\",
            b"\\u0000",
            b"\"},{\"",
            b"\\\"}\n",
            b"</script><script>alert(1)</script>",
            b"<img src=x onerror=alert(1)>",
            b"${jndi:ldap://x.example/a}",
            b"%s%n%x",
            b"$(id)`id`;id",
            b"'; DROP TABLE mail; --",
            "grüße@bücher.example".as_bytes(),
        ]
        .into_iter()
        .map(<[u8]>::to_vec)
        .collect();
        strings.extend([b"x", b"\0", b"\xff", b"\"", b"\x1b"].map(|octet| octet.repeat(4_000)));
        assert_eq!(strings.len(), 40);
        strings
    }

    /// All strings of a value.
    fn strings(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) => vec![text],
            Value::Array(values) => values.iter().flat_map(strings).collect(),
            Value::Object(fields) => fields.values().flat_map(strings).collect(),
            _ => Vec::new(),
        }
    }

    // one valid JSON line a record, control octets escaped, fields cut at 256 octets: every field that a
    // peer fills, with each of 40 strings. Of subjects, file names and what next hops say nothing is logged.
    #[test]
    fn a_97_hostile_fields_make_one_valid_line() {
        type Fill = fn(&mut Record, &[u8]);
        let lossy = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let fields: [(&str, Fill); 6] = [
            ("helo", |record, octets| record.helo = octets.into()),
            ("from", |record, octets| record.reverse_path = octets.into()),
            ("why", |record, octets| {
                record.end = End::Lost(String::from_utf8_lossy(octets).into_owned());
            }),
            ("why", |record, octets| {
                record.end = End::Closed(String::from_utf8_lossy(octets).into_owned());
            }),
            ("to", |record, octets| {
                let class = "standard".to_owned();
                let (fate, code, line) = ("delivered", 250, None);
                let address = octets.into();
                record.recipients = vec![RecipientRecord { address, class, fate, code, line }];
            }),
            ("forwarded", |record, octets| {
                let told = |octets: &[u8]| Told::Is(octets.into());
                let (name, helo, ident) = (told(octets), told(octets), told(octets));
                let attributes = PeerAttributes { name, helo, ident, ..PeerAttributes::default() };
                record.forwarded = Some(Box::new(attributes));
            }),
        ];
        for (name, fill) in fields {
            for octets in hostile() {
                let mut record = record();
                fill(&mut record, &octets);
                let line = line(&record);
                let shown = format!("{name}: {}", octets.escape_ascii());
                let text = line.strip_suffix('\n').expect("it ends");
                assert!(!text.contains(char::is_control), "{shown}");
                let value: Value = serde_json::from_str(text).expect(&shown);
                assert!(strings(&value).iter().all(|one| one.len() <= LOG_FIELD_OCTETS), "{shown}");
                assert_eq!(value["id"], "a-1", "{shown}");
                let field = match name {
                    "to" => &value["recipients"][0]["to"],
                    name => &value[name],
                };
                let whole = lossy(&octets);
                if whole.len() <= LOG_FIELD_OCTETS / 4 {
                    assert!(field.as_str().expect(&shown).contains(&whole), "{shown}");
                }
            }
        }
    }

    /// A disk with room for so many octets, and for more after it was full.
    #[derive(Debug, Default)]
    struct Disk {
        octets: Vec<u8>,
        room: usize,
        full: usize,
    }

    impl Write for &mut Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let octets = &octets[..octets.len().min(self.room)];
            if octets.is_empty() {
                self.full += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.octets.extend_from_slice(octets);
            self.room -= octets.len();
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // the disk of the log is full, whatever has still found room of a line, and has room again: each line
    // is there whole, or is counted; a torn one spoils no other.
    #[test]
    fn a_98_a_full_disk_costs_the_lines_that_find_no_room_and_each_is_counted() {
        let given = ["{\"a\":1}\n", "{\"b\":22}\n", "{\"c\":333}\n", "{\"d\":4444}\n"];
        let all = given.concat().len();
        for room in 0..=all + 8 {
            let (mut disk, lost) = (Disk { room, ..Disk::default() }, Arc::new(AtomicU64::new(0)));
            let mut lines = Lines::into(&mut disk, Arc::clone(&lost));
            for two in given.chunks(2) {
                two.iter().for_each(|line| lines.add(line));
                lines.write();
            }
            lines.out.room = usize::MAX;
            for line in given {
                lines.add(line);
                lines.write();
            }
            let text = String::from_utf8(disk.octets).unwrap();
            let valid = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok());
            let lost = lost.load(Ordering::Relaxed) as usize;
            assert_eq!(valid.count() + lost, 2 * given.len(), "{room}: {text}");
            assert!(text.ends_with(&given.concat()), "{room}: {text}");
            assert_eq!(lost == 0, room + 1 >= all, "{room}: {text}");
        }
    }

    // a reader that has stopped, and records as fast as they can be made: no shard waits, each record is
    // read later or was counted, and a process that ends does not wait for ever.
    #[test]
    fn a_98_a_stopped_reader_stops_nobody_and_every_lost_record_is_counted() {
        const RECORDS: u64 = 50_000;
        for reads_on in [true, false] {
            let (reader, writer) = io::pipe().unwrap();
            let (mut producers, consumers) = log_queues(1);
            let log = LogWriter::into(writer, consumers).unwrap();
            let began = Instant::now();
            let refused =
                (0..RECORDS).filter(|_| producers[0].push(record()).is_err()).count() as u64;
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
            assert!(refused > RECORDS / 2, "{refused}");
            let lost = log.lost();
            let began = Instant::now();
            match reads_on {
                true => {
                    let lines = thread::spawn(move || {
                        let lines = BufReader::new(reader).lines().map(Result::unwrap);
                        let valid = |line: &String| serde_json::from_str::<Value>(line).is_ok();
                        lines.filter(valid).count() as u64
                    });
                    drop(log);
                    assert_eq!(lines.join().unwrap() + refused, RECORDS);
                    assert_eq!(lost.load(Ordering::Relaxed), 0);
                }
                false => {
                    drop(log);
                    assert!(began.elapsed() >= LOG_FAREWELL);
                    drop(reader);
                }
            }
        }
    }
}
