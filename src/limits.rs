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

/// Octets of a PROXY header of version 1 with its CRLF. PROXY protocol 2.1.
pub const PROXY_LINE_OCTETS: usize = 107;

/// Octets of a PROXY header of version 2 before what its length counts. PROXY protocol 2.2.
pub const PROXY_PREFIX_OCTETS: usize = 16;

/// Octets of one decoded value of XCLIENT or XFORWARD: that of the longest host name.
pub const PEER_VALUE_OCTETS: usize = 255;

// ---- body ---------------------------------------------------------------------------------

/// Octets of one block of a message body. One 16 KiB block holds most mail whole.
pub const BODY_BLOCK_OCTETS: usize = 16 * 1024;

// ---- session ------------------------------------------------------------------------------

/// Default of the largest message, in octets of content.
pub const MESSAGE_OCTETS_DEFAULT: u64 = 50 * 1024 * 1024;

/// Default of the accepted recipients of one transaction. RFC 5321 4.5.3.1.8 wants at least 100.
pub const RECIPIENTS_DEFAULT: usize = 100;

/// The most recipients that may be configured: RFC 9422 has values of 1 to 6 digits, and each
/// recipient costs memory of its transaction.
pub const RECIPIENTS_MAX: usize = 10_000;

/// Default of the MAIL commands of one connection, announced as MAILMAX (RFC 9422).
pub const MESSAGES_DEFAULT: u32 = 1_000;

/// Default of the longest wait for a command. RFC 5321 4.5.3.2.7 wants at least 5 minutes.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

/// Default of the longest wait for octets of a message. RFC 5321 4.5.3.2.5.
pub const DATA_TIMEOUT_DEFAULT: Duration = Duration::from_secs(180);

/// Default of the longest time without an accepted message.
pub const PROGRESS_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// Default of the longest life of a connection.
pub const SESSION_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// Default of the longest wait for a whole TLS handshake.
pub const HANDSHAKE_DEFAULT: Duration = Duration::from_secs(10);

/// The longest wait for a whole PROXY header.
pub const PROXY_TIMEOUT: Duration = Duration::from_secs(5);

/// Default of the longest wait for verdicts. RFC 1047: the gap between the end mark and the reply
/// shall be short, as a client that gives up in it sends again.
pub const SCAN_BUDGET_DEFAULT: Duration = Duration::from_secs(30);

/// The longest wait for verdicts that may be configured.
pub const SCAN_BUDGET_MAX: Duration = Duration::from_secs(120);

/// Default of the wait after which the 353 of a PRDR block goes out before its lines.
/// draft-hall-prdr-00 4.5.1 wants it as early as possible, one write wants it with the lines.
pub const PRDR_353_AFTER_DEFAULT: Duration = Duration::from_secs(20);

/// Default of the octets a second that a message must come with, averaged over
/// [`DATA_RATE_WINDOW`].
pub const DATA_RATE_DEFAULT: u64 = 256;

/// The time over which the data rate is averaged.
pub const DATA_RATE_WINDOW: Duration = Duration::from_secs(60);

/// Default of the time after which a peer that takes none of our octets is let go.
pub const WRITE_STALL_DEFAULT: Duration = Duration::from_secs(120);

/// Reply octets that a client has not taken; above it, its commands wait.
pub const OUTPUT_PENDING_OCTETS: usize = 64 * 1024;

/// Octets that came while a session waits; above it, no more are read.
pub const INPUT_PENDING_OCTETS: usize = 64 * 1024;

/// Default of the errors that a client may make; the last of them closes.
pub const ERRORS_DEFAULT: u32 = 20;

/// Default of the commands without progress; the last of them closes.
pub const JUNK_DEFAULT: u32 = 100;

/// Default of the RCPTs of one connection for recipients that do not exist.
pub const UNKNOWN_RECIPIENTS_DEFAULT: u32 = 50;

/// Default of the Received fields that are a loop. RFC 5321 6.3 wants at least 100.
pub const RECEIVED_DEFAULT: u32 = 100;

/// After the last reply the client's octets are dropped for so long, lest a reset destroys it.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// After the last reply so many of the client's octets are dropped.
pub const LINGER_OCTETS: usize = 256 * 1024;

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

/// Header fields of one header block; more are a finding. The block is still followed to its end,
/// which takes no memory.
pub const HEADER_FIELDS_MAX: u32 = 1_000;

/// Octets of one header block; more are a finding. The block is still followed to its end.
pub const HEADER_BLOCK_OCTETS: u64 = 256 * 1024;

/// Octets of one header field that are kept for reading, where a rule asks for it or it says how to
/// read the body; more are a finding.
pub const HEADER_FIELD_OCTETS: usize = 16 * 1024;

/// Encoded words of one header field that are undone (RFC 2047); more stay as they are.
pub const ENCODED_WORDS_MAX: usize = 256;

/// Pieces of one parameter that are joined (RFC 2231 3); more are a finding.
pub const PARAMETER_PIECES_MAX: usize = 64;

/// Header fields that rules may name.
pub const FIELD_NAMES_MAX: usize = 64;

/// Comments inside comments that are followed; deeper ones are text.
pub const COMMENT_DEPTH_MAX: u32 = 32;

/// Places of hits that are kept for one message; further hits only set their tags.
pub const HITS_MAX: usize = 16;

/// Rules of a rule set: a message carries a few bits for each, and its state shall stay small.
pub const RULES_MAX: usize = 2_048;

/// Literals of a rule set, over all rules: the largest lists of phrases and hosts in use have some
/// 200,000.
pub const LITERALS_MAX: usize = 262_144;

/// Octets of one literal.
pub const LITERAL_OCTETS: usize = 256;

/// Literals that may end at the same octet, one being the tail of the other or the same in several
/// rules: the work that one hostile octet can ask for.
pub const LITERAL_ENDS_MAX: usize = 32;

/// Regular expressions of a rule set: a suspended message carries two bits for each, and a stream.
pub const REGEXES_MAX: usize = 512;

/// Octets of the table of one regular expression: of 300 rules in use, 291 take less.
pub const REGEX_TABLE_OCTETS: usize = 8 << 20;

/// Literals of one regular expression of which one must be found before it is asked.
pub const REGEX_GATES_MAX: usize = 64;

/// Regular expressions without a literal that must be found first: each runs over every octet.
pub const REGEXES_UNGATED_MAX: usize = 4;

/// Work units (an octet that an automaton takes is one) that regular expressions may spend on a
/// stream of a message: so many at once, and so many more with each of its octets. Mail needs some
/// 7 confirmations of 1 KiB for each KiB.
pub const REGEX_UNITS_AT_ONCE: u64 = 256 * 1024;

/// See [`REGEX_UNITS_AT_ONCE`].
pub const REGEX_UNITS_AN_OCTET: u64 = 16;

/// Octets of a transition table up to which it is a full one (a step is two loads). A larger table
/// leaves the processor's cache, and near misses then cost tens of nanoseconds an octet: above this
/// windows of the literals are looked up instead, which is slower on friendly text and far faster
/// at the worst.
pub const FULL_TABLE_OCTETS: usize = 24 << 20;

/// Octets at the end of a literal in which the window lies by which it is known in a large set: so
/// many octets of a text are looked at twice where it is cut.
pub const GRAM_REACH: usize = 24;

/// Literals of a large set that may be known by windows which share a bucket: each is compared when
/// one of the windows comes. More of them go into a table.
pub const GRAM_BUCKET_MAX: usize = 4;

/// Octets of the blocks that literals are looked for in. Longer blocks gain nothing; a block and what
/// it becomes shall stay in the cache next to the core.
pub const SCAN_BLOCK_OCTETS: usize = 16 * 1024;

/// Octets of a segment of a text: regular expressions see two at a time, so a match of no more octets
/// than this is seen whole. A suspended message keeps two segments.
pub const SCAN_SEGMENT_OCTETS: usize = 272;

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

/// Wire octets that are decoded in one step: what they give fits a block.
pub const DECODE_STEP_OCTETS: usize = SCAN_BLOCK_OCTETS - 2 * QP_BLANKS_HELD;

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

/// How long a closed connection may take to send what is left, before it is reset.
pub const ORDERLY_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the deadlines of connections to next hops are looked at.
pub const RELAY_TICK: Duration = Duration::from_millis(50);

/// How long a shard that is told to stop waits for its open transactions.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Threads that write Maildirs, for all shards together.
pub const STORE_THREADS: usize = 4;

/// Log records of one shard that wait for the log; more are dropped and counted.
pub const LOG_RECORDS_WAITING: usize = 8_192;

/// Octets of a peer's text that are kept in one field of a log record.
pub const LOG_FIELD_OCTETS: usize = 256;

/// How long, in milliseconds, a ring that ends waits for the last completions before it gives up
/// the memory that the kernel may still write to.
pub const RING_DRAIN_MS: u64 = 5_000;

// ---- config -------------------------------------------------------------------------------

/// Classes that decide differently: each pair of them is compared when the configuration is loaded.
pub const CLASSES_MAX: usize = 64;

/// Lines of one class, those of the class that it is like included.
pub const CLASS_LINES_MAX: usize = 64;

/// Default of the clients' connections, for the whole process.
pub const CONNECTIONS_DEFAULT: usize = 10_000;

/// Default of the memory for message bodies, in octets, for the whole process.
pub const BODY_MEMORY_DEFAULT: u64 = 256 << 20;

// ---- relations ----------------------------------------------------------------------------

const _: () = assert!(PATH_OCTETS < COMMAND_LINE_OCTETS);
const _: () = assert!((COMMAND_LINE_OCTETS as u64) < COMMAND_LINE_SWALLOWED_OCTETS);
const _: () = assert!(RECIPIENTS_DEFAULT >= 100 && RECEIVED_DEFAULT >= 100);
const _: () = assert!(RECIPIENTS_MAX <= 999_999);
const _: () = assert!(HOP_FINAL_TIMEOUT.as_secs() < HOP_DELIVERY_TIMEOUT.as_secs());
const _: () = assert!(HOP_DELIVERY_TIMEOUT.as_secs() < 600);
const _: () = assert!(TAGS_MAX.is_multiple_of(64));
const _: () = assert!(BOUNDARY_OCTETS + 4 < LINE_HELD_OCTETS);
const _: () = assert!(RULES_MAX <= u16::MAX as usize + 1);
const _: () = assert!(FULL_TABLE_OCTETS <= TABLES_OCTETS);
const _: () = assert!(QP_BLANKS_HELD >= 4 && QP_BLANKS_HELD <= u128::BITS as usize);
const _: () = assert!(FIELD_NAMES_MAX <= 64);
const _: () = assert!(REGEXES_MAX.is_multiple_of(64) && RULES_MAX + REGEXES_MAX <= 1 << 16);
const _: () = assert!(SCAN_BLOCK_OCTETS / SCAN_SEGMENT_OCTETS < 64);
const _: () = assert!(REGEXES_UNGATED_MAX as u64 * 2 < REGEX_UNITS_AN_OCTET);
const _: () = assert!(SOCKETS_FOR_NEXT_HOPS < SOCKETS_MAX);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 32_768);
const _: () = assert!(RING_SUBMISSIONS <= RING_COMPLETIONS);
const _: () = assert!(RECEIVE_BUFFERS as u32 <= RING_COMPLETIONS);
const _: () = assert!(TICK_BUSY_MS < TICK_IDLE_MS && PREEMPT_TIMER_MS >= 100);
