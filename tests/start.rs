//! The real program where the machine does not let it start: one line that names cause and cure, a
//! status of its own, and nothing left behind.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::io::Error;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Two shards, so that one could be left behind by the other. Port 0 is one that is free.
const CONFIGURATION: &str = r#"
shards = 2
[listen.filter]
address = "127.0.0.1:0"
protocol = "lmtp"
[route.mail]
to = "maildir:mail"
[domain."example.net"]
route = "mail"
recipients = "any"
"#;

/// A program that is refused has nothing to wait for: it takes some milliseconds, and this where
/// others have the cores.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs `postern serve` to its end in an empty folder, on a machine that `refuse` makes.
fn serve(refuse: impl FnOnce(&mut Command)) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postern.toml"), CONFIGURATION).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["serve", "--config", "postern.toml"]).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    refuse(&mut command);
    let began = Instant::now();
    let child = command.spawn().unwrap();
    let id = child.id();
    let (ended, end) = mpsc::channel();
    let waiter = std::thread::spawn(move || ended.send(child.wait_with_output()));
    let output = end.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        // SAFETY: the process is our own child, and nobody has waited for it yet.
        unsafe { libc::kill(id as i32, libc::SIGKILL) };
        panic!("it runs on after {:?}", began.elapsed());
    });
    waiter.join().unwrap().unwrap();
    assert_eq!(names_in(folder.path()), ["postern.toml"], "it has left something behind");
    output.unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// One line on standard error that holds all of `words`, nothing on standard output, status 1.
fn check_refusal(output: &Output, words: &[&str]) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("postern: ") && said.ends_with('\n'), "{said}");
    for word in words {
        assert!(said.contains(word), "no «{word}» in: {said}");
    }
    assert!(output.stdout.is_empty(), "{:?}", output.stdout.escape_ascii());
    assert_eq!(output.status.code(), Some(1), "{said}");
}

/// A filter like those of containers: it answers one system call with an error.
fn filter(call: i64, errno: i32) -> BpfProgram {
    let rules = [(call, Vec::new())].into_iter().collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let answer = SeccompAction::Errno(errno as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).unwrap().try_into().unwrap()
}

fn with_filter(command: &mut Command, call: i64, errno: i32) {
    let program = filter(call, errno);
    let install = move || seccompiler::apply_filter(&program).map_err(|_| Error::last_os_error());
    // SAFETY: between fork and exec it makes two system calls, on memory that was filled before.
    unsafe { command.pre_exec(install) };
}

fn with_limit(command: &mut Command, resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    let set = move || {
        // SAFETY: two system calls, on a structure of the closure's own.
        unsafe {
            // The limit of locked memory does not bind who has this right. Who cannot take it from
            // its children does not have it.
            const CAP_IPC_LOCK: libc::c_ulong = 14;
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
            match libc::setrlimit(resource, &raw const limit) {
                0 => Ok(()),
                _ => Err(Error::last_os_error()),
            }
        }
    };
    // SAFETY: as above: nothing else is done between fork and exec.
    unsafe { command.pre_exec(set) };
}

// A-110: it stops with one line that names the cause and the cure.
#[test]
fn a_110_a_filter_that_refuses_io_uring_is_named() {
    for call in [libc::SYS_io_uring_setup, libc::SYS_io_uring_register, libc::SYS_io_uring_enter] {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let output = serve(|command| with_filter(command, call, errno));
            check_refusal(&output, &["io_uring is forbidden", "seccomp", "io_uring_setup"]);
        }
    }
}

#[test]
fn a_110_too_little_locked_memory_is_named() {
    let output = serve(|command| with_limit(command, libc::RLIMIT_MEMLOCK, 64 << 10));
    check_refusal(&output, &["locked memory", "LimitMEMLOCK=", "ulimit -l"]);
}

#[test]
fn too_few_descriptors_are_named() {
    for most in 6..32 {
        let output = serve(|command| with_limit(command, libc::RLIMIT_NOFILE, most));
        check_refusal(&output, &["descriptor", "LimitNOFILE=", "ulimit -n"]);
    }
}
