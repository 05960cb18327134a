//! ZIP: every local header and every record of a central directory, wherever they lie.
//!
//! Readers of zip archives differ: some begin at the first header, some at the last directory, some
//! at the last but one. So all names are given that any of them may see, and what does not agree is
//! told. Headers are known by their signatures, and not by offsets.

use super::unpack::{Method, Packed};
use super::{Tags, Told, number};
use crate::limits::{
    ARCHIVE_EXTRA_OCTETS, ARCHIVE_RATIO_MAX, ARCHIVE_RATIO_OCTETS, ENTRY_NAME_OCTETS,
};
use foldhash::fast::FixedState;
use memchr::memmem;
use smallvec::SmallVec;
use std::hash::BuildHasher;

/// Octets of a header in front of its name (APPNOTE 4.3.7, 4.3.12, 4.3.16).
const LOCAL_OCTETS: usize = 30;
const CENTRAL_OCTETS: usize = 46;
const END_OCTETS: usize = 22;

/// A size that does not fit, and stands in the extra field (APPNOTE 4.4.8, 4.5.3).
const TOO_LARGE: u64 = u32::MAX as u64;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";

/// The zip archive in a leaf.
#[derive(Debug, Default)]
pub(super) struct Zip {
    /// A header that has not come whole, from its signature on. Octets that are none are judged
    /// before they need memory of their own.
    held: SmallVec<[u8; 32]>,
    /// Octets of the leaf that were read.
    position: u64,
    local: Entries,
    central: Entries,
    /// Octets that the entries have according to the directory: as they lie there, and unpacked.
    packed: u64,
    unpacked: u64,
    ends: u32,
}

/// Entries that were seen: how many, and a sum that is the same if their names are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entries {
    count: u32,
    names: u64,
}

impl Entries {
    fn see(&mut self, name: &[u8]) {
        self.count = self.count.saturating_add(1);
        // Whoever makes two sets of names with the same sum hides nothing: all names are searched.
        self.names = self.names.wrapping_add(FixedState::default().hash_one(name));
    }
}

impl Zip {
    /// Reads the next octets, up to the end of what may be a header. Returns how many, and whether
    /// [`Zip::take_header`] is to be asked before the next ones.
    pub(super) fn read(&mut self, octets: &[u8]) -> (usize, bool) {
        let mut rest = octets;
        loop {
            if self.held.is_empty() {
                // A signature, or the start of one at the end.
                let whole = memmem::find(rest, b"PK");
                let at = whole.or(rest.ends_with(b"P").then(|| rest.len().saturating_sub(1)));
                let Some(at) = at else { break };
                self.position += at as u64;
                rest = &rest[at..];
            }
            let missing = wanted(&self.held).saturating_sub(self.held.len());
            let (piece, after) = rest.split_at(missing.min(rest.len()));
            self.held.extend_from_slice(piece);
            rest = after;
            if piece.len() < missing {
                return (octets.len(), false);
            }
            if wanted(&self.held) <= self.held.len() {
                if is_header(&self.held) {
                    return (octets.len() - rest.len(), true);
                }
                self.go_on();
            }
        }
        self.position += rest.len() as u64;
        (octets.len(), false)
    }

    /// Tells of the header that has come. Returns what lies behind it, if it is that of an entry.
    pub(super) fn take_header(&mut self, tell: &mut dyn FnMut(Told<'_>)) -> Option<Packed> {
        self.header(tell);
        let packed = packed(&self.held);
        self.go_on();
        packed
    }

    /// Local headers that were seen.
    pub(super) fn headers(&self) -> u32 {
        self.local.count
    }

    /// The leaf has ended.
    pub(super) fn finish(&mut self, tell: &mut dyn FnMut(Told<'_>)) {
        while !self.held.is_empty() {
            // A header was cut off; what is there of it may hold others.
            if is_header(&self.held) {
                tell(Told::Tag(Tags::ARCHIVE_BROKEN));
                self.header(tell);
            }
            self.go_on();
        }
        if self.local.count + self.central.count == 0 {
            return;
        }
        if self.ends == 0 {
            tell(Told::Tag(Tags::ARCHIVE_BROKEN));
        } else if self.local != self.central || self.ends > 1 {
            tell(Told::Tag(Tags::ARCHIVE_AMBIGUOUS));
        }
        // Entries that lie in one another have more octets together than there are.
        let overlap = self.packed > self.position;
        let ratio = self.unpacked / self.packed.max(1);
        if overlap || (ratio > ARCHIVE_RATIO_MAX && self.unpacked > ARCHIVE_RATIO_OCTETS) {
            tell(Told::Tag(Tags::ARCHIVE_BOMB));
        }
    }

    /// Looks for the next signature behind the one that is held: a header may lie in the name of
    /// another one.
    fn go_on(&mut self) {
        let from = 1 + memmem::find(&self.held[1..], b"PK")
            .or(self.held[1..].iter().rposition(|octet| *octet == b'P').filter(
                // The first half of a signature at the end.
                |at| at + 2 == self.held.len(),
            ))
            .unwrap_or(self.held.len() - 1);
        self.held.drain(..from);
        self.position += from as u64;
    }

    /// A header has come, or what looked like one.
    fn header(&mut self, tell: &mut dyn FnMut(Told<'_>)) {
        let held = &self.held[..];
        let header = &held[..wanted(held).min(held.len())];
        if !is_header(header) {
            return;
        }
        if header.starts_with(END) {
            self.ends = self.ends.saturating_add(1);
            return;
        }
        let (fields, name_at) = match header.get(..4) {
            Some(signature) if signature == LOCAL => (6, LOCAL_OCTETS),
            Some(signature) if signature == CENTRAL => (8, CENTRAL_OCTETS),
            _ => return,
        };
        let is_central = name_at == CENTRAL_OCTETS;
        let length_at = if is_central { 28 } else { 26 };
        let name = name(header, name_at, length_at);
        if number::<2>(header, length_at).is_some_and(|length| length > ENTRY_NAME_OCTETS as u64) {
            tell(Told::Tag(Tags::ARCHIVE_LIMIT));
        }
        let flags = number::<2>(header, fields).unwrap_or_default();
        let method = number::<2>(header, fields + 2).unwrap_or_default();
        let packed = number::<4>(header, fields + 12).unwrap_or_default();
        let unpacked = number::<4>(header, fields + 16).unwrap_or_default();
        match is_central {
            true => self.central.see(name),
            false => self.local.see(name),
        }
        if flags & 1 != 0 {
            tell(Told::Tag(Tags::ARCHIVE_ENCRYPTED));
        }
        // Bit 3: the sizes stand behind the octets, and in the directory.
        let sizes_are_known = is_central || flags & 8 == 0;
        // A stored entry is as large as it is; encryption puts twelve octets in front.
        if sizes_are_known && method == 0 && flags & 1 == 0 && packed != unpacked {
            tell(Told::Tag(Tags::ARCHIVE_AMBIGUOUS));
        }
        // One that does not fit is larger than any message, whatever the extra field says.
        if is_central {
            self.packed = self.packed.saturating_add(packed + LOCAL_OCTETS as u64);
            self.unpacked = self.unpacked.saturating_add(unpacked);
        }
        tell(Told::Name(name));
    }
}

/// What lies behind a local header with which the octets that are held end.
fn packed(held: &[u8]) -> Option<Packed> {
    let is_local = held.starts_with(LOCAL) && is_header(held);
    if !is_local || held.len() != wanted(held) {
        return None;
    }
    let flags = number::<2>(held, 6)?;
    let in_header = (number::<4>(held, 18)?, number::<4>(held, 22)?);
    let (packed, unpacked) = large_sizes(held).unwrap_or(in_header);
    // APPNOTE 4.4.4: with bit 3 the size stands behind the octets, and may be left out here.
    let is_said = (flags & 8 == 0 || packed > 0) && packed != TOO_LARGE;
    let method = match number::<2>(held, 8)? {
        _ if flags & 1 != 0 => return None,
        // What would become larger is packed, whatever the header says.
        0 if is_said && (packed == unpacked || unpacked == TOO_LARGE) => Method::Stored,
        0 if !is_said && packed != 0 => Method::Stored,
        0 if is_said => Method::Deflated,
        8 => Method::Deflated,
        _ => Method::Other,
    };
    let whole = LOCAL_OCTETS as u64 + number::<2>(held, 26)? + number::<2>(held, 28)?;
    let skip = whole.saturating_sub(held.len() as u64);
    Some(Packed { method, skip, octets: is_said.then_some(packed) })
}

/// The sizes in the extra field of a local header, packed and unpacked, if they stand there.
fn large_sizes(held: &[u8]) -> Option<(u64, u64)> {
    if number::<4>(held, 18)? != TOO_LARGE {
        return None;
    }
    let mut extra = held.get(LOCAL_OCTETS + number::<2>(held, 26)? as usize..)?;
    loop {
        let (kind, octets) = (number::<2>(extra, 0)?, number::<2>(extra, 2)? as usize);
        if kind == 1 && octets >= 16 {
            return Some((number::<8>(extra, 12)?, number::<8>(extra, 4)?));
        }
        extra = extra.get(4 + octets..)?;
    }
}

/// The name in a header, or its first octets.
fn name(header: &[u8], at: usize, length_at: usize) -> &[u8] {
    let name = header.get(at..).unwrap_or_default();
    let length = number::<2>(header, length_at).unwrap_or_default() as usize;
    &name[..length.min(ENTRY_NAME_OCTETS).min(name.len())]
}

/// Whether octets that begin with a signature may be a header: of a version that there is, and with
/// a name.
fn is_header(octets: &[u8]) -> bool {
    let (version, name) = match octets.get(..4) {
        Some(signature) if signature == LOCAL => (4, 26),
        Some(signature) if signature == CENTRAL => (6, 28),
        Some(signature) => return signature == END,
        None => return false,
    };
    let version = number::<1>(octets, version).unwrap_or_default();
    version <= 63 && number::<2>(octets, name) != Some(0)
}

/// How many octets must be held to know what these are, or the whole header.
fn wanted(held: &[u8]) -> usize {
    let fixed = match held.get(..4) {
        None if LOCAL.starts_with(held) || CENTRAL.starts_with(held) || END.starts_with(held) => 4,
        Some(signature) if signature == LOCAL => LOCAL_OCTETS,
        Some(signature) if signature == CENTRAL => CENTRAL_OCTETS,
        Some(signature) if signature == END => return END_OCTETS,
        _ => return held.len(),
    };
    if held.len() < fixed {
        return fixed;
    }
    if !is_header(held) {
        return held.len();
    }
    let is_local = fixed == LOCAL_OCTETS;
    let length_at = if is_local { 26 } else { 28 };
    let name = number::<2>(held, length_at).unwrap_or_default() as usize;
    if name > ENTRY_NAME_OCTETS || !is_local || number::<4>(held, 18) != Some(TOO_LARGE) {
        return fixed + name.min(ENTRY_NAME_OCTETS);
    }
    let extra = number::<2>(held, 28).unwrap_or_default() as usize;
    fixed + name + extra.min(ARCHIVE_EXTRA_OCTETS)
}
