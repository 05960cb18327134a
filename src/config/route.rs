//! `[route.NAME]`: where mail goes.

use super::listen::set;
use super::names::Names;
use super::route_tls;
use super::table::{Table, Text};
use super::top::Reading;
use super::value::{self, Target};
use crate::limits::{HOP_TIMEOUT_RANGE, ROUTES_MAX, VERIFY_WAIT_RANGE};
use crate::policy::RouteId;
use crate::relay::{Address, HopTimeouts, NextHop, Protocol, Route, Routes, Verify};
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
        let (route, settings) = route(name.text, &mut table, reading, state).unzip();
        routes.settings.push(settings.unwrap_or_default());
        routes.routes.push(route);
        table.end();
    }
    (routes, names)
}

/// What is said of next hops alone.
const HOP_KEYS: [&str; 12] = [
    "tls",
    "ca",
    "pin",
    "server-name",
    "certificate",
    "key",
    "verify",
    "xclient",
    "connect",
    "command",
    "final",
    "verify-wait",
];

/// A route, and its settings in words: all that `check` prints of it, and by which two are compared.
fn route(
    name: &str,
    table: &mut Table<'_>,
    reading: &Reading<'_>,
    state: &Path,
) -> Option<(Route, String)> {
    table.requires("to", "to = \"lmtp://10.0.0.5:24\"");
    let to = table.texts("to").and_then(|to| next_hop(&to, &table.span, reading, state));
    let (protocol, addresses, implicit) = match to {
        Some(To { to: NextHop::Server { protocol, addresses }, implicit }) => {
            (protocol, addresses, implicit)
        }
        Some(To { to: NextHop::Maildir(folder), .. }) => {
            let asked = table.asked();
            HOP_KEYS.iter().for_each(|key| _ = table.value(key));
            table.none_since(asked, "has no meaning for a Maildir", "leave it out");
            let words = format!("{name}: Maildirs in {}", folder.display());
            return Some((Route::new(name, NextHop::Maildir(folder)), words));
        }
        None => {
            // What is wrong with the other keys is told all the same.
            let nowhere = Route::new(name, NextHop::Maildir(state.into()));
            let _ = hop(nowhere, table, reading, &[], false);
            return None;
        }
    };
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let spoken = match protocol {
        Protocol::Smtp => "SMTP",
        Protocol::Lmtp => "LMTP",
    };
    let words = format!("{name}: {spoken} to {}", list.join(", then "));
    let route = Route::new(name, NextHop::Server { protocol, addresses: addresses.clone() });
    let (route, more) = hop(route, table, reading, &addresses, implicit)?;
    Some((route, format!("{words}, {more}")))
}

/// All keys but `to`.
fn hop(
    mut route: Route,
    table: &mut Table<'_>,
    reading: &Reading<'_>,
    addresses: &[Address],
    implicit: bool,
) -> Option<(Route, String)> {
    let tls = route_tls::of_route(table, reading, addresses, implicit);
    let verify = [("ahead", Verify::Callahead), ("off", Verify::Off)];
    set(&mut route.verify, table.choice("verify", &verify));
    set(&mut route.xclient, table.switch("xclient"));
    let times = &mut route.timeouts;
    set(&mut times.connect, table.time("connect", HOP_TIMEOUT_RANGE));
    set(&mut times.command, table.time("command", HOP_TIMEOUT_RANGE));
    set(&mut times.final_reply, table.time("final", HOP_TIMEOUT_RANGE));
    set(&mut times.verify, table.time("verify-wait", VERIFY_WAIT_RANGE));
    let tls = tls?;
    route.tls = tls.tls;
    let mut words = tls.words;
    if route.verify == Verify::Callahead {
        words.push_str(", recipients are verified ahead");
    }
    if route.xclient {
        words.push_str(", told who the client is");
    }
    let HopTimeouts { connect, command, final_reply, verify } = route.timeouts;
    let times = [connect, command, final_reply, verify].map(value::shown);
    let [connect, command, last, verify] = times;
    words.push_str(&format!(
        "; connect {connect}, command {command}, final {last}, verify-wait {verify}"
    ));
    Some((route, words))
}

/// Where a route leads, and whether TLS is there from the first octet on.
struct To {
    to: NextHop,
    implicit: bool,
}

fn next_hop(
    to: &[Text<'_>],
    table: &Range<usize>,
    reading: &Reading<'_>,
    state: &Path,
) -> Option<To> {
    let mut addresses = Vec::new();
    let mut spoken: Option<(Protocol, bool)> = None;
    let mut good = true;
    for text in to {
        let fault = match value::target(text.text, state) {
            Ok(Target::Maildir(folder)) if to.len() == 1 => {
                return Some(To { to: NextHop::Maildir(folder), implicit: false });
            }
            Ok(Target::Server(protocol, address, tls))
                if spoken.is_none_or(|one| one == (protocol, tls)) =>
            {
                spoken = Some((protocol, tls));
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
        Some((protocol, implicit)) if good => {
            Some(To { to: NextHop::Server { protocol, addresses }, implicit })
        }
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
