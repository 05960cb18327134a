//! Sessions alone, on a clock that is set by hand: what no dialogue can show.

use super::*;
use crate::policy::{
    Action, Class, ClassId, Domain, Line as PolicyLine, LocalParts, Place, Policy, Recipients,
    RouteId, When,
};
use crate::relay::Verification;
use crate::scan::{RuleSpec, Rules, Score, Surface, TagSet, Tags};
use crate::tls::{Identity, Pem, ServerTls};
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
            ledger: None,
        };
        let client = Client {
            address: Some(IpAddr::from([192, 0, 2, 1])),
            port: Some(4711),
            session_id: "s1".to_owned(),
            seat: 1,
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
            Some(Ask::Ledger(_)) => panic!("there is no ledger"),
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
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["mx.example.net".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let identity = Identity {
        certificates: Pem { path: "cert.pem", octets: certificate.as_bytes() },
        key: Pem { path: "key.pem", octets: key.as_bytes() },
    };
    let server = ServerTls::from_pem(&[identity], None, 1_795_500_000).unwrap();
    ListenerTls { server: Arc::new(server), mode }
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
        plus: None,
        exceptions: LocalParts::of([("lax*", ClassId(1))]),
        refused: LocalParts::of([("nouser", replies::NO_SUCH_MAILBOX)]),
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
