//! What is wrong with a configuration: each fault with its place, its reason and the likely fix.
//!
//! Nothing stops at the first fault. Whatever reads the configuration tells [`Check`] what it saw
//! and goes on, so that an operator mends everything in one round.

use crate::limits::FAULTS_MAX;
use miette::{Diagnostic, NamedSource, SourceSpan};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// All faults of a configuration, in the order of their places. Never empty.
///
/// As a [`miette::Report`] it shows each with its file, line, column and the marked text. At most
/// [`FAULTS_MAX`] are kept; the rest is counted.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{}", self.headline())]
pub struct Faults {
    name: String,
    #[related]
    faults: Vec<Fault>,
    unsaid: usize,
}

/// One fault.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Fault {
    message: String,
    #[help]
    help: String,
    #[source_code]
    source_code: NamedSource<Arc<str>>,
    #[label]
    span: SourceSpan,
    line: u32,
    column: u32,
}

impl Faults {
    /// The faults, those of the configuration file in the order in which they stand there.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    /// How many faults there are, those not kept included. At least 1.
    pub fn count(&self) -> usize {
        self.faults.len() + self.unsaid
    }

    fn headline(&self) -> String {
        let name = &self.name;
        match (self.count(), self.unsaid) {
            (1, _) => format!("{name} cannot be used: it has 1 fault"),
            (count, 0) => format!("{name} cannot be used: it has {count} faults"),
            (count, _) => format!(
                "{name} cannot be used: it has {count} faults, the first {} are shown",
                self.faults.len()
            ),
        }
    }
}

impl Fault {
    /// The file it is in: the configuration, or a file that the configuration names.
    pub fn file(&self) -> &str {
        self.source_code.name()
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would likely mend it.
    pub fn fix(&self) -> &str {
        &self.help
    }
}

/// Octets `start..end` of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Span {
        Span { start: range.start, end: range.end }
    }
}

/// A file that was read, as faults quote it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    name: String,
    text: Arc<str>,
}

/// A place in a file.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub source: Source,
    pub span: Span,
}

/// What is wrong with a single value, told by those who know nothing of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub message: String,
    pub help: String,
}

/// A configuration while it is read: where its files are, and the faults so far.
pub(super) struct Check<'a> {
    pub source: Source,
    pub folder: &'a Path,
    faults: RefCell<Vec<Fault>>,
    unsaid: Cell<usize>,
}

impl Source {
    pub fn new(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), text: text.into() }
    }

    /// The line of an octet, from 1.
    pub fn line(&self, at: usize) -> u32 {
        let lines = memchr::memchr_iter(b'\n', &self.text.as_bytes()[..at.min(self.text.len())]);
        u32::try_from(lines.count() + 1).unwrap_or(u32::MAX)
    }

    /// The column of an octet in characters, from 1.
    fn column(&self, at: usize) -> u32 {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        let line = before.rsplit('\n').next().unwrap_or(before);
        u32::try_from(line.chars().count() + 1).unwrap_or(u32::MAX)
    }
}

impl Wrong {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Wrong {
        Wrong { message: message.into(), help: help.into() }
    }
}

impl<'a> Check<'a> {
    pub fn new(name: &str, text: &str, folder: &'a Path) -> Check<'a> {
        let source = Source::new(name, text);
        Check { source, folder, faults: RefCell::default(), unsaid: Cell::new(0) }
    }

    /// Notes a fault of the configuration file itself.
    pub fn fault(&self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.fault_in(&self.source, span, Wrong::new(message, help));
    }

    /// Notes a fault of any file.
    pub fn fault_in(&self, source: &Source, span: Span, wrong: Wrong) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() == FAULTS_MAX {
            self.unsaid.set(self.unsaid.get() + 1);
            return;
        }
        let start = source.text.floor_char_boundary(span.start);
        let end = source.text.ceil_char_boundary(span.end.max(start));
        faults.push(Fault {
            message: wrong.message,
            help: wrong.help,
            source_code: NamedSource::new(&source.name, source.text.clone()),
            span: (start..end).into(),
            line: source.line(start),
            column: source.column(start),
        });
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// All faults, if there are any.
    pub fn into_faults(self) -> Option<Faults> {
        let mut faults = self.faults.into_inner();
        // Those of the configuration first, as they stand there; then those of its files.
        let name = self.source.name;
        faults.sort_by_key(|fault| (fault.file() != name, fault.line, fault.column));
        (!faults.is_empty()).then_some(Faults { name, faults, unsaid: self.unsaid.get() })
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
