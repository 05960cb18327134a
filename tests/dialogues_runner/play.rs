//! A dialogue is played: its lines are done and judged one after the other.

use super::expand::{Names, latin1, octets_of};
use super::installation::client_tls;
use super::reply::{Inbox, Reply};
use super::stage::{ConnectionId, Stage};
use super::vector::{Holding, Line, Sent, Step, Vector};
use fastrand::Rng;
use postern::tls::TlsStream;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::Duration;

/// How writes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    AsWritten,
    EachOctet,
    /// At random places, drawn from this seed.
    Random(u64),
}

/// Why a dialogue failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The line of the expectation.
    pub line: usize,
    pub what: String,
    pub transcript: Vec<String>,
}

const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);
const SILENCE_AT_END: Duration = Duration::from_millis(300);

/// Plays a vector on a stage.
///
/// # Errors
/// The first expectation that failed, with all that was said before.
pub fn play(vector: &Vector, stage: &mut dyn Stage, cut: Cut) -> Result<(), Failure> {
    let mut play = Play {
        vector,
        stage,
        cut,
        chance: Rng::with_seed(if let Cut::Random(seed) = cut { seed } else { 0 }),
        names: Names::new(),
        connections: Vec::new(),
        current: 0,
        transcript: Vec::new(),
    };
    let last_line = vector.lines.last().map_or(0, |line| line.number);
    let mut played = play.open("main", None, None).map_err(|what| (0, what));
    for Line { number, step } in &vector.lines {
        played = played.and_then(|()| play.step(step).map_err(|what| (*number, what)));
    }
    let played = played.and_then(|()| play.end().map_err(|what| (last_line, what)));
    played.map_err(|(line, what)| Failure { line, what, transcript: play.transcript })
}

struct Play<'a> {
    vector: &'a Vector,
    stage: &'a mut dyn Stage,
    cut: Cut,
    chance: Rng,
    names: Names,
    connections: Vec<Connection>,
    /// The connection that lines act on.
    current: usize,
    transcript: Vec<String>,
}

struct Connection {
    name: String,
    id: ConnectionId,
    inbox: Inbox,
    last_reply: Option<Reply>,
    /// It had its EOF or DROP: nothing more is expected of it.
    done: bool,
    /// The client's side of TLS, once it has begun.
    tls: Option<Box<TlsStream>>,
}

impl Play<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(group) => self.send(group),
            Step::Reply { code, pattern } => self.reply(code, pattern.as_deref()),
            Step::Codes(codes) => codes.iter().try_for_each(|code| self.reply(code, None)),
            Step::SomeLine(pattern) => self.lines(pattern, true),
            Step::NoLine(pattern) => self.lines(pattern, false),
            Step::OneWrite(replies) => self.now().inbox.in_one_write(*replies),
            Step::Nothing(span) => self.silence(self.current, *span),
            Step::End => self.closed(),
            Step::HalfClose => {
                self.note(">>", "(half-closed)");
                self.stage.half_close(self.connections[self.current].id);
                Ok(())
            }
            Step::DropFin => self.leave("(closed)", |stage, id| stage.close(id)),
            Step::DropReset => self.leave("(aborted)", |stage, id| stage.abort(id)),
            Step::Pause(span) => {
                self.stage.advance(*span);
                Ok(())
            }
            Step::Tls => self.handshake(),
            Step::Connection { name, listener, from } => {
                self.open(name, listener.as_deref(), *from)
            }
            Step::Delivered(holding) => self.holds(holding, |stage, to| stage.delivered(to)),
            Step::Quarantined(holding) => self.holds(holding, |stage, to| stage.quarantined(to)),
            Step::Scans(expected) => match self.stage.scans() {
                scans if scans == *expected => Ok(()),
                scans => Err(format!("{scans} scans, not {expected}")),
            },
        }
    }

    fn now(&mut self) -> &mut Connection {
        &mut self.connections[self.current]
    }

    fn open(
        &mut self,
        name: &str,
        listener: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<(), String> {
        if let Some(open) = self.connections.iter().position(|one| one.name == name) {
            self.current = open;
            return Ok(());
        }
        let listener = listener.unwrap_or(&self.vector.listener);
        let id = self.stage.connect(listener, from.unwrap_or(Ipv4Addr::LOCALHOST.into()))?;
        let (name, inbox) = (name.to_owned(), Inbox::default());
        self.connections.push(Connection {
            name,
            id,
            inbox,
            last_reply: None,
            done: false,
            tls: None,
        });
        self.current = self.connections.len() - 1;
        self.note(">>", "(connected)");
        Ok(())
    }

    fn send(&mut self, group: &[Sent]) -> Result<(), String> {
        let mut octets = Vec::new();
        for sent in group {
            match sent {
                Sent::Command(text) => {
                    octets.extend(self.names.octets(text)?);
                    octets.extend(b"\r\n");
                }
                Sent::Raw(text) => octets.extend(self.names.octets(text)?),
                Sent::Chunk { text, last } => {
                    let chunk = self.names.octets(text)?;
                    let last = if *last { " LAST" } else { "" };
                    octets.extend(format!("BDAT {}{last}\r\n", chunk.len()).bytes());
                    octets.extend(chunk);
                }
            }
        }
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            self.note(">>", &latin1(line));
        }
        for piece in self.cut(&octets) {
            match &mut self.now().tls {
                None => self.write(&octets[piece]),
                Some(tls) => {
                    tls.send(&octets[piece]);
                    let sealed = tls.take_sealed();
                    for piece in self.cut(&sealed) {
                        self.write(&sealed[piece]);
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, octets: &[u8]) {
        let id = self.now().id;
        self.stage.write(id, octets);
    }

    /// The pieces of a write.
    fn cut(&mut self, octets: &[u8]) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        let mut from = 0;
        while from < octets.len() {
            let left = octets.len() - from;
            let length = match self.cut {
                Cut::AsWritten => left,
                Cut::EachOctet => 1,
                Cut::Random(_) => self.chance.usize(1..=left.min(60)),
            };
            pieces.push(from..from + length);
            from += length;
        }
        pieces
    }

    /// The client does a TLS handshake; any certificate is good.
    fn handshake(&mut self) -> Result<(), String> {
        let (current, until) = (self.current, self.stage.elapsed() + REPLY_TIMEOUT);
        let tls = TlsStream::client(client_tls()).map_err(|fault| fault.to_string())?;
        self.now().tls = Some(Box::new(tls));
        self.note(">>", "(TLS)");
        loop {
            let Some(tls) = &mut self.now().tls else { return Ok(()) };
            let (sealed, done) = (tls.take_sealed(), tls.facts().is_some());
            for piece in self.cut(&sealed) {
                self.write(&sealed[piece]);
            }
            if done {
                return Ok(());
            }
            let left = until.saturating_sub(self.stage.elapsed());
            if !self.receive(current, left) {
                return Err("the TLS handshake did not come to its end".to_owned());
            }
        }
    }

    fn reply(&mut self, code: &str, pattern: Option<&str>) -> Result<(), String> {
        let reply = self.next_reply()?;
        let text = reply.lines.join("\n");
        let code = self.names.pattern(&format!(r"\A(?:{code})\z"))?;
        let given = reply.code.to_string();
        if !code.is_match(&given).map_err(|error| error.to_string())? {
            return Err(format!("the code {given} was not expected"));
        }
        self.now().last_reply = Some(reply);
        let Some(pattern) = pattern else { return Ok(()) };
        let pattern = self.names.pattern(pattern)?;
        let found = pattern.captures(&text).map_err(|error| error.to_string())?;
        let found = found.ok_or_else(|| format!("the text {text:?} was not expected"))?;
        for name in pattern.capture_names().flatten() {
            if let Some(value) = found.name(name) {
                self.names.set(name, octets_of(value.as_str()));
            }
        }
        Ok(())
    }

    fn next_reply(&mut self) -> Result<Reply, String> {
        let until = self.stage.elapsed() + REPLY_TIMEOUT;
        loop {
            if let Some(reply) = self.now().inbox.next()? {
                return Ok(reply);
            }
            let left = until.saturating_sub(self.stage.elapsed());
            let came = self.receive(self.current, left);
            let id = self.now().id;
            if !came && self.stage.has_ended(id) {
                return Err("the server closed, a reply was expected".to_owned());
            }
            if !came && self.stage.elapsed() >= until {
                return Err("no reply came within 5 s".to_owned());
            }
        }
    }

    /// Takes what comes within `span`. False if nothing did.
    fn receive(&mut self, connection: usize, span: Duration) -> bool {
        let arrived = self.stage.wait(self.connections[connection].id, span);
        let came = !arrived.is_empty();
        for mut arrived in arrived {
            if let Some(tls) = &mut self.connections[connection].tls {
                let mut plain = Vec::new();
                // A fault ends the connection: the dialogue sees that.
                let _ = tls.receive(&arrived.octets, &mut plain);
                arrived.octets = plain;
            }
            if arrived.octets.is_empty() {
                continue;
            }
            for line in arrived.octets.split_inclusive(|octet| *octet == b'\n') {
                self.note_of(connection, "<<", &latin1(line));
            }
            self.connections[connection].inbox.push(arrived);
        }
        came
    }

    fn lines(&mut self, pattern: &str, some: bool) -> Result<(), String> {
        let pattern = self.names.pattern(pattern)?;
        let reply = self.now().last_reply.as_ref().ok_or("there was no reply yet")?;
        let mut matching = None;
        for line in &reply.lines {
            if pattern.is_match(line).map_err(|error| error.to_string())? {
                matching = Some(line);
            }
        }
        match (matching, some) {
            (Some(_), true) | (None, false) => Ok(()),
            (None, true) => Err("no line of the last reply matches".to_owned()),
            (Some(line), false) => Err(format!("a line of the last reply matches: {line:?}")),
        }
    }

    fn silence(&mut self, connection: usize, span: Duration) -> Result<(), String> {
        if self.connections[connection].inbox.rest().is_empty() {
            self.receive(connection, span);
        }
        match self.connections[connection].inbox.rest() {
            [] => Ok(()),
            rest => Err(format!("nothing was expected, this came: {:?}", latin1(rest))),
        }
    }

    fn closed(&mut self) -> Result<(), String> {
        let (id, current) = (self.now().id, self.current);
        let until = self.stage.elapsed() + REPLY_TIMEOUT;
        while !self.stage.has_ended(id) && self.stage.elapsed() < until {
            let left = until.saturating_sub(self.stage.elapsed());
            self.silence(current, left)?;
        }
        self.silence(current, Duration::ZERO)?;
        if !self.stage.has_ended(id) {
            return Err("the server did not close within 5 s".to_owned());
        }
        self.note("<<", "(closed)");
        self.now().done = true;
        Ok(())
    }

    fn leave(&mut self, how: &str, go: fn(&mut dyn Stage, ConnectionId)) -> Result<(), String> {
        self.note(">>", how);
        self.now().done = true;
        go(self.stage, self.connections[self.current].id);
        Ok(())
    }

    fn holds(
        &mut self,
        holding: &Holding,
        messages: fn(&dyn Stage, &str) -> Vec<Vec<u8>>,
    ) -> Result<(), String> {
        let recipient = latin1(&self.names.octets(&holding.recipient)?);
        let until = self.stage.elapsed() + DELIVERY_TIMEOUT;
        let mut held = messages(self.stage, &recipient);
        while held.len() < holding.count && self.stage.elapsed() < until {
            self.stage.advance(Duration::from_millis(10));
            held = messages(self.stage, &recipient);
        }
        if held.len() != holding.count {
            return Err(format!("{} messages for {recipient}", held.len()));
        }
        for (pattern, wanted) in [(&holding.has, true), (&holding.not, false)] {
            let Some(pattern) = pattern else { continue };
            let pattern = self.names.pattern(pattern)?;
            for message in &held {
                let text = latin1(message).replace("\r\n", "\n");
                if pattern.is_match(&text).map_err(|error| error.to_string())? != wanted {
                    let how = if wanted { "does not match" } else { "matches" };
                    return Err(format!("a message for {recipient} {how}:\n{text}"));
                }
            }
        }
        Ok(())
    }

    /// Nothing more may come on a connection that was not ended.
    fn end(&mut self) -> Result<(), String> {
        for connection in 0..self.connections.len() {
            if !self.connections[connection].done {
                self.silence(connection, SILENCE_AT_END)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, direction: &str, text: &str) {
        self.note_of(self.current, direction, text);
    }

    fn note_of(&mut self, connection: usize, direction: &str, text: &str) {
        const SHOWN: usize = 160;
        let mut shown: String = text.trim_end_matches("\r\n").chars().take(SHOWN).collect();
        if text.chars().count() > SHOWN + 2 {
            shown.push_str(&format!("... ({} octets)", text.chars().count()));
        }
        let (number, name) = (self.transcript.len() + 1, &self.connections[connection].name);
        let at_ms = self.stage.elapsed().as_millis();
        let shown = shown.escape_debug();
        self.transcript.push(format!("{number:>4} {at_ms:>6} ms  {name} {direction} {shown}"));
    }
}
