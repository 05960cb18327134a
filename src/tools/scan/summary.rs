//! What became of many messages: by tag, and by class of recipients.

use crate::config::Config;
use crate::limits::FAULTS_TOLD_MAX;
use crate::policy::{Action, ClassId};
use crate::scan::{Findings, Tags};
use crate::session::Tables;
use serde_json::{Value, json};
use std::fmt;
use std::time::Instant;

/// Counts over many messages.
#[derive(Debug)]
pub struct Summary {
    messages: u64,
    octets: u64,
    units: u64,
    tags: Vec<Counts>,
    classes: Vec<OfClass>,
    unreadable: Vec<String>,
    unreadable_count: u64,
    begun: Instant,
}

/// How often a tag was found.
#[derive(Debug)]
struct Counts {
    name: String,
    found: u64,
    /// By rules that are only observed.
    observed: u64,
}

/// What the recipients of a class would have got.
#[derive(Debug)]
struct OfClass {
    name: String,
    fates: [u64; FATES.len()],
    /// Accepted with a header line more.
    added: u64,
    /// For each line: where it stands, and how often it decided.
    lines: Vec<(u32, u64)>,
}

/// What may become of a message, as the summary calls it.
const FATES: [&str; 5] = ["accept", "refuse", "defer", "quarantine", "discard"];

/// The place of an action in [`FATES`].
pub(super) fn fate(action: &Action) -> usize {
    match action {
        Action::Accept { .. } => 0,
        Action::Reject(_) => 1,
        Action::Defer(_) => 2,
        Action::Quarantine(_) => 3,
        Action::Discard => 4,
    }
}

/// The name of what an action makes of a message.
pub(super) fn fate_name(action: &Action) -> &'static str {
    FATES[fate(action)]
}

impl Summary {
    pub(super) fn new(tables: &Tables) -> Summary {
        let tags: &Tags = tables.rules.tags();
        let no_counts = |name: &str| Counts { name: name.to_owned(), found: 0, observed: 0 };
        let of_class = |class: &crate::policy::Class| OfClass {
            name: class.name().to_owned(),
            fates: [0; FATES.len()],
            added: 0,
            lines: class.lines().iter().map(|line| (line.place.line, 0)).collect(),
        };
        Summary {
            messages: 0,
            octets: 0,
            units: 0,
            tags: tags.names().map(no_counts).collect(),
            classes: tables.policy.classes().iter().map(of_class).collect(),
            unreadable: Vec::new(),
            unreadable_count: 0,
            begun: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, config: &Config, findings: &Findings, octets: u64) {
        self.messages += 1;
        self.octets += octets;
        self.units += findings.units();
        for (place, counts) in self.tags.iter_mut().enumerate() {
            let Some(tag) = config.tables.rules.tags().find(&counts.name) else { continue };
            debug_assert_eq!(usize::from(tag.0), place);
            counts.found += u64::from(findings.has(tag));
            counts.observed += u64::from(findings.observed().has(tag));
        }
        for (class, id) in self.classes.iter_mut().zip(0..) {
            let verdict = config.tables.policy.verdict(ClassId::at(id), findings);
            class.fates[fate(verdict.action)] += 1;
            let accepts = matches!(verdict.action, Action::Accept { .. });
            class.added += u64::from(accepts && verdict.add.is_some());
            if let Some(place) = verdict.place {
                let line = class.lines.iter_mut().find(|(line, _)| *line == place.line);
                line.into_iter().for_each(|(_, decided)| *decided += 1);
            }
        }
    }

    pub(super) fn could_not_read(&mut self, what: String) {
        self.unreadable_count += 1;
        if self.unreadable.len() < FAULTS_TOLD_MAX {
            self.unreadable.push(what);
        }
    }

    /// Messages that were scanned.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// What could not be read, and why: the first of them.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// All of it as JSON.
    pub fn json(&self) -> Value {
        let tags = self.tags.iter().filter(|tag| tag.found + tag.observed > 0);
        let tags: Vec<Value> = tags
            .map(|tag| json!({ "tag": tag.name, "found": tag.found, "observed": tag.observed }))
            .collect();
        let of_class = |class: &OfClass| {
            let lines: Vec<Value> = class
                .lines
                .iter()
                .map(|(line, decided)| json!({ "line": line, "decided": decided }))
                .collect();
            let fates = FATES.iter().zip(class.fates);
            let mut all: serde_json::Map<String, Value> =
                fates.map(|(fate, count)| ((*fate).to_owned(), count.into())).collect();
            all.insert("class".to_owned(), class.name.as_str().into());
            all.insert("added".to_owned(), class.added.into());
            all.insert("lines".to_owned(), lines.into());
            Value::Object(all)
        };
        json!({
            "summary": {
                "messages": self.messages,
                "octets": self.octets,
                "units": self.units,
                "unreadable": self.unreadable_count,
                "tags": tags,
                "classes": self.classes.iter().map(of_class).collect::<Vec<_>>(),
            }
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.begun.elapsed().as_secs_f64();
        let (messages, mib) = (counted(self.messages), self.octets as f64 / 1_048_576.0);
        writeln!(f, "{messages} messages, {mib:.1} MiB, in {seconds:.1} s")?;
        let mut tags: Vec<&Counts> =
            self.tags.iter().filter(|tag| tag.found + tag.observed > 0).collect();
        tags.sort_by_key(|tag| std::cmp::Reverse(tag.found + tag.observed));
        for tag in tags {
            let observed = match tag.observed {
                0 => String::new(),
                count => format!(", observed {}", counted(count)),
            };
            writeln!(f, "tag      {}: {}{observed}", tag.name, counted(tag.found))?;
        }
        for class in &self.classes {
            let fates = FATES.iter().zip(class.fates).skip(1).filter(|(_, count)| *count > 0);
            let mut all: Vec<String> =
                fates.map(|(fate, count)| format!("{fate} {}", counted(count))).collect();
            if class.added > 0 {
                all.push(format!("add a header to {}", counted(class.added)));
            }
            let would = if all.is_empty() { "accept all".to_owned() } else { all.join(", ") };
            writeln!(f, "class    {}: would {would} of {messages}", class.name)?;
            for (line, decided) in class.lines.iter().filter(|(_, decided)| *decided > 0) {
                writeln!(f, "         line {line} decides {}", counted(*decided))?;
            }
        }
        let left = self.unreadable_count;
        self.unreadable.iter().try_for_each(|what| writeln!(f, "not read {what}"))?;
        match left - self.unreadable.len() as u64 {
            0 => Ok(()),
            more => writeln!(f, "not read {} more", counted(more)),
        }
    }
}

/// A number with its thousands parted: `9,120`.
fn counted(number: u64) -> String {
    let digits = number.to_string();
    let mut parted = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            parted.push(',');
        }
        parted.push(digit);
    }
    parted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parted_by_thousands() {
        let table =
            [(0, "0"), (999, "999"), (1000, "1,000"), (9_120, "9,120"), (1_234_567, "1,234,567")];
        for (number, text) in table {
            assert_eq!(counted(number), text);
        }
    }
}
