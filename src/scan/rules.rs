//! Content rules, compiled once and shared by all messages and shards.
//!
//! A rule is a list of literals, the surfaces on which they are looked for, and a tag with a score.
//! The literals of all rules become one set of tables (`compile`); `cost` tells what they cost.

use super::digests::DigestTables;
use super::findings::{Score, Surface, TagId, TagSet, Tags};
use super::hosts::{Domains, Networks, looked_up_as};
use super::links::What;
use super::literals::{Literals, WalkState};
use super::regexes::RegexSet;
use super::scratch::{self, Search};
use super::windows::{Asked, Expressions, Gates, or};
use crate::limits::{HOST_UNITS, SCAN_BLOCK_OCTETS};
use ipnet::IpNet;
use std::borrow::Cow;

/// A rule as a configuration states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    /// The name by which logs and reports call it.
    pub name: String,
    /// The octets to look for; one of them, or of the expressions, is enough. ASCII letters match in
    /// either case, all other octets only themselves. 1 to [`LITERAL_OCTETS`](crate::limits::LITERAL_OCTETS) octets each.
    pub literals: Vec<Vec<u8>>,
    /// Regular expressions to look for, beside the literals: over octets, linear in the text, so
    /// without look-around and back-references. Not on [`Surface::Raw`].
    pub regexes: Vec<String>,
    /// SHA-256 digests of leaves with their transfer encoding undone, of any surface.
    pub digests: Vec<[u8; 32]>,
    /// SHA-1 digests, the same way.
    pub sha1: Vec<[u8; 20]>,
    /// MD5 digests, the same way.
    pub md5: Vec<[u8; 16]>,
    /// BLAKE3 digests, the same way.
    pub blake3: Vec<[u8; 32]>,
    /// Domains to look up hosts for, which are found with all hosts below them. Of [`Surface::Text`]
    /// and [`Surface::Visible`] all hosts are looked up, of [`Surface::Url`] those of links, and those
    /// of fields. Not in other surfaces.
    pub domains: Vec<Vec<u8>>,
    /// Networks to look up addresses for, in the same places.
    pub networks: Vec<IpNet>,
    /// Where to look; at least one surface, unless there is nothing to look for or only digests.
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
    pub(super) fn is_empty(&self) -> bool {
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
    pub(super) tags: Tags,
    pub(super) rules: Box<[Rule]>,
    /// Literals by their rules; and the gates of expressions, whose numbers are those behind the
    /// rules.
    pub(super) literals: Literals,
    pub(super) regexes: RegexSet,
    pub(super) domains: Domains,
    pub(super) networks: Networks,
    pub(super) digests: DigestTables,
    /// Octets that may be unpacked of a message; none, and archives are only listed.
    pub(super) unpacked_octets: u64,
    /// The surfaces that some rule asks for.
    pub(super) surfaces: u32,
    /// Of them, those on which some expression looks.
    pub(super) expressed: u32,
    /// The header fields that rules name, in lower case.
    pub(super) fields: Box<[Vec<u8>]>,
    pub(super) raw_covers_decoded: bool,
    /// Some of the literals and gates, from which texts are made that are hard on the tables.
    pub(super) sample: Box<[Box<[u8]>]>,
}

/// What is left of a rule once its literals are in the tables.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) tag: TagId,
    pub(super) score: Score,
    pub(super) observe: bool,
    /// The surfaces on which it asks, one bit each (see [`surface_bit`]).
    pub(super) surfaces: u32,
    /// The header fields that it names, one bit each.
    pub(super) fields: u64,
    /// There is something to look for.
    pub(super) looks: bool,
    pub(super) when: When,
}

/// A [`Condition`] in tags.
#[derive(Debug, Default)]
pub(super) struct When {
    pub(super) all: TagSet,
    pub(super) any: TagSet,
    pub(super) count: usize,
    pub(super) none: TagSet,
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
    /// All tags that a scan with these rules can give.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The name of the rule of a [`Hit`](super::Hit); empty for one that is not of this set.
    pub fn rule_name(&self, rule: u16) -> &str {
        self.rules.get(usize::from(rule)).map_or("", |rule| rule.name.as_str())
    }

    /// The same rules, with which so many octets of what is packed in a message are unpacked and looked
    /// at as parts; with none, archives are only listed.
    #[must_use]
    pub fn unpacking(self, octets: u64) -> Rules {
        Rules { unpacked_octets: octets, ..self }
    }

    /// How many expressions there are, if any of them looks at what is unpacked.
    pub(super) fn express_in_unpacked(&self) -> Option<usize> {
        self.express(surface_bit(Surface::Part))
    }

    /// How many expressions there are, if any of them looks at some surface.
    pub(super) fn express(&self, surfaces: u32) -> Option<usize> {
        (self.expressed & surfaces != 0).then_some(self.regexes.all.len())
    }

    /// Whether there are expressions.
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

    /// Whether some rule asks for what is in the links, hosts and addresses of texts.
    pub(super) fn ask_links(&self) -> bool {
        self.ask(Surface::Url) || self.ask_hosts()
    }

    /// Whether some rule lists domains or networks.
    pub(super) fn ask_hosts(&self) -> bool {
        self.domains.len() + self.networks.len() > 0
    }

    /// Gives the rules that ask for a host or an address. What it takes to read a host of another
    /// alphabet is spent as what expressions take is; with nothing left it is looked up as it is.
    pub(super) fn look_up(&self, what: What<'_>, asked: &mut Asked, found: impl FnMut(u16)) {
        match what {
            What::Host(host) if !host.is_ascii() => {
                let is_read = asked.may_spend(HOST_UNITS + host.len());
                let form = if is_read { looked_up_as(host) } else { None };
                self.domains.look_up(&form.unwrap_or(Cow::Borrowed(host)), found);
            }
            What::Host(host) => self.domains.look_up(host, found),
            What::Address(address) => self.networks.look_up(address, found),
            What::Link(_) => {}
        }
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
        for (index, block) in octets.chunks(SCAN_BLOCK_OCTETS).enumerate() {
            search.hits.prepare(self.rules.len(), 0, block.len());
            self.literals.walk(state, block, search);
            let start = index * SCAN_BLOCK_OCTETS;
            search.hits.drain(|rule, place| found(rule, start + place));
        }
    }

    /// As [`Rules::look`], and asks the expressions of the rules that `asks` admits about each stretch
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
        let Expressions { windows: Some(windows), asked } = expressions else {
            return self.look(state, octets, search, |rule, place| found(rule, Some(place)));
        };
        for (index, block) in octets.chunks(SCAN_BLOCK_OCTETS).enumerate() {
            search.hits.prepare(self.rules.len(), windows.phase(), block.len());
            windows.restore(&mut search.hits.gates);
            self.literals.walk(state, block, search);
            let start = index * SCAN_BLOCK_OCTETS;
            search.hits.drain(|rule, place| found(rule, Some(start + place)));
            windows.take(block, &search.hits.gates, |around| {
                asked.ask_around(&self.regexes, &around, &asks, |rule| found(rule, None));
            });
            windows.run(block, &self.regexes, asked, &asks, |rule| found(rule, None));
        }
    }

    /// The stream has ended: asks the expressions about what is left.
    pub(super) fn look_at_end(
        &self,
        expressions: &mut Expressions,
        asks: impl Fn(u16) -> bool,
        mut found: impl FnMut(u16),
    ) {
        let Expressions { windows: Some(windows), asked } = expressions else { return };
        windows.run_out(&self.regexes, asked, &mut found);
        windows.finish(|around| asked.ask_around(&self.regexes, &around, &asks, &mut found));
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
        let (mut state, mut gates) = (self.literals.start(), Gates::default());
        for block in text.chunks(SCAN_BLOCK_OCTETS) {
            search.hits.prepare(self.rules.len(), 0, block.len());
            self.literals.walk(&mut state, block, search);
            search.hits.drain(|rule, _| {
                if asks(rule) {
                    found(rule, Some(0));
                }
            });
            if self.have_regexes() {
                or(&mut gates, &search.hits.all_gates());
            }
        }
        if self.have_regexes() {
            asked.ask_whole(&self.regexes, text, &gates, asks, |rule| found(rule, None));
        }
    }

    /// How many rules have a literal in a text, wherever they ask for it: the work of the engines
    /// alone.
    pub fn rules_in(&self, text: &[u8]) -> usize {
        let mut state = self.literals.start();
        let mut rules = 0;
        scratch::with(|scratch| {
            self.look(&mut state, text, &mut scratch.search, |_, _| rules += 1);
        });
        rules
    }

    /// Whether some rule asks for what is visible.
    pub(super) fn ask_visible(&self) -> bool {
        self.surfaces & VISIBLE != 0
    }

    /// Whether decoded leaves are to be walked, those that are texts or others; see [`Rules`] for when
    /// `transfer_encoded` matters.
    pub(super) fn ask_decoded(&self, transfer_encoded: bool, is_text: bool) -> bool {
        let asked = if is_text { DECODED } else { surface_bit(Surface::Part) };
        self.surfaces & asked != 0 && (transfer_encoded || !self.raw_covers_decoded)
    }
}

/// The bit of a surface in [`Rule::surfaces`].
pub(super) const fn surface_bit(surface: Surface) -> u32 {
    1 << surface as u32
}

pub(super) const FIELDS: u32 = surface_bit(Surface::Header)
    | surface_bit(Surface::Subject)
    | surface_bit(Surface::From)
    | surface_bit(Surface::To)
    | surface_bit(Surface::ReplyTo)
    | surface_bit(Surface::Field)
    | surface_bit(Surface::Type);
pub(super) const DECODED: u32 = surface_bit(Surface::Text) | surface_bit(Surface::Part);
/// What is visible of texts is searched for rules that ask for texts, too.
pub(super) const VISIBLE: u32 = surface_bit(Surface::Visible) | surface_bit(Surface::Text);
