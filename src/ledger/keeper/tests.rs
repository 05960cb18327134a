//! The keeper with a made-up disk: sections of checkpoint.md as tables of what is asked and answered.

use super::*;
use crate::ledger::record::{Content, CopyState, Form, Mail, Partial, Told, Transfer};
use crate::ledger::request::{Begun, Recognised};
use crate::ledger::rules::Known;
use crate::ledger::{ContentDigest, Identity, sample};
use std::collections::BTreeMap;

/// A keeper and its disk.
struct World {
    keeper: Keeper,
    disk: BTreeMap<Row, Vec<u8>>,
    files: BTreeMap<Row, Vec<u8>>,
    work: Option<Work>,
    answers: Vec<(Holder, Answer)>,
    now: Tick,
    /// The disk does nothing.
    stalled: bool,
    /// The disk fails.
    broken: bool,
    settings: Settings,
}

fn secret() -> Secret {
    Secret::new([1; 32])
}

fn who() -> IdentityKey {
    secret().identity(Identity::Unknown, "mx")
}

fn holder(seat: u64) -> Holder {
    Holder { line: 0, seat }
}

fn transaction(seat: u64) -> Transaction {
    Transaction { holder: holder(seat), number: 1 }
}

fn told(text: &str) -> Told {
    Told::new(format!("{text}\r\n").into_bytes())
}

fn key(id: &str) -> Key {
    secret().transaction(who(), id.as_bytes())
}

/// A transaction with an id, before its content.
fn named(id: &str, addresses: &[&str]) -> Record {
    Record {
        key: Some(key(id)),
        identity: who(),
        content: None,
        phase: Phase::Open,
        ..sample::record(addresses)
    }
}

/// A message without an id whose copies are to be handed on; `body` makes it another one.
fn unnamed(body: u8, addresses: &[&str]) -> Record {
    let mut record = Record { key: None, identity: who(), ..sample::record(addresses) };
    let digest = ContentDigest([body; 32]);
    record.content = Some(Content { octets: 17, digest });
    let mail = Mail { reverse_path: (*b"s@client.example").into(), parameters: Vec::new() };
    record.fingerprint = Some(secret().fingerprint(who(), &mail, &digest));
    sent(record)
}

fn with_content(mut record: Record) -> Record {
    record.content = Some(Content { octets: 17, digest: ContentDigest([3; 32]) });
    record
}

fn sent(mut record: Record) -> Record {
    record.recipients.iter_mut().for_each(|one| one.copy = CopyState::Sent);
    record
}

/// The record with its outcome; copies told 2xx are done.
fn ended(mut record: Record, form: Form, replies: &[&str]) -> Record {
    record.form = form;
    let replies: Vec<Told> = replies.iter().map(|text| told(text)).collect();
    for (place, recipient) in record.recipients.iter_mut().enumerate() {
        let own = replies.get(place).unwrap_or(&replies[0]);
        recipient.copy = match own.code() / 100 {
            2 => CopyState::Done(own.clone()),
            _ => CopyState::NotSent,
        };
    }
    record.phase = Phase::Committed(Outcome { replies, confirmed: false });
    record
}

impl World {
    fn new() -> World {
        World::with(Settings::default())
    }

    fn with(settings: Settings) -> World {
        World {
            keeper: Keeper::new(settings.clone(), secret(), 1_800_000_000),
            disk: BTreeMap::new(),
            files: BTreeMap::new(),
            work: None,
            answers: Vec::new(),
            now: Tick::START,
            stalled: false,
            broken: false,
            settings,
        }
    }

    /// Asks, lets the disk work, and gives what the asker was answered.
    fn ask(&mut self, request: Request) -> Option<Answer> {
        let holder = request.holder();
        self.keeper.ask(request, self.now);
        self.run();
        self.answer_to(holder)
    }

    fn answer_to(&mut self, holder: Holder) -> Option<Answer> {
        let place = self.answers.iter().position(|(other, _)| *other == holder)?;
        Some(self.answers.remove(place).1)
    }

    fn run(&mut self) {
        loop {
            while let Some(effect) = self.keeper.poll_effect() {
                match effect {
                    Effect::Answer(holder, answer) => self.answers.push((holder, answer)),
                    Effect::File(job) => self.file(job),
                }
            }
            if self.stalled {
                return;
            }
            let Some(work) = self.work.take().or_else(|| self.next_work()) else { return };
            if self.broken {
                self.keeper.failed(work.changes, self.now);
                continue;
            }
            for row in work.reads {
                self.keeper.found(row, self.disk.get(&row).map(Vec::as_slice), self.now);
            }
            let records = work.changes.len();
            for (row, change) in work.changes {
                match change {
                    Some(octets) => drop(self.disk.insert(row, octets)),
                    None => drop(self.disk.remove(&row)),
                }
            }
            self.keeper.committed(records, self.now);
        }
    }

    /// What nobody waits for is written as if its time had come.
    fn next_work(&mut self) -> Option<Work> {
        let soon = self.now + limits::LEDGER_COMMIT_INTERVAL;
        let due = self.keeper.work_due(self.now).filter(|due| *due <= soon)?;
        self.keeper.take_work(due)
    }

    fn file(&mut self, job: FileJob) {
        let done = match job {
            FileJob::Append { file, octets } => {
                let len = octets.len();
                self.files.entry(file).or_default().extend(octets);
                FileDone::Appended { file, octets: len, done: !self.broken }
            }
            FileJob::Sync { file, partial } => {
                FileDone::Synced { file, partial, done: !self.broken }
            }
            FileJob::Cut { file, octets } => {
                return self.files.entry(file).or_default().truncate(octets as usize);
            }
            FileJob::Read { file, from, ticket } => {
                let octets = self.files.get(&file).and_then(|all| all.get(from as usize..));
                FileDone::Loaded { ticket, octets: octets.map(<[u8]>::to_vec) }
            }
            FileJob::Remove { file } => return drop(self.files.remove(&file)),
        };
        self.keeper.file_done(done, self.now);
    }

    /// The process dies; what is on the disk is all that is left.
    fn crash(&mut self) {
        self.now = Tick::START;
        self.keeper = Keeper::new(self.settings.clone(), secret(), 1_800_000_000);
        self.answers.clear();
        self.work = None;
        for (row, octets) in &self.disk {
            self.keeper.load_row(*row, octets, self.now).unwrap();
        }
        let kept = |file: &Row, _: &mut Vec<u8>| self.keeper.is_kept_file(*file);
        self.files.retain(kept);
        self.run();
    }

    fn later(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.keeper.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.keeper.timed_out(self.now);
            self.run();
        }
        self.now = end;
        self.keeper.timed_out(self.now);
        self.run();
    }

    fn open(&mut self, seat: u64, id: &str, level: Level) -> Option<Answer> {
        let record = Box::new(named(id, &[]));
        self.ask(Request::Open { transaction: transaction(seat), record, level })
    }

    fn recall(&mut self, seat: u64, id: &str) -> Recalled {
        self.recall_under(seat, id, false)
    }

    fn recall_under(&mut self, seat: u64, id: &str, tls: bool) -> Recalled {
        let (holder, key, identity) = (holder(seat), key(id), who());
        match self.ask(Request::Recall { holder, key, identity, tls }) {
            Some(Answer::Recalled(recalled)) => recalled,
            other => panic!("{other:?}"),
        }
    }

    fn begin(&mut self, seat: u64, record: Record, look_up: bool) -> Option<Answer> {
        let (transaction, record) = (transaction(seat), Box::new(record));
        self.ask(Request::Begin { transaction, record, look_up, gone: false })
    }

    fn commit(&mut self, seat: u64, record: Record) -> Option<Answer> {
        let (transaction, record) = (transaction(seat), Box::new(record));
        self.ask(Request::Commit { transaction, record, gone: false })
    }

    fn gone(&mut self, seat: u64) {
        assert_eq!(self.ask(Request::Gone { holder: holder(seat) }), None);
    }

    fn confirm(&mut self, seat: u64) {
        assert_eq!(self.ask(Request::Confirm { through: transaction(seat) }), None);
    }

    /// A whole transaction with an id.
    fn whole_named(&mut self, seat: u64, id: &str, reply: &str) {
        assert_eq!(self.open(seat, id, Level::Outcome), Some(Answer::Opened));
        let record = sent(with_content(named(id, &["a@x"])));
        let received = Box::new(record.clone());
        self.ask(Request::Received { transaction: transaction(seat), record: received });
        assert_eq!(self.begin(seat, record.clone(), true), GO_ON);
        assert_eq!(self.commit(seat, ended(record, Form::Smtp, &[reply])), RECORDED);
    }

    /// A whole message without an id.
    fn whole_unnamed(&mut self, seat: u64, record: &Record, form: Form, replies: &[&str]) {
        let record = Record { form, ..record.clone() };
        assert_eq!(self.begin(seat, record.clone(), true), GO_ON);
        assert_eq!(self.commit(seat, ended(record, form, replies)), RECORDED);
    }

    fn known(&mut self, seat: u64, record: &Record) -> Recognised {
        match self.begin(seat, record.clone(), true) {
            Some(Answer::Begun(Begun::Known(known))) => *known,
            other => panic!("{other:?}"),
        }
    }
}

const GO_ON: Option<Answer> = Some(Answer::Begun(Begun::GoOn { recorded: true }));
const UNRECORDED: Option<Answer> = Some(Answer::Begun(Begun::GoOn { recorded: false }));
const RECORDED: Option<Answer> = Some(Answer::Committed { recorded: true });

fn octets_of(recalled: &Recalled) -> Option<Vec<u8>> {
    recalled.record().and_then(|record| record.final_reply())
}

// ---- with an id -----------------------------------------------------------------------------

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

// ---- without an id --------------------------------------------------------------------------

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

// ---- crashes --------------------------------------------------------------------------------

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
        [Some(Known::Done(told("250 taken"))), Some(Known::Unknown(record.trace_id.clone()))]
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

// ---- the disk -------------------------------------------------------------------------------

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

// ---- content in part ------------------------------------------------------------------------

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
