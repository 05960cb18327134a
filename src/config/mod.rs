//! The configuration: TOML in, a checked [`Config`] out, or every fault with its place.
//!
//! `raw` has the shapes of the file, `checked` turns them into types that cannot be wrong,
//! `fault` says what is wrong where and what would mend it. Below this room nothing is checked
//! again.

mod checked;
mod fault;
mod raw;
mod summary;
mod value;

pub use fault::{Fault, Faults};
pub use summary::summary;

use crate::relay::Routes;
use crate::session::{Listener, Tables};
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
    /// Where Maildirs with relative paths lie.
    pub state: PathBuf,
    /// Where to listen, and how sessions there behave.
    pub listeners: Vec<(SocketAddr, Arc<Listener>)>,
    /// The tables that decide.
    pub tables: Arc<Tables>,
    /// The next hops.
    pub routes: Arc<Routes>,
    /// Where metrics and health are asked for.
    pub admin: Option<SocketAddr>,
    /// Connections of clients, for the whole process.
    pub connections_max: usize,
    /// Memory for message bodies, in octets, for the whole process.
    pub body_memory_octets: u64,
    /// Where the log goes.
    pub log: Log,
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

/// The configuration that runs without a file.
pub const EMBEDDED: &str = include_str!("embedded.toml");

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Config, Faults> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Faults::of_file(&name, format!("cannot read {name}: {error}")))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Config::parse(&text, &name, folder.unwrap_or(Path::new(".")))
    }

    /// Reads a text called `name`. Paths in it are relative to `folder`.
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Config, Faults> {
        let raw: raw::Raw =
            toml::from_str(text).map_err(|error| Faults::of_toml(name, text, &error))?;
        checked::check(raw, name, text, folder)
    }

    /// The configuration that runs without a file, its state below `folder`.
    pub fn embedded(folder: &Path) -> Result<Config, Faults> {
        Config::parse(EMBEDDED, "the embedded configuration", folder)
    }
}
