//! Header blocks: fields, foldings, and where the block ends.
//!
//! A line is held until its colon is seen. Only the values that say how a body is to be read are
//! kept; all others pass by. A block ends at its first empty line, and at the first line that cannot
//! be a field, which is then the first line of the body.

use super::content_type::{ContentType, Encoding, MediaType, read_encoding};
use super::literals::WalkState;
use super::{Hit, Place, Scanner, Stream, Surface, Tags, Watch, scratch};
use crate::limits::{
    HEADER_BLOCK_OCTETS, HEADER_FIELD_OCTETS, HEADER_FIELDS_MAX, LINE_HELD_OCTETS,
};
use memchr::{memchr, memchr2};

/// Memory for a value to begin with; a longer one takes more, which is kept for the next message.
pub(super) const VALUE_OCTETS_AT_REST: usize = 256;

/// The header block that is being read, and what it has said.
#[derive(Debug)]
pub(super) struct HeaderBlock {
    /// It is the header of a message, not of a part of a multipart.
    pub(super) of_message: bool,
    field: Option<Open>,
    /// The name of the field as written, for watchers.
    name: [u8; LINE_HELD_OCTETS],
    name_length: u8,
    /// The value of a field that is kept, unfolded.
    pub(super) value: Vec<u8>,
    fields: u32,
    octets: u64,
    walk: WalkState,
    pub(super) said: Said,
}

/// What a header block says of its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// The type of a part that says none.
    pub default_type: &'static MediaType,
    pub content_type: Option<ContentType>,
    pub encoding: Option<Encoding>,
    /// An encoding that another field names, which some clients may take.
    pub other_encoding: Option<Encoding>,
}

impl Said {
    fn nothing(default_type: &'static MediaType) -> Said {
        Said { default_type, content_type: None, encoding: None, other_encoding: None }
    }
}

impl Default for HeaderBlock {
    fn default() -> HeaderBlock {
        HeaderBlock {
            of_message: false,
            field: None,
            name: [0; LINE_HELD_OCTETS],
            name_length: 0,
            value: Vec::with_capacity(VALUE_OCTETS_AT_REST),
            fields: 0,
            octets: 0,
            walk: WalkState::default(),
            said: Said::nothing(&MediaType::TEXT_PLAIN),
        }
    }
}

/// A field by what the scanner does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    ContentType,
    TransferEncoding,
    Disposition,
    Subject,
    From,
    Sender,
    To,
    ReplyTo,
    Received,
    Results,
    Other,
}

impl Field {
    fn of_name(name: &[u8]) -> Field {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"to") || is(b"cc") => Field::To,
            4 if is(b"from") => Field::From,
            6 if is(b"sender") => Field::Sender,
            7 if is(b"subject") => Field::Subject,
            8 if is(b"received") => Field::Received,
            8 if is(b"reply-to") => Field::ReplyTo,
            12 if is(b"content-type") => Field::ContentType,
            19 if is(b"content-disposition") => Field::Disposition,
            22 if is(b"authentication-results") => Field::Results,
            25 if is(b"content-transfer-encoding") => Field::TransferEncoding,
            _ => Field::Other,
        }
    }

    /// Whether it says how to read the body.
    fn is_of_structure(self) -> bool {
        matches!(self, Field::ContentType | Field::TransferEncoding)
    }
}

/// The field that is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    field: Field,
    /// The number of its name, if rules name it.
    named: Option<u8>,
    /// Its value is kept.
    kept: bool,
    /// The content offset of its first octet, and that behind its last line so far.
    start: u64,
    end: u64,
}

impl<W: Watch> Scanner<W> {
    /// A header block begins: that of a message, or that of a part of a multipart.
    pub(super) fn begin_header(&mut self, default_type: &'static MediaType, of_message: bool) {
        self.place = Place::HeaderLine;
        let header = &mut self.header;
        header.of_message = of_message;
        header.field = None;
        header.value.clear();
        (header.fields, header.octets) = (0, 0);
        header.walk = self.rules.literals().start();
        header.said = Said::nothing(default_type);
        self.parts += 1;
    }

    /// The number of the part that is being read.
    pub(super) fn part(&self) -> u32 {
        self.parts.saturating_sub(1)
    }

    pub(super) fn header_line(&mut self, content: &[u8]) -> usize {
        if self.line.length() == 0 {
            match content.first() {
                // RFC 5322 2.2.3: a line that begins with white space goes on with the field.
                Some(b' ' | b'\t') if self.header.field.is_some() => {
                    self.place = Place::FieldValue;
                    return 0;
                }
                Some(b' ' | b'\t') => {
                    self.end_header_at_text(self.offset);
                    return 0;
                }
                Some(b'-') if self.frames.has_boundary() => {
                    self.place = Place::MaybeDelimiter { in_header: true };
                    return 0;
                }
                _ => {}
            }
        }
        let room = content.len().min(self.line.room());
        let end = memchr2(b':', b'\n', &content[..room]).map(|at| at + 1);
        let taken = end.unwrap_or(room);
        self.line.hold(&content[..taken]);
        if end.is_some() || self.line.room() == 0 {
            // The octets that were taken here lie behind the offset only after this step.
            self.judge_header_line(self.offset + taken as u64);
        }
        taken
    }

    /// The start of a line is known up to its colon, its end, or the room for it: what is it?
    /// `behind` is the content offset behind the held octets.
    fn judge_header_line(&mut self, behind: u64) {
        let (octets, length) = self.line.take();
        let line = &octets[..length];
        let start = behind - length as u64;
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        match text.strip_suffix(b":").map(trim_blanks_at_end) {
            None if text.is_empty() || text == b"\r" => {
                self.end_field();
                self.end_header(behind);
            }
            // RFC 5322 2.2: "A field name MUST be composed of printable US-ASCII characters (i.e.,
            // characters that have values between 33 and 126, inclusive), except colon."
            Some(name) if is_name(name) => self.begin_field(line, name, start),
            // A name longer than what is held is of no field that the scanner knows.
            None if text.len() == LINE_HELD_OCTETS && is_name(text) => {
                self.tag(Tags::MIME_AMBIGUOUS);
                self.begin_field(line, text, start);
            }
            _ if self.is_mailbox_line(line) => {
                let ended = text.len() < line.len();
                self.place = if ended { Place::HeaderLine } else { Place::MailboxLine };
            }
            _ => {
                self.end_header_at_text(start);
                self.read_again(line, behind);
            }
        }
    }

    /// RFC 4155 A: the line that separates messages in a mailbox file, here before the first field.
    fn is_mailbox_line(&self, line: &[u8]) -> bool {
        let first = self.header.fields == 0 && self.header.of_message;
        first && line.starts_with(b"From ")
    }

    pub(super) fn mailbox_line(&mut self, content: &[u8]) -> usize {
        let Some(end) = memchr(b'\n', content) else { return content.len() };
        self.place = Place::HeaderLine;
        end + 1
    }

    fn begin_field(&mut self, line: &[u8], name: &[u8], start: u64) {
        self.end_field();
        let field = Field::of_name(name);
        // RFC 5322 4.5: white space before the colon is obsolete syntax, which not every client
        // reads.
        if field.is_of_structure() && name.len() + 1 < line.len() {
            self.tag(Tags::MIME_AMBIGUOUS);
        }
        let own = self.part() == 0;
        let named = self.rules.field(name).filter(|_| own);
        let kept = field.is_of_structure() || self.is_asked_for(field, named);
        let header = &mut self.header;
        header.field = Some(Open { field, named, kept, start, end: start });
        header.name[..name.len()].copy_from_slice(name);
        header.name_length = name.len() as u8;
        header.fields = header.fields.saturating_add(1);
        if header.fields > HEADER_FIELDS_MAX {
            self.tag(Tags::HEADER_LIMIT);
        }
        match field {
            Field::Received if own => self.findings.count_received_field(),
            Field::From if own => self.from_fields = self.from_fields.saturating_add(1),
            _ => {}
        }
        self.place = Place::FieldValue;
        self.header_octets(line, start);
    }

    pub(super) fn field_value(&mut self, content: &[u8]) -> usize {
        let end = memchr(b'\n', content).map(|at| at + 1);
        let taken = &content[..end.unwrap_or(content.len())];
        if end.is_some() {
            self.place = Place::HeaderLine;
        }
        self.header_octets(taken, self.offset);
        if self.header.field.is_some_and(|open| open.kept) {
            self.keep_value(taken);
        }
        taken.len()
    }

    /// RFC 5322 2.2.3: unfolding removes the line ends and nothing else.
    fn keep_value(&mut self, octets: &[u8]) {
        let value = &mut self.header.value;
        for line in octets.split(|octet| matches!(octet, b'\r' | b'\n')) {
            let room = HEADER_FIELD_OCTETS - value.len();
            let taken = &line[..line.len().min(room)];
            // In powers of two, so that it never takes more than the limit.
            value.reserve_exact((value.len() + taken.len()).next_power_of_two() - value.len());
            value.extend_from_slice(taken);
            if line.len() > room {
                // Fields that are kept for their encoded words alone are searched as they came.
                let open = self.header.field;
                if open.is_some_and(|open| open.field != Field::Other || open.named.is_some()) {
                    self.findings.add(Tags::HEADER_LIMIT, super::Score::ZERO);
                }
                return;
            }
        }
    }

    /// The field that was open is complete.
    fn end_field(&mut self) {
        let Some(open) = self.header.field.take() else { return };
        let part = self.part();
        let value = std::mem::take(&mut self.header.value);
        let header = &mut self.header;
        let name = &header.name[..usize::from(header.name_length)];
        self.watch.header_field(part, name, open.kept.then_some(value.as_slice()));
        let clear = match open.field {
            Field::ContentType => header.said.add_content_type(ContentType::read(&value)),
            Field::TransferEncoding => header.said.add_encoding(read_encoding(&value)),
            _ => true,
        };
        if !clear {
            self.tag(Tags::MIME_AMBIGUOUS);
        }
        if open.field == Field::Results && part == 0 {
            self.look_at_results(&value, open.start..open.end);
        }
        if open.kept {
            self.look_at_field(open.field, open.named, &value, open.start);
        }
        self.header.value = value;
        self.header.value.clear();
    }

    /// The block ends in front of a line that is no field.
    fn end_header_at_text(&mut self, offset: u64) {
        self.end_field();
        self.tag(Tags::MIME_AMBIGUOUS);
        self.end_header(offset);
    }

    /// The content ends inside the block.
    pub(super) fn end_header_at_end(&mut self) {
        if self.line.length() > 0 && self.line.octets() != b"\r" {
            self.judge_header_line(self.offset);
        } else {
            self.line.clear();
            self.end_field();
            self.end_header(self.offset);
        }
    }

    /// A delimiter cuts the block off at `start`, and so the header of a message that would begin
    /// there.
    pub(super) fn cut_off_header(&mut self, start: u64) {
        self.place = Place::HeaderLine;
        while self.place == Place::HeaderLine {
            self.end_field();
            self.end_header(start);
        }
    }

    /// Octets of the block: counted, and walked for rules on headers.
    fn header_octets(&mut self, octets: &[u8], start: u64) {
        self.header.octets += octets.len() as u64;
        if let Some(open) = &mut self.header.field {
            open.end = start + octets.len() as u64;
        }
        if self.header.octets > HEADER_BLOCK_OCTETS {
            self.tag(Tags::HEADER_LIMIT);
        }
        if !self.rules.ask(Surface::Header) {
            return;
        }
        let part = self.part();
        self.findings.charge(octets.len() as u64);
        let Scanner { rules, header, matches, findings, .. } = self;
        scratch::with(|scratch| {
            rules.look(&mut header.walk, octets, &mut scratch.search, |rule, place| {
                if rules.asks(rule, Surface::Header) && matches.first(Stream::Header, rule) {
                    let (surface, offset) = (Surface::Header, start + place as u64);
                    findings.note(Hit { rule, surface, part, offset });
                }
            });
        });
    }
}

impl Said {
    /// Adds what a field says. False if clients may take one or the other.
    fn add_content_type(&mut self, read: ContentType) -> bool {
        let Some(before) = &mut self.content_type else {
            let clear = !read.ambiguous;
            self.content_type = Some(read);
            return clear;
        };
        // Of two types the one that has parts is followed, since the raw walk sees the other
        // reading; of two that have parts, the boundaries of both.
        let composite = |media_type: &MediaType| match media_type {
            one if one.is_multipart() => 2,
            one if one.is_message() => 1,
            _ => 0,
        };
        let (old, new) = (composite(&before.media_type), composite(&read.media_type));
        if new > old {
            *before = read;
        } else if new == old {
            read.boundaries.into_iter().flatten().for_each(|boundary| before.add(boundary));
        }
        false
    }

    fn add_encoding(&mut self, (encoding, ambiguous): (Encoding, bool)) -> bool {
        match self.encoding {
            None => {
                self.encoding = Some(encoding);
                !ambiguous
            }
            Some(first) => {
                // The raw walk covers the reading without an encoding.
                if first == Encoding::Identity {
                    self.encoding = Some(encoding);
                } else if encoding != first && encoding != Encoding::Identity {
                    self.other_encoding = Some(encoding);
                }
                false
            }
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|octet| matches!(octet, 33..=126) && *octet != b':')
}

fn trim_blanks_at_end(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|octet| !matches!(octet, b' ' | b'\t'));
    &name[..end.map_or(0, |end| end + 1)]
}
