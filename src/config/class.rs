//! `[class.NAME]`: what recipients of a class want done, a list that is read from the top.

use super::fault::Collector;
use super::names::{Names, meant};
use super::rule::optional_score;
use super::table::{Table, Text};
use super::top::Reading;
use super::value;
use crate::limits::{CLASS_LINES_MAX, CLASSES_MAX};
use crate::policy::{Action, Class, ClassId, Line, Place, RouteId, When};
use crate::scan::{TagId, Tags};
use crate::wire::{Reply, replies};

/// A class as the file has it: its own lines, and the class whose lines follow them.
struct Own<'a> {
    name: Text<'a>,
    lines: Vec<Line>,
    like: Option<(Text<'a>, usize)>,
}

/// The different classes, and the names by which other tables call them.
///
/// The first class accepts everything: who has no class of its own has this one. Names whose tables
/// are equal share a class.
pub(super) fn classes(
    top: &mut Table<'_>,
    reading: &Reading<'_>,
    routes: &Names<RouteId>,
    tags: &Tags,
) -> (Vec<Class>, Names<ClassId>) {
    let tables = top.named_tables("class");
    let places = tables.iter().enumerate();
    let places = places.map(|(place, (name, _))| (name.text.to_owned(), place));
    let places = Names::new("class", places);
    let mut own = Vec::with_capacity(tables.len());
    for (name, mut table) in tables {
        let context = Context { faults: reading.faults, routes, tags };
        let lines = lines(&mut table, &context);
        let like = table.text("like");
        let like = like.and_then(|like| Some((places.named(reading.faults, &like)?, like)));
        own.push(Own { name, lines, like: like.map(|(place, like)| (like, place)) });
        table.end();
    }
    let mut classes = vec![Class::new("accept", Vec::new())];
    let mut names = Vec::new();
    for place in 0..own.len() {
        let name = &own[place].name;
        let class = Class::new(name.text, all_lines(&own, place, reading.faults));
        let same = classes.iter().position(|other| other.decides_like(&class));
        let id = same.unwrap_or(classes.len());
        if same.is_none() && classes.len() == CLASSES_MAX {
            let help = format!("at most {CLASSES_MAX} that decide differently");
            reading.faults.add(name.span.clone(), "too many classes", help);
        } else if same.is_none() {
            classes.push(class);
        }
        names.push((name.text.to_owned(), ClassId(id as u16)));
    }
    (classes, Names::new("class", names))
}

/// The lines of a class, then those of the class that it is like, and so on.
fn all_lines(own: &[Own<'_>], place: usize, faults: &Collector<'_>) -> Vec<Line> {
    let mut lines = own[place].lines.clone();
    let mut seen = vec![place];
    let mut last = place;
    while let Some((like, next)) = &own[last].like {
        if seen.contains(next) {
            // A circle is told once: by the first of its tables.
            if *next == place && seen.iter().all(|one| *one >= place) {
                let what = format!("class {:?} is like itself", own[place].name.text);
                faults.add(like.span.clone(), what, "break the circle of `like`");
            }
            break;
        }
        seen.push(*next);
        lines.extend_from_slice(&own[*next].lines);
        last = *next;
    }
    if lines.len() > CLASS_LINES_MAX {
        let help = format!("at most {CLASS_LINES_MAX}, those of `like` included");
        faults.add(own[place].name.span.clone(), "too many lines in a class", help);
    }
    lines
}

/// What the lines of all classes refer to.
struct Context<'a> {
    faults: &'a Collector<'a>,
    routes: &'a Names<RouteId>,
    tags: &'a Tags,
}

fn lines(table: &mut Table<'_>, context: &Context<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for mut table in table.tables("decide").unwrap_or_default() {
        lines.extend(line(&mut table, context));
        table.end();
    }
    lines
}

fn line(table: &mut Table<'_>, context: &Context<'_>) -> Option<Line> {
    let faults = context.faults;
    let place = Place { line: faults.line_of(table.span.start) };
    let tag = match table.text("tag") {
        Some(name) => tag(&name, context).map(Some),
        None => Some(None),
    };
    let score = optional_score(table, faults);
    let then = action(table, context);
    let header = table.text("add");
    let add = table.read("add", value::header_line);
    if let (Some(header), Some(then)) = (header, &then)
        && !then.accepts()
    {
        let help = "nothing is delivered, so nothing can be added";
        faults.add(header.span, "`add` beside a refusal", help);
    }
    Some(Line { when: When { tag: tag?, score: score? }, then: then?, add, place })
}

fn tag(name: &Text<'_>, context: &Context<'_>) -> Option<TagId> {
    let tag = context.tags.find(name.text);
    if tag.is_none() {
        let help = meant(name.text, context.tags.names(), "tags that can be given");
        let what = format!("no rule gives the tag {:?}", name.text);
        context.faults.add(name.span.clone(), what, help);
    }
    tag
}

fn action(table: &mut Table<'_>, context: &Context<'_>) -> Option<Action> {
    table.requires("then", "then = \"reject\"");
    let then = table.text("then");
    let words = ["accept", "reject", "defer", "quarantine", "discard"].map(|word| (word, word));
    let word = table.choice("then", &words);
    let named = table.text("route");
    let route = match &named {
        Some(name) => context.routes.named(context.faults, name).map(Some),
        None => Some(None),
    };
    let reply = match word {
        Some("reject") => refusal(table, 5, &replies::CONTENT_REFUSED, context.faults),
        Some("defer") => refusal(table, 4, &replies::CONTENT_DEFERRED, context.faults),
        _ => {
            for key in ["code", "text"] {
                if let (Some(text), Some(_)) = (table.text(key), word) {
                    let what = format!("`{key}` without a refusal");
                    context.faults.add(text.span, what, "leave it out");
                }
            }
            None
        }
    };
    if let (Some(name), Some("reject" | "defer" | "discard")) = (&named, word) {
        let help = "nothing is delivered, so leave it out";
        context.faults.add(name.span.clone(), "`route` beside a refusal", help);
    }
    match word? {
        "accept" => Some(Action::Accept { route: route? }),
        "reject" => reply.map(Action::Reject),
        "defer" => reply.map(Action::Defer),
        "quarantine" => match route?.or_else(|| context.routes.get("quarantine")) {
            Some(route) => Some(Action::Quarantine(route)),
            None => {
                let help = "name a route here, or call one \"quarantine\"";
                context.faults.add(then?.span, "quarantine leads nowhere", help);
                None
            }
        },
        _ => Some(Action::Discard),
    }
}

fn refusal(
    table: &mut Table<'_>,
    digit: u16,
    default: &Reply,
    faults: &Collector<'_>,
) -> Option<Reply> {
    let text = table.text("text");
    let reply = match table.text("code") {
        None => default.clone(),
        Some(code) => {
            let reply = table.read("code", value::refusal)?;
            if reply.code() / 100 != digit {
                let help = "reject has a 5xx code, defer a 4xx code";
                faults.add(code.span, "the code does not fit", help);
                return None;
            }
            let text = if reply.text().is_empty() { default.text() } else { reply.text() };
            reply.with_text(text.to_owned())
        }
    };
    Some(match text {
        Some(text) => reply.with_text(text.text.to_owned()),
        None => reply,
    })
}
