//! The file as a whole: the keys at its top, and the order in which its tables are read.

use super::domain::FileDomains;
use super::fault::{Collector, Faults};
use super::files::Files;
use super::table::{Table, Text};
use super::{Config, Log, admin, class, domain, ledger, listen, route, rule, value};
use crate::limits::{
    BODY_MEMORY_DEFAULT, BODY_MEMORY_RANGE, CONNECTIONS_DEFAULT, CONNECTIONS_RANGE, SHARDS_RANGE,
    UNPACK_RANGE,
};
use crate::policy::Policy;
use crate::session::Tables;
use crate::tls::TlsWarning;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use toml::de::{DeTable, DeValue};

/// What the files of this folder share while one configuration is read.
pub(super) struct Reading<'a> {
    pub faults: &'a Collector<'a>,
    pub files: &'a Files<'a>,
    pub hostname: &'a str,
    /// The time, with which certificates are compared.
    pub unix_s: i64,
    warnings: RefCell<Vec<TlsWarning>>,
    left_out: RefCell<Vec<String>>,
    expiry_unix_s: Cell<Option<i64>>,
}

impl Reading<'_> {
    /// The time of a listener's certificate ends then.
    pub fn expires(&self, unix_s: i64) {
        let first = self.expiry_unix_s.get().map_or(unix_s, |other| other.min(unix_s));
        self.expiry_unix_s.set(Some(first));
    }

    /// What was left out of a file, in words.
    pub fn leave_out(&self, what: String) {
        self.left_out.borrow_mut().push(what);
    }

    /// What is odd, and used all the same.
    pub fn warn(&self, warnings: &[TlsWarning]) {
        self.warnings.borrow_mut().extend_from_slice(warnings);
    }
}

/// Checks a text called `name`, whose paths are relative to `folder`.
pub(super) fn check(text: &str, name: &str, folder: &Path) -> Result<Config, Faults> {
    let faults = Collector::new(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        faults.add(error.span().unwrap_or(0..0), error.message(), "");
    }
    // What could be read of a file that is no TOML would only give faults that are none.
    if !faults.is_clean() {
        return Err(faults.into_faults());
    }
    let files = Files::new(folder);
    let config = config(Table::new(&faults, "the file", 0..0, document.get_ref()), &faults, &files);
    match config {
        Some(config) if faults.is_clean() => Ok(Config { files: files.into_read(), ..config }),
        _ => Err(faults.into_faults()),
    }
}

/// Every table is read, whatever is wrong with the others: names come first, contents then.
fn config<'a>(
    mut top: Table<'a>,
    faults: &'a Collector<'a>,
    files: &'a Files<'a>,
) -> Option<Config> {
    let hostname = top.read("hostname", value::domain).unwrap_or_else(|| "localhost".to_owned());
    let state = files.path(top.text("state").map_or(".", |state| state.text));
    let shards = shards(&mut top, faults);
    let connections = top.number("connections", CONNECTIONS_RANGE);
    let memory = top.size("memory", BODY_MEMORY_RANGE);
    let unpack = top.size("unpack", UNPACK_RANGE);
    let log = log(&mut top, faults, files);
    let reading = Reading {
        faults,
        files,
        hostname: &hostname,
        unix_s: unix_s(),
        warnings: RefCell::default(),
        left_out: RefCell::default(),
        expiry_unix_s: Cell::default(),
    };

    let (routes, route_names) = route::routes(&mut top, &reading, &state);
    let rules = rule::rules(&mut top, &reading);
    let (classes, class_names) = class::classes(&mut top, &reading, &route_names, &rules.tags);
    let listeners = listen::listeners(&mut top, &reading, &route_names);
    route::no_loops(&reading, &routes, &listeners);
    let domains = domain::domains(&mut top, &reading, &route_names, &class_names);
    let postmaster = postmaster_domain(&mut top, faults, &domains);
    let ledger = ledger::ledger(&mut top, &reading);
    let admin = admin::admin(&mut top, &reading);
    top.end();
    let (warnings, expiry_unix_s) = (reading.warnings.into_inner(), reading.expiry_unix_s.get());
    let left_out = reading.left_out.into_inner();

    let (given, score_max) = rules.reach();
    let policy = Policy::new(domains.domains, postmaster?, classes, &given, score_max);
    Some(Config {
        shards,
        state,
        listeners,
        tables: Arc::new(Tables {
            policy,
            rules: Arc::new(rules.compiled?.unpacking(unpack.unwrap_or(0))),
        }),
        route_settings: routes.settings.clone(),
        routes: Arc::new(routes.into_routes(&hostname)),
        admin,
        ledger,
        connections_max: connections
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(CONNECTIONS_DEFAULT),
        body_memory_octets: memory.unwrap_or(BODY_MEMORY_DEFAULT),
        log: log.unwrap_or(Log::Stdout),
        files: Vec::new(),
        warnings,
        left_out,
        certificate_expiry_unix_s: expiry_unix_s,
        hostname,
    })
}

fn unix_s() -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn shards(top: &mut Table<'_>, faults: &Collector<'_>) -> Option<usize> {
    let value = top.value("shards")?;
    match value.get_ref() {
        DeValue::String(word) if word == "auto" => return None,
        DeValue::Integer(digits) => {
            let count = u64::from_str_radix(digits.as_str(), digits.radix()).ok();
            if let Some(count) = count.filter(|count| SHARDS_RANGE.contains(count)) {
                return usize::try_from(count).ok();
            }
        }
        _ => {}
    }
    let (least, most) = SHARDS_RANGE.into_inner();
    let help = format!("write \"auto\" (one for each core) or a number from {least} to {most}");
    faults.add(value.span(), "bad number of shards", help);
    None
}

fn log(top: &mut Table<'_>, faults: &Collector<'_>, files: &Files<'_>) -> Option<Log> {
    let Text { text, span } = top.text("log")?;
    match (text, text.strip_prefix("file:")) {
        ("stdout", _) => Some(Log::Stdout),
        ("off", _) => Some(Log::Off),
        (_, Some(path)) if !path.is_empty() => Some(Log::File(files.path(path))),
        _ => {
            let help = "write \"stdout\", \"off\" or \"file:PATH\"";
            faults.add(span, "bad place for the log", help);
            None
        }
    }
}

/// The domain of `<postmaster>` without one: as the file says, else the first that is served.
fn postmaster_domain(
    top: &mut Table<'_>,
    faults: &Collector<'_>,
    domains: &FileDomains,
) -> Option<Box<[u8]>> {
    let name = match top.text("postmaster") {
        Some(name) => {
            domains.names.named(faults, &name)?;
            name.text
        }
        None => domains.first.as_deref()?,
    };
    Some(name.to_ascii_lowercase().into_bytes().into())
}
