//! One connection to a next hop: greeting, then one transaction after the other.
//!
//! The client side of SMTP and LMTP. Envelope and DATA go out in one write where PIPELINING is
//! offered; the body goes out as slices once DATA was answered; each recipient ends with exactly one
//! [`Outcome`].

use super::plan::{Envelope, Group, Outcome};
use super::route::Protocol;
use crate::limits::{
    HOP_COMMAND_TIMEOUT, HOP_CONNECT_TIMEOUT, HOP_FINAL_TIMEOUT, HOP_IDLE_TIMEOUT,
    HOP_TRANSACTIONS_MAX,
};
use crate::now::Tick;
use crate::wire::{Body, BodyKind, Notify, Output, Piece, Reply, ReplyReader, Ret, replies};
use smallvec::SmallVec;
use std::sync::Arc;

/// A connection to a next hop.
#[derive(Debug)]
pub(super) struct Hop {
    protocol: Protocol,
    state: State,
    reader: ReplyReader,
    offers: Offers,
    transactions: u32,
    deadline: Tick,
    /// A bug for tests of the simulation's oracle: what may have been taken is sent again.
    #[cfg(test)]
    pub sends_again: bool,
}

/// A group on its way to a next hop.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The plan it belongs to.
    pub job: usize,
    pub envelope: Arc<Envelope>,
    pub group: Group,
    pub body: Arc<Body>,
    /// When the client must have an answer, whatever was tried.
    pub give_up_at: Tick,
    /// The address that is tried now, and how many were tried.
    pub address: usize,
    pub attempts: usize,
    /// What is known of each recipient of the group.
    pub outcomes: Vec<Option<Outcome>>,
}

/// What a verb asks of the pool.
#[derive(Debug)]
pub(super) enum HopEffect {
    /// Octets for the next hop.
    Send(Output),
    /// The connection can take a transaction.
    Ready,
    /// Every recipient has its outcome.
    Finished(Delivery),
    /// The connection failed before the body was sent: the delivery may be tried elsewhere.
    Unsent(Delivery, Reply),
    /// The connection is of no more use; after what was sent, it is to be closed.
    Close,
}

/// Effects of one verb, in order.
pub(super) type HopEffects = SmallVec<[HopEffect; 3]>;

#[derive(Debug)]
enum State {
    Connecting(Option<Delivery>),
    Banner(Option<Delivery>),
    Greeting { fallback: bool, first: Option<Delivery> },
    Idle,
    Envelope(Delivery, Talk),
    Final { delivery: Delivery, accepted: Vec<usize>, answered: usize },
    Closed,
}

/// The commands of an envelope, and how far they were sent and answered.
#[derive(Debug)]
struct Talk {
    steps: Vec<Step>,
    answered: usize,
    sender_refused: bool,
    accepted: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Reset,
    Mail,
    /// The recipient at this place of the group.
    Rcpt(usize),
    Data,
}

/// What the next hop offered in its greeting.
#[derive(Clone, Copy, Debug, Default)]
struct Offers {
    pipelining: bool,
    size: bool,
    eight_bit_mime: bool,
    smtputf8: bool,
    dsn: bool,
}

impl Hop {
    /// A connection that is being made, for a first delivery.
    pub fn connecting(protocol: Protocol, first: Delivery, now: Tick) -> Hop {
        let deadline = (now + HOP_CONNECT_TIMEOUT).min(first.give_up_at);
        Hop {
            protocol,
            state: State::Connecting(Some(first)),
            reader: ReplyReader::default(),
            offers: Offers::default(),
            transactions: 0,
            deadline,
            #[cfg(test)]
            sends_again: false,
        }
    }

    /// The moment at which [`Hop::timed_out`] is due.
    pub fn deadline(&self) -> Tick {
        self.deadline
    }

    /// Whether it waits for a transaction.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// The connection stands.
    pub fn connected(&mut self, now: Tick) {
        if let State::Connecting(first) = &mut self.state {
            self.state = State::Banner(first.take());
            self.wait(HOP_COMMAND_TIMEOUT, now);
        }
    }

    /// Begins a transaction on an idle connection.
    pub fn begin(&mut self, delivery: Delivery, now: Tick, effects: &mut HopEffects) {
        debug_assert!(self.is_idle());
        if delivery.envelope.smtputf8 && !self.offers.smtputf8 {
            self.deadline = now + HOP_IDLE_TIMEOUT;
            let reply = Reply::new(550, 6, 7, "next hop does not take SMTPUTF8 mail");
            effects.push(HopEffect::Finished(failed(delivery, &reply)));
            effects.push(HopEffect::Ready);
            return;
        }
        let mut steps = Vec::with_capacity(delivery.group.recipients.len() + 3);
        if self.transactions > 0 {
            // Whatever the last transaction left behind is cleared; a reply too many is found out
            // here, since DATA then seems to be answered with 250.
            steps.push(Step::Reset);
        }
        self.transactions += 1;
        steps.push(Step::Mail);
        steps.extend((0..delivery.group.recipients.len()).map(Step::Rcpt));
        steps.push(Step::Data);
        let talk = Talk { steps, answered: 0, sender_refused: false, accepted: Vec::new() };
        let mut commands = Vec::new();
        // RFC 2920 3.1: MAIL, RCPT and RSET may stand anywhere in a group, DATA at its end.
        let now_sent = if self.offers.pipelining { talk.steps.len() } else { 1 };
        for step in &talk.steps[..now_sent] {
            self.write_command(*step, &delivery, &mut commands);
        }
        effects.push(HopEffect::Send(commands.into()));
        self.state = State::Envelope(delivery, talk);
        self.wait(HOP_COMMAND_TIMEOUT, now);
    }

    /// Takes octets of the next hop.
    pub fn receive(&mut self, mut octets: &[u8], name: &str, now: Tick, effects: &mut HopEffects) {
        loop {
            match self.reader.next(&mut octets) {
                Ok(Some(reply)) => self.replied(&reply, name, now, effects),
                Ok(None) => break,
                Err(_) => return self.broken(&replies::NEXT_HOP_DOWN, effects),
            }
            if matches!(self.state, State::Closed) {
                return;
            }
        }
        // A reply that nothing asked for: whose next one is whose could not be told any more.
        if self.is_idle() && self.reader.is_in_reply() {
            self.broken(&replies::NEXT_HOP_DOWN, effects);
        }
    }

    /// The next hop closed, or the connection could not be made or was lost.
    pub fn lost(&mut self, effects: &mut HopEffects) {
        self.broken(&replies::NEXT_HOP_DOWN, effects);
    }

    /// The deadline has come.
    pub fn timed_out(&mut self, now: Tick, effects: &mut HopEffects) {
        if now < self.deadline {
            return;
        }
        if self.is_idle() {
            effects.push(HopEffect::Send(Output::from(b"QUIT\r\n".to_vec())));
        }
        self.broken(&replies::NEXT_HOP_DOWN.with_text("next hop does not answer"), effects);
    }

    fn replied(&mut self, reply: &Reply, name: &str, now: Tick, effects: &mut HopEffects) {
        if reply.code() == 421 {
            // RFC 5321 4.2.1: the server closes after it.
            return self.broken(&told(reply), effects);
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Banner(first) => self.bannered(reply, first, name, now, effects),
            State::Greeting { fallback, first } => {
                self.greeted(reply, fallback, first, name, now, effects);
            }
            State::Envelope(delivery, talk) => self.step(reply, delivery, talk, now, effects),
            State::Final { delivery, accepted, answered } => {
                self.final_reply(reply, delivery, accepted, answered, now, effects);
            }
            State::Connecting(_) | State::Idle | State::Closed => {
                effects.push(HopEffect::Close);
            }
        }
    }

    fn bannered(
        &mut self,
        reply: &Reply,
        first: Option<Delivery>,
        name: &str,
        now: Tick,
        effects: &mut HopEffects,
    ) {
        if !reply.is_positive() {
            self.state = State::Banner(first);
            return self.broken(&told(reply), effects);
        }
        let verb = match self.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        effects.push(HopEffect::Send(format!("{verb} {name}\r\n").into_bytes().into()));
        self.state = State::Greeting { fallback: false, first };
        self.wait(HOP_COMMAND_TIMEOUT, now);
    }

    fn greeted(
        &mut self,
        reply: &Reply,
        fallback: bool,
        first: Option<Delivery>,
        name: &str,
        now: Tick,
        effects: &mut HopEffects,
    ) {
        if reply.is_positive() {
            self.offers = if fallback { Offers::default() } else { Offers::read(reply.text()) };
            self.state = State::Idle;
            match first {
                Some(delivery) => self.begin(delivery, now, effects),
                None => {
                    self.deadline = now + HOP_IDLE_TIMEOUT;
                    effects.push(HopEffect::Ready);
                }
            }
            return;
        }
        self.state = State::Greeting { fallback: true, first };
        // RFC 5321 3.2: a server that does not know EHLO must still take HELO.
        if self.protocol == Protocol::Smtp && !fallback && matches!(reply.code(), 500 | 502) {
            effects.push(HopEffect::Send(format!("HELO {name}\r\n").into_bytes().into()));
            self.wait(HOP_COMMAND_TIMEOUT, now);
        } else {
            self.broken(&told(reply), effects);
        }
    }

    /// The answer to one command of the envelope.
    fn step(
        &mut self,
        reply: &Reply,
        mut delivery: Delivery,
        mut talk: Talk,
        now: Tick,
        effects: &mut HopEffects,
    ) {
        match talk.steps[talk.answered] {
            Step::Reset if reply.is_positive() => {}
            Step::Mail if reply.is_positive() => {}
            Step::Mail => {
                talk.sender_refused = true;
                delivery.fail_rest(&told(reply));
            }
            Step::Rcpt(place) if reply.is_positive() => talk.accepted.push(place),
            Step::Rcpt(place) => {
                delivery.outcomes[place].get_or_insert_with(|| Outcome::Failed(told(reply)));
            }
            Step::Data => return self.data_answered(reply, delivery, talk, now, effects),
            Step::Reset => {
                self.state = State::Envelope(delivery, talk);
                return self.broken(&replies::NEXT_HOP_DOWN, effects);
            }
        }
        talk.answered += 1;
        if !self.offers.pipelining {
            let next = talk.steps[talk.answered];
            let pointless = talk.sender_refused || (next == Step::Data && talk.accepted.is_empty());
            if pointless {
                return self.finish(delivery, now, effects);
            }
            let mut command = Vec::new();
            self.write_command(next, &delivery, &mut command);
            effects.push(HopEffect::Send(command.into()));
        }
        self.state = State::Envelope(delivery, talk);
        self.wait(HOP_COMMAND_TIMEOUT, now);
    }

    fn data_answered(
        &mut self,
        reply: &Reply,
        mut delivery: Delivery,
        talk: Talk,
        now: Tick,
        effects: &mut HopEffects,
    ) {
        let nobody = talk.sender_refused || talk.accepted.is_empty();
        match reply.code() {
            354 if !nobody => {
                let mut output = Output::new();
                output.push(Piece::Owned(delivery.group.prepend.clone()));
                output.push(Piece::Wire(Arc::clone(&delivery.body)));
                output.push(Piece::Fixed(b".\r\n"));
                effects.push(HopEffect::Send(output));
                self.state = State::Final { delivery, accepted: talk.accepted, answered: 0 };
                self.wait(HOP_FINAL_TIMEOUT, now);
            }
            // The go-ahead is for a message without recipients: leaving is the safest end mark.
            354 => {
                self.state = State::Closed;
                effects.push(HopEffect::Finished(delivery));
                effects.push(HopEffect::Close);
            }
            400..600 => {
                delivery.fail_rest(&told(reply));
                self.finish(delivery, now, effects);
            }
            _ => {
                self.state = State::Envelope(delivery, talk);
                self.broken(&replies::NEXT_HOP_DOWN, effects);
            }
        }
    }

    /// The answer to the end of data: one for all (SMTP), or one of one each (LMTP, RFC 2033 4.2).
    fn final_reply(
        &mut self,
        reply: &Reply,
        mut delivery: Delivery,
        accepted: Vec<usize>,
        answered: usize,
        now: Tick,
        effects: &mut HopEffects,
    ) {
        let outcome = match reply.kind() {
            crate::wire::Kind::Positive => Outcome::Delivered,
            crate::wire::Kind::Intermediate => {
                self.state = State::Final { delivery, accepted, answered };
                return self.broken(&replies::NEXT_HOP_DOWN, effects);
            }
            _ => Outcome::Failed(told(reply)),
        };
        let (from, to) = match self.protocol {
            Protocol::Smtp => (0, accepted.len()),
            Protocol::Lmtp => (answered, answered + 1),
        };
        for place in &accepted[from..to] {
            delivery.outcomes[*place] = Some(outcome.clone());
        }
        if to < accepted.len() {
            self.state = State::Final { delivery, accepted, answered: to };
            return;
        }
        self.finish(delivery, now, effects);
    }

    /// Every recipient has its outcome; the connection may be used again.
    fn finish(&mut self, delivery: Delivery, now: Tick, effects: &mut HopEffects) {
        effects.push(HopEffect::Finished(delivery));
        if self.transactions >= HOP_TRANSACTIONS_MAX {
            self.state = State::Closed;
            effects.push(HopEffect::Send(Output::from(b"QUIT\r\n".to_vec())));
            effects.push(HopEffect::Close);
            return;
        }
        self.state = State::Idle;
        self.deadline = now + HOP_IDLE_TIMEOUT;
        effects.push(HopEffect::Ready);
    }

    /// The connection is of no more use. What was not answered is put off with `reply`.
    fn broken(&mut self, reply: &Reply, effects: &mut HopEffects) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting(Some(delivery))
            | State::Banner(Some(delivery))
            | State::Greeting { first: Some(delivery), .. }
            | State::Envelope(delivery, _) => {
                effects.push(HopEffect::Unsent(delivery, deferred(reply)));
            }
            #[cfg(test)]
            State::Final { delivery, .. } if self.sends_again => {
                effects.push(HopEffect::Unsent(delivery, deferred(reply)));
            }
            State::Final { delivery, .. } => {
                effects.push(HopEffect::Finished(failed(delivery, &deferred(reply))));
            }
            State::Closed => return,
            _ => {}
        }
        effects.push(HopEffect::Close);
    }

    fn wait(&mut self, span: std::time::Duration, now: Tick) {
        let give_up_at = match &self.state {
            State::Connecting(Some(delivery))
            | State::Banner(Some(delivery))
            | State::Greeting { first: Some(delivery), .. }
            | State::Envelope(delivery, _)
            | State::Final { delivery, .. } => delivery.give_up_at,
            _ => now + span,
        };
        self.deadline = (now + span).min(give_up_at);
    }

    fn write_command(&self, step: Step, delivery: &Delivery, out: &mut Vec<u8>) {
        let envelope = &*delivery.envelope;
        match step {
            Step::Reset => out.extend_from_slice(b"RSET"),
            Step::Data => out.extend_from_slice(b"DATA"),
            Step::Mail => self.write_mail(delivery, out),
            Step::Rcpt(place) => {
                let recipient = &envelope.recipients[delivery.group.recipients[place]];
                out.extend_from_slice(b"RCPT TO:<");
                out.extend_from_slice(&recipient.address);
                out.push(b'>');
                if self.offers.dsn {
                    write_notify(recipient.notify, out);
                    write_value(b" ORCPT=", recipient.orcpt.as_deref(), out);
                }
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_mail(&self, delivery: &Delivery, out: &mut Vec<u8>) {
        let envelope = &*delivery.envelope;
        out.extend_from_slice(b"MAIL FROM:<");
        out.extend_from_slice(&envelope.reverse_path);
        out.push(b'>');
        if self.offers.size {
            let octets = delivery.body.content_octets() + delivery.group.prepend.len() as u64;
            out.extend_from_slice(format!(" SIZE={octets}").as_bytes());
        }
        if self.offers.eight_bit_mime {
            out.extend_from_slice(match envelope.body {
                BodyKind::Unsaid => b"",
                BodyKind::SevenBit => b" BODY=7BIT",
                BodyKind::EightBitMime => b" BODY=8BITMIME",
                BodyKind::BinaryMime => b" BODY=BINARYMIME",
            });
        }
        if envelope.smtputf8 {
            out.extend_from_slice(b" SMTPUTF8");
        }
        if self.offers.dsn {
            out.extend_from_slice(match envelope.ret {
                None => b"",
                Some(Ret::Full) => b" RET=FULL",
                Some(Ret::Headers) => b" RET=HDRS",
            });
            write_value(b" ENVID=", envelope.envid.as_deref(), out);
        }
    }
}

impl Delivery {
    /// Gives `reply` to every recipient that has no outcome yet.
    fn fail_rest(&mut self, reply: &Reply) {
        for outcome in &mut self.outcomes {
            outcome.get_or_insert_with(|| Outcome::Failed(reply.clone()));
        }
    }

    /// Forgets what was learned on a connection that failed before the body was sent.
    pub fn forget_outcomes(&mut self) {
        self.outcomes.fill(None);
    }
}

/// A delivery whose open recipients all get `reply`.
pub(super) fn failed(mut delivery: Delivery, reply: &Reply) -> Delivery {
    delivery.fail_rest(reply);
    delivery
}

/// A next hop's reply as it may be told to our client.
///
/// Codes that speak of the connection or of *our* commands would mislead the client: a 421 would
/// end its session, a 5xx for our own fault would bounce its mail.
fn told(reply: &Reply) -> Reply {
    let code = match reply.code() {
        500 | 502 | 503 | 504 | 530 | 534 | 535 | 538 | 421 => 451,
        code @ 400..600 => code,
        _ => 451,
    };
    let enhanced = match (code == reply.code(), reply.enhanced()) {
        (true, enhanced) => enhanced,
        (false, _) => Some(crate::wire::Enhanced { subject: 4, detail: 0 }),
    };
    let enhanced = enhanced.unwrap_or(crate::wire::Enhanced { subject: 0, detail: 0 });
    Reply::given(code, Some(enhanced), reply.text().to_owned()).unwrap_or(replies::NEXT_HOP_DOWN)
}

/// The same reply as a temporary one: a connection that failed says nothing of the message.
fn deferred(reply: &Reply) -> Reply {
    match reply.kind() {
        crate::wire::Kind::Transient => reply.clone(),
        _ => replies::NEXT_HOP_DOWN.with_text(reply.text().to_owned()),
    }
}

fn write_notify(notify: Option<Notify>, out: &mut Vec<u8>) {
    let Some(notify) = notify else { return };
    out.extend_from_slice(b" NOTIFY=");
    let wishes =
        [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let wanted: Vec<&str> = wishes.iter().filter(|wish| wish.0).map(|wish| wish.1).collect();
    let list = if wanted.is_empty() { "NEVER".to_owned() } else { wanted.join(",") };
    out.extend_from_slice(list.as_bytes());
}

fn write_value(name: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

impl Offers {
    /// Reads the lines of a greeting's reply; the first is the next hop's name.
    fn read(text: &str) -> Offers {
        let mut offers = Offers::default();
        for line in text.split('\n').skip(1) {
            let keyword = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offers.pipelining = true,
                "SIZE" => offers.size = true,
                "8BITMIME" => offers.eight_bit_mime = true,
                "SMTPUTF8" => offers.smtputf8 = true,
                "DSN" => offers.dsn = true,
                _ => {}
            }
        }
        offers
    }
}
