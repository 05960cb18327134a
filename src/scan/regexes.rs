//! Regular expressions: each its own automaton, asked only where a literal that it needs was found.
//!
//! A full automaton (`regex-automata`, dense) takes one step an octet whatever the text, but a rule
//! set has hundreds of them. So of each expression the literals are drawn of which one must be in
//! every match (its gate); they are looked for together with all other literals, and only where one
//! is found the automaton runs, over as many octets around it as a match may have there. What a
//! sender can make it run is bounded by a budget.

use super::windows::{Gates, set};
use crate::limits::{REGEX_GATE_OCTETS, REGEX_GATES_MAX, REGEX_REACH_OCTETS, REGEX_TABLE_OCTETS};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

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
    /// Octets that a match may have before the end of its gate, and behind it, as far as they are
    /// looked at.
    pub before: usize,
    pub after: usize,
    /// Every match begins with the text.
    pub at_start: bool,
}

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
        let reach = |octets: Option<usize>, more: usize| {
            octets.map_or(REGEX_REACH_OCTETS, |octets| REGEX_REACH_OCTETS.min(octets + more))
        };
        let dense = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Unanchored)
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
        let (before, after) = (reach(before, longest), reach(after, 0));
        let at_start = hir.properties().look_set_prefix().contains(Look::Start);
        Ok(Regex { rule, automaton, start, gates, before, after, at_start })
    }

    /// Memory of its table, in octets.
    pub(super) fn table_octets(&self) -> usize {
        self.automaton.memory_usage()
    }

    /// Whether there is a match that lies in `from..to` of `text`; what is around it counts for
    /// boundaries alone.
    pub(super) fn matches(&self, text: &[u8], from: usize, to: usize) -> bool {
        let input = Input::new(text).range(from..to).earliest(true);
        // It fails on octets that make an automaton quit, and there are none.
        self.automaton.try_search_fwd(&input).is_ok_and(|found| found.is_some())
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
    /// By a literal, or by its beginning if it is very long; none if it is too short.
    fn by(mut literal: Vec<u8>) -> Option<Gated> {
        let behind = literal.len().saturating_sub(REGEX_GATE_OCTETS);
        literal.truncate(REGEX_GATE_OCTETS);
        let long_enough = literal.len() >= GATE_OCTETS_MIN;
        long_enough.then(|| Gated { literals: vec![literal], before: Some(0), after: Some(behind) })
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
        HirKind::Literal(literal) => Gated::by(literal.0.to_ascii_lowercase()),
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

/// In a sequence, any piece may be the gate: the one whose shortest literal is the longest.
fn gated_by_piece(pieces: &[Hir]) -> Option<Gated> {
    let mut best: Option<Gated> = None;
    let mut consider = |gated: Option<Gated>, from: usize, to: usize| {
        let rank = |gated: &Gated| {
            (gated.literals.iter().map(Vec::len).min(), usize::MAX - gated.literals.len())
        };
        if gated.as_ref().map(rank) > best.as_ref().map(rank) {
            let (before, after) = (most_octets(&pieces[..from]), most_octets(&pieces[to..]));
            best = gated.map(|gated| gated.within(before, after));
        }
    };
    let (mut run, mut from) = (Vec::new(), 0);
    for (place, piece) in pieces.iter().enumerate() {
        match fixed_octets(piece) {
            Some(octets) => run.extend(octets),
            None => {
                consider(Gated::by(std::mem::take(&mut run)), from, place);
                consider(gated(piece), place, place + 1);
                from = place + 1;
            }
        }
    }
    consider(Gated::by(run), from, pieces.len());
    best
}

/// The most octets that pieces can have together.
fn most_octets(pieces: &[Hir]) -> Option<usize> {
    pieces.iter().try_fold(0usize, |sum, piece| sum.checked_add(piece.properties().maximum_len()?))
}

/// The octets, in lower case, that a piece stands for: a literal, or a letter in either case.
fn fixed_octets(piece: &Hir) -> Option<Vec<u8>> {
    match piece.kind() {
        HirKind::Literal(literal) => Some(literal.0.to_ascii_lowercase()),
        HirKind::Capture(capture) => fixed_octets(&capture.sub),
        HirKind::Concat(pieces) => {
            let all: Option<Vec<Vec<u8>>> = pieces.iter().map(fixed_octets).collect();
            all.map(|all| all.concat())
        }
        HirKind::Look(_) => Some(Vec::new()),
        HirKind::Class(Class::Bytes(class)) => {
            let octets = class.iter().flat_map(|range| range.start()..=range.end());
            let mut folded: Vec<u8> =
                octets.take(3).map(|octet| octet.to_ascii_lowercase()).collect();
            folded.dedup();
            (folded.len() == 1).then_some(folded)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(pattern: &str) -> Vec<String> {
        let regex = Regex::compile(0, pattern).unwrap();
        regex.gates.into_iter().map(|gate| String::from_utf8(gate).unwrap()).collect()
    }

    #[test]
    fn gates_are_literals_that_every_match_has() {
        let table: [(&str, &[&str]); 13] = [
            ("viagra", &["viagra"]),
            ("(?i)Viagra", &["viagra"]),
            (r"\bvia\b.{0,20}(?:gra|pills)", &["via"]),
            (r"\bvi\b.{0,20}(?:gra|pills)", &["gra", "pills"]),
            (r"a+bcd?efghi", &["efghi"]),
            (r"(?i)(?:express|online) x", &["express", "online"]),
            (r"(?:abc)+", &["abc"]),
            (r"(?:abc)*de", &[]),
            (r"ab|cdef", &[]),
            (r"[0-9]{4}-[0-9]{4}", &[]),
            (r"(?i)a[bc]d", &[]),
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
            assert_eq!((regex.before, regex.after), reach, "{pattern}: {regex:?}");
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
