//! The server side of a sink, sans-IO.
//!
//! It reads commands by itself and not with the readers of [`crate::wire`]: it is there to find out
//! what our own client does, and refuses each parameter, each command and each pipelined line that it
//! has not offered.

use super::final_replies::{Final, final_replies, late};
use super::resume::{Again, Finished, Name};
use super::script::{Misdeed, Point, Script, Scripted};
use super::{Kept, KeptMessage};
use crate::relay::Protocol;
use crate::wire::{
    ContentSink, ForwardPath, Framed, Framer, Line, LineReader, Newlines, Reply, ReversePath,
    replies,
};
use std::sync::Arc;
use std::time::Duration;

/// One connection to a sink.
#[derive(Debug)]
pub struct SinkSession {
    protocol: Protocol,
    script: Arc<Script>,
    kept: Kept,
    lines: LineReader,
    state: State,
    /// The line of the XCLIENT in force.
    xclient: Option<Vec<u8>>,
    /// Offsets that RESUME has told, by id.
    told: Vec<Name>,
    under_tls: bool,
    mails: usize,
    pending: Vec<u8>,
    out: Vec<u8>,
    wait: Option<Duration>,
    ending: Ending,
}

/// What a sink wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum SinkEffect {
    /// Send these octets.
    Send(Vec<u8>),
    /// Begin TLS, with these octets that came already; then call [`SinkSession::secured`].
    StartTls(Vec<u8>),
    /// Call [`SinkSession::resume`] after this time.
    Wait(Duration),
    /// Close.
    Close,
}

#[derive(Debug)]
enum State {
    Ready,
    Envelope(Message),
    /// The content comes by DATA.
    Body(Box<(Message, Framer, Content)>),
    /// So many octets of a chunk are to come; the last one or not.
    Chunk {
        message: Message,
        left: u64,
        last: bool,
    },
    /// The final reply is late.
    Late(Message),
    /// The envelope of a transaction that has come to its end, once more; or its end mark is awaited.
    Again(Box<Again>),
    AgainBody(Box<(Again, Framer, Content)>),
    /// TLS is to be made; the driver was told.
    Securing {
        told: bool,
    },
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    GoesOn,
    /// It is not answered any more.
    Stalled,
    Closing,
    Closed,
}

/// A transaction.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub kept: KeptMessage,
    pub prdr: bool,
    pub binary: bool,
    pub malformed: bool,
    pub name: Option<Name>,
    /// The parameters of MAIL, without its name, and its address.
    pub parameters: Vec<String>,
    /// Each RCPT with its reply.
    pub rcpts: Vec<(Vec<u8>, Reply)>,
}

#[derive(Debug, Default)]
struct Content {
    octets: Vec<u8>,
    malformed: bool,
}

/// A command did not go well, or it did.
type Answer = Result<Reply, Reply>;

impl SinkSession {
    /// A sink's side of a connection that was just made; its banner is the first effect.
    pub fn new(protocol: Protocol, script: Arc<Script>, kept: Kept) -> SinkSession {
        kept.count_seen(|seen| seen.connections += 1);
        let mut session = SinkSession {
            protocol,
            script,
            kept,
            lines: LineReader::default(),
            state: State::Ready,
            xclient: None,
            told: Vec::new(),
            under_tls: false,
            mails: 0,
            pending: Vec::new(),
            out: Vec::new(),
            wait: None,
            ending: Ending::GoesOn,
        };
        session.answer(Point::Banner, &Reply::bare(220, "sink ready"));
        session
    }

    /// Takes octets of the client.
    pub fn receive(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
        self.run();
    }

    /// The wait that was asked for is over.
    pub fn resume(&mut self) {
        if let State::Late(message) = std::mem::replace(&mut self.state, State::Ready) {
            self.finish(message);
        }
        self.run();
    }

    /// The handshake that [`SinkEffect::StartTls`] asked for is done.
    pub fn secured(&mut self) {
        self.under_tls = true;
        self.state = State::Ready;
        self.run();
    }

    /// The next thing to be done by the driver.
    pub fn poll_effect(&mut self) -> Option<SinkEffect> {
        if !self.out.is_empty() {
            return Some(SinkEffect::Send(std::mem::take(&mut self.out)));
        }
        if let Some(wait) = self.wait.take() {
            return Some(SinkEffect::Wait(wait));
        }
        if let State::Securing { told } = &mut self.state
            && !std::mem::replace(told, true)
        {
            return Some(SinkEffect::StartTls(std::mem::take(&mut self.pending)));
        }
        let closes = self.ending == Ending::Closing;
        closes.then(|| {
            self.ending = Ending::Closed;
            SinkEffect::Close
        })
    }

    fn run(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut input = pending.as_slice();
        while !input.is_empty() && self.ending == Ending::GoesOn {
            match &mut self.state {
                State::Late(_) | State::Securing { .. } => break,
                State::Ready | State::Envelope(_) | State::Again(_) => self.next_line(&mut input),
                State::AgainBody(body) => {
                    let (_, framer, content) = &mut **body;
                    match framer.feed(input, content) {
                        Framed::More => input = &[],
                        Framed::Ended(taken) => {
                            input = &input[taken..];
                            self.end_mark_again();
                        }
                    }
                }
                State::Body(body) => {
                    let (_, framer, content) = &mut **body;
                    match framer.feed(input, content) {
                        Framed::More => input = &[],
                        Framed::Ended(taken) => {
                            input = &input[taken..];
                            self.end_mark();
                        }
                    }
                }
                State::Chunk { message, left, .. } => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    let (now, later) = input.split_at(here);
                    message.kept.content.extend_from_slice(now);
                    *left -= here as u64;
                    input = later;
                    if *left == 0 {
                        self.chunk_ended();
                    }
                }
            }
        }
        if self.ending == Ending::GoesOn {
            self.pending.extend_from_slice(input);
        }
    }

    fn next_line(&mut self, input: &mut &[u8]) {
        let mut lines = std::mem::take(&mut self.lines);
        match lines.next(input) {
            None => {}
            Some(Line::Whole(line)) => self.command(line, !input.is_empty()),
            Some(_) => self.reply(&replies::BARE_CONTROL),
        }
        self.lines = lines;
    }

    fn command(&mut self, line: &[u8], more_waits: bool) {
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (verb, argument) = (line[..end].to_ascii_uppercase(), &line[end..]);
        let verb = verb.as_slice();
        // RFC 2920 3.1: nothing is pipelined that was not offered, and nothing behind a greeting.
        let ends_group = matches!(verb, b"EHLO" | b"LHLO" | b"HELO" | b"XCLIENT");
        let may_wait = self.script.offers.has("PIPELINING") && !ends_group;
        if more_waits && !may_wait && !matches!(verb, b"BDAT" | b"STARTTLS") {
            return self.reply(&OUT_OF_STEP);
        }
        let (point, answer) = match verb {
            b"EHLO" | b"LHLO" | b"HELO" => {
                self.state = State::Ready;
                self.kept.count_seen(|seen| seen.greetings += 1);
                let fits = (verb == b"LHLO") == (self.protocol == Protocol::Lmtp);
                let answer =
                    if fits { Ok(self.greeting(verb)) } else { Err(replies::WRONG_GREETING) };
                (Point::Greeting, answer)
            }
            b"STARTTLS" => return self.start_tls(),
            b"XCLIENT" => (Point::Xclient, self.xclient(line)),
            b"MAIL" => (Point::Mail, self.mail(line, argument)),
            b"RCPT" => (Point::Rcpt, self.rcpt(argument)),
            b"DATA" => (Point::Data, self.data()),
            b"BDAT" => return self.bdat(argument),
            b"RSET" => {
                self.state = State::Ready;
                (Point::Reset, Ok(replies::OK))
            }
            b"RESUME" if self.script.offers.has("RESUME") => (Point::Resume, self.recall(argument)),
            b"VRFY" => (Point::Verify, Ok(replies::CANNOT_VERIFY)),
            b"NOOP" => return self.reply(&replies::OK),
            b"QUIT" => {
                self.reply(&replies::BYE);
                self.ending = Ending::Closing;
                return;
            }
            _ => return self.reply(&replies::UNKNOWN_COMMAND),
        };
        match answer {
            Ok(reply) | Err(reply) => self.answer(point, &reply),
        }
    }

    fn greeting(&self, verb: &[u8]) -> Reply {
        let mut text = "sink".to_owned();
        if verb != b"HELO" {
            let offers = &self.script.offers;
            let withdrawn = offers.xclient_once && self.xclient.is_some();
            for line in offers.lines(self.under_tls) {
                if withdrawn && line.starts_with("XCLIENT") {
                    continue;
                }
                text.push('\n');
                text.push_str(line);
            }
        }
        Reply::bare(250, "").with_text(text)
    }

    fn start_tls(&mut self) {
        if !self.script.offers.has("STARTTLS") || self.under_tls {
            return self.answer(Point::StartTls, &replies::NOT_DONE);
        }
        let refused = matches!(self.script.misdeed(Point::StartTls), Some(Misdeed::Say(_)));
        self.answer(Point::StartTls, &Reply::new(220, 0, 0, "ready for TLS"));
        if !refused {
            self.state = State::Securing { told: false };
        }
    }

    fn xclient(&mut self, line: &[u8]) -> Answer {
        if !self.script.offers.has("XCLIENT") {
            return Err(replies::UNKNOWN_COMMAND);
        }
        if matches!(self.state, State::Envelope(_)) {
            return Err(replies::NESTED_MAIL);
        }
        self.xclient = Some(line.to_vec());
        Ok(Reply::new(220, 0, 0, "sink ready"))
    }

    fn mail(&mut self, line: &[u8], argument: &[u8]) -> Answer {
        if !matches!(self.state, State::Ready) {
            return Err(replies::NESTED_MAIL);
        }
        self.mails += 1;
        if self.script.offers.limit("MAILMAX").is_some_and(|most| self.mails > most) {
            self.ending = Ending::Closing;
            return Err(replies::TOO_MANY_MESSAGES);
        }
        let path = behind(argument, b" FROM:").ok_or(replies::BAD_ARGUMENT)?;
        let (path, rest) = ReversePath::read(path).map_err(|_| replies::BAD_SENDER)?;
        let mut parameters = self.parameters(rest, true)?;
        let name = Name::take(&mut parameters, line);
        let (prdr, binary) = (has(&parameters, "PRDR"), has(&parameters, "BODY=BINARYMIME"));
        let declared = parameters.iter().find_map(|one| one.strip_prefix("SIZE="));
        let octets = declared.and_then(|octets| octets.parse::<u64>().ok()).unwrap_or(0);
        if self.script.offers.octets_max().is_some_and(|most| octets > most) {
            return Err(replies::TOO_BIG);
        }
        self.kept.count_seen(|seen| seen.mails += 1);
        let mail = line.to_vec();
        let with_path = [vec![String::from_utf8_lossy(path.address()).into_owned()], parameters];
        let all = with_path.concat();
        if let Some(name) = name.as_ref().filter(|name| name.offset > 0) {
            let finished = self.kept.recall(&name.transid).filter(|one| one.is_of(&all));
            let finished = finished.filter(|_| self.told.contains(name));
            let finished = finished.ok_or(replies::RESUME_DIFFERS)?;
            self.state = State::Again(Box::new(Again::new(finished)));
            return Ok(replies::SENDER_OK);
        }
        if let Some(name) = &name {
            self.kept.forget(&name.transid);
        }
        self.state = State::Envelope(Message {
            prdr,
            binary,
            kept: KeptMessage { mail, xclient: self.xclient.clone(), ..KeptMessage::default() },
            malformed: false,
            name,
            parameters: all,
            rcpts: Vec::new(),
        });
        Ok(replies::SENDER_OK)
    }

    /// draft-fanf-smtp-rfc1845bis-01 2.8: 355 and the octets that are held; 0 if nothing is known.
    fn recall(&mut self, argument: &[u8]) -> Answer {
        self.kept.count_seen(|seen| seen.resumes += 1);
        if !matches!(self.state, State::Ready) {
            return Err(replies::NESTED_MAIL);
        }
        let argument = String::from_utf8_lossy(argument);
        let transid = argument.trim_start().strip_prefix('<').and_then(|id| id.strip_suffix('>'));
        let transid = transid.ok_or(replies::BAD_ARGUMENT)?.to_owned();
        let offset = self.kept.recall(&transid).map_or(0, |finished| finished.octets);
        self.told.push(Name { transid, offset });
        Ok(Reply::bare(355, "").with_text(format!("{offset} octets are held")))
    }

    /// The parameters of a command, in upper case; each must belong to what is offered.
    fn parameters(&self, rest: &[u8], of_mail: bool) -> Result<Vec<String>, Reply> {
        let words = rest.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
        let mut parameters = Vec::new();
        for word in words {
            let text = String::from_utf8_lossy(word).to_ascii_uppercase();
            let keyword = text.split('=').next().unwrap_or_default();
            let extension = match (keyword, of_mail) {
                ("SIZE", true) => "SIZE",
                ("BODY", true) if text == "BODY=BINARYMIME" => "BINARYMIME",
                ("BODY", true) => "8BITMIME",
                ("SMTPUTF8", true) => "SMTPUTF8",
                ("PRDR", true) => "PRDR",
                ("TRANSID" | "TRANSOFF", true) => "RESUME",
                ("REQUIRETLS", true) if self.under_tls => "REQUIRETLS",
                ("RET" | "ENVID", true) | ("NOTIFY" | "ORCPT", false) => "DSN",
                _ => return Err(replies::UNKNOWN_PARAMETER),
            };
            if !self.script.offers.has(extension) {
                return Err(replies::UNKNOWN_PARAMETER);
            }
            let counted = if keyword == "BODY" { text.clone() } else { keyword.to_owned() };
            self.kept.count_seen(|seen| *seen.parameters.entry(counted).or_default() += 1);
            parameters.push(text);
        }
        Ok(parameters)
    }

    fn rcpt(&mut self, argument: &[u8]) -> Answer {
        self.kept.count_seen(|seen| seen.rcpts += 1);
        if let State::Again(again) = &mut self.state {
            return again.rcpt(argument).ok_or(replies::NOT_IN_RECORD);
        }
        let answer = self.rcpt_of_new(argument);
        if let State::Envelope(message) = &mut self.state {
            let (Ok(reply) | Err(reply)) = &answer;
            message.rcpts.push((argument.to_vec(), reply.clone()));
        }
        answer
    }

    fn rcpt_of_new(&mut self, argument: &[u8]) -> Answer {
        let path = behind(argument, b" TO:").ok_or(replies::BAD_ARGUMENT)?;
        let (path, rest) = ForwardPath::read(path).map_err(|_| replies::BAD_RECIPIENT)?;
        self.parameters(rest, false)?;
        let State::Envelope(message) = &mut self.state else {
            return Err(replies::MAIL_FIRST);
        };
        let address = path.address();
        let refusal = self.script.for_address(address).find_map(|scripted| match scripted {
            Scripted::AtRcpt(reply) => Some(reply.clone()),
            _ => None,
        });
        if let Some(reply) = refusal {
            return Err(reply);
        }
        let most = self.script.offers.limit("RCPTMAX").unwrap_or(usize::MAX);
        if message.kept.recipients.len() >= most {
            return Err(replies::TOO_MANY_RECIPIENTS);
        }
        message.kept.recipients.push(address.to_vec());
        Ok(replies::RECIPIENT_OK)
    }

    fn data(&mut self) -> Answer {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Envelope(message) if message.binary || message.kept.chunked => {
                self.state = State::Envelope(message);
                Err(OUT_OF_STEP)
            }
            State::Envelope(message) if !message.kept.recipients.is_empty() => {
                let framer = Framer::new(Newlines::Reject);
                self.state = State::Body(Box::new((message, framer, Content::default())));
                Ok(replies::GO_AHEAD)
            }
            State::Again(again) if !again.finished.chunked => {
                let framer = Framer::new(Newlines::Reject);
                self.state = State::AgainBody(Box::new((*again, framer, Content::default())));
                Ok(replies::GO_AHEAD)
            }
            other => {
                self.state = other;
                Err(replies::NO_RECIPIENTS_LMTP)
            }
        }
    }

    /// RFC 3030 2: the octets of a chunk follow whatever is answered.
    fn bdat(&mut self, argument: &[u8]) {
        let text = String::from_utf8_lossy(argument).to_ascii_uppercase();
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let octets = words.next().and_then(|word| word.parse::<u64>().ok());
        let last = words.next() == Some("LAST");
        let Some(left) = octets.filter(|_| self.script.offers.has("CHUNKING")) else {
            self.reply(&replies::BAD_ARGUMENT);
            self.ending = Ending::Closing;
            return;
        };
        let mut message = match std::mem::replace(&mut self.state, State::Ready) {
            State::Again(again) if left == 0 && last && again.finished.chunked => {
                return self.replies_again(&again);
            }
            State::Envelope(message) => message,
            _ => Message::default(),
        };
        message.kept.chunked = true;
        self.state = State::Chunk { message, left, last };
        if left == 0 {
            self.chunk_ended();
        }
    }

    fn chunk_ended(&mut self) {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Chunk { message, last: true, .. } => self.ended(message),
            State::Chunk { message, .. } => {
                self.state = State::Envelope(message);
                self.reply(&replies::OK);
            }
            other => self.state = other,
        }
    }

    fn end_mark(&mut self) {
        if let State::Body(body) = std::mem::replace(&mut self.state, State::Ready) {
            let (mut message, _, content) = *body;
            message.kept.content = content.octets;
            message.malformed = content.malformed;
            self.ended(message);
        }
    }

    /// The end mark of a transaction that was at its end before.
    fn end_mark_again(&mut self) {
        if let State::AgainBody(body) = std::mem::replace(&mut self.state, State::Ready) {
            let (again, _, content) = *body;
            match content.octets.is_empty() {
                true => self.replies_again(&again),
                false => self.reply(&replies::NOTHING_WANTED),
            }
        }
    }

    fn replies_again(&mut self, again: &Again) {
        again.finished.replies.iter().for_each(|reply| self.reply(reply));
    }

    /// The message has come whole.
    fn ended(&mut self, message: Message) {
        match late(&self.script, &message) {
            Some(span) => {
                self.wait = Some(span);
                self.state = State::Late(message);
            }
            None => self.finish(message),
        }
    }

    /// The replies are given, and what they accept is kept.
    fn finish(&mut self, message: Message) {
        let named = Finished::of(&message);
        let Final { mut replies, kept } = final_replies(self.protocol, &self.script, message);
        if let Some((transid, mut finished)) = named {
            finished.replies.clone_from(&replies);
            self.kept.remember(transid, finished);
        }
        if let Some(kept) = kept {
            self.kept.push(kept);
        }
        let Some(last) = replies.pop() else { return };
        let all = [None, Some(&Misdeed::Short), Some(&Misdeed::Surplus)];
        if all.contains(&self.script.misdeed(Point::End)) {
            replies.iter().for_each(|reply| self.reply(reply));
        }
        self.answer(Point::End, &last);
    }

    /// Replies, unless the script has something else for this point.
    fn answer(&mut self, point: Point, reply: &Reply) {
        let script = Arc::clone(&self.script);
        match script.misdeed(point) {
            None => self.reply(reply),
            Some(Misdeed::Close | Misdeed::Short) => self.ending = Ending::Closing,
            Some(Misdeed::Stall) => self.ending = Ending::Stalled,
            Some(Misdeed::Say(octets)) => self.out.extend_from_slice(octets),
            Some(Misdeed::Surplus) => {
                self.reply(reply);
                self.reply(&replies::OK);
            }
            // More than anybody reads of one reply.
            Some(Misdeed::Endless) => self.out.extend_from_slice(&b"250-x\r\n".repeat(16_384)),
        }
    }

    fn reply(&mut self, reply: &Reply) {
        match self.script.offers.has("ENHANCEDSTATUSCODES") {
            true => reply.render(&mut self.out),
            false => reply.without_enhanced().render(&mut self.out),
        }
    }
}

/// A line that was not to come now, or not in this way.
const OUT_OF_STEP: Reply = Reply::new(503, 5, 1, "not now, or not pipelined");

fn has(parameters: &[String], wanted: &str) -> bool {
    parameters.iter().any(|one| one == wanted)
}

fn behind<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then_some(rest)
}

impl ContentSink for Content {
    fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
        self.octets.extend_from_slice(&wire[usize::from(dot_stuffed)..]);
    }

    fn malformed(&mut self) {
        self.malformed = true;
    }
}
