//! The ledger of the world, the disk below it, and what happens when the process dies.

use super::{ClientId, Event, Planted, World};
use crate::ledger::{Effect, Keeper, Record, Request, Secret, Settings, Work};
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
    pub disk: Disk,
    /// The disk is at this; its end is an event.
    work: Option<Work>,
}

/// The server's secret outlives its crashes.
fn secret() -> Secret {
    Secret::new([7; 32])
}

impl World {
    /// Gives the world a ledger whose disk is empty.
    pub fn keep_ledger(&mut self) {
        let disk = Disk::default();
        let keeper = Keeper::new(Settings::default(), secret(), self.epoch_s());
        let (secret, rules) = (Rc::new(secret()), Rc::new(Cell::new(1)));
        self.shared.ledger = Some(LedgerLine { line: 0, secret, rules });
        self.ledger = Some(Ledger { keeper, disk, work: None });
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
        if let Some(Ledger { keeper, disk, work }) = &mut self.ledger {
            *work = None;
            self.witness.sees_death(disk);
            if self.chance.bool() {
                disk.lose_power(&mut self.chance);
            }
            disk.tear(&mut self.chance);
            if self.planted == Some(Planted::NotThereAtTheStart) {
                disk.lose(|octets| Record::decode(octets).is_ok_and(|one| one.outcome().is_some()));
            }
            self.witness.sees_start(disk);
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

    pub(super) fn ask_ledger(&mut self, id: ClientId, request: Request) {
        let now = self.now;
        self.see_request(id, &request);
        if self.planted == Some(Planted::NotHeardOf) && matches!(request, Request::Gone { .. }) {
            return;
        }
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

    /// Gives the disk what the ledger wants, and the sessions its answers. Whatever comes of an answer is done
    /// here as well: however much a client pipelines, the stack stays where it is.
    pub(super) fn drain_ledger(&mut self) {
        if std::mem::replace(&mut self.draining_ledger, true) {
            return;
        }
        while self.ledger_step() {}
        self.draining_ledger = false;
    }

    /// Does the next thing that the ledger wants. False if there is nothing.
    fn ledger_step(&mut self) -> bool {
        let now = self.now;
        let Some(Ledger { keeper, disk, work }) = &mut self.ledger else { return false };
        match keeper.poll_effect() {
            Some(Effect::File(job)) => {
                if let Some(done) = disk.file(job) {
                    keeper.file_done(done, now);
                }
                return true;
            }
            Some(Effect::Answer(holder, answer)) => {
                let id = ClientId(holder.seat as usize);
                self.see_answer(id, &answer);
                if !self.clients[id.0].crashed {
                    let now = self.now();
                    let answer = Answer::Ledger(Box::new(answer));
                    self.clients[id.0].session.answered(answer, now);
                    self.drain_session(id);
                }
                return true;
            }
            None => {}
        }
        if work.is_some() {
            return false;
        }
        let Some(next) = keeper.take_work(now) else { return false };
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
        true
    }

    /// The disk reads and writes: at once, as the system keeps it in memory.
    fn disk_begins(&mut self) {
        let now = self.now;
        let Some(Ledger { keeper, disk, work: Some(work), .. }) = &mut self.ledger else { return };
        for row in &work.reads {
            self.witness.sees_read(*row, now);
            let found = disk.read(*row).filter(|_| self.planted != Some(Planted::NotFound));
            keeper.found(*row, found.as_deref(), now);
        }
        disk.write(&work.changes);
        keeper.written(now);
    }

    /// The disk is done with its work, or has failed at it: what was written is there or not, all of it.
    pub(super) fn disk_done(&mut self) {
        let (now, fails) = (self.now, self.happens(self.faults.disk_fails));
        let Some(Ledger { keeper, disk, work, .. }) = &mut self.ledger else { return };
        let Some(work) = work.take() else { return };
        self.witness.sees_commit(fails);
        match fails || self.planted == Some(Planted::TakenForRefused) {
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
