//! What is wrong with a configuration, where, and what would mend it.

use crate::limits::FAULTS_TOLD_MAX;
use miette::{Diagnostic, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
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
    text: Option<Excerpt>,
    #[label("here")]
    span: Option<SourceSpan>,
    /// Faults are told in this order: those of the configuration first, then file by file.
    order: (Option<String>, usize),
}

impl Faults {
    /// A file that cannot be read at all.
    pub(super) fn of_file(name: &str, what: String) -> Faults {
        let fault = Fault::placeless(String::new(), what);
        Faults { name: name.to_owned(), faults: vec![fault] }
    }

    /// The single faults.
    pub fn each(&self) -> &[Fault] {
        &self.faults
    }

    /// The first fault in one line, and how many more there are.
    pub fn in_one_line(&self) -> String {
        let first = self.faults.first().map_or_else(|| self.to_string(), Fault::line);
        match self.faults.len() {
            0 | 1 => first,
            2 => format!("{first} (and one more fault)"),
            all => format!("{first} (and {} more faults)", all - 1),
        }
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

    fn placeless(place: String, what: String) -> Fault {
        Fault { place, what, help: None, text: None, span: None, order: (None, 0) }
    }
}

/// What is wrong with a value, when its place is known elsewhere.
#[derive(Debug)]
pub(super) struct Wrong {
    pub what: String,
    pub help: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Wrong {
        Wrong { what: what.into(), help: help.into() }
    }
}

/// Where an entry of a list stands.
#[derive(Clone, Debug)]
pub(super) enum Spot {
    /// In the configuration itself.
    Here(Range<usize>),
    /// In a line, from 1, of a file that the configuration names.
    Line(Rc<str>, usize),
}

/// Gathers faults while a configuration is checked, so that all are told at once.
pub(super) struct Collector<'a> {
    name: &'a str,
    text: &'a str,
    source: Arc<String>,
    faults: RefCell<Vec<Fault>>,
    untold: Cell<usize>,
}

impl<'a> Collector<'a> {
    pub fn new(name: &'a str, text: &'a str) -> Collector<'a> {
        let source = Arc::new(text.to_owned());
        Collector { name, text, source, faults: RefCell::default(), untold: Cell::new(0) }
    }

    /// Something is wrong with these octets of the text.
    pub fn add(&self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        let (line, column) = self.position(span.start);
        let excerpt =
            Excerpt { name: self.name.to_owned(), text: Arc::clone(&self.source), first_line: 0 };
        let place = format!("{}:{line}:{column}: ", self.name);
        self.push(place, Wrong::new(what, help), excerpt, span.clone(), (None, span.start));
    }

    /// Something is wrong with an entry of a list, which reads so.
    pub fn add_at(&self, spot: &Spot, entry: &str, wrong: Wrong) {
        match spot {
            Spot::Here(span) => self.add(span.clone(), wrong.what, wrong.help),
            Spot::Line(file, line) => {
                let text = Arc::new(entry.to_owned());
                let excerpt =
                    Excerpt { name: file.to_string(), text, first_line: line.saturating_sub(1) };
                let order = (Some(file.to_string()), *line);
                self.push(format!("{file}:{line}:1: "), wrong, excerpt, 0..entry.len(), order);
            }
        }
    }

    /// The value; or, if something is wrong with it, nothing, and a fault.
    pub fn good<T>(&self, span: Range<usize>, value: Result<T, Wrong>) -> Option<T> {
        value.map_err(|wrong| self.add(span, wrong.what, wrong.help)).ok()
    }

    fn push(
        &self,
        place: String,
        wrong: Wrong,
        excerpt: Excerpt,
        span: Range<usize>,
        order: (Option<String>, usize),
    ) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() == FAULTS_TOLD_MAX {
            return self.untold.set(self.untold.get() + 1);
        }
        faults.push(Fault {
            place,
            what: wrong.what,
            help: (!wrong.help.is_empty()).then_some(wrong.help),
            text: Some(excerpt),
            span: Some(span.into()),
            order,
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
        self.faults.borrow().is_empty()
    }

    pub fn into_faults(self) -> Faults {
        let mut faults = self.faults.into_inner();
        faults.sort_by(|one, other| one.order.cmp(&other.order));
        if self.untold.get() > 0 {
            let what = format!("{} more faults are not told", self.untold.get());
            faults.push(Fault::placeless(format!("{}: ", self.name), what));
        }
        Faults { name: self.name.to_owned(), faults }
    }
}

/// A file, or one line of it, to be shown with the fault marked.
#[derive(Debug)]
struct Excerpt {
    name: String,
    text: Arc<String>,
    /// The line of the file with which the text begins, from 0.
    first_line: usize,
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let shown = self.text.as_str().read_span(span, lines_before, lines_after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            shown.data(),
            *shown.span(),
            shown.line() + self.first_line,
            shown.column(),
            shown.line_count(),
        )))
    }
}
