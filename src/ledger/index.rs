//! Where each record lies in the store, by its names: in memory, so that a miss costs no disk.
//!
//! An entry is 32 octets in a slab and 5 in a hash table that is at least 7/16 full: 38 to 44 octets a
//! name. A record has one name for its id, and one for each recipient if it may be known again
//! without an id. Entries of one lifetime stand in a list in the order of their end, so that expiry
//! looks at what has expired and at nothing else.

use super::key::Key;
use hashbrown::HashTable;

/// The number of a record in the store. Later records have greater numbers.
pub type Row = u64;

/// The names of stored records.
#[derive(Debug)]
pub struct Index {
    table: HashTable<u32>,
    slots: Vec<Vec<Slot>>,
    free: u32,
    names: usize,
    rows: usize,
    octets: u64,
    lists: [List; Life::ALL.len()],
    standings: [usize; Standing::ALL.len()],
}

/// How long an entry lives, at most: entries of the same list end in the order in which they came.
/// What ends first when there is no room stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The grace of confirmed outcomes.
    Grace,
    /// The window in which a message without an id is known again.
    Window,
    /// Outcomes of transactions with an id.
    Outcome,
}

/// What is known of the client's side of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Handed on, and no outcome is known: the process has crashed in between.
    Unknown,
    /// Committed, and the client's connection lives: it may confirm.
    Attached,
    /// Committed, and the connection is gone without a confirmation.
    Unconfirmed,
    /// Confirmed.
    Confirmed,
    /// The client has seen a deferral, though some recipients have their copies.
    Owed,
}

/// An entry, as a look-up finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the record lies.
    pub row: Row,
    /// What is known of the client's side.
    pub standing: Standing,
    /// When the entry ends, in seconds.
    pub expires_s: u32,
}

/// What a new entry is.
#[derive(Clone, Copy, Debug)]
pub struct Filed {
    /// Where the record lies.
    pub row: Row,
    /// Octets that the record takes in the store.
    pub octets: usize,
    /// What is known of the client's side.
    pub standing: Standing,
    /// Which list it stands in.
    pub life: Life,
    /// When it ends, in seconds.
    pub expires_s: u32,
}

/// 32 octets a name.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u64,
    /// Row, size and standing: see [`Slot::row`] and its neighbours.
    packed: u64,
    expires_s: u32,
    /// Neighbours in the list of its lifetime, or the next free slot.
    before: u32,
    behind: u32,
    /// Another name of the same record: a ring.
    sibling: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const NONE: u32 = u32::MAX;
const CHUNK: usize = 4096;

/// Bits of [`Slot::packed`]: 46 for the row, 12 for the size in units of 256 octets, 3 for the
/// standing, 2 for the lifetime.
const ROW_BITS: u32 = 46;
const SIZE_UNIT: u64 = 256;
const SIZE_MAX: u64 = (1 << 12) - 1;

const _: () = assert!(size_of::<Slot>() == 32);

impl Life {
    /// All of them, those that give way first in front.
    pub const ALL: [Life; 3] = [Life::Grace, Life::Window, Life::Outcome];
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 5] = [
        Standing::Unknown,
        Standing::Attached,
        Standing::Unconfirmed,
        Standing::Confirmed,
        Standing::Owed,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Unknown => "unknown",
            Standing::Attached => "attached",
            Standing::Unconfirmed => "unconfirmed",
            Standing::Confirmed => "confirmed",
            Standing::Owed => "owed",
        }
    }
}

impl Slot {
    fn new(tag: u64, filed: &Filed) -> Slot {
        let size = (filed.octets as u64).div_ceil(SIZE_UNIT).min(SIZE_MAX);
        let packed = filed.row & ((1 << ROW_BITS) - 1)
            | size << ROW_BITS
            | (filed.standing as u64) << (ROW_BITS + 12)
            | (filed.life as u64) << (ROW_BITS + 15);
        let (before, behind, sibling) = (NONE, NONE, NONE);
        Slot { tag, packed, expires_s: filed.expires_s, before, behind, sibling }
    }

    fn row(&self) -> Row {
        self.packed & ((1 << ROW_BITS) - 1)
    }

    fn octets(&self) -> u64 {
        (self.packed >> ROW_BITS & SIZE_MAX) * SIZE_UNIT
    }

    fn standing(&self) -> Standing {
        let number = (self.packed >> (ROW_BITS + 12) & 7) as usize;
        Standing::ALL.get(number).copied().unwrap_or(Standing::Unconfirmed)
    }

    fn life(&self) -> Life {
        let number = (self.packed >> (ROW_BITS + 15) & 3) as usize;
        Life::ALL.get(number).copied().unwrap_or(Life::Grace)
    }

    fn entry(&self) -> Entry {
        Entry { row: self.row(), standing: self.standing(), expires_s: self.expires_s }
    }
}

impl Default for Index {
    fn default() -> Index {
        Index {
            table: HashTable::new(),
            slots: Vec::new(),
            free: NONE,
            names: 0,
            rows: 0,
            octets: 0,
            lists: [List { first: NONE, last: NONE }; Life::ALL.len()],
            standings: [0; Standing::ALL.len()],
        }
    }
}

impl Index {
    /// Names that are known.
    pub fn names(&self) -> usize {
        self.names
    }

    /// Records that are known.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Octets of those records, each rounded up to 256.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Records of a standing.
    pub fn count(&self, standing: Standing) -> usize {
        self.standings[standing as usize]
    }

    /// Memory of the index itself, in octets.
    pub fn memory_octets(&self) -> usize {
        self.table.allocation_size() + self.slots.len() * CHUNK * size_of::<Slot>()
    }

    /// What a name stands for.
    pub fn find(&self, name: Key) -> Option<Entry> {
        self.slot_of(name.tag()).map(|place| self.slot(place).entry())
    }

    /// Files a record under its names. A name that stood for another record stands for this one; the
    /// rows that have lost their last name by that are told.
    pub fn file(&mut self, names: &[Key], filed: Filed) -> Vec<Row> {
        let mut orphans = Vec::new();
        let mut ring = NONE;
        for name in names {
            orphans.extend(self.remove_name(*name));
            ring = self.add(Slot::new(name.tag(), &filed), ring);
        }
        if ring != NONE {
            self.rows += 1;
            self.octets += self.slot(ring).octets();
            self.standings[filed.standing as usize] += 1;
        }
        orphans
    }

    /// Removes a record by one of its names, if it still lies in that row.
    pub fn remove(&mut self, name: Key, row: Row) -> bool {
        let Some(place) = self.slot_of(name.tag()).filter(|place| self.slot(*place).row() == row)
        else {
            return false;
        };
        while self.unlink_sibling(place).is_some() {}
        self.drop_slot(place);
        true
    }

    /// Gives a record another standing, lifetime and end, if it still lies in that row.
    pub fn refile(&mut self, name: Key, row: Row, standing: Standing, life: Life, expires_s: u32) {
        let Some(begin) = self.slot_of(name.tag()).filter(|place| self.slot(*place).row() == row)
        else {
            return;
        };
        self.standings[self.slot(begin).standing() as usize] -= 1;
        self.standings[standing as usize] += 1;
        let mut place = begin;
        loop {
            self.leave_list(place);
            let slot = *self.slot(place);
            let filed = Filed { row, octets: slot.octets() as usize, standing, life, expires_s };
            *self.slot_mut(place) = Slot { sibling: slot.sibling, ..Slot::new(slot.tag, &filed) };
            self.join_list(place);
            place = slot.sibling;
            if place == begin {
                return;
            }
        }
    }

    /// Removes one name that has expired by `now_s`. Its row comes along if that was its last name;
    /// `None` when there is nothing that has expired.
    pub fn expire(&mut self, now_s: u32) -> Option<Option<(Row, Life)>> {
        let expired = Life::ALL.into_iter().find(|life| {
            let first = self.lists[*life as usize].first;
            first != NONE && self.slot(first).expires_s <= now_s
        })?;
        Some(self.pop(expired))
    }

    /// Removes one name to make room: those of what matters least first, the oldest of them first.
    pub fn evict(&mut self) -> Option<Option<(Row, Life)>> {
        let life = Life::ALL.into_iter().find(|life| self.lists[*life as usize].first != NONE)?;
        Some(self.pop(life))
    }

    /// When the next entry expires.
    pub fn next_expiry(&self) -> Option<u32> {
        let firsts = self.lists.iter().filter(|list| list.first != NONE);
        firsts.map(|list| self.slot(list.first).expires_s).min()
    }

    fn pop(&mut self, life: Life) -> Option<(Row, Life)> {
        let place = self.lists[life as usize].first;
        let row = self.slot(place).row();
        self.remove_at(place).then_some((row, life))
    }

    /// Removes a name; the row is told if it was the last one of its record.
    fn remove_name(&mut self, name: Key) -> Option<Row> {
        let place = self.slot_of(name.tag())?;
        let row = self.slot(place).row();
        self.remove_at(place).then_some(row)
    }

    /// Removes one name of a record. True if it was the last one.
    fn remove_at(&mut self, place: u32) -> bool {
        if self.slot(place).sibling == place {
            self.drop_slot(place);
            return true;
        }
        let mut before = place;
        while self.slot(before).sibling != place {
            before = self.slot(before).sibling;
        }
        self.unlink_sibling(before);
        false
    }

    /// Takes the next name of the ring out, unless it is this one itself.
    fn unlink_sibling(&mut self, place: u32) -> Option<()> {
        let next = self.slot(place).sibling;
        if next == place {
            return None;
        }
        self.slot_mut(place).sibling = self.slot(next).sibling;
        self.release(next);
        Some(())
    }

    /// Removes the last name of a record.
    fn drop_slot(&mut self, place: u32) {
        let slot = *self.slot(place);
        self.rows -= 1;
        self.octets -= slot.octets();
        self.standings[slot.standing() as usize] -= 1;
        self.release(place);
    }

    /// Puts a slot into the table, into its list, and behind `ring` in the ring of its record.
    fn add(&mut self, slot: Slot, ring: u32) -> u32 {
        let place = self.take_slot(slot);
        let next = if ring == NONE { place } else { self.slot(ring).sibling };
        self.slot_mut(place).sibling = next;
        if ring != NONE {
            self.slot_mut(ring).sibling = place;
        }
        let slots = &self.slots;
        let hash = |place: &u32| slots[*place as usize / CHUNK][*place as usize % CHUNK].tag;
        self.table.insert_unique(slot.tag, place, hash);
        self.names += 1;
        self.join_list(place);
        place
    }

    fn release(&mut self, place: u32) {
        self.leave_list(place);
        if let Ok(entry) = self.table.find_entry(self.slot(place).tag, |other| *other == place) {
            entry.remove();
        }
        self.names -= 1;
        self.slot_mut(place).before = self.free;
        self.free = place;
    }

    fn take_slot(&mut self, slot: Slot) -> u32 {
        if self.free == NONE {
            let begin = (self.slots.len() * CHUNK) as u32;
            self.slots.push(vec![Slot { before: NONE, ..slot }; CHUNK]);
            for place in (begin..begin + CHUNK as u32).rev() {
                self.slot_mut(place).before = self.free;
                self.free = place;
            }
        }
        let place = self.free;
        self.free = self.slot(place).before;
        *self.slot_mut(place) = slot;
        place
    }

    fn join_list(&mut self, place: u32) {
        let life = self.slot(place).life() as usize;
        let last = std::mem::replace(&mut self.lists[life].last, place);
        let slot = self.slot_mut(place);
        (slot.before, slot.behind) = (last, NONE);
        match last {
            NONE => self.lists[life].first = place,
            last => self.slot_mut(last).behind = place,
        }
    }

    fn leave_list(&mut self, place: u32) {
        let Slot { before, behind, .. } = *self.slot(place);
        let life = self.slot(place).life() as usize;
        match before {
            NONE => self.lists[life].first = behind,
            before => self.slot_mut(before).behind = behind,
        }
        match behind {
            NONE => self.lists[life].last = before,
            behind => self.slot_mut(behind).before = before,
        }
    }

    fn slot_of(&self, tag: u64) -> Option<u32> {
        self.table.find(tag, |place| self.slot(*place).tag == tag).copied()
    }

    fn slot(&self, place: u32) -> &Slot {
        &self.slots[place as usize / CHUNK][place as usize % CHUNK]
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        &mut self.slots[place as usize / CHUNK][place as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn name(number: u64) -> Key {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        Key(octets)
    }

    fn filed(row: Row, life: Life, expires_s: u32) -> Filed {
        Filed { row, octets: 300, standing: Standing::Unconfirmed, life, expires_s }
    }

    #[test]
    fn a_later_record_takes_names_from_an_earlier_one() {
        let mut index = Index::default();
        let names = [name(1), name(2), name(3)];
        assert!(index.file(&names, filed(10, Life::Window, 100)).is_empty());
        assert!(index.file(&names[..1], filed(11, Life::Window, 100)).is_empty());
        assert_eq!(index.find(name(1)).unwrap().row, 11);
        assert_eq!(index.find(name(2)).unwrap().row, 10);
        assert_eq!((index.rows(), index.names(), index.octets()), (2, 3, 1024));
        assert_eq!(index.file(&names[1..], filed(12, Life::Window, 100)), [10]);
        assert!(!index.remove(name(1), 10), "the row is another one now");
        assert!(index.remove(name(2), 12));
        assert_eq!(index.find(name(3)), None);
        assert_eq!((index.rows(), index.names()), (1, 1));
    }

    // Checkpoint 5, «Expiry»: what matters least goes first, the oldest of it first.
    #[test]
    fn expiry_and_pressure_take_the_oldest_of_what_matters_least() {
        let mut index = Index::default();
        index.file(&[name(1), name(2)], filed(1, Life::Outcome, 50));
        index.file(&[name(3)], filed(2, Life::Window, 40));
        index.file(&[name(4)], filed(3, Life::Outcome, 60));
        index.file(&[name(5)], filed(4, Life::Grace, 70));
        assert_eq!(index.next_expiry(), Some(40));
        assert_eq!(index.expire(39), None);
        assert_eq!(index.expire(50), Some(Some((2, Life::Window))));
        assert_eq!(index.expire(50), Some(None), "one name of two");
        assert_eq!(index.expire(50), Some(Some((1, Life::Outcome))));
        assert_eq!(index.expire(50), None);
        index.refile(name(4), 3, Standing::Confirmed, Life::Grace, 90);
        assert_eq!(index.count(Standing::Confirmed), 1);
        let order: Vec<Row> =
            std::iter::from_fn(|| index.evict().flatten()).map(|(row, _)| row).collect();
        assert_eq!(order, [4, 3]);
        assert_eq!((index.rows(), index.names(), index.octets()), (0, 0, 0));
        assert_eq!(index.next_expiry(), None);
    }

    /// Random work beside a plain model.
    #[test]
    fn it_agrees_with_a_plain_map_through_any_work() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut index = Index::default();
        let mut by_name = BTreeMap::<u64, Row>::new();
        for row in 1..20_000u64 {
            let chosen: BTreeSet<u64> =
                (0..random.usize(1..4)).map(|_| random.u64(..500)).collect();
            let names: Vec<Key> = chosen.iter().map(|number| name(*number)).collect();
            let life = Life::ALL[random.usize(..3)];
            let mut orphans = index.file(&names, filed(row, life, row as u32));
            let old: BTreeSet<Row> =
                chosen.iter().filter_map(|number| by_name.insert(*number, row)).collect();
            let gone = |row: &Row| !by_name.values().any(|other| other == row);
            orphans.sort_unstable();
            assert_eq!(orphans, old.into_iter().filter(gone).collect::<Vec<_>>());
            let number = random.u64(..500);
            match (random.u8(..8), by_name.get(&number).copied()) {
                (0, Some(row)) => {
                    assert!(index.remove(name(number), row));
                    by_name.retain(|_, other| *other != row);
                }
                (1, Some(row)) => {
                    index.refile(name(number), row, Standing::Owed, Life::Window, 1_000_000);
                }
                (2, _) => {
                    let before = index.names();
                    index.evict();
                    assert_eq!(index.names(), before - 1);
                    by_name.retain(|number, _| index.find(name(*number)).is_some());
                }
                _ => {}
            }
            let rows: BTreeSet<Row> = by_name.values().copied().collect();
            assert_eq!((index.names(), index.rows()), (by_name.len(), rows.len()));
            let counted: usize = Standing::ALL.iter().map(|one| index.count(*one)).sum();
            assert_eq!((counted, index.octets()), (rows.len(), rows.len() as u64 * 512));
            let found = index.find(name(number)).map(|entry| entry.row);
            assert_eq!(found, by_name.get(&number).copied());
        }
        while index.evict().is_some() {}
        assert_eq!((index.names(), index.rows(), index.octets()), (0, 0, 0));
    }

    #[test]
    fn a_name_costs_at_most_44_octets() {
        let mut index = Index::default();
        for row in 0..60_000u64 {
            index.file(&[name(row)], filed(row, Life::Outcome, 1));
            if row >= 20_000 {
                let most = 44 * index.names() + CHUNK * size_of::<Slot>();
                assert!(index.memory_octets() <= most, "{} for {row}", index.memory_octets());
            }
        }
    }
}
