//! Why rules are refused when the configuration is loaded: which one, what is wrong, what would work.

use crate::limits::{
    FIELD_NAMES_MAX, LISTED_MAX, LITERAL_ENDS_MAX, LITERAL_OCTETS, LITERALS_MAX, RULES_MAX,
    TABLES_OCTETS, TAGS_MAX,
};

/// Why a rule set cannot be taken. The fault is the configuration's, and no retry helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A rule that looks for nothing never hits.
    #[error("rule {rule} has no literals: give it one, an expression or tags, or remove the rule")]
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
    /// A regular expression cannot be taken.
    #[error("regular expression {regex} of rule {rule}: {reason}")]
    Regex {
        /// The rule's place in the list.
        rule: usize,
        /// The expression's place in the rule.
        regex: usize,
        /// What is wrong, and what would work.
        reason: String,
    },
    /// What is listed as a domain is none.
    #[error(
        "domain {domain} of rule {rule} is none: write it as in example.com, all below is meant"
    )]
    NoDomain {
        /// The rule's place in the list.
        rule: usize,
        /// The domain's place in the rule.
        domain: usize,
    },
    /// There are more than [`LISTED_MAX`] domains and networks.
    #[error(
        "up to rule {rule} more than {LISTED_MAX} domains and networks are listed: shorten them"
    )]
    TooManyListed {
        /// The rule with which it became too many.
        rule: usize,
    },
    /// A condition names a tag that no rule before it gives, nor the scanner.
    #[error("rule {rule} waits for the tag \"{tag}\", which no rule above it gives: move it down")]
    NoSuchTag {
        /// The rule's place in the list.
        rule: usize,
        /// The tag.
        tag: String,
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
            | RuleError::Regex { rule, .. }
            | RuleError::NoSuchTag { rule, .. }
            | RuleError::NoDomain { rule, .. }
            | RuleError::TooManyListed { rule, .. }
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
