//! Every limit of time of a session, on the virtual clock: one microsecond before it nothing happens,
//! at the limit what must, and nothing that trickles in puts a total off.
//!
//! What needs a client that does not read, or TLS, is tested beside the session itself.

// The dialogue runner is used in part.
#[allow(dead_code)]
mod dialogues_runner;

use dialogues_runner::installation::{Installation, SPAM, base_listener};
use dialogues_runner::memory::Memory;
use dialogues_runner::reply::Inbox;
use dialogues_runner::stage::Stage;
use postern::limits::{
    DATA_RATE_DEFAULT, DATA_RATE_WINDOW, DATA_TIMEOUT_DEFAULT, IDLE_TIMEOUT_DEFAULT,
    PROGRESS_DEFAULT, PROXY_TIMEOUT,
};
use postern::relay::Protocol;
use postern::session::Listener;
use std::net::Ipv4Addr;
use std::time::Duration;

/// A wait, and what ends it.
struct Wait {
    listener: &'static str,
    settings: Listener,
    before: Vec<Do>,
    /// From the last of `before` on.
    limit: Duration,
    /// The codes that come at the limit.
    told: &'static [u16],
    /// The server ends the connection then.
    ends: bool,
}

#[derive(Clone)]
enum Do {
    Say(String),
    Pass(Duration),
}

const TICK: Duration = Duration::from_micros(1);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn say(text: impl Into<String>) -> Do {
    Do::Say(text.into())
}

/// The same words after each of so many pauses.
fn each(times: usize, pause: Duration, text: &str) -> Vec<Do> {
    vec![[Do::Pass(pause), say(text)]; times].concat()
}

impl Wait {
    fn check(&self, name: &str) {
        let installation = Installation::with(&self.settings);
        let mut stage = Memory::start(&installation, Protocol::Lmtp).unwrap();
        let connection = stage.connect(self.listener, Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut inbox = Inbox::default();
        let mut codes = |stage: &mut Memory| {
            let mut codes = Vec::new();
            loop {
                for arrived in stage.wait(connection, Duration::ZERO) {
                    inbox.push(arrived);
                }
                match inbox.next().unwrap() {
                    Some(reply) => codes.push(reply.code),
                    None => return codes,
                }
            }
        };
        for done in &self.before {
            match done {
                Do::Say(text) => stage.write(connection, text.as_bytes()),
                Do::Pass(span) => stage.advance(*span),
            }
        }
        let before = codes(&mut stage);
        assert!(!stage.has_ended(connection), "{name}: ended before, with {before:?}");
        stage.advance(self.limit - TICK);
        let early = codes(&mut stage);
        assert!(early.is_empty() && !stage.has_ended(connection), "{name}: too early, {early:?}");
        stage.advance(TICK);
        assert_eq!(codes(&mut stage), self.told, "{name}");
        assert_eq!(stage.has_ended(connection), self.ends, "{name}");
    }
}

const MAIL: &str = "MAIL FROM:<a@client.example>\r\n";
const RCPT: &str = "RCPT TO:<ok1@example.net>\r\n";
const MESSAGE: &str = "Subject: x\r\n\r\n.\r\n";

/// EHLO, and what follows it.
fn greeted(rest: &str) -> String {
    format!("EHLO client.example\r\n{rest}")
}

fn in_envelope(rest: &str) -> String {
    greeted(&format!("{MAIL}{RCPT}{rest}"))
}

fn wait(before: Vec<Do>, limit: Duration) -> Wait {
    let settings = base_listener();
    Wait { listener: "smtp", settings, before, limit, told: &[421], ends: true }
}

fn without_rate() -> Listener {
    Listener { data_rate_octets_per_s: 0, ..base_listener() }
}

// RFC 5321 4.5.3.2.7: a server should wait for at least 5 minutes for the next command.
#[test]
fn a_command_is_waited_for_in_every_state() {
    let limit = IDLE_TIMEOUT_DEFAULT;
    let table = [
        ("after the banner", vec![]),
        ("after a greeting", vec![Do::Pass(s(10)), say(greeted(""))]),
        ("after a refused command", vec![Do::Pass(s(299)), say("WIBBLE\r\n")]),
        ("after MAIL", vec![say(greeted("")), Do::Pass(s(299)), say(MAIL)]),
        ("after RCPT", vec![say(greeted(MAIL)), Do::Pass(s(299)), say(RCPT)]),
        ("between chunks", vec![say(in_envelope("BDAT 1\r\nx"))]),
        ("after a failed chunk", vec![say(greeted(MAIL)), say("BDAT 1\r\nx")]),
        ("after an empty chunk", vec![say(in_envelope("")), Do::Pass(s(299)), say("BDAT 0\r\n")]),
        ("after a dropped chunk", vec![say("BDAT 5\r\n"), Do::Pass(s(1)), say("RSET\n")]),
        (
            "after a message",
            vec![say(in_envelope("DATA\r\n")), Do::Pass(s(10)), say(MESSAGE), Do::Pass(s(0))],
        ),
    ];
    for (name, before) in table {
        wait(before.clone(), limit).check(name);
        let settings = Listener { idle_timeout: s(900), ..base_listener() };
        Wait { settings, ..wait(before, s(900)) }.check(name);
    }
    // What is no whole line yet puts nothing off.
    let halves = [
        ("half a line", "NOO".to_owned()),
        ("a line that is too long", "x".repeat(5_000)),
        ("a bare LF", "NOOP\n".to_owned()),
    ];
    for (name, text) in halves {
        let trickle = each(29, s(10), "x");
        let before = [vec![say(greeted("")), say(text)], trickle].concat();
        wait(before, limit - s(290)).check(name);
    }
}

// RFC 5321 4.5.3.2.5: three minutes for each piece of the data.
#[test]
fn octets_of_a_message_are_waited_for_3_minutes() {
    let table = [
        ("DATA, nothing came", vec![say(in_envelope("DATA\r\n"))]),
        ("DATA", vec![say(in_envelope("DATA\r\n")), Do::Pass(s(179)), say("x")]),
        ("BDAT, nothing came", vec![say(in_envelope("BDAT 9\r\n"))]),
        ("BDAT", vec![say(in_envelope("BDAT 9\r\n")), Do::Pass(s(179)), say("x")]),
        (
            "BDAT, the second chunk",
            vec![say(in_envelope("BDAT 1\r\nx")), Do::Pass(s(299)), say("BDAT 9\r\n")],
        ),
        ("a chunk for nobody", vec![say(greeted("BDAT 9\r\n")), Do::Pass(s(179)), say("x")]),
    ];
    for (name, before) in table {
        Wait { settings: without_rate(), ..wait(before, DATA_TIMEOUT_DEFAULT) }.check(name);
    }
}

// A message must come with 256 octets a second, averaged over windows of 60 s.
#[test]
fn a_message_must_come_fast_enough() {
    let window = DATA_RATE_WINDOW;
    let enough = (DATA_RATE_DEFAULT * window.as_secs()) as usize;
    let octets = |count: usize| say("x".repeat(count));
    let data = || say(in_envelope("DATA\r\n"));
    let chunk = || say(in_envelope(&format!("BDAT {}\r\n", 2 * enough)));
    for (name, begin) in [("DATA", data as fn() -> Do), ("BDAT", || chunk_of(60_000))] {
        wait(vec![begin(), octets(enough - 1)], window).check(name);
        wait(vec![begin(), octets(enough)], 2 * window).check(name);
        // What comes within the window counts, whenever it does.
        let late = vec![begin(), Do::Pass(window - TICK), octets(enough)];
        wait(late, window + TICK).check(name);
        let trickle = [vec![begin()], each(59, s(1), "x")].concat();
        wait(trickle, s(1)).check(name);
    }
    // Over the edge of a chunk the window goes on; the pause between chunks belongs to nobody.
    let first = format!("BDAT {}\r\n{}", enough - 1, "x".repeat(enough - 1));
    let before = vec![say(in_envelope(&first)), Do::Pass(s(100)), say("BDAT 9\r\n")];
    wait(before, window).check("the window of the second chunk");
    let first = vec![chunk(), octets(enough), Do::Pass(s(59)), octets(enough)];
    let before = [first, vec![Do::Pass(s(100)), say("BDAT 9\r\n")]].concat();
    wait(before, s(1) + window).check("a second window that has begun in the first chunk");
}

fn chunk_of(octets: usize) -> Do {
    say(in_envelope(&format!("BDAT {octets}\r\n")))
}

// Half an hour without an accepted message, whatever else is said, ends a session: no trickle of
// commands, recipients, chunks or dropped octets puts it off.
#[test]
fn nobody_stays_without_a_message_for_more_than_half_an_hour() {
    let spoken = |begin: &str, text: &str| [vec![say(begin)], each(6, s(290), text)].concat();
    let left = PROGRESS_DEFAULT - 6 * s(290);
    let table = [
        ("commands", spoken(&greeted(""), "NOOP\r\n")),
        ("refused commands", spoken(&greeted(""), "WIBBLE\r\n")),
        ("transactions", spoken(&greeted(""), &format!("{MAIL}RSET\r\n"))),
        ("refused recipients", spoken(&greeted(MAIL), "RCPT TO:<nouser@example.net>\r\n")),
        ("recipients", spoken(&in_envelope(""), RCPT)),
        ("chunks", spoken(&in_envelope(""), "BDAT 1\r\nx")),
        ("messages that are refused", spoken(&greeted(""), &spam())),
        ("a chunk for nobody", [vec![say("BDAT 99\r\n")], each(12, s(145), "x")].concat()),
    ];
    for (name, before) in table {
        wait(before, left).check(name);
    }
    // An accepted message begins a new half hour.
    let message = [vec![say(in_envelope("DATA\r\n"))], each(1, s(50), MESSAGE)].concat();
    wait([message, each(6, s(290), "NOOP\r\n")].concat(), left).check("after a message");
}

fn spam() -> String {
    let message = format!("Subject: {SPAM}\r\n");
    format!("{MAIL}{RCPT}BDAT {} LAST\r\n{message}", message.len())
}

// The life of a connection is bounded however much mail it brings; only a message that is coming is
// brought to its end.
#[test]
fn a_connection_has_a_longest_life() {
    let settings = || Listener { session_timeout: s(1_000), ..base_listener() };
    let message = format!("{MAIL}{RCPT}BDAT 14 LAST\r\nSubject: x\r\n\r\n");
    let busy = || [vec![say(greeted(""))], each(4, s(240), &message)].concat();
    Wait { settings: settings(), ..wait(busy(), s(40)) }.check("with messages");
    let begun = [busy(), vec![say(format!("{MAIL}{RCPT}DATA\r\n")), Do::Pass(s(50))]].concat();
    let settings = settings();
    let mut stage = Memory::start(&Installation::with(&settings), Protocol::Lmtp).unwrap();
    let connection = stage.connect("smtp", Ipv4Addr::LOCALHOST.into()).unwrap();
    for done in begun {
        match done {
            Do::Say(text) => stage.write(connection, text.as_bytes()),
            Do::Pass(span) => stage.advance(span),
        }
    }
    assert!(!stage.has_ended(connection));
    stage.write(connection, MESSAGE.as_bytes());
    let octets: Vec<u8> =
        stage.wait(connection, TICK).into_iter().flat_map(|it| it.octets).collect();
    let told = String::from_utf8(octets).unwrap();
    assert!(told.trim_end().ends_with("421 4.4.2 timeout, closing"), "{told}");
    assert_eq!(stage.delivered("ok1@example.net").len(), 5);
}

// A-08: 5 s for the whole header, not for each octet, and then no word.
#[test]
fn a_08_a_proxy_header_is_waited_for_5_s_in_all() {
    let header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r";
    let table = [
        ("nothing", vec![]),
        ("one octet", vec![Do::Pass(s(4)), say("P")]),
        ("an octet a second", ["P", "R", "O", "X"].map(|it| each(1, s(1), it)).concat()),
        ("all but one octet", vec![Do::Pass(s(4)), say(header)]),
        ("a long header of which little comes", vec![say("\r\n\r\n\0\r\nQUIT\n")]),
    ];
    for (name, before) in table {
        let spent: Duration =
            before.iter().map(|it| if let Do::Pass(span) = it { *span } else { s(0) }).sum();
        let limit = PROXY_TIMEOUT - spent;
        Wait { listener: "smtp-proxy", told: &[], ..wait(before, limit) }.check(name);
    }
    // A header that comes just in time is one.
    let before = vec![say(header), Do::Pass(PROXY_TIMEOUT - TICK), say("\n")];
    Wait { listener: "smtp-proxy", ..wait(before, IDLE_TIMEOUT_DEFAULT) }.check("just in time");
}

#[test]
fn the_banner_comes_when_it_is_due() {
    let paused =
        |refused| Listener { banner_pause: s(3), early_talk_refused: refused, ..base_listener() };
    let (told, ends): (&[u16], bool) = (&[220], false);
    Wait { settings: paused(true), told, ends, ..wait(vec![], s(3)) }.check("silent");
    let before = || vec![Do::Pass(s(2)), say("NOOP\r\n")];
    let (told, ends): (&[u16], bool) = (&[220, 250], false);
    Wait { settings: paused(false), told, ends, ..wait(before(), s(1)) }.check("let in");
    let told: &[u16] = &[554];
    Wait { settings: paused(true), told, ..wait(before(), s(1)) }.check("early talk");
    // The wait for a command begins with the banner.
    let before = vec![Do::Pass(s(3))];
    Wait { settings: paused(true), ..wait(before, IDLE_TIMEOUT_DEFAULT) }.check("idle");
}

const SLOW: Duration = Duration::from_millis(1_500);

/// One message that holds `mark`, for these recipients.
fn marked(mail: &str, recipients: &[&str], mark: &str) -> Vec<Do> {
    let rcpt = |name: &&str| format!("RCPT TO:<{name}@example.net>\r\n");
    let envelope: String = recipients.iter().map(rcpt).collect();
    vec![
        say(greeted(&format!("{mail}{envelope}DATA\r\n"))),
        say(format!("Subject: x\r\n\r\nTEST*SCAN*DELAY*{mark}\r\n.\r\n")),
    ]
}

// A verdict that comes within the budget counts; one that is a microsecond late does not, and the
// class decides.
#[test]
fn a_verdict_has_a_budget() {
    let budget = |scan_budget| Listener { scan_budget, ..base_listener() };
    let table: [(&str, Duration, Duration, &[u16]); 5] = [
        ("ok1", SLOW, SLOW, &[250]),
        ("ok1", SLOW - TICK, SLOW - TICK, &[451]),
        ("defer1", s(1), s(1), &[451]),
        ("lax1", s(1), s(1), &[250]),
        ("quar1", s(1), s(1), &[250]),
    ];
    for (recipient, scan_budget, limit, told) in table {
        let before = marked(MAIL, &[recipient], "1500MS");
        let settings = budget(scan_budget);
        Wait { settings, told, ends: false, ..wait(before, limit) }.check(recipient);
    }
    // What the client says meanwhile changes nothing, and is answered behind.
    let before = [marked(MAIL, &["ok1"], "1500MS"), each(2, s(0), "NOOP\r\n")].concat();
    Wait { told: &[250, 250, 250], ends: false, ..wait(before, SLOW) }.check("pipelined");
}

// draft-hall-prdr-00 4.5.1: the 353 goes out before its lines when they are late, whatever they wait
// for.
#[test]
fn the_353_comes_by_the_clock() {
    let prdr = "MAIL FROM:<a@client.example> PRDR\r\n";
    let after = |prdr_353_after| Listener { prdr_353_after, ..base_listener() };
    let two = || marked(prdr, &["ok1", "ok2"], "6000MS");
    let (told, ends): (&[u16], bool) = (&[353], false);
    Wait { settings: after(s(2)), told, ends, ..wait(two(), s(2)) }.check("the verdict is late");
    let before = [two(), vec![Do::Pass(s(2))]].concat();
    let told: &[u16] = &[250, 250, 250];
    Wait { settings: after(s(2)), told, ends, ..wait(before, s(4)) }.check("the lines behind it");
    let told: &[u16] = &[250];
    let settings = after(s(6) + TICK);
    Wait { settings, told, ends, ..wait(two(), s(6)) }.check("the verdict is faster");
    // A single recipient has no block, however late.
    let before = marked(prdr, &["ok1"], "6000MS");
    Wait { settings: after(s(2)), told, ends, ..wait(before, s(6)) }.check("one recipient");
    // The next hop takes a second.
    let before = marked(prdr, &["slow1", "ok2"], "NOTHING");
    let half = Duration::from_millis(500);
    let told: &[u16] = &[353];
    Wait { settings: after(half), told, ends, ..wait(before, half) }.check("the next hop is late");
}
