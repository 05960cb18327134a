//! The instructions that each workload takes, counted by valgrind's callgrind: the same on a busy
//! machine as on an idle one, so that a change of a few in a hundred can be seen.
//!
//! ```text
//! cargo bench --bench instructions                 # a table of all workloads
//! cargo bench --bench instructions -- framing      # of those whose group or name holds this
//! cargo bench --bench instructions -- --test       # one round of each, counted by nobody
//! ```
//!
//! The program runs itself under callgrind once a workload, and callgrind counts in [`measured`]
//! alone. What the kernel does is not in it, and neither is waiting for memory.

#[path = "../tests/lone_session/mod.rs"]
#[allow(dead_code)] // The tests use more of it.
mod lone_session;
mod workloads;

use std::process::{Command, ExitCode};
use workloads::{Round, Size, Workload};

/// Rounds that are counted, after one that is not.
const ROUNDS: u64 = 4;

/// Given to the program's own runs under callgrind, with the workload's place.
const COUNTED: &str = "--counted";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let workloads = workloads::all();
    if let Some(at) = arguments.iter().position(|argument| argument == COUNTED) {
        let place = arguments.get(at + 1).and_then(|place| place.parse::<usize>().ok());
        let Some(workload) = place.and_then(|place| workloads.get(place)) else {
            eprintln!("{COUNTED} wants the place of a workload");
            return ExitCode::FAILURE;
        };
        let mut round = (workload.prepare)();
        round();
        (0..ROUNDS).for_each(|_| measured(&mut round));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|one| !one.starts_with('-')).collect();
    let is_wanted = |workload: &Workload| {
        let holds = |filter: &&String| {
            workload.group.contains(filter.as_str()) || workload.name.contains(filter.as_str())
        };
        filters.is_empty() || filters.iter().any(holds)
    };
    let wanted = || workloads.iter().enumerate().filter(|(_, workload)| is_wanted(workload));
    if arguments.iter().any(|argument| argument == "--test") {
        wanted().for_each(|(_, workload)| (workload.prepare)()());
        println!("{} workloads did one round each", wanted().count());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        eprintln!("valgrind cannot be run ({error}): nothing is counted; apt-get install valgrind");
        return ExitCode::FAILURE;
    }
    println!("| room | workload | instructions a round | an octet or item |\n|---|---|---:|---:|");
    for (place, workload) in wanted() {
        match count(place) {
            Ok(instructions) => print_row(workload, instructions),
            Err(fault) => {
                eprintln!("{fault}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The one function in which callgrind counts.
#[inline(never)]
#[unsafe(no_mangle)]
fn measured(round: &mut Round) {
    round();
}

/// Instructions of one round.
fn count(place: usize) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = std::env::temp_dir().join(format!("postern-callgrind-{}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--toggle-collect=measured"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(program)
        .args([COUNTED, &place.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let text = std::fs::read_to_string(&output);
    // Whether or not there is one: nothing more is wanted of it.
    let _ = std::fs::remove_file(&output);
    if !run.status.success() {
        return Err(format!("callgrind has failed: {}", String::from_utf8_lossy(&run.stderr)));
    }
    let text = text.map_err(|error| format!("callgrind has written nothing: {error}"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    match total {
        Some(instructions @ 1_u64..) => Ok(instructions / ROUNDS),
        _ => Err("callgrind has counted nothing: is `measured` still a function?".to_owned()),
    }
}

fn print_row(workload: &Workload, instructions: u64) {
    let (Size::Octets(size) | Size::Items(size)) = workload.size;
    let each = instructions as f64 / size as f64;
    println!("| {} | {} | {instructions} | {each:.2} |", workload.group, workload.name);
}
