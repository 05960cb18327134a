//! A chain of two, of which the inner one dies: each of them has a record, and the outer one asks.

use crate::message::{Form, Message};
use crate::process::{Site, code};
use postern::durable::CrashPoint;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// An address that stays while the process behind it dies and comes back elsewhere.
struct Door {
    address: SocketAddr,
    behind: Arc<Mutex<SocketAddr>>,
}

impl Door {
    fn to(behind: SocketAddr) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(behind));
        let its_behind = Arc::clone(&behind);
        thread::spawn(move || {
            for outer in listener.incoming().map_while(Result::ok) {
                let target = *its_behind.lock().unwrap();
                // One that is away refuses, as far as can be seen from outside.
                if let Ok(inner) = TcpStream::connect(target) {
                    pass_on(&outer, &inner).unwrap();
                }
            }
        });
        Door { address, behind }
    }
}

/// Octets go both ways until one side is gone.
fn pass_on(one: &TcpStream, other: &TcpStream) -> io::Result<()> {
    for (mut from, mut to) in
        [(one.try_clone()?, other.try_clone()?), (other.try_clone()?, one.try_clone()?)]
    {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}

/// The inner process dies at a point while it works at a message that the outer one hands on.
fn inner_dies_at(point: CrashPoint, scheme: &str, message: &Message) {
    let inner_site = Site::new(&["RESUME"], "outcome");
    let inner = inner_site.start(point.name());
    let address = |process: &crate::process::Process| match scheme {
        "lmtp" => process.lmtp,
        _ => process.smtp,
    };
    let door = Door::to(address(&inner));
    let outer_site = Site::before(&format!("{scheme}://{}", door.address), "outcome");
    let outer = outer_site.start("");
    let mut client = outer.client(message.form).unwrap();
    client.envelope(message, 0).unwrap();
    let set = thread::scope(|scope| {
        let told = scope.spawn(|| client.content(message, 0).unwrap());
        inner.died();
        let inner = inner_site.start("");
        *door.behind.lock().unwrap() = address(&inner);
        let set = told.join().unwrap();
        inner.kill();
        set
    });
    let what = format!("{scheme}, killed at {point:?}: {message:?}");
    assert!(message.is_whole_set(&set), "{what}: {}", set.escape_ascii());
    assert_eq!(code(&set), 250, "{what}: {}", set.escape_ascii());
    for recipient in message.delivered_to() {
        assert_eq!(inner_site.copies(&message.content, recipient), 1, "{what}");
    }
    client.quits();
}

// The client waits, and is told once and for all; whatever the inner process knew when it died, each
// recipient has one copy.
#[test]
fn a_client_of_a_chain_hears_nothing_of_an_inner_one_that_dies() {
    let mut cases = Vec::new();
    for point in CrashPoint::ALL {
        for scheme in ["lmtp", "smtp"] {
            cases.push((point, scheme, Message::new(Form::Lmtp, 1, Some("c1"))));
        }
        cases.push((point, "lmtp", Message::new(Form::Smtp, 2, None)));
    }
    for pair in cases.chunks(4) {
        thread::scope(|scope| {
            for (point, scheme, message) in pair {
                scope.spawn(|| inner_dies_at(*point, scheme, message));
            }
        });
    }
}
