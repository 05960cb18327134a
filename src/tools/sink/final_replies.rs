//! What a sink says of a whole message.

use super::KeptMessage;
use super::script::{Script, Scripted};
use super::session::Message;
use crate::relay::Protocol;
use crate::wire::{Kind, Reply, replies};
use std::time::Duration;

/// The replies to the end of a message, in order, and what is kept of it.
#[derive(Debug)]
pub(super) struct Final {
    pub replies: Vec<Reply>,
    pub kept: Option<KeptMessage>,
}

pub(super) fn final_replies(protocol: Protocol, script: &Script, message: Message) -> Final {
    let lines: Vec<Reply> =
        message.kept.recipients.iter().map(|address| line(script, &message, address)).collect();
    let all_alike = lines.windows(2).all(|pair| pair[0] == pair[1]);
    let (replies, taken) = match protocol {
        // RFC 2033 4.3: a BDAT LAST for nobody gets no reply at all.
        Protocol::Lmtp => (lines.clone(), true),
        Protocol::Smtp if lines.is_empty() => (vec![replies::NO_RECIPIENTS], false),
        Protocol::Smtp if message.prdr && !all_alike => {
            let last = last_of_block(script, &message, &lines);
            let taken = last.is_positive();
            let begin = Reply::bare(353, "content analysis has begun");
            ([vec![begin], lines.clone(), vec![last]].concat(), taken)
        }
        Protocol::Smtp => {
            let refusal = lines.iter().find(|line| !line.is_positive());
            let reply = refusal.unwrap_or(&replies::MESSAGE_ACCEPTED).clone();
            let taken = reply.is_positive();
            (vec![reply], taken)
        }
    };
    let mut kept = message.kept;
    let mut accepted = lines.iter().map(|line| taken && line.is_positive());
    kept.recipients.retain(|_| accepted.next().unwrap_or(false));
    Final { replies, kept: (!kept.recipients.is_empty()).then_some(kept) }
}

/// What is said of one recipient.
fn line(script: &Script, message: &Message, address: &[u8]) -> Reply {
    let too_big = script.offers.octets_max();
    if message.malformed {
        return replies::BARE_NEWLINE;
    }
    if too_big.is_some_and(|most| message.kept.content.len() as u64 > most) {
        return replies::TOO_BIG;
    }
    let scripted = script.for_address(address).find_map(|scripted| match scripted {
        Scripted::AtEnd(reply) => Some(reply.clone()),
        _ => None,
    });
    scripted.unwrap_or(replies::MESSAGE_ACCEPTED)
}

/// draft-hall-prdr-00 4.5: positive if the message is taken for somebody; for a reason that passes,
/// 4xx.
fn last_of_block(script: &Script, message: &Message, lines: &[Reply]) -> Reply {
    let mut scripted = message.kept.recipients.iter().flat_map(|one| script.for_address(one));
    let last = scripted.find_map(|scripted| match scripted {
        Scripted::AtLast(reply) => Some(reply.clone()),
        _ => None,
    });
    last.unwrap_or_else(|| match lines {
        lines if lines.iter().any(Reply::is_positive) => replies::MESSAGE_ACCEPTED,
        lines if lines.iter().any(|line| line.kind() == Kind::Transient) => replies::MIXED_DEFERRED,
        _ => replies::CONTENT_REFUSED,
    })
}

/// How late the answer to this message is to be.
pub(super) fn late(script: &Script, message: &Message) -> Option<Duration> {
    let all = message.kept.recipients.iter().flat_map(|address| script.for_address(address));
    all.filter_map(|scripted| match scripted {
        Scripted::Late(wait) => Some(*wait),
        _ => None,
    })
    .max()
}
