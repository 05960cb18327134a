//! What a client is told of a next hop's reply.

use crate::wire::{Enhanced, Kind, Reply, replies};

/// A next hop's refusal as it may be told to our client.
///
/// Codes that speak of the connection or of *our* commands would mislead the client: a 421 would
/// end its session, and a 5xx for our own fault would bounce its mail. What is no refusal at all
/// was out of place, and says nothing of the message either.
pub(super) fn told(reply: &Reply) -> Reply {
    const TOO_MANY: Enhanced = Enhanced { subject: 5, detail: 3 };
    let enhanced = reply.enhanced();
    let about_commands = enhanced.is_some_and(|code| code.subject == 5);
    let code = match reply.code() {
        // RFC 5321 4.5.3.1.10: a 552 for too many recipients is to be taken for a 452.
        552 if enhanced == Some(TOO_MANY) => 452,
        // Closing, no TLS, no such parameters now.
        421 | 454 | 455 => return of_ours(reply),
        // Commands that it does not know, does not do or does not expect; parameters not known.
        500 | 502 | 503 | 504 | 555 => return of_ours(reply),
        // 501 speaks of an address, unless its enhanced code speaks of a command.
        501 if about_commands => return of_ours(reply),
        // It wants us to authenticate, or to encrypt.
        530 | 534 | 535 | 538 => return of_ours(reply),
        code @ 400..600 => code,
        _ => return of_ours(reply),
    };
    let enhanced = enhanced.unwrap_or(Enhanced { subject: 0, detail: 0 });
    Reply::given(code, Some(enhanced), reply.text().to_owned()).unwrap_or(replies::NEXT_HOP_DOWN)
}

/// The same reply as a temporary one: a connection that failed says nothing of the message.
pub(super) fn deferred(reply: &Reply) -> Reply {
    match reply.kind() {
        Kind::Transient => reply.clone(),
        _ => of_ours(reply),
    }
}

/// A matter between the next hop and us: it passes, and then the message goes on.
fn of_ours(reply: &Reply) -> Reply {
    replies::NEXT_HOP_DOWN.with_text(reply.text().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ReplyReader;

    // the class of a code is kept where it speaks of the message or the mailbox.
    #[test]
    fn codes_of_next_hops_as_clients_are_told() {
        let table = [
            ("421 4.3.2 shutting down", "451 4.4.1 shutting down"),
            ("450 4.2.0 busy", "450 4.2.0 busy"),
            ("450 busy", "450 4.0.0 busy"),
            ("451 4.3.0 fault", "451 4.3.0 fault"),
            ("452 4.2.2 full", "452 4.2.2 full"),
            ("454 4.7.0 no TLS", "451 4.4.1 no TLS"),
            ("455 4.5.4 not now", "451 4.4.1 not now"),
            ("500 5.5.2 what", "451 4.4.1 what"),
            ("501 5.1.3 bad address", "501 5.1.3 bad address"),
            ("501 bad address", "501 5.0.0 bad address"),
            ("501 5.5.4 bad SIZE", "451 4.4.1 bad SIZE"),
            ("502 5.5.1 no", "451 4.4.1 no"),
            ("503 5.5.1 order", "451 4.4.1 order"),
            ("504 5.5.4 no", "451 4.4.1 no"),
            ("521 5.3.2 no mail", "521 5.3.2 no mail"),
            ("530 5.7.0 log in", "451 4.4.1 log in"),
            ("534 5.7.9 weak", "451 4.4.1 weak"),
            ("535 5.7.8 wrong", "451 4.4.1 wrong"),
            ("538 5.7.11 encrypt", "451 4.4.1 encrypt"),
            ("550 5.1.1 nobody", "550 5.1.1 nobody"),
            ("550 5.7.2", "550 5.7.2 "),
            ("551 5.1.6 moved", "551 5.1.6 moved"),
            ("552 5.2.2 full", "552 5.2.2 full"),
            ("552 5.3.4 too big", "552 5.3.4 too big"),
            ("552 5.5.3 too many", "452 4.5.3 too many"),
            ("553 5.1.3 bad", "553 5.1.3 bad"),
            ("554 5.6.0 no", "554 5.6.0 no"),
            ("555 5.5.4 parameter", "451 4.4.1 parameter"),
            ("556 5.1.10 null MX", "556 5.1.10 null MX"),
            ("250 2.0.0 ok", "451 4.4.1 ok"),
            ("354 go", "451 4.4.1 go"),
        ];
        for (reply, expected) in table {
            let line = format!("{reply}\r\n");
            let read = ReplyReader::default().next(&mut line.as_bytes()).unwrap().unwrap();
            assert_eq!(told(&read).to_string(), expected);
            let deferred = deferred(&told(&read));
            assert_eq!(deferred.kind(), Kind::Transient, "{reply}");
        }
    }
}
