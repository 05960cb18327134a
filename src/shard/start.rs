//! Why a shard cannot start, and what the operator can do about it: one line each.

use std::io;

/// A shard cannot start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel or a container's seccomp filter refuses io_uring.
    #[error("io_uring is forbidden here: {cure}")]
    Forbidden {
        /// What to change.
        cure: &'static str,
    },
    /// The kernel is too old or was built without io_uring.
    #[error(
        "this kernel cannot do what postern asks of io_uring ({step}: {error}): Linux 6.1 or newer \
         is needed, built with CONFIG_IO_URING"
    )]
    Unsupported {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The memory that may be locked is used up.
    #[error(
        "the limit of locked memory is too low for io_uring ({step}: {error}): raise it to 8 MiB a \
         shard or more (`LimitMEMLOCK=` in systemd, `ulimit -l`, `--ulimit memlock=` in containers)"
    )]
    LockedMemory {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// No descriptor is left.
    #[error(
        "no file descriptor is left ({step}: {error}): raise the limit (`LimitNOFILE=` in systemd, \
         `ulimit -n`)"
    )]
    Descriptors {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The thread or its executor cannot be made, for example for a core that does not exist.
    #[error("the shard's thread cannot start: {0}")]
    Thread(String),
    /// Anything else.
    #[error("the shard cannot start ({step}: {error})")]
    Other {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
}

const CURE_SYSCTL: &str = "the sysctl kernel.io_uring_disabled is on; set it to 0 \
     (`sysctl kernel.io_uring_disabled=0`), or at 1 put postern's group into kernel.io_uring_group";
const CURE_SECCOMP: &str = "a seccomp filter stands in the way; allow io_uring_setup, \
     io_uring_enter and io_uring_register in the container's or service's profile \
     (docker: `--security-opt seccomp=<profile>`, systemd: `SystemCallFilter=` with their names)";

impl StartError {
    /// What the kernel's answer to `step` means for the operator.
    pub(super) fn of(step: &'static str, error: io::Error) -> StartError {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
            .ok()
            .and_then(|value| value.trim().parse().ok());
        StartError::explain(step, error, disabled)
    }

    /// The same with the value of `kernel.io_uring_disabled` as an argument.
    fn explain(step: &'static str, error: io::Error, disabled: Option<u8>) -> StartError {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if disabled.is_some_and(|value| value > 0) => {
                StartError::Forbidden { cure: CURE_SYSCTL }
            }
            Some(libc::EPERM | libc::EACCES) => StartError::Forbidden { cure: CURE_SECCOMP },
            // Some filters answer ENOSYS. A kernel that has the sysctl has io_uring.
            Some(libc::ENOSYS) if disabled.is_some() => {
                StartError::Forbidden { cure: CURE_SECCOMP }
            }
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => {
                StartError::Unsupported { step, error }
            }
            Some(libc::ENOMEM) => StartError::LockedMemory { step, error },
            Some(libc::EMFILE | libc::ENFILE) => StartError::Descriptors { step, error },
            _ => StartError::Other { step, error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_cause_and_its_cure() {
        let table = [
            (libc::EPERM, Some(0), "seccomp"),
            (libc::EPERM, None, "seccomp"),
            (libc::EPERM, Some(1), "kernel.io_uring_group"),
            (libc::EPERM, Some(2), "kernel.io_uring_disabled=0"),
            (libc::EACCES, Some(0), "io_uring_setup"),
            (libc::ENOSYS, Some(0), "seccomp"),
            (libc::ENOSYS, None, "CONFIG_IO_URING"),
            (libc::EINVAL, Some(0), "Linux 6.1"),
            (libc::ENOMEM, Some(0), "LimitMEMLOCK"),
            (libc::EMFILE, Some(0), "LimitNOFILE"),
            (libc::EIO, Some(0), "cannot start"),
        ];
        for (errno, disabled, expected) in table {
            let error = io::Error::from_raw_os_error(errno);
            let line = StartError::explain("setup", error, disabled).to_string();
            assert!(line.contains(expected), "{errno} {disabled:?}: {line}");
            assert!(!line.contains('\n') && !line.contains("  "), "one line: {line:?}");
        }
    }
}
