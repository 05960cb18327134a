//! Real shards over a store that fails: mail goes on.

use crate::dialogues_runner::installation::{Installation, SPAM, base_listener};
use crate::dialogues_runner::sockets::Sockets;
use crate::dialogues_runner::stage::Stage;
use crate::message::{Form, Message, Transfer, on_the_wire};
use crate::on_stage::{Client, PATIENCE};
use crate::process::{Site, code};
use postern::durable::{DiskFault, FaultSwitch};
use postern::relay::Protocol;
use postern::session::{Listener, ResumeLevel};
use std::time::{Duration, Instant};

/// The ledger waits for its disk no longer than this.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// A switch whose disk works again when the test is over, so that the ledger can end.
struct Faults(FaultSwitch);

impl Drop for Faults {
    fn drop(&mut self) {
        self.0.set(DiskFault::None);
    }
}

fn gateway(faults: &FaultSwitch) -> Sockets {
    let resume = ResumeLevel::Outcome;
    let installation = Installation::with(&Listener { resume, replay: true, ..base_listener() });
    let set = |settings: &mut postern::durable::LedgerSettings| {
        settings.faults = faults.clone();
        settings.keeper.answer_timeout = ANSWER_TIMEOUT;
    };
    Sockets::start_with(&installation, Protocol::Lmtp, set).unwrap()
}

/// Hands a message in on a connection of its own; the set, and how long it took.
fn hand_in(stage: &mut Sockets, message: &Message) -> (Vec<u8>, Duration) {
    let mut client = Client::greeted(stage, message.form);
    client.envelope(message, 0, Transfer::Data);
    let began = Instant::now();
    client.says(&on_the_wire(&message.content, 0, Transfer::Data));
    let set = client.set(message);
    let connection = client.connection;
    stage.close(connection);
    (set, began.elapsed())
}

fn message(form: Form, id: Option<&str>, number: usize) -> Message {
    let mut message = Message::new(form, 2, id);
    message.content.extend(format!("number {number} end\r\n").into_bytes());
    message
}

// whatever the disk does, what is handed on is told as it was. What is not, and whose
// client has asked for a record, is put off.
#[test]
fn a_85_a_store_that_fails_stops_no_mail_over_sockets() {
    let mut number = 0;
    for fault in [DiskFault::Full, DiskFault::ReadOnly, DiskFault::SyncFails, DiskFault::Stalled] {
        let switch = FaultSwitch::default();
        let mut stage = gateway(&switch);
        let faults = Faults(switch);
        for form in Form::ALL {
            for id in [None, Some("d1")] {
                faults.0.set(fault);
                number += 1;
                let taken = message(form, id, number);
                let (set, took) = hand_in(&mut stage, &taken);
                let what = format!("{fault:?}, {form:?}, {id:?}: {}", set.escape_ascii());
                assert!(set.starts_with(b"250") || set.starts_with(b"353"), "{what}");
                // The waits of open, intent and outcome, and a machine that is busy.
                assert!(took < ANSWER_TIMEOUT * 3 + Duration::from_secs(20), "{what}: {took:?}");
                for address in taken.delivered_to() {
                    let same = stage.delivered(address);
                    let copies = same.iter().filter(|one| one.ends_with(&taken.content)).count();
                    assert_eq!(copies, 1, "{what}");
                }
                number += 1;
                let mut refused = message(form, id, number);
                refused.content.extend(format!("{SPAM}\r\n").into_bytes());
                let (set, _) = hand_in(&mut stage, &refused);
                let expected = if id.is_some() { 451 } else { 550 };
                assert_eq!(code(&set), expected, "{fault:?}, {form:?}, {id:?}");
            }
        }
        let counts = stage.remembered().figures.counts;
        assert!(counts.unrecorded > 0, "{fault:?}: {counts:?}");
        faults.0.set(DiskFault::None);
        let until = Instant::now() + PATIENCE;
        while !stage.remembered().figures.store_works {
            assert!(Instant::now() < until, "{fault:?}: it is tried again");
            std::thread::yield_now();
        }
        let recorded = stage.remembered().figures.counts.recorded;
        hand_in(&mut stage, &message(Form::Smtp, Some("d2"), number + 1));
        assert!(stage.remembered().figures.counts.recorded > recorded, "{fault:?}");
    }
}

// nobody can have the ledger's keeper: who waits for it is answered by the shard, who comes later at once.
#[test]
fn a_85_a_deaf_ledger_stops_no_mail_over_sockets() {
    let switch = FaultSwitch::default();
    let installation = Installation::with(&Listener {
        resume: ResumeLevel::Outcome,
        replay: true,
        ..base_listener()
    });
    let set = |settings: &mut postern::durable::LedgerSettings| {
        settings.faults = switch.clone();
        settings.deaf_after = Duration::from_secs(1);
    };
    let mut stage = Sockets::start_with(&installation, Protocol::Lmtp, set).unwrap();
    let faults = Faults(switch);
    let works = message(Form::Smtp, Some("f0"), 0);
    assert_eq!(code(&hand_in(&mut stage, &works).0), 250);
    faults.0.set(DiskFault::Deaf);
    let mut number = 0;
    let mut next = |stage: &mut Sockets| {
        number += 1;
        let message = message(Form::Smtp, [None, Some("f1")][number % 2], number);
        let (set, took) = hand_in(stage, &message);
        assert_eq!(code(&set), 250, "{number}");
        for address in message.delivered_to() {
            let same = stage.delivered(address);
            assert_eq!(same.iter().filter(|one| one.ends_with(&message.content)).count(), 1);
        }
        took
    };
    // The first may come before it hangs; the last of them waits.
    let until = Instant::now() + PATIENCE;
    while stage.remembered().figures.store_works {
        assert!(Instant::now() < until, "it is found to be deaf");
        next(&mut stage);
    }
    for _ in 0..3 {
        let took = next(&mut stage);
        assert!(took < PATIENCE / 2, "{took:?}");
    }
    let report = stage.remembered();
    assert!(report.refused > 0 && !report.figures.store_works);
    faults.0.set(DiskFault::None);
}

// a thread of the ledger has died. Who waits for it is answered by the shard, soon, and who comes later
// at once; nobody waits for as long as for one that hangs.
#[test]
fn a_85_a_dead_ledger_stops_no_mail_over_sockets() {
    for fault in [DiskFault::ClockDies, DiskFault::StoreDies, DiskFault::KeeperDies] {
        let switch = FaultSwitch::default();
        let installation = Installation::with(&Listener {
            resume: ResumeLevel::Outcome,
            replay: true,
            ..base_listener()
        });
        let set = |settings: &mut postern::durable::LedgerSettings| {
            settings.faults = switch.clone();
            settings.deaf_after = PATIENCE * 10;
        };
        let mut stage = Sockets::start_with(&installation, Protocol::Lmtp, set).unwrap();
        assert_eq!(code(&hand_in(&mut stage, &message(Form::Smtp, Some("g0"), 0)).0), 250);
        switch.set(fault);
        let until = Instant::now() + PATIENCE;
        while fault == DiskFault::ClockDies && stage.remembered().figures.store_works {
            assert!(Instant::now() < until, "its time to wake up comes");
            std::thread::yield_now();
        }
        for (number, id) in [(1, Some("g1")), (2, None), (3, Some("g3"))] {
            let message = message(Form::Smtp, id, number);
            let (set, _) = hand_in(&mut stage, &message);
            assert_eq!(code(&set), 250, "{fault:?} {number}");
            for address in message.delivered_to() {
                let same = stage.delivered(address);
                assert_eq!(same.iter().filter(|one| one.ends_with(&message.content)).count(), 1);
            }
        }
        let report = stage.remembered();
        assert!(report.refused > 0 && !report.figures.store_works, "{fault:?}");
    }
}

// one transaction waits for a slow disk; others, that need none, do not.
#[test]
fn a_85_a_slow_store_holds_up_nobody_else() {
    let switch = FaultSwitch::default();
    let mut stage = gateway(&switch);
    let faults = Faults(switch);
    faults.0.set(DiskFault::Stalled);
    let waiting = message(Form::Smtp, None, 1);
    let mut client = Client::greeted(&mut stage, Form::Smtp);
    client.envelope(&waiting, 0, Transfer::Data);
    client.says(&on_the_wire(&waiting.content, 0, Transfer::Data));
    let first = client.connection;
    let mut other = Client::greeted(&mut stage, Form::Smtp);
    for _ in 0..50 {
        other.says(b"NOOP\r\n");
        assert_eq!(other.codes(1), [250]);
    }
    let connection = other.connection;
    stage.close(connection);
    faults.0.set(DiskFault::None);
    let mut client = Client { stage: &mut stage, connection: first, octets: Vec::new() };
    assert_eq!(code(&client.set(&waiting)), 250);
}

// what lies where the store should be is told in one line, and mail goes on; but what is
// not ours is not touched, and nothing starts.
#[test]
fn a_84_a_damaged_store_is_put_aside_by_the_process() {
    let site = Site::new(&[], "outcome");
    let process = site.start("");
    let lost = message(Form::Lmtp, Some("e1"), 1);
    process.client(Form::Lmtp).unwrap().hands_in(&lost).unwrap();
    process.kill();
    let store = site.path().join("state/ledger/ledger.redb");
    let mut octets = std::fs::read(&store).unwrap();
    // The magic number stays: it is a store, and nothing in it can be read.
    let length = octets.len();
    octets[64..length].fill(0x5A);
    std::fs::write(&store, octets).unwrap();
    let process = site.start("");
    let next = message(Form::Lmtp, Some("e2"), 2);
    let set = process.client(Form::Lmtp).unwrap().hands_in(&next).unwrap();
    assert_eq!(code(&set), 250);
    assert_eq!(process.metric("store_works"), 1);
    process.kill();

    // A folder in the place of the file: no store at all, and mail all the same.
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    let process = site.start("");
    let next = message(Form::Lmtp, Some("e3"), 3);
    let set = process.client(Form::Lmtp).unwrap().hands_in(&next).unwrap();
    assert_eq!(code(&set), 250);
    assert_eq!(process.metric("store_works"), 0);
}
