//! `[rule.NAME]`: what the scan looks for.

use super::fault::{Collector, Spot, Wrong};
use super::list::List;
use super::signature::{self, digest};
use super::table::{Table, Text};
use super::top::Reading;
use super::value::{self, shown_octets};
use crate::limits::{
    FIELD_NAMES_MAX, HOST_OCTETS, LISTED_MAX, LITERAL_ENDS_MAX, LITERAL_FILE_OCTETS_MAX,
    LITERAL_OCTETS, LITERALS_MAX, RULES_MAX, TABLES_OCTETS, TAGS_MAX,
};
use crate::scan::{
    Condition, RuleError, RuleSpec, Rules, Score, Surface, TagSet, Tags, looked_up_as,
};
use std::ops::Range;
use toml::de::DeValue;

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
    regexes: Vec<Spot>,
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
        placed.extend(rule(&name, tag, &mut table, reading));
        table.end();
    }
    let positive = placed.iter().map(|one| one.spec.score).filter(|score| *score > Score::ZERO);
    let score_max = positive.fold(Score::ZERO, Score::plus);
    let good = placed.len() == count;
    let compiled = good.then(|| compile(&placed, reading.faults)).flatten();
    FileRules { tags, compiled, score_max }
}

fn rule(
    name: &Text<'_>,
    tag: String,
    table: &mut Table<'_>,
    reading: &Reading<'_>,
) -> Option<Placed> {
    let literals = entries(table, "literals", reading, literal);
    let regexes = entries(table, "regex", reading, |text| Ok(text.to_owned()));
    let digests = entries(table, "sha256", reading, |text| digest(text, "SHA-256"));
    let sha1 = entries(table, "sha1", reading, |text| digest(text, "SHA-1"));
    let md5 = entries(table, "md5", reading, |text| digest(text, "MD5"));
    let blake3 = entries(table, "blake3", reading, |text| digest(text, "BLAKE3"));
    let domains = entries(table, "domains", reading, domain);
    let networks = entries(table, "networks", reading, value::networks);
    let surfaces = match table.value("in").is_some() {
        true => surfaces(table, reading.faults),
        false => Some((usual_surfaces(table), Vec::new())),
    };
    let when = condition(table);
    let score = score(table, reading.faults);
    let observe = table.switch("observe").unwrap_or(false);
    let (literals, regexes, digests) = (literals?, regexes?, digests?);
    let (sha1, md5, blake3) = (sha1?, md5?, blake3?);
    let (domains, networks) = (domains?, networks?);
    let (surfaces, fields) = surfaces?;
    let looks = LOOKS.iter().any(|key| table.value(key).is_some());
    if !looks && when == Condition::default() {
        let help =
            format!("give it one of {}, or tags of other rules in all or any", LOOKS.join(", "));
        reading.faults.add(name.span.clone(), "a rule that looks for nothing", help);
        return None;
    }
    let mut spec = RuleSpec {
        name: name.text.to_owned(),
        literals: literals.entries,
        regexes: regexes.entries,
        digests: digests.entries,
        sha1: sha1.entries,
        md5: md5.entries,
        blake3: blake3.entries,
        domains: domains.entries,
        networks: networks.entries.concat(),
        surfaces,
        when,
        fields,
        tag,
        score: score?,
        observe,
    };
    let (mut literals, regexes) = (literals.spots, regexes.spots);
    literals.extend(signature::signatures(table, reading, &mut spec)?);
    Some(Placed { name: name.span.clone(), spec, literals, regexes })
}

/// The keys of what a rule can look for.
const LOOKS: [&str; 9] =
    ["literals", "regex", "domains", "networks", "sha256", "sha1", "md5", "blake3", "signatures"];

/// Where a rule looks that does not say so.
fn usual_surfaces(table: &mut Table<'_>) -> Vec<Surface> {
    if table.value("domains").or(table.value("networks")).is_some() {
        vec![Surface::Text, Surface::From, Surface::ReplyTo]
    } else if table.value("regex").is_some() {
        // Expressions do not see raw octets.
        vec![Surface::Text]
    } else if table.value("signatures").is_some() {
        vec![Surface::Part]
    } else {
        vec![Surface::Raw, Surface::Text]
    }
}

/// The entries of a list, and where each stands.
struct Entries<T> {
    entries: Vec<T>,
    spots: Vec<Spot>,
}

/// The list of a key, each entry read; without entries if the key is not there, and `None` if
/// something is wrong with it.
fn entries<T>(
    table: &mut Table<'_>,
    key: &'static str,
    reading: &Reading<'_>,
    mut read: impl FnMut(&str) -> Result<T, Wrong>,
) -> Option<Entries<T>> {
    let mut all = Entries { entries: Vec::new(), spots: Vec::new() };
    let Some(value) = table.value(key) else { return Some(all) };
    let span = value.span();
    let list = match value.get_ref() {
        // One entry does not need brackets, unless it looks like a file.
        DeValue::String(text) if !text.starts_with("file:") => List::Texts(table.texts(key)?),
        _ => table.list(key, None)?,
    };
    let mut good = true;
    let mut take = |spot: &Spot, text: &str| {
        let entry = read(text).inspect_err(|_| good = false)?;
        all.entries.push(entry);
        all.spots.push(spot.clone());
        Ok(())
    };
    let was_read = list.each(reading.faults, reading.files, LITERAL_FILE_OCTETS_MAX, &mut take);
    good &= was_read;
    if good && all.entries.is_empty() {
        let what = format!("`{key}` is an empty list");
        reading.faults.add(span, what, "give it an entry, or remove the rule");
        return None;
    }
    good.then_some(all)
}

fn literal(text: &str) -> Result<Vec<u8>, Wrong> {
    match text.len() {
        0 => Err(Wrong::new("an empty literal would be found everywhere", "remove it")),
        1..=LITERAL_OCTETS => Ok(text.as_bytes().to_vec()),
        octets => {
            let what = format!("a literal of {octets} octets");
            Err(Wrong::new(what, format!("cut it to at most {LITERAL_OCTETS}")))
        }
    }
}

/// A domain, with which all below it is meant; a list may say so with a dot or a star in front.
fn domain(text: &str) -> Result<Vec<u8>, Wrong> {
    let name = text.strip_prefix("*.").or(text.strip_prefix('.')).unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    let good = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if !(1..=HOST_OCTETS).contains(&name.len()) || !name.chars().all(good) || name.contains("..") {
        let help = "write it as in \"example.com\": all below it is meant as well";
        return Err(Wrong::new(format!("{text:?} is no domain"), help));
    }
    if !name.is_ascii() && looked_up_as(name.as_bytes()).is_none() {
        let help = "it has letters that no browser takes in a name, or too many of them: write it as in \
                    \"xn--bcher-kva.example\"";
        return Err(Wrong::new(format!("{text:?} is no domain"), help));
    }
    Ok(name.to_lowercase().into_bytes())
}

/// What must hold of the tags of other rules.
fn condition(table: &mut Table<'_>) -> Condition {
    let mut tags = |key| {
        let texts = table.texts(key).unwrap_or_default();
        texts.into_iter().map(|tag| tag.text.to_owned()).collect()
    };
    let (all, any, none) = (tags("all"), tags("any"), tags("none"));
    let count = table.number("count", 1..=TAGS_MAX as u64).unwrap_or_default() as usize;
    Condition { all, any, count, none }
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

/// What is wrong with the rules as a whole is told at the rule, literal or expression that it began
/// with.
fn compile(placed: &[Placed], faults: &Collector<'_>) -> Option<Rules> {
    let specs: Vec<RuleSpec> = placed.iter().map(|one| one.spec.clone()).collect();
    // The tags are numbered anew, in the same order: conditions may name those of rules above alone.
    let error = match Rules::compile(Tags::new(), &specs) {
        Ok(rules) => return Some(rules),
        Err(error) => error,
    };
    let rule = placed.get(error.rule())?;
    let wrong = wrong(&error);
    let spot = match &error {
        RuleError::TooManyEnds { literal, .. } => {
            let text = rule.spec.literals.get(*literal);
            rule.literals.get(*literal).zip(text.map(|text| String::from_utf8_lossy(text)))
        }
        RuleError::Regex { regex, .. } => {
            let text = rule.spec.regexes.get(*regex);
            rule.regexes.get(*regex).zip(text.map(|text| text.as_str().into()))
        }
        _ => None,
    };
    match spot {
        Some((spot, text)) => faults.add_at(spot, &text, wrong),
        None => faults.add(rule.name.clone(), wrong.what, wrong.help),
    }
    None
}

/// What is wrong, in words for a place that is shown beside them.
fn wrong(error: &RuleError) -> Wrong {
    match error {
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
        RuleError::Regex { reason, .. } => {
            Wrong::new("this expression cannot be taken", reason.as_str())
        }
        RuleError::NoSuchTag { tag, .. } => {
            let what = format!("no rule above this one gives the tag {tag:?}");
            Wrong::new(what, "move this rule below those that it waits for")
        }
        RuleError::TooManyListed { .. } => {
            let help = format!("all lists together may have {LISTED_MAX}");
            Wrong::new("with this rule there are too many domains and networks", help)
        }
        // The others have been told where the rule was read.
        RuleError::NoLiterals { .. }
        | RuleError::NoSurfaces { .. }
        | RuleError::NoDomain { .. }
        | RuleError::EmptyLiteral { .. }
        | RuleError::LiteralTooLong { .. } => Wrong::new(error.to_string(), ""),
    }
}
