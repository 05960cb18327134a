//! Routes: the next hops that a configuration names.

use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;

/// All routes of a configuration, by [`RouteId`](crate::policy::RouteId).
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The routes, in the order of their ids.
    pub routes: Vec<Route>,
    /// The name with which next hops are greeted.
    pub hostname: String,
}

/// One way that mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name in the configuration.
    pub name: String,
    /// Where it leads.
    pub to: NextHop,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// A mail server, at the first of these addresses that can be reached.
    Server {
        /// What it speaks.
        protocol: Protocol,
        /// Where it listens; never empty.
        addresses: Vec<Address>,
    },
    /// A folder that holds a Maildir for each recipient: `<folder>/<domain>/<local-part>`.
    Maildir(PathBuf),
}

/// What a mail server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One reply to the end of data.
    Smtp,
    /// One reply a recipient to the end of data. RFC 2033.
    Lmtp,
}

/// Where a mail server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
