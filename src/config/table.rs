//! TOML tables, read key by key.
//!
//! A [`Section`] is asked for the keys it may hold; what nobody asked for is unknown, and the keys
//! asked for are what the fault suggests instead. So the code that uses a key is the only place
//! that names it. A [`Value`] knows its own place: each of its readers notes a fault there and
//! answers `None`, and the caller goes on with a default.

use super::fault::{Check, Span, Wrong};
use crate::limits::NAME_OCTETS;
use std::ops::RangeInclusive;
use toml::de::{DeTable, DeValue};

/// A table of the configuration while it is read.
pub(super) struct Section<'a> {
    /// How messages call it: `listen.mx`; empty for the top of the file.
    pub title: String,
    /// Where it is named.
    pub span: Span,
    pub check: &'a Check<'a>,
    entries: Vec<Value<'a>>,
    known: Vec<&'static str>,
}

/// A value of the configuration, with the key it stands at.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// The key.
    pub name: &'a str,
    /// Where the key is.
    pub key_span: Span,
    /// Where the value is.
    pub span: Span,
    pub check: &'a Check<'a>,
    node: &'a DeValue<'a>,
}

impl<'a> Section<'a> {
    /// The top of a file.
    pub fn top(check: &'a Check<'a>, table: &'a DeTable<'a>) -> Section<'a> {
        Section::new(check, String::new(), Span::default(), table)
    }

    fn new(
        check: &'a Check<'a>,
        title: String,
        span: Span,
        table: &'a DeTable<'a>,
    ) -> Section<'a> {
        let mut entries: Vec<Value<'a>> = table
            .iter()
            .map(|(key, value)| Value {
                name: key.get_ref(),
                key_span: key.span().into(),
                span: value.span().into(),
                check,
                node: value.get_ref(),
            })
            .collect();
        // The order of the file matters: of domains, of patterns, of ids.
        entries.sort_by_key(|entry| entry.key_span.start);
        Section { title, span, check, entries, known: Vec::new() }
    }

    /// The value at a key, if the table has it.
    pub fn take(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let index = self.entries.iter().position(|entry| entry.name == key)?;
        Some(self.entries.remove(index))
    }

    /// Reads a key into `field`, which keeps its default if the key is not there.
    pub fn set<T>(
        &mut self,
        key: &'static str,
        field: &mut T,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) {
        if let Some(value) = self.take(key).and_then(read) {
            *field = value;
        }
    }

    /// The value at a key that must be there.
    pub fn need(&mut self, key: &'static str, example: &str) -> Option<Value<'a>> {
        let value = self.take(key);
        if value.is_none() {
            let message = format!("{} has no `{key}`", self.title);
            self.check.fault(self.span, message, format!("add a line such as `{key} = {example}`"));
        }
        value
    }

    /// All values, for tables whose keys are the operator's own, in the order of the file.
    pub fn take_all(&mut self) -> Vec<Value<'a>> {
        std::mem::take(&mut self.entries)
    }

    /// The tables `[key.NAME]`, in the order of the file.
    pub fn take_named(&mut self, key: &'static str, most: usize) -> Vec<(&'a str, Section<'a>)> {
        let Some(mut tables) = self.take(key).and_then(|value| value.table(key)) else {
            return Vec::new();
        };
        let values = tables.take_all();
        if let Some(one_too_many) = values.get(most) {
            one_too_many.check.fault(
                one_too_many.key_span,
                format!("there are {} tables [{key}.NAME], at most {most} may be", values.len()),
                "join those that say the same",
            );
        }
        let mut named = Vec::with_capacity(values.len());
        for value in values.into_iter().take(most) {
            if !matches!(value.node, DeValue::Table(_)) {
                value.check.fault(
                    value.key_span,
                    format!("`{}` is {}, not a table with a name", value.name, value.kind()),
                    format!("every [{key}.NAME] has a name of its own: write [{key}.main] above it"),
                );
                continue;
            }
            let title = format!("{key}.{}", value.name);
            named.extend(value.table(&title).map(|section| (value.name, section)));
        }
        named
    }

    /// Notes every key that nobody asked for.
    pub fn finish(self) {
        for entry in &self.entries {
            let place = match self.title.as_str() {
                "" => "at the top of the file".to_owned(),
                title => format!("in {title}"),
            };
            let message = format!("`{}` is not a known key {place}", entry.name);
            let help = suggestion("keys", entry.name, self.known.iter().copied());
            self.check.fault(entry.key_span, message, help);
        }
    }
}

impl<'a> Value<'a> {
    pub fn fault(&self, message: impl Into<String>, help: impl Into<String>) {
        self.check.fault(self.span, message, help);
    }

    pub fn wrong(&self, wrong: Wrong) {
        self.check.fault_in(&self.check.source, self.span, wrong);
    }

    /// A string.
    pub fn text(self) -> Option<&'a str> {
        let text = self.node.as_str();
        if text.is_none() {
            self.wrong_type("a string", "put it in quotes");
        }
        text
    }

    /// A string that `read` understands.
    pub fn read<T>(self, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        match read(self.text()?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(wrong);
                None
            }
        }
    }

    /// True or false.
    pub fn flag(self) -> Option<bool> {
        let flag = self.node.as_bool();
        if flag.is_none() {
            self.wrong_type("true or false", "write true or false, without quotes");
        }
        flag
    }

    /// A whole number in a range.
    pub fn number(self, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(number) = self.integer() else {
            let (least, most) = (range.start(), range.end());
            self.wrong_type("a whole number", &format!("write a number from {least} to {most}"));
            return None;
        };
        let inside = u64::try_from(number).ok().filter(|number| range.contains(number));
        if inside.is_none() {
            self.out_of_range(&number.to_string(), &range.start(), &range.end());
        }
        inside
    }

    /// A number of octets: a whole number, or a string with a unit.
    pub fn size(self) -> Option<u64> {
        match self.integer() {
            Some(octets) => match u64::try_from(octets) {
                Ok(octets) => Some(octets),
                Err(_) => {
                    self.fault(format!("`{}` is negative", self.name), "write 0 or more octets");
                    None
                }
            },
            None if self.node.is_str() => self.read(super::value::size),
            None => {
                self.wrong_type("a size", "write a size such as \"50MiB\"");
                None
            }
        }
    }

    /// A number with or without a fraction.
    pub fn points(self) -> Option<f64> {
        let points = match self.node {
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => self.integer().map(|whole| whole as f64),
        };
        if points.is_none() {
            self.wrong_type("a number", "write a number such as 5.0, without quotes");
        }
        points
    }

    /// One of a few words.
    pub fn one_of<T: Copy>(self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let help = suggestion("values", text, words.iter().map(|(word, _)| *word));
            self.fault(format!("`{}` cannot be \"{text}\"", self.name), help);
        }
        found
    }

    /// One string, or a list of some.
    pub fn texts(self) -> Option<Vec<(Value<'a>, &'a str)>> {
        match self.node {
            DeValue::Array(_) => self.text_list(),
            DeValue::String(text) => Some(vec![(self, text)]),
            _ => {
                self.wrong_type("a string or a list of strings", "write \"...\" or [\"...\"]");
                None
            }
        }
    }

    /// A list of strings, with at least one.
    pub fn text_list(self) -> Option<Vec<(Value<'a>, &'a str)>> {
        let list = self.list()?;
        if list.is_empty() {
            self.fault(
                format!("the list `{}` is empty", self.name),
                format!("put something in, or leave out `{}`", self.name),
            );
            return None;
        }
        Some(list.into_iter().filter_map(|value| Some((value, value.text()?))).collect())
    }

    /// A list of anything.
    pub fn list(self) -> Option<Vec<Value<'a>>> {
        let Some(array) = self.node.as_array() else {
            self.wrong_type("a list", "put it in brackets: [ ... ]");
            return None;
        };
        let values = array.iter().map(|entry| Value {
            span: entry.span().into(),
            node: entry.get_ref(),
            ..self
        });
        Some(values.collect())
    }

    /// A table, called `title` in messages.
    pub fn table(self, title: &str) -> Option<Section<'a>> {
        let Some(table) = self.node.as_table() else {
            self.wrong_type("a table", &format!("write [{title}] with its keys below"));
            return None;
        };
        Some(Section::new(self.check, title.to_owned(), self.key_span, table))
    }

    /// Whether it is a list.
    pub fn is_list(self) -> bool {
        self.node.is_array()
    }

    /// Whether it is a whole number.
    pub fn is_number(self) -> bool {
        self.node.is_integer()
    }

    /// Notes a value outside its range.
    pub fn out_of_range(&self, given: &str, least: &dyn ToString, most: &dyn ToString) {
        let (least, most) = (least.to_string(), most.to_string());
        self.fault(
            format!("`{}` is {given}, out of its range", self.name),
            format!("it may be {least} to {most}"),
        );
    }

    fn integer(&self) -> Option<i64> {
        let integer = self.node.as_integer()?;
        // What is larger than any number here is out of every range all the same.
        Some(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX))
    }

    fn wrong_type(&self, wanted: &str, help: &str) {
        self.fault(format!("`{}` must be {wanted}, this is {}", self.name, self.kind()), help);
    }

    fn kind(&self) -> &'static str {
        match self.node {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// The names of one kind that a configuration defines, in the order of their ids.
pub(super) struct Names<'a> {
    /// What they name, in the singular: `route`.
    pub kind: &'static str,
    pub names: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub fn of(kind: &'static str, sections: &[(&'a str, Section<'a>)]) -> Names<'a> {
        Names { kind, names: sections.iter().map(|(name, _)| *name).collect() }
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }

    /// The place of the name that a value holds.
    pub fn find(&self, value: Value<'_>) -> Option<usize> {
        let name = value.text()?;
        let found = self.position(name);
        if found.is_none() {
            let kind = self.kind;
            let help = match self.names.as_slice() {
                [] => format!("there is none yet: add a table [{kind}.{name}]"),
                names => {
                    let plural = if kind == "class" { "classes" } else { "routes" };
                    suggestion(plural, name, names.iter().copied())
                }
            };
            value.fault(format!("there is no {kind} \"{name}\""), help);
        }
        found
    }
}

/// Names of listeners, routes, classes, rules and tags: what logs and metrics print unquoted.
pub(super) fn check_name(check: &Check<'_>, span: Span, what: &str, name: &str) {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    if !(1..=NAME_OCTETS).contains(&name.len()) || !name.bytes().all(plain) {
        check.fault(
            span,
            format!("\"{}\" cannot name a {what}", name.escape_debug()),
            format!("a name has 1 to {NAME_OCTETS} letters, digits, hyphens, dots or underscores"),
        );
    }
}

/// The nearest of the known words, then all of them.
pub(super) fn suggestion<'w>(
    kind: &str,
    given: &str,
    known: impl Iterator<Item = &'w str> + Clone,
) -> String {
    // Far-off suggestions help nobody: a third of the letters may be wrong.
    let near_enough = (given.chars().count() / 3).max(1);
    let nearest = known
        .clone()
        // The distance takes time by the product of the lengths.
        .filter(|_| given.len() <= NAME_OCTETS)
        .map(|word| (strsim::damerau_levenshtein(&given.to_lowercase(), word), word))
        .filter(|(distance, _)| *distance <= near_enough)
        .min();
    let mut words: Vec<&str> = known.collect();
    words.sort_unstable();
    words.dedup();
    let rest = words.len().saturating_sub(SUGGESTED_MAX);
    words.truncate(SUGGESTED_MAX);
    let mut list = words.join(", ");
    if rest > 0 {
        list.push_str(&format!(" and {rest} more"));
    }
    match nearest {
        Some((_, word)) => format!("did you mean `{word}`? The {kind} are: {list}"),
        None => format!("the {kind} are: {list}"),
    }
}

/// Names that a help lists before it grows longer than its use.
const SUGGESTED_MAX: usize = 40;
