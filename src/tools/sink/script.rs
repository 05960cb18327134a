//! What a sink answers for which recipient.

use crate::wire::{Enhanced, Reply};
use std::time::Duration;

/// The answers of a sink that are not plain acceptance.
#[derive(Clone, Debug, Default)]
pub struct Script {
    lines: Vec<(String, Scripted)>,
}

/// An answer to be given for some recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scripted {
    /// RCPT gets this reply.
    AtRcpt(Reply),
    /// The end of data gets this reply for this recipient; with SMTP for all of the message.
    AtEnd(Reply),
    /// The final reply is so late.
    Late(Duration),
}

/// A line of a script that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {line:?}: write LOCAL-PART=rcpt:CODE TEXT, LOCAL-PART=end:CODE TEXT or \
     LOCAL-PART=late:MILLISECONDS; a * at the end of the local-part stands for any rest"
)]
pub struct ScriptFault {
    line: String,
}

impl Script {
    /// Adds a line: `late450=end:450 4.2.0 busy`, `slow*=late:1000`, `full=rcpt:452 4.2.2 full`.
    pub fn add(&mut self, line: &str) -> Result<(), ScriptFault> {
        let fault = || ScriptFault { line: line.to_owned() };
        let (pattern, answer) = line.split_once('=').ok_or_else(fault)?;
        let (kind, value) = answer.split_once(':').ok_or_else(fault)?;
        let scripted = match kind {
            "rcpt" => Scripted::AtRcpt(read_reply(value).ok_or_else(fault)?),
            "end" => Scripted::AtEnd(read_reply(value).ok_or_else(fault)?),
            "late" => Scripted::Late(Duration::from_millis(value.parse().map_err(|_| fault())?)),
            _ => return Err(fault()),
        };
        self.lines.push((pattern.to_ascii_lowercase(), scripted));
        Ok(())
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

/// Reads `450 4.2.0 text`; the enhanced code and the text may be left out.
fn read_reply(text: &str) -> Option<Reply> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().ok().filter(|code| (400..600).contains(code))?;
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
        for bad in ["", "a", "a=b", "a=end:250 ok", "a=late:x", "a=soon:1"] {
            assert!(script.add(bad).is_err(), "{bad}");
        }
    }
}
