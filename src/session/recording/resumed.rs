//! RESUME, MAIL with an id, and the envelope and content of a transaction that goes on.

use super::*;

impl Session {
    // ---- RESUME -----------------------------------------------------------------------------

    /// draft-fanf-smtp-rfc1845bis-01 2.8: RESUME may stand anywhere in a group, outside a transaction.
    pub(in crate::session) fn resume(&mut self, argument: &[u8], now: Now) {
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
    pub(in crate::session) fn begin_recorded(
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
    pub(super) fn taken(
        &mut self,
        mut transaction: Box<Transaction>,
        record: &Record,
        reply: &Reply,
    ) {
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
            *recording.record = record.goes_on_as(&transaction.id);
        }
        self.state = State::Resumed(transaction);
        self.reply(reply);
    }

    // ---- RCPT, DATA, BDAT of a resumed transaction ------------------------------------------

    /// draft-fanf-smtp-rfc1845bis-01 2.9: each RCPT gets the reply that it got before; one that is
    /// not in the record, or out of order, 553.
    pub(in crate::session) fn rcpt_again(&mut self, argument: &[u8], now: Now) {
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
    pub(in crate::session) fn data_again(
        &mut self,
        transaction: Box<Transaction>,
        now: Now,
    ) -> bool {
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
    pub(in crate::session) fn bdat_again(
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

    pub(super) fn loaded(
        &mut self,
        mut intake: Box<Intake>,
        goes: Goes,
        octets: Option<Vec<u8>>,
        now: Now,
    ) {
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

    /// draft-fanf-smtp-rfc1845bis-01 3.2: MAIL with an id alone is RESUME and MAIL at the offset found.
    pub(super) fn checkpoint_recalled(
        &mut self,
        transaction: Transaction,
        recalled: Recalled,
        now: Now,
    ) {
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
