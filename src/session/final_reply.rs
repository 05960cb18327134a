//! The reply set: what each recipient's fate is called on the wire.
//!
//! LMTP tells each recipient's fate; plain SMTP has one reply for all of them, so that somebody may
//! be told less than the truth, but never a 2xx for mail that nobody has.

use super::decision::Fate;
use crate::relay::Protocol;
use crate::wire::{Reply, replies};

/// The replies to the end mark, in order. `accepted` is the reply for what was taken.
pub(super) fn replies_for(protocol: Protocol, fates: &[Fate], accepted: &Reply) -> Vec<Reply> {
    match protocol {
        // RFC 2033 4.2: one reply for each previously successful RCPT, in the order of those.
        Protocol::Lmtp => fates.iter().map(|fate| told(fate, accepted)).collect(),
        Protocol::Smtp => vec![one_for_all(fates, accepted)],
    }
}

fn told(fate: &Fate, accepted: &Reply) -> Reply {
    match fate {
        Fate::Delivered | Fate::Quarantined | Fate::Discarded => accepted.clone(),
        Fate::Refused(reply) | Fate::Deferred(reply) => reply.clone(),
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
    let all_alike =
        fates.windows(2).all(|pair| told(&pair[0], accepted) == told(&pair[1], accepted));
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

    #[test]
    fn lmtp_tells_each_and_smtp_never_says_yes_for_a_no() {
        for count in 1..=4 {
            for fates in all_fates(count) {
                let each = replies_for(Protocol::Lmtp, &fates, &replies::MESSAGE_ACCEPTED);
                assert_eq!(each.len(), count);
                for (reply, fate) in each.iter().zip(&fates) {
                    assert_eq!(reply.is_positive(), fate.is_accepted());
                }
                let one = replies_for(Protocol::Smtp, &fates, &replies::MESSAGE_ACCEPTED);
                let accepted = fates.iter().filter(|fate| fate.is_accepted()).count();
                let deferred =
                    fates.iter().filter(|fate| matches!(fate, Fate::Deferred(_))).count();
                let expected = match (accepted, deferred) {
                    (accepted, _) if accepted == count => 2,
                    (_, 0) => 5,
                    _ => 4,
                };
                assert_eq!(one[0].code() / 100, expected, "{fates:?}");
            }
        }
    }
}
