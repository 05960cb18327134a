//! Replies of a next hop, out of a stream.

use super::{Enhanced, Reply};
use crate::limits::{HOP_REPLY_KEPT_OCTETS, HOP_REPLY_LINE_OCTETS, HOP_REPLY_OCTETS};
use memchr::memchr;

/// Reads replies that arrive in any pieces.
///
/// Of each reply only so much text is kept as can be told to a client
/// ([`HOP_REPLY_KEPT_OCTETS`]); the rest is read and dropped.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The line that has not ended.
    line: Vec<u8>,
    /// The reply whose last line has not come.
    code: Option<u16>,
    enhanced: Option<Enhanced>,
    text: String,
    lines: u32,
    octets: usize,
}

/// What a next hop sent is no reply: it cannot be talked with any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// No three digits from 200 to 599, or no blank or hyphen behind them.
    #[error("a line that is no reply")]
    NotAReply,
    /// The lines of one reply have different codes. RFC 5321 4.2.1.
    #[error("two codes in one reply")]
    CodeChanged,
    /// A line, or a whole reply, over the limit.
    #[error("a reply without end")]
    TooLong,
}

impl ReplyReader {
    /// The next complete reply of `input`, which is advanced behind it. `None` when more must come:
    /// then all of `input` was taken.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, BadReply> {
        while let Some(feed) = memchr(b'\n', input) {
            let (piece, rest) = input.split_at(feed + 1);
            *input = rest;
            self.keep(piece)?;
            let line = std::mem::take(&mut self.line);
            let complete = self.take_line(line.trim_ascii_end())?;
            if complete {
                return Ok(Some(self.take_reply()));
            }
        }
        let piece = std::mem::take(input);
        self.keep(piece)?;
        Ok(None)
    }

    /// Whether part of a reply has come.
    pub fn is_in_reply(&self) -> bool {
        self.code.is_some() || !self.line.is_empty()
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), BadReply> {
        self.octets += piece.len();
        if self.line.len() + piece.len() > HOP_REPLY_LINE_OCTETS || self.octets > HOP_REPLY_OCTETS {
            return Err(BadReply::TooLong);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    /// Reads one line; true if it is the last of its reply.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, BadReply> {
        let (digits, rest) = line.split_at_checked(3).ok_or(BadReply::NotAReply)?;
        if !digits.iter().all(u8::is_ascii_digit) || !matches!(digits[0], b'2'..=b'5') {
            return Err(BadReply::NotAReply);
        }
        let code = digits.iter().fold(0u16, |code, digit| code * 10 + u16::from(digit - b'0'));
        // RFC 5321 4.2.1: in a multiline reply each line has the same code, a hyphen behind it on
        // all lines but the last. 4.2: a server may send no text, and then no blank either.
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(BadReply::NotAReply),
        };
        if self.code.is_some_and(|first| first != code) {
            return Err(BadReply::CodeChanged);
        }
        self.code = Some(code);
        self.keep_text(code, text);
        Ok(last)
    }

    fn keep_text(&mut self, code: u16, text: &[u8]) {
        let printable: String = text
            .iter()
            .map(|octet| if matches!(octet, b' '..=b'~') { char::from(*octet) } else { '?' })
            .collect();
        let text = match Enhanced::read(&printable, code / 100) {
            Some((enhanced, rest)) => {
                self.enhanced.get_or_insert(enhanced);
                rest
            }
            None => &printable,
        };
        // A line is kept whole or not at all: half of one could say something else (`SIZE 1`).
        if self.text.len() + 1 + text.len() <= HOP_REPLY_KEPT_OCTETS {
            if self.lines > 0 {
                self.text.push('\n');
            }
            self.text.push_str(text);
        }
        self.lines += 1;
    }

    fn take_reply(&mut self) -> Reply {
        let ReplyReader { code, enhanced, text, .. } = std::mem::take(self);
        // A line was read, so there is a code, and it was checked there.
        let code = code.unwrap_or(500);
        Reply::given(code, enhanced, text).unwrap_or(super::replies::NEXT_HOP_DOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8], size: usize) -> Vec<String> {
        let mut reader = ReplyReader::default();
        let mut found = Vec::new();
        for mut piece in stream.chunks(size) {
            loop {
                match reader.next(&mut piece) {
                    Ok(Some(reply)) => found.push(reply.to_string()),
                    Ok(None) => break,
                    Err(fault) => {
                        found.push(format!("{fault:?}"));
                        return found;
                    }
                }
            }
        }
        found
    }

    // bad codes end the conversation; text is reduced to printable ASCII.
    #[test]
    fn replies_in_any_cut() {
        let table: [(&[u8], &[&str]); 10] = [
            (b"250 ok\r\n", &["250 ok"]),
            (b"250\r\n250 \r\n", &["250 ", "250 "]),
            (b"250-a\r\n250-b\r\n250 c\r\n354 go\r\n", &["250 a\nb\nc", "354 go"]),
            (b"550-5.7.1 no\r\n550 5.7.1 not\r\n", &["550 5.7.1 no\nnot"]),
            (b"450 5.7.1 odd\r\n", &["450 5.7.1 odd"]),
            (b"550 \x1b[2J\xf0\r\n", &["550 ?[2J?"]),
            (b"250 lf only\n", &["250 lf only"]),
            (b"999 x\r\n", &["NotAReply"]),
            (b"250-a\r\n550 b\r\n", &["CodeChanged"]),
            (b"2x0 a\r\n", &["NotAReply"]),
        ];
        for (stream, expected) in table {
            for size in 1..=stream.len() {
                assert_eq!(read(stream, size), expected, "{} by {size}", stream.escape_ascii());
            }
        }
    }

    // A line that says how large a message may be says nothing if it does not fit.
    #[test]
    fn lines_of_a_long_reply_are_kept_whole() {
        let line = format!("250-{}\r\n", "x".repeat(990));
        let stream = format!("250-a\r\n{line}{line}{line}250-SIZE 1234567890\r\n250 b\r\n");
        let kept = "x".repeat(990);
        assert_eq!(
            read(stream.as_bytes(), 7),
            [format!("250 a\n{kept}\n{kept}\nSIZE 1234567890\nb")]
        );
    }

    // 1,000 octets a line, 64 KiB a reply, and no more.
    #[test]
    fn a_reply_without_end_is_cut_off() {
        assert_eq!(read(&vec![b'2'; 100_000], 1_000), ["TooLong"]);
        assert_eq!(read(&b"250-x\r\n".repeat(20_000), 1_000), ["TooLong"]);
    }
}
