//! Equal verdicts: the same message for the same recipients has the same fate for each of them,
//! whether it comes by LMTP, by PRDR or by plain SMTP, as DATA or as BDAT.
//!
//! With LMTP and PRDR every recipient is told its own fate, and these must be the same, one by one.
//! Plain SMTP has one reply for all recipients of a transaction. What «the same» means there is said
//! by [`merged`], from `per-recipient-replies.md` 6 and 7:
//!
//! - `mixed = split`: recipients of whom one may accept what the other does not are never in one
//!   transaction; the client sends those that were put off with `452 4.5.3` in further ones. So each
//!   recipient has the copy, or none, that it has with LMTP. It is told the same kind of reply, but
//!   that who is refused together with somebody who is only put off is put off as well.
//! - `mixed = quarantine`: the copies of those who would not have the message, while others accept
//!   it, are laid aside, and all are told 250.
//! - `mixed = strictest`: nobody has a copy if one refuses it (5xx) or puts it off (4xx).
//! - In all three: what a next hop refuses for good to one while others have their copy is laid aside
//!   and told as 250; if it puts one off, all are put off, though others have their copy.

// The dialogue runner is used in part.
#[allow(dead_code)]
mod dialogues_runner;

use dialogues_runner::installation::{Installation, SPAM, VIRUS, base_listener, normal};
use dialogues_runner::memory::Memory;
use dialogues_runner::reply::{Inbox, Reply};
use dialogues_runner::stage::{ConnectionId, Stage};
use postern::relay::Protocol;
use postern::session::{Listener, Mixed};
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

// ---- messages and their fates ---------------------------------------------------------------

/// A message, as far as fates depend on it.
#[derive(Clone, Copy, Debug)]
struct Message {
    found: Found,
    held: Held,
    flaw: Option<Flaw>,
    lines: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Nothing,
    Spam,
    Virus,
    Both,
}

/// How long its verdict takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    No,
    /// Within the budget.
    Slow,
    /// Longer.
    Late,
}

/// What is wrong with the whole of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    TooBig,
    BareLf,
    Loop,
}

const SIZE_MAX: usize = 5_000;

impl Message {
    fn content(self) -> Vec<u8> {
        let mut text = "Subject: x\r\n".to_owned();
        if self.flaw == Some(Flaw::Loop) {
            text.push_str(&"Received: from a\r\n by b; now\r\n".repeat(5));
        }
        text.push_str("\r\n");
        text.push_str(self.lines);
        for (mark, there) in [
            (SPAM, matches!(self.found, Found::Spam | Found::Both)),
            (VIRUS, matches!(self.found, Found::Virus | Found::Both)),
            ("TEST*SCAN*DELAY*1500MS", self.held == Held::Slow),
            ("TEST*SCAN*DELAY*6000MS", self.held == Held::Late),
        ] {
            if there {
                text.push_str(mark);
                text.push_str("\r\n");
            }
        }
        match self.flaw {
            Some(Flaw::TooBig) => text.push_str(&"0123456789abcdef\r\n".repeat(SIZE_MAX / 18 + 1)),
            Some(Flaw::BareLf) => text.push_str("one\n.\r\ntwo\r\n"),
            Some(Flaw::Loop) | None => {}
        }
        text.into_bytes()
    }
}

/// What becomes of one recipient's copy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Delivered { flagged: bool },
    Quarantined,
    Refused(u16),
    Deferred(u16),
}

impl Fate {
    fn code(self) -> u16 {
        match self {
            Fate::Delivered { .. } | Fate::Quarantined => 250,
            Fate::Refused(code) | Fate::Deferred(code) => code,
        }
    }

    fn is_accepted(self) -> bool {
        self.code() == 250
    }
}

/// The code that RCPT gets, by the table of the test installation.
fn at_rcpt(address: &str) -> u16 {
    match address {
        "nouser@example.net" | "u@elsewhere.example" => 550,
        "full@example.net" => 452,
        "busy@example.net" => 450,
        _ => 250,
    }
}

/// What the recipient's class decides, by the table of the test installation.
fn decided(address: &str, message: Message) -> Fate {
    match message.flaw {
        Some(Flaw::TooBig) => return Fate::Refused(552),
        Some(Flaw::BareLf) => return Fate::Refused(550),
        Some(Flaw::Loop) => return Fate::Refused(554),
        None => {}
    }
    let (found, late) = (message.found != Found::Nothing, message.held == Held::Late);
    let spam = matches!(message.found, Found::Spam | Found::Both);
    let is = |name: &str| address.starts_with(name);
    match (found, late) {
        _ if is("lax") || is("postmaster") => Fate::Delivered { flagged: spam },
        (false, false) => Fate::Delivered { flagged: false },
        _ if is("quar") => Fate::Quarantined,
        (true, _) if is("defer") => Fate::Deferred(450),
        (true, _) => Fate::Refused(550),
        (false, true) => Fate::Deferred(451),
    }
}

/// What the next hop makes of a copy.
fn behind(address: &str, fate: Fate) -> Fate {
    match fate {
        Fate::Delivered { .. } if address.starts_with("late450") => Fate::Deferred(450),
        Fate::Delivered { .. } if address.starts_with("late550") => Fate::Refused(550),
        fate => fate,
    }
}

/// The fates of the recipients of one plain SMTP transaction, and the kind of the one reply.
fn merged(mixed: Mixed, addresses: &[&str], message: Message) -> (Vec<Fate>, u16) {
    let mut fates: Vec<Fate> = addresses.iter().map(|one| decided(one, message)).collect();
    let accepting = fates.iter().filter(|fate| fate.is_accepted()).count();
    if 0 < accepting && accepting < fates.len() {
        let refused = fates.iter().find(|fate| matches!(fate, Fate::Refused(_)));
        let strictest = refused.or_else(|| fates.iter().find(|fate| !fate.is_accepted())).copied();
        match (mixed, strictest) {
            (Mixed::Strictest, Some(strictest)) => fates.fill(strictest),
            (Mixed::Quarantine, _) => lay_aside(&mut fates),
            _ => panic!("{addresses:?} were not split"),
        }
    }
    for (address, fate) in addresses.iter().zip(&mut fates) {
        *fate = behind(address, *fate);
    }
    let some = |fates: &[Fate], wanted: fn(Fate) -> bool| fates.iter().any(|fate| wanted(*fate));
    let deferred = some(&fates, |fate| matches!(fate, Fate::Deferred(_)));
    if !deferred && some(&fates, Fate::is_accepted) {
        lay_aside(&mut fates);
    }
    let kind = match some(&fates, |fate| matches!(fate, Fate::Refused(_))) {
        _ if deferred => 4,
        true => 5,
        false => 2,
    };
    (fates, kind)
}

fn lay_aside(fates: &mut [Fate]) {
    for fate in fates.iter_mut().filter(|fate| !fate.is_accepted()) {
        *fate = Fate::Quarantined;
    }
}

// ---- the ways to send it --------------------------------------------------------------------

/// How a message is handed in.
#[derive(Clone, Debug)]
enum Transfer {
    Data,
    /// In chunks of these sizes; the last one takes what is left.
    Bdat(Vec<usize>),
}

/// A client on a stage of its own.
struct Client {
    stage: Memory,
    connection: ConnectionId,
    inbox: Inbox,
}

/// Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    fn greeted(listener: &str, mixed: Mixed, hop: Protocol) -> Client {
        static INSTALLATIONS: LazyLock<[Installation; 3]> = LazyLock::new(|| {
            [Mixed::Split, Mixed::Quarantine, Mixed::Strictest].map(|mixed| {
                Installation::with(&Listener {
                    mixed,
                    size_octets_max: SIZE_MAX as u64,
                    received_max: 5,
                    scan_budget: Duration::from_secs(2),
                    ..base_listener()
                })
            })
        });
        let mut stage = Memory::start(&INSTALLATIONS[mixed as usize], hop).unwrap();
        let connection = stage.connect(listener, Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut client = Client { stage, connection, inbox: Inbox::default() };
        let verb = if listener == "lmtp" { "LHLO" } else { "EHLO" };
        client.write(format!("{verb} client.example\r\n").as_bytes());
        assert_eq!(codes(&client.replies(2)), [220, 250]);
        client
    }

    fn write(&mut self, octets: &[u8]) {
        self.stage.write(self.connection, octets);
    }

    fn replies(&mut self, count: usize) -> Vec<Reply> {
        self.inbox.replies(&mut self.stage, self.connection, count, PATIENCE)
    }

    /// Hands in an envelope; gives the replies to its RCPTs.
    fn envelope(&mut self, parameters: &str, addresses: &[&str]) -> Vec<Reply> {
        let mut commands = format!("MAIL FROM:<a@client.example>{parameters}\r\n");
        for address in addresses {
            commands.push_str(&format!("RCPT TO:<{address}>\r\n"));
        }
        self.write(commands.as_bytes());
        let mut replies = self.replies(addresses.len() + 1);
        assert_eq!(replies.remove(0).code, 250);
        replies
    }

    /// Hands in a content; gives the reply set, of `count` replies or more if it begins with a 353.
    fn content(&mut self, content: &[u8], by: &Transfer, count: usize, accepted: usize) -> Set {
        let failed = match by {
            Transfer::Data => {
                self.write(b"DATA\r\n");
                assert_eq!(codes(&self.replies(1)), [354]);
                self.write(&[&dot_stuffed(content), b".\r\n".as_slice()].concat());
                None
            }
            Transfer::Bdat(sizes) => self.chunks(content, sizes),
        };
        let mut finals = codes(&self.replies(count));
        if finals[0] == 353 {
            finals.extend(codes(&self.replies(accepted + 1)));
        }
        // Nothing else comes.
        assert!(self.stage.wait(self.connection, Duration::from_secs(1)).is_empty());
        assert!(self.inbox.rest().is_empty());
        Set { failed, finals }
    }

    /// Hands in chunks, the last of which gets the reply set; gives the code of the first that failed.
    fn chunks(&mut self, content: &[u8], sizes: &[usize]) -> Option<u16> {
        let (mut rest, mut failed) = (content, None);
        for size in sizes.iter().take_while(|size| **size < content.len()) {
            if *size >= rest.len() {
                break;
            }
            let (chunk, left) = rest.split_at(*size);
            rest = left;
            self.write(&[format!("BDAT {size}\r\n").as_bytes(), chunk].concat());
            let code = self.replies(1)[0].code;
            if code != 250 {
                failed.get_or_insert(code);
            }
        }
        self.write(&[format!("BDAT {} LAST\r\n", rest.len()).as_bytes(), rest].concat());
        failed
    }

    /// What is held for an address: copies at the next hop, those with a mark, copies in quarantine.
    fn held(&self, address: &str, content: &[u8]) -> (usize, usize, usize) {
        let wanted = normal(address.as_bytes());
        let (mut delivered, mut flagged) = (0, 0);
        for kept in self.stage.world.sinks().iter().flat_map(|sink| sink.kept.messages()) {
            let copies = kept.recipients.iter().filter(|one| normal(one) == wanted).count();
            assert!(kept.content.ends_with(content), "the next hop has another message");
            let top = &kept.content[..kept.content.len() - content.len()];
            let mark = top.starts_with(b"X-Spam-Flag: YES\r\n");
            delivered += copies;
            flagged += if mark { copies } else { 0 };
        }
        let aside = self.stage.quarantined(address);
        assert!(aside.iter().all(|copy| without_cr(copy).ends_with(&without_cr(content))));
        (delivered, flagged, aside.len())
    }
}

/// The replies to the end of a message, and to a chunk before it that failed.
struct Set {
    failed: Option<u16>,
    finals: Vec<u16>,
}

fn codes(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.code).collect()
}

/// RFC 5321 4.5.2.
fn dot_stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        wire.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        wire.extend_from_slice(line);
    }
    wire
}

fn without_cr(octets: &[u8]) -> Vec<u8> {
    octets.iter().copied().filter(|octet| *octet != b'\r').collect()
}

// ---- what is the same -----------------------------------------------------------------------

/// A message to be sent in every way.
#[derive(Clone, Debug)]
struct Case {
    addresses: Vec<&'static str>,
    message: Message,
    transfer: Transfer,
    hop: Protocol,
}

impl Case {
    fn accepted(&self) -> Vec<&'static str> {
        self.addresses.iter().copied().filter(|one| at_rcpt(one) == 250).collect()
    }

    fn fates(&self) -> Vec<Fate> {
        let fate = |address: &&str| behind(address, decided(address, self.message));
        self.accepted().iter().map(fate).collect()
    }

    /// Sends by LMTP: one reply for each recipient.
    fn by_lmtp(&self) {
        let mut client = Client::greeted("lmtp", Mixed::Split, self.hop);
        self.check_rcpt(&client.envelope("", &self.addresses));
        let (accepted, fates) = (self.accepted(), self.fates());
        if accepted.is_empty() {
            return;
        }
        let content = self.message.content();
        let set = client.content(&content, &self.transfer, accepted.len(), accepted.len());
        for (place, (fate, code)) in fates.iter().zip(&set.finals).enumerate() {
            let told = set.failed.unwrap_or(*code);
            assert_eq!(told, fate.code(), "LMTP, {} of {self:?}", accepted[place]);
        }
        self.check_held(&client, &accepted, &fates, "LMTP");
    }

    /// Sends by PRDR: one reply for all, or a block with one for each and one for the message.
    fn by_prdr(&self) {
        let mut client = Client::greeted("smtp", Mixed::Split, self.hop);
        self.check_rcpt(&client.envelope(" PRDR", &self.addresses));
        let (accepted, fates) = (self.accepted(), self.fates());
        if accepted.is_empty() {
            return;
        }
        let content = self.message.content();
        let set = client.content(&content, &self.transfer, 1, accepted.len());
        match (set.failed, set.finals.as_slice()) {
            (Some(code), _) => assert!(fates.iter().all(|fate| fate.code() == code)),
            (None, [353, lines @ .., last]) => {
                let expected: Vec<u16> = fates.iter().map(|fate| fate.code()).collect();
                assert_eq!(lines, expected, "PRDR, {self:?}");
                let deferred = expected.iter().any(|code| code / 100 == 4);
                let kind = match expected.contains(&250) {
                    true => 2,
                    false if deferred => 4,
                    false => 5,
                };
                assert_eq!(last / 100, kind, "PRDR, {self:?}");
            }
            // One reply: all are accepted, all are put off, or all are refused for the same reason.
            (None, one) => {
                let kinds = fates.iter().map(|fate| fate.code() / 100);
                assert_eq!(one.len(), 1);
                assert!(kinds.clone().all(|kind| kind == one[0] / 100), "PRDR, {self:?}");
                let reasons = fates.iter().all(|fate| fate.code() == one[0]);
                assert!(one[0] / 100 != 5 || reasons, "PRDR, {self:?}");
            }
        }
        self.check_held(&client, &accepted, &fates, "PRDR");
    }

    /// Sends by plain SMTP, as a client does: who is told `452 4.5.3` is sent to in another
    /// transaction.
    fn by_plain_smtp(&self, mixed: Mixed) {
        let mut client = Client::greeted("smtp", mixed, self.hop);
        let content = self.message.content();
        let (mut waiting, mut sent, mut fates) = (self.addresses.clone(), Vec::new(), Vec::new());
        while !waiting.is_empty() {
            let replies = client.envelope("", &waiting);
            let is_split = |reply: &Reply| reply.lines[0].starts_with("4.5.3 ");
            assert!(!is_split(&replies[0]), "the first RCPT was put off: {self:?}");
            let mut group = Vec::new();
            let mut later = Vec::new();
            for (address, reply) in waiting.iter().zip(&replies) {
                match is_split(reply) {
                    true if mixed == Mixed::Split => later.push(*address),
                    _ => assert_eq!(reply.code, at_rcpt(address), "RCPT {address}"),
                }
                if reply.code == 250 {
                    group.push(*address);
                }
            }
            if group.is_empty() {
                client.write(b"RSET\r\n");
                assert_eq!(codes(&client.replies(1)), [250]);
                assert!(later.is_empty());
                break;
            }
            let set = client.content(&content, &self.transfer, 1, 0);
            let (of_group, kind) = merged(mixed, &group, self.message);
            let told = set.failed.unwrap_or(set.finals[0]);
            assert_eq!(told / 100, kind, "plain SMTP, {mixed:?}, {group:?} of {self:?}");
            if mixed == Mixed::Split {
                self.check_merged(&group, &of_group, told);
            }
            sent.extend(group);
            fates.extend(of_group);
            waiting = later;
        }
        assert_eq!(sent.len(), self.accepted().len(), "each is sent to once");
        self.check_held(&client, &sent, &fates, "plain SMTP");
    }

    /// Where nobody is mixed with others, plain SMTP does and tells what LMTP does and tells, but for
    /// what a next hop does with one of several, and for refusals that share their reply with a
    /// deferral.
    fn check_merged(&self, group: &[&str], merged: &[Fate], told: u16) {
        let own: Vec<Fate> =
            group.iter().map(|one| behind(one, decided(one, self.message))).collect();
        let deferred = own.iter().any(|fate| matches!(fate, Fate::Deferred(_)));
        for (address, (own, merged)) in group.iter().zip(own.iter().zip(merged)) {
            let aside = address.starts_with("late550") && *merged == Fate::Quarantined;
            assert!(own == merged || aside, "{address}: {merged:?}, with LMTP {own:?}");
            let same = own.code() / 100 == told / 100 || aside;
            assert!(same || (deferred && told / 100 == 4), "{address} is told {told}, {own:?}");
        }
    }

    fn check_rcpt(&self, replies: &[Reply]) {
        let expected: Vec<u16> = self.addresses.iter().map(|one| at_rcpt(one)).collect();
        assert_eq!(codes(replies), expected, "{self:?}");
    }

    /// Everybody has as many copies, with or without a mark, as its fates say, and nobody else any.
    fn check_held(&self, client: &Client, addresses: &[&str], fates: &[Fate], how: &str) {
        let content = self.message.content();
        for address in &self.addresses {
            let mut expected = (0, 0, 0);
            for (other, fate) in addresses.iter().zip(fates) {
                if normal(other.as_bytes()) != normal(address.as_bytes()) {
                    continue;
                }
                match fate {
                    Fate::Delivered { flagged } => {
                        expected.0 += 1;
                        expected.1 += usize::from(*flagged);
                    }
                    Fate::Quarantined => expected.2 += 1,
                    Fate::Refused(_) | Fate::Deferred(_) => {}
                }
            }
            let held = client.held(address, &content);
            assert_eq!(held, expected, "{how}, {address} of {self:?}");
        }
    }
}

// ---- all of it ------------------------------------------------------------------------------

fn messages() -> impl Strategy<Value = Message> {
    let found = prop::sample::select(vec![
        Found::Nothing,
        Found::Nothing,
        Found::Spam,
        Found::Virus,
        Found::Both,
    ]);
    let held = prop::sample::select(vec![Held::No, Held::No, Held::Slow, Held::Late]);
    let flaws = [None, None, None, Some(Flaw::TooBig), Some(Flaw::BareLf), Some(Flaw::Loop)];
    let lines = prop::sample::select(vec!["", "text\r\n", ".\r\n..\r\n.x\r\n", "\r\n\r\n.\r\n"]);
    (found, held, prop::sample::select(flaws.to_vec()), lines)
        .prop_map(|(found, held, flaw, lines)| Message { found, held, flaw, lines })
}

fn cases() -> impl Strategy<Value = Case> {
    let address = prop::sample::select(vec![
        "ok1@example.net",
        "ok2@example.com",
        "OK3@Example.NET",
        "lax1@example.net",
        "lax2@example.com",
        "postmaster",
        "quar1@example.net",
        "defer1@example.net",
        "late450@example.net",
        "late550@example.net",
        "slow1@example.net",
        "nouser@example.net",
        "full@example.net",
        "busy@example.net",
        "u@elsewhere.example",
    ]);
    let transfer = prop_oneof![
        Just(Transfer::Data),
        prop::collection::vec(1..400usize, 0..6).prop_map(Transfer::Bdat),
        (SIZE_MAX..SIZE_MAX + 20).prop_map(|size| Transfer::Bdat(vec![size])),
    ];
    let addresses = prop::collection::vec(address, 1..=6);
    (addresses, messages(), transfer, any::<bool>()).prop_map(
        |(mut addresses, message, transfer, lmtp)| {
            // An SMTP next hop has one answer for all.
            let hop = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
            addresses.retain(|one| lmtp || !one.starts_with("late"));
            if addresses.is_empty() {
                addresses.push("ok1@example.net");
            }
            Case { addresses, message, transfer, hop }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_recipient_has_the_same_fate_by_every_protocol(case in cases()) {
        case.by_lmtp();
        case.by_prdr();
        case.by_plain_smtp(Mixed::Split);
    }

    // per-recipient-replies.md 6: accepted, the copies of those who would refuse or defer are laid
    // aside.
    #[test]
    fn with_quarantine_who_would_not_have_it_has_it_aside(case in cases()) {
        case.by_plain_smtp(Mixed::Quarantine);
    }

    // per-recipient-replies.md 6: 5xx if anybody refuses, else 4xx if anybody defers.
    #[test]
    fn with_strictest_nobody_has_what_one_would_not_have(case in cases()) {
        case.by_plain_smtp(Mixed::Strictest);
    }
}
