//! What is wrong with a configuration, where, and what would mend it.

use miette::{Diagnostic, NamedSource, SourceSpan};
use std::ops::Range;
use std::sync::Arc;

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{name} cannot be used")]
pub struct Faults {
    name: String,
    #[related]
    faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{place}{what}")]
pub struct Fault {
    place: String,
    what: String,
    #[help]
    help: Option<String>,
    #[source_code]
    text: Option<NamedSource<Arc<String>>>,
    #[label("here")]
    span: Option<SourceSpan>,
}

impl Faults {
    /// A file that cannot be read at all.
    pub(super) fn of_file(name: &str, what: String) -> Faults {
        let fault = Fault { place: String::new(), what, help: None, text: None, span: None };
        Faults { name: name.to_owned(), faults: vec![fault] }
    }

    /// A file that is no TOML, or whose shape is not that of a configuration.
    pub(super) fn of_toml(name: &str, text: &str, error: &toml::de::Error) -> Faults {
        let mut collector = Collector::new(name, text);
        let span = error.span().unwrap_or(0..0);
        let message = error.message().to_owned();
        let help = match message.split_once(", expected one of ") {
            Some((_, known)) => format!("known here: {known}"),
            None => String::new(),
        };
        let what = message.split(", expected one of ").next().unwrap_or_default().to_owned();
        collector.add(span, what, help);
        collector.into_faults()
    }

    /// The single faults.
    pub fn each(&self) -> &[Fault] {
        &self.faults
    }
}

impl Fault {
    /// `file:line:column: what is wrong`.
    pub fn line(&self) -> String {
        format!("{}{}", self.place, self.what)
    }

    /// What would mend it.
    pub fn help_text(&self) -> &str {
        self.help.as_deref().unwrap_or_default()
    }
}

/// Gathers faults while a text is checked, so that all are told at once.
pub(super) struct Collector<'a> {
    name: &'a str,
    text: &'a str,
    source: Arc<String>,
    faults: Vec<Fault>,
}

impl<'a> Collector<'a> {
    pub fn new(name: &'a str, text: &'a str) -> Collector<'a> {
        Collector { name, text, source: Arc::new(text.to_owned()), faults: Vec::new() }
    }

    /// Something is wrong with these octets of the text.
    pub fn add(&mut self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        let (line, column) = self.position(span.start);
        let help = help.into();
        self.faults.push(Fault {
            place: format!("{}:{line}:{column}: ", self.name),
            what: what.into(),
            help: (!help.is_empty()).then_some(help),
            text: Some(NamedSource::new(self.name, Arc::clone(&self.source))),
            span: Some(span.into()),
        });
    }

    /// The line of a place in the text, from 1.
    pub fn line_of(&self, at: usize) -> u32 {
        u32::try_from(self.position(at).0).unwrap_or(u32::MAX)
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        (line, column)
    }

    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn into_faults(self) -> Faults {
        Faults { name: self.name.to_owned(), faults: self.faults }
    }
}
