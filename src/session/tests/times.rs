//! Limits of time that need a client which does not read, or TLS: one microsecond inside, one outside.

use super::*;

// One microsecond before the limit the handshake may still be done; at the limit the connection is
// left without a word, whatever has come meanwhile.
#[test]
fn a_handshake_has_10_s_in_all() {
    let limit = crate::limits::HANDSHAKE_DEFAULT;
    let begin = |mode| {
        let mut lone = Lone::on(Listener { tls: Some(tls(mode)), ..smtp() });
        lone.codes();
        if mode == TlsMode::Offered {
            assert_eq!(lone.say("STARTTLS\r\n"), "220");
        }
        assert!(lone.tls_early.is_some());
        lone
    };
    for mode in [TlsMode::Offered, TlsMode::Implicit] {
        let mut lone = begin(mode);
        for _ in 0..9 {
            lone.wait(Duration::from_secs(1));
            lone.say("x");
        }
        assert_eq!(lone.wait_just(Duration::from_secs(1)), "");
        assert_eq!(lone.ended, ["abort", "close"]);
        let mut lone = begin(mode);
        lone.wait(limit - Duration::from_micros(1));
        assert_eq!(lone.secured(), if mode == TlsMode::Implicit { "220" } else { "" });
        assert_eq!(lone.wait(Duration::from_secs(299)), "");
        assert_eq!(lone.say("NOOP\r\n"), "250");
    }
}

// The write stall counts from the last octet that the client has taken, and has no words: they would
// not be taken either.
#[test]
fn a_client_that_takes_nothing_for_120_s_is_given_up() {
    let limit = crate::limits::WRITE_STALL_DEFAULT;
    let mut lone = Lone::on(smtp());
    lone.reads = false;
    lone.wait(Duration::from_secs(10));
    lone.say("EHLO client.example\r\n");
    let unsent = lone.session.unsent_octets;
    lone.wait(limit - Duration::from_micros(1));
    lone.takes(1);
    assert_eq!(lone.wait_just(limit), "");
    assert_eq!(lone.ended, ["abort", "close"]);
    assert!(unsent > 100);
    // All taken: nothing stalls any more.
    let mut lone = Lone::on(smtp());
    lone.reads = false;
    lone.say("EHLO client.example\r\n");
    lone.wait(Duration::from_secs(100));
    lone.takes(lone.session.unsent_octets);
    lone.wait(Duration::from_secs(199));
    assert_eq!(lone.ended, [""; 0]);
    // A message that waits for its next hop is brought to its end, though its client is given up.
    let mut lone = Lone::on(smtp());
    lone.say(format!("EHLO client.example\r\n{ENVELOPE}"));
    lone.reads = false;
    lone.say("DATA\r\n");
    lone.say("x\r\n.\r\n");
    assert_eq!(lone.wait_just(limit), "");
    assert_eq!(lone.ended, ["abort"]);
    lone.answer();
    assert_eq!(lone.ended, ["abort", "close"]);
}

// A trickle of octets taken cannot extend the session: a client that reads an octet now and then has
// no more time for its next message than any other.
#[test]
fn reading_slowly_does_not_extend_the_session() {
    let mut lone = Lone::on(smtp());
    lone.reads = false;
    lone.say("EHLO client.example\r\n");
    while lone.ended.is_empty() {
        lone.wait(Duration::from_secs(100));
        lone.say("NOOP\r\n");
        lone.takes(1);
        assert!(lone.tick <= Tick::START + crate::limits::PROGRESS_DEFAULT);
    }
}

// After the last reply 2 s and 256 KiB, whichever comes first, and neither is renewed.
#[test]
fn after_the_last_reply_the_client_is_listened_to_for_2_s_and_256_kib() {
    let mut lone = Lone::on(smtp());
    lone.say("QUIT\r\n");
    assert_eq!(lone.ended, ["shut"]);
    lone.wait(Duration::from_secs(1));
    lone.say("x");
    assert_eq!(lone.wait_just(Duration::from_secs(1)), "");
    assert_eq!(lone.ended, ["shut", "close"]);
    let mut lone = Lone::on(smtp());
    lone.say("QUIT\r\n");
    for _ in 0..16 {
        lone.say(vec![b'x'; LINGER_OCTETS / 16]);
    }
    assert_eq!(lone.ended, ["shut"]);
    lone.say("x");
    assert_eq!(lone.ended, ["shut", "close"]);
}
