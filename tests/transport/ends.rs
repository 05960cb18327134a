//! How a gateway ends, and how mail ends that goes round.

use super::next_hops::start_before;
use super::*;

/// The last line of a reply to the commands that bring a client so far.
fn brought_to(client: &mut TcpStream, commands: &[&str]) {
    assert!(reply(client).starts_with("220 "));
    for command in commands {
        client.write_all(command.as_bytes()).unwrap();
        let said = reply(client);
        assert!(matches!(said.as_bytes()[0], b'2' | b'3'), "{command:?}: {said}");
    }
}

const ENVELOPE: [&str; 2] = ["EHLO client.example\r\n", "MAIL FROM:<a@client.example>\r\n"];

// no new clients; who is idle is told so; who is in the content may end it, and past the end
// mark the true reply is given. What was told is what the next hop has.
#[test]
fn a_102_a_gateway_that_ends_tells_everybody_the_truth() {
    let running = Running::start(&base_listener(), 2, 100);
    let to = running.address(CLEAR);
    let client = |commands: &[&str]| {
        let mut client = connect(to);
        brought_to(&mut client, commands);
        client
    };
    let rcpt = |name: &str| format!("RCPT TO:<{name}@example.net>\r\n");
    let up_to_data =
        |name: &str| client(&[ENVELOPE[0], ENVELOPE[1], rcpt(name).as_str(), "DATA\r\n"]);
    let mut idle = client(&ENVELOPE[..1]);
    let mut in_envelope = client(&ENVELOPE);
    let mut in_content = up_to_data("ok1");
    in_content.write_all(b"Subject: begun\r\n").unwrap();
    let mut past_the_end = up_to_data("slow1");
    past_the_end.write_all(b"Subject: ended\r\n\r\n.\r\n").unwrap();
    let end = Instant::now() + PATIENCE;
    while running.counts().messages == 0 {
        assert!(Instant::now() < end, "the end mark was not read");
        thread::yield_now();
    }
    running.gateway.handle().drain();
    for waiting in [&mut idle, &mut in_envelope] {
        let told = String::from_utf8(rest(waiting)).unwrap();
        assert!(told.starts_with("421 4.3.2 ") && told.lines().count() == 1, "{told:?}");
    }
    // Each shard lets its listeners go when it reads its letter.
    while TcpStream::connect(to).is_ok() {
        assert!(Instant::now() < end, "somebody is there for new clients");
    }
    let taken = reply(&mut past_the_end);
    assert!(taken.starts_with("250 2.6.0 "), "{taken}");
    assert!(rest(&mut past_the_end).starts_with(b"421 4.3.2 "));
    in_content.write_all(b"\r\nend\r\n.\r\n").unwrap();
    let taken = reply(&mut in_content);
    assert!(taken.starts_with("250 2.6.0 "), "{taken}");
    assert!(rest(&mut in_content).starts_with(b"421 4.3.2 "));
    running.gateway.join().unwrap();
    let messages = running.kept.messages();
    let has = |text: &str| messages.iter().any(|one| one.content.ends_with(text.as_bytes()));
    assert!(messages.len() == 2 && has("Subject: ended\r\n\r\n") && has("end\r\n"));
}

// two gateways that lead to each other: the message comes to its end at 100 hops, and its client
// is told for good.
#[test]
fn a_79_a_message_that_goes_round_ends_at_a_hundred_hops() {
    let settings = Listener { connections_per_source: 0, ..base_listener() };
    let between = TcpListener::bind(SocketAddr::from((OWN, 0))).unwrap();
    let one = start_before(between.local_addr().unwrap(), &settings, HopTls::Off);
    let other = start_before(one.addresses()[0], &settings, HopTls::Off);
    let (first, second) = (one.addresses()[0], other.addresses()[0]);
    thread::spawn(move || {
        for from in between.incoming().map_while(Result::ok) {
            let to = TcpStream::connect(second).unwrap();
            for (mut from, mut to) in
                [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)]
            {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    let mut client = connect(first);
    let rcpt = "RCPT TO:<ok1@example.net>\r\n";
    brought_to(&mut client, &[ENVELOPE[0], ENVELOPE[1], rcpt, "DATA\r\n"]);
    says(&mut client, "Subject: round\r\n\r\n.\r\n", "554 5.4.6 ");
    let hops = one.counts().messages + other.counts().messages;
    assert!((100..=102).contains(&hops), "{hops}");
    assert_eq!(one.counts().copies_delivered + other.counts().copies_delivered, 0);
    drop(client);
    one.stop().unwrap();
    other.stop().unwrap();
}
