//! The configuration: TOML in, a checked [`Config`] out, or every fault with its place.
//!
//! Each table of the file has a file here that reads it, key by key: `top`, `listen` (with `tls`),
//! `route` (with `route_tls`), `domain` (with `recipients`), `class`, `rule`, `ledger`, `admin`. They share
//! `table` (one table while it is read), `value` (single values), `list` and `files` (what lies beside
//! the file), `names` (what was meant) and `fault` (what is wrong where). `fixed` says what cannot
//! change while a configuration is served, `summary` what it amounts to. Below this room nothing is
//! checked again.

mod admin;
mod class;
mod domain;
mod fault;
mod files;
mod fixed;
mod ledger;
mod list;
mod listen;
mod names;
mod recipients;
mod route;
mod route_tls;
mod rule;
mod signature;
mod summary;
mod table;
mod tls;
mod top;
mod value;

pub use admin::Admin;
pub use fault::{Fault, Faults};
pub use files::{NamedFile, Stamp};
pub use summary::summary;

use crate::relay::Routes;
use crate::session::{Listener, Tables};
use crate::tls::TlsWarning;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name.
    pub hostname: String,
    /// How many shards; `None` is one for each core that the process may use.
    pub shards: Option<usize>,
    /// Where Maildirs with relative paths, and the ledger, lie.
    pub state: PathBuf,
    /// Where to listen, and how sessions there behave.
    pub listeners: Vec<(SocketAddr, Arc<Listener>)>,
    /// The tables that decide.
    pub tables: Arc<Tables>,
    /// The next hops.
    pub routes: Arc<Routes>,
    /// The settings of each route in words, in the order of the routes.
    pub route_settings: Vec<String>,
    /// Where metrics and health are asked for, and who may ask for changes.
    pub admin: Option<Admin>,
    /// What is remembered of outcomes; `None` is nothing.
    pub ledger: Option<crate::ledger::Settings>,
    /// Connections of clients, for the whole process.
    pub connections_max: usize,
    /// Memory for message bodies, in octets, for the whole process.
    pub body_memory_octets: u64,
    /// Where the log goes.
    pub log: Log,
    /// The files that it names and was made from, and that are read again when they change: lists,
    /// certificates, keys.
    pub files: Vec<NamedFile>,
    /// What is odd about certificates that are used all the same.
    pub warnings: Vec<TlsWarning>,
    /// What was left out of files that were taken, in words.
    pub left_out: Vec<String>,
    /// When the first of the listeners' certificates expires, in seconds since 1970, if there are any.
    pub certificate_expiry_unix_s: Option<i64>,
}

/// Where the log goes: one line of JSON a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// The end of this file.
    File(PathBuf),
}

/// The text of a configuration, with what it needs to become one: it can be checked again when a
/// file that it names has changed.
#[derive(Clone, Debug)]
pub struct Source {
    /// How faults call it.
    name: String,
    text: String,
    /// Where relative paths begin.
    folder: PathBuf,
}

/// The configuration that runs without a file.
pub const EMBEDDED: &str = include_str!("embedded.toml");

impl Source {
    /// Reads a file. Paths in it are relative to its folder.
    pub fn read(path: &Path) -> Result<Source, Faults> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Faults::of_file(&name, format!("cannot read {name}: {error}")))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        Ok(Source { name, text, folder })
    }

    /// The configuration that runs without a file, its state below `folder`.
    pub fn embedded(folder: &Path) -> Source {
        Source {
            name: "the embedded configuration".to_owned(),
            text: EMBEDDED.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// Checks it, with the files that it names as they are now.
    pub fn check(&self) -> Result<Config, Faults> {
        Config::parse(&self.text, &self.name, &self.folder)
    }
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Config, Faults> {
        Source::read(path)?.check()
    }

    /// Reads a text called `name`. Paths in it are relative to `folder`.
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Config, Faults> {
        top::check(text, name, folder)
    }

    /// The configuration that runs without a file, its state below `folder`.
    pub fn embedded(folder: &Path) -> Result<Config, Faults> {
        Source::embedded(folder).check()
    }
}
