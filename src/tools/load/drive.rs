//! A load on real sockets: a task for each connection, all on one thread.

use super::report::{Report, record};
use super::{ClientFault, Load, LoadClient, Step};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, sleep_until, timeout};

/// Octets that are read at once.
const READ_OCTETS: usize = 16 * 1024;

/// So many connections in a row that end before a message is answered are enough: the server is not
/// to be had. There is a pause behind each.
const FAILURES_MAX: u32 = 10;

/// The pause behind a connection that has failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Where the server listens.
#[derive(Clone, Debug)]
pub enum Target {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A load could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    /// The runtime could not be made.
    #[error("the load generator cannot start: {0}")]
    Runtime(io::Error),
    /// No message was answered at all.
    #[error("no message was answered; last, {0}")]
    NothingAnswered(String),
}

/// Brings a load, and waits until it is answered.
///
/// # Errors
/// Not one message was answered.
pub fn run(load: Load) -> Result<Report, LoadFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(LoadFault::Runtime)?;
    let tasks = tokio::task::LocalSet::new();
    let connections = load.connections.get();
    let shared = Rc::new(Shared {
        load,
        began: Instant::now(),
        taken: Cell::new(0),
        report: RefCell::new(Report::new()),
    });
    for _ in 0..connections {
        tasks.spawn_local(bring(Rc::clone(&shared)));
    }
    runtime.block_on(tasks);
    let mut report = shared.report.replace(Report::new());
    report.time = shared.began.elapsed();
    match (report.answered, report.faults.keys().next_back()) {
        (0, Some(fault)) => Err(LoadFault::NothingAnswered(fault.clone())),
        _ => Ok(report),
    }
}

/// What the connections have in common.
struct Shared {
    load: Load,
    began: Instant,
    /// Messages that a connection has taken upon itself.
    taken: Cell<u64>,
    report: RefCell<Report>,
}

/// A connection has failed.
#[derive(Debug, thiserror::Error)]
enum ConnectionFault {
    #[error("the connection failed: {0}")]
    Socket(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("no reply came in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Client(#[from] ClientFault),
}

impl Shared {
    /// The next message, and when it is due. `None` when no more is to be begun.
    fn next_message(&self) -> Option<(u64, Instant)> {
        let number = self.taken.get();
        let due = match self.load.rate {
            Some(rate) => self.began + Duration::from_secs_f64(number as f64 / rate),
            None => Instant::now(),
        };
        let left = number < self.load.messages && due < self.began + self.load.time;
        left.then(|| {
            self.taken.set(number + 1);
            (number, due)
        })
    }

    /// Notes why a connection has ended; the answer is how many messages were answered so far.
    fn fault(&self, fault: ConnectionFault) -> u64 {
        let mut report = self.report.borrow_mut();
        report.fault(fault.to_string());
        report.answered
    }

    fn is_over(&self) -> bool {
        self.taken.get() >= self.load.messages || self.began.elapsed() >= self.load.time
    }
}

/// Makes one connection after the other, as long as there are messages.
async fn bring(shared: Rc<Shared>) {
    let mut failures = 0;
    while failures < FAILURES_MAX && !shared.is_over() {
        let before = shared.report.borrow().answered;
        match connect(&shared).await {
            Ok(()) => failures = 0,
            Err(fault) => {
                let answered = shared.fault(fault);
                failures = if answered > before { 1 } else { failures + 1 };
                sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

async fn connect(shared: &Shared) -> Result<(), ConnectionFault> {
    let began = Instant::now();
    match &shared.load.target {
        Target::Tcp(address) => {
            let stream = timeout(shared.load.timeout, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            converse(stream, began, shared).await
        }
        Target::Unix(path) => {
            let stream = timeout(shared.load.timeout, UnixStream::connect(path)).await??;
            converse(stream, began, shared).await
        }
    }
}

/// A message on its way.
struct Underway {
    number: u64,
    due: Instant,
    /// When the last octet of its content was handed to the kernel, and when the first octet of the
    /// final replies came.
    sent: Option<Instant>,
    replied: Option<Instant>,
}

/// Drives a client until its connection has brought enough.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    began: Instant,
    shared: &Shared,
) -> Result<(), ConnectionFault> {
    let load = &shared.load;
    shared.report.borrow_mut().connections += 1;
    let mut conversation = Conversation { shared, underway: None, answered: 0 };
    let mut client = LoadClient::new(load.dialect);
    let mut octets = vec![0; READ_OCTETS];
    let mut greeted = false;
    loop {
        while let Some(step) = client.poll_step() {
            match step {
                Step::Send(commands) => {
                    timeout(load.timeout, stream.write_all(&commands)).await??
                }
                Step::SendContent(command) => {
                    timeout(load.timeout, conversation.content(&mut stream, command)).await??;
                }
                Step::Ready | Step::Answered(_) => {
                    if let Step::Answered(codes) = step {
                        conversation.answered(&codes);
                    }
                    let Some((number, due)) = conversation.next_message() else {
                        // Its answer is of no use to anybody.
                        stream.write_all(b"QUIT\r\n").await?;
                        return Ok(());
                    };
                    sleep_until(due.into()).await;
                    conversation.underway =
                        Some(Underway { number, due, sent: None, replied: None });
                    let size =
                        conversation.head(number).len() + load.mail.content(number).plain.len();
                    client.begin(&load.sender, &load.recipients, size);
                }
            }
        }
        let length = timeout(load.timeout, stream.read(&mut octets)).await??;
        if !std::mem::replace(&mut greeted, true) {
            record(&mut shared.report.borrow_mut().banner, began.elapsed());
        }
        conversation.replied();
        if length == 0 {
            return Err(ConnectionFault::Closed);
        }
        client.receive(&octets[..length])?;
    }
}

/// The messages of one connection.
struct Conversation<'a> {
    shared: &'a Shared,
    underway: Option<Underway>,
    answered: u32,
}

impl Conversation<'_> {
    fn next_message(&self) -> Option<(u64, Instant)> {
        let enough = self
            .shared
            .load
            .messages_per_connection
            .is_some_and(|most| self.answered >= most.get());
        if enough { None } else { self.shared.next_message() }
    }

    /// The field that tells the messages of a load apart.
    fn head(&self, number: u64) -> String {
        format!("X-Load: {number}\r\n")
    }

    async fn content<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        command: Vec<u8>,
    ) -> io::Result<()> {
        let Some(number) = self.underway.as_ref().map(|message| message.number) else {
            return Ok(());
        };
        let load = &self.shared.load;
        let content = load.mail.content(number);
        let mut first = command;
        first.extend_from_slice(self.head(number).as_bytes());
        stream.write_all(&first).await?;
        stream
            .write_all(if load.dialect.chunking { &content.plain } else { &content.wire })
            .await?;
        if let Some(message) = &mut self.underway {
            message.sent = Some(Instant::now());
        }
        Ok(())
    }

    /// Octets of the server have come.
    fn replied(&mut self) {
        if let Some(message) = &mut self.underway
            && message.sent.is_some()
        {
            message.replied.get_or_insert_with(Instant::now);
        }
    }

    fn answered(&mut self, codes: &[u16]) {
        self.answered += 1;
        let report = &mut *self.shared.report.borrow_mut();
        report.answer(codes);
        if let Some(message) = self.underway.take() {
            record(&mut report.message, message.due.elapsed());
            if let (Some(sent), Some(replied)) = (message.sent, message.replied) {
                record(&mut report.first_reply, replied - sent);
                record(&mut report.all_replies, sent.elapsed());
            }
        }
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        self.shared.report.borrow_mut().unanswered += u64::from(self.underway.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Protocol;
    use crate::tools::load::{Dialect, LoadMail};
    use crate::tools::sink::{Kept, Script, Serving, serve};
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::{Ipv4Addr, TcpListener};
    use std::num::NonZeroU32;
    use std::sync::Arc;

    const LMTP: Dialect =
        Dialect { protocol: Protocol::Lmtp, chunking: false, prdr: false, pipelining: true };

    /// A sink with these answers, what it keeps, and a load for it.
    fn sink(dialect: Dialect, answers: &[&str]) -> (Serving, Kept, Load) {
        let mut script = Script::default();
        script.offers.add("PRDR").unwrap();
        answers.iter().for_each(|answer| script.add(answer).unwrap());
        let kept = Kept::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let serving = serve(listener, dialect.protocol, Arc::new(script), kept.clone()).unwrap();
        let load = Load {
            target,
            dialect,
            mail: LoadMail::of_size(1_000).unwrap(),
            sender: "a@a.example".to_owned(),
            recipients: vec!["ok@b.example".to_owned(), "full@b.example".to_owned()],
            connections: NonZeroU32::new(3).unwrap(),
            messages_per_connection: None,
            messages: 10,
            rate: None,
            time: Duration::from_secs(600),
            timeout: Duration::from_secs(600),
        };
        (serving, kept, load)
    }

    #[test]
    fn each_message_is_brought_once_and_each_reply_is_counted() {
        let smtp = Dialect { protocol: Protocol::Smtp, ..LMTP };
        for (dialect, codes) in [
            (LMTP, [(250, 10), (452, 10)]),
            (Dialect { chunking: true, ..LMTP }, [(250, 10), (452, 10)]),
            (Dialect { prdr: true, ..smtp }, [(250, 10), (452, 10)]),
            (Dialect { pipelining: false, chunking: true, ..smtp }, [(250, 20), (0, 0)]),
        ] {
            let answers: &[&str] = match dialect.protocol == Protocol::Lmtp || dialect.prdr {
                true => &["full=end:452 4.2.2 full"],
                false => &[],
            };
            let (_serving, kept, load) = sink(dialect, answers);
            let report = run(load).unwrap();
            let codes = codes.into_iter().filter(|(_, count)| *count > 0);
            assert_eq!(report.codes, codes.collect::<BTreeMap<u16, u64>>(), "{dialect:?}");
            assert_eq!((report.answered, report.unanswered, report.connections), (10, 0, 3));
            assert_eq!(report.all_replies.len(), 10);
            let heads: BTreeSet<Vec<u8>> = kept
                .take()
                .into_iter()
                .map(|message| {
                    message.content.split(|octet| *octet == b'\r').next().unwrap().to_vec()
                })
                .collect();
            let numbers = (0..10).map(|number| format!("X-Load: {number}").into_bytes());
            assert_eq!(heads, numbers.collect(), "{dialect:?}");
        }
    }

    #[test]
    fn connections_are_made_anew_behind_their_messages() {
        let (_serving, _, load) = sink(LMTP, &[]);
        let two = NonZeroU32::new(2);
        let one = NonZeroU32::MIN;
        let report = run(Load { messages_per_connection: two, connections: one, ..load }).unwrap();
        assert_eq!((report.answered, report.accepted, report.connections), (10, 10, 5));
    }

    // With a rate, the time of a message counts from when it was due: a server that is slow with the
    // first makes those behind it late as well.
    #[test]
    fn with_a_rate_times_count_from_when_a_message_was_due() {
        let (_serving, _, load) = sink(LMTP, &["ok=late:200"]);
        let one = NonZeroU32::MIN;
        let report = run(Load { rate: Some(1e6), connections: one, messages: 5, ..load }).unwrap();
        assert!(report.message.max() >= 1_000_000, "{report}");
        assert!(report.all_replies.min() >= 200_000, "{report}");
        assert!(report.first_reply.max() < report.message.max(), "{report}");
    }

    #[test]
    fn a_load_has_an_end_whatever_the_server_does() {
        let (_serving, _, load) = sink(LMTP, &["@banner=close"]);
        let fault = run(load).unwrap_err().to_string();
        assert_eq!(fault, "no message was answered; last, the server closed the connection");
        let (_serving, _, load) = sink(LMTP, &["@end=stall"]);
        let load = Load { timeout: Duration::from_millis(20), messages: 3, ..load };
        let fault = run(load).unwrap_err().to_string();
        assert!(fault.ends_with("no reply came in time"), "{fault}");
        let (_serving, _, load) = sink(LMTP, &[]);
        let report = run(Load { time: Duration::ZERO, ..load }).unwrap();
        assert_eq!((report.answered, report.connections), (0, 0));
    }
}
