//! What the scan costs: the engines that look for literals alone, beside other libraries, and the
//! whole of it; on mail, and on the worst that a hostile sender can make of the rules or of the
//! encodings.
//!
//! ```text
//! cargo bench --bench scan                     # everything
//! cargo bench --bench scan -- 2000 postern     # the rows whose name holds one of these
//! cargo bench --bench scan -- --mail           # mail alone, without floods: to be profiled
//! cargo bench --bench scan -- --flood links    # of the floods only those whose name holds this
//! ```
//!
//! Each figure is the best of several short runs, since on a busy machine that is the one that says
//! most; the ratio of worst to mail says more than either. Pattern sets and mail beyond the sample
//! are read from the corpus beside the project, where it is at hand. Vectorscan is among the rivals
//! where its library is installed.

mod scanned;
mod vectorscan;

use aho_corasick::automaton::Automaton;
use aho_corasick::{MatchKind, StartKind, dfa, nfa};
use postern::scan::{RuleSpec, Rules, Surface};
use postern::tools::calibrate::{nanoseconds_of, nanoseconds_within};
use postern::tools::floods::{Flood, floods, of_literals};
use scanned::{compiled, expressions, list, mail, specs};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vectorscan::Vectorscan;

/// How long one input of one row is measured.
const MEASURED: Duration = Duration::from_millis(100);

/// What each hostile input is about as long as.
const HOSTILE_OCTETS: usize = 1 << 18;

/// Literals, and the megabytes a second that are the aim on mail and on the worst input.
const ENGINES: [(&str, u32, u32); 4] =
    [("200", 2000, 500), ("2000", 1000, 300), ("20000", 300, 100), ("200000", 120, 50)];

/// Octets from which on a full table of all literals is not tried.
const FULL_TABLE_LITERALS_MAX: usize = 20_000;

fn main() {
    let bench = Bench::from_arguments();
    println!(
        "| rules | engine | mail MB/s | worst MB/s | mail ns | worst ns | ratio | worst input |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---|");
    for (size, mail, worst) in ENGINES {
        if let Some(list) = list(size) {
            bench.engines(size, &list, &format!("aim: {mail} / {worst}"));
        }
    }
    bench.whole();
    bench.expressions();
}

/// The rows that are wanted, and the mail.
struct Bench {
    wanted: Vec<String>,
    flood: Option<String>,
    mail_alone: bool,
    mail: Vec<Vec<u8>>,
}

impl Bench {
    fn from_arguments() -> Bench {
        let mut arguments: Vec<String> = std::env::args().skip(1).collect();
        let option = arguments.iter().position(|one| one == "--flood");
        let flood = option.map(|place| arguments.drain(place..).nth(1).unwrap_or_default());
        let mail_alone = arguments.iter().any(|one| one == "--mail");
        let wanted = arguments.into_iter().filter(|one| !one.starts_with('-')).collect();
        Bench { wanted, flood, mail_alone, mail: mail() }
    }

    fn wants(&self, rules: &str, engine: &str) -> bool {
        let name = format!("{rules} {engine}");
        self.wanted.is_empty() || self.wanted.iter().any(|one| name.contains(one.as_str()))
    }

    /// The engines that look for literals, each over the same texts.
    fn engines(&self, size: &str, list: &[Vec<u8>], aim: &str) {
        let name = format!("{size} literals");
        let rivals: [(&str, Build); 5] = [
            ("postern", of_postern),
            ("aho-corasick, full table", of_full_table),
            ("aho-corasick, compact", of_compact),
            ("daachorse", of_daachorse),
            ("Vectorscan", of_vectorscan),
        ];
        if !rivals.iter().any(|(engine, _)| self.wants(&name, engine)) {
            return;
        }
        let rules = rules(list, &[Surface::Raw]);
        let floods = of_literals(&rules, HOSTILE_OCTETS);
        drop(rules);
        for (engine, build) in rivals {
            if !self.wants(&name, engine) {
                continue;
            }
            let begun = Instant::now();
            let Some(search) = build(list) else {
                println!("| {name} | {engine}: not here, or not for so many | | | | | | |");
                continue;
            };
            let built = begun.elapsed();
            self.row(&name, engine, &floods, |texts| {
                nanoseconds_of(MEASURED, texts, |text| _ = black_box(search(black_box(text))))
            });
            println!("| | {engine}: built in {} ms, {aim} | | | | | | |", built.as_millis());
        }
    }

    /// The whole of a scan, with more and more to look for.
    fn whole(&self) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|one| one.starts_with("whole")) {
            return;
        }
        let (Some(literals), Some(regexes)) = (list("2000"), expressions()) else { return };
        let text = [Surface::Subject, Surface::Text];
        let literals = specs(&literals, &text);
        let with = |more: &[RuleSpec]| [&literals[..], more].concat();
        let digests =
            RuleSpec { digests: vec![[0; 32]], tag: "tag-0".into(), ..RuleSpec::default() };
        let all = [&regexes[..], &[digests]].concat();
        let blake3 = RuleSpec { blake3: vec![[0; 32]], tag: "tag-0".into(), ..RuleSpec::default() };
        let domains = RuleSpec {
            domains: vec![b"evil.example".to_vec()],
            surfaces: vec![Surface::Text],
            tag: "tag-0".into(),
            ..RuleSpec::default()
        };
        let regexes_name = format!("+ {} regexes", regexes.len());
        let rows: [(&str, Vec<RuleSpec>); 5] = [
            ("2000 on subject and text", with(&[])),
            (&regexes_name, with(&regexes)),
            ("+ SHA-256 (aim: 350 / 100)", with(&all)),
            ("+ BLAKE3", with(&[&all[..], std::slice::from_ref(&blake3)].concat())),
            ("+ domains", with(&[&all[..], &[blake3, domains]].concat())),
        ];
        for (name, specs) in rows {
            if !self.wants("whole", name) {
                continue;
            }
            let rules = compiled(&specs);
            let floods = if self.mail_alone { vec![] } else { floods(&rules, HOSTILE_OCTETS) };
            let time = if self.mail_alone { 20 * MEASURED } else { MEASURED };
            let cost = |texts: &[Vec<u8>]| nanoseconds_within(time, &rules, texts);
            self.row("whole", name, &floods, cost);
        }
    }

    /// The expressions alone in Vectorscan, over mail as it came: beside what they add to the whole.
    fn expressions(&self) {
        let Some(regexes) = expressions().filter(|_| self.wants("expressions", "Vectorscan"))
        else {
            return;
        };
        let texts: Vec<String> = regexes.iter().flat_map(|spec| spec.regexes.clone()).collect();
        let name = format!("{} expressions", texts.len());
        let Some(database) = Vectorscan::of_expressions(&texts) else {
            return println!("| {name} | Vectorscan: not here | | | | | | |");
        };
        self.row(&name, "Vectorscan", &floods(&compiled(&regexes), HOSTILE_OCTETS), |texts| {
            nanoseconds_of(MEASURED, texts, |text| _ = black_box(database.matches_in(text)))
        });
    }

    /// Measures the mail and each flood, and prints the mail beside the worst of them.
    fn row(&self, rules: &str, engine: &str, floods: &[Flood], cost: impl Fn(&[Vec<u8>]) -> f64) {
        let mail = cost(&self.mail);
        if self.mail_alone {
            return println!("| {rules} | {engine} | {:.0} | | {mail:.3} | | | |", 1000.0 / mail);
        }
        let of_flood = |(name, flood): &Flood| (cost(std::slice::from_ref(flood)), *name);
        let is_wanted =
            |(name, _): &&Flood| self.flood.as_ref().is_none_or(|one| name.contains(one));
        let mut costs: Vec<_> = floods.iter().filter(is_wanted).map(of_flood).collect();
        if costs.is_empty() {
            return println!("| {rules} | {engine} | no such flood | | {mail:.3} | | | |");
        }
        costs.sort_by(|one, other| other.0.total_cmp(&one.0));
        let (worst, input) = costs[0];
        let others: Vec<String> =
            costs[1..].iter().take(3).map(|(cost, name)| format!("{name} {cost:.1}")).collect();
        println!(
            "| {rules} | {engine} | {:.0} | {:.0} | {mail:.3} | {worst:.3} | {:.1} | {input} ({}) |",
            1000.0 / mail,
            1000.0 / worst,
            worst / mail,
            others.join(", ")
        );
    }
}

// ---- engines --------------------------------------------------------------------------------

/// Looks for all literals in a text; what it returns shall only not be left out.
type Search = Box<dyn Fn(&[u8]) -> usize>;
type Build = fn(&[Vec<u8>]) -> Option<Search>;

fn of_postern(literals: &[Vec<u8>]) -> Option<Search> {
    let rules = rules(literals, &[Surface::Raw]);
    Some(Box::new(move |text| rules.rules_in(text)))
}

/// aho-corasick's automata as they stream: every match is seen, and none is written down.
fn walked(table: impl Automaton + 'static) -> Search {
    use aho_corasick::Anchored;
    Box::new(move |text| {
        let mut state = table.start_state(Anchored::No).expect("it is not anchored");
        let mut matches = 0;
        for octet in text {
            state = table.next_state(Anchored::No, state, *octet);
            if table.is_special(state) && table.is_match(state) {
                matches += table.match_len(state);
            }
        }
        matches
    })
}

fn of_full_table(literals: &[Vec<u8>]) -> Option<Search> {
    if literals.len() > FULL_TABLE_LITERALS_MAX {
        return None;
    }
    let mut builder = dfa::Builder::new();
    builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored);
    let table = builder.ascii_case_insensitive(true).prefilter(false).build(literals);
    Some(walked(table.expect("the literals of the corpus compile")))
}

fn of_compact(literals: &[Vec<u8>]) -> Option<Search> {
    let mut builder = nfa::contiguous::Builder::new();
    let table = builder.ascii_case_insensitive(true).prefilter(false).build(literals);
    Some(walked(table.expect("the literals of the corpus compile")))
}

/// It knows no case, so it is given what is in lower case already, which costs it nothing here.
fn of_daachorse(literals: &[Vec<u8>]) -> Option<Search> {
    let mut folded: Vec<Vec<u8>> = literals.iter().map(|one| one.to_ascii_lowercase()).collect();
    folded.sort_unstable();
    folded.dedup();
    let automaton = daachorse::DoubleArrayAhoCorasick::<u32>::new(folded).ok()?;
    Some(Box::new(move |text| automaton.find_overlapping_iter(text).count()))
}

fn of_vectorscan(literals: &[Vec<u8>]) -> Option<Search> {
    let database = Vectorscan::of_literals(literals)?;
    Some(Box::new(move |text| database.matches_in(text)))
}

fn rules(literals: &[Vec<u8>], surfaces: &[Surface]) -> Arc<Rules> {
    compiled(&specs(literals, surfaces))
}
