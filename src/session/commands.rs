//! Command lines: greeting, envelope, and the small ones.

use super::{Greeting, Intake, Mixed, Session, State};
use crate::now::{Now, Tick};
use crate::policy::{ClassId, RouteId, Standing};
use crate::relay::{Envelope, Origin, Protocol, Recipient};
use crate::wire::{ForwardPath, Mail, Mailbox, Offers, Rcpt, Reply, Verb, greeting_name, replies};
use smallvec::SmallVec;

/// What MAIL began.
#[derive(Debug)]
pub(super) struct Transaction {
    pub id: String,
    pub envelope: Envelope,
    /// The classes of the recipients, each once.
    pub classes: SmallVec<[ClassId; 4]>,
    /// A RCPT was refused or put off.
    pub recipient_refused: bool,
    pub began: Tick,
}

impl Session {
    /// Does one command. `more_waits` tells that octets stand behind it.
    pub(super) fn command(&mut self, line: &[u8], more_waits: bool, now: Now) {
        let (verb, argument) = Verb::read(line);
        self.waiting_since = now.tick;
        match verb {
            Verb::Helo | Verb::Ehlo | Verb::Lhlo => self.greet(verb, argument, now),
            Verb::Mail => self.mail(argument, now),
            Verb::Rcpt => self.rcpt(argument, now),
            Verb::Data => self.data(argument, more_waits, now),
            Verb::Rset => self.without_argument(argument, now, |session| {
                session.mail_refused = false;
                session.drop_transaction();
                session.junk(&replies::OK, now);
            }),
            Verb::Noop => self.junk(&replies::OK, now),
            Verb::Help => self.junk(&replies::HELP, now),
            Verb::Vrfy => self.verify(argument, now),
            Verb::Quit => self.without_argument(argument, now, |session| {
                session.drop_transaction();
                session.end_session(&replies::BYE, now);
            }),
            Verb::NotDone => self.fault(&replies::NOT_DONE, now),
            Verb::NotSmtp => self.end_session(&replies::NOT_SMTP, now),
            Verb::Unknown => self.fault(&replies::UNKNOWN_COMMAND, now),
        }
    }

    fn without_argument(&mut self, argument: &[u8], now: Now, then: impl FnOnce(&mut Session)) {
        match argument.is_empty() {
            true => then(self),
            false => self.fault(&replies::BAD_ARGUMENT, now),
        }
    }

    /// A command that brings no message nearer.
    fn junk(&mut self, reply: &Reply, now: Now) {
        self.junk += 1;
        if self.junk >= self.listener.junk_max {
            self.end_session(&replies::TOO_MUCH_JUNK, now);
        } else {
            self.reply(reply);
        }
    }

    fn greet(&mut self, verb: Verb, argument: &[u8], now: Now) {
        // RFC 2033 4.1: an LMTP server must not answer HELO or EHLO positively, nor SMTP LHLO.
        if (verb == Verb::Lhlo) != self.is_lmtp() {
            return self.fault(&replies::WRONG_GREETING, now);
        }
        let name: Box<[u8]> = match greeting_name(argument) {
            Ok(name) => name.into(),
            Err(reply) => return self.fault(&reply, now),
        };
        if self.greeting.is_some() {
            // Greeting again is allowed, and brings nothing nearer.
            self.junk += 1;
            if self.junk >= self.listener.junk_max {
                return self.end_session(&replies::TOO_MUCH_JUNK, now);
            }
        }
        // RFC 5321 4.1.4: a greeting in mid-session clears everything as RSET does.
        self.drop_transaction();
        self.mail_refused = false;
        let extended = verb != Verb::Helo;
        self.greeting = Some(Greeting { name, extended });
        let hostname = &self.listener.hostname;
        let text = if extended { self.keywords() } else { hostname.clone() };
        self.reply(&Reply::bare(250, "").with_text(text));
    }

    /// The lines of a greeting's reply. Nothing is offered that cannot be honoured.
    fn keywords(&self) -> String {
        let listener = &self.listener;
        let mut lines = format!(
            "{}\nPIPELINING\nSIZE {}\n8BITMIME\nENHANCEDSTATUSCODES\nLIMITS RCPTMAX={} MAILMAX={}",
            listener.hostname,
            listener.size_octets_max,
            listener.recipients_max,
            listener.messages_max
        );
        if listener.smtputf8 != super::Offer::Never {
            lines.push_str("\nSMTPUTF8");
        }
        if listener.dsn != super::Offer::Never {
            lines.push_str("\nDSN");
        }
        lines
    }

    pub(super) fn offers(&self) -> Offers {
        let extended = self.greeting.as_ref().is_some_and(|greeting| greeting.extended);
        Offers {
            extended,
            smtputf8: extended && self.listener.smtputf8 != super::Offer::Never,
            dsn: extended && self.listener.dsn != super::Offer::Never,
        }
    }

    fn mail(&mut self, argument: &[u8], now: Now) {
        if self.greeting.is_none() {
            return self.fault(&replies::GREET_FIRST, now);
        }
        if !matches!(self.state, State::Ready) {
            return self.fault(&replies::NESTED_MAIL, now);
        }
        if self.messages >= self.listener.messages_max {
            return self.end_session(&replies::TOO_MANY_MESSAGES, now);
        }
        self.messages += 1;
        let mail = match Mail::read(argument, self.offers()) {
            Ok(mail) => mail,
            Err(reply) => {
                self.mail_refused = true;
                return self.envelope_fault(&reply, now);
            }
        };
        let limit = self.listener.size_octets_max;
        // RFC 1870 6.1: a declared size over the limit is refused at once.
        if limit > 0 && mail.size_octets.is_some_and(|octets| octets > limit) {
            self.mail_refused = true;
            return self.reply(&replies::TOO_BIG);
        }
        if !self.shared.budget.has_room() {
            self.mail_refused = true;
            return self.reply(&replies::NO_ROOM_NOW);
        }
        self.mail_refused = false;
        self.transactions += 1;
        self.state = State::Mail(Box::new(Transaction {
            id: format!("{}-{}", self.client.session_id, self.transactions),
            envelope: Envelope {
                reverse_path: mail.reverse_path.address().into(),
                body: mail.body,
                smtputf8: mail.smtputf8,
                ret: mail.ret,
                envid: mail.envid.map(Into::into),
                requiretls: false,
                origin: Origin::default(),
                recipients: Vec::new(),
            },
            classes: SmallVec::new(),
            recipient_refused: false,
            began: now.tick,
        }));
        self.reply(&replies::SENDER_OK);
    }

    /// A bad MAIL or RCPT: a protocol error, unless the code says that it is about the address.
    fn envelope_fault(&mut self, reply: &Reply, now: Now) {
        match reply.code() {
            500..=503 | 555 => self.fault(reply, now),
            _ => self.reply(reply),
        }
    }

    fn rcpt(&mut self, argument: &[u8], now: Now) {
        let mut transaction = match std::mem::replace(&mut self.state, State::Ready) {
            State::Mail(transaction) | State::Rcpt(transaction) => transaction,
            // What only follows from a refused MAIL is no further error of the client.
            _ if self.mail_refused => return self.reply(&replies::MAIL_FIRST),
            _ => return self.fault(&replies::MAIL_FIRST, now),
        };
        let smtputf8 = transaction.envelope.smtputf8;
        let answer = Rcpt::read(argument, self.offers(), smtputf8)
            .and_then(|rcpt| self.recipient(&rcpt, &transaction));
        match answer {
            Ok(recipient) => {
                self.shared.tally.recipients_accepted.count();
                if !transaction.classes.contains(&recipient.class) {
                    transaction.classes.push(recipient.class);
                }
                transaction.envelope.recipients.push(recipient);
                self.reply(&replies::RECIPIENT_OK);
            }
            Err(reply) => {
                self.shared.tally.recipients_refused.count();
                transaction.recipient_refused = true;
                self.envelope_fault(&reply, now);
            }
        }
        if matches!(self.state, State::Ready) {
            self.state = match transaction.envelope.recipients.is_empty() {
                true => State::Mail(transaction),
                false => State::Rcpt(transaction),
            };
        }
    }

    /// Whether a recipient can be taken into this transaction.
    fn recipient(&self, rcpt: &Rcpt<'_>, transaction: &Transaction) -> Result<Recipient, Reply> {
        // RFC 5321 4.5.3.1.10: past the limit the code is 452, and the earlier ones stand.
        if transaction.envelope.recipients.len() >= self.listener.recipients_max {
            return Err(replies::TOO_MANY_RECIPIENTS);
        }
        let address = self.full_address(rcpt.forward_path);
        let mailbox = Mailbox::read(&address).map_err(|_| replies::BAD_RECIPIENT)?;
        let (class, route) = match self.shared.tables.policy.recipient(&mailbox) {
            Standing::Accepted { class, route } => (class, route),
            Standing::Refused(reply) => return Err(reply),
        };
        if self.must_split(class, transaction) {
            self.shared.tally.recipients_split.count();
            return Err(replies::ANOTHER_CLASS);
        }
        Ok(self.accepted(rcpt, &address, class, route))
    }

    fn accepted(
        &self,
        rcpt: &Rcpt<'_>,
        address: &[u8],
        class: ClassId,
        route: RouteId,
    ) -> Recipient {
        Recipient {
            address: address.into(),
            notify: rcpt.notify,
            orcpt: rcpt.orcpt.map(Into::into),
            class,
            route,
        }
    }

    /// The address with a domain: `<postmaster>` is the one of the first domain served.
    fn full_address(&self, path: ForwardPath<'_>) -> Vec<u8> {
        match path {
            ForwardPath::Mailbox(mailbox) => mailbox.address.to_vec(),
            ForwardPath::Postmaster(_) => {
                [b"postmaster@", self.shared.tables.policy.postmaster_domain()].concat()
            }
        }
    }

    /// Whether a plain SMTP client, which gets one reply for all, could not be told the truth of
    /// this recipient and of the others at once. The first recipient is never split off.
    fn must_split(&self, class: ClassId, transaction: &Transaction) -> bool {
        let policy = &self.shared.tables.policy;
        self.listener.protocol == Protocol::Smtp
            && self.listener.mixed == Mixed::Split
            && transaction.classes.iter().any(|other| policy.may_differ(class, *other))
    }

    fn data(&mut self, argument: &[u8], more_waits: bool, now: Now) {
        if !argument.is_empty() {
            self.fault(&replies::BAD_ARGUMENT, now);
            return self.data_refused(more_waits, now);
        }
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Rcpt(transaction) => {
                let rules = &self.shared.tables.rules;
                let intake =
                    Intake::new(*transaction, &self.listener, rules, &self.shared.budget, now.tick);
                self.state = State::Body(Box::new(intake));
                self.reply(&replies::GO_AHEAD);
            }
            State::Mail(transaction) => {
                let reply = match self.is_lmtp() {
                    // RFC 2033 4.2: DATA without an accepted RCPT gets 503.
                    true => replies::NO_RECIPIENTS_LMTP,
                    false => replies::NO_RECIPIENTS,
                };
                let refused = transaction.recipient_refused;
                self.state = State::Mail(transaction);
                if refused {
                    // It only follows from the refused recipients.
                    self.reply(&reply);
                } else {
                    self.fault(&reply, now);
                }
                self.data_refused(more_waits, now);
            }
            _ => {
                if self.mail_refused {
                    self.reply(&replies::MAIL_FIRST);
                } else {
                    self.fault(&replies::MAIL_FIRST, now);
                }
                self.data_refused(more_waits, now);
            }
        }
    }

    /// DATA was refused. RFC 2920 3.1: DATA ends a group, so nothing may stand behind it; what does
    /// is a body, and its lines must never be taken for commands.
    fn data_refused(&mut self, more_waits: bool, now: Now) {
        if more_waits && !matches!(self.state, State::Closing { .. }) {
            self.end_session(&replies::BODY_BEHIND_REFUSED_DATA, now);
        }
    }

    /// RFC 5321 3.5.3 and 7.3: a mailbox is never confirmed.
    fn verify(&mut self, argument: &[u8], now: Now) {
        if argument.trim_ascii().is_empty() {
            return self.fault(&replies::BAD_ARGUMENT, now);
        }
        // RFC 6531 3.7.4.2: an internationalized name needs the SMTPUTF8 parameter here, too.
        let asks_utf8 = argument
            .rsplit(|octet| *octet == b' ')
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case(b"SMTPUTF8"));
        if !argument.is_ascii() && !asks_utf8 {
            return self.junk(&replies::NEEDS_SMTPUTF8, now);
        }
        self.junk(&replies::CANNOT_VERIFY, now);
    }

    pub(super) fn drop_transaction(&mut self) {
        if matches!(self.state, State::Mail(_) | State::Rcpt(_)) {
            self.state = State::Ready;
        }
    }
}
