//! A session: what a client may do, in which order, and what it is told.
//!
//! Octets, answers and time go in by verbs; effects come out of [`Session::poll_effect`]; one
//! [`Session::deadline`] says when [`Session::timed_out`] is due. The same octets in any cut give the
//! same replies.
//!
//! A message goes through the files of this folder so: `opening` sees to who the client is (PROXY,
//! TLS, XCLIENT) and greets it, `commands` does its command lines, of which `envelope` has MAIL and
//! RCPT, and `chunks` BDAT; `intake` takes the content and has it scanned; `decision` turns findings
//! into a fate for each recipient and a plan for the relay; `final_reply` renders the reply set. From
//! the end mark on the transaction does not need its connection any more: it goes on to its end
//! though the client is gone; how sessions end is in `ends`.

mod chunks;
mod commands;
mod decision;
mod ends;
mod envelope;
mod final_reply;
mod intake;
mod invariants;
mod joint;
mod opening;
mod pending;
mod record;
mod recording;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod trace;
mod trust;

pub use record::{End, RecipientRecord, Record};
pub use recording::LedgerLine;
pub use settings::{Listener, ListenerTls, Mixed, Offer, ResumeLevel, Tables, TlsMode};
pub use sources::{Place, Source, Sources};
pub use trust::{Networks, Trust};

use crate::ledger::{self, Resumes};
use crate::limits::{INPUT_PENDING_OCTETS, LINGER_OCTETS, OUTPUT_PENDING_OCTETS, PROXY_TIMEOUT};
use crate::now::{Now, Tick};
use crate::relay::{Board, Outcome, Plan, Probe, Protocol, Recipient, Verification};
use crate::tally::Tally;
use crate::tls::TlsFacts;
use crate::wire::{
    Budget, Line, LineReader, Newlines, Offers, PeerAttributes, ProxyReader, Reply, replies,
};
use chunks::{Chunked, Dropping};
use core::net::{IpAddr, SocketAddr};
use decision::Decision;
use envelope::Transaction;
use intake::{Intake, Taken};
use pending::Pending;
use recording::Question;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One client's session.
#[derive(Debug)]
pub struct Session {
    listener: Arc<Listener>,
    shared: Shared,
    client: Client,
    /// The client that a trusted peer has passed on (PROXY).
    proxied: Option<SocketAddr>,
    /// What a trusted peer says of the client that it speaks for (XCLIENT).
    claimed: Option<Box<PeerAttributes>>,
    /// What a trusted peer says for the log (XFORWARD), until its message is through.
    forwarded: Option<Box<PeerAttributes>>,
    tls: Option<Box<TlsFacts>>,
    state: State,
    /// The banner was sent.
    welcomed: bool,
    greeting: Option<Greeting>,
    lines: LineReader,
    /// Octets that came while the session waits for an answer.
    pending: Pending,
    /// Reply octets that were not handed on yet.
    out: Vec<u8>,
    /// Reply octets that were handed on and not taken by the peer's side yet.
    unsent_octets: usize,
    effects: VecDeque<Effect>,
    errors: u32,
    junk: u32,
    messages: u32,
    transactions: u32,
    known_recipients: u32,
    unknown_recipients: u32,
    /// What RESUME has found.
    resumes: Option<Box<Resumes>>,
    /// The last transaction whose outcome the client has not shown to have.
    unconfirmed: Option<ledger::Transaction>,
    /// A newer connection has this transaction of ours.
    superseded: Option<ledger::Transaction>,
    /// A MAIL was refused: what follows from that is no further error.
    mail_refused: bool,
    /// What is known of the connection.
    connection: Connection,
    began: Tick,
    /// Since when something is waited for: a command, a header, a handshake.
    waiting_since: Tick,
    /// Since when none of our octets was taken.
    stalled_since: Tick,
    /// When a message was last accepted, or the connection made.
    progress_at: Tick,
    /// Connections are scarce.
    under_load: bool,
}

/// What the sessions of a shard have in common.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The tables that decide; a message keeps those that it began with.
    pub tables: Arc<Tables>,
    /// Memory for bodies.
    pub budget: Budget,
    /// What is counted.
    pub tally: Rc<Tally>,
    /// What is known of the routes.
    pub board: Board,
    /// What is known of those who connect.
    pub sources: Sources,
    /// The way to the ledger, if there is one.
    pub ledger: Option<LedgerLine>,
}

/// Who is at the other end.
#[derive(Debug)]
pub struct Client {
    /// Its address; `None` for a unix socket.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// A name for the session that no other session of this host has, before or after a restart.
    pub session_id: String,
    /// A number that no other session of this shard has in the life of the process.
    pub seat: u64,
    /// Which listener it came to, by number: sources are counted apart for each.
    pub listener: u32,
    /// Where it is counted; `None` for one whose source is not known, or not yet.
    pub place: Option<Place>,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send these octets. A reply set is always in one of these, whole.
    Send(Vec<u8>),
    /// Answer this with [`Session::answered`].
    Ask(Ask),
    /// After all that is to be sent: TLS begins, with these octets that the client sent already.
    /// From now on its octets are sealed; [`Session::secured`] says when the handshake is done.
    StartTls(Vec<u8>),
    /// Something is over that deserves a line of the log: count it and log it.
    Record(Box<Record>),
    /// After all that is to be sent: end our side of the connection, go on reading.
    ShutdownWrite,
    /// After all that is to be sent: close. Nothing is wanted of the connection any more.
    Close,
    /// Close at once, whatever was not sent.
    Abort,
}

/// What a session cannot know by itself.
#[derive(Debug)]
pub enum Ask {
    /// Carry this plan out.
    Relay(Plan),
    /// Ask the next hop whether it takes this recipient.
    Verify(Probe),
    /// Tell or ask the ledger.
    Ledger(Box<ledger::Request>),
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// An outcome for each recipient that is in one of the plan's groups.
    Relayed(Vec<(usize, Outcome)>),
    /// What the next hop says of the recipient.
    Verified(Verification),
    /// What the ledger says.
    Ledger(Box<ledger::Answer>),
}

/// How a peer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It ended its side; it may still read.
    HalfClosed,
    /// The connection is dead.
    Lost,
}

#[derive(Debug)]
enum State {
    /// The peer must say first for whom it speaks.
    Proxy(Box<ProxyReader>),
    /// The TLS handshake is under way.
    Handshake,
    /// The banner is put off.
    Banner { due: Tick },
    /// No transaction.
    Ready,
    /// MAIL was accepted.
    Mail(Box<Transaction>),
    /// At least one RCPT was accepted.
    Rcpt(Box<Transaction>),
    /// The next hop is asked about a recipient.
    Verifying(Box<Transaction>, Box<Recipient>),
    /// MAIL goes on with an earlier transaction, whose envelope is known.
    Resumed(Box<Transaction>),
    /// The ledger is asked.
    Asking(Question),
    /// The message is coming by DATA.
    Body(Box<Intake>),
    /// The message is coming by BDAT; a command is awaited.
    Chunks(Box<Chunked>),
    /// So many octets of a chunk of it are coming.
    Chunk { message: Box<Chunked>, left: u64, last: bool },
    /// Octets of a chunk that belongs to no message are dropped.
    Dropping(Box<Dropping>),
    /// The findings are complete, but for what takes time.
    Judging(Box<Decision>),
    /// The relay is at work.
    Committing(Box<Decision>),
    /// The last reply was given; the client's octets are dropped.
    Closing { until: Tick, dropped: usize },
    /// Nothing more will be done.
    Closed,
}

/// What something that is refused, or that leads nowhere, counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// An error of the client's own making.
    Error,
    /// A command that brings no message nearer.
    Junk,
    /// Nothing: it only follows from an earlier refusal.
    Nothing,
}

impl Blame {
    fn unless(excused: bool) -> Blame {
        if excused { Blame::Nothing } else { Blame::Error }
    }
}

/// The greeting that is in force.
#[derive(Clone, Debug)]
struct Greeting {
    name: Box<[u8]>,
    /// What it offered, as far as parameters of commands depend on it. RFC 5321 2.2.1: a client uses
    /// what it was offered, and nothing else.
    offers: Offers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Open,
    HalfClosed,
    Lost,
}

impl Session {
    /// A session on a connection that was just made.
    pub fn new(listener: Arc<Listener>, shared: Shared, client: Client, now: Now) -> Session {
        let lines = match listener.lenient_commands {
            true => LineReader::lenient(),
            false => LineReader::default(),
        };
        let mut session = Session {
            listener,
            shared,
            client,
            proxied: None,
            claimed: None,
            forwarded: None,
            tls: None,
            state: State::Ready,
            welcomed: false,
            greeting: None,
            lines,
            pending: Pending::default(),
            out: Vec::new(),
            unsent_octets: 0,
            effects: VecDeque::new(),
            errors: 0,
            junk: 0,
            messages: 0,
            transactions: 0,
            known_recipients: 0,
            unknown_recipients: 0,
            resumes: None,
            unconfirmed: None,
            superseded: None,
            mail_refused: false,
            connection: Connection::Open,
            began: now.tick,
            waiting_since: now.tick,
            stalled_since: now.tick,
            progress_at: now.tick,
            under_load: false,
        };
        session.open(now);
        session
    }

    /// Takes octets of the client; under TLS, the plain ones.
    pub fn receive(&mut self, octets: &[u8], now: Now) {
        if self.waits() || !self.pending.is_empty() {
            self.pending.push(octets);
            self.run_pending(now);
        } else {
            let mut rest = octets;
            self.run(&mut rest, now);
            self.pending.push(rest);
        }
        self.settle(now);
    }

    /// The handshake that [`Effect::StartTls`] began is done. If it fails, the connection is lost.
    pub fn secured(&mut self, facts: TlsFacts, now: Now) {
        if matches!(self.state, State::Handshake) {
            if let Some(place) = &mut self.client.place {
                place.handshake_ended();
            }
            self.tls = Some(Box::new(facts));
            self.start_afresh();
            self.welcome(&mut &[][..], now);
        }
        self.settle(now);
    }

    /// From now on these tables decide: for messages that have not begun.
    pub fn retable(&mut self, tables: Arc<Tables>) {
        self.shared.tables = tables;
    }

    /// Connections are scarce, or are so no longer: a client that says nothing is let go sooner.
    pub fn under_load(&mut self, under_load: bool) {
        self.under_load = under_load;
    }

    /// Takes the answer to an [`Ask`]. An answer that nobody waits for any more is passed over.
    pub fn answered(&mut self, answer: Answer, now: Now) {
        let answer = match answer {
            Answer::Ledger(answer) => match *answer {
                ledger::Answer::Superseded(transaction) => {
                    self.superseded(transaction);
                    return self.settle(now);
                }
                answer => Answer::Ledger(Box::new(answer)),
            },
            answer => answer,
        };
        match (std::mem::replace(&mut self.state, State::Ready), answer) {
            (State::Asking(question), Answer::Ledger(answer)) => {
                self.ledger_answered(question, *answer, now);
            }
            (State::Committing(decision), Answer::Relayed(outcomes)) => {
                self.relayed(decision, outcomes, now);
            }
            (State::Verifying(transaction, recipient), Answer::Verified(answer)) => {
                self.waiting_since = now.tick;
                self.verified(transaction, *recipient, answer, now);
            }
            (state, _) => self.state = state,
        }
        self.run_pending(now);
        self.settle(now);
    }

    /// The peer's side has taken octets that [`Effect::Send`] gave.
    pub fn sent(&mut self, octets: usize, now: Now) {
        self.unsent_octets = self.unsent_octets.saturating_sub(octets);
        self.stalled_since = now.tick;
        self.run_pending(now);
        self.settle(now);
    }

    /// The client ended its side, or is gone.
    pub fn peer_closed(&mut self, gone: Gone, now: Now) {
        match gone {
            Gone::HalfClosed if self.connection == Connection::Open => {
                self.connection = Connection::HalfClosed;
            }
            Gone::HalfClosed => {}
            Gone::Lost => self.lose_connection(),
        }
        self.settle(now);
    }

    /// The peer broke TLS, in the handshake or later, or did not want it: the connection is dead.
    pub fn tls_failed(&mut self, why: &str, now: Now) {
        if !self.outlives_client() {
            self.note_broken(why, now);
            self.lose_connection();
            self.close(now);
        }
        self.peer_closed(Gone::Lost, now);
    }

    /// The deadline has come.
    pub fn timed_out(&mut self, now: Now) {
        if self.deadline().is_none_or(|deadline| now.tick < deadline) {
            return;
        }
        if self.write_deadline().is_some_and(|stall| stall <= now.tick) {
            return self.abandon("the client takes no octets", now);
        }
        match self.state {
            State::Banner { .. } => self.banner_due(now),
            State::Closing { .. } => self.close(now),
            // RFC 3207 and the PROXY protocol have no words for a client that does not come to the
            // point, and it would not understand ours.
            State::Proxy(_) => return self.abandon("no PROXY header came", now),
            State::Handshake => return self.abandon("the TLS handshake took too long", now),
            State::Judging(_) | State::Committing(_) => self.wait_is_over(now),
            // RFC 5321 4.5.3.2.7 for commands, 4.5.3.2.5 for the message.
            _ => {
                if !self.keeps_pace(now) {
                    self.shared.tally.timeouts.count();
                    self.end_session(&replies::IDLE, now);
                }
            }
        }
        self.settle(now);
    }

    /// Whether a message is coming, and fast enough: the window of the data rate has ended, and may
    /// have been filled well enough.
    fn keeps_pace(&mut self, now: Now) -> bool {
        match &mut self.state {
            State::Body(intake) => intake.keeps_pace(now.tick, &self.listener),
            State::Chunk { message, .. } => message.keeps_pace(now.tick, &self.listener),
            _ => false,
        }
    }

    /// The server is about to stop: no transaction is begun any more, a message that is coming is
    /// brought to its end.
    pub fn drain(&mut self, now: Now) {
        match self.state {
            // Neither would understand a reply.
            State::Proxy(_) | State::Handshake => {
                self.note_end(replies::SHUTTING_DOWN.text(), now);
                self.close(now);
            }
            State::Closing { .. } | State::Closed => {}
            _ if self.is_busy() => {}
            _ => self.end_session(&replies::SHUTTING_DOWN, now),
        }
        self.settle(now);
    }

    /// The next thing to be done by the driver. A session with nothing to be done holds no memory
    /// for it, as most sessions idle most of the time.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() {
            self.effects = VecDeque::new();
        }
        effect
    }

    /// When [`Session::timed_out`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Tick> {
        let listener = &*self.listener;
        let life = (self.progress_at + listener.progress_timeout)
            .min(self.began + listener.session_timeout);
        let own = match &self.state {
            State::Proxy(_) => Some(self.waiting_since + PROXY_TIMEOUT),
            State::Handshake => Some(self.waiting_since + listener.handshake_timeout),
            State::Banner { due } => Some(*due),
            State::Ready
            | State::Mail(_)
            | State::Rcpt(_)
            | State::Resumed(_)
            | State::Chunks(_) => Some((self.waiting_since + self.idle_timeout()).min(life)),
            // A message that is coming is brought to its end, whatever the age of its connection.
            State::Body(intake) => Some(intake.deadline(listener)),
            State::Chunk { message, .. } => Some(message.deadline(listener)),
            State::Dropping(_) => Some((self.waiting_since + listener.data_timeout).min(life)),
            State::Judging(decision) | State::Committing(decision) => decision.deadline(listener),
            // The ledger answers in any case, and soon.
            State::Verifying(..) | State::Asking(_) => None,
            State::Closing { until, .. } => Some(*until),
            State::Closed => return None,
        };
        [own, self.write_deadline()].into_iter().flatten().min()
    }

    /// Whether more octets of the client should be read.
    pub fn wants_octets(&self) -> bool {
        self.pending.len() < INPUT_PENDING_OCTETS
    }

    /// Whether nothing more will come of the session: it can be forgotten.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed) && self.effects.is_empty()
    }

    /// Whether a message is past its beginning and not at its end.
    pub fn is_busy(&self) -> bool {
        match &self.state {
            State::Body(_)
            | State::Chunks(_)
            | State::Chunk { .. }
            | State::Judging(_)
            | State::Committing(_) => true,
            State::Asking(question) => question.outlives_client(),
            State::Proxy(_)
            | State::Handshake
            | State::Banner { .. }
            | State::Ready
            | State::Mail(_)
            | State::Rcpt(_)
            | State::Resumed(_)
            | State::Verifying(..)
            | State::Dropping(_)
            | State::Closing { .. }
            | State::Closed => false,
        }
    }

    // ---- what the verbs have in common ------------------------------------------------------

    /// Whether octets of the client must wait: for an answer, for the banner, or until the client
    /// has taken what it was told.
    fn waits(&self) -> bool {
        self.is_at_work()
            || matches!(self.state, State::Banner { .. })
            || self.out.len() + self.unsent_octets > OUTPUT_PENDING_OCTETS
    }

    /// Whether an answer or a moment is waited for that the client has nothing to do with.
    fn is_at_work(&self) -> bool {
        matches!(
            self.state,
            State::Verifying(..) | State::Asking(_) | State::Judging(_) | State::Committing(_)
        )
    }

    fn run_pending(&mut self, now: Now) {
        if self.waits() || self.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.octets();
        self.run(&mut rest, now);
        let left = rest.len();
        self.pending = pending.keep_last(left);
    }

    /// Takes octets one line or one stretch of content after the other, until all are taken or the
    /// session must wait.
    fn run(&mut self, input: &mut &[u8], now: Now) {
        while !input.is_empty() && !self.waits() {
            if self.has_lost_its_transaction() {
                *input = &[];
                return self.end_session(&replies::TAKEN_OVER, now);
            }
            match &mut self.state {
                State::Proxy(reader) => {
                    let read = reader.next(input);
                    self.proxied(read, input, now);
                }
                // Octets in clear where sealed ones belong are the driver's to refuse.
                State::Handshake => *input = &[],
                State::Body(intake) => {
                    let taken = intake.take(input, now.tick);
                    if let Some((transaction, octets)) = intake.kept_copy() {
                        self.keep_content(transaction, octets);
                    }
                    self.content_taken(taken, now);
                }
                State::Chunk { .. } => self.take_chunk(input, now),
                State::Dropping(_) => self.drop_chunk(input, now),
                State::Closing { dropped, .. } => {
                    *dropped += std::mem::take(input).len();
                    if *dropped > LINGER_OCTETS {
                        self.close(now);
                    }
                }
                State::Closed => *input = &[],
                State::Ready
                | State::Mail(_)
                | State::Rcpt(_)
                | State::Resumed(_)
                | State::Chunks(_) => self.next_line(input, now),
                State::Banner { .. }
                | State::Verifying(..)
                | State::Asking(_)
                | State::Judging(_)
                | State::Committing(_) => return,
            }
        }
    }

    fn next_line(&mut self, input: &mut &[u8], now: Now) {
        let mut lines = std::mem::take(&mut self.lines);
        match lines.next(input) {
            None => {}
            Some(Line::Whole(line)) => self.command(line, input, now),
            Some(Line::BareControl) => self.fault(&replies::BARE_CONTROL, now),
            Some(Line::TooLong) => self.fault(&replies::LINE_TOO_LONG, now),
            // RFC 3030 2: the octets of a chunk follow its command at once, and are no commands.
            Some(Line::BadBdat) => self.end_session(&replies::BAD_CHUNK, now),
            Some(Line::Endless) => self.end_session(&replies::LINE_ENDLESS, now),
        }
        self.lines = lines;
    }

    fn content_taken(&mut self, taken: Taken, now: Now) {
        match taken {
            Taken::More => {}
            Taken::FarTooBig => self.end_session(&replies::FAR_TOO_BIG, now),
            Taken::Ended => {
                if let State::Body(intake) = std::mem::replace(&mut self.state, State::Ready) {
                    self.waiting_since = now.tick;
                    self.decide(*intake, now);
                }
            }
        }
    }

    fn flush(&mut self, now: Now) {
        if self.out.is_empty() {
            return;
        }
        let octets = std::mem::take(&mut self.out);
        if self.connection != Connection::Lost {
            if self.unsent_octets == 0 {
                self.stalled_since = now.tick;
            }
            self.unsent_octets += octets.len();
            self.effects.push_back(Effect::Send(octets));
        }
    }

    fn reply(&mut self, reply: &Reply) {
        reply.render(&mut self.out);
    }

    /// An error of the client's own making.
    fn fault(&mut self, reply: &Reply, now: Now) {
        self.counted(Blame::Error, Some(reply), now);
    }

    /// A command that brings no message nearer.
    fn junk(&mut self, reply: &Reply, now: Now) {
        self.counted(Blame::Junk, Some(reply), now);
    }

    /// Answers what is counted; the last that may be is answered by the end of the session.
    fn counted(&mut self, blame: Blame, reply: Option<&Reply>, now: Now) {
        self.waiting_since = now.tick;
        let last = match blame {
            Blame::Error => {
                self.errors += 1;
                self.shared.tally.protocol_errors.count();
                (self.errors >= self.listener.errors_max).then_some(replies::TOO_MANY_ERRORS)
            }
            Blame::Junk => {
                self.junk += 1;
                (self.junk >= self.listener.junk_max).then_some(replies::TOO_MUCH_JUNK)
            }
            Blame::Nothing => None,
        };
        match (last, reply) {
            (Some(last), _) => self.end_session(&last, now),
            (None, Some(reply)) => self.reply(reply),
            (None, None) => {}
        }
    }

    /// The longest wait for a command.
    fn idle_timeout(&self) -> Duration {
        match self.under_load {
            true => self.listener.idle_timeout.min(self.listener.idle_timeout_under_load),
            false => self.listener.idle_timeout,
        }
    }

    fn write_deadline(&self) -> Option<Tick> {
        let waits_for_peer = self.unsent_octets > 0 && self.connection != Connection::Lost;
        waits_for_peer.then(|| self.stalled_since + self.listener.write_stall_timeout)
    }

    /// What becomes of bare LF in this client's content.
    fn newlines(&self) -> Newlines {
        match self.listener.normalized_from.contain(self.address()) {
            true => Newlines::Normalize,
            false => self.listener.newlines,
        }
    }

    fn is_lmtp(&self) -> bool {
        self.listener.protocol == Protocol::Lmtp
    }
}
