//! The moment, as an argument.
//!
//! Sans-IO code never asks a clock. Every verb that depends on time takes a [`Now`]; the shard fills
//! it from the kernel, the simulated world from its virtual clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: what deadlines and durations are made of.
    pub tick: Tick,
    /// The wall clock, in seconds since 1970 UTC: only for dates that people read.
    pub unix_s: i64,
}

/// A point on the monotonic clock, in microseconds since the process (or the world) began.
///
/// It never goes back, whatever is done to the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The beginning of the clock.
    pub const START: Tick = Tick(0);

    /// The tick that lies `us` microseconds after the beginning.
    pub const fn from_us(us: u64) -> Tick {
        Tick(us)
    }

    /// Microseconds since the beginning.
    pub const fn as_us(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;

    fn add(self, span: Duration) -> Tick {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Tick(self.0.saturating_add(us))
    }
}

impl Sub<Tick> for Tick {
    type Output = Duration;

    fn sub(self, earlier: Tick) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
