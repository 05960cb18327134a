//! Archives in leaves: the names of what they hold, and what is odd about them, as octets pass.
//!
//! No offset of an archive is followed: headers are read where they lie, in one pass forward, so no
//! archive can lead the scan in a circle or make it wait for what is not there. A name is data: it is
//! searched, and nothing else. Where the configuration asks for it, what is packed is unpacked on the
//! way (`unpack`), up to a number of octets, and what comes out is read in the same way.

mod gzip;
mod rar;
mod seven_zip;
mod tar;
mod unpack;
mod zip;

pub(super) use unpack::PLACE_OCTETS;

use super::Tags;
use super::findings::TagId;
use super::unpacked::Looking;
use crate::limits::{
    ARCHIVE_HELD_OCTETS, ARCHIVE_NAMES_MAX, ARCHIVE_RATIO_MAX, ARCHIVE_RATIO_OCTETS,
    ENTRY_NAME_OCTETS,
};
use rar::Rar;
use seven_zip::SevenZip;
use smallvec::SmallVec;
use tar::Tar;
use unpack::{Method, Packed, Unpacking};
use zip::Zip;

/// The first octets of a leaf by which it is seen whether it may be an archive: the checksum of a tar
/// header ends at octet 156.
const JUDGED_OCTETS: usize = 256;

/// What is read of the archives in the leaves of a message.
#[derive(Debug, Default)]
pub(super) struct Archives {
    leaf: Stream,
    message: OfMessage,
}

/// What is counted over all archives of a message.
#[derive(Debug, Default)]
struct OfMessage {
    /// Names that were given.
    names: u32,
    /// Octets that may be unpacked; none, and nothing is.
    unpacked_max: u64,
    /// Octets that were unpacked, layers inside of others counted again.
    unpacked: u64,
    /// Octets of leaves from which they came.
    packed: u64,
}

/// What is read of one stream of octets: a leaf, or what was unpacked.
#[derive(Debug)]
struct Stream {
    kind: Kind,
    held: Held,
    zip: Zip,
    unpacking: Unpacking,
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
#[derive(Debug)]
pub(super) enum Told<'a> {
    /// The name of an entry, or its first octets, as it is written.
    Name(&'a [u8]),
    /// Something is odd about the archive.
    Tag(TagId),
    /// Octets that were unpacked, and how rules have seen those before them.
    Unpacked(&'a mut Looking, &'a [u8]),
    /// What was unpacked has ended.
    UnpackedEnd(&'a mut Looking),
}

impl Archives {
    /// A message begins, of which so many octets may be unpacked.
    pub(super) fn begin_message(&mut self, unpacked_max: u64) {
        self.message = OfMessage { unpacked_max, ..OfMessage::default() };
        self.begin_leaf();
    }

    /// A leaf begins, and what the last one took is given back.
    pub(super) fn begin_leaf(&mut self) {
        self.leaf = Stream::default();
    }

    /// Reads the next octets of the leaf.
    pub(super) fn read(&mut self, octets: &[u8], mut tell: impl FnMut(Told<'_>)) {
        self.leaf.read(octets, 0, &mut self.message, &mut tell);
    }

    /// The leaf has ended.
    pub(super) fn finish(&mut self, mut tell: impl FnMut(Told<'_>)) {
        let Archives { leaf, message } = self;
        leaf.finish(0, message, &mut tell);
    }
}

impl OfMessage {
    /// Whether anything more is unpacked.
    fn unpacks(&self) -> bool {
        self.unpacked < self.unpacked_max
    }

    /// Counts octets that were unpacked. Returns how many of them may be looked at.
    fn take_unpacked(&mut self, octets: usize, tell: &mut dyn FnMut(Told<'_>)) -> usize {
        let left = self.unpacked_max - self.unpacked;
        let taken = octets.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.unpacked += taken as u64;
        let ratio = self.unpacked / self.packed.max(1);
        if ratio > ARCHIVE_RATIO_MAX && self.unpacked >= self.unpacked_max.min(ARCHIVE_RATIO_OCTETS)
        {
            tell(Told::Tag(Tags::ARCHIVE_BOMB));
            self.unpacked_max = self.unpacked;
        }
        if !self.unpacks() {
            tell(Told::Tag(Tags::ARCHIVE_LIMIT));
        }
        taken
    }
}

impl Default for Stream {
    fn default() -> Stream {
        Stream {
            kind: Kind::Unknown,
            held: Held::default(),
            zip: Zip::default(),
            unpacking: Unpacking::begin(),
        }
    }
}

impl Stream {
    /// Reads the next octets of a stream that lies in so many others.
    fn read(
        &mut self,
        octets: &[u8],
        depth: usize,
        message: &mut OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        let mut rest = octets;
        while !rest.is_empty() {
            let wanted = self.wanted();
            let (piece, after) = rest.split_at(wanted.unwrap_or(rest.len()).min(rest.len()));
            rest = after;
            self.entries(piece, depth, message, tell);
            let Some(wanted) = wanted else { continue };
            if self.held.skip > 0 {
                self.held.skip -= piece.len() as u64;
                continue;
            }
            self.held.octets.extend_from_slice(piece);
            if piece.len() == wanted {
                self.step(depth, message, tell);
            }
        }
    }

    /// How many octets are missing of what is passed over, or of the next header; nothing if there
    /// is none to come.
    fn wanted(&self) -> Option<usize> {
        let Stream { kind, held, .. } = self;
        if held.skip > 0 {
            return Some(usize::try_from(held.skip).unwrap_or(usize::MAX));
        }
        let wanted = match kind {
            Kind::Unknown => unknown_wants(held.octets()),
            Kind::Tar(tar) => tar.wants(held.octets()),
            Kind::Rar(rar) => rar.wants(held.octets()),
            Kind::SevenZip(seven_zip) => seven_zip.wants(held.octets()),
            Kind::Gzip | Kind::Other => return None,
        };
        Some(wanted.min(ARCHIVE_HELD_OCTETS).saturating_sub(held.octets.len()))
    }

    /// Enough is held for the next header.
    fn step(&mut self, depth: usize, message: &mut OfMessage, tell: &mut dyn FnMut(Told<'_>)) {
        let Stream { kind, held, .. } = self;
        if matches!(kind, Kind::Unknown) && held.octets.len() < unknown_wants(held.octets()) {
            return;
        }
        self.take_header(message, tell);
        let Stream { kind, unpacking, .. } = self;
        let entry = match kind {
            Kind::Tar(tar) => tar.entry(),
            _ => None,
        };
        let Some(octets) = entry else { return };
        let packed = Packed { method: Method::Stored, skip: 0, octets: Some(octets) };
        match unpacking.is_idle() {
            true => unpacking.open(packed, depth, message, tell),
            // An archive of two kinds at once.
            false => tell(Told::Tag(Tags::ARCHIVE_AMBIGUOUS)),
        }
    }

    /// Reads what is held of a header.
    fn take_header(&mut self, message: &mut OfMessage, tell: &mut dyn FnMut(Told<'_>)) {
        let Stream { kind, held, .. } = self;
        let is_first = matches!(kind, Kind::Unknown);
        if is_first && message.unpacks() && is_packed_otherwise(held.octets()) {
            tell(Told::Tag(Tags::ARCHIVE_UNREAD));
        }
        step(kind, held, &mut counted(&mut message.names, tell));
    }

    /// Octets as a zip archive and as what is packed in the entry that is open.
    fn entries(
        &mut self,
        octets: &[u8],
        depth: usize,
        message: &mut OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        let Stream { kind, zip, unpacking, .. } = self;
        let mut rest = octets;
        loop {
            let (taken, is_header) = zip.read(rest);
            // What lies before the header is unpacked first: the order of what is told, and so what
            // limits leave out, is that of the octets.
            unpacking.read(&rest[..taken], depth, message, tell);
            rest = &rest[taken..];
            if !is_header {
                return;
            }
            let before = zip.headers();
            let packed = zip.take_header(&mut counted(&mut message.names, tell));
            match packed {
                Some(packed) if unpacking.is_idle() && !matches!(kind, Kind::Tar(_)) => {
                    unpacking.open(packed, depth, message, tell);
                }
                // One that is encrypted, too, is to come out of what it lies in.
                _ if zip.headers() > before => unpacking.see_header(),
                _ => {}
            }
        }
    }

    /// Headers of zip archives that were seen.
    fn zip_headers(&self) -> u32 {
        self.zip.headers()
    }

    /// The stream has ended.
    fn finish(&mut self, depth: usize, message: &mut OfMessage, tell: &mut dyn FnMut(Told<'_>)) {
        self.unpacking.finish(depth, message, tell);
        self.zip.finish(&mut counted(&mut message.names, tell));
        if matches!(self.kind, Kind::Unknown) {
            // Shorter than a tar archive can be.
            self.take_header(message, tell);
        }
        let Stream { kind, held, .. } = self;
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
fn counted<'a>(names: &'a mut u32, tell: &'a mut dyn FnMut(Told<'_>)) -> impl FnMut(Told<'_>) + 'a {
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
    match head.starts_with(gzip::MAGIC) || Tar::may_begin(head) {
        true => tar::BLOCK_OCTETS,
        false => JUDGED_OCTETS,
    }
}

fn kind_of(head: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> Kind {
    if let Some(rar) = Rar::begin(head) {
        Kind::Rar(rar)
    } else if let Some(seven_zip) = SevenZip::begin(head) {
        Kind::SevenZip(seven_zip)
    } else if head.starts_with(gzip::MAGIC) {
        gzip::name(head, tell);
        Kind::Gzip
    } else if Tar::is_header(head) {
        Kind::Tar(Tar::default())
    } else {
        Kind::Other
    }
}

/// Whether a stream is packed in a way that is not undone here, by its first octets.
fn is_packed_otherwise(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 7] = [
        rar::SIGNATURE,
        seven_zip::SIGNATURE,
        b"BZh",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd", // Zstandard (RFC 8878 3.1.1)
        b"LZIP",
        b"MSCF", // cabinets
    ];
    MAGIC.iter().any(|magic| head.starts_with(magic))
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
