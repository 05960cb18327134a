//! All vectors, in all modes, on a few threads; and what is said about them.

use super::installation::Installation;
use super::memory::Memory;
use super::play::{Cut, Failure, play};
use super::sockets::Sockets;
use super::stage::Stage;
use super::vector::{Line, Sent, Step, Vector};
use postern::relay::Protocol;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Random cuts of one run.
const RANDOM_CUTS: u64 = 4;

/// Threads that play; most of their time over sockets is waiting.
const THREADS: usize = 4;

/// What became of all runs.
#[derive(Debug, Default)]
pub struct Outcome {
    pub passed: usize,
    /// In words, each with its transcript.
    pub failed: Vec<String>,
    /// Vectors that were not run, with the reason.
    pub skipped: Vec<(String, &'static str)>,
}

/// Where a run is made, and how its writes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AsWritten,
    EachOctet,
    RandomCuts,
    Sockets,
}

const MODES: [Mode; 4] = [Mode::AsWritten, Mode::EachOctet, Mode::RandomCuts, Mode::Sockets];

struct Run {
    vector: usize,
    mode: Mode,
    next_hop: Protocol,
}

/// Runs the vectors of a folder whose file names hold one of the program's arguments, and says what
/// became of them: the whole of a test program.
pub fn run_and_tell(folder: &Path) -> ExitCode {
    // What begins with a dash is meant for the harness of other tests.
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let outcome = run_folder(folder, &filters);
    for failure in &outcome.failed {
        println!("{failure}\n");
    }
    for (name, reason) in &outcome.skipped {
        println!("skipped {name}: {reason}");
    }
    let (passed, failed, skipped) = (outcome.passed, outcome.failed.len(), outcome.skipped.len());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs the vectors of a folder whose file names hold one of `filters`; all, if there are none.
fn run_folder(folder: &Path, filters: &[String]) -> Outcome {
    let mut outcome = Outcome::default();
    let files = match vector_files(folder) {
        Ok(files) => files,
        Err(error) => {
            outcome.failed.push(format!("{}: {error}", folder.display()));
            return outcome;
        }
    };
    let mut vectors = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        match Vector::read(&file) {
            Err(fault) => outcome.failed.push(fault),
            // A setting that is not known is one fault, not one of each run.
            Ok(vector) => match Installation::for_vector(&vector) {
                Ok(_) => vectors.push(vector),
                Err(fault) => outcome.failed.push(fault),
            },
        }
    }
    let runs: Vec<Run> = (0..vectors.len()).flat_map(|vector| runs_of(vector, &vectors)).collect();
    play_all(&vectors, &runs, &mut outcome);
    outcome
}

fn vector_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "txt") {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(std::io::Error::other("there is no vector in this folder")),
        false => Ok(files),
    }
}

fn runs_of(index: usize, vectors: &[Vector]) -> Vec<Run> {
    let vector = &vectors[index];
    let mut runs = Vec::new();
    for next_hop in [Protocol::Lmtp, Protocol::Smtp] {
        // An SMTP next hop has one answer for all recipients.
        if next_hop == Protocol::Smtp && uses_single_answers(vector) {
            continue;
        }
        for mode in MODES {
            let splits = matches!(mode, Mode::EachOctet | Mode::RandomCuts);
            if !(splits && vector.nosplit) {
                runs.push(Run { vector: index, mode, next_hop });
            }
        }
    }
    runs
}

/// Whether a recipient is used for whom the next hop answers otherwise than for the rest.
fn uses_single_answers(vector: &Vector) -> bool {
    let named = |text: &str| text.contains("late450") || text.contains("late550");
    vector.lines.iter().any(|Line { step, .. }| match step {
        Step::Send(group) => group.iter().any(|sent| match sent {
            Sent::Command(text) | Sent::Raw(text) | Sent::Chunk { text, .. } => named(text),
        }),
        _ => false,
    })
}

fn play_all(vectors: &[Vector], runs: &[Run], outcome: &mut Outcome) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(number) else { return };
                    let result = play_run(&vectors[run.vector], run);
                    results.lock().expect("no player panics").push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no player panics");
    results.sort_by_key(|(number, _)| *number);
    for (number, result) in results {
        match result {
            Ok(()) => outcome.passed += 1,
            Err(failure) => {
                let run = &runs[number];
                outcome.failed.push(told(&vectors[run.vector], run, &failure));
            }
        }
    }
}

fn play_run(vector: &Vector, run: &Run) -> Result<(), Failure> {
    let played = catch_unwind(AssertUnwindSafe(|| match run.mode {
        Mode::AsWritten => play_once(vector, run, Cut::AsWritten),
        Mode::EachOctet => play_once(vector, run, Cut::EachOctet),
        Mode::Sockets => play_once(vector, run, Cut::AsWritten),
        Mode::RandomCuts => (0..RANDOM_CUTS).try_for_each(|seed| {
            play_once(vector, run, Cut::Random(seed)).map_err(|failure| Failure {
                what: format!("{} (seed {seed})", failure.what),
                ..failure
            })
        }),
    }));
    played.unwrap_or_else(|_| Err(fault("a panic, see above".to_owned())))
}

fn play_once(vector: &Vector, run: &Run, cut: Cut) -> Result<(), Failure> {
    let installation = Installation::for_vector(vector).map_err(fault)?;
    let mut stage: Box<dyn Stage> = match run.mode {
        Mode::Sockets => Box::new(Sockets::start(&installation, run.next_hop).map_err(fault)?),
        _ => Box::new(Memory::start(&installation, run.next_hop).map_err(fault)?),
    };
    play(vector, &mut *stage, cut)
}

/// A failure that is not one of the dialogue.
fn fault(what: String) -> Failure {
    Failure { line: 0, what, transcript: Vec::new() }
}

fn told(vector: &Vector, run: &Run, failure: &Failure) -> String {
    let mut text = format!("FAILED {}, {run}: {}\n", vector.name, vector.title);
    text.push_str(&format!("  rule: {}\n", vector.source));
    for line in &failure.transcript {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!("  {}: {}", vector.place(failure.line.max(1)), failure.what));
    text
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::AsWritten => "in memory as written",
            Mode::EachOctet => "in memory, each octet by itself",
            Mode::RandomCuts => "in memory, cut at random",
            Mode::Sockets => "over sockets",
        };
        let next_hop = match self.next_hop {
            Protocol::Lmtp => "LMTP",
            Protocol::Smtp => "SMTP",
        };
        write!(f, "{mode}, next hop {next_hop}")
    }
}
