//! A session: what a client may do, in which order, and what it is told.
//!
//! Octets, answers and time go in by verbs; effects come out of [`Session::poll_effect`]; one
//! [`Session::deadline`] says when [`Session::timed_out`] is due. The same octets in any cut give the
//! same replies.
//!
//! A message goes through the files of this folder so: `commands` read the envelope, `intake`
//! takes the content and has it scanned, `decision` turns findings into a fate for each recipient
//! and a plan for the relay, `final_reply` renders the reply set. From the end mark on the
//! transaction does not need its connection any more: it goes on to its end though the client is
//! gone.

mod commands;
mod decision;
mod final_reply;
mod intake;
mod record;
mod settings;
mod trace;
mod trust;

pub use record::{End, RecipientRecord, Record};
pub use settings::{Listener, ListenerTls, Mixed, Offer, Tables, TlsMode};
pub use trust::{Networks, Trust};

use crate::limits::{INPUT_PENDING_OCTETS, LINGER_OCTETS, LINGER_TIMEOUT, OUTPUT_PENDING_OCTETS};
use crate::now::{Now, Tick};
use crate::relay::{Board, Outcome, Plan, Probe, Protocol, Verification};
use crate::tally::Tally;
use crate::tls::TlsFacts;
use crate::wire::{Budget, Line, LineReader, Reply, replies};
use commands::Transaction;
use core::net::IpAddr;
use decision::Decision;
use intake::{Intake, Taken};
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
    state: State,
    greeting: Option<Greeting>,
    lines: LineReader,
    /// Octets that came while the session waits for an answer.
    pending: Vec<u8>,
    /// Reply octets that were not handed on yet.
    out: Vec<u8>,
    /// Reply octets that were handed on and not taken by the peer's side yet.
    unsent_octets: usize,
    effects: VecDeque<Effect>,
    errors: u32,
    junk: u32,
    messages: u32,
    transactions: u32,
    /// A MAIL was refused: what follows from that is no further error.
    mail_refused: bool,
    /// What is known of the connection.
    connection: Connection,
    /// Since when a command is waited for.
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
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address; `None` for a unix socket.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// A name for the session that no other session of this host has, before or after a restart.
    pub session_id: String,
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
    /// The transaction is over: count it and log it.
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
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// An outcome for each recipient that is in one of the plan's groups.
    Relayed(Vec<(usize, Outcome)>),
    /// What the next hop says of the recipient.
    Verified(Verification),
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
    /// The message is coming.
    Body(Box<Intake>),
    /// The relay is at work.
    Committing(Box<Decision>),
    /// The last reply was given; the client's octets are dropped.
    Closing { until: Tick, dropped: usize },
    /// Nothing more will be done.
    Closed,
}

/// The greeting that is in force.
#[derive(Clone, Debug)]
struct Greeting {
    name: Box<[u8]>,
    extended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Open,
    HalfClosed,
    Lost,
}

impl Session {
    /// A session on a connection that was just made. Its banner is the first effect.
    pub fn new(listener: Arc<Listener>, shared: Shared, client: Client, now: Now) -> Session {
        let pause = listener.banner_pause;
        let mut session = Session {
            listener,
            shared,
            client,
            state: State::Banner { due: now.tick + pause },
            greeting: None,
            lines: LineReader::default(),
            pending: Vec::new(),
            out: Vec::new(),
            unsent_octets: 0,
            effects: VecDeque::new(),
            errors: 0,
            junk: 0,
            messages: 0,
            transactions: 0,
            mail_refused: false,
            connection: Connection::Open,
            waiting_since: now.tick,
            stalled_since: now.tick,
            progress_at: now.tick,
            under_load: false,
        };
        if session.listener.is_implicit_tls() {
            session.state = State::Handshake;
            session.effects.push_back(Effect::StartTls(Vec::new()));
        } else if pause.is_zero() {
            session.banner(now);
        }
        session
    }

    /// Takes octets of the client.
    pub fn receive(&mut self, octets: &[u8], now: Now) {
        if self.waits() || !self.pending.is_empty() {
            self.pending.extend_from_slice(octets);
            self.run_pending(now);
        } else {
            let mut rest = octets;
            self.run(&mut rest, now);
            self.pending.extend_from_slice(rest);
        }
        self.settle(now);
    }

    /// The handshake that [`Effect::StartTls`] began (or, with implicit TLS, the connection) is done.
    pub fn secured(&mut self, facts: TlsFacts, now: Now) {
        let _ = facts;
        if matches!(self.state, State::Handshake) {
            self.banner(now);
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

    /// Takes the answer to an [`Ask`].
    pub fn answered(&mut self, answer: Answer, now: Now) {
        let Answer::Relayed(outcomes) = answer else { return };
        if let State::Committing(decision) = std::mem::replace(&mut self.state, State::Closed) {
            self.relayed(decision, outcomes, now);
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
            Gone::Lost => {
                self.connection = Connection::Lost;
                self.pending = Vec::new();
            }
        }
        self.settle(now);
    }

    /// The deadline has come.
    pub fn timed_out(&mut self, now: Now) {
        if self.deadline().is_none_or(|deadline| now.tick < deadline) {
            return;
        }
        if self.write_deadline().is_some_and(|stall| stall <= now.tick) {
            self.shared.tally.timeouts.count();
            self.connection = Connection::Lost;
            self.effects.push_back(Effect::Abort);
            return self.settle(now);
        }
        let idle = match &mut self.state {
            State::Banner { .. } => return self.banner(now),
            State::Handshake => {
                self.shared.tally.timeouts.count();
                self.connection = Connection::Lost;
                self.effects.push_back(Effect::Abort);
                return self.settle(now);
            }
            State::Closing { .. } => return self.close(now),
            // The window of the data rate has ended, and may have been filled well enough.
            State::Body(intake) => !intake.keeps_pace(now.tick, self.listener.data_timeout),
            _ => true,
        };
        if idle {
            self.shared.tally.timeouts.count();
            self.end_session(&replies::IDLE, now);
        }
        self.settle(now);
    }

    /// The server is about to stop: no transaction is begun any more, one past its end mark is
    /// brought to its end.
    pub fn drain(&mut self, now: Now) {
        match self.state {
            State::Body(_) | State::Committing(_) | State::Closing { .. } | State::Closed => {}
            _ => self.end_session(&replies::SHUTTING_DOWN, now),
        }
        self.settle(now);
    }

    /// The next thing to be done by the driver.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Session::timed_out`] is due, if nothing happens before.
    pub fn deadline(&self) -> Option<Tick> {
        let own = match &self.state {
            State::Banner { due } => Some(*due),
            State::Handshake => Some(self.waiting_since + self.listener.handshake_timeout),
            State::Ready | State::Mail(_) | State::Rcpt(_) => Some(
                (self.waiting_since + self.idle_timeout())
                    .min(self.progress_at + self.listener.progress_timeout),
            ),
            State::Body(intake) => Some(intake.deadline(self.listener.data_timeout)),
            State::Committing(_) => None,
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

    /// Whether a transaction is past its beginning and not at its end.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Committing(_))
    }

    // ---- what the verbs have in common ------------------------------------------------------

    /// The longest wait for a command.
    fn idle_timeout(&self) -> Duration {
        match self.under_load {
            true => self.listener.idle_timeout.min(self.listener.idle_timeout_under_load),
            false => self.listener.idle_timeout,
        }
    }

    /// Whether octets of the client must wait.
    fn waits(&self) -> bool {
        matches!(self.state, State::Committing(_))
            || self.out.len() + self.unsent_octets > OUTPUT_PENDING_OCTETS
    }

    fn run_pending(&mut self, now: Now) {
        if self.waits() || self.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        self.run(&mut rest, now);
        self.pending = rest.to_vec();
    }

    /// Takes octets one line or one stretch of content after the other, until all are taken or the
    /// session must wait.
    fn run(&mut self, input: &mut &[u8], now: Now) {
        while !input.is_empty() && !self.waits() {
            match &mut self.state {
                State::Banner { .. } => return self.early_talk(input, now),
                State::Body(intake) => {
                    let taken = intake.take(input, now.tick);
                    self.content_taken(taken, now);
                }
                State::Closing { dropped, .. } => {
                    *dropped += std::mem::take(input).len();
                    if *dropped > LINGER_OCTETS {
                        self.close(now);
                    }
                }
                State::Closed | State::Handshake => *input = &[],
                _ => self.next_line(input, now),
            }
        }
    }

    fn next_line(&mut self, input: &mut &[u8], now: Now) {
        let mut lines = std::mem::take(&mut self.lines);
        match lines.next(input) {
            None => {}
            Some(Line::Whole(line)) => self.command(line, !input.is_empty(), now),
            Some(Line::BareControl) => self.fault(&replies::BARE_CONTROL, now),
            Some(Line::TooLong) => self.fault(&replies::LINE_TOO_LONG, now),
            Some(Line::Endless) => self.end_session(&replies::TOO_MANY_ERRORS, now),
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

    /// What every verb ends with: replies go out together, and a session whose client is gone ends
    /// as soon as nothing is at work.
    fn settle(&mut self, now: Now) {
        self.flush(now);
        let at_work = matches!(self.state, State::Committing(_));
        let nothing_left = self.pending.is_empty() || matches!(self.state, State::Closing { .. });
        match self.connection {
            Connection::Open => {}
            Connection::HalfClosed if at_work || !nothing_left => {}
            Connection::HalfClosed | Connection::Lost if !at_work => {
                self.lose_message(now);
                self.close(now);
            }
            _ => {}
        }
        self.check_invariants();
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

    fn banner(&mut self, now: Now) {
        let text = match self.listener.protocol {
            Protocol::Smtp => format!("{} ESMTP postern", self.listener.hostname),
            Protocol::Lmtp => format!("{} LMTP postern", self.listener.hostname),
        };
        self.state = State::Ready;
        self.waiting_since = now.tick;
        self.reply(&Reply::bare(220, "").with_text(text));
        self.flush(now);
    }

    /// Octets before the banner: a client that does not listen. RFC 5321 4.3.1: the client should
    /// wait for the greeting.
    fn early_talk(&mut self, input: &mut &[u8], now: Now) {
        if self.listener.early_talk_refused {
            *input = &[];
            return self.end_session(&replies::EARLY_TALK, now);
        }
        self.banner(now);
    }

    fn reply(&mut self, reply: &Reply) {
        reply.render(&mut self.out);
    }

    /// An error of the client's own making.
    fn fault(&mut self, reply: &Reply, now: Now) {
        self.errors += 1;
        self.shared.tally.protocol_errors.count();
        if self.errors >= self.listener.errors_max {
            self.end_session(&replies::TOO_MANY_ERRORS, now);
        } else {
            self.reply(reply);
        }
        self.waiting_since = now.tick;
    }

    /// Gives the last reply. What the client still sends is dropped for a moment, as a close with
    /// unread input would make the kernel send a reset that can destroy the reply.
    fn end_session(&mut self, reply: &Reply, now: Now) {
        self.lose_message(now);
        self.reply(reply);
        self.flush(now);
        self.pending = Vec::new();
        self.effects.push_back(Effect::ShutdownWrite);
        self.state = State::Closing { until: now.tick + LINGER_TIMEOUT, dropped: 0 };
    }

    fn close(&mut self, now: Now) {
        if !matches!(self.state, State::Closed) {
            self.flush(now);
            self.pending = Vec::new();
            self.state = State::Closed;
            self.effects.push_back(Effect::Close);
        }
    }

    /// A message whose end will not come any more is dropped, and remembered in the log.
    fn lose_message(&mut self, now: Now) {
        if let State::Body(intake) = std::mem::replace(&mut self.state, State::Ready) {
            self.shared.tally.messages_lost.count();
            let record = self.record_of_lost(&intake, now);
            self.effects.push_back(Effect::Record(Box::new(record)));
        }
    }

    fn write_deadline(&self) -> Option<Tick> {
        let waits_for_peer = self.unsent_octets > 0 && self.connection != Connection::Lost;
        waits_for_peer.then(|| self.stalled_since + self.listener.write_stall_timeout)
    }

    fn check_invariants(&self) {
        debug_assert!(self.out.is_empty() || matches!(self.state, State::Closed));
        debug_assert!(self.greeting.is_some() || !matches!(self.state, State::Mail(_)));
        if let State::Rcpt(transaction) = &self.state {
            debug_assert!(!transaction.envelope.recipients.is_empty());
            debug_assert!(transaction.envelope.recipients.len() <= self.listener.recipients_max);
        }
        if let State::Mail(transaction) = &self.state {
            debug_assert!(transaction.envelope.recipients.is_empty());
        }
    }

    fn helo(&self) -> Box<[u8]> {
        self.greeting.as_ref().map(|greeting| greeting.name.clone()).unwrap_or_default()
    }

    fn is_lmtp(&self) -> bool {
        self.listener.protocol == Protocol::Lmtp
    }
}
