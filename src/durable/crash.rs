//! Points at which a test has the process die, between each pair of steps of the order of writes.
//!
//! `POSTERN_CRASH=intent:3` in the environment: the process dies the third time it comes to that
//! point, as by `kill -9`: nothing is flushed, nothing is said. Without it a point is one comparison.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Between which steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The end mark was told to the ledger; nothing is durable.
    Received,
    /// The intent is durable; nothing was handed on.
    Intent,
    /// What was handed on is known; the outcome is not durable.
    HandedOn,
    /// The outcome is durable; nothing was replied.
    Committed,
    /// The reply was written; nobody has confirmed it.
    Replied,
}

struct Armed {
    name: String,
    left: AtomicU32,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

impl CrashPoint {
    /// All of them, in the order of writes.
    pub const ALL: [CrashPoint; 5] = [
        CrashPoint::Received,
        CrashPoint::Intent,
        CrashPoint::HandedOn,
        CrashPoint::Committed,
        CrashPoint::Replied,
    ];

    /// Its name in the environment.
    pub fn name(self) -> &'static str {
        match self {
            CrashPoint::Received => "received",
            CrashPoint::Intent => "intent",
            CrashPoint::HandedOn => "handed-on",
            CrashPoint::Committed => "committed",
            CrashPoint::Replied => "replied",
        }
    }

    /// The process comes to this point, and dies here if a test wants that.
    pub fn reached(self) {
        let Some(armed) = ARMED.get_or_init(armed) else { return };
        if armed.name == self.name() && armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
    }
}

fn armed() -> Option<Armed> {
    let text = std::env::var("POSTERN_CRASH").ok()?;
    let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
    Some(Armed { name: name.to_owned(), left: AtomicU32::new(times.parse().ok()?) })
}
