//! Recipients and chunks.

use super::*;

// ---- chunks ------------------------------------------------------------------------------------

// A client that sends an octet now and then must not live for ever by announcing each in a chunk of
// its own: what it sends is counted over all its chunks.
#[test]
fn chunks_of_one_octet_do_not_keep_a_slow_client_alive() {
    let mut lone = Lone::on(Listener { size_octets_max: 0, ..smtp() });
    lone.say("EHLO client.example\r\n");
    assert_eq!(lone.say(format!("{ENVELOPE}BDAT 2\r\nx")), "250 250");
    let mut told = String::new();
    while told.is_empty() && lone.tick < Tick::from_us(600_000_000) {
        told = lone.wait(Duration::from_secs(20));
        if told.is_empty() {
            assert_eq!(lone.say("xBDAT 2\r\nx"), "250");
        }
    }
    assert_eq!(told, "421");
    assert_eq!(lone.tick, Tick::from_us(60_000_000));
    // The time between chunks is not the client's: it may wait for the reply to each.
    let mut lone = Lone::on(Listener { size_octets_max: 0, ..smtp() });
    lone.say("EHLO client.example\r\n");
    lone.say(ENVELOPE);
    for _ in 0..10 {
        assert_eq!(lone.say("BDAT 1\r\nx"), "250");
        assert_eq!(lone.wait(Duration::from_secs(120)), "");
    }
}

// The memory for bodies is used up in the middle of a message: the client comes again, whichever of
// the replies it goes by.
#[test]
fn a_message_without_room_is_put_off_to_its_last_chunk() {
    let roomless = |listener: Listener, greeting: &str| {
        let mut lone = Lone::with(listener, Board::new(1), 16 * 1024);
        lone.say(greeting);
        lone
    };
    let chunk = format!("BDAT 20000\r\n{}", "x".repeat(20_000));
    let last = "BDAT 1 LAST\r\nx";
    let big = |listener| Listener { size_octets_max: 1 << 20, ..listener };
    let mut lone = roomless(big(smtp()), "EHLO client.example\r\n");
    assert_eq!(lone.say(format!("{ENVELOPE}{chunk}{chunk}{last}")), "250 250 452 452 452");
    let mut lone = roomless(big(lmtp()), "LHLO client.example\r\n");
    let again = "RCPT TO:<v@example.net>\r\n";
    let told = lone.say(format!("{ENVELOPE}{again}{chunk}{last}"));
    assert_eq!(told, "250 250 250 452 452 452");
    // What is refused for good stays so.
    let mut lone = roomless(smtp(), "EHLO client.example\r\n");
    let chunk = format!("BDAT 1500\r\n{}", "x".repeat(1_500));
    assert_eq!(lone.say(format!("{ENVELOPE}{chunk}{last}")), "250 250 552 503");
}

// RFC 2033 4.3: in LMTP a BDAT LAST without recipients has no reply. It is counted all the same, for
// what it is: before TLS where that is demanded a command that leads nowhere, otherwise an error.
#[test]
fn chunks_without_a_reply_are_counted() {
    let (errors_max, junk_max) = (3, 5);
    let bare = || Listener { errors_max, junk_max, ..lmtp() };
    let sealed = || Listener { tls: Some(tls(TlsMode::Required)), ..bare() };
    for (listener, most) in [(bare(), errors_max), (sealed(), junk_max)] {
        let mut lone = Lone::on(listener);
        lone.say("LHLO client.example\r\n");
        for count in 1..most {
            assert_eq!(lone.say("BDAT 6 LAST\r\nNOOP\r\n"), "", "{count} of {most}");
        }
        assert_eq!(lone.say("BDAT 6 LAST\r\nNOOP\r\n"), "421");
    }
}

// a chunk that never ends takes no more memory than there is, and gives it back as soon as it
// is clear that the message cannot be kept.
#[test]
fn a_16_a_chunk_of_2_to_the_63_is_read_in_the_memory_there_is() {
    let listener = Listener { size_octets_max: 0, ..smtp() };
    let mut lone = Lone::with(listener, Board::new(1), 64 * 1024);
    lone.say("EHLO client.example\r\n");
    lone.say(format!("{ENVELOPE}BDAT 9223372036854775808 LAST\r\n"));
    let mut most = 0;
    for _ in 0..100 {
        assert_eq!(lone.say(vec![b'x'; 16 * 1024]), "");
        most = most.max(lone.session.shared.budget.taken());
    }
    assert_eq!((most, lone.session.shared.budget.taken()), (64 * 1024, 0));
    assert!(lone.ended.is_empty() && lone.session.pending.is_empty());
}

// ---- bounces -----------------------------------------------------------------------------------

// the null sender may write to everybody as often as it likes, and a forged one, too: refusals
// are replies, and no message is ever begun that a client did not bring.
#[test]
fn a_36_no_message_begins_here() {
    let refused = || Outcome::Failed(Reply::new(550, 7, 1, "no"));
    for sender in ["", "forged@victim.example"] {
        let listener = Listener { messages_max: 2_000, progress_timeout: HOUR, ..lmtp() };
        let mut lone = Lone::on(listener);
        lone.say("LHLO client.example\r\n");
        let recipients = "RCPT TO:<u@example.net>\r\n".repeat(100);
        for _ in 0..1_000 {
            lone.say(format!("MAIL FROM:<{sender}>\r\n{recipients}DATA\r\n"));
            assert_eq!(lone.say("x\r\n.\r\n"), "");
            let Some(Ask::Relay(plan)) = lone.asked.take() else { panic!("one plan a message") };
            assert_eq!(&*plan.envelope.reverse_path, sender.as_bytes());
            assert_eq!(plan.groups.len(), 1);
            assert_eq!(plan.groups[0].recipients, (0..100).collect::<Vec<_>>());
            let outcomes = (0..100).map(|at| (at, refused())).collect();
            drop(plan);
            lone.session.answered(Answer::Relayed(outcomes), lone.now());
            lone.drain();
            assert_eq!(lone.codes(), ["550"; 100].join(" "));
            assert!(lone.asked.is_none(), "a message that no client brought");
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

// ---- guesses -----------------------------------------------------------------------------------

// the 50th unknown recipient of a connection closes it; one miss among ten hits is no guess.
#[test]
fn a_32_who_guesses_names_is_cut_off_and_whose_list_is_stale_is_not() {
    let mut lone = Lone::on(Listener { junk_max: 10_000, ..smtp() });
    lone.say("EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n");
    for _ in 1..50 {
        assert_eq!(lone.say("RCPT TO:<nouser@example.net>\r\n"), "550");
    }
    assert_eq!(lone.say("RCPT TO:<nouser@example.net>\r\n"), "421");
    let mut lone = Lone::on(Listener { junk_max: 10_000, ..smtp() });
    lone.say("EHLO client.example\r\n");
    let (hit, miss) = ("RCPT TO:<u@example.net>\r\n", "RCPT TO:<nouser@example.net>\r\n");
    let envelope =
        format!("MAIL FROM:<a@client.example>\r\n{}{}RSET\r\n", hit.repeat(48), miss.repeat(2));
    let told = format!("250{} 550 550 250", " 250".repeat(48));
    for _ in 0..200 {
        assert_eq!(lone.say(&envelope), told);
    }
    // What was earned is used up at last.
    assert_eq!(lone.say("MAIL FROM:<a@client.example>\r\n"), "250");
    let misses = (1..).take_while(|_| lone.say(miss) == "550").count();
    assert_eq!(misses as u32 + 1, 200 * 48 / 10 - 400);
}
