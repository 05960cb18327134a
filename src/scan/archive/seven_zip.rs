//! 7z: a start header that says where the header lies, behind everything else. It is most often
//! packed, and then no name can be seen without unpacking.

use super::{Tags, Told, number};
use crate::limits::ARCHIVE_HELD_OCTETS;
use memchr::memmem;

/// A 7z archive.
#[derive(Debug)]
pub(super) struct SevenZip {
    /// Octets of the header that is waited for, once the start header was read.
    header: Option<usize>,
    is_over: bool,
}

pub(super) const SIGNATURE: &[u8] = b"7z\xbc\xaf\x27\x1c";
const START_OCTETS: usize = 32;

/// How a header begins, and the codec of encrypted octets.
const PLAIN: u8 = 1;
const PACKED: u8 = 0x17;
const AES: &[u8] = &[0x06, 0xf1, 0x07, 0x01];
/// The property that holds the names.
const NAMES: u8 = 0x11;

impl SevenZip {
    pub(super) fn begin(head: &[u8]) -> Option<SevenZip> {
        let is_it = head.starts_with(SIGNATURE);
        is_it.then_some(SevenZip { header: None, is_over: false })
    }

    /// Whether there should have been more.
    pub(super) fn is_open(&self) -> bool {
        !self.is_over
    }

    pub(super) fn wants(&self, _: &[u8]) -> usize {
        self.header.unwrap_or(START_OCTETS)
    }

    /// Reads the start header, or the header. Returns the octets to be passed over, or nothing at the
    /// end.
    pub(super) fn header(&mut self, octets: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> Option<u64> {
        if self.header.is_none() {
            let (offset, size) = (number::<8>(octets, 12)?, number::<8>(octets, 20)?);
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            self.header = Some(size.min(ARCHIVE_HELD_OCTETS));
            self.is_over = size == 0;
            return (START_OCTETS as u64).checked_add(offset).filter(|_| size > 0);
        }
        self.is_over = true;
        if memmem::find(octets, AES).is_some() {
            tell(Told::Tag(Tags::ARCHIVE_ENCRYPTED));
        }
        match octets.first() {
            Some(&PLAIN) => names(octets, tell),
            Some(&PACKED) => tell(Told::Tag(Tags::ARCHIVE_HIDDEN)),
            _ => tell(Told::Tag(Tags::ARCHIVE_BROKEN)),
        }
        None
    }
}

/// Names in UTF-16, each with a NUL behind it, in the first property that can be that of names: the
/// properties before it would have to be understood to know for sure.
fn names(header: &[u8], tell: &mut dyn FnMut(Told<'_>)) {
    let at = header.iter().enumerate().filter(|(_, octet)| **octet == NAMES);
    let table = at.filter_map(|(at, _)| {
        let (size, from) = length(header, at + 1)?;
        // One octet says that the names are here and not elsewhere.
        let table = header.get(from..from.checked_add(size)?)?.strip_prefix(&[0])?;
        let is_it = !table.is_empty() && table.len().is_multiple_of(2) && table.ends_with(&[0, 0]);
        is_it.then_some(table)
    });
    let Some(table) = table.into_iter().next() else {
        return tell(Told::Tag(Tags::ARCHIVE_HIDDEN));
    };
    let units = table.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let (mut name, mut length) = ([0; 512], 0);
    for character in char::decode_utf16(units) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        if character == '\0' {
            tell(Told::Name(&name[..length]));
            length = 0;
        } else if length + 4 <= name.len() {
            length += character.encode_utf8(&mut name[length..]).len();
        }
    }
}

/// A length of one octet, or of two with the first bit set.
fn length(octets: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = *octets.get(at)?;
    match first {
        0..=0x7f => Some((usize::from(first), at + 1)),
        0x80..=0xbf => {
            let low = usize::from(*octets.get(at + 1)?);
            Some((usize::from(first & 0x3f) << 8 | low, at + 2))
        }
        _ => None,
    }
}
