//! Replies of the server: cut out of the stream, and checked for their form.

use super::expand::latin1;
use super::stage::{Arrived, ConnectionId, Stage};
use std::time::Duration;

/// What has come on one connection and was not judged yet.
#[derive(Debug, Default)]
pub struct Inbox {
    octets: Vec<u8>,
    /// Octets judged so far.
    judged: u64,
    /// Where each write ends, counted from the connection's beginning, with its segments.
    writes: Vec<(u64, u64)>,
    /// Where the replies judged so far lie.
    replies: Vec<(u64, u64)>,
}

/// A complete reply.
#[derive(Clone, Debug)]
pub struct Reply {
    pub code: u16,
    /// The texts of its lines, without codes and separators.
    pub lines: Vec<String>,
}

/// Octets of a reply line with its CRLF. RFC 5321 4.5.3.1.5.
const LINE_OCTETS: usize = 512;

impl Inbox {
    /// The next replies of a connection, as they come.
    ///
    /// # Panics
    /// When the server says what is no reply, or nothing for `patience`.
    pub fn replies(
        &mut self,
        stage: &mut dyn Stage,
        connection: ConnectionId,
        count: usize,
        patience: Duration,
    ) -> Vec<Reply> {
        let until = stage.elapsed() + patience;
        let mut replies = Vec::new();
        while replies.len() < count {
            match self.next().unwrap() {
                Some(reply) => replies.push(reply),
                None => {
                    assert!(stage.elapsed() < until, "{} of {count} replies", replies.len());
                    for arrived in stage.wait(connection, patience) {
                        self.push(arrived);
                    }
                }
            }
        }
        replies
    }

    pub fn push(&mut self, arrived: Arrived) {
        let begin = self.writes.last().map_or(0, |(end, _)| *end);
        self.writes.push((begin + arrived.octets.len() as u64, arrived.segments));
        self.octets.extend(arrived.octets);
    }

    /// What was not judged.
    pub fn rest(&self) -> &[u8] {
        &self.octets
    }

    /// The next complete reply, if it is there.
    ///
    /// # Errors
    /// Its form is wrong.
    pub fn next(&mut self) -> Result<Option<Reply>, String> {
        let (mut at, mut lines, mut code) = (0, Vec::new(), None);
        loop {
            let rest = &self.octets[at..];
            let Some(length) = rest.iter().position(|octet| *octet == b'\n').map(|lf| lf + 1)
            else {
                return match rest.len() {
                    0..LINE_OCTETS => Ok(None),
                    _ => Err(format!("a reply line has more than {LINE_OCTETS} octets")),
                };
            };
            let line = read_line(&rest[..length])?;
            if *code.get_or_insert(line.code) != line.code {
                return Err(format!("a reply with more than one code: {:?}", latin1(rest)));
            }
            lines.push(line.text);
            at += length;
            if line.last {
                break;
            }
        }
        self.octets.drain(..at);
        self.replies.push((self.judged, self.judged + at as u64));
        self.judged += at as u64;
        Ok(code.map(|code| Reply { code, lines }))
    }

    /// Whether the last so many replies came in one write, in one segment.
    pub fn in_one_write(&self, replies: usize) -> Result<(), String> {
        let first = self.replies.len().checked_sub(replies).ok_or("there were not so many")?;
        let (from, to) = (self.replies[first].0, self.judged);
        let at = self.writes.iter().position(|(end, _)| *end > from).ok_or("no write")?;
        let (end, segments) = self.writes[at];
        match (to <= end, segments) {
            (true, 1) => Ok(()),
            (true, segments) => Err(format!("they came in {segments} segments")),
            (false, _) => {
                let writes = self.writes[at..].iter().take_while(|(end, _)| *end < to).count() + 1;
                Err(format!("they came in {writes} writes"))
            }
        }
    }
}

struct ReplyLine {
    code: u16,
    last: bool,
    text: String,
}

fn read_line(octets: &[u8]) -> Result<ReplyLine, String> {
    let fault = |what: &str| format!("{what}: {:?}", latin1(octets));
    if octets.len() > LINE_OCTETS {
        return Err(fault("a reply line has more than 512 octets"));
    }
    let line = octets.strip_suffix(b"\r\n").ok_or_else(|| fault("a reply line without CRLF"))?;
    if !line.iter().all(|octet| (b' '..=b'~').contains(octet)) {
        return Err(fault("a reply line that is not printable ASCII"));
    }
    let [first @ b'2'..=b'5', tens @ b'0'..=b'9', units @ b'0'..=b'9', separator, text @ ..] = line
    else {
        return Err(fault("a reply line without a code of 200 to 599 and a separator"));
    };
    let last = match separator {
        b' ' => true,
        b'-' => false,
        _ => return Err(fault("a reply line with neither SP nor - behind its code")),
    };
    if enhanced_class(text).is_some_and(|class| class != *first) {
        return Err(fault("the enhanced code is of another class than the code"));
    }
    let digit = |octet: &u8| u16::from(octet - b'0');
    let code = digit(first) * 100 + digit(tens) * 10 + digit(units);
    Ok(ReplyLine { code, last, text: latin1(text) })
}

/// The first digit of the enhanced code that a text begins with.
fn enhanced_class(text: &[u8]) -> Option<u8> {
    let word = text.split(|octet| *octet == b' ').next()?;
    let mut parts = word.split(|octet| *octet == b'.');
    let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |part: &[u8]| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    match class {
        [class @ b'0'..=b'9'] if number(subject) && number(detail) && parts.next().is_none() => {
            Some(*class)
        }
        _ => None,
    }
}
