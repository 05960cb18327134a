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

/// Header fields of one header block; more are a finding, and the rest is read as text.
pub const HEADER_FIELDS_MAX: u32 = 1_000;

/// Octets of one header block; more are a finding, and the rest is read as text.
pub const HEADER_BLOCK_OCTETS: u64 = 256 * 1024;

/// Octets of one structured header field (Content-Type and its kin) that are kept for reading.
pub const HEADER_FIELD_OCTETS: usize = 4 * 1024;

/// Places of hits that are kept for one message; further hits only set their tags.
pub const HITS_MAX: usize = 64;

// ---- shard --------------------------------------------------------------------------------

/// Sockets of one shard, in both directions. What an idle one costs is its slot and its descriptor.
pub const SOCKETS_MAX: u32 = 32_768;

/// Slots that only connections to next hops may take, so that a flood of clients cannot stop the
/// mail of those that are served already.
pub const SOCKETS_FOR_NEXT_HOPS: u32 = 1_024;

/// Receive buffers of one shard. They are lent for the length of one event, so their number bounds
/// a burst, not the number of connections.
pub const RECEIVE_BUFFERS: u16 = 512;

/// Octets of one receive buffer. With [`RECEIVE_BUFFERS`] a shard takes 8 MiB.
pub const RECEIVE_BUFFER_OCTETS: u32 = 16 * 1024;

/// Entries of the submission queue. A fuller round is submitted in parts.
pub const RING_SUBMISSIONS: u32 = 1_024;

/// Entries of the completion queue. A burst beyond it waits in the kernel and costs one more call.
pub const RING_COMPLETIONS: u32 = 8_192;

/// Slices of one send operation: the kernel's own bound (`UIO_MAXIOV`).
pub const SEND_SLICES_MAX: usize = 1_024;

/// Octets after which a send operation takes no further slice. The kernel reports an operation when
/// all of it is taken, so this is the step in which progress towards a slow peer is seen.
pub const SEND_STEP_OCTETS: usize = 1 << 20;

/// Octets of one send operation, far below what the kernel counts in 31 bits.
pub const SEND_OCTETS_MAX: usize = 1 << 30;

/// How long a listener rests, in milliseconds, after descriptors or memory ran out.
pub const ACCEPT_REST_MS: u64 = 100;

/// Failed accepts in a row, each of which is tried again at once, before a listener rests.
pub const ACCEPT_FAILURES_IN_A_ROW: u32 = 16;

/// Clients told that the gateway is full, through the spare descriptor, before a listener rests.
pub const ACCEPT_SHED_AT_ONCE: u32 = 64;

/// Connections that wait in the kernel to be accepted, for one listener.
pub const LISTEN_BACKLOG: u32 = 1_024;

/// Rounds after which the driver lets its executor look at timers and files, busy or not.
pub const ROUNDS_BEFORE_YIELD: u32 = 16;

/// The executor's preempt timer in milliseconds. It must be long: see `shard::executor`.
pub const PREEMPT_TIMER_MS: u64 = 200;

/// How often, in milliseconds, an idle executor is shaken.
pub const TICK_IDLE_MS: u64 = 100;

/// How often, in milliseconds, an executor with work in hand is shaken.
pub const TICK_BUSY_MS: u64 = 10;

/// Octets that the executor registers for its own file operations. It counts as locked memory.
pub const EXECUTOR_FILE_MEMORY_OCTETS: usize = 1 << 20;

/// How long, in milliseconds, a ring that ends waits for the last completions before it gives up
/// the memory that the kernel may still write to.
pub const RING_DRAIN_MS: u64 = 5_000;

// ---- relations ----------------------------------------------------------------------------

const _: () = assert!(PATH_OCTETS < COMMAND_LINE_OCTETS);
const _: () = assert!((COMMAND_LINE_OCTETS as u64) < COMMAND_LINE_SWALLOWED_OCTETS);
const _: () = assert!(TAGS_MAX.is_multiple_of(64));
const _: () = assert!(SOCKETS_FOR_NEXT_HOPS < SOCKETS_MAX);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 32_768);
const _: () = assert!(RING_SUBMISSIONS <= RING_COMPLETIONS);
const _: () = assert!(RECEIVE_BUFFERS as u32 <= RING_COMPLETIONS);
const _: () = assert!(TICK_BUSY_MS < TICK_IDLE_MS && PREEMPT_TIMER_MS >= 100);
