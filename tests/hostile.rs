//! Attacks that no dialogue can show: those that are many or large, or whose harm is memory.
//!
//! Each test is named after its row in the list of attacks. They run in the simulated world, in whose
//! thread all memory of the gateway is asked for: an allocator counts it.

// The dialogue runner is used in part.
#[allow(dead_code)]
mod dialogues_runner;

use dialogues_runner::installation::{Installation, base_listener};
use dialogues_runner::memory::Memory;
use dialogues_runner::reply::Inbox;
use dialogues_runner::stage::{ConnectionId, Stage};
use postern::now::{Now, Tick};
use postern::relay::{Board, Plan, Protocol};
use postern::session::{Ask, Client, Effect, Listener, ResumeLevel, Session, Shared, Sources};
use postern::tally::Tally;
use postern::wire::{Budget, Newlines};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

// ---- memory ---------------------------------------------------------------------------------

/// The system's allocator, which counts what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(octets: isize) {
    // A thread that is ending has no counters any more, and nothing that is measured.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + octets);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above; `pointer` came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most octets that this thread held beyond what it held at the beginning, and what it still
/// holds of them.
fn memory_of(work: impl FnOnce()) -> (usize, usize) {
    let before = HELD.get();
    MOST.set(before);
    work();
    let grown = |octets: isize| usize::try_from(octets - before).unwrap_or(0);
    (grown(MOST.get()), grown(HELD.get()))
}

// ---- a client -------------------------------------------------------------------------------

/// A client of the gateway in memory, which reads all that it is told.
struct Talk {
    stage: Memory,
    connection: ConnectionId,
    inbox: Inbox,
}

impl Talk {
    fn on(listener: &str, settings: &Listener) -> Talk {
        let mut stage = Memory::start(&Installation::with(settings), Protocol::Lmtp).unwrap();
        let connection = stage.connect(listener, Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut talk = Talk { stage, connection, inbox: Inbox::default() };
        assert_eq!(talk.codes(), [220]);
        talk
    }

    fn greeted(listener: &str, settings: &Listener) -> Talk {
        let mut talk = Talk::on(listener, settings);
        let verb = if listener == "lmtp" { "LHLO" } else { "EHLO" };
        assert_eq!(talk.say(format!("{verb} client.example\r\n")), [250]);
        talk
    }

    /// Writes; gives the codes of what comes at once. Each reply is checked for its form.
    fn say(&mut self, octets: impl AsRef<[u8]>) -> Vec<u16> {
        self.stage.write(self.connection, octets.as_ref());
        self.codes()
    }

    fn codes(&mut self) -> Vec<u16> {
        let mut codes = Vec::new();
        loop {
            for arrived in self.stage.wait(self.connection, Duration::ZERO) {
                self.inbox.push(arrived);
            }
            match self.inbox.next().unwrap() {
                Some(reply) => codes.push(reply.code),
                None => return codes,
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.stage.has_ended(self.connection)
    }

    fn delivered(&self, recipient: &str) -> usize {
        self.stage.delivered(recipient).len()
    }
}

/// No reply.
const NOTHING: [u16; 0] = [];

const PIECE: usize = 16 * 1024;
const MAIL: &str = "MAIL FROM:<a@client.example>\r\n";
const RCPT: &str = "RCPT TO:<ok1@example.net>\r\n";

// ---- A-11 -----------------------------------------------------------------------------------

// On a dual-stack listener the address of an IPv4 peer comes in its IPv6 form: it is the same peer.
#[test]
fn a_11_a_mapped_peer_is_trusted_as_itself_and_nobody_else_is() {
    let table = [("::ffff:127.0.0.1", 220), ("127.0.0.1", 220), ("::1", 550), ("192.0.2.1", 550)];
    for (from, code) in table {
        let installation = Installation::with(&base_listener());
        let mut stage = Memory::start(&installation, Protocol::Lmtp).unwrap();
        let from: IpAddr = from.parse().unwrap();
        let connection = stage.connect("smtp-xclient", from).unwrap();
        let mut talk = Talk { stage, connection, inbox: Inbox::default() };
        talk.codes();
        assert_eq!(talk.say("XCLIENT ADDR=203.0.113.9\r\n"), [code], "{from}");
    }
}

// ---- A-14 -----------------------------------------------------------------------------------

/// A next hop that takes more than CRLF for a line end: what it reads out of the octets of DATA.
///
/// It ends data on LF.LF, LF.CRLF and CR.CR as well, and reads on for commands behind it.
fn lenient_sink(wire: &[u8]) -> (usize, Vec<u8>) {
    // Every CR, LF and CRLF ends a line for it.
    let (mut messages, mut content, mut commands) = (0, Vec::new(), Vec::new());
    let (mut in_data, mut rest) = (true, wire);
    while !rest.is_empty() {
        let end = rest.iter().position(|octet| b"\r\n".contains(octet)).unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        rest = match behind {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => behind,
        };
        match (in_data, line) {
            (true, b".") => {
                messages += 1;
                in_data = false;
            }
            (true, _) => {
                content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
                content.extend_from_slice(b"\r\n");
            }
            (false, _) => commands.push(line.to_vec()),
        }
    }
    assert!(commands.is_empty(), "commands behind the message: {commands:?}");
    (messages, content)
}

/// What is to be handed on of a message, if it was accepted, and what the client was told.
fn handed_on(settings: &Listener, octets: &[u8], size: usize) -> (Option<Plan>, String) {
    let installation = Installation::with(settings);
    let now = Now { tick: Tick::START, unix_s: 0 };
    let shared = Shared {
        tables: Arc::clone(&installation.tables),
        budget: Budget::new(1 << 20),
        tally: Rc::new(Tally::default()),
        board: Board::new(2),
        sources: Sources::default(),
        ledger: None,
    };
    let session_id = "s".to_owned();
    let client =
        Client { address: None, port: None, session_id, seat: 1, listener: 0, place: None };
    let mut session = Session::new(Arc::clone(&installation.listeners[0]), shared, client, now);
    let (mut plan, mut told) = (None, Vec::new());
    for piece in octets.chunks(size) {
        session.receive(piece, now);
        while let Some(effect) = session.poll_effect() {
            match effect {
                Effect::Send(octets) => told.extend(octets),
                Effect::Ask(Ask::Relay(asked)) => plan = Some(asked),
                _ => {}
            }
        }
    }
    (plan, String::from_utf8(told).unwrap())
}

/// Content out of pieces that can be dangerous.
fn dangerous() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 12] = [
        b"\n",
        b"\n",
        b"\r\n",
        b"\r\n",
        b".",
        b".",
        b"\n.\n",
        b"\n.\r\n",
        b"..",
        b"a",
        b"MAIL FROM:<evil@client.example>",
        b"\r",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24)
        .prop_map(|pieces| pieces.concat())
}

fn normalizing() -> Listener {
    Listener { newlines: Newlines::Normalize, ..base_listener() }
}

/// Octets of the onward data: our lines on top, the message, the end mark.
fn onward(plan: &Plan) -> Vec<u8> {
    let body: Vec<u8> = plan.body.wire().flatten().copied().collect();
    [&plan.groups[0].prepend, &body, b".\r\n".as_slice()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    // Whatever comes in, the most lenient next hop sees one message and no command.
    #[test]
    fn a_14_a_lenient_next_hop_sees_one_message_by_data(content in dangerous(), size in 1..40usize) {
        let (mail, end) = ("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n", "\r\n.\r\n");
        let head = format!("{mail}{RCPT}DATA\r\n").into_bytes();
        let octets = [&head, b"Subject: x\r\n\r\n".as_slice(), &content, end.as_bytes()].concat();
        let (plan, told) = handed_on(&normalizing(), &octets, size);
        match plan {
            Some(plan) => {
                let (messages, seen) = lenient_sink(&onward(&plan));
                prop_assert_eq!(messages, 1);
                let meant: Vec<u8> = plan.body.content().flatten().copied().collect();
                prop_assert!(seen.ends_with(&meant), "{}", seen.escape_ascii());
            }
            None => prop_assert!(told.contains("\r\n550 5.5.2 "), "{}", told),
        }
    }

    #[test]
    fn a_14_a_lenient_next_hop_sees_one_message_by_bdat(
        content in dangerous(),
        cuts in prop::collection::vec(1..9usize, 1..6),
        size in 1..40usize,
    ) {
        let content = [b"Subject: x\r\n\r\n".as_slice(), &content].concat();
        let mut octets = format!("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n{RCPT}").into_bytes();
        let (mut rest, mut cuts) = (content.as_slice(), cuts.into_iter());
        while let Some(cut) = cuts.next().filter(|cut| *cut < rest.len()) {
            octets.extend(format!("BDAT {cut}\r\n").bytes().chain(rest[..cut].iter().copied()));
            rest = &rest[cut..];
        }
        octets.extend(format!("BDAT {} LAST\r\n", rest.len()).bytes().chain(rest.iter().copied()));
        let (plan, told) = handed_on(&normalizing(), &octets, size);
        match plan {
            Some(plan) => prop_assert_eq!(lenient_sink(&onward(&plan)).0, 1),
            None => prop_assert!(told.contains("\r\n550 5.5.2 "), "{}", told),
        }
    }
}

/// The gauge itself: the lenient next hop is deceived by what a gateway must not let through.
#[test]
fn a_14_the_lenient_next_hop_is_lenient() {
    for mark in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n"] {
        let wire = format!("a{mark}MAIL FROM:<evil@b.example>\r\n.\r\n");
        assert!(std::panic::catch_unwind(|| lenient_sink(wire.as_bytes())).is_err(), "{mark:?}");
    }
    assert_eq!(lenient_sink(b"..a\r\n..\r\n.\r\n"), (1, b".a\r\n.\r\n".to_vec()));
}

// ---- A-16 -----------------------------------------------------------------------------------

// Chunks without end that nobody is to get: their octets go by, whatever number was announced.
#[test]
fn a_16_chunks_without_end_are_dropped_in_constant_memory() {
    let unlimited = Listener { size_octets_max: 0, ..base_listener() };
    for number in ["9223372036854775807", "9223372036854775808", "99999999999999999999"] {
        let mut talk = Talk::greeted("smtp", &unlimited);
        assert_eq!(talk.say(format!("BDAT {number}\r\n")), NOTHING);
        let piece = b"RSET\r\nQUIT\r\nMAIL FROM:<>\r\n".repeat(PIECE / 27);
        let (most, _) = memory_of(|| {
            for _ in 0..1_000 {
                assert_eq!(talk.say(&piece), NOTHING);
            }
        });
        assert!(most < 8 * PIECE, "{most} octets for {number}");
        assert!(!talk.has_ended());
    }
}

// ---- A-19 -----------------------------------------------------------------------------------

#[test]
fn a_19_a_command_of_100_mib_costs_one_reply_and_no_memory() {
    let mut talk = Talk::greeted("smtp", &base_listener());
    let piece = vec![b'x'; PIECE];
    let (most, _) = memory_of(|| {
        let mut codes = Vec::new();
        for _ in 0..(100 << 20) / PIECE {
            codes.extend(talk.say(&piece));
        }
        assert_eq!(codes, [421]);
    });
    assert!(most < 8 * PIECE, "{most} octets");
    assert!(talk.has_ended());
    // Just below the bound it is one bad command, and the session goes on.
    let mut talk = Talk::greeted("smtp", &base_listener());
    let line = vec![b'x'; (1 << 20) - 2];
    for piece in line.chunks(PIECE) {
        assert_eq!(talk.say(piece), NOTHING);
    }
    assert_eq!(talk.say("\r\nNOOP\r\n"), [500, 250]);
}

// ---- A-21 -----------------------------------------------------------------------------------

const VALUES: [Option<&str>; 16] = [
    None,
    Some(""),
    Some("1"),
    Some("=1"),
    Some("1=1"),
    Some("12345678901234567890"),
    Some("123456789012345678901"),
    Some("-1"),
    Some("7BIT"),
    Some("8bitmime"),
    Some("FULL"),
    Some("hdrs"),
    Some("+41x"),
    Some("+0A"),
    Some("\t"),
    Some("\"=\""),
];

/// What MAIL answers to one parameter, by the letter of the RFCs. Blanks at the end of a line are
/// passed over.
fn expected(parameter: &str) -> u16 {
    let parameter = parameter.trim_end();
    let (keyword, value) = match parameter.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (parameter, None),
    };
    let well_formed = value.is_none_or(|value| {
        !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=')
    });
    let plain = keyword.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if parameter.is_empty() {
        return 250;
    }
    if !well_formed || !plain || keyword.is_empty() || keyword.starts_with('-') {
        return 501;
    }
    let digits = |value: &str| value.len() <= 20 && value.bytes().all(|it| it.is_ascii_digit());
    let good = match (keyword, value) {
        // 20 digits are a number, and one over the limit.
        ("SIZE", Some(value)) if digits(value) => return if value.len() > 6 { 552 } else { 250 },
        ("BODY", Some(value)) => ["7BIT", "8bitmime"].contains(&value),
        ("RET", Some(value)) => ["FULL", "hdrs"].contains(&value),
        ("ENVID", Some(value)) => value != "+0A",
        ("SMTPUTF8" | "PRDR", value) => value.is_none(),
        ("SIZE" | "BODY" | "RET" | "ENVID", _) => false,
        _ => return 555,
    };
    if good { 250 } else { 501 }
}

#[test]
fn a_21_parameters_are_answered_alike_in_every_cut() {
    let keywords =
        ["SIZE", "BODY", "RET", "ENVID", "SMTPUTF8", "PRDR", "AUTH", "X-1", "", "-X", "\"", "X\t"];
    let mut table = Vec::new();
    for (keyword, value) in keywords.iter().flat_map(|it| VALUES.map(|value| (*it, value))) {
        let parameter = match value {
            Some(value) => format!("{keyword}={value}"),
            None => keyword.to_string(),
        };
        let code = expected(&parameter);
        table.push((parameter, code));
    }
    let twice =
        ["SIZE=1 SIZE=1", "BODY=7BIT BODY=8BITMIME", "RET=FULL RET=FULL", "ENVID=a ENVID=a"];
    table.extend(twice.map(|parameters| (parameters.to_owned(), 501)));
    table.push(("SMTPUTF8 SMTPUTF8".to_owned(), 501));
    table.push(("X=1 ".repeat(500), 555));
    table.push(("SIZE=1 ".repeat(500), 501));
    assert!(table.len() >= 195);
    let settings =
        Listener { errors_max: 1_000, junk_max: 1_000, messages_max: 1_000, ..base_listener() };
    for size in [1, 7, 4_096] {
        let mut talk = Talk::greeted("smtp", &settings);
        for (parameter, code) in &table {
            let line = format!("MAIL FROM:<a@client.example> {parameter}\r\n");
            let pieces = line.as_bytes().chunks(size);
            let codes: Vec<u16> = pieces.flat_map(|piece| talk.say(piece)).collect();
            assert_eq!(codes, [*code], "{parameter:?} by {size}");
            assert_eq!(talk.say("RSET\r\n"), [250]);
        }
    }
}

// ---- A-22 -----------------------------------------------------------------------------------

/// What other protocols and broken clients begin with.
const SAMPLES: [&[u8]; 40] = [
    b"\xf0\x9f\x92\xa9",
    b"\xc3\xa9x",
    b"\xff\xff\xff\xff",
    b"\xed\xa0\x80x",
    b"\xc0\xafx",
    b"\xe2\x82\xacx",
    b"\xfe\xff\0E",
    b"\xff\xfeE\0",
    b"\xef\xbb\xbfE",
    b"\x16\x03\x01\0",
    b"\x16\x03\x03\x02",
    b"\x80\x2e\x01\x03",
    b"\x03\0\0\x13",
    b"\0\0\0\x85",
    b"\xfeSMB",
    b"\xffSMB",
    b"SSH-",
    b"PRI ",
    b"\x04\x01\0\x19",
    b"\x05\x01\0x",
    b"l\0\x0b\0",
    b"\x30\x0c\x02\x01",
    b"*1x$",
    b"\x10\x0cMQ",
    b"\x13Bit",
    b"\x01\0\0\0",
    b"BitT",
    b"<?xm",
    b"stat",
    b"\x1b[2J",
    b"\x7fELF",
    b"%PDF",
    b"GIF8",
    b"\x89PNG",
    b"\x1f\x8b\x08\0",
    b"PK\x03\x04",
    b"\xca\xfe\xba\xbe",
    b"\0asm",
    b"AMQP",
    b"\xff\xfb\x01\xff",
];

#[test]
fn a_22_first_octets_of_any_kind_are_one_bad_command() {
    let many = 10_000;
    let settings =
        Listener { errors_max: many, junk_max: many, messages_max: many, ..base_listener() };
    for size in [1, 100] {
        let mut talk = Talk::greeted("smtp", &settings);
        for sample in SAMPLES {
            for length in 1..=sample.len() {
                let line = [&sample[..length], b"\r\n"].concat();
                let codes: Vec<u16> = line.chunks(size).flat_map(|it| talk.say(it)).collect();
                assert_eq!(codes, [500], "{}", line.escape_ascii());
                // The same octets in the middle of what would be a command.
                let line = [b"MAIL FROM:<", &sample[..length], b"@b>\r\n"].concat();
                let codes: Vec<u16> = line.chunks(size).flat_map(|it| talk.say(it)).collect();
                assert!(matches!(codes[..], [250 | 500 | 501 | 553]), "{}", line.escape_ascii());
                assert_eq!(talk.say("RSET\r\nNOOP\r\nEHLO c.example\r\n").len(), 3);
            }
        }
        assert_eq!(talk.say("QUIT\r\n"), [221]);
    }
}

// ---- A-24 -----------------------------------------------------------------------------------

#[test]
fn a_24_ten_thousand_vrfy_have_a_hundred_replies() {
    let mut talk = Talk::greeted("smtp", &base_listener());
    let mut codes = Vec::new();
    for _ in 0..100 {
        codes.extend(talk.say("VRFY a\r\n".repeat(100)));
    }
    assert_eq!(codes, [vec![252; 99], vec![421]].concat());
    assert!(talk.has_ended());
}

// ---- A-31 -----------------------------------------------------------------------------------

#[test]
fn a_31_ten_thousand_recipients_are_a_hundred_and_cost_no_more() {
    for listener in ["smtp", "lmtp"] {
        let mut talk = Talk::greeted(listener, &base_listener());
        assert_eq!(talk.say(MAIL), [250]);
        assert_eq!(talk.say(RCPT.repeat(100)), [250; 100]);
        let (most, kept) = memory_of(|| {
            for _ in 0..99 {
                assert_eq!(talk.say(RCPT.repeat(100)), [452; 100]);
            }
        });
        // The inbox of the test keeps where each reply lay: 16 octets each, in a list that doubles.
        assert!(kept < 9_900 * 64, "{kept} octets are kept");
        assert!(most - kept < 16 * PIECE, "{most} octets");
        assert_eq!(talk.say("DATA\r\n"), [354]);
        let finals = if listener == "lmtp" { 100 } else { 1 };
        assert_eq!(talk.say("Subject: x\r\n\r\n.\r\n"), vec![250; finals]);
        let messages: Vec<_> =
            talk.stage.world.sinks().iter().flat_map(|sink| sink.kept.messages()).collect();
        let recipients: Vec<usize> =
            messages.iter().map(|message| message.recipients.len()).collect();
        assert_eq!(recipients, [100], "{listener}");
    }
}

// ---- A-33 -----------------------------------------------------------------------------------

// Good values go on as they came, still encoded: nothing that hides in them is ever decoded on the
// way.
#[test]
fn a_33_good_values_are_passed_on_encoded() {
    let mut talk = Talk::greeted("smtp", &base_listener());
    let mail = "MAIL FROM:<a@client.example> RET=HDRS ENVID=a+2B+3Db";
    assert_eq!(talk.say(format!("{mail}\r\n{RCPT}DATA\r\n")), [250, 250, 354]);
    assert_eq!(talk.say("Subject: x\r\n\r\n.\r\n"), [250]);
    let messages = talk.stage.world.sinks()[0].kept.messages();
    let line = String::from_utf8(messages[0].mail.clone()).unwrap();
    assert!(line.starts_with("MAIL FROM:<a@client.example>"), "{line}");
    assert!(line.contains(" ENVID=a+2B+3Db") && line.contains(" RET=HDRS"), "{line}");
}

// ---- A-34 -----------------------------------------------------------------------------------

/// Addresses out of pieces that have a meaning somewhere.
fn addresses() -> impl Strategy<Value = String> {
    let pieces = [
        "@",
        "@",
        "%",
        "!",
        "\"",
        "\"",
        "\\",
        ":",
        ",",
        ".",
        "[",
        "]",
        "<",
        ">",
        " ",
        "ok1",
        "lax1",
        "example.net",
        "example.net",
        "EXAMPLE.com",
        "evil.example",
        "127.0.0.1",
        "ok1@example.net",
        "@evil.example",
        "@x:",
        "postmaster",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..8)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    // No address, however it is written, leads to a domain that is not served.
    #[test]
    fn a_34_next_hops_see_served_domains_only(tried in prop::collection::vec(addresses(), 50)) {
        let many = 10_000;
        let settings =
            Listener { errors_max: many, unknown_recipients_max: many, ..base_listener() };
        let mut talk = Talk::greeted("lmtp", &settings);
        talk.say(format!("{MAIL}{RCPT}"));
        let taken = tried.iter().filter(|it| talk.say(format!("RCPT TO:<{it}>\r\n")) == [250]);
        let taken = taken.count();
        prop_assert_eq!(talk.say("DATA\r\nSubject: x\r\n\r\n.\r\n").len(), 2 + taken);
        for message in talk.stage.world.sinks()[0].kept.messages() {
            prop_assert_eq!(message.recipients.len(), 1 + taken);
            for recipient in message.recipients {
                let text = String::from_utf8(recipient).unwrap().to_ascii_lowercase();
                let served = text.ends_with("@example.net") || text.ends_with("@example.com");
                prop_assert!(served && text.matches('@').count() == 1, "{}", text);
            }
        }
    }
}

// ---- A-38 -----------------------------------------------------------------------------------

#[test]
fn a_38_what_is_too_big_is_read_on_in_constant_memory() {
    let mut talk = Talk::greeted("smtp", &base_listener());
    assert_eq!(talk.say(format!("{MAIL}{RCPT}DATA\r\n")), [250, 250, 354]);
    let piece = format!("{}\r\n", "x".repeat(98)).repeat(100);
    // 10 octets over the limit: from here on nothing is kept.
    for _ in 0..10 {
        assert_eq!(talk.say(&piece), NOTHING);
    }
    let full = HELD.get();
    assert_eq!(talk.say("01234567\r\n"), NOTHING);
    assert!(HELD.get() < full - 90_000, "what was kept is not given back");
    let (most, _) = memory_of(|| {
        // Up to twice the limit, and then far beyond it.
        for _ in 0..9 {
            assert_eq!(talk.say(&piece), NOTHING);
        }
        assert_eq!(talk.say(&piece[..9_990]), NOTHING);
        assert_eq!(talk.say("x"), [421]);
        for _ in 0..980 {
            assert_eq!(talk.say(&piece), NOTHING);
        }
    });
    assert!(most < 8 * PIECE, "{most} octets");
    assert!(talk.has_ended());
    assert_eq!(talk.delivered("ok1@example.net"), 0);
}

// ---- A-81 -----------------------------------------------------------------------------------

// Over 1,000 RESUMEs of a connection are too many, however they come; what is asked for is not kept.
#[test]
fn a_81_ten_thousand_resumes_are_a_thousand() {
    let listener = Listener { resume: ResumeLevel::Outcome, ..base_listener() };
    for group in [10_000, 100, 1] {
        let mut talk = Talk::greeted("smtp", &listener);
        let mut codes = Vec::new();
        let (most, _) = memory_of(|| {
            for first in (0..10_000).step_by(group) {
                let ids = first..first + group;
                let asked: String =
                    ids.map(|id| format!("RESUME <{id}@client.example>\r\n")).collect();
                codes.extend(talk.say(asked));
                if talk.has_ended() {
                    break;
                }
            }
        });
        assert_eq!(codes, [vec![355; 1_000], vec![421]].concat(), "in groups of {group}");
        assert!(talk.has_ended());
        assert!(most < 2 << 20, "{most} octets");
    }
}

// ---- A-01 -----------------------------------------------------------------------------------

#[test]
fn a_01_a_crowd_that_sends_an_octet_a_second_is_closed_at_the_end_of_its_window() {
    let mut stage = Memory::start(&Installation::with(&base_listener()), Protocol::Lmtp).unwrap();
    let crowd: Vec<ConnectionId> = (0..500u32)
        .map(|client| stage.connect("smtp", Ipv4Addr::from(0x0a00_0000 + client).into()).unwrap())
        .collect();
    for client in &crowd {
        stage.write(*client, format!("EHLO a\r\n{MAIL}{RCPT}DATA\r\n").as_bytes());
        while !stage.wait(*client, Duration::ZERO).is_empty() {}
    }
    // The window is a minute: one second before its end they are all there.
    for _ in 0..10 {
        crowd.iter().for_each(|client| stage.write(*client, b"xxxxxx"));
        stage.advance(Duration::from_millis(5_900));
    }
    assert!(crowd.iter().all(|client| !stage.has_ended(*client)));
    // Others are not hurt.
    let canary = stage.connect("smtp", Ipv4Addr::LOCALHOST.into()).unwrap();
    let message = format!("EHLO a\r\n{MAIL}{RCPT}DATA\r\n");
    stage.write(canary, message.as_bytes());
    stage.write(canary, b"Subject: canary\r\n\r\ntext\r\n.\r\n");
    let mut said = Vec::new();
    loop {
        let arrived = stage.wait(canary, Duration::ZERO);
        if arrived.is_empty() {
            break;
        }
        said.extend(arrived.into_iter().flat_map(|one| one.octets));
    }
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("\r\n250 2.6.0 "), "{said}");
    stage.advance(Duration::from_secs(2));
    for client in &crowd {
        let said: Vec<u8> =
            stage.wait(*client, Duration::ZERO).into_iter().flat_map(|one| one.octets).collect();
        assert!(said.starts_with(b"421 4.4.2 "), "{}", said.escape_ascii());
        stage.advance(Duration::ZERO);
        assert!(stage.has_ended(*client));
    }
}

// ---- A-65 -----------------------------------------------------------------------------------

#[test]
fn a_65_a_hundred_thousand_chunks_of_one_octet_are_a_message_of_that_size() {
    let mut talk = Talk::greeted("smtp", &base_listener());
    assert_eq!(talk.say(format!("{MAIL}{RCPT}")), [250, 250]);
    assert_eq!(talk.say("BDAT 14\r\nSubject: x\r\n\r\n"), [250]);
    let chunks = "BDAT 1\r\nx".repeat(1_000);
    let (most, kept) = memory_of(|| {
        for _ in 0..99 {
            assert_eq!(talk.say(&chunks), [250; 1_000]);
        }
    });
    // Again the places of 99,000 replies, in the test's own inbox.
    assert!(kept < 99_000 * (1 + 64), "{kept} octets are kept");
    assert!(most < 99_000 * (1 + 64) + 40 * PIECE, "{most} octets");
    assert_eq!(talk.say("BDAT 2 LAST\r\n\r\n"), [250]);
    let content = &talk.stage.delivered("ok1@example.net")[0];
    assert!(content.ends_with(&[vec![b'x'; 99_000], b"\r\n".to_vec()].concat()));
}
