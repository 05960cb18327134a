//! `[domain."NAME"]`: who gets mail, by which route, and how it is judged.

use super::names::Names;
use super::recipients::{self, Listed, Lists};
use super::table::{Table, Text};
use super::top::Reading;
use super::value;
use crate::limits::DOMAINS_MAX;
use crate::policy::{ClassId, Domain, LocalParts, Recipients, RouteId, Scope};
use crate::wire::Reply;

/// The domains of the file.
pub(super) struct FileDomains {
    /// Those without a fault, by their names in lower case.
    pub domains: Vec<(Box<[u8]>, Domain)>,
    /// The first of the file.
    pub first: Option<String>,
    /// All of them.
    pub names: Names<()>,
}

/// A domain whose list of recipients is not read yet.
struct Unlisted {
    name: Box<[u8]>,
    route: RouteId,
    plus: Option<u8>,
    class: ClassId,
    exceptions: LocalParts<ClassId>,
    refused: LocalParts<Reply>,
    recipients: Listed,
}

/// All domains.
///
/// A file of recipients may serve several of them: all are known before the first list is read.
pub(super) fn domains(
    top: &mut Table<'_>,
    reading: &Reading<'_>,
    routes: &Names<RouteId>,
    classes: &Names<ClassId>,
) -> FileDomains {
    let mut tables = top.named_tables("domain");
    if tables.is_empty() {
        let help = "add a table [domain.\"example.net\"]";
        reading.faults.add(0..0, "no domain is served", help);
    }
    if tables.len() > DOMAINS_MAX {
        let help = format!("at most {DOMAINS_MAX}");
        reading.faults.add(tables[DOMAINS_MAX].0.span.clone(), "too many domains", help);
        tables.truncate(DOMAINS_MAX);
    }
    let first = tables.first().map(|(name, _)| name.text.to_owned());
    let names = Names::new("domain", tables.iter().map(|(name, _)| (name.text.to_owned(), ())));
    let mut lists = Lists::new(reading, routes);
    let mut unlisted = Vec::with_capacity(tables.len());
    let mut seen = std::collections::HashSet::new();
    for (name, mut table) in tables {
        let key = name.text.to_ascii_lowercase();
        if let Err(help) = value::domain(name.text) {
            reading.faults.add(name.span.clone(), format!("{:?} is no domain", name.text), help);
        }
        if !seen.insert(key.clone()) {
            let help = "case does not matter in domain names: keep one of the tables";
            reading.faults.add(name.span.clone(), format!("{} is served twice", name.text), help);
        }
        unlisted.extend(domain(key, &mut table, reading, routes, classes, &mut lists));
        table.end();
    }
    let lists = lists.read();
    let domains = unlisted.into_iter().filter_map(|one| {
        let recipients = match one.recipients {
            Listed::Any => Recipients::Any,
            Listed::In { list, domain } => Recipients::Listed {
                list: lists.get(list)?.clone()?,
                scope: Scope::domain(domain)?,
            },
        };
        let Unlisted { name, route, plus, class, exceptions, refused, .. } = one;
        Some((name, Domain { route, recipients, plus, class, exceptions, refused }))
    });
    FileDomains { domains: domains.collect(), first, names }
}

fn domain<'a>(
    name: String,
    table: &mut Table<'a>,
    reading: &Reading<'_>,
    routes: &Names<RouteId>,
    classes: &Names<ClassId>,
    lists: &mut Lists<'_, 'a>,
) -> Option<Unlisted> {
    table.requires("route", "route = \"mailstore\"");
    table.requires("recipients", "recipients = \"file:recipients.txt\"");
    let route = table.text("route").and_then(|route| routes.named(reading.faults, &route));
    let class = match table.text("class") {
        Some(class) => classes.named(reading.faults, &class),
        None => Some(ClassId(0)),
    };
    let plus = table.read("plus", plus);
    let exceptions = exceptions(table, reading, classes);
    let refused = refused(table, reading);
    let list = table.list("recipients", Some("any"));
    let recipients = list.map(|list| lists.add(list, &name));
    let (route, class, recipients) = (route?, class?, recipients?);
    let name = name.into_bytes().into();
    Some(Unlisted { name, route, plus, class, exceptions, refused, recipients })
}

/// RFC 5233 calls what stands behind it the detail of an address.
fn plus(text: &str) -> Result<u8, &'static str> {
    match text.as_bytes() {
        // RFC 5321 4.1.2: what an unquoted local-part can hold, letters and digits left out.
        [sign] if b"+-=_#~!$%&'/?^`{|}".contains(sign) => Ok(*sign),
        _ => Err("write one sign, as it stands between name and tag: \"+\""),
    }
}

fn exceptions(
    table: &mut Table<'_>,
    reading: &Reading<'_>,
    classes: &Names<ClassId>,
) -> LocalParts<ClassId> {
    let mut exceptions = LocalParts::default();
    for (name, class) in table.pairs("exceptions") {
        if let Some(class) = classes.named(reading.faults, &class) {
            add(&mut exceptions, &name, class, reading);
        }
    }
    // RFC 5321 4.5.1 and RFC 2142: content never refuses these by default.
    let lax = classes.get("lax").unwrap_or(ClassId(0));
    for (name, class) in [("postmaster", lax), ("abuse", lax)] {
        // One that the file has keeps the class that it has there.
        let _ = recipients::add(&mut exceptions, name, class);
    }
    exceptions
}

fn refused(table: &mut Table<'_>, reading: &Reading<'_>) -> LocalParts<Reply> {
    let mut refused = LocalParts::default();
    for (name, text) in table.pairs("refuse") {
        if name.text.eq_ignore_ascii_case("postmaster") {
            let help = "RFC 5321 4.5.1: every domain has a postmaster who takes mail";
            reading.faults.add(text.span.clone(), "postmaster is refused", help);
            continue;
        }
        match value::refusal(text.text) {
            Ok(reply) => add(&mut refused, &name, reply, reading),
            Err(help) => reading.faults.add(text.span, format!("bad value {:?}", text.text), help),
        }
    }
    refused
}

fn add<T: PartialEq>(set: &mut LocalParts<T>, name: &Text<'_>, value: T, reading: &Reading<'_>) {
    reading.faults.good(name.span.clone(), recipients::add(set, name.text, value));
}
