//! Octets on their way to a peer: a list of slices, in order.
//!
//! Replies and commands are owned; a body is shared between all the next hops that it goes to, and
//! is never copied.

use super::Body;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// What is to be sent in one go, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Output {
    pieces: SmallVec<[Piece; 3]>,
}

/// A piece of an [`Output`].
#[derive(Clone, Debug)]
pub enum Piece {
    /// Octets made for this output.
    Owned(Vec<u8>),
    /// Octets of the program itself.
    Fixed(&'static [u8]),
    /// A body in wire form, as DATA sends it.
    Wire(Arc<Body>),
}

impl Output {
    /// Nothing to send, yet.
    pub fn new() -> Output {
        Output::default()
    }

    /// Puts a piece behind the others.
    pub fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
    }

    /// Octets in all pieces.
    pub fn octets(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Owned(octets) => octets.len() as u64,
                Piece::Fixed(octets) => octets.len() as u64,
                Piece::Wire(body) => body.wire_octets(),
            })
            .sum()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.octets() == 0
    }

    /// The octets as slices that stay where they are as long as this output lives.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().flat_map(|piece| {
            let slices: SmallVec<[&[u8]; 4]> = match piece {
                Piece::Owned(octets) => smallvec![octets.as_slice()],
                Piece::Fixed(octets) => smallvec![*octets],
                Piece::Wire(body) => body.wire().collect(),
            };
            slices.into_iter().filter(|slice| !slice.is_empty())
        })
    }
}

impl From<Vec<u8>> for Output {
    fn from(octets: Vec<u8>) -> Output {
        Output { pieces: smallvec![Piece::Owned(octets)] }
    }
}
