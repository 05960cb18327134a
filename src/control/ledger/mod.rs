//! The ledger's threads: the keeper's logic, the disk that it must not wait for, and the lines by which
//! shards ask.
//!
//! ```text
//! shard ──▶ Line ──▶ front ──▶ Keeper ◀──▶ store thread ──▶ one commit in flight
//!   ▲                            │  ◀──▶ files thread ──▶ content in part
//!   └───────── deliver ◀─────────┘
//! ```
//!
//! The front takes requests and answers what needs no disk; so a miss, or a new transaction, does not
//! wait for a disk however slow it is. Commits and reads are the store thread's. Questions on their way
//! are bounded: when there are too many, or the ledger has died, the asker has its answer at once,
//! without a record.

mod admin;
mod crash;
mod disk;
mod files;
mod metrics;
pub mod store;
#[cfg(test)]
mod tests;

pub use admin::admin_routes;
pub use crash::CrashPoint;
pub use disk::{DiskFault, FaultSwitch};
pub use metrics::ledger_metrics;

use crate::ledger::{
    Answer, Begun, Effect, FileJob, Holder, Keeper, LedgerFigures, Opened, Record, Request, Row,
    Secret, Settings, Unreadable, Work,
};
use crate::limits;
use crate::now::Tick;
use files::Files;
use hdrhistogram::Histogram;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{OpenError, Store, StoreFault};

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

/// A shard's way to the ledger.
#[derive(Clone, Debug)]
pub struct Line {
    number: u32,
    requests: Sender<Request>,
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

/// Gives an answer to a connection of a shard. It must not wait.
type Deliver = Box<dyn Fn(u64, Answer) + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    /// The store's thread has something to do.
    work: Condvar,
    /// Requests that the front has not taken yet.
    waiting: AtomicUsize,
    refused: AtomicU64,
    clock: Clock,
}

struct State {
    keeper: Keeper,
    lines: Vec<Arc<Deliver>>,
    /// `None` ends the thread.
    files: Sender<Option<FileJob>>,
    ended: bool,
    commit_us: Histogram<u64>,
    group: Histogram<u64>,
    inspections: Vec<Inspection>,
}

/// An operator wants to see a record: some rows are looked at between two commits.
struct Inspection {
    trace_id: String,
    next: Row,
    answer: Sender<Option<Record>>,
}

/// The monotonic clock, and the wall clock at its beginning.
struct Clock {
    began: Instant,
}

/// Rows that an inspection looks at in one step.
const INSPECTED_ROWS: usize = 2_000;

/// Requests that the front takes in one step, before it looks at the time.
const REQUESTS_A_STEP: usize = 256;

/// After so long without a commit the store is left so that nothing needs to be repaired.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// How long the front waits for a request at most: it has to see that the ledger ends.
const FRONT_REST: Duration = Duration::from_millis(500);

impl LedgerSettings {
    /// The defaults, in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> LedgerSettings {
        LedgerSettings {
            folder: folder.into(),
            keeper: Settings::default(),
            faults: FaultSwitch::default(),
        }
    }
}

impl Ledger {
    /// Opens the store, reads all of it, and starts the threads.
    pub fn start(settings: LedgerSettings) -> Result<Ledger, LedgerError> {
        let LedgerSettings { folder, keeper, faults } = settings;
        let secret = secret(&folder)?;
        let epoch_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let clock = Clock { began: Instant::now() };
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
        let files = Files::new(&folder.join("partial"), faults);
        let opened = keeper.opened();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                keeper,
                lines: Vec::new(),
                files: jobs,
                ended: false,
                commit_us: histogram(),
                group: histogram(),
                inspections: Vec::new(),
            }),
            work: Condvar::new(),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            clock,
        });
        let mut ledger =
            Ledger { shared: Arc::clone(&shared), requests, secret, opened, threads: Vec::new() };
        // What the start wants done to files is done before anything else.
        shared.carry_out(shared.lock());
        let (front, disk, content) = (shared.clone(), shared.clone(), shared);
        ledger.spawn("postern-ledger", move || front.take_requests(&queue))?;
        ledger.spawn("postern-ledger-disk", move || disk.keep_store(store, loaded))?;
        ledger.spawn("postern-ledger-part", move || content.keep_files(files, &job_queue))?;
        Ok(ledger)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(work)?);
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

    /// A line for a shard. `deliver` is called with the number of a connection and its answer, from the
    /// ledger's threads, and must not wait.
    pub fn line(&self, deliver: impl Fn(u64, Answer) + Send + Sync + 'static) -> Line {
        let mut state = self.shared.lock();
        let number = u32::try_from(state.lines.len()).unwrap_or(u32::MAX);
        state.lines.push(Arc::new(Box::new(deliver)));
        drop(state);
        Line { number, requests: self.requests.clone(), shared: Arc::clone(&self.shared) }
    }

    /// The way to the ledger for those who look at it.
    pub fn handle(&self) -> LedgerHandle {
        LedgerHandle { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        // The thread has ended if nobody takes it.
        let _ = state.files.send(None);
        drop(state);
        self.shared.work.notify_all();
        // Something to take, so that the front sees it at once.
        let nobody = Holder { line: u32::MAX, seat: 0 };
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let _ = self.requests.send(Request::Quit { holder: nobody });
        for thread in self.threads.drain(..) {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

impl Line {
    /// Which line it is.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A connection of this line, as requests name it.
    pub fn holder(&self, seat: u64) -> Holder {
        Holder { line: self.number, seat }
    }

    /// Asks. The answer comes by what [`Ledger::line`] was given; or it is returned at once if the
    /// ledger cannot be asked: then the transaction goes on without a record.
    pub fn ask(&self, request: Request) -> Option<Answer> {
        let shared = &self.shared;
        let request = match shared.waiting.load(Ordering::Relaxed) {
            0..limits::LEDGER_REQUESTS_WAITING => request,
            _ => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                match essence(request) {
                    Ok(notice) => notice,
                    Err(question) => return question.unanswered(),
                }
            }
        };
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        // It is given back if the ledger has died.
        self.requests.send(request).err().and_then(|SendError(request)| request.unanswered())
    }
}

/// What must arrive of a request though too many are on their way, or the request if it need not.
/// What is over must be heard of, and is at most a few words a connection. Content is not: a transaction
/// whose content would have a hole is kept no more.
fn essence(request: Request) -> Result<Request, Request> {
    match request {
        Request::Content { transaction, .. } | Request::Append { transaction, .. } => {
            Ok(Request::Forget { transaction })
        }
        request if request.wants_answer() => Err(request),
        request => Ok(request),
    }
}

impl LedgerHandle {
    /// What the ledger tells of itself. It does not wait for the disk.
    pub fn report(&self) -> LedgerReport {
        let state = self.shared.lock();
        LedgerReport {
            figures: state.keeper.figures(),
            commit_us: state.commit_us.clone(),
            group: state.group.clone(),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }

    /// The record of a transaction, by the id that its Received field and the log have. The store is
    /// read from its beginning, in steps between commits; the answer comes into the channel, or the
    /// channel is closed if the ledger ends before.
    pub fn show(&self, trace_id: &str) -> Receiver<Option<Record>> {
        let (answer, receiver) = mpsc::channel();
        let inspection = Inspection { trace_id: trace_id.to_owned(), next: 0, answer };
        self.shared.lock().inspections.push(inspection);
        self.shared.work.notify_all();
        receiver
    }
}

impl Clock {
    fn now(&self) -> Tick {
        Tick::from_us(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst a transaction without a record.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the keeper wants, after the lock is given back.
    fn carry_out(&self, mut state: MutexGuard<'_, State>) {
        let mut answers = Vec::new();
        while let Some(effect) = state.keeper.poll_effect() {
            match effect {
                Effect::Answer(holder, answer) => {
                    if let Some(deliver) = state.lines.get(holder.line as usize) {
                        answers.push((Arc::clone(deliver), holder.seat, answer));
                    }
                }
                Effect::File(job) => {
                    // The thread ends after everybody who could want something of it.
                    let _ = state.files.send(Some(job));
                }
            }
        }
        let now = self.clock.now();
        if state.keeper.work_due(now).is_some() {
            self.work.notify_one();
        }
        drop(state);
        for (deliver, seat, answer) in answers {
            match &answer {
                Answer::Begun(Begun::GoOn { recorded: true }) => CrashPoint::Intent.reached(),
                Answer::Committed { recorded: true } => CrashPoint::Committed.reached(),
                _ => {}
            }
            deliver(seat, answer);
        }
    }

    // ---- the front --------------------------------------------------------------------------

    fn take_requests(&self, queue: &Receiver<Request>) {
        loop {
            let state = self.lock();
            if state.ended {
                return;
            }
            let due = state.keeper.deadline();
            drop(state);
            let now = self.clock.now();
            let rest = due.map_or(FRONT_REST, |due| due.since(now).min(FRONT_REST));
            let first = match queue.recv_timeout(rest) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = self.clock.now();
            let mut state = self.lock();
            for request in first.into_iter().chain(queue.try_iter().take(REQUESTS_A_STEP)) {
                let received = matches!(request, Request::Received { .. });
                if matches!(request, Request::Commit { .. }) {
                    CrashPoint::HandedOn.reached();
                }
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                state.keeper.ask(request, now);
                if received {
                    CrashPoint::Received.reached();
                }
            }
            if state.keeper.deadline().is_some_and(|due| due <= now) {
                state.keeper.timed_out(now);
            }
            self.carry_out(state);
            // A shard that asks while the front sleeps here has nobody to wake, which costs it more
            // than the question.
            thread::sleep(limits::LEDGER_FRONT_PAUSE);
        }
    }

    // ---- the store --------------------------------------------------------------------------

    fn keep_store(&self, mut store: Store, mut loaded: bool) {
        let mut works = loaded;
        let mut next_commit = Instant::now();
        while let Some(task) = self.next_task(&store) {
            match task {
                Task::Settle => {
                    // If that fails, the next commit says so.
                    let _ = store.settle();
                }
                Task::Inspect(inspection) => self.inspect(&mut store, inspection),
                Task::Work => {
                    // What comes meanwhile is made durable by the same commit.
                    thread::sleep(next_commit.saturating_duration_since(Instant::now()));
                    next_commit = Instant::now() + limits::LEDGER_COMMIT_INTERVAL;
                    let Some(work) = self.take_work() else { continue };
                    for row in work.reads {
                        let octets = store.read(row);
                        let mut state = self.lock();
                        let octets = octets.as_ref().ok().and_then(|octets| octets.as_deref());
                        state.keeper.found(row, octets, self.clock.now());
                        self.carry_out(state);
                    }
                    let done = match loaded {
                        true => self.commit(&mut store, work.changes),
                        false => self.load_late(&mut store),
                    };
                    loaded |= done.is_ok();
                    if done.is_ok() != works {
                        works = done.is_ok();
                        tell_of_change(&done);
                    }
                    tell_of_damage(&mut store);
                }
            }
        }
        let _ = store.settle();
    }

    /// What the store's thread does next. `None` when the ledger ends and nothing is left to do.
    fn next_task(&self, store: &Store) -> Option<Task> {
        let mut state = self.lock();
        loop {
            let now = self.clock.now();
            if state.keeper.work_due(now).is_some_and(|due| due <= now) {
                return Some(Task::Work);
            }
            if let Some(inspection) = state.inspections.pop() {
                return Some(Task::Inspect(inspection));
            }
            if state.ended {
                return None;
            }
            let due = state.keeper.work_due(now).map(|due| due.since(now));
            let settle = store.is_unsettled().then_some(SETTLE_AFTER);
            let Some(rest) = due.into_iter().chain(settle).min() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.work.wait_timeout(state, rest);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if timeout.timed_out() && settle == Some(rest) {
                return Some(Task::Settle);
            }
        }
    }

    fn take_work(&self) -> Option<Work> {
        self.lock().keeper.take_work(self.clock.now())
    }

    fn commit(&self, store: &mut Store, changes: Vec<store::Change>) -> Result<(), StoreFault> {
        let from = Instant::now();
        if let Err(fault) = store.commit(&changes) {
            let mut state = self.lock();
            state.keeper.failed(changes, self.clock.now());
            self.carry_out(state);
            return Err(fault);
        }
        let us = u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        if !changes.is_empty() {
            state.commit_us.saturating_record(us);
            state.group.saturating_record(changes.len() as u64);
        }
        state.keeper.committed(changes.len(), self.clock.now());
        self.carry_out(state);
        Ok(())
    }

    /// The store could not be opened at the start; perhaps now. What was to be changed in it was meant
    /// for rows that nobody knew.
    fn load_late(&self, store: &mut Store) -> Result<(), StoreFault> {
        let opened = store.reopen().map_err(|error| StoreFault(error.into()));
        let mut state = self.lock();
        let loaded = opened.and_then(|()| {
            state.keeper.forget_rows();
            match load(store, &mut state.keeper, self.clock.now()) {
                Ok(()) => Ok(()),
                Err(LoadError::Fault(fault)) => Err(fault),
                Err(LoadError::Newer(newer)) => Err(StoreFault(newer.into())),
            }
        });
        match &loaded {
            Ok(()) => state.keeper.committed(0, self.clock.now()),
            Err(_) => state.keeper.failed(Vec::new(), self.clock.now()),
        }
        self.carry_out(state);
        loaded
    }

    fn inspect(&self, store: &mut Store, mut inspection: Inspection) {
        let Ok((rows, next)) = store.some_from(inspection.next, INSPECTED_ROWS) else {
            let _ = inspection.answer.send(None);
            return;
        };
        let wanted = |octets: &Vec<u8>| {
            Record::decode(octets).ok().filter(|record| *record.trace_id == *inspection.trace_id)
        };
        let found = rows.iter().find_map(wanted);
        match next.filter(|_| found.is_none()) {
            // Who asked may have gone.
            None => drop(inspection.answer.send(found)),
            Some(next) => {
                inspection.next = next;
                self.lock().inspections.push(inspection);
            }
        }
    }

    // ---- files ------------------------------------------------------------------------------

    fn keep_files(&self, mut files: Files, queue: &Receiver<Option<FileJob>>) {
        let cleaned = files.clean(|row| self.lock().keeper.is_kept_file(row));
        if let Err(error) = cleaned {
            eprintln!("postern: content in part cannot be kept: {error}");
        }
        while let Ok(Some(job)) = queue.recv() {
            if let Some(done) = files.run(job) {
                let mut state = self.lock();
                state.keeper.file_done(done, self.clock.now());
                self.carry_out(state);
            }
        }
    }
}

/// What the store's thread does next.
enum Task {
    Work,
    Inspect(Inspection),
    Settle,
}

enum LoadError {
    Newer(Unreadable),
    Fault(StoreFault),
}

/// Reads all rows into the keeper.
fn load(store: &mut Store, keeper: &mut Keeper, now: Tick) -> Result<(), LoadError> {
    let read = store.each(|row, octets| keeper.load_row(row, octets, now));
    tell_of_damage(store);
    read.map_err(LoadError::Fault)?.map_err(LoadError::Newer)
}

fn tell_of_change(done: &Result<(), StoreFault>) {
    match done {
        Ok(()) => eprintln!("postern: the ledger's store works again"),
        Err(fault) => eprintln!("postern: {fault}; mail goes on without records"),
    }
}

fn tell_of_damage(store: &mut Store) {
    if let Some(place) = store.take_set_aside() {
        eprintln!(
            "postern: the ledger's store was damaged; it was put aside as {}, and what could be read \
             of it is kept",
            place.display()
        );
    }
}

/// The secret of a ledger; made with it.
fn secret(folder: &Path) -> Result<Secret, LedgerError> {
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

/// Microseconds, or records; from 1 to far above what will be seen, three digits exact.
fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap_or_else(|error| unreachable!("three digits are allowed: {error}"))
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}
