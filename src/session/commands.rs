//! Command lines: which may stand where, and the small ones.

use super::{Greeting, Intake, Session, State};
use crate::ledger::Transfer;
use crate::limits::LIMIT_VALUE_MAX;
use crate::now::Now;
use crate::wire::{
    Offers, PeerCommand, Reply, Verb, XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, greeting_name,
    replies,
};

impl Session {
    /// Does one command; `input` is what stands behind it.
    pub(super) fn command(&mut self, line: &[u8], input: &mut &[u8], now: Now) {
        let (verb, argument) = Verb::read(line);
        self.waiting_since = now.tick;
        // RFC 3207 4: 530 to every command other than NOOP, EHLO, STARTTLS, or QUIT. The octets of
        // a BDAT are dropped first, and what is no SMTP is no command.
        let allowed = matches!(
            verb,
            Verb::Noop
                | Verb::Ehlo
                | Verb::Lhlo
                | Verb::StartTls
                | Verb::Quit
                | Verb::Bdat
                | Verb::NotSmtp
        );
        if self.lacks_tls() && !allowed {
            self.junk(&replies::TLS_FIRST, now);
            if verb == Verb::Data {
                self.data_refused(!input.is_empty(), now);
            }
            return;
        }
        match verb {
            Verb::Helo | Verb::Ehlo | Verb::Lhlo => self.greet(verb, argument, now),
            Verb::Mail => self.mail(argument, now),
            Verb::Rcpt => self.rcpt(argument, now),
            Verb::Data => self.data(argument, !input.is_empty(), now),
            Verb::Bdat => self.bdat(argument, now),
            // RFC 5321 4.1.1.5: RSET clears the transaction, and is answered by 250 in any state.
            Verb::Rset => self.without_argument(argument, now, |session| {
                session.mail_refused = false;
                session.drop_transaction();
                session.junk(&replies::OK, now);
            }),
            // RFC 5321 4.1.1.9: a string behind NOOP is ignored.
            Verb::Noop => self.junk(&replies::OK, now),
            Verb::Help => self.junk(&replies::HELP, now),
            Verb::Vrfy => self.verify(argument, now),
            // RFC 5321 4.1.1.10: an open transaction is dropped, the reply is sent, then we close.
            Verb::Quit => self.without_argument(argument, now, |session| {
                session.drop_transaction();
                session.quit_recorded();
                session.end_session(&replies::BYE, now);
            }),
            Verb::StartTls => self.start_tls(argument, input, now),
            Verb::Xclient => self.told_of_client(PeerCommand::Xclient, argument, now),
            Verb::Xforward => self.told_of_client(PeerCommand::Xforward, argument, now),
            Verb::Resume => self.resume(argument, now),
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

    fn greet(&mut self, verb: Verb, argument: &[u8], now: Now) {
        // RFC 2033 4.1: an LMTP server must not answer HELO or EHLO positively, nor SMTP LHLO.
        if (verb == Verb::Lhlo) != self.is_lmtp() {
            return self.fault(&replies::WRONG_GREETING, now);
        }
        let name: Box<[u8]> = match greeting_name(argument) {
            Ok(name) => name.into(),
            Err(reply) => return self.fault(&reply, now),
        };
        // RFC 5321 4.1.4: a greeting in mid-session clears everything as RSET does.
        self.drop_transaction();
        self.mail_refused = false;
        let (offers, text) = match verb {
            Verb::Helo => (Offers::default(), self.listener.hostname.clone()),
            _ => {
                let offers = self.offers_now();
                (offers, self.keywords(offers))
            }
        };
        let again = self.greeting.replace(Greeting { name, offers }).is_some();
        let reply = Reply::bare(250, "").with_text(text);
        // Greeting again is allowed, and brings nothing nearer.
        if again { self.junk(&reply, now) } else { self.reply(&reply) }
    }

    /// The lines of a greeting's reply. Nothing is offered that cannot be honoured.
    fn keywords(&self, offers: Offers) -> String {
        let listener = &self.listener;
        let mut lines = format!(
            "{}\nPIPELINING\nSIZE {}\n8BITMIME\nENHANCEDSTATUSCODES\nCHUNKING\n\
             LIMITS RCPTMAX={} MAILMAX={}",
            listener.hostname,
            listener.size_octets_max,
            listener.recipients_max,
            // RFC 9422 4: a value has one to six digits, the first of which is not 0.
            listener.messages_max.clamp(1, LIMIT_VALUE_MAX)
        );
        let offered = [
            (offers.binarymime, "BINARYMIME"),
            (offers.smtputf8, "SMTPUTF8"),
            (offers.dsn, "DSN"),
            (offers.prdr, "PRDR"),
            (offers.requiretls, "REQUIRETLS"),
            (offers.resume, "RESUME"),
            (offers.checkpoint, "CHECKPOINT"),
            (self.offers_tls(), "STARTTLS"),
        ];
        for (_, keyword) in offered.into_iter().filter(|(offered, _)| *offered) {
            lines.push('\n');
            lines.push_str(keyword);
        }
        let told = [
            (PeerCommand::Xclient, "XCLIENT", XCLIENT_ATTRIBUTES),
            (PeerCommand::Xforward, "XFORWARD", XFORWARD_ATTRIBUTES),
        ];
        for (_, keyword, attributes) in
            told.into_iter().filter(|(command, ..)| self.trusts(*command))
        {
            lines.push_str(&format!("\n{keyword} {attributes}"));
        }
        lines
    }

    fn data(&mut self, argument: &[u8], more_waits: bool, now: Now) {
        if !argument.is_empty() {
            self.fault(&replies::BAD_ARGUMENT, now);
            return self.data_refused(more_waits, now);
        }
        match std::mem::replace(&mut self.state, State::Ready) {
            // RFC 3030 3: binary content cannot be sent by DATA.
            State::Rcpt(transaction) if transaction.is_binary() => {
                self.state = State::Rcpt(transaction);
                self.fault(&replies::BDAT_ONLY, now);
            }
            State::Resumed(transaction) => {
                if self.data_again(transaction, now) {
                    return;
                }
            }
            State::Rcpt(mut transaction) => {
                self.content_begins(&mut transaction, Transfer::Data);
                let intake = Intake::by_data(*transaction, self, now.tick);
                self.state = State::Body(Box::new(intake));
                return self.reply(&replies::GO_AHEAD);
            }
            State::Chunks(message) => {
                self.state = State::Chunks(message);
                self.fault(&replies::BDAT_ONLY, now);
            }
            State::Mail(transaction) => {
                let refused = transaction.recipient_refused;
                self.state = State::Mail(transaction);
                let reply = self.no_recipients();
                // It may only follow from the refused recipients.
                if refused { self.reply(&reply) } else { self.fault(&reply, now) }
            }
            _ if self.mail_refused => self.reply(&replies::MAIL_FIRST),
            _ => self.fault(&replies::MAIL_FIRST, now),
        }
        self.data_refused(more_waits, now);
    }

    /// The reply to DATA or BDAT in a transaction that nobody is to get.
    pub(super) fn no_recipients(&self) -> Reply {
        match self.is_lmtp() {
            // RFC 2033 4.2: DATA without an accepted RCPT gets 503.
            true => replies::NO_RECIPIENTS_LMTP,
            false => replies::NO_RECIPIENTS,
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

    /// RSET and its like: the transaction is forgotten, one whose message is coming in chunks, too.
    pub(super) fn drop_transaction(&mut self) {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Mail(transaction) | State::Rcpt(transaction) | State::Resumed(transaction) => {
                self.forget_recorded(&transaction);
            }
            State::Chunks(message) => self.forget_recorded(&message.intake().transaction),
            state => self.state = state,
        }
    }
}
