//! Who the client is, before and between its commands: the PROXY header, TLS, the banner, and what
//! trusted peers say by XCLIENT and XFORWARD.

use super::settings::TlsMode;
use super::{Effect, Session, Source, State};
use crate::now::Now;
use crate::relay::{Origin, Protocol};
use crate::wire::{PeerAttributes, PeerCommand, Proxied, ProxyFault, Reply, Told, replies};
use core::net::IpAddr;

/// The first octet of a TLS record that holds a handshake. RFC 8446 5.1.
const TLS_HANDSHAKE: u8 = 0x16;

impl Session {
    /// The connection was made.
    pub(super) fn open(&mut self, now: Now) {
        // PROXY protocol 2: from configured peers the header is required before anything else, and
        // on all other connections it is never looked for.
        if self.listener.trust.proxy.contain(self.client.address) {
            self.state = State::Proxy(Box::default());
        } else {
            self.behind_proxy(&mut &[][..], now);
        }
    }

    /// A PROXY header was read, or what should have been one.
    pub(super) fn proxied(
        &mut self,
        read: Result<Option<Proxied>, ProxyFault>,
        input: &mut &[u8],
        now: Now,
    ) {
        match read {
            Ok(None) => {}
            Ok(Some(proxied)) => {
                if let Proxied::Client { from, .. } = proxied {
                    self.proxied = Some(from);
                }
                match self.is_counted() {
                    true => self.behind_proxy(input, now),
                    false => self.too_many_from_source(input, now),
                }
            }
            Err(fault) => {
                // PROXY protocol 2: whatever else comes, the connection is closed without a word.
                *input = &[];
                self.note_end(&fault.to_string(), now);
                self.close(now);
            }
        }
    }

    /// It is known who the client is; `input` is what it has sent already.
    fn behind_proxy(&mut self, input: &mut &[u8], now: Now) {
        self.waiting_since = now.tick;
        match &self.listener.tls {
            Some(tls) if tls.mode == TlsMode::Implicit => {
                let early = std::mem::take(input).to_vec();
                self.begin_handshake(early, now);
            }
            _ => self.welcome(input, now),
        }
    }

    /// Counts the connection where the client is that a trusted peer speaks for. False if that source
    /// has too many.
    fn is_counted(&mut self) -> bool {
        self.client.place = None;
        let Some(address) = self.address() else { return true };
        let source = Source::of(self.client.listener, address);
        let most = self.listener.connections_per_source;
        self.client.place = self.shared.sources.connected(source, most);
        self.client.place.is_some()
    }

    fn too_many_from_source(&mut self, input: &mut &[u8], now: Now) {
        *input = &[];
        self.shared.tally.connections_refused.count();
        if self.listener.is_implicit_tls() && self.tls.is_none() {
            // Who expects TLS could not read it.
            self.note_end(replies::TOO_MANY_FROM_SOURCE.text(), now);
            return self.close(now);
        }
        self.end_session(&replies::TOO_MANY_FROM_SOURCE, now);
    }

    fn begin_handshake(&mut self, early: Vec<u8>, now: Now) {
        self.flush(now);
        self.waiting_since = now.tick;
        if self.client.place.as_mut().is_some_and(|place| !place.handshake_begins()) {
            self.shared.tally.tls_handshakes_refused.count();
            self.note_end("too many TLS handshakes from its source", now);
            return self.close(now);
        }
        self.state = State::Handshake;
        self.effects.push_back(Effect::StartTls(early));
    }

    /// The banner is due, at once or after a pause; under STARTTLS it was sent before.
    pub(super) fn welcome(&mut self, input: &mut &[u8], now: Now) {
        self.waiting_since = now.tick;
        if self.welcomed {
            self.state = State::Ready;
            return;
        }
        let due = now.tick + self.listener.banner_pause;
        self.state = State::Banner { due };
        if due > now.tick {
            return;
        }
        if self.refuses_early(input) {
            *input = &[];
            return self.end_session(&replies::EARLY_TALK, now);
        }
        self.banner(now);
    }

    /// The pause before the banner is over: now it is judged who did not wait for it.
    pub(super) fn banner_due(&mut self, now: Now) {
        if self.refuses_early(self.pending.octets()) {
            return self.end_session(&replies::EARLY_TALK, now);
        }
        self.banner(now);
        self.run_pending(now);
    }

    /// Whether octets came before the banner, and the client is turned away for them. RFC 5321
    /// 4.3.1: the client should wait for the greeting.
    fn refuses_early(&self, octets: &[u8]) -> bool {
        self.listener.early_talk_refused && !octets.is_empty()
    }

    fn banner(&mut self, now: Now) {
        self.state = State::Ready;
        self.welcomed = true;
        self.waiting_since = now.tick;
        let banner = self.banner_reply();
        self.reply(&banner);
        self.flush(now);
    }

    fn banner_reply(&self) -> Reply {
        let hostname = &self.listener.hostname;
        let text = match self.listener.protocol {
            Protocol::Smtp => format!("{hostname} ESMTP postern"),
            Protocol::Lmtp => format!("{hostname} LMTP postern"),
        };
        Reply::bare(220, "").with_text(text)
    }

    // ---- STARTTLS ---------------------------------------------------------------------------

    /// STARTTLS; `input` is what stands behind it.
    pub(super) fn start_tls(&mut self, argument: &[u8], input: &mut &[u8], now: Now) {
        if !argument.is_empty() {
            return self.fault(&replies::BAD_ARGUMENT, now);
        }
        if self.tls.is_some() {
            return self.fault(&replies::TLS_ALREADY, now);
        }
        if !matches!(self.state, State::Ready) {
            return self.fault(&replies::NOT_IN_TRANSACTION, now);
        }
        if self.listener.tls.is_none() {
            return self.junk(&replies::NO_TLS_NOW, now);
        }
        // RFC 3207 6: a command that somebody has put behind STARTTLS in clear would be run as if
        // it had come under TLS. What stands there can only be the client's first record.
        if input.first().is_some_and(|octet| *octet != TLS_HANDSHAKE) {
            *input = &[];
            return self.end_session(&replies::TALK_BEHIND_STARTTLS, now);
        }
        self.reply(&replies::TLS_GO_AHEAD);
        let early = std::mem::take(input).to_vec();
        self.begin_handshake(early, now);
    }

    /// RFC 3207 4.2: after the handshake the server must discard any knowledge obtained from the
    /// client that was not obtained from the TLS negotiation itself. What a trusted peer said of
    /// the address before (PROXY, XCLIENT) stays.
    pub(super) fn start_afresh(&mut self) {
        self.drop_transaction();
        self.greeting = None;
        self.forwarded = None;
        self.resumes = None;
        self.mail_refused = false;
    }

    /// Whether TLS is demanded and not there. RFC 3207 4.
    pub(super) fn lacks_tls(&self) -> bool {
        let demanded = self.listener.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Required);
        demanded && self.tls.is_none()
    }

    /// Whether STARTTLS may be said.
    pub(super) fn offers_tls(&self) -> bool {
        self.listener.tls.is_some() && self.tls.is_none()
    }

    // ---- XCLIENT, XFORWARD ------------------------------------------------------------------

    /// Whether the peer may use a command. It is judged by the TCP peer and by its certificate, never
    /// by an address that was claimed.
    pub(super) fn trusts(&self, command: PeerCommand) -> bool {
        let trust = &self.listener.trust;
        let key = self.tls.as_ref().and_then(|tls| tls.client_key);
        if key.is_some_and(|key| trust.keys.contains(&key)) {
            return true;
        }
        match command {
            PeerCommand::Xclient => trust.xclient.contain(self.client.address),
            PeerCommand::Xforward => trust.xforward.contain(self.client.address),
        }
    }

    pub(super) fn told_of_client(&mut self, command: PeerCommand, argument: &[u8], now: Now) {
        if !self.trusts(command) {
            return self.junk(&replies::NOT_TRUSTED, now);
        }
        if !matches!(self.state, State::Ready) {
            return self.fault(&replies::NOT_IN_TRANSACTION, now);
        }
        let newer = match PeerAttributes::read(argument, command) {
            Ok(attributes) => attributes,
            Err(reply) => return self.fault(&reply, now),
        };
        match command {
            PeerCommand::Xclient => {
                self.claimed.get_or_insert_default().update(newer);
                // The session starts again as after the banner, as that client's; TLS stays.
                self.start_afresh();
                if !self.is_counted() {
                    return self.too_many_from_source(&mut &[][..], now);
                }
                let banner = self.banner_reply();
                self.junk(&banner, now);
            }
            PeerCommand::Xforward => {
                self.forwarded.get_or_insert_default().update(newer);
                self.junk(&replies::OK, now);
            }
        }
    }

    // ---- what is known ----------------------------------------------------------------------

    /// The client's address, as far as it is known.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.claimed.as_ref().map(|claimed| &claimed.address) {
            Some(Told::Is(address)) => Some(*address),
            Some(Told::Unknown) => None,
            Some(Told::Nothing) | None => self.proxied_address().or(self.client.address),
        }
    }

    /// The client's port at its address: one that belongs to another address says nothing.
    fn port(&self) -> Option<u16> {
        match self.claimed.as_ref() {
            Some(claimed) if claimed.port != Told::Nothing => claimed.port.known().copied(),
            Some(claimed) if claimed.address != Told::Nothing => None,
            _ => self.proxied.map(|from| from.port()).or(self.client.port),
        }
    }

    fn proxied_address(&self) -> Option<IpAddr> {
        self.proxied.map(|from| from.ip().to_canonical())
    }

    /// The name of the client's greeting; empty before it.
    pub(super) fn helo(&self) -> Box<[u8]> {
        let claimed = self.claimed.as_ref().and_then(|claimed| claimed.helo.known()).cloned();
        let own = || self.greeting.as_ref().map(|greeting| greeting.name.clone());
        claimed.or_else(own).unwrap_or_default()
    }

    /// The client's name in the DNS, if a trusted peer has told it.
    pub(super) fn client_name(&self) -> Option<Box<[u8]>> {
        self.claimed.as_ref().and_then(|claimed| claimed.name.known()).cloned()
    }

    /// The client, as next hops may be told of it.
    pub(super) fn origin(&self) -> Origin {
        let claimed = self.claimed.as_deref();
        let extended = self.offers().extended;
        Origin {
            address: self.address(),
            port: self.port(),
            name: self.client_name(),
            helo: self.helo(),
            extended: claimed
                .and_then(|claimed| claimed.extended.known())
                .copied()
                .unwrap_or(extended),
            login: claimed.and_then(|claimed| claimed.login.known()).cloned(),
        }
    }
}
