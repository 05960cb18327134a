//! The keeper in the hands of many threads, one at a time.
//!
//! There is no thread that takes requests. Whoever asks puts his request into the queue and takes what is
//! in it, his own for the most part, if nobody else has the keeper; if somebody has, that one looks at the
//! queue again before he goes. So nobody waits for the lock who must not, most questions are answered
//! where they are asked, by nobody's waking up, and requests have one order. What a shard does so is a few
//! microseconds of look-ups and of encoding; all that touches a disk is for the threads.

use super::LedgerReport;
use super::crash::CrashPoint;
use super::disk::{DiskFault, FaultSwitch};
use crate::ledger::{
    Answer, Begun, Effect, FileJob, Holder, Keeper, LedgerFigures, Record, Request, Row,
};
use crate::limits::LEDGER_REQUESTS_A_STEP;
use crate::now::Tick;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Gives the answers of a group to the connections of a shard, by their numbers. It must not wait.
pub(super) type Deliver = Box<dyn Fn(Vec<(u64, Answer)>) + Send + Sync>;

/// The answers of a group for one line.
type Letter = (Arc<Deliver>, Vec<(u64, Answer)>);

pub(super) struct Shared {
    state: Mutex<State>,
    /// Requests that nobody has taken yet. One that is taken before it is counted makes it smaller than
    /// it is, for the moment until its sender looks at the queue himself.
    waiting: AtomicIsize,
    pub refused: AtomicU64,
    /// The threads, from their beginning on.
    pub store: OnceLock<Thread>,
    pub clockwork: OnceLock<Thread>,
    /// When the clock's thread had the keeper last, in microseconds.
    moved_us: AtomicU64,
    deaf_after: Duration,
    /// It was said on standard error that it does not.
    told_deaf: AtomicBool,
    /// A thread without which nothing is recorded has ended, or the keeper itself is broken.
    dead: AtomicBool,
    pub faults: FaultSwitch,
    pub clock: Clock,
    last_report: Mutex<LedgerReport>,
}

/// How long somebody who looks at the ledger waits for the keeper.
const REPORT_PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct State {
    pub keeper: Keeper,
    requests: Receiver<Request>,
    pub lines: Vec<Arc<Deliver>>,
    /// `None` ends the thread.
    pub files: Sender<Option<FileJob>>,
    pub ended: bool,
    /// Until when the threads sleep by themselves; they need not be woken for what is due later.
    pub store_sleeps_until: Tick,
    pub clock_sleeps_until: Tick,
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

impl Clock {
    /// It begins now.
    pub fn start() -> Clock {
        Clock { began: Instant::now() }
    }

    pub fn now(&self) -> Tick {
        Tick::from_us(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl State {
    pub fn new(
        keeper: Keeper,
        requests: Receiver<Request>,
        files: Sender<Option<FileJob>>,
    ) -> State {
        State {
            keeper,
            requests,
            lines: Vec::new(),
            files,
            ended: false,
            store_sleeps_until: Tick::START,
            clock_sleeps_until: Tick::START,
            commit_us: histogram(),
            group: histogram(),
            inspections: Vec::new(),
        }
    }
}

impl Shared {
    pub fn new(state: State, clock: Clock, faults: FaultSwitch, deaf_after: Duration) -> Shared {
        Shared {
            state: Mutex::new(state),
            waiting: AtomicIsize::new(0),
            refused: AtomicU64::new(0),
            store: OnceLock::new(),
            clockwork: OnceLock::new(),
            moved_us: AtomicU64::new(clock.now().as_us()),
            deaf_after,
            told_deaf: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            faults,
            clock,
            last_report: Mutex::new(LedgerReport {
                figures: LedgerFigures::default(),
                commit_us: histogram(),
                group: histogram(),
                refused: 0,
            }),
        }
    }

    // ---- for those who ask --------------------------------------------------------------------

    /// Requests that nobody has taken yet.
    pub fn requests_waiting(&self) -> usize {
        usize::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// A request was put into the queue: it is taken here, or by whoever has the keeper. The answer is
    /// returned if there is one for `asker` already. It does not wait.
    pub fn asked(&self, asker: Option<Holder>, now: Tick) -> Option<Answer> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.take_requests(asker, now)
    }

    /// Takes requests until there are none, or somebody else has the keeper.
    fn take_requests(&self, asker: Option<Holder>, now: Tick) -> Option<Answer> {
        let mut answer = None;
        loop {
            // With the same fence behind the lock of the other one: either he sees the request that was
            // counted before, or his lock is seen to be open.
            fence(Ordering::SeqCst);
            if self.waiting.load(Ordering::SeqCst) <= 0 || self.is_dead() {
                return answer;
            }
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return answer,
            };
            // A shard that asks is not to die of a mistake of the ledger.
            let step = AssertUnwindSafe(|| self.take_some(&mut state, now));
            if catch_unwind(step).is_err() {
                self.die("a thread that asked it");
                return answer;
            }
            answer = self.let_go(state, asker, now).or(answer);
        }
    }

    fn take_some(&self, state: &mut State, now: Tick) {
        for request in state.requests.try_iter().take(LEDGER_REQUESTS_A_STEP) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.faults.die_of(DiskFault::KeeperDies);
            let received = matches!(request, Request::Received { .. });
            if matches!(request, Request::Commit { .. }) {
                CrashPoint::HandedOn.reached();
            }
            state.keeper.ask(request, now);
            if received {
                CrashPoint::Received.reached();
            }
        }
    }

    // ---- for those who may wait ---------------------------------------------------------------

    /// Takes a step with the keeper, carries out what it wants, and takes what was asked meanwhile.
    pub fn with<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let done = step(&mut state);
        let now = self.clock.now();
        self.let_go(state, None, now);
        self.take_requests(None, now);
        done
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst a transaction without a record.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the ledger tells of itself: as it was, if nobody can have the keeper now.
    pub fn report(&self) -> LedgerReport {
        let deaf = self.is_deaf(self.clock.now());
        let mut last = self.last_report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = self.lock_within(REPORT_PATIENCE) {
            last.figures = state.keeper.figures();
            last.commit_us = state.commit_us.clone();
            last.group = state.group.clone();
            drop(state);
            self.take_requests(None, self.clock.now());
        }
        last.refused = self.refused.load(Ordering::Relaxed);
        last.figures.store_works &= !deaf;
        last.clone()
    }

    /// The keeper, if it can be had in this time.
    fn lock_within(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        let until = Instant::now() + patience;
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(REPORT_PATIENCE / 100),
            }
        }
    }

    /// Lets the keeper go and does what it wants. What `asker` is answered is returned; all else goes by
    /// the lines.
    fn let_go(
        &self,
        mut state: MutexGuard<'_, State>,
        asker: Option<Holder>,
        now: Tick,
    ) -> Option<Answer> {
        let mut letters: BTreeMap<u32, Letter> = BTreeMap::new();
        let mut for_asker = None;
        while let Some(effect) = state.keeper.poll_effect() {
            match effect {
                Effect::Answer(holder, answer)
                    if asker == Some(holder) && !matches!(answer, Answer::Superseded(_)) =>
                {
                    for_asker = Some(answer);
                }
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
        let wakes_store =
            state.keeper.work_due(now).is_some_and(|due| due < state.store_sleeps_until);
        let wakes_clock = state.keeper.deadline().is_some_and(|due| due < state.clock_sleeps_until);
        if wakes_store {
            state.store_sleeps_until = Tick::START;
        }
        if wakes_clock {
            state.clock_sleeps_until = Tick::START;
        }
        drop(state);
        let to_wake = [(wakes_store, &self.store), (wakes_clock, &self.clockwork)];
        for (_, thread) in to_wake.into_iter().filter(|(wakes, _)| *wakes) {
            thread.get().inspect(|thread| thread.unpark());
        }
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
        for_asker
    }

    // ---- whether it can be asked --------------------------------------------------------------

    /// Whether nothing is recorded any more, whatever comes.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Whether it is dead, or nobody could have the keeper for long. The first to find that out says so.
    pub fn is_deaf(&self, now: Tick) -> bool {
        if self.is_dead() {
            return true;
        }
        let moved = Tick::from_us(self.moved_us.load(Ordering::Relaxed));
        let deaf = now.since(moved) > self.deaf_after;
        if deaf && !self.told_deaf.swap(true, Ordering::Relaxed) {
            eprintln!("postern: the ledger does not answer; mail goes on without records");
        }
        deaf
    }

    /// The clock's thread has the keeper.
    pub fn moved(&self) {
        self.moved_us.store(self.clock.now().as_us(), Ordering::Relaxed);
        if self.told_deaf.load(Ordering::Relaxed) && self.told_deaf.swap(false, Ordering::Relaxed) {
            eprintln!("postern: the ledger answers again");
        }
    }

    /// Nothing is recorded any more.
    pub fn die(&self, thread: &str) {
        self.dead.store(true, Ordering::Relaxed);
        eprintln!("postern: the ledger has died in {thread}; mail goes on without records");
    }

    /// It ends in order: whoever asks is answered at once.
    pub fn close(&self) {
        self.dead.store(true, Ordering::Relaxed);
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
