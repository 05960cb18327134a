//! What a load has shown.

use hdrhistogram::Histogram;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Times above this, in microseconds, are told as this: an hour.
const TIME_MAX_US: u64 = 3_600_000_000;

/// Kinds of faults that are told apart.
const FAULTS_MAX: usize = 20;

/// The quantiles that are told.
const QUANTILES: [(&str, f64); 5] =
    [("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Messages, replies and times.
#[derive(Debug)]
pub struct Report {
    /// Messages that were answered.
    pub answered: u64,
    /// Of these, those that were accepted for all their recipients.
    pub accepted: u64,
    /// Messages that were begun and whose answer never came.
    pub unanswered: u64,
    /// Recipients by the code that counts for them.
    pub codes: BTreeMap<u16, u64>,
    /// Connections that were made.
    pub connections: u64,
    /// Why connections ended before their time, and how often.
    pub faults: BTreeMap<String, u64>,
    /// From the first message to the last answer.
    pub time: Duration,
    /// Connecting until the banner, µs.
    pub banner: Histogram<u64>,
    /// The last octet of content until the first octet of the final replies, µs.
    pub first_reply: Histogram<u64>,
    /// The last octet of content until all replies, µs.
    pub all_replies: Histogram<u64>,
    /// A whole message, from when it was due, µs.
    pub message: Histogram<u64>,
}

impl Report {
    pub(super) fn new() -> Report {
        let histogram = || match Histogram::new_with_bounds(1, TIME_MAX_US, 3) {
            Ok(histogram) => histogram,
            Err(fault) => unreachable!("bounds of a histogram: {fault}"),
        };
        Report {
            answered: 0,
            accepted: 0,
            unanswered: 0,
            codes: BTreeMap::new(),
            connections: 0,
            faults: BTreeMap::new(),
            time: Duration::ZERO,
            banner: histogram(),
            first_reply: histogram(),
            all_replies: histogram(),
            message: histogram(),
        }
    }

    pub(super) fn answer(&mut self, codes: &[u16]) {
        self.answered += 1;
        self.accepted += u64::from(codes.iter().all(|code| code / 100 == 2));
        for code in codes {
            *self.codes.entry(*code).or_default() += 1;
        }
    }

    /// Servers may say something else each time: only so many kinds are told apart.
    pub(super) fn fault(&mut self, fault: String) {
        let known = self.faults.len() < FAULTS_MAX || self.faults.contains_key(&fault);
        let fault = if known { fault } else { "something else".to_owned() };
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Answered messages a second.
    pub fn messages_per_second(&self) -> f64 {
        self.answered as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// One object of JSON; times are in microseconds.
    pub fn to_json(&self) -> serde_json::Value {
        let times: serde_json::Map<_, _> = self
            .times()
            .into_iter()
            .map(|(name, times)| {
                let quantiles = QUANTILES.map(|(name, quantile)| {
                    (name.to_owned(), times.value_at_quantile(quantile).into())
                });
                (name.replace(' ', "-"), serde_json::Value::Object(quantiles.into_iter().collect()))
            })
            .collect();
        json!({
            "answered": self.answered,
            "accepted": self.accepted,
            "unanswered": self.unanswered,
            "recipients": self.codes,
            "connections": self.connections,
            "faults": self.faults,
            "seconds": self.time.as_secs_f64(),
            "messages-per-second": self.messages_per_second(),
            "times-us": times,
        })
    }

    fn times(&self) -> [(&'static str, &Histogram<u64>); 4] {
        [
            ("connect to banner", &self.banner),
            ("content to first reply", &self.first_reply),
            ("content to all replies", &self.all_replies),
            ("due to answered", &self.message),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { answered, accepted, unanswered, connections, .. } = self;
        let (seconds, rate) = (self.time.as_secs_f64(), self.messages_per_second());
        writeln!(f, "{answered} messages answered in {seconds:.2} s: {rate:.0} a second")?;
        writeln!(f, "{accepted} accepted for all their recipients, {unanswered} not answered")?;
        let codes: Vec<String> =
            self.codes.iter().map(|(code, count)| format!("{count} with {code}")).collect();
        writeln!(f, "recipients: {}", codes.join(", "))?;
        writeln!(f, "{connections} connections")?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {count} times: {fault}")?;
        }
        writeln!(f)?;
        write!(f, "{:24}", "µs")?;
        QUANTILES.iter().try_for_each(|(name, _)| write!(f, "{name:>10}"))?;
        for (name, times) in self.times() {
            write!(f, "\n{name:24}")?;
            for (_, quantile) in QUANTILES {
                write!(f, "{:>10}", times.value_at_quantile(quantile))?;
            }
        }
        writeln!(f)
    }
}

pub(super) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record((time.as_micros() as u64).clamp(1, TIME_MAX_US));
}
