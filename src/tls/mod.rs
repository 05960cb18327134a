//! Octets under TLS: sealed octets in, plain octets out, and back.
//!
//! Nothing here knows of a session, a socket or a file: a driver stands between the two and hands
//! octets through a [`TlsStream`], in the shard as in the simulated world. [`ServerTls`] is what a
//! listener's handshakes need, [`ClientTls`] what those with next hops need; both are made of [`Pem`]
//! files that somebody else has read. The cryptography, the clock that certificates are compared
//! with, and the random values are those of rustls.

mod client;
mod pem;
mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use client::{ClientTls, HopTrust};
pub use pem::{Identity, Pem, TlsFileFault, TlsWarning};
pub use server::ServerTls;
pub use stream::{TlsFault, TlsStream};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use std::sync::{Arc, LazyLock};

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

/// What is spoken. Older versions are broken (RFC 8996).
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// The cryptography of all connections. It is named wherever it is needed, so that no default of the
/// process decides.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// SHA-256 of the public key of a certificate (its SubjectPublicKeyInfo, as RFC 7469 2.4 has it):
/// it stays the same when the certificate is renewed with the same key.
fn key_digest(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let digest = ::aws_lc_rs::digest::digest(
        &::aws_lc_rs::digest::SHA256,
        &parsed.subject_public_key_info(),
    );
    digest.as_ref().try_into().ok()
}
