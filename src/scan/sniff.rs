//! What a leaf is by its first octets, whatever its header says.

use crate::limits::SNIFFED_OCTETS;

/// The first octets of a leaf.
#[derive(Debug)]
pub(super) struct Head {
    octets: [u8; SNIFFED_OCTETS],
    length: usize,
    /// The leaf was judged.
    is_told: bool,
}

impl Default for Head {
    fn default() -> Head {
        Head { octets: [0; SNIFFED_OCTETS], length: 0, is_told: false }
    }
}

impl Head {
    /// A leaf begins.
    pub(super) fn clear(&mut self) {
        (self.length, self.is_told) = (0, false);
    }

    /// Takes the next octets of the leaf. Once there are enough of them, gives its type.
    pub(super) fn take(&mut self, octets: &[u8]) -> Option<&'static str> {
        if self.is_told {
            return None;
        }
        let taken = octets.len().min(SNIFFED_OCTETS - self.length);
        self.octets[self.length..][..taken].copy_from_slice(&octets[..taken]);
        self.length += taken;
        if self.length == SNIFFED_OCTETS { self.finish() } else { None }
    }

    /// The leaf has ended: gives its type, if that was not given yet.
    pub(super) fn finish(&mut self) -> Option<&'static str> {
        if std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        infer::get(&self.octets[..self.length]).map(|known| known.mime_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_told_once_by_its_first_octets() {
        let table = [
            (&b"%PDF-1.7 and so on"[..], Some("application/pdf")),
            (b"PK\x03\x04 a zip file", Some("application/zip")),
            (b"MZ a program", Some("application/vnd.microsoft.portable-executable")),
            (b"words", None),
            (b"", None),
        ];
        for (octets, expected) in table {
            let mut head = Head::default();
            for piece in octets.chunks(3) {
                assert_eq!(head.take(piece), None);
            }
            assert_eq!(head.finish(), expected, "{}", octets.escape_ascii());
            assert_eq!((head.take(b"%PDF"), head.finish()), (None, None));
            head.clear();
            let long = [octets, &[b' '; SNIFFED_OCTETS]].concat();
            assert_eq!(head.take(&long), expected);
            assert_eq!(head.take(&long), None);
        }
    }
}
