//! The reading of a leaf: its transfer encoding undone, its text made visible, and both searched.
//!
//! Octets come in slices as large as they came from the wire. They are decoded a block at a time in
//! the scratch of the thread; a leaf that waits for more keeps a few states and no octets, but for
//! those that literals and expressions may still need.

use super::beside::{self, Beside, LeafPlace};
use super::charset::ToUtf8;
use super::content_type::{ContentType, Encoding};
use super::decode::{DECODED_STEP_OCTETS, Decoder};
use super::literals::WalkState;
use super::rules::Rules;
use super::scratch::{self, Scratch, Search};
use super::visible::Visible;
use super::windows::{Asked, Expressions};
use super::{Findings, Hit, Matches, Score, Stream, Surface, Tags, Watch};
use crate::limits::DECODE_STEP_OCTETS;

/// One way to read octets: with a decoder, and a walk of the decoded octets.
#[derive(Debug)]
pub(super) struct Reading {
    decoder: Decoder,
    walk: WalkState,
    stream: Stream,
    pub(super) part: u32,
    is_text: bool,
    /// The content offset at which it begins, and that behind what was read.
    start: u64,
    behind: u64,
}

/// What else is made of the octets of a leaf that is read, where rules ask for it.
#[derive(Debug, Default)]
pub(super) struct Views {
    shown: Option<Shown>,
}

/// The making visible of a text leaf, for rules that ask for it.
#[derive(Debug)]
struct Shown {
    to_utf8: ToUtf8,
    visible: Visible,
    walk: WalkState,
}

/// What a reading asks, and what it reports to.
pub(super) struct Sink<'a, W> {
    pub rules: &'a Rules,
    pub matches: &'a mut Matches,
    pub findings: &'a mut Findings,
    pub in_leaves: &'a mut Expressions,
    pub in_visible: &'a mut Expressions,
    /// What links are told.
    pub asked: &'a mut Asked,
    pub views: &'a mut Views,
    pub beside: &'a mut Beside,
    pub watch: &'a mut W,
}

impl Reading {
    pub(super) fn new(encoding: Encoding, rules: &Rules, stream: Stream, part: u32) -> Reading {
        Reading {
            decoder: Decoder::new(encoding),
            walk: rules.literals().start(),
            stream,
            part,
            is_text: true,
            start: 0,
            behind: 0,
        }
    }

    /// The reading of a leaf that begins at the content offset `start`.
    pub(super) fn of_leaf(
        encoding: Encoding,
        rules: &Rules,
        part: u32,
        content_type: &ContentType,
        start: u64,
    ) -> (Reading, Views) {
        let media_type = &content_type.media_type;
        let shown = (media_type.is_text() && rules.ask_visible()).then(|| Shown {
            to_utf8: ToUtf8::from_charset(content_type.charset),
            visible: Visible::new(media_type.is_html()),
            walk: rules.literals().start(),
        });
        let reading = Reading::new(encoding, rules, Stream::Leaf, part);
        let is_text = media_type.is_text();
        let reading = Reading { is_text, start, behind: start, ..reading };
        (reading, Views { shown })
    }

    pub(super) fn is_encoded(&self) -> bool {
        !matches!(self.decoder, Decoder::Identity)
    }

    /// Reads octets whose first one lies at the content offset `start`.
    pub(super) fn read<W: Watch>(&mut self, octets: &[u8], start: u64, sink: &mut Sink<'_, W>) {
        self.behind = start + octets.len() as u64;
        if !self.is_encoded() {
            scratch::with(|Scratch { text, search, .. }| {
                self.plain(octets, start, search, sink, |place| start + place as u64);
                self.read_beside(octets, search, sink);
                self.show(octets, text, search, sink);
            });
            return;
        }
        scratch::with(|Scratch { plain, again, text, search, .. }| {
            let mut start = start;
            for piece in octets.chunks(DECODE_STEP_OCTETS) {
                let before = self.decoder.clone();
                let length = self.decoder.step(piece, plain);
                let mut wire = WirePlaces { decoder: before, wire: piece, start, behind: 0, again };
                let plain = &plain[..length];
                self.plain(plain, start, search, sink, |place| wire.offset_of(place));
                self.read_beside(plain, search, sink);
                self.show(plain, text, search, sink);
                start += piece.len() as u64;
            }
        });
    }

    /// Gives decoded octets to what looks at leaves beside the literals and expressions.
    fn read_beside<W: Watch>(
        &mut self,
        octets: &[u8],
        search: &mut Search,
        sink: &mut Sink<'_, W>,
    ) {
        if self.stream == Stream::Leaf {
            beside::read(octets, self.is_text, self.place(), search, sink);
        }
    }

    fn place(&self) -> LeafPlace {
        LeafPlace { part: self.part, start: self.start }
    }

    /// Makes decoded octets visible, and looks at what is to be seen.
    fn show<W: Watch>(
        &mut self,
        octets: &[u8],
        text: &mut Vec<u8>,
        search: &mut Search,
        sink: &mut Sink<'_, W>,
    ) {
        // It is taken out while the rest of the sink is used.
        let Some(mut shown) = sink.views.shown.take() else { return };
        for block in octets.chunks(SHOWN_OCTETS) {
            text.clear();
            shown.to_utf8.convert(block, |utf8| {
                sink.watch.text(self.part, utf8);
                shown.visible.read(utf8, text);
            });
            shown.look((self.part, self.start), text, search, sink);
        }
        sink.views.shown = Some(shown);
    }

    /// The leaf has ended, and so what is visible of it.
    fn show_end<W: Watch>(
        &mut self,
        text: &mut Vec<u8>,
        search: &mut Search,
        sink: &mut Sink<'_, W>,
    ) {
        let Some(mut shown) = sink.views.shown.take() else { return };
        text.clear();
        shown.to_utf8.finish(|utf8| {
            sink.watch.text(self.part, utf8);
            shown.visible.read(utf8, text);
        });
        shown.visible.finish(text);
        shown.look((self.part, self.start), text, search, sink);
    }

    pub(super) fn finish<W: Watch>(&mut self, sink: &mut Sink<'_, W>) {
        scratch::with(|Scratch { plain, text, search, .. }| {
            let length = self.decoder.finish(plain);
            let last = self.behind.saturating_sub(1);
            self.plain(&plain[..length], last, search, sink, |_| last);
            self.read_beside(&plain[..length], search, sink);
            if self.stream == Stream::Leaf {
                beside::finish(self.place(), search, sink);
            }
            self.show(&plain[..length], text, search, sink);
            self.show_end(text, search, sink);
        });
        if self.stream == Stream::Leaf {
            self.look_at_end(sink);
        }
        if self.decoder.dirty() && self.stream == Stream::Leaf {
            sink.findings.add(Tags::DECODE_DIRTY, Score::ZERO);
        }
    }

    /// Decoded octets, of content that begins at `from`. `offset_of` tells on which content octet one
    /// of them was complete; it is asked for places in their order.
    #[inline]
    fn plain<W: Watch>(
        &mut self,
        octets: &[u8],
        from: u64,
        search: &mut Search,
        sink: &mut Sink<'_, W>,
        mut offset_of: impl FnMut(usize) -> u64,
    ) {
        if self.stream == Stream::Leaf && !octets.is_empty() {
            sink.watch.decoded(self.part, octets);
        }
        sink.findings.charge(octets.len() as u64);
        if !sink.rules.ask_decoded(self.is_encoded(), self.is_text) {
            return;
        }
        let (stream, part, is_text) = (self.stream, self.part, self.is_text);
        let Sink { rules, matches, findings, in_leaves, .. } = sink;
        let surface_for = |rule| surface_of_leaf(rules, is_text, rule);
        // A decoded octet takes at least one of content, but for the few that were held back.
        let least = |place: usize| {
            from + place.saturating_sub(DECODED_STEP_OCTETS - DECODE_STEP_OCTETS) as u64
        };
        if self.stream == Stream::Leaf {
            let asks = |rule| surface_for(rule).is_some();
            let start = self.start;
            rules.look_in_windows(
                &mut self.walk,
                in_leaves,
                octets,
                search,
                asks,
                |rule, place| {
                    let Some(surface) = surface_for(rule) else { return };
                    let stream = place.map_or(Stream::LeafExpressions, |_| Stream::Leaf);
                    if matches.first(stream, rule) && findings.may_note(place.map_or(start, least))
                    {
                        let offset = place.map_or(start, &mut offset_of);
                        findings.note(Hit { rule, surface, part, offset });
                    }
                },
            );
        } else {
            rules.look(&mut self.walk, octets, search, |rule, place| {
                let Some(surface) = surface_for(rule) else { return };
                if matches.first(stream, rule) && findings.may_note(least(place)) {
                    findings.note(Hit { rule, surface, part, offset: offset_of(place) });
                }
            });
        }
    }

    /// The leaf has ended: expressions see what is left of it.
    fn look_at_end<W: Watch>(&mut self, sink: &mut Sink<'_, W>) {
        let (part, offset, is_text) = (self.part, self.start, self.is_text);
        let Sink { rules, matches, findings, in_leaves, in_visible, .. } = sink;
        let surface_for = |rule| surface_of_leaf(rules, is_text, rule);
        rules.look_at_end(
            in_leaves,
            |rule| surface_for(rule).is_some(),
            |rule| {
                let surface = surface_for(rule).unwrap_or(Surface::Part);
                if matches.first(Stream::LeafExpressions, rule) {
                    findings.note(Hit { rule, surface, part, offset });
                }
            },
        );
        rules.look_at_end(
            in_visible,
            |rule| asks_visible(rules, rule),
            |rule| {
                if matches.first(Stream::VisibleExpressions, rule) {
                    findings.note(Hit { rule, surface: Surface::Visible, part, offset });
                }
            },
        );
    }
}

/// The surface as which a rule asks for a leaf, if it does.
fn surface_of_leaf(rules: &Rules, is_text: bool, rule: u16) -> Option<Surface> {
    match is_text {
        true if rules.asks(rule, Surface::Text) => Some(Surface::Text),
        _ => rules.asks(rule, Surface::Part).then_some(Surface::Part),
    }
}

pub(super) fn asks_visible(rules: &Rules, rule: u16) -> bool {
    rules.asks(rule, Surface::Visible) || rules.asks(rule, Surface::Text)
}

impl Shown {
    fn look<W: Watch>(
        &mut self,
        (part, offset): (u32, u64),
        text: &[u8],
        search: &mut Search,
        sink: &mut Sink<'_, W>,
    ) {
        let Sink { rules, matches, findings, in_visible, .. } = sink;
        findings.charge(text.len() as u64);
        let asks = |rule| asks_visible(rules, rule);
        rules.look_in_windows(&mut self.walk, in_visible, text, search, asks, |rule, place| {
            let stream = place.map_or(Stream::VisibleExpressions, |_| Stream::Visible);
            if asks(rule) && matches.first(stream, rule) {
                findings.note(Hit { rule, surface: Surface::Visible, part, offset });
            }
        });
    }
}

/// Finds the wire octets with which decoded octets were complete, by decoding a piece once more.
/// It goes on from place to place, so all that are asked for cost one more decoding of the piece,
/// and a rule asks once a message.
struct WirePlaces<'a> {
    decoder: Decoder,
    wire: &'a [u8],
    start: u64,
    /// Decoded octets behind.
    behind: usize,
    /// Room for those that are decoded again.
    again: &'a mut [u8; DECODED_STEP_OCTETS],
}

/// Octets that are made visible at once: what becomes of them, three times as many at most, is then
/// still near.
const SHOWN_OCTETS: usize = 8 * 1024;

/// Octets that are decoded at once while a place is looked for: fewer the nearer it is.
const LOOKED_THROUGH_OCTETS: [usize; 4] = [256, 32, 4, 1];

impl WirePlaces<'_> {
    fn offset_of(&mut self, plain_place: usize) -> u64 {
        for octets in LOOKED_THROUGH_OCTETS {
            while self.behind <= plain_place && !self.wire.is_empty() {
                let taken = self.wire.len().min(octets);
                let before = self.decoder.clone();
                let came = self.decoder.step(&self.wire[..taken], self.again);
                if self.behind + came > plain_place && taken > 1 {
                    self.decoder = before;
                    break;
                }
                self.behind += came;
                self.wire = &self.wire[taken..];
                self.start += taken as u64;
            }
        }
        self.start.saturating_sub(1)
    }
}
