//! The threads of the ledger: the store's, the files', and the clock's.
//!
//! Writes, syncs and reads are the store thread's: a group begins when somebody waits and the one before is
//! done, and whatever is asked meanwhile is the next group. Content in part has a thread of its own. What
//! is due at a time is the clock thread's, which no disk holds up. None of them takes requests in
//! particular; see [`super::shared`].

use super::disk::DiskFault;
use super::files::Files;
use super::shared::{Inspection, Shared, State};
use super::store::{Store, StoreFault};
use crate::ledger::{FileJob, Keeper, Record, Unreadable, Work};
use crate::limits;
use crate::now::Tick;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

/// Rows that an inspection looks at in one step.
const INSPECTED_ROWS: usize = 2_000;

/// After so long without a commit the store is left so that nothing needs to be repaired.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// How long the store's thread sleeps at most when it has nothing to do.
const STORE_REST: Duration = Duration::from_secs(3600);

/// How long the clock's thread sleeps at most: it shows that the keeper can be had.
const CLOCK_REST: Duration = Duration::from_millis(500);

impl Shared {
    // ---- the clock --------------------------------------------------------------------------

    pub fn keep_time(&self) {
        let _ = self.clockwork.set(thread::current());
        loop {
            let rest = self.with(|state| {
                self.faults.wait_while_deaf();
                self.faults.die_of(DiskFault::ClockDies);
                self.moved();
                let now = self.clock.now();
                if state.keeper.deadline().is_some_and(|due| due <= now) {
                    state.keeper.timed_out(now);
                }
                let due = state.keeper.deadline().map(|due| due.since(now));
                let rest = due.unwrap_or(CLOCK_REST).min(CLOCK_REST);
                state.clock_sleeps_until = now + rest;
                (!state.ended).then_some(rest)
            });
            match rest {
                Some(rest) => thread::park_timeout(rest),
                None => return,
            }
        }
    }

    // ---- the store --------------------------------------------------------------------------

    pub fn keep_store(&self, mut store: Store, mut loaded: bool) {
        let _ = self.store.set(thread::current());
        let mut works = loaded;
        loop {
            match self.with(|state| self.next_task(state, &store)) {
                Task::End => break,
                Task::Sleep(rest, then_settles) => {
                    let from = Instant::now();
                    thread::park_timeout(rest);
                    if then_settles && from.elapsed() >= rest {
                        // If that fails, the next commit says so.
                        let _ = store.settle();
                    }
                }
                Task::Inspect(inspection) => self.inspect(&mut store, inspection),
                Task::Work(work) => {
                    for row in &work.reads {
                        let octets = store.read(*row);
                        let octets = octets.as_ref().ok().and_then(|octets| octets.as_deref());
                        self.with(|state| state.keeper.found(*row, octets, self.clock.now()));
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
                    thread::sleep(limits::LEDGER_GROUP_PAUSE);
                }
            }
        }
        let _ = store.settle();
    }

    /// What the store's thread does next.
    fn next_task(&self, state: &mut State, store: &Store) -> Task {
        let now = self.clock.now();
        state.store_sleeps_until = Tick::START;
        if state.ended {
            state.keeper.hurry();
        }
        if let Some(work) = state.keeper.take_work(now) {
            return Task::Work(work);
        }
        if let Some(inspection) = state.inspections.pop() {
            return Task::Inspect(inspection);
        }
        if state.ended {
            return Task::End;
        }
        let due = state.keeper.work_due(now).map(|due| due.since(now));
        let settle = store.is_unsettled().then_some(SETTLE_AFTER);
        let rest = due.into_iter().chain(settle).min().unwrap_or(STORE_REST);
        state.store_sleeps_until = now + rest;
        Task::Sleep(rest, settle == Some(rest))
    }

    /// Writes a group, and makes it durable if somebody waits for that.
    fn commit(&self, store: &mut Store, work: Work) -> Result<(), StoreFault> {
        self.faults.die_of(DiskFault::StoreDies);
        let from = Instant::now();
        let done = store.write(&work.changes).and_then(|()| {
            self.with(|state| state.keeper.written(self.clock.now()));
            if work.sync { store.sync() } else { Ok(()) }
        });
        let us = u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.with(|state| match &done {
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
        });
        done
    }

    /// The store could not be opened at the start; perhaps now. What was to be changed in it was meant
    /// for rows that nobody knew.
    fn load_late(&self, store: &mut Store) -> Result<(), StoreFault> {
        let opened = store.reopen().map_err(|error| StoreFault(error.into()));
        self.with(|state| {
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
            loaded
        })
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
                self.with(|state| state.inspections.push(inspection));
            }
        }
    }

    // ---- files ------------------------------------------------------------------------------

    pub fn keep_files(&self, mut files: Files, queue: &Receiver<Option<FileJob>>) {
        let cleaned = files.clean(|row| self.with(|state| state.keeper.is_kept_file(row)));
        if let Err(error) = cleaned {
            eprintln!("postern: content in part cannot be kept: {error}");
        }
        while let Ok(Some(job)) = queue.recv() {
            if let Some(done) = files.run(job) {
                self.with(|state| state.keeper.file_done(done, self.clock.now()));
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
        if shared.with(|state| state.ended) {
            return;
        }
        match essential {
            true => shared.die(name),
            false => eprintln!(
                "postern: the thread {name} has died; mail goes on without content in part"
            ),
        }
    }
}

/// What the store's thread does next.
enum Task {
    Work(Work),
    Inspect(Inspection),
    /// Nothing for so long, or until it is woken; and then, if it was not, the store is settled.
    Sleep(Duration, bool),
    /// The ledger ends, and nothing is left to do.
    End,
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
