//! From the connection to the first command: banner, greeting, TLS, and who the client is.

use super::{Hop, HopEffect, Offers, State, Tls, Turn, Work, deferred, told};
use crate::limits::HOP_IDLE_TIMEOUT;
use crate::relay::route::{HopTls, Protocol};
use crate::relay::work::Delivery;
use crate::wire::{Kind, Reply, replies};

impl Hop {
    /// The connection stands: the banner is awaited, or TLS comes before it.
    pub(super) fn open(&mut self, work: Option<Work>, turn: &mut Turn<'_>) {
        match turn.route.tls {
            HopTls::Implicit(_) => self.start_tls(work, false, turn),
            _ => {
                self.state = State::Banner(work);
                self.wait(turn.route.timeouts.command, turn);
            }
        }
    }

    pub(super) fn bannered(&mut self, reply: &Reply, work: Option<Work>, turn: &mut Turn<'_>) {
        if reply.is_positive() && !turn.more_came {
            return self.greet(work, true, turn);
        }
        // RFC 5321 3.1: 554 says that there is no SMTP service here. It is no word about the mail.
        self.state = State::Banner(work);
        self.broken(&deferred(&told(reply)), turn);
    }

    pub(super) fn greet(&mut self, work: Option<Work>, extended: bool, turn: &mut Turn<'_>) {
        let verb = match (self.protocol, extended) {
            (Protocol::Lmtp, _) => "LHLO",
            (Protocol::Smtp, true) => "EHLO",
            (Protocol::Smtp, false) => "HELO",
        };
        turn.send(format!("{verb} {}\r\n", turn.hostname).into_bytes());
        self.offers = Offers::default();
        self.state = State::Greeting { work, extended };
        self.wait(turn.route.timeouts.command, turn);
    }

    pub(super) fn greeted(
        &mut self,
        reply: &Reply,
        work: Option<Work>,
        extended: bool,
        turn: &mut Turn<'_>,
    ) {
        // What stands behind the answer would be taken for that to MAIL.
        if reply.is_positive() && !turn.more_came {
            if extended {
                self.offers = Offers::read(reply.text());
            }
            return self.consider_tls(work, turn);
        }
        // RFC 5321 4.1.4: a server that does not know EHLO answers so, and must still take HELO.
        if self.protocol == Protocol::Smtp && extended && matches!(reply.code(), 500..=502 | 504) {
            return self.greet(work, false, turn);
        }
        self.state = State::Greeting { work, extended };
        self.broken(&deferred(&told(reply)), turn);
    }

    /// The greeting is over: TLS may have to come first.
    fn consider_tls(&mut self, work: Option<Work>, turn: &mut Turn<'_>) {
        match self.tls {
            Tls::Active | Tls::Without => self.ready(work, turn),
            Tls::Wanted if self.offers.has.starttls => {
                turn.send(b"STARTTLS\r\n".to_vec());
                self.state = State::StartTls(work);
                self.wait(turn.route.timeouts.command, turn);
            }
            Tls::Wanted => self.without_tls(work, turn),
        }
    }

    /// The next hop does no TLS.
    fn without_tls(&mut self, work: Option<Work>, turn: &mut Turn<'_>) {
        if turn.route.tls.is_demanded() {
            self.state = State::StartTls(work);
            return self.broken(&replies::NEXT_HOP_DOWN.with_text("next hop has no TLS"), turn);
        }
        self.tls = Tls::Without;
        self.ready(work, turn);
    }

    pub(super) fn tls_answered(&mut self, reply: &Reply, work: Option<Work>, turn: &mut Turn<'_>) {
        match (reply.code(), reply.kind()) {
            // RFC 3207 6: what was put behind the 220 in clear must not be taken for an answer that
            // came under TLS.
            (220, _) if !turn.more_came => self.start_tls(work, true, turn),
            (_, Kind::Transient | Kind::Permanent) => self.without_tls(work, turn),
            _ => {
                self.state = State::StartTls(work);
                self.broken(&super::OUT_OF_STEP, turn);
            }
        }
    }

    fn start_tls(&mut self, work: Option<Work>, bannered: bool, turn: &mut Turn<'_>) {
        turn.effects.push(HopEffect::StartTls);
        self.state = State::Securing { work, bannered };
        self.wait(turn.route.timeouts.connect, turn);
    }

    /// RFC 3207 4.2: after the handshake the client must forget what it learned before, and greet
    /// again.
    pub(super) fn sealed(&mut self, work: Option<Work>, bannered: bool, turn: &mut Turn<'_>) {
        self.tls = Tls::Active;
        if bannered {
            return self.greet(work, true, turn);
        }
        self.state = State::Banner(work);
        self.wait(turn.route.timeouts.command, turn);
    }

    /// The connection can be used.
    fn ready(&mut self, work: Option<Work>, turn: &mut Turn<'_>) {
        if !self.greeted {
            self.greeted = true;
            let offers = self.offers.noted(self.tls == Tls::Active);
            turn.effects.push(HopEffect::Greeted(offers));
        }
        self.used = false;
        self.state = State::Idle;
        self.deadline = turn.now + HOP_IDLE_TIMEOUT;
        if let Some(work) = work {
            self.begin(work, turn);
        }
    }

    /// Whether the next hop wants to be told of another client than it knows.
    pub(super) fn must_introduce(&self, delivery: &Delivery, turn: &Turn<'_>) -> bool {
        turn.route.xclient
            && self.offers.xclient.any()
            && self.origin.as_ref() != Some(&delivery.envelope.origin)
    }

    /// Tells the next hop who the client is. A transaction that was left open stands in its way.
    pub(super) fn introduce(&mut self, delivery: Box<Delivery>, turn: &mut Turn<'_>) {
        let mut commands = Vec::new();
        if self.used {
            commands.extend_from_slice(b"RSET\r\n");
        }
        if !self.used || self.offers.has.pipelining {
            self.offers.xclient.write(&delivery.envelope.origin, &mut commands);
        }
        turn.send(commands);
        self.state = State::Introducing { delivery, reset: self.used };
        self.wait(turn.route.timeouts.command, turn);
    }

    pub(super) fn introduced(
        &mut self,
        reply: &Reply,
        delivery: Box<Delivery>,
        reset: bool,
        turn: &mut Turn<'_>,
    ) {
        match (reset, reply.code()) {
            (true, 200..300) => {
                if !self.offers.has.pipelining {
                    let mut command = Vec::new();
                    self.offers.xclient.write(&delivery.envelope.origin, &mut command);
                    turn.send(command);
                }
                self.state = State::Introducing { delivery, reset: false };
                self.wait(turn.route.timeouts.command, turn);
            }
            // The session begins again as after the banner; TLS stays.
            (false, 220) if !turn.more_came => {
                self.origin = Some(delivery.envelope.origin.clone());
                self.greet(Some(Work::Delivery(delivery)), true, turn);
            }
            // It would judge the client's mail by our address.
            _ => {
                self.state = State::Introducing { delivery, reset };
                self.broken(&replies::NEXT_HOP_DOWN.with_text("next hop refuses XCLIENT"), turn);
            }
        }
    }
}
