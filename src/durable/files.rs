//! Files with content in part: a thread that may wait does what the keeper wants done to them.

use super::disk::FaultSwitch;
use crate::ledger::{FileDone, FileJob, Row};
use crate::limits::LEDGER_LOAD_OCTETS;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The folder of the files. The names are the rows of their records, in hex.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    faults: FaultSwitch,
    /// The file that was written last: content comes in long runs.
    open: Option<(Row, File)>,
}

impl Files {
    pub fn new(folder: &Path, faults: FaultSwitch) -> Files {
        Files { folder: folder.to_owned(), faults, open: None }
    }

    /// Removes what belongs to no record: a crash may leave it.
    pub fn clean(&self, is_kept: impl Fn(Row) -> bool) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match Row::from_str_radix(name.trim_end_matches(ENDING), 16) {
                Ok(row) if name.ends_with(ENDING) && !is_kept(row) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Does a job; what comes of it is for the keeper.
    pub fn run(&mut self, job: FileJob) -> Option<FileDone> {
        match job {
            FileJob::Append { file, octets } => {
                let done = self.append(file, &octets).is_ok();
                Some(FileDone::Appended { file, octets: octets.len(), done })
            }
            FileJob::Sync { file, partial } => {
                let done = self.sync(file).is_ok();
                Some(FileDone::Synced { file, partial, done })
            }
            FileJob::Cut { file, octets } => {
                // A file that is shorter than it should be is found when it is read.
                let _ = self.writable(file).and_then(|file| file.set_len(octets));
                None
            }
            FileJob::Read { file, from, ticket } => {
                let octets = self.load(file, from).ok();
                Some(FileDone::Loaded { ticket, octets })
            }
            FileJob::Remove { file } => {
                self.open = self.open.take().filter(|(row, _)| *row != file);
                // What could not be removed is removed at the next start.
                let _ = fs::remove_file(self.path(file));
                None
            }
        }
    }

    fn append(&mut self, row: Row, octets: &[u8]) -> io::Result<()> {
        self.faults.check_write()?;
        self.writable(row)?.write_all(octets)
    }

    fn sync(&mut self, row: Row) -> io::Result<()> {
        self.faults.check_sync()?;
        self.writable(row)?.sync_data()?;
        File::open(&self.folder)?.sync_all()
    }

    fn load(&mut self, row: Row, from: u64) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(row))?;
        let left = file.metadata()?.len().saturating_sub(from);
        let mut octets =
            vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(LEDGER_LOAD_OCTETS)];
        file.read_exact_at(&mut octets, from)?;
        Ok(octets)
    }

    fn writable(&mut self, row: Row) -> io::Result<&mut File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != row) {
            let path = self.path(row);
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            self.open = Some((row, file));
        }
        match &mut self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn path(&self, row: Row) -> PathBuf {
        self.folder.join(format!("{row:x}{ENDING}"))
    }
}

const ENDING: &str = ".part";
