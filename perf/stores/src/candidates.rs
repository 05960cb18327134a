//! The candidates behind one face. Rows have numbers that grow, as the ledger's have.

use redb::ConcurrencyMode;
use std::error::Error;
use std::path::Path;

pub type Fault = Box<dyn Error>;

pub enum Change {
    Put(Vec<u8>),
    Delete,
}

pub trait Store {
    fn commit(&mut self, changes: &[(u64, Change)]) -> Result<(), Fault>;
    fn get(&mut self, row: u64) -> Result<Option<Vec<u8>>, Fault>;
    /// All rows that can be read, in order.
    fn each(&mut self, then: &mut dyn FnMut(u64, &[u8]));
}

pub fn open(name: &str, folder: &Path) -> Result<Box<dyn Store>, Fault> {
    Ok(match name {
        "fjall" => Box::new(Fjall::open(folder)?),
        "redb" => Box::new(Redb::open(folder, ConcurrencyMode::ExclusiveWriter, false)?),
        "redb-quick" => Box::new(Redb::open(folder, ConcurrencyMode::ExclusiveWriter, true)?),
        "redb-read" => Box::new(Redb::open(folder, ConcurrencyMode::SingleWriter, false)?),
        "sqlite" => Box::new(Sqlite::open(folder)?),
        _ => return Err("no such store".into()),
    })
}

struct Fjall {
    database: fjall::Database,
    rows: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Result<Fjall, Fault> {
        let database = fjall::Database::builder(folder)
            .worker_threads(1)
            .cache_size(8 << 20)
            .max_journaling_size(128 << 20)
            .open()?;
        let rows = database
            .keyspace("rows", || fjall::KeyspaceCreateOptions::default().max_memtable_size(16 << 20))?;
        Ok(Fjall { database, rows })
    }
}

impl Store for Fjall {
    fn commit(&mut self, changes: &[(u64, Change)]) -> Result<(), Fault> {
        let mut batch =
            self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for (row, change) in changes {
            match change {
                Change::Put(octets) => batch.insert(&self.rows, row.to_be_bytes(), octets.as_slice()),
                Change::Delete => batch.remove(&self.rows, row.to_be_bytes()),
            }
        }
        Ok(batch.commit()?)
    }

    fn get(&mut self, row: u64) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.rows.get(row.to_be_bytes())?.map(|octets| octets.to_vec()))
    }

    fn each(&mut self, then: &mut dyn FnMut(u64, &[u8])) {
        for guard in self.rows.iter() {
            let Ok((key, value)) = guard.into_inner() else { continue };
            let Ok(row) = (*key).try_into() else { continue };
            then(u64::from_be_bytes(row), &value);
        }
    }
}

const ROWS: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("rows");

struct Redb {
    database: redb::Database,
    /// Allocator state is written with each commit, so that nothing is repaired after a kill.
    quick_repair: bool,
}

impl Redb {
    fn open(
        folder: &Path,
        concurrency: ConcurrencyMode,
        quick_repair: bool,
    ) -> Result<Redb, Fault> {
        std::fs::create_dir_all(folder)?;
        let mut builder = redb::Builder::new();
        builder.set_cache_size(16 << 20);
        builder.set_concurrency_mode(concurrency);
        let database = builder.create(folder.join("rows.redb"))?;
        let write = database.begin_write()?;
        write.open_table(ROWS)?;
        write.commit()?;
        Ok(Redb { database, quick_repair })
    }
}

impl Store for Redb {
    fn commit(&mut self, changes: &[(u64, Change)]) -> Result<(), Fault> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(self.quick_repair);
        {
            let mut rows = write.open_table(ROWS)?;
            for (row, change) in changes {
                match change {
                    Change::Put(octets) => drop(rows.insert(row, octets.as_slice())?),
                    Change::Delete => drop(rows.remove(row)?),
                }
            }
        }
        Ok(write.commit()?)
    }

    fn get(&mut self, row: u64) -> Result<Option<Vec<u8>>, Fault> {
        use redb::{ReadableDatabase, ReadableTable};
        let read = self.database.begin_read()?;
        Ok(ReadableTable::get(&read.open_table(ROWS)?, row)?.map(|octets| octets.value().to_vec()))
    }

    fn each(&mut self, then: &mut dyn FnMut(u64, &[u8])) {
        use redb::{ReadableDatabase, ReadableTable};
        let Ok(read) = self.database.begin_read() else { return };
        let Ok(rows) = read.open_table(ROWS) else { return };
        let Ok(all) = ReadableTable::iter(&rows) else { return };
        for (row, octets) in all.flatten() {
            then(row.value(), octets.value());
        }
    }
}

struct Sqlite {
    connection: rusqlite::Connection,
}

impl Sqlite {
    fn open(folder: &Path) -> Result<Sqlite, Fault> {
        std::fs::create_dir_all(folder)?;
        let connection = rusqlite::Connection::open(folder.join("rows.sqlite"))?;
        connection.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384; \
             CREATE TABLE IF NOT EXISTS rows (row INTEGER PRIMARY KEY, octets BLOB);",
        )?;
        Ok(Sqlite { connection })
    }
}

impl Store for Sqlite {
    fn commit(&mut self, changes: &[(u64, Change)]) -> Result<(), Fault> {
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO rows VALUES (?1, ?2)")?;
            let mut delete = transaction.prepare_cached("DELETE FROM rows WHERE row = ?1")?;
            for (row, change) in changes {
                match change {
                    Change::Put(octets) => put.execute((*row as i64, octets))?,
                    Change::Delete => delete.execute((*row as i64,))?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, row: u64) -> Result<Option<Vec<u8>>, Fault> {
        use rusqlite::OptionalExtension;
        let mut get = self.connection.prepare_cached("SELECT octets FROM rows WHERE row = ?1")?;
        Ok(get.query_row((row as i64,), |found| found.get(0)).optional()?)
    }

    fn each(&mut self, then: &mut dyn FnMut(u64, &[u8])) {
        let Ok(mut all) = self.connection.prepare("SELECT row, octets FROM rows ORDER BY row") else {
            return;
        };
        let Ok(mut rows) = all.query(()) else { return };
        while let Ok(Some(row)) = rows.next() {
            if let (Ok(number), Ok(octets)) = (row.get::<_, i64>(0), row.get::<_, Vec<u8>>(1)) {
                then(number as u64, &octets);
            }
        }
    }
}
