//! The record of outcomes with its disk: the threads around the keeper, the files below it, and the
//! lines by which shards ask.
//!
//! ```text
//! shard ──▶ Line ──▶ queue ──▶ Keeper ◀──▶ store thread ──▶ journal ──▶ database
//!   ▲                            │  ◀──▶ files thread ──▶ content in part
//!   └── answer, or deliver ◀─────┘  ◀──── clock thread
//! ```
//!
//! The rules are those of [`crate::ledger`], which touches nothing; here is what touches the system. It
//! stands beside the shards, below those who look at it: it knows neither sessions nor connections.

mod crash;
mod disk;
mod files;
mod journal;
mod line;
mod secret;
mod shared;
pub mod store;
#[cfg(test)]
mod tests;
mod threads;

pub use crash::CrashPoint;
pub use disk::{DiskFault, FaultSwitch};
pub use line::Line;

use crate::ledger::{
    Answer, Keeper, LedgerFigures, Opened, Record, Request, Secret, Settings, Unreadable,
};
use crate::limits::LEDGER_DEAF_AFTER;
use files::Files;
use hdrhistogram::Histogram;
use shared::{Clock, Inspection, Shared, State};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{OpenError, Store};
use threads::{LoadError, Watch, load};

/// The running ledger. When it is dropped, what waits is made durable, and its threads end.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    requests: Sender<Request>,
    secret: Secret,
    opened: Opened,
    threads: Vec<JoinHandle<()>>,
}

/// The way to the ledger for those who look at it.
#[derive(Clone, Debug)]
pub struct LedgerHandle {
    shared: Arc<Shared>,
}

/// What a ledger is made of.
#[derive(Clone, Debug)]
pub struct LedgerSettings {
    /// The folder of its files.
    pub folder: PathBuf,
    /// What may be chosen.
    pub keeper: Settings,
    /// Makes the disk fail, for tests.
    pub faults: FaultSwitch,
    /// After so long without a move it counts as deaf.
    pub deaf_after: Duration,
}

/// Why a ledger does not start. A disk that cannot be written now is no reason: mail goes on without
/// records until it can.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store is not ours to write.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A record is of a newer version.
    #[error("a record of {0} cannot be read: {1}; start the newer version, or move it away")]
    Newer(PathBuf, Unreadable),
    /// The secret is no secret.
    #[error("{0} is not 32 octets long; it is the secret of the ledger beside it: move both away")]
    Secret(PathBuf),
    /// The system gives no threads, or no random octets.
    #[error("the ledger cannot start: {0}")]
    System(#[from] io::Error),
}

/// What the ledger tells of itself.
#[derive(Clone, Debug)]
pub struct LedgerReport {
    /// What the keeper has counted.
    pub figures: LedgerFigures,
    /// How long commits took, in microseconds.
    pub commit_us: Histogram<u64>,
    /// Records a commit.
    pub group: Histogram<u64>,
    /// Requests that found the line full.
    pub refused: u64,
}

impl LedgerSettings {
    /// The defaults, in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> LedgerSettings {
        LedgerSettings {
            folder: folder.into(),
            keeper: Settings::default(),
            faults: FaultSwitch::default(),
            deaf_after: LEDGER_DEAF_AFTER,
        }
    }
}

impl Ledger {
    /// Opens the store, reads all of it, and starts the threads.
    pub fn start(settings: LedgerSettings) -> Result<Ledger, LedgerError> {
        let LedgerSettings { folder, keeper, faults, deaf_after } = settings;
        let secret = secret::secret(&folder)?;
        let epoch_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let clock = Clock::start();
        let mut keeper = Keeper::new(keeper, secret.clone(), epoch_s);
        let (store, loaded) = match Store::open(&folder, faults.clone()) {
            Ok(mut store) => match load(&mut store, &mut keeper, clock.now()) {
                Ok(()) => (store, true),
                Err(LoadError::Newer(newer)) => return Err(LedgerError::Newer(folder, newer)),
                Err(LoadError::Fault(fault)) => {
                    eprintln!("postern: {fault}; mail goes on without records");
                    (Store::closed(&folder, faults.clone()), false)
                }
            },
            Err(OpenError::Disk { path, error }) => {
                let path = path.display();
                eprintln!("postern: {path}: {error}; mail goes on without records");
                (Store::closed(&folder, faults.clone()), false)
            }
            Err(error) => return Err(error.into()),
        };
        if !loaded {
            keeper.failed(Vec::new(), clock.now());
        }
        let (jobs, job_queue) = mpsc::channel();
        let (requests, queue) = mpsc::channel();
        let files = Files::new(&folder.join("partial"), faults.clone());
        let opened = keeper.opened();
        let state = State::new(keeper, queue, jobs);
        let shared = Arc::new(Shared::new(state, clock, faults, deaf_after));
        let mut ledger =
            Ledger { shared: Arc::clone(&shared), requests, secret, opened, threads: Vec::new() };
        // What the start wants done to files is done before anything else.
        shared.with(|_| ());
        let (clock, disk, content) = (shared.clone(), shared.clone(), shared);
        ledger.spawn("postern-ledger-clock", true, move || clock.keep_time())?;
        ledger.spawn("postern-ledger-disk", true, move || disk.keep_store(store, loaded))?;
        ledger
            .spawn("postern-ledger-part", false, move || content.keep_files(files, &job_queue))?;
        Ok(ledger)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        essential: bool,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let watch = Watch { shared: Arc::clone(&self.shared), name, essential };
        let watched = move || {
            let _watch = watch;
            work();
        };
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(watched)?);
        Ok(())
    }

    /// What keys are made with.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What was found in the store.
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// A line for a shard. `deliver` is called with the numbers of connections and their answers, those of
    /// a group at once, from threads of the ledger and of others who ask, and must not wait.
    pub fn line(&self, deliver: impl Fn(Vec<(u64, Answer)>) + Send + Sync + 'static) -> Line {
        let number = self.shared.with(|state| {
            state.lines.push(Arc::new(Box::new(deliver)));
            u32::try_from(state.lines.len() - 1).unwrap_or(u32::MAX)
        });
        Line { number, requests: self.requests.clone(), shared: Arc::clone(&self.shared) }
    }

    /// The way to the ledger for those who look at it.
    pub fn handle(&self) -> LedgerHandle {
        LedgerHandle { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.ended = true;
            // The thread has ended if nobody takes it.
            let _ = state.files.send(None);
        });
        for thread in &self.threads {
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
        self.shared.close();
    }
}

impl LedgerHandle {
    /// What the ledger tells of itself. It does not wait for the disk.
    pub fn report(&self) -> LedgerReport {
        self.shared.report()
    }

    /// The record of a transaction, by the id that its Received field and the log have. The store is
    /// read from its beginning, in steps between commits; the answer comes into the channel, or the
    /// channel is closed if the ledger ends before.
    pub fn show(&self, trace_id: &str) -> Receiver<Option<Record>> {
        let (answer, receiver) = mpsc::channel();
        if self.shared.is_deaf(self.shared.clock.now()) {
            return receiver;
        }
        let inspection = Inspection { trace_id: trace_id.to_owned(), next: 0, answer };
        self.shared.with(|state| state.inspections.push(inspection));
        self.shared.store.get().inspect(|thread| thread.unpark());
        receiver
    }
}
