//! Every limit of the program, in one place: value, unit, reason, and the rule it comes from.
//!
//! What an operator may set has its default and its permitted range here; what nobody should set
//! has its value here. Relations between limits are checked when the program is compiled.

use std::time::Duration;

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

// ---- relay --------------------------------------------------------------------------------

/// Octets of one line of a next hop's reply: twice what RFC 5321 4.5.3.1.5 allows it.
pub const HOP_REPLY_LINE_OCTETS: usize = 1_000;

/// Octets of one whole reply of a next hop.
pub const HOP_REPLY_OCTETS: usize = 64 * 1024;

/// Octets of a next hop's text that are kept, to be told to the client and to the log.
pub const HOP_REPLY_KEPT_OCTETS: usize = 1_024;

/// Connections to one route, a shard. More transactions wait for one of them.
pub const HOP_CONNECTIONS_MAX: usize = 64;

/// Transactions of one route that wait for a connection, a shard; more are put off with 451.
pub const HOP_WAITING_MAX: usize = 1_024;

/// Transactions over one connection before it is given up: old connections should not live for ever.
pub const HOP_TRANSACTIONS_MAX: u32 = 1_000;

/// Until a connection to a next hop stands.
pub const HOP_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Until a next hop has answered a command, or a transaction has got a connection.
pub const HOP_COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Until a next hop has taken a body and answered its end.
pub const HOP_FINAL_TIMEOUT: Duration = Duration::from_secs(240);

/// Until a client is answered, whatever was tried with however many addresses: below the 10 minutes
/// that RFC 5321 4.5.3.2.6 has it wait.
pub const HOP_DELIVERY_TIMEOUT: Duration = Duration::from_secs(480);

/// An unused connection to a next hop is kept for so long.
pub const HOP_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

// ---- scan ---------------------------------------------------------------------------------

/// Different tags that rules and the scanner itself may give: a finding set is a fixed bit set.
pub const TAGS_MAX: usize = 256;

/// Open multiparts and `message/rfc822` parts; what lies deeper is opaque, with a finding.
pub const MIME_DEPTH_MAX: usize = 32;

/// Parts of a message that are recorded; more are scanned as raw octets, with a finding.
pub const MIME_PARTS_MAX: u32 = 1_000;

/// Octets of a boundary parameter that are kept. RFC 2046 5.1.1 allows 70.
pub const BOUNDARY_OCTETS: usize = 70;

/// Header fields of one header block; more are a finding, and the rest is read as text.
pub const HEADER_FIELDS_MAX: u32 = 1_000;

/// Octets of one header block; more are a finding, and the rest is read as text.
pub const HEADER_BLOCK_OCTETS: u64 = 256 * 1024;

/// Octets of one structured header field (Content-Type and its kin) that are kept for reading.
pub const HEADER_FIELD_OCTETS: usize = 4 * 1024;

/// Places of hits that are kept for one message; further hits only set their tags.
pub const HITS_MAX: usize = 64;

// ---- relations ----------------------------------------------------------------------------

const _: () = assert!(PATH_OCTETS < COMMAND_LINE_OCTETS);
const _: () = assert!((COMMAND_LINE_OCTETS as u64) < COMMAND_LINE_SWALLOWED_OCTETS);
const _: () = assert!(HOP_FINAL_TIMEOUT.as_secs() < HOP_DELIVERY_TIMEOUT.as_secs());
const _: () = assert!(HOP_DELIVERY_TIMEOUT.as_secs() < 600);
const _: () = assert!(TAGS_MAX.is_multiple_of(64));
