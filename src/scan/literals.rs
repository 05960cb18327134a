//! Many literals in one walk, with the state carried over every cut.
//!
//! Each octet is looked at a bounded number of times, so what was found depends on the octets alone
//! and not on how they came. A set whose full transition table stays inside the processor's caches
//! is such a table (`lanes`); a larger one is known by windows of its literals (`grams`), but for
//! the literals that are too short or too long for that, or too much alike.

use super::grams::{ANCHORED_OCTETS, Grams, Tail};
use super::lanes::{self, Lanes, table_octets};
use super::scratch::Search;
use crate::limits::FULL_TABLE_OCTETS;

/// Where a walk stands between two octets. It has meaning only for the [`Literals`] it came from.
#[derive(Clone, Debug, Default)]
pub(super) struct WalkState {
    table: lanes::State,
    tail: Tail,
}

/// A compiled set of literals. ASCII letters match in either case.
#[derive(Debug, Default)]
pub(super) struct Literals {
    lanes: Option<Lanes>,
    grams: Option<Grams>,
}

/// A literal in lower case, and the rules that ask for it.
pub(super) type Asked<'a> = (&'a [u8], &'a [u16]);

impl Literals {
    /// Compiles literals in lower case, which are sorted and each there once. The result is `None`
    /// when they are too many for the engines to number.
    pub(super) fn compile(literals: &[(Vec<u8>, Vec<u16>)]) -> Option<Literals> {
        Literals::compile_within(FULL_TABLE_OCTETS, literals)
    }

    /// Compiles literals, those beyond a full table of `table_octets_max` as a large set.
    fn compile_within(
        table_octets_max: usize,
        literals: &[(Vec<u8>, Vec<u16>)],
    ) -> Option<Literals> {
        debug_assert!(literals.is_sorted_by(|one, other| one.0 < other.0));
        let asked = literals.iter().map(|(literal, rules)| (literal.as_slice(), rules.as_slice()));
        let asked: Vec<Asked> = asked.collect();
        let in_table = |asked: &[Asked]| -> Option<Option<Lanes>> {
            if asked.is_empty() { Some(None) } else { Lanes::build(asked).map(Some) }
        };
        let octets: Vec<&[u8]> = asked.iter().map(|(literal, _)| *literal).collect();
        if table_octets(&octets) <= table_octets_max {
            return Some(Literals { lanes: in_table(&asked)?, grams: None });
        }
        let (long, mut rest): (Vec<Asked>, Vec<Asked>) =
            asked.into_iter().partition(|(literal, _)| ANCHORED_OCTETS.contains(&literal.len()));
        let (grams, crowded) = Grams::build(long);
        rest.extend(crowded);
        rest.sort_unstable();
        let grams = Some(grams).filter(|grams| !grams.is_empty());
        Some(Literals { lanes: in_table(&rest)?, grams })
    }

    /// The state before any octet.
    pub(super) fn start(&self) -> WalkState {
        WalkState { table: lanes::START, tail: Tail::default() }
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_none() && self.grams.is_none()
    }

    /// How many literals are in a full table and how many are known by windows, each with the octets
    /// of the tables.
    pub(super) fn tables(&self) -> ((usize, usize), (usize, usize)) {
        let lanes = self.lanes.as_ref().map(|lanes| (lanes.len(), lanes.table_octets()));
        let grams = self.grams.as_ref().map(|grams| (grams.len(), grams.table_octets()));
        (lanes.unwrap_or_default(), grams.unwrap_or_default())
    }

    /// Looks at the next block of a text, of at most [`SCAN_BLOCK_OCTETS`]. What is found is in
    /// [`Search::hits`], each match at the octet with which it is complete.
    #[inline]
    pub(super) fn walk(&self, state: &mut WalkState, block: &[u8], search: &mut Search) {
        let Search { hits, folded, .. } = search;
        if let Some(lanes) = &self.lanes {
            state.table = lanes.walk(state.table, block, hits);
        }
        if let Some(grams) = &self.grams {
            state.tail.fold(block, folded);
            grams.walk(&mut state.tail, folded, block.len(), hits);
        }
    }
}

/// How many rules can ask for literals that end where each literal ends, the literal itself among
/// them: the work that one octet of a text can ask for. `literals` as for [`Literals::compile`].
pub(super) fn ends(literals: &[(Vec<u8>, Vec<u16>)]) -> Vec<usize> {
    let reversed = |index: &usize| literals[*index].0.iter().rev();
    let mut by_end: Vec<usize> = (0..literals.len()).collect();
    by_end.sort_unstable_by(|one, other| reversed(one).cmp(reversed(other)));
    let mut ends = vec![0; literals.len()];
    // In this order, the tails of a literal stand before it, each the tail of the next one.
    let mut tails: Vec<usize> = Vec::new();
    for index in by_end {
        while tails.last().is_some_and(|tail| !literals[index].0.ends_with(&literals[*tail].0)) {
            tails.pop();
        }
        ends[index] = tails.last().map_or(0, |tail| ends[*tail]) + literals[index].1.len();
        tails.push(index);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SCAN_BLOCK_OCTETS;
    use crate::scan::scratch;
    use aho_corasick::automaton::{Automaton, OverlappingState};
    use aho_corasick::{Input, nfa};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    type Set = Vec<(Vec<u8>, Vec<u16>)>;

    /// The literals in lower case, sorted, each asked for by a rule of its own.
    fn set<T: AsRef<[u8]>>(literals: impl IntoIterator<Item = T>) -> Set {
        let literals = literals.into_iter().map(|literal| literal.as_ref().to_ascii_lowercase());
        let sorted: BTreeSet<Vec<u8>> = literals.collect();
        sorted.into_iter().zip(0..).map(|(literal, rule)| (literal, vec![rule])).collect()
    }

    /// The same set as a full table, and as a large one.
    fn engines(set: &Set) -> [Literals; 2] {
        let [table, large] = [usize::MAX, 0].map(|octets| Literals::compile_within(octets, set));
        let (table, large) = (table.unwrap(), large.unwrap());
        assert!(table.grams.is_none());
        [table, large]
    }

    /// For each rule with a match, the octets up to the end of the first one.
    type Firsts = Vec<(u16, usize)>;

    fn found<'a>(literals: &Literals, pieces: impl IntoIterator<Item = &'a [u8]>) -> Firsts {
        let (mut state, mut start, mut all) = (literals.start(), 0, Firsts::new());
        for block in pieces.into_iter().flat_map(|piece| piece.chunks(SCAN_BLOCK_OCTETS)) {
            scratch::with(|scratch| {
                scratch.search.hits.prepare(usize::from(u16::MAX) + 1, 0, block.len());
                literals.walk(&mut state, block, &mut scratch.search);
                scratch.search.hits.drain(|rule, place| all.push((rule, start + place + 1)));
            });
            start += block.len();
        }
        all.sort_unstable();
        all.dedup_by_key(|(rule, _)| *rule);
        all
    }

    /// What another engine finds: aho-corasick's compact automaton over the whole text.
    fn expected(set: &Set, text: &[u8]) -> Firsts {
        let literals = set.iter().map(|(literal, _)| literal);
        let oracle = nfa::contiguous::Builder::new();
        let oracle = oracle.clone().ascii_case_insensitive(true).build(literals).unwrap();
        let (mut state, mut all) = (OverlappingState::start(), Firsts::new());
        let mut seen = vec![false; set.len()];
        loop {
            oracle.try_find_overlapping(&Input::new(text), &mut state).unwrap();
            let Some(one) = state.get_match() else { break };
            if !std::mem::replace(&mut seen[one.pattern().as_usize()], true) {
                all.push((one.pattern().as_u32() as u16, one.end()));
            }
        }
        all.sort_unstable();
        all
    }

    fn in_pieces<'a>(text: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
        let (mut rest, mut pieces, mut turn) = (text, Vec::new(), lengths.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    #[test]
    fn a_match_is_found_over_every_cut_and_in_either_case() {
        let set = set(["bc", "abcd", "CDA", "cdabcdefghijk", "ghijk"]);
        let text = b"xaBcDabcdefghIJK ghijk";
        let expected = expected(&set, text);
        assert_eq!(expected.len(), set.len());
        for literals in engines(&set) {
            for piece in 1..=text.len() {
                assert_eq!(found(&literals, text.chunks(piece)), expected, "pieces of {piece}");
            }
        }
    }

    fn corpus(name: &str) -> Vec<u8> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        std::fs::read(corpus.join(name)).unwrap()
    }

    /// Texts that are hard on one engine or the other.
    fn hostile(set: &Set) -> Vec<Vec<u8>> {
        let literals = || set.iter().map(|(literal, _)| literal.as_slice());
        let less = |octets: usize| literals().flat_map(move |one| &one[..one.len() - octets]);
        let behind = literals().flat_map(|one| one[1..].iter().chain(b" "));
        vec![
            less(0).copied().collect(),
            less(1).copied().collect(),
            behind.copied().collect(),
            literals().flat_map(|one| one[..one.len().min(3)].to_vec()).collect(),
            vec![b'a'; 50_000],
        ]
    }

    #[test]
    fn every_engine_finds_what_the_compact_automaton_finds() {
        let words = corpus("patterns/literals-200.txt");
        let words = words.split(|octet| *octet == b'\n').filter(|word| !word.is_empty());
        let alike = (1..=40usize).map(|length| vec![b'a'; length]);
        let hosts = (0..3_000).map(|number| format!("{number}.example.com").into_bytes());
        let set = set(words.map(Vec::from).chain(alike).chain(hosts));
        let mut texts = hostile(&set);
        for folder in ["ham", "spam"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
            let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
            texts.extend(files.map(|file| std::fs::read(file).unwrap()));
        }
        let engines = engines(&set);
        for text in texts {
            let expected = expected(&set, &text);
            for literals in &engines {
                assert_eq!(found(literals, [&text[..]]), expected);
                for lengths in [&[1][..], &[1460], &[61, 3, 5_000, 127, 1, 512, 2]] {
                    assert_eq!(found(literals, in_pieces(&text, lengths)), expected);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_literals_are_found_in_any_text_and_cut(
            literals in prop::collection::vec("[abAB\u{e9}]{1,20}", 1..12),
            text in "[abABc\u{e9}]{0,400}",
            lengths in prop::collection::vec(1usize..90, 1..8),
        ) {
            let set = set(&literals);
            let expected = expected(&set, text.as_bytes());
            for literals in engines(&set) {
                let pieces = in_pieces(text.as_bytes(), &lengths);
                prop_assert_eq!(&found(&literals, pieces), &expected);
            }
        }

        /// Long enough for eight lanes.
        #[test]
        fn any_long_text_gives_the_same_in_lanes(
            literals in prop::collection::vec("[ab]{2,30}", 1..12),
            text in "[ab]{0,9000}",
        ) {
            let set = set(&literals);
            let expected = expected(&set, text.as_bytes());
            for literals in engines(&set) {
                prop_assert_eq!(&found(&literals, [text.as_bytes()]), &expected);
            }
        }
    }

    #[test]
    fn the_size_of_a_full_table_is_known_before_it_is_built() {
        let lists: [&[&str]; 3] = [&["a"], &["abc", "abd", "xyz"], &["hello", "help", "HELLO"]];
        for list in lists {
            let set = set(list);
            let octets: Vec<&[u8]> = set.iter().map(|(literal, _)| literal.as_slice()).collect();
            let foretold = table_octets(&octets);
            let real = Literals::compile_within(usize::MAX, &set).unwrap().tables().0.1;
            // The real one also counts its lists of matches and of literal lengths.
            assert!(foretold <= real + 256 && real <= foretold + 1024, "{foretold} for {real}");
        }
    }

    #[test]
    fn a_set_beyond_the_cache_is_no_full_table() {
        let mut state = 1u64;
        let mut octet = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b'a' + (state >> 33) as u8 % 26
        };
        let set = set((0..20_000).map(|_| (0..16).map(|_| octet()).collect::<Vec<u8>>()));
        let literals = Literals::compile(&set).unwrap();
        assert!(literals.grams.is_some() && literals.lanes.is_none());
        let (full, windows) = literals.tables();
        assert!(full.1 + windows.1 < 2 << 20, "{full:?} {windows:?}");
    }

    #[test]
    fn literals_that_end_together_are_counted() {
        let set = set(["a", "aa", "aaa", "ba"]);
        assert_eq!(ends(&set), [1, 2, 3, 2]);
    }
}
