//! What is packed in a stream is unpacked as it comes: gzip, and the entries of zip and tar.
//!
//! One [`Layer`] is open at a time, and what comes out of it is a stream again, which may hold
//! another layer, up to [`ARCHIVE_DEPTH_MAX`]. A layer works in a [`Place`] that is lent from the
//! thread's pool: a message that waits keeps no window of its own, and one that finds no place goes
//! on unread, with a finding. What is unpacked is passed on in steps of a window, wherever the wire
//! was cut, so that what is found and what it costs depend on the message alone.

use super::gzip::{Came, Gzip};
use super::{OfMessage, Stream, Tags, Told};
use crate::limits::{ARCHIVE_DEPTH_MAX, INFLATE_WINDOW_OCTETS, UNPACK_PLACES};
use crate::scan::unpacked::Looking;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use std::cell::RefCell;

/// What lies behind a header in an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    pub(super) method: Method,
    /// Octets between the header and what is packed.
    pub(super) skip: u64,
    /// Octets of what is packed, if the header says so.
    pub(super) octets: Option<u64>,
}

/// How something is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// As it is.
    Stored,
    Deflated,
    /// In a way that is not undone here.
    Other,
}

/// What is unpacked of a stream.
#[derive(Debug, Default)]
pub(super) struct Unpacking {
    /// There while the stream may be one that gzip made.
    gzip: Option<Gzip>,
    open: Option<Layer>,
}

/// An entry that is being unpacked.
#[derive(Debug)]
struct Layer {
    place: Lent,
    packed: Packed,
    /// Packed octets that were taken.
    taken: u64,
    /// Headers of a zip archive among them.
    headers: u32,
}

/// What a layer has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoesOn,
    /// The window is full, and there is more.
    Full,
    Ended,
    Failed,
}

impl Unpacking {
    /// At the start of a stream.
    pub(super) fn begin() -> Unpacking {
        Unpacking { gzip: Some(Gzip::default()), open: None }
    }

    /// Whether an entry of the stream may be opened.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_none() && self.gzip.as_ref().is_none_or(|gzip| !gzip.has_begun())
    }

    /// A header of a zip archive was seen. If it lies in what is packed, it is to come out of it, too.
    pub(super) fn see_header(&mut self) {
        if let Some(layer) = &mut self.open {
            layer.headers = layer.headers.saturating_add(1);
        }
    }

    /// An entry begins with the next octets of a stream that lies so deep.
    pub(super) fn open(
        &mut self,
        packed: Packed,
        depth: usize,
        message: &OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        debug_assert!(self.open.is_none());
        if !message.unpacks() || packed.octets == Some(0) {
            return;
        }
        if packed.method == Method::Other {
            return tell(Told::Tag(Tags::ARCHIVE_UNREAD));
        }
        if depth == ARCHIVE_DEPTH_MAX {
            return tell(Told::Tag(Tags::ARCHIVE_DEPTH));
        }
        match Lent::new() {
            Some(place) => self.open = Some(Layer { place, packed, taken: 0, headers: 0 }),
            None => tell(Told::Tag(Tags::ARCHIVE_UNREAD)),
        }
    }

    /// Reads the next octets of the stream.
    pub(super) fn read(
        &mut self,
        octets: &[u8],
        depth: usize,
        message: &mut OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        let mut rest = octets;
        while !rest.is_empty() {
            if !message.unpacks() {
                (self.gzip, self.open) = (None, None);
                return;
            }
            match self.gzip.as_mut().filter(|gzip| !gzip.is_in_body()) {
                Some(gzip) => {
                    let (taken, came) = gzip.read(rest);
                    rest = &rest[taken..];
                    self.gzip_came(came, depth, message, tell);
                }
                None => {
                    let Some(layer) = &mut self.open else { return };
                    let (taken, step) = layer.step(rest, depth, message, tell);
                    rest = &rest[taken..];
                    self.came(step, depth, message, tell);
                }
            }
        }
    }

    /// What octets around the members of a gzip file turned out to be.
    fn gzip_came(
        &mut self,
        came: Came,
        depth: usize,
        message: &mut OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        match came {
            Came::Nothing => {}
            Came::Body => {
                let packed = Packed { method: Method::Deflated, skip: 0, octets: None };
                match &mut self.open {
                    // RFC 1952 2.2: members follow one another, and are one file.
                    Some(layer) => layer.place.inflate.init(),
                    None => self.open(packed, depth, message, tell),
                }
                if self.open.is_none() {
                    self.gzip = None;
                }
            }
            Came::Other => {
                self.gzip = None;
                self.close(depth, message, tell);
            }
        }
    }

    fn came(
        &mut self,
        step: Step,
        depth: usize,
        message: &mut OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        match (step, &mut self.gzip) {
            (Step::GoesOn | Step::Full, _) => {}
            (Step::Ended, Some(gzip)) => gzip.body_ended(),
            (Step::Ended, None) => {
                if self.open.as_ref().is_some_and(Layer::is_ambiguous) {
                    tell(Told::Tag(Tags::ARCHIVE_AMBIGUOUS));
                }
                self.close(depth, message, tell);
            }
            (Step::Failed, _) => {
                tell(Told::Tag(Tags::ARCHIVE_BROKEN));
                self.gzip = None;
                self.close(depth, message, tell);
            }
        }
    }

    /// The stream has ended.
    pub(super) fn finish(
        &mut self,
        depth: usize,
        message: &mut OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) {
        let is_whole = self.gzip.take().is_some_and(|gzip| gzip.is_between_members());
        if self.open.is_some() && !is_whole && message.unpacks() {
            tell(Told::Tag(Tags::ARCHIVE_BROKEN));
        }
        self.close(depth, message, tell);
    }

    /// Passes on the last of what is open, and gives its place back.
    fn close(&mut self, depth: usize, message: &mut OfMessage, tell: &mut dyn FnMut(Told<'_>)) {
        let Some(mut layer) = self.open.take() else { return };
        layer.place.pass_on(depth, message, tell);
        if message.unpacks() {
            let Place { stream, looking, .. } = &mut *layer.place;
            stream.finish(depth + 1, message, tell);
            tell(Told::UnpackedEnd(looking));
        }
    }
}

impl Layer {
    /// Takes some of the next octets. Returns how many, and what came of them.
    fn step(
        &mut self,
        octets: &[u8],
        depth: usize,
        message: &mut OfMessage,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> (usize, Step) {
        if self.packed.skip > 0 {
            let skipped = least(octets.len(), self.packed.skip);
            self.packed.skip -= skipped as u64;
            return (skipped, Step::GoesOn);
        }
        let mut all_taken = 0;
        loop {
            let (taken, step) = self.unpack(&octets[all_taken..]);
            self.taken += taken as u64;
            all_taken += taken;
            if depth == 0 {
                message.packed += taken as u64;
            }
            if step != Step::Full {
                return (all_taken, step);
            }
            self.place.pass_on(depth, message, tell);
            if !message.unpacks() {
                return (all_taken, Step::GoesOn);
            }
        }
    }

    /// Unpacks octets until the window is full.
    fn unpack(&mut self, octets: &[u8]) -> (usize, Step) {
        if self.packed.method == Method::Deflated {
            return self.place.inflate(octets);
        }
        let left = self.packed.octets.map_or(u64::MAX, |octets| octets.saturating_sub(self.taken));
        let octets = &octets[..least(octets.len(), left)];
        let taken = self.place.keep(octets);
        let step = match taken < octets.len() {
            true => Step::Full,
            false if taken as u64 == left => Step::Ended,
            false => Step::GoesOn,
        };
        (taken, step)
    }

    /// Whether the entry ended elsewhere than its header says, or hides the headers of others.
    fn is_ambiguous(&self) -> bool {
        let says_otherwise = self.packed.octets.is_some_and(|octets| octets != self.taken);
        says_otherwise || self.headers > self.place.stream.zip_headers()
    }
}

/// As much of a length as there is of the other.
fn least(length: usize, other: u64) -> usize {
    length.min(usize::try_from(other).unwrap_or(usize::MAX))
}

// ---- places -----------------------------------------------------------------------------------

/// The memory in which one layer is unpacked.
struct Place {
    inflate: DecompressorOxide,
    window: [u8; INFLATE_WINDOW_OCTETS],
    /// Octets of the window that were not passed on.
    length: usize,
    /// What comes out, as a stream that may hold archives, and as rules see it.
    stream: Stream,
    looking: Looking,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            inflate: DecompressorOxide::new(),
            window: [0; INFLATE_WINDOW_OCTETS],
            length: 0,
            stream: Stream::default(),
            looking: Looking::default(),
        }
    }
}

impl Place {
    /// Inflates octets, until the window is full.
    fn inflate(&mut self, octets: &[u8]) -> (usize, Step) {
        let (status, taken, came) =
            decompress(&mut self.inflate, octets, &mut self.window, self.length, HAS_MORE);
        self.length += came;
        match status {
            TINFLStatus::Done => (taken, Step::Ended),
            TINFLStatus::NeedsMoreInput => (taken, Step::GoesOn),
            TINFLStatus::HasMoreOutput => (taken, Step::Full),
            _ => (taken, Step::Failed),
        }
    }

    /// Keeps octets as they are, until the window is full.
    fn keep(&mut self, octets: &[u8]) -> usize {
        let taken = octets.len().min(INFLATE_WINDOW_OCTETS - self.length);
        self.window[self.length..][..taken].copy_from_slice(&octets[..taken]);
        self.length += taken;
        taken
    }

    /// Passes on what the window holds of a layer that lies so deep.
    fn pass_on(&mut self, depth: usize, message: &mut OfMessage, tell: &mut dyn FnMut(Told<'_>)) {
        let Place { window, length, stream, looking, .. } = self;
        let octets = &window[..std::mem::take(length)];
        let octets = &octets[..message.take_unpacked(octets.len(), tell)];
        if !octets.is_empty() {
            tell(Told::Unpacked(looking, octets));
            stream.read(octets, depth + 1, message, tell);
        }
    }

    /// Forgets all of the last layer. What a distance reaches that was never written is zero.
    fn clear(&mut self) {
        self.inflate.init();
        self.window.fill(0);
        self.length = 0;
        self.stream = Stream::default();
        self.looking.clear();
    }
}

/// The window goes round, and octets may follow those that are given.
const HAS_MORE: u32 = miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("length", &self.length).finish_non_exhaustive()
    }
}

/// A place that goes back when it is dropped.
#[derive(Debug)]
struct Lent {
    /// There until it is dropped.
    place: Option<Box<Place>>,
}

/// The places of a thread.
#[derive(Default)]
struct Places {
    idle: Vec<Box<Place>>,
    lent: usize,
}

thread_local! {
    static PLACES: RefCell<Places> = RefCell::default();
}

impl Lent {
    /// A place, if one is left.
    fn new() -> Option<Lent> {
        PLACES.with_borrow_mut(|places| {
            if places.lent == UNPACK_PLACES {
                return None;
            }
            places.lent += 1;
            Some(Lent { place: Some(places.idle.pop().unwrap_or_default()) })
        })
    }
}

impl std::ops::Deref for Lent {
    type Target = Place;

    fn deref(&self) -> &Place {
        self.place.as_deref().expect("a place is there until it is dropped")
    }
}

impl std::ops::DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Place {
        self.place.as_deref_mut().expect("a place is there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut place) = self.place.take() else { return };
        // Layers inside give theirs back before the pool is asked.
        place.clear();
        // A thread that ends has no pool any more.
        let _ = PLACES.try_with(|places| {
            let mut places = places.borrow_mut();
            places.lent -= 1;
            places.idle.push(place);
        });
    }
}

/// Octets of a place.
pub(in crate::scan) const PLACE_OCTETS: usize = size_of::<Place>();
