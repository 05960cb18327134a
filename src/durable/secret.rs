//! The secret that keys are made with: drawn once, kept beside the store.

use super::LedgerError;
use crate::ledger::Secret;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The secret of a ledger; made with it.
pub(super) fn secret(folder: &Path) -> Result<Secret, LedgerError> {
    let path = folder.join("secret");
    let mut octets = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut octets)) {
        Ok(_) if octets.is_empty() => {}
        Ok(_) => {
            let octets = octets.try_into().map_err(|_| LedgerError::Secret(path))?;
            return Ok(Secret::new(octets));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let path = path.display();
            eprintln!("postern: {path}: {error}; earlier records will not be found");
        }
    }
    let mut fresh = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut fresh)?;
    if let Err(error) = keep_secret(folder, &path, &fresh) {
        let path = path.display();
        eprintln!("postern: {path}: {error}; records will not be found after a restart");
    }
    Ok(Secret::new(fresh))
}

/// Writes it beside its place first: half a secret would make all records unknown.
fn keep_secret(folder: &Path, path: &Path, secret: &[u8; 32]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let draft = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(secret)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}
