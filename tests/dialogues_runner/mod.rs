//! Wire dialogues, replayed against the gateway and judged.
//!
//! A [`vector`] is read from its file; [`expand`] turns its texts into octets and patterns; an
//! [`installation`] is made for it, with its settings; a [`stage`] carries its octets, in memory or
//! over sockets; [`play`] goes through its lines; [`run`] does that for all vectors and modes.

pub mod expand;
pub mod installation;
pub mod memory;
pub mod play;
pub mod reply;
pub mod run;
pub mod sockets;
pub mod stage;
pub mod vector;
