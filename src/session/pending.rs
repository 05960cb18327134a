//! Octets that came while a session waits.
//!
//! A client may pipeline thousands of commands, each of which is waited for by itself. What is done
//! with stays in front until it is the greater part: so each octet is moved once on average, however
//! small the steps, and no more memory is held than twice what waits.

/// Octets that wait, first come first.
#[derive(Debug, Default)]
pub(super) struct Pending {
    octets: Vec<u8>,
    /// So many of them are done with.
    done: usize,
}

impl Pending {
    /// Puts octets behind the others.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.octets.len() - self.done
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The octets that wait.
    pub fn octets(&self) -> &[u8] {
        &self.octets[self.done..]
    }

    /// All but the last `left` are done with. When none is left no memory is held.
    pub fn keep_last(mut self, left: usize) -> Pending {
        self.done = self.octets.len() - left.min(self.len());
        if self.done >= left {
            return Pending { octets: self.octets().to_vec(), done: 0 };
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_in_order_and_is_moved_seldom() {
        let all: Vec<u8> = (0..=255).cycle().take(60_000).collect();
        let (mut pending, mut moved, mut at) = (Pending::default(), 0, 0);
        pending.push(&all);
        while !pending.is_empty() {
            assert_eq!(pending.octets(), &all[at..]);
            let left = pending.len() - pending.len().min(7);
            let before = pending.octets.as_ptr();
            pending = pending.keep_last(left);
            at = all.len() - left;
            moved += if pending.octets.as_ptr() == before { 0 } else { left };
            assert!(pending.octets.len() <= 2 * pending.len());
        }
        assert!(moved <= all.len(), "{moved} octets were moved");
        assert_eq!(pending.octets.capacity(), 0);
    }
}
