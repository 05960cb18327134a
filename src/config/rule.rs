//! `[rule.NAME]`: what the scan looks for.

use super::fault::{Collector, Spot, Wrong};
use super::table::Table;
use super::top::Reading;
use super::value::shown_octets;
use crate::limits::{
    FIELD_NAMES_MAX, LITERAL_ENDS_MAX, LITERAL_FILE_OCTETS_MAX, LITERAL_OCTETS, LITERALS_MAX,
    RULES_MAX, TABLES_OCTETS, TAGS_MAX,
};
use crate::scan::{RuleError, RuleSpec, Rules, Score, Surface, TagSet, Tags};
use std::ops::Range;

/// The rules of the file.
pub(super) struct FileRules {
    /// All tags that can be given, those of rules with faults included.
    pub tags: Tags,
    /// The compiled rules, if none has a fault.
    pub compiled: Option<Rules>,
    score_max: Score,
}

impl FileRules {
    /// The tags that can come, and the highest score.
    pub fn reach(&self) -> (TagSet, Score) {
        let mut given = TagSet::default();
        // The scanner's own tags can always come.
        for name in self.tags.names() {
            if let Some(tag) = self.tags.find(name) {
                given.insert(tag);
            }
        }
        (given, self.score_max)
    }
}

/// A rule that was read, and where its parts stand.
struct Placed {
    name: Range<usize>,
    spec: RuleSpec,
    literals: Vec<Spot>,
}

/// All rules.
pub(super) fn rules(top: &mut Table<'_>, reading: &Reading<'_>) -> FileRules {
    let tables = top.named_tables("rule");
    let count = tables.len();
    let mut tags = Tags::new();
    let mut placed = Vec::with_capacity(count);
    for (name, mut table) in tables {
        let tag = table.text("tag").map_or(name.text, |tag| tag.text).to_owned();
        // One tag too many is told when the rules are compiled.
        let _ = tags.intern(&tag);
        let read = rule(name.text, tag, &mut table, reading);
        placed.extend(read.map(|(spec, literals)| Placed { name: name.span, spec, literals }));
        table.end();
    }
    let positive = placed.iter().map(|one| one.spec.score).filter(|score| *score > Score::ZERO);
    let score_max = positive.fold(Score::ZERO, Score::plus);
    let good = placed.len() == count;
    let compiled = good.then(|| compile(&tags, &placed, reading.faults)).flatten();
    FileRules { tags, compiled, score_max }
}

fn rule(
    name: &str,
    tag: String,
    table: &mut Table<'_>,
    reading: &Reading<'_>,
) -> Option<(RuleSpec, Vec<Spot>)> {
    table.requires("literals", "literals = [\"some words\"]");
    let literals = literals(table, reading);
    let surfaces = match table.value("in").is_some() {
        true => surfaces(table, reading.faults),
        false => Some((vec![Surface::Raw, Surface::Text], Vec::new())),
    };
    let score = score(table, reading.faults);
    let observe = table.switch("observe").unwrap_or(false);
    let (literals, spots) = literals?;
    let (name, (surfaces, fields)) = (name.to_owned(), surfaces?);
    let spec = RuleSpec { name, literals, surfaces, fields, tag, score: score?, observe };
    Some((spec, spots))
}

/// The literals with their places; `None` if something is wrong with one of them.
fn literals(table: &mut Table<'_>, reading: &Reading<'_>) -> Option<(Vec<Vec<u8>>, Vec<Spot>)> {
    let span = table.value("literals")?.span();
    let list = table.list("literals", None)?;
    let (mut literals, mut spots, mut good) = (Vec::new(), Vec::new(), true);
    let mut take = |spot: &Spot, text: &str| {
        let wrong = match text.len() {
            0 => Wrong::new("an empty literal would be found everywhere", "remove it"),
            1..=LITERAL_OCTETS => {
                literals.push(text.as_bytes().to_vec());
                spots.push(spot.clone());
                return Ok(());
            }
            octets => {
                let what = format!("a literal of {octets} octets");
                Wrong::new(what, format!("cut it to at most {LITERAL_OCTETS}"))
            }
        };
        good = false;
        Err(wrong)
    };
    good &= list.each(reading.faults, reading.files, LITERAL_FILE_OCTETS_MAX, &mut take);
    if good && literals.is_empty() {
        reading.faults.add(span, "a rule with no literals", "give it one, or remove the rule");
        return None;
    }
    good.then_some((literals, spots))
}

/// Where a rule looks, and the header fields that it names: `header:x-mailer`.
fn surfaces(table: &mut Table<'_>, faults: &Collector<'_>) -> Option<(Vec<Surface>, Vec<Vec<u8>>)> {
    let help = || {
        let named = Surface::ALL.into_iter().filter(|surface| *surface != Surface::Field);
        let known: Vec<&str> = named.map(Surface::name).collect();
        format!("name some of: {}, header:NAME", known.join(", "))
    };
    let mut fields = Vec::new();
    let read = |name: &str| match name.strip_prefix("header:") {
        Some("") => Err(Wrong::new("\"header:\" without a field", "write header:NAME")),
        Some(field) => {
            fields.push(field.as_bytes().to_vec());
            Ok(Surface::Field)
        }
        None => Surface::from_name(name)
            .filter(|surface| *surface != Surface::Field)
            .ok_or_else(|| Wrong::new(format!("{name:?} is no surface"), help())),
    };
    let span = table.value("in")?.span();
    let asked = table.texts("in")?.len();
    if asked == 0 {
        faults.add(span, "a rule that looks nowhere", help());
    }
    let surfaces = table.each("in", read)?;
    (asked > 0 && surfaces.len() == asked).then_some((surfaces, fields))
}

/// The key `score`, if it is there; `None` if something is wrong with it.
pub(super) fn optional_score(
    table: &mut Table<'_>,
    faults: &Collector<'_>,
) -> Option<Option<Score>> {
    if table.value("score").is_none() {
        return Some(None);
    }
    let (points, span) = table.points("score")?;
    let score = Score::from_points(points);
    if score.is_none() {
        faults.add(span, "score out of range", "from -1000000 to 1000000");
    }
    score.map(Some)
}

fn score(table: &mut Table<'_>, faults: &Collector<'_>) -> Option<Score> {
    Some(optional_score(table, faults)?.unwrap_or(Score::ZERO))
}

/// What is wrong with the rules as a whole is told at the rule, or the literal, that it began with.
fn compile(tags: &Tags, placed: &[Placed], faults: &Collector<'_>) -> Option<Rules> {
    let specs: Vec<RuleSpec> = placed.iter().map(|one| one.spec.clone()).collect();
    let error = match Rules::compile(tags.clone(), &specs) {
        Ok(rules) => return Some(rules),
        Err(error) => error,
    };
    let wrong = match &error {
        RuleError::TooManyRules { .. } => {
            let help = format!("{RULES_MAX} may stay: join rules that give the same tag");
            Wrong::new("one rule too many", help)
        }
        RuleError::TooManyLiterals { .. } => {
            let help = format!("all lists together may have {LITERALS_MAX}");
            Wrong::new("with this rule there are too many literals", help)
        }
        RuleError::TooManyTags { tag, .. } => {
            let what = format!("{tag:?} is one tag too many");
            Wrong::new(what, format!("{TAGS_MAX} may be: let rules share tags"))
        }
        RuleError::TooManyEnds { ends, .. } => {
            let what = format!("{ends} literals are the tail of this one");
            let help =
                format!("{LITERAL_ENDS_MAX} may be: the shortest finds what the others find");
            Wrong::new(what, help)
        }
        RuleError::TablesTooLarge { .. } => {
            let most = shown_octets(TABLES_OCTETS as u64);
            Wrong::new(format!("the scan's tables are larger than {most}"), "shorten this list")
        }
        RuleError::TooManyFields { .. } => {
            let help = format!("all rules together may name {FIELD_NAMES_MAX}");
            Wrong::new("with this rule there are too many header fields", help)
        }
        // The others have been told where the rule was read.
        RuleError::NoLiterals { .. }
        | RuleError::NoSurfaces { .. }
        | RuleError::EmptyLiteral { .. }
        | RuleError::LiteralTooLong { .. } => Wrong::new(error.to_string(), ""),
    };
    let rule = placed.get(error.rule())?;
    let ends = match &error {
        RuleError::TooManyEnds { literal, .. } => rule
            .literals
            .get(*literal)
            .zip(rule.spec.literals.get(*literal).map(|octets| String::from_utf8_lossy(octets))),
        _ => None,
    };
    match ends {
        Some((spot, text)) => faults.add_at(spot, &text, wrong),
        None => faults.add(rule.name.clone(), wrong.what, wrong.help),
    }
    None
}
