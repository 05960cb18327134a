//! The one pass: content octets in, in any cut; a set of findings out.
//!
//! A [`Scanner`] belongs to one message. It takes un-stuffed content as it arrives, follows header
//! fields and the MIME structure, undoes base64 and quoted-printable, and runs the literals of the
//! [`Rules`] over raw and decoded octets with their state carried over every cut. What it found is a
//! [`Findings`]: tags with a score, and where they were found. It knows nothing of recipients.
//!
//! The octets go two ways. The raw walk takes them as they come. The reading of the structure
//! (`header`, then `structure`, then `leaf`) is a flat machine of `Place`s that can stop after
//! every octet: it looks for line ends, holds back at most the start of one line until it is known
//! what the line is, and never goes back.
//!
//! What a leaf holds is undone by `decode`, made text by `charset` and `utf7`, and what a reader sees of it
//! by `visible`. `beside` looks at the rest: `links` and their `hosts`, types (`sniff`), archives, digests.
//! All of them ask the rules, which `compile` makes: `literals` in one walk (`lanes`, or `grams` where
//! they are very many), and `regexes` in the `windows` around literals that they need. `cost` is the bound.

mod archive;
mod beside;
mod charset;
mod compile;
mod content_type;
mod cost;
mod decode;
mod digests;
mod fields;
mod findings;
mod frames;
mod grams;
mod header;
mod hosts;
mod lanes;
mod leaf;
mod lent;
mod links;
mod literals;
mod mailboxes;
mod names;
mod rarity;
mod regexes;
mod results;
mod rule_error;
mod rules;
mod scratch;
mod sixteen;
mod sniff;
mod structure;
mod unpacked;
mod utf7;
mod visible;
mod windows;
mod words;

pub use content_type::{Encoding, MediaType};
pub use cost::{Cost, Tables};
pub use findings::{Findings, Hit, Score, Surface, TagId, TagSet, Tags};
pub(crate) use hosts::looked_up_as;
pub use lent::LentScanner;
pub use rule_error::RuleError;
pub use rules::{Condition, RuleSpec, Rules};

use crate::limits::LINE_HELD_OCTETS;
use beside::Beside;
use frames::Frames;
use header::HeaderBlock;
use literals::WalkState;
use rules::{DECODED, VISIBLE};
use std::cell::Cell;
use std::sync::Arc;
use structure::{Extra, Leaf};
use windows::{Asked, Expressions};

/// The scan of one message.
///
/// ```
/// use postern::scan::{RuleSpec, Rules, Scanner, Surface, Tags};
/// use std::sync::Arc;
///
/// let rule = RuleSpec {
///     name: "greeting".into(),
///     literals: vec![b"hello".to_vec()],
///     surfaces: vec![Surface::Text],
///     tag: "polite".into(),
///     ..RuleSpec::default()
/// };
/// let rules = Arc::new(Rules::compile(Tags::new(), &[rule])?);
/// let polite = rules.tags().find("polite");
/// let mut scanner = Scanner::new(rules);
/// scanner.feed(b"Content-Transfer-Encoding: base64\r\n\r\naGVs");
/// scanner.feed(b"bG8=\r\n");
/// assert!(polite.is_some_and(|polite| scanner.finish().has(polite)));
/// # Ok::<(), postern::scan::RuleError>(())
/// ```
///
/// It is linear in the octets, does not recurse with them, and holds a bounded state whatever comes. The same
/// octets give the same findings in every cut.
#[derive(Debug)]
pub struct Scanner<W: Watch = Unwatched> {
    rules: Arc<Rules>,
    watch: W,
    findings: Findings,
    matches: Matches,
    /// Content octets that the reading of the structure has behind it.
    offset: u64,
    raw: WalkState,
    place: Place,
    line: HeldLine,
    header: HeaderBlock,
    leaf: Leaf,
    frames: Frames,
    extra: Option<Extra>,
    /// Parts begun, the message itself counted.
    parts: u32,
    /// `From` fields of the message's own header.
    from_fields: u32,
    /// Expressions on header fields, on leaves, and on what is visible of them.
    asked: Asked,
    in_leaves: Expressions,
    in_visible: Expressions,
    beside: Beside,
    /// Who we are in `Authentication-Results` fields.
    own_ids: Arc<[String]>,
}

/// Where the reading of the structure stands. Each is a state in which any octet may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the start of a header line, or in its name; the line so far is held.
    HeaderLine,
    /// Behind the colon of a field, or in a continuation line of it.
    FieldValue,
    /// In the `From ` line that a mailbox puts before a message.
    MailboxLine,
    /// At the start of a line of a body.
    BodyLine,
    /// In a line of a body that is no delimiter.
    BodyText,
    /// In a line that begins with a dash and may be a delimiter; it is held.
    MaybeDelimiter {
        /// The line stands where a header field could.
        in_header: bool,
    },
    /// In what is left of a delimiter line.
    DelimiterEnd(structure::DelimiterEnd),
    /// Past a limit: raw octets only.
    Opaque,
}

impl Scanner {
    /// A scanner at the start of a message.
    pub fn new(rules: Arc<Rules>) -> Scanner {
        Scanner::watched(rules, Unwatched)
    }
}

impl<W: Watch> Scanner<W> {
    /// A scanner that also tells `watch` of the structure.
    pub fn watched(rules: Arc<Rules>, watch: W) -> Scanner<W> {
        let mut scanner = Scanner {
            watch,
            findings: Findings::default(),
            matches: Matches::default(),
            offset: 0,
            raw: WalkState::default(),
            place: Place::HeaderLine,
            line: HeldLine::default(),
            header: HeaderBlock::default(),
            leaf: Leaf::default(),
            frames: Frames::default(),
            extra: None,
            parts: 0,
            from_fields: 0,
            asked: Asked::default(),
            in_leaves: Expressions::default(),
            in_visible: Expressions::default(),
            beside: Beside::default(),
            own_ids: Arc::default(),
            rules,
        };
        scanner.begin();
        scanner
    }

    /// Before the first octet: `Authentication-Results` fields of these are ours alone to write. Those that
    /// come with the message are [`Findings::left_out`].
    pub fn claim(&mut self, authserv_ids: Arc<[String]>) {
        self.own_ids = authserv_ids;
    }

    /// Takes the next content octets: un-stuffed, in any cut, with CRLF or bare LF line ends.
    pub fn feed(&mut self, content: &[u8]) {
        self.findings.charge(content.len() as u64);
        FED.set(FED.get() + content.len() as u64);
        if self.rules.ask(Surface::Raw) {
            let Scanner { rules, raw, matches, findings, offset, .. } = self;
            scratch::with(|scratch| {
                rules.look(raw, content, &mut scratch.search, |rule, place| {
                    if rules.asks(rule, Surface::Raw) && matches.first(Stream::Raw, rule) {
                        let (surface, offset) = (Surface::Raw, *offset + place as u64);
                        findings.note(Hit { rule, surface, part: 0, offset });
                    }
                });
            });
        }
        let mut rest = content;
        while !rest.is_empty() {
            let before = (self.place, self.parts);
            let taken = self.step(rest);
            debug_assert!(taken > 0 || (self.place, self.parts) != before, "stuck at {before:?}");
            self.read_once_more(&rest[..taken]);
            self.offset += taken as u64;
            rest = &rest[taken..];
        }
        self.check_invariants();
    }

    /// The message has ended: gives its findings and is ready for [`Scanner::reset`].
    pub fn finish(&mut self) -> Findings {
        self.end_of_content();
        self.count_senders();
        let beside = &self.beside.asked;
        for asked in [&self.asked, &self.in_leaves.asked, &self.in_visible.asked, beside] {
            self.findings.charge(asked.units());
            if asked.is_spent {
                self.findings.add(Tags::BUDGET_SPENT, Score::ZERO);
            }
        }
        let mut findings = std::mem::take(&mut self.findings);
        // Tags and scores are added in the order of the rules, not of their hits, so that they do
        // not depend on which surface was walked first.
        for (rule, found) in self.rules.rules().iter().zip(self.matches.on_any_stream()) {
            if !rule.holds(found, findings.tags()) {
                continue;
            }
            if rule.observe {
                findings.observe(rule.tag);
            } else {
                findings.add(rule.tag, rule.score);
            }
        }
        findings
    }

    /// Begins another message, with these rules, in the memory of the last one.
    pub fn reset(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        self.findings = Findings::default();
        self.own_ids = Arc::default();
        self.begin();
    }

    /// Waits for [`Scanner::reset`] with these rules instead of its own.
    fn rest(&mut self, rules: Arc<Rules>) {
        self.beside.rest();
        self.rules = rules;
    }

    /// What watches the scan.
    pub fn watch(&self) -> &W {
        &self.watch
    }

    /// Ends the scanner and gives back what watched it.
    pub fn into_watch(self) -> W {
        self.watch
    }

    fn begin(&mut self) {
        self.matches.clear(self.rules.rules().len());
        self.offset = 0;
        self.raw = self.rules.literals().start();
        self.frames.clear();
        self.extra = None;
        self.parts = 0;
        self.from_fields = 0;
        self.asked = Asked::default();
        self.in_leaves.begin(self.rules.express(DECODED));
        self.in_visible.begin(self.rules.express(VISIBLE));
        self.beside.prepare(&self.rules);
        self.line.clear();
        self.begin_header(&MediaType::TEXT_PLAIN, true);
    }

    /// Goes on at the place reached. Returns how many octets were taken; none when only the place
    /// has changed.
    fn step(&mut self, content: &[u8]) -> usize {
        match self.place {
            Place::HeaderLine => self.header_line(content),
            Place::FieldValue => self.field_value(content),
            Place::MailboxLine => self.mailbox_line(content),
            Place::BodyLine => self.body_line(content),
            Place::BodyText => self.body_text(content),
            Place::MaybeDelimiter { in_header } => self.maybe_delimiter(content, in_header),
            Place::DelimiterEnd(end) => self.delimiter_end(content, end),
            Place::Opaque => content.len(),
        }
    }

    /// Puts in one of the scanner's own tags.
    fn tag(&mut self, tag: TagId) {
        self.findings.add(tag, Score::ZERO);
    }

    fn check_invariants(&self) {
        debug_assert!(self.line.length() <= LINE_HELD_OCTETS);
        debug_assert!(self.line.length() as u64 <= self.offset);
        debug_assert!(
            self.line.length() == 0
                || matches!(self.place, Place::HeaderLine | Place::MaybeDelimiter { .. })
        );
        self.frames.check_invariants();
    }
}

thread_local! {
    static FED: Cell<u64> = const { Cell::new(0) };
}

/// Octets that the scanners of this thread have been fed, all of them together.
///
/// No second look at a message escapes it, whichever scanner takes that look: so it shows that each
/// content octet is scanned once, whatever the number of recipients.
pub fn octets_fed() -> u64 {
    FED.get()
}

/// What a scan reports of the structure to those who want to see it: `postern scan`, and tests.
///
/// All methods do nothing unless they are given. Production scans are [`Unwatched`], which costs
/// nothing. Parts are numbered in document order; the message itself is part 0, and the message in
/// a `message/rfc822` part is a part of its own.
pub trait Watch {
    /// A part's header is read, and its body begins.
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        let _ = part;
    }

    /// Octets of a leaf, with its transfer encoding undone, in document order and in any cut.
    fn decoded(&mut self, part: u32, octets: &[u8]) {
        let _ = (part, octets);
    }

    /// Octets of a text leaf in UTF-8, with its markup, in any cut. They are made, and told, where
    /// rules ask for [`Surface::Visible`]. What names no set, UTF-8, or one that is not known is told
    /// as it is.
    fn text(&mut self, part: u32, utf8: &[u8]) {
        let _ = (part, utf8);
    }

    /// A part has ended.
    fn part_ends(&mut self, part: u32) {
        let _ = part;
    }

    /// A header field has ended. The value is given, unfolded and cut at a limit, for those fields
    /// that the scanner reads: `Content-Type` and `Content-Transfer-Encoding`.
    fn header_field(&mut self, part: u32, name: &[u8], value: Option<&[u8]>) {
        let _ = (part, name, value);
    }
}

/// What is known of a part when its body begins.
#[derive(Clone, Copy, Debug)]
pub struct PartBegins<'a> {
    /// The part's number.
    pub part: u32,
    /// How many parts it lies in.
    pub depth: usize,
    /// Its media type, whether written or supposed.
    pub media_type: &'a MediaType,
    /// The character set that it names: as the Encoding Standard calls it, `UTF-7`, or `unknown`.
    pub charset: Option<&'static str>,
    /// The encoding that is undone.
    pub encoding: Encoding,
    /// How it is read.
    pub kind: PartKind,
    /// The content octet at which its body begins.
    pub offset: u64,
}

/// How a part is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// As octets.
    Leaf,
    /// As parts between delimiters.
    Multipart,
    /// As a message with a header of its own.
    Message,
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwatched;

impl Watch for Unwatched {}

impl<W: Watch> Watch for &mut W {
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        W::part_begins(self, part);
    }

    fn decoded(&mut self, part: u32, octets: &[u8]) {
        W::decoded(self, part, octets);
    }

    fn text(&mut self, part: u32, utf8: &[u8]) {
        W::text(self, part, utf8);
    }

    fn part_ends(&mut self, part: u32) {
        W::part_ends(self, part);
    }

    fn header_field(&mut self, part: u32, name: &[u8], value: Option<&[u8]>) {
        W::header_field(self, part, name, value);
    }
}

/// The ways on which octets reach the tables. On each, octets come in the order of the message, so
/// that the first hit of a rule is the same in every cut; between them there is no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Raw,
    Header,
    /// What is made of header fields, and digests: what is told at once and in order.
    Fields,
    Leaf,
    Extra,
    Visible,
    /// What expressions find in leaves, and in what is visible of them: it is found later than what
    /// literals find in the same octets.
    LeafExpressions,
    VisibleExpressions,
    /// The links and hosts of leaves, and their types by their first octets: a place of each is not
    /// known, so they are noted at the leaf's start.
    Links,
    Sniffed,
    Entries,
    Unpacked,
}

const STREAMS: usize = 12;

/// Which rules have hit, a bit for each rule on each stream.
#[derive(Debug, Default)]
struct Matches {
    words: Vec<u64>,
    words_a_stream: usize,
}

impl Matches {
    fn clear(&mut self, rules: usize) {
        self.words_a_stream = rules.div_ceil(64);
        self.words.clear();
        self.words.resize(self.words_a_stream * STREAMS, 0);
    }

    /// Records a hit. True if it is the rule's first one on that stream.
    #[inline]
    fn first(&mut self, stream: Stream, rule: u16) -> bool {
        let (word, bit) = (usize::from(rule) / 64, 1u64 << (rule % 64));
        let word = &mut self.words[stream as usize * self.words_a_stream + word];
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// For each rule, whether it hit on some stream.
    fn on_any_stream(&self) -> impl Iterator<Item = bool> {
        let of_streams = |word| self.words[word..].iter().step_by(self.words_a_stream);
        (0..self.words_a_stream).flat_map(move |word| {
            let bits = of_streams(word).fold(0, |all, one| all | one);
            (0..u64::BITS).map(move |place| bits >> place & 1 != 0)
        })
    }
}

/// The start of a line that is held until it is known what the line is.
#[derive(Debug)]
struct HeldLine {
    octets: [u8; LINE_HELD_OCTETS],
    length: u8,
}

impl Default for HeldLine {
    fn default() -> HeldLine {
        HeldLine { octets: [0; LINE_HELD_OCTETS], length: 0 }
    }
}

impl HeldLine {
    fn length(&self) -> usize {
        usize::from(self.length)
    }

    fn octets(&self) -> &[u8] {
        &self.octets[..self.length()]
    }

    fn room(&self) -> usize {
        LINE_HELD_OCTETS - self.length()
    }

    fn clear(&mut self) {
        self.length = 0;
    }

    /// Holds as many of `octets` as there is room for.
    fn hold(&mut self, octets: &[u8]) {
        let from = self.length();
        let length = octets.len().min(self.room());
        self.octets[from..][..length].copy_from_slice(&octets[..length]);
        self.length += length as u8;
    }

    /// Takes the line out, so that it can be read while the scanner changes.
    fn take(&mut self) -> ([u8; LINE_HELD_OCTETS], usize) {
        let length = self.length();
        self.clear();
        (self.octets, length)
    }
}

#[cfg(test)]
mod tests;
