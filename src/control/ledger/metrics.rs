//! The ledger's metrics, in Prometheus' text form: to be put behind those of the shards.

use crate::control::metrics::{counter, family, gauge};
use crate::durable::LedgerReport;
use hdrhistogram::Histogram;
use prometheus::proto::{Bucket, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// Upper bounds of the buckets of commit latency, in microseconds.
const COMMIT_US: [u64; 12] =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// Upper bounds of the buckets of group size, in records.
const GROUP: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024];

/// The text of the ledger's metrics.
pub fn ledger_metrics(report: &LedgerReport) -> String {
    let figures = &report.figures;
    let counts = &figures.counts;
    let mut families: Vec<MetricFamily> = [
        ("lookups", "Look-ups of an id or of a message.", counts.lookups),
        ("hits", "Look-ups that found a record.", counts.hits),
        ("replays_answered", "Stored replies given again.", counts.replays_answered),
        (
            "duplicates_prevented",
            "Copies not delivered a second time.",
            counts.duplicates_prevented,
        ),
        (
            "unknown_intents",
            "Intents without an outcome found at the start.",
            counts.unknown_intents,
        ),
        (
            "unknown_redelivered",
            "Copies handed on again that may be there; a next hop with RESUME is asked first.",
            counts.unknown_redelivered,
        ),
        ("taken_over", "Transactions taken by a newer connection.", counts.taken_over),
        ("recorded", "Records made durable.", counts.recorded),
        (
            "unrecorded",
            "Transactions that went on without a record.",
            counts.unrecorded + report.refused,
        ),
        ("store_failures", "Operations that the store has failed.", counts.store_failures),
        ("records_damaged", "Records that could not be read.", counts.damaged),
        ("records_expired", "Records that have expired.", counts.expired),
        ("records_evicted", "Records gone before their time for want of room.", counts.evicted),
        (
            "partial_refused",
            "Transactions of which no content was kept for want of room.",
            counts.partial_refused,
        ),
    ]
    .into_iter()
    .map(|(name, help, value)| counter(&format!("ledger_{name}"), help, value))
    .collect();
    families.extend([
        standings(report),
        gauge("ledger_live", "Transactions not at their end.", figures.live),
        gauge("ledger_names", "Names in the index.", figures.names),
        gauge("ledger_record_octets", "Octets of stored records.", figures.record_octets),
        gauge("ledger_index_octets", "Memory of the index.", figures.index_octets),
        gauge("ledger_partial_octets", "Octets of content in part.", figures.partial_octets),
        gauge(
            "ledger_store_works",
            "1 while records can be made durable.",
            u64::from(figures.store_works),
        ),
        histogram(
            "ledger_commit_seconds",
            "Seconds that a commit of the store takes.",
            (&report.commit_us, &COMMIT_US, 1e6),
        ),
        histogram(
            "ledger_commit_records",
            "Records in a commit of the store.",
            (&report.group, &GROUP, 1.0),
        ),
    ]);
    let mut text = Vec::new();
    // Encoding into memory fails only for metrics without values, of which there are none.
    let _ = TextEncoder::new().encode(&families, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Records by standing: a fixed set of labels.
fn standings(report: &LedgerReport) -> MetricFamily {
    let help = "Stored records by what is known of their clients.";
    let mut family = gauge("ledger_records", help, 0);
    let metric = |(name, count): &(&'static str, u64)| {
        let mut label = LabelPair::default();
        label.set_name("standing".to_owned());
        label.set_value((*name).to_owned());
        let mut metric = Metric::default();
        metric.set_label(vec![label]);
        let mut value = prometheus::proto::Gauge::default();
        value.set_value(*count as f64);
        metric.set_gauge(value);
        metric
    };
    family.set_metric(report.figures.standings.iter().map(metric).collect());
    family
}

fn histogram(
    name: &str,
    help: &str,
    (values, bounds, unit): (&Histogram<u64>, &[u64], f64),
) -> MetricFamily {
    let mut histogram = prometheus::proto::Histogram::default();
    let bucket = |bound: &u64| {
        let mut bucket = Bucket::default();
        bucket.set_cumulative_count(values.count_between(0, *bound));
        bucket.set_upper_bound(*bound as f64 / unit);
        bucket
    };
    histogram.set_bucket(bounds.iter().map(bucket).collect());
    histogram.set_sample_count(values.len());
    histogram.set_sample_sum(values.mean() * values.len() as f64 / unit);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{Ledger, LedgerSettings};

    #[test]
    fn every_series_is_there_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::start(LedgerSettings::new(folder.path())).unwrap();
        let text = ledger_metrics(&ledger.handle().report());
        for line in [
            "postern_ledger_replays_answered_total 0",
            "postern_ledger_records{standing=\"unconfirmed\"} 0",
            "postern_ledger_store_works 1",
            "postern_ledger_commit_seconds_bucket{le=\"0.001\"} 0",
            "postern_ledger_commit_records_count 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
