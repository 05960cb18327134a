//! What a scan costs on this machine: on a letter, and on the worst text that is known of for the
//! rules. `postern check` prints it.

use super::floods::{floods, letter};
use crate::scan::{Rules, Scanner};
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an octet of content costs.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// Nanoseconds an octet of a letter.
    pub letter_ns: f64,
    /// Nanoseconds an octet of the worst text.
    pub worst_ns: f64,
    /// What that text is.
    pub worst: &'static str,
}

/// Octets of each text.
const TEXT_OCTETS: usize = 384 * 1024;

/// How long each text is scanned at least.
const MEASURED: Duration = Duration::from_millis(5);

/// Octets that a read of a socket brings.
const READ_OCTETS: usize = 16 * 1024;

/// Measures; it takes less than a second.
pub fn calibrate(rules: &Arc<Rules>) -> Calibration {
    let letter_ns = nanoseconds(rules, &[letter()]);
    let costs = floods(rules, TEXT_OCTETS)
        .into_iter()
        .map(|(name, flood)| (nanoseconds(rules, &[flood]), name));
    let (worst_ns, worst) =
        costs.max_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or((letter_ns, "a letter"));
    Calibration { letter_ns, worst_ns, worst }
}

/// The cost of an octet of these messages: of several runs the best of each message, since on a busy
/// machine that says most.
pub fn nanoseconds(rules: &Arc<Rules>, messages: &[Vec<u8>]) -> f64 {
    nanoseconds_within(MEASURED, rules, messages)
}

/// As [`nanoseconds`], measured for so long at least.
pub fn nanoseconds_within(time: Duration, rules: &Arc<Rules>, messages: &[Vec<u8>]) -> f64 {
    let mut scanner = Scanner::new(Arc::clone(rules));
    nanoseconds_of(time, messages, |message| {
        scanner.reset(Arc::clone(rules));
        message.chunks(READ_OCTETS).for_each(|piece| scanner.feed(black_box(piece)));
        black_box(scanner.finish());
    })
}

/// What some work with each of these messages costs an octet.
pub fn nanoseconds_of(time: Duration, messages: &[Vec<u8>], mut work: impl FnMut(&[u8])) -> f64 {
    let octets: usize = messages.iter().map(Vec::len).sum();
    let mut best = vec![Duration::MAX; messages.len()];
    let (mut runs, begun) = (0, Instant::now());
    while runs < 3 || begun.elapsed() < time {
        for (message, best) in messages.iter().zip(&mut best) {
            let run = Instant::now();
            work(message);
            *best = run.elapsed().min(*best);
        }
        runs += 1;
    }
    let best: Duration = best.iter().sum();
    best.as_nanos() as f64 / octets.max(1) as f64
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calibration { letter_ns, worst_ns, worst } = self;
        write!(
            f,
            "time     {letter_ns:.2} ns an octet of a letter, {worst_ns:.2} of the worst text known \
             ({worst}), on this machine"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{RuleSpec, Surface, Tags};

    /// What is measured is bounded as `check` says it is, in units, which no machine changes.
    #[test]
    fn no_text_costs_more_units_than_are_told() {
        let spec = RuleSpec {
            literals: vec![b"minutes".to_vec(), b"free money".to_vec()],
            regexes: vec!["(?i)meeting.{0,20}friday".into(), "[0-9]{4}-[0-9]{4}".into()],
            surfaces: Surface::ALL.into_iter().filter(|one| *one != Surface::Raw).collect(),
            fields: vec![b"subject".to_vec()],
            digests: vec![[0; 32]],
            md5: vec![[0; 16]],
            blake3: vec![[0; 32]],
            tag: "tag".into(),
            ..RuleSpec::default()
        };
        let rules = Arc::new(Rules::compile(Tags::new(), &[spec]).unwrap());
        let cost = rules.cost();
        let mut texts = floods(&rules, 64 * 1024);
        texts.push(("a letter", letter()));
        for (name, text) in texts {
            let mut scanner = Scanner::new(Arc::clone(&rules));
            scanner.feed(&text);
            let units = scanner.finish().units();
            let bound = cost.units_at_once + cost.units_an_octet * text.len() as u64;
            assert!(units <= bound, "{name}: {units} of {bound}");
        }
        let told = calibrate(&rules).to_string();
        assert!(told.contains(" ns an octet of a letter"), "{told}");
    }
}
