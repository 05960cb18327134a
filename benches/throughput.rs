//! The time that each workload takes, by criterion: `cargo bench --bench throughput -- framing`.
//!
//! On a noisy machine trust ratios within a run; `instructions` is the steadier measure.

#[path = "../tests/lone_session/mod.rs"]
#[allow(dead_code)] // The tests use more of it.
mod lone_session;
mod workloads;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use workloads::Size;

fn throughput(criterion: &mut Criterion) {
    for workload in workloads::all() {
        let mut group = criterion.benchmark_group(workload.group);
        group.sample_size(10).warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_millis(400));
        group.throughput(match workload.size {
            Size::Octets(octets) => Throughput::Bytes(octets as u64),
            Size::Items(items) => Throughput::Elements(items as u64),
        });
        group.bench_function(&workload.name, |bencher| bencher.iter((workload.prepare)()));
        group.finish();
    }
}

criterion_group!(benches, throughput);
criterion_main!(benches);
