//! Sessions alone, on a clock that is set by hand: what no dialogue can show.

use super::*;
use crate::policy::{
    Action, Class, ClassId, Domain, Line as PolicyLine, Pattern, Place, Policy, Recipients,
    RouteId, When,
};
use crate::relay::{Standing, Verification};
use crate::scan::{RuleSpec, Rules, Score, Surface, TagSet, Tags};
use crate::tls::ServerTls;
use proptest::prelude::*;
use std::time::Duration;

/// What a session is with: a client, whoever it asks, and time.
struct Lone {
    session: Session,
    tick: Tick,
    /// What was sent and not looked at.
    sent: Vec<u8>,
    /// The client takes what is sent.
    reads: bool,
    /// What was asked and not answered.
    asked: Option<Ask>,
    records: Vec<Record>,
    /// How the session has ended, as far as it has: each effect that ends something, in order.
    ended: Vec<&'static str>,
    tls_early: Option<Vec<u8>>,
}

impl Lone {
    fn on(listener: Listener) -> Lone {
        Lone::with(listener, Board::new(1), 64 << 20)
    }

    fn with(listener: Listener, board: Board, body_octets: u64) -> Lone {
        let shared = Shared {
            tables: Arc::new(tables()),
            budget: Budget::new(body_octets),
            tally: Rc::new(Tally::default()),
            board,
        };
        let client = Client {
            address: Some(IpAddr::from([192, 0, 2, 1])),
            port: Some(4711),
            session_id: "s1".to_owned(),
        };
        let tick = Tick::START;
        let mut lone = Lone {
            session: Session::new(Arc::new(listener), shared, client, now_at(tick)),
            tick,
            sent: Vec::new(),
            reads: true,
            asked: None,
            records: Vec::new(),
            ended: Vec::new(),
            tls_early: None,
        };
        lone.drain();
        lone
    }

    fn now(&self) -> Now {
        now_at(self.tick)
    }

    /// The client writes; gives the codes of all that it has been told since.
    fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        self.session.receive(octets.as_ref(), self.now());
        self.drain();
        self.codes()
    }

    /// Time passes, and what is due in it is done; gives the codes of what is told meanwhile.
    fn wait(&mut self, span: Duration) -> String {
        let until = self.tick + span;
        while let Some(due) = self.session.deadline().filter(|due| *due <= until) {
            self.tick = self.tick.max(due);
            self.session.timed_out(self.now());
            self.drain();
        }
        self.tick = until;
        self.codes()
    }

    /// One microsecond less than `limit` does nothing; the last one brings what is told.
    fn wait_just(&mut self, limit: Duration) -> String {
        let before = self.ended.len();
        assert_eq!(self.wait(limit - Duration::from_micros(1)), "", "too early");
        assert_eq!(self.ended.len(), before, "too early");
        self.wait(Duration::from_micros(1))
    }

    /// Whoever was asked says yes to everything.
    fn answer(&mut self) -> String {
        let answer = match self.asked.take() {
            Some(Ask::Relay(plan)) => {
                let recipients = plan.groups.iter().flat_map(|group| &group.recipients);
                Answer::Relayed(recipients.map(|at| (*at, Outcome::Delivered)).collect())
            }
            Some(Ask::Verify(_)) => Answer::Verified(Verification::Accepted),
            None => panic!("nothing was asked"),
        };
        self.session.answered(answer, self.now());
        self.drain();
        self.codes()
    }

    fn goes(&mut self, gone: Gone) {
        self.session.peer_closed(gone, self.now());
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Send(octets) => {
                    if self.reads {
                        self.session.sent(octets.len(), self.now());
                    }
                    self.sent.extend(octets);
                }
                Effect::Ask(ask) => assert!(self.asked.replace(ask).is_none(), "asked twice"),
                Effect::StartTls(early) => self.tls_early = Some(early),
                Effect::Record(record) => self.records.push(*record),
                Effect::ShutdownWrite => self.ended.push("shut"),
                Effect::Close => self.ended.push("close"),
                Effect::Abort => self.ended.push("abort"),
            }
        }
    }

    fn codes(&mut self) -> String {
        let text = String::from_utf8(std::mem::take(&mut self.sent)).unwrap();
        let last = text.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last.map(|line| &line[..3]).collect::<Vec<_>>().join(" ")
    }
}

fn now_at(tick: Tick) -> Now {
    Now { tick, unix_s: 1_795_507_200 + (tick.as_us() / 1_000_000) as i64 }
}

fn listener(protocol: Protocol) -> Listener {
    Listener { size_octets_max: 1_000, ..Listener::new("test", protocol, "mx.example.net") }
}

fn smtp() -> Listener {
    listener(Protocol::Smtp)
}

fn lmtp() -> Listener {
    listener(Protocol::Lmtp)
}

/// Certificates that no handshake of these tests looks at.
fn tls(mode: TlsMode) -> ListenerTls {
    ListenerTls { server: Arc::new(ServerTls {}), mode }
}

/// One domain, in which there is everybody but `nouser`; what holds `HOLD` is judged after 10 s.
fn tables() -> Tables {
    let mut tags = Tags::new();
    let hold = tags.intern("hold").unwrap();
    let rule = RuleSpec {
        name: "hold".to_owned(),
        literals: vec![b"HOLD".to_vec()],
        surfaces: vec![Surface::Raw],
        tag: "hold".to_owned(),
        score: Score::ZERO,
        observe: false,
    };
    let late = PolicyLine {
        when: When { tag: Some(Tags::SCAN_LATE), score: None },
        then: Action::Defer(Reply::new(451, 7, 1, "scan out of time")),
        add: None,
        place: Place::default(),
    };
    let domain = Domain {
        route: RouteId(0),
        recipients: Recipients::Any,
        class: ClassId(0),
        exceptions: vec![(Pattern::read("lax*"), ClassId(1))],
        refused: [(b"nouser".as_slice().into(), replies::NO_SUCH_MAILBOX)].into_iter().collect(),
    };
    let policy = Policy::new(
        [(b"example.net".as_slice().into(), domain)],
        b"example.net".as_slice().into(),
        vec![Class::new("standard", vec![late]), Class::new("lax", Vec::new())],
        &TagSet::default(),
        Score::ZERO,
    );
    let policy = policy.with_holds(vec![(hold, Duration::from_secs(10))]);
    Tables { policy, rules: Arc::new(Rules::compile(tags, &[rule]).unwrap()) }
}

const ENVELOPE: &str = "MAIL FROM:<a@client.example>\r\nRCPT TO:<u@example.net>\r\n";

// ---- the beginning --------------------------------------------------------------------------

// Who talks first is judged when the banner is due, not before; if it is let in, nothing that it
// said is lost and nothing waits for more.
#[test]
fn early_talk_is_judged_when_the_banner_is_due() {
    let pause = Duration::from_millis(300);
    for (refused, told) in [(true, "554"), (false, "220 250 250")] {
        let mut lone =
            Lone::on(Listener { banner_pause: pause, early_talk_refused: refused, ..smtp() });
        assert_eq!(lone.say("EHLO client.example\r\nNO"), "");
        assert_eq!(lone.say("OP\r\n"), "");
        assert_eq!(lone.wait_just(pause), told);
        assert_eq!(lone.ended.is_empty(), !refused);
    }
}

// ---- chunks ---------------------------------------------------------------------------------

// A client that sends an octet now and then must not live for ever by announcing each in a chunk of
// its own: what it sends is counted over all its chunks.
#[test]
fn chunks_of_one_octet_do_not_keep_a_slow_client_alive() {
    let mut lone = Lone::on(Listener { size_octets_max: 0, ..smtp() });
    lone.say("EHLO client.example\r\n");
    assert_eq!(lone.say(format!("{ENVELOPE}BDAT 2\r\nx")), "250 250");
    let mut told = String::new();
    while told.is_empty() && lone.tick < Tick::from_us(600_000_000) {
        told = lone.wait(Duration::from_secs(20));
        if told.is_empty() {
            assert_eq!(lone.say("xBDAT 2\r\nx"), "250");
        }
    }
    assert_eq!(told, "421");
    assert_eq!(lone.tick, Tick::from_us(60_000_000));
    // The time between chunks is not the client's: it may wait for the reply to each.
    let mut lone = Lone::on(Listener { size_octets_max: 0, ..smtp() });
    lone.say("EHLO client.example\r\n");
    lone.say(ENVELOPE);
    for _ in 0..10 {
        assert_eq!(lone.say("BDAT 1\r\nx"), "250");
        assert_eq!(lone.wait(Duration::from_secs(120)), "");
    }
}

// The memory for bodies is used up in the middle of a message: the client comes again, whichever of
// the replies it goes by.
#[test]
fn a_message_without_room_is_put_off_to_its_last_chunk() {
    let roomless = |listener: Listener, greeting: &str| {
        let mut lone = Lone::with(listener, Board::new(1), 16 * 1024);
        lone.say(greeting);
        lone
    };
    let chunk = format!("BDAT 20000\r\n{}", "x".repeat(20_000));
    let last = "BDAT 1 LAST\r\nx";
    let big = |listener| Listener { size_octets_max: 1 << 20, ..listener };
    let mut lone = roomless(big(smtp()), "EHLO client.example\r\n");
    assert_eq!(lone.say(format!("{ENVELOPE}{chunk}{chunk}{last}")), "250 250 452 452 452");
    let mut lone = roomless(big(lmtp()), "LHLO client.example\r\n");
    let again = "RCPT TO:<v@example.net>\r\n";
    let told = lone.say(format!("{ENVELOPE}{again}{chunk}{last}"));
    assert_eq!(told, "250 250 250 452 452 452");
    // What is refused for good stays so.
    let mut lone = roomless(smtp(), "EHLO client.example\r\n");
    let chunk = format!("BDAT 1500\r\n{}", "x".repeat(1_500));
    assert_eq!(lone.say(format!("{ENVELOPE}{chunk}{last}")), "250 250 552 503");
}

// RFC 2033 4.3: in LMTP a BDAT LAST without recipients has no reply. It is counted all the same, for
// what it is: before TLS where that is demanded a command that leads nowhere, otherwise an error.
#[test]
fn chunks_without_a_reply_are_counted() {
    let (errors_max, junk_max) = (3, 5);
    let bare = || Listener { errors_max, junk_max, ..lmtp() };
    let sealed = || Listener { tls: Some(tls(TlsMode::Required)), ..bare() };
    for (listener, most) in [(bare(), errors_max), (sealed(), junk_max)] {
        let mut lone = Lone::on(listener);
        lone.say("LHLO client.example\r\n");
        for count in 1..most {
            assert_eq!(lone.say("BDAT 6 LAST\r\nNOOP\r\n"), "", "{count} of {most}");
        }
        assert_eq!(lone.say("BDAT 6 LAST\r\nNOOP\r\n"), "421");
    }
}

// ---- who the client is ----------------------------------------------------------------------

// A port is told onward only together with the address that it belongs to.
#[test]
fn a_port_belongs_to_its_address() {
    let here = || Networks::new(vec!["192.0.2.0/24".parse().unwrap()]);
    let trust = Trust { xclient: here(), ..Trust::default() };
    let table = [
        ("", Some(4711)),
        ("XCLIENT NAME=real.example\r\n", Some(4711)),
        ("XCLIENT ADDR=198.51.100.1\r\n", None),
        ("XCLIENT ADDR=[UNAVAILABLE]\r\n", None),
        ("XCLIENT ADDR=198.51.100.1 PORT=25\r\n", Some(25)),
        ("XCLIENT PORT=[UNAVAILABLE]\r\n", None),
    ];
    for (command, port) in table {
        let mut lone = Lone::on(Listener { trust: trust.clone(), ..smtp() });
        lone.say(command);
        lone.say("EHLO client.example\r\n");
        lone.say(format!("{ENVELOPE}DATA\r\n"));
        lone.say("x\r\n.\r\n");
        let Some(Ask::Relay(plan)) = &lone.asked else { panic!("{command}") };
        assert_eq!(plan.envelope.origin.port, port, "{command}");
    }
}

// ---- the end --------------------------------------------------------------------------------

/// A way to end: what was said before, and what then happens.
struct Ending {
    listener: Listener,
    said: String,
    then: Then,
    /// What the one record must tell; `None` for an end that deserves no record.
    why: Option<&'static str>,
    /// The record is one of a message.
    of_message: bool,
}

#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Goes(Gone),
    /// Nothing more comes.
    Silence,
    /// The client takes nothing of what it was told.
    NotRead,
    Drained,
}

impl Ending {
    fn of(listener: Listener, said: impl Into<String>, then: Then) -> Ending {
        Ending { listener, said: said.into(), then, why: None, of_message: false }
    }

    fn closed(self, why: &'static str) -> Ending {
        Ending { why: Some(why), ..self }
    }

    fn lost(self, why: &'static str) -> Ending {
        Ending { why: Some(why), of_message: true, ..self }
    }
}

fn bad_endings() -> Vec<Ending> {
    let ehlo = |rest: &str| format!("EHLO client.example\r\n{rest}");
    let mail = |rest: &str| ehlo(&format!("{ENVELOPE}{rest}"));
    let on = |said: String, then| Ending::of(smtp(), said, then);
    let proxied = || {
        let proxy = Networks::new(vec!["192.0.2.0/24".parse().unwrap()]);
        Listener { trust: Trust { proxy, ..Trust::default() }, ..smtp() }
    };
    let sealed = |mode| Listener { tls: Some(tls(mode)), ..smtp() };
    let few = || Listener {
        errors_max: 2,
        junk_max: 2,
        unknown_recipients_max: 2,
        messages_max: 1,
        ..smtp()
    };
    let paused = || Listener { banner_pause: Duration::from_secs(1), ..smtp() };
    let (fin, rst) = (Then::Goes(Gone::HalfClosed), Then::Goes(Gone::Lost));
    let end = Then::Nothing;
    let (unknown, foreign) = ("RCPT TO:<nouser@example.net>\r\n", "GET / HTTP/1.1\r\n");
    let fill = "x".repeat(2_001);
    vec![
        Ending::of(paused(), "EHLO x\r\n", Then::Silence).closed("before the banner"),
        Ending::of(proxied(), "EHLO x\r\n", end).closed("no PROXY header"),
        Ending::of(proxied(), "PROXY TCP4 x\r\n", end).closed("bad PROXY line"),
        Ending::of(proxied(), "", Then::Silence).closed("no PROXY header came"),
        Ending::of(proxied(), "PROXY TCP4 1", Then::Silence).closed("no PROXY header came"),
        Ending::of(proxied(), "PROXY TCP4 1", fin).closed("in a PROXY header"),
        Ending::of(sealed(TlsMode::Implicit), "", Then::Silence).closed("handshake took too long"),
        Ending::of(sealed(TlsMode::Implicit), "", rst).closed("in the TLS handshake"),
        Ending::of(sealed(TlsMode::Offered), "STARTTLS\r\n", fin).closed("in the TLS handshake"),
        Ending::of(sealed(TlsMode::Offered), "STARTTLS\r\nRSET\r\n", end).closed("behind STARTTLS"),
        on(String::new(), Then::Silence).closed("timeout"),
        on(mail(""), Then::Silence).closed("timeout"),
        on(mail("BDAT 1\r\nx"), Then::Silence).lost("timeout"),
        on(mail("BDAT 2\r\nx"), Then::Silence).lost("timeout"),
        on(mail("DATA\r\nx"), Then::Silence).lost("timeout"),
        on(ehlo("BDAT 9\r\nx"), Then::Silence).closed("timeout"),
        on(mail("DATA\r\nx"), fin).lost("connection was lost"),
        on(mail("DATA\r\nx"), rst).lost("connection was lost"),
        on(mail("DATA\r\nHOLD\r\n.\r\n"), rst).lost("connection was lost"),
        on(mail("BDAT 2\r\nx"), fin).lost("connection was lost"),
        on(mail("BDAT 1\r\nx"), rst).lost("connection was lost"),
        on(ehlo("BDAT 9\r\nx"), fin).closed("lost in a chunk"),
        on(mail(""), fin).closed("lost in a transaction"),
        on(ehlo("MAIL FROM:<>\r\n"), rst).closed("lost in a transaction"),
        Ending::of(few(), ehlo("X\r\nX\r\n"), end).closed("too many errors"),
        Ending::of(few(), ehlo("NOOP\r\nNOOP\r\n"), end).closed("without progress"),
        Ending::of(few(), mail(unknown).to_owned() + unknown, end).closed("unknown recipients"),
        Ending::of(few(), mail("RSET\r\nMAIL FROM:<>\r\n"), end).closed("too many messages"),
        on("x".repeat(2 << 20), end).closed("without end"),
        on(ehlo(foreign), end).closed("not SMTP"),
        on(mail("BDAT x\r\n"), end).closed("bad BDAT"),
        on(mail("BDAT 1\r\nxBDAT x\r\n"), end).lost("bad BDAT"),
        on(mail("BDAT 2001\r\n"), end).closed("far too big"),
        on(mail("BDAT 1001\r\n").to_owned() + &fill[..1_001] + "BDAT 1000\r\n", end)
            .lost("far too big"),
        on(mail("DATA\r\n").to_owned() + &fill, end).lost("far too big"),
        on(ehlo("DATA\r\nx\r\n.\r\n"), end).closed("without a go-ahead"),
        on(ehlo(""), Then::NotRead).closed("takes no octets"),
        on(mail("DATA\r\nx"), Then::NotRead).lost("takes no octets"),
        on(mail("DATA\r\nx\r\n.\r\n"), Then::NotRead).closed("takes no octets"),
        on(ehlo(""), Then::Drained).closed("shutting down"),
        on(mail(""), Then::Drained).closed("shutting down"),
    ]
}

fn good_endings() -> Vec<Ending> {
    let proxied = || {
        let proxy = Networks::new(vec!["192.0.2.0/24".parse().unwrap()]);
        Listener { trust: Trust { proxy, ..Trust::default() }, ..smtp() }
    };
    let (fin, rst) = (Then::Goes(Gone::HalfClosed), Then::Goes(Gone::Lost));
    vec![
        Ending::of(smtp(), "", fin),
        Ending::of(smtp(), "EHLO client.example\r\n", rst),
        Ending::of(smtp(), "EHLO client.example\r\nQUIT\r\n", Then::Silence),
        Ending::of(smtp(), format!("EHLO x\r\n{ENVELOPE}QUIT\r\n"), fin),
        Ending::of(proxied(), "", fin),
        Ending::of(proxied(), "PROXY UNKNOWN\r\n", rst),
    ]
}

/// Whatever ends a session badly leaves one record, which says what and from where.
#[test]
fn a_bad_end_leaves_one_record_and_a_good_one_none() {
    for ending in bad_endings().into_iter().chain(good_endings()) {
        let Ending { listener, said, then, why, of_message } = ending;
        let shown: String = said.escape_debug().take(100).collect();
        // The clock of the write stall shall be the one that runs out.
        let patient = matches!(then, Then::NotRead);
        let mut lone = Lone::on(match patient {
            true => Listener { data_rate_octets_per_s: 0, ..listener },
            false => listener,
        });
        lone.reads = !patient;
        for piece in said.as_bytes().chunks(16 * 1024) {
            lone.say(piece);
        }
        match then {
            Then::Nothing => assert!(!lone.ended.is_empty(), "{shown}: it goes on"),
            Then::Goes(gone) => lone.goes(gone),
            Then::Silence | Then::NotRead => _ = lone.wait(Duration::from_secs(301)),
            Then::Drained => {
                lone.session.drain(lone.now());
                lone.drain();
            }
        }
        // What the relay has begun goes on to its end, and is told by a record of its own.
        if lone.asked.is_some() {
            lone.answer();
        }
        lone.wait(Duration::from_secs(301));
        lone.goes(Gone::Lost);
        assert!(lone.session.is_over(), "{shown}: it is not over");
        assert!(lone.session.deadline().is_none(), "{shown}");
        let bad: Vec<&Record> = lone.records.iter().filter(|one| one.end != End::Replied).collect();
        match (why, bad.as_slice()) {
            (None, []) => {}
            (Some(why), [record]) => {
                let (text, lost) = match &record.end {
                    End::Lost(text) => (text, true),
                    End::Closed(text) => (text, false),
                    End::Replied => unreachable!("filtered"),
                };
                assert!(text.contains(why), "{shown}: {text}, not {why}");
                assert_eq!(lost, of_message, "{shown}");
                assert_eq!(record.client, Some(IpAddr::from([192, 0, 2, 1])), "{shown}");
                assert_eq!(record.listener, "test");
                assert!(record.id.starts_with("s1"), "{shown}: {}", record.id);
            }
            (_, records) => panic!("{shown}: {} records: {records:#?}", records.len()),
        }
    }
}

// What waited behind a message is not run any more when the client is given up for taking nothing of
// its replies, though the message is brought to its end.
#[test]
fn a_client_that_is_given_up_is_not_obeyed_any_more() {
    let mut lone = Lone::on(smtp());
    lone.say("EHLO client.example\r\n");
    lone.reads = false;
    lone.say(format!("{ENVELOPE}DATA\r\n"));
    lone.say("x\r\n.\r\n");
    lone.say("MAIL FROM:<b@client.example>\r\n");
    lone.wait(Duration::from_secs(120));
    assert_eq!(lone.ended, ["abort"]);
    lone.answer();
    assert_eq!(lone.ended, ["abort", "close"]);
    let ends: Vec<&End> = lone.records.iter().map(|record| &record.end).collect();
    assert!(matches!(ends[..], [End::Closed(_), End::Replied]), "{ends:?}");
}

// A client that does not even take its last reply has one record of its end, not two.
#[test]
fn an_end_that_is_not_read_is_noted_once() {
    let mut lone = Lone::on(Listener { errors_max: 1, ..smtp() });
    lone.say("EHLO client.example\r\n");
    lone.reads = false;
    lone.say("NOOP\r\n");
    lone.wait(Duration::from_secs(119));
    lone.say("WHAT\r\n");
    lone.wait(Duration::from_secs(1));
    assert_eq!(lone.ended, ["shut", "abort", "close"]);
    assert_eq!(lone.records.len(), 1);
}

// ---- guesses --------------------------------------------------------------------------------

// the 50th unknown recipient of a connection closes it; one miss among ten hits is no guess.
#[test]
fn a_32_who_guesses_names_is_cut_off_and_whose_list_is_stale_is_not() {
    let mut lone = Lone::on(Listener { junk_max: 10_000, ..smtp() });
    lone.say("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n");
    for _ in 1..50 {
        assert_eq!(lone.say("RCPT TO:<nouser@example.net>\r\n"), "550");
    }
    assert_eq!(lone.say("RCPT TO:<nouser@example.net>\r\n"), "421");
    let mut lone = Lone::on(Listener { junk_max: 10_000, ..smtp() });
    lone.say("EHLO client.example\r\n");
    let (hit, miss) = ("RCPT TO:<u@example.net>\r\n", "RCPT TO:<nouser@example.net>\r\n");
    let envelope =
        format!("MAIL FROM:<a@client.example>\r\n{}{}RSET\r\n", hit.repeat(48), miss.repeat(2));
    let told = format!("250{} 550 550 250", " 250".repeat(48));
    for _ in 0..200 {
        assert_eq!(lone.say(&envelope), told);
    }
    // What was earned is used up at last.
    assert_eq!(lone.say("MAIL FROM:<a@client.example>\r\n"), "250");
    let misses = (1..).take_while(|_| lone.say(miss) == "550").count();
    assert_eq!(misses as u32 + 1, 200 * 48 / 10 - 400);
}

// ---- anything in any order ------------------------------------------------------------------

/// Something that happens to a session.
#[derive(Clone, Debug)]
enum Event {
    Says(&'static str),
    Passes(Duration),
    Answered,
    TakesNothing,
    Goes(Gone),
    Drained,
    Secured,
}

fn events() -> impl Strategy<Value = Event> {
    let said = prop::sample::select(vec![
        "EHLO c.example\r\n",
        "LHLO c.example\r\n",
        "HELO c.example\r\n",
        "MAIL FROM:<a@b.example> PRDR\r\n",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME SIZE=1\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "MAIL FROM:<a@b.example> SIZE=99999\r\n",
        "RCPT TO:<u@example.net>\r\n",
        "RCPT TO:<lax1@example.net>\r\n",
        "RCPT TO:<nouser@example.net>\r\n",
        "DATA\r\n",
        "DATA",
        "\r\n.\r\n",
        "HOLD\r\n.\r\n",
        "BDAT 6\r\n",
        "BDAT 6 LAST\r\n",
        "BDAT 0 LAST\r\n",
        "BDAT 1500\r\n",
        "BDAT x\r\n",
        "HOLD\r\n",
        "\n\n\n\n\n\n",
        "RSET\r\n",
        "NOOP\r\n",
        "STARTTLS\r\n",
        "XCLIENT ADDR=192.0.2.7\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\n",
        "\0\r\n",
        "Subject: x\r\n",
        "VRFY x\r\nVRFY y\r\n",
        "QUIT\r\n",
        "x",
    ]);
    let span = prop::sample::select(vec![1u64, 4_999_999, 10_000_000, 20_000_000, 120_000_000]);
    prop_oneof![
        20 => said.prop_map(Event::Says),
        3 => span.prop_map(|us| Event::Passes(Duration::from_micros(us))),
        3 => Just(Event::Answered),
        2 => Just(Event::Secured),
        1 => Just(Event::TakesNothing),
        1 => prop_oneof![Just(Gone::HalfClosed), Just(Gone::Lost)].prop_map(Event::Goes),
        1 => Just(Event::Drained),
    ]
}

/// Listeners with low limits, so that they are met.
fn listeners() -> impl Strategy<Value = Listener> {
    let modes = prop::sample::select(vec![
        None,
        Some(TlsMode::Offered),
        Some(TlsMode::Required),
        Some(TlsMode::Implicit),
    ]);
    let switches = prop::array::uniform6(any::<bool>());
    (modes, switches).prop_map(|(mode, [lmtp, proxy, peer, early, normalize, small])| {
        let here = |on| match on {
            true => Networks::new(vec!["192.0.2.0/24".parse().unwrap()]),
            false => Networks::default(),
        };
        Listener {
            size_octets_max: if small { 1_000 } else { 0 },
            recipients_max: 3,
            messages_max: 4,
            errors_max: 5,
            junk_max: 5,
            unknown_recipients_max: 3,
            scan_budget: Duration::from_secs(if small { 5 } else { 30 }),
            binarymime: Offer::Always,
            newlines: if normalize { Newlines::Normalize } else { Newlines::Reject },
            banner_pause: Duration::from_secs(u64::from(early)),
            early_talk_refused: small,
            tls: mode.map(tls),
            trust: Trust { proxy: here(proxy), xclient: here(peer), xforward: here(peer) },
            ..listener(if lmtp { Protocol::Lmtp } else { Protocol::Smtp })
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4_000, ..ProptestConfig::default() })]

    // The session's own invariants are checked at the end of each verb.
    #[test]
    fn anything_in_any_order_keeps_the_invariants_and_comes_to_an_end(
        listener in listeners(),
        asks_ahead: bool,
        little_room: bool,
        events in prop::collection::vec(events(), 1..60),
    ) {
        let board = Board::new(1);
        board.note(RouteId(0), Standing { asks_ahead, ..Standing::default() });
        let mut lone = Lone::with(listener, board, if little_room { 16 * 1024 } else { 1 << 20 });
        for event in events {
            match event {
                Event::Says(text) => _ = lone.say(text),
                Event::Passes(span) => _ = lone.wait(span),
                Event::Answered if lone.asked.is_some() => _ = lone.answer(),
                Event::Answered => {}
                Event::TakesNothing => lone.reads = false,
                Event::Goes(gone) => lone.goes(gone),
                Event::Drained => {
                    lone.session.drain(lone.now());
                    lone.drain();
                }
                Event::Secured if lone.tls_early.take().is_some() => {
                    lone.session.secured(TlsFacts::default(), lone.now());
                    lone.drain();
                }
                Event::Secured => {}
            }
        }
        // Left alone, with whoever was asked answering, it ends: each message that is still to come
        // may wait for its verdict, and then for the relay.
        lone.goes(Gone::HalfClosed);
        for _ in 0..20 {
            while lone.asked.is_some() {
                lone.answer();
            }
            lone.wait(Duration::from_secs(30 * 60));
        }
        prop_assert!(lone.session.is_over());
        prop_assert!(lone.records.iter().filter(|one| one.end != End::Replied).count() <= 1);
    }
}
