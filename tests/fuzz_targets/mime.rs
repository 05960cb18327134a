//! The structure: a message that is put together from parts comes apart into the same ones.

use super::Cuts;
use super::hidden::Choices;
use postern::scan::{PartBegins, PartKind, Rules, Scanner, Tags, Watch};
use std::sync::{Arc, LazyLock};

/// Parts that lie in parts, at most: far fewer than are followed.
const DEPTH_MAX: usize = 5;

/// Parts that are put together.
const PARTS_MAX: u32 = 60;

/// The octets are a message as it came; and they choose how one is put together.
pub fn check(octets: &[u8], cuts: Cuts) {
    cuts.agree(octets, read).is_nested();
    let mut message = Message::new(octets);
    message.body_of_part(0, "text/plain");
    let Message { octets, parts, .. } = message;
    let outline = cuts.agree(&octets, read);
    outline.is_nested();
    assert_eq!(outline.parts, parts, "{}", octets.escape_ascii());
}

/// A part: how deep it lies, its type, how it is read, and its octets if it is a leaf.
type Part = (usize, String, PartKind, Vec<u8>);

/// What the watch is told.
#[derive(Debug, Default, PartialEq)]
struct Outline {
    parts: Vec<Part>,
    /// Numbers of parts in the order in which they begin and end.
    begun: Vec<u32>,
    ended: Vec<u32>,
    /// Those that are open, and whether each ended inside of the one that it began in.
    open: Vec<u32>,
    nested: bool,
    /// A part began before an earlier one.
    offset: u64,
}

impl Outline {
    fn is_nested(&self) {
        assert!(self.nested && self.open.is_empty(), "{self:#?}");
        assert!(self.begun.iter().eq(&(0..self.begun.len() as u32).collect::<Vec<_>>()));
        assert_eq!(self.begun.len(), self.ended.len());
    }
}

impl Watch for Outline {
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        self.nested &= part.depth == self.open.len() && part.offset >= self.offset;
        self.offset = part.offset;
        self.open.push(part.part);
        self.begun.push(part.part);
        let media_type = String::from_utf8_lossy(part.media_type.octets()).into_owned();
        self.parts.push((part.depth, media_type, part.kind, Vec::new()));
    }

    fn decoded(&mut self, part: u32, octets: &[u8]) {
        if let Some((.., leaf)) = self.parts.get_mut(part as usize) {
            leaf.extend_from_slice(octets);
        }
    }

    fn part_ends(&mut self, part: u32) {
        self.nested &= self.open.pop() == Some(part);
        self.ended.push(part);
    }
}

fn read(pieces: &[&[u8]]) -> Outline {
    static RULES: LazyLock<Arc<Rules>> =
        LazyLock::new(|| Arc::new(Rules::compile(Tags::new(), &[]).expect("no rules")));
    let watch = Outline { nested: true, ..Outline::default() };
    let mut scanner = Scanner::watched(Arc::clone(&RULES), watch);
    pieces.iter().for_each(|piece| scanner.feed(piece));
    scanner.finish();
    scanner.into_watch()
}

/// A message that is put together, and what it was put together from.
struct Message<'a> {
    choices: Choices<'a>,
    line_end: &'static str,
    octets: Vec<u8>,
    parts: Vec<Part>,
    boundaries: u32,
}

impl Message<'_> {
    fn new(octets: &[u8]) -> Message<'_> {
        let mut choices = Choices::new(octets);
        let line_end = choices.one_of(&["\r\n", "\n"]);
        Message { choices, line_end, octets: Vec::new(), parts: Vec::new(), boundaries: 0 }
    }

    fn line(&mut self, text: &str) {
        self.octets.extend_from_slice(text.as_bytes());
        self.octets.extend_from_slice(self.line_end.as_bytes());
    }

    /// Header and body of a part, which is of this type if its header names none.
    fn body_of_part(&mut self, depth: usize, supposed: &str) {
        let others = ["X-A: b", "Subject: =?utf-8?q?a?=", "Content-Disposition: attachment"];
        if self.choices.below(2) == 0 {
            let other = self.choices.one_of(&others);
            self.line(other);
        }
        let is_full = depth == DEPTH_MAX || self.parts.len() as u32 > PARTS_MAX;
        match self.choices.below(if is_full { 2 } else { 5 }) {
            0 => self.leaf(depth, None, supposed),
            1 => {
                let named = ["text/html", "application/octet-stream", "image/png", "x/y"];
                let named = self.choices.one_of(&named);
                self.leaf(depth, Some(named), named);
            }
            2 => {
                self.line("Content-Type: Message/RFC822");
                self.line("");
                let message = (depth, "message/rfc822".into(), PartKind::Message, Vec::new());
                self.parts.push(message);
                self.body_of_part(depth + 1, "text/plain");
            }
            _ => self.multipart(depth),
        }
    }

    fn multipart(&mut self, depth: usize) {
        let subtype = self.choices.one_of(&["mixed", "alternative", "digest"]);
        self.boundaries += 1;
        let boundary = format!("{}{}", self.choices.one_of(&["b", "-=", "--"]), self.boundaries);
        let parameter = match self.choices.below(3) {
            0 => format!("Content-Type: multipart/{subtype}; boundary=\"{boundary}\""),
            1 => format!("content-type:MULTIPART/{subtype};x=y;BOUNDARY = \"{boundary}\"; z=\"\""),
            _ => format!(
                "Content-Type: multipart/{subtype} (a;b);{}\tboundary=\"{boundary}\"",
                self.line_end
            ),
        };
        self.line(&parameter);
        self.line("");
        let media_type = format!("multipart/{subtype}");
        self.parts.push((depth, media_type, PartKind::Multipart, Vec::new()));
        if self.choices.below(2) == 0 {
            self.line("before the parts");
        }
        let supposed = if subtype == "digest" { "message/rfc822" } else { "text/plain" };
        for _ in 0..=self.choices.below(3) {
            let blanks = self.choices.one_of(&["", " ", "\t "]);
            self.line(&format!("--{boundary}{blanks}"));
            self.body_of_part(depth + 1, supposed);
            // The line end before a delimiter is a part of it.
            self.line("");
        }
        self.line(&format!("--{boundary}--"));
        if self.choices.below(2) == 0 {
            self.line("behind them");
        }
    }

    /// A part without parts. One that is a message if nothing is named gets a name.
    fn leaf(&mut self, depth: usize, named: Option<&str>, media_type: &str) {
        let (named, media_type) = match (named, media_type) {
            (None, "message/rfc822") => (Some("text/plain"), "text/plain"),
            other => other,
        };
        if let Some(named) = named {
            self.line(&format!("Content-Type: {named}"));
        }
        self.line("");
        let lines =
            ["", "a word", "--", "-", "--no delimiter", "X: y", "From a", "--b", "\0\u{e9}=20"];
        let from = self.octets.len();
        for count in 0..self.choices.below(4) {
            if count > 0 {
                self.line("");
            }
            let line = self.choices.one_of(&lines);
            self.octets.extend_from_slice(line.as_bytes());
        }
        let leaf = self.octets[from..].to_vec();
        self.parts.push((depth, media_type.to_owned(), PartKind::Leaf, leaf));
    }
}
