//! Sixteen octets at once: which of them are of a kind, and where the first one is.
//!
//! What interrupts a text (a tag, a quote, an escape, a line end) comes every few octets, and there a
//! call that looks for it costs more than the look. Marks say of each octet whether it is of a kind;
//! each is exact, so they can be put together.

use wide::u8x16;

/// Octets in a word.
pub(super) const OCTETS: usize = 16;

/// Octets in one register, or marks of them: all bits of an octet that is marked are set.
pub(super) type Word = u8x16;

/// The octets of a text at its start; where there are fewer, zeros follow.
#[inline(always)]
pub(super) fn padded(octets: &[u8]) -> [u8; OCTETS] {
    octets.first_chunk().copied().unwrap_or_else(|| {
        let mut word = [0; OCTETS];
        word.iter_mut().zip(octets).for_each(|(place, octet)| *place = *octet);
        word
    })
}

/// Marks the octets that are `octet`.
#[inline(always)]
pub(super) fn equal(word: Word, octet: u8) -> Word {
    word.simd_eq(Word::splat(octet))
}

/// Marks the octets that are `octet` or below.
#[inline(always)]
pub(super) fn up_to(word: Word, octet: u8) -> Word {
    word.min(Word::splat(octet)).simd_eq(word)
}

/// A bit for each mark, that of the first octet lowest. An octet beyond ASCII is a mark of itself.
#[inline(always)]
pub(super) fn bits(marks: Word) -> u32 {
    marks.to_bitmask()
}

/// The places of marks, in order.
#[inline(always)]
pub(super) fn places(bits: u32) -> impl Iterator<Item = usize> {
    let mut left = bits;
    std::iter::from_fn(move || {
        let place = (left != 0).then(|| left.trailing_zeros() as usize)?;
        left &= left - 1;
        Some(place)
    })
}

/// How many octets are before the first mark.
#[inline(always)]
pub(super) fn before(bits: u32) -> usize {
    (bits.trailing_zeros() as usize).min(OCTETS)
}

/// How many octets are before the first one that is marked by `marks`.
#[inline(always)]
pub(super) fn until(octets: &[u8], marks: impl Fn(Word) -> Word) -> usize {
    let mut length = 0;
    while let Some(word) = octets[length..].first_chunk() {
        let found = before(bits(marks(Word::new(*word))));
        length += found;
        if found < OCTETS {
            return length;
        }
    }
    let rest = &octets[length..];
    length + before(bits(marks(Word::new(padded(rest))))).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn marks_are_those_of_each_octet(octets: [u8; OCTETS], octet: u8) {
            let octets = octets.map(|one| if one & 1 == 0 { one } else { octet });
            let marks = |is: &dyn Fn(u8) -> bool| {
                octets.iter().rev().fold(0, |bits, one| bits << 1 | u32::from(is(*one)))
            };
            let word = Word::new(octets);
            proptest::prop_assert_eq!(bits(equal(word, octet)), marks(&|one| one == octet));
            proptest::prop_assert_eq!(bits(up_to(word, octet)), marks(&|one| one <= octet));
            proptest::prop_assert_eq!(bits(word), marks(&|one| !one.is_ascii()));
        }

        #[test]
        fn the_first_octet_of_a_kind_is_found(
            octets in proptest::collection::vec(b'a'..=b'z', 0..70),
        ) {
            let found = until(&octets, |word| equal(word, b'c') | equal(word, b'e'));
            let expected = octets.iter().position(|octet| matches!(octet, b'c' | b'e'));
            proptest::prop_assert_eq!(found, expected.unwrap_or(octets.len()));
        }
    }
}
