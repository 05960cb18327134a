//! Regular expressions: each its own automaton, asked only where a literal that it needs was found.
//!
//! A full automaton (`regex-automata`, dense) takes one step an octet whatever the text, but a rule
//! set has hundreds of them. So of each expression the literals are drawn of which one must be in
//! every match (its gate); they are looked for together with all other literals, and only where one
//! is found the automaton runs, over as many octets around it as a match may have there. What a
//! sender can make it run is bounded by a budget.

use super::rarity;
use super::windows::{Gates, set};
use crate::limits::{REGEX_GATE_OCTETS, REGEX_GATES_MAX, REGEX_REACH_OCTETS, REGEX_TABLE_OCTETS};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use std::ops::Range;

/// The expressions of a rule set, by their numbers.
#[derive(Debug, Default)]
pub(super) struct RegexSet {
    pub(super) all: Box<[Regex]>,
    /// Those that no literal gates.
    pub(super) ungated: Gates,
    /// Those of them that look at streams: they take every octet.
    pub(super) running: Box<[u16]>,
}

impl RegexSet {
    pub(super) fn new(all: Vec<Regex>, running: Vec<u16>) -> RegexSet {
        let mut ungated = Gates::default();
        let without = all.iter().enumerate().filter(|(_, regex)| regex.gates.is_empty());
        without.for_each(|(number, _)| set(&mut ungated, number));
        RegexSet { all: all.into(), ungated, running: running.into() }
    }
}

/// A compiled expression.
pub(super) struct Regex {
    /// The rule that asks for it.
    pub rule: u16,
    automaton: dense::DFA<Vec<u32>>,
    /// The state before any octet of a text.
    pub start: StateID,
    /// Literals in lower case of which one is in every match; none if it must always be asked.
    pub gates: Vec<Vec<u8>>,
    /// Which octet of the only one is the rarest.
    rarest: usize,
    /// Octets that a match may have before the end of its gate, and behind it.
    pub before: Reach,
    pub after: Reach,
    /// Every match begins with the text.
    pub at_start: bool,
}

/// How far a match may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Over so many octets at most.
    Within(usize),
    /// Further than it is looked for.
    Beyond,
}

impl Reach {
    fn of(octets: Option<usize>) -> Reach {
        match octets {
            Some(octets) if octets <= REGEX_REACH_OCTETS => Reach::Within(octets),
            _ => Reach::Beyond,
        }
    }

    /// As far as it is looked for.
    pub(super) fn octets(self) -> usize {
        match self {
            Reach::Within(octets) => octets,
            Reach::Beyond => REGEX_REACH_OCTETS,
        }
    }
}

/// Places where a gate may be that are tried before all is asked about.
const PLACES_TRIED: usize = 3;

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Regex(rule {}, {} gates)", self.rule, self.gates.len())
    }
}

/// Octets of the shortest literal that is a gate.
const GATE_OCTETS_MIN: usize = 3;

impl Regex {
    /// Compiles an expression over octets: no Unicode classes, `.` is any octet but a line feed.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn compile(rule: u16, pattern: &str) -> Result<Regex, String> {
        let config = syntax::Config::new().unicode(false).utf8(false);
        let hir = syntax::parse_with(pattern, &config).map_err(|error| reason(&error))?;
        if hir.properties().minimum_len() == Some(0) {
            return Err("it matches nothing at all, and so everywhere: demand an octet".to_owned());
        }
        let Gated { literals: mut gates, before, after } = gated(&hir).unwrap_or_default();
        gates.sort_unstable();
        gates.dedup();
        let longest = gates.iter().map(Vec::len).max().unwrap_or(0);
        let dense = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Unanchored)
            .specialize_start_states(true)
            .dfa_size_limit(Some(REGEX_TABLE_OCTETS))
            .determinize_size_limit(Some(2 * REGEX_TABLE_OCTETS));
        let nfa = thompson::Config::new().utf8(false).nfa_size_limit(Some(REGEX_TABLE_OCTETS));
        let automaton = dense::Builder::new()
            .configure(dense)
            .syntax(config)
            .thompson(nfa)
            .build(pattern)
            .map_err(|error| {
                format!(
                    "{error}: make its repetitions shorter, or split it; a table of \
                     {REGEX_TABLE_OCTETS} octets may be"
                )
            })?;
        let start = automaton
            .start_state_forward(&Input::new(b"").anchored(Anchored::No))
            .map_err(|error| error.to_string())?;
        let rarest = |gate: &Vec<u8>| {
            (0..gate.len()).max_by_key(|place| rarity::of_octet(gate[*place])).unwrap_or_default()
        };
        let rarest = gates.first().map_or(0, rarest);
        let before = Reach::of(before.map(|octets| octets + longest));
        let after = Reach::of(after);
        let at_start = hir.properties().look_set_prefix().contains(Look::Start);
        Ok(Regex { rule, automaton, start, gates, rarest, before, after, at_start })
    }

    /// Memory of its table, in octets.
    pub(super) fn table_octets(&self) -> usize {
        self.automaton.memory_usage()
    }

    /// Whether there is a match around the gates that end with an octet of `ends`; what is outside of
    /// `within` counts for boundaries alone. A match around another gate may be told too.
    pub(super) fn matches_around(
        &self,
        text: &[u8],
        ends: Range<usize>,
        within: Range<usize>,
    ) -> bool {
        // Far fewer octets are left if it is known where the gates are.
        let (first, last) = self.gates_in(text, ends.clone()).unwrap_or((ends.start + 1, ends.end));
        let from = match self.before {
            Reach::Within(octets) => first.saturating_sub(octets).max(within.start),
            Reach::Beyond => within.start,
        };
        let to = match self.after {
            Reach::Within(octets) => within.end.min(last + octets),
            Reach::Beyond => within.end,
        };
        self.matches(text, from, last, to)
    }

    /// Where behind the first gate and behind the last one of those that end with an octet of `ends`
    /// is. `None` if that takes too long to see.
    fn gates_in(&self, text: &[u8], ends: Range<usize>) -> Option<(usize, usize)> {
        let [gate] = &self.gates[..] else { return None };
        let octet = *gate.get(self.rarest)?;
        // The places of its rarest octet, of which a few are tried from either side.
        let from = (ends.start + 1 + self.rarest).checked_sub(gate.len())?;
        let places = from..(ends.end + self.rarest + 1).checked_sub(gate.len())?;
        let is_gate = |place: usize| {
            let from = place.checked_sub(self.rarest);
            let here = from.and_then(|from| text.get(from..from + gate.len()));
            here.is_some_and(|here| here.eq_ignore_ascii_case(gate))
        };
        let [lower, upper] = [octet, octet.to_ascii_uppercase()];
        let here = text.get(places)?;
        let mut tried = memchr::memchr2_iter(lower, upper, here).take(PLACES_TRIED);
        let first = from + tried.find(|place| is_gate(from + place))?;
        let mut tried = memchr::memchr2_iter(lower, upper, here).rev().take(PLACES_TRIED);
        let last = from + tried.find(|place| is_gate(from + place))?;
        let behind = gate.len() - self.rarest;
        Some((first + behind, last + behind))
    }

    /// Whether there is a match that lies in `from..to` of `text` and begins before `last`; what is
    /// around it counts for boundaries alone. A match that begins later may be told too.
    pub(super) fn matches(&self, text: &[u8], from: usize, last: usize, to: usize) -> bool {
        let automaton = &self.automaton;
        let input = Input::new(text).range(from..to);
        // It fails on octets that make an automaton quit, and there are none.
        let Ok(mut state) = automaton.start_state_forward(&input) else { return false };
        for (place, octet) in text[from..to].iter().enumerate() {
            state = automaton.next_state(state, *octet);
            if !automaton.is_special_state(state) {
                continue;
            }
            if automaton.is_match_state(state) {
                return true;
            }
            // Nothing that began before is still alive. On most texts that is soon so.
            if from + place >= last && automaton.is_start_state(state) {
                return false;
            }
        }
        // A match is told with the octet behind it.
        let behind = match text.get(to) {
            Some(octet) => automaton.next_state(state, *octet),
            None => automaton.next_eoi_state(state),
        };
        automaton.is_match_state(behind)
    }

    /// Takes the next octets of a text up to the first match. How many were taken, and whether a
    /// match is complete.
    pub(super) fn go_on(&self, state: &mut StateID, octets: &[u8]) -> (usize, bool) {
        for (octet, place) in octets.iter().zip(1..) {
            *state = self.automaton.next_state(*state, *octet);
            if self.automaton.is_special_state(*state) && self.automaton.is_match_state(*state) {
                return (place, true);
            }
        }
        (octets.len(), false)
    }

    /// Whether a match is complete where the text has ended.
    pub(super) fn matches_at_end(&self, state: StateID) -> bool {
        self.automaton.is_match_state(self.automaton.next_eoi_state(state))
    }
}

/// What is wrong with an expression, and what would work.
fn reason(error: &regex_syntax::Error) -> String {
    use regex_syntax::ast::ErrorKind;
    match error {
        regex_syntax::Error::Parse(error) => match error.kind() {
            ErrorKind::UnsupportedLookAround => {
                "look-around takes more than one step an octet: state what must match, and put \
                 what must not into another rule"
                    .to_owned()
            }
            ErrorKind::UnsupportedBackreference => {
                "a back-reference takes more than one step an octet: write the text twice"
                    .to_owned()
            }
            kind => format!("{kind}, at octet {}", error.span().start.offset),
        },
        other => other.to_string().lines().last().unwrap_or_default().to_owned(),
    }
}

// ---- gates ----------------------------------------------------------------------------------

/// Literals of which one is in every match, and how many octets a match may have around it: none if
/// there is no bound.
#[derive(Default)]
struct Gated {
    literals: Vec<Vec<u8>>,
    before: Option<usize>,
    after: Option<usize>,
}

impl Gated {
    /// By literals, or by their beginnings where they are very long; none if one is too short.
    fn by(mut literals: Vec<Vec<u8>>) -> Option<Gated> {
        let longest = literals.iter().map(Vec::len).max()?;
        literals.iter_mut().for_each(|literal| literal.truncate(REGEX_GATE_OCTETS));
        literals.sort_unstable();
        literals.dedup();
        let after = Some(longest.saturating_sub(REGEX_GATE_OCTETS));
        let long_enough = literals.iter().all(|literal| literal.len() >= GATE_OCTETS_MIN);
        long_enough.then_some(Gated { literals, before: Some(0), after })
    }

    /// How often it is found in mail, and the octets of its table where that says no more.
    fn cost(&self) -> (f64, usize) {
        let chance = |literal: &Vec<u8>| f64::exp2(-f64::from(rarity::of_literal(literal)) / 4.0);
        (self.literals.iter().map(chance).sum(), self.literals.iter().map(Vec::len).sum())
    }

    /// With more octets around it.
    fn within(self, before: Option<usize>, after: Option<usize>) -> Gated {
        let sum = |one: Option<usize>, other: Option<usize>| one?.checked_add(other?);
        Gated { before: sum(self.before, before), after: sum(self.after, after), ..self }
    }
}

/// The gate of an expression: the longest literals that are easily seen.
fn gated(hir: &Hir) -> Option<Gated> {
    match hir.kind() {
        HirKind::Literal(literal) => Gated::by(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Capture(capture) => gated(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            // The gate of the first round: all others come behind it.
            let others = repetition.max.and_then(|max| {
                repetition.sub.properties().maximum_len()?.checked_mul(max as usize - 1)
            });
            Some(gated(&repetition.sub)?.within(Some(0), others))
        }
        HirKind::Alternation(branches) => {
            let most = |one: Option<usize>, other: Option<usize>| Some(one?.max(other?));
            let mut all = Gated { literals: Vec::new(), before: Some(0), after: Some(0) };
            for branch in branches {
                let gated = gated(branch)?;
                all.literals.extend(gated.literals);
                all.before = most(all.before, gated.before);
                all.after = most(all.after, gated.after);
            }
            (all.literals.len() <= REGEX_GATES_MAX).then_some(all)
        }
        HirKind::Concat(pieces) => gated_by_piece(pieces),
        _ => None,
    }
}

/// In a sequence, any piece may be the gate, or several that stand for a few literals together: the
/// one that is found least often.
fn gated_by_piece(pieces: &[Hir]) -> Option<Gated> {
    let mut best: Option<Gated> = None;
    let mut consider = |gated: Option<Gated>, from: usize, to: usize| {
        let Some(gated) = gated else { return };
        if best.as_ref().is_none_or(|best| gated.cost() < best.cost()) {
            let (before, after) = (most_octets(&pieces[..from]), most_octets(&pieces[to..]));
            best = Some(gated.within(before, after));
        }
    };
    for from in 0..pieces.len() {
        consider(gated(&pieces[from]), from, from + 1);
        let mut run = vec![Vec::new()];
        for (to, piece) in (from + 1..).zip(&pieces[from..]) {
            match fixed_octets(piece).and_then(|octets| product(&run, &octets)) {
                Some(longer) => run = longer,
                None => break,
            }
            consider(Gated::by(run.clone()), from, to);
        }
    }
    best
}

/// Each of some literals with each of others behind it, if they are not too many.
fn product(literals: &[Vec<u8>], others: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let is_few = literals.len() * others.len() <= REGEX_GATES_MAX;
    let all =
        literals.iter().flat_map(|one| others.iter().map(move |other| [&one[..], other].concat()));
    is_few.then(|| all.collect())
}

/// The most octets that pieces can have together.
fn most_octets(pieces: &[Hir]) -> Option<usize> {
    pieces.iter().try_fold(0usize, |sum, piece| sum.checked_add(piece.properties().maximum_len()?))
}

/// The literals, in lower case, of which a piece is one, if they are few.
fn fixed_octets(piece: &Hir) -> Option<Vec<Vec<u8>>> {
    let mut all = match piece.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_ascii_lowercase()],
        HirKind::Capture(capture) => fixed_octets(&capture.sub)?,
        HirKind::Concat(pieces) => pieces
            .iter()
            .try_fold(vec![Vec::new()], |all, piece| product(&all, &fixed_octets(piece)?))?,
        HirKind::Alternation(branches) => {
            let all: Option<Vec<_>> = branches.iter().map(fixed_octets).collect();
            all?.concat()
        }
        HirKind::Repetition(repetition) if repetition.max == Some(1) && repetition.min == 0 => {
            let mut all = fixed_octets(&repetition.sub)?;
            all.push(Vec::new());
            all
        }
        HirKind::Class(Class::Bytes(class)) => {
            let octets = class.iter().flat_map(|range| range.start()..=range.end());
            octets
                .take(CLASS_OCTETS_MAX + 1)
                .map(|octet| vec![octet.to_ascii_lowercase()])
                .collect()
        }
        _ => return None,
    };
    all.sort_unstable();
    all.dedup();
    let is_class = matches!(piece.kind(), HirKind::Class(_));
    let most = if is_class { CLASS_OCTETS_MAX / 2 } else { REGEX_GATES_MAX };
    (all.len() <= most).then_some(all)
}

/// Octets of a class, letters in both cases, that are taken one by one.
const CLASS_OCTETS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(pattern: &str) -> Vec<String> {
        let regex = Regex::compile(0, pattern).unwrap();
        regex.gates.into_iter().map(|gate| String::from_utf8(gate).unwrap()).collect()
    }

    #[test]
    fn gates_are_literals_that_every_match_has() {
        let table: [(&str, &[&str]); 16] = [
            ("viagra", &["viagra"]),
            ("(?i)Viagra", &["viagra"]),
            (r"\bvia\b.{0,20}(?:gra|pills)", &["via"]),
            (r"\bvi\b.{0,20}(?:gra|pills)", &["gra", "pills"]),
            (r"a+bcd?efghi", &["bcdefghi", "bcefghi"]),
            (r"(?i)(?:express|online) x", &["express x", "online x"]),
            (r"(?:/[0-9]+){5}\.(?:php|html)\b", &[".html", ".php"]),
            (r"http.{3}[ab][cd]+\.info", &[".info"]),
            (r"[a-z]bc[a-z]", &[]),
            (r"(?:abc)+", &["abc"]),
            (r"(?:abc)*de", &[]),
            (r"ab|cdef", &[]),
            (r"[0-9]{4}-[0-9]{4}", &[]),
            (r"(?i)a[bc]d", &["abd", "acd"]),
            (r"^via$", &["via"]),
            (r"x\.exe", &["x.exe"]),
        ];
        for (pattern, expected) in table {
            assert_eq!(gates(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn an_expression_reaches_as_far_as_its_matches_do() {
        let all = REGEX_REACH_OCTETS;
        let table = [
            ("viagra", (6, 0)),
            ("(?i)viagra .{0,25}(?:express|online|overnight)", (7, 34)),
            (r"\bvi\b.{0,20}(?:gra|pills)", (27, 0)),
            ("a[bc]{2,5}(?:gra|pills)x?", (11, 1)),
            ("(?:abc){2,4}", (3, 9)),
            ("x?(?:abc)+", (4, all)),
            (".*abc", (all, 0)),
            ("(?:abcdefgh){40}", (8, all)),
            ("abcdefghijklmnopqrstuvwxyz", (REGEX_GATE_OCTETS, 2)),
            ("(?:abc|d{2}efghi.?)z{0,300}", (7, all)),
        ];
        for (pattern, reach) in table {
            let regex = Regex::compile(0, pattern).unwrap();
            let reached = (regex.before.octets(), regex.after.octets());
            assert_eq!(reached, reach, "{pattern}: {regex:?}");
        }
    }

    #[test]
    fn what_is_not_linear_or_too_large_is_refused_with_the_reason() {
        let table = [
            ("(?=a)b", "look-around"),
            (r"(a)\1", "back-reference"),
            ("a(b", "at octet 1"),
            ("(?:){4294967295}", "everywhere"),
            ("x*", "everywhere"),
            ("x.{0,9999}.{0,9999}y", "make its repetitions shorter"),
            ("(?:a{1000}){1000}", "make its repetitions shorter"),
        ];
        for (pattern, why) in table {
            let reason = Regex::compile(0, pattern).unwrap_err();
            assert!(reason.contains(why), "{pattern}: {reason}");
        }
    }
}
