//! A real process whose volumes are full: of its log, of its record of outcomes, of its quarantine.
//!
//! The volumes are file systems in memory, in a name space of the process's own; where the machine gives
//! none to who runs the tests (`unshare -rm`), a test says so and does nothing.

#[path = "served/mod.rs"]
#[allow(dead_code)] // A process is started in a space of its own.
mod served;

use served::{PATIENCE, Served};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const CONFIG: &str = r#"
hostname = "mx.example.net"
state    = "STATE"
shards   = 1
log      = "file:LOG"

[listen.filter]
address  = "127.0.0.1:0"
protocol = "lmtp"

[route.mail]
to = "maildir:FOLDER/mail"

[route.quarantine]
to = "maildir:QUARANTINE"

[domain."example.net"]
route      = "mail"
recipients = "any"
class      = "standard"

[rule.mark]
literals = ["xspamx"]
tag      = "spam"

[class.standard]
decide = [{ tag = "spam", then = "quarantine" }]

[admin]
address = "127.0.0.1:0"
"#;

/// With these places of state, log and quarantine.
fn config(state: &str, log: &str, quarantine: &str) -> String {
    CONFIG.replace("STATE", state).replace("LOG", log).replace("QUARANTINE", quarantine)
}

/// A process, and its folder.
struct Process {
    folder: TempDir,
    served: Served,
    lmtp: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    /// Starts a process; its folder has a `volume` of so many KiB of which the first thing done is `before`.
    /// `None` where there can be none.
    fn start(config: &str, volume_kib: u32, before: &str) -> Option<Process> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("volume")).unwrap();
        let config = config.replace("FOLDER", folder.path().to_str().unwrap());
        fs::write(folder.path().join("postern.toml"), config).unwrap();
        let mount = format!("mount -t tmpfs -o size={volume_kib}k tmpfs volume");
        let in_a_space = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["-rm", "sh", "-c", script]).current_dir(folder.path());
            command.env_remove("NOTIFY_SOCKET");
            command
        };
        let mut test = in_a_space(&mount);
        let can = test.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !can {
            eprintln!("no name space of its own for a process: nothing is tested");
            return None;
        }
        let program = env!("CARGO_BIN_EXE_postern");
        let script = format!("{mount}; {before}\nexec '{program}' serve --config postern.toml");
        let served = Served::spawn(in_a_space(&script));
        let lmtp = served.address("filter listens on ");
        let admin = served.address("http://");
        Some(Process { folder, served, lmtp, admin })
    }

    /// The volume, as the process sees it.
    fn volume(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.served.child.id());
        let folder = self.folder.path().strip_prefix("/").unwrap();
        PathBuf::from(root).join(folder).join("volume")
    }

    /// Takes all room of the volume.
    fn fill(&self) {
        let mut file = fs::File::create(self.volume().join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.volume().join("filler")).unwrap();
    }

    /// Hands a message in; the codes of the final reply. QUIT comes with the end mark, so that the same text
    /// again is the same message again.
    fn hand_in(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.lmtp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let commands = "LHLO client.example\r\nMAIL FROM:<a@client.example>\r\n\
                        RCPT TO:<u@example.net>\r\nDATA\r\n";
        write!(stream, "{commands}Subject: x\r\n\r\n{text}\r\n.\r\nQUIT\r\n").unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        let (_, rest) = replies.split_once("\r\n354 ").unwrap_or_else(|| panic!("{replies}"));
        let last = rest.lines().nth(1).unwrap_or_else(|| panic!("{replies}"));
        last.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let wanted = |line: String| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
        let value = lines.filter_map(wanted).next().unwrap_or_else(|| panic!("no {name}"));
        value.parse::<f64>().unwrap() as u64
    }

    /// Waits until a metric is what it should be.
    fn waits_until(&self, name: &str, value: u64) {
        let end = Instant::now() + PATIENCE;
        while self.metric(name) != value {
            assert!(Instant::now() < end, "{name} is {} and not {value}", self.metric(name));
            std::thread::yield_now();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.served.child.kill();
        let _ = self.served.child.wait();
    }
}

// A-98, A-100: the volume of the log is full: mail goes on, and each line that is lost is counted. With room
// again it goes on behind what was torn.
#[test]
fn a_98_a_log_without_room_stops_no_mail() {
    let config = config("state", "volume/log", "FOLDER/mail");
    let Some(process) = Process::start(&config, 1024, "") else { return };
    let log = || fs::read_to_string(process.volume().join("log")).unwrap();
    let lines = |text: &str| text.lines().filter(|line| line.ends_with("}")).count() as u64;
    process.fill();
    // The last block of the file has still room for some.
    let mut handed_in = 0;
    while process.metric("postern_log_records_lost_total") < 20 {
        assert_eq!(process.hand_in(&format!("hello {handed_in}")), "250 2.6.0");
        handed_in += 1;
        assert!(handed_in < 200, "no line is lost");
    }
    process.free();
    process.served.line_with("the log cannot be written");
    assert_eq!(process.hand_in("hello"), "250 2.6.0");
    process.served.line_with("the log is written again");
    // A record may come from another shard than the one after it, and later.
    let lost = || process.metric("postern_log_records_lost_total");
    let end = Instant::now() + PATIENCE;
    while lines(&log()) + lost() != handed_in + 1 {
        assert!(Instant::now() < end, "{} lost, and there: {}", lost(), log());
        std::thread::yield_now();
    }
}

// A-98: the same of a log that never has room: no shard waits for it.
#[test]
fn a_98_a_log_that_is_always_full_stops_no_mail() {
    let config = config("state", "/dev/full", "FOLDER/mail");
    let Some(process) = Process::start(&config, 1024, "") else { return };
    for number in 0..50 {
        assert_eq!(process.hand_in(&format!("hello {number}")), "250 2.6.0");
    }
    process.waits_until("postern_log_records_lost_total", 50);
}

// A-100: the volume of the quarantine is full: those whose mail would lie there are put off, others are not.
#[test]
fn a_100_a_full_quarantine_puts_off_what_it_would_hold() {
    let config = config("state", "log", "FOLDER/volume");
    let Some(process) = Process::start(&config, 1024, "") else { return };
    assert_eq!(process.hand_in("xspamx, the first"), "250 2.6.0");
    process.fill();
    assert_eq!(process.hand_in("xspamx, the second"), "452 4.3.1");
    assert_eq!(process.hand_in("hello"), "250 2.6.0");
    process.free();
    assert_eq!(process.hand_in("xspamx, the second"), "250 2.6.0");
    assert_eq!(process.metric("postern_copies_quarantined_total"), 2);
}

// A-100: the volume of the record of outcomes is full at the start: mail goes on without records, and with them
// as soon as there is room. One of 1 MiB never has room for them.
#[test]
fn a_100_a_record_of_outcomes_without_room_stops_no_mail() {
    let config = config("volume", "log", "FOLDER/mail");
    let fill = "head -c 32M /dev/zero > volume/filler 2> /dev/null";
    for (volume_kib, before, recovers) in [(1024, "", false), (16_384, fill, true)] {
        let Some(process) = Process::start(&config, volume_kib, before) else { return };
        for number in 0..3 {
            assert_eq!(process.hand_in(&format!("hello {number}")), "250 2.6.0");
        }
        assert_eq!(process.metric("postern_ledger_store_works"), 0);
        assert!(process.metric("postern_ledger_unrecorded_total") > 0);
        if recovers {
            process.free();
            process.waits_until("postern_ledger_store_works", 1);
            let before = process.metric("postern_ledger_recorded_total");
            assert_eq!(process.hand_in("hello"), "250 2.6.0");
            assert!(process.metric("postern_ledger_recorded_total") > before);
        }
    }
}
