//! What a sink offers, what it answers for which recipient, and where it misbehaves.

use super::offers::SinkOffers;
use crate::wire::{Enhanced, Reply};
use std::time::Duration;

/// How a sink behaves.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What it offers.
    pub offers: SinkOffers,
    lines: Vec<(String, Scripted)>,
    misdeeds: Vec<(Point, Misdeed)>,
}

/// An answer to be given for some recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scripted {
    /// RCPT gets this reply.
    AtRcpt(Reply),
    /// The end of data gets this reply for this recipient; with plain SMTP for all of the message.
    AtEnd(Reply),
    /// The last reply of a PRDR block is this one, whatever its lines say.
    AtLast(Reply),
    /// The final reply is so late.
    Late(Duration),
}

/// A point of the conversation: what is answered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The connection.
    Banner,
    /// EHLO, LHLO or HELO.
    Greeting,
    /// STARTTLS.
    StartTls,
    /// XCLIENT.
    Xclient,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The end of the message, by end mark or BDAT LAST. The message is kept before.
    End,
    /// RSET.
    Reset,
    /// VRFY.
    Verify,
    /// RESUME.
    Resume,
}

/// What a sink does in place of its reply. What the command asks for is done all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// It closes.
    Close,
    /// It says nothing any more.
    Stall,
    /// It says these octets.
    Say(Vec<u8>),
    /// It gives its reply, and one too many.
    Surplus,
    /// It begins a reply that has no end.
    Endless,
    /// It gives all of its replies but the last, and closes: only an end has several.
    Short,
}

/// A line of a script that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {line:?}: write LOCAL-PART=rcpt:CODE TEXT, =end:CODE TEXT, =last:CODE TEXT or \
     =late:MILLISECONDS, where a * at the end of the local-part stands for any rest; or \
     @POINT=close, stall, surplus, endless, short or say:TEXT, where POINT is banner, greeting, \
     starttls, xclient, mail, rcpt, data, end, reset, vrfy or resume"
)]
pub struct ScriptFault {
    line: String,
}

impl Script {
    /// Adds a line: `late450=end:450 4.2.0 busy`, `slow*=late:1000`, `full=rcpt:452 4.2.2 full`,
    /// `*=last:250 ok`; or a misdeed: `@end=close`, `@mail=say:354 go on`.
    ///
    /// # Errors
    /// The line means nothing.
    pub fn add(&mut self, line: &str) -> Result<(), ScriptFault> {
        let fault = || ScriptFault { line: line.to_owned() };
        let (who, answer) = line.split_once('=').ok_or_else(fault)?;
        if let Some(point) = who.strip_prefix('@') {
            let point = read_point(point).ok_or_else(fault)?;
            self.misbehave(point, read_misdeed(answer).ok_or_else(fault)?);
            return Ok(());
        }
        let (kind, value) = answer.split_once(':').ok_or_else(fault)?;
        let reply = |least| read_reply(value, least).ok_or_else(fault);
        let scripted = match kind {
            "rcpt" => Scripted::AtRcpt(reply(400)?),
            "end" => Scripted::AtEnd(reply(400)?),
            "last" => Scripted::AtLast(reply(200)?),
            "late" => Scripted::Late(Duration::from_millis(value.parse().map_err(|_| fault())?)),
            _ => return Err(fault()),
        };
        self.lines.push((who.to_ascii_lowercase(), scripted));
        Ok(())
    }

    /// Misbehaves at a point, from now on.
    pub fn misbehave(&mut self, point: Point, misdeed: Misdeed) {
        self.misdeeds.retain(|(other, _)| *other != point);
        self.misdeeds.push((point, misdeed));
    }

    /// What is done at a point in place of a reply.
    pub fn misdeed(&self, point: Point) -> Option<&Misdeed> {
        self.misdeeds.iter().find(|(other, _)| *other == point).map(|(_, misdeed)| misdeed)
    }

    /// What is scripted for an address, in the order of the lines.
    pub fn for_address<'a>(&'a self, address: &[u8]) -> impl Iterator<Item = &'a Scripted> {
        let end = memchr::memrchr(b'@', address).unwrap_or(address.len());
        let local_part = address[..end].to_ascii_lowercase();
        self.lines.iter().filter_map(move |(pattern, scripted)| {
            let matches = match pattern.strip_suffix('*') {
                Some(prefix) => local_part.starts_with(prefix.as_bytes()),
                None => local_part == pattern.as_bytes(),
            };
            matches.then_some(scripted)
        })
    }
}

fn read_point(name: &str) -> Option<Point> {
    Some(match name {
        "banner" => Point::Banner,
        "greeting" => Point::Greeting,
        "starttls" => Point::StartTls,
        "xclient" => Point::Xclient,
        "mail" => Point::Mail,
        "rcpt" => Point::Rcpt,
        "data" => Point::Data,
        "end" => Point::End,
        "reset" => Point::Reset,
        "vrfy" => Point::Verify,
        "resume" => Point::Resume,
        _ => return None,
    })
}

/// In a text, `\r\n` written so is CRLF; there is one at its end.
fn read_misdeed(answer: &str) -> Option<Misdeed> {
    Some(match answer.split_once(':') {
        Some(("say", text)) => {
            Misdeed::Say([text.replace("\\r\\n", "\r\n").as_bytes(), b"\r\n"].concat())
        }
        Some(_) => return None,
        None => match answer {
            "close" => Misdeed::Close,
            "stall" => Misdeed::Stall,
            "surplus" => Misdeed::Surplus,
            "endless" => Misdeed::Endless,
            "short" => Misdeed::Short,
            _ => return None,
        },
    })
}

/// Reads `450 4.2.0 text`; the enhanced code and the text may be left out.
fn read_reply(text: &str, least: u16) -> Option<Reply> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().ok().filter(|code| (least..600).contains(code))?;
    match Enhanced::read(rest, code / 100) {
        Some((enhanced, rest)) => Reply::given(code, Some(enhanced), rest.to_owned()),
        None => Reply::given(code, None, rest.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused() {
        let mut script = Script::default();
        script.add("late450=end:450 4.2.0 busy").unwrap();
        script.add("slow*=late:1000").unwrap();
        let found: Vec<_> = script.for_address(b"Late450@example.net").collect();
        assert_eq!(found, [&Scripted::AtEnd(Reply::new(450, 2, 0, "busy"))]);
        let found: Vec<_> = script.for_address(b"slow1@example.net").collect();
        assert_eq!(found, [&Scripted::Late(Duration::from_secs(1))]);
        for bad in ["", "a", "a=b", "a=end:250 ok", "a=late:x", "a=soon:1", "@x=close", "@end=x"] {
            assert!(script.add(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_misdeed_of_a_point_counts() {
        let mut script = Script::default();
        script.add("@end=close").unwrap();
        script.add("@mail=stall").unwrap();
        script.add("@end=say:250-a\\r\\n250 b").unwrap();
        assert_eq!(script.misdeed(Point::End), Some(&Misdeed::Say(b"250-a\r\n250 b\r\n".to_vec())));
        assert_eq!(script.misdeed(Point::Mail), Some(&Misdeed::Stall));
        assert_eq!(script.misdeed(Point::Rcpt), None);
    }
}
