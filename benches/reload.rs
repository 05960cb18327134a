//! A configuration with 200,000 literals in the place of one with a few, while clients talk: how long
//! the reload takes, and how long a client waits meanwhile. `cargo bench --bench reload`
//!
//! A process of its own serves with one shard. A client sends a NOOP, waits for the reply, and again;
//! what it waits longest shows a pause of the shard, and everything else that holds up two processes on
//! this machine. So it is compared with the same client while nothing happens, and while a thread that
//! has nothing to do with postern computes for as long as a reload takes: where two cores have two
//! clients' work and a builder's to do, some NOOP waits for a turn.

mod scanned;
#[path = "../tests/served/mod.rs"]
mod served;

use served::Served;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const LITERALS: usize = 200_000;
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// For so long a client goes on when the reload is done: until the old tables are freed, too.
const AFTERWARDS: Duration = Duration::from_secs(3);

const CONFIG: &str = r#"
hostname = "mx.example.net"
state    = "state"
shards   = 1
log      = "off"

[listen.mx]
address  = "127.0.0.1:0"
protocol = "smtp"
errors   = 999999
junk     = 999999

[route.mail]
to = "maildir:mail"

[domain."example.net"]
route      = "mail"
recipients = "any"

[rule.list]
literals = "file:literals.txt"
tag      = "spam"

[admin]
address = "127.0.0.1:0"
token   = "file:token"
"#;

fn main() {
    // `cargo test --benches` only wants it to build.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let list = literals();
    let write = |count: usize| write_list(folder.path(), &list[..count]);
    fs::write(folder.path().join("postern.toml"), CONFIG).expect("the configuration");
    fs::write(folder.path().join("token"), TOKEN).expect("a token");
    write(100);
    let mut served = Served::start(&folder.path().join("postern.toml"), &[]);
    let (smtp, admin) = (served.address("listens on "), served.address("http://"));
    println!(
        "| round | reload ms | NOOPs | median us | longest us: idle | a thread computes | reload and after |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=ROUNDS {
        let idle = waits_during(smtp, || thread::sleep(AFTERWARDS));
        write(LITERALS);
        let mut took = Duration::ZERO;
        let loaded = waits_during(smtp, || {
            took = reload(admin);
            thread::sleep(AFTERWARDS);
        });
        let busy = waits_during(smtp, || {
            compute(took);
            thread::sleep(AFTERWARDS);
        });
        write(100);
        reload(admin);
        let round = Round { took, idle, busy, loaded };
        println!("| {number} {round}");
        rounds.push(round);
    }
    let median = |of: fn(&Round) -> Duration| {
        let mut all: Vec<Duration> = rounds.iter().map(of).collect();
        all.sort();
        all[all.len() / 2]
    };
    println!(
        "medians: reload {} ms; longest wait {} us idle, {} us while a thread computes, {} us with a reload",
        median(|round| round.took).as_millis(),
        median(|round| round.idle.longest()).as_micros(),
        median(|round| round.busy.longest()).as_micros(),
        median(|round| round.loaded.longest()).as_micros(),
    );
    served.child.kill().expect("it was started here");
    served.child.wait().expect("it was started here");
}

/// What was seen in a round.
struct Round {
    took: Duration,
    idle: Waits,
    busy: Waits,
    loaded: Waits,
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Round { took, idle, busy, loaded } = self;
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} |",
            took.as_millis(),
            loaded.0.len(),
            loaded.0[loaded.0.len() / 2].as_micros(),
            idle.longest().as_micros(),
            busy.longest().as_micros(),
            loaded.longest().as_micros(),
        )
    }
}

/// What a client waited for its replies, in order.
struct Waits(Vec<Duration>);

impl Waits {
    fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

/// Talks to the gateway for as long as `work` takes.
fn waits_during(smtp: SocketAddr, work: impl FnOnce()) -> Waits {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = TcpStream::connect(smtp).expect("a connection");
            client.set_nodelay(true).expect("a socket");
            let mut replies = BufReader::new(client.try_clone().expect("a socket"));
            let (mut line, mut waits) = (String::new(), Vec::new());
            replies.read_line(&mut line).expect("a greeting");
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                client.write_all(b"NOOP\r\n").expect("it listens");
                line.clear();
                replies.read_line(&mut line).expect("a reply");
                waits.push(begun.elapsed());
                assert!(line.starts_with("250"), "{line}");
            }
            waits.sort();
            Waits(waits)
        });
        work();
        done.store(true, Ordering::Relaxed);
        client.join().expect("a client")
    })
}

/// Has the configuration read again. How long it took until that was done.
fn reload(admin: SocketAddr) -> Duration {
    let begun = Instant::now();
    let mut port = TcpStream::connect(admin).expect("a connection");
    let request = format!(
        "POST /reload HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    port.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    port.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("\"reloaded\":true"), "{answer}");
    begun.elapsed()
}

/// Works for so long, in memory as a table is built in.
fn compute(time: Duration) {
    let begun = Instant::now();
    let mut words = vec![1u64; 1 << 20];
    while begun.elapsed() < time {
        for place in 0..words.len() {
            words[place * 7919 % (1 << 20)] = words[place].wrapping_mul(6_364_136_223_846_793_005);
        }
    }
    black_box(&words);
}

/// The largest list of the corpus beside the project, or one that is made up where it is absent.
fn literals() -> Vec<Vec<u8>> {
    if let Some(list) = scanned::list("200000") {
        return list;
    }
    println!("the list of the corpus is absent: one is made up");
    let mut state = 1u64;
    let mut octet = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b'a' + (state >> 33) as u8 % 26
    };
    (0..LITERALS).map(|_| (0..16).map(|_| octet()).collect()).collect()
}

fn write_list(folder: &Path, list: &[Vec<u8>]) {
    fs::write(folder.join("literals.txt"), list.join(&b'\n')).expect("the list");
}
