//! Mail through real shards with the record of outcomes and without it: messages a second, and what a
//! client waits for its final reply. `cargo bench --bench outcomes`; with `-- with` or `-- without` behind
//! it, one of the two alone with the smallest messages, to be profiled.
//!
//! 50 connections over loopback, clients and next hop in the same process, a next hop that keeps nothing
//! on disk and answers at once; commits that are synced in the target folder. Rounds alternate, so that
//! what else the machine does falls on both; trust the ratio. A small message that nobody reads is the
//! worst case: all else that is done for it costs least. Clients that send as fast as they can wait for
//! processors more than for anything else, so the time that the record adds is that of clients with a pace.

mod scanned;

use postern::config::Config;
use postern::durable::{Ledger, LedgerSettings};
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

/// What is sent, and how.
struct Load {
    name: &'static str,
    mail: Vec<Vec<u8>>,
    /// Rules, in the configuration.
    rules: String,
    /// Messages a second of all connections; `None` is as fast as they can.
    pace: Option<u32>,
}

fn main() {
    // `cargo test --benches` only wants it to build.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let is_asked = |name: &str| std::env::args().any(|argument| argument == name);
    let lines = |name, octets: usize, pace| Load {
        name,
        mail: vec![some_lines(octets)],
        rules: String::new(),
        pace,
    };
    let smallest = lines("4 KiB that nobody reads", 4 << 10, None);
    for (name, remembers) in [("with", true), ("without", false)] {
        if is_asked(name) {
            return (1..=2 * ROUNDS).for_each(|_| println!("{}", smallest.run(remembers)));
        }
    }
    let (literals, rules) = some_rules();
    println!("read for {literals} literals:");
    let real = Load { name: "mail of the corpus, read", mail: scanned::mail(), rules, pace: None };
    real.compare();
    lines("16 KiB that nobody reads", 16 << 10, None).compare();
    let most = smallest.compare();
    let paced = lines("4 KiB that nobody reads, at half that rate", 4 << 10, Some(most / 2));
    paced.compare();
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
    /// The mean time between two groups, and the median of the commits.
    interval_and_commit_us: u64,
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown { messages_per_s, wait, cpu_us, commits, .. } = self;
        let wait_us = wait.as_micros();
        write!(f, "{messages_per_s:.0} messages/s, wait {wait_us} us, CPU {cpu_us:.0} us{commits}")
    }
}

impl Load {
    /// With the ledger and without it, in turn; messages a second without it.
    fn compare(&self) -> u32 {
        let name = self.name;
        let (mut ratios, mut added_us, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        let mut allowed_us = Vec::new();
        for round in 1..=ROUNDS {
            let (without, with) = (self.run(false), self.run(true));
            println!("{name}, round {round}: without {without}; with the ledger {with}");
            ratios.push(with.messages_per_s / without.messages_per_s);
            added_us.push(with.wait.as_micros() as i64 - without.wait.as_micros() as i64);
            rates.push(without.messages_per_s as u32);
            allowed_us.push(with.interval_and_commit_us);
        }
        ratios.sort_by(f64::total_cmp);
        added_us.sort_unstable();
        rates.sort_unstable();
        allowed_us.sort_unstable();
        let middle = ROUNDS / 2;
        println!(
            "{name}: median ratio {:.2}; median wait longer by {} us, and one interval and one commit are \
             {} us",
            ratios[middle], added_us[middle], allowed_us[middle]
        );
        rates[middle]
    }

    fn run(&self, remembers: bool) -> Shown {
        let hop = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = hop.local_addr().unwrap();
        let kept = Kept::default();
        let _sink = serve(hop, Protocol::Lmtp, Arc::new(Script::default()), kept.clone()).unwrap();
        let config = CONFIG.replace("NEXT_HOP", &address.to_string()) + &self.rules;
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
        let mut waits: Vec<Duration> = thread::scope(|scope| {
            let client = |number| scope.spawn(move || self.hand_in(to, number, began));
            let clients: Vec<_> = (0..CONNECTIONS).map(client).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        let (seconds, cpu_s) = (began.elapsed().as_secs_f64(), cpu_s() - cpu_began);
        gateway.stop().unwrap();
        assert_eq!(kept.count(), CONNECTIONS * MESSAGES_EACH);
        waits.sort_unstable();
        Shown {
            messages_per_s: waits.len() as f64 / seconds,
            wait: waits[waits.len() / 2],
            cpu_us: cpu_s * 1e6 / waits.len() as f64,
            interval_and_commit_us: ledger.as_ref().map_or(0, |ledger| {
                let report = ledger.handle().report();
                let interval_us = seconds * 1e6 / report.group.len() as f64;
                interval_us as u64 + report.commit_us.value_at_quantile(0.5)
            }),
            commits: ledger.map(|ledger| commits(&ledger)).unwrap_or_default(),
        }
    }

    /// One client's messages; its waits.
    fn hand_in(&self, to: SocketAddr, number: usize, began: Instant) -> Vec<Duration> {
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
        let mut waits = Vec::new();
        for message in 0..MESSAGES_EACH {
            let sent_before = (message * CONNECTIONS + number) as u32;
            if let Some(rate) = self.pace {
                let due = began + Duration::from_secs(1) / rate * sent_before;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let envelope = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<one@example.net>\r\nDATA\r\n";
            stream.write_all(envelope).unwrap();
            expect(3);
            let mail = &self.mail[sent_before as usize % self.mail.len()];
            let content = content(&format!("X-Number: {number} {message}\r\n"), mail);
            stream.write_all(&content).unwrap();
            let from = Instant::now();
            expect(1);
            waits.push(from.elapsed());
        }
        waits
    }
}

/// Rules of as many literals as are at hand, and how many.
fn some_rules() -> (&'static str, String) {
    let found = ["2000", "200"].into_iter().find_map(|list| {
        let file = format!("patterns/literals-{list}.txt");
        let mut paths = scanned::corpora().into_iter().map(|corpus| corpus.join(&file));
        Some((list, paths.find(|path| path.exists())?))
    });
    let (list, path) = found.expect("the sample has a list");
    let path = path.display();
    let rule = format!(
        "\n[rule.words]\nliterals = \"file:{path}\"\nin = [\"subject\", \"text\"]\ntag = \"words\"\n"
    );
    (list, rule)
}

fn some_lines(octets: usize) -> Vec<u8> {
    let line = "A line of an ordinary message, of about seventy octets in its length.\r\n";
    format!("Subject: lines\r\n\r\n{}", line.repeat(octets / line.len())).into_bytes()
}

/// On the wire, with line ends and dots as they must be.
fn content(first: &str, mail: &[u8]) -> Vec<u8> {
    let mut content = first.as_bytes().to_vec();
    for line in mail.strip_suffix(b"\n").unwrap_or(mail).split(|octet| *octet == b'\n') {
        content.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        content.extend(line.iter().filter(|octet| **octet != b'\r'));
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b".\r\n");
    content
}

/// CPU time of the process so far, in ticks of a hundredth (proc(5)).
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
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
