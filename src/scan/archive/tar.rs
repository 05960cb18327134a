//! TAR: blocks of 512 octets, each entry a header and its octets (POSIX.1-2017, pax).

use super::{Tags, Told};

/// Octets of a block.
pub(super) const BLOCK_OCTETS: usize = 512;

/// Octets of an extended header, in blocks, that are searched for a name.
const EXTENDED_OCTETS: usize = 2 * BLOCK_OCTETS;

/// A tar archive.
#[derive(Debug, Default)]
pub(super) struct Tar {
    /// The next octets are a long name of the entry behind it, so many of them.
    name: Option<Named>,
    /// The octets of an entry follow, so many.
    entry: Option<u64>,
    is_over: bool,
}

/// A name that stands in front of its entry.
#[derive(Clone, Copy, Debug)]
struct Named {
    octets: usize,
    /// As `path=` of a pax header, and not as it is.
    in_pax: bool,
    /// Octets that follow those that are looked at.
    behind: u64,
}

impl Tar {
    /// Whether a block is a header.
    pub(super) fn is_header(block: &[u8]) -> bool {
        let is_whole = block.len() >= BLOCK_OCTETS;
        is_whole && block.get(257..262) == Some(b"ustar") && sum_is_right(block)
    }

    /// Whether the first octets of a block may be those of a header. All readers want the checksum, in
    /// octal digits behind blanks.
    pub(super) fn may_begin(head: &[u8]) -> bool {
        let sum = head.get(148..156).and_then(octal);
        sum.is_some_and(|sum| (8 * 32..=512 * 255).contains(&sum))
    }

    pub(super) fn wants(&self, _: &[u8]) -> usize {
        self.name.map_or(BLOCK_OCTETS, |name| name.octets.next_multiple_of(BLOCK_OCTETS))
    }

    /// Two empty blocks end an archive; one does, here.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the archive ends in the middle of a block.
    pub(super) fn is_open(&self, held: &[u8]) -> bool {
        !held.is_empty() || self.name.is_some()
    }

    /// Octets of the entry whose header was read last.
    pub(super) fn entry(&mut self) -> Option<u64> {
        self.entry.take()
    }

    /// Reads a block, or a long name. Returns the octets to be passed over.
    pub(super) fn header(&mut self, block: &[u8], tell: &mut dyn FnMut(Told<'_>)) -> u64 {
        if let Some(named) = self.name.take() {
            let octets = &block[..named.octets.min(block.len())];
            match named.in_pax {
                true => pax_paths(octets).for_each(|path| tell(Told::Name(path))),
                false => tell(Told::Name(octets.strip_suffix(b"\0").unwrap_or(octets))),
            }
            return named.behind;
        }
        if block.iter().all(|octet| *octet == 0) {
            self.is_over = true;
            return 0;
        }
        if !Tar::is_header(block) {
            self.is_over = true;
            tell(Told::Tag(Tags::ARCHIVE_BROKEN));
            return 0;
        }
        let Some(size) = octal(&block[124..136]) else {
            self.is_over = true;
            tell(Told::Tag(Tags::ARCHIVE_BROKEN));
            return 0;
        };
        let padded = size.checked_next_multiple_of(BLOCK_OCTETS as u64).unwrap_or(u64::MAX);
        if let kind @ (b'L' | b'x' | b'g') = block[156] {
            let octets = EXTENDED_OCTETS.min(usize::try_from(size).unwrap_or(usize::MAX));
            if octets > 0 {
                let behind = padded - octets.next_multiple_of(BLOCK_OCTETS) as u64;
                self.name = Some(Named { octets, in_pax: kind != b'L', behind });
            }
            return 0;
        }
        // The prefix stands before the name, with a slash between them.
        let mut name = [0; 256];
        let (prefix, last) = (text(&block[345..500]), text(&block[..100]));
        let mut length = 0;
        for piece in [prefix, if prefix.is_empty() { b"" } else { b"/" }, last] {
            name[length..][..piece.len()].copy_from_slice(piece);
            length += piece.len();
        }
        tell(Told::Name(&name[..length]));
        self.entry = Some(size);
        padded
    }
}

/// A field up to its NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|octet| *octet == 0).next().unwrap_or_default()
}

/// A number in octal digits; or, with the first bit set, in the octets themselves (GNU).
fn octal(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let low = field.get(field.len() - 8..)?;
        let number = low.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        return Some(number).filter(|number| *number < 1 << 48);
    }
    let digits = text(field).trim_ascii();
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// The sum over a header, with its own field as blanks.
fn sum_is_right(block: &[u8]) -> bool {
    let Some(field) = block.get(148..156) else { return false };
    let all: u64 = block.iter().map(|octet| u64::from(*octet)).sum();
    let own: u64 = field.iter().map(|octet| u64::from(*octet)).sum();
    octal(field) == Some(all - own + 8 * u64::from(b' '))
}

/// The paths in a pax header: `LENGTH path=NAME` and a line end.
fn pax_paths(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = octets.split(|octet| *octet == b'\n');
    lines.filter_map(|line| {
        let at = line.iter().position(|octet| *octet == b' ')?;
        line[at + 1..].strip_prefix(b"path=")
    })
}
