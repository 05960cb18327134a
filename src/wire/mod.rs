//! Octets to commands, content and replies, and back.
//!
//! Nothing here knows of a session, a clock or a socket.

mod body;
mod output;

pub use body::{Body, BodyBuilder, Budget, PoolEmpty};
pub use output::{Output, Piece};
