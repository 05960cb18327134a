//! A class: a list from findings to an action, read from the top.

use crate::scan::{Findings, Score, TagId, TagSet};
use crate::wire::Reply;

/// A class, by its place in the configuration's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub(crate) u16);

/// A route, by its place in the configuration's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub(crate) u16);

impl ClassId {
    /// The class at this place of the list that [`Policy::new`](super::Policy::new) is given.
    pub const fn at(place: u16) -> ClassId {
        ClassId(place)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl RouteId {
    /// The route at this place of the list of routes.
    pub const fn at(place: u16) -> RouteId {
        RouteId(place)
    }

    /// Its place in the list of routes.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What recipients of one kind want done with a message.
#[derive(Clone, Debug)]
pub struct Class {
    name: String,
    lines: Vec<Line>,
}

/// One line of a class: if it holds, it decides.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it holds.
    pub when: When,
    /// What is done then.
    pub then: Action,
    /// A header line to put on top of accepted copies, with its CRLF.
    pub add: Option<Box<[u8]>>,
    /// Where it stands in the configuration.
    pub place: Place,
}

/// When a line holds: all that is given must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// This tag was found.
    pub tag: Option<TagId>,
    /// The score is at least this.
    pub score: Option<Score>,
}

/// What is done with a recipient's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is delivered, by the recipient's own route or by another.
    Accept {
        /// The other route.
        route: Option<RouteId>,
    },
    /// It is refused for good: a 5xx reply.
    Reject(Reply),
    /// It is put off: a 4xx reply.
    Defer(Reply),
    /// It is accepted, and laid aside.
    Quarantine(RouteId),
    /// It is accepted, and thrown away.
    Discard,
}

/// A line of the configuration: what the log names as the reason of a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line in the configuration file, from 1.
    pub line: u32,
}

/// What becomes of a message for recipients of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// What is done.
    pub action: &'a Action,
    /// A header line to put on top of the copy, with its CRLF.
    pub add: Option<&'a [u8]>,
    /// The line that decided; `None` when none held and the message is simply accepted.
    pub place: Option<&'a Place>,
}

/// Which findings can come at all.
#[derive(Clone, Copy)]
pub(super) struct Reach<'a> {
    /// The tags that a rule or the scanner can give.
    pub given: &'a TagSet,
    /// The highest score.
    pub score_max: Score,
}

impl Action {
    /// Whether the client is told that the message was taken for this recipient.
    pub fn accepts(&self) -> bool {
        match self {
            Action::Accept { .. } | Action::Quarantine(_) | Action::Discard => true,
            Action::Reject(_) | Action::Defer(_) => false,
        }
    }
}

static ACCEPT: Action = Action::Accept { route: None };

impl Class {
    /// A class with its lines, first one first.
    pub fn new(name: impl Into<String>, lines: Vec<Line>) -> Class {
        Class { name: name.into(), lines }
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lines, first one first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The routes that accepted mail may take by its lines. Quarantine is none of them: what is laid
    /// aside goes no further.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteId> {
        self.lines.iter().filter_map(|line| match line.then {
            Action::Accept { route } => route,
            _ => None,
        })
    }

    /// The first line that holds decides; without one the message is accepted.
    pub fn verdict(&self, findings: &Findings) -> Verdict<'_> {
        match self.lines.iter().find(|line| line.when.holds(findings)) {
            Some(line) => {
                Verdict { action: &line.then, add: line.add.as_deref(), place: Some(&line.place) }
            }
            None => Verdict { action: &ACCEPT, add: None, place: None },
        }
    }

    /// Whether two classes decide alike on everything: then they are one class.
    pub fn decides_like(&self, other: &Class) -> bool {
        self.lines.len() == other.lines.len()
            && self.lines.iter().zip(&other.lines).all(|(one, two)| {
                (one.when, &one.then, &one.add) == (two.when, &two.then, &two.add)
            })
    }

    /// Whether some findings that can come make one class accept and the other not.
    ///
    /// It may say yes where the truth is no (tags and score are taken as independent), never no
    /// where it is yes: a needless split costs a transaction, a missing one a wrong verdict.
    pub(super) fn may_differ_from(&self, other: &Class, reach: Reach<'_>) -> bool {
        let mut cases = Vec::new();
        for own in self.cases() {
            for theirs in other.cases() {
                if own.accepts != theirs.accepts {
                    cases.push((own, theirs));
                }
            }
        }
        cases.into_iter().any(|(own, theirs)| {
            let mut region = Region::new(reach);
            region.narrow(&self.lines, own.line);
            region.narrow(&other.lines, theirs.line);
            region.can_be()
        })
    }

    /// Every way in which the class decides: by each of its lines, and by none of them.
    fn cases(&self) -> impl Iterator<Item = Case> + '_ {
        let by_line = self.lines.iter().enumerate();
        by_line
            .map(|(index, line)| Case { line: index, accepts: line.then.accepts() })
            .chain([Case { line: self.lines.len(), accepts: true }])
    }
}

/// A way in which a class decides: `line` is the first that holds, or the number of lines.
#[derive(Clone, Copy)]
struct Case {
    line: usize,
    accepts: bool,
}

impl When {
    /// Whether the findings fulfil it.
    pub fn holds(&self, findings: &Findings) -> bool {
        self.tag.is_none_or(|tag| findings.has(tag))
            && self.score.is_none_or(|least| findings.score() >= least)
    }
}

/// A set of findings, described by what must and must not be in them.
struct Region<'a> {
    reach: Reach<'a>,
    wanted: TagSet,
    unwanted: TagSet,
    score_least: Option<Score>,
    score_below: Option<Score>,
    empty: bool,
}

impl<'a> Region<'a> {
    fn new(reach: Reach<'a>) -> Region<'a> {
        Region {
            reach,
            wanted: TagSet::default(),
            unwanted: TagSet::default(),
            score_least: None,
            score_below: None,
            empty: false,
        }
    }

    /// Keeps the findings for which `deciding` is the first line that holds.
    fn narrow(&mut self, lines: &[Line], deciding: usize) {
        for line in &lines[..deciding] {
            match (line.when.tag, line.when.score) {
                (None, None) => self.empty = true,
                (Some(tag), None) => _ = self.unwanted.insert(tag),
                (None, Some(least)) => {
                    self.score_below = Some(self.score_below.map_or(least, |old| old.min(least)));
                }
                // That one of two does not hold cannot be described here: no finding is ruled out.
                (Some(_), Some(_)) => {}
            }
        }
        if let Some(line) = lines.get(deciding) {
            if let Some(tag) = line.when.tag {
                self.wanted.insert(tag);
            }
            if let Some(least) = line.when.score {
                self.score_least = Some(self.score_least.map_or(least, |old| old.max(least)));
            }
        }
    }

    fn can_be(&self) -> bool {
        let tags_can_be =
            self.wanted.iter().all(|tag| !self.unwanted.has(tag) && self.reach.given.has(tag));
        let score_can_be = match (self.score_least, self.score_below) {
            (Some(least), _) if least > self.reach.score_max => false,
            (Some(least), Some(below)) => least < below,
            _ => true,
        };
        !self.empty && tags_can_be && score_can_be
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Tags;
    use crate::wire::replies;

    const SPAM: TagId = Tags::MIME_LIMIT;
    const MALWARE: TagId = Tags::HEADER_LIMIT;
    const NEVER_GIVEN: TagId = Tags::SCAN_LATE;

    fn line(tag: Option<TagId>, score: Option<i32>, then: Action) -> Line {
        let when = When { tag, score: score.map(Score) };
        Line { when, then, add: None, place: Place::default() }
    }

    fn reject() -> Action {
        Action::Reject(replies::CONTENT_REFUSED)
    }

    fn defer() -> Action {
        Action::Defer(replies::CONTENT_DEFERRED)
    }

    fn accept() -> Action {
        Action::Accept { route: None }
    }

    fn differ(one: &[Line], other: &[Line]) -> bool {
        let given = [SPAM, MALWARE].iter().fold(TagSet::default(), |mut set, tag| {
            set.insert(*tag);
            set
        });
        let reach = Reach { given: &given, score_max: Score(10_000) };
        let (one, other) = (Class::new("a", one.to_vec()), Class::new("b", other.to_vec()));
        let answer = one.may_differ_from(&other, reach);
        assert_eq!(answer, other.may_differ_from(&one, reach), "the question has no direction");
        answer
    }

    #[test]
    fn the_first_line_that_holds_decides() {
        let class = Class::new(
            "c",
            vec![
                line(Some(SPAM), Some(5_000), reject()),
                line(Some(SPAM), None, defer()),
                line(None, Some(3_000), accept()),
            ],
        );
        let mut findings = Findings::default();
        assert_eq!(class.verdict(&findings).place, None);
        findings.add(SPAM, Score(1_000));
        assert_eq!(class.verdict(&findings).action, &defer());
        findings.add(MALWARE, Score(4_000));
        assert_eq!(class.verdict(&findings).action, &reject());
    }

    #[test]
    fn classes_differ_only_where_findings_can_part_them() {
        let refuses = [line(Some(SPAM), None, reject())];
        let defers = [line(Some(SPAM), None, defer())];
        let accepts = [line(Some(SPAM), None, accept())];
        let sets_aside = [line(Some(SPAM), None, Action::Quarantine(RouteId(0)))];
        assert!(differ(&refuses, &accepts));
        assert!(differ(&refuses, &[]));
        assert!(!differ(&refuses, &defers));
        assert!(!differ(&accepts, &sets_aside));
        assert!(!differ(&accepts, &[]));
        // A tag that no rule gives parts nobody, nor does a score that is never reached.
        assert!(!differ(&[line(Some(NEVER_GIVEN), None, reject())], &[]));
        assert!(!differ(&[line(None, Some(10_001), reject())], &[]));
        assert!(differ(&[line(None, Some(10_000), reject())], &[]));
        // Thresholds part those that lie between them.
        let strict = [line(None, Some(3_000), reject())];
        let mild = [line(None, Some(8_000), reject())];
        assert!(differ(&strict, &mild));
        assert!(!differ(&strict, &strict));
        // A line that holds for everything hides those behind it.
        let closed = [line(None, None, defer()), line(Some(SPAM), None, accept())];
        assert!(!differ(&closed, &[line(None, None, reject())]));
    }
}
