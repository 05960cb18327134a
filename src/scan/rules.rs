//! Content rules, compiled once and shared by all messages and shards.
//!
//! A rule is a list of literals, the surfaces on which they are looked for, and a tag with a score.
//! The literals of all rules become one set of tables. What could make a scan dear is refused here,
//! when the configuration is loaded, and never found out while a message waits.

use super::findings::{Score, Surface, TagId, Tags};
use super::literals::{Literals, WalkState, ends};
use super::scratch::Search;
use crate::limits::{
    FIELD_NAMES_MAX, LITERAL_ENDS_MAX, LITERAL_OCTETS, LITERALS_MAX, RULES_MAX, SCAN_BLOCK_OCTETS,
    TABLES_OCTETS, TAGS_MAX,
};
use std::collections::BTreeMap;

/// A rule as a configuration states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    /// The name by which logs and reports call it.
    pub name: String,
    /// The octets to look for; one of them is enough. ASCII letters match in either case, all other
    /// octets only themselves. 1 to [`LITERAL_OCTETS`] octets each.
    pub literals: Vec<Vec<u8>>,
    /// Where to look; at least one surface.
    pub surfaces: Vec<Surface>,
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

/// Why a rule set cannot be taken. The fault is the configuration's, and no retry helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A rule without literals never hits.
    #[error("rule {rule} has no literals: give it one, or remove the rule")]
    NoLiterals {
        /// The rule's place in the list.
        rule: usize,
    },
    /// A rule without surfaces never hits.
    #[error("rule {rule} names no surface: say where to look, for example \"text\"")]
    NoSurfaces {
        /// The rule's place in the list.
        rule: usize,
    },
    /// The rules name more than [`FIELD_NAMES_MAX`] header fields.
    #[error("rule {rule} names one header field too many: {FIELD_NAMES_MAX} may be named in all")]
    TooManyFields {
        /// The rule's place in the list.
        rule: usize,
    },
    /// An empty literal would hit everywhere.
    #[error("literal {literal} of rule {rule} is empty: remove it")]
    EmptyLiteral {
        /// The rule's place in the list.
        rule: usize,
        /// The literal's place in the rule.
        literal: usize,
    },
    /// A literal has more than [`LITERAL_OCTETS`] octets.
    #[error(
        "literal {literal} of rule {rule} has {octets} octets: cut it to at most {LITERAL_OCTETS}"
    )]
    LiteralTooLong {
        /// The rule's place in the list.
        rule: usize,
        /// The literal's place in the rule.
        literal: usize,
        /// Its length.
        octets: usize,
    },
    /// There are more than [`RULES_MAX`] rules.
    #[error("rule {rule} is one too many: join rules that give the same tag, {RULES_MAX} may stay")]
    TooManyRules {
        /// The first rule that has no room.
        rule: usize,
    },
    /// There are more than [`LITERALS_MAX`] literals.
    #[error("the literals up to rule {rule} are more than {LITERALS_MAX}: shorten the lists")]
    TooManyLiterals {
        /// The rule with which it became too many.
        rule: usize,
    },
    /// There are more than [`TAGS_MAX`] tags.
    #[error("rule {rule} gives the tag \"{tag}\", but {TAGS_MAX} tags are taken: use fewer tags")]
    TooManyTags {
        /// The rule's place in the list.
        rule: usize,
        /// The tag that has no room.
        tag: String,
    },
    /// More than [`LITERAL_ENDS_MAX`] literals can end at one octet, which would make it dear.
    #[error(
        "{ends} literals are the tail of literal {literal} of rule {rule}, at most \
         {LITERAL_ENDS_MAX} may be: the shortest of them finds what the longer ones find"
    )]
    TooManyEnds {
        /// The rule's place in the list.
        rule: usize,
        /// The literal's place in the rule.
        literal: usize,
        /// How many literals end there.
        ends: usize,
    },
    /// The tables would take more than [`TABLES_OCTETS`].
    #[error("the tables take {octets} octets, at most {TABLES_OCTETS} may be: shorten rule {rule}")]
    TablesTooLarge {
        /// The rule with the most literal octets.
        rule: usize,
        /// What the tables take, `usize::MAX` when they could not be built at all.
        octets: usize,
    },
}

impl RuleError {
    /// The place of the rule in the list.
    pub fn rule(&self) -> usize {
        match self {
            RuleError::NoLiterals { rule, .. }
            | RuleError::NoSurfaces { rule, .. }
            | RuleError::TooManyFields { rule, .. }
            | RuleError::EmptyLiteral { rule, .. }
            | RuleError::LiteralTooLong { rule, .. }
            | RuleError::TooManyRules { rule, .. }
            | RuleError::TooManyLiterals { rule, .. }
            | RuleError::TooManyTags { rule, .. }
            | RuleError::TooManyEnds { rule, .. }
            | RuleError::TablesTooLarge { rule, .. } => *rule,
        }
    }
}

/// A compiled rule set: immutable, shared as `Arc<Rules>` by every shard.
///
/// One optimisation is decided here. The decoded octets of a leaf without a transfer encoding
/// (`7bit`, `8bit`, `binary`) are the raw octets, which have been walked already. When every rule
/// that looks at decoded leaves also looks at the raw octets, the second walk over such a leaf can
/// find nothing that the first did not, and it is left out; the hit is then noted as a raw one.
#[derive(Debug)]
pub struct Rules {
    tags: Tags,
    rules: Box<[Rule]>,
    literals: Literals,
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
        for (index, spec) in specs.iter().enumerate() {
            let tag = tags.intern(&spec.tag);
            let tag =
                tag.ok_or_else(|| RuleError::TooManyTags { rule: index, tag: spec.tag.clone() })?;
            let (name, score, observe) = (spec.name.clone(), spec.score, spec.observe);
            let (surfaces, fields) = (mask(spec), named(&mut fields, index, spec)?);
            rules.push(Rule { name, tag, score, observe, surfaces, fields });
        }
        let literals = literals(specs)?;
        let asks_decoded = |rule: &&Rule| rule.surfaces & DECODED != 0;
        let asks_raw = |rule: &Rule| rule.surfaces & surface_bit(Surface::Raw) != 0;
        let rules = Rules {
            tags,
            surfaces: rules.iter().fold(0, |all, rule| all | rule.surfaces),
            raw_covers_decoded: rules.iter().filter(asks_decoded).all(asks_raw),
            rules: rules.into(),
            fields: fields.into(),
            literals,
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
        self.literals.table_octets()
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
        search.hits.prepare(self.rules.len());
        for (index, block) in octets.chunks(SCAN_BLOCK_OCTETS).enumerate() {
            self.literals.walk(state, block, search);
            let start = index * SCAN_BLOCK_OCTETS;
            search.hits.drain(|rule, hits| found(rule, start + hits.first as usize));
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

fn check(specs: &[RuleSpec]) -> Result<(), RuleError> {
    let mut literals = 0;
    for (rule, spec) in specs.iter().enumerate() {
        if rule == RULES_MAX {
            return Err(RuleError::TooManyRules { rule });
        }
        if spec.literals.is_empty() {
            return Err(RuleError::NoLiterals { rule });
        }
        if spec.surfaces.is_empty() {
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
fn literals(specs: &[RuleSpec]) -> Result<Literals, RuleError> {
    let mut asked: BTreeMap<Vec<u8>, Vec<u16>> = BTreeMap::new();
    for (rule, spec) in specs.iter().enumerate() {
        for literal in &spec.literals {
            let rules = asked.entry(literal.to_ascii_lowercase()).or_default();
            if rules.last() != Some(&(rule as u16)) {
                rules.push(rule as u16);
            }
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
