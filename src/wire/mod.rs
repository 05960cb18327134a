//! Octets to commands, content and replies, and back.
//!
//! [`LineReader`] cuts command lines out of the stream, [`Verb`], [`Mail`] and [`Rcpt`] read them,
//! [`Framer`] finds the end of data and hands on content, [`ChunkReader`] does so for BDAT, [`Body`]
//! keeps it, [`Reply`] is rendered into octets, and [`ReplyReader`] reads what a next hop answers.
//! [`ProxyReader`] and [`PeerAttributes`] read what trusted peers say of the client they speak for.
//!
//! Nothing here knows of a session, a clock or a socket.

mod address;
mod body;
mod chunk;
mod command;
mod content;
mod line;
mod output;
mod parameters;
mod peer;
mod proxy;
pub mod replies;
mod reply;
mod reply_reader;
mod unitext;
mod xtext;

pub use address::{Domain, ForwardPath, Mailbox, PathFault, ReversePath, unquoted};
#[cfg(test)]
pub(crate) use body::SLICES_WALKED;
pub use body::{Body, BodyBuilder, Budget, PoolEmpty, Slices};
pub use chunk::{Chunk, ChunkReader};
pub(crate) use command::is_greeting_name;
pub use command::{BodyKind, Mail, Notify, Offers, Rcpt, Ret, Verb, greeting_name, resume_id};
pub use content::{ContentSink, Framed, Framer, Newlines};
pub use line::{Line, LineReader};
pub use output::{Output, Piece};
pub use peer::{PeerAttributes, PeerCommand, Told, XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES};
pub use proxy::{Proxied, ProxyFault, ProxyReader};
pub use reply::{Enhanced, Kind, Reply};
pub use reply_reader::{BadReply, ReplyReader};
pub use unitext::{in_seven_bits as unitext_in_seven_bits, is_unitext};
pub use xtext::{decode as decode_xtext, encode as encode_xtext};
