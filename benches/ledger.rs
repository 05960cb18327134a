//! The record of outcomes: what a look-up, a digest, a record and a durable commit cost.
//!
//! The commits are real: a file in the target folder, synced. Each iteration is one intent and one
//! outcome of a transaction; with several at work they share commits.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use postern::durable::{Ledger, LedgerSettings, Line};
use postern::ledger::{
    Answer, Content, ContentDigest, CopyState, Digest, Form, Holder, Identity, Keeper, Key, Mail,
    Outcome, Phase, Recipient, Record, Request, Secret, Settings, Told, Transaction, Transfer,
};
use postern::now::Tick;
use std::hint::black_box;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

fn key(number: u64) -> Key {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    Key(octets)
}

/// A record of the usual size: about 400 octets.
fn record(number: u64) -> Record {
    let secret = Secret::new([1; 32]);
    let recipient = |name: &str| Recipient {
        rcpt: format!("TO:<{name}.with.a.usual.name@example.net>").into_bytes().into(),
        address: format!("{name}.with.a.usual.name@example.net").into_bytes().into(),
        reply: Told::new(*b"250 2.1.5 recipient ok\r\n"),
        copy: CopyState::Sent { octets: 20, earlier: Vec::new() },
        superseded: false,
    };
    Record {
        key: Some(key(number)),
        fingerprint: None,
        identity: secret.identity(Identity::Unknown, "mx"),
        tls: true,
        form: Form::Smtp,
        created_s: 1_800_000_000,
        expires_s: 1_800_000_000,
        rules: 7,
        trace_id: format!("5f1z3a7b-{number:x}").into(),
        mail: Mail {
            reverse_path: (*b"somebody@client.example").into(),
            parameters: vec![(*b"SIZE=12345").into(), (*b"BODY=8BITMIME").into()],
        },
        recipients: vec![recipient("one"), recipient("other")],
        transfer: Transfer::Data,
        content: Some(Content { octets: 12_345, digest: ContentDigest([3; 32]) }),
        partial: None,
        phase: Phase::Intent,
    }
}

fn committed(number: u64) -> Record {
    let mut record = record(number);
    let told = Told::new(*b"250 2.6.0 message accepted as 5f1z3a7b-1\r\n");
    record.recipients.iter_mut().for_each(|one| one.copy = CopyState::Done(told.clone()));
    record.phase = Phase::Committed(Outcome { replies: vec![told], confirmed: false });
    record
}

fn lookups(criterion: &mut Criterion) {
    let mut keeper = Keeper::new(Settings::default(), Secret::new([1; 32]), 1_800_000_000);
    for row in 1..=1_000_000 {
        keeper.load_row(row, &committed(row).encode(), Tick::START).expect("it was just made");
    }
    let figures = keeper.figures();
    println!("{} octets of memory a name", figures.index_octets / figures.names);
    let identity = Secret::new([1; 32]).identity(Identity::Unknown, "mx");
    let mut group = criterion.benchmark_group("a million records");
    group.sample_size(20).measurement_time(Duration::from_secs(1));
    let mut number = 2_000_000u64;
    group.bench_function("an id that is not known", |bencher| {
        bencher.iter(|| {
            number += 1;
            let (holder, key) = (Holder { line: 0, seat: 1 }, key(number));
            let request = Request::Recall { holder, key, identity, tls: true };
            keeper.ask(black_box(request), Tick::START);
            keeper.poll_effect()
        });
    });
    group.finish();
}

fn octets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("octets");
    group.sample_size(20).measurement_time(Duration::from_millis(600));
    let header = "Received: from a.example by b.example; Tue, 3 Nov 2026 10:00:00 +0000\r\n";
    let mail = format!(
        "{header}Subject: x\r\n\r\n{}",
        "the minutes of the last meeting\r\n".repeat(2_000)
    );
    group.throughput(Throughput::Bytes(mail.len() as u64));
    group.bench_function("digest of 64 KiB in reads of 16 KiB", |bencher| {
        bencher.iter(|| {
            let mut digest = Digest::new();
            mail.as_bytes().chunks(16 * 1024).for_each(|piece| digest.feed(black_box(piece)));
            digest.finish()
        });
    });
    let record = committed(1);
    let encoded = record.encode();
    group.throughput(Throughput::Bytes(encoded.len() as u64));
    group.bench_function("encode a record", |bencher| bencher.iter(|| black_box(&record).encode()));
    group.bench_function("decode a record", |bencher| {
        bencher.iter(|| Record::decode(black_box(&encoded)));
    });
    group.finish();
}

/// Some transactions at a time, each with its intent and then its outcome, until `total` have ended.
fn transactions(
    line: &Line,
    inbox: &Receiver<(u64, Answer)>,
    at_once: u64,
    total: u64,
) -> Duration {
    let from = Instant::now();
    let transaction = |seat: u64| Transaction { holder: line.holder(seat), number: 1 };
    let begin = |seat: u64| {
        let record = Box::new(record(seat));
        let transaction = transaction(seat);
        line.ask(Request::Begin { transaction, record, look_up: true, gone: false });
    };
    // Every seat is used once in the life of the ledger.
    static SEATS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let next = || SEATS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut begun = at_once.min(total);
    (0..begun).for_each(|_| begin(next()));
    let mut ended = 0;
    while ended < total {
        let (seat, answer) = inbox.recv().expect("the ledger lives");
        match answer {
            Answer::Begun(_) => {
                let (transaction, record) = (transaction(seat), Box::new(committed(seat)));
                line.ask(Request::Commit { transaction, record, gone: false });
            }
            _ => {
                line.ask(Request::Confirm { through: transaction(seat) });
                ended += 1;
                if begun < total {
                    begun += 1;
                    begin(next());
                }
            }
        }
    }
    from.elapsed()
}

fn commits(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder");
    let ledger = Ledger::start(LedgerSettings::new(folder.path())).expect("a fresh ledger");
    let (sender, inbox) = mpsc::channel();
    let line = ledger.line(move |answers| {
        let _ = answers.into_iter().try_for_each(|one| sender.send(one));
    });
    let mut group = criterion.benchmark_group("a transaction, intent and outcome durable");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    for at_once in [1, 16, 50, 256] {
        group.bench_function(format!("{at_once} at once"), |bencher| {
            bencher.iter_custom(|total| transactions(&line, &inbox, at_once, total));
        });
    }
    group.finish();
    let report = ledger.handle().report();
    println!(
        "commits: p50 {} us, p99 {} us; records a commit: p50 {}, p99 {}",
        report.commit_us.value_at_quantile(0.5),
        report.commit_us.value_at_quantile(0.99),
        report.group.value_at_quantile(0.5),
        report.group.value_at_quantile(0.99)
    );
}

criterion_group!(ledger, lookups, octets, commits);
criterion_main!(ledger);
