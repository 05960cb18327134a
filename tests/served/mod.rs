//! A real process of postern that serves, and the lines of its standard error.
//!
//! Nothing here sleeps to wait: every wait is for a line, with a time-out that only a failure reaches.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that serves. Who starts it ends it.
pub struct Served {
    pub child: Child,
    lines: Receiver<String>,
}

impl Served {
    /// Starts a process with this configuration; the environment is ours, but for `more`.
    pub fn start(config: &Path, more: &[(&str, &str)]) -> Served {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(["serve", "--config"]).arg(config);
        command.env_remove("NOTIFY_SOCKET").envs(more.iter().copied());
        Served::spawn(command)
    }

    /// Starts a process by a command that becomes it, in the command's environment.
    pub fn spawn(mut command: Command) -> Served {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Served { child, lines }
    }

    /// The next line of standard error that holds these words.
    pub fn line_with(&self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("no line with {words:?}: {error}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The address behind these words in the next line that holds them.
    pub fn address(&self, words: &str) -> SocketAddr {
        let line = self.line_with(words);
        line.rsplit_once(words).unwrap().1.parse().unwrap()
    }
}
