//! Content in part: kept, parked, taken up, bounded.

use super::*;

impl World {
    fn begin_content(&mut self, seat: u64, id: &str, transfer: Transfer) {
        assert_eq!(self.open(seat, id, Level::Partial), Some(Answer::Opened));
        let record = Record { transfer, ..named(id, &["a@x"]) };
        let transaction = transaction(seat);
        assert_eq!(self.ask(Request::Content { transaction, record: record.into() }), None);
    }

    fn append(&mut self, seat: u64, octets: &[u8]) {
        let transaction = transaction(seat);
        assert_eq!(self.ask(Request::Append { transaction, octets: octets.to_vec() }), None);
    }

    fn take(&mut self, seat: u64, id: &str) -> Option<Arc<Record>> {
        match self.ask(Request::Take { transaction: transaction(seat), key: key(id) }) {
            Some(Answer::Taken(record)) => record,
            other => panic!("{other:?}"),
        }
    }

    fn load(&mut self, seat: u64, from: u64) -> Option<Vec<u8>> {
        match self.ask(Request::Load { transaction: transaction(seat), from }) {
            Some(Answer::Loaded(octets)) => octets,
            other => panic!("{other:?}"),
        }
    }
}

// Dialogue resume-08: cut after each octet, DATA goes on at the start of a line and BDAT anywhere; the
// parts make the original. With a crash in between, too.
#[test]
fn parts_make_the_original_wherever_it_was_cut() {
    let content = b"Subject: x\r\n\r\n.dot\r\nhalf and rest\r\n";
    for transfer in [Transfer::Data, Transfer::Bdat] {
        for cut in 0..content.len() {
            for crashes in [false, true] {
                let mut world = World::new();
                world.begin_content(1, "id", transfer);
                for octet in &content[..cut] {
                    world.append(1, &[*octet]);
                }
                world.gone(1);
                if crashes {
                    world.crash();
                }
                let recalled = world.recall(2, "id");
                let line_end = memchr::memrchr(b'\n', &content[..cut]).map_or(0, |end| end + 1);
                let expected = if transfer == Transfer::Data { line_end } else { cut };
                assert_eq!(recalled.offset(), expected as u64, "{transfer:?} {cut} {crashes}");
                if expected == 0 {
                    continue;
                }
                let record = world.take(2, "id").unwrap();
                assert_eq!(&*record.recipients[0].address, b"a@x");
                assert_eq!(world.load(2, 0).as_deref(), Some(&content[..expected]));
                assert_eq!(world.load(2, expected as u64), Some(Vec::new()));
                world.append(2, &content[expected..]);
                world.gone(2);
                assert_eq!(world.recall(3, "id").offset(), content.len() as u64);
                world.take(3, "id").unwrap();
                assert_eq!(world.load(3, 0).as_deref(), Some(&content[..]));
            }
        }
    }
}

// Dialogue resume-10: the newer connection goes on, the older one is told.
#[test]
fn a_87_content_in_part_is_taken_by_the_newer_connection() {
    let mut world = World::new();
    world.begin_content(1, "id", Transfer::Bdat);
    world.append(1, b"Subject: x\r\n\r\n");
    assert_eq!(world.recall(2, "id").offset(), 14);
    assert_eq!(world.answer_to(holder(1)), Some(Answer::Superseded(transaction(1))));
    assert!(world.take(2, "id").is_some());
    world.append(1, b"from the old one\r\n");
    world.append(2, b"from the new one\r\n");
    assert_eq!(world.load(2, 0).unwrap(), b"Subject: x\r\n\r\nfrom the new one\r\n");
    assert_eq!(world.take(3, "id"), None, "somebody acts on it");
    world.gone(1);
    assert_eq!(world.keeper.connections.len(), 1);
}

// A crash with the whole content kept: nothing has to come again, and what was done is spared.
#[test]
fn content_that_came_whole_is_committed_after_a_crash_without_its_client() {
    for handed_on in [false, true] {
        let mut world = World::new();
        world.begin_content(1, "id", Transfer::Data);
        world.append(1, b"Subject: x\r\n\r\ny\r\n");
        let record = sent(with_content(named("id", &["a@x"])));
        let received =
            Request::Received { transaction: transaction(1), record: record.clone().into() };
        assert_eq!(world.ask(received), None);
        if handed_on {
            assert_eq!(world.begin(1, record.clone(), true), GO_ON);
        }
        world.crash();
        assert_eq!(world.keeper.figures().counts.unknown_intents, u64::from(handed_on));
        assert_eq!(world.recall(2, "id").offset(), 17);
        let taken = world.take(2, "id").unwrap();
        assert_eq!(taken.content, record.content);
        assert_eq!(world.load(2, 0).unwrap().len(), 17);
        match world.begin(2, record.clone(), true) {
            Some(Answer::Begun(Begun::Known(known))) => {
                assert!(handed_on && matches!(known.each[..], [Some(Known::Unknown(_))]));
            }
            other => assert_eq!((handed_on, other), (false, GO_ON)),
        }
        assert_eq!(world.commit(2, ended(record, Form::Smtp, &["250 ok"])), RECORDED);
        assert!(world.files.is_empty());
        assert_eq!(world.recall(3, "id").offset(), 17);
        assert_eq!(world.keeper.figures().partial_octets, 0);
    }
}

// What a crash has left in doubt stays so when the transaction that has gone on with it, in its place, leaves no
// record, as the disk fails or is too slow: once it was forgotten with that, and nobody was asked.
#[test]
fn what_was_gone_on_with_stays_in_doubt_if_the_disk_takes_no_outcome() {
    for (fails, at_intent) in [(true, true), (true, false), (false, false)] {
        let mut world = World::new();
        world.begin_content(1, "id", Transfer::Data);
        world.append(1, b"Subject: x\r\n\r\ny\r\n");
        let mut record = with_content(named("id", &["a@x"]));
        record.fingerprint = unnamed(3, &["a@x"]).fingerprint;
        let record = sent(record);
        let received =
            Request::Received { transaction: transaction(1), record: record.clone().into() };
        assert_eq!(world.ask(received), None);
        assert_eq!(world.begin(1, record.clone(), true), GO_ON);
        world.crash();
        assert_eq!(world.recall(2, "id").offset(), 17);
        let mut second = world.take(2, "id").unwrap().goes_on_as("second");
        second.recipients[0].copy = CopyState::Sent { octets: 21, earlier: vec![] };
        let doubt = vec![sample::sending("5f1z3-1", 20)];
        assert_eq!(world.known(2, &second).each, [Some(Known::Unknown(doubt.clone()))]);
        world.broken = at_intent;
        world.begin(2, second.clone(), false);
        (world.broken, world.stalled) = (fails, !fails);
        let mut deferred = ended(second, Form::Smtp, &["451 later"]);
        deferred.recipients[0].copy = CopyState::Unknown(doubt.clone());
        let mut answer = world.commit(2, deferred);
        if !fails {
            world.later(limits::LEDGER_ANSWER_TIMEOUT);
            answer = world.answer_to(holder(2));
        }
        assert_eq!(answer, Some(Answer::Committed { recorded: false }));
        (world.broken, world.stalled) = (false, false);
        world.confirm(2);
        world.gone(2);
        world.later(limits::LEDGER_RETRY_AFTER);
        let third = Record { key: Some(key("other")), ..record };
        world.open(3, "other", Level::Outcome);
        let known = world.known(3, &third);
        assert_eq!(known.each, [Some(Known::Unknown(doubt))], "{fails} {at_intent}");
    }
}

// The client of a parked intent comes by another id, or begins anew under its own: what the first run has sent is
// known to be in doubt, whether it was taken and given up meanwhile or not.
#[test]
fn a_parked_intent_is_known_to_whoever_sends_the_message_again() {
    for what in ["parked", "taken and lost", "taken and forgotten", "begun anew"] {
        let mut world = World::new();
        world.begin_content(1, "id", Transfer::Data);
        world.append(1, b"Subject: x\r\n\r\ny\r\n");
        let mut record = with_content(named("id", &["a@x"]));
        record.fingerprint = unnamed(3, &["a@x"]).fingerprint;
        let record = sent(record);
        let received =
            Request::Received { transaction: transaction(1), record: record.clone().into() };
        assert_eq!(world.ask(received), None);
        assert_eq!(world.begin(1, record.clone(), true), GO_ON);
        world.crash();
        assert_eq!(world.keeper.opened().records, 1);
        assert_eq!(world.recall(2, "id").offset(), 17);
        match what {
            "taken and lost" => {
                world.take(2, "id").unwrap();
                world.gone(2);
            }
            "taken and forgotten" => {
                world.take(2, "id").unwrap();
                assert_eq!(world.ask(Request::Forget { transaction: transaction(2) }), None);
            }
            "begun anew" => _ = world.open(2, "id", Level::Outcome),
            _ => {}
        }
        let third = Record { key: Some(key("other")), ..record };
        world.open(3, "other", Level::Outcome);
        let known = world.known(3, &third);
        let doubt = vec![sample::sending("5f1z3-1", 20)];
        assert_eq!(known.each, [Some(Known::Unknown(doubt))], "{what}");
    }
}

// Checkpoint 5 and A-81: 64 MiB a client, 1 GiB, 10 minutes (sizes here / 1 Mi); empty after expiry.
#[test]
fn a_81_content_in_part_is_bounded_and_gone_after_its_time() {
    let settings =
        Settings { partial_octets_client: 64, partial_octets: 100, ..Settings::default() };
    let mut world = World::with(settings);
    let begin = |world: &mut World, seat: u64| {
        world.begin_content(seat, &format!("id {seat}"), Transfer::Bdat);
        world.append(seat, &[b'x'; 30]);
    };
    (1..=3).for_each(|seat| begin(&mut world, seat));
    assert_eq!(world.files.len(), 2, "the third one is not kept");
    assert_eq!(world.keeper.figures().counts.partial_refused, 1);
    let record = sent(with_content(named("id 3", &["a@x"])));
    assert_eq!(world.begin(3, record, true), GO_ON, "its outcome is");
    (1..=3).for_each(|seat| world.gone(seat));
    assert_eq!(world.recall(4, "id 1").offset(), 30);
    assert_eq!(world.keeper.figures().partial_octets, 60);
    world.later(limits::LEDGER_PARTIAL_LIFETIME - Duration::from_secs(1));
    assert_eq!(world.files.len(), 2);
    world.later(Duration::from_secs(1));
    assert!(world.files.is_empty());
    assert_eq!(world.recall(4, "id 1"), Recalled::Nothing);
    assert_eq!(world.keeper.figures().partial_octets, 0);
    world.later(limits::LEDGER_COMMIT_MAX);
    world.later(limits::LEDGER_OUTCOME_LIFETIME);
    assert!(world.disk.is_empty() && world.keeper.kept_by_identity.is_empty());
}

// A file that cannot be written: mail goes on, content is kept no more.
#[test]
fn a_85_a_file_that_fails_is_kept_no_more() {
    let mut world = World::new();
    world.begin_content(1, "id", Transfer::Bdat);
    world.broken = true;
    world.append(1, b"x");
    world.broken = false;
    assert!(world.files.is_empty());
    assert_eq!(world.load(1, 0), None);
    world.append(1, b"y");
    assert_eq!(world.recall(2, "id"), Recalled::Nothing);
}

// Unsynced octets are not promised: a crash leaves what was durable.
#[test]
fn the_offset_after_a_crash_is_what_was_durable() {
    let mut world = World::new();
    world.begin_content(1, "id", Transfer::Bdat);
    world.append(1, &vec![b'a'; limits::LEDGER_SYNC_OCTETS as usize]);
    world.append(1, b"not durable");
    world.crash();
    assert_eq!(world.recall(2, "id").offset(), limits::LEDGER_SYNC_OCTETS);
    let file = world.files.values().next().unwrap();
    assert_eq!(file.len() as u64, limits::LEDGER_SYNC_OCTETS);
    let row = *world.disk.keys().next().unwrap();
    let record = Record::decode(&world.disk[&row]).unwrap();
    let synced = limits::LEDGER_SYNC_OCTETS;
    assert_eq!(record.partial, Some(Partial { synced, line_end: 0 }));
}
