//! Messages without an id are known again by what they are.

use super::*;

// Checkpoint 6: unconfirmed and its connection gone: the stored reply; else two messages.
#[test]
fn a_message_is_known_again_only_if_its_reply_was_lost() {
    let message = unnamed(1, &["a@x"]);
    let mut world = World::new();
    world.whole_unnamed(1, &message, Form::Smtp, &["250 ok"]);
    world.gone(1);
    let known = world.known(3, &message);
    assert_eq!(known.each, [Some(Known::Done(told("250 ok")))]);
    assert_eq!(known.whole, Some(vec![told("250 ok")]));
    assert_eq!(world.commit(3, ended(message.clone(), Form::Smtp, &["250 ok"])), RECORDED);
    // The retry's reply was seen: an equal message is a wanted second copy, before and after a crash.
    world.confirm(3);
    assert_eq!(world.begin(4, message.clone(), true), GO_ON);
    assert_eq!(world.ask(Request::Gone { holder: holder(4) }), None);
    let mut world = World::new();
    world.whole_unnamed(1, &message, Form::Smtp, &["250 ok"]);
    // Two equal messages on live connections are two messages, one after the other or at once.
    world.whole_unnamed(2, &message, Form::Smtp, &["250 ok"]);
    assert_eq!(world.begin(3, message.clone(), true), GO_ON);
    assert_eq!(world.begin(4, message.clone(), true), GO_ON);
    let mut world = World::new();
    world.whole_unnamed(1, &message, Form::Smtp, &["250 ok"]);
    world.confirm(1);
    assert!(world.disk.is_empty());
    world.crash();
    assert_eq!(world.begin(5, message, true), GO_ON);
}

// Checkpoint 6: the window.
#[test]
fn after_the_window_it_is_another_message() {
    let message = unnamed(1, &["a@x"]);
    let mut world = World::new();
    world.whole_unnamed(1, &message, Form::Smtp, &["250 ok"]);
    world.gone(1);
    world.later(limits::LEDGER_REPLAY_WINDOW);
    assert!(world.disk.is_empty());
    assert_eq!(world.begin(2, message, true), GO_ON);
}

// Checkpoint 6: «If the first copy's connection is lost and its commit is still at work, the retry
// waits for that result».
#[test]
fn a_retry_waits_for_a_commit_that_has_lost_its_client() {
    let message = unnamed(1, &["a@x", "b@x"]);
    let mut world = World::new();
    assert_eq!(world.begin(1, message.clone(), true), GO_ON);
    world.gone(1);
    assert_eq!(world.begin(2, message.clone(), true), None);
    assert_eq!(world.commit(1, ended(message.clone(), Form::Smtp, &["250 ok"])), RECORDED);
    match world.answer_to(holder(2)) {
        Some(Answer::Begun(Begun::Known(known))) => assert!(known.whole.is_some()),
        other => panic!("{other:?}"),
    }
    // A commit that never ends is not waited for without end.
    let other = unnamed(2, &["a@x"]);
    assert_eq!(world.begin(3, other.clone(), true), GO_ON);
    world.gone(3);
    assert_eq!(world.begin(4, other, true), None);
    world.later(limits::LEDGER_COMMIT_MAX);
    match world.answer_to(holder(4)) {
        Some(Answer::Begun(Begun::Known(known))) => {
            assert!(matches!(known.each[..], [Some(Known::Unknown(_))]));
        }
        other => panic!("{other:?}"),
    }
}

// Checkpoint 6: retries with fewer recipients (LMTP sends only the unanswered ones), and A-83: one
// more recipient, and rules reloaded in between.
#[test]
fn a_83_each_recipient_of_a_retry_gets_its_own_stored_reply() {
    let message = unnamed(1, &["a@x", "b@x", "c@x"]);
    let replies = ["250 a", "550 b", "450 c"];
    let retry =
        |addresses: &[&str], rules| Record { form: Form::Lmtp, rules, ..unnamed(1, addresses) };
    let done = |text| Some(Known::Done(told(text)));
    let refused = |text| Some(Known::Refused(told(text)));
    type Retry<'a> = (&'a [&'a str], u64, Vec<Option<Known>>);
    let table: [Retry<'_>; 5] = [
        (&["a@x", "b@x", "c@x"], 7, vec![done("250 a"), refused("550 b"), None]),
        (&["b@x", "a@x"], 7, vec![refused("550 b"), done("250 a")]),
        (&["a@x", "d@x"], 7, vec![done("250 a"), None]),
        (&["a@x", "b@x", "c@x"], 8, vec![done("250 a"), None, None]),
        (&["b@x", "a@x"], 8, vec![None, done("250 a")]),
    ];
    for (addresses, rules, expected) in table {
        let mut world = World::new();
        world.whole_unnamed(1, &message, Form::Lmtp, &replies);
        world.gone(1);
        let known = world.known(2, &retry(addresses, rules));
        assert_eq!(known.each, expected, "{addresses:?} {rules}");
        assert_eq!(known.whole, None, "{addresses:?} {rules}");
    }
    let mut world = World::new();
    world.whole_unnamed(1, &message, Form::Lmtp, &replies);
    world.gone(1);
    assert_eq!(world.begin(2, retry(&["c@x"], 7), true), GO_ON, "a stored 4xx is never replayed");
}

// Checkpoint 6: what a retry with fewer recipients has settled, its confirmation frees; the others
// stay known. After a crash, too.
#[test]
fn a_retry_takes_the_place_of_the_first_try_for_its_recipients_only() {
    let lmtp = |addresses: &[&str]| Record { form: Form::Lmtp, ..unnamed(1, addresses) };
    for crashes in [false, true] {
        let mut world = World::new();
        world.whole_unnamed(1, &lmtp(&["a@x", "b@x"]), Form::Lmtp, &["250 a", "250 b"]);
        world.gone(1);
        world.known(2, &lmtp(&["a@x"]));
        let again = ended(lmtp(&["a@x"]), Form::Lmtp, &["250 a"]);
        assert_eq!(world.commit(2, again), RECORDED);
        world.confirm(2);
        world.gone(2);
        if crashes {
            world.crash();
        }
        assert_eq!(world.disk.len(), 1);
        assert_eq!(world.begin(3, lmtp(&["a@x"]), true), GO_ON, "a wanted second copy");
        world.gone(3);
        let known = world.known(4, &lmtp(&["b@x"]));
        assert_eq!(known.each, [Some(Known::Done(told("250 b")))]);
    }
}

// Checkpoint 6: «a client that got the reply has confirmed it: a later equal message is a wanted second
// copy». Once a retry that was answered from an earlier record, while the disk was too slow to take its own,
// left that record as it was when its client had confirmed the reply: the next message was swallowed.
#[test]
fn a_reply_without_a_record_of_its_own_confirms_the_record_that_it_comes_of() {
    let lmtp = |addresses: &[&str]| Record { form: Form::Lmtp, ..unnamed(1, addresses) };
    let again = ended(lmtp(&["a@x"]), Form::Lmtp, &["250 a"]);
    for confirms in [true, false] {
        for fails in [true, false] {
            let mut world = World::new();
            world.whole_unnamed(1, &lmtp(&["a@x", "b@x"]), Form::Lmtp, &["250 a", "250 b"]);
            world.gone(1);
            assert_eq!(world.known(2, &lmtp(&["a@x"])).each, [Some(Known::Done(told("250 a")))]);
            (world.broken, world.stalled) = (fails, !fails);
            let mut answer = world.commit(2, again.clone());
            if !fails {
                world.later(limits::LEDGER_ANSWER_TIMEOUT);
                answer = world.answer_to(holder(2));
            }
            assert_eq!(answer, Some(Answer::Committed { recorded: false }));
            (world.broken, world.stalled) = (false, false);
            if confirms {
                world.confirm(2);
            }
            world.gone(2);
            world.later(limits::LEDGER_RETRY_AFTER);
            match confirms {
                true => assert_eq!(world.begin(3, lmtp(&["a@x"]), true), GO_ON, "{fails}"),
                false => {
                    let known = world.known(3, &lmtp(&["a@x"]));
                    assert_eq!(known.each, [Some(Known::Done(told("250 a")))], "{fails}");
                }
            }
            let known = world.known(4, &lmtp(&["b@x"]));
            assert_eq!(known.each, [Some(Known::Done(told("250 b")))], "of whom nothing was told");
            assert!(world.keeper.connections.keys().all(|one| *one != holder(2)));
        }
    }
}

// Once a retry that could not read what was known, as the disk was too slow, and that was put off itself took
// the place of what was known: who had a copy got a second one.
#[test]
fn what_a_blind_retry_does_not_know_stays_known() {
    let lmtp = |addresses: &[&str]| Record { form: Form::Lmtp, ..unnamed(1, addresses) };
    let (two, one) = (["a@x", "b@x"], ["b@x"]);
    for crashes in [false, true] {
        for blind in [&two[..], &one] {
            let mut world = World::new();
            world.whole_unnamed(1, &lmtp(&two), Form::Lmtp, &["250 a", "250 b"]);
            world.gone(1);
            assert_eq!(world.begin(2, lmtp(blind), false), GO_ON);
            let replies = &["250 again", "450 later"][2 - blind.len()..];
            world.commit(2, ended(lmtp(blind), Form::Lmtp, replies));
            world.gone(2);
            if crashes {
                world.crash();
            }
            let of_first = if blind.len() == 2 { "250 again" } else { "250 a" };
            let known = world.known(3, &lmtp(&two));
            let done = |text| Some(Known::Done(told(text)));
            assert_eq!(known.each, [done(of_first), done("250 b")], "{blind:?} {crashes}");
            assert_eq!(world.disk.len(), blind.len(), "what knows nothing is not kept");
        }
    }
}

// Dialogue resume-12: one done, one deferred: 451. It counts though it was confirmed, until a retry
// ends without a deferral.
#[test]
fn what_a_451_hides_is_known_until_a_retry_ends_without_a_deferral() {
    let message = unnamed(1, &["a@x", "b@x"]);
    let deferred = |record: Record| {
        let mut record = ended(record, Form::Smtp, &["451 later"]);
        record.recipients[0].copy = CopyState::Done(told("250 taken"));
        record
    };
    for crashes in [false, true] {
        let mut world = World::new();
        assert_eq!(world.begin(1, message.clone(), true), GO_ON);
        assert_eq!(world.commit(1, deferred(message.clone())), RECORDED);
        world.confirm(1);
        world.gone(1);
        assert_eq!(world.keeper.index.count(Standing::Owed), 1);
        if crashes {
            world.crash();
        }
        let known = world.known(2, &message);
        assert_eq!(known.each, [Some(Known::Done(told("250 taken"))), None]);
        assert_eq!(world.begin(2, message.clone(), false), GO_ON, "only the rest is handed on");
        assert_eq!(world.commit(2, deferred(message.clone())), RECORDED);
        world.confirm(2);
        // The client gives up on the other one.
        let rest = unnamed(1, &["a@x"]);
        assert_eq!(world.known(2, &rest).each, [Some(Known::Done(told("250 taken")))]);
        assert_eq!(world.commit(2, ended(rest.clone(), Form::Smtp, &["250 ok"])), RECORDED);
        world.confirm(2);
        assert_eq!(world.begin(3, rest, true), GO_ON, "a wanted second copy");
    }
}
