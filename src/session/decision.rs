//! The end mark was read: findings become a fate for each recipient, fates become a plan, and what
//! the relay answers becomes the reply set.

use super::final_reply::{ReplyForm, replies_for};
use super::intake::{Complete, Intake};
use super::joint::joint;
use super::recording::Recording;
use super::trace::Trace;
use super::{Ask, Effect, Listener, Mixed, Session, State, Tables};
use crate::ledger::Sending;
use crate::limits::RESULTS_LEFT_OUT_MAX;
use crate::now::{Now, Tick};
use crate::policy::{Action, ClassId, RouteId, Verdict};
use crate::relay::{Envelope, Outcome, Plan};
use crate::scan::{Findings, Score, Tags};
use crate::wire::{Body, Kind, Reply, replies};
use smallvec::SmallVec;
use std::sync::Arc;

/// A message whose fate is being carried out.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) id: String,
    pub(super) envelope: Arc<Envelope>,
    /// The tables that the message began with.
    pub(super) tables: Arc<Tables>,
    /// How its recipients are told.
    pub(super) form: ReplyForm,
    /// It came by BDAT.
    pub(super) chunked: bool,
    /// The 353 of a PRDR block was sent before its lines: they must follow, whatever they say.
    pub(super) block_begun: bool,
    /// Until when the verdict has to wait, if it has to.
    held_until: Option<Tick>,
    /// `None` for a message that was refused as a whole.
    body: Option<Arc<Body>>,
    pub(super) findings: Findings,
    pub(super) octets: u64,
    trace: Vec<u8>,
    /// One for each recipient, in RCPT order.
    pub(super) fates: Vec<Fate>,
    /// The lines of the configuration that decided.
    pub(super) lines: Vec<Option<u32>>,
    /// Recipients whose mailbox is gone since they were accepted.
    gone: Vec<usize>,
    /// What is to be handed on.
    copies: Vec<Copy>,
    /// The header lines that classes add, each once.
    adds: SmallVec<[Box<[u8]>; 1]>,
    /// What the relay has said of each recipient, if it was asked.
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// What the ledger knows of it.
    pub(super) recording: Option<Box<Recording>>,
    /// Copies that a next hop refused were laid aside; that is done once.
    laid_aside: bool,
    pub(super) began: Tick,
    pub(super) ended_at: Tick,
}

impl Decision {
    /// When something is due though nothing happens: a verdict that was held back, or a 353.
    pub fn deadline(&self, listener: &Listener) -> Option<Tick> {
        [self.held_until, self.block_due(listener)].into_iter().flatten().min()
    }

    /// When the 353 of a PRDR block goes out before its lines. A single recipient never has a block.
    fn block_due(&self, listener: &Listener) -> Option<Tick> {
        let waits = self.form == ReplyForm::Block && !self.block_begun && self.fates_expected() > 1;
        waits.then(|| self.ended_at + listener.prdr_353_after)
    }

    fn fates_expected(&self) -> usize {
        self.envelope.recipients.len()
    }

    /// The place of a header line in the list.
    fn added(&mut self, line: &[u8]) -> usize {
        let known = self.adds.iter().position(|one| **one == *line);
        known.unwrap_or_else(|| {
            self.adds.push(line.into());
            self.adds.len() - 1
        })
    }

    /// The recipients whose copies are to be handed on.
    pub fn copies_for(&self) -> Vec<usize> {
        self.copies.iter().map(|copy| copy.recipient).collect()
    }

    /// A recipient's fate is known without a copy being handed on.
    pub fn settle_without_copy(&mut self, recipient: usize, fate: Fate) {
        self.copies.retain(|copy| copy.recipient != recipient);
        if let Some(place) = self.fates.get_mut(recipient) {
            *place = fate;
        }
    }

    /// Whether some next hop or store was asked to take it.
    pub fn was_handed_on(&self) -> bool {
        self.outcomes.iter().any(Option::is_some)
    }

    /// The octets of a recipient's copy, as the next hop gets them, and the earlier transactions by which
    /// one may have it.
    pub fn copy_of(&self, recipient: usize) -> Option<(u64, Vec<Sending>)> {
        let copy = self.copies.iter().find(|copy| copy.recipient == recipient)?;
        let body = self.body.as_ref()?;
        let added = copy.add.and_then(|place| self.adds.get(place)).map_or(0, |line| line.len());
        let octets = (added + self.trace.len()) as u64 + body.content_octets();
        Some((octets, copy.earlier.clone()))
    }

    /// A next hop may have this recipient's copy by these earlier transactions.
    pub fn was_handed_on_earlier(&mut self, recipient: usize, sendings: Vec<Sending>) {
        if let Some(copy) = self.copies.iter_mut().find(|copy| copy.recipient == recipient) {
            copy.earlier = sendings;
        }
    }
}

/// What becomes of one recipient's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    /// An earlier try has delivered it, and was answered so.
    Known(Reply),
    Quarantined,
    Discarded,
    Refused(Reply),
    Deferred(Reply),
}

/// A recipient's copy that is to be handed on.
#[derive(Clone, Debug)]
struct Copy {
    recipient: usize,
    route: RouteId,
    /// The place of a header line in the decision's list.
    add: Option<usize>,
    /// Earlier transactions by which a next hop may have it.
    earlier: Vec<Sending>,
}

impl Fate {
    /// Whether the client is told that it was taken.
    pub fn is_accepted(&self) -> bool {
        !matches!(self, Fate::Refused(_) | Fate::Deferred(_))
    }

    pub fn name(&self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Known(_) => "known",
            Fate::Quarantined => "quarantined",
            Fate::Discarded => "discarded",
            Fate::Refused(_) => "refused",
            Fate::Deferred(_) => "deferred",
        }
    }

    pub fn from_refusal(reply: Reply) -> Fate {
        match reply.kind() {
            Kind::Transient => Fate::Deferred(reply),
            _ => Fate::Refused(reply),
        }
    }
}

impl Session {
    /// Decides for each recipient of a message that has come whole.
    pub(super) fn decide(&mut self, intake: Intake, now: Now) {
        let Complete { mut transaction, octets, chunked, digest, message } = intake.finish();
        if transaction.is_resumed() {
            return self.end_of_resumed(transaction, octets, now);
        }
        self.shared.tally.messages.count();
        if message.is_ok() {
            self.shared.tally.scans.count();
            self.shared.tally.scanned_octets.add(octets);
        }
        let recipients = transaction.envelope.recipients.len();
        let (body, findings, failure) = match message {
            Ok((body, findings)) => {
                let looped = findings.received_fields() >= self.listener.received_max;
                let forged = findings.left_out().len() > RESULTS_LEFT_OUT_MAX;
                let failure = looped.then_some(replies::LOOP);
                (Some(body), findings, failure.or(forged.then_some(replies::FORGED)))
            }
            Err(reply) => (None, Findings::default(), Some(reply)),
        };
        let mut trace = self.trace(&transaction.id, &transaction.envelope, now);
        if let Some(body) = &body {
            trace.extend_from_slice(joint(body.content()));
        }
        let mut decision = Box::new(Decision {
            trace,
            id: transaction.id,
            envelope: Arc::new(transaction.envelope),
            tables: transaction.tables,
            form: ReplyForm::of(self.listener.protocol, transaction.prdr),
            chunked,
            block_begun: false,
            held_until: None,
            body,
            findings,
            octets,
            fates: Vec::new(),
            lines: vec![None; recipients],
            gone: std::mem::take(&mut transaction.gone),
            copies: Vec::new(),
            adds: SmallVec::new(),
            outcomes: vec![None; recipients],
            recording: transaction.recording.take(),
            laid_aside: false,
            began: transaction.began,
            ended_at: now.tick,
        });
        self.received(&mut decision, digest);
        match failure {
            // A failure of the whole message is told to each recipient.
            Some(reply) => {
                decision.fates = vec![Fate::from_refusal(reply); recipients];
                self.conclude(decision, now);
            }
            None => self.hold(decision, now),
        }
    }

    /// Waits for what takes time, at most as long as the scan may; then the message is judged by
    /// what is known.
    fn hold(&mut self, mut decision: Box<Decision>, now: Now) {
        let hold = decision.tables.policy.hold(&decision.findings);
        if hold.is_zero() {
            return self.judge(decision, now);
        }
        decision.held_until = Some(now.tick + hold.min(self.listener.scan_budget));
        if hold > self.listener.scan_budget {
            decision.findings.add(Tags::SCAN_LATE, Score::ZERO);
        }
        // What was answered so far goes out before the wait.
        self.flush(now);
        self.state = State::Judging(decision);
    }

    /// A deadline of a message whose end mark was read has come.
    pub(super) fn wait_is_over(&mut self, now: Now) {
        let (State::Judging(decision) | State::Committing(decision)) = &mut self.state else {
            return;
        };
        // draft-hall-prdr-00 4.5.1: the 353 should be sent as early as possible. From here on the
        // block must follow.
        if decision.block_due(&self.listener).is_some_and(|due| due <= now.tick) {
            decision.block_begun = true;
            replies::BLOCK_BEGINS.render(&mut self.out);
        }
        if decision.held_until.is_some_and(|until| until <= now.tick) {
            decision.held_until = None;
            if let State::Judging(decision) = std::mem::replace(&mut self.state, State::Ready) {
                self.judge(decision, now);
                self.run_pending(now);
            }
        }
    }

    /// Looks the verdicts up, one a class, and hands on what they accept.
    fn judge(&mut self, mut decision: Box<Decision>, now: Now) {
        let tables = Arc::clone(&decision.tables);
        let envelope = Arc::clone(&decision.envelope);
        let mut verdicts = SmallVec::<[(ClassId, Verdict<'_>, Option<usize>); 4]>::new();
        for (index, recipient) in envelope.recipients.iter().enumerate() {
            let known = verdicts.iter().find(|(class, ..)| *class == recipient.class).copied();
            let (_, verdict, add) = known.unwrap_or_else(|| {
                let verdict = tables.policy.verdict(recipient.class, &decision.findings);
                let add = verdict.add.map(|line| decision.added(line));
                verdicts.push((recipient.class, verdict, add));
                (recipient.class, verdict, add)
            });
            decision.lines[index] = verdict.place.map(|place| place.line);
            let copy = |route| Copy { recipient: index, route, add, earlier: Vec::new() };
            let fate = match verdict.action {
                _ if decision.gone.contains(&index) => Fate::Deferred(replies::MAILBOX_GONE),
                Action::Accept { route } => {
                    decision.copies.push(copy(route.unwrap_or(recipient.route)));
                    Fate::Delivered
                }
                Action::Quarantine(route) => {
                    decision.copies.push(copy(*route));
                    Fate::Quarantined
                }
                Action::Discard => Fate::Discarded,
                Action::Reject(reply) => Fate::Refused(reply.clone()),
                Action::Defer(reply) => Fate::Deferred(reply.clone()),
            };
            decision.fates.push(fate);
        }
        if decision.form == ReplyForm::One {
            self.reconcile(&mut decision);
        }
        self.intend(decision, now);
    }

    /// Plain SMTP has one reply: what some accept and others do not is made of one mind.
    fn reconcile(&self, decision: &mut Decision) {
        let Decision { fates, copies, .. } = decision;
        let accepting = fates.iter().filter(|fate| fate.is_accepted()).count();
        if accepting == 0 || accepting == fates.len() {
            return;
        }
        if let (Mixed::Quarantine, Some(route)) = (self.listener.mixed, self.listener.quarantine) {
            for (recipient, fate) in fates.iter_mut().enumerate() {
                if !fate.is_accepted() {
                    copies.push(Copy { recipient, route, add: None, earlier: Vec::new() });
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
    pub(super) fn hand_on(&mut self, mut decision: Box<Decision>, now: Now) {
        let copies = std::mem::take(&mut decision.copies);
        let Some(body) = decision.body.as_ref().filter(|_| !copies.is_empty()) else {
            return self.conclude(decision, now);
        };
        let id = decision.id.clone();
        let mut plan = Plan::new(id, Arc::clone(&decision.envelope), Arc::clone(body));
        let line = self.shared.ledger.as_ref();
        for copy in &copies {
            let add = copy.add.and_then(|place| decision.adds.get(place)).map(|line| &**line);
            let earlier = line.map(|line| line.named(&copy.earlier)).unwrap_or_default();
            plan.add(copy.recipient, copy.route, &decision.trace, add, earlier);
        }
        plan.naming = line.and_then(|line| decision.naming(line));
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
            let refusal = match &outcome {
                Outcome::Delivered => None,
                Outcome::Repeated => {
                    self.shared.tally.copies_repeated.count();
                    None
                }
                Outcome::Failed(reply) => Some(reply),
                Outcome::Unknown(reply) | Outcome::Unasked(reply) => {
                    self.shared.tally.copies_unknown.count();
                    Some(reply)
                }
            };
            if let (Some(reply), Some(fate)) = (refusal, decision.fates.get_mut(recipient)) {
                *fate = Fate::from_refusal(reply.clone());
            }
            if let Some(place) = decision.outcomes.get_mut(recipient) {
                *place = Some(outcome);
            }
        }
        let Some(route) = self.listener.quarantine.filter(|_| self.must_lay_aside(&decision))
        else {
            return self.conclude(decision, now);
        };
        decision.laid_aside = true;
        let Decision { fates, copies, .. } = &mut *decision;
        for (recipient, fate) in fates.iter_mut().enumerate() {
            if !fate.is_accepted() {
                *fate = Fate::Quarantined;
                copies.push(Copy { recipient, route, add: None, earlier: Vec::new() });
            }
        }
        self.hand_on(decision, now);
    }

    /// Whether a plain SMTP client was promised something that a next hop then refused for good to
    /// some, while others have their copy: it can be told of neither, so the copy is laid aside.
    fn must_lay_aside(&self, decision: &Decision) -> bool {
        let some = |wanted: fn(&Fate) -> bool| decision.fates.iter().any(wanted);
        decision.form == ReplyForm::One
            && !decision.laid_aside
            && some(Fate::is_accepted)
            && some(|fate| matches!(fate, Fate::Refused(_)))
            && !some(|fate| matches!(fate, Fate::Deferred(_)))
    }

    /// Every fate is known: the whole reply set is rendered, remembered, and leaves in one send.
    pub(super) fn conclude(&mut self, decision: Box<Decision>, now: Now) {
        let accepted =
            replies::MESSAGE_ACCEPTED.with_text(format!("message accepted as {}", decision.id));
        let block_begun = decision.block_begun;
        let replies = replies_for(decision.form, &decision.fates, &accepted, block_begun);
        self.commit(decision, replies, now);
    }

    /// Gives the replies.
    pub(super) fn give(&mut self, decision: Box<Decision>, replies: &[Reply], now: Now) {
        // Nothing that was said before shares the send with the reply set.
        self.flush(now);
        for reply in replies {
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
        let record = self.record(&decision, replies, now);
        self.forwarded = None;
        self.effects.push_back(Effect::Record(Box::new(record)));
    }

    fn count_fates(&self, fates: &[Fate]) {
        for fate in fates {
            match fate {
                Fate::Delivered => self.shared.tally.copies_delivered.count(),
                Fate::Known(_) => {}
                Fate::Quarantined => self.shared.tally.copies_quarantined.count(),
                Fate::Discarded => self.shared.tally.copies_discarded.count(),
                Fate::Refused(_) => self.shared.tally.copies_refused.count(),
                Fate::Deferred(_) => self.shared.tally.copies_deferred.count(),
            }
        }
    }

    fn trace(&self, id: &str, envelope: &Envelope, now: Now) -> Vec<u8> {
        let helo = self.helo();
        let name = self.client_name();
        let trace = Trace {
            helo: &helo,
            name: name.as_deref(),
            client: self.address(),
            hostname: &self.listener.hostname,
            protocol: self.listener.protocol,
            extended: self.offers().extended,
            tls: self.tls.as_deref(),
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
}

impl Decision {
    fn check_begun(&self) {
        let block = self.form == ReplyForm::Block && self.fates_expected() > 1;
        debug_assert!(!self.block_begun || block, "a 353 for whom no block can follow");
        debug_assert_eq!(self.lines.len(), self.fates_expected());
    }

    pub fn check_judging(&self) {
        self.check_begun();
        debug_assert!(self.held_until.is_some() && self.fates.is_empty());
        debug_assert!(self.body.is_some(), "a message that was refused is not judged");
    }

    pub fn check_committing(&self) {
        self.check_begun();
        debug_assert!(self.held_until.is_none() && self.body.is_some());
        debug_assert_eq!(self.fates.len(), self.fates_expected());
        debug_assert!(self.fates.iter().any(Fate::is_accepted), "nothing is to be handed on");
    }
}
