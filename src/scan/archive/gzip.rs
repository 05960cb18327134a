//! gzip (RFC 1952): members, each with a header, a body that is deflated, and eight octets behind it.

use super::Told;

/// How a member begins, with the only method that there is.
pub(super) const MAGIC: &[u8] = &[0x1f, 0x8b, 8];

/// Octets of a header behind those, the first of which are the flags.
const FIXED_OCTETS: u16 = 7;

/// Checksum and size behind a body.
const TRAILER_OCTETS: u16 = 8;

const HAS_CHECKSUM: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

/// Where the reading of a gzip file stands.
#[derive(Debug, Default)]
pub(super) struct Gzip {
    part: Part,
    flags: u8,
    /// Octets of the part that were read.
    count: u16,
    extra: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Magic,
    Fixed,
    ExtraLength,
    Extra,
    Name,
    Comment,
    Checksum,
    Body,
    Trailer,
}

/// What octets around bodies turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// They do not end what they belong to.
    Nothing,
    /// A body follows.
    Body,
    /// No member begins there.
    Other,
}

impl Gzip {
    /// Whether a member has begun, as far as its first octets tell.
    pub(super) fn has_begun(&self) -> bool {
        self.part != Part::Magic
    }

    /// Whether the next octets are those of a body.
    pub(super) fn is_in_body(&self) -> bool {
        self.part == Part::Body
    }

    /// Whether the file may end here.
    pub(super) fn is_between_members(&self) -> bool {
        self.part == Part::Magic && self.count == 0
    }

    pub(super) fn body_ended(&mut self) {
        (self.part, self.count) = (Part::Trailer, 0);
    }

    /// Reads octets up to the next body. Returns how many, and what came of them.
    pub(super) fn read(&mut self, octets: &[u8]) -> (usize, Came) {
        for (octet, taken) in octets.iter().zip(1..) {
            if !self.take(*octet) {
                return (taken, Came::Other);
            }
            if self.part == Part::Body {
                return (taken, Came::Body);
            }
        }
        (octets.len(), Came::Nothing)
    }

    /// Takes an octet. False if no member begins so.
    fn take(&mut self, octet: u8) -> bool {
        let place = self.count;
        self.count += 1;
        let is_over = match self.part {
            Part::Magic => {
                if octet != MAGIC[usize::from(place)] {
                    return false;
                }
                usize::from(self.count) == MAGIC.len()
            }
            Part::Fixed => {
                if place == 0 {
                    self.flags = octet;
                }
                self.count == FIXED_OCTETS
            }
            Part::ExtraLength => {
                self.extra |= u16::from(octet) << (8 * place);
                self.count == 2
            }
            Part::Extra => self.count == self.extra,
            Part::Name | Part::Comment => {
                // They end with a NUL, however long they are.
                self.count = 0;
                octet == 0
            }
            Part::Checksum => self.count == 2,
            Part::Trailer => self.count == TRAILER_OCTETS,
            Part::Body => false,
        };
        if is_over {
            self.next();
        }
        true
    }

    /// The part that is over is followed by the next one that is there.
    fn next(&mut self) {
        self.count = 0;
        let there = |flag| self.flags & flag != 0;
        self.part = match self.part {
            Part::Magic => {
                self.extra = 0;
                Part::Fixed
            }
            Part::Fixed if there(HAS_EXTRA) => Part::ExtraLength,
            Part::ExtraLength if self.extra > 0 => Part::Extra,
            Part::Fixed | Part::ExtraLength | Part::Extra if there(HAS_NAME) => Part::Name,
            Part::Fixed | Part::ExtraLength | Part::Extra | Part::Name if there(HAS_COMMENT) => {
                Part::Comment
            }
            Part::Checksum | Part::Body => Part::Body,
            Part::Trailer => Part::Magic,
            _ if there(HAS_CHECKSUM) => Part::Checksum,
            _ => Part::Body,
        };
    }
}

/// RFC 1952 2.3: the name of the file that was compressed, if the first octets have it.
pub(super) fn name(head: &[u8], tell: &mut dyn FnMut(Told<'_>)) {
    let Some(flags) = head.get(3).filter(|flags| **flags & HAS_NAME != 0) else { return };
    let mut at = 10;
    if flags & HAS_EXTRA != 0 {
        let Some([low, high]) = head.get(10..12) else { return };
        at = 12 + usize::from(u16::from_le_bytes([*low, *high]));
    }
    let Some(rest) = head.get(at..) else { return };
    tell(Told::Name(rest.split(|octet| *octet == 0).next().unwrap_or_default()));
}
