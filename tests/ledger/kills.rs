//! The kill matrix: the real process dies between each pair of steps of the order of writes, or at any
//! time; it is started again, and its clients come again.

use crate::message::{Form, Message};
use crate::process::{Process, Site, code};
use postern::durable::CrashPoint;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The process dies at a point while it works at one message. What its client was told, if anything,
/// what it is told when it comes again, and copies that were delivered twice.
pub struct Killed {
    first: Option<Vec<u8>>,
    again: Vec<u8>,
    /// The reply was stored by the run that died.
    pub stored: bool,
    /// What RESUME has told.
    pub offset: u64,
    pub twice: u64,
    counted: u64,
}

pub fn killed_at(point: CrashPoint, message: &Message, level: &str, offers: &[&str]) -> Killed {
    let site = Site::new(offers, level);
    let process = site.start(point.name());
    let mut client = process.client(message.form).unwrap();
    // After its reply it dies at once, which the client may see before the reply, or after.
    let first = client.hands_in(message).ok();
    process.died();
    let process = site.start("");
    let mut client = process.client(message.form).unwrap();
    let (offset, again) = client.comes_again(message).unwrap();
    client.quits();
    let stored = process.metric("replays_answered_total") > 0;
    let copies = |address| site.copies(&message.content, address) as u64;
    let copies: Vec<u64> = message.delivered_to().map(copies).collect();
    assert!(copies.iter().all(|count| *count >= 1), "{point:?}: {message:?} is lost: {copies:?}");
    Killed {
        first,
        again,
        stored,
        offset,
        twice: copies.iter().sum::<u64>() - copies.len() as u64,
        counted: process.metric("unknown_redelivered_total"),
    }
}

// never lost after a 2xx; a duplicate only if it was handed on and its outcome not durable, and
// that is counted.
#[test]
fn a_86_the_process_dies_between_each_pair_of_steps() {
    for form in Form::ALL {
        for (id, recipients) in [(Some("k1"), 1), (Some("k1"), 3), (None, 1), (None, 3)] {
            for point in CrashPoint::ALL {
                // Only what has an id is told to the ledger at its end mark.
                if id.is_none() && point == CrashPoint::Received {
                    continue;
                }
                let message = Message::new(form, recipients, id);
                let killed = killed_at(point, &message, "outcome", &[]);
                let what =
                    format!("{form:?}, {id:?}, {recipients} recipients, killed at {point:?}");
                assert!(message.is_whole_set(&killed.again), "{what}");
                let copies = message.delivered_to().count() as u64;
                let (twice, counted) = match point {
                    CrashPoint::HandedOn => (copies, recipients as u64),
                    CrashPoint::Intent => (0, recipients as u64),
                    _ => (0, 0),
                };
                assert_eq!((killed.twice, killed.counted), (twice, counted), "{what}");
                match (&killed.first, point) {
                    (Some(first), CrashPoint::Replied) if id.is_some() => {
                        assert_eq!(*first, killed.again, "{what}");
                    }
                    // A new run of the program may have other rules, so that refusals are judged
                    // afresh, and the set is one of the retry.
                    (Some(first), CrashPoint::Replied) => {
                        assert_eq!(codes(first), codes(&killed.again), "{what}");
                    }
                    (Some(first), _) => panic!("{what}: told {}", first.escape_ascii()),
                    (None, _) => {}
                }
            }
        }
    }
}

// Checkpoint 5, «crash between (2) and (3)»: a next hop that offers RESUME is asked, and there is no
// duplicate.
#[test]
fn a_86_what_was_handed_on_is_asked_for_where_it_can_be() {
    for form in Form::ALL {
        for (id, recipients) in [(Some("k1"), 3), (None, 1), (None, 3)] {
            let message = Message::new(form, recipients, id);
            let killed = killed_at(CrashPoint::HandedOn, &message, "outcome", &["RESUME"]);
            assert!(message.is_whole_set(&killed.again), "{message:?}");
            assert_eq!((killed.twice, killed.counted), (0, recipients as u64), "{message:?}");
        }
    }
}

fn codes(set: &[u8]) -> Vec<u16> {
    set.split_inclusive(|octet| *octet == b'\n').map(code).collect()
}

/// Clients that hand messages in, one after the other, until they are told to stop; a connection that
/// is lost, or refused, is made again, and the message handed in again.
fn hand_in_until(stop: &AtomicBool, site: &Mutex<Option<Process>>, number: usize) {
    let form = Form::ALL[number % 3];
    let mut serial = 0;
    while !stop.load(Ordering::Relaxed) {
        serial += 1;
        let id = format!("n{number}s{serial}");
        let mut message = Message::new(form, 2, number.is_multiple_of(2).then_some(id.as_str()));
        message.recipients = vec!["ok1@example.net".to_owned(), "ok2@example.net".to_owned()];
        message.content = format!("Subject: {id}-end\r\n\r\nx\r\n").into_bytes();
        let mut again = false;
        loop {
            let client = site.lock().unwrap().as_ref().and_then(|one| one.client(form).ok());
            let told = client.and_then(|mut client| {
                let set = match std::mem::replace(&mut again, true) {
                    true => client.comes_again(&message).map(|(_, set)| set),
                    false => client.hands_in(&message),
                };
                let set = set.ok()?;
                let _ = client.stream.shutdown(Shutdown::Both);
                Some(set)
            });
            match told {
                Some(set) => {
                    assert_eq!(code(&set), 250, "{}", set.escape_ascii());
                    break;
                }
                None => thread::yield_now(),
            }
        }
    }
}

// SIGKILL at any time, under load.
#[test]
fn a_86_the_process_is_killed_at_any_time_under_load() {
    kill_often(8);
}

/// `cargo test --release --test ledger -- --ignored killed_500_times`
#[test]
#[ignore = "takes some minutes"]
fn a_86_the_process_is_killed_500_times_under_load() {
    kill_often(500);
}

fn kill_often(times: usize) {
    let site = Site::new(&[], "outcome");
    let process = Mutex::new(Some(site.start("")));
    let stop = AtomicBool::new(false);
    let mut random = fastrand::Rng::with_seed(86);
    let mut counted = 0;
    thread::scope(|scope| {
        for number in 0..6 {
            let (stop, process) = (&stop, &process);
            scope.spawn(move || hand_in_until(stop, process, number));
        }
        for _ in 0..times {
            let enough = site.kept.count() + random.usize(1..60);
            while site.kept.count() < enough {
                thread::yield_now();
            }
            let mut running = process.lock().unwrap();
            let killed = running.take().unwrap();
            // What it has counted dies with it: it is asked for before.
            counted += killed.metric("unknown_redelivered_total");
            killed.kill();
            *running = Some(site.start(""));
        }
        stop.store(true, Ordering::Relaxed);
    });
    counted += process.lock().unwrap().as_ref().unwrap().metric("unknown_redelivered_total");
    let messages = site.kept.messages();
    let mut subjects: Vec<&[u8]> = messages
        .iter()
        .flat_map(|kept| {
            let line = kept.content.split(|octet| *octet == b'\n');
            let subject = line.clone().find(|line| line.starts_with(b"Subject: ")).unwrap();
            kept.recipients.iter().map(move |_| subject)
        })
        .collect();
    subjects.sort_unstable();
    let sets = subjects.chunk_by(|one, other| one == other);
    let twice: usize = sets.map(|set| set.len().saturating_sub(2)).sum();
    println!("{} copies, {twice} of them twice, {counted} counted", subjects.len());
    assert!(twice as u64 <= counted, "{twice} duplicates, {counted} counted");
    assert!(subjects.len() > 100, "there was load");
}
