//! What the process gives up before it serves: to run other programs.
//!
//! Mail is full of what a shell would run. Nothing here ever starts a program; with this nothing can,
//! whatever mistake of ours somebody finds.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// From now on this thread, and those that it starts, run no program: `execve` and `execveat` fail with
/// EPERM. That cannot be taken back.
pub fn forbid_programs() -> Result<(), seccompiler::Error> {
    let calls = [libc::SYS_execve, libc::SYS_execveat];
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let machine = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::process::Command;
    use std::thread;

    // the process has no right to run programs, and neither has a thread that it starts.
    #[test]
    fn a_35_no_program_can_be_run() {
        let confined = thread::spawn(|| {
            let run = || Command::new("/bin/true").status();
            assert!(run().unwrap().success(), "there is such a program");
            forbid_programs().unwrap();
            let refused = move |thread: &str| {
                let error = run().expect_err(thread);
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{thread}");
            };
            refused("this thread");
            thread::spawn(move || refused("one that it starts")).join().unwrap();
        });
        confined.join().unwrap();
    }
}
