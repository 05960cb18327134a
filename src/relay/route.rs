//! Routes: the next hops that a configuration names.

use crate::limits::{HOP_COMMAND_TIMEOUT, HOP_CONNECT_TIMEOUT, HOP_FINAL_TIMEOUT, VERIFY_TIMEOUT};
use crate::tls::ClientTls;
use core::net::SocketAddr;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
    /// When its next hops are talked to under TLS.
    pub tls: HopTls,
    /// Whether its next hops are asked about a recipient before RCPT is answered.
    pub verify: Verify,
    /// Next hops that offer XCLIENT are told who the client is.
    pub xclient: bool,
    /// How long its next hops are waited for.
    pub timeouts: HopTimeouts,
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

/// When a route's next hops are talked to under TLS.
#[derive(Clone, Debug, Default)]
pub enum HopTls {
    /// Never.
    #[default]
    Off,
    /// When the next hop offers STARTTLS and the handshake succeeds; else in clear.
    Opportunistic(Arc<ClientTls>),
    /// By STARTTLS, with a next hop that has shown who it is. Without that no mail goes.
    Required(Arc<ClientTls>),
    /// From the first octet on (`lmtps://`, `smtps://`), with a next hop that has shown who it is.
    Implicit(Arc<ClientTls>),
}

/// Whether a next hop is asked about a recipient before RCPT is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// It is not: what it refuses, it refuses when the message is handed on.
    #[default]
    Off,
    /// By MAIL and RCPT without a message.
    Callahead,
}

/// How long next hops are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopTimeouts {
    /// Until a connection stands, and until a TLS handshake over it is done.
    pub connect: Duration,
    /// Until the banner has come, and until a command is answered.
    pub command: Duration,
    /// Until more of a body is taken, and until its end is answered.
    pub final_reply: Duration,
    /// Until RCPT is answered, whatever a next hop that was asked about the recipient does.
    pub verify: Duration,
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

impl Route {
    /// A route with every setting at its default.
    pub fn new(name: &str, to: NextHop) -> Route {
        Route {
            name: name.to_owned(),
            to,
            tls: HopTls::Off,
            verify: Verify::Off,
            xclient: false,
            timeouts: HopTimeouts::default(),
        }
    }

    /// The addresses of its mail server; none for a folder.
    pub(super) fn addresses(&self) -> &[Address] {
        match &self.to {
            NextHop::Server { addresses, .. } => addresses,
            NextHop::Maildir(_) => &[],
        }
    }
}

impl HopTls {
    /// What handshakes need, where there are any.
    pub(super) fn client(&self) -> Option<&Arc<ClientTls>> {
        match self {
            HopTls::Off => None,
            HopTls::Opportunistic(tls) | HopTls::Required(tls) | HopTls::Implicit(tls) => Some(tls),
        }
    }

    /// Whether mail never goes in clear, nor to a next hop that has not shown who it is.
    pub(super) fn is_demanded(&self) -> bool {
        matches!(self, HopTls::Required(_) | HopTls::Implicit(_))
    }
}

impl PartialEq for HopTls {
    fn eq(&self, other: &HopTls) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && match (self.client(), other.client()) {
                (Some(one), Some(two)) => Arc::ptr_eq(one, two),
                _ => true,
            }
    }
}

impl Eq for HopTls {}

impl Default for HopTimeouts {
    fn default() -> HopTimeouts {
        HopTimeouts {
            connect: HOP_CONNECT_TIMEOUT,
            command: HOP_COMMAND_TIMEOUT,
            final_reply: HOP_FINAL_TIMEOUT,
            verify: VERIFY_TIMEOUT,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
