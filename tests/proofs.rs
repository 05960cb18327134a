//! What the design promises, for any number of recipients and any cut of the octets: one scan, one
//! write, the same answers.

// The dialogue runner uses parts of its stages that the proofs do not.
#[allow(dead_code)]
mod dialogues_runner;

use dialogues_runner::installation::{Installation, SPAM, VIRUS, base_listener};
use dialogues_runner::memory::Memory;
use dialogues_runner::reply::{Inbox, Reply};
use dialogues_runner::sockets::{Client, Sockets};
use dialogues_runner::stage::{ConnectionId, Stage};
use postern::relay::Protocol;
use postern::scan::octets_fed;
use postern::session::Listener;
use proptest::prelude::*;
use proptest::sample::Index;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

/// Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);

const RECIPIENTS: [usize; 4] = [1, 10, 100, 1000];

// ---- one scan, one write --------------------------------------------------------------------

fn installation() -> Installation {
    Installation::with(&Listener { recipients_max: 1_000, ..base_listener() })
}

/// A client that has greeted.
struct Sender<'a> {
    stage: &'a mut dyn Stage,
    connection: ConnectionId,
    inbox: Inbox,
}

impl Sender<'_> {
    fn greeted(stage: &mut dyn Stage) -> Sender<'_> {
        let connection = stage.connect("lmtp", Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut client = Sender { stage, connection, inbox: Inbox::default() };
        client.write("LHLO client.example\r\n");
        client.replies(2);
        client
    }

    fn write(&mut self, text: &str) {
        self.stage.write(self.connection, text.as_bytes());
    }

    fn replies(&mut self, count: usize) -> Vec<Reply> {
        self.inbox.replies(self.stage, self.connection, count, PATIENCE)
    }

    /// Hands in the envelope of a message, up to the go-ahead.
    fn envelope(&mut self, names: &[String]) {
        let mut commands = "MAIL FROM:<a@client.example>\r\n".to_owned();
        for name in names {
            commands.push_str(&format!("RCPT TO:<{name}@example.net>\r\n"));
        }
        commands.push_str("DATA\r\n");
        self.write(&commands);
        let replies = self.replies(names.len() + 2);
        assert!(replies[..=names.len()].iter().all(|reply| reply.code == 250));
        assert_eq!(replies.last().map(|reply| reply.code), Some(354));
    }

    /// Hands in the content; gives the codes of the reply set, which must have come in one write.
    fn content(&mut self, text: &str, recipients: usize) -> Vec<u16> {
        self.write(&format!("Subject: x\r\n\r\n{text}\r\n.\r\n"));
        let replies = self.replies(recipients);
        self.inbox.in_one_write(recipients).unwrap();
        assert!(self.inbox.rest().is_empty());
        replies.iter().map(|reply| reply.code).collect()
    }
}

/// Recipients of three classes in turn, with the codes that they get for spam.
fn mixed_recipients(count: usize) -> (Vec<String>, Vec<u16>) {
    let recipient = |index: usize| match index % 3 {
        0 => (format!("ok{}", index % 99 + 1), 550),
        1 => (format!("lax{}", index % 9 + 1), 250),
        _ => (format!("defer{}", index % 9 + 1), 450),
    };
    (0..count).map(recipient).unzip()
}

fn one_scan_one_write(stage: &mut dyn Stage, recipients: usize) {
    let (names, codes) = mixed_recipients(recipients);
    let mut client = Sender::greeted(stage);
    client.envelope(&names);
    assert_eq!(client.content(SPAM, recipients), codes);
    assert_eq!(stage.scans(), 1, "{recipients} recipients");
}

#[test]
fn a_message_is_scanned_once_and_answered_in_one_send_effect() {
    for recipients in RECIPIENTS {
        let mut stage = Memory::start(&installation(), Protocol::Lmtp).unwrap();
        // All of the stage runs in this thread: a second look by any scanner would be counted.
        let fed_before = octets_fed();
        one_scan_one_write(&mut stage, recipients);
        let content = format!("Subject: x\r\n\r\n{SPAM}\r\n");
        assert_eq!(octets_fed() - fed_before, content.len() as u64, "{recipients} recipients");
    }
}

/// One write is one segment with data, as long as the set is smaller than the largest segment of
/// loopback, which all these are.
#[test]
fn over_sockets_a_message_is_scanned_once_and_answered_in_one_segment() {
    for recipients in RECIPIENTS {
        let mut stage = Sockets::start(&installation(), Protocol::Lmtp).unwrap();
        one_scan_one_write(&mut stage, recipients);
    }
}

/// Nothing goes to a next hop here, so that the shard's own count tells of the reply set alone.
#[test]
fn over_sockets_a_reply_set_is_one_send_operation() {
    for recipients in RECIPIENTS {
        let mut stage = Sockets::start(&installation(), Protocol::Lmtp).unwrap();
        stage.greeted(PATIENCE);
        let names: Vec<String> = (0..recipients).map(|n| format!("ok{}", n % 99 + 1)).collect();
        let mut client = Sender::greeted(&mut stage);
        client.envelope(&names);
        let Sender { connection, inbox, .. } = client;
        let before = stage.sends();
        let mut client = Sender { stage: &mut stage, connection, inbox };
        assert_eq!(client.content(SPAM, recipients), vec![550; recipients]);
        assert_eq!(stage.sends() - before, 1, "{recipients} recipients");
        assert_eq!(stage.scans(), 1, "{recipients} recipients");
    }
}

/// The gauge itself: small writes that follow each other look like one read, and are told apart.
#[test]
fn two_writes_in_one_read_are_two_segments() {
    for writes in [1, 2, 5] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_nodelay(true).unwrap();
        for _ in 0..writes {
            server.write_all(b"250 ok\r\n").unwrap();
        }
        // Loopback delivers within the call that sends: all is there.
        stream.set_nonblocking(true).unwrap();
        let mut client = Client::on(stream);
        client.read();
        assert_eq!(client.arrived.len(), 1);
        assert_eq!(client.arrived[0].segments, writes);
        let mut inbox = Inbox::default();
        client.arrived.drain(..).for_each(|arrived| inbox.push(arrived));
        while inbox.next().unwrap().is_some() {}
        assert_eq!(inbox.in_one_write(writes as usize).is_ok(), writes == 1);
    }
}

// ---- any cut --------------------------------------------------------------------------------

/// Contents up to their end marks.
fn contents() -> Vec<Vec<u8>> {
    let encoded = "WEpTKkM0SkRCUUFETjEuTlNCTjMqMklETkVOKkdUVUJFLVNUQU5EQVJELUFOVEktVUJFLVRFU1Qt\r\n\
                   RU1BSUwqQy4zNFg=\r\n";
    let multipart = format!(
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\n\r\n--b\r\n\r\n\
         text\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}--b--\r\n"
    );
    let long = format!("Subject: long\r\n\r\n{}\r\n", "y".repeat(998));
    let big = "Subject: big\r\n\r\n".to_owned() + &"0123456789 123456789\r\n".repeat(60);
    let texts = [
        "",
        "Subject: plain\r\n\r\ntext\r\n",
        "Subject: dots\r\n\r\n..one\r\n...two\r\n.x\r\na.\r\n..\r\n",
        "no header at all\r\n",
        &format!("Subject: spam\r\n\r\n{SPAM}\r\n"),
        &format!("Subject: both\r\n\r\n{VIRUS} {SPAM}\r\n"),
        "Subject: smuggled\r\n\r\na\n.\r\nMAIL FROM:<evil@client.example>\r\n",
        "Subject: cr\r\n\r\na\r.\rb\r\n.\r\r\nc\0\r\n",
        "Subject: \u{fc}\r\n\r\n\u{1f600}\r\n",
        &multipart,
        &long,
        &big,
    ];
    texts.iter().map(|text| [text.as_bytes(), b".\r\n"].concat()).collect()
}

/// All that a client writes to hand in one content and leave.
fn octets(listener: &str, content: &[u8]) -> Vec<u8> {
    let mut octets = match listener {
        "lmtp" => b"LHLO client.example\r\n".to_vec(),
        _ => b"EHLO client.example\r\n".to_vec(),
    };
    octets.extend(b"MAIL FROM:<a@client.example> BODY=8BITMIME\r\n");
    for name in ["ok1", "nouser", "lax1", "quar1", "defer1"] {
        octets.extend(format!("RCPT TO:<{name}@example.net>\r\n").bytes());
    }
    octets.extend(b"DATA\r\n");
    octets.extend(content);
    octets.extend(b"NOOP\r\nQUIT\r\n");
    octets
}

/// What became of a session: all that the server sent, and all that others got.
#[derive(Debug, PartialEq)]
struct Told {
    replies: String,
    delivered: Vec<Vec<Vec<u8>>>,
    quarantined: Vec<Vec<u8>>,
    scans: u64,
}

fn tell<'a>(listener: &str, pieces: impl Iterator<Item = &'a [u8]>) -> Told {
    // The tables are made once, as they take longer to compile than a session to run.
    static INSTALLATION: LazyLock<Installation> = LazyLock::new(|| {
        Installation::with(&Listener { size_octets_max: 1_100, ..base_listener() })
    });
    let mut stage = Memory::start(&INSTALLATION, Protocol::Lmtp).unwrap();
    let connection = stage.connect(listener, Ipv4Addr::LOCALHOST.into()).unwrap();
    for piece in pieces {
        stage.write(connection, piece);
    }
    let mut replies = Vec::new();
    while !stage.has_ended(connection) || replies.is_empty() {
        let arrived = stage.wait(connection, PATIENCE);
        assert!(!arrived.is_empty() || stage.has_ended(connection), "the server does not close");
        replies.extend(arrived.into_iter().flat_map(|arrived| arrived.octets));
    }
    replies.extend(stage.wait(connection, PATIENCE).into_iter().flat_map(|more| more.octets));
    let names = ["ok1", "nouser", "lax1", "quar1", "defer1"];
    Told {
        replies: String::from_utf8(replies).unwrap(),
        delivered: names.map(|name| stage.delivered(&format!("{name}@example.net"))).into(),
        quarantined: stage.quarantined("quar1@example.net"),
        scans: stage.scans(),
    }
}

#[test]
fn a_session_cut_at_every_octet_is_the_same_session() {
    for listener in ["smtp", "lmtp"] {
        for content in contents() {
            let octets = octets(listener, &content);
            let whole = tell(listener, std::iter::once(octets.as_slice()));
            assert!(whole.replies.contains("\r\n354 ") && whole.replies.contains("\r\n221 "));
            assert_eq!(tell(listener, octets.chunks(1)), whole);
            // Each place alone, too: a cut that a second one would heal.
            for at in 1..octets.len() {
                let (one, other) = octets.split_at(at);
                assert_eq!(tell(listener, [one, other].into_iter()), whole, "cut at {at}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_cut_at_random_is_the_same_session(
        lmtp: bool,
        content: Index,
        cuts in prop::collection::vec(any::<Index>(), 1..12),
    ) {
        let listener = if lmtp { "lmtp" } else { "smtp" };
        let octets = octets(listener, content.get::<Vec<u8>>(&contents()));
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len())).collect();
        places.extend([0, octets.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| &octets[pair[0]..pair[1]]);
        let whole = tell(listener, std::iter::once(octets.as_slice()));
        prop_assert_eq!(tell(listener, pieces), whole);
    }
}
