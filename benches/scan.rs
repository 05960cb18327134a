//! The whole scan of messages, as nanoseconds a content octet: on mail, and on the worst that a
//! hostile sender can make of the rules or of the encodings.
//!
//! ```text
//! cargo bench --bench scan               # everything
//! cargo bench --bench scan -- 2000       # the rows whose name holds this
//! ```
//!
//! Each figure is the best of several short runs, since on a busy machine that is the one that says
//! most; the ratio of worst to mail says more than either. Pattern sets and mail beyond the sample
//! are read from the corpus beside the project, where it is at hand.

use postern::scan::{RuleSpec, Rules, Score, Surface, Tags};
use postern::tools::calibrate::nanoseconds_within;
use postern::tools::floods::{Flood, floods, of_literals};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one input of one row is measured.
const MEASURED: Duration = Duration::from_millis(150);

/// What each hostile input is about as long as.
const HOSTILE_OCTETS: usize = 1 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| name.contains(one));
    println!("{:<34} {:>8} {:>8} {:>7}  worst input", "rules", "mail", "worst", "ratio");
    for literals in ["200", "2000", "20000", "200000"] {
        let name = format!("{literals} literals, raw");
        let Some(list) = list(literals).filter(|_| is_wanted(&name)) else { continue };
        let begun = Instant::now();
        let rules = rules(&list, &[Surface::Raw]);
        let (built, table) = (begun.elapsed(), rules.table_octets());
        row(&name, &rules, &mail(), &of_literals(&rules, HOSTILE_OCTETS));
        println!("    compiled in {} ms, {} KiB of tables", built.as_millis(), table / 1024);
    }
    for surfaces in [&[Surface::Text][..], &[Surface::Raw, Surface::Subject, Surface::Text]] {
        let names: Vec<&str> = surfaces.iter().map(|surface| surface.name()).collect();
        let name = format!("200 literals, {}", names.join(" "));
        let Some(list) = list("200").filter(|_| is_wanted(&name)) else { continue };
        let rules = rules(&list, surfaces);
        row(&name, &rules, &mail(), &floods(&rules, HOSTILE_OCTETS));
    }
    if let Some((rules, taken)) = is_wanted("whole").then(whole).flatten() {
        let floods = floods(&rules, HOSTILE_OCTETS);
        row(&format!("whole: 2000 literals, {taken} regexes"), &rules, &mail(), &floods);
    }
}

/// Literals and expressions on all that a usual configuration looks at.
fn whole() -> Option<(Arc<Rules>, usize)> {
    let path = |corpus: PathBuf| corpus.join("patterns/regexes-300.txt");
    let text = corpora().into_iter().find_map(|c| std::fs::read_to_string(path(c)).ok())?;
    let mut specs = specs(&list("2000")?, &[Surface::Subject, Surface::Text]);
    let mut taken = 0;
    for line in text.lines() {
        let Some(regex) = line.split('\t').nth(2) else { continue };
        specs.push(RuleSpec {
            regexes: vec![regex.to_owned()],
            surfaces: vec![Surface::Subject, Surface::Visible],
            tag: format!("tag-{}", taken % 100),
            ..RuleSpec::default()
        });
        // Those that are refused, since they run over every octet or are too large, are left out.
        match Rules::compile(Tags::new(), &specs[specs.len() - 1..]) {
            Ok(rules) if rules.tables().ungated.0 == 0 => taken += 1,
            _ => drop(specs.pop()),
        }
    }
    Some((Arc::new(Rules::compile(Tags::new(), &specs).expect("each of them compiled")), taken))
}

/// Measures the mail and each flood, and prints the mail beside the worst of them.
fn row(name: &str, rules: &Arc<Rules>, mail: &[Vec<u8>], floods: &[Flood]) {
    let cost = |messages: &[Vec<u8>]| nanoseconds_within(MEASURED, rules, messages);
    let typical = cost(mail);
    let of_flood = |(name, flood): &Flood| (cost(std::slice::from_ref(flood)), *name);
    let mut costs: Vec<_> = floods.iter().map(of_flood).collect();
    costs.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (worst, input) = costs[0];
    println!("{name:<34} {typical:>8.3} {worst:>8.3} {:>7.1}  {input}", worst / typical);
    let others: Vec<String> =
        costs[1..].iter().map(|(cost, name)| format!("{name} {cost:.2}")).collect();
    println!("    {}", others.join(", "));
}

// ---- rules ----------------------------------------------------------------------------------

fn corpora() -> [PathBuf; 2] {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    [here.join("tests/corpus"), here.join("../shared/corpus")]
}

fn list(literals: &str) -> Option<Vec<Vec<u8>>> {
    let path = |corpus: PathBuf| corpus.join(format!("patterns/literals-{literals}.txt"));
    let text = corpora().into_iter().find_map(|corpus| std::fs::read(path(corpus)).ok())?;
    let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(Vec::from).collect())
}

fn rules(literals: &[Vec<u8>], surfaces: &[Surface]) -> Arc<Rules> {
    let specs = specs(literals, surfaces);
    Arc::new(Rules::compile(Tags::new(), &specs).expect("the literals of the corpus compile"))
}

/// Rules of some hundred literals.
fn specs(literals: &[Vec<u8>], surfaces: &[Surface]) -> Vec<RuleSpec> {
    let spec = |(index, literals): (usize, &[Vec<u8>])| RuleSpec {
        name: format!("list {index}"),
        literals: literals.to_vec(),
        surfaces: surfaces.to_vec(),
        tag: format!("tag-{}", index % 100),
        score: Score(1000),
        ..RuleSpec::default()
    };
    let size = literals.len().div_ceil(100).max(20);
    literals.chunks(size).enumerate().map(spec).collect()
}

// ---- inputs ---------------------------------------------------------------------------------

fn mail() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for folder in ["ham", "spam"] {
        let entries =
            corpora().into_iter().rev().find_map(|c| std::fs::read_dir(c.join(folder)).ok());
        for entry in entries.into_iter().flatten() {
            messages.push(std::fs::read(entry.expect("an entry").path()).expect("a message"));
        }
    }
    messages
}
