//! Addresses that fail, and come back; connections that are shared, waited for, and let go.

use super::*;
use crate::limits::{HOP_CONNECTIONS_MAX, HOP_IDLE_TIMEOUT, HOP_WAITING_MAX};

fn refusing() -> Server {
    Server { reach: Reach::Refuses, ..server(Protocol::Smtp, &[]) }
}

#[test]
fn the_first_address_that_can_be_reached_gets_the_mail() {
    let mut bench = Bench::new(vec![refusing(), server(Protocol::Smtp, &[]), refusing()]);
    for _ in 0..3 {
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    }
    assert_eq!(bench.servers[1].kept.count(), 3);
    assert_eq!(bench.servers[1].kept.seen().connections, 1, "the connection is used again");
    assert_eq!(bench.connects.len(), 2, "the one that fails is tried once");
    bench.servers[0].reach = Reach::Answers;
    bench.run_for(Duration::from_secs(1));
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    assert_eq!(bench.servers[0].kept.count(), 1, "the first one is back within a second");
}

// An idle connection may have been closed behind our back: the message is sent over a new one.
#[test]
fn an_old_connection_that_was_closed_costs_nothing() {
    let mut bench = Bench::new(vec![server(Protocol::Lmtp, &[])]);
    bench.deliver(&["ok"], &hello());
    let mut script = Script::default();
    script.add("@reset=close").unwrap();
    let id = bench.last_line();
    let old = bench.lines.get_mut(&id).unwrap();
    old.session = SinkSession::new(Protocol::Lmtp, Arc::new(script), Kept::default());
    while old.session.poll_effect().is_some() {}
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    assert!(!bench.standing().down);
    assert_eq!(bench.kept().len(), 2);
}

// known to be down, no message is spent on it: one try a second; back, it is used within two.
#[test]
fn a_76_a_next_hop_that_is_down_is_tried_once_a_second_and_found_again() {
    let mut bench = Bench::new(vec![refusing()]);
    let tick = Duration::from_millis(10);
    for _ in 0..3_000 {
        let down = bench.standing().down;
        assert_eq!(told(&bench.deliver(&["ok"], &hello())), [DOWN]);
        assert_eq!(bench.standing().down, down || bench.connects.len() >= 3);
        bench.run_for(tick);
    }
    assert!(bench.standing().down);
    assert!(bench.connects.len() <= 3 + 30, "{} connections in 30 s", bench.connects.len());
    let a_second = Duration::from_secs(1);
    assert!(bench.connects[3..].windows(2).all(|pair| pair[1] - pair[0] >= a_second));
    bench.servers[0].reach = Reach::Answers;
    bench.run_for(Duration::from_secs(2));
    assert!(!bench.standing().down);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
    // Nothing is left over: no connection, no timer.
    bench.run_for(Duration::from_secs(31));
    assert_eq!(bench.relay.connections(), 0);
    assert_eq!(bench.relay.deadline(), None);
    assert_eq!(bench.relay.plans_open(), 0);
}

// The route is down when all its addresses are; a message that waits for it is answered then.
#[test]
fn a_route_is_down_when_all_its_addresses_are() {
    let mut bench = Bench::new(vec![refusing(), refusing()]);
    for _ in 0..2 {
        bench.deliver(&["ok"], &hello());
        assert!(!bench.standing().down);
    }
    bench.deliver(&["ok"], &hello());
    assert!(bench.standing().down);
    let before = bench.connects.len();
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), [DOWN]);
    assert_eq!(bench.connects.len(), before, "no connection is spent on it");
    bench.servers[1].reach = Reach::Answers;
    bench.run_for(Duration::from_secs(1));
    assert!(!bench.standing().down, "one address is enough");
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["delivered"]);
}

// What is offered is what all that were greeted offer.
#[test]
fn the_board_shows_what_all_next_hops_offer() {
    let first = offering(Protocol::Smtp, &["PRDR", "-DSN"], &[]);
    let second = offering(Protocol::Smtp, &["-SMTPUTF8"], &[]);
    let mut bench = Bench::new(vec![first, second, refusing()]);
    assert_eq!(bench.standing(), Standing::default());
    bench.relay.start_up(bench.now);
    bench.settle();
    let offers = bench.standing().offers.unwrap();
    assert!(offers.pipelining && offers.size && offers.eight_bit_mime && offers.chunking);
    assert!(!offers.dsn && !offers.smtputf8 && !offers.prdr && !offers.binarymime);
    // The third one comes late, and offers less.
    bench.servers[2] = Server {
        address: address(3),
        ..offering(Protocol::Smtp, &["-CHUNKING", "-8BITMIME"], &[])
    };
    bench.run_for(Duration::from_secs(1));
    let offers = bench.standing().offers.unwrap();
    assert!(offers.pipelining && !offers.chunking && !offers.eight_bit_mime);
}

#[test]
fn a_folder_of_maildirs_honours_what_it_can_keep() {
    let route = Route::new("store", NextHop::Maildir("mail".into()));
    let routes = Routes { routes: vec![route], hostname: String::new() };
    let offers = Relay::new(Arc::new(routes)).board().standing(RouteId(0)).offers.unwrap();
    assert!(offers.eight_bit_mime && offers.smtputf8 && offers.binarymime && offers.chunking);
    assert!(!offers.dsn && !offers.requiretls);
}

// a slow next hop holds up to 64 connections and nobody else's mail.
#[test]
fn a_75_a_slow_next_hop_holds_up_nobody_else() {
    let slow = server(Protocol::Smtp, &["*=late:100000"]);
    let mut bench = Bench::of(vec![vec![slow], vec![server(Protocol::Smtp, &[])]]);
    let waiting = HOP_CONNECTIONS_MAX + HOP_WAITING_MAX;
    let tickets: Vec<Ticket> = (0..waiting).map(|_| bench.start(&["ok"], &hello())).collect();
    assert_eq!(bench.relay.connections(), HOP_CONNECTIONS_MAX);
    assert_eq!(told(&bench.deliver(&["ok"], &hello())), ["451 4.4.5"], "one too many");
    assert_eq!(bench.now, Tick::START);
    for _ in 0..10 {
        assert_eq!(told(&bench.deliver(&["other"], &hello())), ["delivered"]);
    }
    assert_eq!(bench.now, Tick::START);
    let outcomes: Vec<Vec<String>> =
        tickets.into_iter().map(|ticket| told(&bench.outcomes(ticket))).collect();
    let delivered = outcomes.iter().filter(|one| *one == &["delivered"]).count();
    // 480 s, four times 64 messages, a hundred seconds each.
    assert_eq!(delivered, 4 * HOP_CONNECTIONS_MAX);
    assert!(outcomes.iter().all(|one| one == &["delivered"] || one[0].contains("451 4.4")));
}

// The waves of a burst do not make their connections anew; when it is over, they end.
#[test]
fn the_connections_of_a_burst_end_with_it() {
    let mut bench = Bench::new(vec![server(Protocol::Smtp, &["*=late:1000"])]);
    for _ in 0..HOP_CONNECTIONS_MAX {
        bench.start(&["ok"], &hello());
    }
    assert_eq!(bench.relay.connections(), HOP_CONNECTIONS_MAX);
    bench.run_for(Duration::from_secs(2));
    assert_eq!(bench.kept().len(), HOP_CONNECTIONS_MAX);
    assert_eq!(bench.relay.connections(), HOP_CONNECTIONS_MAX);
    // What a lesser load does not need ends although that load goes on.
    for _ in 0..HOP_IDLE_TIMEOUT.as_secs() {
        bench.start(&["ok"], &hello());
        bench.run_for(Duration::from_secs(1));
    }
    bench.run_for(Duration::from_secs(1));
    assert_eq!(bench.relay.connections(), 1);
    bench.run_for(HOP_IDLE_TIMEOUT);
    assert_eq!(bench.relay.connections(), 0);
}

// The deadline that the driver is told is never later than what is due, and costs no walk.
#[test]
fn deadlines_are_one_a_connection() {
    let mut bench = Bench::new(vec![server(Protocol::Smtp, &["*=late:1000"])]);
    for _ in 0..20 {
        bench.start(&["ok"], &hello());
    }
    assert_eq!(bench.relay.deadlines.count(), 20);
    bench.run_for(Duration::from_secs(2));
    assert_eq!(bench.relay.deadlines.count(), 20);
    bench.run_for(HOP_IDLE_TIMEOUT);
    assert_eq!(bench.relay.deadlines.count(), 0);
}
