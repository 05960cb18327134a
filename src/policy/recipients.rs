//! The recipients of a domain: who is there, of which class, and by which route.

use super::{ClassId, RouteId, SeededMap};
use crate::wire::{Reply, replies};
use std::collections::HashSet;

/// A served domain.
#[derive(Debug)]
pub struct Domain {
    /// Where its mail goes.
    pub route: RouteId,
    /// Who is there.
    pub recipients: Recipients,
    /// The class of those for whom no exception holds.
    pub class: ClassId,
    /// Exceptions from the class: exact ones before patterns, patterns in the configuration's order.
    pub exceptions: Vec<(Pattern, ClassId)>,
    /// Recipients that get a refusal of their own, by local-part in lower case.
    pub refused: SeededMap<Box<[u8]>, Reply>,
}

/// Who is in a domain. Local-parts are compared unquoted and in lower case.
#[derive(Debug)]
pub enum Recipients {
    /// Everybody.
    Any,
    /// Those listed, and postmaster.
    Listed(HashSet<Box<[u8]>, foldhash::fast::RandomState>),
}

/// A local-part, or the beginning of one: `press+*`. In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This local-part.
    Exact(Box<[u8]>),
    /// Every local-part that begins so.
    Prefix(Box<[u8]>),
}

/// What is known of a recipient when RCPT comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there.
    Accepted {
        /// How its mail is judged.
        class: ClassId,
        /// Where its mail goes.
        route: RouteId,
    },
    /// RCPT gets this reply.
    Refused(Reply),
}

impl Domain {
    /// The routes that mail for the domain may take.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteId> {
        std::iter::once(self.route)
    }

    /// What is known of a local-part, unquoted and in lower case.
    pub(super) fn standing(&self, local_part: &[u8]) -> Standing {
        if let Some(reply) = self.refused.get(local_part) {
            return Standing::Refused(reply.clone());
        }
        let known = match &self.recipients {
            Recipients::Any => true,
            // RFC 5321 4.5.1: any system that has a mail server must accept mail for postmaster.
            Recipients::Listed(listed) => {
                listed.contains(local_part) || local_part == b"postmaster"
            }
        };
        if !known {
            return Standing::Refused(replies::NO_SUCH_MAILBOX);
        }
        let exception = self.exceptions.iter().find(|(pattern, _)| pattern.matches(local_part));
        let class = exception.map_or(self.class, |(_, class)| *class);
        Standing::Accepted { class, route: self.route }
    }
}

impl Pattern {
    /// Reads a pattern: a star may stand at the end.
    pub fn read(text: &str) -> Pattern {
        let text = text.to_ascii_lowercase();
        match text.strip_suffix('*') {
            Some(prefix) => Pattern::Prefix(prefix.as_bytes().into()),
            None => Pattern::Exact(text.as_bytes().into()),
        }
    }

    fn matches(&self, local_part: &[u8]) -> bool {
        match self {
            Pattern::Exact(whole) => **whole == *local_part,
            Pattern::Prefix(prefix) => local_part.starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        let listed =
            ["ok1", "press", "press+news", "full"].iter().map(|name| name.as_bytes().into());
        Domain {
            route: RouteId(7),
            recipients: Recipients::Listed(listed.collect()),
            class: ClassId(0),
            exceptions: vec![
                (Pattern::read("postmaster"), ClassId(1)),
                (Pattern::read("Press+*"), ClassId(2)),
            ],
            refused: [(b"full".as_slice().into(), Reply::new(452, 2, 2, "mailbox full"))]
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn a_recipient_has_a_class_or_a_reply() {
        let domain = domain();
        let table = [
            ("ok1", Ok(0)),
            ("press", Ok(0)),
            ("press+news", Ok(2)),
            ("postmaster", Ok(1)),
            ("full", Err(452)),
            ("nouser", Err(550)),
        ];
        for (local_part, expected) in table {
            let found = match domain.standing(local_part.as_bytes()) {
                Standing::Accepted { class, route } => {
                    assert_eq!(route, RouteId(7));
                    Ok(class.0)
                }
                Standing::Refused(reply) => Err(reply.code()),
            };
            assert_eq!(found, expected, "{local_part}");
        }
    }
}
