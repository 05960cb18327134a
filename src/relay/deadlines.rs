//! When something is due, for all connections and routes of a relay.
//!
//! A deadline is touched with every reply and nearly always moves later. So an entry that lies here
//! earlier than its deadline stays where it is, and is put right when it comes up: most changes cost
//! one comparison. An entry goes with its owner, so nothing is left over of connections that ended.

use crate::now::Tick;
use std::collections::BTreeSet;

/// Entries in the order of time.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    entries: BTreeSet<(Tick, Due)>,
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The connection in this slot.
    Hop(usize),
    /// The route at this place: work that waits, addresses that are to be tried again.
    Route(usize),
}

impl Deadlines {
    /// The earliest entry. Nothing is due before it; it may be earlier than what it stands for.
    pub fn first(&self) -> Option<Tick> {
        self.entries.first().map(|(due, _)| *due)
    }

    /// Takes out an entry that has come up.
    pub fn take_due(&mut self, now: Tick) -> Option<Due> {
        let (_, due) = self.entries.first().filter(|(tick, _)| *tick <= now).copied()?;
        self.entries.pop_first();
        Some(due)
    }

    /// Sees to it that `due` comes up by its deadline. `entry` is where it lies, kept by its owner.
    pub fn set(&mut self, due: Due, deadline: Option<Tick>, entry: &mut Option<Tick>) {
        match (deadline, *entry) {
            (Some(deadline), Some(earlier)) if earlier <= deadline => return,
            (None, None) => return,
            _ => {}
        }
        if let Some(old) = entry.take() {
            self.entries.remove(&(old, due));
        }
        if let Some(deadline) = deadline {
            self.entries.insert((deadline, due));
        }
        *entry = deadline;
    }

    /// Entries that lie here.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_up_by_its_deadline_and_goes_with_its_owner() {
        let at = Tick::from_us;
        let mut deadlines = Deadlines::default();
        let (mut one, mut two) = (None, None);
        deadlines.set(Due::Hop(1), Some(at(50)), &mut one);
        deadlines.set(Due::Route(1), Some(at(70)), &mut two);
        deadlines.set(Due::Hop(1), Some(at(90)), &mut one);
        assert_eq!(deadlines.first(), Some(at(50)), "later deadlines leave the entry alone");
        deadlines.set(Due::Route(1), Some(at(40)), &mut two);
        assert_eq!(deadlines.first(), Some(at(40)), "earlier ones move it");
        assert_eq!(deadlines.take_due(at(39)), None);
        assert_eq!(deadlines.take_due(at(40)), Some(Due::Route(1)));
        deadlines.set(Due::Hop(1), None, &mut one);
        assert_eq!((deadlines.count(), one), (0, None));
    }
}
