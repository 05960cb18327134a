//! The multiparts and messages that are open, and the lines that delimit their parts.

use super::content_type::{Boundary, ContentType};
use crate::limits::MIME_DEPTH_MAX;

/// Memory for frames to begin with; deeper nesting takes more, which is kept for the next message.
pub(super) const FRAMES_AT_REST: usize = 4;

/// The multiparts and messages that are open, outermost first.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) frames: Vec<Frame>,
    boundaries: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub part: u32,
    /// None for a message, which ends with what it lies in.
    pub boundary: Option<Boundary>,
    /// The same multipart as the frame before it, under the other boundary that it named.
    pub twin: bool,
    pub digest: bool,
    /// Its close delimiter was seen.
    pub closed: bool,
}

/// What a line that begins with two dashes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// Text.
    No,
    /// Text that begins like a delimiter; RFC 2046 5.1.1 would even have it taken for one.
    Nearly,
    /// The delimiter of a frame, or its close delimiter.
    Of { frame: usize, close: bool },
}

impl Default for Frames {
    fn default() -> Frames {
        Frames { frames: Vec::with_capacity(FRAMES_AT_REST), boundaries: 0 }
    }
}

impl Frames {
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.boundaries = 0;
    }

    /// Whether a line could be a delimiter at all.
    pub(super) fn has_boundary(&self) -> bool {
        self.boundaries > 0
    }

    pub(super) fn check_invariants(&self) {
        debug_assert!(self.frames.len() <= MIME_DEPTH_MAX);
        debug_assert!(
            self.boundaries == self.frames.iter().filter(|f| f.boundary.is_some()).count()
        );
        debug_assert!(self.frames.first().is_none_or(|frame| !frame.twin));
    }

    /// How many parts are open.
    pub(super) fn depth(&self) -> usize {
        self.frames.iter().filter(|frame| !frame.twin).count()
    }

    pub(super) fn has_room_for(&self, boundaries: usize) -> bool {
        self.frames.len() + boundaries.max(1) <= MIME_DEPTH_MAX
    }

    pub(super) fn push_message(&mut self, part: u32) {
        let frame = Frame { part, boundary: None, twin: false, digest: false, closed: false };
        self.frames.push(frame);
    }

    pub(super) fn push_multipart(&mut self, part: u32, content_type: &ContentType) {
        let digest = content_type.media_type.is_digest();
        for (index, boundary) in content_type.boundaries.into_iter().flatten().enumerate() {
            let (boundary, twin) = (Some(boundary), index > 0);
            self.frames.push(Frame { part, boundary, twin, digest, closed: false });
            self.boundaries += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop()?;
        self.boundaries -= usize::from(frame.boundary.is_some());
        Some(frame)
    }

    /// How many frames stay when a delimiter of `frame` is met: those up to it, and its twin.
    pub(super) fn kept_by(&self, frame: usize) -> usize {
        let twin = self.frames.get(frame + 1).is_some_and(|next| next.twin);
        frame + 1 + usize::from(twin)
    }

    /// What a line is, from its two dashes on. A line without its end is one that is longer than
    /// what is held. Inner boundaries are tried before outer ones, open ones before closed ones.
    pub(super) fn judge(&self, line: &[u8]) -> Delimiter {
        let Some(rest) = line.strip_prefix(b"--") else { return Delimiter::No };
        let end = rest.iter().rposition(|octet| !is_padding(*octet)).map_or(0, |last| last + 1);
        let rest = &rest[..end];
        let mut nearly = false;
        for closed in [false, true] {
            for (index, frame) in self.frames.iter().enumerate().rev() {
                let Some(boundary) = frame.boundary.filter(|_| frame.closed == closed) else {
                    continue;
                };
                let Some(tail) = rest.strip_prefix(boundary.octets()) else { continue };
                if tail.is_empty() || boundary.is_cut() {
                    return Delimiter::Of { frame: index, close: false };
                }
                if tail == b"--" {
                    return Delimiter::Of { frame: index, close: true };
                }
                // With an empty boundary every line of dashes would nearly be one.
                nearly |= !boundary.octets().is_empty();
            }
        }
        if nearly { Delimiter::Nearly } else { Delimiter::No }
    }
}

/// RFC 2046 5.1.1: a delimiter may be followed by `transport-padding := *LWSP-char`.
pub(super) fn is_padding(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}
