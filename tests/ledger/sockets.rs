//! A part of the cut matrix against the real process: what the kernel says of acknowledgements counts.

use crate::message::{Form, Message, Transfer, on_the_wire};
use crate::process::{Client, Site};
use socket2::SockRef;
use std::io::Read;
use std::time::Duration;

/// Every so many octets of a reply set there is a cut.
const STEP: usize = 7;

impl Client {
    /// Reads so many octets, and resets the connection.
    fn reads_and_resets(mut self, octets: usize) -> Vec<u8> {
        let mut read = vec![0; octets];
        self.stream.read_exact(&mut read).unwrap();
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
        read
    }
}

// over sockets, the reply set read in part and the connection reset.
#[test]
fn a_82_replies_read_in_part_over_sockets_come_again() {
    let site = Site::new(&[], "outcome");
    let process = site.start("");
    for form in Form::ALL {
        for named in [true, false] {
            let mut octets = 1;
            loop {
                let id = format!("{form:?}{named}{octets}");
                let mut message = Message::new(form, 3, named.then_some(id.as_str()));
                message.content.extend(format!("{id} end\r\n").into_bytes());
                let mut client = process.client(form).unwrap();
                client.envelope(&message, 0).unwrap();
                let content = on_the_wire(&message.content, 0, Transfer::Data);
                client.says(&content).unwrap();
                let read = client.reads_and_resets(octets);
                // A retry that overtakes the end of its connection would be a second copy that is
                // wanted: shards hear of connections each in its own time.
                process.waits_until("postern_sessions_open", 0);
                let mut client = process.client(form).unwrap();
                let (_, set) = client.comes_again(&message).unwrap();
                client.quits();
                assert!(set.starts_with(&read), "{id}: {}", set.escape_ascii());
                for address in message.delivered_to() {
                    assert_eq!(site.copies(&message.content, address), 1, "{id}");
                }
                if octets == set.len() {
                    break;
                }
                octets = (octets + STEP).min(set.len());
            }
        }
    }
    assert_eq!(process.metric("unknown_redelivered_total"), 0);
}

// Checkpoint 6: a client that has shown that it has the reply wants the second copy.
#[test]
fn a_second_copy_that_is_wanted_is_delivered_over_sockets() {
    let site = Site::new(&[], "outcome");
    let process = site.start("");
    for form in Form::ALL {
        let mut message = Message::new(form, 2, None);
        message.content.extend(format!("{form:?} end\r\n").into_bytes());
        let mut client = process.client(form).unwrap();
        client.hands_in(&message).unwrap();
        client.hands_in(&message).unwrap();
        client.quits();
        // One that ends its side in order, without QUIT.
        let mut client = process.client(form).unwrap();
        client.hands_in(&message).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        client.stream.read_to_end(&mut Vec::new()).unwrap();
        let mut client = process.client(form).unwrap();
        client.hands_in(&message).unwrap();
        client.quits();
        for address in message.delivered_to() {
            assert_eq!(site.copies(&message.content, address), 4, "{form:?}");
        }
    }
}
