//! The journal before the database: groups of changes are appended to a file that keeps its length, so
//! that making one durable is one write and one sync, and they are carried over into the database in
//! bulk. What a client confirms at once never gets there.
//!
//! ```text
//! "pjournal"  generation  length  checksum  changes: row, length, octets; a group, whole or not at all
//! ```
//!
//! When its changes are in the database, the next generation begins at the beginning of the file; what
//! lies behind the last group of a generation is of an earlier one, and counts for nothing. The database
//! knows which generation it has taken last.

use super::disk::Disk;
use super::store::Change;
use crate::ledger::Row;
use crate::limits::LEDGER_JOURNAL_OCTETS;
use memchr::memmem;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    disk: Disk,
    generation: u64,
    /// Where the next group goes.
    end: u64,
    /// What the database does not have yet; `None` deletes.
    changes: BTreeMap<Row, Option<Vec<u8>>>,
    /// Rows above it are not in the database.
    highest_carried: Row,
    group: Vec<u8>,
}

const MAGIC: &[u8; 8] = b"pjournal";

/// Octets before the changes of a group.
const HEAD_OCTETS: usize = 24;

/// The length of a row that is deleted.
const DELETED: u32 = u32::MAX;

impl Journal {
    /// Takes up the file: its changes, if the database does not have them. `None` if it is something
    /// else.
    pub fn open(disk: Disk, carried: Carried) -> io::Result<Option<Journal>> {
        let mut octets = vec![0; usize::try_from(disk.len()?).unwrap_or(usize::MAX)];
        disk.read(0, &mut octets)?;
        let begin = octets.get(..MAGIC.len()).unwrap_or(&octets);
        // A process that died while it made the file leaves it empty, or without its beginning.
        if !begin.iter().all(|octet| *octet == 0) && begin != MAGIC {
            return Ok(None);
        }
        let mut journal = Journal {
            disk,
            generation: carried.generation.saturating_add(1),
            end: 0,
            changes: BTreeMap::new(),
            highest_carried: carried.highest,
            group: Vec::new(),
        };
        journal.replay(&octets);
        if (octets.len() as u64) < LEDGER_JOURNAL_OCTETS {
            journal.take_room(octets.len())?;
        }
        Ok(Some(journal))
    }

    /// Blocks that are there already make a sync cheap: only octets have to be written.
    fn take_room(&self, length: usize) -> io::Result<()> {
        let room = vec![0; LEDGER_JOURNAL_OCTETS as usize - length];
        self.disk.write(length as u64, &room)?;
        self.disk.sync_data()
    }

    /// A-84: a group that is damaged is passed over; the last one may be torn.
    fn replay(&mut self, octets: &[u8]) {
        let mut at = 0;
        while let Some(found) = octets.get(at..).and_then(|rest| memmem::find(rest, MAGIC)) {
            at += found;
            let group = read_group(octets.get(at..).unwrap_or_default());
            at += group.as_ref().map_or(MAGIC.len(), |group| group.octets);
            let Some(group) = group.filter(|one| one.generation >= self.generation) else {
                continue;
            };
            if group.generation > self.generation {
                self.generation = group.generation;
                self.changes.clear();
            }
            group.changes.into_iter().for_each(|(row, change)| self.note(row, change));
            self.end = at as u64;
        }
    }

    /// Appends a group. It outlives the process; [`Journal::sync`] makes it durable.
    pub fn write(&mut self, changes: &[Change]) -> io::Result<()> {
        self.group.clear();
        self.group.extend_from_slice(MAGIC);
        self.group.extend_from_slice(&self.generation.to_le_bytes());
        self.group.extend_from_slice(&[0; HEAD_OCTETS - 16]);
        for (row, change) in changes {
            self.group.extend_from_slice(&row.to_le_bytes());
            let length = change.as_ref().map_or(DELETED, |octets| octets.len() as u32);
            self.group.extend_from_slice(&length.to_le_bytes());
            self.group.extend_from_slice(change.as_deref().unwrap_or_default());
        }
        let length = (self.group.len() - HEAD_OCTETS) as u32;
        self.group[16..20].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&self.group);
        self.group[20..HEAD_OCTETS].copy_from_slice(&sum.to_le_bytes());
        self.disk.write(self.end, &self.group)?;
        self.end += self.group.len() as u64;
        for (row, change) in changes {
            self.note(*row, change.clone());
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.sync_data()
    }

    /// What became of a row since the database was told last.
    pub fn change(&self, row: Row) -> Option<&Option<Vec<u8>>> {
        self.changes.get(&row)
    }

    /// What the database does not have yet, in the order of rows.
    pub fn changes(&self) -> impl Iterator<Item = (Row, Option<&[u8]>)> {
        self.changes.iter().map(|(row, change)| (*row, change.as_deref()))
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Octets of this generation.
    pub fn octets(&self) -> u64 {
        self.end
    }

    /// The database has all changes of this generation.
    pub fn begin_next(&mut self) {
        if let Some((row, _)) = self.changes.last_key_value() {
            self.highest_carried = self.highest_carried.max(*row);
        }
        self.changes.clear();
        self.generation += 1;
        self.end = 0;
    }

    fn note(&mut self, row: Row, change: Option<Vec<u8>>) {
        match change {
            // It came and went: the database need not hear of it.
            None if row > self.highest_carried => drop(self.changes.remove(&row)),
            change => drop(self.changes.insert(row, change)),
        }
    }
}

/// What the database has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    /// The last generation.
    pub generation: u64,
    /// Its highest row.
    pub highest: Row,
}

/// A group, as it was read.
struct Group {
    generation: u64,
    changes: Vec<Change>,
    octets: usize,
}

/// The group at the beginning; `None` if it is not whole.
fn read_group(octets: &[u8]) -> Option<Group> {
    let length = u32::from_le_bytes(*octets.get(16..)?.first_chunk()?) as usize;
    let group = octets.get(..HEAD_OCTETS.checked_add(length)?)?;
    if checksum(group).to_le_bytes() != group[20..HEAD_OCTETS] {
        return None;
    }
    let generation = u64::from_le_bytes(*group[8..].first_chunk()?);
    let mut rest = &group[HEAD_OCTETS..];
    let mut changes = Vec::new();
    while let Some((row, behind)) = rest.split_first_chunk() {
        let (length, behind) = behind.split_first_chunk()?;
        let row = u64::from_le_bytes(*row);
        match u32::from_le_bytes(*length) {
            DELETED => {
                changes.push((row, None));
                rest = behind;
            }
            length => {
                let (octets, behind) = behind.split_at_checked(length as usize)?;
                changes.push((row, Some(octets.to_vec())));
                rest = behind;
            }
        }
    }
    Some(Group { generation, changes, octets: group.len() })
}

/// Over all of a group but the checksum itself: against a torn write. Records have one of their own.
fn checksum(group: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&group[..20]), &group[HEAD_OCTETS..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::FaultSwitch;
    use std::fs::OpenOptions;
    use std::path::Path;

    fn open(path: &Path, carried: Carried) -> Option<Journal> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        Journal::open(Disk::new(file, FaultSwitch::default()).unwrap(), carried).unwrap()
    }

    fn all(journal: &Journal) -> Vec<(Row, Option<Vec<u8>>)> {
        journal.changes().map(|(row, change)| (row, change.map(<[u8]>::to_vec))).collect()
    }

    fn put(row: Row) -> Change {
        (row, Some(vec![row as u8; 100]))
    }

    /// A journal of twenty groups of one row each; and behind them what an earlier generation has left.
    fn twenty(path: &Path) -> Vec<u8> {
        let mut journal = open(path, Carried::default()).unwrap();
        (100..130).for_each(|row| journal.write(&[put(row)]).unwrap());
        journal.begin_next();
        (1..=20).for_each(|row| journal.write(&[put(row)]).unwrap());
        journal.sync().unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn changes_come_back_and_what_came_and_went_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = open(&path, Carried { generation: 4, highest: 10 }).unwrap();
        journal.write(&[put(9), put(11), put(12)]).unwrap();
        journal.write(&[(9, None), (11, None), (8, None)]).unwrap();
        let expected = vec![(8, None), (9, None), put(12)];
        assert_eq!(all(&journal), expected);
        drop(journal);
        let journal = open(&path, Carried { generation: 4, highest: 10 }).unwrap();
        assert_eq!((all(&journal), journal.generation()), (expected, 5));
        drop(journal);
        let mut journal = open(&path, Carried { generation: 5, highest: 12 }).unwrap();
        assert!(all(&journal).is_empty(), "the database has them");
        assert_eq!(journal.generation(), 6);
        journal.write(&[(12, None)]).unwrap();
        assert_eq!(all(&journal), [(12, None)]);
    }

    // A-84: cut at any octet, as a crash in the middle of a write leaves it: all whole groups are there.
    #[test]
    fn a_84_a_torn_journal_has_all_groups_before_the_tear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let octets = twenty(&path);
        let group = HEAD_OCTETS + 12 + 100;
        for end in MAGIC.len()..20 * group {
            // What the disk has not got to is as it was, or zeros.
            let torn = [&octets[..end], &vec![0; octets.len() - end]].concat();
            for octets in [&octets[..end], &torn] {
                std::fs::write(&path, octets).unwrap();
                let mut journal = open(&path, Carried::default()).unwrap();
                let whole: Vec<Change> = (1..=(end / group) as Row).map(put).collect();
                assert_eq!(all(&journal), whole, "cut at {end}");
                if end % 7 == 0 {
                    journal.write(&[put(77)]).unwrap();
                    drop(journal);
                    let journal = open(&path, Carried::default()).unwrap();
                    assert!(journal.change(77).is_some(), "what came later is there");
                }
            }
        }
    }

    // A-84: one bit flipped costs the group that it hits.
    #[test]
    fn a_84_a_flipped_bit_costs_one_group_of_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let octets = twenty(&path);
        let group = HEAD_OCTETS + 12 + 100;
        // The very beginning is damaged: it is not known whose it is.
        for place in MAGIC.len()..20 * group {
            let mut damaged = octets.clone();
            damaged[place] ^= 1 << (place % 8);
            std::fs::write(&path, damaged).unwrap();
            let journal = open(&path, Carried::default()).unwrap();
            let lost = (place / group) as Row + 1;
            let left: Vec<Change> = (1..=20).filter(|row| *row != lost).map(put).collect();
            assert_eq!(all(&journal), left, "{place}");
        }
    }

    #[test]
    fn a_84_a_foreign_file_is_not_taken_for_a_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "From: somebody's mailbox\n").unwrap();
        assert!(open(&path, Carried::default()).is_none());
        for octets in [&[][..], &[0; 4096], b"pjournal"] {
            std::fs::write(&path, octets).unwrap();
            assert!(open(&path, Carried::default()).is_some());
        }
    }
}
