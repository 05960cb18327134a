//! What rules see of a complete header field: encoded words undone, addresses bared, names joined.
//!
//! A value is short and there as a whole, so each view of it is made in scratch memory and searched
//! at once. All views that mail clients may have are searched.

use super::content_type::ContentType;
use super::header::Field;
use super::links::{Found, Links};
use super::names::{self, Room};
use super::scratch::{self, Scratch, Search};
use super::windows::Asked;
use super::{Findings, Hit, Matches, Rules, Scanner, Score, Stream, Surface, Tags, Watch};
use super::{mailboxes, words};
use memchr::memmem;

impl<W: Watch> Scanner<W> {
    /// Whether some rule looks at a field of this header block, beyond its raw octets.
    pub(super) fn is_asked_for(&self, field: Field, named: Option<u8>) -> bool {
        let own = self.part() == 0;
        let asked = match field {
            // How many senders there are is always told.
            Field::From => own,
            Field::Results => own && !self.own_ids.is_empty(),
            Field::Disposition => self.rules.ask(Surface::Name),
            _ => own && surface_of(field).is_some_and(|surface| self.rules.ask(surface)),
        };
        asked || named.is_some() || self.rules.ask(Surface::Header)
    }

    /// Looks at the unfolded value of a field that begins at the content offset `start`.
    pub(super) fn look_at_field(
        &mut self,
        field: Field,
        named: Option<u8>,
        value: &[u8],
        start: u64,
    ) {
        let part = self.part();
        let own = part == 0;
        let Scanner { rules, matches, findings, asked, .. } = self;
        scratch::with(|Scratch { plain, text, other, search, .. }| {
            let mut view = View { rules, matches, findings, search, asked, part, start };
            text.clear();
            if memmem::find(value, b"=?").is_some()
                && words::undo(value, plain, text).unknown_charset
            {
                view.findings.add(Tags::CHARSET_UNKNOWN, Score::ZERO);
            }
            let forms = if text.is_empty() { [value, b""] } else { [value, text] };
            if let Some(surface) = surface_of(field).filter(|_| own) {
                forms.iter().for_each(|form| view.look(surface, form));
            }
            if named.is_some() {
                forms.iter().for_each(|form| view.look_named(named, form));
            }
            view.look_at_header(forms);
            match field {
                Field::From | Field::Sender | Field::To | Field::ReplyTo if own => {
                    other.clear();
                    let mailboxes = mailboxes::bare(value, other);
                    let has_nul = forms[1].contains(&0);
                    if field == Field::From && (mailboxes != Some(1) || has_nul) {
                        view.findings.add(Tags::FROM_AMBIGUOUS, Score::ZERO);
                    }
                    if !forms[1].is_empty() {
                        other.clear();
                        mailboxes::bare(forms[1], other);
                    }
                    surface_of(field).into_iter().for_each(|surface| view.look(surface, other));
                }
                Field::ContentType => {
                    view.look(Surface::Type, ContentType::read(value).media_type.octets());
                    view.look_at_names(value, b"name", &mut Room { plain, name: text, other });
                }
                Field::Disposition => {
                    view.look_at_names(value, b"filename", &mut Room { plain, name: text, other });
                }
                _ => {}
            }
        });
    }

    /// The message has ended: it should have named one sender.
    pub(super) fn count_senders(&mut self) {
        if self.from_fields != 1 {
            self.tag(Tags::FROM_AMBIGUOUS);
        }
    }
}

/// The surface that a field of the message's own header is.
fn surface_of(field: Field) -> Option<Surface> {
    match field {
        Field::Subject => Some(Surface::Subject),
        Field::From | Field::Sender => Some(Surface::From),
        Field::To => Some(Surface::To),
        Field::ReplyTo => Some(Surface::ReplyTo),
        _ => None,
    }
}

/// Looks at what is made of one field.
struct View<'a> {
    rules: &'a Rules,
    matches: &'a mut Matches,
    findings: &'a mut Findings,
    search: &'a mut Search,
    asked: &'a mut Asked,
    part: u32,
    start: u64,
}

impl View<'_> {
    fn look(&mut self, surface: Surface, octets: &[u8]) {
        if self.rules.ask(surface) {
            let rules = self.rules;
            self.look_for(surface, octets, |rule| rules.asks(rule, surface), true);
        }
    }

    fn look_named(&mut self, named: Option<u8>, octets: &[u8]) {
        let rules = self.rules;
        let names = |rule| named.is_some_and(|named| rules.names_field(rule, named));
        let asks = |rule| rules.asks(rule, Surface::Field) && names(rule);
        self.look_for(Surface::Field, octets, asks, true);
    }

    /// The raw octets of a header are searched as they come, but for expressions, which see fields.
    fn look_at_header(&mut self, [value, undone]: [&[u8]; 2]) {
        let rules = self.rules;
        if rules.ask(Surface::Header) {
            let asks = |rule| rules.asks(rule, Surface::Header);
            if rules.have_regexes() {
                self.look_for(Surface::Header, value, asks, false);
            }
            self.look_for(Surface::Header, undone, asks, true);
        }
    }

    fn look_for(
        &mut self,
        surface: Surface,
        octets: &[u8],
        asks: impl Fn(u16) -> bool,
        literals_too: bool,
    ) {
        let View { rules, matches, findings, search, asked, part, start } = self;
        if octets.is_empty() {
            return;
        }
        findings.charge(octets.len() as u64);
        rules.look_at_whole(octets, search, asked, &asks, |rule, place| {
            let counts = literals_too || place.is_none();
            if counts && matches.first(Stream::Fields, rule) {
                findings.note(Hit { rule, surface, part: *part, offset: *start });
            }
        });
        if !rules.ask_hosts() || !literals_too {
            return;
        }
        let (mut links, mut looked) = (Links::default(), octets.len());
        let mut look_up = |found: Found<'_>| {
            rules.look_up(found.what, asked, |rule| {
                if asks(rule) && matches.first(Stream::Fields, rule) {
                    findings.note(Hit { rule, surface, part: *part, offset: *start });
                }
            });
        };
        looked += links.read(octets, &mut look_up) + links.finish(&mut look_up);
        findings.charge(looked as u64);
    }

    fn look_at_names(&mut self, value: &[u8], key: &[u8], room: &mut Room<'_>) {
        if !self.rules.ask(Surface::Name) {
            return;
        }
        let clear = names::readings(value, key, room, |name| self.look(Surface::Name, name));
        if !clear {
            self.findings.add(Tags::MIME_AMBIGUOUS, Score::ZERO);
        }
    }
}
