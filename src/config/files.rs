//! The files that a configuration names: read whole, and remembered as they were.
//!
//! Whoever changes one of them may be writing at this moment. So a file is looked at before and
//! after it is read, and one that has changed meanwhile is not taken.

use super::fault::Wrong;
use super::value::shown_octets;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that a configuration was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it was when it was read.
    pub stamp: Stamp,
}

/// What can be seen of a file without reading it: another stamp is another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    octets: u64,
    modified: (i64, i64),
    inode: (u64, u64),
}

impl Stamp {
    /// The stamp of the file at this path, behind symbolic links; `None` if there is none.
    pub fn of(path: &Path) -> Option<Stamp> {
        let data = fs::metadata(path).ok()?;
        Some(Stamp {
            octets: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            inode: (data.dev(), data.ino()),
        })
    }
}

/// Reads the files that one configuration names.
pub(super) struct Files<'a> {
    folder: &'a Path,
    read: RefCell<Vec<NamedFile>>,
}

impl<'a> Files<'a> {
    /// Paths are relative to `folder`.
    pub fn new(folder: &'a Path) -> Files<'a> {
        Files { folder, read: RefCell::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The whole content of a file that has at most so many octets, and that is read again when it
    /// changes.
    pub fn read(&self, name: &str, octets_max: u64) -> Result<Vec<u8>, Wrong> {
        let (octets, file) = self.read_once(name, octets_max)?;
        self.read.borrow_mut().push(file);
        Ok(octets)
    }

    /// The same for what holds until the next restart, whatever becomes of the file.
    pub fn read_once(&self, name: &str, octets_max: u64) -> Result<(Vec<u8>, NamedFile), Wrong> {
        let path = self.path(name);
        let cannot = |error: io::Error| {
            let help = "paths are relative to the folder of the configuration file";
            Wrong::new(format!("cannot read {}: {error}", path.display()), help)
        };
        let before = Stamp::of(&path);
        let mut octets = Vec::new();
        let file = File::open(&path).map_err(cannot)?;
        file.take(octets_max.saturating_add(1)).read_to_end(&mut octets).map_err(cannot)?;
        if octets.len() as u64 > octets_max {
            let what = format!("{} is larger than {}", path.display(), shown_octets(octets_max));
            return Err(Wrong::new(what, "is it the right file?"));
        }
        match before {
            Some(stamp) if Stamp::of(&path) == before && stamp.octets == octets.len() as u64 => {
                Ok((octets, NamedFile { path, stamp }))
            }
            _ => {
                let what = format!("{} changes while it is read", path.display());
                Err(Wrong::new(what, "write another file and rename it to this name"))
            }
        }
    }

    /// All files that are to be read again when they change, each once.
    pub fn into_read(self) -> Vec<NamedFile> {
        let mut read = self.read.into_inner();
        read.sort_by(|one, other| one.path.cmp(&other.path));
        read.dedup();
        read
    }
}
