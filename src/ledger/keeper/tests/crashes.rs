//! What a crash leaves: intents without an outcome, damage, and clocks that were set.

use super::*;

// Checkpoint 5, «Crash between (2) and (3)»: deliver only to those not known as done; counted.
#[test]
fn a_86_after_a_crash_an_intent_is_unknown_and_what_was_done_is_spared() {
    let mut world = World::new();
    world.open(1, "id", Level::Outcome);
    let record = sent(with_content(named("id", &["a@x", "b@x"])));
    assert_eq!(world.begin(1, record.clone(), true), GO_ON);
    let copies = vec![(0, CopyState::Done(told("250 taken")))];
    assert_eq!(world.ask(Request::Progress { transaction: transaction(1), copies }), None);
    world.crash();
    assert_eq!(world.keeper.figures().counts.unknown_intents, 1);
    assert_eq!(world.recall(2, "id"), Recalled::Nothing, "its content must come again");
    assert_eq!(world.open(2, "id", Level::Outcome), Some(Answer::Opened));
    let known = world.known(2, &record);
    assert_eq!(
        known.each,
        [
            Some(Known::Done(told("250 taken"))),
            Some(Known::Unknown(record.sendings(&record.recipients[0])))
        ]
    );
    assert_eq!(world.begin(2, record.clone(), false), GO_ON);
    assert_eq!(world.commit(2, ended(record.clone(), Form::Smtp, &["250 ok"])), RECORDED);
    assert_eq!(world.disk.len(), 1);
    assert_eq!(world.keeper.figures().counts.duplicates_prevented, 1);
    assert_eq!(world.keeper.figures().counts.unknown_redelivered, 1);
    world.crash();
    assert_eq!(world.recall(3, "id").offset(), 17);
    // Another message under the id of the intent has nothing to do with it.
    let mut world = World::new();
    world.open(1, "id", Level::Outcome);
    assert_eq!(world.begin(1, record.clone(), true), GO_ON);
    world.crash();
    world.open(2, "id", Level::Outcome);
    let mut other = record;
    other.content = Some(Content { octets: 18, digest: ContentDigest([9; 32]) });
    assert_eq!(world.begin(2, other, true), GO_ON);
}

// Checkpoint 5: two runs die one after the other. The names of both can be asked for, each with the octets
// that were sent by it; and those of a third one that was told of both.
#[test]
fn after_several_crashes_each_run_that_has_sent_something_can_be_asked_for() {
    for id in [Some("id"), None] {
        let mut world = World::new();
        let run = |number: u64, earlier: &[Sending]| {
            let mut record = match id {
                Some(id) => with_content(named(id, &["a@x"])),
                None => unnamed(1, &["a@x"]),
            };
            record.trace_id = format!("run-{number}").into();
            let copy = CopyState::Sent { octets: 20 + number, earlier: earlier.to_vec() };
            record.recipients[0].copy = copy;
            record.phase = Phase::Intent;
            record
        };
        let mut earlier = Vec::new();
        for number in 0..4 {
            if let Some(id) = id {
                assert_eq!(world.open(number, id, Level::Outcome), Some(Answer::Opened));
            }
            if number > 0 {
                let known = world.known(number, &run(number, &[]));
                assert_eq!(known.each, [Some(Known::Unknown(earlier.clone()))], "{id:?}");
            }
            let record = run(number, &earlier);
            assert_eq!(world.begin(number, record, number == 0), GO_ON);
            earlier.push(sample::sending(&format!("run-{number}"), 20 + number));
            world.crash();
        }
        assert_eq!(world.disk.len(), 1, "each run's record has taken the place of the one before");
    }
}

// The same for a message without an id, and: the process dies with the reply on its way.
#[test]
fn a_86_without_an_id_a_crash_makes_outcomes_unconfirmed() {
    let message = unnamed(1, &["a@x"]);
    let mut world = World::new();
    assert_eq!(world.begin(1, message.clone(), true), GO_ON);
    world.crash();
    assert!(matches!(world.known(2, &message).each[..], [Some(Known::Unknown(_))]));
    let mut world = World::new();
    world.whole_unnamed(1, &message, Form::Smtp, &["250 ok"]);
    world.crash();
    assert!(world.known(2, &message).whole.is_some());
}

// A confirmed record with an id and a fingerprint stays confirmed over a crash.
#[test]
fn a_confirmation_outlives_a_crash() {
    let mut world = World::new();
    let message = Record { key: Some(key("id")), ..unnamed(1, &["a@x"]) };
    world.open(1, "id", Level::Outcome);
    world.whole_unnamed(1, &message, Form::Smtp, &["250 ok"]);
    world.confirm(1);
    world.crash();
    assert_eq!(world.begin(2, unnamed(1, &["a@x"]), true), GO_ON);
    world.later(Duration::from_secs(61));
    assert_eq!(world.recall(3, "id"), Recalled::Nothing);
}

// a damaged record is skipped, counted, and does not come back; a newer one is not thrown away.
#[test]
fn a_84_damaged_records_are_skipped_and_newer_ones_refused() {
    let mut world = World::new();
    for number in 0..20u64 {
        world.whole_named(number, &format!("id {number}"), "250 ok");
    }
    let rows: Vec<Row> = world.disk.keys().copied().collect();
    let octets = world.disk.get_mut(&rows[7]).unwrap();
    octets[30] ^= 4;
    let tail = world.disk.get_mut(&rows[19]).unwrap();
    tail.truncate(100);
    world.crash();
    assert_eq!(world.keeper.figures().counts.damaged, 2);
    assert_eq!(world.keeper.opened().records, 18);
    assert_eq!(world.disk.len(), 18);
    for number in 0..20u64 {
        let expected = if matches!(number, 7 | 19) { 0 } else { 17 };
        assert_eq!(world.recall(99, &format!("id {number}")).offset(), expected);
    }
    // Rows go on behind the last one.
    world.whole_named(100, "more", "250 ok");
    assert_eq!(world.disk.len(), 19);
    let mut newer = vec![b'p', 200];
    let sum = blake3::hash(&newer);
    newer.extend_from_slice(&sum.as_bytes()[..8]);
    assert_eq!(
        world.keeper.load_row(1_000, &newer, world.now),
        Err(crate::ledger::Unreadable::Newer(200))
    );
}

// the wall clock is set, and the process started again: an hour forward or back a record is what it
// was; after ten years it is over; in 1970 it counts as new.
#[test]
fn a_101_a_restart_with_another_clock_is_no_trouble() {
    let hour = 3_600;
    let now = 1_800_000_000;
    let years = 10 * 365 * 86_400;
    for (epoch_s, is_there) in
        [(now + hour, true), (now - hour, true), (0, true), (now + years, false)]
    {
        let mut world = World::new();
        world.whole_named(1, "id", "250 ok");
        world.crash_at(epoch_s);
        let offset = if is_there { 17 } else { 0 };
        assert_eq!(world.recall(2, "id").offset(), offset, "{epoch_s}");
        assert_eq!(world.disk.len(), usize::from(is_there), "{epoch_s}");
        world.later(limits::LEDGER_OUTCOME_LIFETIME + Duration::from_secs(1));
        assert_eq!(world.recall(2, "id"), Recalled::Nothing, "{epoch_s}");
        assert!(world.disk.is_empty(), "{epoch_s}");
    }
}

// a record from the future counts as new, and lives no longer than one made now.
#[test]
fn a_101_a_record_from_the_future_is_new() {
    let mut world = World::new();
    world.whole_named(1, "id", "250 ok");
    for octets in world.disk.values_mut() {
        let mut record = Record::decode(octets).unwrap();
        record.created_s += 10 * 365 * 86_400;
        record.expires_s += 10 * 365 * 86_400;
        *octets = record.encode();
    }
    world.crash();
    assert_eq!(world.recall(2, "id").offset(), 17);
    world.later(limits::LEDGER_OUTCOME_LIFETIME);
    assert_eq!(world.recall(2, "id"), Recalled::Nothing);
}
