//! The ledger of the world, the disk below it, and what happens when the process dies.

use super::{ClientId, Event, World};
use crate::ledger::{ContentDigest, Effect, Keeper, Record, Request, Secret, Settings, Work};
use crate::now::Tick;
use crate::relay::Relay;
use crate::session::{Answer, LedgerLine};
use crate::sim::disk::Disk;
use std::cell::Cell;
use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;

/// The ledger of a world, and the disk below it.
#[derive(Debug)]
pub(super) struct Ledger {
    pub keeper: Keeper,
    disk: Disk,
    /// The disk is at this; its end is an event.
    work: Option<Work>,
    /// Troubles with the disk that processes had which are dead, and how often it was given up.
    troubles_before: u64,
    given_up_before: u64,
}

/// The server's secret outlives its crashes.
fn secret() -> Secret {
    Secret::new([7; 32])
}

fn troubles(keeper: &Keeper) -> u64 {
    let counts = keeper.figures().counts;
    counts.unrecorded + counts.store_failures
}

fn given_up(keeper: &Keeper) -> u64 {
    let counts = keeper.figures().counts;
    counts.unrecorded + counts.lookups_failed
}

impl World {
    /// Gives the world a ledger whose disk is empty.
    pub fn keep_ledger(&mut self) {
        let disk = Disk::default();
        let keeper = Keeper::new(Settings::default(), secret(), self.epoch_s());
        let (secret, rules) = (Rc::new(secret()), Rc::new(Cell::new(1)));
        self.shared.ledger = Some(LedgerLine { line: 0, secret, rules });
        self.ledger =
            Some(Ledger { keeper, disk, work: None, troubles_before: 0, given_up_before: 0 });
    }

    /// The process dies and is started again: what it knew is gone, what it has written is not. Half of
    /// the times the power fails, too: what was written and not synced is there up to some group. Content
    /// that was not synced may be torn anywhere.
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.forget_process();
        let mut relay = Relay::new(Arc::clone(&self.routes));
        relay.start_up(self.now);
        self.shared.board = relay.board();
        self.relay = relay;
        let epoch_s = self.epoch_s();
        if let Some(Ledger { keeper, disk, work, troubles_before, given_up_before }) =
            &mut self.ledger
        {
            *troubles_before += troubles(keeper);
            *given_up_before += given_up(keeper);
            *work = None;
            if self.chance.bool() {
                disk.lose_power(&mut self.chance);
            }
            disk.tear(&mut self.chance);
            *keeper = Keeper::new(Settings::default(), secret(), epoch_s);
            for (row, octets) in disk.rows() {
                let loaded = keeper.load_row(row, octets, self.now);
                debug_assert!(loaded.is_ok(), "a record of our own");
            }
            disk.keep_files(|file| keeper.is_kept_file(file));
        }
        if let Some(line) = &self.shared.ledger {
            line.rules.set(line.rules.get() + 1);
        }
        self.drain_relay();
        self.drain_ledger();
    }

    /// Connections break; what was on its way to a client arrives, what was on its way to us does not.
    fn forget_process(&mut self) {
        let events = std::mem::take(&mut self.events);
        for Reverse(scheduled) in events.into_sorted_vec() {
            match scheduled.event {
                Event::ToHop(_, _, settles) => self.unanswered.extend(settles),
                Event::ToClient(..) | Event::ServerEnded(_) => {
                    self.events.push(Reverse(scheduled));
                }
                _ => {}
            }
        }
        self.hops.clear();
        self.probes_open = 0;
        for index in 0..self.clients.len() {
            if !std::mem::replace(&mut self.clients[index].crashed, true) {
                let due = self.arrival(|world| &mut world.clients[index].to_client);
                self.schedule(due, Event::ServerEnded(ClientId(index)));
            }
        }
    }

    /// The wall clock is set, forward or back.
    pub fn set_clock(&mut self, seconds: i64) {
        self.clock_offset_s += seconds;
    }

    /// The wall clock at [`Tick::START`], as a process that starts now would have it.
    fn epoch_s(&self) -> u64 {
        let elapsed_s = (self.now - Tick::START).as_secs();
        u64::try_from(self.now().unix_s).unwrap_or(0).saturating_sub(elapsed_s)
    }

    /// How often the process has died.
    pub fn crashes(&self) -> u64 {
        self.crashes
    }

    /// How often the disk has failed or was too slow, so that something was not recorded or not found.
    pub fn disk_troubles(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |one| one.troubles_before + troubles(&one.keeper))
    }

    /// How often the disk was not waited for any longer: something that was stored was not read, or an
    /// outcome was told as one that is not, and is not kept though it may have become durable.
    pub fn disk_given_up(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |one| one.given_up_before + given_up(&one.keeper))
    }

    /// How many outcomes of messages with this content are durable.
    pub fn durable_outcomes(&self, digest: ContentDigest) -> usize {
        let Some(ledger) = &self.ledger else { return 0 };
        let is_it = |record: Record| {
            record.outcome().is_some()
                && record.content.is_some_and(|content| content.digest == digest)
        };
        let rows = ledger.disk.durable_rows();
        rows.filter(|octets| Record::decode(octets).is_ok_and(is_it)).count()
    }

    pub(super) fn ask_ledger(&mut self, id: ClientId, request: Request) {
        let now = self.now;
        if let Some(ledger) = &mut self.ledger {
            ledger.keeper.ask(request, now);
            self.drain_ledger();
        } else if let Some(answer) = Answer::without_ledger(&request) {
            let now = self.now();
            self.clients[id.0].session.answered(answer, now);
        }
    }

    /// When the ledger wants something though nothing happens.
    pub(super) fn ledger_deadline(&self) -> Option<Tick> {
        let keeper = &self.ledger.as_ref()?.keeper;
        [keeper.deadline(), keeper.work_due(self.now)].into_iter().flatten().min()
    }

    pub(super) fn ledger_due(&mut self, now: Tick) {
        if let Some(ledger) = &mut self.ledger
            && ledger.keeper.deadline().is_some_and(|due| due <= now)
        {
            ledger.keeper.timed_out(now);
        }
        self.drain_ledger();
    }

    /// Gives the disk what the ledger wants, and the sessions its answers.
    pub(super) fn drain_ledger(&mut self) {
        let now = self.now;
        while let Some(Ledger { keeper, disk, work, .. }) = &mut self.ledger {
            if let Some(effect) = keeper.poll_effect() {
                match effect {
                    Effect::File(job) => {
                        if let Some(done) = disk.file(job) {
                            keeper.file_done(done, now);
                        }
                    }
                    Effect::Answer(holder, answer) => {
                        let (index, now) = (holder.seat as usize, self.now());
                        if !self.clients[index].crashed {
                            let answer = Answer::Ledger(Box::new(answer));
                            self.clients[index].session.answered(answer, now);
                            self.drain_session(ClientId(index));
                        }
                    }
                }
            } else if let (None, Some(next)) = (&work, keeper.take_work(now)) {
                let sync = next.sync;
                *work = Some(next);
                self.disk_begins();
                match self.faults.disk_us_max {
                    most if sync && most > 0 => {
                        let due = now + self.drawn_up_to(most);
                        self.schedule(due, Event::DiskDone);
                    }
                    _ => self.disk_done(),
                }
            } else {
                return;
            }
        }
    }

    /// The disk reads and writes: at once, as the system keeps it in memory.
    fn disk_begins(&mut self) {
        let now = self.now;
        let Some(Ledger { keeper, disk, work: Some(work), .. }) = &mut self.ledger else { return };
        for row in &work.reads {
            keeper.found(*row, disk.read(*row).as_deref(), now);
        }
        disk.write(&work.changes);
        keeper.written(now);
    }

    /// The disk is done with its work, or has failed at it: what was written is there or not, all of it.
    pub(super) fn disk_done(&mut self) {
        let (now, fails) = (self.now, self.happens(self.faults.disk_fails));
        let Some(Ledger { keeper, disk, work, .. }) = &mut self.ledger else { return };
        let Some(work) = work.take() else { return };
        match fails {
            true => keeper.failed(work.changes, now),
            false => {
                if work.sync {
                    disk.sync();
                }
                keeper.committed(work.changes.len(), now);
            }
        }
        self.drain_ledger();
    }
}
