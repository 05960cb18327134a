//! A sink on real sockets: a thread for each connection drives a [`SinkSession`].
//!
//! Threads that block are enough here: a sink has few connections, those of the gateway's own relay.

use super::{Kept, Script, SinkEffect, SinkSession};
use crate::relay::Protocol;
use slab::Slab;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Octets that are read at once.
const READ_OCTETS: usize = 64 * 1024;

/// How long no connection is accepted after the system refused one, for want of descriptors say.
const REST: Duration = Duration::from_millis(10);

/// A sink at work. It stops when this is dropped: no connection and no thread is left then.
#[derive(Debug)]
pub struct Serving {
    listener: Arc<SinkListener>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// Where a sink listens.
#[derive(Debug)]
pub enum SinkListener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

/// Serves all who connect, each from a thread of its own, until the answer is dropped.
///
/// # Errors
/// The acceptor's thread cannot be started, or the script offers STARTTLS, for which a sink on
/// sockets has no certificate.
pub fn serve(
    listener: impl Into<SinkListener>,
    protocol: Protocol,
    script: Arc<Script>,
    kept: Kept,
) -> io::Result<Serving> {
    if script.offers.has("STARTTLS") {
        let fault = "a sink on sockets has no certificate and cannot offer STARTTLS";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, fault));
    }
    let listener = Arc::new(listener.into());
    let shared = Arc::new(Shared::default());
    let session = move || SinkSession::new(protocol, Arc::clone(&script), kept.clone());
    let (its_listener, its_shared) = (Arc::clone(&listener), Arc::clone(&shared));
    let acceptor = thread::Builder::new()
        .name("sink".to_owned())
        .spawn(move || accept_all(&its_listener, &its_shared, session))?;
    Ok(Serving { listener, shared, acceptor: Some(acceptor) })
}

impl Drop for Serving {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopping = true;
            for (_, stream) in &state.streams {
                stream.shut();
            }
        }
        self.shared.stopped.notify_all();
        self.listener.shut();
        if let Some(acceptor) = self.acceptor.take() {
            // It panicked: that was reported on its thread, and a destructor can add nothing.
            let _ = acceptor.join();
        }
    }
}

impl From<TcpListener> for SinkListener {
    fn from(listener: TcpListener) -> SinkListener {
        SinkListener::Tcp(listener)
    }
}

impl From<UnixListener> for SinkListener {
    fn from(listener: UnixListener) -> SinkListener {
        SinkListener::Unix(listener)
    }
}

impl SinkListener {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            SinkListener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // A reply shall not wait for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            SinkListener::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }

    /// Makes an accept that waits return with an error: Linux does so for both kinds.
    fn shut(&self) {
        let _ = match self {
            SinkListener::Tcp(listener) => SockRef::from(listener).shutdown(Shutdown::Both),
            SinkListener::Unix(listener) => SockRef::from(listener).shutdown(Shutdown::Both),
        };
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<SharedState>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct SharedState {
    stopping: bool,
    /// All open connections, so that their threads can be woken.
    streams: Slab<Arc<Stream>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection. `None` when the sink is stopping.
    fn enter(&self, stream: &Arc<Stream>) -> Option<usize> {
        let mut state = self.lock();
        (!state.stopping).then(|| state.streams.insert(Arc::clone(stream)))
    }

    fn leave(&self, place: usize) {
        self.lock().streams.remove(place);
    }

    /// Waits so long. False when the sink is stopping.
    fn wait(&self, span: Duration) -> bool {
        let guard = self.lock();
        let waited = self.stopped.wait_timeout_while(guard, span, |state| !state.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

fn accept_all(listener: &SinkListener, shared: &Shared, session: impl Fn() -> SinkSession) {
    // The scope ends when the last connection has: `Serving` shuts them all.
    thread::scope(|scope| {
        loop {
            match listener.accept() {
                Ok(stream) => {
                    let stream = Arc::new(stream);
                    let Some(place) = shared.enter(&stream) else { return };
                    let session = session();
                    let connection = move || {
                        // A connection that breaks ends; its client sees the same.
                        let _ = converse(&stream, session, shared);
                        stream.shut();
                        shared.leave(place);
                    };
                    if thread::Builder::new().spawn_scoped(scope, connection).is_err() {
                        shared.leave(place);
                    }
                }
                Err(_) if shared.wait(REST) => {}
                Err(_) => return,
            }
        }
    });
}

/// Drives a session from its banner to its end.
fn converse(mut stream: &Stream, mut session: SinkSession, shared: &Shared) -> io::Result<()> {
    let mut octets = vec![0; READ_OCTETS];
    loop {
        while let Some(effect) = session.poll_effect() {
            match effect {
                SinkEffect::Send(octets) => stream.write_all(&octets)?,
                SinkEffect::Wait(span) if shared.wait(span) => session.resume(),
                SinkEffect::Wait(_) | SinkEffect::Close | SinkEffect::StartTls(_) => return Ok(()),
            }
        }
        match stream.read(&mut octets)? {
            0 => return Ok(()),
            length => session.receive(&octets[..length]),
        }
    }
}

/// A connection of either kind.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Ends both directions. The other side may have been faster.
    fn shut(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for &Stream {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(octets),
            Stream::Unix(stream) => (&mut &*stream).read(octets),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write(octets),
            Stream::Unix(stream) => (&mut &*stream).write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::Ipv4Addr;
    use std::time::Instant;

    fn script() -> Arc<Script> {
        let mut script = Script::default();
        script.add("late=end:450 4.2.0 busy").unwrap();
        script.add("stuck=late:3600000").unwrap();
        Arc::new(script)
    }

    #[test]
    fn both_kinds_of_socket_are_served_and_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sink");
        let kept = Kept::default();
        let unix = UnixListener::bind(&path).unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        let one = serve(unix, Protocol::Lmtp, script(), kept.clone()).unwrap();
        let two = serve(tcp, Protocol::Lmtp, script(), kept.clone()).unwrap();
        let streams = [
            Stream::Unix(UnixStream::connect(&path).unwrap()),
            Stream::Tcp(TcpStream::connect(address).unwrap()),
        ];
        for stream in &streams {
            assert_eq!(codes(stream, &["ok", "late"], 7), "220 250 250 250 354 250 450");
        }
        assert_eq!(kept.count(), 2);
        // Stopping waits neither for idle connections nor for late answers.
        codes(&streams[1], &["stuck"], 3);
        let began = Instant::now();
        drop((one, two));
        assert!(began.elapsed() < Duration::from_secs(60));
        assert_eq!(kept.count(), 2);
    }

    /// Hands in a message and reads so many replies.
    fn codes(mut stream: &Stream, names: &[&str], replies: usize) -> String {
        let mut octets = "MAIL FROM:<a@client.example>\r\n".to_owned();
        for name in names {
            octets.push_str(&format!("RCPT TO:<{name}@example.net>\r\n"));
        }
        octets.push_str("DATA\r\nSubject: x\r\n\r\n.\r\n");
        stream.write_all(octets.as_bytes()).unwrap();
        let lines = BufReader::new(stream).lines().take(replies);
        lines.map(|line| line.unwrap()[..3].to_owned()).collect::<Vec<_>>().join(" ")
    }
}
