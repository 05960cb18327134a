//! Next hops of the world, the stores, and the relay's way to both.

use super::{Event, Sink, Stored, Stream, World};
use crate::now::Tick;
use crate::relay::{Address, HopId, Outcome, RelayEffect, StoreJob};
use crate::session::Answer;
use crate::tls::TlsFacts;
use crate::tools::sink::{Misdeed, Point, SinkEffect, SinkSession};
use crate::wire::{Output, replies};

#[derive(Debug)]
pub(super) struct HopSide {
    pub sink: usize,
    pub session: SinkSession,
    pub stalled: bool,
    /// A TLS handshake is under way.
    pub securing: bool,
    /// Octets for the sink that have not arrived.
    pub unsent: u64,
    pub to_sink: Stream,
    pub to_hop: Stream,
}

impl World {
    pub(super) fn sink_receives(&mut self, id: HopId, octets: &[u8]) {
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.unsent -= octets.len() as u64;
        self.relay.sent(id, hop.unsent, self.now);
        self.drain_relay();
        if self.happens(self.faults.hop_lost) {
            return self.lose_hop(id);
        }
        let stalls = self.happens(self.faults.hop_stalls);
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.stalled |= stalls;
        if hop.stalled {
            return;
        }
        let before = self.sinks[hop.sink].kept.count();
        hop.session.receive(octets);
        self.drain_sink(id, before);
    }

    pub(super) fn hop_receives(&mut self, id: HopId, octets: &[u8], settles: Vec<Vec<u8>>) {
        let lost = self.happens(self.faults.hop_lost);
        if lost || !self.hops.contains_key(&id) {
            self.unanswered.extend(settles);
            return self.lose_hop(id);
        }
        self.relay.receive(id, octets, self.now);
        self.drain_relay();
    }

    pub(super) fn hop_secured(&mut self, id: HopId) {
        if self.happens(self.faults.tls_fails) {
            return self.lose_hop(id);
        }
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.securing = false;
        hop.session.secured();
        self.relay.secured(id, &TlsFacts::default(), self.now);
        self.drain_relay();
        self.drain_sink(id, usize::MAX);
    }

    pub(super) fn lose_hop(&mut self, id: HopId) {
        self.hops.remove(&id);
        self.relay.lost(id, self.now);
        self.drain_relay();
    }

    pub(super) fn store(&mut self, job: &StoreJob) {
        let fails = self.happens(self.faults.store_fails);
        let outcomes = match fails {
            true => job.failed(&replies::LOCAL_FAULT),
            false => {
                job.recipients.iter().map(|recipient| self.store_copy(job, *recipient)).collect()
            }
        };
        self.relay.stored(job, outcomes);
        self.drain_relay();
    }

    pub(super) fn store_copy(&mut self, job: &StoreJob, recipient: usize) -> Outcome {
        let mut content = Vec::new();
        if job.write(recipient, &mut content).is_err() {
            return Outcome::Failed(replies::LOCAL_FAULT);
        }
        self.stored.push(Stored {
            folder: job.folder.display().to_string(),
            recipient: job.envelope.recipients[recipient].address.to_vec(),
            content,
        });
        Outcome::Delivered
    }

    pub(super) fn drain_relay(&mut self) {
        while let Some(effect) = self.relay.poll_effect() {
            match effect {
                RelayEffect::Connect(id, address) => self.make_hop(id, &address),
                RelayEffect::Send(id, output) => self.send_to_sink(id, &output),
                RelayEffect::Close(id) | RelayEffect::Abort(id) => _ = self.hops.remove(&id),
                RelayEffect::StartTls(id) => {
                    if let Some(hop) = self.hops.get_mut(&id) {
                        hop.securing = true;
                    }
                    let due = self.hop_arrival(id, |hop| &mut hop.to_hop);
                    self.schedule(due, Event::HopSecured(id));
                }
                RelayEffect::Store(job) => {
                    let due = self.now + self.latency();
                    self.schedule(due, Event::Stored(Box::new(job)));
                }
                RelayEffect::Done(ticket, outcomes) => {
                    self.answer(ticket, Answer::Relayed(outcomes));
                }
                RelayEffect::Verified(ticket, verification) => {
                    self.answer(ticket, Answer::Verified(verification));
                }
            }
        }
    }

    /// Octets go on their way to a sink, in a few pieces.
    pub(super) fn send_to_sink(&mut self, id: HopId, output: &Output) {
        let octets: Vec<u8> = output.slices().flatten().copied().collect();
        let Some(hop) = self.hops.get_mut(&id) else { return };
        hop.unsent += octets.len() as u64;
        let pieces = if self.faults.latency_us_max == 0 { 1 } else { self.chance.usize(1..=3) };
        for piece in octets.chunks(octets.len().div_ceil(pieces).max(1)) {
            let due = self.hop_arrival(id, |hop| &mut hop.to_sink);
            self.schedule(due, Event::ToSink(id, piece.to_vec()));
        }
    }

    pub(super) fn make_hop(&mut self, id: HopId, address: &Address) {
        let found = self.sinks.iter().position(|sink| sink.address == *address);
        let due = self.now + self.latency();
        let Some(sink) = found.filter(|_| !self.happens(self.faults.connect_fails)) else {
            return self.schedule(due, Event::HopLost(id));
        };
        let Sink { protocol, script, kept, .. } = self.sinks[sink].clone();
        let session = SinkSession::new(protocol, script, kept);
        let (to_sink, to_hop) = (Stream { last_due: due }, Stream { last_due: due });
        let (stalled, securing, unsent) = (false, false, 0);
        let hop = HopSide { sink, session, stalled, securing, unsent, to_sink, to_hop };
        self.hops.insert(id, hop);
        self.schedule(due, Event::HopConnected(id));
    }

    /// Sends what a sink has to say; messages kept since there were `before` are settled by it.
    pub(super) fn drain_sink(&mut self, id: HopId, before: usize) {
        let Some(hop) = self.hops.get(&id) else { return };
        let sink = &self.sinks[hop.sink];
        let mut settles: Vec<Vec<u8>> =
            sink.kept.since(before).into_iter().map(|message| message.content).collect();
        let misdeed = sink.script.misdeed(Point::End);
        if misdeed.is_some_and(|misdeed| *misdeed != Misdeed::Surplus) {
            self.unanswered.append(&mut settles);
        }
        while let Some(effect) = self.hops.get_mut(&id).and_then(|hop| hop.session.poll_effect()) {
            match effect {
                SinkEffect::Send(octets) => {
                    let due = self.hop_arrival(id, |hop| &mut hop.to_hop);
                    let settles = std::mem::take(&mut settles);
                    self.schedule(due, Event::ToHop(id, octets, settles));
                }
                // The handshake begins when the gateway has read the reply.
                SinkEffect::StartTls(_) => {}
                SinkEffect::Wait(span) => {
                    self.schedule(self.now + span, Event::SinkResumes(id));
                }
                SinkEffect::Close => {
                    let due = self.hop_arrival(id, |hop| &mut hop.to_hop);
                    self.schedule(due, Event::HopLost(id));
                }
            }
        }
        self.unanswered.append(&mut settles);
    }

    pub(super) fn hop_arrival(
        &mut self,
        id: HopId,
        stream: impl Fn(&mut HopSide) -> &mut Stream,
    ) -> Tick {
        let due = self.now + self.latency();
        let Some(hop) = self.hops.get_mut(&id) else { return due };
        let stream = stream(hop);
        stream.last_due = stream.last_due.max(due);
        stream.last_due
    }
}
