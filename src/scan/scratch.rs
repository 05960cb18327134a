//! Memory that a scan uses while it looks at a block, and no longer.
//!
//! A message that waits for its next octets keeps a small state. What is large and needed only
//! between two of them lies here, once a thread, so that it does not grow with the messages.

use super::decode::DECODED_STEP_OCTETS;
use super::grams::FOLDED_OCTETS;
use crate::limits::SCAN_SEGMENT_OCTETS;
use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// The scratch of this thread. What it holds has no meaning from one use to the next.
#[derive(Debug)]
pub(super) struct Scratch {
    /// A leaf's octets with their transfer encoding undone.
    pub plain: Box<[u8; DECODED_STEP_OCTETS]>,
    /// A text that is made of a header field, and another one.
    pub text: Vec<u8>,
    pub other: Vec<u8>,
    /// What the engines need.
    pub search: Search,
}

/// What the engines need while they look at a block.
#[derive(Debug)]
pub(super) struct Search {
    /// What the rules found in the block.
    pub hits: BlockHits,
    /// Expressions whose gates were found, each with the segments.
    pub gates: Vec<(u16, u64)>,
    /// The block in lower case, behind the octets before it.
    pub folded: Box<[u8; FOLDED_OCTETS]>,
}

impl Scratch {
    fn new() -> Scratch {
        let search = Search {
            hits: BlockHits::default(),
            gates: Vec::new(),
            folded: Box::new([0; FOLDED_OCTETS]),
        };
        let plain = Box::new([0; DECODED_STEP_OCTETS]);
        Scratch { plain, text: Vec::new(), other: Vec::new(), search }
    }
}

/// Lends the scratch. It is never lent twice at a time.
pub(super) fn with<R>(use_it: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(use_it)
}

/// Which rules hit in a block: for each the first place, and the segments with a hit. Engines may
/// look at a block in any order, and a flood of hits costs a constant for each.
#[derive(Debug, Default)]
pub(super) struct BlockHits {
    of_rule: Vec<RuleHits>,
    touched: Vec<u16>,
    /// Where in its segment the block begins.
    phase: usize,
}

/// The hits of one rule in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleHits {
    /// The place of the octet with which the first match was complete.
    pub first: u32,
    /// A bit for each segment of the block in which a match was complete.
    pub segments: u64,
}

impl BlockHits {
    /// Makes room for rules of these numbers, and says where in its segment the block begins.
    /// Allocates only when there were never so many rules.
    pub(super) fn prepare(&mut self, rules: usize, phase: usize) {
        self.phase = phase;
        // A scan that panicked may have left some.
        self.drain(|_, _| {});
        if self.of_rule.len() < rules {
            self.of_rule.resize(rules, RuleHits::default());
            self.touched.reserve(rules);
        }
    }

    /// A literal of `rule` was complete with the octet at `place` of the block.
    #[inline]
    pub(super) fn see(&mut self, rule: u16, place: usize) {
        let hits = &mut self.of_rule[usize::from(rule)];
        if hits.segments == 0 {
            self.touched.push(rule);
            hits.first = place as u32;
        }
        hits.first = hits.first.min(place as u32);
        hits.segments |= 1 << ((self.phase + place) / SCAN_SEGMENT_OCTETS);
    }

    /// Gives each rule that hit, in the order of the first places, and forgets it.
    #[inline]
    pub(super) fn drain(&mut self, mut each: impl FnMut(u16, RuleHits)) {
        let BlockHits { of_rule, touched, .. } = self;
        if touched.is_empty() {
            return;
        }
        touched.sort_unstable_by_key(|rule| (of_rule[usize::from(*rule)].first, *rule));
        for rule in touched.drain(..) {
            each(rule, std::mem::take(&mut of_rule[usize::from(rule)]));
        }
    }
}
