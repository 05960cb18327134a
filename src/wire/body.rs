//! A message body in wire form: the octets as they came, and where dots were stuffed.
//!
//! The body lies in blocks, so that it is never moved while it grows and goes out as a list of
//! slices. Both forms can be had without copying: as it came (for DATA), and with the stuffed dots
//! left out (for BDAT, for stores, for the scanner's readers). Blocks are counted against a
//! [`Budget`], which is the bound on all the mail that a shard holds at one time.

use crate::limits::BODY_BLOCK_OCTETS;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory for bodies, in octets: one budget a shard.
///
/// A body gives its blocks back when its last user drops it, which may be a store's thread; that is
/// why the count is atomic. It is touched once a block, never once an octet.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<BudgetCount>,
}

#[derive(Debug)]
struct BudgetCount {
    taken: AtomicU64,
    max: u64,
}

impl Budget {
    /// A budget of `octets`, rounded down to whole blocks.
    pub fn new(octets: u64) -> Budget {
        Budget { shared: Arc::new(BudgetCount { taken: AtomicU64::new(0), max: octets }) }
    }

    /// Octets taken now.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Whether at least one block is left.
    pub fn has_room(&self) -> bool {
        self.taken() + BODY_BLOCK_OCTETS as u64 <= self.shared.max
    }

    fn take_block(&self) -> Result<(), PoolEmpty> {
        // Only the shard's own thread takes, so a check before the addition cannot be overtaken.
        if !self.has_room() {
            return Err(PoolEmpty);
        }
        self.shared.taken.fetch_add(BODY_BLOCK_OCTETS as u64, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, blocks: usize) {
        self.shared.taken.fetch_sub((blocks * BODY_BLOCK_OCTETS) as u64, Ordering::Relaxed);
    }
}

/// The shard's memory for bodies is used up: the message must be put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory is left for message bodies")]
pub struct PoolEmpty;

/// A body that is still arriving.
#[derive(Debug)]
pub struct BodyBuilder {
    body: Body,
}

impl BodyBuilder {
    /// An empty body that will take its blocks from `budget`.
    pub fn new(budget: &Budget) -> BodyBuilder {
        BodyBuilder {
            body: Body {
                blocks: Vec::new(),
                stuffed_dots: Vec::new(),
                wire_octets: 0,
                budget: budget.clone(),
            },
        }
    }

    /// Adds wire octets. When `dot_stuffed`, the first of them is a dot that the sender put there.
    pub fn push(&mut self, mut wire: &[u8], dot_stuffed: bool) -> Result<(), PoolEmpty> {
        if dot_stuffed {
            debug_assert_eq!(wire.first(), Some(&b'.'));
            self.body.stuffed_dots.push(self.body.wire_octets);
        }
        while !wire.is_empty() {
            let room = match self.body.blocks.last() {
                Some(block) => BODY_BLOCK_OCTETS - block.len(),
                None => 0,
            };
            if room == 0 {
                self.body.budget.take_block()?;
                self.body.blocks.push(Vec::with_capacity(BODY_BLOCK_OCTETS));
                continue;
            }
            let (now, later) = wire.split_at(room.min(wire.len()));
            if let Some(block) = self.body.blocks.last_mut() {
                block.extend_from_slice(now);
            }
            self.body.wire_octets += now.len() as u64;
            wire = later;
        }
        Ok(())
    }

    /// The body, complete.
    pub fn finish(self) -> Arc<Body> {
        Arc::new(self.body)
    }
}

/// A complete body. Its lines end with CRLF and its leading dots are stuffed; the end mark is not
/// part of it.
#[derive(Debug)]
pub struct Body {
    blocks: Vec<Vec<u8>>,
    stuffed_dots: Vec<u64>,
    wire_octets: u64,
    budget: Budget,
}

impl Body {
    /// Octets in wire form.
    pub fn wire_octets(&self) -> u64 {
        self.wire_octets
    }

    /// Octets of content: stuffed dots do not count (what SIZE, BDAT and checkpoints count).
    pub fn content_octets(&self) -> u64 {
        self.wire_octets - self.stuffed_dots.len() as u64
    }

    /// The octets in wire form, block by block.
    pub fn wire(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(Vec::as_slice)
    }

    /// The octets of content, without the stuffed dots, as slices of the blocks.
    pub fn content(&self) -> impl Iterator<Item = &[u8]> {
        let mut dots = self.stuffed_dots.iter().copied().peekable();
        let mut block_start = 0u64;
        self.wire().flat_map(move |block| {
            let block_end = block_start + block.len() as u64;
            let mut slices = smallvec::SmallVec::<[&[u8]; 4]>::new();
            let mut from = 0;
            while let Some(dot) = dots.next_if(|dot| *dot < block_end) {
                let at = (dot - block_start) as usize;
                slices.push(&block[from..at]);
                from = at + 1;
            }
            slices.push(&block[from..]);
            block_start = block_end;
            slices.into_iter().filter(|slice| !slice.is_empty())
        })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.give_back(self.blocks.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(pieces: &[(&[u8], bool)], budget: &Budget) -> Result<Arc<Body>, PoolEmpty> {
        let mut builder = BodyBuilder::new(budget);
        for (wire, stuffed) in pieces {
            builder.push(wire, *stuffed)?;
        }
        Ok(builder.finish())
    }

    #[test]
    fn both_forms_come_from_the_same_blocks() {
        let budget = Budget::new(1 << 20);
        let long = vec![b'x'; BODY_BLOCK_OCTETS];
        let body =
            build(&[(b"..a\r\n", true), (&long, false), (b"...\r\n", true)], &budget).unwrap();
        let wire: Vec<u8> = body.wire().flatten().copied().collect();
        let content: Vec<u8> = body.content().flatten().copied().collect();
        assert_eq!(wire, [b"..a\r\n", &long[..], b"...\r\n"].concat());
        assert_eq!(content, [b".a\r\n", &long[..], b"..\r\n"].concat());
        assert_eq!(body.content_octets(), content.len() as u64);
        assert_eq!(body.wire_octets(), wire.len() as u64);
    }

    #[test]
    fn a_budget_is_kept_and_given_back() {
        let budget = Budget::new(2 * BODY_BLOCK_OCTETS as u64);
        let full = vec![b'x'; 2 * BODY_BLOCK_OCTETS];
        let body = build(&[(&full, false)], &budget).unwrap();
        assert!(!budget.has_room());
        assert_eq!(build(&[(b"y", false)], &budget).unwrap_err(), PoolEmpty);
        drop(body);
        assert_eq!(budget.taken(), 0);
        assert!(build(&[(b"y", false)], &budget).is_ok());
    }
}
