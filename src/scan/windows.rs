//! How regular expressions see a text that streams: in windows around the gates that were found.
//!
//! A text is divided into stretches of [`SCAN_STRETCH_OCTETS`], and a stretch into cells. When as
//! many octets have come behind a stretch as any expression reaches, each expression with a gate in
//! it runs once: from as far before the first cell with one as a match may begin, to as far behind
//! the last one as a match may end. Most expressions reach a few words, and so most windows are
//! short; none reaches beyond [`REGEX_REACH_OCTETS`], so a match of no more octets than that is
//! seen whole. Stretches and cells lie at fixed places of the stream, and so does what they may
//! cost: nothing here depends on how the text was cut.
//!
//! The few expressions without a gate take every octet, with their state carried over every cut.

use super::regexes::RegexSet;
use super::scratch::{BLOCK_CELLS, CELL_OCTETS};
use crate::limits::{
    REGEX_REACH_OCTETS, REGEX_UNITS_AN_OCTET, REGEX_UNITS_AT_ONCE, REGEXES_MAX,
    REGEXES_UNGATED_MAX, SCAN_STRETCH_OCTETS,
};
use regex_automata::util::primitives::StateID;

/// Expressions of a rule set; a bit for each.
pub(super) const REGEX_WORDS: usize = REGEXES_MAX / 64;

/// A set of expressions: those with a gate in a cell, for instance.
pub(super) type Gates = [u64; REGEX_WORDS];

/// Cells of a stretch.
const CELLS: usize = SCAN_STRETCH_OCTETS / CELL_OCTETS;

/// Cells that may wait for octets behind them, beginning with a stretch.
pub(super) const WAITING_CELLS: usize = (SCAN_STRETCH_OCTETS + REGEX_REACH_OCTETS) / CELL_OCTETS;

/// Octets that are kept: the waiting cells, and what is reached before them.
const KEPT_OCTETS: usize = SCAN_STRETCH_OCTETS + 2 * REGEX_REACH_OCTETS;

/// A stretch with what is reached around it, and the octet behind, which decides whether a word or
/// the text ends there.
const AROUND_OCTETS: usize = KEPT_OCTETS + 1;

/// What is kept of a stream between two blocks.
#[derive(Debug)]
pub(super) struct Windows {
    octets: [u8; KEPT_OCTETS],
    length: usize,
    /// Octets of the stream.
    position: u64,
    /// The first stretch that waits.
    stretch: u64,
    /// The gates in the waiting cells: so many words for each as the expressions need.
    gates: Vec<u64>,
    /// How far the expressions are that have no gate.
    running: [Option<StateID>; REGEXES_UNGATED_MAX],
}

/// A stretch that is complete, with its surroundings.
pub(super) struct Around<'a> {
    text: &'a [u8],
    /// Where in `text` the stretch begins.
    begins: usize,
    /// The stream begins with `text`.
    at_start: bool,
    gates: [Gates; CELLS],
    /// Octets of the stretch, fewer for the last one of a stream.
    pub(super) octets: usize,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            octets: [0; KEPT_OCTETS],
            length: 0,
            position: 0,
            stretch: 0,
            gates: Vec::new(),
            running: Default::default(),
        }
    }
}

impl Windows {
    /// Another stream begins, of which so many expressions are asked.
    fn clear(&mut self, regexes: usize) {
        (self.length, self.position, self.stretch) = (0, 0, 0);
        self.gates.clear();
        self.gates.reserve_exact(WAITING_CELLS * regexes.div_ceil(64));
        self.gates.resize(WAITING_CELLS * regexes.div_ceil(64), 0);
        self.running = Default::default();
    }

    /// Octets between the first cell that waits and the next octet.
    pub(super) fn phase(&self) -> usize {
        (self.position - self.stretch * SCAN_STRETCH_OCTETS as u64) as usize
    }

    /// Puts the gates of the cells that wait before those that will be found.
    pub(super) fn restore(&self, cells: &mut [Gates; BLOCK_CELLS]) {
        let words = (self.gates.len() / WAITING_CELLS).max(1);
        for (cell, waiting) in cells.iter_mut().zip(self.gates.chunks_exact(words)) {
            cell[..words].copy_from_slice(waiting);
        }
    }

    /// Takes the next octets, with the gates of all cells from the first one on that waited. `ask`
    /// is given each stretch that is complete.
    pub(super) fn take(
        &mut self,
        block: &[u8],
        cells: &[Gates; BLOCK_CELLS],
        mut ask: impl FnMut(Around<'_>),
    ) {
        let end = self.position + block.len() as u64;
        let (stretches, _) = cells.as_chunks::<CELLS>();
        let mut behind = 0;
        for gates in stretches {
            let last = (self.stretch + 1) * SCAN_STRETCH_OCTETS as u64;
            if end <= last + REGEX_REACH_OCTETS as u64 {
                break;
            }
            self.ask(block, *gates, &mut ask);
            self.stretch += 1;
            behind += CELLS;
        }
        let words = (self.gates.len() / WAITING_CELLS).max(1);
        for (waiting, cell) in self.gates.chunks_exact_mut(words).zip(&cells[behind..]) {
            waiting.copy_from_slice(&cell[..words]);
        }
        self.keep(block);
        self.position = end;
    }

    /// The stream has ended, and another one may begin.
    pub(super) fn finish(&mut self, mut ask: impl FnMut(Around<'_>)) {
        let mut cells = [[0; REGEX_WORDS]; WAITING_CELLS];
        let words = (self.gates.len() / WAITING_CELLS).max(1);
        for (cell, waiting) in cells.iter_mut().zip(self.gates.chunks_exact(words)) {
            cell[..words].copy_from_slice(waiting);
        }
        let (stretches, _) = cells.as_chunks::<CELLS>();
        for gates in stretches {
            if self.position > self.stretch * SCAN_STRETCH_OCTETS as u64 {
                self.ask(b"", *gates, &mut ask);
                self.stretch += 1;
            }
        }
        self.clear(64 * words);
    }

    /// Asks about the first stretch that waits; `block` is what follows the octets that are kept.
    fn ask(&self, block: &[u8], gates: [Gates; CELLS], ask: &mut impl FnMut(Around<'_>)) {
        let end = self.position + block.len() as u64;
        let begins = self.stretch * SCAN_STRETCH_OCTETS as u64;
        let octets = (end - begins).min(SCAN_STRETCH_OCTETS as u64) as usize;
        if gates.as_flattened().iter().all(|word| *word == 0) {
            return ask(Around { text: b"", begins: 0, at_start: false, gates, octets });
        }
        let from = begins.saturating_sub(REGEX_REACH_OCTETS as u64);
        let to = end.min(begins + (SCAN_STRETCH_OCTETS + REGEX_REACH_OCTETS + 1) as u64);
        let (begins, at_start) = ((begins - from) as usize, from == 0);
        if let Some(from) = from.checked_sub(self.position) {
            let text = &block[from as usize..(to - self.position) as usize];
            return ask(Around { text, begins, at_start, gates, octets });
        }
        let mut joined = [0; AROUND_OCTETS];
        let kept = &self.octets[..self.length];
        let kept = &kept[self.length - (self.position - from) as usize..];
        let (before, behind) = joined.split_at_mut(kept.len());
        before.copy_from_slice(kept);
        let came = to.saturating_sub(self.position) as usize;
        behind[..came].copy_from_slice(&block[..came]);
        let length = (to - from) as usize;
        ask(Around { text: &joined[..length], begins, at_start, gates, octets });
    }

    /// Keeps what may still be asked about, once the octets of a block are behind.
    fn keep(&mut self, block: &[u8]) {
        let end = self.position + block.len() as u64;
        let begins = self.stretch * SCAN_STRETCH_OCTETS as u64;
        let kept = (end - begins.saturating_sub(REGEX_REACH_OCTETS as u64)) as usize;
        let old = kept.saturating_sub(block.len());
        if old < self.length {
            self.octets.copy_within(self.length - old..self.length, 0);
        }
        let new = &block[block.len() - (kept - old)..];
        self.octets[old..kept].copy_from_slice(new);
        self.length = kept;
    }

    /// Lets the expressions without a gate take the next octets.
    pub(super) fn run(
        &mut self,
        octets: &[u8],
        regexes: &RegexSet,
        asked: &mut Asked,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16),
    ) {
        for (number, state) in regexes.running.iter().zip(&mut self.running) {
            let Some(regex) = regexes.all.get(usize::from(*number)) else { continue };
            if !asks(regex.rule) || has(&asked.matched, usize::from(*number)) {
                continue;
            }
            let mut at = state.unwrap_or(regex.start);
            let (taken, matched) = regex.go_on(&mut at, octets);
            asked.run_units += taken as u64;
            *state = Some(at);
            if matched {
                set(&mut asked.matched, usize::from(*number));
                found(regex.rule);
            }
        }
    }

    /// The stream has ended for the expressions without a gate.
    pub(super) fn run_out(
        &mut self,
        regexes: &RegexSet,
        asked: &mut Asked,
        mut found: impl FnMut(u16),
    ) {
        for (number, state) in regexes.running.iter().zip(&mut self.running) {
            let Some(regex) = regexes.all.get(usize::from(*number)) else { continue };
            let Some(state) = state.take() else { continue };
            if !has(&asked.matched, usize::from(*number)) && regex.matches_at_end(state) {
                set(&mut asked.matched, usize::from(*number));
                found(regex.rule);
            }
        }
    }
}

/// Puts expressions among others.
pub(super) fn or(gates: &mut Gates, others: &Gates) {
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
    /// A message begins. So many expressions are there, if any of them looks at the stream.
    pub(super) fn begin(&mut self, regexes: Option<usize>) {
        self.asked = Asked::default();
        match regexes {
            Some(regexes) => self.windows.get_or_insert_default().clear(regexes),
            None => self.windows = None,
        }
    }
}

/// What expressions were asked, and what that cost.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) budget: Budget,
    /// Octets that expressions without a gate have taken.
    run_units: u64,
    /// Expressions that have matched, and need not be asked again.
    matched: Gates,
    /// The budget was spent, and something was not asked.
    pub(super) is_spent: bool,
}

impl Asked {
    /// Work units that were spent.
    pub(super) fn units(&self) -> u64 {
        self.budget.spent() + self.run_units
    }

    /// Spends units on something, if there are so many.
    pub(super) fn may_spend(&mut self, units: usize) -> bool {
        let has = self.budget.spend(units);
        self.is_spent |= !has;
        has
    }

    /// Asks the expressions with a gate in a stretch, but only those of rules that `asks` admits. The
    /// rules of those that match are given.
    pub(super) fn ask_around(
        &mut self,
        regexes: &RegexSet,
        around: &Around<'_>,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16),
    ) {
        self.budget.earn(around.octets);
        if around.text.is_empty() {
            return;
        }
        let mut open = Gates::default();
        around.gates.iter().for_each(|cell| or(&mut open, cell));
        open.iter_mut().zip(self.matched).for_each(|(word, matched)| *word &= !matched);
        for number in numbers(open) {
            let Some(regex) = regexes.all.get(number).filter(|regex| asks(regex.rule)) else {
                continue;
            };
            let first = around.gates.iter().position(|cell| has(cell, number)).unwrap_or(0);
            let last = around.gates.iter().rposition(|cell| has(cell, number)).unwrap_or(0);
            let ends =
                around.begins + first * CELL_OCTETS..around.begins + (last + 1) * CELL_OCTETS;
            let from = (ends.start + 1).saturating_sub(regex.before.octets());
            let to = (ends.end + regex.after.octets()).min(around.text.len());
            if regex.at_start && !(around.at_start && from == 0) {
                continue;
            }
            if !self.may_spend(to.saturating_sub(from)) {
                return;
            }
            let ends = ends.start..ends.end.min(around.text.len());
            if regex.matches_around(around.text, ends, from..to) {
                set(&mut self.matched, number);
                found(regex.rule);
            }
        }
    }

    /// Asks the expressions whose gates were found in a text that is there as a whole, and those
    /// without, as [`Asked::ask_around`] does.
    pub(super) fn ask_whole(
        &mut self,
        regexes: &RegexSet,
        text: &[u8],
        gates: &Gates,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16),
    ) {
        self.budget.earn(text.len());
        let mut open = *gates;
        or(&mut open, &regexes.ungated);
        open.iter_mut().zip(self.matched).for_each(|(word, matched)| *word &= !matched);
        for number in numbers(open) {
            let Some(regex) = regexes.all.get(number).filter(|regex| asks(regex.rule)) else {
                continue;
            };
            if !self.may_spend(text.len()) {
                return;
            }
            if regex.matches(text, 0, text.len(), text.len()) {
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

/// Whether an expression is among others.
fn has(gates: &Gates, number: usize) -> bool {
    gates.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
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

    /// Whether an expression is found in a text, with the gates at their true places, in pieces; and
    /// what that cost.
    fn found(regexes: &RegexSet, text: &[u8], piece: usize) -> (bool, u64) {
        let (mut windows, mut asked) = (Windows::default(), Asked::default());
        windows.clear(regexes.all.len());
        let (mut found, mut start) = (false, 0);
        let lower = text.to_ascii_lowercase();
        for octets in text.chunks(piece) {
            let mut cells = Box::new([[0; REGEX_WORDS]; BLOCK_CELLS]);
            windows.restore(&mut cells);
            for place in 0..octets.len() {
                let behind = &lower[..=start + place];
                if regexes.all[0].gates.iter().any(|gate| behind.ends_with(gate)) {
                    set(&mut cells[(windows.phase() + place) / CELL_OCTETS], 0);
                }
            }
            windows.take(octets, &cells, |around| {
                asked.ask_around(regexes, &around, |_| true, |_| found = true);
            });
            windows.run(octets, regexes, &mut asked, |_| true, |_| found = true);
            start += octets.len();
        }
        windows.run_out(regexes, &mut asked, |_| found = true);
        windows.finish(|around| asked.ask_around(regexes, &around, |_| true, |_| found = true));
        (found, asked.units())
    }

    #[test]
    fn a_match_within_reach_is_found_wherever_it_lies_and_is_cut() {
        let reach = REGEX_REACH_OCTETS;
        let (within, beyond) = (reach - 8, reach + SCAN_STRETCH_OCTETS);
        let behind = |octets: usize| format!("abc{}defg", "x".repeat(octets));
        let before = |octets: usize| format!("{}gate", "ab".repeat(octets / 2));
        let table = [
            ("abc[x]+defg".to_owned(), behind(within), true),
            ("abc[x]+defg".to_owned(), behind(beyond), false),
            ("(?:ab)+gate".to_owned(), before(within), true),
            (format!("x(?:ab){{{}}}gate", beyond / 2), format!("x{}", before(beyond)), false),
            (r"\bvia\b".into(), "via".into(), true),
            (r"\bvia\b".into(), "-via-".into(), true),
            (r"\bvia\b".into(), "xvia".into(), false),
            (r"\bvia\b".into(), "viax".into(), false),
            (r"(?i)VI[a]gra$".into(), "viagra".into(), false),
            (r"[0-9]{4}-[0-9]{4}".into(), "1234-5678".into(), true),
            (r"\b[0-9]+x\b".into(), format!("{}x", "1".repeat(5 * reach)), true),
        ];
        for (pattern, text, expected) in table {
            let regex = Regex::compile(0, &pattern).unwrap();
            let running = if regex.gates.is_empty() { vec![0] } else { vec![] };
            let regexes = RegexSet::new(vec![regex], running);
            for before in (0..3 * reach).step_by(61) {
                let text = format!("{}{text}{}", ".".repeat(before), ".".repeat(900));
                let whole = found(&regexes, text.as_bytes(), text.len());
                assert_eq!(whole.0, expected, "{pattern} behind {before} octets");
                for piece in [1, 7, 64, 128, 500] {
                    let cut = found(&regexes, text.as_bytes(), piece);
                    assert_eq!(cut, whole, "{pattern} behind {before} octets by {piece}");
                }
            }
        }
        let table = [
            ("^via", "via", 0),
            ("^via$", "via", 0),
            ("^[0-9]$", "7", 1),
            ("^[0-9]+via", "7via", 0),
        ];
        for (pattern, text, running) in table {
            let regex = Regex::compile(0, pattern).unwrap();
            let regexes = RegexSet::new(vec![regex], vec![0; running]);
            assert!(found(&regexes, text.as_bytes(), 2).0, "{pattern}");
            for dots in [1, 100, 500] {
                let behind = ".".repeat(dots) + text;
                assert!(!found(&regexes, behind.as_bytes(), 2).0, "{pattern} behind {dots} octets");
            }
        }
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
