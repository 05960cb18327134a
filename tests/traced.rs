//! The sends of a reply set, as the kernel sees them: its own trace of what is submitted to io_uring
//! and of the system calls that can send.
//!
//! `strace` cannot show this, as a send through io_uring is no system call. The trace wants root and
//! a kernel with tracepoints; without them the proof says so and is passed over, unless
//! `POSTERN_TRACE=required`. It is alone in its program, so that nobody else's sends are counted.

// The dialogue runner uses parts of its stages that this proof does not.
#[allow(dead_code)]
mod dialogues_runner;

use dialogues_runner::installation::{Installation, SPAM, base_listener};
use dialogues_runner::sockets::Sockets;
use dialogues_runner::stage::{ConnectionId, Stage};
use postern::relay::Protocol;
use postern::session::Listener;
use std::ffi::CString;
use std::fs;
use std::io::{Error, Result};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// System calls that could send a reply beside io_uring.
const CALLS: [&str; 5] = ["sendto", "sendmsg", "sendmmsg", "write", "writev"];

#[test]
fn the_kernel_sees_one_send_for_a_reply_set() {
    let trace = match Trace::start() {
        Ok(trace) => trace,
        Err(error) => {
            assert_ne!(std::env::var("POSTERN_TRACE").as_deref(), Ok("required"), "{error}");
            return println!("passed over: the kernel's trace cannot be had here ({error})");
        }
    };
    for recipients in [1, 10, 100, 1_000] {
        let settings = Listener { recipients_max: 1_000, ..base_listener() };
        let mut stage = Sockets::start(&Installation::with(&settings), Protocol::Lmtp).unwrap();
        let client = stage.connect("lmtp", Ipv4Addr::LOCALHOST.into()).unwrap();
        replies(&mut stage, client, "LHLO client.example\r\n", 2);
        let mut envelope = "MAIL FROM:<a@client.example>\r\n".to_owned();
        for number in 0..recipients {
            envelope.push_str(&format!("RCPT TO:<ok{}@example.net>\r\n", number % 99 + 1));
        }
        // The banner, the greeting and the envelope are sent by then: the trace is not deaf.
        replies(&mut stage, client, &(envelope + "DATA\r\n"), recipients + 2);
        assert!(!trace.take_sends().is_empty(), "the trace shows no send at all");
        // Nothing goes to a next hop, so that all that is sent is the reply set.
        let content = format!("Subject: x\r\n\r\n{SPAM}\r\n.\r\n");
        let text = replies(&mut stage, client, &content, recipients);
        assert_eq!(text.matches("550 5.7.1").count(), recipients);
        let sends = trace.take_sends();
        assert_eq!(sends.len(), 1, "{recipients} recipients: {sends:#?}");
        assert!(sends[0].contains("io_uring_submit_req"), "{sends:?}");
    }
}

/// Writes, and reads so many replies, each of one line but for that to LHLO.
fn replies(stage: &mut Sockets, client: ConnectionId, octets: &str, count: usize) -> String {
    stage.write(client, octets.as_bytes());
    let until = stage.elapsed() + PATIENCE;
    let mut text = String::new();
    while text.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).count() < count {
        assert!(stage.elapsed() < until, "{text}");
        for arrived in stage.wait(client, Duration::from_millis(100)) {
            text.push_str(std::str::from_utf8(&arrived.octets).unwrap());
        }
    }
    assert!(text.ends_with("\r\n"));
    text
}

/// A trace buffer of our own, which sees this process alone.
struct Trace {
    _folder: TempDir,
    instance: PathBuf,
    /// The thread that plays the client: what it sends is not the gateway's.
    client: i32,
}

impl Trace {
    fn start() -> Result<Trace> {
        let folder = tempfile::tempdir()?;
        mount_for_this_thread(folder.path())?;
        let instance = folder.path().join(format!("instances/postern-{}", std::process::id()));
        fs::create_dir(&instance)?;
        // SAFETY: the call takes nothing and cannot fail.
        let client = unsafe { libc::gettid() };
        let trace = Trace { _folder: folder, instance, client };
        // The threads of the gateway are children of this one.
        trace.set("options/event-fork", "1")?;
        trace.set("set_event_pid", &client.to_string())?;
        trace.set("events/io_uring/io_uring_submit_req/enable", "1")?;
        for call in CALLS {
            trace.set(&format!("events/syscalls/sys_enter_{call}/enable"), "1")?;
        }
        Ok(trace)
    }

    /// What the gateway's threads have sent since the last call, as lines of the trace.
    fn take_sends(&self) -> Vec<String> {
        let text = fs::read_to_string(self.instance.join("trace")).unwrap();
        self.set("trace", "").unwrap();
        assert!(!text.contains("LOST"), "the kernel's buffer was too small");
        let events = || text.lines().filter_map(Event::read).filter(|it| it.thread != self.client);
        let rings: Vec<&str> =
            events().filter(|it| it.opcode.starts_with("SEND")).map(|it| it.ring).collect();
        let sends = events().filter(|it| match it.opcode {
            // The executor has a ring of its own, on which it writes to its bells.
            opcode if opcode.starts_with("WRITE") => rings.contains(&it.ring),
            // A bell is rung by writing a number of eight octets.
            "" => !it.line.ends_with("count: 8)"),
            opcode => opcode.starts_with("SEND"),
        });
        sends.map(|it| it.line.trim().to_owned()).collect()
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        fs::write(self.instance.join(file), value)
    }
}

/// A line of the trace.
struct Event<'a> {
    line: &'a str,
    thread: i32,
    /// Empty for a system call.
    ring: &'a str,
    opcode: &'a str,
}

impl<'a> Event<'a> {
    /// Reads `NAME-THREAD [CPU] ... io_uring_submit_req: ring R, ..., opcode O, ...`, or the same with
    /// `sys_sendto(...)`. `None` for lines of other forms, which are comments.
    fn read(line: &'a str) -> Option<Event<'a>> {
        let line = line.trim_end();
        let (task, event) = line.split_once(" [")?;
        let thread = task.trim_end().rsplit('-').next()?.parse().ok()?;
        let word_behind = |mark| {
            let rest = event.split_once(mark).map_or("", |(_, rest)| rest);
            rest.split(',').next().unwrap_or_default()
        };
        Some(Event { line, thread, ring: word_behind(" ring "), opcode: word_behind(" opcode ") })
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Best effort: a buffer that stays behind costs memory until the next boot, no more.
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Mounts the kernel's trace where only this thread and its children see it. The mount is gone with
/// them.
fn mount_for_this_thread(folder: &Path) -> Result<()> {
    let checked = |answer: i32| if answer == 0 { Ok(()) } else { Err(Error::last_os_error()) };
    let folder = CString::new(folder.as_os_str().as_encoded_bytes())?;
    let (tracefs, none) = (c"tracefs".as_ptr(), std::ptr::null::<libc::c_char>());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the calls read strings that end with NUL and live until they return, and no memory.
    unsafe {
        checked(libc::unshare(libc::CLONE_NEWNS))?;
        checked(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))?;
        checked(libc::mount(tracefs, folder.as_ptr(), tracefs, 0, none.cast()))
    }
}
