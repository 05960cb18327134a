//! Octets on their way to a peer: a list of slices, in order.
//!
//! Replies and commands are owned; a body is shared between all the next hops that it goes to, and
//! is never copied.

use super::body::{Body, Slices};
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
    /// The content of a body, as BDAT sends it.
    Content(Arc<Body>),
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
        self.pieces.iter().map(Piece::octets).sum()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.octets() == 0
    }

    /// The octets as slices that stay where they are as long as this output lives.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.slices_from(0)
    }

    /// The same, from that octet on. To go on in a body costs a walk through one of its blocks at
    /// most.
    pub fn slices_from(&self, octet: u64) -> impl Iterator<Item = &[u8]> {
        let mut octet = octet;
        let pieces = self.pieces.iter().flat_map(move |piece| {
            let here = octet.min(piece.octets());
            octet -= here;
            piece.slices_from(here)
        });
        pieces.filter(|slice| !slice.is_empty())
    }
}

impl Piece {
    fn octets(&self) -> u64 {
        match self {
            Piece::Owned(octets) => octets.len() as u64,
            Piece::Fixed(octets) => octets.len() as u64,
            Piece::Wire(body) => body.wire_octets(),
            Piece::Content(body) => body.content_octets(),
        }
    }

    fn slices_from(&self, octet: u64) -> PieceSlices<'_> {
        let behind = |octets| usize::try_from(octet).ok().and_then(|at| <[u8]>::get(octets, at..));
        match self {
            Piece::Owned(octets) => PieceSlices::One(behind(octets)),
            Piece::Fixed(octets) => PieceSlices::One(behind(octets)),
            Piece::Wire(body) => PieceSlices::Many(body.wire_from(octet)),
            Piece::Content(body) => PieceSlices::Many(body.content_from(octet)),
        }
    }
}

/// The slices of one piece.
enum PieceSlices<'a> {
    One(Option<&'a [u8]>),
    Many(Slices<'a>),
}

impl<'a> Iterator for PieceSlices<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            PieceSlices::One(slice) => slice.take(),
            PieceSlices::Many(slices) => slices.next(),
        }
    }
}

impl From<Vec<u8>> for Output {
    fn from(octets: Vec<u8>) -> Output {
        Output { pieces: smallvec![Piece::Owned(octets)] }
    }
}
