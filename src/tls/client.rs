//! What the handshakes with next hops need.

use super::pem::{Identity, Pem, TlsFileFault, TlsWarning};
use super::server::refused;
use super::{VERSIONS, key_digest, provider};
use crate::limits::TLS_TICKETS_KEPT;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    SupportedProtocolVersion,
};
use std::sync::Arc;

/// How a route's next hops are talked to under TLS.
#[derive(Debug)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    warnings: Vec<TlsWarning>,
}

/// Whom a route takes for its next hop.
#[derive(Clone, Copy, Debug)]
pub enum HopTrust<'a> {
    /// Whoever answers (opportunistic): it keeps listeners out and nobody else.
    Anybody,
    /// Who has a certificate for the name that these authorities have signed.
    Authorities(Pem<'a>),
    /// Who has one of these public keys, by the SHA-256 of its SubjectPublicKeyInfo.
    Keys(&'a [[u8; 32]]),
}

impl ClientTls {
    /// Talks TLS 1.2 and 1.3 to servers that are called `name`: a host name, which is told them as
    /// SNI, or an IP address, which is not. `identity` is shown to a server that asks who we are.
    pub fn from_pem(
        name: &str,
        trust: HopTrust<'_>,
        identity: Option<Identity<'_>>,
        unix_s: i64,
    ) -> Result<ClientTls, TlsFileFault> {
        ClientTls::of_versions(&VERSIONS, name, trust, identity, unix_s)
    }

    pub(super) fn of_versions(
        versions: &[&'static SupportedProtocolVersion],
        name: &str,
        trust: HopTrust<'_>,
        identity: Option<Identity<'_>>,
        unix_s: i64,
    ) -> Result<ClientTls, TlsFileFault> {
        let server = ServerName::try_from(name)
            .map_err(|_| TlsFileFault::BadName { name: name.to_owned() })?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(trust)?);
        let (mut config, warnings) = match identity {
            Some(identity) => {
                let (shown, warnings) = identity.read(unix_s)?;
                let shown = Arc::new(SingleCertAndKey::from(shown));
                (builder.with_client_cert_resolver(shown), warnings)
            }
            None => (builder.with_no_client_auth(), Vec::new()),
        };
        config.resumption = Resumption::in_memory_sessions(TLS_TICKETS_KEPT);
        Ok(ClientTls { config: Arc::new(config), name: server.to_owned(), warnings })
    }

    /// What is odd about our own certificate, at the moment at which it was read.
    pub fn warnings(&self) -> &[TlsWarning] {
        &self.warnings
    }
}

fn verifier(trust: HopTrust<'_>) -> Result<Arc<dyn ServerCertVerifier>, TlsFileFault> {
    Ok(match trust {
        HopTrust::Anybody => Arc::new(Anybody),
        HopTrust::Authorities(bundle) => {
            WebPkiServerVerifier::builder_with_provider(bundle.authorities()?, provider())
                .build()
                .map_err(|error| TlsFileFault::Refused(error.to_string()))?
        }
        HopTrust::Keys(digests) => Arc::new(Pinned { digests: digests.to_vec() }),
    })
}

fn schemes() -> Vec<SignatureScheme> {
    provider().signature_verification_algorithms.supported_schemes()
}

/// Takes every server, also one whose certificate nobody can read: whoever stands between us and it
/// could as well have the mail in clear.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// Takes the servers that hold one of these keys, whatever else their certificates say.
#[derive(Debug)]
struct Pinned {
    digests: Vec<[u8; 32]>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match key_digest(end_entity) {
            Some(digest) if self.digests.contains(&digest) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    // A certificate is public: that the server holds its key is what these two prove.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
