//! A reply, and its octets.

use crate::limits::REPLY_LINE_OCTETS;
use std::borrow::Cow;
use std::fmt;

/// A reply of a server: code, enhanced code where there is one, and text.
///
/// The text may hold several lines, divided by LF. It is free text: whatever it holds, only
/// printable ASCII leaves, in lines of at most [`REPLY_LINE_OCTETS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    code: u16,
    enhanced: Option<Enhanced>,
    text: Cow<'static, str>,
}

/// What a reply means for its command, by its first digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 2xx: done.
    Positive,
    /// 3xx: go on.
    Intermediate,
    /// 4xx: not now.
    Transient,
    /// 5xx: never.
    Permanent,
}

/// Subject and detail of an enhanced status code (RFC 3463); its class is the reply's first digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Enhanced {
    /// The second number, 0 to 999.
    pub subject: u16,
    /// The third number, 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    /// Reads `2.1.5` from the beginning of a text; the rest of the text comes with it.
    ///
    /// The class must be `class`; the code must end at a blank or with the text.
    pub fn read(text: &str, class: u16) -> Option<(Enhanced, &str)> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut numbers = word.split('.').map(|number| {
            let digits =
                (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| number.parse::<u16>().ok()).flatten()
        });
        let (first, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (first == class && numbers.next().is_none())
            .then_some((Enhanced { subject, detail }, rest.trim_start()))
    }
}

impl Reply {
    /// A reply with an enhanced code: 2xx, 4xx and 5xx.
    pub const fn new(code: u16, subject: u16, detail: u16, text: &'static str) -> Reply {
        assert!(matches!(code / 100, 2 | 4 | 5));
        Reply { code, enhanced: Some(Enhanced { subject, detail }), text: Cow::Borrowed(text) }
    }

    /// A reply without an enhanced code: greetings and 3xx (RFC 2034 4).
    pub const fn bare(code: u16, text: &'static str) -> Reply {
        assert!(code >= 200 && code < 600);
        Reply { code, enhanced: None, text: Cow::Borrowed(text) }
    }

    /// A reply as somebody else gave it. `None` if the code is not 200 to 599.
    pub fn given(code: u16, enhanced: Option<Enhanced>, text: String) -> Option<Reply> {
        (200..600).contains(&code).then_some(Reply { code, enhanced, text: Cow::Owned(text) })
    }

    /// The same reply with another text.
    #[must_use]
    pub fn with_text(&self, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { text: text.into(), ..self.clone() }
    }

    /// The same reply without its enhanced code.
    #[must_use]
    pub fn without_enhanced(&self) -> Reply {
        Reply { enhanced: None, ..self.clone() }
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Subject and detail of the enhanced code, if there is one.
    pub fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// The text, without codes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it means, by its first digit.
    pub fn kind(&self) -> Kind {
        match self.code / 100 {
            2 => Kind::Positive,
            3 => Kind::Intermediate,
            4 => Kind::Transient,
            _ => Kind::Permanent,
        }
    }

    /// Whether it is 2xx.
    pub fn is_positive(&self) -> bool {
        self.kind() == Kind::Positive
    }

    /// Writes the octets of the reply behind what `out` already holds.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let last_line = lines.peek().is_none();
            let mut rest = line.as_bytes();
            loop {
                // RFC 5321 4.5.3.1.5: a reply line is at most 512 octets with its code and CRLF;
                // longer text goes on in a further line.
                let (now, later) = rest.split_at(rest.len().min(TEXT_OCTETS));
                self.render_line(now, last_line && later.is_empty(), out);
                if later.is_empty() {
                    break;
                }
                rest = later;
            }
        }
    }

    fn render_line(&self, text: &[u8], last: bool, out: &mut Vec<u8>) {
        push_number(self.code, out);
        out.push(if last { b' ' } else { b'-' });
        // RFC 2034 4: the text part of all 2xx, 4xx and 5xx responses must be prefaced with a
        // status code; in a multiline response, each line.
        if let Some(Enhanced { subject, detail }) = self.enhanced {
            push_number(self.code / 100, out);
            out.push(b'.');
            push_number(subject, out);
            out.push(b'.');
            push_number(detail, out);
            out.push(b' ');
        }
        // Peers' octets may have come into the text: only printable ASCII leaves.
        out.extend(text.iter().map(|octet| match octet {
            b' '..=b'~' => *octet,
            _ => b'?',
        }));
        out.extend_from_slice(b"\r\n");
    }
}

/// Octets of text that fit into a reply line beside the longest codes: `550-5.999.999 ` and CRLF.
const TEXT_OCTETS: usize = REPLY_LINE_OCTETS - 16;

fn push_number(number: u16, out: &mut Vec<u8>) {
    let digits = [number / 100 % 10, number / 10 % 10, number % 10];
    let leading = digits.iter().take(2).take_while(|digit| **digit == 0).count();
    out.extend(digits[leading..].iter().map(|digit| b'0' + *digit as u8));
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(Enhanced { subject, detail }) = self.enhanced {
            write!(f, " {}.{subject}.{detail}", self.code / 100)?;
        }
        write!(f, " {}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.render(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_both_codes() {
        let reply = Reply::new(550, 7, 1, "no\nreally not");
        assert_eq!(rendered(&reply), "550-5.7.1 no\r\n550 5.7.1 really not\r\n");
        assert_eq!(rendered(&Reply::bare(354, "go on")), "354 go on\r\n");
        assert_eq!(rendered(&Reply::new(250, 0, 10, "")), "250 2.0.10 \r\n");
    }

    // RFC 5321 4.5.3.1.5: the maximum total length of a reply line including the reply code and
    // the <CRLF> is 512 octets.
    #[test]
    fn long_text_is_split_and_foreign_octets_are_masked() {
        let reply =
            Reply::new(550, 7, 1, "").with_text(format!("{}\u{1b}[2J\r", "x".repeat(2_000)));
        let text = rendered(&reply);
        assert!(text.split_inclusive("\r\n").all(|line| line.len() <= 512));
        assert!(text.ends_with("?[2J?\r\n"));
        assert_eq!(text.matches("550-").count(), 4);
        assert_eq!(text.matches("550 ").count(), 1);
    }

    #[test]
    fn an_enhanced_code_is_read_only_where_it_is_one() {
        let read =
            |text| Enhanced::read(text, 5).map(|(code, rest)| (code.subject, code.detail, rest));
        assert_eq!(read("5.7.1 no"), Some((7, 1, "no")));
        assert_eq!(read("5.7.1"), Some((7, 1, "")));
        for not_one in ["4.7.1 no", "5.7 no", "5.7.1.2 no", "5.7.x no", "5.7.1111 no", "", "5..1 x"]
        {
            assert_eq!(read(not_one), None, "{not_one}");
        }
    }
}
