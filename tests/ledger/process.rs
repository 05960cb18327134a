//! A real process of postern in front of a next hop of the test's, which outlives it.

use crate::message::{Form, Message, Transfer, on_the_wire};
use crate::served::{PATIENCE, Served};
use postern::relay::Protocol;
use postern::tools::sink::{Kept, Script, Serving, serve};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

/// What stays when a process is killed: its folder, and the next hop.
pub struct Site {
    folder: TempDir,
    pub kept: Kept,
    _hop: Option<Serving>,
}

/// A process that serves.
pub struct Process {
    served: Served,
    pub smtp: SocketAddr,
    pub lmtp: SocketAddr,
    admin: SocketAddr,
}

impl Site {
    /// A site whose next hop offers these extensions beside the usual ones, and what is kept of
    /// transactions with an id: `outcome` or `partial`.
    pub fn new(offers: &[&str], level: &str) -> Site {
        let mut answers = Script::default();
        answers.add("late550=end:550 5.2.0 no").unwrap();
        offers.iter().for_each(|offer| answers.offers.add(offer).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let hop = serve(listener, Protocol::Lmtp, Arc::new(answers), kept.clone()).unwrap();
        let site = Site::before(&format!("lmtp://{address}"), level);
        Site { kept, _hop: Some(hop), ..site }
    }

    /// A site whose next hop is another one.
    pub fn before(next_hop: &str, level: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let config = CONFIG.replace("NEXT_HOP", next_hop).replace("LEVEL", level);
        std::fs::write(folder.path().join("postern.toml"), config).unwrap();
        Site { folder, kept: Kept::default(), _hop: None }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a process; `crash` is a point at which it dies, with how often it is reached before.
    pub fn start(&self, crash: &str) -> Process {
        let config = self.folder.path().join("postern.toml");
        let served = Served::start(&config, &[("POSTERN_CRASH", crash)]);
        let smtp = served.address("mx listens on ");
        let lmtp = served.address("filter listens on ");
        let admin = served.address("http://");
        Process { served, smtp, lmtp, admin }
    }

    /// Copies of a message at the next hop, by its content, for one recipient.
    pub fn copies(&self, content: &[u8], recipient: &str) -> usize {
        let messages = self.kept.messages();
        let same = messages.iter().filter(|kept| kept.content.ends_with(content));
        same.flat_map(|kept| &kept.recipients).filter(|one| **one == recipient.as_bytes()).count()
    }
}

impl Process {
    /// Waits until it has died at its crash point.
    pub fn died(mut self) {
        let status = self.served.child.wait().unwrap();
        assert!(!status.success(), "it ended in peace");
    }

    pub fn kill(mut self) {
        self.served.child.kill().unwrap();
        self.served.child.wait().unwrap();
    }

    /// A figure of the ledger's metrics, by its name without `postern_ledger_`.
    pub fn metric(&self, name: &str) -> u64 {
        self.gauge(&format!("postern_ledger_{name}"))
    }

    /// A figure of the metrics, by its name.
    fn gauge(&self, name: &str) -> u64 {
        let text = self.http("/metrics");
        let name = format!("{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse::<f64>().unwrap() as u64
    }

    /// Waits until a figure of the metrics is what it should be.
    pub fn waits_until(&self, name: &str, value: u64) {
        let end = Instant::now() + PATIENCE;
        while self.gauge(name) != value {
            assert!(Instant::now() < end, "{name} is {} and not {value}", self.gauge(name));
            std::thread::yield_now();
        }
    }

    pub fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub fn client(&self, form: Form) -> io::Result<Client> {
        self.client_from(form, 1)
    }

    /// A client whose address on loopback ends so.
    pub fn client_from(&self, form: Form, last: u8) -> io::Result<Client> {
        let address = if form == Form::Lmtp { self.lmtp } else { self.smtp };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
        socket.connect(&address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, octets: Vec::new() };
        client.says(form.greeting())?;
        assert_eq!(client.codes(2)?, [220, 250]);
        Ok(client)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has died, or was killed, was waited for already.
        let _ = self.served.child.kill();
        let _ = self.served.child.wait();
    }
}

/// A client that waits for what it is told. It fails when its connection is lost.
pub struct Client {
    pub stream: TcpStream,
    octets: Vec<u8>,
}

impl Client {
    pub fn says(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)
    }

    pub fn codes(&mut self, count: usize) -> io::Result<Vec<u16>> {
        (0..count).map(|_| Ok(code(&self.reply()?))).collect()
    }

    /// The octets of the next reply.
    pub fn reply(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let mut end = 0;
            for line in self.octets.split_inclusive(|octet| *octet == b'\n') {
                end += line.len();
                if line.ends_with(b"\n") && line.get(3) == Some(&b' ') {
                    return Ok(self.octets.drain(..end).collect());
                }
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut octets = [0; 4096];
        match self.stream.read(&mut octets)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.octets.extend(&octets[..length]);
                Ok(())
            }
        }
    }

    /// Everything up to the content; what is answered must be as usual.
    pub fn envelope(&mut self, message: &Message, offset: u64) -> io::Result<()> {
        let commands = message.mail(offset) + &message.rcpts() + "DATA\r\n";
        self.says(commands.as_bytes())?;
        let mut expected = vec![250; message.recipients.len() + 1];
        expected.push(354);
        assert_eq!(self.codes(expected.len())?, expected);
        Ok(())
    }

    /// Content from an offset on, and the final reply set.
    pub fn content(&mut self, message: &Message, offset: u64) -> io::Result<Vec<u8>> {
        self.says(&on_the_wire(&message.content, offset as usize, Transfer::Data))?;
        while !message.is_whole_set(&self.octets) {
            self.read()?;
        }
        Ok(std::mem::take(&mut self.octets))
    }

    /// Hands a message in; its final reply set.
    pub fn hands_in(&mut self, message: &Message) -> io::Result<Vec<u8>> {
        self.envelope(message, 0)?;
        self.content(message, 0)
    }

    /// What a client does that has lost its connection: RESUME if it can, or all of it again. The
    /// offset that it is told, and the final reply set.
    pub fn comes_again(&mut self, message: &Message) -> io::Result<(u64, Vec<u8>)> {
        let offset = match &message.id {
            Some(_) => {
                self.says(message.resume().as_bytes())?;
                self.offset()?
            }
            None => 0,
        };
        self.envelope(message, offset)?;
        Ok((offset, self.content(message, offset)?))
    }

    /// What RESUME is answered.
    pub fn offset(&mut self) -> io::Result<u64> {
        let reply = String::from_utf8(self.reply()?).unwrap();
        let offset = reply.strip_prefix("355 ").and_then(|rest| rest.split(' ').next());
        Ok(offset.unwrap().parse().unwrap())
    }

    pub fn quits(mut self) {
        self.says(b"QUIT\r\n").unwrap();
        assert_eq!(self.codes(1).unwrap(), [221]);
    }
}

pub fn code(reply: &[u8]) -> u16 {
    std::str::from_utf8(&reply[..3]).unwrap().parse().unwrap()
}

const CONFIG: &str = r#"
hostname = "mx.example.net"
state    = "state"
shards   = 2
log      = "off"

[listen.mx]
address  = "127.0.0.1:0"
protocol = "smtp"
trust    = { resume = ["127.0.0.0/8"], xclient = ["127.0.0.0/8"] }
resume   = "LEVEL"
connections-per-source = 0

[listen.filter]
address  = "127.0.0.1:0"
protocol = "lmtp"
trust    = { resume = ["127.0.0.0/8"], xclient = ["127.0.0.0/8"] }
resume   = "LEVEL"
connections-per-source = 0

[route.hop]
to = "NEXT_HOP"

[domain."example.net"]
route      = "hop"
recipients = "any"

[admin]
address = "127.0.0.1:0"
"#;
