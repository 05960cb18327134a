//! Names that tables of the file give to things, and what was meant by one that nobody has.

use super::fault::{Collector, Wrong};
use super::table::Text;
use std::collections::BTreeMap;

/// Names in one list of help, lest a fault fills the screen.
const SHOWN_MAX: usize = 48;

/// What is called how, of one kind.
pub(super) struct Names<T> {
    kind: &'static str,
    known: BTreeMap<String, T>,
}

impl<T: Copy> Names<T> {
    /// The names of tables `[kind.NAME]`.
    pub fn new(kind: &'static str, known: impl IntoIterator<Item = (String, T)>) -> Names<T> {
        Names { kind, known: known.into_iter().collect() }
    }

    pub fn get(&self, name: &str) -> Option<T> {
        self.known.get(name).copied()
    }

    /// What is called so; if nothing is, what there is.
    pub fn find(&self, name: &str) -> Result<T, Wrong> {
        self.get(name).ok_or_else(|| {
            let kind = self.kind;
            let help = match self.known.is_empty() {
                true => format!("there is no {kind} in this file: add a table [{kind}.{name}]"),
                false => meant(name, self.known.keys().map(String::as_str), "there is"),
            };
            Wrong::new(format!("no {kind} is called {name:?}"), help)
        })
    }

    /// The same for a text of the file, with a fault at its place.
    pub fn named(&self, faults: &Collector<'_>, name: &Text<'_>) -> Option<T> {
        faults.good(name.span.clone(), self.find(name.text))
    }
}

/// `did you mean "x"? there is: x, y`, the first half only where something is near.
pub(super) fn meant<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    introduction: &str,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), *other))
        .min()
        // A third of the letters may be wrong.
        .filter(|(distance, other)| distance * 3 <= other.chars().count().max(3));
    let mut list = known.iter().take(SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    if known.len() > SHOWN_MAX {
        list.push_str(", ...");
    }
    match near {
        Some((_, other)) => format!("did you mean {other:?}? {introduction}: {list}"),
        None => format!("{introduction}: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_name_is_told_and_no_unlikely_one() {
        let known = ["address", "idle", "dsn", "mail", "quarantine"];
        let table = [
            ("addres", Some("address")),
            ("adress", Some("address")),
            ("mial", Some("mail")),
            ("quarantaine", Some("quarantine")),
            ("dns", Some("dsn")),
            ("tls", None),
            ("", None),
            ("ä", None),
        ];
        for (name, expected) in table {
            let help = meant(name, known, "there is");
            let said = expected.map(|other| format!("did you mean {other:?}?"));
            assert_eq!(help.starts_with("did you mean"), said.is_some(), "{name}: {help}");
            assert!(help.starts_with(said.as_deref().unwrap_or("there is: ")), "{name}: {help}");
        }
        let many: Vec<String> = (0..100).map(|number| format!("name{number}")).collect();
        assert!(meant("x", many.iter().map(String::as_str), "there is").len() < 500);
    }
}
