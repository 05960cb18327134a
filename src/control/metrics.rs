//! Metrics in Prometheus' text form, summed over the shards when they are asked for.

use super::reload::ReloadCounts;
use crate::shard::Snapshot;
use crate::tally::Counts;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS_US: [u64; 14] = [
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// What the control thread counts of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlCounts {
    /// Configurations taken and refused.
    pub reloads: ReloadCounts,
    /// How often it began again after a panic; expected to stay 0.
    pub restarts: u64,
    /// Log lines that could not be written.
    pub log_lines_lost: u64,
}

/// The text of all metrics.
pub fn render(shards: &[Snapshot], control: ControlCounts) -> String {
    let ControlCounts { reloads, restarts, log_lines_lost } = control;
    let mut counts = Counts { log_records_lost: log_lines_lost, ..Counts::default() };
    let (mut sessions, mut body_octets, mut rescued, mut sends, mut enters) = (0, 0, 0, 0, 0);
    for shard in shards {
        counts += shard.counts;
        sessions += shard.sessions_open;
        body_octets += shard.body_octets;
        rescued += shard.ring.rescued;
        sends += shard.ring.sends;
        enters += shard.ring.enters;
    }
    let mut families: Vec<MetricFamily> =
        counts.each().map(|(name, help, value)| counter(name, help, value)).collect();
    families.push(counter("ring_sends", "Send operations submitted.", sends));
    families.push(counter("ring_enters", "Calls of io_uring_enter.", enters));
    let help = "Wake-ups that the shard's tick had to supply; expected to stay 0.";
    families.push(counter("ring_rescued", help, rescued));
    families.push(gauge("sessions_open", "Sessions that are open.", sessions));
    families.push(gauge("body_octets", "Octets held by message bodies.", body_octets));
    families.push(gauge("shards", "Shards that answer.", shards.len() as u64));
    let help = "How often the control thread began again after a panic; expected to stay 0.";
    families.push(counter("control_restarts", help, restarts));
    families.push(counter("reloads", "New configurations taken while serving.", reloads.done));
    let help = "New configurations refused; the old one stayed.";
    families.push(counter("reload_failures", help, reloads.failed));
    let help = "When the configuration that serves was taken, in seconds since 1970.";
    let taken = reloads.last_success_unix_s;
    families.push(gauge("reload_last_success_timestamp_seconds", help, taken));
    let help =
        "When the first certificate of a listener expires, in seconds since 1970; 0 without one.";
    let expiry = reloads.certificate_expiry_unix_s;
    families.push(gauge("certificate_expiry_timestamp_seconds", help, expiry));
    families.push(decisions(shards));
    let mut text = Vec::new();
    // Encoding into memory fails only for metrics without values, of which there are none.
    let _ = TextEncoder::new().encode(&families, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    let (mut counter, mut metric) = (Counter::default(), Metric::default());
    counter.set_value(value as f64);
    metric.set_counter(counter);
    family(&format!("{name}_total"), help, MetricType::COUNTER, metric)
}

pub(super) fn gauge(name: &str, help: &str, value: u64) -> MetricFamily {
    let (mut gauge, mut metric) = (Gauge::default(), Metric::default());
    gauge.set_value(value as f64);
    metric.set_gauge(gauge);
    family(name, help, MetricType::GAUGE, metric)
}

/// From the end mark to the reply set, over all shards.
fn decisions(shards: &[Snapshot]) -> MetricFamily {
    let mut histogram = Histogram::default();
    let total: u64 = shards.iter().map(|shard| shard.decision_us.len()).sum();
    let sum_us: f64 =
        shards.iter().map(|shard| shard.decision_us.mean() * shard.decision_us.len() as f64).sum();
    let buckets = BUCKETS_US.iter().map(|bound| {
        let mut bucket = Bucket::default();
        let below = shards.iter().map(|shard| shard.decision_us.count_between(0, *bound)).sum();
        bucket.set_cumulative_count(below);
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(total);
    histogram.set_sample_sum(sum_us / 1e6);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    let help = "Seconds from the end mark of a message to the first octet of its reply set.";
    family("decision_seconds", help, MetricType::HISTOGRAM, metric)
}

pub(super) fn family(name: &str, help: &str, kind: MetricType, metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(format!("postern_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}
