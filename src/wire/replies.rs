//! Replies by situation: one constant each, so that a code is decided in one place.
//!
//! Codes are those of RFC 5321 4.2, RFC 5248 and the extensions' RFCs; texts are ours.

use super::Reply;

// ---- good news ------------------------------------------------------------------------------

/// MAIL was accepted.
pub const SENDER_OK: Reply = Reply::new(250, 1, 0, "sender ok");
/// RCPT was accepted.
pub const RECIPIENT_OK: Reply = Reply::new(250, 1, 5, "recipient ok");
/// RSET, NOOP and the like.
pub const OK: Reply = Reply::new(250, 0, 0, "ok");
/// The message was handed on to every next hop, or stored.
pub const MESSAGE_ACCEPTED: Reply = Reply::new(250, 6, 0, "message accepted");
/// VRFY never confirms a mailbox. RFC 5321 3.5.3.
pub const CANNOT_VERIFY: Reply =
    Reply::new(252, 5, 0, "cannot verify the address, but will try to deliver mail for it");
/// HELP.
pub const HELP: Reply = Reply::new(214, 0, 0, "see RFC 5321 and RFC 2033");
/// QUIT.
pub const BYE: Reply = Reply::new(221, 0, 0, "bye");
/// STARTTLS: the handshake may begin.
pub const TLS_GO_AHEAD: Reply = Reply::new(220, 0, 0, "ready to start TLS");
/// A PRDR block begins. draft-hall-prdr-00 4.5.1: without an enhanced code.
pub const BLOCK_BEGINS: Reply = Reply::bare(353, "content analysis done, one reply a recipient");
/// A chunk was taken.
pub const CHUNK_OK: Reply = Reply::new(250, 0, 0, "chunk taken");
/// DATA may begin.
pub const GO_AHEAD: Reply = Reply::bare(354, "go ahead, end with CRLF . CRLF");

// ---- faults of the client's commands --------------------------------------------------------

/// A command that nobody knows.
pub const UNKNOWN_COMMAND: Reply = Reply::new(500, 5, 2, "command not known");
/// HELO or EHLO on LMTP (RFC 2033 4.1), LHLO on SMTP.
pub const WRONG_GREETING: Reply = Reply::new(500, 5, 1, "that greeting is not for this protocol");
/// A command line past the limit.
pub const LINE_TOO_LONG: Reply = Reply::new(500, 5, 2, "command line too long");
/// A bare CR, a bare LF or a NUL in a command line. RFC 5321 2.3.8.
pub const BARE_CONTROL: Reply =
    Reply::new(500, 5, 2, "command lines end with CRLF and hold no CR, LF or NUL");
/// An argument where none is allowed, none where one is needed, or a bad one.
pub const BAD_ARGUMENT: Reply = Reply::new(501, 5, 4, "bad argument");
/// A reverse-path that is none.
pub const BAD_SENDER: Reply = Reply::new(501, 1, 7, "bad sender address syntax");
/// A forward-path that is none.
pub const BAD_RECIPIENT: Reply = Reply::new(501, 1, 3, "bad recipient address syntax");
/// A known parameter with a bad, missing or needless value, or given twice.
pub const BAD_PARAMETER: Reply = Reply::new(501, 5, 4, "bad parameter value");
/// A parameter that was not offered. RFC 5321 4.1.1.11.
pub const UNKNOWN_PARAMETER: Reply = Reply::new(555, 5, 4, "parameter not known");
/// A command that is known but not done here.
pub const NOT_DONE: Reply = Reply::new(502, 5, 1, "command not implemented");
/// Commands out of order.
pub const GREET_FIRST: Reply = Reply::new(503, 5, 1, "greet first");
/// A second MAIL in one transaction.
pub const NESTED_MAIL: Reply = Reply::new(503, 5, 1, "sender already given");
/// RCPT or DATA without MAIL.
pub const MAIL_FIRST: Reply = Reply::new(503, 5, 1, "MAIL first");
/// DATA without an accepted recipient, SMTP. RFC 5321 3.3.
pub const NO_RECIPIENTS: Reply = Reply::new(554, 5, 1, "no valid recipients");
/// DATA without an accepted recipient, LMTP: RFC 2033 4.2 asks for 503.
pub const NO_RECIPIENTS_LMTP: Reply = Reply::new(503, 5, 1, "no valid recipients");
/// An address outside ASCII without the SMTPUTF8 parameter. RFC 6531 3.5.
pub const NEEDS_SMTPUTF8: Reply = Reply::new(553, 6, 7, "non-ASCII address needs SMTPUTF8");

/// A BDAT that cannot be read: how much payload follows is not known, so the session ends.
pub const BAD_CHUNK: Reply = Reply::new(501, 5, 4, "bad BDAT, closing");
/// BDAT behind a chunk that failed. RFC 3030 2.
pub const CHUNK_FAILED: Reply = Reply::new(503, 5, 1, "an earlier chunk failed");
/// DATA, MAIL or RCPT between the chunks of a message, or DATA for binary content. RFC 3030 2, 3.
pub const BDAT_ONLY: Reply = Reply::new(503, 5, 1, "go on with BDAT");
/// BDAT without EHLO or LHLO in force.
pub const BDAT_NEEDS_EHLO: Reply = Reply::new(503, 5, 1, "BDAT needs EHLO");
/// Anything else before TLS where it is demanded. RFC 3207 4.
pub const TLS_FIRST: Reply = Reply::new(530, 7, 0, "must issue a STARTTLS command first");
/// STARTTLS under TLS. RFC 3207 4.2.
pub const TLS_ALREADY: Reply = Reply::new(503, 5, 1, "TLS is active already");
/// STARTTLS, XCLIENT or XFORWARD in a transaction.
pub const NOT_IN_TRANSACTION: Reply = Reply::new(503, 5, 1, "not in a transaction");
/// STARTTLS without a certificate. RFC 3207 4.
pub const NO_TLS_NOW: Reply = Reply::new(454, 7, 0, "TLS is not available");
/// MAIL with an offset that was not told for its id, or that is not the MAIL that was begun.
/// draft-fanf-smtp-rfc1845bis-01 2.8.
pub const RESUME_DIFFERS: Reply = Reply::new(503, 5, 1, "that is not what is held");
/// RCPT that is not in the record of a resumed transaction. draft-fanf-smtp-rfc1845bis-01 2.9.
pub const NOT_IN_RECORD: Reply = Reply::new(553, 1, 3, "that recipient was not in the transaction");
/// Content behind the offset of a transaction that has come whole.
pub const NOTHING_WANTED: Reply = Reply::new(503, 5, 1, "nothing more was wanted");
/// XCLIENT or XFORWARD of a peer that is not trusted.
pub const NOT_TRUSTED: Reply = Reply::new(550, 7, 0, "not for you");

// ---- the session ends -----------------------------------------------------------------------

/// The error limit was reached.
pub const TOO_MANY_ERRORS: Reply = Reply::new(421, 7, 0, "too many errors");
/// The limit of commands without progress was reached.
pub const TOO_MUCH_JUNK: Reply = Reply::new(421, 7, 0, "too many commands without progress");
/// A command line that does not end.
pub const LINE_ENDLESS: Reply = Reply::new(421, 7, 0, "a command line without end, closing");
/// A line of HTTP or of a message header where a command belongs.
pub const NOT_SMTP: Reply = Reply::new(421, 7, 0, "this is not SMTP");
/// Octets were waiting behind a DATA that was refused.
pub const BODY_BEHIND_REFUSED_DATA: Reply =
    Reply::new(421, 7, 0, "data sent without a go-ahead, closing");
/// Octets behind STARTTLS that are no TLS: a command for after the handshake, which nobody may put
/// in from outside. RFC 3207 6.
pub const TALK_BEHIND_STARTTLS: Reply =
    Reply::new(554, 5, 1, "commands behind STARTTLS are refused");
/// More RESUMEs than a connection may ask.
pub const TOO_MANY_RESUMES: Reply = Reply::new(421, 7, 0, "too many RESUMEs");
/// A newer connection has the transaction. draft-fanf-smtp-rfc1845bis-01 2.7.
pub const TAKEN_OVER: Reply = Reply::new(421, 3, 2, "the transaction goes on elsewhere");
/// Content that was promised is kept no more.
pub const KEPT_CONTENT_LOST: Reply = Reply::new(421, 3, 0, "the content is held no more");
/// The client talked before the banner.
pub const EARLY_TALK: Reply = Reply::new(554, 5, 1, "you talk before the banner");
/// Nothing came for too long, or too little.
pub const IDLE: Reply = Reply::new(421, 4, 2, "timeout, closing");
/// The server is shutting down.
pub const SHUTTING_DOWN: Reply = Reply::new(421, 3, 2, "shutting down, try again later");
/// Too many connections in all.
pub const TOO_MANY_CONNECTIONS: Reply = Reply::new(421, 3, 2, "too many connections");
/// A trusted peer speaks for a client whose source has too many connections.
pub const TOO_MANY_FROM_SOURCE: Reply =
    Reply::new(421, 7, 0, "too many connections from your address");
/// More transactions than MAILMAX announced. RFC 9422.
pub const TOO_MANY_MESSAGES: Reply = Reply::new(421, 7, 0, "too many messages on this connection");
/// A message past twice the size limit.
pub const FAR_TOO_BIG: Reply = Reply::new(421, 3, 0, "message far too big, closing");

// ---- envelope -------------------------------------------------------------------------------

/// The declared or the true size is over the limit. RFC 1870 6.
pub const TOO_BIG: Reply = Reply::new(552, 3, 4, "message too big");
/// Too many recipients: always temporary. RFC 5321 4.5.3.1.10.
pub const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, 5, 3, "too many recipients");
/// A recipient of another policy class, put off to a transaction of its own.
pub const ANOTHER_CLASS: Reply =
    Reply::new(452, 5, 3, "send this recipient in another transaction");
/// A mailbox that does not exist.
pub const NO_SUCH_MAILBOX: Reply = Reply::new(550, 1, 1, "no such mailbox");
/// A domain that is not served here.
pub const NOT_OUR_DOMAIN: Reply = Reply::new(550, 7, 1, "we do not relay to that domain");
/// The unknown recipients of one source have reached their limit.
pub const TOO_MANY_UNKNOWN: Reply = Reply::new(421, 7, 0, "too many unknown recipients");
/// A route whose next hops take no SMTPUTF8 mail. RFC 6531 3.6.
pub const NO_SMTPUTF8_BEHIND: Reply =
    Reply::new(550, 6, 7, "no SMTPUTF8 mail can be handed on to this recipient");
/// A route whose next hops take no binary content. RFC 3030 3.
pub const NO_BINARY_BEHIND: Reply =
    Reply::new(550, 6, 1, "no binary content can be handed on to this recipient");
/// A route that cannot keep REQUIRETLS. RFC 8689 5.
pub const NO_REQUIRETLS_BEHIND: Reply = Reply::new(550, 7, 30, "REQUIRETLS support required");
/// The memory for message bodies is used up.
pub const NO_ROOM_NOW: Reply = Reply::new(452, 3, 1, "not enough space now");

// ---- content --------------------------------------------------------------------------------

/// Bare CR, bare LF or NUL in the content. RFC 5321 2.3.8, 4.1.1.4.
pub const BARE_NEWLINE: Reply = Reply::new(550, 5, 2, "message holds a bare CR, bare LF or NUL");
/// A text line over the limit, where the listener refuses them. RFC 5321 4.5.3.1.6.
pub const TEXT_LINE_TOO_LONG: Reply = Reply::new(550, 6, 0, "message has a line over 998 octets");
/// Too many Received fields. RFC 5321 6.3.
pub const LOOP: Reply = Reply::new(554, 4, 6, "too many hops, this is a loop");
/// More `Authentication-Results` fields that claim to be ours than anybody has by mistake.
pub const FORGED: Reply = Reply::new(554, 6, 0, "too many forged Authentication-Results fields");
/// Policy refuses the content.
pub const CONTENT_REFUSED: Reply = Reply::new(550, 7, 1, "message refused by policy");
/// Policy puts the content off.
pub const CONTENT_DEFERRED: Reply = Reply::new(450, 7, 1, "message deferred by policy");

// ---- behind us ------------------------------------------------------------------------------

/// The next hop cannot be reached, or broke the protocol.
pub const NEXT_HOP_DOWN: Reply = Reply::new(451, 4, 1, "next hop not reachable");
/// A way that does not keep REQUIRETLS, for a message that demands it. RFC 8689 4.2.1.
pub const NO_REQUIRETLS: Reply =
    Reply::new(550, 7, 30, "the way to next hop does not keep REQUIRETLS");
/// The next hop needs more transactions at a time than it may have.
pub const NEXT_HOP_BUSY: Reply = Reply::new(451, 4, 5, "next hop busy");
/// What came of a message is not known, or will not be known in time.
pub const OUTCOME_UNKNOWN: Reply = Reply::new(451, 3, 0, "outcome not known, send again");
/// A mailbox that is gone since it was accepted on an earlier connection.
pub const MAILBOX_GONE: Reply = Reply::new(450, 2, 1, "mailbox not available now");
/// The local store failed.
pub const LOCAL_FAULT: Reply = Reply::new(451, 3, 0, "local fault, try again later");
/// Some recipients refuse and some defer, none accepts.
pub const MIXED_DEFERRED: Reply = Reply::new(450, 7, 1, "not accepted for any recipient now");
