//! All shards of a process: started together, asked together, stopped together.

use super::bell::Bell;
use super::descriptors;
use super::driver::{Core, ShardLedger, ShardParts, Snapshot};
use super::executor::{Shard, ShardPanicked, ShardSettings, run_shard};
use super::listener::{self, ListenError, Listeners};
use super::mailbox::{Letter, Mailbox};
use super::ring::RingSettings;
use super::start::StartError;
use super::steer;
use super::stores::Stores;
use crate::durable::Ledger;
use crate::limits;
use crate::relay::Routes;
use crate::session::{Listener, Record, Tables};
use crate::tally::Counts;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the shards of a process are made of.
pub struct GatewaySettings<'a> {
    /// How many shards, at least one; each is pinned to a core that the process may use, as long as
    /// there are so many.
    pub shards: usize,
    /// Where to listen, and how sessions there behave.
    pub listeners: Vec<(SocketAddr, Arc<Listener>)>,
    /// The tables that decide.
    pub tables: Arc<Tables>,
    /// The next hops.
    pub routes: Arc<Routes>,
    /// Connections of clients, for all shards together.
    pub connections_max: usize,
    /// Memory for message bodies, in octets, for all shards together.
    pub body_memory_octets: u64,
    /// Where records go: one queue for each shard, in shard order; none, and nothing is logged.
    pub log: Vec<rtrb::Producer<Record>>,
    /// The record of outcomes. It must live longer than the gateway.
    pub ledger: Option<&'a Ledger>,
}

/// The running shards.
#[derive(Debug)]
pub struct Gateway {
    shards: Vec<Shard>,
    handle: GatewayHandle,
    addresses: Vec<SocketAddr>,
}

/// The way to the shards, from any thread.
#[derive(Clone, Debug)]
pub struct GatewayHandle {
    mailboxes: Vec<Mailbox>,
}

/// The gateway cannot start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A shard cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store threads cannot start.
    #[error("cannot start the threads that write Maildirs: {0}")]
    Stores(std::io::Error),
}

/// What all shards of a gateway have in common.
struct Common {
    steered: bool,
    /// Clients that there is room for, over all shards.
    clients: usize,
    stores: Stores,
    /// What tells this run of the program from all others.
    run_us: u64,
    cpus: Vec<usize>,
}

impl Gateway {
    /// Opens all listeners, then starts all shards. No client is taken before all of them stand: what
    /// one is told holds for the whole gateway.
    pub fn start(settings: GatewaySettings<'_>) -> Result<Gateway, GatewayError> {
        let (gateway, sockets) = Gateway::stand(settings)?;
        gateway.listen(sockets);
        Ok(gateway)
    }

    /// A gateway whose shards stand and listen to nobody yet; and the sockets of each.
    fn stand(settings: GatewaySettings<'_>) -> Result<(Gateway, Vec<Vec<OwnedFd>>), GatewayError> {
        let count = settings.shards.max(1);
        let mut opened = Vec::with_capacity(settings.listeners.len());
        for (address, _) in &settings.listeners {
            let dual_stack = address.ip().is_unspecified();
            opened.push(listener::open(*address, count, dual_stack)?);
        }
        let addresses = opened.iter().map(|listeners| listeners.address).collect();
        let steered = steer_all(&opened, count);
        let clients = descriptors::clients_possible(settings.connections_max, count);
        let stores = Stores::start().map_err(GatewayError::Stores)?;
        let handle = GatewayHandle { mailboxes: Vec::new() };
        let mut gateway = Gateway { shards: Vec::new(), handle, addresses };
        let common = Common { steered, clients, stores, run_us: run_us(), cpus: cpus_allowed() };
        let mut log = settings.log.into_iter();
        let settings = GatewaySettings { log: Vec::new(), ..settings };
        for number in 0..count {
            if let Err(error) = gateway.start_shard(number, &settings, &common, log.next()) {
                // Those that have started are not left behind.
                let _ = gateway.stop();
                return Err(error.into());
            }
        }
        if clients < settings.connections_max {
            eprintln!(
                "postern: room for {clients} clients at one time, not {}: raise the limit of \
                 descriptors (`LimitNOFILE=` in systemd, `ulimit -n`) or set `connections`",
                settings.connections_max
            );
        }
        let mut sockets: Vec<Vec<OwnedFd>> = (0..count).map(|_| Vec::new()).collect();
        for listeners in opened {
            for (shard, socket) in listeners.sockets.into_iter().enumerate() {
                sockets[shard].push(socket);
            }
        }
        Ok((gateway, sockets))
    }

    fn start_shard(
        &mut self,
        number: usize,
        settings: &GatewaySettings<'_>,
        common: &Common,
        log: Option<rtrb::Producer<Record>>,
    ) -> Result<(), StartError> {
        let count = settings.shards.max(1);
        let bell = Bell::new().map_err(|error| StartError::of("make the bell", error))?;
        let (mailbox, inbox) = Mailbox::new(bell.rope());
        let ring = ring_settings(common.clients / count);
        let run_us = common.run_us;
        let ledger = settings.ledger.map(|ledger| {
            let mailbox = mailbox.clone();
            let line = ledger.line(move |answers| {
                // A shard that is gone has no sessions that wait.
                mailbox.post(Letter::Remembered(answers));
            });
            ShardLedger { line, secret: ledger.secret().clone(), rules: run_us }
        });
        let parts = ShardParts {
            number,
            shards: count,
            steered: common.steered,
            listeners: settings.listeners.iter().map(|(_, one)| Arc::clone(one)).collect(),
            tables: Arc::clone(&settings.tables),
            routes: Arc::clone(&settings.routes),
            clients_max: ring.sockets_max - ring.sockets_for_next_hops,
            body_memory_octets: settings.body_memory_octets / count as u64,
            id_prefix: format!("{run_us:x}{number:x}z"),
            mailbox: mailbox.clone(),
            inbox,
            stores: common.stores.clone(),
            log,
            ledger,
        };
        let cpu = common.cpus.get(number).copied().filter(|_| count <= common.cpus.len());
        let shard = ShardSettings { name: format!("postern-{number}"), cpu, ring };
        self.shards.push(run_shard(shard, bell, move |_| Core::new(parts))?);
        self.handle.mailboxes.push(mailbox);
        Ok(())
    }

    /// From now on the shards take clients.
    fn listen(&self, sockets: Vec<Vec<OwnedFd>>) {
        for (mailbox, sockets) in self.handle.mailboxes.iter().zip(sockets) {
            mailbox.post(Letter::Listen(sockets));
        }
    }

    /// Where the gateway listens, in the order of the settings; ports are the true ones.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// The way to the shards, for other threads.
    pub fn handle(&self) -> GatewayHandle {
        self.handle.clone()
    }

    /// What the sessions of all shards have counted. Waits for the shards.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for snapshot in self.handle.snapshots() {
            sum += snapshot.counts;
        }
        sum
    }

    /// Send operations of all shards. Waits for the shards.
    pub fn sends(&self) -> u64 {
        self.handle.snapshots().iter().map(|snapshot| snapshot.ring.sends).sum()
    }

    /// Ends: no new connections, open transactions are brought to their end, at most
    /// [`limits::DRAIN_TIMEOUT`] long. Returns when all shards are gone.
    pub fn stop(self) -> Result<(), ShardPanicked> {
        self.handle.drain();
        self.join()
    }

    /// Whether a shard has ended though nobody told it to: by a panic outside of any session, which is
    /// a mistake of ours that nothing on the shard survives. [`Gateway::join`] says which.
    pub fn has_lost_a_shard(&self) -> bool {
        self.shards.iter().any(Shard::has_ended)
    }

    /// Waits until all shards have ended.
    pub fn join(self) -> Result<(), ShardPanicked> {
        let ends: Vec<_> = self.shards.into_iter().map(Shard::join).collect();
        ends.into_iter().collect()
    }
}

impl GatewayHandle {
    /// Tells all shards to take no new connections and to end when their work is done.
    pub fn drain(&self) {
        for mailbox in &self.mailboxes {
            mailbox.post(Letter::Drain);
        }
    }

    /// Puts other settings in the place of those that the gateway was started with, listener by
    /// listener in the same order, and other tables. Sessions that begin have them at once; those that
    /// are open keep their listener's settings, and take the tables for their next message. A message
    /// under way keeps what it began with.
    pub fn replace(&self, listeners: &[Arc<Listener>], tables: &Arc<Tables>) {
        for mailbox in &self.mailboxes {
            mailbox.post(Letter::Replace(listeners.to_vec(), Arc::clone(tables)));
        }
    }

    /// What each shard has counted. Waits for the shards; one that is gone has no say any more.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let (sender, answers) = mpsc::channel();
        for mailbox in &self.mailboxes {
            let sender = sender.clone();
            mailbox.post(Letter::Snapshot(Box::new(move |snapshot| {
                // The asker may have gone.
                let _ = sender.send(snapshot);
            })));
        }
        drop(sender);
        answers.iter().collect()
    }
}

/// Has the kernel bring each source to one shard, for all listeners. Without it the gateway works, but
/// what one source may have open is counted by each shard for itself.
fn steer_all(opened: &[Listeners], shards: usize) -> bool {
    let attached =
        opened.iter().filter_map(|listeners| listeners.sockets.first()).try_for_each(|listener| {
            match shards {
                1 => Ok(()),
                _ => steer::attach(listener.as_fd(), shards),
            }
        });
    if let Err(error) = &attached {
        eprintln!(
            "postern: the kernel does not steer clients to shards by their address ({error}): \
             limits of a source hold for each of {shards} shards"
        );
    }
    attached.is_ok()
}

fn ring_settings(connections_max: usize) -> RingSettings {
    let hops = limits::SOCKETS_FOR_NEXT_HOPS;
    let clients = u32::try_from(connections_max).unwrap_or(u32::MAX).max(1);
    let sockets_max = clients.saturating_add(hops).min(limits::SOCKETS_MAX);
    RingSettings { sockets_max, sockets_for_next_hops: hops, ..RingSettings::default() }
}

/// What tells this run of the program from all others: the moment of its start.
fn run_us() -> u64 {
    let us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    u64::try_from(us).unwrap_or(u64::MAX)
}

/// The cores that this process may use, by number.
pub fn cpus_allowed() -> Vec<usize> {
    // SAFETY: a CPU set is plain bits, for which zero is a value; the call fills it.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::FAULT_WORD;
    use super::*;
    use crate::config::Config;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::path::Path;
    use std::time::Duration;

    /// Says something, and gives the first line that comes back.
    fn says(client: &mut TcpStream, command: &[u8]) -> String {
        client.write_all(command).unwrap();
        let (mut line, mut octet) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") {
            client.read_exact(&mut octet).unwrap();
            line.push(octet[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// The embedded configuration's first listener, on a port of loopback that is free.
    fn settings(folder: &Path, shards: usize) -> GatewaySettings<'static> {
        let config = Config::embedded(folder).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (_, listener) = config.listeners.into_iter().next().unwrap();
        GatewaySettings {
            shards,
            listeners: vec![(any, listener)],
            tables: config.tables,
            routes: config.routes,
            connections_max: 10,
            body_memory_octets: 1 << 20,
            log: Vec::new(),
            ledger: None,
        }
    }

    /// a panic outside of any session is one that nothing on the shard survives: it is seen,
    /// the other shards are brought to their end, and the one that is gone is named.
    #[test]
    fn a_104_a_panic_outside_of_a_session_is_seen_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(settings(folder.path(), 2)).unwrap();
        assert!(!gateway.has_lost_a_shard());
        gateway.handle.mailboxes[1].post(Letter::Snapshot(Box::new(|_| panic!("a mistake"))));
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !gateway.has_lost_a_shard() {
            assert!(std::time::Instant::now() < end, "it is not seen");
            std::thread::yield_now();
        }
        let line = gateway.stop().unwrap_err().to_string();
        assert_eq!(line, "postern-1 ended by a panic: a mistake");
    }

    /// Clients that come while the shards are being started wait in the kernel: no shard takes one
    /// before all stand.
    #[test]
    fn nobody_is_taken_before_all_shards_stand() {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, sockets) = Gateway::stand(settings(folder.path(), 2)).unwrap();
        let mut clients: Vec<TcpStream> =
            (0..4).map(|_| TcpStream::connect(gateway.addresses()[0]).unwrap()).collect();
        // Each shard has been through its round when it answers this.
        assert_eq!(gateway.handle.snapshots().len(), 2);
        assert_eq!(gateway.counts().connections, 0);
        gateway.listen(sockets);
        for client in &mut clients {
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert!(says(client, b"").starts_with("220 "));
        }
        assert_eq!(gateway.counts().connections, 4);
        drop(clients);
        gateway.stop().unwrap();
    }

    /// a panic in one session costs that session, and nobody else on its shard.
    #[test]
    fn a_104_a_panic_in_a_session_ends_that_session_alone() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(settings(folder.path(), 1)).unwrap();
        let connect = || {
            let client = TcpStream::connect(gateway.addresses()[0]).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client
        };
        let (mut unlucky, mut other) = (connect(), connect());
        assert!(says(&mut unlucky, b"").starts_with("220 "));
        assert!(says(&mut other, b"").starts_with("220 "));
        assert!(
            says(&mut unlucky, &[FAULT_WORD, b"\r\nNOOP\r\n"].concat()).starts_with("421 4.3.0 ")
        );
        let mut rest = Vec::new();
        unlucky.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "nothing behind the last word: {rest:?}");
        assert!(says(&mut other, b"NOOP\r\n").starts_with("250 "));
        assert!(says(&mut connect(), b"").starts_with("220 "));
        let counts = gateway.counts();
        assert_eq!((counts.sessions_panicked, counts.connections), (1, 3));
        drop((unlucky, other));
        gateway.stop().unwrap();
    }
}
