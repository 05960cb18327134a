//! The threads of the ledger.
//!
//! The front takes requests and answers what needs no disk; so a miss, or a new transaction, does not
//! wait for a disk however slow it is. Writes, syncs and reads are the store thread's: a group begins as
//! soon as it is idle and somebody waits, and whatever is asked meanwhile is the next group. Questions
//! on their way are bounded: when there are too many, or the ledger has died, the asker has its answer
//! at once, without a record.

use super::crash::CrashPoint;
use super::disk::{DiskFault, FaultSwitch};
use super::files::Files;
use super::store::{Store, StoreFault};
use crate::ledger::{
    Answer, Begun, Effect, FileJob, Keeper, Record, Request, Row, Unreadable, Work,
};
use crate::limits;
use crate::now::Tick;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Gives the answers of a group to the connections of a shard, by their numbers. It must not wait.
pub(super) type Deliver = Box<dyn Fn(Vec<(u64, Answer)>) + Send + Sync>;

/// The answers of a group for one line.
type Letter = (Arc<Deliver>, Vec<(u64, Answer)>);

pub(super) struct Shared {
    pub state: Mutex<State>,
    /// The store's thread has something to do.
    pub work: Condvar,
    /// Requests that the front has not taken yet.
    pub waiting: AtomicUsize,
    pub refused: AtomicU64,
    /// When the front has moved last, in microseconds.
    moved_us: AtomicU64,
    deaf_after: Duration,
    /// It was said on standard error that it does not.
    told_deaf: AtomicBool,
    /// A thread without which nothing is recorded has died.
    dead: AtomicBool,
    faults: FaultSwitch,
    pub clock: Clock,
}

pub(super) struct State {
    pub keeper: Keeper,
    pub lines: Vec<Arc<Deliver>>,
    /// `None` ends the thread.
    pub files: Sender<Option<FileJob>>,
    pub ended: bool,
    /// Until when the store's thread sleeps by itself; it need not be woken for what is due later.
    store_sleeps_until: Tick,
    pub commit_us: Histogram<u64>,
    pub group: Histogram<u64>,
    pub inspections: Vec<Inspection>,
}

/// An operator wants to see a record: some rows are looked at between two commits.
pub(super) struct Inspection {
    pub trace_id: String,
    pub next: Row,
    pub answer: Sender<Option<Record>>,
}

/// The monotonic clock, and the wall clock at its beginning.
pub(super) struct Clock {
    pub began: Instant,
}

/// Rows that an inspection looks at in one step.
const INSPECTED_ROWS: usize = 2_000;

/// Requests that the front takes in one step, before it looks at the time.
pub(super) const REQUESTS_A_STEP: usize = 256;

/// After so long without a commit the store is left so that nothing needs to be repaired.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// How long the store's thread sleeps at most when it has nothing to do.
const STORE_REST: Duration = Duration::from_secs(3600);

/// How long the front waits for a request at most: it has to see that the ledger ends.
const FRONT_REST: Duration = Duration::from_millis(500);

impl Clock {
    /// It begins now.
    pub fn start() -> Clock {
        Clock { began: Instant::now() }
    }

    pub fn now(&self) -> Tick {
        Tick::from_us(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Shared {
    pub fn new(
        keeper: Keeper,
        files: Sender<Option<FileJob>>,
        clock: Clock,
        faults: FaultSwitch,
        deaf_after: Duration,
    ) -> Shared {
        let state = State {
            keeper,
            lines: Vec::new(),
            files,
            ended: false,
            store_sleeps_until: Tick::START,
            commit_us: histogram(),
            group: histogram(),
            inspections: Vec::new(),
        };
        Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            moved_us: AtomicU64::new(clock.now().as_us()),
            deaf_after,
            told_deaf: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            faults,
            clock,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst a transaction without a record.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the keeper wants, after the lock is given back.
    pub fn carry_out(&self, mut state: MutexGuard<'_, State>) {
        let mut letters: BTreeMap<u32, Letter> = BTreeMap::new();
        while let Some(effect) = state.keeper.poll_effect() {
            match effect {
                Effect::Answer(holder, answer) => {
                    if let Some(deliver) = state.lines.get(holder.line as usize) {
                        let letter = letters.entry(holder.line);
                        let (_, answers) =
                            letter.or_insert_with(|| (Arc::clone(deliver), Vec::new()));
                        answers.push((holder.seat, answer));
                    }
                }
                Effect::File(job) => {
                    // The thread ends after everybody who could want something of it.
                    let _ = state.files.send(Some(job));
                }
            }
        }
        let now = self.clock.now();
        let due = state.keeper.work_due(now).filter(|due| *due < state.store_sleeps_until);
        if due.is_some() {
            self.work.notify_one();
        }
        drop(state);
        for (deliver, answers) in letters.into_values() {
            for (_, answer) in &answers {
                match answer {
                    Answer::Begun(Begun::GoOn { recorded: true }) => CrashPoint::Intent.reached(),
                    Answer::Committed { recorded: true } => CrashPoint::Committed.reached(),
                    _ => {}
                }
            }
            deliver(answers);
        }
    }

    // ---- the front --------------------------------------------------------------------------

    /// Whether a thread has died, or the front has not moved for long. The first to find that out says so.
    pub fn is_deaf(&self) -> bool {
        if self.dead.load(Ordering::Relaxed) {
            return true;
        }
        let moved = Tick::from_us(self.moved_us.load(Ordering::Relaxed));
        let deaf = self.clock.now().since(moved) > self.deaf_after;
        if deaf && !self.told_deaf.swap(true, Ordering::Relaxed) {
            eprintln!("postern: the ledger does not answer; mail goes on without records");
        }
        deaf
    }

    fn front_moves(&self) {
        self.faults.wait_while_deaf();
        self.faults.die_of(DiskFault::FrontDies);
        self.moved_us.store(self.clock.now().as_us(), Ordering::Relaxed);
        if self.told_deaf.load(Ordering::Relaxed) && self.told_deaf.swap(false, Ordering::Relaxed) {
            eprintln!("postern: the ledger answers again");
        }
    }

    pub fn take_requests(&self, queue: &Receiver<Request>) {
        loop {
            self.front_moves();
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

    pub fn keep_store(&self, mut store: Store, mut loaded: bool) {
        let mut works = loaded;
        while let Some(task) = self.next_task(&store) {
            match task {
                Task::Settle => {
                    // If that fails, the next commit says so.
                    let _ = store.settle();
                }
                Task::Inspect(inspection) => self.inspect(&mut store, inspection),
                Task::Work => {
                    let Some(work) = self.take_work() else { continue };
                    for row in &work.reads {
                        let octets = store.read(*row);
                        let mut state = self.lock();
                        let octets = octets.as_ref().ok().and_then(|octets| octets.as_deref());
                        state.keeper.found(*row, octets, self.clock.now());
                        self.carry_out(state);
                    }
                    let done = match loaded {
                        true => self.commit(&mut store, work),
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
            if state.ended {
                state.keeper.hurry();
            }
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
            let rest = due.into_iter().chain(settle).min().unwrap_or(STORE_REST);
            state.store_sleeps_until = now + rest;
            let waited = self.work.wait_timeout(state, rest);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.store_sleeps_until = Tick::START;
            if timeout.timed_out() && settle == Some(rest) {
                return Some(Task::Settle);
            }
        }
    }

    fn take_work(&self) -> Option<Work> {
        self.lock().keeper.take_work(self.clock.now())
    }

    /// Writes a group, and makes it durable if somebody waits for that.
    fn commit(&self, store: &mut Store, work: Work) -> Result<(), StoreFault> {
        self.faults.die_of(DiskFault::StoreDies);
        let from = Instant::now();
        let done = store.write(&work.changes).and_then(|()| {
            let mut state = self.lock();
            state.keeper.written(self.clock.now());
            self.carry_out(state);
            if work.sync { store.sync() } else { Ok(()) }
        });
        let us = u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        match &done {
            Ok(()) => {
                if work.sync {
                    state.commit_us.saturating_record(us);
                }
                if !work.changes.is_empty() {
                    state.group.saturating_record(work.changes.len() as u64);
                }
                state.keeper.committed(work.changes.len(), self.clock.now());
            }
            Err(_) => state.keeper.failed(work.changes, self.clock.now()),
        }
        self.carry_out(state);
        done
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

    pub fn keep_files(&self, mut files: Files, queue: &Receiver<Option<FileJob>>) {
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

/// Goes with a thread of the ledger, and says so if that ends before the ledger does: by a panic, or by a
/// mistake of ours.
pub(super) struct Watch {
    pub shared: Arc<Shared>,
    pub name: &'static str,
    /// Without it nothing is recorded: nobody is to wait for it.
    pub essential: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Watch { shared, name, essential } = self;
        if shared.lock().ended {
            return;
        }
        shared.dead.fetch_or(*essential, Ordering::Relaxed);
        let what = if *essential { "records" } else { "content in part" };
        eprintln!("postern: the thread {name} has died; mail goes on without {what}");
    }
}

/// What the store's thread does next.
enum Task {
    Work,
    Inspect(Inspection),
    Settle,
}

pub(super) enum LoadError {
    Newer(Unreadable),
    Fault(StoreFault),
}

/// Reads all rows into the keeper.
pub(super) fn load(store: &mut Store, keeper: &mut Keeper, now: Tick) -> Result<(), LoadError> {
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

/// Microseconds, or records; from 1 to far above what will be seen, three digits exact.
fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap_or_else(|error| unreachable!("three digits are allowed: {error}"))
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}
