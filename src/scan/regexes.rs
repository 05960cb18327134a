//! Regular expressions: each its own automaton, asked only where a literal that it needs was found.
//!
//! A full automaton (`regex-automata`, dense) takes one step an octet whatever the text, but a rule
//! set has hundreds of them. So of each expression the literals are drawn of which one must be in
//! every match (its gate); they are looked for together with all other literals, and only where one
//! is found the automaton runs. What a sender can make it run is bounded by a budget.

use super::windows::{Gates, set};
use crate::limits::{REGEX_GATES_MAX, REGEX_TABLE_OCTETS};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind};

/// The expressions of a rule set, by their numbers.
#[derive(Debug, Default)]
pub(super) struct RegexSet {
    pub(super) all: Box<[Regex]>,
    /// Those that no literal gates.
    pub(super) ungated: Gates,
}

impl RegexSet {
    pub(super) fn new(all: Vec<Regex>) -> RegexSet {
        let mut ungated = Gates::default();
        let without = all.iter().enumerate().filter(|(_, regex)| regex.gates.is_empty());
        without.for_each(|(number, _)| set(&mut ungated, number));
        RegexSet { all: all.into(), ungated }
    }
}

/// A compiled expression.
pub(super) struct Regex {
    /// The rule that asks for it.
    pub rule: u16,
    automaton: dense::DFA<Vec<u32>>,
    /// Literals in lower case of which one is in every match; none if it must always be asked.
    pub gates: Vec<Vec<u8>>,
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
        let mut gates = gates_of(&hir).unwrap_or_default();
        gates.sort_unstable();
        gates.dedup();
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
        Ok(Regex { rule, automaton, gates })
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

/// Literals of which one is in every match, the longest that are easily seen.
fn gates_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => long_enough(literal.0.to_ascii_lowercase()),
        HirKind::Capture(capture) => gates_of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => gates_of(&repetition.sub),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(gates_of(branch)?);
            }
            (all.len() <= REGEX_GATES_MAX).then_some(all)
        }
        HirKind::Concat(pieces) => gates_of_pieces(pieces),
        _ => None,
    }
}

/// In a sequence, any piece may be the gate: the one whose shortest literal is the longest.
fn gates_of_pieces(pieces: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut best: Option<Vec<Vec<u8>>> = None;
    let mut consider = |gates: Option<Vec<Vec<u8>>>| {
        let rank =
            |gates: &Vec<Vec<u8>>| (gates.iter().map(Vec::len).min(), usize::MAX - gates.len());
        if gates.as_ref().map(rank) > best.as_ref().map(rank) {
            best = gates;
        }
    };
    let mut run = Vec::new();
    for piece in pieces {
        match fixed_octets(piece) {
            Some(octets) => run.extend(octets),
            None => {
                consider(long_enough(std::mem::take(&mut run)));
                consider(gates_of(piece));
            }
        }
    }
    consider(long_enough(run));
    best
}

fn long_enough(literal: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    (literal.len() >= GATE_OCTETS_MIN).then(|| vec![literal])
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
