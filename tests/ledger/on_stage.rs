//! A client on a stage of the dialogues, in memory or over sockets.

use crate::dialogues_runner::stage::{ConnectionId, Stage};
use crate::message::{Form, Message, Transfer};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client that has been greeted.
pub struct Client<'a, S> {
    pub stage: &'a mut S,
    pub connection: ConnectionId,
    pub octets: Vec<u8>,
}

impl<S: Stage> Client<'_, S> {
    pub fn greeted(stage: &mut S, form: Form) -> Client<'_, S> {
        let connection = stage.connect(form.listener(), Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut client = Client { stage, connection, octets: Vec::new() };
        client.says(form.greeting());
        assert_eq!(client.codes(2), [220, 250]);
        client
    }

    pub fn says(&mut self, octets: &[u8]) {
        self.stage.write(self.connection, octets);
    }

    /// The codes of the next replies.
    pub fn codes(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| code(&self.reply())).collect()
    }

    /// The octets of the next reply.
    pub fn reply(&mut self) -> Vec<u8> {
        let until = self.stage.elapsed() + PATIENCE;
        loop {
            let mut end = 0;
            for line in self.octets.split_inclusive(|octet| *octet == b'\n') {
                end += line.len();
                if line.ends_with(b"\n") && line.get(3) == Some(&b' ') {
                    return self.octets.drain(..end).collect();
                }
            }
            assert!(self.stage.elapsed() < until, "no reply");
            self.wait();
        }
    }

    fn wait(&mut self) {
        for arrived in self.stage.wait(self.connection, PATIENCE) {
            self.octets.extend(arrived.octets);
        }
    }

    /// A whole final reply set.
    pub fn set(&mut self, message: &Message) -> Vec<u8> {
        let until = self.stage.elapsed() + PATIENCE;
        while !message.is_whole_set(&self.octets) {
            assert!(self.stage.elapsed() < until, "{}", self.octets.escape_ascii());
            self.wait();
        }
        std::mem::take(&mut self.octets)
    }

    /// MAIL, RCPTs, and DATA if it is wanted.
    pub fn envelope(&mut self, message: &Message, offset: u64, by: Transfer) {
        let mut commands = message.mail(offset) + &message.rcpts();
        let mut expected = vec![250; message.recipients.len() + 1];
        if by == Transfer::Data {
            commands.push_str("DATA\r\n");
            expected.push(354);
        }
        self.says(commands.as_bytes());
        assert_eq!(self.codes(expected.len()), expected);
    }

    /// RESUME: the offset that is told.
    pub fn resumes(&mut self, message: &Message) -> u64 {
        self.says(message.resume().as_bytes());
        let reply = String::from_utf8(self.reply()).unwrap();
        let offset = reply.strip_prefix("355 ").and_then(|rest| rest.split(' ').next());
        offset.unwrap().parse().unwrap()
    }
}

pub fn code(reply: &[u8]) -> u16 {
    std::str::from_utf8(&reply[..3]).unwrap().parse().unwrap()
}
