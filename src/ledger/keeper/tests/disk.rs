//! A disk that is slow, fails, or has no more room.

use super::*;

// Dataplane 4: one commit in flight, whatever is asked meanwhile is the next one, in its order.
#[test]
fn one_commit_is_in_flight_and_the_next_gathers_meanwhile() {
    let mut world = World::new();
    world.stalled = true;
    let begin =
        |world: &mut World, seat: u64| world.begin(seat, unnamed(seat as u8, &["a@x"]), true);
    begin(&mut world, 1);
    let first = world.keeper.take_work(world.now).unwrap();
    assert_eq!(first.changes.len(), 1);
    for seat in 2..50 {
        assert_eq!(begin(&mut world, seat), None);
    }
    assert!(world.keeper.take_work(world.now).is_none(), "one at a time");
    world.disk.extend(first.changes.into_iter().filter_map(|(row, put)| Some((row, put?))));
    world.keeper.committed(1, world.now);
    world.run();
    assert_eq!(world.answers.len(), 1, "only the first one is durable");
    let second = world.keeper.take_work(world.now).unwrap();
    assert_eq!(second.changes.len(), 48);
    let rows: Vec<Row> = second.changes.iter().map(|(row, _)| *row).collect();
    assert!(rows.is_sorted());
    world.keeper.committed(48, world.now);
    world.run();
    let order: Vec<u64> = world.answers.iter().map(|(holder, _)| holder.seat).collect();
    assert_eq!(order, (1..50).collect::<Vec<_>>());
    assert_eq!(world.keeper.figures().counts.commits, 2);
}

// a disk that stalls delays its own transactions, and those only until the deadline.
#[test]
fn a_85_a_stalled_disk_is_not_waited_for_without_end() {
    let mut world = World::new();
    world.whole_named(1, "stored", "250 ok");
    world.stalled = true;
    let message = unnamed(1, &["a@x"]);
    assert_eq!(world.begin(2, message.clone(), true), None);
    world.work = world.keeper.take_work(world.now);
    assert_eq!(world.commit(3, ended(unnamed(2, &["a@x"]), Form::Smtp, &["250 ok"])), None);
    // A miss, and a new transaction, do not wait for it.
    assert_eq!(world.recall(4, "unknown"), Recalled::Nothing);
    assert_eq!(world.open(5, "new", Level::Outcome), Some(Answer::Opened));
    let (key, identity) = (key("stored"), who());
    let hit = Request::Recall { holder: holder(6), key, identity, tls: false };
    assert_eq!(world.ask(hit), None);
    world.later(limits::LEDGER_ANSWER_TIMEOUT - Duration::from_secs(1));
    assert!(world.answers.is_empty());
    world.later(Duration::from_secs(1));
    assert_eq!(world.answer_to(holder(2)), UNRECORDED);
    assert_eq!(world.answer_to(holder(3)), Some(Answer::Committed { recorded: false }));
    assert_eq!(world.answer_to(holder(6)), Some(Answer::Recalled(Recalled::Nothing)));
    assert_eq!(world.keeper.figures().counts.unrecorded, 2);
    // It wakes up: what was told is not told again, and nobody relies on what came too late.
    world.stalled = false;
    world.run();
    assert!(world.answers.is_empty());
    assert_eq!(world.commit(2, ended(message, Form::Smtp, &["250 ok"])), RECORDED);
    world.confirm(2);
    assert_eq!(world.disk.len(), 1, "only the one that was stored before");
    assert_eq!(world.recall(7, "stored").offset(), 17);
}

// nor do others wait for a transaction whose outcome stalls.
#[test]
fn a_85_whoever_waits_for_a_stalled_outcome_goes_on_with_it() {
    let mut world = World::new();
    assert_eq!(world.open(1, "one", Level::Outcome), Some(Answer::Opened));
    let record = sent(with_content(named("one", &["a@x"])));
    assert_eq!(world.begin(1, record.clone(), true), GO_ON);
    world.stalled = true;
    let end = ended(record, Form::Smtp, &["250 ok"]);
    assert_eq!(world.commit(1, end.clone()), None);
    world.work = world.keeper.take_work(world.now);
    assert_eq!(world.ask(Request::Await { holder: holder(2), key: key("one") }), None);
    assert_eq!(world.open(3, "one", Level::Outcome), None);
    world.later(limits::LEDGER_ANSWER_TIMEOUT);
    assert_eq!(world.answer_to(holder(1)), Some(Answer::Committed { recorded: false }));
    let Some(Answer::Outcome(Some(outcome))) = world.answer_to(holder(2)) else { panic!() };
    assert_eq!(outcome.final_reply(), end.final_reply());
    assert_eq!(world.answer_to(holder(3)), Some(Answer::Opened));
}

// Checkpoint 6: a QUIT may have been sent with the end mark; what was acknowledged before it counts.
#[test]
fn quit_confirms_what_has_an_id_and_nothing_else() {
    let mut world = World::new();
    let message = unnamed(1, &["a@x"]);
    world.whole_unnamed(1, &message, Form::Smtp, &["250 ok"]);
    world.ask(Request::Quit { holder: holder(1) });
    world.gone(1);
    assert_ne!(world.begin(2, message, true), GO_ON, "it is known again");
    world.whole_named(3, "one", "250 ok");
    world.ask(Request::Quit { holder: holder(3) });
    world.gone(3);
    world.later(limits::LEDGER_CONFIRMED_GRACE);
    assert_eq!(world.recall(4, "one"), Recalled::Nothing);
}

// a disk that fails: mail goes on without records, and they begin again with the disk.
#[test]
fn a_85_a_failed_disk_stops_no_mail_and_is_tried_again() {
    let mut world = World::new();
    world.whole_named(1, "stored", "250 ok");
    world.gone(1);
    let message = unnamed(1, &["a@x"]);
    world.broken = true;
    assert_eq!(world.begin(2, message.clone(), true), UNRECORDED);
    assert!(!world.keeper.figures().store_works);
    let (stored, identity) = (key("stored"), who());
    let ask = Request::Recall { holder: holder(3), key: stored, identity, tls: false };
    assert_eq!(world.ask(ask), None, "it cannot be read now");
    let end = ended(message.clone(), Form::Smtp, &["250 ok"]);
    assert_eq!(world.commit(2, end.clone()), Some(Answer::Committed { recorded: false }));
    assert_eq!(world.begin(4, unnamed(2, &["a@x"]), true), UNRECORDED, "at once, without a try");
    assert!(world.keeper.take_work(world.now).is_none(), "it is left alone for a while");
    let due = world.keeper.work_due(world.now).unwrap();
    assert_eq!(due, world.now + limits::LEDGER_RETRY_AFTER);
    world.broken = false;
    world.now = due;
    world.run();
    assert!(world.keeper.figures().store_works);
    let Some(Answer::Recalled(recalled)) = world.answer_to(holder(3)) else { panic!() };
    assert_eq!(recalled.offset(), 17, "it was asked again");
    assert_eq!(world.recall(3, "stored").offset(), 17);
    assert_eq!(world.disk.len(), 1, "nothing is left of those that nobody was told of");
    assert_eq!(world.begin(5, message, true), GO_ON);
}

// Checkpoint 5, «Expiry»: at most so many records and octets, the oldest first; mail goes on.
#[test]
fn a_81_records_and_octets_are_bounded_and_the_oldest_go_first() {
    let settings = Settings { records_max: 10, ..Settings::default() };
    let octets = Settings { octets_max: 10 * 256, ..Settings::default() };
    for settings in [settings, octets] {
        let mut world = World::with(settings);
        for number in 0..30u64 {
            world.whole_named(number, &format!("id {number}"), "250 ok");
            world.gone(number);
        }
        assert_eq!(world.disk.len(), 10);
        assert_eq!(world.keeper.figures().counts.evicted, 20);
        assert_eq!(world.recall(99, "id 19"), Recalled::Nothing);
        assert_eq!(world.recall(99, "id 20").offset(), 17);
    }
}

// 10,000 open records of one client (here 10), the oldest out; it goes on without a record.
#[test]
fn a_81_open_transactions_of_one_client_are_bounded() {
    let mut world = World::with(Settings { open_max: 10, ..Settings::default() });
    for seat in 0..20 {
        assert_eq!(world.open(seat, &format!("id {seat}"), Level::Partial), Some(Answer::Opened));
    }
    let record = sent(with_content(named("id 0", &["a@x"])));
    assert_eq!(world.begin(0, record.clone(), true), UNRECORDED);
    let end = ended(record, Form::Smtp, &["250 ok"]);
    assert_eq!(world.commit(0, end), Some(Answer::Committed { recorded: false }));
    let record = sent(with_content(named("id 19", &["a@x"])));
    assert_eq!(world.begin(19, record, true), GO_ON);
    // Someone else is not touched by it.
    let other = secret().identity(Identity::Login(b"x"), "mx");
    let record = Record { identity: other, key: Some(Key([9; 16])), ..named("x", &[]) };
    let (transaction, level) = (transaction(50), Level::Outcome);
    let request = Request::Open { transaction, record: record.into(), level };
    assert_eq!(world.ask(request), Some(Answer::Opened));
    for seat in 0..=50 {
        world.gone(seat);
    }
    world.later(limits::LEDGER_COMMIT_MAX);
    assert!(world.keeper.connections.is_empty() && world.keeper.live.is_empty());
    assert!(world.keeper.names.is_empty() && world.keeper.open.is_empty());
}
