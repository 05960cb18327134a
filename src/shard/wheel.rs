//! The timers of a shard: a wheel of slots, one for each stretch of time, turned by whoever asks.
//!
//! To set a timer and to stop one costs the same however many there are, which matters because most
//! are stopped or put off long before they are due. A slot holds the timers of its stretch in this
//! turn of the wheel and in later ones; those of later turns are passed over. Every timer keeps its
//! exact moment: the width of a slot decides what is looked at together, never when a timer is due.

use crate::limits::{WHEEL_SLOT_US, WHEEL_SLOTS};
use crate::now::Tick;
use slab::Slab;
use std::collections::VecDeque;

/// Timers, each with what is to be done when it is due.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    /// The first timer of each slot.
    slots: Vec<Option<u32>>,
    /// A bit for each slot that is not empty.
    occupied: [u64; WHEEL_SLOTS / 64],
    timers: Slab<Entry<T>>,
    timers_made: u32,
    /// All slots before this one, counted from the beginning of time, were looked at.
    reached: u64,
    /// Timers that were due when their slot was looked at.
    ripe: VecDeque<Timer>,
    /// Nothing is due before this moment. It is not too late; it may be too early.
    quiet_until: Option<Tick>,
}

/// A timer that was set. It means nothing any more once it was due or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    index: u32,
    number: u32,
}

#[derive(Debug)]
struct Entry<T> {
    number: u32,
    due: Tick,
    what: T,
    /// The slot in which it stands, between these two; `None` once it is ripe.
    slot: Option<usize>,
    before: Option<u32>,
    behind: Option<u32>,
}

impl<T> Wheel<T> {
    /// A wheel without timers.
    pub fn new() -> Wheel<T> {
        Wheel {
            slots: vec![None; WHEEL_SLOTS],
            occupied: [0; WHEEL_SLOTS / 64],
            timers: Slab::new(),
            timers_made: 0,
            reached: 0,
            ripe: VecDeque::new(),
            quiet_until: None,
        }
    }

    /// Sets a timer. One whose moment has passed is due at once.
    pub fn insert(&mut self, due: Tick, what: T) -> Timer {
        self.timers_made = self.timers_made.wrapping_add(1);
        let number = self.timers_made;
        let entry = Entry { number, due, what, slot: None, before: None, behind: None };
        let index = self.timers.insert(entry) as u32;
        self.link(index);
        self.quiet_until = Some(self.quiet_until.map_or(due, |quiet| quiet.min(due)));
        Timer { index, number }
    }

    /// Stops a timer; one that was due or was stopped before is left alone.
    pub fn cancel(&mut self, timer: Timer) -> Option<T> {
        let index = timer.index as usize;
        self.timers.get(index).filter(|entry| entry.number == timer.number)?;
        self.unlink(timer.index);
        Some(self.timers.remove(index).what)
    }

    /// The next timer that is due at `now`, which never goes back.
    pub fn expire(&mut self, now: Tick) -> Option<T> {
        loop {
            while let Some(timer) = self.ripe.pop_front() {
                if let Some(what) = self.cancel(timer) {
                    return Some(what);
                }
            }
            if self.quiet_until.is_none_or(|quiet| now < quiet) {
                return None;
            }
            self.turn(now);
        }
    }

    /// A moment before which nothing is due. `None` if there is no timer.
    pub fn quiet_until(&self) -> Option<Tick> {
        self.quiet_until
    }

    /// Takes the timers that are due out of the slots up to now, and finds out how long it is quiet.
    fn turn(&mut self, now: Tick) {
        let last = slot_of(now);
        // After a whole turn every slot was looked at.
        let first = self.reached.max((last + 1).saturating_sub(WHEEL_SLOTS as u64));
        for slot in first..=last {
            let mut next = self.slots[index_of(slot)];
            while let Some(index) = next {
                let entry = &self.timers[index as usize];
                next = entry.behind;
                if entry.due <= now {
                    let timer = Timer { index, number: entry.number };
                    self.unlink(index);
                    self.ripe.push_back(timer);
                }
            }
        }
        self.reached = last;
        self.quiet_until = match (self.ripe.is_empty(), self.timers.is_empty()) {
            (false, _) => Some(now),
            (true, true) => None,
            (true, false) => Some(self.next_in_slots()),
        };
    }

    /// When the next timer of the slots is due, or when a whole turn is over without one.
    fn next_in_slots(&self) -> Tick {
        let mut slot = self.reached;
        let end = self.reached + WHEEL_SLOTS as u64;
        while slot < end {
            let word = self.occupied[index_of(slot) / 64] >> (slot % 64);
            if word == 0 {
                slot += 64 - slot % 64;
                continue;
            }
            slot += u64::from(word.trailing_zeros());
            if let Some(due) = self.earliest_of(slot) {
                return due;
            }
            slot += 1;
        }
        begin_of(end)
    }

    /// The earliest moment among the timers of a slot that belong to this turn of the wheel.
    fn earliest_of(&self, slot: u64) -> Option<Tick> {
        let end = begin_of(slot + 1);
        let mut earliest = None;
        let mut next = self.slots[index_of(slot)];
        while let Some(index) = next {
            let entry = &self.timers[index as usize];
            next = entry.behind;
            if entry.due < end && earliest.is_none_or(|known| entry.due < known) {
                earliest = Some(entry.due);
            }
        }
        earliest
    }

    fn link(&mut self, index: u32) {
        // What is overdue stands where it is looked at next.
        let slot = index_of(slot_of(self.timers[index as usize].due).max(self.reached));
        let first = self.slots[slot].replace(index);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        let entry = &mut self.timers[index as usize];
        entry.slot = Some(slot);
        entry.behind = first;
        if let Some(first) = first {
            self.timers[first as usize].before = Some(index);
        }
    }

    fn unlink(&mut self, index: u32) {
        let entry = &mut self.timers[index as usize];
        let Some(slot) = entry.slot.take() else { return };
        let (before, behind) = (entry.before.take(), entry.behind.take());
        if let Some(behind) = behind {
            self.timers[behind as usize].before = before;
        }
        match before {
            Some(before) => self.timers[before as usize].behind = behind,
            None => self.slots[slot] = behind,
        }
        if self.slots[slot].is_none() {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }
}

/// The slot of a moment, counted from the beginning of time.
fn slot_of(due: Tick) -> u64 {
    due.as_us() / WHEEL_SLOT_US
}

fn begin_of(slot: u64) -> Tick {
    Tick::from_us(slot.saturating_mul(WHEEL_SLOT_US))
}

/// The place of a slot in the wheel.
fn index_of(slot: u64) -> usize {
    (slot % WHEEL_SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const TICK: Duration = Duration::from_micros(1);

    fn all_due(wheel: &mut Wheel<u64>, now: Tick) -> Vec<u64> {
        let mut due: Vec<u64> = std::iter::from_fn(|| wheel.expire(now)).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn a_timer_is_due_at_its_moment_and_not_one_tick_before() {
        let turn = WHEEL_SLOT_US * WHEEL_SLOTS as u64;
        let spans = [
            0,
            1,
            WHEEL_SLOT_US - 1,
            WHEEL_SLOT_US,
            WHEEL_SLOT_US + 1,
            turn - 1,
            turn,
            turn + 1,
            5 * turn + 17,
        ];
        for begin in [0, 1, WHEEL_SLOT_US - 1, turn - 1, 3 * turn + 12_345] {
            for span in spans {
                let (begin, due) = (Tick::from_us(begin), Tick::from_us(begin + span));
                let mut wheel = Wheel::new();
                assert_eq!(wheel.expire(begin), None);
                wheel.insert(due, 7);
                assert!(wheel.quiet_until().unwrap() <= due);
                if span > 0 {
                    assert_eq!(wheel.expire(Tick::from_us(due.as_us() - 1)), None, "{span}");
                }
                assert_eq!(wheel.expire(due), Some(7), "{span}");
                assert_eq!((wheel.expire(due + TICK), wheel.quiet_until()), (None, None));
            }
        }
    }

    #[test]
    fn a_timer_that_was_stopped_is_not_due_even_when_it_was_found_ripe() {
        let mut wheel = Wheel::new();
        let timers: Vec<Timer> = (0..4).map(|n| wheel.insert(Tick::from_us(n), n)).collect();
        let first = wheel.expire(Tick::from_us(10)).unwrap();
        let others: Vec<u64> = (0..4).filter(|n| *n != first).collect();
        // All are ripe now; one of them is stopped by what the first one does.
        assert_eq!(wheel.cancel(timers[others[0] as usize]), Some(others[0]));
        assert_eq!(all_due(&mut wheel, Tick::from_us(10)), others[1..]);
        // Its place is used again, and the old name means nothing.
        let again = wheel.insert(Tick::from_us(20), 9);
        assert_eq!(timers.iter().filter_map(|old| wheel.cancel(*old)).count(), 0);
        assert_eq!(wheel.cancel(again), Some(9));
        assert_eq!(wheel.expire(Tick::from_us(30)), None);
    }

    /// Against a sorted set, with moments near and many turns away, and time that leaps.
    #[test]
    fn a_wheel_does_what_a_sorted_set_does() {
        for seed in 0..40 {
            let mut chance = fastrand::Rng::with_seed(seed);
            let (mut wheel, mut model) = (Wheel::new(), BTreeSet::new());
            let mut timers = Vec::new();
            let mut now = chance.u64(0..1 << 40);
            assert_eq!(wheel.expire(Tick::from_us(now)), None);
            for number in 0..3_000u64 {
                match chance.u8(0..10) {
                    0..5 => {
                        let far = 1u64 << chance.u32(0..30);
                        let due = now.saturating_sub(5) + chance.u64(0..far);
                        timers.push((wheel.insert(Tick::from_us(due), number), due, number));
                        model.insert((due, number));
                    }
                    5..7 if !timers.is_empty() => {
                        let index = chance.usize(0..timers.len());
                        let (timer, due, number) = timers.swap_remove(index);
                        let open = model.remove(&(due, number));
                        assert_eq!(wheel.cancel(timer), open.then_some(number));
                    }
                    _ => {
                        let leap = 1 << chance.u32(0..28);
                        now += chance.u64(0..leap);
                        let later = model.split_off(&(now + 1, 0));
                        let mut due: Vec<u64> = model.iter().map(|(_, number)| *number).collect();
                        due.sort_unstable();
                        assert_eq!(all_due(&mut wheel, Tick::from_us(now)), due, "seed {seed}");
                        model = later;
                    }
                }
                let (quiet, first) = (wheel.quiet_until(), model.first());
                match (quiet, first) {
                    (Some(quiet), Some((due, _))) => assert!(quiet.as_us() <= *due),
                    (None, first) => assert!(first.is_none()),
                    (Some(_), None) => {}
                }
            }
        }
    }

    #[test]
    fn a_sleeper_who_wakes_when_it_is_no_longer_quiet_is_woken_once_a_turn_at_most() {
        let mut wheel = Wheel::new();
        let due = Tick::START + Duration::from_secs(300);
        wheel.insert(due, 1);
        wheel.insert(Tick::START, 2);
        let (mut now, mut wakes) = (Tick::START, 0);
        assert_eq!(wheel.expire(now), Some(2));
        while wheel.expire(now).is_none() {
            now = wheel.quiet_until().unwrap();
            wakes += 1;
        }
        assert_eq!(now, due);
        let turns = 300_000_000 / (WHEEL_SLOT_US * WHEEL_SLOTS as u64);
        assert!(wakes <= turns + 2, "{wakes}");
    }
}
