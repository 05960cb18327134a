//! The file under the store, and a switch by which tests make it fail.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// A file, as the store reads and writes it. It is locked while it is open.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    faults: FaultSwitch,
}

/// Makes every operation of a ledger's files fail or wait: for tests. Off by itself.
#[derive(Clone, Debug, Default)]
pub struct FaultSwitch(Arc<AtomicU8>);

/// What the disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum DiskFault {
    /// It works.
    #[default]
    None,
    /// Writes and syncs fail with ENOSPC.
    Full,
    /// Writes and syncs fail with EROFS.
    ReadOnly,
    /// Syncs fail with EIO, after what was written may or may not be there.
    SyncFails,
    /// Writes and syncs wait until the switch is set to something else.
    Stalled,
    /// The disk works; but the clock's thread has the keeper, and hangs until the switch is set to
    /// something else.
    Deaf,
    /// The disk works; but the clock's thread dies by a panic, and does not come back.
    ClockDies,
    /// The same of the thread that writes.
    StoreDies,
    /// The keeper panics, whoever asks it.
    KeeperDies,
}

impl FaultSwitch {
    /// From now on the disk does this.
    pub fn set(&self, fault: DiskFault) {
        self.0.store(fault as u8, Ordering::SeqCst);
    }

    fn is(&self, fault: DiskFault) -> bool {
        self.0.load(Ordering::SeqCst) == fault as u8
    }

    /// Whether something may be written.
    pub(super) fn check_write(&self) -> io::Result<()> {
        while self.is(DiskFault::Stalled) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.is(DiskFault::Full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match self.is(DiskFault::ReadOnly) {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    /// A thread of the ledger dies here if a test wants it.
    pub(super) fn die_of(&self, fault: DiskFault) {
        assert!(!self.is(fault), "a thread of the ledger dies, as a test wants it");
    }

    pub(super) fn wait_while_deaf(&self) {
        while self.is(DiskFault::Deaf) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether something may be made durable.
    pub(super) fn check_sync(&self) -> io::Result<()> {
        self.check_write()?;
        match self.is(DiskFault::SyncFails) {
            true => Err(io::Error::other("the disk fails, as a test wants it")),
            false => Ok(()),
        }
    }
}

impl Disk {
    /// The file, locked: another process that has it open is an error of the kind `WouldBlock`.
    pub fn new(file: File, faults: FaultSwitch) -> io::Result<Disk> {
        match file.try_lock() {
            Ok(()) => Ok(Disk { file, faults }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Fills up a last page of which only a part is there, as the store refuses such a file.
    pub fn whole_pages(&self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        match len.is_multiple_of(PAGE_OCTETS) {
            true => Ok(()),
            false => self.file.set_len(len.next_multiple_of(PAGE_OCTETS)),
        }
    }
}

impl Drop for Disk {
    /// A process that was forked in this moment and has not run its program yet has the descriptor, too:
    /// to close ours would not give the lock back.
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked with the last descriptor.
        let _ = self.file.unlock();
    }
}

/// Octets of a page of the store, by its documentation.
const PAGE_OCTETS: u64 = 4096;

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check_write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.check_sync()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check_write()?;
        self.file.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.file.unlock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_let_go_is_free_whoever_else_has_its_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open().unwrap();
        let of_a_child = file.try_clone().unwrap();
        let disk = Disk::new(file, FaultSwitch::default()).unwrap();
        let again = || Disk::new(open().unwrap(), FaultSwitch::default());
        assert_eq!(again().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(disk);
        again().unwrap();
        drop(of_a_child);
    }
}
