//! Octets under TLS: sealed octets in, plain octets out, and back.
//!
//! Nothing here knows of a session, a socket or a clock: a driver stands between the two and hands
//! octets through, in the shard as in the simulated world.

/// What a handshake has shown of the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version, as it is written in trace fields: `TLS1.3`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: &'static str,
    /// SHA-256 of the public key of the client's certificate, if one was shown and verified.
    pub client_key: Option<[u8; 32]>,
}

/// Certificates and keys of a listener, and whose client certificates are believed.
#[derive(Debug)]
pub struct ServerTls {}

/// How a route's next hops are talked to under TLS.
#[derive(Debug)]
pub struct ClientTls {}

/// Whom a route takes for its next hop.
#[derive(Clone, Copy, Debug)]
pub enum HopTrust<'a> {
    /// Whoever answers (opportunistic).
    Anybody,
    /// Who has one of these public keys, by the SHA-256 of its SubjectPublicKeyInfo.
    Keys(&'a [[u8; 32]]),
}

impl ClientTls {
    /// Talks TLS to servers that are called `name`.
    pub fn from_pem(
        _name: &str,
        _trust: HopTrust<'_>,
        _identity: Option<()>,
        _unix_s: i64,
    ) -> Result<ClientTls, std::convert::Infallible> {
        Ok(ClientTls {})
    }
}
