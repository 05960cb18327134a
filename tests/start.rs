//! The real program where the machine does not let it start: one line that names cause and cure, a
//! status of its own, and nothing left behind.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::io::{BufRead, BufReader, Error, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
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
[admin]
address = "127.0.0.1:0"
"#;

/// A program that is refused has nothing to wait for: it takes some milliseconds, and this where
/// others have the cores.
const PATIENCE: Duration = Duration::from_secs(3);

/// `postern serve` in a folder.
fn postern(folder: &Path) -> Command {
    std::fs::write(folder.join("postern.toml"), CONFIGURATION).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["serve", "--config", "postern.toml"]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `postern serve` to its end in an empty folder, on a machine that `refuse` makes.
fn serve(refuse: impl FnOnce(&mut Command)) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = postern(folder.path());
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
    // The record of outcomes is opened first, as no shard begins without it; it is empty.
    let left: Vec<String> = names_in(folder.path());
    let allowed = |name: &String| name == "postern.toml" || name == "ledger";
    assert!(left.iter().all(allowed), "it has left something behind: {left:?}");
    output.unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A last line on standard error that holds all of `words`, nothing on standard output, status 1. The
/// record of outcomes does without what it cannot have, and may say so before.
fn check_refusal(output: &Output, words: &[&str]) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(said.ends_with('\n'), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let (refusal, before) = lines.split_last().unwrap();
    assert!(refusal.starts_with("postern: "), "{said}");
    let of_the_record = |line: &&str| {
        line.ends_with("mail goes on without records")
            || line.ends_with("records will not be found after a restart")
            || line.contains("content in part cannot")
    };
    assert!(before.iter().all(of_the_record), "{said}");
    for word in words {
        assert!(refusal.contains(word), "no «{word}» in: {said}");
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

// A-35: the program that serves has given up the right to run programs, in each of its threads.
#[test]
fn a_35_every_thread_has_given_up_to_run_programs() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = postern(folder.path()).spawn().unwrap();
    // Signals are heeded once the admin port is told of; who writes to a closed pipe would fail.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("metrics and health")));
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let mut threads = 0;
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name| status.lines().find_map(|line: &str| line.strip_prefix(name));
        assert_eq!(field("Seccomp:").map(str::trim), Some("2"), "{status}");
        assert_eq!(field("NoNewPrivs:").map(str::trim), Some("1"), "{status}");
        threads += 1;
    }
    assert!(threads >= 3, "{threads} threads");
    // SAFETY: the process is our own child, and nobody has waited for it yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert!(child.wait().unwrap().success());
}

// A-99: with 128 descriptors and 400 clients, sessions in hand are answered, nothing spins, and when
// the crowd is gone mail is taken as before.
#[test]
fn a_99_descriptors_that_run_out_harm_nobody_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = postern(folder.path());
    with_limit(&mut command, libc::RLIMIT_NOFILE, 128);
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let (mut room, mut line) = (String::new(), String::new());
    said.read_line(&mut room).unwrap();
    assert!(room.starts_with("postern: room for ") && room.contains("LimitNOFILE="), "{room}");
    said.read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit(' ').next().unwrap();
    let mut client = Client::greeted(address);
    let crowd: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert!(client.hand_in(folder.path()), "descriptors are kept for files");
    let (before, window) = (cpu_time(&child), Duration::from_millis(500));
    std::thread::sleep(window);
    let used = cpu_time(&child) - before;
    assert!(used < window / 4, "{used:?} of CPU in {window:?}");
    drop(crowd);
    let until = Instant::now() + Duration::from_secs(20);
    while !client.hand_in(folder.path()) {
        assert!(Instant::now() < until, "no mail is taken though descriptors are free");
    }
    // SAFETY: the process is our own child, and nobody has waited for it yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert!(child.wait().unwrap().success());
}

/// A client that has greeted.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn greeted(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Client { stream: BufReader::new(stream) };
        assert!(client.reply().starts_with("220 "));
        assert!(client.say("LHLO client.example\r\n").starts_with("250 "));
        client
    }

    /// Hands in a message; true if it was taken. It lies in the Maildir if it was, and only then.
    fn hand_in(&mut self, folder: &Path) -> bool {
        let before = mails_in(folder);
        assert!(self.say("MAIL FROM:<a@client.example>\r\n").starts_with("250 "));
        assert!(self.say("RCPT TO:<b@example.net>\r\n").starts_with("250 "));
        assert!(self.say("DATA\r\n").starts_with("354 "));
        let reply = self.say("Subject: x\r\n\r\ntext\r\n.\r\n");
        let taken = reply.starts_with("250 ");
        assert!(taken || reply.starts_with("451 4.3.0"), "{reply}");
        assert_eq!(mails_in(folder) - before, usize::from(taken));
        taken
    }

    fn say(&mut self, text: &str) -> String {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
        self.reply()
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let octets = self.stream.read_line(&mut line).unwrap();
            if octets == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }
}

fn mails_in(folder: &Path) -> usize {
    let new = folder.join("mail/example.net/b/new");
    // A Maildir that is not there holds nothing.
    std::fs::read_dir(new).map_or(0, Iterator::count)
}

/// User and system time that a process has used.
fn cpu_time(child: &Child) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let behind_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux counts in hundredths of a second.
    Duration::from_millis(ticks * 10)
}
