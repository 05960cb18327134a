//! A real process and its configuration: reloads while mail comes in, and the admin port.
//!
//! Nothing here sleeps to wait: every wait is for a line of the process's standard error or for
//! octets, with a time-out that only a failure reaches.

#[path = "served/mod.rs"]
mod served;

use rcgen::{CertificateParams, KeyPair};
use served::{PATIENCE, Served};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What is served at first. Port 0 is a free one, which the process tells.
const CONFIG: &str = r#"
hostname    = "mx.example.net"
state       = "state"
shards      = 1
connections = 64
memory      = "8MiB"
log         = "off"

[listen.mx]
address  = "127.0.0.1:0"
protocol = "smtp"
messages = 999999
errors   = 999999
junk     = 999999
unknown-recipients = 999999

[route.mail]
to = "maildir:mail"

[domain."example.net"]
route      = "mail"
recipients = "file:recipients.txt"

[rule.mark]
literals = "file:literals.txt"
tag      = "spam"

[class.standard]
decide = [{ tag = "spam", then = "reject" }]

[admin]
address = "127.0.0.1:0"
hosts   = ["mx.example.net"]
token   = "file:token"
"#;

/// A process of postern that serves a configuration in a folder of its own.
struct Process {
    served: Served,
    folder: TempDir,
    smtp: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    fn start(config: &str) -> Process {
        Process::start_with(config, None)
    }

    /// The same with a socket of systemd's.
    fn start_with(config: &str, notify: Option<&Path>) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("postern.toml"), config).unwrap();
        fs::write(path("recipients.txt"), "canary\n").unwrap();
        fs::write(path("literals.txt"), "first words\n").unwrap();
        fs::write(path("token"), format!("{TOKEN}\n")).unwrap();
        write_certificate(folder.path(), "certificate.pem", "key.pem", 2040);
        let notify = notify.map(|socket| ("NOTIFY_SOCKET", socket.to_str().unwrap()));
        let served = Served::start(&path("postern.toml"), notify.as_slice());
        let smtp = served.address("listens on ");
        let admin = served.address("http://");
        Process { served, folder, smtp, admin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The next line of standard error that holds these words.
    fn line_with(&self, words: &str) -> String {
        self.served.line_with(words)
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the process was started here and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.served.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Writes another configuration, asks for it, and gives the line that tells what came of it.
    fn reload(&self, config: &str) -> String {
        fs::write(self.path("postern.toml"), config).unwrap();
        self.signal(libc::SIGHUP);
        self.line_with("(SIGHUP)")
    }

    /// A whole transaction; gives the code that RCPT got, and that of the message.
    fn mail(&self, recipient: &str, text: &str) -> (u16, u16) {
        let mut client = Client::connect(self.smtp);
        assert_eq!(client.code(), 220);
        let mut say = |line: &str| client.say(line);
        assert_eq!((say("EHLO client.example"), say("MAIL FROM:<a@client.example>")), (250, 250));
        let recipient = say(&format!("RCPT TO:<{recipient}>"));
        if recipient != 250 {
            return (recipient, 0);
        }
        assert_eq!(say("DATA"), 354);
        (recipient, say(&format!("Subject: test\r\n\r\n{text}\r\n.")))
    }

    fn http(&self, request: &str) -> (u16, String) {
        http(self.admin, request.as_bytes())
    }

    fn metric(&self, name: &str) -> f64 {
        let (code, text) = self.http("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(code, 200, "{text}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(libc::SIGTERM);
        let ended = self.served.child.wait().unwrap();
        if !thread::panicking() {
            assert!(ended.success(), "{ended}");
        }
    }
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    fn say(&mut self, line: &str) -> u16 {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.code()
    }

    /// The code of the next reply.
    fn code(&mut self) -> u16 {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            }
        }
    }
}

/// What a request is answered: its code, 0 for a close, and all that follows.
fn http(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has seen enough may close before all is written.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    (code.and_then(|code| code.parse().ok()).unwrap_or(0), answer)
}

/// A certificate that ends with a year.
fn write_certificate(folder: &Path, certificate: &str, key: &str, last_year: i32) {
    let mut params = CertificateParams::new(vec!["mx.example.net".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
    let pair = KeyPair::generate().unwrap();
    fs::write(folder.join(certificate), params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(folder.join(key), pair.serialize_pem()).unwrap();
}

fn with_tls(pairs: &str) -> String {
    CONFIG.replace("[route.mail]", &format!("tls = [{pairs}]\n[route.mail]"))
}

// A-103: whatever is wrong with a new configuration, the old one stays, and mail comes in throughout.
#[test]
fn a_103_no_bad_configuration_takes_the_place_of_a_good_one() {
    let process = Process::start(CONFIG);
    let canary = || process.mail("canary@example.net", "hello");
    let mut refused = 0.0;
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/bad");
    for entry in fs::read_dir(bad).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            let line = process.reload(&fs::read_to_string(&entry).unwrap());
            assert!(line.contains("the old configuration stays"), "{entry:?}: {line}");
            assert_eq!(canary(), (250, 250));
            refused += 1.0;
        }
    }
    assert!(refused >= 20.0);
    // What is good by itself and cannot be had without a restart is named.
    let fixed = [
        ("shards      = 1", "shards      = 2", "`shards`"),
        ("127.0.0.1:0\"\nprotocol", "127.0.0.2:0\"\nprotocol", "an `address` of [listen]"),
        ("maildir:mail", "maildir:other", "[route]"),
        ("connections = 64", "connections = 65", "`connections`"),
        ("[\"mx.example.net\"]", "[\"other.example.net\"]", "[admin]"),
        ("memory      = \"8MiB\"\nlog         = \"off\"", "log = \"stdout\"", "`memory` and `log`"),
    ];
    for (old, new, words) in fixed {
        let config = CONFIG.replace(old, new);
        assert_ne!(config, CONFIG);
        let line = process.reload(&config);
        assert!(line.contains(words) && line.contains("restart it"), "{line}");
        refused += 1.0;
    }
    // Certificates: of another key, and past their time while there is one that is not.
    write_certificate(process.folder.path(), "other.pem", "other-key.pem", 2040);
    write_certificate(process.folder.path(), "old.pem", "old-key.pem", 2020);
    let mismatched =
        process.reload(&with_tls("{ certificate = \"other.pem\", key = \"key.pem\" }"));
    assert!(mismatched.contains("does not belong"), "{mismatched}");
    let expired = process.reload(&with_tls("{ certificate = \"old.pem\", key = \"old-key.pem\" }"));
    assert!(expired.contains("has expired"), "{expired}");
    refused += 2.0;
    assert_eq!(process.metric("postern_reload_failures_total"), refused);
    assert_eq!(process.metric("postern_reloads_total"), 0.0);
    let before = process.metric("postern_reload_last_success_timestamp_seconds");

    // And the good one that comes at last is taken.
    let good = with_tls("{ certificate = \"certificate.pem\", key = \"key.pem\" }");
    let good =
        good.replace("\nrecipients = ", "\nexceptions = { canary = \"standard\" }\nrecipients = ");
    assert_eq!(process.mail("canary@example.net", "first words"), (250, 250));
    assert_eq!(process.metric("postern_certificate_expiry_timestamp_seconds"), 0.0);
    assert!(process.reload(&good).contains("loaded anew"));
    assert_eq!(process.mail("canary@example.net", "first words"), (250, 550));
    // The last day of 2040.
    assert_eq!(process.metric("postern_certificate_expiry_timestamp_seconds"), 2_240_524_800.0);
    assert_eq!(canary(), (250, 250));
    assert_eq!(process.metric("postern_reloads_total"), 1.0);
    assert!(process.metric("postern_reload_last_success_timestamp_seconds") >= before);
}

#[test]
fn files_that_change_are_taken_by_themselves_and_an_unfinished_edit_is_not() {
    let process = Process::start(CONFIG);
    assert_eq!(process.mail("new@example.net", "hello"), (550, 0));
    // Somebody is at the configuration with an editor: nobody has asked for that.
    fs::write(process.path("postern.toml"), "hostname = ").unwrap();
    fs::write(process.path("recipients.txt"), "canary\nnew\n").unwrap();
    assert!(process.line_with("has changed").contains("loaded anew"));
    assert_eq!(process.mail("new@example.net", "hello"), (250, 250));
    // A list with a fault is not taken, nor is half of it.
    fs::write(process.path("recipients.txt"), "newer\nnot one\n").unwrap();
    let line = process.line_with("has changed");
    assert!(line.contains("the old configuration stays"), "{line}");
    assert!(line.contains("recipients.txt:2:1: "), "{line}");
    assert_eq!(process.mail("newer@example.net", "hello"), (550, 0));
    assert_eq!(process.mail("new@example.net", "hello"), (250, 250));
    // Renamed into place, it is.
    fs::write(process.path("next"), "newer\n").unwrap();
    fs::rename(process.path("next"), process.path("recipients.txt")).unwrap();
    assert!(process.line_with("has changed").contains("loaded anew"));
    assert_eq!(process.mail("newer@example.net", "hello"), (250, 250));
    assert_eq!(process.mail("new@example.net", "hello"), (550, 0));
    assert_eq!(process.metric("postern_reloads_total"), 2.0);
    assert_eq!(process.metric("postern_reload_failures_total"), 1.0);
}

#[test]
fn systemd_is_told_and_the_admin_port_answers_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut octets = [0; 256];
        let length = socket.recv(&mut octets).unwrap();
        String::from_utf8_lossy(&octets[..length]).trim().to_owned()
    };
    let process = Process::start_with(CONFIG, Some(&folder.path().join("notify")));
    assert_eq!(told(), "READY=1");
    let ready = || process.http("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(ready().0, 200);
    let mut client = Client::connect(process.smtp);
    assert_eq!(client.code(), 220);
    for line in ["EHLO c.example", "MAIL FROM:<>", "RCPT TO:<canary@example.net>"] {
        assert_eq!(client.say(line), 250);
    }
    assert_eq!(client.say("DATA"), 354);
    process.signal(libc::SIGTERM);
    assert_eq!(told(), "STOPPING=1");
    let (code, text) = ready();
    assert!(code == 503 && text.ends_with("draining\n"), "{text}");
    assert_eq!(client.say("Subject: last\r\n\r\ntext\r\n."), 250);
}

// A-94: slow heads, large heads and bodies that never come take places for seconds only, and health
// has places of its own.
#[test]
fn a_94_slow_and_large_requests_stop_nobody() {
    let process = Process::start(CONFIG);
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(process.admin).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    for _ in 0..3 {
        let health = process.http("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(health.0 == 200 && health.1.ends_with("alive\n"), "{health:?}");
    }
    let metrics = process.http("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(metrics.0, 503, "{metrics:?}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "answered while the others hold their places"
    );
    assert_eq!(process.mail("canary@example.net", "hello"), (250, 250));
    for mut stream in slow {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let ended = stream.read_to_end(&mut rest);
        let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "it is still open");
    }
    let large =
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let large = process.http(&large);
    assert!(matches!(large.0, 431 | 0), "{large:?}");
    let unsent = process.http(&format!(
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    ));
    assert_eq!(unsent.0, 400, "{unsent:?}");
    assert_eq!(process.metric("postern_reloads_total"), 0.0);
}

// A-95: names that are not ours, and changes asked for in any way that a page of another site could
// ask, change nothing.
#[test]
fn a_95_no_foreign_page_can_ask_for_a_change() {
    let process = Process::start(CONFIG);
    let json = "Content-Type: application/json\r\nContent-Length: 2\r\n";
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let plain = "Content-Type: text/plain\r\nContent-Length: 2\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n";
    let near = format!("Authorization: Bearer {}\r\n", &TOKEN[1..]);
    let basic = format!("Authorization: Basic {TOKEN}\r\n");
    let table: Vec<(&str, &str, String, u16)> = vec![
        ("GET /metrics", "evil.example", String::new(), 403),
        ("GET /healthz", "evil.example:9925", String::new(), 403),
        ("GET /readyz", "localhost.evil.example", String::new(), 403),
        ("GET http://evil.example/metrics", "localhost", String::new(), 403),
        ("POST /reload", "evil.example", format!("{token}{json}"), 403),
        ("POST /reload", "localhost", format!("{token}{plain}"), 415),
        ("POST /reload", "localhost", format!("{token}{form}"), 415),
        ("POST /reload", "localhost", format!("{token}Content-Length: 2\r\n"), 415),
        ("POST /reload", "localhost", json.to_owned(), 401),
        ("POST /reload", "localhost", format!("{near}{json}"), 401),
        ("POST /reload", "localhost", format!("{basic}{json}"), 401),
        ("GET /reload", "localhost", format!("{token}{json}"), 405),
        ("PUT /reload", "localhost", format!("{token}{json}"), 405),
        ("OPTIONS /reload", "localhost", "Origin: http://evil.example\r\n".to_owned(), 405),
        ("POST /metrics", "localhost", format!("{token}{json}"), 405),
        ("POST /reload/", "localhost", format!("{token}{json}"), 404),
        ("GET /config", "localhost", String::new(), 404),
        ("GET /metrics", "mx.example.net:9925", String::new(), 200),
        ("GET /metrics", "127.0.0.1", String::new(), 200),
        ("GET /healthz", "[::1]:9925", String::new(), 200),
    ];
    for (line, host, fields, expected) in &table {
        let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{{}}");
        let (code, text) = process.http(&request);
        assert_eq!(code, *expected, "{line} {host} {fields:?}: {text}");
    }
    let bad_body = format!("{token}Content-Type: application/json\r\nContent-Length: 4\r\n");
    let (code, _) =
        process.http(&format!("POST /reload HTTP/1.1\r\nHost: localhost\r\n{bad_body}\r\n{{ ]}}"));
    assert_eq!(code, 400);
    assert_eq!(process.metric("postern_reloads_total"), 0.0);
    assert_eq!(process.metric("postern_reload_failures_total"), 0.0);

    let asked = format!("POST /reload HTTP/1.1\r\nHost: localhost\r\n{token}{json}\r\n{{}}");
    let (code, text) = process.http(&asked);
    assert!(code == 200 && text.contains("\"reloaded\":true"), "{text}");
    fs::write(process.path("postern.toml"), "hostnam = 1\nstate = 2\n").unwrap();
    let (code, text) = process.http(&asked);
    assert!(code == 409 && text.contains("hostnam") && text.contains("postern.toml:2:9"), "{text}");
    assert_eq!(process.metric("postern_reloads_total"), 1.0);
    assert_eq!(process.metric("postern_reload_failures_total"), 1.0);
}

#[test]
fn without_a_token_no_change_is_offered() {
    let process = Process::start(&CONFIG.replace("token   = \"file:token\"", ""));
    let asked = "POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \r\n\
                 Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(process.http(asked).0, 404);
}

// A-96: the series of the metrics come from fixed sets, whatever peers say.
#[test]
fn a_96_no_input_makes_a_series() {
    let process = Process::start(CONFIG);
    let series = || {
        let (_, text) = process.http("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let series = text.lines().filter(|line| line.starts_with("postern_"));
        series.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = series();
    assert!(before.len() > 30, "{before:?}");
    let mut random = fastrand::Rng::with_seed(96);
    let mut word = |most: usize| -> String {
        let length = random.usize(1..most);
        std::iter::repeat_with(|| random.alphanumeric()).take(length).collect()
    };
    for _ in 0..1_000 {
        let request = format!("{} /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", word(9), word(60));
        http(process.admin, request.as_bytes());
    }
    let mut lines = String::new();
    for _ in 0..3_000 {
        let (name, sender, command) = (word(40), word(40), word(20));
        lines +=
            &format!("EHLO {name}.example\r\nRSET\r\nMAIL FROM:<{sender}@x>\r\n{command} x\r\n");
    }
    lines += "QUIT\r\n";
    let mut stream = TcpStream::connect(process.smtp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let replies = thread::spawn(move || {
        let mut replies = String::new();
        reader.read_to_string(&mut replies).unwrap();
        replies
    });
    stream.write_all(lines.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let replies = replies.join().unwrap();
    assert!(replies.matches("\r\n500 ").count() >= 2_900, "{}", replies.len());
    assert_eq!(series(), before);
}
