//! The end mark was read: findings become a fate for each recipient, fates become a plan, and what
//! the relay answers becomes the reply set.

use super::final_reply::replies_for;
use super::intake::{Complete, Intake};
use super::record::{End, RecipientRecord, Record};
use super::trace::Trace;
use super::{Ask, Effect, Mixed, Session, State};
use crate::now::{Now, Tick};
use crate::policy::{Action, ClassId, RouteId, Verdict};
use crate::relay::{Envelope, Outcome, Plan, Protocol};
use crate::scan::Findings;
use crate::wire::{Body, Kind, Reply, replies};
use smallvec::SmallVec;
use std::sync::Arc;

/// A message whose fate is being carried out.
#[derive(Debug)]
pub(super) struct Decision {
    id: String,
    envelope: Arc<Envelope>,
    /// `None` for a message that was refused as a whole.
    body: Option<Arc<Body>>,
    findings: Findings,
    octets: u64,
    trace: Vec<u8>,
    /// One for each recipient, in RCPT order.
    fates: Vec<Fate>,
    /// The lines of the configuration that decided.
    lines: Vec<Option<u32>>,
    /// Copies that a next hop refused were laid aside; that is done once.
    laid_aside: bool,
    began: Tick,
    ended_at: Tick,
}

/// What becomes of one recipient's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Quarantined,
    Discarded,
    Refused(Reply),
    Deferred(Reply),
}

/// A recipient's copy that is to be handed on.
struct Copy<'a> {
    recipient: usize,
    route: RouteId,
    add: Option<&'a [u8]>,
}

impl Fate {
    /// Whether the client is told that it was taken.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Fate::Delivered | Fate::Quarantined | Fate::Discarded)
    }

    fn name(&self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Quarantined => "quarantined",
            Fate::Discarded => "discarded",
            Fate::Refused(_) => "refused",
            Fate::Deferred(_) => "deferred",
        }
    }

    fn from_refusal(reply: Reply) -> Fate {
        match reply.kind() {
            Kind::Transient => Fate::Deferred(reply),
            _ => Fate::Refused(reply),
        }
    }
}

impl Session {
    /// Decides for each recipient of a message that has come whole.
    pub(super) fn decide(&mut self, intake: Intake, now: Now) {
        let Complete { transaction, octets, message } = intake.finish();
        self.shared.tally.messages.count();
        if message.is_ok() {
            self.shared.tally.scans.count();
            self.shared.tally.scanned_octets.add(octets);
        }
        let recipients = transaction.envelope.recipients.len();
        let (body, findings, failure) = match message {
            Ok((body, findings)) => {
                let looped = findings.received_fields() >= self.listener.received_max;
                (Some(body), findings, looped.then_some(replies::LOOP))
            }
            Err(reply) => (None, Findings::default(), Some(reply)),
        };
        let mut decision = Box::new(Decision {
            trace: self.trace(&transaction.id, &transaction.envelope, now),
            id: transaction.id,
            envelope: Arc::new(transaction.envelope),
            body,
            findings,
            octets,
            fates: Vec::new(),
            lines: vec![None; recipients],
            laid_aside: false,
            began: transaction.began,
            ended_at: now.tick,
        });
        match failure {
            // A failure of the whole message is told to each recipient.
            Some(reply) => {
                decision.fates = vec![Fate::from_refusal(reply); recipients];
                self.conclude(&decision, now);
            }
            None => self.judge(decision, now),
        }
    }

    /// Looks the verdicts up, one a class, and hands on what they accept.
    fn judge(&mut self, mut decision: Box<Decision>, now: Now) {
        let tables = Arc::clone(&self.shared.tables);
        let envelope = Arc::clone(&decision.envelope);
        let mut verdicts = SmallVec::<[(ClassId, Verdict<'_>); 4]>::new();
        let mut copies = Vec::with_capacity(envelope.recipients.len());
        for (index, recipient) in envelope.recipients.iter().enumerate() {
            let known = verdicts.iter().find(|(class, _)| *class == recipient.class);
            let verdict = known.map(|(_, verdict)| *verdict).unwrap_or_else(|| {
                let verdict = tables.policy.verdict(recipient.class, &decision.findings);
                verdicts.push((recipient.class, verdict));
                verdict
            });
            decision.lines[index] = verdict.place.map(|place| place.line);
            let copy = |route: RouteId| Copy { recipient: index, route, add: verdict.add };
            decision.fates.push(match verdict.action {
                Action::Accept { route } => {
                    copies.push(copy(route.unwrap_or(recipient.route)));
                    Fate::Delivered
                }
                Action::Quarantine(route) => {
                    copies.push(copy(*route));
                    Fate::Quarantined
                }
                Action::Discard => Fate::Discarded,
                Action::Reject(reply) => Fate::Refused(reply.clone()),
                Action::Defer(reply) => Fate::Deferred(reply.clone()),
            });
        }
        if self.listener.protocol == Protocol::Smtp {
            self.reconcile(&mut decision.fates, &mut copies);
        }
        self.hand_on(decision, &copies, now);
    }

    /// Plain SMTP has one reply: what some accept and others do not is made of one mind.
    fn reconcile(&self, fates: &mut [Fate], copies: &mut Vec<Copy<'_>>) {
        let accepting = fates.iter().filter(|fate| fate.is_accepted()).count();
        if accepting == 0 || accepting == fates.len() {
            return;
        }
        if let (Mixed::Quarantine, Some(route)) = (self.listener.mixed, self.listener.quarantine) {
            for (recipient, fate) in fates.iter_mut().enumerate() {
                if !fate.is_accepted() {
                    copies.push(Copy { recipient, route, add: None });
                    *fate = Fate::Quarantined;
                }
            }
            return;
        }
        let refusal = fates.iter().find(|fate| matches!(fate, Fate::Refused(_)));
        let strictest = refusal.or_else(|| fates.iter().find(|fate| !fate.is_accepted())).cloned();
        if let Some(strictest) = strictest {
            fates.fill(strictest);
            copies.clear();
        }
    }

    /// Asks the relay to hand copies on; without any, the replies are known now.
    fn hand_on(&mut self, decision: Box<Decision>, copies: &[Copy<'_>], now: Now) {
        let Some(body) = decision.body.as_ref().filter(|_| !copies.is_empty()) else {
            return self.conclude(&decision, now);
        };
        let id = decision.id.clone();
        let mut plan = Plan::new(id, Arc::clone(&decision.envelope), Arc::clone(body));
        for copy in copies {
            plan.add(copy.recipient, copy.route, &decision.trace, copy.add);
        }
        // What was answered so far goes out before the wait.
        self.flush(now);
        self.effects.push_back(Effect::Ask(Ask::Relay(plan)));
        self.state = State::Committing(decision);
    }

    /// The relay has answered: refusals of next hops become fates.
    pub(super) fn relayed(
        &mut self,
        mut decision: Box<Decision>,
        outcomes: Vec<(usize, Outcome)>,
        now: Now,
    ) {
        for (recipient, outcome) in outcomes {
            let reply = match outcome {
                Outcome::Delivered => continue,
                Outcome::Failed(reply) => reply,
                Outcome::Unknown(reply) => {
                    self.shared.tally.copies_unknown.count();
                    reply
                }
            };
            if let Some(fate) = decision.fates.get_mut(recipient) {
                *fate = Fate::from_refusal(reply);
            }
        }
        let Some(route) = self.listener.quarantine.filter(|_| self.must_lay_aside(&decision))
        else {
            return self.conclude(&decision, now);
        };
        decision.laid_aside = true;
        let mut copies = Vec::new();
        for (recipient, fate) in decision.fates.iter_mut().enumerate() {
            if !fate.is_accepted() {
                *fate = Fate::Quarantined;
                copies.push(Copy { recipient, route, add: None });
            }
        }
        self.hand_on(decision, &copies, now);
    }

    /// Whether a plain SMTP client was promised something that a next hop then refused for good to
    /// some, while others have their copy: it can be told of neither, so the copy is laid aside.
    fn must_lay_aside(&self, decision: &Decision) -> bool {
        let some = |wanted: fn(&Fate) -> bool| decision.fates.iter().any(wanted);
        self.listener.protocol == Protocol::Smtp
            && !decision.laid_aside
            && some(Fate::is_accepted)
            && some(|fate| matches!(fate, Fate::Refused(_)))
            && !some(|fate| matches!(fate, Fate::Deferred(_)))
    }

    /// Every fate is known: the whole reply set is rendered, and leaves in one send.
    fn conclude(&mut self, decision: &Decision, now: Now) {
        let accepted =
            replies::MESSAGE_ACCEPTED.with_text(format!("message accepted as {}", decision.id));
        let replies = replies_for(self.listener.protocol, &decision.fates, &accepted);
        // Nothing that was said before shares the send with the reply set.
        self.flush(now);
        for reply in &replies {
            self.reply(reply);
        }
        self.flush(now);
        self.shared.tally.reply_sets.count();
        self.count_fates(&decision.fates);
        if decision.fates.iter().any(Fate::is_accepted) {
            self.progress_at = now.tick;
        }
        self.junk = 0;
        self.waiting_since = now.tick;
        self.state = State::Ready;
        let record = self.record(decision, &replies, now);
        self.effects.push_back(Effect::Record(Box::new(record)));
    }

    fn count_fates(&self, fates: &[Fate]) {
        for fate in fates {
            match fate {
                Fate::Delivered => self.shared.tally.copies_delivered.count(),
                Fate::Quarantined => self.shared.tally.copies_quarantined.count(),
                Fate::Discarded => self.shared.tally.copies_discarded.count(),
                Fate::Refused(_) => self.shared.tally.copies_refused.count(),
                Fate::Deferred(_) => self.shared.tally.copies_deferred.count(),
            }
        }
    }

    fn trace(&self, id: &str, envelope: &Envelope, now: Now) -> Vec<u8> {
        let helo = self.helo();
        let trace = Trace {
            helo: &helo,
            client: self.client.address,
            hostname: &self.listener.hostname,
            protocol: self.listener.protocol,
            extended: self.offers().extended,
            smtputf8: envelope.smtputf8,
            id,
            only_recipient: match envelope.recipients.as_slice() {
                [only] => Some(&only.address),
                _ => None,
            },
            unix_s: now.unix_s,
        };
        trace.field()
    }

    fn record(&self, decision: &Decision, replies: &[Reply], now: Now) -> Record {
        let code =
            |index: usize| replies.get(index).or(replies.first()).map_or(0, |reply| reply.code());
        let policy = &self.shared.tables.policy;
        let recipients = decision.envelope.recipients.iter().zip(&decision.fates).enumerate();
        Record {
            id: decision.id.clone(),
            unix_s: now.unix_s,
            listener: self.listener.name.clone(),
            protocol: self.listener.protocol,
            client: self.client.address,
            helo: self.helo(),
            reverse_path: decision.envelope.reverse_path.clone(),
            octets: decision.octets,
            end: End::Replied,
            tags: self.tag_names(&decision.findings),
            score: decision.findings.score().0,
            recipients: recipients
                .map(|(index, (recipient, fate))| RecipientRecord {
                    address: recipient.address.clone(),
                    class: policy.class_name(recipient.class).to_owned(),
                    fate: fate.name(),
                    code: code(index),
                    line: decision.lines[index],
                })
                .collect(),
            duration_us: micros(now.tick - decision.began),
            decision_us: micros(now.tick - decision.ended_at),
            ended_at: decision.ended_at,
        }
    }

    /// The record of a message whose end will not come any more.
    pub(super) fn record_of_lost(&self, intake: &Intake, now: Now) -> Record {
        let transaction = &intake.transaction;
        Record {
            id: transaction.id.clone(),
            unix_s: now.unix_s,
            listener: self.listener.name.clone(),
            protocol: self.listener.protocol,
            client: self.client.address,
            helo: self.helo(),
            reverse_path: transaction.envelope.reverse_path.clone(),
            octets: intake.octets(),
            end: End::Lost,
            tags: Vec::new(),
            score: 0,
            recipients: Vec::new(),
            duration_us: micros(now.tick - transaction.began),
            decision_us: 0,
            ended_at: now.tick,
        }
    }

    fn tag_names(&self, findings: &Findings) -> Vec<String> {
        let tags = self.shared.tables.rules.tags();
        findings.tags().iter().map(|tag| tags.name(tag).to_owned()).collect()
    }
}

fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
