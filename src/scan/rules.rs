//! Content rules, compiled once and shared by all messages and shards.
//!
//! A rule is a list of literals, the surfaces on which they are looked for, and a tag with a score.
//! The literals of all rules become at most three automata: one for the raw octets, one for header
//! blocks and subjects, one for decoded leaves. What could make a scan dear is refused here, when
//! the configuration is loaded, and never found out while a message waits.

use super::findings::{Score, Surface, TagId, Tags};
use super::literals::{Literals, Meaning};
use crate::limits::{
    LITERAL_ENDS_MAX, LITERAL_OCTETS, LITERALS_MAX, RULES_MAX, TABLES_OCTETS, TAGS_MAX,
};

/// A rule as a configuration states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// The name by which logs and reports call it.
    pub name: String,
    /// The octets to look for; one of them is enough. ASCII letters match in either case, all other
    /// octets only themselves. 1 to [`LITERAL_OCTETS`] octets each.
    pub literals: Vec<Vec<u8>>,
    /// Where to look; at least one surface.
    pub surfaces: Vec<Surface>,
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
    raw: Option<Literals>,
    headers: Option<Literals>,
    decoded: Option<Literals>,
    asks_header: bool,
    asks_subject: bool,
    raw_covers_decoded: bool,
}

/// What is left of a rule once its literals are in the automata.
#[derive(Debug)]
pub(super) struct Rule {
    name: String,
    pub(super) tag: TagId,
    pub(super) score: Score,
    pub(super) observe: bool,
}

impl Rules {
    /// Compiles rules; their tags are added to `tags`, which are [`Rules::tags`] afterwards.
    ///
    /// # Errors
    /// The first rule that breaks a limit, with what to do about it.
    pub fn compile(mut tags: Tags, specs: &[RuleSpec]) -> Result<Rules, RuleError> {
        check(specs)?;
        let mut rules = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let tag = tags.intern(&spec.tag);
            let tag =
                tag.ok_or_else(|| RuleError::TooManyTags { rule: index, tag: spec.tag.clone() })?;
            let (name, score, observe) = (spec.name.clone(), spec.score, spec.observe);
            rules.push(Rule { name, tag, score, observe });
        }
        let asks = |spec: &RuleSpec, surface| spec.surfaces.contains(&surface);
        let asks_decoded = |spec: &&RuleSpec| mask(spec) & DECODED != 0;
        let rules = Rules {
            tags,
            rules: rules.into(),
            raw: automaton(specs, surface_bit(Surface::Raw))?,
            headers: automaton(specs, HEADERS)?,
            decoded: automaton(specs, DECODED)?,
            asks_header: specs.iter().any(|spec| asks(spec, Surface::Header)),
            asks_subject: specs.iter().any(|spec| asks(spec, Surface::Subject)),
            raw_covers_decoded: specs.iter().filter(asks_decoded).all(|s| asks(s, Surface::Raw)),
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
        let automata = [&self.raw, &self.headers, &self.decoded];
        automata.into_iter().flatten().map(Literals::table_octets).sum()
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn raw(&self) -> Option<&Literals> {
        self.raw.as_ref()
    }

    /// The automaton for header blocks, if a rule asks for them.
    pub(super) fn header(&self) -> Option<&Literals> {
        self.headers.as_ref().filter(|_| self.asks_header)
    }

    /// The automaton for subjects, if a rule asks for them.
    pub(super) fn subject(&self) -> Option<&Literals> {
        self.headers.as_ref().filter(|_| self.asks_subject)
    }

    /// The automaton for decoded leaves; see [`Rules`] for when `transfer_encoded` matters.
    pub(super) fn decoded(&self, transfer_encoded: bool) -> Option<&Literals> {
        self.decoded.as_ref().filter(|_| transfer_encoded || !self.raw_covers_decoded)
    }
}

/// The bit of a surface in [`Meaning::surfaces`].
pub(super) const fn surface_bit(surface: Surface) -> u8 {
    1 << surface as u8
}

const HEADERS: u8 = surface_bit(Surface::Header) | surface_bit(Surface::Subject);
const DECODED: u8 = surface_bit(Surface::Text) | surface_bit(Surface::Part);

fn mask(spec: &RuleSpec) -> u8 {
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

/// The automaton for the literals of all rules that ask for one of `surfaces`, if there are any.
fn automaton(specs: &[RuleSpec], surfaces: u8) -> Result<Option<Literals>, RuleError> {
    let (mut literals, mut meanings) = (Vec::new(), Vec::new());
    for (rule, spec) in specs.iter().enumerate() {
        let wanted = mask(spec) & surfaces;
        if wanted == 0 {
            continue;
        }
        let mut own: Vec<Vec<u8>> =
            spec.literals.iter().map(|literal| literal.to_ascii_lowercase()).collect();
        own.sort_unstable();
        own.dedup();
        let meaning = Meaning { rule: rule as u16, surfaces: wanted };
        meanings.extend(own.iter().map(|_| meaning));
        literals.append(&mut own);
    }
    if literals.is_empty() {
        return Ok(None);
    }
    let compiled =
        Literals::compile(&literals, meanings).ok_or_else(|| too_large(specs, usize::MAX))?;
    for (rule, spec) in specs.iter().enumerate() {
        for (literal, octets) in spec.literals.iter().enumerate() {
            let ends = compiled.ends_with(octets);
            if ends > LITERAL_ENDS_MAX {
                return Err(RuleError::TooManyEnds { rule, literal, ends });
            }
        }
    }
    Ok(Some(compiled))
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
            observe: false,
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
    fn an_automaton_is_built_only_where_a_rule_looks() {
        let rules = Rules::compile(Tags::new(), &[spec(&["abc"])]).unwrap();
        assert!(rules.raw().is_some() && rules.header().is_none() && rules.decoded(true).is_none());
        let both = RuleSpec { surfaces: vec![Surface::Raw, Surface::Part], ..spec(&["abc"]) };
        let rules = Rules::compile(Tags::new(), std::slice::from_ref(&both)).unwrap();
        assert!(rules.decoded(true).is_some() && rules.decoded(false).is_none());
        let text = RuleSpec { surfaces: vec![Surface::Text], ..both.clone() };
        let rules = Rules::compile(Tags::new(), &[both, text]).unwrap();
        assert!(rules.decoded(false).is_some());
        assert_eq!(Rules::compile(Tags::new(), &[]).unwrap().table_octets(), 0);
    }

    #[test]
    fn rules_are_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Rules>();
    }
}
