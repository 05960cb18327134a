//! The stage in memory: the simulated world without faults, on its virtual clock.

use super::installation::{Installation, normal, routes, taken_for};
use super::stage::{Arrived, ConnectionId, Stage};
use postern::now::Tick;
use postern::relay::{Address, Protocol};
use postern::session::Gone;
use postern::sim::{ClientId, Faults, Sink, World};
use postern::tools::sink::Kept;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// A gateway in memory.
#[derive(Debug)]
pub struct Memory {
    pub world: World,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    /// The client has closed: what still comes is nobody's.
    closed: bool,
}

impl Memory {
    /// Starts a gateway with a next hop that speaks `protocol`.
    pub fn start(installation: &Installation, protocol: Protocol) -> Result<Memory, String> {
        let address = Address::Tcp((Ipv4Addr::LOCALHOST, 1).into());
        let routes = routes(address.clone(), protocol, "quarantine".into());
        let sink = Sink {
            address,
            protocol,
            script: Arc::clone(&installation.script),
            kept: Kept::default(),
        };
        let Installation { listeners, tables, .. } = installation.clone();
        let mut world =
            World::new(listeners, tables, Arc::new(routes), vec![sink], 1, Faults::default());
        world.keep_ledger();
        Ok(Memory { world, clients: Vec::new() })
    }

    /// The connection is lost when its client has received so many octets more.
    pub fn lose_after(&mut self, connection: ConnectionId, octets: usize) {
        self.world.lose_after(self.id(connection), octets);
    }

    fn id(&self, connection: ConnectionId) -> ClientId {
        self.clients[connection.0].id
    }
}

impl Stage for Memory {
    fn connect(&mut self, listener: &str, from: IpAddr) -> Result<ConnectionId, String> {
        let id = self.world.connect(listener, from);
        let id = id.ok_or_else(|| format!("there is no listener {listener}"))?;
        self.clients.push(Client { id, closed: false });
        Ok(ConnectionId(self.clients.len() - 1))
    }

    fn write(&mut self, connection: ConnectionId, octets: &[u8]) {
        self.world.write(self.id(connection), octets);
        self.world.run_now();
    }

    fn half_close(&mut self, connection: ConnectionId) {
        self.world.client_goes(self.id(connection), Gone::HalfClosed);
        self.world.run_now();
    }

    fn close(&mut self, connection: ConnectionId) {
        self.clients[connection.0].closed = true;
        self.half_close(connection);
    }

    fn abort(&mut self, connection: ConnectionId) {
        self.clients[connection.0].closed = true;
        self.world.client_goes(self.id(connection), Gone::Lost);
        self.world.run_now();
    }

    fn wait(&mut self, connection: ConnectionId, span: Duration) -> Vec<Arrived> {
        let (id, until) = (self.id(connection), self.world.tick() + span);
        loop {
            let received = self.world.take_received(id);
            let over = self.world.server_ended(id) || self.world.is_over(id);
            if !received.is_empty() && !self.clients[connection.0].closed {
                let arrived = |octets| Arrived { octets, segments: 1 };
                return received.into_iter().map(arrived).collect();
            }
            if over {
                return Vec::new();
            }
            if !self.world.step(until) {
                self.world.run_for(until - self.world.tick());
                return Vec::new();
            }
        }
    }

    fn has_ended(&self, connection: ConnectionId) -> bool {
        let id = self.id(connection);
        self.world.server_ended(id) || self.world.is_over(id)
    }

    fn advance(&mut self, span: Duration) {
        self.world.run_for(span);
    }

    fn elapsed(&self) -> Duration {
        self.world.tick() - Tick::START
    }

    fn delivered(&self, recipient: &str) -> Vec<Vec<u8>> {
        let messages = self.world.sinks().iter().flat_map(|sink| sink.kept.messages());
        taken_for(messages.collect(), recipient)
    }

    fn quarantined(&self, recipient: &str) -> Vec<Vec<u8>> {
        let wanted = normal(recipient.as_bytes());
        let stored = self.world.stored().iter();
        let wanted = stored.filter(|stored| normal(&stored.recipient) == wanted);
        wanted.map(|stored| stored.content.clone()).collect()
    }

    fn scans(&self) -> u64 {
        self.world.tally().scans.value()
    }
}
