//! Whole sessions: replies well-formed, bounded in number, and the same in any cut and whenever the
//! relay answers.

use super::Cuts;
use super::replies::check_form;
use crate::lone_session::{Installation, LoneSession, Told};
use memchr::memmem;

const CONFIGURATION: &str = include_str!("session.toml");

thread_local! {
    // So few octets that too many of them are met.
    static INSTALLATION: Installation = Installation::new(CONFIGURATION).with_size_max(400);
}

/// The first octet chooses the listener, and when the relay answers; the others are what the client
/// sends.
pub fn check(octets: &[u8], cuts: Cuts) {
    let Some((choice, octets)) = octets.split_first() else { return };
    let (listener, patience) = (usize::from(choice % 4), usize::from(choice / 4 % 4));
    INSTALLATION.with(|installation| {
        let told = cuts.agree(octets, |pieces| {
            let mut session = LoneSession::new(installation.session(listener));
            for (number, piece) in pieces.iter().enumerate() {
                session.receive(piece);
                if number % (patience + 1) == 0 {
                    session.relay_answers();
                }
            }
            Settled(session.end())
        });
        assert_eq!(installation.body_octets_held(), 0, "a body outlives its session");
        check_told(octets, &told.0);
    });
}

fn check_told(octets: &[u8], told: &Told) {
    let codes = check_form(&told.replies);
    assert_eq!(codes[0], 220);
    // One reply for each line, one more for each recipient at the end of data, the banner, and a 421.
    let lines = memmem::find_iter(octets, b"\r\n").count();
    assert!(codes.len() <= 2 * lines + 2, "{} replies for {lines} lines", codes.len());
    let goodbye = |code: &u16| matches!(code, 221 | 421);
    assert!(codes.iter().rev().skip(1).all(|code| !goodbye(code)), "it goes on after its end");
    for (recipients, message) in &told.taken {
        assert!(!recipients.is_empty());
        assert!(message.starts_with(b"Received: ") || message.starts_with(b"X-Spam: "));
        assert!(message.ends_with(b"\r\n"));
        assert!(!message.contains(&0) && is_crlf_only(message), "{}", message.escape_ascii());
        assert!(memmem::find(message, b"\r\n.\r\n").is_none(), "an end mark is sent on");
    }
}

fn is_crlf_only(message: &[u8]) -> bool {
    let pairs = memmem::find_iter(message, b"\r\n").count();
    let count = |octet| memchr::memchr_iter(octet, message).count();
    count(b'\r') == pairs && count(b'\n') == pairs
}

/// What does not depend on the cut.
///
/// When DATA is refused, octets that are waiting behind it close the connection; in another cut
/// none may be waiting yet. Up to there the sessions are the same.
#[derive(Debug)]
struct Settled(Told);

impl PartialEq for Settled {
    fn eq(&self, other: &Settled) -> bool {
        let (one, two) = (&self.0, &other.0);
        match (data_waited(one), data_waited(two)) {
            (None, None) => {
                (&one.replies, &one.taken, one.closed) == (&two.replies, &two.taken, two.closed)
            }
            (Some(end), None) => two.replies.starts_with(&one.replies[..end]),
            (None, Some(end)) => one.replies.starts_with(&two.replies[..end]),
            (Some(one_end), Some(two_end)) => {
                let end = one_end.min(two_end);
                one.replies[..end] == two.replies[..end]
            }
        }
    }
}

/// Where the reply begins that closes for octets behind a refused DATA.
fn data_waited(told: &Told) -> Option<usize> {
    memmem::find(&told.replies, b"421 4.7.0 data sent without a go-ahead")
}
