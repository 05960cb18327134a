//! Who gets mail here, and what becomes of a message for each of them.
//!
//! A recipient is looked up when RCPT comes ([`Policy::recipient`]); the answer names its class and
//! its route. When the findings of a message are known, [`Policy::verdict`] is a look-up of
//! (findings, class): the work never depends on the number of recipients. Everything here is built
//! when the configuration is loaded and read-only from then on.

mod class;
mod local_parts;
mod recipients;

pub use class::{Action, Class, ClassId, Line, Place, RouteId, Verdict, When};
pub use local_parts::{EntryError, LocalParts, Pattern, Scope};
pub use recipients::{Domain, Recipients, Standing};

use crate::scan::{Findings, Score, TagId, TagSet};
use crate::wire::{self, Mailbox};
use class::Reach;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::time::Duration;

/// Map with a seed of its own process: its keys are compared with what peers send.
pub(crate) type SeededMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Domains, recipients and classes of one configuration.
#[derive(Debug)]
pub struct Policy {
    domains: SeededMap<Box<[u8]>, Domain>,
    /// The domain of `<postmaster>` without a domain.
    postmaster_domain: Box<[u8]>,
    classes: Vec<Class>,
    /// For each pair of classes, whether some findings make one accept and the other not.
    differ: Vec<bool>,
    /// The routes by which accepted mail may go on, each once.
    onward: Vec<RouteId>,
    /// Tags that put the verdict off.
    holds: Vec<(TagId, Duration)>,
}

impl Policy {
    /// Puts the tables together.
    ///
    /// `domains` are keyed in lower case; `given` are the tags that the rules can give, and
    /// `score_max` the highest sum of their scores: classes that differ only for findings that
    /// cannot come are never split.
    pub fn new(
        domains: impl IntoIterator<Item = (Box<[u8]>, Domain)>,
        postmaster_domain: Box<[u8]>,
        classes: Vec<Class>,
        given: &TagSet,
        score_max: Score,
    ) -> Policy {
        let reach = Reach { given, score_max };
        let differ = classes
            .iter()
            .flat_map(|one| classes.iter().map(move |other| one.may_differ_from(other, reach)))
            .collect();
        let domains: SeededMap<_, Domain> = domains.into_iter().collect();
        let mut onward: Vec<RouteId> = domains.values().flat_map(Domain::routes).collect();
        onward.extend(classes.iter().flat_map(Class::routes));
        onward.sort_unstable();
        onward.dedup();
        Policy { domains, postmaster_domain, classes, differ, onward, holds: Vec::new() }
    }

    /// The same policy, in which some tags put the verdict of a message off by so much: what a look
    /// outside would cost. It is time on the clock, and no work.
    #[must_use]
    pub fn with_holds(self, holds: Vec<(TagId, Duration)>) -> Policy {
        Policy { holds, ..self }
    }

    /// How long the verdict of a message with these findings has to wait.
    pub fn hold(&self, findings: &Findings) -> Duration {
        let held = self.holds.iter().filter(|(tag, _)| findings.has(*tag));
        held.map(|(_, span)| *span).max().unwrap_or_default()
    }

    /// The routes by which accepted mail may go on: what they cannot honour must not be offered.
    pub fn onward_routes(&self) -> &[RouteId] {
        &self.onward
    }

    /// What is known of a mailbox: where its mail goes, or why there is none.
    pub fn recipient(&self, mailbox: &Mailbox<'_>) -> Standing {
        let wire::Domain::Name(domain) = mailbox.domain else {
            return Standing::Refused(wire::replies::NOT_OUR_DOMAIN);
        };
        // On the stack: guessing at recipients costs no allocation.
        let mut name: SmallVec<[u8; 256]> = domain.into();
        name.make_ascii_lowercase();
        let Some(domain) = self.domains.get(name.as_slice()) else {
            return Standing::Refused(wire::replies::NOT_OUR_DOMAIN);
        };
        let mut local_part = wire::unquoted(mailbox.local_part);
        local_part.make_ascii_lowercase();
        domain.standing(&local_part)
    }

    /// The domain whose postmaster gets the mail for `<postmaster>`.
    pub fn postmaster_domain(&self) -> &[u8] {
        &self.postmaster_domain
    }

    /// What becomes of a message with these findings for recipients of this class.
    pub fn verdict(&self, class: ClassId, findings: &Findings) -> Verdict<'_> {
        self.classes[class.index()].verdict(findings)
    }

    /// Whether there are findings for which one of two classes accepts and the other does not: a
    /// plain SMTP client cannot be told of both in one reply.
    pub fn may_differ(&self, one: ClassId, other: ClassId) -> bool {
        self.differ[one.index() * self.classes.len() + other.index()]
    }

    /// The name of a class: of the first one that had this table.
    pub fn class_name(&self, class: ClassId) -> &str {
        self.classes[class.index()].name()
    }

    /// All classes, in the order of their ids.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The served domains, in no order.
    pub fn domains(&self) -> impl Iterator<Item = (&[u8], &Domain)> {
        self.domains.iter().map(|(name, domain)| (&**name, domain))
    }
}
