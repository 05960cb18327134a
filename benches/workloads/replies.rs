//! Reply sets: rendered into the octets of one send.

use super::{Size, Workload};
use postern::wire::{Reply, replies};
use std::hint::black_box;

pub fn workloads() -> Vec<Workload> {
    let accepted = replies::MESSAGE_ACCEPTED.with_text("message accepted as 65a1f3c0z1-1");
    let long = replies::CONTENT_REFUSED.with_text("x".repeat(2_000));
    let table = [
        (1, "1 reply", accepted.clone()),
        (50, "50 replies", accepted.clone()),
        (1_000, "1,000 replies", accepted),
        (50, "50 replies of five lines", long),
    ];
    let workload = |(count, name, reply): (usize, &str, Reply)| Workload {
        group: "reply rendering",
        name: name.to_owned(),
        size: Size::Items(count),
        prepare: Box::new(move || {
            let reply = reply.clone();
            Box::new(move || {
                let mut out = Vec::new();
                (0..count).for_each(|_| black_box(&reply).render(&mut out));
                black_box(out);
            })
        }),
    };
    table.into_iter().map(workload).collect()
}
