//! The server side of a sink, sans-IO.

use super::script::{Script, Scripted};
use super::{Kept, KeptMessage};
use crate::relay::Protocol;
use crate::wire::{
    ContentSink, Framed, Framer, Line, LineReader, Mail, Newlines, Offers, Rcpt, Reply, Verb,
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
    pending: Vec<u8>,
    out: Vec<u8>,
    wait: Option<Duration>,
    waiting: bool,
    closed: bool,
}

/// What a sink wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum SinkEffect {
    /// Send these octets.
    Send(Vec<u8>),
    /// Call [`SinkSession::resume`] after this time.
    Wait(Duration),
    /// Close.
    Close,
}

#[derive(Debug)]
enum State {
    Ready,
    Envelope(Message),
    Body(Box<(Message, Framer, Content)>),
}

#[derive(Debug, Default)]
struct Message {
    mail: Vec<u8>,
    recipients: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Content {
    octets: Vec<u8>,
    malformed: bool,
}

const OFFERS: Offers = Offers {
    extended: true,
    smtputf8: true,
    dsn: true,
    binarymime: true,
    prdr: false,
    requiretls: false,
    resume: false,
    checkpoint: false,
};

impl SinkSession {
    /// A sink's side of a connection that was just made; its banner is the first effect.
    pub fn new(protocol: Protocol, script: Arc<Script>, kept: Kept) -> SinkSession {
        SinkSession {
            protocol,
            script,
            kept,
            lines: LineReader::default(),
            state: State::Ready,
            pending: Vec::new(),
            out: b"220 sink ready\r\n".to_vec(),
            wait: None,
            waiting: false,
            closed: false,
        }
    }

    /// Takes octets of the client.
    pub fn receive(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
        self.run();
    }

    /// The wait that was asked for is over.
    pub fn resume(&mut self) {
        self.end_of_data();
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
        std::mem::take(&mut self.closed).then_some(SinkEffect::Close)
    }

    fn run(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut input = pending.as_slice();
        while !input.is_empty() && !self.waiting && !self.closed {
            match &mut self.state {
                State::Body(body) => {
                    let (message, framer, content) = &mut **body;
                    match framer.feed(input, content) {
                        Framed::More => input = &[],
                        Framed::Ended(taken) => {
                            input = &input[taken..];
                            self.wait = late(&self.script, message);
                            self.waiting = self.wait.is_some();
                            if !self.waiting {
                                self.end_of_data();
                            }
                        }
                    }
                }
                _ => self.next_line(&mut input),
            }
        }
        self.pending.extend_from_slice(input);
    }

    fn end_of_data(&mut self) {
        self.waiting = false;
        if let State::Body(body) = std::mem::replace(&mut self.state, State::Ready) {
            let (message, _, content) = *body;
            self.finish(message, content);
        }
    }

    fn next_line(&mut self, input: &mut &[u8]) {
        let mut lines = std::mem::take(&mut self.lines);
        match lines.next(input) {
            None => {}
            Some(Line::Whole(line)) => self.command(line),
            Some(_) => self.reply(&replies::BARE_CONTROL),
        }
        self.lines = lines;
    }

    fn command(&mut self, line: &[u8]) {
        let (verb, argument) = Verb::read(line);
        match (verb, std::mem::replace(&mut self.state, State::Ready)) {
            (Verb::Ehlo | Verb::Lhlo, _) => {
                let text = "sink\nPIPELINING\nSIZE 0\n8BITMIME\nENHANCEDSTATUSCODES\nSMTPUTF8\nDSN";
                self.reply(&Reply::bare(250, text));
            }
            (Verb::Helo, _) => self.reply(&Reply::bare(250, "sink")),
            (Verb::Mail, State::Ready) => match Mail::read(argument, OFFERS) {
                Ok(_) => {
                    let message = Message { mail: line.to_vec(), recipients: Vec::new() };
                    self.state = State::Envelope(message);
                    self.reply(&replies::SENDER_OK);
                }
                Err(reply) => self.reply(&reply),
            },
            (Verb::Rcpt, State::Envelope(message)) => self.rcpt(argument, message),
            (Verb::Data, State::Envelope(message)) if !message.recipients.is_empty() => {
                let framer = Framer::new(Newlines::Reject);
                self.state = State::Body(Box::new((message, framer, Content::default())));
                self.reply(&replies::GO_AHEAD);
            }
            (Verb::Data, _) => self.reply(&replies::NO_RECIPIENTS_LMTP),
            (Verb::Rset, _) => self.reply(&replies::OK),
            (Verb::Noop, state) => {
                self.state = state;
                self.reply(&replies::OK);
            }
            (Verb::Quit, _) => {
                self.reply(&replies::BYE);
                self.closed = true;
            }
            (_, state) => {
                self.state = state;
                self.reply(&replies::MAIL_FIRST);
            }
        }
    }

    fn rcpt(&mut self, argument: &[u8], mut message: Message) {
        let answer = match Rcpt::read(argument, OFFERS, true) {
            Err(reply) => Err(reply),
            Ok(rcpt) => {
                let address = rcpt.forward_path.address();
                let refusal =
                    self.script.for_address(address).find_map(|scripted| match scripted {
                        Scripted::AtRcpt(reply) => Some(reply.clone()),
                        _ => None,
                    });
                refusal.map_or(Ok(address), Err)
            }
        };
        match answer {
            Ok(address) => {
                message.recipients.push(address.to_vec());
                self.reply(&replies::RECIPIENT_OK);
            }
            Err(reply) => self.reply(&reply),
        }
        self.state = State::Envelope(message);
    }

    /// The end mark was read: the replies are given, and what they accept is kept.
    fn finish(&mut self, message: Message, content: Content) {
        let script = Arc::clone(&self.script);
        let verdict = |address: &[u8]| -> Option<Reply> {
            if content.malformed {
                return Some(replies::BARE_NEWLINE);
            }
            script.for_address(address).find_map(|scripted| match scripted {
                Scripted::AtEnd(reply) => Some(reply.clone()),
                _ => None,
            })
        };
        let verdicts: Vec<Option<Reply>> =
            message.recipients.iter().map(|address| verdict(address)).collect();
        let accepted = |index: &usize| match self.protocol {
            Protocol::Lmtp => verdicts[*index].is_none(),
            Protocol::Smtp => verdicts.iter().all(Option::is_none),
        };
        let taken: Vec<Vec<u8>> = (0..message.recipients.len())
            .filter(accepted)
            .map(|index| message.recipients[index].clone())
            .collect();
        if !taken.is_empty() {
            let content = content.octets;
            self.kept.push(KeptMessage { mail: message.mail, recipients: taken, content });
        }
        match self.protocol {
            Protocol::Lmtp => {
                for verdict in &verdicts {
                    self.reply(verdict.as_ref().unwrap_or(&replies::MESSAGE_ACCEPTED));
                }
            }
            Protocol::Smtp => {
                let refusal = verdicts.into_iter().flatten().next();
                self.reply(&refusal.unwrap_or(replies::MESSAGE_ACCEPTED));
            }
        }
    }

    fn reply(&mut self, reply: &Reply) {
        reply.render(&mut self.out);
    }
}

/// How late the answer to this message is to be.
fn late(script: &Script, message: &Message) -> Option<Duration> {
    let all = message.recipients.iter().flat_map(|address| script.for_address(address));
    all.filter_map(|scripted| match scripted {
        Scripted::Late(wait) => Some(*wait),
        _ => None,
    })
    .max()
}

impl ContentSink for Content {
    fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
        self.octets.extend_from_slice(&wire[usize::from(dot_stuffed)..]);
    }

    fn malformed(&mut self) {
        self.malformed = true;
    }
}
