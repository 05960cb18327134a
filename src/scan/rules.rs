//! Content rules, compiled once and shared by all messages and shards.
//!
//! A rule is a list of literals, the surfaces on which they are looked for, and a tag with a score.
//! The literals of all rules become one set of tables. What could make a scan dear is refused here,
//! when the configuration is loaded, and never found out while a message waits.

use super::findings::{Score, Surface, TagId, TagSet, Tags};
use super::literals::{Literals, WalkState, ends};
use super::regexes::{Regex, RegexSet};
use super::rule_error::RuleError;
use super::scratch::Search;
use super::windows::{Asked, Expressions, Gates, Windows, set};
use crate::limits::{
    FIELD_NAMES_MAX, LITERAL_ENDS_MAX, LITERAL_OCTETS, LITERALS_MAX, REGEX_UNITS_AN_OCTET,
    REGEX_UNITS_AT_ONCE, REGEXES_MAX, REGEXES_UNGATED_MAX, RULES_MAX, SCAN_BLOCK_OCTETS,
    SCAN_SEGMENT_OCTETS, TABLES_OCTETS,
};
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, HashMap};

/// A rule as a configuration states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    /// The name by which logs and reports call it.
    pub name: String,
    /// The octets to look for; one of them, or of the expressions, is enough. ASCII letters match in
    /// either case, all other octets only themselves. 1 to [`LITERAL_OCTETS`] octets each.
    pub literals: Vec<Vec<u8>>,
    /// Regular expressions to look for, beside the literals: over octets, linear in the text, so
    /// without look-around and back-references. Not on [`Surface::Raw`].
    pub regexes: Vec<String>,
    /// SHA-256 digests of leaves with their transfer encoding undone, of any surface.
    pub digests: Vec<[u8; 32]>,
    /// Where to look; at least one surface, unless there are no literals and expressions.
    pub surfaces: Vec<Surface>,
    /// What else must hold. A rule with nothing to look for hits by its condition alone.
    pub when: Condition,
    /// Header fields to look into, for [`Surface::Field`]; their names in any case.
    pub fields: Vec<Vec<u8>>,
    /// The tag that a hit gives.
    pub tag: String,
    /// The score that the tag brings. When several rules give the same tag, the score of the first
    /// of them that hit (in the order of the rule set) counts.
    pub score: Score,
    /// Whether hits are only noted: the tag goes to [`Findings::observed`](super::Findings::observed)
    /// and the score is not added.
    pub observe: bool,
}

/// A bound on work, see [`Rules::cost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Units that a message of any size may cost.
    pub units_at_once: u64,
    /// Units that each octet of its content may cost beside.
    pub units_an_octet: u64,
    /// Expressions that run over every octet of a text.
    pub ungated: usize,
}

/// What must hold of the other tags of a message: those of the scanner and of the rules above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// All of these were found.
    pub all: Vec<String>,
    /// At least [`Condition::count`] of these were found.
    pub any: Vec<String>,
    /// How many of [`Condition::any`]; nothing is one.
    pub count: usize,
    /// None of these was found.
    pub none: Vec<String>,
}

impl Condition {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.any.is_empty() && self.none.is_empty()
    }
}

/// A compiled rule set: immutable, shared as `Arc<Rules>` by every shard.
///
/// One optimisation is decided here. The decoded octets of a leaf without a transfer encoding
/// (`7bit`, `8bit`, `binary`) are the raw octets, which have been walked already. When every rule
/// that looks at decoded leaves also looks at the raw octets, the second walk over such a leaf can
/// find nothing that the first did not, and it is left out; the hit is then noted as a raw one.
#[derive(Debug, Default)]
pub struct Rules {
    tags: Tags,
    rules: Box<[Rule]>,
    /// Literals by their rules; and the gates of expressions, whose numbers are those behind the
    /// rules.
    literals: Literals,
    regexes: RegexSet,
    digests: HashMap<[u8; 32], Vec<u16>, RandomState>,
    /// The surfaces that some rule asks for.
    surfaces: u32,
    /// The header fields that rules name, in lower case.
    fields: Box<[Vec<u8>]>,
    raw_covers_decoded: bool,
}

/// What is left of a rule once its literals are in the tables.
#[derive(Debug)]
pub(super) struct Rule {
    name: String,
    pub(super) tag: TagId,
    pub(super) score: Score,
    pub(super) observe: bool,
    /// The surfaces on which it asks, one bit each (see [`surface_bit`]).
    surfaces: u32,
    /// The header fields that it names, one bit each.
    fields: u64,
    /// There is something to look for.
    looks: bool,
    when: When,
}

/// A [`Condition`] in tags.
#[derive(Debug, Default)]
struct When {
    all: TagSet,
    any: TagSet,
    count: usize,
    none: TagSet,
}

impl Rule {
    /// Whether it hits, when it has `found` what it looks for and these tags are there.
    pub(super) fn holds(&self, found: bool, tags: &TagSet) -> bool {
        let When { all, any, count, none } = &self.when;
        (found || !self.looks)
            && tags.common(all) == all.len()
            && tags.common(any) >= *count
            && tags.common(none) == 0
    }
}

impl Rules {
    /// Compiles rules; their tags are added to `tags`, which are [`Rules::tags`] afterwards.
    ///
    /// # Errors
    /// The first rule that breaks a limit, with what to do about it.
    pub fn compile(mut tags: Tags, specs: &[RuleSpec]) -> Result<Rules, RuleError> {
        check(specs)?;
        let mut rules = Vec::with_capacity(specs.len());
        let mut fields = Vec::new();
        let regexes = regexes(specs)?;
        for (index, spec) in specs.iter().enumerate() {
            let when = when(&spec.when, &tags, index)?;
            let tag = tags.intern(&spec.tag);
            let tag =
                tag.ok_or_else(|| RuleError::TooManyTags { rule: index, tag: spec.tag.clone() })?;
            let (name, score, observe) = (spec.name.clone(), spec.score, spec.observe);
            let (surfaces, fields) = (mask(spec), named(&mut fields, index, spec)?);
            let looks = looks_into_octets(spec) || !spec.digests.is_empty();
            rules.push(Rule { name, tag, score, observe, surfaces, fields, looks, when });
        }
        let literals = literals(specs, &regexes)?;
        let asks_decoded = |rule: &&Rule| rule.surfaces & DECODED != 0;
        let asks_raw = |rule: &Rule| rule.surfaces & surface_bit(Surface::Raw) != 0;
        let rules = Rules {
            tags,
            surfaces: rules.iter().fold(0, |all, rule| all | rule.surfaces),
            raw_covers_decoded: rules.iter().filter(asks_decoded).all(asks_raw),
            rules: rules.into(),
            fields: fields.into(),
            literals,
            regexes: RegexSet::new(regexes),
            digests: digests(specs),
        };
        match rules.table_octets() {
            octets if octets > TABLES_OCTETS => Err(too_large(specs, octets)),
            _ => Ok(rules),
        }
    }

    /// All tags that a scan with these rules can give.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The name of the rule of a [`Hit`](super::Hit); empty for one that is not of this set.
    pub fn rule_name(&self, rule: u16) -> &str {
        self.rules.get(usize::from(rule)).map_or("", |rule| rule.name.as_str())
    }

    /// Memory of the tables, in octets.
    pub fn table_octets(&self) -> usize {
        self.literals.table_octets() + self.regexes.table_octets()
    }

    /// The most that a scan with these rules can cost: work units at once, and so many more for each
    /// content octet.
    pub fn cost(&self) -> Cost {
        let asked = |asked: bool, units: u64| if asked { units } else { 0 };
        // Each octet is taken by the structure, and as one of a leaf by its decoder and, where a
        // header says so, by a second one.
        let mut an_octet = 3 + asked(self.ask(Surface::Header), 1);
        // A character of one octet may become one of three.
        let visible = asked(self.ask_visible(), 3);
        an_octet += visible;
        // A field is seen as it is, undone and bared, on up to three surfaces; a name of an
        // attachment in up to four readings.
        an_octet += asked(self.ask_digests(), 1);
        an_octet += asked(self.surfaces & FIELDS != 0, 9) + asked(self.ask(Surface::Name), 12);
        let mut at_once = 0;
        if self.have_regexes() {
            at_once = 3 * REGEX_UNITS_AT_ONCE;
            an_octet += REGEX_UNITS_AN_OCTET * (1 + visible + 12);
        }
        let ungated = self.regexes.all.iter().filter(|regex| regex.gates.is_empty()).count();
        Cost { units_at_once: at_once, units_an_octet: an_octet, ungated }
    }

    /// Whether streams are looked at by expressions.
    pub(super) fn have_regexes(&self) -> bool {
        !self.regexes.all.is_empty()
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn literals(&self) -> &Literals {
        &self.literals
    }

    /// Whether some rule asks for a surface.
    pub(super) fn ask(&self, surface: Surface) -> bool {
        self.surfaces & surface_bit(surface) != 0
    }

    /// Whether a rule asks for a surface.
    #[inline]
    pub(super) fn asks(&self, rule: u16, surface: Surface) -> bool {
        self.rules[usize::from(rule)].surfaces & surface_bit(surface) != 0
    }

    /// Whether some rule asks for the digests of leaves.
    pub(super) fn ask_digests(&self) -> bool {
        !self.digests.is_empty()
    }

    /// The rules that ask for a digest.
    pub(super) fn of_digest(&self, digest: &[u8; 32]) -> &[u16] {
        self.digests.get(digest).map_or(&[], Vec::as_slice)
    }

    /// The number of a header field that some rule names.
    pub(super) fn field(&self, name: &[u8]) -> Option<u8> {
        let place = self.fields.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(place as u8)
    }

    /// Whether a rule names the header field of that number.
    pub(super) fn names_field(&self, rule: u16, field: u8) -> bool {
        self.rules[usize::from(rule)].fields & (1 << field) != 0
    }

    /// Looks for the literals in the next octets of a stream. Each rule with a match is given once
    /// for each block, with the place in `octets` that completed its first match there, in the
    /// order of those places.
    #[inline]
    pub(super) fn look(
        &self,
        state: &mut WalkState,
        octets: &[u8],
        search: &mut Search,
        mut found: impl FnMut(u16, usize),
    ) {
        if self.literals.is_empty() {
            return;
        }
        search.hits.prepare(self.rules.len() + self.regexes.all.len(), 0);
        for (index, block) in octets.chunks(SCAN_BLOCK_OCTETS).enumerate() {
            self.literals.walk(state, block, search);
            let start = index * SCAN_BLOCK_OCTETS;
            search.hits.drain(|number, hits| {
                if usize::from(number) < self.rules.len() {
                    found(number, start + hits.first as usize);
                }
            });
        }
    }

    /// As [`Rules::look`], and asks the expressions of the rules that `asks` admits about each window
    /// that becomes complete. A rule of which one matches is given without a place.
    #[inline]
    pub(super) fn look_in_windows(
        &self,
        state: &mut WalkState,
        expressions: &mut Expressions,
        octets: &[u8],
        search: &mut Search,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16, Option<usize>),
    ) {
        if !self.have_regexes() {
            return self.look(state, octets, search, |rule, place| found(rule, Some(place)));
        }
        for (index, block) in octets.chunks(SCAN_BLOCK_OCTETS).enumerate() {
            search
                .hits
                .prepare(self.rules.len() + self.regexes.all.len(), expressions.windows.phase());
            self.literals.walk(state, block, search);
            let start = index * SCAN_BLOCK_OCTETS;
            let Search { hits, gates, .. } = search;
            gates.clear();
            hits.drain(|number, hits| match usize::from(number).checked_sub(self.rules.len()) {
                None => found(number, Some(start + hits.first as usize)),
                Some(regex) => gates.push((regex as u16, hits.segments)),
            });
            let in_segment = |segment: usize| {
                let mut all = Gates::default();
                let there = gates.iter().filter(|(_, segments)| segments >> segment & 1 != 0);
                there.for_each(|(regex, _)| set(&mut all, usize::from(*regex)));
                all
            };
            let Expressions { windows, asked } = expressions;
            windows.take(block, in_segment, |text, window, gates| {
                // Earned by windows and not by blocks, lest it depends on the cut.
                asked.budget.earn(SCAN_SEGMENT_OCTETS);
                asked.ask(&self.regexes, text, window, gates, &asks, |rule| found(rule, None));
            });
        }
    }

    /// The stream has ended: asks the expressions about what is left.
    pub(super) fn look_at_end(
        &self,
        expressions: &mut Expressions,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16),
    ) {
        if self.have_regexes() {
            let Expressions { windows, asked } = expressions;
            windows.finish(|text, window, gates| {
                asked.budget.earn(window.len());
                asked.ask(&self.regexes, text, window, gates, &asks, &mut found);
            });
            expressions.windows = Windows::default();
        }
    }

    /// Looks for the literals and expressions of the rules that `asks` admits in a text that is there
    /// as a whole. A literal is given with some place, an expression without one.
    pub(super) fn look_at_whole(
        &self,
        text: &[u8],
        search: &mut Search,
        asked: &mut Asked,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16, Option<usize>),
    ) {
        search.hits.prepare(self.rules.len() + self.regexes.all.len(), 0);
        let (mut state, mut gates) = (self.literals.start(), Gates::default());
        for block in text.chunks(SCAN_BLOCK_OCTETS) {
            self.literals.walk(&mut state, block, search);
            search.hits.drain(|number, _| {
                match usize::from(number).checked_sub(self.rules.len()) {
                    None if asks(number) => found(number, Some(0)),
                    None => {}
                    Some(regex) => set(&mut gates, regex),
                }
            });
        }
        if self.have_regexes() {
            asked.budget.earn(text.len());
            asked.ask(&self.regexes, text, 0..text.len(), &gates, asks, |rule| found(rule, None));
        }
    }

    /// Whether some rule asks for what is visible.
    pub(super) fn ask_visible(&self) -> bool {
        self.ask(Surface::Visible) || self.ask(Surface::Text)
    }

    /// Whether decoded leaves are to be walked; see [`Rules`] for when `transfer_encoded` matters.
    pub(super) fn ask_decoded(&self, transfer_encoded: bool) -> bool {
        self.surfaces & DECODED != 0 && (transfer_encoded || !self.raw_covers_decoded)
    }
}

/// The bit of a surface in [`Rule::surfaces`].
const fn surface_bit(surface: Surface) -> u32 {
    1 << surface as u32
}

const FIELDS: u32 = surface_bit(Surface::Header)
    | surface_bit(Surface::Subject)
    | surface_bit(Surface::From)
    | surface_bit(Surface::To)
    | surface_bit(Surface::ReplyTo)
    | surface_bit(Surface::Field)
    | surface_bit(Surface::Type);
const DECODED: u32 = surface_bit(Surface::Text) | surface_bit(Surface::Part);

/// The bits of the header fields that a rule names.
fn named(names: &mut Vec<Vec<u8>>, rule: usize, spec: &RuleSpec) -> Result<u64, RuleError> {
    let mut bits = 0;
    for name in &spec.fields {
        let name = name.to_ascii_lowercase();
        let place = names.iter().position(|known| *known == name).unwrap_or(names.len());
        if place == FIELD_NAMES_MAX {
            return Err(RuleError::TooManyFields { rule });
        }
        if place == names.len() {
            names.push(name);
        }
        bits |= 1 << place;
    }
    Ok(bits)
}

fn mask(spec: &RuleSpec) -> u32 {
    spec.surfaces.iter().fold(0, |bits, surface| bits | surface_bit(*surface))
}

/// Compiles the expressions of all rules.
fn regexes(specs: &[RuleSpec]) -> Result<Vec<Regex>, RuleError> {
    let mut all: Vec<Regex> = Vec::new();
    let mut ungated = 0;
    for (rule, spec) in specs.iter().enumerate() {
        for (number, pattern) in spec.regexes.iter().enumerate() {
            let refused = |reason| RuleError::Regex { rule, regex: number, reason };
            if spec.surfaces.contains(&Surface::Raw) {
                return Err(refused(
                    "raw octets are not seen by expressions: use part or text".into(),
                ));
            }
            if all.len() == REGEXES_MAX {
                return Err(refused(format!("it is one too many: {REGEXES_MAX} may be")));
            }
            let regex = Regex::compile(rule as u16, pattern).map_err(refused)?;
            let streams = mask(spec) & (DECODED | surface_bit(Surface::Visible)) != 0;
            ungated += usize::from(regex.gates.is_empty() && streams);
            if ungated > REGEXES_UNGATED_MAX {
                return Err(refused(format!(
                    "it has no literal of 3 octets that every match has, and runs over every octet: \
                     {REGEXES_UNGATED_MAX} such may be, so add one, or look at fields alone"
                )));
            }
            all.push(regex);
        }
    }
    Ok(all)
}

/// The tags of a condition, all of which must be known when its rule is reached.
fn when(condition: &Condition, tags: &Tags, rule: usize) -> Result<When, RuleError> {
    let set = |names: &[String]| {
        let mut set = TagSet::default();
        for name in names {
            let no_such = || RuleError::NoSuchTag { rule, tag: name.clone() };
            set.insert(tags.find(name).ok_or_else(no_such)?);
        }
        Ok(set)
    };
    let count = if condition.any.is_empty() { 0 } else { condition.count.max(1) };
    Ok(When {
        all: set(&condition.all)?,
        any: set(&condition.any)?,
        count,
        none: set(&condition.none)?,
    })
}

fn looks_into_octets(spec: &RuleSpec) -> bool {
    !spec.literals.is_empty() || !spec.regexes.is_empty()
}

/// The rules that ask for each digest.
fn digests(specs: &[RuleSpec]) -> HashMap<[u8; 32], Vec<u16>, RandomState> {
    let mut all: HashMap<[u8; 32], Vec<u16>, RandomState> = HashMap::default();
    for (spec, rule) in specs.iter().zip(0..) {
        for digest in &spec.digests {
            all.entry(*digest).or_default().push(rule);
        }
    }
    all
}

fn check(specs: &[RuleSpec]) -> Result<(), RuleError> {
    let mut literals = 0;
    for (rule, spec) in specs.iter().enumerate() {
        if rule == RULES_MAX {
            return Err(RuleError::TooManyRules { rule });
        }
        let looks = looks_into_octets(spec);
        if !looks && spec.digests.is_empty() && spec.when.is_empty() {
            return Err(RuleError::NoLiterals { rule });
        }
        if looks && spec.surfaces.is_empty() {
            return Err(RuleError::NoSurfaces { rule });
        }
        literals += spec.literals.len();
        if literals > LITERALS_MAX {
            return Err(RuleError::TooManyLiterals { rule });
        }
        for (literal, octets) in spec.literals.iter().map(Vec::len).enumerate() {
            match octets {
                0 => return Err(RuleError::EmptyLiteral { rule, literal }),
                octets if octets > LITERAL_OCTETS => {
                    return Err(RuleError::LiteralTooLong { rule, literal, octets });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The tables for the literals of all rules. One set for all surfaces is smaller than one for each,
/// and a hit on a surface that its rule does not ask for costs a test.
fn literals(specs: &[RuleSpec], regexes: &[Regex]) -> Result<Literals, RuleError> {
    let mut asked: BTreeMap<Vec<u8>, Vec<u16>> = BTreeMap::new();
    for (rule, spec) in specs.iter().enumerate() {
        for literal in &spec.literals {
            let rules = asked.entry(literal.to_ascii_lowercase()).or_default();
            if rules.last() != Some(&(rule as u16)) {
                rules.push(rule as u16);
            }
        }
    }
    for (regex, number) in regexes.iter().zip(specs.len() as u16..) {
        for gate in &regex.gates {
            asked.entry(gate.clone()).or_default().push(number);
        }
    }
    let asked: Vec<(Vec<u8>, Vec<u16>)> = asked.into_iter().collect();
    let most = ends(&asked).into_iter().zip(&asked).max_by_key(|(ends, _)| *ends);
    if let Some((ends, (literal, _))) = most
        && ends > LITERAL_ENDS_MAX
    {
        let of_rule = |spec: &RuleSpec| {
            spec.literals.iter().position(|octets| octets.eq_ignore_ascii_case(literal))
        };
        let places = specs.iter().enumerate();
        let place = places.filter_map(|(rule, spec)| Some((rule, of_rule(spec)?))).next();
        let (rule, literal) = place.unwrap_or_default();
        return Err(RuleError::TooManyEnds { rule, literal, ends });
    }
    Literals::compile(&asked).ok_or_else(|| too_large(specs, usize::MAX))
}

fn too_large(specs: &[RuleSpec], octets: usize) -> RuleError {
    let size = |spec: &RuleSpec| spec.literals.iter().map(Vec::len).sum::<usize>();
    let largest = specs.iter().enumerate().max_by_key(|(_, spec)| size(spec));
    RuleError::TablesTooLarge { rule: largest.map_or(0, |(rule, _)| rule), octets }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TAGS_MAX;

    fn spec(literals: &[&str]) -> RuleSpec {
        RuleSpec {
            name: "a rule".into(),
            literals: literals.iter().map(|one| one.as_bytes().to_vec()).collect(),
            surfaces: vec![Surface::Raw],
            tag: "tag".into(),
            score: Score::ZERO,
            ..RuleSpec::default()
        }
    }

    fn refusal(specs: &[RuleSpec]) -> RuleError {
        Rules::compile(Tags::new(), specs).unwrap_err()
    }

    #[test]
    fn a_rule_that_cannot_be_kept_is_named() {
        let good = spec(&["abc"]);
        let nowhere = RuleSpec { surfaces: vec![], ..spec(&["abc"]) };
        let long = "x".repeat(LITERAL_OCTETS + 1);
        assert_eq!(refusal(&[good.clone(), spec(&[])]), RuleError::NoLiterals { rule: 1 });
        assert_eq!(refusal(&[good.clone(), nowhere]), RuleError::NoSurfaces { rule: 1 });
        assert_eq!(
            refusal(&[good.clone(), spec(&["x", ""])]),
            RuleError::EmptyLiteral { rule: 1, literal: 1 }
        );
        assert_eq!(
            refusal(&[spec(&[&long])]),
            RuleError::LiteralTooLong { rule: 0, literal: 0, octets: LITERAL_OCTETS + 1 }
        );
        assert!(Rules::compile(Tags::new(), &[spec(&[&long[1..]])]).is_ok());
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let many = vec![spec(&["abc"]); RULES_MAX + 1];
        assert_eq!(refusal(&many), RuleError::TooManyRules { rule: RULES_MAX });

        let tails: Vec<String> = (1..=LITERAL_ENDS_MAX + 1).map(|n| "a".repeat(n)).collect();
        let tails: Vec<&str> = tails.iter().map(String::as_str).collect();
        assert!(Rules::compile(Tags::new(), &[spec(&tails[1..])]).is_ok());
        let error = RuleError::TooManyEnds {
            rule: 0,
            literal: LITERAL_ENDS_MAX,
            ends: LITERAL_ENDS_MAX + 1,
        };
        assert_eq!(refusal(&[spec(&tails)]), error);

        let tagged = |n: usize| RuleSpec { tag: format!("tag-{n}"), ..spec(&[&format!("x{n}y")]) };
        let room = TAGS_MAX - Tags::new().names().count();
        let specs: Vec<RuleSpec> = (0..=room).map(tagged).collect();
        assert!(Rules::compile(Tags::new(), &specs[..room]).is_ok());
        let error = RuleError::TooManyTags { rule: room, tag: format!("tag-{room}") };
        assert_eq!(refusal(&specs), error);
    }

    #[test]
    fn a_surface_is_walked_only_where_a_rule_looks() {
        let rules = Rules::compile(Tags::new(), &[spec(&["abc"])]).unwrap();
        assert!(rules.ask(Surface::Raw) && !rules.ask(Surface::Header));
        assert!(!rules.ask_decoded(true));
        let both = RuleSpec { surfaces: vec![Surface::Raw, Surface::Part], ..spec(&["abc"]) };
        let rules = Rules::compile(Tags::new(), std::slice::from_ref(&both)).unwrap();
        assert!(rules.ask_decoded(true) && !rules.ask_decoded(false));
        let text = RuleSpec { surfaces: vec![Surface::Text], ..both.clone() };
        let rules = Rules::compile(Tags::new(), &[both, text]).unwrap();
        assert!(rules.ask_decoded(false));
        assert_eq!(Rules::compile(Tags::new(), &[]).unwrap().table_octets(), 0);
    }

    #[test]
    fn rules_are_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Rules>();
    }
}
