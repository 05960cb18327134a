//! Transactions with an id: a lost reply is given again, to its client alone.

use super::*;

// Checkpoint 3 and dialogue resume-01: the stored reply, any number of times, until it expires.
#[test]
fn a_lost_reply_is_given_again_until_it_expires() {
    let mut world = World::new();
    world.whole_named(1, "id", "250 ok");
    world.gone(1);
    for seat in 2..5 {
        let recalled = world.recall(seat, "id");
        assert_eq!(recalled.offset(), 17);
        assert_eq!(octets_of(&recalled).as_deref(), Some(&b"250 ok\r\n"[..]));
    }
    world.later(limits::LEDGER_OUTCOME_LIFETIME - Duration::from_secs(1));
    assert_eq!(world.recall(9, "id").offset(), 17);
    world.later(Duration::from_secs(1));
    assert_eq!(world.recall(9, "id"), Recalled::Nothing);
    assert!(world.disk.is_empty());
}

// unknown, someone else's, of another TLS level, open at level outcome: all the same.
#[test]
fn a_80_what_may_not_be_told_looks_like_nothing() {
    let mut world = World::new();
    world.whole_named(1, "id", "250 ok");
    world.open(2, "open", Level::Outcome);
    assert_eq!(world.recall(3, "unknown"), Recalled::Nothing);
    assert_eq!(world.recall_under(3, "id", true), Recalled::Nothing);
    assert_eq!(world.recall(3, "open"), Recalled::Nothing);
    let stranger = secret().identity(Identity::Login(b"x"), "mx");
    let (holder, key) = (holder(3), secret().transaction(stranger, b"id"));
    let request = Request::Recall { holder, key, identity: stranger, tls: false };
    assert_eq!(world.ask(request), Some(Answer::Recalled(Recalled::Nothing)));
    assert_eq!(world.recall(3, "id").offset(), 17);
}

// and it costs the same: a stranger's look-up of an id that is there takes the steps of one that is
// not, and neither of them comes to the disk.
#[test]
fn a_80_a_stranger_is_answered_by_the_same_steps_as_for_an_id_that_is_not_there() {
    let mut world = World::new();
    (0..1_000).for_each(|number| world.whole_named(number, &format!("id {number}"), "250 ok"));
    world.stalled = true;
    let stranger = secret().identity(Identity::Login(b"x"), "mx");
    let mut steps = |id: &str| {
        let before = world.keeper.figures();
        let key = secret().transaction(stranger, id.as_bytes());
        let (holder, identity) = (holder(2_000), stranger);
        let answer = world.ask(Request::Recall { holder, key, identity, tls: false });
        let after = world.keeper.figures();
        let reads = world.keeper.work_due(world.now);
        let (asked, found) =
            (after.counts.lookups - before.counts.lookups, after.counts.hits - before.counts.hits);
        (answer, asked, found, reads.is_some(), after.index_octets, after.live)
    };
    for number in 0..1_000 {
        let (theirs, nobodys) = (steps(&format!("id {number}")), steps(&format!("no {number}")));
        assert_eq!(theirs, nobodys);
        assert_eq!(theirs.0, Some(Answer::Recalled(Recalled::Nothing)));
    }
}

// a miss costs no disk read.
#[test]
fn a_81_a_miss_does_not_touch_the_disk() {
    let mut world = World::new();
    world.whole_named(1, "id", "250 ok");
    world.gone(1);
    world.stalled = true;
    for number in 0..1_000 {
        assert_eq!(world.recall(2, &format!("unknown {number}")), Recalled::Nothing);
    }
    let other = unnamed(1, &["a@x"]);
    world.keeper.ask(
        Request::Begin {
            transaction: transaction(3),
            record: Box::new(Record { fingerprint: other.fingerprint, ..other }),
            look_up: true,
            gone: false,
        },
        world.now,
    );
    assert!(world.keeper.wanted_rows.is_empty());
}

// Dialogue resume-02: lost while scanning; the commit goes on, and a resume waits for it.
#[test]
fn a_resume_waits_for_the_one_commit() {
    let mut world = World::new();
    world.open(1, "id", Level::Outcome);
    let record = sent(with_content(named("id", &["a@x"])));
    let received = Request::Received { transaction: transaction(1), record: record.clone().into() };
    assert_eq!(world.ask(received), None);
    world.gone(1);
    let recalled = world.recall(2, "id");
    assert!(matches!(recalled, Recalled::Running(_)), "{recalled:?}");
    assert_eq!(recalled.offset(), 17);
    assert_eq!(world.ask(Request::Await { holder: holder(2), key: key("id") }), None);
    assert_eq!(world.begin(1, record.clone(), true), GO_ON);
    assert_eq!(world.answer_to(holder(2)), None);
    let record = ended(record, Form::Smtp, &["250 ok"]);
    assert_eq!(world.commit(1, record), RECORDED);
    match world.answer_to(holder(2)) {
        Some(Answer::Outcome(Some(record))) => assert!(record.outcome().is_some()),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.recall(3, "id").offset(), 17);
    match world.ask(Request::Await { holder: holder(3), key: key("id") }) {
        Some(Answer::Outcome(Some(_))) => {}
        other => panic!("{other:?}"),
    }
    let unknown = Request::Await { holder: holder(3), key: key("unknown") };
    assert_eq!(world.ask(unknown), Some(Answer::Outcome(None)));
}

// Revision 2.7, A-87: the older connection has lost it, unless its content has come whole.
#[test]
fn a_87_an_id_used_on_a_newer_connection_is_lost_to_the_older_one() {
    for is_resume in [true, false] {
        let mut world = World::new();
        world.open(1, "id", Level::Outcome);
        if is_resume {
            assert_eq!(world.recall(2, "id"), Recalled::Nothing);
        }
        assert_eq!(world.open(2, "id", Level::Outcome), Some(Answer::Opened));
        assert_eq!(world.answer_to(holder(1)), Some(Answer::Superseded(transaction(1))));
        // The older one cannot deliver any more, whatever it has sent meanwhile.
        let record = sent(with_content(named("id", &["a@x"])));
        let late = Request::Received { transaction: transaction(1), record: record.clone().into() };
        assert_eq!(world.ask(late), None);
        let superseded = Some(Answer::Begun(Begun::Superseded));
        assert_eq!(world.begin(1, record.clone(), true), superseded);
        world.gone(1);
        let (transaction, gone) = (transaction(1), true);
        let again =
            Request::Begin { transaction, record: record.clone().into(), look_up: true, gone };
        assert_eq!(world.ask(again), superseded, "also when its connection is gone");
        assert_eq!(world.begin(2, record.clone(), true), GO_ON);
        assert_eq!(world.commit(2, ended(record, Form::Smtp, &["250 ok"])), RECORDED);
        assert_eq!(world.recall(3, "id").offset(), 17);
    }
}

// Checkpoint 5: TRANSOFF=0 forgets the old record; one still committing is waited for.
#[test]
fn a_new_transaction_throws_away_what_was_held_under_its_id() {
    let mut world = World::new();
    world.whole_named(1, "id", "250 ok");
    world.stalled = true;
    assert_eq!(world.open(2, "id", Level::Outcome), None, "first the old one is gone for good");
    world.stalled = false;
    world.run();
    assert_eq!(world.answer_to(holder(2)), Some(Answer::Opened));
    assert!(world.disk.is_empty());
    let record = sent(with_content(named("id", &["a@x"])));
    let received = Request::Received { transaction: transaction(2), record: record.clone().into() };
    world.ask(received);
    assert_eq!(world.open(3, "id", Level::Outcome), None, "a commit is at work");
    assert_eq!(world.begin(2, record.clone(), true), GO_ON);
    assert_eq!(world.commit(2, ended(record, Form::Smtp, &["250 ok"])), RECORDED);
    assert_eq!(world.answer_to(holder(3)), Some(Answer::Opened));
    assert_eq!(world.recall(4, "id"), Recalled::Nothing);
    assert!(world.disk.is_empty());
}

// Revision 2.5: RSET discards what is open; between transactions it discards nothing. QUIT frees.
#[test]
fn rset_forgets_what_is_open_and_quit_frees_what_is_stored() {
    let mut world = World::new();
    world.open(1, "id", Level::Partial);
    assert_eq!(world.ask(Request::Forget { transaction: transaction(1) }), None);
    assert_eq!(world.recall(1, "id"), Recalled::Nothing);
    world.whole_named(1, "id", "250 ok");
    assert_eq!(world.ask(Request::Forget { transaction: transaction(1) }), None);
    assert_eq!(world.recall(2, "id").offset(), 17);
    // Resumed and then QUIT on the second connection.
    assert_eq!(world.ask(Request::Quit { holder: holder(2) }), None);
    world.gone(2);
    assert_eq!(world.keeper.index.count(Standing::Confirmed), 1);
    world.later(Duration::from_secs(59));
    assert_eq!(world.recall(3, "id").offset(), 17, "the grace");
    world.later(Duration::from_secs(2));
    assert_eq!(world.recall(3, "id"), Recalled::Nothing);
    assert!(world.disk.is_empty());
    // QUIT on the connection itself.
    world.whole_named(4, "id", "250 ok");
    world.ask(Request::Quit { holder: holder(4) });
    world.gone(4);
    world.later(Duration::from_secs(61));
    assert_eq!(world.recall(5, "id"), Recalled::Nothing);
}

// Checkpoint 5: TRANSOFF=0 waits for one that is still being committed, bounded by the scan's hard stop.
#[test]
fn a_new_transaction_does_not_wait_for_ever_for_one_that_is_being_committed() {
    let mut world = World::new();
    assert_eq!(world.open(1, "one", Level::Outcome), Some(Answer::Opened));
    let record = sent(with_content(named("one", &["a@x"])));
    assert_eq!(world.begin(1, record.clone(), true), GO_ON);
    assert_eq!(world.open(2, "one", Level::Outcome), None, "it waits");
    world.later(limits::LEDGER_OPEN_PATIENCE - Duration::from_micros(1));
    assert_eq!(world.answer_to(holder(2)), None);
    world.later(Duration::from_micros(1));
    assert_eq!(world.answer_to(holder(2)), Some(Answer::Opened));
    // The older one goes on to its end, and its outcome is not kept.
    let end = ended(record, Form::Smtp, &["250 older"]);
    assert_eq!(world.commit(1, end), Some(Answer::Committed { recorded: false }));
    let newer = sent(with_content(named("one", &["a@x"])));
    assert_eq!(world.begin(2, newer.clone(), true), GO_ON);
    let end = ended(newer, Form::Smtp, &["250 newer"]);
    assert_eq!(world.commit(2, end.clone()), RECORDED);
    world.gone(2);
    assert_eq!(octets_of(&world.recall(3, "one")), end.final_reply());
}
