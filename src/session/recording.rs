//! What the ledger is told of a transaction, and what it answers: RESUME and the ids of transactions
//! (draft-fanf-smtp-rfc1845bis-01), and mail that is sent again without them.
//!
//! A transaction that is recorded carries its record from MAIL on; the verbs of the ledger are asked
//! at the places where their section of the protocol wants them. Between the end mark and the reply
//! the record is made durable twice, and nothing is said before: the intent before the first octet
//! goes to a next hop, the outcome before the first octet of the final reply.

use super::decision::{Decision, Fate};
use super::envelope::Transaction;
use super::final_reply::ReplyForm;
use super::{Answer, Ask, Connection, Effect, Intake, ResumeLevel, Session, State};
use crate::ledger::{
    self, Begun, Content, ContentDigest, CopyState, Form, Holder, Identity, IdentityKey, Key,
    Known, Level, MailRuling, Outcome, Phase, Recalled, Recognised, Record, Repeated, Request,
    Secret, Told, Transfer, folded_rcpt, rules,
};
use crate::now::Now;
use crate::policy::{ClassId, RouteId};
use crate::relay;
use crate::wire::{ForwardPath, Mail, Rcpt, Reply, Told as PeerTold, replies, resume_id};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// How a session reaches the ledger.
#[derive(Clone, Debug)]
pub struct LedgerLine {
    /// Whose answers go where.
    pub line: u32,
    /// What keys are made with.
    pub secret: Rc<Secret>,
    /// A number that is another one when the rules are others.
    pub rules: Rc<Cell<u64>>,
}

/// A transaction that the ledger knows of.
#[derive(Debug)]
pub(super) struct Recording {
    record: Box<Record>,
    /// The RCPT whose reply is not known yet.
    rcpt: Box<[u8]>,
    transaction: ledger::Transaction,
    /// The client has given it an id.
    named: bool,
    level: Level,
    resumed: Option<Resumed>,
    /// Earlier copies were asked for already.
    looked_up: bool,
}

/// What a transaction goes on with.
#[derive(Debug)]
struct Resumed {
    repeated: Repeated,
    kept: Kept,
}

/// How much of the message is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Its outcome is known.
    Stored,
    /// It has come whole, and is being worked at.
    Running,
    /// A part of its content lies in a file.
    Parked,
}

/// A question to the ledger whose answer is waited for.
#[derive(Debug)]
pub(super) enum Question {
    /// RESUME.
    Resume(Key),
    /// MAIL that begins a transaction.
    Open(Box<Transaction>),
    /// MAIL with an id alone: what is known of it?
    Checkpoint(Box<Transaction>),
    /// MAIL with the offset of a parked one.
    Take(Box<Transaction>, Reply),
    /// DATA or the first BDAT of a parked one: its content.
    Load(Box<Intake>, Goes),
    /// May copies be handed on?
    Begin(Box<Decision>),
    /// The outcome is being made durable; then these replies are given.
    Commit(Box<Decision>, Vec<Reply>, Committing),
    /// What came of the transaction that another connection has brought to its end mark?
    Await(ledger::Transaction),
}

/// What is still to be known of a transaction whose record is the ledger's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committing {
    transaction: ledger::Transaction,
    named: bool,
}

/// How a parked transaction goes on when its content is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// The go-ahead of DATA.
    ByData,
    /// A chunk of so many octets.
    ByChunk(crate::wire::Chunk),
}

impl Transaction {
    /// Whether it goes on with one of an earlier connection, whose content is not all wanted.
    pub(super) fn is_resumed(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.is_resumed())
    }
}

impl Question {
    /// Whether the answer is waited for though the client is gone.
    pub fn outlives_client(&self) -> bool {
        matches!(self, Question::Begin(_) | Question::Commit(..))
    }
}

impl Recording {
    /// Whether the work goes on though the client is gone. checkpoint 5: one with an id is resumed;
    /// one without is sent again in any case, and then known again.
    pub fn outlives_client(&self) -> bool {
        self.resumed.is_none()
    }

    /// Content that is to be kept while it comes.
    pub fn keeps_content(&self) -> bool {
        self.level == Level::Partial
    }

    pub fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// Notes a RCPT.
    pub fn rcpt_asked(&mut self, argument: &[u8]) {
        self.rcpt = folded_rcpt(argument);
    }

    /// Notes the reply to it, and the address that it is.
    pub fn rcpt_answered(&mut self, address: &[u8], reply: &Reply) {
        self.record.recipients.push(ledger::Recipient {
            rcpt: std::mem::take(&mut self.rcpt),
            address: address.into(),
            reply: Told::from(reply),
            copy: CopyState::NotSent,
            superseded: false,
        });
    }

    /// Where content goes that is to be kept.
    pub fn transaction(&self) -> ledger::Transaction {
        self.transaction
    }
}

impl Session {
    // ---- who is asked for -------------------------------------------------------------------

    /// Whether RESUME is offered to this client.
    pub(super) fn offers_resume(&self) -> bool {
        let known = self.tls.as_ref().is_some_and(|tls| tls.client_key.is_some())
            || self.listener.trust.resume.contain(self.client.address);
        self.shared.ledger.is_some() && self.listener.resume != ResumeLevel::Off && known
    }

    fn holder(&self, line: &LedgerLine) -> Holder {
        Holder { line: line.line, seat: self.client.seat }
    }

    /// checkpoint 5: the first that exists of an authenticated name, the key of a certificate, the
    /// address; with the listener's name.
    fn identity(&self, line: &LedgerLine) -> IdentityKey {
        let login = self.claimed.as_ref().and_then(|claimed| match &claimed.login {
            PeerTold::Is(login) => Some(login),
            _ => None,
        });
        let key = self.tls.as_ref().and_then(|tls| tls.client_key.as_ref());
        let identity = match (login, key, self.address()) {
            (Some(login), ..) => Identity::Login(login),
            (None, Some(key), _) => Identity::ClientKey(key),
            (None, None, Some(address)) => Identity::Address(address),
            (None, None, None) => Identity::Unknown,
        };
        line.secret.identity(identity, &self.listener.name)
    }

    fn ask_ledger(&mut self, request: Request) {
        self.effects.push_back(Effect::Ask(Ask::Ledger(Box::new(request))));
    }

    /// Asks, and waits for the answer. What was answered so far goes out before.
    fn question(&mut self, request: Request, question: Question, now: Now) {
        self.flush(now);
        self.ask_ledger(request);
        self.state = State::Asking(question);
    }

    /// The connection was told that a newer one has its transaction: at its next octet it ends.
    pub(super) fn superseded(&mut self, transaction: ledger::Transaction) {
        self.superseded = Some(transaction);
    }

    pub(super) fn has_lost_its_transaction(&self) -> bool {
        let Some(lost) = self.superseded else { return false };
        let current = match &self.state {
            State::Mail(transaction) | State::Rcpt(transaction) | State::Resumed(transaction) => {
                transaction.recording.as_ref()
            }
            State::Body(intake) => intake.transaction.recording.as_ref(),
            State::Chunks(message) | State::Chunk { message, .. } => {
                message.intake().transaction.recording.as_ref()
            }
            _ => None,
        };
        current.is_some_and(|recording| recording.transaction == lost)
    }

    // ---- RESUME -----------------------------------------------------------------------------

    /// draft-fanf-smtp-rfc1845bis-01 2.8: RESUME may stand anywhere in a group, outside a transaction.
    pub(super) fn resume(&mut self, argument: &[u8], now: Now) {
        let Some(line) = self.shared.ledger.clone().filter(|_| self.offers().resume) else {
            return self.fault(&replies::UNKNOWN_COMMAND, now);
        };
        if !matches!(self.state, State::Ready) {
            return self.fault(&replies::NOT_IN_TRANSACTION, now);
        }
        let id = match resume_id(argument) {
            Ok(id) => id,
            Err(reply) => return self.fault(&reply, now),
        };
        if self.resumes.as_ref().is_some_and(|resumes| resumes.is_exhausted()) {
            return self.end_session(&replies::TOO_MANY_RESUMES, now);
        }
        let identity = self.identity(&line);
        let key = line.secret.transaction(identity, id);
        let request =
            Request::Recall { holder: self.holder(&line), key, identity, tls: self.tls.is_some() };
        self.question(request, Question::Resume(key), now);
    }

    // ---- MAIL -------------------------------------------------------------------------------

    /// MAIL was good: the transaction begins, or goes on, with what the ledger knows of it.
    pub(super) fn begin_recorded(
        &mut self,
        mut transaction: Transaction,
        mail: &Mail<'_>,
        argument: &[u8],
        now: Now,
    ) {
        let line = self.shared.ledger.clone();
        let told = ledger::Mail::read(argument);
        let (Some(line), Some(told)) = (line, told) else {
            return self.mail_accepted(transaction);
        };
        let Some(id) = mail.transid else {
            if self.listener.replay {
                let record = self.new_record(&line, &transaction, None, told, now);
                transaction.recording = Some(self.new_recording(&line, record, false));
            }
            return self.mail_accepted(transaction);
        };
        let identity = self.identity(&line);
        let key = line.secret.transaction(identity, id);
        let record = self.new_record(&line, &transaction, Some(key), told.clone(), now);
        transaction.recording = Some(self.new_recording(&line, record, true));
        let Some(transoff) = mail.transoff else {
            let holder = self.holder(&line);
            let request = Request::Recall { holder, key, identity, tls: self.tls.is_some() };
            return self.question(request, Question::Checkpoint(Box::new(transaction)), now);
        };
        let ruling = self.resumes.get_or_insert_default().mail(key, transoff, &told);
        self.ruled(transaction, ruling, replies::SENDER_OK, now);
    }

    fn new_record(
        &self,
        line: &LedgerLine,
        transaction: &Transaction,
        key: Option<Key>,
        mail: ledger::Mail,
        now: Now,
    ) -> Box<Record> {
        let now_s = u64::try_from(now.unix_s).unwrap_or(0);
        Box::new(Record {
            key,
            fingerprint: None,
            identity: self.identity(line),
            tls: self.tls.is_some(),
            form: match ReplyForm::of(self.listener.protocol, transaction.prdr) {
                ReplyForm::One => Form::Smtp,
                ReplyForm::Block => Form::Prdr,
                ReplyForm::Each => Form::Lmtp,
            },
            created_s: now_s,
            expires_s: now_s,
            rules: line.rules.get(),
            trace_id: transaction.id.as_str().into(),
            mail,
            recipients: Vec::new(),
            transfer: Transfer::Data,
            content: None,
            partial: None,
            phase: Phase::Open,
        })
    }

    fn new_recording(&self, line: &LedgerLine, record: Box<Record>, named: bool) -> Box<Recording> {
        let level = match self.listener.resume {
            ResumeLevel::Partial if named => Level::Partial,
            _ => Level::Outcome,
        };
        let transaction =
            ledger::Transaction { holder: self.holder(line), number: self.transactions };
        Box::new(Recording {
            record,
            rcpt: Box::default(),
            transaction,
            named,
            level,
            resumed: None,
            looked_up: false,
        })
    }

    /// What MAIL with an id is.
    fn ruled(&mut self, mut transaction: Transaction, ruling: MailRuling, reply: Reply, now: Now) {
        let Some(recording) = transaction.recording.as_mut() else { return };
        if let (Some(key), Some(resumes)) = (recording.record.key, self.resumes.as_mut()) {
            resumes.forget(key);
        }
        match ruling {
            MailRuling::New => {
                let request = Request::Open {
                    transaction: recording.transaction,
                    record: recording.record.clone(),
                    level: recording.level,
                };
                self.question(request, Question::Open(Box::new(transaction)), now);
            }
            MailRuling::Refused => {
                self.mail_refused = true;
                self.fault(&replies::RESUME_DIFFERS, now);
            }
            MailRuling::Resumed(recalled) => self.go_on(transaction, recalled, reply, now),
        }
    }

    fn go_on(&mut self, mut transaction: Transaction, recalled: Recalled, reply: Reply, now: Now) {
        let kept = match &recalled {
            Recalled::Nothing => return self.mail_accepted(transaction),
            Recalled::Stored(_) => Kept::Stored,
            Recalled::Running(_) => Kept::Running,
            Recalled::Parked(_) => Kept::Parked,
        };
        let (Some(recording), Some(record)) = (transaction.recording.as_mut(), recalled.record())
        else {
            return;
        };
        recording.resumed = Some(Resumed { repeated: Repeated::new(Arc::clone(record)), kept });
        match (kept, recording.record.key) {
            (Kept::Parked, Some(key)) => {
                let request = Request::Take { transaction: recording.transaction, key };
                self.question(request, Question::Take(Box::new(transaction), reply), now);
            }
            _ => {
                self.state = State::Resumed(Box::new(transaction));
                self.reply(&reply);
            }
        }
    }

    /// A parked transaction is ours: its envelope is what it was.
    fn taken(&mut self, mut transaction: Box<Transaction>, record: &Record, reply: &Reply) {
        for recipient in record.accepted() {
            let rcpt = recipient.rcpt.get(3..).map(|path| [b"TO:", path].concat());
            let resolved = rcpt.as_deref().and_then(|argument| {
                let rcpt =
                    Rcpt::read(argument, self.offers(), transaction.envelope.smtputf8).ok()?;
                self.recipient(&rcpt, &transaction).ok()
            });
            // draft-fanf-smtp-rfc1845bis-01 4: a mailbox that is gone since is put off at the end.
            let recipient = resolved.unwrap_or_else(|| {
                transaction.gone.push(transaction.envelope.recipients.len());
                relay::Recipient {
                    address: recipient.address.clone(),
                    notify: None,
                    orcpt: None,
                    class: ClassId::at(0),
                    route: RouteId::at(0),
                }
            });
            if !transaction.classes.contains(&recipient.class) {
                transaction.classes.push(recipient.class);
            }
            transaction.envelope.recipients.push(recipient);
        }
        if let Some(recording) = &mut transaction.recording {
            *recording.record = record.clone();
        }
        self.state = State::Resumed(transaction);
        self.reply(reply);
    }

    // ---- RCPT, DATA, BDAT of a resumed transaction ------------------------------------------

    /// draft-fanf-smtp-rfc1845bis-01 2.9: each RCPT gets the reply that it got before; one that is
    /// not in the record, or out of order, 553.
    pub(super) fn rcpt_again(&mut self, argument: &[u8], now: Now) {
        let State::Resumed(transaction) = &mut self.state else { return };
        let resumed = transaction.recording.as_mut().and_then(|one| one.resumed.as_mut());
        let told = resumed.and_then(|resumed| resumed.repeated.rcpt(&folded_rcpt(argument)));
        match told.and_then(Told::reply) {
            Some(reply) => self.reply(&reply),
            None if ForwardPath::read(argument.get(3..).unwrap_or_default()).is_err() => {
                self.fault(&replies::BAD_RECIPIENT, now);
            }
            None => self.reply(&replies::NOT_IN_RECORD),
        }
    }

    /// DATA of a resumed transaction. False if it is refused.
    pub(super) fn data_again(&mut self, transaction: Box<Transaction>, now: Now) -> bool {
        let Some(kept) = kept_of(&transaction, Transfer::Data) else {
            self.state = State::Resumed(transaction);
            self.fault(&replies::BDAT_ONLY, now);
            return false;
        };
        let intake = Box::new(Intake::by_data(*transaction, self, now.tick));
        match kept {
            Kept::Parked => self.load(intake, 0, Goes::ByData, now),
            Kept::Stored | Kept::Running => {
                self.state = State::Body(intake);
                self.reply(&replies::GO_AHEAD);
            }
        }
        true
    }

    /// The first BDAT of a resumed transaction: an intake for it, if it may be.
    pub(super) fn bdat_again(
        &mut self,
        transaction: Box<Transaction>,
        chunk: crate::wire::Chunk,
        now: Now,
    ) {
        let Some(kept) = kept_of(&transaction, Transfer::Bdat) else {
            self.state = State::Resumed(transaction);
            return self.drop_mixed(chunk, now);
        };
        let intake = Box::new(Intake::by_chunks(*transaction, self, now.tick));
        match kept {
            Kept::Parked => self.load(intake, 0, Goes::ByChunk(chunk), now),
            Kept::Stored | Kept::Running => self.first_chunk(intake, chunk, now),
        }
    }

    fn load(&mut self, intake: Box<Intake>, from: u64, goes: Goes, now: Now) {
        let Some(recording) = &intake.transaction.recording else { return };
        let request = Request::Load { transaction: recording.transaction, from };
        self.question(request, Question::Load(intake, goes), now);
    }

    fn loaded(&mut self, mut intake: Box<Intake>, goes: Goes, octets: Option<Vec<u8>>, now: Now) {
        let wanted = intake
            .transaction
            .recording
            .as_ref()
            .map_or(0, |recording| rules::offset(&recording.record));
        match octets {
            Some(octets) if intake.octets() < wanted && !octets.is_empty() => {
                let left = usize::try_from(wanted - intake.octets()).unwrap_or(usize::MAX);
                intake.take_kept(&octets[..octets.len().min(left)]);
                let from = intake.octets();
                self.load(intake, from, goes, now);
            }
            Some(_) if intake.octets() == wanted => self.loaded_whole(intake, goes, now),
            // What was promised is kept no more: the client comes again, and starts over.
            _ => self.end_session(&replies::KEPT_CONTENT_LOST, now),
        }
    }

    fn loaded_whole(&mut self, mut intake: Box<Intake>, goes: Goes, now: Now) {
        intake.begin_chunk(now.tick);
        // What came back from the ledger is not kept there a second time.
        drop(intake.kept_copy());
        // From here on it is a transaction as any other.
        if let Some(recording) = &mut intake.transaction.recording {
            recording.resumed = None;
        }
        match goes {
            Goes::ByData => {
                self.state = State::Body(intake);
                self.reply(&replies::GO_AHEAD);
            }
            Goes::ByChunk(chunk) => self.first_chunk(intake, chunk, now),
        }
    }

    // ---- content ----------------------------------------------------------------------------

    /// The envelope is complete and content is about to come: at level partial it is kept.
    pub(super) fn content_begins(&mut self, transaction: &mut Transaction, transfer: Transfer) {
        let Some(recording) = &mut transaction.recording else { return };
        if recording.resumed.is_some() {
            return;
        }
        recording.record.transfer = transfer;
        if recording.keeps_content() {
            let (transaction, record) = (recording.transaction, recording.record.clone());
            self.ask_ledger(Request::Content { transaction, record });
        }
    }

    /// Content has come that is to be kept.
    pub(super) fn keep_content(&mut self, transaction: ledger::Transaction, octets: Vec<u8>) {
        if !octets.is_empty() {
            self.ask_ledger(Request::Append { transaction, octets });
        }
    }

    /// QUIT: the client has all that it was told, if it keeps to the rules of RESUME. One that gives
    /// no ids may have sent it together with the end mark; what it has shown of its last reply when it
    /// goes decides.
    pub(super) fn quit_recorded(&mut self) {
        if let Some(line) = self.uses_ledger() {
            let holder = self.holder(&line);
            self.ask_ledger(Request::Quit { holder });
        }
    }

    /// The connection is over.
    pub(super) fn gone_recorded(&mut self) {
        if let Some(line) = self.uses_ledger() {
            let holder = self.holder(&line);
            self.ask_ledger(Request::Gone { holder });
        }
    }

    /// The way to the ledger, if it may know of this connection.
    fn uses_ledger(&self) -> Option<LedgerLine> {
        let may = self.listener.replay || self.resumes.is_some();
        self.shared.ledger.clone().filter(|_| may)
    }

    /// The transaction ends before its end mark.
    pub(super) fn forget_recorded(&mut self, transaction: &Transaction) {
        if let Some(recording) = &transaction.recording
            && recording.named
        {
            self.ask_ledger(Request::Forget { transaction: recording.transaction });
        }
    }

    // ---- the end mark -----------------------------------------------------------------------

    /// The message has come whole, with this digest below its client's trace.
    pub(super) fn received(&mut self, decision: &mut Decision, digest: Option<ContentDigest>) {
        let Some(line) = self.shared.ledger.clone() else { return };
        let Some(recording) = decision.recording.as_mut() else { return };
        if let Some(digest) = digest {
            recording.record.content = Some(Content { octets: decision.octets, digest });
            // One with an id is known again, too, should its client come without it: after a deferral
            // it uses ordinary retry (checkpoint 6).
            if self.listener.replay {
                let print = line.secret.fingerprint(
                    recording.record.identity,
                    &recording.record.mail,
                    &digest,
                );
                recording.record.fingerprint = Some(print);
            }
        }
        if recording.named {
            let (transaction, record) = (recording.transaction, recording.record.clone());
            self.ask_ledger(Request::Received { transaction, record });
        }
    }

    /// The message comes to the end of a transaction whose outcome is known, or will be.
    pub(super) fn end_of_resumed(&mut self, transaction: Transaction, octets: u64, now: Now) {
        let Some(recording) = &transaction.recording else { return };
        let Some(resumed) = &recording.resumed else { return };
        let record = Arc::clone(resumed.repeated.record());
        if octets > 0 {
            // checkpoint 5: any content octet there is dropped, and 503, in LMTP once a recipient.
            let count = if self.is_lmtp() { record.accepted().count() } else { 1 };
            self.flush(now);
            for _ in 0..count {
                self.reply(&replies::NOTHING_WANTED);
            }
            self.waiting_since = now.tick;
            self.state = State::Ready;
            return;
        }
        match (resumed.kept, recording.record.key) {
            (Kept::Running, Some(key)) => {
                let transaction = recording.transaction;
                let holder = transaction.holder;
                self.question(Request::Await { holder, key }, Question::Await(transaction), now);
            }
            _ => {
                let transaction = recording.transaction;
                self.outcome_again(transaction, &record, now);
            }
        }
    }

    /// Gives a stored final reply, whole, in one send.
    fn outcome_again(&mut self, transaction: ledger::Transaction, record: &Record, now: Now) {
        self.flush(now);
        self.waiting_since = now.tick;
        self.junk = 0;
        self.state = State::Ready;
        match record.final_reply() {
            Some(octets) => self.out.extend_from_slice(&octets),
            None => self.reply(&replies::OUTCOME_UNKNOWN),
        }
        self.shared.tally.replies_repeated.count();
        self.flush(now);
        if let Some(key) = record.key {
            self.ask_ledger(Request::Repeated { transaction, key });
            self.unconfirmed = Some(transaction);
        }
    }

    /// The verdicts are known: the intent is made durable before anything is handed on. Without a
    /// ledger for this message that is at once.
    pub(super) fn intend(&mut self, mut decision: Box<Decision>, now: Now) {
        let copies = decision.copies_for();
        let Some(recording) = decision.recording.as_mut().filter(|_| !copies.is_empty()) else {
            return self.hand_on(decision, now);
        };
        let accepted = recording.record.recipients.iter_mut().filter(|one| one.is_accepted());
        for (place, recipient) in accepted.enumerate() {
            if copies.contains(&place) {
                recipient.copy = CopyState::Sent;
            }
        }
        recording.record.phase = Phase::Intent;
        let request = Request::Begin {
            transaction: recording.transaction,
            record: recording.record.clone(),
            look_up: !recording.looked_up,
            gone: self.connection == Connection::Lost,
        };
        self.question(request, Question::Begin(decision), now);
    }

    fn begun(&mut self, mut decision: Box<Decision>, begun: Begun, now: Now) {
        match begun {
            Begun::GoOn { .. } => self.hand_on(decision, now),
            Begun::Superseded => {
                self.state = State::Ready;
                self.end_session(&replies::TAKEN_OVER, now);
            }
            Begun::Known(known) => {
                if let Some(recording) = decision.recording.as_mut() {
                    recording.looked_up = true;
                }
                self.known(decision, *known, now);
            }
        }
    }

    /// The message, or some copies of it, were here before: only the others are handed on.
    fn known(&mut self, mut decision: Box<Decision>, known: Recognised, now: Now) {
        if let Some(whole) = known.whole {
            let replies: Vec<Reply> = whole.iter().filter_map(Told::reply).collect();
            self.shared.tally.replies_repeated.count();
            return self.commit(decision, replies, now);
        }
        for (place, known) in known.each.into_iter().enumerate() {
            let (fate, copy) = match known {
                Some(Known::Done(told)) => match told.reply() {
                    Some(reply) => (Fate::Known(reply), CopyState::Done(told)),
                    None => (Fate::Delivered, CopyState::Done(told)),
                },
                Some(Known::Refused(told)) => match told.reply() {
                    Some(reply) => (Fate::from_refusal(reply), CopyState::NotSent),
                    None => continue,
                },
                Some(Known::Unknown(_)) | None => continue,
            };
            decision.settle_without_copy(place, fate);
            if let Some(recording) = decision.recording.as_mut()
                && let Some(recipient) = recording
                    .record
                    .recipients
                    .iter_mut()
                    .filter(|one| one.is_accepted())
                    .nth(place)
            {
                recipient.copy = copy;
            }
        }
        match decision.copies_for().is_empty() {
            true => self.conclude(decision, now),
            false => self.intend(decision, now),
        }
    }

    /// The replies are known: they are made durable, then given.
    pub(super) fn commit(&mut self, mut decision: Box<Decision>, replies: Vec<Reply>, now: Now) {
        let worth_it =
            |recording: &Recording| recording.named || recording.record.phase == Phase::Intent;
        let accepted = decision.copy_states();
        let block_begun = decision.block_begun;
        let Some(mut recording) = decision.recording.take_if(|one| worth_it(one)) else {
            return self.give(decision, &replies, now);
        };
        let recipients = recording.record.recipients.iter_mut().filter(|one| one.is_accepted());
        for (recipient, copy) in recipients.zip(accepted) {
            if !matches!(recipient.copy, CopyState::Done(_)) {
                recipient.copy = copy;
            }
        }
        // The stored form of a block is all of it, its 353 included.
        let begins = replies::BLOCK_BEGINS;
        let first = block_begun.then_some(&begins);
        let told = first.into_iter().chain(&replies).map(Told::from).collect();
        recording.record.phase = Phase::Committed(Outcome { replies: told, confirmed: false });
        let Recording { transaction, named, record, .. } = *recording;
        let gone = self.connection == Connection::Lost;
        let committing = Question::Commit(decision, replies, Committing { transaction, named });
        self.question(Request::Commit { transaction, record, gone }, committing, now);
    }

    fn committed(
        &mut self,
        decision: Box<Decision>,
        replies: Vec<Reply>,
        Committing { transaction, named }: Committing,
        recorded: bool,
        now: Now,
    ) {
        let handed_on = decision.was_handed_on();
        if !recorded && rules::without_record(named, handed_on) == rules::Unrecorded::TryAgain {
            let count = if decision.form.is_each() { replies.len() } else { 1 };
            return self.give(decision, &vec![replies::LOCAL_FAULT; count], now);
        }
        self.unconfirmed = Some(transaction);
        self.give(decision, &replies, now);
    }

    /// The kernel of the client has all octets of the last reply: what it says next, it says
    /// knowing that reply.
    pub fn reply_acknowledged(&mut self) {
        if self.unsent_octets == 0
            && let Some(through) = self.unconfirmed.take()
        {
            self.ask_ledger(Request::Confirm { through });
        }
    }

    /// Whether [`Session::reply_acknowledged`] is worth being found out.
    pub fn awaits_acknowledgement(&self) -> bool {
        self.unconfirmed.is_some() && self.unsent_octets == 0
    }

    // ---- answers ----------------------------------------------------------------------------

    pub(super) fn ledger_answered(&mut self, question: Question, answer: ledger::Answer, now: Now) {
        use ledger::Answer as A;
        self.waiting_since = now.tick;
        self.state = State::Ready;
        match (question, answer) {
            (Question::Resume(key), A::Recalled(recalled)) => {
                let offset = self.resumes.get_or_insert_default().note(key, recalled);
                // checkpoint 4: the same text, whatever is known.
                let text = format!("{offset} octets are held");
                self.reply(&Reply::bare(355, "").with_text(text));
            }
            (Question::Checkpoint(transaction), A::Recalled(recalled)) => {
                self.checkpoint_recalled(*transaction, recalled, now);
            }
            (Question::Open(transaction), A::Opened) => self.mail_accepted(*transaction),
            (Question::Take(transaction, reply), A::Taken(Some(record))) => {
                self.taken(transaction, &record, &reply);
            }
            (Question::Take(..), A::Taken(None)) => {
                self.mail_refused = true;
                self.fault(&replies::RESUME_DIFFERS, now);
            }
            (Question::Load(intake, goes), A::Loaded(octets)) => {
                self.loaded(intake, goes, octets, now);
            }
            (Question::Begin(decision), A::Begun(begun)) => self.begun(decision, begun, now),
            (Question::Commit(decision, replies, committing), A::Committed { recorded }) => {
                self.committed(decision, replies, committing, recorded, now);
            }
            (Question::Await(transaction), A::Outcome(Some(record))) => {
                self.outcome_again(transaction, &record, now);
            }
            (Question::Await(_), A::Outcome(None)) => self.reply(&replies::OUTCOME_UNKNOWN),
            (question, answer) => {
                debug_assert!(false, "{answer:?} is no answer to {question:?}");
                self.state = State::Asking(question);
            }
        }
    }

    /// draft-fanf-smtp-rfc1845bis-01 3.2: MAIL with an id alone is RESUME and MAIL at the offset found.
    fn checkpoint_recalled(&mut self, transaction: Transaction, recalled: Recalled, now: Now) {
        let Some(recording) = &transaction.recording else { return };
        let offset = recalled.offset();
        let mail = recording.record.mail.clone();
        let ruling = self.resumes.get_or_insert_default().checkpoint_mail(&recalled, &mail);
        let resumed = Reply::bare(355, "").with_text(format!("{offset} octets are held"));
        self.ruled(transaction, ruling, resumed, now);
    }
}

/// How much is kept of a resumed transaction, if content may be sent to it so.
fn kept_of(transaction: &Transaction, transfer: Transfer) -> Option<Kept> {
    let resumed = transaction.recording.as_ref()?.resumed.as_ref()?;
    // checkpoint 5: DATA and BDAT are not mixed.
    resumed.repeated.takes(transfer).then_some(resumed.kept)
}

impl Answer {
    /// What is answered in the place of a ledger that is not there.
    pub fn without_ledger(request: &Request) -> Option<Answer> {
        request.unanswered().map(|answer| Answer::Ledger(Box::new(answer)))
    }
}
