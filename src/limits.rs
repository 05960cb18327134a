//! Every limit of the program, in one place: value, unit, reason, and the rule it comes from.
//!
//! What an operator may set has its default and its permitted range here; what nobody should set
//! has its value here. Relations between limits are checked when the program is compiled.

// ---- wire: lines and paths ----------------------------------------------------------------

/// Octets of a command line with its CRLF. RFC 5321 4.5.3.1.4 asks for 512 and for what each
/// extension adds; all of ours together stay far below this.
pub const COMMAND_LINE_OCTETS: usize = 4096;

/// Octets of one command line without a CRLF after which the peer is taken for broken or hostile.
/// Until then an overlong line is swallowed in constant memory and costs one 500.
pub const COMMAND_LINE_SWALLOWED_OCTETS: u64 = 1 << 20;

/// Octets of a reply line with its CRLF. RFC 5321 4.5.3.1.5.
pub const REPLY_LINE_OCTETS: usize = 512;

/// Octets of a local-part. RFC 5321 4.5.3.1.1.
pub const LOCAL_PART_OCTETS: usize = 64;

/// Octets of a domain. RFC 5321 4.5.3.1.2.
pub const DOMAIN_OCTETS: usize = 255;

/// Octets of a path with its angle brackets. RFC 5321 4.5.3.1.3.
pub const PATH_OCTETS: usize = 256;

/// Characters of an ENVID value. RFC 3461 4.4.
pub const ENVID_OCTETS: usize = 100;

/// Characters of an ORCPT value. RFC 3461 4.2.
pub const ORCPT_OCTETS: usize = 500;

// ---- body ---------------------------------------------------------------------------------

/// Octets of one block of a message body. One 16 KiB block holds most mail whole.
pub const BODY_BLOCK_OCTETS: usize = 16 * 1024;

// ---- scan ---------------------------------------------------------------------------------

/// Different tags that rules and the scanner itself may give: a finding set is a fixed bit set.
pub const TAGS_MAX: usize = 256;

/// Open multiparts and `message/rfc822` parts; what lies deeper is opaque, with a finding.
pub const MIME_DEPTH_MAX: usize = 32;

/// Parts of a message that are recorded; more are scanned as raw octets, with a finding.
pub const MIME_PARTS_MAX: u32 = 1_000;

/// Octets of a boundary parameter that are kept. RFC 2046 5.1.1 allows 70.
pub const BOUNDARY_OCTETS: usize = 70;

/// Header fields of one header block; more are a finding. The block is still followed to its end,
/// which takes no memory.
pub const HEADER_FIELDS_MAX: u32 = 1_000;

/// Octets of one header block; more are a finding. The block is still followed to its end.
pub const HEADER_BLOCK_OCTETS: u64 = 256 * 1024;

/// Octets of one structured header field (Content-Type and its kin) that are kept for reading; more
/// are a finding.
pub const HEADER_FIELD_OCTETS: usize = 4 * 1024;

/// Places of hits that are kept for one message; further hits only set their tags.
pub const HITS_MAX: usize = 64;

/// Rules of a rule set: a message carries a few bits for each, and its state shall stay small.
pub const RULES_MAX: usize = 2_048;

/// Literals of a rule set, over all rules. Lists longer than this are look-ups of whole names, not
/// searches for parts of a text.
pub const LITERALS_MAX: usize = 32_768;

/// Octets of one literal.
pub const LITERAL_OCTETS: usize = 256;

/// Literals that may end at the same octet, one being the tail of the other or the same in several
/// rules: the work that one hostile octet can ask for.
pub const LITERAL_ENDS_MAX: usize = 32;

/// Octets of a transition table up to which it is a full one (a step is two loads). A larger table
/// leaves the processor's cache, and near misses then cost tens of nanoseconds an octet: above this
/// the compact automaton is taken, which is slower on friendly text and far faster at the worst.
pub const FULL_TABLE_OCTETS: usize = 24 << 20;

/// Octets of all tables of a rule set, which all shards share; more is refused when it is loaded.
pub const TABLES_OCTETS: usize = 128 << 20;

/// Octets at the start of a line that are held until it is known what the line is: a boundary of
/// [`BOUNDARY_OCTETS`] with its four dashes and some padding, or the name of a header field.
pub const LINE_HELD_OCTETS: usize = 128;

/// Octets of a media type (`text/plain`) that are kept; the longest registered one has 83.
pub const MEDIA_TYPE_OCTETS: usize = 96;

/// Blanks in a row of a quoted-printable line that are held until it is known whether the line ends
/// there, which would remove them. RFC 2045 6.7 (5): a line has 76 octets.
pub const QP_BLANKS_HELD: usize = 128;

/// Wire octets that are decoded in one step. Small, since the place of a hit inside a step is found
/// by decoding the step once more.
pub const DECODE_STEP_OCTETS: usize = 512;

// ---- relations ----------------------------------------------------------------------------

const _: () = assert!(PATH_OCTETS < COMMAND_LINE_OCTETS);
const _: () = assert!((COMMAND_LINE_OCTETS as u64) < COMMAND_LINE_SWALLOWED_OCTETS);
const _: () = assert!(TAGS_MAX.is_multiple_of(64));
const _: () = assert!(BOUNDARY_OCTETS + 4 < LINE_HELD_OCTETS);
const _: () = assert!(RULES_MAX <= u16::MAX as usize + 1);
const _: () = assert!(FULL_TABLE_OCTETS <= TABLES_OCTETS);
