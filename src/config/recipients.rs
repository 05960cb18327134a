//! Lists of recipients, in the configuration or in files.
//!
//! ```text
//! # one entry a line
//! alice                   this recipient
//! press+*                 everybody who begins so
//! sales -> archive        by the route "archive", not by the domain's
//! bob@example.org         in this domain alone, when several name the same list
//! @example.org            everybody in this domain
//! *                       everybody in every domain that names the list
//! ```

use super::fault::Wrong;
use super::list::List;
use super::names::Names;
use super::top::Reading;
use crate::limits::{RECIPIENT_ENTRIES_MAX, RECIPIENT_FILE_OCTETS_MAX};
use crate::policy::{EntryError, LocalParts, Pattern, RouteId, Scope};
use crate::wire::{Domain, Mailbox, unquoted};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Recipients of one list, with the route that an entry names.
pub(super) type RecipientList = Arc<LocalParts<Option<RouteId>>>;

/// Who is in a domain, as its table says.
#[derive(Clone, Copy)]
pub(super) enum Listed {
    Any,
    /// Those of a list, in which the domain has a number.
    In {
        list: usize,
        domain: usize,
    },
}

/// The lists that the domains of a configuration name. Each file is read once.
pub(super) struct Lists<'r, 'a> {
    reading: &'r Reading<'r>,
    routes: &'r Names<RouteId>,
    lists: Vec<Unread<'a>>,
    /// The place of the list of each file.
    files: HashMap<PathBuf, usize>,
}

/// A list and the domains that name it, by their numbers.
struct Unread<'a> {
    list: List<'a>,
    domains: HashMap<String, usize>,
}

impl<'r, 'a> Lists<'r, 'a> {
    pub fn new(reading: &'r Reading<'r>, routes: &'r Names<RouteId>) -> Lists<'r, 'a> {
        Lists { reading, routes, lists: Vec::new(), files: HashMap::new() }
    }

    /// A domain, in lower case, names a list.
    pub fn add(&mut self, list: List<'a>, domain: &str) -> Listed {
        let path = match &list {
            List::Word => return Listed::Any,
            List::Texts(_) => None,
            List::File(path) => Some(self.reading.files.path(path.text)),
        };
        let known = path.as_ref().and_then(|path| self.files.get(path).copied());
        let place = known.unwrap_or(self.lists.len());
        if known.is_none() {
            self.lists.push(Unread { list, domains: HashMap::new() });
            self.files.extend(path.map(|path| (path, place)));
        }
        let domains = &mut self.lists[place].domains;
        let number = domains.len();
        let number = *domains.entry(domain.to_owned()).or_insert(number);
        Listed::In { list: place, domain: number }
    }

    /// Reads them all. A list with a fault is `None`: nothing of it is used.
    pub fn read(self) -> Vec<Option<RecipientList>> {
        let mut room = RECIPIENT_ENTRIES_MAX;
        self.lists.iter().map(|unread| self.list(unread, &mut room)).collect()
    }

    fn list(&self, unread: &Unread<'a>, room: &mut usize) -> Option<RecipientList> {
        let mut set = LocalParts::default();
        let mut good = true;
        let mut take = |_: &_, text: &str| {
            let taken = match set.len() < *room {
                true => self.entry(text, &unread.domains, &mut set),
                false => {
                    let what = format!("more than {RECIPIENT_ENTRIES_MAX} recipients in all");
                    Err(Wrong::new(what, "let the next hop verify them: `verify = \"ahead\"`"))
                }
            };
            good &= taken.is_ok();
            taken
        };
        let (faults, files) = (self.reading.faults, self.reading.files);
        good &= unread.list.each(faults, files, RECIPIENT_FILE_OCTETS_MAX, &mut take);
        *room -= set.len();
        set.shrink_to_fit();
        good.then(|| Arc::new(set))
    }

    fn entry(
        &self,
        text: &str,
        domains: &HashMap<String, usize>,
        set: &mut LocalParts<Option<RouteId>>,
    ) -> Result<(), Wrong> {
        let (recipient, route) = match arrow(text) {
            Some((recipient, route)) => (recipient, Some(self.routes.find(route)?)),
            None => (text, None),
        };
        // A local-part may hold an `@` in quotes; an entry with a domain has one behind them.
        let behind_quotes = recipient.rfind('"').map_or(0, |at| at + 1);
        let Some(at) = recipient[behind_quotes..].rfind('@').map(|at| behind_quotes + at) else {
            return insert(set, recipient, Scope::ALL, route);
        };
        let (local_part, domain) = (&recipient[..at], &recipient[at + 1..]);
        let number = domains.get(&domain.to_ascii_lowercase()).ok_or_else(|| {
            let help = "write what stands before the @; or let that domain name this list too";
            Wrong::new(format!("{domain:?} is no domain of this list"), help)
        })?;
        let scope = Scope::domain(*number).unwrap_or(Scope::ALL);
        insert(set, if local_part.is_empty() { "*" } else { local_part }, scope, route)
    }
}

/// `RECIPIENT -> ROUTE` without its arrow.
fn arrow(text: &str) -> Option<(&str, &str)> {
    let behind_quotes = text.rfind('"').map_or(0, |at| at + 1);
    let at = behind_quotes + text[behind_quotes..].find("->")?;
    Some((text[..at].trim(), text[at + 2..].trim()))
}

/// Adds a local-part, or the beginning of one with a star behind it, as the file writes it.
pub(super) fn add<T: PartialEq>(
    set: &mut LocalParts<T>,
    text: &str,
    value: T,
) -> Result<(), Wrong> {
    insert(set, text, Scope::ALL, value)
}

fn insert<T: PartialEq>(
    set: &mut LocalParts<T>,
    text: &str,
    scope: Scope,
    value: T,
) -> Result<(), Wrong> {
    let address = format!("{text}@x");
    // The star is a letter of unquoted local-parts like others: the grammar lets it pass.
    let good = Mailbox::read(address.as_bytes()).is_ok_and(|mailbox| {
        mailbox.local_part == text.as_bytes() && matches!(mailbox.domain, Domain::Name(_))
    });
    if !good {
        let help = "write what stands before the @, in the form it has in an address";
        return Err(Wrong::new(format!("{text:?} is no local-part"), help));
    }
    let mut octets = unquoted(text.as_bytes());
    octets.make_ascii_lowercase();
    let pattern = match text.starts_with('"') {
        true => Pattern::Exact(&octets),
        false => Pattern::read(&octets),
    };
    set.insert(pattern, scope, value).map_err(|error| {
        let help = match error {
            EntryError::Contradiction => "keep one of the two",
            EntryError::TooLong => "RFC 5321 4.5.3.1.1",
            EntryError::Full => "fewer different routes or replies leave room",
        };
        Wrong::new(format!("{text:?} cannot be listed: {error}"), help)
    })
}
