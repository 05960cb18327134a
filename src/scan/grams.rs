//! Large sets of literals: a filter over windows of a few octets, and exact comparisons behind it.
//!
//! A full transition table of many thousand literals lies in no cache, and a text of near misses
//! then waits for memory at each octet. So each literal is known by one window of its octets (its
//! anchor): eight, or four if it is shorter than that. At each place of the text the window that
//! ends there is looked up in a bit set that fits the cache; the few that pass are compared in full
//! with the literals of their bucket. The work an octet is bounded by the fullest bucket, which is
//! known when the set is built.
//!
//! Anchors are chosen where the bucket is emptiest, but near the end of the literal: so a block is
//! looked at again for the last [`GRAM_REACH`] octets only when the next one comes, and each match
//! is told with the octet that completes it, in any cut.

use super::literals::Asked;
use super::scratch::BlockHits;
use crate::limits::{GRAM_BUCKET_MAX, GRAM_REACH, SCAN_BLOCK_OCTETS};
use std::hash::BuildHasher;

/// Octets of a wide window, and of a narrow one.
const WIDE: usize = 8;
const NARROW: usize = 4;

/// The block in lower case, with the octets before it and room for a window at its very start.
pub(super) const FOLDED_OCTETS: usize = WIDE + TAIL_OCTETS + SCAN_BLOCK_OCTETS;

/// Octets of the shortest and of the longest literal that has an anchor. The last octets of a text
/// are kept for the longest, so it should not be very long.
pub(super) const ANCHORED_OCTETS: std::ops::RangeInclusive<usize> = NARROW..=TAIL_OCTETS;

/// Octets of a text that are kept for the next block.
const TAIL_OCTETS: usize = 96;

/// The last octets of a text, in lower case: as many as the longest literal has but one.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    octets: [u8; TAIL_OCTETS],
    length: u8,
}

impl Default for Tail {
    fn default() -> Tail {
        Tail { octets: [0; TAIL_OCTETS], length: 0 }
    }
}

impl Tail {
    /// How many octets there are.
    pub(super) fn octets(&self) -> usize {
        usize::from(self.length)
    }

    /// Puts a block in lower case behind the tail, where both engines look at it, and gives both.
    pub(super) fn fold<'a>(&self, block: &[u8], folded: &'a mut [u8; FOLDED_OCTETS]) -> &'a [u8] {
        debug_assert!(block.len() <= SCAN_BLOCK_OCTETS);
        let (tail, place) = folded[WIDE..].split_at_mut(self.octets());
        tail.copy_from_slice(&self.octets[..tail.len()]);
        let place = &mut place[..block.len()];
        place.copy_from_slice(block);
        place.make_ascii_lowercase();
        &folded[WIDE..WIDE + self.octets() + block.len()]
    }
}

/// A large set of literals with the rules that ask for them.
#[derive(Debug)]
pub(super) struct Grams {
    wide: Anchors,
    narrow: Anchors,
    /// How many literals it is for.
    length: usize,
    longest: usize,
}

/// Windows that passed the filter and wait for their bucket: as memory answers several questions
/// at once faster than one after the other, they are asked together.
const CANDIDATES: usize = 32;

impl Grams {
    /// Builds the set from literals in lower case of [`ANCHORED_OCTETS`], each
    /// with its rules. Gives back those for which every bucket is full.
    pub(super) fn build<'a>(literals: Vec<Asked<'a>>) -> (Grams, Vec<Asked<'a>>) {
        // The multiplier differs from process to process, so that nobody can compute beforehand
        // which windows share a bucket. What is found does not depend on it.
        let seed = foldhash::fast::RandomState::default().hash_one("grams") | 1;
        let asked = literals.len();
        let longest = literals.iter().map(|(literal, _)| literal.len()).max().unwrap_or(0);
        let mut crowded = Vec::new();
        let (wide, narrow): (Vec<_>, Vec<_>) =
            literals.into_iter().partition(|(literal, _)| literal.len() >= WIDE);
        let wide = Anchors::build::<WIDE>(wide, seed, &mut crowded);
        let narrow = Anchors::build::<NARROW>(narrow, seed, &mut crowded);
        let length = asked - crowded.len();
        (Grams { wide, narrow, length, longest }, crowded)
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.wide.is_empty() && self.narrow.is_empty()
    }

    /// How many literals it is for.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Memory of the tables, in octets.
    pub(super) fn table_octets(&self) -> usize {
        self.wide.octets() + self.narrow.octets()
    }

    /// Looks at the next octets of a text, so many, which are folded behind the tail.
    pub(super) fn walk(
        &self,
        tail: &mut Tail,
        folded: &[u8; FOLDED_OCTETS],
        octets: usize,
        hits: &mut BlockHits,
    ) {
        let before = tail.octets();
        let behind = before + octets;
        let text = &folded[..WIDE + behind];
        if !self.wide.is_empty() {
            self.wide.look::<WIDE>(text, before, hits);
        }
        if !self.narrow.is_empty() {
            self.narrow.look::<NARROW>(text, before, hits);
        }
        let kept = behind.min(self.longest.saturating_sub(1));
        tail.octets[..kept].copy_from_slice(&text[WIDE + behind - kept..]);
        tail.length = kept as u8;
    }
}

/// Literals that are known by windows of one width.
#[derive(Debug, Default)]
struct Anchors {
    multiplier: u64,
    /// Two bits of one word for each window.
    filter: Box<[u64]>,
    filter_shift: u32,
    /// Where each bucket of `anchored` begins, and the end.
    buckets: Box<[u32]>,
    bucket_shift: u32,
    /// The literals bucket by bucket, each a [`Head`], its octets in lower case, and its rules.
    anchored: Box<[u8]>,
}

/// Octets of the numbers in front of an anchored literal: those of the literal, those of it behind
/// the window, and how many rules ask for it.
const HEAD_OCTETS: usize = 4;

impl Anchors {
    fn build<'a, const WIDTH: usize>(
        literals: Vec<Asked<'a>>,
        multiplier: u64,
        crowded: &mut Vec<Asked<'a>>,
    ) -> Anchors {
        if literals.is_empty() {
            return Anchors::default();
        }
        let bucket_bits = (2 * literals.len()).next_power_of_two().ilog2().max(4);
        let filter_bits = bucket_bits - 2;
        let mut anchors = Anchors {
            multiplier,
            filter: vec![0; 1 << filter_bits].into(),
            filter_shift: 64 - filter_bits,
            bucket_shift: 64 - bucket_bits,
            ..Anchors::default()
        };
        // How many literals could be in each bucket; then those that are.
        let mut wanted = vec![0u32; 1 << bucket_bits];
        for (literal, _) in &literals {
            for (window, _) in windows::<WIDTH>(literal) {
                wanted[anchors.bucket_of(window)] += 1;
            }
        }
        let mut taken = vec![0u8; 1 << bucket_bits];
        let mut chosen: Vec<(usize, u8, Asked<'a>)> = Vec::with_capacity(literals.len());
        for asked in literals {
            let emptiest = windows::<WIDTH>(asked.0).min_by_key(|(window, _)| {
                let bucket = anchors.bucket_of(*window);
                (taken[bucket], wanted[bucket])
            });
            let Some((window, octets_behind)) = emptiest else { continue };
            let bucket = anchors.bucket_of(window);
            if usize::from(taken[bucket]) == GRAM_BUCKET_MAX || asked.1.len() > MAX_RULES {
                crowded.push(asked);
                continue;
            }
            taken[bucket] += 1;
            let (word, bits) = anchors.filter_place(window);
            anchors.filter[word] |= bits;
            chosen.push((bucket, octets_behind, asked));
        }
        chosen.sort_by_key(|(bucket, ..)| *bucket);
        (anchors.buckets, anchors.anchored) = lay_out(&chosen, 1 << bucket_bits);
        anchors
    }

    fn is_empty(&self) -> bool {
        self.anchored.is_empty()
    }

    fn octets(&self) -> usize {
        size_of_val(&*self.filter) + size_of_val(&*self.buckets) + self.anchored.len()
    }

    #[inline]
    fn filter_place(&self, window: u64) -> (usize, u64) {
        let mixed = window.wrapping_mul(self.multiplier);
        let bits = 1u64 << (mixed >> 16 & 63) | 1u64 << (mixed >> 22 & 63);
        ((mixed >> self.filter_shift) as usize, bits)
    }

    #[inline]
    fn bucket_of(&self, window: u64) -> usize {
        (window.wrapping_mul(self.multiplier) >> self.bucket_shift) as usize
    }

    /// Looks at each window of `text` (which begins [`WIDE`] octets early) with which a literal may
    /// be complete behind the first `before` octets.
    #[inline]
    fn look<const WIDTH: usize>(&self, text: &[u8], before: usize, hits: &mut BlockHits) {
        let first = before.saturating_sub(GRAM_REACH) + 1;
        let mut candidates = [(0u32, 0u32); CANDIDATES];
        let mut count = 0;
        for (index, window) in text[first..].array_windows::<WIDE>().enumerate() {
            let window = u64::from_le_bytes(*window) >> (8 * (WIDE - WIDTH));
            let (word, bits) = self.filter_place(window);
            if self.filter[word] & bits == bits {
                candidates[count] = ((first + index) as u32, self.bucket_of(window) as u32);
                count += 1;
                if count == CANDIDATES {
                    self.compare(&candidates, text, before, hits);
                    count = 0;
                }
            }
        }
        self.compare(&candidates[..count], text, before, hits);
    }

    /// Compares the literals of the buckets of windows, each with the octets of the text up to its
    /// end.
    #[inline(never)]
    fn compare(&self, candidates: &[(u32, u32)], text: &[u8], before: usize, hits: &mut BlockHits) {
        // First all buckets and what begins there: loads that do not wait for each other. What is
        // loaded must not seem idle to the compiler, which would leave it out.
        let mut buckets = [(0usize, 0usize, 0u8); CANDIDATES];
        for (bucket, (_, number)) in buckets.iter_mut().zip(candidates) {
            let number = *number as usize;
            bucket.0 = self.buckets[number] as usize;
            bucket.1 = self.buckets[number + 1] as usize;
        }
        for (from, _, first) in buckets.iter_mut().take(candidates.len()) {
            *first = self.anchored.get(*from).copied().unwrap_or_default();
        }
        std::hint::black_box(&buckets);
        for ((from, to, _), (end, _)) in buckets.into_iter().zip(candidates) {
            let mut bucket = &self.anchored[from..to];
            while let Some((literal, after)) = Anchored::split(bucket) {
                bucket = after;
                let complete = *end as usize + literal.octets_behind;
                let may_be = complete > before && complete + WIDE <= text.len();
                if may_be
                    && complete >= literal.octets.len()
                    && text[..WIDE + complete].ends_with(literal.octets)
                {
                    literal.rules().for_each(|rule| hits.see(rule, complete - before - 1));
                }
            }
        }
    }
}

/// A literal as it lies in its bucket.
struct Anchored<'a> {
    octets: &'a [u8],
    octets_behind: usize,
    rules: &'a [u8],
}

impl<'a> Anchored<'a> {
    /// Takes the first literal from a bucket.
    #[inline]
    fn split(bucket: &'a [u8]) -> Option<(Anchored<'a>, &'a [u8])> {
        let (head, rest) = bucket.split_first_chunk::<HEAD_OCTETS>()?;
        let [low, high, octets_behind, rules] = *head;
        let (octets, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        let (rules, rest) = rest.split_at_checked(2 * usize::from(rules))?;
        Some((Anchored { octets, octets_behind: usize::from(octets_behind), rules }, rest))
    }

    fn rules(&self) -> impl Iterator<Item = u16> + 'a {
        self.rules.as_chunks().0.iter().map(|rule| u16::from_le_bytes(*rule))
    }
}

/// Rules that one anchored literal can have.
const MAX_RULES: usize = u8::MAX as usize;

/// Lays literals out bucket by bucket: where each bucket begins, and the literals.
fn lay_out(chosen: &[(usize, u8, Asked)], buckets: usize) -> (Box<[u32]>, Box<[u8]>) {
    let mut begins = Vec::with_capacity(buckets + 1);
    let mut anchored = Vec::new();
    for (bucket, octets_behind, (literal, rules)) in chosen {
        begins.resize(bucket + 1, anchored.len() as u32);
        let [low, high] = (literal.len() as u16).to_le_bytes();
        anchored.extend_from_slice(&[low, high, *octets_behind, rules.len() as u8]);
        anchored.extend_from_slice(literal);
        rules.iter().for_each(|rule| anchored.extend_from_slice(&rule.to_le_bytes()));
    }
    begins.resize(buckets + 1, anchored.len() as u32);
    (begins.into(), anchored.into())
}

/// The windows by which a literal may be known, each with the number of octets behind it.
fn windows<const WIDTH: usize>(literal: &[u8]) -> impl Iterator<Item = (u64, u8)> + '_ {
    let least_end = WIDTH.max(literal.len().saturating_sub(GRAM_REACH - 1));
    (least_end..=literal.len()).map(|end| {
        let window = &literal[end - WIDTH..end];
        let window = window.iter().rev().fold(0, |all, octet| all << 8 | u64::from(*octet));
        (window, (literal.len() - end) as u8)
    })
}

const _: () = assert!(GRAM_REACH >= WIDE && GRAM_REACH <= u8::MAX as usize);
