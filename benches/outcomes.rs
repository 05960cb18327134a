//! Mail through real shards with the record of outcomes and without it: messages a second, and what a
//! client waits for its final reply. `cargo bench --bench outcomes`; with `-- with` or `-- without` behind
//! it, one of the two alone, to be profiled.
//!
//! 50 connections over loopback, clients and next hop in the same process, a next hop that keeps nothing
//! on disk and answers at once; commits that are synced in the target folder. Rounds alternate, so that
//! what else the machine does falls on both; trust the ratio. The smallest message is the worst case: all
//! else that is done for it costs least. The larger one is as large as the mean of real mail without
//! large attachments.

use postern::config::Config;
use postern::durable::{Ledger, LedgerSettings};
use postern::limits::LEDGER_FRONT_PAUSE;
use postern::relay::Protocol;
use postern::shard::gateway::{Gateway, GatewaySettings};
use postern::tools::sink::{Kept, Script, serve};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

// As the program has it: records are made on one thread and let go on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 50;
const MESSAGES_EACH: usize = 100;
const ROUNDS: usize = 5;

/// Octets of a message.
const SIZES: [usize; 2] = [4 * 1024, 16 * 1024];

fn main() {
    // `cargo test --benches` only wants it to build.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let is_asked = |name: &str| std::env::args().any(|argument| argument == name);
    for (name, remembers) in [("with", true), ("without", false)] {
        if is_asked(name) {
            return (1..=2 * ROUNDS).for_each(|_| println!("{}", load(SIZES[0], remembers)));
        }
    }
    for octets in SIZES {
        let (mut ratios, mut added_us) = (Vec::new(), Vec::new());
        let mut commit_us = 0;
        for round in 1..=ROUNDS {
            let without = load(octets, false);
            let with = load(octets, true);
            println!("{octets} octets, round {round}: without {without}; with the ledger {with}");
            ratios.push(with.messages_per_s / without.messages_per_s);
            added_us.push(with.wait.as_micros() as i64 - without.wait.as_micros() as i64);
            commit_us = with.commit_us;
        }
        ratios.sort_by(f64::total_cmp);
        added_us.sort_unstable();
        println!(
            "{octets} octets: median ratio {:.2}; median wait longer by {} us, and one pause and one commit \
             are {} us",
            ratios[ROUNDS / 2],
            added_us[ROUNDS / 2],
            LEDGER_FRONT_PAUSE.as_micros() as u64 + commit_us
        );
    }
}

/// What a load has shown.
struct Shown {
    messages_per_s: f64,
    /// The median of the waits for final replies.
    wait: Duration,
    /// CPU time a message, of the whole process: clients and next hop, too.
    cpu_us: f64,
    /// What the ledger tells of its commits.
    commits: String,
    /// The median of the commits.
    commit_us: u64,
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown { messages_per_s, wait, cpu_us, commits, .. } = self;
        let wait_us = wait.as_micros();
        write!(f, "{messages_per_s:.0} messages/s, wait {wait_us} us, CPU {cpu_us:.0} us{commits}")
    }
}

fn load(octets: usize, remembers: bool) -> Shown {
    let hop = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hop.local_addr().unwrap();
    let kept = Kept::default();
    let _sink = serve(hop, Protocol::Lmtp, Arc::new(Script::default()), kept.clone()).unwrap();
    let config = CONFIG.replace("NEXT_HOP", &address.to_string());
    let config = Config::parse(&config, "bench.toml", Path::new(".")).unwrap();
    // Temporary folders may lie in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ledger = remembers.then(|| Ledger::start(LedgerSettings::new(folder.path())).unwrap());
    let gateway = Gateway::start(GatewaySettings {
        shards: 1,
        listeners: config.listeners,
        tables: config.tables,
        routes: config.routes,
        connections_max: 1_000,
        body_memory_octets: 64 << 20,
        log: Vec::new(),
        ledger: ledger.as_ref(),
    });
    let gateway = gateway.unwrap();
    let to = gateway.addresses()[0];
    let (began, cpu_began) = (Instant::now(), cpu_s());
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|number| thread::spawn(move || hand_in(to, number, octets))).collect();
    let mut waits: Vec<Duration> =
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let (seconds, cpu_s) = (began.elapsed().as_secs_f64(), cpu_s() - cpu_began);
    gateway.stop().unwrap();
    assert_eq!(kept.count(), CONNECTIONS * MESSAGES_EACH);
    waits.sort_unstable();
    Shown {
        messages_per_s: waits.len() as f64 / seconds,
        wait: waits[waits.len() / 2],
        cpu_us: cpu_s * 1e6 / waits.len() as f64,
        commit_us: ledger.as_ref().map_or(0, commit_us),
        commits: ledger.map(|ledger| commits(&ledger)).unwrap_or_default(),
    }
}

/// CPU time of the process so far, in ticks of a hundredth (proc(5)).
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn commit_us(ledger: &Ledger) -> u64 {
    ledger.handle().report().commit_us.value_at_quantile(0.5)
}

fn commits(ledger: &Ledger) -> String {
    let report = ledger.handle().report();
    assert_eq!(report.figures.counts.unrecorded, 0);
    format!(
        ", {} commits of median {} us, {} groups of median {} records",
        report.commit_us.len(),
        report.commit_us.value_at_quantile(0.5),
        report.group.len(),
        report.group.value_at_quantile(0.5)
    )
}

/// One client's messages; its waits.
fn hand_in(to: SocketAddr, number: usize, octets: usize) -> Vec<Duration> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut expect = |count: usize| {
        let mut left = count;
        while left > 0 {
            let line = replies.next().unwrap().unwrap();
            assert!(line.starts_with(['2', '3']), "{line}");
            left -= usize::from(line.as_bytes().get(3) == Some(&b' '));
        }
    };
    stream.write_all(b"EHLO client.example\r\n").unwrap();
    expect(2);
    let line = "A line of an ordinary message, of about seventy octets in its length.\r\n";
    let text = line.repeat(octets / line.len());
    let mut waits = Vec::new();
    for message in 0..MESSAGES_EACH {
        let envelope = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<one@example.net>\r\nDATA\r\n";
        stream.write_all(envelope).unwrap();
        expect(3);
        let content = format!("Subject: {number} {message}\r\n\r\n{text}.\r\n");
        stream.write_all(content.as_bytes()).unwrap();
        let from = Instant::now();
        expect(1);
        waits.push(from.elapsed());
    }
    waits
}

const CONFIG: &str = r#"
hostname = "mx.example.net"

[listen.mx]
address  = "127.0.0.1:0"
protocol = "smtp"
connections-per-source = 0

[route.hop]
to = "lmtp://NEXT_HOP"

[domain."example.net"]
route      = "hop"
recipients = "any"
"#;
