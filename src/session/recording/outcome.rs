//! Content that is kept, the intent, and the outcome: from the envelope's end to the reply.

use super::*;

impl Decision {
    /// What the transactions with next hops are named by.
    pub(in crate::session) fn naming(&self, line: &LedgerLine) -> Option<Naming> {
        let recording = self.recording.as_ref()?;
        Some(line.secret.naming(&recording.record.trace_id))
    }
}

impl Recording {
    /// The recipients that were accepted, in their order.
    fn accepted(&mut self) -> impl Iterator<Item = &mut ledger::Recipient> {
        self.record.recipients.iter_mut().filter(|one| one.is_accepted())
    }

    /// Notes what will be handed on, with the octets of each copy and the earlier transactions by which a next
    /// hop may have it.
    fn note_intent(&mut self, copies: Vec<Option<(u64, Vec<Sending>)>>) {
        for (recipient, copy) in self.accepted().zip(copies) {
            let Some((octets, earlier)) = copy else { continue };
            recipient.copy = match std::mem::replace(&mut recipient.copy, CopyState::NotSent) {
                CopyState::Done(told) => CopyState::Done(told),
                // What the transaction goes on with, and the ledger has not told of yet.
                CopyState::Unknown(sendings) if earlier.is_empty() => {
                    CopyState::Sent { octets, earlier: sendings }
                }
                _ => CopyState::Sent { octets, earlier },
            };
        }
        self.record.phase = Phase::Intent;
    }

    /// Notes where the copies are, the relay having answered.
    fn note_outcomes(&mut self, outcomes: &[Option<relay::Outcome>]) {
        use relay::Outcome as O;
        let record = &self.record;
        let accepted = record.recipients.iter().enumerate().filter(|(_, one)| one.is_accepted());
        let copies: Vec<(usize, CopyState)> = accepted
            .zip(outcomes)
            .filter_map(|((place, recipient), outcome)| {
                let copy = match (&recipient.copy, outcome) {
                    (CopyState::Done(_), _) => return None,
                    (_, Some(O::Delivered | O::Repeated)) => {
                        CopyState::Done(Told::from(&replies::MESSAGE_ACCEPTED))
                    }
                    (_, Some(O::Unknown(_))) => CopyState::Unknown(record.sendings(recipient)),
                    (CopyState::Sent { earlier, .. }, Some(O::Unasked(_))) => {
                        CopyState::Unknown(earlier.clone())
                    }
                    _ => CopyState::NotSent,
                };
                Some((place, copy))
            })
            .collect();
        for (place, copy) in copies {
            self.record.recipients[place].copy = copy;
        }
    }
}

impl Session {
    // ---- content ----------------------------------------------------------------------------

    /// The envelope is complete and content is about to come: at level partial it is kept.
    pub(in crate::session) fn content_begins(
        &mut self,
        transaction: &mut Transaction,
        transfer: Transfer,
    ) {
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
    pub(in crate::session) fn keep_content(
        &mut self,
        transaction: ledger::Transaction,
        octets: Vec<u8>,
    ) {
        if !octets.is_empty() {
            self.ask_ledger(Request::Append { transaction, octets });
        }
    }

    /// QUIT: the client has all that it was told, if it keeps to the rules of RESUME. One that gives
    /// no ids may have sent it together with the end mark; what it has shown of its last reply when it
    /// goes decides.
    pub(in crate::session) fn quit_recorded(&mut self) {
        if let Some(line) = self.uses_ledger() {
            let holder = self.holder(&line);
            self.ask_ledger(Request::Quit { holder });
        }
    }

    /// The connection is over.
    pub(in crate::session) fn gone_recorded(&mut self) {
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
    pub(in crate::session) fn forget_recorded(&mut self, transaction: &Transaction) {
        if let Some(recording) = &transaction.recording
            && recording.named
        {
            self.ask_ledger(Request::Forget { transaction: recording.transaction });
        }
    }

    // ---- the end mark -----------------------------------------------------------------------

    /// The message has come whole, with this digest below its client's trace.
    pub(in crate::session) fn received(
        &mut self,
        decision: &mut Decision,
        digest: Option<ContentDigest>,
    ) {
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
    pub(in crate::session) fn end_of_resumed(
        &mut self,
        transaction: Transaction,
        octets: u64,
        now: Now,
    ) {
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
    pub(super) fn outcome_again(
        &mut self,
        transaction: ledger::Transaction,
        record: &Record,
        now: Now,
    ) {
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
    pub(in crate::session) fn intend(&mut self, mut decision: Box<Decision>, now: Now) {
        let recipients = 0..decision.envelope.recipients.len();
        let copies: Vec<_> = recipients.map(|place| decision.copy_of(place)).collect();
        let some = copies.iter().any(Option::is_some);
        let Some(recording) = decision.recording.as_mut().filter(|_| some) else {
            return self.hand_on(decision, now);
        };
        recording.note_intent(copies);
        let request = Request::Begin {
            transaction: recording.transaction,
            record: recording.record.clone(),
            look_up: !recording.looked_up,
            gone: self.connection == Connection::Lost,
        };
        self.question(request, Question::Begin(decision), now);
    }

    pub(super) fn begun(&mut self, mut decision: Box<Decision>, begun: Begun, now: Now) {
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
            if let Some(Known::Unknown(sendings)) = known {
                decision.was_handed_on_earlier(place, sendings);
                continue;
            }
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
                && let Some(recipient) = recording.accepted().nth(place)
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
    pub(in crate::session) fn commit(
        &mut self,
        mut decision: Box<Decision>,
        replies: Vec<Reply>,
        now: Now,
    ) {
        let worth_it =
            |recording: &Recording| recording.named || recording.record.phase == Phase::Intent;
        let block_begun = decision.block_begun;
        let Some(mut recording) = decision.recording.take_if(|one| worth_it(one)) else {
            return self.give(decision, &replies, now);
        };
        recording.note_outcomes(&decision.outcomes);
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

    pub(super) fn committed(
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
}
