//! The store: rows of octets in a file of an embedded database (docs/ledger-store.md says why this one)
//! behind a journal, and what is done when a file is not what it should be.
//!
//! A row is a record's number and its octets. What is written outlives the process, what is synced the
//! machine. When the journal is long, and after a pause, its changes are carried over into the database,
//! with the state of its allocator, so that a process killed at any time leaves nothing to be repaired.

use super::disk::{Disk, FaultSwitch};
use super::journal::{Carried, Journal};
use crate::ledger::Row;
use crate::limits::LEDGER_JOURNAL_OCTETS;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageError, TableDefinition, TableHandle,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The open files.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    faults: FaultSwitch,
    /// `None` after a failure, until it is opened again.
    database: Option<Database>,
    journal: Option<Journal>,
    /// Something in it could not be made sense of: it is copied before the next commit.
    damaged: bool,
    /// Where a damaged file was put aside.
    set_aside: Option<PathBuf>,
}

/// Why a store is not opened. What may be of use to somebody is never overwritten.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is something else.
    #[error("{0} is no ledger of this program; move it away, or choose another `state` folder")]
    Foreign(PathBuf),
    /// The file is one of a newer version.
    #[error("{path} was written by a newer version ({version}); start that one, or move it away")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// It cannot be read or written now.
    #[error("{path}: {error}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The store has failed: it is closed, and the next write opens it again.
#[derive(Debug, thiserror::Error)]
#[error("the ledger's store has failed: {0}")]
pub struct StoreFault(pub(super) Box<dyn std::error::Error + Send + Sync>);

/// A change of one row; `None` deletes.
pub type Change = (Row, Option<Vec<u8>>);

/// The database's name.
const NAME: &str = "ledger.redb";

/// The journal's name.
const JOURNAL_NAME: &str = "ledger.journal";

const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("records");
const FORMAT: TableDefinition<'static, &str, u64> = TableDefinition::new("format");

/// The format that is written, and the newest that is read: what the rows mean. Their octets have
/// versions of their own.
const FORMAT_VERSION: u64 = 2;

/// Where [`FORMAT`] has the version, and the last generation of the journal that was carried over.
const VERSION: &str = "version";
const GENERATION: &str = "journal";

/// What the file begins with; the library's documentation has it.
const MAGIC: &[u8] = b"redb";

/// Octets that the library may keep in memory.
const CACHE_OCTETS: usize = 16 << 20;

/// Rows that are written in one step when a damaged file is copied.
const COPY_STEP: usize = 1_000;

impl Store {
    /// Whether there is one in a folder.
    pub fn exists(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Opens the store in a folder, or makes one. A damaged file is put aside, and what can be read of
    /// it is kept.
    pub fn open(folder: &Path, faults: FaultSwitch) -> Result<Store, OpenError> {
        let path = folder.join(NAME);
        fs::create_dir_all(folder).map_err(|error| disk_error(&path, error))?;
        let mut store = Store::closed(folder, faults);
        store.reopen()?;
        Ok(store)
    }

    /// A store that could not be opened: each write tries again.
    pub fn closed(folder: &Path, faults: FaultSwitch) -> Store {
        let path = folder.join(NAME);
        Store { path, faults, database: None, journal: None, damaged: false, set_aside: None }
    }

    /// Where a damaged file was put aside, if one was.
    pub fn take_set_aside(&mut self) -> Option<PathBuf> {
        self.set_aside.take()
    }

    /// Gives every row in the order of their numbers.
    pub fn each<E>(
        &mut self,
        mut then: impl FnMut(Row, &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreFault> {
        self.settle()?;
        let mut broken = Ok(());
        let mut last = None;
        let read = self.guarded(|database| {
            let rows = database.begin_read()?.open_table(ROWS)?;
            for row in rows.iter()? {
                let (row, octets) = row?;
                broken = then(row.value(), octets.value());
                if broken.is_err() {
                    return Ok(());
                }
                last = Some(row.value());
            }
            Ok(())
        });
        if read.is_ok() {
            return Ok(broken);
        }
        // A page in the middle cannot be read: what lies on both sides of it is copied.
        self.salvage()?;
        let begin = last.map_or(0, |last: Row| last + 1);
        self.guarded(|database| {
            let rows = database.begin_read()?.open_table(ROWS)?;
            for row in rows.range(begin..)? {
                let (row, octets) = row?;
                broken = then(row.value(), octets.value());
                if broken.is_err() {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(broken)
    }

    /// Reads one row.
    pub fn read(&mut self, row: Row) -> Result<Option<Vec<u8>>, StoreFault> {
        if let Some(change) = self.journal.as_ref().and_then(|journal| journal.change(row)) {
            return Ok(change.clone());
        }
        self.guarded(|database| {
            let rows = database.begin_read()?.open_table(ROWS)?;
            Ok(rows.get(row)?.map(|octets| octets.value().to_vec()))
        })
    }

    /// The octets of so many rows from this one on, and where the next ones begin.
    pub fn some_from(
        &mut self,
        begin: Row,
        count: usize,
    ) -> Result<(Vec<Vec<u8>>, Option<Row>), StoreFault> {
        self.settle()?;
        self.guarded(|database| {
            let rows = database.begin_read()?.open_table(ROWS)?;
            let mut some = Vec::new();
            for row in rows.range(begin..)? {
                let (row, octets) = row?;
                if some.len() == count {
                    return Ok((some, Some(row.value())));
                }
                some.push(octets.value().to_vec());
            }
            Ok((some, None))
        })
    }

    /// Writes changes, all or none: they outlive the process. Without changes it is a test of the store.
    /// After a failure the files are opened again first.
    pub fn write(&mut self, changes: &[Change]) -> Result<(), StoreFault> {
        if self.journal.is_none() {
            self.open_again()?;
        }
        if self.journal.as_ref().is_some_and(|one| one.octets() >= LEDGER_JOURNAL_OCTETS) {
            self.settle()?;
        }
        self.journaled(|journal| journal.write(changes))
    }

    /// Makes durable what was written.
    pub fn sync(&mut self) -> Result<(), StoreFault> {
        self.journaled(|journal| journal.sync())
    }

    /// Makes changes durable, all or none.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), StoreFault> {
        self.write(changes)?;
        self.sync()
    }

    /// Carries the journal over into the database, durably.
    pub fn settle(&mut self) -> Result<(), StoreFault> {
        if !self.is_unsettled() {
            return Ok(());
        }
        self.carry_over().or_else(|fault| {
            if !self.damaged {
                return Err(fault);
            }
            self.open_again()?;
            self.carry_over()
        })
    }

    /// Whether [`Store::settle`] has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.octets() > 0)
    }

    /// How many rows there are, and the octets of the file.
    pub fn size(&mut self) -> Result<(u64, u64), StoreFault> {
        let file_octets = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        self.settle()?;
        let rows =
            self.guarded(|database| Ok(database.begin_read()?.open_table(ROWS)?.len()?))?;
        Ok((rows, file_octets))
    }

    /// Gives room back to the file system.
    pub fn compact(&mut self) -> Result<(), StoreFault> {
        self.settle()?;
        match self.database.as_mut().map(Database::compact) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(StoreFault(error.into())),
        }
    }

    // ---- the file ---------------------------------------------------------------------------

    /// Opens the files again, whatever happened to them before.
    pub fn reopen(&mut self) -> Result<(), OpenError> {
        self.close();
        self.check_owner()?;
        match catch_unwind(AssertUnwindSafe(|| self.open_file(&self.path))) {
            Ok(Ok(database)) => {
                self.database = Some(database);
                self.check_format()?;
            }
            Ok(Err(Opening::Error(error))) => return Err(error),
            // the file is damaged where the library cannot do without. Mail does not wait for
            // somebody to repair it.
            Ok(Err(Opening::Damaged)) | Err(_) => self.begin_anew()?,
        }
        self.open_journal()
    }

    fn open_again(&mut self) -> Result<(), StoreFault> {
        match self.damaged {
            true => self.salvage(),
            false => self.reopen().map_err(|error| StoreFault(error.into())),
        }
    }

    fn open_journal(&mut self) -> Result<(), OpenError> {
        let path = self.path.with_file_name(JOURNAL_NAME);
        let carried = self.guarded(|database| {
            let read = database.begin_read()?;
            let generation = read.open_table(FORMAT)?.get(GENERATION)?.map(|value| value.value());
            let rows = read.open_table(ROWS)?;
            let highest = rows.last()?.map(|(row, _)| row.value());
            Ok(Carried {
                generation: generation.unwrap_or_default(),
                highest: highest.unwrap_or_default(),
            })
        });
        let carried = carried.map_err(|fault| disk_error(&path, io::Error::other(fault)))?;
        let disk = self.open_disk(&path);
        let journal = disk.and_then(|disk| {
            Journal::open(disk, carried).map_err(|error| disk_error(&path, error))
        });
        match journal {
            Ok(Some(journal)) => self.journal = Some(journal),
            Ok(None) => {
                self.close();
                return Err(OpenError::Foreign(path));
            }
            Err(error) => {
                self.close();
                return Err(error);
            }
        }
        Ok(())
    }

    /// A file that is no database at all is not touched.
    fn check_owner(&self) -> Result<(), OpenError> {
        let mut begin = Vec::new();
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(|error| disk_error(&self.path, error))?,
        };
        file.take(MAGIC.len() as u64)
            .read_to_end(&mut begin)
            .map_err(|error| disk_error(&self.path, error))?;
        // A process that died while it made the file leaves it empty, or without its beginning.
        let unmade = begin.iter().all(|octet| *octet == 0);
        match unmade || begin == MAGIC {
            true => Ok(()),
            false => Err(OpenError::Foreign(self.path.clone())),
        }
    }

    fn open_disk(&self, path: &Path) -> Result<Disk, OpenError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let disk = file.and_then(|file| {
            self.faults.check_write()?;
            Disk::new(file, self.faults.clone())
        });
        disk.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(path.into()),
            _ => disk_error(path, error),
        })
    }

    fn open_file(&self, path: &Path) -> Result<Database, Opening> {
        let disk = self.open_disk(path).map_err(Opening::Error)?;
        disk.whole_pages().map_err(|error| Opening::Error(disk_error(path, error)))?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_OCTETS);
        builder.create_with_backend(disk).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Opening::Error(OpenError::InUse(path.into())),
            DatabaseError::UpgradeRequired(version) => Opening::Error(OpenError::Newer {
                path: path.into(),
                version: format!("file format {version}"),
            }),
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() != io::ErrorKind::InvalidData
                    && error.kind() != io::ErrorKind::UnexpectedEof =>
            {
                Opening::Error(disk_error(path, error))
            }
            _ => Opening::Damaged,
        })
    }

    /// A database of somebody else is not touched, nor one whose rows mean something newer.
    fn check_format(&mut self) -> Result<(), OpenError> {
        let path = self.path.clone();
        let found = self.guarded(|database| {
            let read = database.begin_read()?;
            let mut tables = read.list_tables()?;
            if !tables.any(|table| table.name() == FORMAT.name()) {
                return Ok(match read.list_tables()?.next() {
                    None => Format::ToBeMade,
                    Some(_) => Format::Foreign,
                });
            }
            let version = read.open_table(FORMAT)?.get(VERSION)?.map(|value| value.value());
            Ok(match version {
                Some(version) if version > FORMAT_VERSION => Format::Newer(version),
                // The first one had no journal.
                Some(version) if version < FORMAT_VERSION => Format::ToBeMade,
                Some(_) => Format::Ours,
                None => Format::Foreign,
            })
        });
        match found {
            Ok(Format::Ours) => Ok(()),
            Ok(Format::ToBeMade) => self
                .guarded(write_format)
                .map_err(|fault| disk_error(&path, io::Error::other(fault))),
            Ok(Format::Foreign) => {
                self.close();
                Err(OpenError::Foreign(path))
            }
            Ok(Format::Newer(version)) => {
                self.close();
                Err(OpenError::Newer { path, version: format!("format {version}") })
            }
            Err(_) => self.begin_anew(),
        }
    }

    /// Puts the file aside and makes a new one.
    fn begin_anew(&mut self) -> Result<(), OpenError> {
        self.close();
        self.put_aside()?;
        match self.open_file(&self.path) {
            Ok(database) => self.database = Some(database),
            Err(Opening::Error(error)) => return Err(error),
            Err(Opening::Damaged) => {
                return Err(disk_error(&self.path, io::ErrorKind::InvalidData.into()));
            }
        }
        self.check_format()
    }

    fn put_aside(&mut self) -> Result<(), OpenError> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let place = self.path.with_extension(format!("damaged-{seconds}"));
        fs::rename(&self.path, &place).map_err(|error| disk_error(&self.path, error))?;
        self.set_aside = Some(place);
        Ok(())
    }

    /// Copies what can be read of a damaged file, from both ends, into a new one that takes its place.
    fn salvage(&mut self) -> Result<(), StoreFault> {
        let fault = |error: OpenError| StoreFault(error.into());
        self.close();
        self.damaged = false;
        let fresh = self.path.with_extension("new");
        // It may lie there from an earlier try that was cut short.
        let _ = fs::remove_file(&fresh);
        let from = match catch_unwind(AssertUnwindSafe(|| self.open_file(&self.path))) {
            Ok(Ok(from)) => from,
            _ => return self.begin_anew().and_then(|()| self.open_journal()).map_err(fault),
        };
        let to = self.open_file(&fresh).map_err(|_| StoreFault("no room for a copy".into()))?;
        write_format(&to).map_err(|error| StoreFault(error.into()))?;
        let mut last = None;
        // Each direction ends at what cannot be read.
        let _ = catch_unwind(AssertUnwindSafe(|| copy(&from, &to, None, &mut last)));
        let _ = catch_unwind(AssertUnwindSafe(|| copy(&from, &to, last, &mut None)));
        close(from);
        close(to);
        self.put_aside().map_err(fault)?;
        fs::rename(&fresh, &self.path).map_err(|error| StoreFault(error.into()))?;
        self.reopen().map_err(fault)
    }

    /// Does something with the database. A failure, or a panic over damaged octets, closes it.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreFault> {
        let Some(database) = &self.database else { return Err(StoreFault("it is closed".into())) };
        let fault = match catch_unwind(AssertUnwindSafe(|| work(database))) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => {
                self.damaged |= matches!(error, redb::Error::Corrupted(_));
                StoreFault(Box::new(error))
            }
            Err(_) => {
                self.damaged = true;
                StoreFault("its file is damaged".into())
            }
        };
        self.close();
        Err(fault)
    }

    /// Does something with the journal. A failure closes the store.
    fn journaled(
        &mut self,
        work: impl FnOnce(&mut Journal) -> io::Result<()>,
    ) -> Result<(), StoreFault> {
        let Some(journal) = &mut self.journal else {
            return Err(StoreFault("it is closed".into()));
        };
        work(journal).map_err(|error| {
            self.close();
            StoreFault(error.into())
        })
    }

    fn carry_over(&mut self) -> Result<(), StoreFault> {
        let Some(mut journal) = self.journal.take() else {
            return Err(StoreFault("it is closed".into()));
        };
        self.guarded(|database| carry_over(database, &journal))?;
        journal.begin_next();
        self.journal = Some(journal);
        Ok(())
    }

    fn close(&mut self) {
        self.journal = None;
        if let Some(database) = self.database.take() {
            close(database);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Closing a damaged file may meet the damage, too.
fn close(database: Database) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

enum Opening {
    Error(OpenError),
    Damaged,
}

enum Format {
    ToBeMade,
    Ours,
    Foreign,
    Newer(u64),
}

fn disk_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Disk { path: path.into(), error }
}

fn write_format(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(FORMAT)?.insert(VERSION, FORMAT_VERSION)?;
    write.open_table(ROWS)?;
    Ok(write.commit()?)
}

/// One transaction; with the allocator's state, so that it need not be found out by the next start.
fn carry_over(database: &Database, journal: &Journal) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    {
        let mut rows = write.open_table(ROWS)?;
        for (row, change) in journal.changes() {
            match change {
                Some(octets) => drop(rows.insert(row, octets)?),
                None => drop(rows.remove(row)?),
            }
        }
        write.open_table(FORMAT)?.insert(GENERATION, journal.generation())?;
    }
    Ok(write.commit()?)
}

fn put(database: &Database, step: Vec<(Row, Vec<u8>)>) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut rows = write.open_table(ROWS)?;
        for (row, octets) in step {
            rows.insert(row, octets.as_slice())?;
        }
    }
    Ok(write.commit()?)
}

/// Copies rows upwards from the first one; or, when `above` tells how far that came, downwards from
/// the last one. `reached` is the last row that was copied.
fn copy(
    from: &Database,
    to: &Database,
    above: Option<Row>,
    reached: &mut Option<Row>,
) -> Result<(), redb::Error> {
    let rows = from.begin_read()?.open_table(ROWS)?;
    let mut step = Vec::new();
    let mut range = rows.range(above.map_or(0, |above| above + 1)..)?;
    loop {
        let next = if above.is_none() { range.next() } else { range.next_back() };
        let Some(Ok((row, octets))) = next else { return put(to, step) };
        *reached = Some(row.value());
        step.push((row.value(), octets.value().to_vec()));
        if step.len() >= COPY_STEP {
            put(to, std::mem::take(&mut step))?;
        }
    }
}
