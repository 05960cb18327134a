//! `postern scan`: messages against a configuration, without a server and with the server's own
//! scanner. One file gives a report of it; folders, Maildirs and mailboxes in one file give a summary
//! that says what would have become of all of them.

mod files;
mod message;
mod summary;

pub use message::report;
pub use summary::Summary;

use crate::config::Config;
use crate::limits::SCAN_QUEUE;
use crate::scan::{Findings, Scanner};
use files::{Files, Work};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

/// What is known of one message when it has been scanned.
struct Scanned {
    name: String,
    octets: u64,
    findings: Findings,
}

/// Whether a path is one message, and not a folder or a mailbox.
pub fn is_one_message(path: &Path) -> io::Result<bool> {
    Ok(path.is_file() && !files::is_mailbox(path)?)
}

/// Scans all messages in these paths, on as many threads as there are cores. Each is given to `told`
/// as a line of JSON if there is one; what is done so far is shown on a terminal.
pub fn scan_all(
    config: &Config,
    paths: &[PathBuf],
    recipients: &[String],
    told: Option<&mut dyn Write>,
) -> io::Result<Summary> {
    let files = Files::find(paths);
    let bar = progress(files.octets());
    let (work, queue) = sync_channel(SCAN_QUEUE);
    let (done, results) = sync_channel(SCAN_QUEUE);
    let queue = Mutex::new(queue);
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get());
    let mut summary = Summary::new(&config.tables);
    let (queue, mut told, mut failed) = (&queue, told, None);
    thread::scope(|scope| {
        scope.spawn(move || files.each(|one| work.send(one).is_ok()));
        for _ in 0..threads {
            let done = done.clone();
            scope.spawn(move || {
                let mut scanner = Scanner::new(Arc::clone(&config.tables.rules));
                while let Some(work) = next(queue) {
                    if done.send(scan(&mut scanner, config, work)).is_err() {
                        // What still comes is taken and let go, or its sender would wait for ever.
                        while next(queue).is_some() {}
                    }
                }
            });
        }
        drop(done);
        for result in results {
            match result {
                Ok(scanned) => {
                    bar.inc(scanned.octets);
                    summary.add(config, &scanned.findings, scanned.octets);
                    if let Some(told) = &mut told {
                        let line = message::json(config, &scanned, recipients);
                        failed = failed.take().or(writeln!(told, "{line}").err());
                    }
                }
                Err(what) => summary.could_not_read(what),
            }
            if failed.is_some() {
                // Nobody reads any more: what is under way ends.
                break;
            }
        }
    });
    bar.finish_and_clear();
    failed.map_or(Ok(summary), Err)
}

fn next(queue: &Mutex<Receiver<Work>>) -> Option<Work> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Scans one message; or says why it cannot be read.
fn scan(scanner: &mut Scanner, config: &Config, work: Work) -> Result<Scanned, String> {
    let (name, content) = match work {
        Work::Message { name, content } => (name, content),
        Work::File(path) => {
            let name = path.display().to_string();
            let content = std::fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
            (name, content)
        }
        Work::Unreadable(what) => return Err(what),
    };
    scanner.reset(Arc::clone(&config.tables.rules));
    scanner.feed(&content);
    Ok(Scanned { name, octets: content.len() as u64, findings: scanner.finish() })
}

/// A bar on the terminal, if standard error is one.
fn progress(octets: u64) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template(
        "{bar:40} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta}",
    );
    let bar = indicatif::ProgressBar::new(octets);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
