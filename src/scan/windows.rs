//! How regular expressions see a text that streams: in windows of two segments of
//! [`SCAN_SEGMENT_OCTETS`], one beginning with each segment.
//!
//! A match of up to one segment lies whole in some window; a longer one is found where its beginning
//! in a window fulfils the expression. Windows lie at fixed places of the stream, and so does what
//! they may cost: nothing here depends on how the text was cut.

use super::regexes::RegexSet;
use crate::limits::{REGEX_UNITS_AN_OCTET, REGEX_UNITS_AT_ONCE, REGEXES_MAX, SCAN_SEGMENT_OCTETS};
use std::ops::Range;

/// Expressions of a rule set; a bit for each.
pub(super) const REGEX_WORDS: usize = REGEXES_MAX / 64;

/// Which gates were found in a segment.
pub(super) type Gates = [u64; REGEX_WORDS];

/// Octets of a window, with the one before it and the one behind it.
const WINDOW_OCTETS: usize = 1 + 2 * SCAN_SEGMENT_OCTETS + 1;

/// The last octets of a stream, and the gates found in them.
#[derive(Debug)]
pub(super) struct Windows {
    octets: [u8; WINDOW_OCTETS],
    length: usize,
    /// Octets before the window's first one: one, but for the first window.
    before: usize,
    /// Gates in the window's first segment, and in its second one.
    gates: [Gates; 2],
    /// Octets of the stream.
    position: u64,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            octets: [0; WINDOW_OCTETS],
            length: 0,
            before: 0,
            gates: [[0; REGEX_WORDS]; 2],
            position: 0,
        }
    }
}

impl Windows {
    /// Where in its segment the next octet lies.
    pub(super) fn phase(&self) -> usize {
        (self.position % SCAN_SEGMENT_OCTETS as u64) as usize
    }

    /// Takes the next octets. `gates` tells which were found in a segment of them, the first of
    /// which is the one that is open. `ask` is given each window that is complete, as its text, the
    /// range of the window in it, and the gates that were found there.
    pub(super) fn take(
        &mut self,
        octets: &[u8],
        gates: impl Fn(usize) -> Gates,
        mut ask: impl FnMut(&[u8], Range<usize>, &Gates),
    ) {
        let mut rest = octets;
        let mut segment = 0;
        while let Some(first) = rest.first() {
            if self.length == self.before + 2 * SCAN_SEGMENT_OCTETS {
                // The octet behind the window decides whether a word or the text ends with it.
                self.octets[self.length] = *first;
                self.ask(self.length + 1, &mut ask);
                self.go_on();
            }
            let room = SCAN_SEGMENT_OCTETS - self.phase();
            let (piece, after) = rest.split_at(room.min(rest.len()));
            self.octets[self.length..][..piece.len()].copy_from_slice(piece);
            self.length += piece.len();
            let second = self.length - self.before > SCAN_SEGMENT_OCTETS;
            let found = gates(segment);
            or(&mut self.gates[usize::from(second)], &found);
            self.position += piece.len() as u64;
            segment += usize::from(piece.len() == room);
            rest = after;
        }
    }

    /// Another stream begins.
    fn clear(&mut self) {
        (self.length, self.before, self.position) = (0, 0, 0);
        self.gates = Default::default();
    }

    /// The stream has ended, and another one may begin.
    pub(super) fn finish(&mut self, mut ask: impl FnMut(&[u8], Range<usize>, &Gates)) {
        self.ask(self.length, &mut ask);
        self.clear();
    }

    fn ask(&self, length: usize, ask: &mut impl FnMut(&[u8], Range<usize>, &Gates)) {
        let mut gates = self.gates[0];
        or(&mut gates, &self.gates[1]);
        ask(&self.octets[..length], self.before..self.length, &gates);
    }

    /// The next window begins with this one's second segment.
    fn go_on(&mut self) {
        let from = self.before + SCAN_SEGMENT_OCTETS - 1;
        self.octets.copy_within(from..self.length, 0);
        self.length -= from;
        self.before = 1;
        self.gates = [self.gates[1], [0; REGEX_WORDS]];
    }
}

fn or(gates: &mut Gates, others: &Gates) {
    gates.iter_mut().zip(others).for_each(|(word, other)| *word |= other);
}

/// The expressions that look at a stream: what of it they still have to see, and what they cost.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    /// Large, so there only where some expression looks at the stream.
    pub(super) windows: Option<Box<Windows>>,
    pub(super) asked: Asked,
}

impl Expressions {
    /// A message begins. `look` tells whether any expression looks at the stream.
    pub(super) fn begin(&mut self, look: bool) {
        self.asked = Asked::default();
        match look {
            true => self.windows.get_or_insert_default().clear(),
            false => self.windows = None,
        }
    }
}

/// What expressions were asked, and what that cost.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) budget: Budget,
    /// Expressions that have matched, and need not be asked again.
    matched: Gates,
    /// The budget was spent, and something was not asked.
    pub(super) is_spent: bool,
}

impl Asked {
    /// Work units that were spent.
    pub(super) fn units(&self) -> u64 {
        self.budget.spent()
    }

    /// Asks the expressions whose gates were found in a window, and those without, but only those of
    /// rules that `asks` admits. The rules of those that match are given.
    pub(super) fn ask(
        &mut self,
        regexes: &RegexSet,
        text: &[u8],
        window: Range<usize>,
        gates: &Gates,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16),
    ) {
        let mut open = *gates;
        or(&mut open, &regexes.ungated);
        open.iter_mut().zip(self.matched).for_each(|(word, matched)| *word &= !matched);
        for number in numbers(open) {
            let Some(regex) = regexes.all.get(number).filter(|regex| asks(regex.rule)) else {
                continue;
            };
            if !self.budget.spend(window.len()) {
                self.is_spent = true;
                return;
            }
            if regex.matches(text, window.start, window.end) {
                set(&mut self.matched, number);
                found(regex.rule);
            }
        }
    }
}

/// Puts an expression among others.
pub(super) fn set(gates: &mut Gates, number: usize) {
    if let Some(word) = gates.get_mut(number / 64) {
        *word |= 1 << (number % 64);
    }
}

/// The numbers of the expressions in a set.
fn numbers(gates: Gates) -> impl Iterator<Item = usize> {
    gates.into_iter().zip((0..).step_by(64)).flat_map(|(word, first)| {
        let mut bits = word;
        std::iter::from_fn(move || {
            let lowest = bits.trailing_zeros() as usize;
            bits &= bits.wrapping_sub(1);
            (lowest < 64).then_some(first + lowest)
        })
    })
}

/// What expressions may cost on a stream: so much at once, and so much more with each octet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    octets: u64,
    spent: u64,
}

impl Budget {
    /// The stream has so many octets more.
    pub(super) fn earn(&mut self, octets: usize) {
        self.octets += octets as u64;
    }

    /// Spends units, if there are so many.
    pub(super) fn spend(&mut self, units: usize) -> bool {
        let allowed = REGEX_UNITS_AT_ONCE + REGEX_UNITS_AN_OCTET * self.octets;
        let has = self.spent + units as u64 <= allowed;
        self.spent += if has { units as u64 } else { 0 };
        has
    }

    /// What was spent.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::regexes::Regex;

    /// What an expression finds in a text, with the gates at their true places, in pieces.
    fn found(regex: &Regex, text: &[u8], piece: usize) -> bool {
        let mut windows = Windows::default();
        let (mut found, mut start) = (false, 0);
        let lower = text.to_ascii_lowercase();
        for octets in text.chunks(piece) {
            let first = start / SCAN_SEGMENT_OCTETS;
            let ends = |segment: usize| {
                let range = (first + segment) * SCAN_SEGMENT_OCTETS..;
                let range = range.start.max(start)
                    ..((first + segment + 1) * SCAN_SEGMENT_OCTETS).min(start + octets.len());
                let mut all = Gates::default();
                let ends_here =
                    |gate: &Vec<u8>| range.clone().any(|end| lower[..=end].ends_with(gate));
                all[0] |= u64::from(regex.gates.is_empty() || regex.gates.iter().any(ends_here));
                all
            };
            windows.take(octets, ends, |text, window, gates| {
                found |= gates[0] != 0 && regex.matches(text, window.start, window.end);
            });
            start += octets.len();
        }
        windows.finish(|text, window, gates| {
            found |= gates[0] != 0 && regex.matches(text, window.start, window.end);
        });
        found
    }

    #[test]
    fn a_match_of_a_segment_is_found_wherever_it_lies_and_is_cut() {
        let within = SCAN_SEGMENT_OCTETS - 7;
        let table = [
            (format!("abc[x]{{{within}}}defg"), format!("abc{}defg", "x".repeat(within)), true),
            (r"\bvia\b".into(), "via".into(), true),
            (r"\bvia\b".into(), "-via-".into(), true),
            (r"\bvia\b".into(), "xvia".into(), false),
            (r"\bvia\b".into(), "viax".into(), false),
            (r"(?i)VI[a]gra$".into(), "viagra".into(), false),
            (r"[0-9]{4}-[0-9]{4}".into(), "1234-5678".into(), true),
        ];
        for (pattern, text, expected) in table {
            let regex = Regex::compile(0, &pattern).unwrap();
            for before in (0..3 * SCAN_SEGMENT_OCTETS).step_by(61) {
                let text = format!("{}{text}{}", ".".repeat(before), ".".repeat(900));
                for piece in [1, 7, 500, text.len()] {
                    assert_eq!(
                        found(&regex, text.as_bytes(), piece),
                        expected,
                        "{pattern} behind {before} octets in pieces of {piece}"
                    );
                }
            }
        }
        let at_end = Regex::compile(0, "^via$").unwrap();
        assert!(found(&at_end, b"via", 2) && !found(&at_end, b"via.", 2));
    }

    #[test]
    fn a_budget_is_earned_by_octets() {
        let mut budget = Budget::default();
        assert!(budget.spend(REGEX_UNITS_AT_ONCE as usize) && !budget.spend(1));
        budget.earn(1);
        assert!(budget.spend(REGEX_UNITS_AN_OCTET as usize) && !budget.spend(1));
        assert_eq!(budget.spent(), REGEX_UNITS_AT_ONCE + REGEX_UNITS_AN_OCTET);
    }
}
