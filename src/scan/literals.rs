//! Many literals in one walk, with the state carried over every cut.
//!
//! An automaton looks at each octet once and never back, so what it found depends on the octets
//! alone and not on how they came. Up to a table size it is a full transition table (two dependent
//! loads an octet); above it a compact one that stays inside the processor's caches. Both are
//! aho-corasick's, of the kind that reports every match, without a prefilter: prefilters are fast on
//! friendly text only.

use crate::limits::FULL_TABLE_OCTETS;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::{Anchored, MatchKind, StartKind, dfa, nfa};

/// Where a walk stands between two octets. It has meaning only for the [`Literals`] it came from.
pub(super) type WalkState = StateID;

/// What it means that a literal was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    /// The rule that asks for the literal.
    pub rule: u16,
    /// The surfaces on which it asks, one bit each (see [`surface_bit`](super::rules::surface_bit)).
    pub surfaces: u8,
}

/// A compiled set of literals. ASCII letters match in either case.
#[derive(Debug)]
pub(super) struct Literals {
    engine: Engine,
    meanings: Box<[Meaning]>,
    start: WalkState,
}

#[derive(Debug)]
enum Engine {
    Full(dfa::DFA),
    Compact(nfa::contiguous::NFA),
}

impl Literals {
    /// Compiles literals, each with what it means. The result is `None` when the engine cannot
    /// number that many states.
    pub(super) fn compile(literals: &[Vec<u8>], meanings: Vec<Meaning>) -> Option<Literals> {
        debug_assert_eq!(literals.len(), meanings.len());
        let engine = if full_table_octets(literals) <= FULL_TABLE_OCTETS {
            let mut builder = dfa::Builder::new();
            builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored);
            builder.ascii_case_insensitive(true).prefilter(false).byte_classes(true);
            Engine::Full(builder.build(literals).ok()?)
        } else {
            let mut builder = nfa::contiguous::Builder::new();
            builder.match_kind(MatchKind::Standard);
            builder.ascii_case_insensitive(true).prefilter(false).byte_classes(true);
            Engine::Compact(builder.build(literals).ok()?)
        };
        let start = match &engine {
            Engine::Full(full) => full.start_state(Anchored::No),
            Engine::Compact(compact) => compact.start_state(Anchored::No),
        };
        Some(Literals { engine, meanings: meanings.into(), start: start.ok()? })
    }

    /// The state before any octet.
    pub(super) fn start(&self) -> WalkState {
        self.start
    }

    /// Memory of the table, in octets.
    pub(super) fn table_octets(&self) -> usize {
        match &self.engine {
            Engine::Full(full) => full.memory_usage(),
            Engine::Compact(compact) => compact.memory_usage(),
        }
    }

    /// How many literals end where `literal` ends, itself among them: the most that a text can ask
    /// for at an octet is the largest such number.
    pub(super) fn ends_with(&self, literal: &[u8]) -> usize {
        match &self.engine {
            Engine::Full(full) => ends_in(full, self.start, literal),
            Engine::Compact(compact) => ends_in(compact, self.start, literal),
        }
    }

    /// Walks over `octets` from `state` and returns the state after them. `found` is told the
    /// place of the octet with which a match was complete, and what the match means.
    #[inline]
    pub(super) fn walk(
        &self,
        state: WalkState,
        octets: &[u8],
        found: impl FnMut(usize, Meaning),
    ) -> WalkState {
        match &self.engine {
            Engine::Full(full) => walk_in(full, &self.meanings, state, octets, found),
            Engine::Compact(compact) => walk_in(compact, &self.meanings, state, octets, found),
        }
    }
}

/// The loop that the whole scan turns in: a step and one test an octet.
#[inline]
fn walk_in<A: Automaton>(
    automaton: &A,
    meanings: &[Meaning],
    mut state: WalkState,
    octets: &[u8],
    mut found: impl FnMut(usize, Meaning),
) -> WalkState {
    for (place, octet) in octets.iter().enumerate() {
        state = automaton.next_state(Anchored::No, state, *octet);
        if automaton.is_special(state) && automaton.is_match(state) {
            for end in 0..automaton.match_len(state) {
                found(place, meanings[automaton.match_pattern(state, end).as_usize()]);
            }
        }
    }
    state
}

fn ends_in<A: Automaton>(automaton: &A, start: WalkState, literal: &[u8]) -> usize {
    let step = |state, octet: &u8| automaton.next_state(Anchored::No, state, *octet);
    let state = literal.iter().fold(start, step);
    if automaton.is_match(state) { automaton.match_len(state) } else { 0 }
}

/// Octets that a full table would take, to be known before it is built: a state for each different
/// beginning of a literal, and for each state a place for each class of octets.
fn full_table_octets(literals: &[Vec<u8>]) -> usize {
    let mut folded: Vec<Vec<u8>> = literals.iter().map(|one| one.to_ascii_lowercase()).collect();
    folded.sort_unstable();
    let mut states = 4;
    let mut before: &[u8] = &[];
    for literal in &folded {
        let common = literal.iter().zip(before).take_while(|(one, other)| one == other).count();
        states += literal.len() - common;
        before = literal;
    }
    // Octets that no literal tells apart are one class: a class ends after each octet that is used
    // and before it.
    let mut class_ends = [false; 256];
    for octet in folded.iter().flatten() {
        for form in [octet.to_ascii_lowercase(), octet.to_ascii_uppercase()] {
            class_ends[usize::from(form)] = true;
            class_ends[usize::from(form.saturating_sub(1))] |= form > 0;
        }
    }
    class_ends[255] = true;
    let classes = class_ends.iter().filter(|end| **end).count();
    states * classes.next_power_of_two() * size_of::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(literals: &[&str]) -> Literals {
        let literals: Vec<Vec<u8>> = literals.iter().map(|one| one.as_bytes().to_vec()).collect();
        let meaning = |rule| Meaning { rule: rule as u16, surfaces: 1 };
        Literals::compile(&literals, (0..literals.len()).map(meaning).collect()).unwrap()
    }

    fn found(literals: &Literals, text: &[u8], piece: usize) -> Vec<(usize, u16)> {
        let (mut state, mut all) = (literals.start(), Vec::new());
        for (index, octets) in text.chunks(piece).enumerate() {
            state = literals.walk(state, octets, |place, meaning| {
                all.push((index * piece + place, meaning.rule));
            });
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn a_match_is_found_over_every_cut_and_in_either_case() {
        let literals = compile(&["abcd", "bc", "CDA"]);
        let expected = vec![(2, 1), (3, 0), (4, 2), (6, 1)];
        for piece in 1..=8 {
            assert_eq!(found(&literals, b"aBcDabc", piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn the_size_of_a_full_table_is_known_before_it_is_built() {
        let lists: [&[&str]; 3] = [&["a"], &["abc", "abd", "xyz"], &["hello", "help", "HELLO"]];
        for list in lists {
            let octets: Vec<Vec<u8>> = list.iter().map(|one| one.as_bytes().to_vec()).collect();
            let (foretold, real) = (full_table_octets(&octets), compile(list).table_octets());
            // The real one also counts its lists of matches and of literal lengths.
            assert!(foretold <= real + 256 && real <= foretold + 1024, "{foretold} for {real}");
        }
    }

    /// Literals that are random enough for a full table of them to be too large.
    fn many() -> Vec<Vec<u8>> {
        let mut state = 1u64;
        let mut octet = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b'a' + (state >> 33) as u8 % 26
        };
        (0..16_000).map(|_| (0..16).map(|_| octet()).collect()).collect()
    }

    #[test]
    fn a_large_set_takes_the_compact_automaton_and_finds_the_same() {
        let literals = many();
        assert!(full_table_octets(&literals) > FULL_TABLE_OCTETS);
        let meanings = (0..literals.len()).map(|rule| Meaning { rule: rule as u16, surfaces: 1 });
        let compiled = Literals::compile(&literals, meanings.collect()).unwrap();
        assert!(matches!(compiled.engine, Engine::Compact(_)));
        assert!(compiled.table_octets() < FULL_TABLE_OCTETS);
        let text = [&literals[7][..], b"x", &literals[15_999], &literals[0][1..]].concat();
        for piece in [1, 5, text.len()] {
            assert_eq!(found(&compiled, &text, piece), [(15, 7), (32, 15_999)]);
        }
    }

    #[test]
    fn literals_that_end_together_are_counted() {
        let literals = compile(&["a", "aa", "aaa", "ba"]);
        assert_eq!(literals.ends_with(b"aaa"), 3);
        assert_eq!(literals.ends_with(b"ba"), 2);
    }
}
