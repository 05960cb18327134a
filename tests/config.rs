//! Bad configurations, as data: each file in `tests/config/bad` says in its first lines where its
//! faults are and which words the message or its help holds: `# line:column words`, or
//! `# file:line:column words` for a file that it names.

use postern::config::{Config, EMBEDDED};
use postern::control::ledger::ledger_metrics;
use postern::durable::{Ledger, LedgerSettings};
use postern::policy::Standing;
use postern::relay::{HopTls, Verify};
use postern::scan::Surface;
use postern::session::{Mixed, Networks, Offer, ResumeLevel, TlsMode};
use postern::wire::{Mailbox, Newlines};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const DEPLOY: &str = include_str!("../deploy/postern.toml");

#[test]
fn every_bad_file_has_its_faults_at_their_places() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/bad");
    let (mut files, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let faults = Config::parse(&text, "bad.toml", &folder).map(|_| ()).unwrap_err();
        let told: Vec<String> = faults
            .each()
            .iter()
            .map(|fault| format!("{} ({})", fault.line(), fault.help_text()))
            .map(|line| line.replace(&format!("{}/", folder.display()), ""))
            .collect();
        let heads: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        assert!(!heads.is_empty(), "{}", path.display());
        for head in heads {
            let (place, words) = head.split_once(' ').unwrap();
            let place = match place.matches(':').count() {
                1 => format!("bad.toml:{place}: "),
                _ => format!("{place}: "),
            };
            if !told.iter().any(|line| line.starts_with(&place) && line.contains(words)) {
                wrong.push(format!("{}: wanted {place}..{words}.., got {told:#?}", path.display()));
            }
        }
        files += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files >= 90, "{files} files");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "[listen.mx]\naddress = \"nowhere\"\nprotocol = \"pop3\"\n\
                [route.a]\nto = \"ftp:x\"\n[domain.\"x\"]\nroute = \"b\"\nrecipients = \"any\"\n";
    let faults = Config::parse(text, "bad.toml", Path::new(".")).map(|_| ()).unwrap_err();
    assert!(faults.each().len() >= 3, "{:?}", faults.each());
}

#[test]
fn the_embedded_configuration_is_good_in_any_folder() {
    let config = Config::embedded(Path::new("/nowhere")).map_err(|faults| faults.to_string());
    let summary = postern::config::summary(&config.unwrap());
    for words in ["mx on 127.0.0.1:2525, SMTP", "filter on 127.0.0.1:2424, LMTP", "split    "] {
        assert!(summary.contains(words), "{words} is not in\n{summary}");
    }
}

/// All that can be said of listeners and routes, other than the defaults.
const EVERYTHING: &str = r#"
[listen.mx]
address = ["127.0.0.1:2525", "[::1]:2525"]
protocol = "smtp"
size = 1048576
recipients = 200
authserv-ids = ["mx.example.net", "old.example.net."]
messages = 7
newlines = "normalize"
newlines-normalized-from = ["10.1.0.0/16"]
long-lines = "refuse"
lenient-commands = true
mixed = "strictest"
smtputf8 = true
dsn = false
binarymime = "auto"
prdr = false
prdr-353-after = "3s"
tls = [{ certificate = "own.pem", key = "own.key" }, { certificate = "two.pem", key = "two.key" }]
tls-mode = "required"
client-ca = "ca.pem"
trust = { proxy = "10.0.0.1", xclient = ["127.0.0.0/8"], xforward = "any", resume = "10.0.0.2" }
resume = "partial"
checkpoint = true
replay = false
early-talk = "allow"
banner-pause = "1500ms"
idle = "1m"
data-timeout = "2m"
data-rate = "1kB"
write-stall = "30s"
progress = "10m"
session = "1h"
handshake = "5s"
scan = "4s"
errors = 1
junk = 2
unknown-recipients = 3
connections-per-source = 0
loops = 101

[ledger]
outcomes = "24h"
replay = "1h"
grace = "30s"
partial = "5m"
records = 1000
size = "1GiB"
open = 10
partial-size = "512MiB"
partial-size-client = "1MiB"

[route.mail]
to = ["lmtp://10.0.0.5:24", "lmtp://10.0.0.6:24"]
tls = "required"
ca = "ca.pem"
server-name = "store.example.net"
certificate = "own.pem"
key = "own.key"
verify = "ahead"
xclient = true
connect = "1s"
command = "2s"
final = "3s"
verify-wait = "4s"

[route.archive]
to = "smtps://[2001:db8::1]:465"
pin = ["00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"]

[domain."example.net"]
route = "mail"
recipients = "file:recipients.txt"
plus = "+"

[domain."Example.org"]
route = "mail"
recipients = "file:recipients.txt"

[domain."list.example"]
route = "archive"
recipients = ["a", "b -> mail", "c*@list.example"]
"#;

/// The folder in which [`EVERYTHING`] is good.
fn folder_of_everything() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["own", "two"] {
        let certificate = CertificateParams::new(vec![format!("{name}.example.net")]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        std::fs::write(folder.path().join(format!("{name}.pem")), &certificate).unwrap();
        std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), &certificate).unwrap();
    }
    let list = "# both domains\r\nalice\n  \"Odd One\"  \nsales -> archive\nbob@example.org\n\
                @example.org -> archive\nnews+*@example.net";
    std::fs::write(folder.path().join("recipients.txt"), list).unwrap();
    folder
}

#[test]
fn every_key_is_heard() {
    let folder = folder_of_everything();
    let config = Config::parse(EVERYTHING, "all.toml", folder.path());
    let config = config.unwrap_or_else(|faults| panic!("{:#?}", faults.each()));
    assert_eq!(config.listeners.len(), 2);
    let seconds = Duration::from_secs;
    let one = &config.listeners[0].1;
    assert_eq!((one.size_octets_max, one.recipients_max, one.messages_max), (1 << 20, 200, 7));
    assert_eq!((one.newlines, one.mixed), (Newlines::Normalize, Mixed::Strictest));
    assert!(one.long_lines_refused && one.lenient_commands);
    assert_eq!(one.smtputf8, Offer::Always);
    assert_eq!((one.dsn, one.binarymime), (Offer::Never, Offer::WhenHonoured));
    assert_eq!((one.prdr, one.prdr_353_after), (false, seconds(3)));
    assert_eq!(one.tls.as_ref().map(|tls| tls.mode), Some(TlsMode::Required));
    let inside = |networks: &Networks, address: &str| networks.contain(address.parse().ok());
    assert!(inside(&one.normalized_from, "10.1.2.3") && !inside(&one.normalized_from, "10.2.0.1"));
    assert!(inside(&one.trust.proxy, "10.0.0.1") && !inside(&one.trust.proxy, "10.0.0.2"));
    assert!(inside(&one.trust.xclient, "127.9.9.9") && inside(&one.trust.xforward, "2001:db8::9"));
    assert!(inside(&one.trust.resume, "10.0.0.2"));
    assert_eq!((one.resume, one.checkpoint, one.replay), (ResumeLevel::Partial, true, false));
    assert!(!one.early_talk_refused);
    assert_eq!(one.banner_pause, Duration::from_millis(1500));
    assert_eq!((one.idle_timeout, one.data_timeout), (seconds(60), seconds(120)));
    assert_eq!((one.data_rate_octets_per_s, one.write_stall_timeout), (1_000, seconds(30)));
    assert_eq!((one.progress_timeout, one.session_timeout), (seconds(600), seconds(3_600)));
    assert_eq!((one.handshake_timeout, one.scan_budget), (seconds(5), seconds(4)));
    assert_eq!(*one.own_authserv_ids, ["mx.example.net", "old.example.net"]);
    assert_eq!((one.errors_max, one.junk_max, one.unknown_recipients_max), (1, 2, 3));
    assert_eq!((one.connections_per_source, one.received_max), (0, 101));

    let [mail, archive] = &config.routes.routes[..] else { panic!("two routes") };
    assert!(matches!(mail.tls, HopTls::Required(_)) && matches!(archive.tls, HopTls::Implicit(_)));
    assert_eq!((mail.verify, archive.verify), (Verify::Callahead, Verify::Off));
    assert!(mail.xclient && !archive.xclient);
    let times = &mail.timeouts;
    assert_eq!((times.connect, times.command), (seconds(1), seconds(2)));
    assert_eq!((times.final_reply, times.verify), (seconds(3), seconds(4)));
    let ledger = config.ledger.as_ref().unwrap();
    assert_eq!((ledger.outcome_lifetime, ledger.replay_window), (seconds(86_400), seconds(3_600)));
    assert_eq!((ledger.confirmed_grace, ledger.partial_lifetime), (seconds(30), seconds(300)));
    assert_eq!((ledger.records_max, ledger.open_max), (1_000, 10));
    assert_eq!((ledger.octets_max, ledger.partial_octets), (1 << 30, 512 << 20));
    assert_eq!(ledger.partial_octets_client, 1 << 20);
    let files: Vec<_> = config.files.iter().map(|one| one.path.file_name().unwrap()).collect();
    assert!(files.is_sorted() && files.len() == 6, "{files:?}");
    let summary = postern::config::summary(&config);
    for words in [
        "TLS required, SMTPUTF8; when all next hops honour it: BINARYMIME",
        "XCLIENT taken from 127.0.0.0/8",
        "mail: LMTP to 10.0.0.5:24, then 10.0.0.6:24, TLS required, known by ca ca.pem as store",
        "known by key 00112233445566778899aabbccddeeff00",
        "example.net: a list of 6 recipients",
        "user+tag is user",
    ] {
        assert!(summary.contains(words), "{words} is not in\n{summary}");
    }
}

#[test]
fn recipients_of_a_shared_list_are_those_of_their_domains() {
    let folder = folder_of_everything();
    let config = Config::parse(EVERYTHING, "all.toml", folder.path()).unwrap();
    let (mail, archive) = (Some(0), Some(1));
    let table = [
        ("alice@example.net", mail),
        ("ALICE@EXAMPLE.NET", mail),
        ("alice@example.org", mail),
        ("alice+tag@example.net", mail),
        ("\"odd one\"@example.net", mail),
        ("\"alice\"@example.net", mail),
        ("sales@example.net", archive),
        ("sales+q1@example.net", archive),
        ("sales@example.org", archive),
        ("bob@example.org", mail),
        ("bob@example.net", None),
        ("eve@example.org", archive),
        ("eve@example.net", None),
        ("news+monday@example.net", mail),
        ("news@example.net", None),
        ("postmaster@example.net", mail),
        ("a@list.example", archive),
        ("b@list.example", mail),
        ("cc@list.example", archive),
        ("d@list.example", None),
        ("a@other.example", None),
    ];
    for (address, expected) in table {
        let mailbox = Mailbox::read(address.as_bytes()).unwrap();
        let route = match config.tables.policy.recipient(&mailbox) {
            Standing::Accepted { route, .. } => Some(route.index()),
            Standing::Refused(_) => None,
        };
        assert_eq!(route, expected, "{address}");
    }
}

/// All metrics, with those of a ledger.
fn metrics() -> String {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::start(LedgerSettings::new(folder.path())).unwrap();
    let shards = postern::control::render(&[], postern::control::ControlCounts::default());
    shards + &ledger_metrics(&ledger.handle().report())
}

/// Every metric is in the README, counters without what all of them begin and end with.
#[test]
fn the_readme_names_every_metric() {
    let readme = include_str!("../README.md");
    let text = metrics();
    let mut names = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE postern_")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let shown = match kind {
            "counter" => {
                let name = name.strip_suffix("_total").unwrap();
                format!("`{}`", name.strip_prefix("ledger_").unwrap_or(name))
            }
            _ => format!("`postern_{name}`"),
        };
        assert!(readme.contains(&shown), "README does not name {shown}");
        names += 1;
    }
    assert!(names >= 60, "{names}");
}

#[test]
fn the_readme_names_every_surface() {
    let readme = include_str!("../README.md");
    for surface in Surface::ALL.into_iter().filter(|surface| *surface != Surface::Field) {
        let name = format!("`{}`", surface.name());
        assert!(readme.contains(&name), "README does not name {name}");
    }
}

/// Every key that some table knows is in the README.
#[test]
fn the_readme_names_every_key() {
    let readme = include_str!("../README.md");
    let probes = [
        "zzzz = 1",
        "[listen.zzzz]\nzzzz = 1",
        "[listen.z]\ntrust = { zzzz = 1 }",
        "[listen.z]\ntls = { zzzz = 1 }",
        "[route.z]\nzzzz = 1\nto = \"lmtp://1.2.3.4:24\"",
        "[domain.z]\nzzzz = 1",
        "[class.z]\nzzzz = 1",
        "[class.z]\ndecide = { zzzz = 1 }",
        "[rule.z]\nzzzz = 1",
        "[ledger]\nzzzz = 1",
        "[admin]\nzzzz = 1",
    ];
    let mut keys = 0;
    for probe in probes {
        let faults = Config::parse(probe, "probe.toml", Path::new(".")).map(|_| ()).unwrap_err();
        let unknown = faults.each().iter().find(|fault| fault.line().contains("zzzz`"));
        let known = unknown.unwrap().help_text().split_once("known here: ").unwrap().1;
        for key in known.split(", ") {
            let named = [format!("`{key}`"), format!("`[{key}")];
            assert!(named.iter().any(|name| readme.contains(name)), "README does not name `{key}`");
            keys += 1;
        }
    }
    assert!(keys >= 80, "{keys}");
}

/// A folder with all that `deploy/postern.toml` names.
fn folder_of_deploy() -> TempDir {
    let folder = folder_of_everything();
    let path = |name: &str| folder.path().join(name);
    for name in ["tls", "patterns"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::rename(path("own.pem"), path("tls/fullchain.pem")).unwrap();
    std::fs::rename(path("own.key"), path("tls/key.pem")).unwrap();
    std::fs::rename(path("ca.pem"), path("tls/stores-ca.pem")).unwrap();
    std::fs::write(path("patterns/pills.txt"), "# words\ncheap pills\n").unwrap();
    std::fs::write(path("admin.token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::write(path("recipients.txt"), "alice\nsales -> archive\nbob@example.org\n").unwrap();
    folder
}

#[test]
fn the_configuration_for_deployment_is_good() {
    let folder = folder_of_deploy();
    let config = Config::parse(DEPLOY, "postern.toml", folder.path());
    let config = config.unwrap_or_else(|faults| panic!("{:#?}", faults.each()));
    let summary = postern::config::summary(&config);
    for words in
        ["mx on 0.0.0.0:25 and [::]:25, SMTP", "TLS offered, PRDR", "recipients are verified ahead"]
    {
        assert!(summary.contains(words), "{words} is not in\n{summary}");
    }
    assert!(config.warnings.is_empty() && config.certificate_expiry_unix_s.is_some());
}

/// Lists of signatures come from others: what is not taken of them is told, and the rest is taken.
#[test]
fn what_is_left_out_of_a_list_of_signatures_is_told() {
    let folder = TempDir::new().unwrap();
    let list = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    list("a.ndb", "# texts\nT.A:0:*:766961677261\nT.B:0:*:76??61\nT.C:1:*:7669\nT.D:0:9:7669\n");
    list("b.hsb", &format!("{}:3:T.E\n{}:*:T.F:73\n", "0f".repeat(32), "0f".repeat(20)));
    list("c.hdb", &format!("{}:3:T.G\r\n", "0f".repeat(16)));
    let rules: String = ["a.ndb", "b.hsb", "c.hdb"]
        .map(|name| format!("[rule.\"{name}\"]\nsignatures = \"file:{name}\"\n"))
        .concat();
    let text = format!("unpack = \"8MiB\"\n{EMBEDDED}\n{rules}");
    let config = Config::parse(&text, "postern.toml", folder.path());
    let config = config.unwrap_or_else(|faults| panic!("{:#?}", faults.each()));
    let file = folder.path().join("a.ndb").display().to_string();
    let left_out =
        format!("3 of 4 signatures in {file} are not taken, the first in line 3: it has");
    assert!(config.left_out[0].starts_with(&left_out), "{:?}", config.left_out);
    assert_eq!((config.left_out.len(), config.files.len()), (1, 3));
    let summary = postern::config::summary(&config);
    for words in [&left_out, " 3 digests of parts", " 8MiB of a message's archives are unpacked"] {
        assert!(summary.contains(words), "{words} is not in\n{summary}");
    }
}

/// Every name in the alert rules is one that is counted.
#[test]
fn alert_rules_name_metrics_that_there_are() {
    let rules = include_str!("../deploy/alerts.yml");
    let text = metrics();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = 0;
    for name in rules.split(|c| !is_name(c)).filter(|word| word.starts_with("postern_")) {
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(text.contains(&format!("# TYPE {family} ")), "{name}");
        names += 1;
    }
    assert!(names >= 10, "{names}");
}

/// Whatever is done to a good file, it is a configuration or has faults.
#[test]
fn a_damaged_configuration_never_panics() {
    let folder = folder_of_deploy();
    for good in [EMBEDDED, DEPLOY] {
        for cut in (0..good.len()).filter(|cut| good.is_char_boundary(*cut)) {
            let _ = Config::parse(&good[..cut], "cut.toml", folder.path());
        }
        // One octet in the place of each: signs that mean something in TOML, in turn.
        let signs = "\"'[]{}=.,#-+0x\n\\ \u{1}*@:/".chars();
        for ((at, old), sign) in good.char_indices().zip(signs.cycle()) {
            let damaged = format!("{}{sign}{}", &good[..at], &good[at + old.len_utf8()..]);
            let _ = Config::parse(&damaged, "damaged.toml", folder.path());
            let longer = format!("{}\u{fffd}{}", &good[..at], &good[at..]);
            let _ = Config::parse(&longer, "damaged.toml", folder.path());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A list of recipients of any octets is read or has faults, each in a line that there is.
    #[test]
    fn a_list_of_any_octets_is_read_or_told_line_by_line(
        octets in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'@'), Just(b'"'), Just(b'*'), 0x20..0x7fu8, any::<u8>()],
            0..400,
        ),
    ) {
        let folder = folder_of_deploy();
        std::fs::write(folder.path().join("recipients.txt"), &octets).unwrap();
        let lines = octets.split(|octet| *octet == b'\n').count();
        if let Err(faults) = Config::parse(DEPLOY, "postern.toml", folder.path()) {
            for fault in faults.each() {
                let line = fault.line();
                let place = line.split("recipients.txt:").nth(1).unwrap_or("");
                let number = place.split(':').next().and_then(|number| number.parse().ok());
                prop_assert!(number.is_some_and(|number: usize| number <= lines), "{line}");
            }
        }
    }
}
