//! RAR, both formats that there are: blocks one after the other, each with its own length.

use super::{Tags, Told, number};
use crate::limits::ARCHIVE_HELD_OCTETS;

/// A rar archive.
#[derive(Debug)]
pub(super) struct Rar {
    is_fifth: bool,
    /// The signature was passed over.
    begun: bool,
    /// Its end block was seen, or all that follows is encrypted.
    is_over: bool,
}

/// How both formats begin.
pub(super) const SIGNATURE: &[u8] = b"Rar!\x1a\x07";

const FOURTH: &[u8] = b"Rar!\x1a\x07\x00";
const FIFTH: &[u8] = b"Rar!\x1a\x07\x01\x00";

/// Octets of a block of the fourth format that are always there.
const BLOCK_OCTETS: usize = 7;

impl Rar {
    pub(super) fn begin(head: &[u8]) -> Option<Rar> {
        let is_fifth = head.starts_with(FIFTH);
        let is_rar = is_fifth || head.starts_with(FOURTH);
        is_rar.then_some(Rar { is_fifth, begun: false, is_over: false })
    }

    /// Whether there should have been more.
    pub(super) fn is_open(&self) -> bool {
        !self.is_over
    }

    /// How many octets must be held to read the next block.
    pub(super) fn wants(&self, held: &[u8]) -> usize {
        match (self.begun, self.is_fifth) {
            (false, true) => FIFTH.len(),
            (false, false) => FOURTH.len(),
            (true, true) => {
                // A checksum, and the length of what follows, in up to three octets.
                let Some((size, at)) = variable(held, 4) else { return held.len().max(4) + 1 };
                at + usize::try_from(size).unwrap_or(usize::MAX).min(ARCHIVE_HELD_OCTETS)
            }
            (true, false) => match number::<2>(held, 5) {
                Some(size) => (size as usize).max(BLOCK_OCTETS),
                None => BLOCK_OCTETS,
            },
        }
    }

    /// Reads a block. Returns its octets with those of its data, or nothing when no block follows.
    pub(super) fn header(&mut self, block: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> Option<u64> {
        if !self.begun {
            self.begun = true;
            return Some(self.wants_of_signature());
        }
        let read = match self.is_fifth {
            true => self.fifth(block, tell),
            false => self.fourth(block, tell),
        };
        if read.is_none() && !self.is_over {
            tell(Told::Tag(Tags::ARCHIVE_BROKEN));
            self.is_over = true;
        }
        read
    }

    fn wants_of_signature(&self) -> u64 {
        if self.is_fifth { FIFTH.len() as u64 } else { FOURTH.len() as u64 }
    }

    /// Checksum, type, flags, length, and the length of data if flags say so.
    fn fourth(&mut self, block: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> Option<u64> {
        let (kind, flags) = (*block.get(2)?, number::<2>(block, 3)?);
        let size = number::<2>(block, 5)?;
        if (size as usize) < BLOCK_OCTETS {
            return None;
        }
        let data = if flags & 0x8000 != 0 { number::<4>(block, 7)? } else { 0 };
        match kind {
            // All that follows is encrypted.
            0x73 if flags & 0x80 != 0 => {
                tell(Told::Tag(Tags::ARCHIVE_ENCRYPTED));
                self.is_over = true;
                return None;
            }
            0x74 => {
                if flags & 4 != 0 {
                    tell(Told::Tag(Tags::ARCHIVE_ENCRYPTED));
                }
                let length = number::<2>(block, 26)? as usize;
                let at = if flags & 0x100 != 0 { 40 } else { 32 };
                let name = block.get(at..(at + length).min(block.len()))?;
                // A name in another alphabet follows the one in ASCII behind a NUL.
                tell(Told::Name(name.split(|octet| *octet == 0).next().unwrap_or_default()));
                // High halves of the sizes, for entries beyond 4 GiB.
                let high = if flags & 0x100 != 0 { number::<4>(block, 32)? } else { 0 };
                return (size + data).checked_add(high << 32);
            }
            0x7b => {
                self.is_over = true;
                return None;
            }
            _ => {}
        }
        Some(size + data)
    }

    /// Numbers of seven bits an octet: length, type, flags, and what they say follows.
    fn fifth(&mut self, block: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> Option<u64> {
        let (size, start) = variable(block, 4)?;
        let (kind, at) = variable(block, start)?;
        let (flags, at) = variable(block, at)?;
        let (extra, at) = if flags & 1 != 0 { variable(block, at)? } else { (0, at) };
        let (data, at) = if flags & 2 != 0 { variable(block, at)? } else { (0, at) };
        match kind {
            2 => self.fifth_file(block, at, extra, tell)?,
            4 => {
                tell(Told::Tag(Tags::ARCHIVE_ENCRYPTED));
                self.is_over = true;
                return None;
            }
            5 => {
                self.is_over = true;
                return None;
            }
            _ => {}
        }
        (start as u64).checked_add(size)?.checked_add(data)
    }

    fn fifth_file(
        &self,
        block: &[u8],
        at: usize,
        extra: u64,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Option<()> {
        let (flags, at) = variable(block, at)?;
        let (_, at) = variable(block, at)?;
        let (_, at) = variable(block, at)?;
        let at = at + if flags & 2 != 0 { 4 } else { 0 } + if flags & 4 != 0 { 4 } else { 0 };
        let (_, at) = variable(block, at)?;
        let (_, at) = variable(block, at)?;
        let (length, at) = variable(block, at)?;
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        tell(Told::Name(block.get(at..end.min(block.len()))?));
        // The records behind the name: a length, a type, and what it is.
        let mut rest = block.get(end..).unwrap_or_default();
        rest = &rest[..rest.len().min(usize::try_from(extra).unwrap_or(usize::MAX))];
        while let Some((size, from)) = variable(rest, 0) {
            if variable(rest, from).is_some_and(|(kind, _)| kind == 1) {
                tell(Told::Tag(Tags::ARCHIVE_ENCRYPTED));
            }
            let Ok(size) = usize::try_from(size) else { break };
            rest = rest.get(from + size.max(1)..).unwrap_or_default();
        }
        Some(())
    }
}

/// A number of seven bits an octet, the lowest first, and the place behind it.
fn variable(octets: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    for (index, octet) in octets.get(at..)?.iter().take(9).enumerate() {
        number |= u64::from(octet & 0x7f) << (7 * index);
        if octet & 0x80 == 0 {
            return Some((number, at + index + 1));
        }
    }
    None
}
