//! One table of the file while it is read: key by key, each with the kind of value that it wants.
//!
//! Whatever is wrong becomes a fault at its place and reads as if the key were absent, so that the
//! check goes on and tells all at once. [`Table::end`] tells the keys that nobody has asked for.

use super::fault::{Collector, Spot, Wrong};
use super::list::List;
use super::names::meant;
use super::value;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table, and the keys that it can have.
pub(super) struct Table<'a> {
    faults: &'a Collector<'a>,
    /// `[listen.mx]`, as faults call it.
    title: String,
    /// Where its name stands.
    pub span: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

/// A text of the file.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub text: &'a str,
    pub span: Range<usize>,
}

/// What stands behind a key.
pub(super) type Value<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> Table<'a> {
    pub fn new(
        faults: &'a Collector<'a>,
        title: impl Into<String>,
        span: Range<usize>,
        entries: &'a DeTable<'a>,
    ) -> Table<'a> {
        Table { faults, title: title.into(), span, entries, asked: Vec::new() }
    }

    /// What stands behind a key, of any kind.
    pub fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// A key that must be there. It is asked for a second time by whoever reads it.
    pub fn requires(&self, key: &str, example: &str) {
        if !self.entries.keys().any(|name| name.get_ref() == key) {
            let what = format!("{} has no `{key}`", self.title);
            self.faults.add(self.span.clone(), what, format!("add a line such as: {example}"));
        }
    }

    /// How many keys were asked for so far.
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// Tells of each key that is there and was asked for since that it should not be there.
    pub fn none_since(&self, asked: usize, what: &str, help: &str) {
        for key in &self.asked[asked..] {
            if let Some((name, _)) = self.entries.iter().find(|(name, _)| name.get_ref() == key) {
                self.faults.add(name.span(), format!("`{key}` {what}"), help);
            }
        }
    }

    pub fn text(&mut self, key: &'static str) -> Option<Text<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Text { text, span: value.span() }),
            _ => self.wrong_kind(key, value, "a text in quotes"),
        }
    }

    /// A text that is read into something else.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let bad = |help| Wrong::new(format!("bad value {:?}", text.text), help);
        self.faults.good(text.span.clone(), read(text.text).map_err(bad))
    }

    /// One of some words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text.text) {
            return Some(*choice);
        }
        let help = meant(text.text, choices.iter().map(|(word, _)| *word), "choose from");
        self.faults.add(text.span, format!("{:?} is none of the choices", text.text), help);
        None
    }

    pub fn switch(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(on) => Some(*on),
            _ => self.wrong_kind(key, value, "true or false, without quotes"),
        }
    }

    pub fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let DeValue::Integer(digits) = value.get_ref() else {
            return self.wrong_kind(key, value, "a number without quotes");
        };
        let number = u64::from_str_radix(digits.as_str(), digits.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let help = format!("from {} to {}", range.start(), range.end());
            self.faults.add(value.span(), format!("{digits} is out of range"), help);
        }
        number
    }

    /// A score or threshold, with its place.
    pub fn points(&mut self, key: &'static str) -> Option<(f64, Range<usize>)> {
        let value = self.value(key)?;
        let points = match value.get_ref() {
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            DeValue::Integer(digits) => {
                i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(|whole| whole as f64)
            }
            _ => None,
        };
        match points {
            Some(points) => Some((points, value.span())),
            None => self.wrong_kind(key, value, "a number such as 5.0"),
        }
    }

    /// A time: `300ms`, `30s`, `5m`, `1h`.
    pub fn time(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.value(key)?;
        let help = |reason: &str| {
            let (least, most) = (value::shown(*range.start()), value::shown(*range.end()));
            format!("{reason}: from {least} to {most}")
        };
        let DeValue::String(text) = value.get_ref() else {
            return self.wrong_kind(key, value, &help("a number and its unit in quotes"));
        };
        let time = match value::duration(text) {
            Ok(time) if range.contains(&time) => return Some(time),
            Ok(_) => Wrong::new(format!("{text:?} is out of range"), help("choose a time")),
            Err(reason) => Wrong::new(format!("bad value {text:?}"), help(reason)),
        };
        self.faults.add(value.span(), time.what, time.help);
        None
    }

    /// A number of octets: `50MiB`, `4096`; a bare number does not need quotes.
    pub fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let digits;
        let text: &str = match value.get_ref() {
            DeValue::String(text) => text,
            DeValue::Integer(number) => {
                digits = number.to_string();
                &digits
            }
            _ => return self.wrong_kind(key, value, "a number of octets: 4096, or \"50MiB\""),
        };
        let help = |reason: &str| {
            let (least, most) = (value::shown_octets(*range.start()), *range.end());
            format!("{reason}; from {least} to {}", value::shown_octets(most))
        };
        let wrong = match value::size(text) {
            Ok(octets) if range.contains(&octets) => return Some(octets),
            Ok(_) => Wrong::new(format!("{text:?} is out of range"), help("choose a size")),
            Err(reason) => Wrong::new(format!("bad value {text:?}"), help(reason)),
        };
        self.faults.add(value.span(), wrong.what, wrong.help);
        None
    }

    /// Texts in brackets, or a single one without.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Text<'a>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(vec![Text { text, span: value.span() }]),
            DeValue::Array(items) => Some(items.iter().filter_map(|one| self.item(one)).collect()),
            _ => self.wrong_kind(key, value, "a text in quotes, or a list of them"),
        }
    }

    /// A list in brackets, `file:PATH`, or a word that stands for a list.
    pub fn list(&mut self, key: &'static str, word: Option<&str>) -> Option<List<'a>> {
        let value = self.value(key)?;
        let text = match value.get_ref() {
            DeValue::Array(items) => {
                return Some(List::Texts(items.iter().filter_map(|one| self.item(one)).collect()));
            }
            DeValue::String(text) => text,
            _ => return self.wrong_kind(key, value, "a list of texts, or \"file:PATH\""),
        };
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => {
                Some(List::File(Text { text: path, span: value.span() }))
            }
            None if word == Some(text) => Some(List::Word),
            _ => {
                let word = word.map(|word| format!("{word:?}, ")).unwrap_or_default();
                let help =
                    format!("write {word}a list of texts, or \"file:PATH\" with one entry a line");
                self.faults.add(value.span(), format!("{text:?} is no list"), help);
                None
            }
        }
    }

    fn item(&self, item: Value<'a>) -> Option<Text<'a>> {
        match item.get_ref() {
            DeValue::String(text) => Some(Text { text, span: item.span() }),
            other => {
                let what = format!("{} stands in a list of texts", kind(other));
                self.faults.add(item.span(), what, "put it in quotes");
                None
            }
        }
    }

    /// Texts that are each read into something else.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(key)?;
        let read = |text: &Text<'a>| self.faults.good(text.span.clone(), read(text.text));
        Some(texts.iter().filter_map(read).collect())
    }

    /// A table inside this one.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(entries) => {
                Some(Table::new(self.faults, format!("`{key}`"), value.span(), entries))
            }
            _ => self.wrong_kind(key, value, &format!("a table: `{key} = {{ ... }}`")),
        }
    }

    /// Tables in brackets, or a single one without.
    pub fn tables(&mut self, key: &'static str) -> Option<Vec<Table<'a>>> {
        let value = self.value(key)?;
        let table = |one: Value<'a>| match one.get_ref() {
            DeValue::Table(entries) => {
                Some(Table::new(self.faults, format!("an entry of `{key}`"), one.span(), entries))
            }
            _ => self.wrong_kind(key, one, &format!("tables in it: `{key} = [{{ ... }}]`")),
        };
        match value.get_ref() {
            DeValue::Array(items) => Some(items.iter().filter_map(table).collect()),
            _ => table(value).map(|one| vec![one]),
        }
    }

    /// The tables `[key.NAME]` with their names, in the order of the file.
    pub fn named_tables(&mut self, key: &'static str) -> Vec<(Text<'a>, Table<'a>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Table(entries) = value.get_ref() else {
            self.wrong_kind::<()>(key, value, &format!("tables with names: [{key}.NAME]"));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let text = Text { text: name.get_ref(), span: name.span() };
            match value.get_ref() {
                DeValue::Table(inner) => {
                    let title = format!("[{key}.{}]", text.text);
                    let table = Table::new(self.faults, title, text.span.clone(), inner);
                    tables.push((text, table));
                }
                other => {
                    let what = format!("[{key}] has {} called {:?}", kind(other), text.text);
                    let help = format!("its entries are tables with names: [{key}.NAME]");
                    self.faults.add(text.span, what, help);
                }
            }
        }
        tables.sort_by_key(|(name, _)| name.span.start);
        tables
    }

    /// Names and texts of a table inside this one, in the order of the file.
    pub fn pairs(&mut self, key: &'static str) -> Vec<(Text<'a>, Text<'a>)> {
        let Some(table) = self.table(key) else { return Vec::new() };
        let mut pairs: Vec<_> = table
            .entries
            .iter()
            .filter_map(|(name, value)| {
                let name = Text { text: name.get_ref(), span: name.span() };
                Some((name, self.item(value)?))
            })
            .collect();
        pairs.sort_by_key(|(name, _)| name.span.start);
        pairs
    }

    /// Tells the keys that nobody has asked for, with those that were likely meant.
    pub fn end(self) {
        for name in self.entries.keys() {
            if !self.asked.contains(&name.get_ref().as_ref()) {
                let help = meant(name.get_ref(), self.asked.iter().copied(), "known here");
                let what = format!("{} knows no key `{}`", self.title, name.get_ref());
                self.faults.add(name.span(), what, help);
            }
        }
    }

    fn wrong_kind<T>(&self, key: &str, value: Value<'a>, wanted: &str) -> Option<T> {
        let what = format!("`{key}` is {}", kind(value.get_ref()));
        self.faults.add(value.span(), what, format!("write {wanted}"));
        None
    }
}

impl Text<'_> {
    /// Its place, as that of an entry of a list.
    pub fn spot(&self) -> Spot {
        Spot::Here(self.span.clone())
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
