//! Anything in any order.

use super::*;
use proptest::prelude::*;

/// Something that happens to a session.
#[derive(Clone, Debug)]
enum Event {
    Says(&'static str),
    Passes(Duration),
    Answered,
    TakesNothing,
    Goes(Gone),
    Drained,
    Secured,
    Superseded,
}

fn words() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "EHLO c.example\r\n",
        "LHLO c.example\r\n",
        "HELO c.example\r\n",
        "MAIL FROM:<a@b.example> PRDR\r\n",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME SIZE=1\r\n",
        "MAIL FROM:<a@b.example>\r\n",
        "MAIL FROM:<a@b.example> SIZE=99999\r\n",
        "MAIL FROM:<a@b.example> TRANSID=<x@y> TRANSOFF=0\r\n",
        "MAIL FROM:<a@b.example> TRANSID=<x@y> TRANSOFF=6\r\n",
        "MAIL FROM:<a@b.example> TRANSID=<x@y>\r\n",
        "RESUME <x@y>\r\n",
        "RESUME x\r\n",
        "RCPT TO:<u@example.net>\r\n",
        "RCPT TO:<lax1@example.net>\r\n",
        "RCPT TO:<nouser@example.net>\r\n",
        "DATA\r\n",
        "DATA",
        "\r\n.\r\n",
        "HOLD\r\n.\r\n",
        "BDAT 6\r\n",
        "BDAT 6 LAST\r\n",
        "BDAT 0 LAST\r\n",
        "BDAT 1500\r\n",
        "BDAT x\r\n",
        "HOLD\r\n",
        "\n\n\n\n\n\n",
        "RSET\r\n",
        "NOOP\r\n",
        "STARTTLS\r\n",
        "XCLIENT ADDR=192.0.2.7\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\n",
        "\0\r\n",
        "Subject: x\r\n",
        "VRFY x\r\nVRFY y\r\n",
        "QUIT\r\n",
        "x",
    ])
}

fn events() -> impl Strategy<Value = Event> {
    let span = prop::sample::select(vec![1u64, 4_999_999, 10_000_000, 20_000_000, 120_000_000]);
    prop_oneof![
        20 => words().prop_map(Event::Says),
        3 => span.prop_map(|us| Event::Passes(Duration::from_micros(us))),
        3 => Just(Event::Answered),
        2 => Just(Event::Secured),
        1 => Just(Event::TakesNothing),
        1 => prop_oneof![Just(Gone::HalfClosed), Just(Gone::Lost)].prop_map(Event::Goes),
        1 => Just(Event::Drained),
        1 => Just(Event::Superseded),
    ]
}

/// Listeners with low limits, so that they are met.
fn listeners() -> impl Strategy<Value = Listener> {
    let modes = prop::sample::select(vec![
        None,
        Some(TlsMode::Offered),
        Some(TlsMode::Required),
        Some(TlsMode::Implicit),
    ]);
    let switches = prop::array::uniform8(any::<bool>());
    (modes, switches).prop_map(
        |(mode, [lmtp, proxy, peer, early, normalize, small, kept, part])| {
            let if_on = |on| if on { here() } else { Networks::default() };
            Listener {
                size_octets_max: if small { 1_000 } else { 0 },
                recipients_max: 3,
                messages_max: 4,
                errors_max: 5,
                junk_max: 5,
                unknown_recipients_max: 3,
                scan_budget: Duration::from_secs(if small { 5 } else { 30 }),
                binarymime: Offer::Always,
                newlines: if normalize { Newlines::Normalize } else { Newlines::Reject },
                banner_pause: Duration::from_secs(u64::from(early)),
                early_talk_refused: small,
                tls: mode.map(tls),
                trust: Trust { resume: if_on(kept), ..trust(if_on(proxy), if_on(peer)) },
                resume: if part { ResumeLevel::Partial } else { ResumeLevel::Outcome },
                checkpoint: part,
                replay: kept && normalize,
                lenient_commands: small,
                long_lines_refused: small,
                ..listener(if lmtp { Protocol::Lmtp } else { Protocol::Smtp })
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4_000, ..ProptestConfig::default() })]

    // The session's own invariants are checked at the end of each verb.
    #[test]
    fn anything_in_any_order_keeps_the_invariants_and_comes_to_an_end(
        listener in listeners(),
        asks_ahead: bool,
        little_room: bool,
        recorded: bool,
        events in prop::collection::vec(events(), 1..60),
    ) {
        let board = Board::new(1);
        board.note(RouteId(0), Standing { asks_ahead, ..Standing::default() });
        let mut lone = Lone::with(listener, board, if little_room { 16 * 1024 } else { 1 << 20 });
        if recorded {
            lone.keep_ledger();
        }
        for event in events {
            match event {
                Event::Says(text) => _ = lone.say(text),
                Event::Passes(span) => _ = lone.wait(span),
                Event::Answered if lone.asked.is_some() => _ = lone.answer(),
                Event::Answered => {}
                Event::TakesNothing => lone.reads = false,
                Event::Goes(gone) => lone.goes(gone),
                Event::Drained => {
                    lone.session.drain(lone.now());
                    lone.drain();
                }
                Event::Secured if lone.tls_early.take().is_some() => _ = lone.secured(),
                Event::Secured => {}
                Event::Superseded => lone.superseded(),
            }
        }
        // Left alone, with whoever was asked answering, it ends: each message that is still to come
        // may wait for its verdict, and then for the relay.
        lone.goes(Gone::HalfClosed);
        for _ in 0..20 {
            while lone.asked.is_some() {
                lone.answer();
            }
            lone.wait(Duration::from_secs(30 * 60));
        }
        prop_assert!(lone.session.is_over());
        let is_good = |end: &End| matches!(end, End::Replied | End::Unseen);
        prop_assert!(lone.records.iter().filter(|one| !is_good(&one.end)).count() <= 1);
    }
}

/// All that a client is told that writes these pieces, whoever is asked answering at once.
fn told<'a>(
    listener: Listener,
    asks_ahead: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> String {
    let board = Board::new(1);
    board.note(RouteId(0), Standing { asks_ahead, ..Standing::default() });
    let mut lone = Lone::with(listener, board, 1 << 20);
    lone.keep_ledger();
    let mut told = Vec::new();
    for piece in pieces {
        lone.session.receive(piece, lone.now());
        lone.drain();
        while lone.asked.is_some() {
            told.append(&mut lone.sent);
            lone.answer_silently();
        }
    }
    told.append(&mut lone.sent);
    String::from_utf8(told).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    // The same octets in any cut give the same replies. What depends on what stands behind in the same
    // read is not part of this: octets behind a PROXY header, behind STARTTLS, behind a refused DATA.
    #[test]
    fn any_cut_is_told_the_same(
        listener in listeners(),
        asks_ahead: bool,
        words in prop::collection::vec(words(), 1..60),
        size in 1..30usize,
    ) {
        let trust = Trust { proxy: Networks::default(), ..listener.trust };
        let listener = Listener { trust, banner_pause: Duration::ZERO, tls: None, ..listener };
        let octets = words.concat().into_bytes();
        let whole = told(listener.clone(), asks_ahead, std::iter::once(octets.as_slice()));
        if whole.contains("without a go-ahead") {
            return Ok(());
        }
        prop_assert_eq!(told(listener.clone(), asks_ahead, octets.chunks(1)), &*whole);
        prop_assert_eq!(told(listener, asks_ahead, octets.chunks(size)), whole);
    }
}
