//! The recipients of a domain: who is there, of which class, and by which route.

use super::local_parts::{LocalParts, Scope};
use super::{ClassId, RouteId};
use crate::wire::{Reply, replies};
use std::sync::Arc;

/// A served domain.
#[derive(Debug)]
pub struct Domain {
    /// Where its mail goes.
    pub route: RouteId,
    /// Who is there.
    pub recipients: Recipients,
    /// What parts a name from its tag: with `+`, `user+tag` is `user`.
    pub plus: Option<u8>,
    /// The class of those for whom no exception holds.
    pub class: ClassId,
    /// Exceptions from the class.
    pub exceptions: LocalParts<ClassId>,
    /// Recipients that get a refusal of their own.
    pub refused: LocalParts<Reply>,
}

/// Who is in a domain.
#[derive(Clone, Debug)]
pub enum Recipients {
    /// Everybody.
    Any,
    /// Those listed, and postmaster.
    Listed {
        /// The list, which several domains may share. A route beside an entry goes before the
        /// domain's.
        list: Arc<LocalParts<Option<RouteId>>>,
        /// Which entries are for this domain.
        scope: Scope,
    },
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

const POSTMASTER: &[u8] = b"postmaster";

impl Recipients {
    /// These local-parts, by the domain's own route.
    pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> Recipients {
        let list = LocalParts::of(names.into_iter().map(|name| (name, None)));
        Recipients::Listed { list: Arc::new(list), scope: Scope::ALL }
    }
}

impl Domain {
    /// The routes that mail for the domain may take.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteId> {
        let listed = match &self.recipients {
            Recipients::Any => &[][..],
            Recipients::Listed { list, .. } => list.values(),
        };
        std::iter::once(self.route).chain(listed.iter().filter_map(|route| *route))
    }

    /// What is known of a local-part, unquoted and in lower case.
    pub(super) fn standing(&self, local_part: &[u8]) -> Standing {
        // RFC 5321 4.5.1: any system that has a mail server must accept mail for postmaster.
        let postmaster = local_part == POSTMASTER;
        match self.refused.find(local_part, self.plus, Scope::ALL) {
            Some(reply) if !postmaster => return Standing::Refused(reply.clone()),
            _ => {}
        }
        let route = match &self.recipients {
            Recipients::Any => self.route,
            Recipients::Listed { list, scope } => match list.find(local_part, self.plus, *scope) {
                Some(route) => route.unwrap_or(self.route),
                None if postmaster => self.route,
                None => return Standing::Refused(replies::NO_SUCH_MAILBOX),
            },
        };
        let exception = self.exceptions.find(local_part, self.plus, Scope::ALL);
        Standing::Accepted { class: exception.copied().unwrap_or(self.class), route }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Pattern;

    fn domain(plus: Option<u8>) -> Domain {
        let mut list = LocalParts::default();
        for (name, route) in
            [("ok1", None), ("press", None), ("full", None), ("sales", Some(RouteId(9)))]
        {
            list.insert(Pattern::read(name.as_bytes()), Scope::ALL, route).unwrap();
        }
        Domain {
            route: RouteId(7),
            recipients: Recipients::Listed { list: Arc::new(list), scope: Scope::ALL },
            plus,
            class: ClassId(0),
            exceptions: LocalParts::of([("postmaster", ClassId(1)), ("Press+*", ClassId(2))]),
            refused: LocalParts::of([
                ("full", Reply::new(452, 2, 2, "mailbox full")),
                ("post*", Reply::new(550, 1, 1, "nobody")),
            ]),
        }
    }

    #[test]
    fn a_recipient_has_a_class_and_a_route_or_a_reply() {
        let table = [
            ("ok1", None, Ok((0, 7))),
            ("press", None, Ok((0, 7))),
            ("press+news", None, Err(550)),
            ("press+news", Some(b'+'), Ok((2, 7))),
            ("sales", None, Ok((0, 9))),
            ("sales+x", Some(b'+'), Ok((0, 9))),
            ("full", None, Err(452)),
            ("full+x", Some(b'+'), Err(452)),
            ("postal", None, Err(550)),
            ("nouser", None, Err(550)),
            // RFC 5321 4.5.1: whatever a pattern says.
            ("postmaster", None, Ok((1, 7))),
        ];
        for (local_part, plus, expected) in table {
            let found = match domain(plus).standing(local_part.as_bytes()) {
                Standing::Accepted { class, route } => Ok((class.0, route.0)),
                Standing::Refused(reply) => Err(reply.code()),
            };
            assert_eq!(found, expected, "{local_part} {plus:?}");
        }
    }
}
