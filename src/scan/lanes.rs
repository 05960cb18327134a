//! A full transition table, walked at several places of a block at once.
//!
//! A step of one walk waits for two loads, one after the other, and the processor has nothing else
//! to do meanwhile. So a block is cut into equal lanes that are walked together, all but the first
//! one from the start state. Where a lane ends, its walk goes on into the next one until its state
//! says nothing more of octets before that: from there on the next lane has been right. On mail that
//! is a few octets, and never more than the longest literal has.
//!
//! The states are those of aho-corasick's table, of the kind that reports every match, without a
//! prefilter: prefilters are fast on friendly text only. But the table is laid out anew, since what
//! a step costs is where in the caches it lies: the few states in which mail spends its time lie
//! together; each takes two octets, where there are few enough; and letters are of one class in
//! either case.

use super::literals::Asked;
use super::rarity;
use super::scratch::BlockHits;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};
use std::collections::HashMap;

/// Lanes of a long block. More than this many open loads gain nothing that was measured.
const LANES: usize = 8;

/// Octets of each lane that are taken together.
const STRIDE: usize = 8;

/// Octets of the shortest lane: shorter blocks are walked in fewer lanes.
const LANE_OCTETS_MIN: usize = 64;

/// Where a walk stands between two octets: the number of a state.
pub(super) type State = u32;

/// The state before any octet.
pub(super) const START: State = 0;

/// A full transition table with the rules that ask for its literals.
#[derive(Debug)]
pub(super) struct Lanes {
    /// How many literals it is for, and the octets of the longest one.
    literals: usize,
    longest: usize,
    /// Where for each octet the steps of its class begin.
    columns: Box<[u32; 256]>,
    steps: Steps,
    /// How many octets each state tells of.
    depths: Box<[u16]>,
    /// States from this one on are matches; the rules that ask for them one after the other, and
    /// where those of each begin.
    first_match: State,
    rules: Box<[u16]>,
    rules_from: Box<[u32]>,
}

/// For each class of octets, and in it for each state, the state that is next.
#[derive(Debug)]
enum Steps {
    Narrow(Box<[u16]>),
    Wide(Box<[u32]>),
}

/// The number of a state in a table.
trait Number: Copy {
    fn of(state: State) -> Self;
    fn state(self) -> State;
}

impl Number for u16 {
    fn of(state: State) -> u16 {
        state as u16
    }

    #[inline]
    fn state(self) -> State {
        State::from(self)
    }
}

impl Number for u32 {
    fn of(state: State) -> u32 {
        state
    }

    #[inline]
    fn state(self) -> State {
        self
    }
}

impl Lanes {
    /// Builds the table for literals in lower case; `None` if its states cannot be numbered.
    pub(super) fn build(asked: &[Asked<'_>]) -> Option<Lanes> {
        let literals: Vec<&[u8]> = asked.iter().map(|(literal, _)| *literal).collect();
        let mut builder = DFA::builder();
        builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored);
        builder.prefilter(false).byte_classes(true);
        let table = builder.build(&literals).ok()?;
        let classes = Classes::of(&literals);
        let states = States::of(&table, &classes.octets)?;
        let count = u32::try_from(states.all.len()).ok()?;
        u32::try_from(states.all.len() * classes.octets.len()).ok()?;
        let (mut rules, mut rules_from) = (Vec::new(), vec![0]);
        for state in states.all.iter().filter(|state| table.is_match(**state)) {
            let from = rules.len();
            for index in 0..table.match_len(*state) {
                rules.extend_from_slice(asked[table.match_pattern(*state, index).as_usize()].1);
            }
            rules[from..].sort_unstable();
            rules_from.push(u32::try_from(rules.len()).ok()?);
        }
        Some(Lanes {
            literals: literals.len(),
            longest: literals.iter().map(|literal| literal.len()).max().unwrap_or(0),
            steps: states.steps(classes.octets.len()),
            columns: Box::new(classes.numbers.map(|class| u32::from(class) * count)),
            depths: states.depths.into(),
            first_match: (states.all.len() + 1 - rules_from.len()) as State,
            rules: rules.into(),
            rules_from: rules_from.into(),
        })
    }

    /// How many literals it is for.
    pub(super) fn len(&self) -> usize {
        self.literals
    }

    /// Memory of the table, in octets.
    pub(super) fn table_octets(&self) -> usize {
        let steps = match &self.steps {
            Steps::Narrow(steps) => size_of_val(&**steps),
            Steps::Wide(steps) => size_of_val(&**steps),
        };
        let rules = size_of_val(&*self.rules) + size_of_val(&*self.rules_from);
        steps + size_of_val(&*self.depths) + rules
    }

    /// Walks over a block from `state`, and returns the state after it.
    pub(super) fn walk(&self, state: State, block: &[u8], hits: &mut BlockHits) -> State {
        match &self.steps {
            Steps::Narrow(steps) => self.walk_in(steps, state, block, hits),
            Steps::Wide(steps) => self.walk_in(steps, state, block, hits),
        }
    }

    fn walk_in<N: Number>(
        &self,
        steps: &[N],
        state: State,
        block: &[u8],
        hits: &mut BlockHits,
    ) -> State {
        let least = (self.longest + STRIDE).max(LANE_OCTETS_MIN);
        if block.len() >= LANES * least {
            self.walk_lanes::<N, LANES>(steps, state, block, hits)
        } else if block.len() >= LANES / 2 * least {
            self.walk_lanes::<N, { LANES / 2 }>(steps, state, block, hits)
        } else {
            self.walk_one(steps, state, block, 0, hits)
        }
    }

    /// One step, from a state with an octet.
    #[inline(always)]
    fn step<N: Number>(&self, steps: &[N], state: State, octet: u8) -> State {
        steps[(self.columns[usize::from(octet)] + state) as usize].state()
    }

    fn walk_one<N: Number>(
        &self,
        steps: &[N],
        mut state: State,
        octets: &[u8],
        from: usize,
        hits: &mut BlockHits,
    ) -> State {
        for (place, octet) in octets.iter().enumerate() {
            state = self.step(steps, state, *octet);
            if state >= self.first_match {
                self.matched(state, from + place, hits);
            }
        }
        state
    }

    fn walk_lanes<N: Number, const K: usize>(
        &self,
        steps: &[N],
        state: State,
        block: &[u8],
        hits: &mut BlockHits,
    ) -> State {
        let length = block.len() / K / STRIDE * STRIDE;
        let mut states = [START; K];
        states[0] = state;
        let lanes: [&[[u8; STRIDE]]; K] =
            std::array::from_fn(|lane| block[lane * length..][..length].as_chunks().0);
        for from in (0..length).step_by(STRIDE) {
            // The octets of all lanes in one place, so that one register is enough to find them.
            let octets = lanes.map(|lane| lane[from / STRIDE]);
            for place in 0..STRIDE {
                for (lane, (state, octets)) in states.iter_mut().zip(&octets).enumerate() {
                    *state = self.step(steps, *state, octets[place]);
                    if *state >= self.first_match {
                        self.matched(*state, lane * length + from + place, hits);
                    }
                }
            }
        }
        // A lane has as many octets as any literal, so its last state is right though it began anew.
        for lane in 1..K {
            let from = lane * length;
            self.walk_over(steps, states[lane - 1], &block[from..][..length], from, hits);
        }
        self.walk_one(steps, states[K - 1], &block[K * length..], K * length, hits)
    }

    /// Goes on into the next lane for as long as the state tells of octets before it.
    fn walk_over<N: Number>(
        &self,
        steps: &[N],
        mut state: State,
        lane: &[u8],
        from: usize,
        hits: &mut BlockHits,
    ) {
        for (place, octet) in lane.iter().enumerate() {
            if usize::from(self.depths[state as usize]) <= place {
                break;
            }
            state = self.step(steps, state, *octet);
            if state >= self.first_match {
                self.matched(state, from + place, hits);
            }
        }
    }

    #[inline(never)]
    fn matched(&self, state: State, place: usize, hits: &mut BlockHits) {
        let number = (state - self.first_match) as usize;
        let [from, to] = [self.rules_from[number], self.rules_from[number + 1]];
        self.rules[from as usize..to as usize].iter().for_each(|rule| hits.see(*rule, place));
    }
}

/// The classes of octets that literals do not tell apart.
struct Classes {
    numbers: [u8; 256],
    /// An octet of each class.
    octets: Vec<u8>,
}

impl Classes {
    /// Of literals in lower case. What is in none of them is one class.
    fn of(literals: &[&[u8]]) -> Classes {
        let mut used = [false; 256];
        literals.iter().copied().flatten().for_each(|octet| used[usize::from(*octet)] = true);
        let unused = |octet: &u8| !used[usize::from(*octet)] && !octet.is_ascii_uppercase();
        let is_used = |octet: &u8| used[usize::from(*octet)];
        let others = (0..=u8::MAX).filter(|octet| !octet.is_ascii_lowercase());
        let octets = (b'a'..=b'z').filter(is_used).chain((0..=u8::MAX).find(unused));
        let octets: Vec<u8> = octets.chain(others.filter(is_used)).collect();
        let number = |octet: u8| octets.iter().position(|one| *one == octet);
        let rest = (0..=u8::MAX).find(unused).and_then(number).unwrap_or_default();
        let of = |octet: usize| number((octet as u8).to_ascii_lowercase()).unwrap_or(rest) as u8;
        Classes { numbers: std::array::from_fn(of), octets }
    }
}

/// The states of a table: those that come often on texts first, but those that are matches behind
/// all others.
struct States {
    all: Vec<StateID>,
    depths: Vec<u16>,
    /// A row for each state: the numbers of the next ones by class.
    next: Vec<State>,
}

impl States {
    fn of(table: &DFA, classes: &[u8]) -> Option<States> {
        let start = table.start_state(Anchored::No).ok()?;
        // As they are met: as far from the start as they are deep.
        let (mut met, mut depths, mut next) = (vec![start], vec![0u16], Vec::new());
        let mut rarities = vec![0u32];
        let mut numbers = HashMap::with_hasher(foldhash::fast::RandomState::default());
        numbers.insert(start, START);
        let mut place = 0;
        while let Some(state) = met.get(place).copied() {
            for octet in classes {
                let to = table.next_state(Anchored::No, state, *octet);
                next.push(*numbers.entry(to).or_insert_with(|| {
                    met.push(to);
                    depths.push(depths[place] + 1);
                    rarities.push(rarities[place] + rarity::of_octet(*octet));
                    met.len() as State - 1
                }));
            }
            place += 1;
        }
        let mut order: Vec<State> = (0..met.len() as State).collect();
        order.sort_by_key(|number| {
            let number = *number as usize;
            (table.is_match(met[number]), rarities[number])
        });
        let mut new = vec![START; order.len()];
        order.iter().zip(0..).for_each(|(number, place)| new[*number as usize] = place);
        let row = |number: &State| &next[*number as usize * classes.len()..][..classes.len()];
        Some(States {
            all: order.iter().map(|number| met[*number as usize]).collect(),
            depths: order.iter().map(|number| depths[*number as usize]).collect(),
            next: order.iter().flat_map(row).map(|number| new[*number as usize]).collect(),
        })
    }

    /// The table, with numbers as small as they can be.
    fn steps(&self, classes: usize) -> Steps {
        match self.all.len() {
            0..=NARROW_STATES_MAX => Steps::Narrow(self.columns(classes)),
            _ => Steps::Wide(self.columns(classes)),
        }
    }

    fn columns<N: Number>(&self, classes: usize) -> Box<[N]> {
        let column = |class| self.next[class..].iter().step_by(classes);
        (0..classes).flat_map(column).map(|state| N::of(*state)).collect()
    }
}

/// States that two octets can number.
const NARROW_STATES_MAX: usize = u16::MAX as usize + 1;

/// Octets that a full table would take, to be known before it is built: a state for each different
/// beginning of a literal, and for each state a place for each class of octets. `folded` is in
/// lower case and sorted.
pub(super) fn table_octets(folded: &[&[u8]]) -> usize {
    let mut states = 1;
    let mut before: &[u8] = &[];
    for literal in folded {
        let common = literal.iter().zip(before).take_while(|(one, other)| one == other).count();
        states += literal.len() - common;
        before = literal;
    }
    let step = if states <= NARROW_STATES_MAX { size_of::<u16>() } else { size_of::<u32>() };
    states * (Classes::of(folded).octets.len() * step + size_of::<u16>())
}
