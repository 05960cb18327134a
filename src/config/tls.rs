//! TLS of a listener: its certificates with their keys, and when TLS begins.

use super::fault::Wrong;
use super::table::{Table, Text};
use super::top::Reading;
use crate::limits::PEM_FILE_OCTETS_MAX;
use crate::session::{ListenerTls, TlsMode};
use crate::tls::{Identity, Pem, ServerTls, TlsFileFault};
use std::ops::Range;
use std::sync::Arc;

/// A PEM file, read.
pub(super) struct PemFile {
    path: String,
    octets: Vec<u8>,
}

impl PemFile {
    pub fn read(reading: &Reading<'_>, path: &Text<'_>) -> Option<PemFile> {
        let octets = reading.files.read(path.text, PEM_FILE_OCTETS_MAX);
        PemFile::of(reading, path, octets)
    }

    /// The same for a route, whose files hold until the next restart.
    pub fn read_once(reading: &Reading<'_>, path: &Text<'_>) -> Option<PemFile> {
        let octets = reading.files.read_once(path.text, PEM_FILE_OCTETS_MAX);
        PemFile::of(reading, path, octets.map(|(octets, _)| octets))
    }

    fn of(
        reading: &Reading<'_>,
        path: &Text<'_>,
        octets: Result<Vec<u8>, Wrong>,
    ) -> Option<PemFile> {
        let octets = reading.faults.good(path.span.clone(), octets)?;
        Some(PemFile { path: reading.files.path(path.text).display().to_string(), octets })
    }

    pub fn pem(&self) -> Pem<'_> {
        Pem { path: &self.path, octets: &self.octets }
    }
}

/// The keys `tls`, `tls-mode` and `client-ca`.
pub(super) fn of_listener(table: &mut Table<'_>, reading: &Reading<'_>) -> Option<ListenerTls> {
    let modes = [
        ("offered", TlsMode::Offered),
        ("required", TlsMode::Required),
        ("implicit", TlsMode::Implicit),
    ];
    let mode = table.choice("tls-mode", &modes);
    let authorities = table.text("client-ca");
    let span = table.value("tls").map(toml::Spanned::span);
    let Some(tables) = table.tables("tls") else {
        // A `tls` with a fault of its own has been told.
        if span.is_none() {
            needs_certificate("tls-mode", table, reading);
            needs_certificate("client-ca", table, reading);
        }
        return None;
    };
    let span = span?;
    if tables.is_empty() {
        let help = "tls = [{ certificate = \"fullchain.pem\", key = \"key.pem\" }]";
        reading.faults.add(span.clone(), "`tls` without a certificate", help);
        return None;
    }
    let count = tables.len();
    let pairs: Vec<_> = tables.into_iter().filter_map(|one| pair(one, reading)).collect();
    let clients = match &authorities {
        Some(path) => Some(PemFile::read(reading, path)?),
        None => None,
    };
    if pairs.len() < count {
        return None;
    }
    let server = server(&pairs, clients.as_ref(), span, authorities.map(|one| one.span), reading)?;
    Some(ListenerTls { server: Arc::new(server), mode: mode.unwrap_or(TlsMode::Offered) })
}

fn needs_certificate(key: &'static str, table: &mut Table<'_>, reading: &Reading<'_>) {
    if let Some(value) = table.value(key) {
        let help = "add `tls = [{ certificate = \"fullchain.pem\", key = \"key.pem\" }]`";
        reading.faults.add(value.span(), format!("`{key}` without a certificate"), help);
    }
}

/// A certificate with its key, and where its table stands.
pub(super) struct Pair {
    pub certificate: PemFile,
    pub key: PemFile,
    pub span: Range<usize>,
}

impl Pair {
    pub fn identity(&self) -> Identity<'_> {
        Identity { certificates: self.certificate.pem(), key: self.key.pem() }
    }
}

fn pair(mut table: Table<'_>, reading: &Reading<'_>) -> Option<Pair> {
    table.requires("certificate", "certificate = \"fullchain.pem\"");
    table.requires("key", "key = \"key.pem\"");
    let certificate = table.text("certificate").and_then(|path| PemFile::read(reading, &path));
    let key = table.text("key").and_then(|path| PemFile::read(reading, &path));
    let span = table.span.clone();
    table.end();
    Some(Pair { certificate: certificate?, key: key?, span })
}

/// What is wrong with one of the pairs is told at the pair: each is tried alone first.
fn server(
    pairs: &[Pair],
    clients: Option<&PemFile>,
    span: Range<usize>,
    clients_span: Option<Range<usize>>,
    reading: &Reading<'_>,
) -> Option<ServerTls> {
    let now = reading.unix_s;
    let mut good = true;
    for pair in pairs {
        let tried = ServerTls::from_pem(&[pair.identity()], None, now).map_err(wrong);
        good &= reading.faults.good(pair.span.clone(), tried).is_some();
    }
    if !good {
        return None;
    }
    let identities: Vec<Identity<'_>> = pairs.iter().map(Pair::identity).collect();
    let server = ServerTls::from_pem(&identities, clients.map(PemFile::pem), now).map_err(wrong);
    let server = reading.faults.good(clients_span.unwrap_or(span), server)?;
    reading.warn(server.warnings());
    identities.iter().filter_map(Identity::expires_unix_s).for_each(|end| reading.expires(end));
    Some(server)
}

/// A fault of a file says what is wrong and what to do.
pub(super) fn wrong(fault: TlsFileFault) -> Wrong {
    Wrong::new(fault.to_string(), "")
}
