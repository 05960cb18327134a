//! Rules are compiled: what could make a scan dear is refused here, when the configuration is loaded,
//! and never found out while a message waits.

use super::digests::{DigestTables, Digests};
use super::findings::{Surface, TagSet, Tags};
use super::hosts::{Domains, Networks, looked_up_as};
use super::literals::{Literals, ends};
use super::regexes::{Regex, RegexSet};
use super::rule_error::RuleError;
use super::rules::{Condition, DECODED, Rule, RuleSpec, Rules, When, surface_bit};
use crate::limits::{
    FIELD_NAMES_MAX, HOST_OCTETS, LISTED_MAX, LITERAL_ENDS_MAX, LITERAL_OCTETS, LITERALS_MAX,
    LITERALS_SAMPLED, REGEXES_MAX, REGEXES_UNGATED_MAX, RULES_MAX, TABLES_OCTETS,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

impl Rules {
    /// Compiles rules; their tags are added to `tags`, which are [`Rules::tags`] afterwards.
    ///
    /// # Errors
    /// The first rule that breaks a limit, with what to do about it.
    pub fn compile(mut tags: Tags, specs: &[RuleSpec]) -> Result<Rules, RuleError> {
        check(specs)?;
        let mut rules = Vec::with_capacity(specs.len());
        let mut fields = Vec::new();
        let (regexes, running) = regexes(specs)?;
        for (index, spec) in specs.iter().enumerate() {
            let when = when(&spec.when, &tags, index)?;
            let tag = tags.intern(&spec.tag);
            let tag =
                tag.ok_or_else(|| RuleError::TooManyTags { rule: index, tag: spec.tag.clone() })?;
            let (name, score, observe) = (spec.name.clone(), spec.score, spec.observe);
            let (surfaces, fields) = (mask(spec), named(&mut fields, index, spec)?);
            let looks = looks_into_octets(spec) || asks_digests(spec);
            rules.push(Rule { name, tag, score, observe, surfaces, fields, looks, when });
        }
        let asked = asked(specs, &regexes);
        let sample = sample(&asked);
        let literals = literals(specs, &asked)?;
        let asks_decoded = |rule: &&Rule| rule.surfaces & DECODED != 0;
        let asks_raw = |rule: &Rule| rule.surfaces & surface_bit(Surface::Raw) != 0;
        let rules = Rules {
            tags,
            surfaces: rules.iter().fold(0, |all, rule| all | rule.surfaces),
            expressed: specs
                .iter()
                .filter(|spec| !spec.regexes.is_empty())
                .fold(0, |all, spec| all | mask(spec)),
            raw_covers_decoded: rules.iter().filter(asks_decoded).all(asks_raw),
            rules: rules.into(),
            fields: fields.into(),
            literals,
            regexes: RegexSet::new(regexes, running),
            domains: Domains::new(&domains(specs)),
            networks: networks(specs),
            digests: DigestTables::new(specs),
            unpacked_octets: 0,
            sample,
        };
        match rules.table_octets() {
            octets if octets > TABLES_OCTETS => Err(too_large(specs, octets)),
            _ => Ok(rules),
        }
    }
}

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

/// Compiles the expressions of all rules, and tells which of them run over every octet of a text.
fn regexes(specs: &[RuleSpec]) -> Result<(Vec<Regex>, Vec<u16>), RuleError> {
    let (mut all, mut running) = (Vec::<Regex>::new(), Vec::new());
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
            if regex.gates.is_empty() && streams {
                running.push(all.len() as u16);
            }
            if running.len() > REGEXES_UNGATED_MAX {
                return Err(refused(format!(
                    "it has no literal of 3 octets that every match has, and runs over every octet: \
                     {REGEXES_UNGATED_MAX} such may be, so add one, or look at fields alone"
                )));
            }
            all.push(regex);
        }
    }
    Ok((all, running))
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
    let is_there = [
        spec.literals.is_empty(),
        spec.regexes.is_empty(),
        spec.domains.is_empty(),
        spec.networks.is_empty(),
    ];
    is_there.contains(&false)
}

fn asks_digests(spec: &RuleSpec) -> bool {
    let is_there = [
        spec.digests.is_empty(),
        spec.sha1.is_empty(),
        spec.md5.is_empty(),
        spec.blake3.is_empty(),
    ];
    is_there.contains(&false)
}

/// The rules that ask for each domain.
fn domains(specs: &[RuleSpec]) -> BTreeMap<Vec<u8>, Vec<u16>> {
    let mut all: BTreeMap<Vec<u8>, Vec<u16>> = BTreeMap::new();
    for (spec, rule) in specs.iter().zip(0..) {
        for name in &spec.domains {
            let form =
                looked_up_as(name).map_or_else(|| name.to_ascii_lowercase(), Cow::into_owned);
            let rules = all.entry(form).or_default();
            if rules.last() != Some(&rule) {
                rules.push(rule);
            }
        }
    }
    all
}

fn networks(specs: &[RuleSpec]) -> Networks {
    let of_rule = |(spec, rule): (&RuleSpec, u16)| {
        spec.networks.iter().map(move |network| (*network, rule)).collect::<Vec<_>>()
    };
    let all: Vec<_> = specs.iter().zip(0..).flat_map(of_rule).collect();
    Networks::new(&all)
}

/// The rules that ask for each digest.
pub(super) fn by_digest<const OCTETS: usize>(
    specs: &[RuleSpec],
    of_rule: impl Fn(&RuleSpec) -> &Vec<[u8; OCTETS]>,
) -> Digests<OCTETS> {
    let mut all = Digests::default();
    for (spec, rule) in specs.iter().zip(0..) {
        for digest in of_rule(spec) {
            all.entry(*digest).or_default().push(rule);
        }
    }
    all
}

/// Whether a text can be looked up as a domain: as it is written in hosts, without a dot at an end.
fn is_domain(name: &[u8]) -> bool {
    let good = |octet: &u8| {
        octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.') || *octet >= 0x80
    };
    let ends = [name.first(), name.last()];
    (1..=HOST_OCTETS).contains(&name.len()) && name.iter().all(good) && !ends.contains(&Some(&b'.'))
}

fn check(specs: &[RuleSpec]) -> Result<(), RuleError> {
    let (mut literals, mut listed) = (0, 0);
    for (rule, spec) in specs.iter().enumerate() {
        if rule == RULES_MAX {
            return Err(RuleError::TooManyRules { rule });
        }
        let looks = looks_into_octets(spec);
        if !looks && !asks_digests(spec) && spec.when.is_empty() {
            return Err(RuleError::NoLiterals { rule });
        }
        if looks && spec.surfaces.is_empty() {
            return Err(RuleError::NoSurfaces { rule });
        }
        listed += spec.domains.len() + spec.networks.len();
        if listed > LISTED_MAX {
            return Err(RuleError::TooManyListed { rule });
        }
        if let Some(domain) = spec.domains.iter().position(|name| !is_domain(name)) {
            return Err(RuleError::NoDomain { rule, domain });
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

/// The literals of all rules and the gates of all expressions, each once, with who asks for it.
fn asked(specs: &[RuleSpec], regexes: &[Regex]) -> Vec<(Vec<u8>, Vec<u16>)> {
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
    asked.into_iter().collect()
}

/// Literals from all over the set.
fn sample(asked: &[(Vec<u8>, Vec<u16>)]) -> Box<[Box<[u8]>]> {
    let step = asked.len().div_ceil(LITERALS_SAMPLED).max(1);
    asked.iter().step_by(step).map(|(literal, _)| Box::from(literal.as_slice())).collect()
}

/// The tables for the literals of all rules. One set for all surfaces is smaller than one for each,
/// and a hit on a surface that its rule does not ask for costs a test.
fn literals(specs: &[RuleSpec], asked: &[(Vec<u8>, Vec<u16>)]) -> Result<Literals, RuleError> {
    let most = ends(asked).into_iter().zip(asked).max_by_key(|(ends, _)| *ends);
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
    Literals::compile(asked).ok_or_else(|| too_large(specs, usize::MAX))
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
    use crate::scan::Score;

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
        assert!(!rules.ask_decoded(true, true));
        let both = RuleSpec { surfaces: vec![Surface::Raw, Surface::Part], ..spec(&["abc"]) };
        let rules = Rules::compile(Tags::new(), std::slice::from_ref(&both)).unwrap();
        assert!(rules.ask_decoded(true, false) && !rules.ask_decoded(false, false));
        let text = RuleSpec { surfaces: vec![Surface::Text], ..both.clone() };
        let rules = Rules::compile(Tags::new(), &[both, text]).unwrap();
        assert!(rules.ask_decoded(false, true));
        let text = Rules::compile(
            Tags::new(),
            &[RuleSpec { surfaces: vec![Surface::Text], ..spec(&["abc"]) }],
        );
        let text = text.unwrap();
        assert!(text.ask_decoded(true, true) && !text.ask_decoded(true, false));
        assert_eq!(Rules::compile(Tags::new(), &[]).unwrap().table_octets(), 0);
    }

    #[test]
    fn rules_are_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Rules>();
    }
}
