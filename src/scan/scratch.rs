//! Memory that a scan uses while it looks at a block, and no longer.
//!
//! A message that waits for its next octets keeps a small state. What is large and needed only
//! between two of them lies here, once a thread, so that it does not grow with the messages.

use super::decode::DECODED_STEP_OCTETS;
use super::grams::FOLDED_OCTETS;
use super::windows::{Gates, REGEX_WORDS, WAITING_CELLS, set};
use crate::limits::SCAN_BLOCK_OCTETS;
use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// The scratch of this thread. What it holds has no meaning from one use to the next.
#[derive(Debug)]
pub(super) struct Scratch {
    /// A leaf's octets with their transfer encoding undone.
    pub plain: Box<[u8; DECODED_STEP_OCTETS]>,
    /// Some of them once more, to find where they come from.
    pub again: Box<[u8; DECODED_STEP_OCTETS]>,
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
    /// The block in lower case, behind the octets before it.
    pub folded: Box<[u8; FOLDED_OCTETS]>,
}

impl Scratch {
    fn new() -> Scratch {
        let search = Search { hits: BlockHits::default(), folded: Box::new([0; FOLDED_OCTETS]) };
        let [plain, again] = [(); 2].map(|()| Box::new([0; DECODED_STEP_OCTETS]));
        Scratch { plain, again, text: Vec::new(), other: Vec::new(), search }
    }
}

/// Lends the scratch. It is never lent twice at a time.
pub(super) fn with<R>(use_it: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(use_it)
}

/// Octets of a cell: so exactly it is known where the gates of expressions are.
pub(super) const CELL_OCTETS: usize = 64;

/// Cells of a block, with those that waited for it.
pub(super) const BLOCK_CELLS: usize = SCAN_BLOCK_OCTETS / CELL_OCTETS + 2 * WAITING_CELLS;

/// Which rules hit in a block, each with its first place, and which expressions have a gate in which
/// cell. Engines may look at a block in any order, and a flood of hits costs a constant for each.
#[derive(Debug)]
pub(super) struct BlockHits {
    /// For each rule, the place of the octet with which its first match was complete.
    first: Vec<u32>,
    touched: Vec<u16>,
    /// How many rules there are: higher numbers are those of expressions.
    rules: usize,
    /// The gates in each cell; those in front may have waited for the block.
    pub gates: Box<[Gates; BLOCK_CELLS]>,
    /// Cells that may hold something.
    used: usize,
    /// Where behind the first cell the block begins.
    phase: usize,
}

/// The place of a rule that did not hit.
const NOWHERE: u32 = u32::MAX;

impl Default for BlockHits {
    fn default() -> BlockHits {
        BlockHits {
            first: Vec::new(),
            touched: Vec::new(),
            rules: 0,
            gates: Box::new([[0; REGEX_WORDS]; BLOCK_CELLS]),
            used: 0,
            phase: 0,
        }
    }
}

impl BlockHits {
    /// Makes room for so many rules and for a block of so many octets, which begins so far behind the
    /// first cell. Allocates only when there were never so many rules.
    pub(super) fn prepare(&mut self, rules: usize, phase: usize, octets: usize) {
        // A scan that panicked may have left some.
        self.drain(|_, _| {});
        self.gates[..self.used].fill(Gates::default());
        self.used = BLOCK_CELLS.min((phase + octets) / CELL_OCTETS + WAITING_CELLS);
        (self.rules, self.phase) = (rules, phase);
        if self.first.len() < rules {
            self.first.resize(rules, NOWHERE);
            self.touched.reserve(rules);
        }
    }

    /// A literal of a rule or a gate of an expression was complete with the octet at `place` of the
    /// block.
    #[inline]
    pub(super) fn see(&mut self, number: u16, place: usize) {
        let number = usize::from(number);
        if number >= self.rules {
            let cell = (self.phase + place) / CELL_OCTETS;
            set(&mut self.gates[cell], number - self.rules);
            return;
        }
        let first = &mut self.first[number];
        if *first == NOWHERE {
            self.touched.push(number as u16);
        }
        *first = (*first).min(place as u32);
    }

    /// Gives each rule that hit with its first place, in the order of these, and forgets it.
    #[inline]
    pub(super) fn drain(&mut self, mut each: impl FnMut(u16, usize)) {
        let BlockHits { first, touched, .. } = self;
        if touched.is_empty() {
            return;
        }
        touched.sort_unstable_by_key(|rule| (first[usize::from(*rule)], *rule));
        for rule in touched.drain(..) {
            each(rule, std::mem::replace(&mut first[usize::from(rule)], NOWHERE) as usize);
        }
    }

    /// All gates that were found.
    pub(super) fn all_gates(&self) -> Gates {
        let mut all = Gates::default();
        for cell in &self.gates[..self.used] {
            all.iter_mut().zip(cell).for_each(|(word, other)| *word |= other);
        }
        all
    }
}
