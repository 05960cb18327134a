//! Every limit of the program, in one place: value, unit, reason, and the rule it comes from.
//!
//! What an operator may set has its default and its permitted range here; what nobody should set
//! has its value here. Relations between limits are checked when the program is compiled.

use std::ops::RangeInclusive;
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

/// Octets of a text line without its CRLF and without a stuffed dot. RFC 5321 4.5.3.1.6. Longer ones
/// are passed on, unless a listener is told to refuse them.
pub const TEXT_LINE_OCTETS: usize = 998;

/// Octets of a domain. RFC 5321 4.5.3.1.2.
pub const DOMAIN_OCTETS: usize = 255;

/// Octets of a path with its angle brackets. RFC 5321 4.5.3.1.3.
pub const PATH_OCTETS: usize = 256;

/// Octets of a reverse-path's local-part. RFC 5321 4.5.3.1 asks that nothing is refused for its length
/// that can be coped with, and senders put a whole address of 64 and 255 octets, with a name and a mark
/// of their own around it, into theirs (VERP). Nothing is ever looked up by it.
pub const REVERSE_LOCAL_PART_OCTETS: usize = 384;

/// Octets of a reverse-path with its angle brackets.
pub const REVERSE_PATH_OCTETS: usize = REVERSE_LOCAL_PART_OCTETS + 1 + DOMAIN_OCTETS + 2;

/// Characters of an ENVID value. RFC 3461 4.4.
pub const ENVID_OCTETS: usize = 100;

/// Characters of an ORCPT value. RFC 3461 4.2.
pub const ORCPT_OCTETS: usize = 500;

/// Characters of an id of a transaction between its angle brackets.
/// draft-fanf-smtp-rfc1845bis-01 2.2.
pub const TRANSID_OCTETS: usize = 256;

/// The same where only CHECKPOINT is offered. draft-fanf-smtp-rfc1845bis-01 3.2.
pub const CHECKPOINT_ID_OCTETS: usize = 77;

/// Octets of a PROXY header of version 1 with its CRLF. PROXY protocol 2.1.
pub const PROXY_LINE_OCTETS: usize = 107;

/// Octets of a PROXY header of version 2 before what its length counts. PROXY protocol 2.2.
pub const PROXY_PREFIX_OCTETS: usize = 16;

/// Octets of one decoded value of XCLIENT or XFORWARD: that of the longest host name.
pub const PEER_VALUE_OCTETS: usize = 255;

// ---- body ---------------------------------------------------------------------------------

/// Octets of one block of a message body. One 16 KiB block holds most mail whole.
pub const BODY_BLOCK_OCTETS: usize = 16 * 1024;

/// Octets of the name of a message's first header field, by which it is told that the message begins
/// with one. RFC 5322 2.1.1: a line has at most 998 characters, and the shortest field a colon.
pub const FIELD_NAME_OCTETS: usize = 997;

// ---- session ------------------------------------------------------------------------------

/// Default of the largest message, in octets of content.
pub const MESSAGE_OCTETS_DEFAULT: u64 = 50 * 1024 * 1024;

/// Default of the accepted recipients of one transaction. RFC 5321 4.5.3.1.8 wants at least 100.
pub const RECIPIENTS_DEFAULT: usize = 100;

/// The most recipients that may be configured: RFC 9422 has values of 1 to 6 digits, and each
/// recipient costs memory of its transaction.
pub const RECIPIENTS_MAX: usize = 10_000;

/// The highest value that LIMITS can announce; a limit beyond it is kept all the same. RFC 9422 4.
pub const LIMIT_VALUE_MAX: u32 = 999_999;

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

/// Default of the RCPTs of one source for recipients that do not exist, in [`SOURCE_MEMORY`].
pub const UNKNOWN_RECIPIENTS_DEFAULT: u32 = 50;

/// So many accepted RCPTs of a source excuse one for a recipient that does not exist, beyond the
/// number that is allowed to anybody: lists are a little stale, guesses are nearly all wrong.
pub const KNOWN_FOR_ONE_UNKNOWN: u32 = 10;

/// Default of the Received fields that are a loop. RFC 5321 6.3 wants at least 100.
pub const RECEIVED_DEFAULT: u32 = 100;

/// After the last reply the client's octets are dropped for so long, lest a reset destroys it.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// After the last reply so many of the client's octets are dropped.
pub const LINGER_OCTETS: usize = 256 * 1024;

// ---- tls ----------------------------------------------------------------------------------

/// Octets of a sealed record behind its header: 2^14 of content and what sealing may add in TLS 1.2.
/// RFC 5246 6.2.3; RFC 8446 5.2 allows less.
pub const TLS_RECORD_OCTETS: usize = (1 << 14) + 2048;

/// Records in a row that bring neither plain octets nor the handshake nearer to its end.
pub const TLS_RECORDS_WITHOUT_PROGRESS: u32 = 64;

/// Sessions that clients of TLS 1.2 without tickets may resume, for one listener's certificates.
pub const TLS_SESSIONS_KEPT: usize = 4_096;

/// Tickets that a client of TLS 1.3 gets for one connection. Mail clients open one after another.
pub const TLS_TICKETS: usize = 1;

/// Tickets of a next hop that are kept, for one route.
pub const TLS_TICKETS_KEPT: usize = 8;

/// Plain octets of a full record. RFC 8446 5.1.
pub const TLS_PLAIN_RECORD_OCTETS: usize = 1 << 14;

/// Octets of a body that are sealed before the kernel has taken what was sealed before: enough to
/// keep a connection busy, little for a next hop that takes none.
pub const TLS_SEALED_AHEAD_OCTETS: u64 = 256 * 1024;

// ---- relay --------------------------------------------------------------------------------

/// Octets of one line of a next hop's reply: twice what RFC 5321 4.5.3.1.5 allows it.
pub const HOP_REPLY_LINE_OCTETS: usize = 1_000;

/// Octets of one whole reply of a next hop.
pub const HOP_REPLY_OCTETS: usize = 64 * 1024;

/// Octets of a next hop's text that are kept, to be told to the client and to the log; and of its
/// greeting, in which each extension has a short line.
pub const HOP_REPLY_KEPT_OCTETS: usize = 2_048;

/// Octets of one XCLIENT command with its CRLF, for which its description sets this limit; what does
/// not fit is told as unavailable.
pub const HOP_XCLIENT_OCTETS: usize = 512;

/// Connections to one route, a shard. More transactions wait for one of them.
pub const HOP_CONNECTIONS_MAX: usize = 64;

/// Transactions of one route that wait for a connection, a shard; more are put off with 451.
pub const HOP_WAITING_MAX: usize = 1_024;

/// Transactions over one connection before it is given up: old connections should not live for ever.
pub const HOP_TRANSACTIONS_MAX: u32 = 1_000;

/// Until a connection to a next hop stands, and until a TLS handshake over it is done.
pub const HOP_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Until a next hop has answered a command, or a transaction has got a connection.
pub const HOP_COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Until a next hop has taken more of a body, and until it has answered its end.
pub const HOP_FINAL_TIMEOUT: Duration = Duration::from_secs(240);

/// Until a client is answered, whatever was tried with however many addresses: below the 10 minutes
/// that RFC 5321 4.5.3.2.6 has it wait.
pub const HOP_DELIVERY_TIMEOUT: Duration = Duration::from_secs(480);

/// A next hop that offers RESUME and was lost behind the last octet of a message is asked for so long
/// what became of it, before the client is put off: long enough for a restart.
pub const HOP_RESUME_PATIENCE: Duration = SIXTY_SECONDS;

/// An unused connection to a next hop is kept for so long: a burst shall not hold a mail server's
/// connections when it is over. While it lasts none is closed, as the next wave would make it anew;
/// work goes to the one that was used last, so what a lesser load does not need ends.
pub const HOP_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections in a row that failed at one address before it counts as down. One may be chance; what
/// fails three times costs the fourth message nothing.
pub const HOP_FAILURES_DOWN: u32 = 3;

/// An address that fails is tried again after so long, by a connection that carries no mail...
pub const HOP_RETRY_FIRST: Duration = Duration::from_secs(1);

/// ... and again and again at that pace for this time, which covers a restart ...
pub const HOP_RETRY_EAGER: Duration = Duration::from_secs(60);

/// ... then after pauses that double up to this one.
pub const HOP_RETRY_MAX: Duration = Duration::from_secs(60);

/// Until RCPT is answered though the next hop, which was asked about the recipient, says nothing: a
/// client may have 100 of them in one group, and waits 5 minutes (RFC 5321 4.5.3.2.3).
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to one route, a shard, that ask about recipients at one time: guesses shall not take
/// those that carry mail.
pub const VERIFY_CONNECTIONS_MAX: usize = 4;

/// Questions of one route that wait for a connection, a shard; more get the answer for a next hop
/// that cannot be asked.
pub const VERIFY_WAITING_MAX: usize = 1_024;

/// A recipient that the next hop takes is not asked about again for so long. If its mailbox goes
/// meanwhile, the next hop refuses its mail all the same.
pub const VERIFY_ACCEPTED_FRESH: Duration = Duration::from_secs(60 * 60);

/// When the next hop cannot be asked, a recipient that it took so long ago is still believed in: mail
/// is then put off by the next hop's absence, not by doubt.
pub const VERIFY_ACCEPTED_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A recipient that the next hop refuses for good is not asked about again for so long: short, as
/// mail to a mailbox that was made just now is bounced until then.
pub const VERIFY_REFUSED_FRESH: Duration = Duration::from_secs(10 * 60);

/// Recipients remembered as taken, a shard: some 200 octets each. They have a table of their own, so
/// that guesses cannot drive them out.
pub const VERIFY_ACCEPTED_ENTRIES: usize = 32_768;

/// Recipients remembered as refused, a shard.
pub const VERIFY_REFUSED_ENTRIES: usize = 8_192;
/// Octets that a connection to a next hop may still send when it is closed: QUIT. More is the rest of
/// a body.
pub const FAREWELL_OCTETS: u64 = 512;

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

/// `Authentication-Results` fields of one message that are left out since they claim to be ours; a
/// message with more of them is refused.
pub const RESULTS_LEFT_OUT_MAX: usize = 64;

/// Encoded words of one header field that are undone (RFC 2047); more stay as they are.
pub const ENCODED_WORDS_MAX: usize = 256;

/// Pieces of one parameter that are joined (RFC 2231 3); more are a finding.
pub const PARAMETER_PIECES_MAX: usize = 64;

/// RFC 1035 2.3.4: octets of a host's name, without the dot at its end.
pub const HOST_OCTETS: usize = 253;

/// Octets of a text without blanks that are held until it is known which hosts and links it holds: two
/// hosts, so that none is cut. Of a link, no more is seen.
pub const RUN_OCTETS: usize = 512;

/// Octets at the start of a leaf by which its type is told. A tar archive says so at octet 257.
pub const SNIFFED_OCTETS: usize = 264;

/// Octets of the name of an entry of an archive that are looked at.
pub const ENTRY_NAME_OCTETS: usize = 512;

/// Octets of the extra field of a zip entry in which sizes are looked for that do not fit elsewhere: it
/// begins with them as a rule.
pub const ARCHIVE_EXTRA_OCTETS: usize = 64;

/// Octets of a header of a zip archive that are held: the longest one with its name and sizes.
pub const ARCHIVE_HEADER_OCTETS: usize = 30 + ENTRY_NAME_OCTETS + ARCHIVE_EXTRA_OCTETS;

/// Octets of a header of another archive that are held.
pub const ARCHIVE_HELD_OCTETS: usize = 2048;

/// Names of entries of all archives of a message that are looked at.
pub const ARCHIVE_NAMES_MAX: u32 = 10_000;

/// How many times its size an archive may become, and the size from which on that matters.
pub const ARCHIVE_RATIO_MAX: u64 = 200;

/// See [`ARCHIVE_RATIO_MAX`].
pub const ARCHIVE_RATIO_OCTETS: u64 = 8 << 20;

/// Octets of the window of DEFLATE (RFC 1951 2), in which what is packed is unpacked.
pub const INFLATE_WINDOW_OCTETS: usize = 32 * 1024;

/// Archives inside archives that are unpacked; what lies deeper is a finding.
pub const ARCHIVE_DEPTH_MAX: usize = 3;

/// Archives that are unpacked at one time by a shard, each in some 45 KiB: a message holds as many as
/// lie in one another while their octets come. More of them go on unread, with a finding.
pub const UNPACK_PLACES: usize = 64;

/// Octets that may be unpacked of one message, all its archives together, if any are.
pub const UNPACK_RANGE: RangeInclusive<u64> = 64 << 10..=64 << 20;

/// Domains and networks that rules may list.
pub const LISTED_MAX: usize = 1_000_000;

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

/// Work units (an octet that an automaton may take is one) that regular expressions may spend on a
/// stream of a message: so many at once, and so many more with each of its octets. With 230
/// expressions in use, mail spends 1.4 an octet of what is visible; letters of a few hundred octets
/// up to 13.
pub const REGEX_UNITS_AT_ONCE: u64 = 64 * 1024;

/// See [`REGEX_UNITS_AT_ONCE`].
pub const REGEX_UNITS_AN_OCTET: u64 = 8;

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

/// Work units that reading a host of another alphabet costs beside its octets: it takes as long as an
/// expression that runs over so many.
pub const HOST_UNITS: usize = 128;

/// Octets of the blocks that literals are looked for in. Longer blocks gain nothing; a block and what
/// it becomes shall stay in the cache next to the core.
pub const SCAN_BLOCK_OCTETS: usize = 16 * 1024;

/// Octets of a stretch of a text: an expression is asked once for all of its gates in a stretch.
pub const SCAN_STRETCH_OCTETS: usize = 128;

/// How far regular expressions see before and behind the end of a literal that they need: a match of
/// no more octets than this is seen whole. A suspended message keeps twice as many.
pub const REGEX_REACH_OCTETS: usize = 256;

/// Octets of a literal that an expression needs by which it is known where to look for a match.
pub const REGEX_GATE_OCTETS: usize = 24;

/// Literals of a rule set that are kept as they are: enough that texts made of them do not fit the
/// processor's caches with the tables that they lead through.
pub const LITERALS_SAMPLED: usize = 16_384;

/// Messages that wait for a thread of `postern scan`: few, as those of mailboxes wait in memory.
pub const SCAN_QUEUE: usize = 64;

/// Scanners that a shard keeps for the next messages, of 4 to 9 KiB each: as many messages come in at
/// one time on a busy shard.
pub const SCANNERS_IDLE_MAX: usize = 64;

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

/// Default of the connections that one source (an IPv4 address, an IPv6 /64) may have open at one
/// listener.
pub const CONNECTIONS_PER_SOURCE_DEFAULT: u32 = 50;

/// TLS handshakes that one source may have under way at one listener: a source that may have more
/// connections than usual has no more of them waiting to cost us a signature.
pub const HANDSHAKES_PER_SOURCE: u32 = 50;

/// Sources in a shard's table that are remembered for their guesses; the oldest make room.
/// Beside them, each connection takes one place at most.
pub const SOURCES_REMEMBERED_MAX: usize = 65_536;

/// So long after a source's first guess its guesses count together, over all its connections.
pub const SOURCE_MEMORY: Duration = HOUR;

/// Per cent of the permitted connections from which on a shard is under load.
pub const LOAD_FROM_PERCENT: u32 = 80;

/// Per cent of the permitted connections below which a shard is under load no longer. The distance
/// keeps it from changing its mind with every client.
pub const LOAD_UNTIL_PERCENT: u32 = 70;

/// Default of the longest wait for a command under load, where the usual one is longer.
pub const IDLE_TIMEOUT_UNDER_LOAD_DEFAULT: Duration = Duration::from_secs(60);

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

/// Descriptors that an executor needs for itself while it is made: three rings, their bells, and the
/// files in which the kernel describes the cores.
pub const EXECUTOR_DESCRIPTORS: usize = 16;

/// Descriptors that a shard needs beside its executor's: its ring, its bell, a spare one.
pub const RING_DESCRIPTORS: usize = 4;

/// Descriptors that clients leave for next hops and files, in the whole process: a connection
/// for each of some messages at once, and the files of the threads that write Maildirs.
pub const DESCRIPTORS_RESERVED: usize = 32;

/// How long a closed connection may take to send what is left, before it is reset.
pub const ORDERLY_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Slots of a shard's timer wheel: the longest usual timeouts are some turns of it.
pub const WHEEL_SLOTS: usize = 4_096;

/// The stretch of time of one slot, in microseconds. With [`WHEEL_SLOTS`] a turn is 67 s.
pub const WHEEL_SLOT_US: u64 = 1 << 14;

/// How long a shard that is told to stop waits for its open transactions.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Threads that write Maildirs, for all shards together.
pub const STORE_THREADS: usize = 4;

/// Log records of one shard that wait for the log; more are dropped and counted.
pub const LOG_RECORDS_WAITING: usize = 8_192;

/// Octets of log lines that are written at once: some hundred of them.
pub const LOG_BATCH_OCTETS: usize = 64 * 1024;

/// How long a process that ends waits for its log: a pipe whose reader has stopped would hold it for ever.
pub const LOG_FAREWELL: Duration = Duration::from_secs(5);

/// Octets of a peer's text that are kept in one field of a log record.
pub const LOG_FIELD_OCTETS: usize = 256;

/// How long, in milliseconds, a ring that ends waits for the last completions before it gives up
/// the memory that the kernel may still write to.
pub const RING_DRAIN_MS: u64 = 5_000;

// ---- ledger -------------------------------------------------------------------------------

/// Octets of one encoded record: the most recipients, each with a long address and a long reply.
pub const LEDGER_RECORD_OCTETS: usize = 16 << 20;

/// RESUME commands of one connection.
pub const RESUMES_MAX: usize = 1_000;

/// Default of how long the outcome of a transaction with an id is kept: a client that was away for a
/// night and a day still gets it.
pub const LEDGER_OUTCOME_LIFETIME: Duration = Duration::from_secs(48 * 3600);

/// Default of how long a message without an id is known again: clients try again within the hour,
/// and an equal message after a working day may be meant.
pub const LEDGER_REPLAY_WINDOW: Duration = Duration::from_secs(6 * 3600);

/// Default of how long a confirmed outcome is kept, for clients that pipeline QUIT against the rules.
pub const LEDGER_CONFIRMED_GRACE: Duration = Duration::from_secs(60);

/// Default of how long content in part is kept after its last octet.
pub const LEDGER_PARTIAL_LIFETIME: Duration = Duration::from_secs(600);

/// Default of the records in the store.
pub const LEDGER_RECORDS_MAX: usize = 10_000_000;

/// Names in the index, at most 44 octets of memory each.
pub const LEDGER_NAMES_MAX: usize = 2 * LEDGER_RECORDS_MAX;

/// Default of the octets of all records in the store.
pub const LEDGER_OCTETS_MAX: u64 = 4 << 30;

/// Default of the open transactions of one client.
pub const LEDGER_OPEN_MAX: usize = 10_000;

/// Default of the octets of content in part, of one client.
pub const LEDGER_PARTIAL_OCTETS_CLIENT: u64 = 64 << 20;

/// Default of the octets of content in part, of all clients.
pub const LEDGER_PARTIAL_OCTETS: u64 = 1 << 30;

/// How long the disk is waited for before a transaction goes on without a record: far longer than a
/// slow disk needs, far shorter than clients wait.
pub const LEDGER_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A ledger whose keeper cannot be had for so long is deaf: nobody asks it, and those who wait have their
/// answer from the shard. Longer than any disk is waited for.
pub const LEDGER_DEAF_AFTER: Duration = Duration::from_secs(10);

/// How often a shard whose sessions wait for the ledger looks whether it is deaf.
pub const LEDGER_LOOK: Duration = Duration::from_secs(1);

/// The ledger's disk rests so long after each group: in a crowd more records share a write and a sync, and
/// more answers one wake-up of a shard.
pub const LEDGER_GROUP_PAUSE: Duration = Duration::from_micros(100);

/// Requests that are taken in one step, before what they have caused is carried out.
pub const LEDGER_REQUESTS_A_STEP: usize = 256;

/// What the ledger writes and nobody waits for, a confirmation or an intent, is durable within this time:
/// it rides along with what somebody waits for, or has its turn. It is what a failing machine, other than
/// a dying process, may make forgotten of it.
pub const LEDGER_COMMIT_INTERVAL: Duration = Duration::from_millis(10);

/// Octets of the journal after which its changes are carried over into the database: some thousand
/// records, for which the next group waits some milliseconds.
pub const LEDGER_JOURNAL_OCTETS: u64 = 2 << 20;

/// After a failure the store is left alone for so long.
pub const LEDGER_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The longest life of a transaction whose end is not told to the ledger: longer than the longest
/// message takes with its delivery.
pub const LEDGER_TRANSACTION_MAX: Duration = Duration::from_secs(4 * 3600);

/// The longest time from an end mark to the outcome, as the ledger waits for it: longer than verdicts
/// and deliveries may take.
pub const LEDGER_COMMIT_MAX: Duration = Duration::from_secs(900);

/// How long a new transaction waits for one that is still being committed under its id: the hard stop of
/// the scan, which is what the other one may be at.
pub const LEDGER_OPEN_PATIENCE: Duration = SCAN_BUDGET_MAX;

/// Names that expire in one step, so that nobody waits behind a great expiry.
pub const LEDGER_EXPIRY_STEP: usize = 1_000;

/// Records of a commit above which expiry waits for the next one.
pub const LEDGER_BATCH_RECORDS: usize = 2_000;

/// Octets that wait for a commit above which transactions go on without a record.
pub const LEDGER_BATCH_OCTETS: usize = 64 << 20;

/// Earlier records of one message that are read. A client that sends the same message in many
/// transactions and loses every reply has the newest of them known.
pub const LEDGER_EARLIER_MAX: usize = 32;

/// Transactions by which a copy may have been delivered, and for which next hops can be asked. A process
/// that dies, or an answer that is lost, adds one; the oldest is then forgotten.
pub const LEDGER_SENDINGS_MAX: usize = 8;

/// Requests that wait for the ledger; more go on without a record.
pub const LEDGER_REQUESTS_WAITING: usize = 16_384;

/// Octets of content in part after which they are made durable.
pub const LEDGER_SYNC_OCTETS: u64 = 1 << 20;

/// Octets of content in part that wait for the disk; above it no more content is kept.
pub const LEDGER_FILE_WAITING_OCTETS: u64 = 32 << 20;

/// Octets of content in part that are read back in one step.
pub const LEDGER_LOAD_OCTETS: usize = 256 * 1024;

// ---- config -------------------------------------------------------------------------------

/// Faults of one configuration that are told; more are counted. A list of a million lines can be
/// wrong in each of them.
pub const FAULTS_TOLD_MAX: usize = 64;

/// Octets of a line of a list: an address with its route, and a comment is no longer.
pub const LIST_LINE_OCTETS: usize = 1_024;

/// Octets of a file of literals: [`LITERALS_MAX`] of [`LITERAL_OCTETS`].
pub const LITERAL_FILE_OCTETS_MAX: u64 = 64 << 20;

/// Octets of a file of recipients. It is held whole while it is read.
pub const RECIPIENT_FILE_OCTETS_MAX: u64 = 256 << 20;

/// Recipients of all lists of a configuration: at some 40 octets each, 160 MiB.
pub const RECIPIENT_ENTRIES_MAX: usize = 4_000_000;

/// Different values (routes, classes, replies) beside the local-parts of one list.
pub const LOCAL_PART_VALUES_MAX: usize = 4_096;

/// Octets of a PEM file: a bundle of all public authorities has some 250 KiB.
pub const PEM_FILE_OCTETS_MAX: u64 = 1 << 20;

/// Routes of a configuration: each shard keeps connections for each of them.
pub const ROUTES_MAX: usize = 1_024;

/// Domains of a configuration.
pub const DOMAINS_MAX: usize = 50_000;

/// The number of shards that may be configured.
pub const SHARDS_RANGE: RangeInclusive<u64> = 1..=256;

/// The number of clients' connections that may be configured, for the whole process.
pub const CONNECTIONS_RANGE: RangeInclusive<u64> = 1..=1_000_000;

/// The memory for message bodies that may be configured, in octets: some message fits into it.
pub const BODY_MEMORY_RANGE: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// The largest message that may be configured, in octets.
pub const MESSAGE_OCTETS_RANGE: RangeInclusive<u64> = 0..=1 << 40;

/// The least of them, when it is not 0. RFC 5321 4.5.3.1.7.
pub const MESSAGE_OCTETS_LEAST: u64 = 64 << 10;

/// The recipients of one transaction that may be configured.
pub const RECIPIENTS_RANGE: RangeInclusive<u64> = 1..=RECIPIENTS_MAX as u64;

/// Counts a connection that may be configured. RFC 9422: 1 to 6 digits.
pub const COUNT_RANGE: RangeInclusive<u64> = 1..=999_999;

/// The pause before the banner. RFC 5321 4.5.3.2.1 has clients wait 5 minutes for it.
pub const BANNER_PAUSE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=SIXTY_SECONDS;

/// The longest wait for a command. RFC 5321 4.5.3.2.7 wants 5 minutes; less is for own clients.
pub const IDLE_TIMEOUT_RANGE: RangeInclusive<Duration> = SECOND..=HOUR;

/// The longest wait for octets of a message.
pub const DATA_TIMEOUT_RANGE: RangeInclusive<Duration> = SECOND..=HOUR;

/// The octets a second of a message; 0 is no floor.
pub const DATA_RATE_RANGE: RangeInclusive<u64> = 0..=1 << 20;

/// The longest wait for a peer that takes nothing.
pub const WRITE_STALL_RANGE: RangeInclusive<Duration> = SECOND..=HOUR;

/// The longest time without an accepted message.
pub const PROGRESS_RANGE: RangeInclusive<Duration> = SECOND..=DAY;

/// The longest life of a connection.
pub const SESSION_RANGE: RangeInclusive<Duration> = SECOND..=Duration::from_secs(7 * 86_400);

/// The longest wait for a handshake.
pub const HANDSHAKE_RANGE: RangeInclusive<Duration> = SECOND..=SIXTY_SECONDS;

/// The longest wait for verdicts.
pub const SCAN_BUDGET_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=SCAN_BUDGET_MAX;

/// The wait before an early 353.
pub const PRDR_353_AFTER_RANGE: RangeInclusive<Duration> = Duration::ZERO..=SCAN_BUDGET_MAX;

/// Connections of one source at a listener that may be configured; 0 is no limit.
pub const PER_SOURCE_RANGE: RangeInclusive<u64> = 0..=1_000_000;

/// The longest waits for next hops: all below the time in which a client is answered.
pub const HOP_TIMEOUT_RANGE: RangeInclusive<Duration> = SECOND..=HOP_DELIVERY_TIMEOUT;

/// The longest wait for the answer about a recipient. RFC 5321 4.5.3.2.3: a client waits 5 minutes
/// for the reply to RCPT, and may have many of them in one group.
pub const VERIFY_WAIT_RANGE: RangeInclusive<Duration> = SECOND..=SIXTY_SECONDS;

/// How long the ledger may be told to remember something.
pub const LEDGER_TIME_RANGE: RangeInclusive<Duration> = SECOND..=Duration::from_secs(30 * 86_400);

/// The records, and the open transactions of a client, that may be configured: a name in the index
/// takes 44 octets of memory.
pub const LEDGER_COUNT_RANGE: RangeInclusive<u64> = 1..=LEDGER_RECORDS_MAX as u64;

/// The octets of all records that may be configured.
pub const LEDGER_OCTETS_RANGE: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// The octets of content in part that may be configured.
pub const LEDGER_PARTIAL_RANGE: RangeInclusive<u64> = 0..=1 << 40;

const SIXTY_SECONDS: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Classes that decide differently: each pair of them is compared when the configuration is loaded.
pub const CLASSES_MAX: usize = 64;

/// Lines of one class, those of the class that it is like included.
pub const CLASS_LINES_MAX: usize = 64;

/// Default of the clients' connections, for the whole process.
pub const CONNECTIONS_DEFAULT: usize = 10_000;

/// Default of the memory for message bodies, in octets, for the whole process.
pub const BODY_MEMORY_DEFAULT: u64 = 256 << 20;

// ---- control ------------------------------------------------------------------------------

/// Connections to the admin port at one time.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// Further connections, which may only ask for the process's health. The one that has waited longest
/// makes room for the next.
pub const ADMIN_RESERVED_CONNECTIONS: usize = 4;

/// Octets of the head of a request to the admin port. The library's own least.
pub const ADMIN_HEAD_OCTETS: usize = 8 * 1024;

/// Octets of the body of a request to the admin port.
pub const ADMIN_BODY_OCTETS: usize = 8 * 1024;

/// The longest wait for the head of a request to the admin port, and again for all the rest of it.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest life of a connection to the admin port, whatever its client does or does not do.
pub const ADMIN_CONNECTION_LIFE: Duration = Duration::from_secs(30);

/// Octets of the secret that a request for a change shows: so many cannot be guessed.
pub const ADMIN_TOKEN_OCTETS: usize = 16;

/// Octets of the file that holds it.
pub const ADMIN_TOKEN_OCTETS_MAX: u64 = 4 * 1024;

/// After a panic in control it rests for so long before it begins again.
pub const CONTROL_REST: Duration = Duration::from_millis(100);

/// How often the files that a configuration names are looked at. A change counts when a file looks
/// the same twice.
pub const FILE_LOOK: Duration = Duration::from_secs(2);

// ---- relations ----------------------------------------------------------------------------

const _: () = assert!(PATH_OCTETS < REVERSE_PATH_OCTETS);
const _: () = assert!(REVERSE_PATH_OCTETS + ORCPT_OCTETS < COMMAND_LINE_OCTETS);
const _: () = assert!((COMMAND_LINE_OCTETS as u64) < COMMAND_LINE_SWALLOWED_OCTETS);
const _: () = assert!(RECIPIENTS_DEFAULT >= 100 && RECEIVED_DEFAULT >= 100);
const _: () = assert!(RECIPIENTS_MAX <= LIMIT_VALUE_MAX as usize);
const _: () = assert!(HOP_FINAL_TIMEOUT.as_secs() < HOP_DELIVERY_TIMEOUT.as_secs());
const _: () = assert!(HOP_DELIVERY_TIMEOUT.as_secs() < 600);
const _: () = assert!(VERIFY_CONNECTIONS_MAX < HOP_CONNECTIONS_MAX);
const _: () = assert!(VERIFY_ACCEPTED_FRESH.as_secs() < VERIFY_ACCEPTED_STALE.as_secs());
const _: () = assert!(HOP_RETRY_FIRST.as_secs() <= HOP_RETRY_MAX.as_secs());
const _: () = assert!(TAGS_MAX.is_multiple_of(64));
const _: () = assert!(HEADER_FIELD_OCTETS.is_power_of_two());
const _: () = assert!(BOUNDARY_OCTETS + 4 < LINE_HELD_OCTETS);
const _: () = assert!(RULES_MAX <= u16::MAX as usize + 1);
const _: () = assert!(FULL_TABLE_OCTETS <= TABLES_OCTETS);
const _: () = assert!(QP_BLANKS_HELD >= 4 && QP_BLANKS_HELD <= u128::BITS as usize);
const _: () = assert!(ROUTES_MAX <= u16::MAX as usize);
const _: () = assert!(CLASSES_MAX <= u16::MAX as usize);
// Numbers of domains and places of entries have two and four octets in `policy::LocalParts`.
const _: () = assert!(DOMAINS_MAX < u16::MAX as usize);
const _: () = assert!(RECIPIENT_ENTRIES_MAX * (LOCAL_PART_OCTETS + 5) <= u32::MAX as usize);
const _: () = assert!((LITERALS_MAX * LITERAL_OCTETS) as u64 <= LITERAL_FILE_OCTETS_MAX);
const _: () = assert!(FIELD_NAMES_MAX <= 64);
const _: () = assert!(HOST_OCTETS <= u8::MAX as usize && RUN_OCTETS > 2 * HOST_OCTETS);
const _: () = assert!(REGEXES_MAX.is_multiple_of(64) && RULES_MAX + REGEXES_MAX <= 1 << 16);
const _: () = assert!(REGEX_GATE_OCTETS < REGEX_REACH_OCTETS);
const _: () = assert!(SOCKETS_FOR_NEXT_HOPS < SOCKETS_MAX);
const _: () = assert!(DESCRIPTORS_RESERVED >= 16 + 2 * STORE_THREADS);
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 32_768);
const _: () = assert!(RING_SUBMISSIONS <= RING_COMPLETIONS);
const _: () = assert!(RECEIVE_BUFFERS as u32 <= RING_COMPLETIONS);
const _: () = assert!(LEDGER_REPLAY_WINDOW.as_secs() < LEDGER_OUTCOME_LIFETIME.as_secs());
const _: () = assert!(LEDGER_PARTIAL_OCTETS_CLIENT <= LEDGER_PARTIAL_OCTETS);
const _: () = assert!(LEDGER_RECORD_OCTETS < LEDGER_BATCH_OCTETS);
const _: () = assert!(LEDGER_ANSWER_TIMEOUT.as_secs() < 60);
const _: () = assert!(
    HOP_DELIVERY_TIMEOUT.as_secs() + SCAN_BUDGET_MAX.as_secs() < LEDGER_COMMIT_MAX.as_secs()
);
const _: () = assert!(LOAD_UNTIL_PERCENT < LOAD_FROM_PERCENT && LOAD_FROM_PERCENT < 100);
const _: () = assert!(WHEEL_SLOTS.is_power_of_two() && WHEEL_SLOTS.is_multiple_of(64));
const _: () = assert!(TICK_BUSY_MS < TICK_IDLE_MS && PREEMPT_TIMER_MS >= 100);
