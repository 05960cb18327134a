//! Certificates and keys as PEM files have them, read into what rustls takes.
//!
//! Somebody else reads the files, as nothing here touches a disk; a file's path comes along so that
//! a fault can name it. Each fault says what is wrong, where, and what to do.

use super::provider;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use x509_cert::der::Decode;

/// A PEM file that somebody has read.
#[derive(Clone, Copy, Debug)]
pub struct Pem<'a> {
    /// What faults call it: its path.
    pub path: &'a str,
    /// What it holds.
    pub octets: &'a [u8],
}

/// A certificate with those above it, and its key. Both may be in one file.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Its own certificate first, then the one that signed it, and so on; the root may be left out.
    pub certificates: Pem<'a>,
    /// The private key of the first certificate.
    pub key: Pem<'a>,
}

/// A certificate, a key or a bundle that is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFileFault {
    /// The text is not PEM.
    #[error("{path}: {what}; copy the file again from where it was made")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is no certificate in the file.
    #[error(
        "{path} holds no certificate: it must have a block `-----BEGIN CERTIFICATE-----`, the \
         server's own first, then those that signed it"
    )]
    NoCertificate {
        /// The file.
        path: String,
    },
    /// A certificate cannot be read.
    #[error("{path}: certificate {number} cannot be read ({what}); have it made again as X.509 v3")]
    BadCertificate {
        /// The file.
        path: String,
        /// Which one of the file, counted from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// There is no private key in the file.
    #[error("{path} holds no private key: it must have a block `-----BEGIN PRIVATE KEY-----`")]
    NoKey {
        /// The file.
        path: String,
    },
    /// The private key needs a password, which nobody could type.
    #[error(
        "the private key in {path} is encrypted: decrypt it (`openssl pkey -in {path}`) and keep \
         it from others by the rights of the file"
    )]
    EncryptedKey {
        /// The file.
        path: String,
    },
    /// The private key is of a kind that is not used.
    #[error(
        "the private key in {path} cannot be used ({what}): take RSA of 2048 to 8192 bits, \
         P-256, P-384, P-521 or Ed25519"
    )]
    BadKey {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The key belongs to another certificate.
    #[error(
        "the private key in {key} does not belong to the first certificate in {certificates}: \
         renew both together, and put the server's own certificate before those that signed it"
    )]
    KeyMismatch {
        /// The file of the certificate.
        certificates: String,
        /// The file of the key.
        key: String,
    },
    /// There is no certificate in a bundle of authorities.
    #[error("{path} holds no certificate of an authority: without one nobody could be verified")]
    NoAuthority {
        /// The file.
        path: String,
    },
    /// A server's name is none.
    #[error("`{name}` is neither a host name nor an IP address")]
    BadName {
        /// The name.
        name: String,
    },
    /// There is no certificate at all.
    #[error("TLS needs a certificate with its key")]
    NoIdentity,
    /// The library refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Refused(String),
}

/// Something about a certificate that an operator should see to; it is used all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsWarning {
    /// The certificate's time is over.
    #[error("the certificate in {path} has expired: peers that verify it will not talk to us")]
    Expired {
        /// The file.
        path: String,
        /// The end of its time, in seconds since 1970.
        unix_s: i64,
    },
    /// The certificate's time has not come.
    #[error("the certificate in {path} is not valid yet: peers that verify it will not talk to us")]
    NotYetValid {
        /// The file.
        path: String,
        /// The beginning of its time, in seconds since 1970.
        unix_s: i64,
    },
}

impl Identity<'_> {
    /// When the time of the first certificate ends, in seconds since 1970; `None` if it cannot be read.
    pub fn expires_unix_s(&self) -> Option<i64> {
        let chain = self.certificates.certificates().ok()?;
        period(chain.first()?).ok().map(|(_, end)| end)
    }

    /// The certificates with their key, and what is odd about the first of them at this moment.
    pub(super) fn read(
        &self,
        unix_s: i64,
    ) -> Result<(CertifiedKey, Vec<TlsWarning>), TlsFileFault> {
        let chain = self.certificates.certificates()?;
        let path = self.certificates.path;
        let Some(own) = chain.first() else {
            return Err(TlsFileFault::NoCertificate { path: path.to_owned() });
        };
        let warnings = warnings(path, own, unix_s)?;
        let key = self.key.private_key()?;
        // The library says of both what is wrong with a key and that it is another's.
        let certified = CertifiedKey::from_der(chain, key, &provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsFileFault::KeyMismatch {
                certificates: path.to_owned(),
                key: self.key.path.to_owned(),
            },
            error => {
                TlsFileFault::BadKey { path: self.key.path.to_owned(), what: error.to_string() }
            }
        })?;
        Ok((certified, warnings))
    }
}

impl Pem<'_> {
    /// The certificates of authorities that are trusted.
    pub(super) fn authorities(&self) -> Result<Arc<RootCertStore>, TlsFileFault> {
        let mut authorities = RootCertStore::empty();
        for (index, certificate) in self.certificates()?.into_iter().enumerate() {
            authorities.add(certificate).map_err(|error| self.bad_certificate(index, &error))?;
        }
        match authorities.is_empty() {
            true => Err(TlsFileFault::NoAuthority { path: self.path.to_owned() }),
            false => Ok(Arc::new(authorities)),
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsFileFault> {
        let certificates = CertificateDer::pem_slice_iter(self.octets);
        certificates.map(|one| one.map_err(|error| self.damaged(&error))).collect()
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsFileFault> {
        let path = self.path.to_owned();
        PrivateKeyDer::from_pem_slice(self.octets).map_err(|error| match error {
            // RFC 7468 11, and the older form of RFC 1421.
            pem::Error::NoItemsFound if self.says(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
                TlsFileFault::EncryptedKey { path }
            }
            pem::Error::NoItemsFound => TlsFileFault::NoKey { path },
            _ if self.says(b"Proc-Type: 4,ENCRYPTED") => TlsFileFault::EncryptedKey { path },
            error => self.damaged(&error),
        })
    }

    fn says(&self, text: &[u8]) -> bool {
        memchr::memmem::find(self.octets, text).is_some()
    }

    fn damaged(&self, error: &pem::Error) -> TlsFileFault {
        let what = match error {
            pem::Error::MissingSectionEnd { end_marker } => {
                format!("the block `{}` has no end", String::from_utf8_lossy(end_marker))
            }
            pem::Error::IllegalSectionStart { line } => {
                format!("a block begins with `{}`", String::from_utf8_lossy(line).escape_debug())
            }
            error => error.to_string(),
        };
        TlsFileFault::Damaged { path: self.path.to_owned(), what }
    }

    fn bad_certificate(&self, index: usize, error: &dyn std::error::Error) -> TlsFileFault {
        let (path, what) = (self.path.to_owned(), error.to_string());
        TlsFileFault::BadCertificate { path, number: index + 1, what }
    }
}

fn warnings(
    path: &str,
    certificate: &CertificateDer<'_>,
    unix_s: i64,
) -> Result<Vec<TlsWarning>, TlsFileFault> {
    let file = Pem { path, octets: &[] };
    let (begin, end) = period(certificate).map_err(|error| file.bad_certificate(0, &error))?;
    let path = path.to_owned();
    Ok(match unix_s {
        now if now < begin => vec![TlsWarning::NotYetValid { path, unix_s: begin }],
        // RFC 5280 4.1.2.5: the period includes its last second.
        now if now > end => vec![TlsWarning::Expired { path, unix_s: end }],
        _ => Vec::new(),
    })
}

/// The first and the last second of a certificate's time. RFC 5280 4.1.2.5.
fn period(certificate: &CertificateDer<'_>) -> Result<(i64, i64), x509_cert::der::Error> {
    let read = x509_cert::Certificate::from_der(certificate)?;
    let validity = read.tbs_certificate().validity();
    let seconds = |time: x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
    };
    Ok((seconds(validity.not_before), seconds(validity.not_after)))
}
