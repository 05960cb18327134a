//! The keeper with a made-up disk: sections of checkpoint.md as tables of what is asked and answered.

use super::*;
use crate::ledger::record::{
    Content, CopyState, Form, Mail, Outcome, Partial, Phase, Told, Transfer,
};
use crate::ledger::request::{Begun, Recognised};
use crate::ledger::rules::Known;
use crate::ledger::{ContentDigest, Identity, Sending, sample};
use std::collections::BTreeMap;

mod crashes;
mod disk;
mod named;
mod partial;
mod unnamed;

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
    record.recipients.iter_mut().for_each(|one| one.copy = sample::sent(20));
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

    /// Time goes on until what was written, or is waited for, has its turn.
    fn next_work(&mut self) -> Option<Work> {
        let soon = self.now + limits::LEDGER_COMMIT_INTERVAL;
        self.now = self.keeper.work_due(self.now).filter(|due| *due <= soon)?.max(self.now);
        self.keeper.take_work(self.now)
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
        self.crash_at(1_800_000_000);
    }

    /// The process dies, and the next one is started at this time.
    fn crash_at(&mut self, epoch_s: u64) {
        self.now = Tick::START;
        self.keeper = Keeper::new(self.settings.clone(), secret(), epoch_s);
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
