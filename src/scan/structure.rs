//! The part tree: delimiters, and the leaves between them.
//!
//! Open multiparts and messages lie on a stack of fixed depth (`frames`). A line of a body is compared with
//! their boundaries only when it begins with two dashes, and the line end before it is held back
//! until then, since it belongs to the delimiter. Everything else is leaf octets, which go to the
//! leaf's decoder in slices as large as they came.

use super::content_type::{Boundary, Charset, ContentType, Encoding, MediaType};
use super::frames::{Delimiter, is_padding};
use super::leaf::{Reading, Sink, Views};
use super::{PartBegins, PartKind, Place, Scanner, Stream, Tags, Watch};
use crate::limits::{BOUNDARY_OCTETS, LINE_HELD_OCTETS, MIME_PARTS_MAX};
use memchr::memchr;

// ---- leaves ---------------------------------------------------------------------------------

/// The leaf that is being read; or the preamble or epilogue of a multipart, which nobody reads.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    reading: Option<Reading>,
    views: Views,
    held: LineEnd,
}

/// A line end that is held until the line after it is known to be no delimiter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LineEnd {
    #[default]
    None,
    /// A carriage return that may be the first half of one.
    Return,
    Feed,
    ReturnFeed,
}

impl LineEnd {
    fn octets(self) -> &'static [u8] {
        match self {
            LineEnd::None => b"",
            LineEnd::Return => b"\r",
            LineEnd::Feed => b"\n",
            LineEnd::ReturnFeed => b"\r\n",
        }
    }

    /// Splits a line, or the first octets of one, from its end.
    fn split(line: &[u8]) -> (&[u8], LineEnd) {
        if let Some(text) = line.strip_suffix(b"\r\n") {
            (text, LineEnd::ReturnFeed)
        } else if let Some(text) = line.strip_suffix(b"\n") {
            (text, LineEnd::Feed)
        } else if let Some(text) = line.strip_suffix(b"\r") {
            (text, LineEnd::Return)
        } else {
            (line, LineEnd::None)
        }
    }
}

/// A second reading of octets whose header can be understood in two ways: as what the structure
/// makes of them, and as encoded as a whole.
#[derive(Debug)]
pub(super) struct Extra {
    reading: Reading,
    /// The next content offset to read.
    next: u64,
    /// It ends when no more than this many frames are open.
    frames: usize,
    /// The offset at which it ends, once that is known.
    end: Option<u64>,
}

// ---- bodies ---------------------------------------------------------------------------------

/// The rest of a delimiter line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DelimiterEnd {
    frame: usize,
    close: bool,
    /// Octets of the line so far, and of them those up to the last one that is no padding.
    octets: u32,
    octets_to_last: u32,
    /// The last two octets that are no padding.
    last: [u8; 2],
}

impl DelimiterEnd {
    fn add(&mut self, octets: &[u8]) {
        for octet in octets {
            self.octets = self.octets.saturating_add(1);
            if !is_padding(*octet) {
                self.octets_to_last = self.octets;
                self.last = [self.last[1], *octet];
            }
        }
    }
}

impl<W: Watch> Scanner<W> {
    /// A header block is complete, and the body begins at the content offset `start`.
    pub(super) fn end_header(&mut self, start: u64) {
        let said = self.header.said;
        let supposed = || ContentType::of(*said.default_type);
        // RFC 2045 5.2: a field that says nothing is as good as none.
        let written = said.content_type.filter(|written| !written.media_type.octets().is_empty());
        let content_type = written.unwrap_or_else(supposed);
        let kind = self.kind_of(&content_type);
        let named = said.encoding.unwrap_or_default();
        // RFC 2045 6.4: of a composite type, "it is EXPRESSLY FORBIDDEN to use any encodings other
        // than 7bit, 8bit, or binary". Clients that undo it all the same are covered by a second
        // reading.
        let (encoding, second) = match kind {
            PartKind::Leaf => (named, said.other_encoding),
            _ => (Encoding::Identity, Some(named).filter(|named| *named != Encoding::Identity)),
        };
        if let Some(second) = second {
            self.tag(Tags::MIME_AMBIGUOUS);
            self.begin_extra(second, start);
        }
        let (part, depth) = (self.part(), self.frames.depth());
        let media_type = &content_type.media_type;
        let charset = content_type.charset.name();
        let begins = PartBegins { part, depth, media_type, charset, encoding, kind, offset: start };
        self.watch.part_begins(&begins);
        self.leaf = Leaf::default();
        self.place = Place::BodyLine;
        match kind {
            PartKind::Leaf => {
                match content_type.charset {
                    Charset::Unknown if media_type.is_text() => self.tag(Tags::CHARSET_UNKNOWN),
                    Charset::Utf7 if media_type.is_text() => self.tag(Tags::MIME_AMBIGUOUS),
                    _ => {}
                }
                let rules = &self.rules;
                let (reading, views) =
                    Reading::of_leaf(encoding, rules, part, &content_type, start);
                (self.leaf.reading, self.leaf.views) = (Some(reading), views);
                self.beside.begin_leaf(rules);
            }
            PartKind::Multipart => self.frames.push_multipart(part, &content_type),
            PartKind::Message => {
                self.frames.push_message(part);
                self.begin_part(&MediaType::TEXT_PLAIN, true);
            }
        }
    }

    /// How a part of that type is read; as a leaf when it has no boundary or lies too deep.
    fn kind_of(&mut self, content_type: &ContentType) -> PartKind {
        let boundaries = content_type.boundaries.iter().flatten().count();
        let kind = match content_type.media_type {
            multipart if multipart.is_multipart() => {
                if boundaries == 0 {
                    self.tag(Tags::MIME_AMBIGUOUS);
                    return PartKind::Leaf;
                }
                PartKind::Multipart
            }
            message if message.is_message() => PartKind::Message,
            _ => return PartKind::Leaf,
        };
        if self.frames.has_room_for(boundaries) {
            return kind;
        }
        self.tag(Tags::MIME_LIMIT);
        PartKind::Leaf
    }

    fn begin_part(&mut self, default_type: &'static MediaType, of_message: bool) {
        if self.parts < MIME_PARTS_MAX {
            self.begin_header(default_type, of_message);
        } else {
            self.tag(Tags::MIME_LIMIT);
            self.place = Place::Opaque;
        }
    }

    pub(super) fn body_line(&mut self, content: &[u8]) -> usize {
        if content.first() == Some(&b'-') && self.frames.has_boundary() {
            self.place = Place::MaybeDelimiter { in_header: false };
        } else {
            self.release_line_end(self.offset);
            self.place = Place::BodyText;
        }
        0
    }

    pub(super) fn body_text(&mut self, content: &[u8]) -> usize {
        if !self.frames.has_boundary() {
            self.leaf_octets(content, self.offset);
            return content.len();
        }
        if self.leaf.held == LineEnd::Return {
            if content.first() == Some(&b'\n') {
                self.leaf.held = LineEnd::ReturnFeed;
                self.place = Place::BodyLine;
                return 1;
            }
            self.release_line_end(self.offset);
        }
        // Lines that are no delimiters go to the leaf together.
        let mut from = 0;
        while let Some(feed) = memchr(b'\n', &content[from..]) {
            from += feed + 1;
            let line = &content[from..];
            let is_text = match line.first() {
                Some(b'-') => self.is_text_with_dash(line),
                other => other.is_some(),
            };
            if !is_text {
                self.place = Place::BodyLine;
                break;
            }
        }
        let taken = if self.place == Place::BodyLine { from } else { content.len() };
        let (text, end) = LineEnd::split(&content[..taken]);
        self.leaf_octets(text, self.offset);
        self.leaf.held = end;
        taken
    }

    /// Whether a line that begins with a dash is surely text, as far as `content` tells.
    fn is_text_with_dash(&self, content: &[u8]) -> bool {
        match content.get(1) {
            None => return false,
            Some(b'-') => {}
            Some(_) => return true,
        }
        let most = &content[..content.len().min(LINE_HELD_OCTETS)];
        let end = memchr(b'\n', most).map(|at| at + 1);
        let is_whole = end.is_some() || most.len() == LINE_HELD_OCTETS;
        is_whole && self.frames.judge(&most[..end.unwrap_or(most.len())]) == Delimiter::No
    }

    /// A line of a body, or the first octets of one, that turned out to be text.
    fn text_line(&mut self, line: &[u8], start: u64) {
        self.release_line_end(start);
        let (text, end) = match self.frames.has_boundary() {
            true => LineEnd::split(line),
            false => (line, LineEnd::None),
        };
        self.leaf_octets(text, start);
        self.leaf.held = end;
        self.place = if line.ends_with(b"\n") { Place::BodyLine } else { Place::BodyText };
    }

    pub(super) fn maybe_delimiter(&mut self, content: &[u8], in_header: bool) -> usize {
        let room = content.len().min(self.line.room());
        let end = memchr(b'\n', &content[..room]).map(|at| at + 1);
        let taken = end.unwrap_or(room);
        self.line.hold(&content[..taken]);
        let one_dash = self.line.octets().get(1).is_some_and(|octet| *octet != b'-');
        if end.is_some() || one_dash || self.line.room() == 0 {
            self.judge_delimiter(in_header, self.offset + taken as u64);
        }
        taken
    }

    /// Enough is held of a line that begins with a dash; `behind` is the offset behind it.
    fn judge_delimiter(&mut self, in_header: bool, behind: u64) {
        let (octets, length) = self.line.take();
        let line = &octets[..length];
        let judged = self.frames.judge(line);
        if judged == Delimiter::Nearly {
            self.tag(Tags::MIME_AMBIGUOUS);
        }
        match judged {
            Delimiter::Of { frame, close } => {
                if in_header {
                    let start = behind - length as u64;
                    self.cut_off_header(start);
                    self.extra_catches_up(line, start);
                    if self.place == Place::Opaque {
                        return;
                    }
                }
                let mut end =
                    DelimiterEnd { frame, close, octets: 0, octets_to_last: 0, last: [0; 2] };
                end.add(line);
                self.place = Place::DelimiterEnd(end);
                if line.ends_with(b"\n") {
                    self.delimiter(end, behind);
                }
            }
            _ if in_header => self.header_line_with_dash(line, behind),
            _ => self.text_line(line, behind - length as u64),
        }
    }

    /// A line where a header field could stand begins with a dash and is no delimiter: it is read
    /// as any header line, from its second octet on.
    fn header_line_with_dash(&mut self, line: &[u8], behind: u64) {
        self.place = Place::HeaderLine;
        let (dash, rest) = line.split_at(1.min(line.len()));
        self.extra_catches_up(dash, behind - line.len() as u64);
        self.line.hold(dash);
        self.read_again(rest, behind);
    }

    /// Reads octets that were held, now that the place is known at which they stand. This may be
    /// entered again from within, at most twice: a line is held in a header, then in the header of
    /// the message that begins in its stead, and then it is text.
    pub(super) fn read_again(&mut self, held: &[u8], behind: u64) {
        let reached = self.offset;
        let mut rest = held;
        while !rest.is_empty() {
            self.offset = behind - rest.len() as u64;
            let taken = self.step(rest);
            self.read_once_more(&rest[..taken]);
            rest = &rest[taken..];
        }
        self.offset = reached;
    }

    pub(super) fn delimiter_end(&mut self, content: &[u8], mut end: DelimiterEnd) -> usize {
        let feed = memchr(b'\n', content).map(|at| at + 1);
        let taken = feed.unwrap_or(content.len());
        end.add(&content[..taken]);
        self.place = Place::DelimiterEnd(end);
        if feed.is_some() {
            self.delimiter(end, self.offset + taken as u64);
        }
        taken
    }

    /// A delimiter line is complete: parts end, and unless it closes the last one, one begins.
    fn delimiter(&mut self, end: DelimiterEnd, behind: u64) {
        self.leaf.held = LineEnd::None;
        self.end_leaf();
        self.end_parts_to(self.frames.kept_by(end.frame));
        if let Some(extra) = &mut self.extra
            && self.frames.frames.len() <= extra.frames
        {
            extra.end = Some(behind);
        }
        let Some(frame) = self.frames.frames.get_mut(end.frame) else { return };
        let reopened = frame.closed;
        frame.closed =
            end.close || frame.boundary.is_some_and(|boundary| closes_cut(boundary, &end));
        if frame.closed {
            self.place = Place::BodyLine;
            return;
        }
        let default = if frame.digest { &MediaType::MESSAGE } else { &MediaType::TEXT_PLAIN };
        if reopened {
            // RFC 2046 5.1.1 has what follows a close delimiter ignored; not all clients do.
            self.tag(Tags::MIME_AMBIGUOUS);
        }
        self.begin_part(default, false);
    }

    /// The content has ended: lines that were held are judged, and open parts end.
    pub(super) fn end_of_content(&mut self) {
        loop {
            match self.place {
                Place::HeaderLine | Place::FieldValue | Place::MailboxLine => {
                    self.end_header_at_end();
                }
                Place::MaybeDelimiter { in_header } => self.judge_delimiter(in_header, self.offset),
                Place::DelimiterEnd(end) => self.delimiter(end, self.offset),
                Place::BodyLine | Place::BodyText => {
                    self.release_line_end(self.offset);
                    break;
                }
                Place::Opaque => break,
            }
        }
        self.end_leaf();
        self.end_parts_to(0);
        self.end_extra();
    }

    fn end_leaf(&mut self) {
        let Some(mut reading) = self.leaf.reading.take() else { return };
        let mut views = std::mem::take(&mut self.leaf.views);
        reading.finish(&mut self.sink(&mut views));
        self.watch.part_ends(reading.part);
    }

    fn end_parts_to(&mut self, kept: usize) {
        while self.frames.frames.len() > kept {
            match self.frames.pop() {
                Some(frame) if !frame.twin => self.watch.part_ends(frame.part),
                _ => {}
            }
        }
    }

    /// Gives the held line end to the leaf. `behind` is the offset behind it.
    fn release_line_end(&mut self, behind: u64) {
        let held = std::mem::take(&mut self.leaf.held).octets();
        if !held.is_empty() {
            self.leaf_octets(held, behind - held.len() as u64);
        }
    }

    fn leaf_octets(&mut self, octets: &[u8], start: u64) {
        let Scanner { leaf, rules, matches, findings, in_leaves, in_visible, watch, .. } = self;
        let Some(reading) = &mut leaf.reading else { return };
        if octets.is_empty() {
            return;
        }
        let (asked, beside, views) = (&mut self.asked, &mut self.beside, &mut leaf.views);
        reading.read(
            octets,
            start,
            &mut Sink {
                rules,
                matches,
                findings,
                in_leaves,
                in_visible,
                asked,
                views,
                beside,
                watch,
            },
        );
    }

    /// What a reading asks and reports to, when it is taken out of the scanner.
    fn sink<'a>(&'a mut self, views: &'a mut Views) -> Sink<'a, W> {
        Sink {
            rules: &self.rules,
            matches: &mut self.matches,
            findings: &mut self.findings,
            in_leaves: &mut self.in_leaves,
            in_visible: &mut self.in_visible,
            asked: &mut self.asked,
            views,
            beside: &mut self.beside,
            watch: &mut self.watch,
        }
    }

    // ---- second readings --------------------------------------------------------------------

    fn begin_extra(&mut self, encoding: Encoding, start: u64) {
        if self.extra.is_some() {
            return;
        }
        let reading = Reading::new(encoding, &self.rules, Stream::Extra, self.part());
        let frames = self.frames.frames.len();
        self.extra = Some(Extra { reading, next: start, frames, end: None });
    }

    /// Gives octets that begin at the offset reached to the second reading, if there is one.
    pub(super) fn read_once_more(&mut self, octets: &[u8]) {
        if self.extra.is_some() {
            self.extra_catches_up(octets, self.offset);
        }
    }

    /// Gives the second reading what it does not have yet of octets that begin at `start`.
    fn extra_catches_up(&mut self, octets: &[u8], start: u64) {
        let Some(mut extra) = self.extra.take() else { return };
        let behind = start + octets.len() as u64;
        let to = extra.end.unwrap_or(behind).min(behind);
        let from = extra.next.max(start);
        if from < to {
            let octets = &octets[(from - start) as usize..(to - start) as usize];
            extra.reading.read(octets, from, &mut self.sink(&mut Views::default()));
            extra.next = to;
        }
        let is_over = extra.end.is_some_and(|end| end <= behind);
        self.extra = Some(extra);
        if is_over {
            self.end_extra();
        }
    }

    fn end_extra(&mut self) {
        let Some(mut extra) = self.extra.take() else { return };
        extra.reading.finish(&mut self.sink(&mut Views::default()));
    }
}

/// Whether a delimiter line of a boundary that is not kept in full is its close delimiter.
fn closes_cut(boundary: Boundary, end: &DelimiterEnd) -> bool {
    debug_assert!(boundary.octets().len() <= BOUNDARY_OCTETS);
    boundary.is_cut()
        && end.octets_to_last == boundary.octets_in_full().saturating_add(4)
        && end.last == *b"--"
}
