//! Hunts for the message that costs most: for the one whose scan comes nearest to the bound in work
//! units that `postern check` prints, and for the one that takes most time an octet.
//!
//! ```text
//! cargo bench --bench worst                                       # ten seconds, of the same seed
//! cargo bench --bench worst -- --seconds 600 --seed 7 --into DIR  # and keep the two it found
//! ```
//!
//! It begins with mail, and with the floods that are known, and climbs: a message is changed a little
//! (cut out, repeated, crossed with another one, something put in that the rules or the readers know),
//! and stays if it costs more than the cheapest that is kept. What was found has its place in
//! `tests/worst`, and the tests hold it against the bound.

mod scanned;

use postern::scan::{RuleSpec, Rules, Scanner, Surface};
use postern::tools::calibrate::nanoseconds_within;
use postern::tools::floods::floods;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Octets of the longest message that is tried: long enough for what may be spent at once to be
/// spent, short enough for a thousand tries a second.
const MESSAGE_OCTETS: usize = 24 * 1024;

/// Messages that are kept for each aim.
const KEPT: usize = 24;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        arguments.iter().position(|one| one == name).and_then(|at| arguments.get(at + 1))
    };
    let number = |name: &str| option(name).and_then(|number| number.parse::<u64>().ok());
    let time = Duration::from_secs(number("--seconds").unwrap_or(10));
    let seed = number("--seed").unwrap_or(1);
    let rules = scanned::compiled(&usual());
    println!("seed {seed}, {} seconds, {:?}", time.as_secs(), rules.cost());
    let mut hunt = Hunt::new(rules, seed);
    let of_units = hunt.climb(time / 2, |hunt, message| hunt.units(message));
    let of_time = hunt.climb(time / 2, |hunt, message| hunt.nanoseconds(message));
    let Hunt { tried, .. } = hunt;
    println!("{tried} messages were tried");
    for (aim, found) in [("units", &of_units), ("time", &of_time)] {
        let message = &found[0].message;
        println!(
            "{aim}: {} octets, {:.1} units an octet, {:.3} of the bound, {:.1} ns an octet",
            message.len(),
            hunt.units_of(message) as f64 / message.len() as f64,
            hunt.units(message),
            hunt.nanoseconds(message),
        );
        if let Some(folder) = option("--into") {
            let path = format!("{folder}/{aim}-{seed}.eml");
            if let Err(error) = std::fs::write(&path, message) {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if hunt.units(&of_units[0].message) > 1.0 {
        eprintln!("a message costs more than the bound: the bound of `Rules::cost` is wrong");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Literals and expressions on what a usual configuration looks at; without the corpus beside the
/// project, fewer literals alone.
fn usual() -> Vec<RuleSpec> {
    let literals =
        scanned::list("2000").or_else(|| scanned::list("200")).expect("the sample has literals");
    let mut all = scanned::specs(&literals, &[Surface::Subject, Surface::Text]);
    all.extend(scanned::expressions().unwrap_or_default());
    all
}

/// A message and what it costs, by some measure.
#[derive(Clone)]
struct Found {
    message: Vec<u8>,
    cost: f64,
}

struct Hunt {
    rules: Arc<Rules>,
    scanner: Scanner,
    random: fastrand::Rng,
    /// Where it begins.
    known: Vec<Vec<u8>>,
    /// What is put in.
    words: Vec<Vec<u8>>,
    tried: u64,
}

impl Hunt {
    fn new(rules: Arc<Rules>, seed: u64) -> Hunt {
        let floods = floods(&rules, MESSAGE_OCTETS).into_iter().map(|(_, flood)| flood);
        let mut known: Vec<Vec<u8>> = floods.collect();
        known.extend(scanned::mail());
        known.iter_mut().for_each(|message| message.truncate(MESSAGE_OCTETS));
        let mut words: Vec<Vec<u8>> = WORDS.iter().map(|word| word.as_bytes().to_vec()).collect();
        words.extend(rules.literal_sample().map(Vec::from));
        let scanner = Scanner::new(Arc::clone(&rules));
        Hunt { rules, scanner, random: fastrand::Rng::with_seed(seed), known, words, tried: 0 }
    }

    /// The dearest messages that were found in the time, the dearest one first.
    fn climb(&mut self, time: Duration, cost: fn(&mut Hunt, &[u8]) -> f64) -> Vec<Found> {
        let begun = Instant::now();
        let known = self.known.clone();
        let mut kept: Vec<Found> = Vec::new();
        for message in known {
            let cost = cost(self, &message);
            keep(&mut kept, Found { message, cost });
        }
        while begun.elapsed() < time {
            let message = self.changed(&kept);
            let measured = cost(self, &message);
            if measured > kept[kept.len() - 1].cost {
                // Time is measured twice, lest a slow moment is taken for a dear message.
                let again = cost(self, &message);
                keep(&mut kept, Found { message, cost: measured.min(again) });
            }
        }
        kept
    }

    fn units_of(&mut self, message: &[u8]) -> u64 {
        self.scanner.reset(Arc::clone(&self.rules));
        self.scanner.feed(message);
        self.scanner.finish().units()
    }

    /// What part of the bound a message spends.
    fn units(&mut self, message: &[u8]) -> f64 {
        self.tried += 1;
        let bound = self.rules.cost();
        let most = bound.units_at_once + bound.units_an_octet * message.len() as u64;
        self.units_of(message) as f64 / most as f64
    }

    fn nanoseconds(&mut self, message: &[u8]) -> f64 {
        self.tried += 1;
        nanoseconds_within(Duration::ZERO, &self.rules, std::slice::from_ref(&message.to_vec()))
    }

    /// One of those that are kept, with some changes.
    fn changed(&mut self, kept: &[Found]) -> Vec<u8> {
        let random = &mut self.random;
        let mut message = kept[random.usize(..kept.len())].message.clone();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..=message.len());
            let end = (place + random.usize(..200)).min(message.len());
            match random.u8(..8) {
                0 => drop(message.drain(place..end)),
                1 => {
                    let piece = message[place..end].repeat(random.usize(1..40));
                    message.splice(place..place, piece);
                }
                2 => {
                    let other = &kept[random.usize(..kept.len())].message;
                    let from = random.usize(..=other.len());
                    let to = (from + random.usize(..4000)).min(other.len());
                    message.splice(place..end, other[from..to].iter().copied());
                }
                3 if place < message.len() => message[place] = random.u8(..),
                4 => {
                    // Over and over to the end.
                    let piece = message[place..end].to_vec();
                    if !piece.is_empty() {
                        message.truncate(end);
                        let times = MESSAGE_OCTETS.saturating_sub(end) / piece.len();
                        message.extend(piece.repeat(times));
                    }
                }
                _ => {
                    let word = &self.words[random.usize(..self.words.len())];
                    message.splice(place..place, word.iter().copied());
                }
            }
            message.truncate(MESSAGE_OCTETS);
        }
        if message.is_empty() { b"\n".to_vec() } else { message }
    }
}

/// Keeps a message among the dearest, in their order.
fn keep(kept: &mut Vec<Found>, found: Found) {
    let place = kept.partition_point(|other| other.cost >= found.cost);
    kept.insert(place, found);
    kept.truncate(KEPT);
}

/// What the readers of structure, encodings and markup know.
const WORDS: &[&str] = &[
    "Subject: ",
    "From: a@b\r\n",
    "To: <c@d>, \"e\" <f@g>\r\n",
    "Content-Type: text/html; charset=utf-8\r\n",
    "Content-Type: text/plain; charset=utf-16le\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Disposition: attachment; filename*0*=utf-8''a%20; filename*1=b\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "\r\n--b\r\n",
    "\r\n\r\n",
    "--b--\r\n",
    "=?utf-8?Q?=41?= ",
    "=?iso-2022-jp?B?GyRC?=",
    "http://a.b.example/",
    "://",
    "&#118;",
    "&zwj;",
    "<b>",
    "<!--",
    "<style>",
    "=\r\n",
    "=20",
    "\u{200b}",
    "PK\u{3}\u{4}",
];
