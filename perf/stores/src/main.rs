//! Which embedded store shall keep the record of outcomes: the same work for each candidate.
//!
//! `stores NAME PART FOLDER`, where NAME is fjall, redb or sqlite, and PART is one of
//! commit (group commits), load (a million records, then look-ups, expiry and reopening), churn (disk
//! size while records come and go), kill (SIGKILL in mid-commit, then reopening), damage (one octet
//! changed or cut away, 300 times, then reopening) and full (a file system without room).

mod candidates;

use candidates::{Change, open};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RECORD_OCTETS: usize = 400;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, name, part, folder] = arguments.as_slice() else {
        eprintln!("stores fjall|redb|sqlite commit|load|churn|kill|damage|full FOLDER");
        return;
    };
    let folder = PathBuf::from(folder);
    match part.as_str() {
        "commit" => commit(name, &folder),
        "load" => load(name, &folder),
        "churn" => churn(name, &folder),
        "kill" => kill(name, &folder),
        "victim" => victim(name, &folder),
        "damage" => damage(name, &folder),
        "full" => full(name, &folder),
        _ => eprintln!("no such part"),
    }
}

/// A record that cannot be compressed much, with its number in front.
fn record(row: u64) -> Vec<u8> {
    let mut state = row.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut octets = Vec::with_capacity(RECORD_OCTETS);
    octets.extend_from_slice(&row.to_be_bytes());
    while octets.len() < RECORD_OCTETS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend_from_slice(&state.to_le_bytes());
    }
    octets
}

/// Half of a group are new records, half rewrite those of the group before: intent, then committed.
fn commit(name: &str, folder: &Path) {
    for group in [1u64, 16, 64, 256] {
        let _ = fs::remove_dir_all(folder);
        let mut store = open(name, folder).unwrap();
        let mut next = 0u64;
        let fresh = group.div_ceil(2);
        let mut times = Vec::new();
        let (began, worked) = (Instant::now(), processor_time());
        while began.elapsed() < Duration::from_millis(2500) {
            let mut changes = Vec::new();
            if group == 1 {
                changes.push((next / 2, Change::Put(record(next / 2))));
                next += 1;
            } else {
                for row in next..next + fresh {
                    changes.push((row, Change::Put(record(row))));
                }
                for row in next.saturating_sub(fresh)..next {
                    changes.push((row, Change::Put(record(row))));
                }
                next += fresh;
            }
            let from = Instant::now();
            store.commit(&changes).unwrap();
            times.push(from.elapsed());
        }
        times.sort();
        let at = |part: usize| times[(times.len() - 1) * part / 1000].as_micros();
        let records = times.len() as u64 * group;
        println!(
            "{name} commit of {group}: p50 {} us, p99 {} us, max {} us, {:.0} records/s, CPU {:.1} us a record",
            at(500),
            at(990),
            at(1000),
            records as f64 / began.elapsed().as_secs_f64(),
            (processor_time() - worked).as_secs_f64() * 1e6 / records as f64
        );
    }
}

const MANY: u64 = 1_000_000;

fn load(name: &str, folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let mut store = open(name, folder).unwrap();
    let rss = resident();
    let from = Instant::now();
    for begin in (0..MANY).step_by(1000) {
        let changes: Vec<_> =
            (begin..begin + 1000).map(|row| (row, Change::Put(record(row)))).collect();
        store.commit(&changes).unwrap();
    }
    println!("{name} load of {MANY}: {:?}, disk {} MB, resident +{} MB", from.elapsed(), disk(folder), resident() - rss);
    let from = Instant::now();
    for number in 0..20_000u64 {
        let row = number.wrapping_mul(7919) % MANY;
        assert_eq!(store.get(row).unwrap().unwrap(), record(row));
    }
    println!("{name} read of a row: {:?}", from.elapsed() / 20_000);
    let from = Instant::now();
    for number in 0..20_000u64 {
        assert!(store.get(MANY + number * 7919).unwrap().is_none());
    }
    println!("{name} read of a row that is not there: {:?}", from.elapsed() / 20_000);
    drop(store);
    let rss = resident();
    let from = Instant::now();
    let mut store = open(name, folder).unwrap();
    let opened = from.elapsed();
    let mut count = 0u64;
    store.each(&mut |row, octets| {
        assert_eq!(octets[..8], row.to_be_bytes());
        count += 1;
    });
    println!("{name} clean reopen: {opened:?}, all {count} read after {:?}, resident +{} MB", from.elapsed(), resident().saturating_sub(rss));
    let mut times = Vec::new();
    for begin in (0..200_000u64).step_by(1000) {
        let changes: Vec<_> = (begin..begin + 1000).map(|row| (row, Change::Delete)).collect();
        let from = Instant::now();
        store.commit(&changes).unwrap();
        times.push(from.elapsed());
    }
    times.sort();
    println!("{name} expiry of 1000 oldest: p50 {:?}, max {:?}", times[times.len() / 2], times[times.len() - 1]);
}

/// 20,000 live records while half a million come and go.
fn churn(name: &str, folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let mut store = open(name, folder).unwrap();
    let from = Instant::now();
    let mut most = 0;
    for begin in (0..500_000u64).step_by(250) {
        let mut changes: Vec<_> =
            (begin..begin + 250).map(|row| (row, Change::Put(record(row)))).collect();
        if begin >= 20_000 {
            changes.extend((begin - 20_000..begin - 19_750).map(|row| (row, Change::Delete)));
        }
        store.commit(&changes).unwrap();
        if begin % 25_000 == 0 {
            most = most.max(disk(folder));
        }
        if from.elapsed() > Duration::from_secs(20) {
            println!("{name} churn stopped at {begin}");
            break;
        }
    }
    println!("{name} churn: {:?}, disk at most {most} MB, at the end {} MB (8 MB live), resident {} MB", from.elapsed(), disk(folder), resident());
    std::thread::sleep(Duration::from_secs(2));
    println!("{name} churn, 2 s later: disk {} MB", disk(folder));
    drop(store);
    let from = Instant::now();
    let mut store = open(name, folder).unwrap();
    let mut count = 0;
    store.each(&mut |_, _| count += 1);
    println!("{name} churn: reopened and {count} read in {:?}, disk {} MB", from.elapsed(), disk(folder));
}

/// Writes and tells what is durable, until it is killed.
fn victim(name: &str, folder: &Path) {
    let mut store = open(name, folder).unwrap();
    let mut last = None;
    store.each(&mut |row, _| last = Some(row));
    let mut next = last.map_or(0, |row: u64| row + 1);
    let out = std::io::stdout();
    loop {
        let changes: Vec<_> = (next..next + 16).map(|row| (row, Change::Put(record(row)))).collect();
        store.commit(&changes).unwrap();
        next += 16;
        writeln!(out.lock(), "{next}").unwrap();
    }
}

fn kill(name: &str, folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let mut lost = 0;
    let mut slowest = Duration::ZERO;
    let mut told = 0u64;
    for round in 0..20u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([name, "victim", folder.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok()).last()
        });
        std::thread::sleep(Duration::from_millis(150 + round * 17));
        child.kill().unwrap();
        child.wait().unwrap();
        told = reader.join().unwrap().unwrap_or(told);
        let from = Instant::now();
        let mut store = open(name, folder).unwrap();
        let mut count = 0;
        store.each(&mut |row, octets| {
            assert_eq!(octets, record(row));
            count += 1;
        });
        slowest = slowest.max(from.elapsed());
        lost += u64::from(count < told);
    }
    println!("{name} killed 20 times: told {told} records, {lost} times one of them was missing, slowest reopen and read {slowest:?}");
}

/// One octet of one file is changed, or a file is cut; then all is read again.
fn damage(name: &str, folder: &Path) {
    let (good, bad) = (folder.join("good"), folder.join("bad"));
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    {
        let mut store = open(name, &good).unwrap();
        for begin in (0..100u64).step_by(4) {
            let changes: Vec<_> =
                (begin..begin + 4).map(|row| (row, Change::Put(record(row)))).collect();
            store.commit(&changes).unwrap();
        }
        // As a kill leaves it.
        copy(&good, &folder.join("killed"));
    }
    std::panic::set_hook(Box::new(|_| {}));
    for (state, source) in [("killed", folder.join("killed")), ("closed", good)] {
        let mut tally = std::collections::BTreeMap::<String, u32>::new();
        let files: Vec<(PathBuf, u64)> = files(&source).into_iter().filter(|(_, used)| *used > 0).collect();
        let total: u64 = files.iter().map(|(_, used)| *used).sum();
        for number in 0..300u64 {
            let _ = fs::remove_dir_all(&bad);
            copy(&source, &bad);
            let mut place = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % total;
            let (file, _) = files.iter().find(|(_, used)| match place < *used {
                true => true,
                false => { place -= used; false }
            }).unwrap();
            let target = bad.join(file.strip_prefix(&source).unwrap());
            let mut octets = fs::read(&target).unwrap();
            octets[place as usize] ^= 1 << (number % 8);
            fs::write(&target, octets).unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut store = match open(name, &bad) {
                    Ok(store) => store,
                    Err(_) => return "refused to open".to_owned(),
                };
                let (mut count, mut wrong) = (0, 0);
                store.each(&mut |row, octets| {
                    count += 1;
                    wrong += u32::from(octets != record(row));
                });
                match (count, wrong) {
                    (100, 0) => "nothing lost".to_owned(),
                    (_, 1..) => "a record changed unseen".to_owned(),
                    (96..100, 0) => "one group lost".to_owned(),
                    _ => "more than one group lost".to_owned(),
                }
            }));
            *tally.entry(outcome.unwrap_or_else(|_| "panic".to_owned())).or_default() += 1;
        }
        println!("{name} {state}, one bit flipped of {total} octets: {tally:?}");
    }
}

/// FOLDER lies on a small file system: what happens when it is full, and after it has room again.
fn full(name: &str, folder: &Path) {
    let place = folder.join("store");
    let _ = fs::remove_dir_all(&place);
    let mut store = open(name, &place).unwrap();
    let mut next = 0u64;
    let error = loop {
        let changes: Vec<_> = (next..next + 64).map(|row| (row, Change::Put(record(row)))).collect();
        if let Err(error) = store.commit(&changes) {
            break error;
        }
        next += 64;
        if next > 10_000_000 {
            println!("{name}: never full");
            return;
        }
    };
    println!("{name} full at {next}: {error}");
    let again = store.commit(&[(next, Change::Put(record(next)))]);
    println!("{name} next commit: {again:?}");
    let from = Instant::now();
    drop(store);
    println!("{name} dropped in {:?}", from.elapsed());
    match open(name, &place) {
        Err(error) => println!("{name} reopened while full: {error}"),
        Ok(mut store) => {
            let mut count = 0;
            store.each(&mut |_, _| count += 1);
            println!("{name} reopened while full: {count} of {next}");
            let changes: Vec<_> = (0..next / 2).map(|row| (row, Change::Delete)).collect();
            println!("{name} deleting half: {:?}", store.commit(&changes));
            println!("{name} writing then: {:?}", store.commit(&[(next, Change::Put(record(next)))]));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &place);
        } else {
            let octets = fs::read(&path).unwrap();
            fs::write(&place, octets).unwrap();
        }
    }
}

/// All files, with the number of octets up to the last one that is not zero.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let octets = fs::read(&path).unwrap();
            let used = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
            all.push((path, used as u64));
        }
    }
    all
}

/// Blocks on disk, in MB.
fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fn blocks(folder: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(folder) else { return 0 };
        entries.flatten().map(|entry| match entry.path().is_dir() {
            true => blocks(&entry.path()),
            false => entry.metadata().map_or(0, |meta| meta.blocks()),
        }).sum()
    }
    blocks(folder) * 512 / 1_000_000
}

/// Resident memory, in MB.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096 / 1_000_000
}

/// User and system time of all threads.
fn processor_time() -> Duration {
    let mut usage = unsafe { std::mem::zeroed::<libc::rusage>() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .sum()
}
