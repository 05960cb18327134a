//! What a scan found: a set of tags with a score, and where they were found.
//!
//! Tags from the content, from the envelope and (later) from authentication and outside scanners
//! look the same here: policy asks a finding set, never the scanner.

use crate::limits::{HITS_MAX, TAGS_MAX};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Range;

/// A tag, by its place in [`Tags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagId(pub(crate) u16);

/// The names of all tags that a configuration can give, each with its [`TagId`].
///
/// The scanner's own tags (such as `mime-limit`) come first and are always there.
#[derive(Clone, Debug)]
pub struct Tags {
    names: Vec<String>,
}

impl Tags {
    /// The part tree was deeper, or had more parts, than is followed; the rest was read raw.
    pub const MIME_LIMIT: TagId = TagId(0);
    /// The header block had more fields or octets than are followed; the rest was read as text.
    pub const HEADER_LIMIT: TagId = TagId(1);
    /// Mail clients may read the structure differently (two boundaries, two encodings, ...).
    pub const MIME_AMBIGUOUS: TagId = TagId(2);
    /// A base64 or quoted-printable body held octets that do not belong there.
    pub const DECODE_DIRTY: TagId = TagId(3);
    /// A fact that the verdict waits for had not come when its time was up.
    pub const SCAN_LATE: TagId = TagId(4);
    /// The message does not name exactly one sender in exactly one `From` field.
    pub const FROM_AMBIGUOUS: TagId = TagId(5);
    /// A text names a character set that is not known.
    pub const CHARSET_UNKNOWN: TagId = TagId(6);

    /// Expressions were not asked everywhere, since the work that a message may cost was spent.
    pub const BUDGET_SPENT: TagId = TagId(7);

    /// An entry of an archive is encrypted, or all of them.
    pub const ARCHIVE_ENCRYPTED: TagId = TagId(8);
    /// An archive would become far larger than it is, or its entries lie in one another.
    pub const ARCHIVE_BOMB: TagId = TagId(9);
    /// Readers of an archive may see different entries in it.
    pub const ARCHIVE_AMBIGUOUS: TagId = TagId(10);
    /// An archive is cut off, or holds a header that cannot be.
    pub const ARCHIVE_BROKEN: TagId = TagId(11);
    /// An archive has more entries, longer names, or more octets than are looked at.
    pub const ARCHIVE_LIMIT: TagId = TagId(12);
    /// The names in an archive are packed, and were not seen.
    pub const ARCHIVE_HIDDEN: TagId = TagId(13);
    /// An entry of an archive is an archive by its name.
    pub const ARCHIVE_NESTED: TagId = TagId(14);

    /// An archive, or something in one, is packed in a way that is not undone; or there was no memory
    /// to unpack it in.
    pub const ARCHIVE_UNREAD: TagId = TagId(15);
    /// Archives lie in one another deeper than they are unpacked.
    pub const ARCHIVE_DEPTH: TagId = TagId(16);

    /// An `Authentication-Results` field claims to be ours; it is left out (RFC 8601 5).
    pub const FORGED_AUTHENTICATION_RESULTS: TagId = TagId(17);

    /// The names of the scanner's own tags, in the order of the constants above.
    const OWN: [&'static str; 18] = [
        "mime-limit",
        "header-limit",
        "mime-ambiguous",
        "decode-dirty",
        "scan-late",
        "from-ambiguous",
        "charset-unknown",
        "scan-budget-spent",
        "archive-encrypted",
        "archive-bomb",
        "archive-ambiguous",
        "archive-broken",
        "archive-limit",
        "archive-hidden",
        "archive-nested",
        "archive-unread",
        "archive-depth",
        "forged-authentication-results",
    ];

    /// The scanner's own tags alone.
    pub fn new() -> Tags {
        Tags { names: Self::OWN.iter().map(|name| name.to_string()).collect() }
    }

    /// The id of `name`, which is added if it is new. `None` when [`TAGS_MAX`] are taken.
    pub fn intern(&mut self, name: &str) -> Option<TagId> {
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        if self.names.len() == TAGS_MAX {
            return None;
        }
        self.names.push(name.to_owned());
        self.find(name)
    }

    /// The id of `name`, if some rule or the scanner itself can give it.
    pub fn find(&self, name: &str) -> Option<TagId> {
        let index = self.names.iter().position(|known| known == name)?;
        u16::try_from(index).ok().map(TagId)
    }

    /// The name of a tag.
    pub fn name(&self, tag: TagId) -> &str {
        &self.names[usize::from(tag.0)]
    }

    /// All names, in the order of their ids.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

impl Default for Tags {
    fn default() -> Tags {
        Tags::new()
    }
}

/// A set of tags: fixed in size, so that a message allocates nothing for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TagSet {
    words: [u64; TAGS_MAX / 64],
}

impl TagSet {
    /// Puts a tag in. True if it was not in yet.
    pub fn insert(&mut self, tag: TagId) -> bool {
        let (word, bit) = (usize::from(tag.0) / 64, 1u64 << (tag.0 % 64));
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Whether a tag is in.
    pub fn has(&self, tag: TagId) -> bool {
        self.words[usize::from(tag.0) / 64] & (1u64 << (tag.0 % 64)) != 0
    }

    /// The tags in the set, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = TagId> + '_ {
        (0..TAGS_MAX as u16).map(TagId).filter(|tag| self.has(*tag))
    }

    /// How many tags are in.
    pub fn len(&self) -> usize {
        self.common(self)
    }

    /// How many tags are in both sets.
    pub fn common(&self, other: &TagSet) -> usize {
        let words = self.words.iter().zip(other.words);
        words.map(|(one, other)| (one & other).count_ones() as usize).sum()
    }

    /// Whether no tag is in.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

/// A score in thousandths, so that sums and comparisons are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(pub i32);

impl Score {
    /// No score.
    pub const ZERO: Score = Score(0);

    /// A score from the number in a configuration. `None` outside ±1,000,000 or if not a number.
    pub fn from_points(points: f64) -> Option<Score> {
        (points.abs() <= 1_000_000.0).then(|| Score((points * 1000.0).round() as i32))
    }

    /// The score as a number of points.
    pub fn points(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// The sum of two scores, held at the ends of the range.
    #[must_use]
    pub fn plus(self, other: Score) -> Score {
        Score(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.points())
    }
}

/// A view of the message that a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Surface {
    /// Every content octet as it came, un-stuffed: header, body, preamble, epilogue.
    Raw,
    /// The header blocks as they came: the message's own and those of its parts; and their fields
    /// with encoded words undone.
    Header,
    /// The value of `Subject` fields of the message's own header, as it came and with encoded words
    /// undone.
    Subject,
    /// The octets of text leaves with their transfer encoding undone, and what is [`Visible`].
    ///
    /// [`Visible`]: Surface::Visible
    Text,
    /// The octets of any leaf with its transfer encoding undone.
    Part,
    /// What a reader sees of text leaves: in UTF-8, without HTML tags, with entities resolved,
    /// runs of blanks and line ends as one blank, and characters of no width left out.
    Visible,
    /// Addresses and display names in `From` and `Sender` of the message's own header: as they
    /// came, and with encoded words, comments and quoting undone. So for the next two.
    From,
    /// Those in `To` and `Cc`.
    To,
    /// Those in `Reply-To`.
    ReplyTo,
    /// The values of the fields that a rule names, in the message's own header: as they came, and
    /// with encoded words undone.
    Field,
    /// The names of attachments, in every form in which they may be written.
    Name,
    /// The types of parts: as declared, and of leaves as their first octets tell.
    Type,
    /// The links in text leaves, from their scheme on, with escapes undone: each by itself.
    Url,
    /// The names of entries of archives in leaves: zip, tar, rar, 7z, gzip; also without dots and
    /// blanks at their ends, which some systems leave out.
    Entry,
}

impl Surface {
    /// All of them.
    pub const ALL: [Surface; 14] = [
        Surface::Raw,
        Surface::Header,
        Surface::Subject,
        Surface::Text,
        Surface::Part,
        Surface::Visible,
        Surface::From,
        Surface::To,
        Surface::ReplyTo,
        Surface::Field,
        Surface::Name,
        Surface::Type,
        Surface::Url,
        Surface::Entry,
    ];

    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Surface::Raw => "raw",
            Surface::Header => "header",
            Surface::Subject => "subject",
            Surface::Text => "text",
            Surface::Part => "part",
            Surface::Visible => "visible",
            Surface::From => "from",
            Surface::To => "to",
            Surface::ReplyTo => "reply-to",
            Surface::Field => "field",
            Surface::Name => "name",
            Surface::Type => "type",
            Surface::Url => "url",
            Surface::Entry => "entry",
        }
    }

    /// The surface of that name in a configuration. Fields have names of their own there.
    pub fn from_name(name: &str) -> Option<Surface> {
        let named = |surface: &Surface| *surface != Surface::Field && surface.name() == name;
        Surface::ALL.into_iter().find(named)
    }
}

/// Where a rule's literal was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hit {
    /// The rule, by its place in the rule set.
    pub rule: u16,
    /// The surface it was found on.
    pub surface: Surface,
    /// The part (in document order, the message itself is 0) it was found in. A raw hit may span
    /// parts: it belongs to the message.
    pub part: u32,
    /// The un-stuffed content octet at which the last octet of the match was read; for a decoded
    /// leaf, the wire octet that completed the decoded match. For what is made of a header field it
    /// is the field's first octet, for what is visible, for an expression or a digest the part's
    /// first one.
    pub offset: u64,
}

/// All that is known of a message when the verdict is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    tags: TagSet,
    observed: TagSet,
    score: Score,
    hits: SmallVec<[Hit; HITS_MAX]>,
    received_fields: u32,
    units: u64,
    /// Content octets of header fields that are not to be passed on, in their order.
    pub(super) left_out: Vec<Range<u64>>,
}

impl Findings {
    /// Adds a tag with its score. A tag counts once, however often it is found.
    pub fn add(&mut self, tag: TagId, score: Score) -> bool {
        let new = self.tags.insert(tag);
        if new {
            self.score = self.score.plus(score);
        }
        new
    }

    /// Adds a tag of a rule that is only observed: it is shown, and decides nothing.
    pub fn observe(&mut self, tag: TagId) -> bool {
        self.observed.insert(tag)
    }

    /// Notes where something was found. The [`HITS_MAX`] places nearest to the message's start are
    /// kept, in that order: so what is kept depends on the message alone, and never on the order
    /// in which the scan's surfaces came to look at it.
    pub fn note(&mut self, hit: Hit) {
        let key = |hit: &Hit| (hit.offset, hit.rule, hit.surface, hit.part);
        let Err(place) = self.hits.binary_search_by_key(&key(&hit), key) else {
            return;
        };
        if place == HITS_MAX {
            return;
        }
        self.hits.truncate(HITS_MAX - 1);
        self.hits.insert(place, hit);
    }

    /// Whether a place at `offset` or behind it may still be kept.
    pub(super) fn may_note(&self, offset: u64) -> bool {
        self.hits.get(HITS_MAX - 1).is_none_or(|last| offset <= last.offset)
    }

    /// Counts work units: octets that a table or a machine has taken, each time that one has.
    pub(super) fn charge(&mut self, units: u64) {
        self.units += units;
    }

    /// The work units that the scan has cost: the same on every machine and in every cut.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Counts one `Received` field of the message's own header.
    pub fn count_received_field(&mut self) {
        self.received_fields = self.received_fields.saturating_add(1);
    }

    /// The tags.
    pub fn tags(&self) -> &TagSet {
        &self.tags
    }

    /// The tags of observed rules that were found. They are not among [`Findings::tags`].
    pub fn observed(&self) -> &TagSet {
        &self.observed
    }

    /// Whether a tag was found.
    pub fn has(&self, tag: TagId) -> bool {
        self.tags.has(tag)
    }

    /// The sum of the scores of all tags found.
    pub fn score(&self) -> Score {
        self.score
    }

    /// Where things were found: the first hit of each rule on each surface, in the order of their
    /// offsets, see [`HITS_MAX`].
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Content octets of header fields that are not to be passed on, in their order: whole lines. When
    /// they are more than [`RESULTS_LEFT_OUT_MAX`](crate::limits::RESULTS_LEFT_OUT_MAX), not all are there.
    pub fn left_out(&self) -> &[Range<u64>] {
        &self.left_out
    }

    /// `Received` fields of the message's own header, a folded one counted once.
    pub fn received_fields(&self) -> u32 {
        self.received_fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(offset: u64) -> Hit {
        Hit { rule: 0, surface: Surface::Raw, part: 0, offset }
    }

    #[test]
    fn the_places_kept_do_not_depend_on_the_order_of_the_notes() {
        let (mut upwards, mut downwards) = (Findings::default(), Findings::default());
        let last = 2 * HITS_MAX as u64;
        (0..=last).for_each(|offset| upwards.note(hit(offset)));
        (0..=last).rev().for_each(|offset| downwards.note(hit(offset)));
        assert_eq!(upwards, downwards);
        assert_eq!(upwards.hits().len(), HITS_MAX);
        assert_eq!(upwards.hits()[HITS_MAX - 1].offset, HITS_MAX as u64 - 1);
    }

    #[test]
    fn an_observed_tag_decides_nothing() {
        let mut findings = Findings::default();
        assert!(findings.observe(TagId(7)));
        assert!(!findings.has(TagId(7)));
        assert!(findings.observed().has(TagId(7)));
        assert_eq!(findings.score(), Score::ZERO);
    }
}
