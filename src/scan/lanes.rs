//! A full transition table, walked at several places of a block at once.
//!
//! A step of one walk waits for two loads, one after the other, and the processor has nothing else
//! to do meanwhile. So a block is cut into equal lanes that are walked together. A lane begins as
//! many octets early, at the start state, as the longest literal has but one: the state depends on
//! no more octets than that, and is exact where the lane's own part begins. Only the first lane
//! goes on from the state that was carried over, only the last one's is carried on.
//!
//! Literals and text are in lower case: a table that knew both cases would have twice as many
//! classes of octets, and half of it would lie outside the cache.
//!
//! The table is aho-corasick's, of the kind that reports every match, without a prefilter:
//! prefilters are fast on friendly text only.

use super::literals::Asked;
use super::scratch::BlockHits;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

/// Lanes of a long block. More than this many open loads gain nothing that was measured.
const LANES: usize = 8;

/// Octets of the shortest lane. As all lanes run up together, the run-up costs what as many octets
/// of each lane cost, and a shorter block is walked in fewer lanes.
const LANE_OCTETS_MIN: usize = 64;

/// A full transition table with the rules that ask for its literals.
#[derive(Debug)]
pub(super) struct Lanes {
    table: DFA,
    /// The rules that ask for the literals, one after the other, and where those of each begin.
    rules: Box<[u16]>,
    rules_from: Box<[u32]>,
    start: StateID,
    run_up: usize,
}

impl Lanes {
    /// Builds the table for literals in lower case; `None` if its states cannot be numbered.
    pub(super) fn build(asked: &[Asked<'_>]) -> Option<Lanes> {
        let literals: Vec<&[u8]> = asked.iter().map(|(literal, _)| *literal).collect();
        let (mut rules, mut rules_from) = (Vec::new(), vec![0]);
        for (_, asking) in asked {
            rules.extend_from_slice(asking);
            rules_from.push(u32::try_from(rules.len()).ok()?);
        }
        let mut builder = DFA::builder();
        builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored);
        builder.prefilter(false).byte_classes(true);
        let table = builder.build(&literals).ok()?;
        let start = table.start_state(Anchored::No).ok()?;
        let longest = literals.iter().map(|literal| literal.len()).max().unwrap_or(0);
        let (rules, rules_from) = (rules.into(), rules_from.into());
        Some(Lanes { table, rules, rules_from, start, run_up: longest.saturating_sub(1) })
    }

    /// The state before any octet.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// How many literals it is for.
    pub(super) fn len(&self) -> usize {
        self.rules_from.len() - 1
    }

    /// Memory of the table, in octets.
    pub(super) fn table_octets(&self) -> usize {
        self.table.memory_usage()
    }

    /// Walks over a block in lower case from `state`, and returns the state after it.
    pub(super) fn walk(&self, state: StateID, block: &[u8], hits: &mut BlockHits) -> StateID {
        let least = self.run_up.max(LANE_OCTETS_MIN);
        if block.len() >= LANES * least {
            self.walk_lanes::<LANES>(state, block, hits)
        } else if block.len() >= LANES / 2 * least {
            self.walk_lanes::<{ LANES / 2 }>(state, block, hits)
        } else {
            self.walk_one(state, block, 0, hits)
        }
    }

    fn walk_one(
        &self,
        mut state: StateID,
        octets: &[u8],
        from: usize,
        hits: &mut BlockHits,
    ) -> StateID {
        for (place, octet) in octets.iter().enumerate() {
            state = self.table.next_state(Anchored::No, state, *octet);
            if self.table.is_special(state) {
                self.matched(state, from + place, hits);
            }
        }
        state
    }

    fn walk_lanes<const K: usize>(
        &self,
        state: StateID,
        block: &[u8],
        hits: &mut BlockHits,
    ) -> StateID {
        let length = block.len() / K;
        let mut states = [self.start; K];
        states[0] = state;
        // All lanes but the first one run up together, from as many octets before their own.
        let run_ups: [&[u8]; K] = std::array::from_fn(|lane| match lane {
            0 => &block[..0],
            _ => &block[lane * length - self.run_up..lane * length],
        });
        for place in 0..self.run_up {
            for (state, run_up) in states.iter_mut().zip(run_ups).skip(1) {
                *state = self.table.next_state(Anchored::No, *state, run_up[place]);
            }
        }
        let lanes: [&[u8]; K] = std::array::from_fn(|lane| &block[lane * length..][..length]);
        for place in 0..length {
            let mut special = false;
            for (state, lane) in states.iter_mut().zip(lanes) {
                *state = self.table.next_state(Anchored::No, *state, lane[place]);
                special |= self.table.is_special(*state);
            }
            if special {
                self.matched_in_lanes(&states, length, place, hits);
            }
        }
        self.walk_one(states[K - 1], &block[K * length..], K * length, hits)
    }

    #[inline(never)]
    fn matched_in_lanes(
        &self,
        states: &[StateID],
        length: usize,
        place: usize,
        hits: &mut BlockHits,
    ) {
        for (lane, state) in states.iter().enumerate() {
            if self.table.is_special(*state) {
                self.matched(*state, lane * length + place, hits);
            }
        }
    }

    #[inline]
    fn matched(&self, state: StateID, place: usize, hits: &mut BlockHits) {
        if !self.table.is_match(state) {
            return;
        }
        for index in 0..self.table.match_len(state) {
            let literal = self.table.match_pattern(state, index).as_usize();
            let [from, to] = [self.rules_from[literal], self.rules_from[literal + 1]];
            let rules = &self.rules[from as usize..to as usize];
            rules.iter().for_each(|rule| hits.see(*rule, place));
        }
    }
}

/// Octets that a full table would take, to be known before it is built: a state for each different
/// beginning of a literal, and for each state a place for each class of octets. `folded` is in
/// lower case and sorted.
pub(super) fn table_octets(folded: &[&[u8]]) -> usize {
    let mut states = 4;
    let mut before: &[u8] = &[];
    for literal in folded {
        let common = literal.iter().zip(before).take_while(|(one, other)| one == other).count();
        states += literal.len() - common;
        before = literal;
    }
    // Octets that no literal tells apart are one class: a class ends after each octet that is used
    // and before it.
    let mut class_ends = [false; 256];
    for octet in folded.iter().copied().flatten() {
        class_ends[usize::from(*octet)] = true;
        class_ends[usize::from(octet.saturating_sub(1))] |= *octet > 0;
    }
    class_ends[255] = true;
    let classes = class_ends.iter().filter(|end| **end).count();
    states * classes.next_power_of_two() * size_of::<u32>()
}
