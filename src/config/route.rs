//! `[route.NAME]`: where mail goes.

use super::names::Names;
use super::table::{Table, Text};
use super::top::Reading;
use super::value::{self, Target};
use crate::limits::ROUTES_MAX;
use crate::policy::RouteId;
use crate::relay::{Address, NextHop, Protocol, Route, Routes};
use crate::session::Listener;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The routes of the file, by the place of their tables. One with a fault is `None`.
#[derive(Default)]
pub(super) struct FileRoutes {
    routes: Vec<Option<Route>>,
    /// Where each says where it leads.
    spans: Vec<Range<usize>>,
    /// The settings of each in words.
    pub settings: Vec<String>,
}

impl FileRoutes {
    /// The routes, of which none has a fault.
    pub fn into_routes(self, hostname: &str) -> Routes {
        let routes = self.routes.into_iter().flatten().collect();
        Routes { routes, hostname: hostname.to_owned() }
    }
}

/// All routes, and the names by which other tables call them.
pub(super) fn routes(
    top: &mut Table<'_>,
    reading: &Reading<'_>,
    state: &Path,
) -> (FileRoutes, Names<RouteId>) {
    let mut tables = top.named_tables("route");
    if tables.len() > ROUTES_MAX {
        let help = format!("at most {ROUTES_MAX}");
        reading.faults.add(tables[ROUTES_MAX].0.span.clone(), "too many routes", help);
        tables.truncate(ROUTES_MAX);
    }
    let names = tables.iter().enumerate();
    let names = names.map(|(place, (name, _))| (name.text.to_owned(), RouteId(place as u16)));
    let names = Names::new("route", names);
    let mut routes = FileRoutes::default();
    for (name, mut table) in tables {
        routes.spans.push(table.value("to").map_or(name.span.clone(), toml::Spanned::span));
        let route = route(name.text, &mut table, reading, state);
        routes.settings.push(route.as_ref().map(settings).unwrap_or_default());
        routes.routes.push(route);
        table.end();
    }
    (routes, names)
}

fn route(name: &str, table: &mut Table<'_>, reading: &Reading<'_>, state: &Path) -> Option<Route> {
    table.requires("to", "to = \"lmtp://10.0.0.5:24\"");
    let to = table.texts("to").and_then(|to| next_hop(&to, &table.span, reading, state));
    Some(Route::new(name, to?))
}

/// `mailstore: LMTP, 10.0.0.5:24, then 10.0.0.6:24`: all that `check` prints of a route, and by which
/// two of them are compared.
fn settings(route: &Route) -> String {
    let to = match &route.to {
        NextHop::Maildir(folder) => format!("Maildirs in {}", folder.display()),
        NextHop::Server { protocol, addresses } => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let protocol = match protocol {
                Protocol::Smtp => "SMTP",
                Protocol::Lmtp => "LMTP",
            };
            format!("{protocol}, {}", list.join(", then "))
        }
    };
    format!("{}: {to}", route.name)
}

fn next_hop(
    to: &[Text<'_>],
    table: &Range<usize>,
    reading: &Reading<'_>,
    state: &Path,
) -> Option<NextHop> {
    let mut addresses = Vec::new();
    let mut spoken: Option<Protocol> = None;
    let mut good = true;
    for text in to {
        let fault = match value::target(text.text, state) {
            Ok(Target::Maildir(folder)) if to.len() == 1 => return Some(NextHop::Maildir(folder)),
            Ok(Target::Server(protocol, address)) if spoken.is_none_or(|one| one == protocol) => {
                spoken = Some(protocol);
                addresses.push(address);
                continue;
            }
            Ok(_) => (
                "a route leads to things of two kinds".to_owned(),
                "a list names servers of one protocol, a Maildir stands alone",
            ),
            Err(help) => (format!("{:?} leads nowhere", text.text), help),
        };
        reading.faults.add(text.span.clone(), fault.0, fault.1);
        good = false;
    }
    match spoken {
        Some(protocol) if good => Some(NextHop::Server { protocol, addresses }),
        None if good => {
            reading.faults.add(table.clone(), "a route leads nowhere", "name a next hop in `to`");
            None
        }
        _ => None,
    }
}

/// A route that leads to one of our own listeners would be a loop.
pub(super) fn no_loops(
    reading: &Reading<'_>,
    routes: &FileRoutes,
    listeners: &[(SocketAddr, Arc<Listener>)],
) {
    for (route, span) in routes.routes.iter().zip(&routes.spans) {
        let Some(Route { to: NextHop::Server { addresses, .. }, .. }) = route else { continue };
        let own = |address: &&Address| match address {
            Address::Tcp(to) => listeners.iter().any(|(listen, _)| {
                let here = listen.ip().is_unspecified() && to.ip().is_loopback();
                listen.port() == to.port() && (here || listen.ip() == to.ip())
            }),
            Address::Unix(_) => false,
        };
        if let Some(address) = addresses.iter().find(own) {
            let what = format!("the route leads to our own listener {address}");
            reading.faults.add(span.clone(), what, "mail would go round for ever");
        }
    }
}
