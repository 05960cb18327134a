//! Archives in leaves: the names of what they hold, and what is odd about them, as octets pass.
//!
//! Nothing is unpacked and no offset of an archive is followed: headers are read where they lie, in
//! one pass forward, so no archive can lead the scan in a circle or make it wait for what is not
//! there. A name is data: it is searched, and nothing else.

mod rar;
mod seven_zip;
mod tar;
mod zip;

use super::Tags;
use super::findings::TagId;
use crate::limits::{ARCHIVE_HELD_OCTETS, ARCHIVE_NAMES_MAX, ENTRY_NAME_OCTETS};
use rar::Rar;
use seven_zip::SevenZip;
use smallvec::SmallVec;
use tar::Tar;
use zip::Zip;

/// The first octets of a leaf by which it is seen whether it may be an archive: the checksum of a tar
/// header ends at octet 156.
const JUDGED_OCTETS: usize = 256;

/// How the compression of a single file begins.
const GZIP: &[u8] = &[0x1f, 0x8b, 8];

/// What is read of the archives in the leaves of a message.
#[derive(Debug)]
pub(super) struct Archives {
    kind: Kind,
    held: Held,
    zip: Zip,
    /// Names that were given in this message.
    names: u32,
}

/// What a leaf is, by its first octets.
#[derive(Debug)]
enum Kind {
    /// Too few of them have come.
    Unknown,
    Tar(Tar),
    Rar(Rar),
    SevenZip(SevenZip),
    Gzip,
    /// None of these. A zip archive may lie in it all the same, as in a picture or a program.
    Other,
}

/// Octets of a header that has not come whole. Of a leaf that is no archive only so many are held
/// that they need no memory of their own.
#[derive(Debug, Default)]
struct Held {
    octets: SmallVec<[u8; JUDGED_OCTETS]>,
    /// Octets to be passed over before the next header.
    skip: u64,
}

/// What is told of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// The name of an entry, or its first octets, as it is written.
    Name(&'a [u8]),
    /// Something is odd about the archive.
    Tag(TagId),
}

impl Default for Archives {
    fn default() -> Archives {
        Archives { kind: Kind::Unknown, held: Held::default(), zip: Zip::default(), names: 0 }
    }
}

impl Archives {
    /// A message begins.
    pub(super) fn begin_message(&mut self) {
        self.names = 0;
        self.begin_leaf();
    }

    /// A leaf begins, and what the last one took is given back.
    pub(super) fn begin_leaf(&mut self) {
        *self = Archives { names: self.names, ..Archives::default() };
    }

    /// Reads the next octets of the leaf.
    pub(super) fn read(&mut self, octets: &[u8], mut tell: impl FnMut(Told<'_>)) {
        let Archives { kind, held, zip, names } = self;
        let mut tell = counted(names, &mut tell);
        zip.read(octets, &mut tell);
        let mut rest = octets;
        while !rest.is_empty() {
            if held.skip > 0 {
                let skipped = rest.len().min(usize::try_from(held.skip).unwrap_or(usize::MAX));
                held.skip -= skipped as u64;
                rest = &rest[skipped..];
                continue;
            }
            let wanted = match kind {
                Kind::Unknown => unknown_wants(held.octets()),
                Kind::Tar(tar) => tar.wants(held.octets()),
                Kind::Rar(rar) => rar.wants(held.octets()),
                Kind::SevenZip(seven_zip) => seven_zip.wants(held.octets()),
                Kind::Gzip | Kind::Other => return,
            };
            let missing = wanted.min(ARCHIVE_HELD_OCTETS).saturating_sub(held.octets.len());
            let (piece, after) = rest.split_at(missing.min(rest.len()));
            held.octets.extend_from_slice(piece);
            rest = after;
            if piece.len() < missing {
                return;
            }
            if matches!(kind, Kind::Unknown) && held.octets.len() < unknown_wants(held.octets()) {
                continue;
            }
            step(kind, held, &mut tell);
        }
    }

    /// The leaf has ended.
    pub(super) fn finish(&mut self, mut tell: impl FnMut(Told<'_>)) {
        let Archives { kind, held, zip, names } = self;
        let mut tell = counted(names, &mut tell);
        zip.finish(&mut tell);
        if matches!(kind, Kind::Unknown) {
            // Shorter than a tar archive can be.
            step(kind, held, &mut tell);
        }
        let is_cut = match kind {
            Kind::Unknown | Kind::Gzip | Kind::Other => false,
            Kind::Tar(tar) => held.skip > 0 || tar.is_open(held.octets()),
            Kind::Rar(rar) => rar.is_open() && held.octets.len() as u64 + held.skip > 0,
            Kind::SevenZip(seven_zip) => seven_zip.is_open(),
        };
        if is_cut {
            tell(Told::Tag(Tags::ARCHIVE_BROKEN));
        }
    }
}

/// Counts names, and tells no more of them than are to be looked at.
fn counted(names: &mut u32, tell: &mut dyn FnMut(Told<'_>)) -> impl FnMut(Told<'_>) {
    move |told| match told {
        Told::Name(_) if *names == ARCHIVE_NAMES_MAX => tell(Told::Tag(Tags::ARCHIVE_LIMIT)),
        Told::Name(name) => {
            *names += 1;
            tell(Told::Name(&name[..name.len().min(ENTRY_NAME_OCTETS)]));
        }
        tag => tell(tag),
    }
}

/// A header has come, as far as it was wanted: it is read, and the next one begins.
fn step(kind: &mut Kind, held: &mut Held, tell: &mut dyn FnMut(Told<'_>)) {
    match kind {
        Kind::Unknown => {
            *kind = kind_of(held.octets(), tell);
            match kind {
                // The first block is a header already.
                Kind::Tar(tar) => {
                    held.skip = tar.header(held.octets(), tell);
                    held.octets.clear();
                }
                Kind::Rar(_) | Kind::SevenZip(_) => step_over(kind, held, tell),
                _ => held.octets.clear(),
            }
        }
        Kind::Tar(tar) => {
            held.skip = tar.header(held.octets(), tell);
            held.octets.clear();
        }
        _ => step_over(kind, held, tell),
    }
    if matches!(kind, Kind::Tar(tar) if tar.is_over()) {
        *kind = Kind::Other;
    }
}

/// Reads all headers that are held whole; what follows them was held, or is passed over.
fn step_over(kind: &mut Kind, held: &mut Held, tell: &mut dyn FnMut(Told<'_>)) {
    loop {
        let wanted = match kind {
            Kind::Rar(rar) => rar.wants(held.octets()),
            Kind::SevenZip(seven_zip) => seven_zip.wants(held.octets()),
            _ => return held.octets.clear(),
        };
        if held.octets.len() < wanted.min(ARCHIVE_HELD_OCTETS) {
            return;
        }
        let header = held.octets();
        let passed = match kind {
            Kind::Rar(rar) => rar.header(header, tell),
            Kind::SevenZip(seven_zip) => seven_zip.header(header, tell),
            _ => None,
        };
        let Some(passed) = passed else {
            *kind = Kind::Other;
            return;
        };
        let of_held = held.octets.len().min(usize::try_from(passed).unwrap_or(usize::MAX));
        held.octets.drain(..of_held);
        held.skip = passed - of_held as u64;
        if held.skip > 0 || of_held == 0 {
            return;
        }
    }
}

/// How many of a leaf's first octets are to be held: more, where they look like a header.
fn unknown_wants(head: &[u8]) -> usize {
    match head.starts_with(GZIP) || Tar::may_begin(head) {
        true => tar::BLOCK_OCTETS,
        false => JUDGED_OCTETS,
    }
}

fn kind_of(head: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> Kind {
    if let Some(rar) = Rar::begin(head) {
        Kind::Rar(rar)
    } else if let Some(seven_zip) = SevenZip::begin(head) {
        Kind::SevenZip(seven_zip)
    } else if head.starts_with(GZIP) {
        gzip(head, tell);
        Kind::Gzip
    } else if Tar::is_header(head) {
        Kind::Tar(Tar::default())
    } else {
        Kind::Other
    }
}

/// RFC 1952 2.3: the name of the file that was compressed, if the header has it.
fn gzip(head: &[u8], tell: &mut dyn FnMut(Told<'_>)) {
    const HAS_EXTRA: u8 = 4;
    const HAS_NAME: u8 = 8;
    let Some(flags) = head.get(3).filter(|flags| **flags & HAS_NAME != 0) else { return };
    let mut at = 10;
    if flags & HAS_EXTRA != 0 {
        let Some([low, high]) = head.get(10..12) else { return };
        at = 12 + usize::from(u16::from_le_bytes([*low, *high]));
    }
    let Some(rest) = head.get(at..) else { return };
    tell(Told::Name(rest.split(|octet| *octet == 0).next().unwrap_or_default()));
}

/// Whether a file is an archive by its name.
pub(super) fn is_archive(name: &[u8]) -> bool {
    const ENDS: [&[u8]; 15] = [
        b"zip", b"rar", b"7z", b"tar", b"gz", b"tgz", b"bz2", b"xz", b"zst", b"cab", b"iso",
        b"img", b"arj", b"lzh", b"ace",
    ];
    let end = name.rsplit(|octet| *octet == b'.').next().filter(|end| end.len() < name.len());
    end.is_some_and(|end| ENDS.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

impl Held {
    fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// A number of little-endian octets at a place, if they are there.
fn number<const OCTETS: usize>(octets: &[u8], at: usize) -> Option<u64> {
    let octets = octets.get(at..at + OCTETS)?;
    Some(octets.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet)))
}

#[cfg(test)]
mod tests;
