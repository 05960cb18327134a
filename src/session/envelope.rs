//! MAIL and RCPT: who sends, and to whom.

use super::recording::Recording;
use super::{Ask, Effect, Mixed, Offer, Session, State, Tables};
use crate::limits::KNOWN_FOR_ONE_UNKNOWN;
use crate::now::{Now, Tick};
use crate::policy::{ClassId, Standing};
use crate::relay::{Envelope, HopOffers, Probe, Protocol, Recipient, Verification};
use crate::wire::{BodyKind, Enhanced, ForwardPath, Mail, Mailbox, Offers, Rcpt, Reply, replies};
use smallvec::SmallVec;
use std::sync::Arc;

/// What MAIL began.
#[derive(Debug)]
pub(super) struct Transaction {
    pub id: String,
    pub envelope: Envelope,
    /// The tables that it began with, and ends with.
    pub tables: Arc<Tables>,
    /// The client asked for a reply for each recipient (PRDR).
    pub prdr: bool,
    /// The classes of the recipients, each once.
    pub classes: SmallVec<[ClassId; 4]>,
    /// A RCPT was refused or put off.
    pub recipient_refused: bool,
    /// Recipients whose mailbox is gone since they were accepted on an earlier connection.
    pub gone: Vec<usize>,
    /// What the ledger knows of it.
    pub recording: Option<Box<Recording>>,
    pub began: Tick,
}

impl Session {
    /// The extensions that were offered by the greeting that is in force.
    pub(super) fn offers(&self) -> Offers {
        self.greeting.as_ref().map_or(Offers::default(), |greeting| greeting.offers)
    }

    /// The extensions that a greeting may offer now. It walks over all routes.
    pub(super) fn offers_now(&self) -> Offers {
        let listener = &self.listener;
        Offers {
            extended: true,
            smtputf8: self.honours(listener.smtputf8, |hop| hop.smtputf8),
            dsn: self.honours(listener.dsn, |hop| hop.dsn),
            binarymime: self.honours(listener.binarymime, |hop| hop.binarymime),
            prdr: listener.prdr && listener.protocol == Protocol::Smtp,
            // RFC 8689 2: only under TLS, and only where it will be honoured onward.
            requiretls: self.tls.is_some()
                && self.honours(Offer::WhenHonoured, |hop| hop.requiretls),
            resume: self.offers_resume(),
            checkpoint: listener.checkpoint && self.offers_resume(),
        }
    }

    /// Whether an extension is offered that every next hop must honour.
    fn honours(&self, offer: Offer, has: fn(&HopOffers) -> bool) -> bool {
        match offer {
            Offer::Always => true,
            Offer::Never => false,
            Offer::WhenHonoured => {
                let board = &self.shared.board;
                let mut routes = self.shared.tables.policy.onward_routes().iter();
                routes.all(|route| board.standing(*route).offers.as_ref().is_some_and(has))
            }
        }
    }

    pub(super) fn mail(&mut self, argument: &[u8], now: Now) {
        // RFC 5321 4.1.4: EHLO or HELO first; MAIL only where no transaction is open, else 503.
        if self.greeting.is_none() {
            return self.fault(&replies::GREET_FIRST, now);
        }
        if matches!(self.state, State::Chunks(_)) {
            return self.fault(&replies::BDAT_ONLY, now);
        }
        if !matches!(self.state, State::Ready) {
            return self.fault(&replies::NESTED_MAIL, now);
        }
        // RFC 9422 4.1: MAILMAX counts MAIL commands, whether they succeed or fail.
        if self.messages >= self.listener.messages_max {
            return self.end_session(&replies::TOO_MANY_MESSAGES, now);
        }
        self.messages += 1;
        self.mail_refused = true;
        let mail = match Mail::read(argument, self.offers()) {
            Ok(mail) => mail,
            Err(reply) => return self.envelope_fault(&reply, now),
        };
        let limit = self.listener.size_octets_max;
        // RFC 1870 6.1: a declared size over the limit is refused at once.
        if limit > 0 && mail.size_octets.is_some_and(|octets| octets > limit) {
            return self.reply(&replies::TOO_BIG);
        }
        if !self.shared.budget.has_room() {
            return self.reply(&replies::NO_ROOM_NOW);
        }
        self.mail_refused = false;
        self.transactions += 1;
        let transaction = self.transaction(&mail, now);
        self.begin_recorded(transaction, &mail, argument, now);
    }

    pub(super) fn mail_accepted(&mut self, transaction: Transaction) {
        self.state = State::Mail(Box::new(transaction));
        self.reply(&replies::SENDER_OK);
    }

    fn transaction(&self, mail: &Mail<'_>, now: Now) -> Transaction {
        Transaction {
            id: format!("{}-{}", self.client.session_id, self.transactions),
            envelope: Envelope {
                reverse_path: mail.reverse_path.address().into(),
                body: mail.body,
                smtputf8: mail.smtputf8,
                ret: mail.ret,
                envid: mail.envid.map(Into::into),
                requiretls: mail.requiretls,
                origin: self.origin(),
                recipients: Vec::new(),
            },
            tables: Arc::clone(&self.shared.tables),
            prdr: mail.prdr,
            classes: SmallVec::new(),
            recipient_refused: false,
            gone: Vec::new(),
            recording: None,
            began: now.tick,
        }
    }

    /// A bad MAIL or RCPT: a protocol error, unless the code says that it is about the address.
    fn envelope_fault(&mut self, reply: &Reply, now: Now) {
        match reply.code() {
            500..=503 | 555 => self.fault(reply, now),
            _ => self.reply(reply),
        }
    }

    pub(super) fn rcpt(&mut self, argument: &[u8], now: Now) {
        if matches!(self.state, State::Resumed(_)) {
            return self.rcpt_again(argument, now);
        }
        let mut transaction = match std::mem::replace(&mut self.state, State::Ready) {
            State::Mail(transaction) | State::Rcpt(transaction) => transaction,
            State::Chunks(message) => {
                self.state = State::Chunks(message);
                return self.fault(&replies::BDAT_ONLY, now);
            }
            // RFC 5321 3.3: 503 without MAIL. What only follows from a refused MAIL is no further
            // error of the client.
            _ if self.mail_refused => return self.reply(&replies::MAIL_FIRST),
            _ => return self.fault(&replies::MAIL_FIRST, now),
        };
        if let Some(recording) = &mut transaction.recording {
            recording.rcpt_asked(argument);
        }
        let smtputf8 = transaction.envelope.smtputf8;
        let answer = Rcpt::read(argument, self.offers(), smtputf8)
            .and_then(|rcpt| self.recipient(&rcpt, &transaction));
        match answer {
            Ok(recipient) if self.shared.board.standing(recipient.route).asks_ahead => {
                // What was answered so far goes out before the wait.
                self.flush(now);
                let probe = Probe {
                    route: recipient.route,
                    recipient: recipient.address.clone(),
                    smtputf8: !recipient.address.is_ascii(),
                };
                self.effects.push_back(Effect::Ask(Ask::Verify(probe)));
                self.state = State::Verifying(transaction, Box::new(recipient));
            }
            Ok(recipient) => self.recipient_accepted(transaction, recipient),
            Err(reply) => self.recipient_refused(transaction, &reply, now),
        }
    }

    /// The next hop has said whether it takes a recipient.
    pub(super) fn verified(
        &mut self,
        transaction: Box<Transaction>,
        recipient: Recipient,
        answer: Verification,
        now: Now,
    ) {
        match answer {
            Verification::Accepted => self.recipient_accepted(transaction, recipient),
            Verification::Refused(reply) => self.recipient_refused(transaction, &reply, now),
        }
    }

    fn recipient_accepted(&mut self, mut transaction: Box<Transaction>, recipient: Recipient) {
        self.shared.tally.recipients_accepted.count();
        self.known_recipients = self.known_recipients.saturating_add(1);
        if let Some(place) = &self.client.place {
            place.guessed_right();
        }
        if !transaction.classes.contains(&recipient.class) {
            transaction.classes.push(recipient.class);
        }
        if let Some(recording) = &mut transaction.recording {
            recording.rcpt_answered(&recipient.address, &replies::RECIPIENT_OK);
        }
        transaction.envelope.recipients.push(recipient);
        self.state = State::Rcpt(transaction);
        self.reply(&replies::RECIPIENT_OK);
    }

    fn recipient_refused(&mut self, mut transaction: Box<Transaction>, reply: &Reply, now: Now) {
        self.shared.tally.recipients_refused.count();
        transaction.recipient_refused = true;
        if let Some(recording) = &mut transaction.recording {
            recording.rcpt_answered(b"", reply);
        }
        self.state = match transaction.envelope.recipients.is_empty() {
            true => State::Mail(transaction),
            false => State::Rcpt(transaction),
        };
        let unknown = reply.enhanced() == Some(Enhanced { subject: 1, detail: 1 });
        if unknown && self.guesses_too_much(now.tick) {
            return self.end_session(&replies::TOO_MANY_UNKNOWN, now);
        }
        self.envelope_fault(reply, now);
    }

    /// Counts a recipient that does not exist; tells whether it was one too many. A-32: who guesses
    /// names is let go before it has learned many, over however many connections; a sender whose list
    /// is a little stale meets some among many that are known.
    fn guesses_too_much(&mut self, now: Tick) -> bool {
        self.unknown_recipients += 1;
        let (unknown, known) = match &self.client.place {
            Some(place) => {
                let guesses = place.guessed_wrong(self.known_recipients, now);
                (guesses.unknown, guesses.known)
            }
            None => (self.unknown_recipients, self.known_recipients),
        };
        unknown >= self.listener.unknown_recipients_max.max(known / KNOWN_FOR_ONE_UNKNOWN)
    }

    /// Whether a recipient can be taken into this transaction, as far as we know ourselves.
    pub(super) fn recipient(
        &self,
        rcpt: &Rcpt<'_>,
        transaction: &Transaction,
    ) -> Result<Recipient, Reply> {
        // RFC 5321 4.5.3.1.10: past the limit the code is 452, and the earlier ones stand.
        if transaction.envelope.recipients.len() >= self.listener.recipients_max {
            return Err(replies::TOO_MANY_RECIPIENTS);
        }
        let policy = &transaction.tables.policy;
        let address: Vec<u8> = match rcpt.forward_path {
            ForwardPath::Mailbox(mailbox) => mailbox.address.to_vec(),
            // `<postmaster>` is the one of the first domain served.
            ForwardPath::Postmaster(_) => [b"postmaster@", policy.postmaster_domain()].concat(),
        };
        let mailbox = Mailbox::read(&address).map_err(|_| replies::BAD_RECIPIENT)?;
        let (class, route) = match policy.recipient(&mailbox) {
            Standing::Accepted { class, route } => (class, route),
            Standing::Refused(reply) => return Err(reply),
        };
        if self.must_split(class, transaction) {
            self.shared.tally.recipients_split.count();
            return Err(replies::ANOTHER_CLASS);
        }
        let recipient = Recipient {
            address: address.into(),
            notify: rcpt.notify,
            orcpt: rcpt.orcpt.map(Into::into),
            class,
            route,
        };
        self.can_be_handed_on(&recipient, &transaction.envelope)?;
        Ok(recipient)
    }

    /// Whether the next hop of a recipient can take what MAIL has announced, as far as it is known.
    fn can_be_handed_on(&self, recipient: &Recipient, envelope: &Envelope) -> Result<(), Reply> {
        let standing = self.shared.board.standing(recipient.route);
        if standing.down {
            return Err(replies::NEXT_HOP_DOWN);
        }
        let Some(hop) = standing.offers else { return Ok(()) };
        match envelope {
            // RFC 8689 4.2.1: never by a way that does not keep the promise.
            envelope if envelope.requiretls && !hop.requiretls => {
                Err(replies::NO_REQUIRETLS_BEHIND)
            }
            envelope if envelope.smtputf8 && !hop.smtputf8 => Err(replies::NO_SMTPUTF8_BEHIND),
            envelope if envelope.body == BodyKind::BinaryMime && !hop.binarymime => {
                Err(replies::NO_BINARY_BEHIND)
            }
            _ => Ok(()),
        }
    }

    /// Whether a client that gets one reply for all could not be told the truth of this recipient
    /// and of the others at once. The first recipient is never split off.
    fn must_split(&self, class: ClassId, transaction: &Transaction) -> bool {
        let policy = &transaction.tables.policy;
        self.listener.protocol == Protocol::Smtp
            && !transaction.prdr
            && self.listener.mixed == Mixed::Split
            && transaction.classes.iter().any(|other| policy.may_differ(class, *other))
    }
}
