//! The reply set: what each recipient's fate is called on the wire.
//!
//! LMTP tells each recipient's fate; PRDR does so where they differ; plain SMTP has one reply for
//! all of them, so that somebody may be told less than the truth, but never a 2xx for mail that
//! nobody has.

use super::decision::Fate;
use crate::relay::Protocol;
use crate::wire::{Reply, replies};

/// How the recipients of a message are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyForm {
    /// Plain SMTP: one reply for all.
    One,
    /// LMTP: one reply each.
    Each,
    /// PRDR: one for all, or a block with one reply each and one for the message.
    Block,
}

impl ReplyForm {
    /// The form for a client that speaks this, and has asked for PRDR or not.
    pub fn of(protocol: Protocol, prdr: bool) -> ReplyForm {
        match protocol {
            Protocol::Lmtp => ReplyForm::Each,
            Protocol::Smtp if prdr => ReplyForm::Block,
            Protocol::Smtp => ReplyForm::One,
        }
    }

    pub fn is_each(self) -> bool {
        self == ReplyForm::Each
    }

    pub fn is_block(self) -> bool {
        self == ReplyForm::Block
    }

    /// Which of the replies of a set concerns a recipient.
    pub fn reply_to(self, replies: &[Reply], recipient: usize) -> Option<&Reply> {
        match (self, replies) {
            (_, [one]) => Some(one),
            (ReplyForm::Each, each) => each.get(recipient),
            // The 353 comes first, in this set or before it; the reply for the message comes last.
            (_, block) => {
                let first = usize::from(block.first().is_some_and(|reply| reply.code() == 353));
                block.get(first + recipient)
            }
        }
    }
}

/// The replies to the end mark, in order. `accepted` is the reply for what was taken; with
/// `block_begun` the 353 of a PRDR block was sent before.
pub(super) fn replies_for(
    form: ReplyForm,
    fates: &[Fate],
    accepted: &Reply,
    block_begun: bool,
) -> Vec<Reply> {
    match form {
        // RFC 2033 4.2: one reply for each previously successful RCPT, in the order of those.
        ReplyForm::Each => fates.iter().map(|fate| told(fate, accepted)).collect(),
        ReplyForm::One => vec![one_for_all(fates, accepted)],
        ReplyForm::Block if block_begun => block(fates, accepted),
        // draft-hall-prdr-00 4.4: a single reply is encouraged where all share one fate.
        ReplyForm::Block if are_of_one_mind(fates, accepted) => {
            vec![one_for_all(fates, accepted)]
        }
        ReplyForm::Block => {
            let mut replies = block(fates, accepted);
            replies.insert(0, replies::BLOCK_BEGINS);
            replies
        }
    }
}

/// Whether a PRDR client can be told by a single reply.
fn are_of_one_mind(fates: &[Fate], accepted: &Reply) -> bool {
    let all_deferred = fates.iter().all(|fate| matches!(fate, Fate::Deferred(_)));
    let all_accepted = fates.iter().all(Fate::is_accepted);
    fates.len() <= 1 || all_accepted || all_deferred || are_told_alike(fates, accepted)
}

/// draft-hall-prdr-00 4.5.2 and 4.5.3: a reply for each recipient, as to its RCPT, then one for the
/// message: positive if somebody is to have it, 4xx if nobody is and for somebody only for now.
fn block(fates: &[Fate], accepted: &Reply) -> Vec<Reply> {
    let mut replies: Vec<Reply> =
        fates.iter().map(|fate| told(fate, &replies::RECIPIENT_OK)).collect();
    replies.push(match fates.iter().any(Fate::is_accepted) {
        true => accepted.clone(),
        false => one_for_all(fates, accepted),
    });
    replies
}

fn are_told_alike(fates: &[Fate], accepted: &Reply) -> bool {
    fates.windows(2).all(|pair| told(&pair[0], accepted) == told(&pair[1], accepted))
}

fn told(fate: &Fate, accepted: &Reply) -> Reply {
    match fate {
        Fate::Delivered | Fate::Quarantined | Fate::Discarded => accepted.clone(),
        Fate::Known(reply) | Fate::Refused(reply) | Fate::Deferred(reply) => reply.clone(),
    }
}

/// One reply for recipients of any fates.
///
/// A deferral makes the client come back for all, a refusal makes it tell the sender: either is
/// better than a 2xx that is not true of everybody.
fn one_for_all(fates: &[Fate], accepted: &Reply) -> Reply {
    let deferred = fates.iter().find(|fate| matches!(fate, Fate::Deferred(_)));
    let refused = fates.iter().find(|fate| matches!(fate, Fate::Refused(_)));
    let nobody_accepts = fates.iter().all(|fate| !fate.is_accepted());
    let all_alike = are_told_alike(fates, accepted);
    match (deferred, refused) {
        (None, None) => accepted.clone(),
        // A refusal of all would make the client bounce those that are only put off.
        (Some(_), Some(_)) if nobody_accepts => replies::MIXED_DEFERRED,
        (Some(fate), _) => told(fate, accepted),
        (None, Some(fate)) if all_alike || !nobody_accepts => told(fate, accepted),
        (None, Some(_)) => replies::CONTENT_REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFERRED: Reply = Reply::new(450, 2, 0, "busy");
    const REFUSED: Reply = Reply::new(550, 2, 0, "no");
    const REFUSED_ELSE: Reply = Reply::new(554, 6, 0, "never");

    /// Every set of fates of up to four recipients.
    fn all_fates(count: usize) -> Vec<Vec<Fate>> {
        let kinds = || {
            [
                Fate::Delivered,
                Fate::Quarantined,
                Fate::Refused(REFUSED),
                Fate::Refused(REFUSED_ELSE),
                Fate::Deferred(DEFERRED),
            ]
        };
        (0..count).fold(vec![Vec::new()], |sets, _| {
            let longer = |set: Vec<Fate>| {
                kinds().into_iter().map(move |kind| [set.clone(), vec![kind]].concat())
            };
            sets.into_iter().flat_map(longer).collect()
        })
    }

    fn accepted() -> Reply {
        replies::MESSAGE_ACCEPTED
    }

    fn classes_of(replies: &[Reply]) -> Vec<u16> {
        replies.iter().map(|reply| reply.code() / 100).collect()
    }

    /// The class that one reply for all must have: what nobody may be told is a 2xx that is not true.
    fn class_for_all(fates: &[Fate]) -> u16 {
        let deferred = fates.iter().any(|fate| matches!(fate, Fate::Deferred(_)));
        match fates.iter().all(Fate::is_accepted) {
            true => 2,
            false if deferred => 4,
            false => 5,
        }
    }

    #[test]
    fn lmtp_tells_each_and_smtp_never_says_yes_for_a_no() {
        for fates in (1..=4).flat_map(all_fates) {
            let each = replies_for(ReplyForm::Each, &fates, &accepted(), false);
            assert_eq!(each.len(), fates.len());
            for (reply, fate) in each.iter().zip(&fates) {
                assert_eq!(reply.is_positive(), fate.is_accepted());
            }
            let one = replies_for(ReplyForm::One, &fates, &accepted(), false);
            assert_eq!(classes_of(&one), [class_for_all(&fates)], "{fates:?}");
        }
    }

    // The table of final codes for PRDR, line by line, for every set of up to four fates.
    #[test]
    fn prdr_answers_by_the_table() {
        for fates in (1..=4).flat_map(all_fates) {
            let replies = replies_for(ReplyForm::Block, &fates, &accepted(), false);
            let (accepts, defers) = (
                fates.iter().filter(|fate| fate.is_accepted()).count(),
                fates.iter().filter(|fate| matches!(fate, Fate::Deferred(_))).count(),
            );
            let refuses = fates.len() - accepts - defers;
            let same_reason = fates.windows(2).all(|pair| pair[0] == pair[1]);
            let single = match (accepts, defers, refuses) {
                _ if fates.len() == 1 => true,
                (_, 0, 0) | (0, _, 0) => true,
                (0, 0, _) => same_reason,
                _ => false,
            };
            if single {
                assert_eq!(classes_of(&replies), [class_for_all(&fates)], "{fates:?}");
                continue;
            }
            assert_eq!(replies.len(), fates.len() + 2, "{fates:?}");
            assert_block(&fates, &replies);
        }
    }

    fn assert_block(fates: &[Fate], replies: &[Reply]) {
        // draft-hall-prdr-00 4.5.1: the first line has no enhanced code, and is single.
        assert_eq!((replies[0].code(), replies[0].enhanced()), (353, None));
        for (index, (fate, reply)) in fates.iter().zip(&replies[1..]).enumerate() {
            match fate {
                // 4.5.2: the same code as the RCPT got.
                fate if fate.is_accepted() => assert_eq!(*reply, replies::RECIPIENT_OK),
                Fate::Refused(told) | Fate::Deferred(told) => assert_eq!(reply, told),
                fate => unreachable!("{fate:?}"),
            }
            assert_eq!(ReplyForm::Block.reply_to(replies, index), Some(reply));
        }
        let last = &replies[replies.len() - 1];
        match fates.iter().any(Fate::is_accepted) {
            true => assert_eq!(*last, accepted()),
            // A final 5xx would make the client bounce who was only deferred.
            false => assert_eq!(last.code() / 100, class_for_all(fates), "{fates:?}"),
        }
    }

    // Once 353 is out, the whole block must follow, even if all agree.
    #[test]
    fn a_block_that_has_begun_is_finished() {
        for fates in (2..=4).flat_map(all_fates) {
            let rest = replies_for(ReplyForm::Block, &fates, &accepted(), true);
            assert_block(&fates, &[vec![replies::BLOCK_BEGINS], rest].concat());
        }
    }
}
