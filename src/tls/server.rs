//! What the handshakes of a listener need.

use super::pem::{Identity, Pem, TlsFileFault, TlsWarning};
use super::{VERSIONS, key_digest, provider};
use crate::limits::{TLS_SESSIONS_KEPT, TLS_TICKETS};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, ServerSessionMemoryCache,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use std::sync::Arc;

/// Certificates and keys of a listener, and whose client certificates are believed.
///
/// It is shared by all shards. What is written in it is small and rare: a session that a client of
/// TLS 1.2 without tickets may resume, and new keys for tickets every six hours.
#[derive(Debug)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    /// Who judges client certificates, if they are asked for.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    warnings: Vec<TlsWarning>,
}

impl ServerTls {
    /// Takes TLS 1.2 and 1.3 with these certificates.
    ///
    /// The client's SNI chooses the first certificate that is for this name (its wildcards count)
    /// and whose kind of key the client takes; without such a one, the first that the client takes.
    /// With `client_ca` clients are asked for a certificate. One that shows none, or one that these
    /// authorities have not signed, is served all the same: it has no identity.
    pub fn from_pem(
        identities: &[Identity<'_>],
        client_ca: Option<Pem<'_>>,
        unix_s: i64,
    ) -> Result<ServerTls, TlsFileFault> {
        let (mut certificates, mut warnings) = (Vec::new(), Vec::new());
        for identity in identities {
            let (certificate, odd) = identity.read(unix_s)?;
            certificates.push(Arc::new(certificate));
            warnings.extend(odd);
        }
        if certificates.is_empty() {
            return Err(TlsFileFault::NoIdentity);
        }
        let clients = client_ca.map(|bundle| client_verifier(&bundle)).transpose()?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&VERSIONS)
            .map_err(refused)?;
        let builder = match &clients {
            Some(judge) => builder.with_client_cert_verifier(Arc::new(Asked(Arc::clone(judge)))),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(BySni { certificates }));
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(refused)?;
        config.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS_KEPT);
        config.send_tls13_tickets = TLS_TICKETS;
        Ok(ServerTls { config: Arc::new(config), clients, warnings })
    }

    /// What is odd about the certificates, at the moment at which they were read.
    pub fn warnings(&self) -> &[TlsWarning] {
        &self.warnings
    }

    /// SHA-256 of the client's public key, if the certificates it has shown prove who it is.
    pub(super) fn client_key(&self, shown: &[CertificateDer<'_>]) -> Option<[u8; 32]> {
        let (own, above) = shown.split_first()?;
        let now = self.config.time_provider.current_time()?;
        self.clients.as_ref()?.verify_client_cert(own, above, now).ok()?;
        key_digest(own)
    }
}

fn client_verifier(bundle: &Pem<'_>) -> Result<Arc<dyn ClientCertVerifier>, TlsFileFault> {
    WebPkiClientVerifier::builder_with_provider(bundle.authorities()?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsFileFault::Refused(error.to_string()))
}

pub(super) fn refused(error: rustls::Error) -> TlsFileFault {
    TlsFileFault::Refused(error.to_string())
}

/// Chooses among several certificates.
#[derive(Debug)]
struct BySni {
    /// Never empty.
    certificates: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let takes = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(schemes).is_some();
        let usable = || self.certificates.iter().filter(takes);
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| usable().find(|one| is_for(one, &name)));
        named.or_else(|| usable().next()).cloned()
    }
}

/// Whether a certificate is for a name.
fn is_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let own = certificate.cert.first().and_then(|own| ParsedCertificate::try_from(own).ok());
    own.is_some_and(|own| verify_server_name(&own, name).is_ok())
}

/// Asks clients for a certificate, and lets those pass who have none of use.
///
/// That a client holds the key of what it shows is proved in the handshake; whether what it shows is
/// worth something is judged when the handshake is done, as the answer is not yes or no but who.
/// A public mail server that turned strangers away at this point would get their mail in clear.
#[derive(Debug)]
struct Asked(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asked {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
