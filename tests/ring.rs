//! The ring and the two loops that drive it, over real sockets of this machine.
//!
//! Nothing here sleeps to wait for something: every wait is for an event or for octets, with a
//! time-out that only a failure reaches.

use postern::shard::{
    Address, Bell, BellRope, Close, Counters, Driver, Event, Ring, RingSettings, Shard,
    ShardSettings, SocketId, listener, run_alone, run_shard,
};
use postern::wire::{Output, Piece};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the shard listens: an address of its own, as clients of other programs may still look on
/// 127.0.0.1 for somebody who had the port before.
const OWN: &str = "127.0.0.7:0";

// ---- the shard under test -------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Executor,
    Alone,
}

const BOTH: [Mode; 2] = [Mode::Executor, Mode::Alone];

/// An event that outlives its buffer.
#[derive(Debug, PartialEq)]
enum Seen {
    Accepted(SocketId, Option<SocketAddr>),
    Connected(SocketId),
    ConnectFailed(SocketId, Option<i32>),
    Received(SocketId, Vec<u8>),
    Sent(SocketId, u64),
    PeerClosed(SocketId),
    Broken(SocketId, Option<i32>),
    DeadlineKept(Duration),
}

type Job = Box<dyn FnOnce(&mut Ring) + Send>;

enum Order {
    Do(Job),
    Deadline(Duration),
    Finish,
}

/// Echoes, or tells the test what it sees; does what the test orders.
struct Puppet {
    echo: bool,
    seen: Sender<Seen>,
    orders: Receiver<Order>,
    woken: Arc<AtomicU64>,
    /// When it was set, and when it is due.
    deadline: Option<(Instant, Instant)>,
    finished: bool,
}

/// Octets on their way back above which, and below which, the echo stops and goes on reading.
const HIGH: u64 = 256 * 1024;
const LOW: u64 = 64 * 1024;

impl Puppet {
    fn echo(&mut self, ring: &mut Ring, event: Event<'_>) {
        match event {
            Event::Received { socket, octets } => {
                ring.send(socket, Output::from(octets.to_vec()));
                if ring.unsent_octets(socket) > HIGH {
                    ring.pause(socket);
                }
            }
            Event::Sent { socket, .. } if ring.unsent_octets(socket) < LOW => ring.resume(socket),
            Event::PeerClosed { socket } => ring.close(socket, Close::Orderly),
            Event::Broken { socket, .. } => ring.close(socket, Close::Reset),
            _ => {}
        }
    }

    fn tell(&mut self, event: Event<'_>) {
        let seen = match event {
            Event::Accepted { socket, peer, .. } => Seen::Accepted(socket, peer),
            Event::Connected { socket } => Seen::Connected(socket),
            Event::ConnectFailed { socket, error } => {
                Seen::ConnectFailed(socket, error.raw_os_error())
            }
            Event::Received { socket, octets } => Seen::Received(socket, octets.to_vec()),
            Event::Sent { socket, octets } => Seen::Sent(socket, octets),
            Event::PeerClosed { socket } => Seen::PeerClosed(socket),
            Event::Broken { socket, error } => Seen::Broken(socket, error.raw_os_error()),
        };
        // A test that has seen enough does not listen any more.
        let _ = self.seen.send(seen);
    }
}

impl Driver for Puppet {
    fn event(&mut self, ring: &mut Ring, event: Event<'_>) {
        if self.echo { self.echo(ring, event) } else { self.tell(event) }
    }

    fn woken(&mut self, ring: &mut Ring) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Do(job) => job(ring),
                Order::Deadline(after) => {
                    self.deadline = Some((Instant::now(), Instant::now() + after));
                }
                Order::Finish => self.finished = true,
            }
        }
    }

    fn tick(&mut self, _ring: &mut Ring) -> Option<Duration> {
        let (set, due) = self.deadline?;
        let now = Instant::now();
        if now < due {
            return Some(due - now);
        }
        self.deadline = None;
        let _ = self.seen.send(Seen::DeadlineKept(now - set));
        None
    }

    fn busy(&self) -> bool {
        self.deadline.is_some()
    }

    fn finished(&self) -> bool {
        self.finished
    }
}

enum Running {
    Shard(Shard),
    Alone(thread::JoinHandle<()>),
}

/// A shard that runs, as the test holds it.
struct World {
    rope: BellRope,
    orders: Sender<Order>,
    seen: Receiver<Seen>,
    woken: Arc<AtomicU64>,
    running: Running,
}

fn small() -> RingSettings {
    RingSettings {
        sockets_max: 4_096,
        sockets_for_next_hops: 64,
        buffers: 64,
        ..RingSettings::default()
    }
}

impl World {
    fn start(mode: Mode, echo: bool, settings: RingSettings) -> World {
        let (bell, woken) = (Bell::new().unwrap(), Arc::new(AtomicU64::new(0)));
        let (rope, (orders, jobs), (tell, seen)) = (bell.rope(), channel(), channel());
        let mut puppet = Puppet {
            echo,
            seen: tell,
            orders: jobs,
            woken: Arc::clone(&woken),
            deadline: None,
            finished: false,
        };
        let running = match mode {
            Mode::Executor => {
                let name = "shard-0".to_owned();
                let shard = ShardSettings { name, cpu: None, ring: settings };
                Running::Shard(run_shard(shard, bell, move |_| puppet).unwrap())
            }
            Mode::Alone => Running::Alone(thread::spawn(move || {
                run_alone(Ring::new(settings).unwrap(), &bell, &mut puppet);
            })),
        };
        World { rope, orders, seen, woken, running }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
        self.rope.ring();
    }

    /// Does something on the shard's thread and waits for it.
    fn on_shard<T: Send + 'static>(&self, job: impl FnOnce(&mut Ring) -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.order(Order::Do(Box::new(move |ring| done.send(job(ring)).unwrap())));
        result.recv_timeout(PATIENCE).expect("the shard did not wake up")
    }

    fn listen(&self) -> SocketAddr {
        self.listen_on(TcpListener::bind(OWN).unwrap())
    }

    fn listen_on(&self, listener: TcpListener) -> SocketAddr {
        let address = listener.local_addr().unwrap();
        self.on_shard(move |ring| ring.listen(listener.into(), 7, b"421 4.3.2 full\r\n"));
        address
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("no event came")
    }

    /// A client and the shard's end of its connection.
    fn pair(&self, address: SocketAddr) -> (TcpStream, SocketId) {
        let client = connect(address);
        match self.next() {
            Seen::Accepted(socket, Some(peer)) => {
                assert_eq!(peer, client.local_addr().unwrap());
                (client, socket)
            }
            other => panic!("expected a client, saw {other:?}"),
        }
    }

    /// Everything received up to the event that is not about octets.
    fn octets_until_other(&self) -> (Vec<u8>, Seen) {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Seen::Received(_, octets) => all.extend(octets),
                Seen::Sent(..) => {}
                other => return (all, other),
            }
        }
    }

    fn counters(&self) -> Counters {
        self.on_shard(|ring| ring.counters())
    }

    /// Waits until the shard has closed all its sockets.
    fn until_closed(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (open, in_flight) = self.on_shard(|ring| (ring.sockets_open(), ring.in_flight()));
            if open == 0 {
                return;
            }
            assert!(
                Instant::now() < end,
                "{open} sockets are still open, {in_flight} operations in flight: {:?}",
                self.counters()
            );
            thread::yield_now();
        }
    }

    fn finish(self) {
        assert_eq!(self.counters().stale, 0, "a slot waits for its completions");
        self.order(Order::Finish);
        match self.running {
            Running::Shard(shard) => shard.join().unwrap(),
            Running::Alone(thread) => thread.join().unwrap(),
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Octets that say which connection they belong to and where in it.
fn pattern(connection: u64, octets: usize) -> Vec<u8> {
    let mut state = connection.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(octets).collect()
}

/// Sends `octets` and reads them back, on two threads so that neither side can block the other.
fn echo_through(client: &TcpStream, octets: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| (&mut &*client).write_all(octets).unwrap());
        let mut back = vec![0; octets.len()];
        (&mut &*client).read_exact(&mut back).unwrap();
        assert!(back == octets, "an octet on a wrong connection or in a wrong place");
    });
}

// ---- octets there and back ------------------------------------------------------------------

#[test]
fn one_connection_echoes_messages_of_every_size() {
    for mode in BOTH {
        let world = World::start(mode, true, small());
        let client = connect(world.listen());
        for octets in [1, 2, 511, 512, 4_096, 16_384, 16_385, 100_000, 1 << 20] {
            echo_through(&client, &pattern(octets as u64, octets));
        }
        drop(client);
        world.until_closed();
        world.finish();
    }
}

#[test]
fn a_hundred_connections_echo_at_once() {
    for mode in BOTH {
        let world = World::start(mode, true, small());
        let address = world.listen();
        thread::scope(|scope| {
            for connection in 0..100u64 {
                scope.spawn(move || {
                    let client = connect(address);
                    for octets in [1, 1_000, 70_000] {
                        echo_through(&client, &pattern(connection, octets));
                    }
                });
            }
        });
        world.until_closed();
        let counters = world.counters();
        println!("{mode:?}: {counters:?}");
        assert_eq!((counters.accepts, counters.rescued), (100, 0));
        world.finish();
    }
}

/// `clients` send at the same moment and read their octets back.
fn echo_together(address: SocketAddr, clients: usize, octets: usize) {
    let together = Barrier::new(clients);
    thread::scope(|scope| {
        for connection in 0..clients as u64 {
            let together = &together;
            scope.spawn(move || {
                let client = connect(address);
                together.wait();
                echo_through(&client, &pattern(connection, octets));
            });
        }
    });
}

/// a starved receive is taken up again when buffers are back, in turn and without a timer.
#[test]
fn a_106_two_hundred_senders_share_sixteen_buffers() {
    for mode in BOTH {
        let settings = RingSettings { buffers: 16, buffer_octets: 4_096, ..small() };
        let world = World::start(mode, true, settings);
        echo_together(world.listen(), 200, 200_000);
        world.until_closed();
        let counters = world.counters();
        println!("{mode:?}: {counters:?}");
        assert!(counters.no_buffers > 0, "the test starves nobody");
        world.finish();
    }
}

/// a completion queue that overflows loses nothing.
#[test]
fn a_105_a_small_completion_queue_loses_nothing() {
    for mode in BOTH {
        let settings = RingSettings { submissions: 8, completions: 16, ..small() };
        let world = World::start(mode, true, settings);
        echo_together(world.listen(), 200, 20_000);
        world.until_closed();
        println!("{mode:?}: {:?}", world.counters());
        world.finish();
    }
}

// ---- sending --------------------------------------------------------------------------------

/// design.md, rule 6: a reply block leaves in one write.
#[test]
fn an_output_of_one_slice_is_one_send() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let (mut client, socket) = world.pair(world.listen());
        for octets in [1usize, 512, 100_000] {
            world.on_shard(move |ring| ring.send(socket, Output::from(pattern(1, octets))));
            let mut got = vec![0; octets];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, pattern(1, octets));
            assert_eq!(world.next(), Seen::Sent(socket, octets as u64));
        }
        assert_eq!(world.counters().sends, 3);
        world.finish();
    }
}

#[test]
fn outputs_of_one_round_leave_together_and_in_order() {
    let world = World::start(Mode::Executor, false, small());
    let (mut client, socket) = world.pair(world.listen());
    world.on_shard(move |ring| {
        for line in ["250-one\r\n", "250-two\r\n", "250 three\r\n"] {
            let mut output = Output::new();
            output.push(Piece::Fixed(&line.as_bytes()[..4]));
            output.push(Piece::Owned(line[4..].into()));
            ring.send(socket, output);
        }
    });
    let mut got = [0; 29];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"250-one\r\n250-two\r\n250 three\r\n");
    assert_eq!(world.counters().sends, 1);
    world.finish();
}

/// the rest follows in order, nothing interleaved.
#[test]
fn a_111_a_slow_reader_with_a_tiny_send_buffer_gets_everything_in_order() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let listener = TcpListener::bind(OWN).unwrap();
        // Accepted sockets inherit it.
        SockRef::from(&listener).set_send_buffer_size(4_096).unwrap();
        let (mut client, socket) = world.pair(world.listen_on(listener));
        let slices: Vec<Vec<u8>> = (0..2_000).map(|index| pattern(index, 700)).collect();
        let whole = [slices.concat(), pattern(9, 1 << 20)].concat();
        world.on_shard(move |ring| {
            let mut output = Output::new();
            slices.into_iter().for_each(|slice| output.push(Piece::Owned(slice)));
            ring.send(socket, output);
            ring.send(socket, Output::from(pattern(9, 1 << 20)));
            ring.shutdown_write(socket);
        });
        let (mut got, mut chunk) = (Vec::new(), [0; 3_000]);
        loop {
            match client.read(&mut chunk).unwrap() {
                0 => break,
                octets => got.extend_from_slice(&chunk[..octets]),
            }
        }
        assert!(got == whole);
        world.finish();
    }
}

#[test]
fn an_orderly_close_sends_first_and_a_reset_does_not() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let address = world.listen();
        let (mut client, socket) = world.pair(address);
        world.on_shard(move |ring| {
            ring.send(socket, Output::from(pattern(3, 3 << 20)));
            ring.close(socket, Close::Orderly);
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got == pattern(3, 3 << 20));
        world.until_closed();

        // A peer that never reads is waited for until somebody loses patience.
        let (mut client, socket) = world.pair(address);
        world.on_shard(move |ring| {
            ring.send(socket, Output::from(pattern(3, 30 << 20)));
            ring.close(socket, Close::Orderly);
        });
        assert_eq!(world.on_shard(|ring| ring.sockets_open()), 1);
        world.on_shard(move |ring| ring.close(socket, Close::Reset));
        world.until_closed();
        let error = client.read_to_end(&mut got).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        world.finish();
    }
}

// ---- reading --------------------------------------------------------------------------------

#[test]
fn a_pause_holds_octets_back_and_a_resume_brings_them() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let (mut client, socket) = world.pair(world.listen());
        client.write_all(b"one").unwrap();
        assert_eq!(world.next(), Seen::Received(socket, b"one".to_vec()));
        world.on_shard(move |ring| ring.pause(socket));
        // The pause reaches the kernel in the round after this job; each further job has a round
        // of its own.
        world.on_shard(|_| ());
        world.on_shard(|_| ());
        client.write_all(b"two").unwrap();
        let quiet = world.seen.recv_timeout(Duration::from_millis(100));
        assert!(quiet.is_err(), "octets came during a pause: {quiet:?}");
        world.on_shard(move |ring| ring.resume(socket));
        assert_eq!(world.next(), Seen::Received(socket, b"two".to_vec()));
        // Taken back in the same round, and taken back while the cancel is under way.
        world.on_shard(move |ring| {
            ring.pause(socket);
            ring.resume(socket);
        });
        client.write_all(b"three").unwrap();
        assert_eq!(world.next(), Seen::Received(socket, b"three".to_vec()));
        for round in 0..100u8 {
            world.on_shard(move |ring| ring.pause(socket));
            world.on_shard(move |ring| ring.resume(socket));
            client.write_all(&[round]).unwrap();
            assert_eq!(world.next(), Seen::Received(socket, vec![round]));
        }
        world.finish();
    }
}

#[test]
fn a_peer_that_has_said_all_still_gets_our_octets() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let (mut client, socket) = world.pair(world.listen());
        client.write_all(b"QUIT\r\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (got, end) = world.octets_until_other();
        assert_eq!((got.as_slice(), end), (&b"QUIT\r\n"[..], Seen::PeerClosed(socket)));
        world.on_shard(move |ring| {
            ring.send(socket, Output::from(b"221 bye\r\n".to_vec()));
            ring.close(socket, Close::Orderly);
        });
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "221 bye\r\n");
        world.until_closed();
        world.finish();
    }
}

#[test]
fn a_reset_by_the_peer_is_told_once() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let (client, socket) = world.pair(world.listen());
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(world.next(), Seen::Broken(socket, Some(libc::ECONNRESET)));
        world.on_shard(move |ring| {
            ring.send(socket, Output::from(b"x".to_vec()));
            ring.close(socket, Close::Orderly);
        });
        world.until_closed();
        assert!(world.seen.try_recv().is_err());
        world.finish();
    }
}

/// A server that refuses mail while it is sent says why and closes: the reply must not be lost to
/// the error that our sending gets.
#[test]
fn a_last_word_is_heard_although_sending_fails() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(server.local_addr().unwrap());
        let socket = world.on_shard(move |ring| ring.connect(&address).unwrap());
        assert_eq!(world.next(), Seen::Connected(socket));
        let (mut peer, _) = server.accept().unwrap();
        // More than both windows hold, so the send is still going on when the reset comes.
        world.on_shard(move |ring| ring.send(socket, Output::from(pattern(1, 32 << 20))));
        peer.write_all(b"554 no\r\n").unwrap();
        // Unread octets make this a reset.
        drop(peer);
        let (got, mut end) = world.octets_until_other();
        assert_eq!(got, b"554 no\r\n");
        // The kernel gives the reset to whichever operation asks first. If it was the send, the
        // receive sees a plain end, and may see it first.
        if end == Seen::PeerClosed(socket) {
            end = world.octets_until_other().1;
        }
        assert!(matches!(end, Seen::Broken(id, _) if id == socket), "{end:?}");
        world.on_shard(move |ring| ring.close(socket, Close::Orderly));
        world.until_closed();
        world.finish();
    }
}

// ---- connecting -----------------------------------------------------------------------------

#[test]
fn a_refused_connect_says_so_and_leaves_nothing() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(taken.local_addr().unwrap());
        drop(taken);
        let socket = world.on_shard(move |ring| {
            let socket = ring.connect(&address).unwrap();
            ring.send(socket, Output::from(b"EHLO\r\n".to_vec()));
            socket
        });
        assert_eq!(world.next(), Seen::ConnectFailed(socket, Some(libc::ECONNREFUSED)));
        let missing = Address::Unix("/nonexistent/socket".into());
        let socket = world.on_shard(move |ring| ring.connect(&missing).unwrap());
        assert_eq!(world.next(), Seen::ConnectFailed(socket, Some(libc::ENOENT)));
        world.until_closed();
        world.finish();
    }
}

#[test]
fn a_unix_socket_is_connected_to_and_accepted_from() {
    let folder = tempfile::tempdir().unwrap();
    for mode in BOTH {
        let path = folder.path().join(format!("{mode:?}"));
        let server = UnixListener::bind(&path).unwrap();
        let world = World::start(mode, false, small());
        let address = Address::Unix(path.clone());
        let socket = world.on_shard(move |ring| {
            let socket = ring.connect(&address).unwrap();
            // What is sent before the connection stands follows it.
            ring.send(socket, Output::from(b"LHLO\r\n".to_vec()));
            socket
        });
        let (mut peer, _) = server.accept().unwrap();
        let mut got = [0; 6];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"LHLO\r\n");
        assert_eq!(world.next(), Seen::Connected(socket));
        drop(peer);
        let (_, end) = world.octets_until_other();
        assert!(matches!(end, Seen::PeerClosed(_) | Seen::Broken(..)), "{end:?}");
        world.on_shard(move |ring| ring.close(socket, Close::Orderly));

        let server: OwnedFd = server.into();
        world.on_shard(move |ring| ring.listen(server, 1, b""));
        let mut client = UnixStream::connect(&path).unwrap();
        let Seen::Accepted(socket, None) = world.next() else { panic!("no unix client") };
        client.write_all(b"hi").unwrap();
        assert_eq!(world.next(), Seen::Received(socket, b"hi".to_vec()));
        world.finish();
    }
}

#[test]
fn a_connect_that_hangs_can_be_closed() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        // 192.0.2.0/24 is for documentation (RFC 5737): nobody answers, if there is a way at all.
        let address = Address::Tcp("192.0.2.1:25".parse().unwrap());
        let socket = world.on_shard(move |ring| ring.connect(&address).unwrap());
        world.on_shard(move |ring| ring.close(socket, Close::Orderly));
        world.until_closed();
        world.finish();
    }
}

// ---- storms ---------------------------------------------------------------------------------

/// an accepted socket that is gone already concerns nobody else.
#[test]
fn a_05_after_a_storm_of_resets_the_next_client_is_answered() {
    for mode in BOTH {
        let world = World::start(mode, true, small());
        let listener = TcpListener::bind(OWN).unwrap();
        // Room for all: a handshake that the kernel drops for want of it is never accepted, and
        // the count below would miss it.
        SockRef::from(&listener).listen(4_096).unwrap();
        let address = world.listen_on(listener);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(move || {
                    for round in 0..500 {
                        let mut client = connect(address);
                        if round % 3 == 0 {
                            let _ = client.write_all(b"x");
                        }
                        if round % 2 == 0 {
                            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                    }
                });
            }
        });
        let began = Instant::now();
        let client = connect(address);
        echo_through(&client, b"still there?");
        assert!(began.elapsed() < Duration::from_secs(2));
        drop(client);
        world.until_closed();
        let counters = world.counters();
        assert_eq!(counters.accepts + counters.aborted, 2_001, "{counters:?}");
        world.finish();
    }
}

/// slots and descriptors are used again at once, while octets are under way.
#[test]
fn a_108_no_octet_reaches_a_wrong_connection_when_slots_are_used_again() {
    for mode in BOTH {
        let settings = RingSettings { sockets_max: 72, sockets_for_next_hops: 64, ..small() };
        let world = World::start(mode, true, settings);
        let address = world.listen();
        thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for round in 0..200 {
                        let mut client = connect(address);
                        let octets = pattern(thread << 32 | round, 3_000);
                        let _ = client.write_all(&octets);
                        // Leave at different moments, some with octets under way.
                        let mut got = vec![0; (round as usize * 97) % 3_001];
                        // One that was shed reads the notice.
                        if client.read_exact(&mut got).is_ok() && !got.starts_with(b"421 ") {
                            assert!(octets.starts_with(&got), "octets of another connection");
                        }
                    }
                });
            }
        });
        world.until_closed();
        world.finish();
    }
}

#[test]
fn a_04_past_the_last_slot_clients_are_told_and_closed() {
    let settings = RingSettings { sockets_max: 12, sockets_for_next_hops: 2, ..small() };
    let world = World::start(Mode::Executor, false, settings);
    let address = world.listen();
    let served: Vec<_> = (0..10).map(|_| world.pair(address)).collect();
    let mut shed = String::new();
    connect(address).read_to_string(&mut shed).unwrap();
    assert_eq!(shed, "421 4.3.2 full\r\n");
    assert_eq!(world.counters().shed, 1);
    // The slots kept back are for connections of our own.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let next_hop = Address::Tcp(server.local_addr().unwrap());
    let third = world.on_shard(move |ring| {
        ring.connect(&next_hop).unwrap();
        ring.connect(&next_hop).unwrap();
        ring.connect(&next_hop).is_err()
    });
    assert!(third, "a slot too many");
    drop(served);
    world.finish();
}

#[test]
fn a_listener_that_stops_refuses_and_others_go_on() {
    let world = World::start(Mode::Executor, true, small());
    let address = world.listen();
    let client = connect(address);
    echo_through(&client, b"before");
    world.on_shard(|ring| ring.stop_listening());
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end, "the listener does not stop");
    }
    echo_through(&client, b"after");
    world.finish();
}

// ---- waking and sleeping --------------------------------------------------------------------

/// Waits until a thread of this process sleeps, as the kernel sees it.
fn until_asleep(thread: libc::pid_t) {
    let end = Instant::now() + PATIENCE;
    let asleep = || {
        let line = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        line.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
    };
    while !asleep() {
        assert!(Instant::now() < end, "the shard does not go to sleep");
        thread::yield_now();
    }
}

#[test]
fn a_foreign_thread_wakes_the_shard_a_thousand_times_of_a_thousand() {
    for mode in BOTH {
        let world = World::start(mode, false, small());
        // SAFETY: gettid touches no memory.
        let thread = world.on_shard(|_| unsafe { libc::gettid() });
        let mut spent = Duration::ZERO;
        for _ in 0..1_000 {
            until_asleep(thread);
            let began = Instant::now();
            world.on_shard(|_| ());
            spent += began.elapsed();
        }
        println!("{mode:?}: {:?} a wake-up there and back", spent / 1_000);
        assert_eq!(world.woken.load(Ordering::SeqCst), 1_001);
        assert_eq!(world.counters().rescued, 0);
        world.finish();
    }
}

#[test]
fn a_deadline_is_kept_without_other_traffic() {
    let slack = Duration::from_millis(25);
    for mode in BOTH {
        let world = World::start(mode, false, small());
        for after in [30, 1, 150, 30].map(Duration::from_millis) {
            world.order(Order::Deadline(after));
            let Seen::DeadlineKept(kept) = world.next() else { panic!("no deadline") };
            println!("{mode:?}: {after:?} became {kept:?}");
            assert!(kept >= after && kept < after + slack, "{kept:?}");
        }
        // A nearer deadline takes the place of a farther one.
        world.order(Order::Deadline(Duration::from_secs(20)));
        world.on_shard(|_| ());
        world.order(Order::Deadline(Duration::from_millis(30)));
        let Seen::DeadlineKept(kept) = world.next() else { panic!("no deadline") };
        assert!(kept < Duration::from_millis(30) + slack, "{kept:?}");
        world.finish();
    }
}

fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn a_shard_without_work_sleeps() {
    for mode in BOTH {
        let world = World::start(mode, true, small());
        let client = connect(world.listen());
        echo_through(&client, b"awake");
        let before = world.on_shard(|_| thread_cpu());
        // Not a synchronisation: the span over which the measurement goes.
        thread::sleep(Duration::from_millis(300));
        let spent = world.on_shard(|_| thread_cpu()) - before;
        println!("{mode:?}: {spent:?} of CPU in 300 ms");
        assert!(spent < Duration::from_millis(30), "{spent:?}");
        world.finish();
    }
}

// ---- the end --------------------------------------------------------------------------------

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Runs the named test again in a process of its own. Returns whether this is that process.
fn in_own_process(test: &str) -> bool {
    const OWN: &str = "POSTERN_TEST_OWN_PROCESS";
    if std::env::var_os(OWN).is_some() {
        return true;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1"])
        .env(OWN, "1")
        .status();
    assert!(status.unwrap().success());
    false
}

/// Descriptors are counted for the whole process.
#[test]
fn a_shard_that_ends_leaves_no_descriptor() {
    if !in_own_process("a_shard_that_ends_leaves_no_descriptor") {
        return;
    }
    for mode in BOTH {
        // The first one may open what the process keeps.
        run_with_work_in_hand(mode);
        let before = descriptors();
        const RUNS: usize = 5;
        for _ in 0..RUNS {
            run_with_work_in_hand(mode);
        }
        // glommio 0.9 never closes the eventfd of an executor, not even of one that ran nothing.
        let executors = if mode == Mode::Executor { RUNS } else { 0 };
        assert_eq!(descriptors(), before + executors, "{mode:?}");
    }
}

/// Ends a shard while receives, sends, a connect and an accept are under way.
fn run_with_work_in_hand(mode: Mode) {
    let world = World::start(mode, false, small());
    let address = world.listen();
    let clients: Vec<_> = (0..20).map(|_| world.pair(address)).collect();
    for (_, socket) in &clients {
        let socket = *socket;
        world.on_shard(move |ring| ring.send(socket, Output::from(vec![b'x'; 8 << 20])));
    }
    let nowhere = Address::Tcp("192.0.2.1:25".parse().unwrap());
    world.on_shard(move |ring| ring.connect(&nowhere).map(|_| ()).unwrap_or(()));
    world.finish();
}

/// out of descriptors, clients are told so, and the listener rests instead of spinning.
#[test]
fn a_99_without_descriptors_clients_are_told_and_the_listener_rests() {
    if !in_own_process("a_99_without_descriptors_clients_are_told_and_the_listener_rests") {
        return;
    }
    for mode in BOTH {
        let world = World::start(mode, true, small());
        let address = world.listen();
        // The client's end takes a descriptor as well: made first, connected when none is left.
        let family = socket2::Domain::IPV4;
        let make = || socket2::Socket::new(family, socket2::Type::STREAM, None).unwrap();
        let (told, later) = (make(), make());
        let served = connect(address);
        echo_through(&served, b"before");
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        told.connect(&address.into()).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut notice = [0; 16];
        (&told).read_exact(&mut notice).unwrap();
        assert_eq!(&notice, b"421 4.3.2 full\r\n");
        let before = world.on_shard(|_| thread_cpu());
        // Not a synchronisation: the span over which the measurement goes.
        thread::sleep(Duration::from_millis(300));
        let spent = world.on_shard(|_| thread_cpu()) - before;
        assert!(spent < Duration::from_millis(30), "{spent:?}");
        (&mut &served).write_all(b"meanwhile").unwrap();
        let mut back = [0; 9];
        (&mut &served).read_exact(&mut back).unwrap();
        hoard.clear();
        later.connect(&address.into()).unwrap();
        let later = TcpStream::from(later);
        later.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may still fall into the last rest of the listener, which then accepts it.
        echo_through(&later, b"after");
        world.finish();
    }
}

#[test]
fn a_panic_of_the_driver_ends_the_shard_with_its_message() {
    let world = World::start(Mode::Executor, false, small());
    world.order(Order::Do(Box::new(|_| panic!("a mistake of ours"))));
    let Running::Shard(shard) = world.running else { unreachable!() };
    let error = shard.join().unwrap_err().to_string();
    assert!(error.contains("shard-0") && error.contains("a mistake of ours"), "{error}");
}

#[test]
fn a_shard_on_a_core_that_does_not_exist_does_not_start() {
    let name = "shard-9".to_owned();
    let settings = ShardSettings { name, cpu: Some(100_000), ring: small() };
    let ((tell, _seen), (_orders, jobs)) = (channel(), channel());
    let began = Instant::now();
    let error = run_shard(settings, Bell::new().unwrap(), move |_| Puppet {
        echo: true,
        seen: tell,
        orders: jobs,
        woken: Arc::default(),
        deadline: None,
        finished: false,
    });
    assert!(began.elapsed() < Duration::from_secs(1));
    let line = error.unwrap_err().to_string();
    assert!(line.contains("100000"), "{line}");
}

#[test]
fn the_listeners_of_all_shards_serve_one_port() {
    let listeners = listener::open("127.0.0.1:0".parse().unwrap(), 3, false).unwrap();
    let start = |socket: OwnedFd| {
        let world = World::start(Mode::Executor, true, small());
        world.on_shard(move |ring| ring.listen(socket, 0, b""));
        world
    };
    let worlds: Vec<World> = listeners.sockets.into_iter().map(start).collect();
    for connection in 0..60 {
        echo_through(&connect(listeners.address), &pattern(connection, 500));
    }
    let accepts: Vec<u64> = worlds.iter().map(|world| world.counters().accepts).collect();
    assert_eq!(accepts.iter().sum::<u64>(), 60, "{accepts:?}");
    worlds.into_iter().for_each(World::finish);
}
