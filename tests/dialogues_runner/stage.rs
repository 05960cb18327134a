//! Where a dialogue is played: a gateway, its next hop, its quarantine, and time.

use std::net::IpAddr;
use std::time::Duration;

/// A connection of a stage, by the order of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(pub usize);

/// Octets of the server that came in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub octets: Vec<u8>,
    /// In how many segments: 1 where there are none.
    pub segments: u64,
}

/// A gateway with a next hop behind it, started afresh.
pub trait Stage {
    /// Opens a connection to a listener.
    fn connect(&mut self, listener: &str, from: IpAddr) -> Result<ConnectionId, String>;

    /// The client writes. That it cannot any more is seen by [`Stage::has_ended`].
    fn write(&mut self, connection: ConnectionId, octets: &[u8]);

    /// The client ends its side.
    fn half_close(&mut self, connection: ConnectionId);

    /// The client closes, after reading away what has come.
    fn close(&mut self, connection: ConnectionId);

    /// The client aborts.
    fn abort(&mut self, connection: ConnectionId);

    /// Lets at most so much time pass; ends early when something comes on the connection. What has
    /// come is handed over.
    fn wait(&mut self, connection: ConnectionId, span: Duration) -> Vec<Arrived>;

    /// Whether the server has closed, and all before that was handed over.
    fn has_ended(&self, connection: ConnectionId) -> bool;

    /// Lets time pass.
    fn advance(&mut self, span: Duration);

    /// Time that has passed since the stage was made.
    fn elapsed(&self) -> Duration;

    /// The messages that the next hop took for a recipient, un-stuffed, with CRLF.
    fn delivered(&self, recipient: &str) -> Vec<Vec<u8>>;

    /// The messages in quarantine for a recipient.
    fn quarantined(&self, recipient: &str) -> Vec<Vec<u8>>;

    /// Content scans since the stage was made.
    fn scans(&self) -> u64;
}
