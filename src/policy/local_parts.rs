//! A set of local-parts, each with a value: recipients, exceptions, refusals.
//!
//! A million of them are an ordinary list of recipients. So they lie end to end in one piece of
//! memory, and a table of four octets a place, with a seed of its own process, says where each of
//! them begins: some 16 octets an entry and the local-part itself. A look-up allocates nothing, and
//! the cost of a miss does not depend on the number of entries.

use crate::limits::{LOCAL_PART_OCTETS, LOCAL_PART_VALUES_MAX};
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

/// Local-parts and beginnings of local-parts, unquoted and in lower case, each with a value.
#[derive(Debug)]
pub struct LocalParts<T> {
    /// The entries, end to end: a head of [`HEAD_OCTETS`], then the octets of the local-part.
    octets: Vec<u8>,
    /// Where each of them begins.
    places: HashTable<u32>,
    seed: foldhash::fast::RandomState,
    /// The different values; an entry has the place of its own.
    values: Vec<T>,
    /// The lengths that beginnings have, one bit each.
    beginnings: u128,
    /// Some entries are for one domain only.
    scoped: bool,
}

/// Which local-parts an entry is for, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// This one.
    Exact(&'a [u8]),
    /// Every one that begins so. The empty beginning is everybody.
    Beginning(&'a [u8]),
}

/// For which of the domains that share a set an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(u16);

/// Why an entry cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The same local-part has another value already.
    #[error("it is listed already, with something else behind it")]
    Contradiction,
    /// It is longer than a local-part can be. RFC 5321 4.5.3.1.1.
    #[error("a local-part has at most {LOCAL_PART_OCTETS} octets")]
    TooLong,
    /// There is no room for more entries, or for more different values.
    #[error("there are too many entries")]
    Full,
}

/// Length and kind in one octet, then scope and place of the value in two octets each.
const HEAD_OCTETS: usize = 5;
/// The bit beside the length that says that the entry is a beginning.
const BEGINNING: u8 = 0x80;

const _: () = assert!(LOCAL_PART_OCTETS < BEGINNING as usize);
const _: () = assert!(LOCAL_PART_VALUES_MAX <= u16::MAX as usize + 1);

impl Scope {
    /// For all of them.
    pub const ALL: Scope = Scope(0);

    /// For the one with this number among those that share the set; `None` past the last number.
    pub fn domain(number: usize) -> Option<Scope> {
        u16::try_from(number).ok()?.checked_add(1).map(Scope)
    }
}

impl<'a> Pattern<'a> {
    /// Reads a pattern in lower case: a star at its end makes it a beginning.
    pub fn read(text: &'a [u8]) -> Pattern<'a> {
        match text.strip_suffix(b"*") {
            Some(beginning) => Pattern::Beginning(beginning),
            None => Pattern::Exact(text),
        }
    }

    fn octets(self) -> &'a [u8] {
        match self {
            Pattern::Exact(octets) | Pattern::Beginning(octets) => octets,
        }
    }

    /// Length and kind in one octet; `None` for what is too long to be an entry.
    fn head(self) -> Option<u8> {
        let length = u8::try_from(self.octets().len()).ok()?;
        match self {
            _ if usize::from(length) > LOCAL_PART_OCTETS => None,
            Pattern::Exact(_) => Some(length),
            Pattern::Beginning(_) => Some(length | BEGINNING),
        }
    }
}

impl<T> Default for LocalParts<T> {
    fn default() -> LocalParts<T> {
        LocalParts {
            octets: Vec::new(),
            places: HashTable::new(),
            seed: foldhash::fast::RandomState::default(),
            values: Vec::new(),
            beginnings: 0,
            scoped: false,
        }
    }
}

impl<T: PartialEq> LocalParts<T> {
    /// A set of the patterns that these texts are, for all domains. Those that cannot be taken are
    /// left out: for lists that are part of a program.
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a str, T)>) -> LocalParts<T> {
        let mut set = LocalParts::default();
        for (text, value) in entries {
            let text = text.to_ascii_lowercase();
            let _ = set.insert(Pattern::read(text.as_bytes()), Scope::ALL, value);
        }
        set
    }

    /// Adds an entry. The same one again changes nothing.
    ///
    /// # Errors
    /// See [`EntryError`]; the set is as before then.
    pub fn insert(
        &mut self,
        pattern: Pattern<'_>,
        scope: Scope,
        value: T,
    ) -> Result<(), EntryError> {
        let head = pattern.head().ok_or(EntryError::TooLong)?;
        if let Some(other) = self.get(pattern, scope) {
            return if *other == value { Ok(()) } else { Err(EntryError::Contradiction) };
        }
        let place = u32::try_from(self.octets.len()).map_err(|_| EntryError::Full)?;
        let known = self.values.iter().position(|other| *other == value);
        let number = known.unwrap_or(self.values.len());
        if number == LOCAL_PART_VALUES_MAX {
            return Err(EntryError::Full);
        }
        if known.is_none() {
            self.values.push(value);
        }
        self.octets.push(head);
        self.octets.extend_from_slice(&scope.0.to_le_bytes());
        self.octets.extend_from_slice(&(number as u16).to_le_bytes());
        self.octets.extend_from_slice(pattern.octets());
        let (octets, seed) = (&self.octets, &self.seed);
        let hash_of = |place: &u32| {
            let entry = entry(octets, *place);
            hash(seed, entry.head, entry.scope, entry.local_part)
        };
        self.places.insert_unique(hash_of(&place), place, hash_of);
        if let Pattern::Beginning(beginning) = pattern {
            self.beginnings |= 1 << beginning.len();
        }
        self.scoped |= scope != Scope::ALL;
        Ok(())
    }

    /// Gives back the memory that growing has left over.
    pub fn shrink_to_fit(&mut self) {
        self.octets.shrink_to_fit();
        self.values.shrink_to_fit();
    }
}

impl<T> LocalParts<T> {
    /// The value for a local-part: of the entry that is equal to it, else of the longest beginning.
    ///
    /// With `plus` set, `user+tag` is `user`, as if there were an entry `user+*` beside each exact
    /// one. An entry of a domain's own goes before the equal one for all domains.
    pub fn find(&self, local_part: &[u8], plus: Option<u8>, scope: Scope) -> Option<&T> {
        if self.places.is_empty() {
            return None;
        }
        if let Some(value) = self.look_up(Pattern::Exact(local_part), scope) {
            return Some(value);
        }
        let tag = plus.and_then(|plus| memchr::memchr(plus, local_part)).filter(|at| *at > 0);
        (0..=local_part.len().min(LOCAL_PART_OCTETS)).rev().find_map(|length| {
            let beginning = &local_part[..length];
            let user = (tag == Some(length))
                .then(|| self.look_up(Pattern::Exact(beginning), scope))
                .flatten();
            let begins = || {
                (self.beginnings & 1 << length != 0)
                    .then(|| self.look_up(Pattern::Beginning(beginning), scope))
                    .flatten()
            };
            user.or_else(begins)
        })
    }

    /// The different values, each once.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Memory of the entries and of the table, in octets.
    pub fn table_octets(&self) -> usize {
        self.octets.capacity() + self.places.allocation_size()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn look_up(&self, pattern: Pattern<'_>, scope: Scope) -> Option<&T> {
        let own = (self.scoped && scope != Scope::ALL).then(|| self.get(pattern, scope)).flatten();
        own.or_else(|| self.get(pattern, Scope::ALL))
    }

    fn get(&self, pattern: Pattern<'_>, scope: Scope) -> Option<&T> {
        let head = pattern.head()?;
        let hash = hash(&self.seed, head, scope.0, pattern.octets());
        let place = self.places.find(hash, |place| {
            let entry = entry(&self.octets, *place);
            (entry.head, entry.scope, entry.local_part) == (head, scope.0, pattern.octets())
        })?;
        self.values.get(usize::from(entry(&self.octets, *place).value))
    }
}

/// One entry as it lies in memory.
struct Entry<'a> {
    head: u8,
    scope: u16,
    value: u16,
    local_part: &'a [u8],
}

/// The entry at a place. Places are those of entries, so all of it is there.
fn entry(octets: &[u8], place: u32) -> Entry<'_> {
    let (head, rest) = octets[place as usize..].split_at(HEAD_OCTETS);
    Entry {
        head: head[0],
        scope: u16::from_le_bytes([head[1], head[2]]),
        value: u16::from_le_bytes([head[3], head[4]]),
        local_part: &rest[..usize::from(head[0] & !BEGINNING)],
    }
}

fn hash(seed: &foldhash::fast::RandomState, head: u8, scope: u16, local_part: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write_u8(head);
    hasher.write_u16(scope);
    hasher.write(local_part);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn found<'a>(set: &'a LocalParts<&str>, local_part: &str, plus: Option<u8>) -> Option<&'a str> {
        set.find(local_part.as_bytes(), plus, Scope::ALL).copied()
    }

    #[test]
    fn the_equal_one_goes_before_the_longest_beginning() {
        let set = LocalParts::of([
            ("press", "p"),
            ("press+news", "n"),
            ("press+*", "tagged"),
            ("pre*", "begins"),
            ("postmaster", "m"),
        ]);
        let table = [
            ("press", None, Some("p")),
            ("press+news", None, Some("n")),
            ("press+other", None, Some("tagged")),
            ("press-other", None, Some("begins")),
            ("pre", None, Some("begins")),
            ("pr", None, None),
            ("postmaster+x", None, None),
            ("postmaster+x", Some(b'+'), Some("m")),
            ("postmaster+", Some(b'+'), Some("m")),
            ("postmaster+a+b", Some(b'+'), Some("m")),
            ("postmaster-x", Some(b'+'), None),
            ("postmaster-x", Some(b'-'), Some("m")),
            ("press+other", Some(b'+'), Some("tagged")),
            ("+press", Some(b'+'), None),
            ("", Some(b'+'), None),
        ];
        for (local_part, plus, expected) in table {
            assert_eq!(found(&set, local_part, plus), expected, "{local_part} {plus:?}");
        }
        // A shorter beginning than the user's own name does not come between `user+tag` and `user`.
        let set = LocalParts::of([("press", "p"), ("press*", "begins"), ("*", "all")]);
        assert_eq!(found(&set, "press+x", Some(b'+')), Some("p"));
        assert_eq!(found(&set, "pressed", Some(b'+')), Some("begins"));
        assert_eq!(found(&set, "x", Some(b'+')), Some("all"));
    }

    #[test]
    fn entries_of_one_domain_hold_for_it_alone() {
        let mut set = LocalParts::default();
        let (one, two) = (Scope::domain(0).unwrap(), Scope::domain(1).unwrap());
        set.insert(Pattern::Exact(b"bob"), one, 1).unwrap();
        set.insert(Pattern::Exact(b"bob"), Scope::ALL, 2).unwrap();
        set.insert(Pattern::Beginning(b""), two, 3).unwrap();
        set.insert(Pattern::Exact(b"a@b"), Scope::ALL, 4).unwrap();
        let table: [(&[u8], Scope, Option<i32>); 7] = [
            (b"bob", one, Some(1)),
            (b"bob", two, Some(2)),
            (b"bob", Scope::ALL, Some(2)),
            (b"eve", one, None),
            (b"eve", two, Some(3)),
            (b"a@b", one, Some(4)),
            (b"a", one, None),
        ];
        for (local_part, scope, expected) in table {
            assert_eq!(set.find(local_part, None, scope).copied(), expected, "{local_part:?}");
        }
    }

    #[test]
    fn what_cannot_be_taken_changes_nothing() {
        let mut set = LocalParts::default();
        let longest = [b'x'; LOCAL_PART_OCTETS];
        assert_eq!(set.insert(Pattern::Exact(&longest), Scope::ALL, 1), Ok(()));
        let longer = [b'x'; LOCAL_PART_OCTETS + 1];
        let (exact, begins) = (Pattern::Exact(&longer), Pattern::Beginning(&longer));
        assert_eq!(set.insert(exact, Scope::ALL, 1), Err(EntryError::TooLong));
        assert_eq!(set.insert(begins, Scope::ALL, 1), Err(EntryError::TooLong));
        assert_eq!(set.insert(Pattern::Exact(&longest), Scope::ALL, 1), Ok(()));
        let again = set.insert(Pattern::Exact(&longest), Scope::ALL, 2);
        assert_eq!((again, set.len()), (Err(EntryError::Contradiction), 1));
        // What clients send may be longer than any entry.
        assert_eq!(set.find(&[b'x'; 300], Some(b'+'), Scope::ALL), None);
        let all = LocalParts::of([("*", 7)]);
        assert_eq!(all.find(&[b'x'; 300], None, Scope::ALL), Some(&7));
    }

    #[test]
    fn different_values_have_a_limit_and_entries_of_one_value_have_none() {
        let mut set = LocalParts::default();
        for number in 0..LOCAL_PART_VALUES_MAX {
            let name = number.to_string();
            assert_eq!(set.insert(Pattern::Exact(name.as_bytes()), Scope::ALL, number), Ok(()));
        }
        let one_more = set.insert(Pattern::Exact(b"x"), Scope::ALL, LOCAL_PART_VALUES_MAX);
        assert_eq!((one_more, set.len()), (Err(EntryError::Full), LOCAL_PART_VALUES_MAX));
        assert_eq!(set.find(b"x", None, Scope::ALL), None);
        assert_eq!(set.insert(Pattern::Exact(b"x"), Scope::ALL, 0), Ok(()));
    }

    proptest! {
        /// The same answers as an ordered map of all entries that is asked in the plainest way.
        #[test]
        fn a_plain_map_gives_the_same_answers(
            entries in proptest::collection::vec(("[ab+]{0,4}[*]?", 0..3u8), 0..12),
            asked in "[ab+]{0,6}",
            plus: bool,
        ) {
            let set = LocalParts::of(entries.iter().map(|(text, value)| (text.as_str(), *value)));
            let mut plain: BTreeMap<&str, u8> = BTreeMap::new();
            for (text, value) in &entries {
                plain.entry(text).or_insert(*value);
            }
            let user = plus.then(|| asked.find('+')).flatten().filter(|at| *at > 0);
            let candidates = (0..=asked.len()).rev().flat_map(|length| {
                let exact = user.filter(|at| *at == length).map(|at| asked[..at].to_owned());
                exact.into_iter().chain([format!("{}*", &asked[..length])])
            });
            let expected =
                [asked.clone()].into_iter().chain(candidates).find_map(|text| plain.get(&*text));
            let found = set.find(asked.as_bytes(), plus.then_some(b'+'), Scope::ALL);
            prop_assert_eq!(found, expected);
        }
    }
}
