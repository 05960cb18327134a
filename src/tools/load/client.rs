//! The client side of a load, sans-IO: what is asked, and which reply belongs to it.

use crate::relay::Protocol;
use crate::wire::{BadReply, Reply, ReplyReader};
use std::collections::VecDeque;
use std::mem;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// The content goes by BDAT.
    pub chunking: bool,
    /// A reply for each recipient is asked for, by SMTP.
    pub prdr: bool,
    /// MAIL, RCPT and DATA go in one write.
    pub pipelining: bool,
}

/// One connection's client. Octets go in by [`LoadClient::receive`]; what is to be done comes out of
/// [`LoadClient::poll_step`].
#[derive(Debug)]
pub struct LoadClient {
    dialect: Dialect,
    reader: ReplyReader,
    /// Commands that were not sent yet: without PIPELINING one goes at a time.
    unsent: VecDeque<(Vec<u8>, Asked)>,
    /// What was sent and is not answered, in order.
    asked: VecDeque<Asked>,
    steps: VecDeque<Step>,
    /// Octets of content, for BDAT.
    content_octets: usize,
    /// The code of MAIL, if it was refused.
    mail_refused: Option<u16>,
    /// Recipients whose final code is awaited, by their place.
    open: Vec<usize>,
    codes: Vec<u16>,
}

/// What a client wants done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these commands.
    Send(Vec<u8>),
    /// Send this and the content behind it, in the form of the dialect; then the final replies are
    /// awaited.
    SendContent(Vec<u8>),
    /// A message can begin: [`LoadClient::begin`].
    Ready,
    /// The message is answered. For each recipient the code that counts: that of MAIL or RCPT if it
    /// was refused there, else the final one. A message can begin.
    Answered(Vec<u16>),
}

/// The server cannot be talked with any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// It does not speak the protocol.
    #[error("the server sent {0}")]
    BadReply(#[from] BadReply),
    /// It does not serve us, or no longer (421).
    #[error("the server answered {0}")]
    Refused(String),
    /// An extension that the load needs is not there.
    #[error("the server does not offer {0}")]
    NotOffered(&'static str),
    /// More came than was asked.
    #[error("the server sent a reply to nothing: {0}")]
    Surplus(String),
}

/// What a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Connection,
    Greeting,
    Mail,
    Rcpt(usize),
    Data,
    /// The end of a message that has no recipient: whatever is said.
    Nothing,
    /// The end of the message, for all recipients or for the next one.
    Message,
    /// The end of the message, for one recipient of a PRDR block.
    BlockLine,
    BlockEnd,
}

impl LoadClient {
    /// A client on a connection that was just made.
    pub fn new(dialect: Dialect) -> LoadClient {
        LoadClient {
            dialect,
            reader: ReplyReader::default(),
            unsent: VecDeque::new(),
            asked: VecDeque::from([Asked::Connection]),
            steps: VecDeque::new(),
            content_octets: 0,
            mail_refused: None,
            open: Vec::new(),
            codes: Vec::new(),
        }
    }

    /// Begins a message; the paths are without their brackets, the content's octets are those of its
    /// plain form. To be called behind [`Step::Ready`] and [`Step::Answered`] alone.
    pub fn begin(&mut self, sender: &str, recipients: &[String], content_octets: usize) {
        debug_assert!(self.asked.is_empty() && self.unsent.is_empty());
        self.content_octets = content_octets;
        self.mail_refused = None;
        self.open.clear();
        self.codes = vec![0; recipients.len()];
        let prdr = if self.dialect.prdr { " PRDR" } else { "" };
        self.ask(format!("MAIL FROM:<{sender}>{prdr}\r\n"), Asked::Mail);
        for (place, recipient) in recipients.iter().enumerate() {
            self.ask(format!("RCPT TO:<{recipient}>\r\n"), Asked::Rcpt(place));
        }
        if !self.dialect.chunking {
            self.ask("DATA\r\n".to_owned(), Asked::Data);
        }
        self.send();
    }

    /// Takes octets of the server.
    pub fn receive(&mut self, mut octets: &[u8]) -> Result<(), ClientFault> {
        while let Some(reply) = self.reader.next(&mut octets)? {
            let Some(asked) = self.asked.pop_front() else {
                return Err(ClientFault::Surplus(reply.to_string()));
            };
            // RFC 5321 3.8: 421 may answer any command; the connection closes behind it.
            if reply.code() == 421 {
                return Err(ClientFault::Refused(reply.to_string()));
            }
            self.answered(asked, &reply)?;
            if self.asked.is_empty() {
                self.send();
            }
        }
        Ok(())
    }

    /// The next thing to be done; without one, octets of the server are awaited.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answered(&mut self, asked: Asked, reply: &Reply) -> Result<(), ClientFault> {
        match asked {
            Asked::Connection | Asked::Greeting if !reply.is_positive() => {
                return Err(ClientFault::Refused(reply.to_string()));
            }
            Asked::Connection => {
                let verb = if self.is_lmtp() { "LHLO" } else { "EHLO" };
                self.ask(format!("{verb} load.client.example\r\n"), Asked::Greeting);
            }
            Asked::Greeting => {
                self.check_offers(reply.text())?;
                self.steps.push_back(Step::Ready);
            }
            Asked::Mail => self.mail_refused = (!reply.is_positive()).then_some(reply.code()),
            Asked::Rcpt(place) => {
                self.recipient(place, reply);
                if self.asked.is_empty() && self.unsent.is_empty() {
                    self.chunk();
                }
            }
            Asked::Data => self.data(reply),
            Asked::Nothing => self.end(),
            Asked::Message if reply.code() == 353 && self.dialect.prdr => {
                self.asked.extend(self.open.iter().map(|_| Asked::BlockLine));
                self.asked.push_back(Asked::BlockEnd);
            }
            Asked::Message if self.is_lmtp() => self.line(reply),
            Asked::Message => self.all(reply.code()),
            Asked::BlockLine => {
                let place = self.open[self.open.len() - self.asked.len()];
                self.codes[place] = reply.code();
            }
            // What the lines said counts only if the message was taken.
            Asked::BlockEnd if reply.is_positive() => self.end(),
            Asked::BlockEnd => self.all(reply.code()),
        }
        Ok(())
    }

    fn recipient(&mut self, place: usize, reply: &Reply) {
        match self.mail_refused {
            Some(code) => self.codes[place] = code,
            None if reply.is_positive() => self.open.push(place),
            None => self.codes[place] = reply.code(),
        }
    }

    /// The envelope is through: the content follows in one chunk, if anybody is left to take it.
    fn chunk(&mut self) {
        match (self.open.is_empty(), self.mail_refused) {
            (true, Some(_)) => self.end(),
            (true, None) => self.ask("RSET\r\n".to_owned(), Asked::Nothing),
            (false, _) => {
                self.content(format!("BDAT {} LAST\r\n", self.content_octets));
            }
        }
    }

    fn data(&mut self, reply: &Reply) {
        match (reply.code(), self.open.is_empty()) {
            (354, false) => self.content(String::new()),
            (354, true) => self.ask(".\r\n".to_owned(), Asked::Nothing),
            (_, true) => self.end(),
            (code, false) => self.all(code),
        }
    }

    fn content(&mut self, command: String) {
        self.steps.push_back(Step::SendContent(command.into_bytes()));
        // RFC 2033 4.2: one reply for each recipient that was accepted, in their order.
        let replies = if self.is_lmtp() { self.open.len() } else { 1 };
        self.asked.extend((0..replies).map(|_| Asked::Message));
    }

    /// The final reply for the next recipient, by LMTP.
    fn line(&mut self, reply: &Reply) {
        let place = self.open[self.open.len() - self.asked.len() - 1];
        self.codes[place] = reply.code();
        if self.asked.is_empty() {
            self.end();
        }
    }

    /// The final reply for all recipients.
    fn all(&mut self, code: u16) {
        for place in &self.open {
            self.codes[*place] = code;
        }
        self.end();
    }

    fn end(&mut self) {
        self.steps.push_back(Step::Answered(mem::take(&mut self.codes)));
    }

    fn ask(&mut self, command: String, asked: Asked) {
        self.unsent.push_back((command.into_bytes(), asked));
    }

    /// Sends what may go now.
    fn send(&mut self) {
        let together = if self.dialect.pipelining { self.unsent.len() } else { 1 };
        let mut octets = Vec::new();
        for (command, asked) in self.unsent.drain(..together.min(self.unsent.len())) {
            octets.extend_from_slice(&command);
            self.asked.push_back(asked);
        }
        if !octets.is_empty() {
            self.steps.push_back(Step::Send(octets));
        }
    }

    fn check_offers(&self, text: &str) -> Result<(), ClientFault> {
        let needed = [
            ("PIPELINING", self.dialect.pipelining),
            ("CHUNKING", self.dialect.chunking),
            ("PRDR", self.dialect.prdr),
        ];
        let offers = |keyword: &str| {
            let mut lines = text.split('\n').skip(1);
            lines.any(|line| line.split(' ').next().unwrap_or(line).eq_ignore_ascii_case(keyword))
        };
        match needed.into_iter().find(|(keyword, needed)| *needed && !offers(keyword)) {
            Some((keyword, _)) => Err(ClientFault::NotOffered(keyword)),
            None => Ok(()),
        }
    }

    fn is_lmtp(&self) -> bool {
        self.dialect.protocol == Protocol::Lmtp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMTP: Dialect =
        Dialect { protocol: Protocol::Smtp, chunking: false, prdr: false, pipelining: true };
    const LMTP: Dialect = Dialect { protocol: Protocol::Lmtp, ..SMTP };
    const PRDR: Dialect = Dialect { prdr: true, ..SMTP };
    const BDAT: Dialect = Dialect { chunking: true, ..SMTP };
    const ONE_BY_ONE: Dialect = Dialect { pipelining: false, ..SMTP };

    /// A conversation: `S: ` and what the server sends, `C: ` and what the client is to send, `=` and
    /// the codes that count. The server's octets come in pieces of `size`.
    fn check(dialect: Dialect, recipients: usize, size: usize, script: &str) {
        let mut client = LoadClient::new(dialect);
        let recipients: Vec<String> =
            (0..recipients).map(|one| format!("r{one}@b.example")).collect();
        let mut lines = script.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            if let Some(said) = line.strip_prefix("S: ") {
                let mut octets = format!("{said}\r\n");
                while let Some(said) = lines.peek().and_then(|line| line.strip_prefix("S: ")) {
                    octets.push_str(&format!("{said}\r\n"));
                    lines.next();
                }
                let pieces = octets.as_bytes().chunks(size);
                pieces.for_each(|piece| client.receive(piece).unwrap());
            } else if let Some(expected) = line.strip_prefix("C: ") {
                let expected = format!("{expected}\r\n").replace("; ", "\r\n");
                match client.poll_step() {
                    Some(Step::Send(octets)) => {
                        assert_eq!(String::from_utf8(octets).unwrap(), expected, "{script}");
                    }
                    step => panic!("{step:?} for {line} in\n{script}"),
                }
            } else if let Some(expected) = line.strip_prefix("content ") {
                let expected = expected.replace("\\r\\n", "\r\n").trim_matches('"').to_owned();
                assert_eq!(client.poll_step(), Some(Step::SendContent(expected.into_bytes())));
            } else if line == "begin" {
                assert_eq!(client.poll_step(), Some(Step::Ready));
                client.begin("a@a.example", &recipients, 99);
            } else if let Some(codes) = line.strip_prefix("= ") {
                let codes = codes.split(' ').map(|code| code.parse().unwrap()).collect();
                assert_eq!(client.poll_step(), Some(Step::Answered(codes)), "{script}");
            }
            if !matches!(lines.peek(), Some(&"begin")) && line.starts_with("= ") {
                assert_eq!(client.poll_step(), None, "behind {line} in\n{script}");
            }
        }
        assert_eq!(client.poll_step(), None, "{script}");
    }

    fn check_in_any_cut(dialect: Dialect, recipients: usize, script: &str) {
        for size in [1, 2, 3, 7, 1_000] {
            check(dialect, recipients, size, script);
        }
    }

    const OPENING: &str = "S: 220 b.example
        C: EHLO load.client.example
        S: 250-b.example
        S: 250-PIPELINING
        S: 250-CHUNKING
        S: 250 PRDR
        begin\n";

    fn smtp(rest: &str) -> String {
        format!("{OPENING}{rest}")
    }

    #[test]
    fn the_one_reply_of_smtp_counts_for_all_who_were_accepted() {
        let envelope =
            "C: MAIL FROM:<a@a.example>; RCPT TO:<r0@b.example>; RCPT TO:<r1@b.example>; DATA
            S: 250 ok
            S: 250 ok
            S: 550 no\n";
        for (rest, codes) in [
            ("S: 354 go\ncontent \"\"\nS: 250 done", "250 550"),
            ("S: 354 go\ncontent \"\"\nS: 451 later", "451 550"),
            ("S: 451 not now", "451 550"),
        ] {
            check_in_any_cut(SMTP, 2, &smtp(&format!("{envelope}{rest}\n= {codes}")));
        }
    }

    #[test]
    fn a_message_without_a_recipient_ends() {
        let envelope = "C: MAIL FROM:<a@a.example>; RCPT TO:<r0@b.example>; DATA\n";
        for rest in [
            "S: 250 ok\nS: 550 no\nS: 503 nobody\n= 550",
            "S: 250 ok\nS: 550 no\nS: 354 go\nC: .\nS: 554 nobody\n= 550",
            "S: 452 full\nS: 503 mail first\nS: 503 mail first\n= 452",
        ] {
            check_in_any_cut(SMTP, 1, &smtp(&format!("{envelope}{rest}")));
        }
        let envelope = "C: MAIL FROM:<a@a.example>; RCPT TO:<r0@b.example>\n";
        for rest in
            ["S: 250 ok\nS: 550 no\nC: RSET\nS: 250 ok\n= 550", "S: 452 no\nS: 503 no\n= 452"]
        {
            check_in_any_cut(BDAT, 1, &smtp(&format!("{envelope}{rest}")));
        }
    }

    #[test]
    fn lmtp_answers_for_each() {
        let opening = OPENING.replace("EHLO", "LHLO");
        let rest = "C: MAIL FROM:<a@a.example>; RCPT TO:<r0@b.example>; RCPT TO:<r1@b.example>; \
            RCPT TO:<r2@b.example>; DATA
            S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\ncontent \"\"
            S: 250 done\nS: 452 full\n= 250 550 452";
        check_in_any_cut(LMTP, 3, &format!("{opening}{rest}"));
    }

    #[test]
    fn the_lines_of_a_prdr_block_count_if_its_end_is_positive() {
        let envelope =
            "C: MAIL FROM:<a@a.example> PRDR; RCPT TO:<r0@b.example>; RCPT TO:<r1@b.example>; DATA
            S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\ncontent \"\"\n";
        for rest in [
            "S: 353 each\nS: 250 a\nS: 550 b\nS: 250 done\n= 250 550",
            "S: 353 each\nS: 250 a\nS: 550 b\nS: 451 lost\n= 451 451",
            "S: 250 done\n= 250 250",
        ] {
            check_in_any_cut(PRDR, 2, &smtp(&format!("{envelope}{rest}")));
        }
    }

    #[test]
    fn bdat_follows_the_replies_to_the_envelope() {
        let rest = "C: MAIL FROM:<a@a.example>; RCPT TO:<r0@b.example>
            S: 250 ok\nS: 250 ok\ncontent \"BDAT 99 LAST\\r\\n\"\nS: 250 done\n= 250";
        check_in_any_cut(BDAT, 1, &smtp(rest));
    }

    #[test]
    fn without_pipelining_each_command_waits_for_the_reply_before() {
        let rest = "C: MAIL FROM:<a@a.example>\nS: 250 ok\nC: RCPT TO:<r0@b.example>\nS: 250 ok
            C: DATA\nS: 354 go\ncontent \"\"\nS: 250 done\n= 250";
        check_in_any_cut(ONE_BY_ONE, 1, &smtp(rest));
    }

    #[test]
    fn a_server_that_cannot_be_loaded_is_told_apart() {
        let fault = |dialect, octets: &str| LoadClient::new(dialect).receive(octets.as_bytes());
        let closing = "421 4.3.2 closing".to_owned();
        assert_eq!(fault(SMTP, "421 4.3.2 closing\r\n"), Err(ClientFault::Refused(closing)));
        assert_eq!(fault(SMTP, "hello\r\n"), Err(ClientFault::BadReply(BadReply::NotAReply)));
        let mut client = LoadClient::new(PRDR);
        client.receive(b"220 b\r\n").unwrap();
        let offers = client.receive(b"250-b PRDR\r\n250 PIPELINING\r\n");
        assert_eq!(offers, Err(ClientFault::NotOffered("PRDR")));
        let mut client = LoadClient::new(SMTP);
        client.receive(b"220 b\r\n").unwrap();
        client.receive(b"250-b\r\n250 PIPELINING\r\n").unwrap();
        assert_eq!(client.receive(b"250 x\r\n"), Err(ClientFault::Surplus("250 x".to_owned())));
    }
}
