//! Whether an address can be reached, and when one that cannot is tried again.

use super::board::HopOffers;
use crate::limits::{HOP_FAILURES_DOWN, HOP_RETRY_EAGER, HOP_RETRY_FIRST, HOP_RETRY_MAX};
use crate::now::Tick;
use std::time::Duration;

/// What is known of one address of a route.
#[derive(Debug, Default)]
pub(super) struct AddressState {
    /// Failures in a row.
    failures: u32,
    /// `None` while it can be reached, as far as is known.
    trouble: Option<Trouble>,
    /// What it offered when it was greeted last.
    pub offers: Option<HopOffers>,
    /// Slots of connections without work. The one used last stands last, so that spare ones grow old
    /// and are closed.
    pub idle: Vec<usize>,
}

/// An address that fails is tried by connections that carry no mail, one at a time.
#[derive(Debug)]
struct Trouble {
    since: Tick,
    pause: Duration,
    next_try: Tick,
    /// Such a connection is under way.
    trying: bool,
}

impl AddressState {
    /// Whether the connection made last has done its work.
    pub fn is_up(&self) -> bool {
        self.trouble.is_none()
    }

    /// Whether it has failed so often that no message is spent on it any more.
    pub fn is_down(&self) -> bool {
        self.failures >= HOP_FAILURES_DOWN
    }

    /// A connection failed before it brought anything to its end.
    pub fn failed(&mut self, now: Tick) {
        self.failures = self.failures.saturating_add(1);
        let trouble = self.trouble.get_or_insert(Trouble {
            since: now,
            pause: HOP_RETRY_FIRST,
            next_try: now + HOP_RETRY_FIRST,
            trying: false,
        });
        // Other connections that fail meanwhile tell nothing new.
        if std::mem::take(&mut trouble.trying) {
            if now.since(trouble.since) >= HOP_RETRY_EAGER {
                trouble.pause = (trouble.pause * 2).min(HOP_RETRY_MAX);
            }
            trouble.next_try = now + trouble.pause;
        }
    }

    /// It has greeted a connection made to see whether it is there, or has done some work.
    pub fn works(&mut self) {
        self.failures = 0;
        self.trouble = None;
    }

    /// When it is to be tried again, if it fails and is not being tried.
    pub fn next_try(&self) -> Option<Tick> {
        self.trouble.as_ref().filter(|trouble| !trouble.trying).map(|trouble| trouble.next_try)
    }

    /// A connection is being made to see whether it is there.
    pub fn trying(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.trying = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // one try a second for a minute; then they grow rarer, up to one a minute.
    #[test]
    fn an_address_that_fails_is_tried_each_second_and_then_more_rarely() {
        let mut address = AddressState::default();
        let mut now = Tick::START;
        address.failed(now);
        assert!(!address.is_up() && !address.is_down());
        let mut pauses = Vec::new();
        for _ in 0..68 {
            let next = address.next_try().unwrap();
            pauses.push((next - now).as_secs());
            now = next;
            address.trying();
            assert_eq!(address.next_try(), None, "one at a time");
            address.failed(now);
        }
        assert!(address.is_down());
        assert_eq!(pauses[..60], [1; 60]);
        assert_eq!(pauses[60..], [2, 4, 8, 16, 32, 60, 60, 60]);
        address.works();
        assert!(address.is_up() && !address.is_down() && address.next_try().is_none());
    }

    #[test]
    fn failures_of_other_connections_do_not_put_the_next_try_off() {
        let mut address = AddressState::default();
        address.failed(Tick::START);
        let due = address.next_try();
        address.failed(Tick::START + Duration::from_millis(900));
        assert_eq!(address.next_try(), due);
    }
}
