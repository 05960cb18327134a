//! A message body, in the form in which it came: as DATA carries it (wire form, leading dots
//! stuffed) or as BDAT does (content, octet by octet).
//!
//! The body lies in blocks, so that it is never moved while it grows and goes out as a list of
//! slices. Both forms can be had of either without copying: a stuffed dot is left out between two
//! slices, or put in by a slice that begins with the very dot with which the one before has ended.
//! Where these dots are is not remembered, as a hostile message could otherwise buy eight octets of
//! memory for four of its own: every dot behind a line end is one. Each block knows how many lie
//! before it, so that a send goes on anywhere after a walk through one block at most. Blocks are
//! counted against a [`Budget`], which is the bound on all the mail that a shard holds at one time.

use crate::limits::BODY_BLOCK_OCTETS;
use memchr::memmem;
use std::ops::Range;
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
    /// Nothing was pushed yet, or an LF last.
    line_begins: bool,
}

impl BodyBuilder {
    /// An empty body that comes by DATA, in wire form, and takes its blocks from `budget`.
    pub fn new(budget: &Budget) -> BodyBuilder {
        BodyBuilder::of(Form::Wire, budget)
    }

    /// An empty body that comes by BDAT, as content, and takes its blocks from `budget`.
    pub fn plain(budget: &Budget) -> BodyBuilder {
        BodyBuilder::of(Form::Content, budget)
    }

    fn of(form: Form, budget: &Budget) -> BodyBuilder {
        let body = Body { form, blocks: Vec::new(), octets: 0, dots: 0, budget: budget.clone() };
        BodyBuilder { body, line_begins: true }
    }

    /// Adds octets. When `dot_stuffed`, the first of them is a dot that the sender put there, which
    /// only happens in wire form.
    pub fn push(&mut self, mut octets: &[u8], dot_stuffed: bool) -> Result<(), PoolEmpty> {
        debug_assert!(!dot_stuffed || self.body.form == Form::Wire);
        let mut stuffed = u64::from(dot_stuffed);
        while !octets.is_empty() {
            let room = match self.body.blocks.last() {
                Some(block) => BODY_BLOCK_OCTETS - block.octets.len(),
                None => 0,
            };
            if room == 0 {
                self.add_block()?;
                continue;
            }
            let (now, later) = octets.split_at(room.min(octets.len()));
            self.body.dots += match self.body.form {
                Form::Wire => std::mem::take(&mut stuffed),
                Form::Content => leading_dots(now, self.line_begins),
            };
            self.line_begins = now.last() == Some(&b'\n');
            if let Some(block) = self.body.blocks.last_mut() {
                block.octets.extend_from_slice(now);
            }
            self.body.octets += now.len() as u64;
            octets = later;
        }
        Ok(())
    }

    fn add_block(&mut self) -> Result<(), PoolEmpty> {
        self.body.budget.take_block()?;
        self.body.blocks.push(Block {
            octets: Vec::with_capacity(BODY_BLOCK_OCTETS),
            octets_before: self.body.octets,
            dots_before: self.body.dots,
        });
        Ok(())
    }

    /// The body, complete but for these ranges of content, in their order, which are whole lines.
    pub fn finish_without(mut self, ranges: &[Range<u64>]) -> Arc<Body> {
        for range in ranges.iter().rev() {
            let [from, to] = [range.start, range.end].map(|line| self.body.kept_at(line));
            self.body.remove(from..to);
        }
        self.finish()
    }

    /// The body, complete.
    pub fn finish(self) -> Arc<Body> {
        self.body.check_invariants();
        Arc::new(self.body)
    }
}

/// Dots at the beginnings of lines.
fn leading_dots(octets: &[u8], line_begins: bool) -> u64 {
    let first = line_begins && octets.first() == Some(&b'.');
    u64::from(first) + memmem::find_iter(octets, LINE_END_AND_DOT).count() as u64
}

const LINE_END_AND_DOT: &[u8] = b"\n.";

/// A complete body. The end mark is not part of it.
///
/// Whoever asks for the wire form of a body that came as content knows that it is text: in wire form
/// CR and LF have no place but in CRLF, and a line that follows a bare LF is stuffed as any other.
#[derive(Debug)]
pub struct Body {
    form: Form,
    blocks: Vec<Block>,
    /// Octets in all blocks.
    octets: u64,
    /// Dots at the beginnings of lines, in all blocks.
    dots: u64,
    budget: Budget,
}

/// How a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// By DATA: lines end with CRLF, and their leading dots are stuffed.
    Wire,
    /// By BDAT: octets as they are meant.
    Content,
}

/// A stretch of [`BODY_BLOCK_OCTETS`] octets, or the last, shorter one.
#[derive(Debug)]
struct Block {
    octets: Vec<u8>,
    /// Octets in all blocks before.
    octets_before: u64,
    /// Dots at the beginnings of lines, in all blocks before.
    dots_before: u64,
}

impl Body {
    /// Octets in wire form.
    pub fn wire_octets(&self) -> u64 {
        match self.form {
            Form::Wire => self.octets,
            Form::Content => self.octets + self.dots + self.line_end().len() as u64,
        }
    }

    /// Octets of content: stuffed dots do not count (what SIZE, BDAT and checkpoints count).
    pub fn content_octets(&self) -> u64 {
        match self.form {
            Form::Wire => self.octets - self.dots,
            Form::Content => self.octets,
        }
    }

    /// Whether it came as content, and not in wire form.
    pub fn is_plain(&self) -> bool {
        self.form == Form::Content
    }

    /// The octets in wire form.
    pub fn wire(&self) -> Slices<'_> {
        self.wire_from(0)
    }

    /// The octets in wire form, from that one on.
    pub fn wire_from(&self, octet: u64) -> Slices<'_> {
        match self.form {
            Form::Wire => self.slices(Dots::Kept, b"", octet),
            Form::Content => self.slices(Dots::Doubled, self.line_end(), octet),
        }
    }

    /// The octets of content.
    pub fn content(&self) -> Slices<'_> {
        self.content_from(0)
    }

    /// The octets of content, from that one on.
    pub fn content_from(&self, octet: u64) -> Slices<'_> {
        match self.form {
            Form::Wire => self.slices(Dots::LeftOut, b"", octet),
            Form::Content => self.slices(Dots::Kept, b"", octet),
        }
    }

    /// What content whose last line has no end lacks in wire form: the end mark of RFC 5321 4.1.1.4
    /// begins with a CRLF.
    fn line_end(&self) -> &'static [u8] {
        let ended = match &*self.blocks {
            [] => true,
            [.., before, last] if last.octets == b"\n" => before.octets.ends_with(b"\r"),
            [.., last] => last.octets.ends_with(b"\r\n"),
        };
        if ended { b"" } else { b"\r\n" }
    }

    fn slices(&self, dots: Dots, tail: &'static [u8], octet: u64) -> Slices<'_> {
        let begin = |block: &Block| dots.octets(block.octets_before, block.dots_before);
        let found = self.blocks.partition_point(|block| begin(block) <= octet).saturating_sub(1);
        let (before, blocks) = self.blocks.split_at(found);
        let mut slices = Slices {
            dots,
            blocks: blocks.iter(),
            rest: b"",
            line_begins: before.last().is_none_or(|block| block.octets.ends_with(b"\n")),
            resumed: b"",
            tail,
        };
        slices.pass_over(octet - blocks.first().map_or(0, begin));
        slices
    }

    /// Where in the blocks a line lies that begins with that octet of content.
    fn kept_at(&self, line: u64) -> u64 {
        if self.form == Form::Content {
            return line;
        }
        let begins = |block: &Block| block.octets_before - block.dots_before <= line;
        let found = self.blocks.partition_point(begins).saturating_sub(1);
        let Some(block) = self.blocks.get(found) else { return line };
        let line_begins = found == 0 || self.blocks[found - 1].octets.ends_with(b"\n");
        let first = (line_begins && block.octets.starts_with(b".")).then_some(0);
        let others = memmem::find_iter(&block.octets, LINE_END_AND_DOT).map(|end| end + 1);
        // A stuffed dot is no content: it counts if what it stands for lies before the line.
        let is_before = |(dot, before): &(usize, u64)| {
            block.octets_before + *dot as u64 - (block.dots_before + before) < line
        };
        let dots = first.into_iter().chain(others).zip(0..).take_while(is_before).count();
        line + block.dots_before + dots as u64
    }

    /// Removes whole lines from the blocks. Only the blocks in which they lie are changed.
    fn remove(&mut self, lines: Range<u64>) {
        let mut from = 0;
        for block in &mut self.blocks {
            let length = block.octets.len() as u64;
            let within = |octet: u64| octet.clamp(from, from + length) - from;
            let removed = within(lines.start) as usize..within(lines.end) as usize;
            block.octets.drain(removed);
            from += length;
        }
        let before = self.blocks.len();
        self.blocks.retain(|block| !block.octets.is_empty());
        self.budget.give_back(before - self.blocks.len());
        let mut line_begins = true;
        (self.octets, self.dots) = (0, 0);
        for block in &mut self.blocks {
            (block.octets_before, block.dots_before) = (self.octets, self.dots);
            self.octets += block.octets.len() as u64;
            self.dots += leading_dots(&block.octets, line_begins);
            line_begins = block.octets.ends_with(b"\n");
        }
    }

    fn check_invariants(&self) {
        if cfg!(debug_assertions) {
            let mut line_begins = true;
            let (mut octets, mut dots) = (0, 0);
            for block in &self.blocks {
                debug_assert_eq!((block.octets_before, block.dots_before), (octets, dots));
                octets += block.octets.len() as u64;
                dots += leading_dots(&block.octets, line_begins);
                line_begins = block.octets.ends_with(b"\n");
            }
            debug_assert_eq!((self.octets, self.dots), (octets, dots));
        }
    }
}

/// What becomes of the dots at the beginnings of lines.
#[derive(Clone, Copy, Debug)]
enum Dots {
    Kept,
    /// RFC 5321 4.5.2: if the first character of a line is a period and there are other characters
    /// on the line, the first character is deleted.
    LeftOut,
    /// RFC 5321 4.5.2: if the first character of a line is a period, one additional period is
    /// inserted.
    Doubled,
}

impl Dots {
    fn octets(self, octets: u64, dots: u64) -> u64 {
        match self {
            Dots::Kept => octets,
            Dots::LeftOut => octets - dots,
            Dots::Doubled => octets + dots,
        }
    }
}

/// The octets of a body in one of its forms, as slices of its blocks. None is empty.
#[derive(Clone, Debug)]
pub struct Slices<'a> {
    dots: Dots,
    blocks: std::slice::Iter<'a, Block>,
    /// What is left of the block at hand.
    rest: &'a [u8],
    /// At the beginning of the rest a line begins, whose dot was not looked at.
    line_begins: bool,
    /// The rest of the slice in which the first octet that is wanted lies.
    resumed: &'a [u8],
    /// What comes behind all blocks.
    tail: &'static [u8],
}

impl<'a> Slices<'a> {
    /// Goes on behind so many octets.
    fn pass_over(&mut self, mut octets: u64) {
        while octets > 0 {
            let Some(slice) = self.next() else { return };
            match usize::try_from(octets).ok().and_then(|octets| slice.get(octets..)) {
                Some(rest) => {
                    self.resumed = rest;
                    return;
                }
                None => octets -= slice.len() as u64,
            }
        }
    }

    /// The next slice of the block at hand. `None` at its end.
    fn next_of_block(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let dot_leads = std::mem::take(&mut self.line_begins) && self.rest.first() == Some(&b'.');
        match self.dots {
            Dots::Kept => return non_empty(std::mem::take(&mut self.rest)),
            Dots::LeftOut if dot_leads => self.rest = &self.rest[1..],
            // The dot goes out once now and once more with the rest.
            Dots::Doubled if dot_leads => return Some(&self.rest[..1]),
            Dots::LeftOut | Dots::Doubled => {}
        }
        let Some(line_end) = memmem::find(self.rest, LINE_END_AND_DOT) else {
            self.line_begins = self.rest.last() == Some(&b'\n');
            return non_empty(std::mem::take(&mut self.rest));
        };
        let dot = line_end + 1;
        let slice = match self.dots {
            // Its dot goes out at the end of this slice and at the beginning of the next.
            Dots::Doubled => &self.rest[..=dot],
            Dots::LeftOut | Dots::Kept => {
                self.line_begins = true;
                &self.rest[..dot]
            }
        };
        self.rest = &self.rest[dot..];
        Some(slice)
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        #[cfg(test)]
        SLICES_WALKED.with(|walked| walked.set(walked.get() + 1));
        if let Some(resumed) = non_empty(std::mem::take(&mut self.resumed)) {
            return Some(resumed);
        }
        loop {
            if let Some(slice) = self.next_of_block() {
                return Some(slice);
            }
            match self.blocks.next() {
                Some(block) => self.rest = &block.octets,
                None => return non_empty(std::mem::take(&mut self.tail)),
            }
        }
    }
}

#[cfg(test)]
thread_local! {
    /// Slices that this thread has walked over, for tests that bound the work.
    pub(crate) static SLICES_WALKED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn non_empty(slice: &[u8]) -> Option<&[u8]> {
    (!slice.is_empty()).then_some(slice)
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.give_back(self.blocks.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ContentSink, Framed, Framer, Newlines};
    use proptest::prelude::*;

    fn plain(octets: &[u8]) -> Arc<Body> {
        let mut builder = BodyBuilder::plain(&Budget::new(1 << 30));
        builder.push(octets, false).unwrap();
        builder.finish()
    }

    /// Lines are left out of either form, wherever blocks end and dots were stuffed.
    #[test]
    fn lines_are_left_out() {
        let filler = "x".repeat(BODY_BLOCK_OCTETS - 30);
        let lines =
            [".a: dotted\r\n", "Gone: 1\r\n", ".b: dotted\r\n", "Gone: 2\r\n", "Gone: 3\r\n"];
        let more = [&*format!("c: {filler}\r\n"), "Gone: 4\r\n", "..d: two\r\n", "Gone: 5\r\n"];
        let lines = [&lines[..], &more, &["\r\n", ".body\r\n"]].concat();
        let (mut ranges, mut at) = (Vec::new(), 0u64);
        for line in &lines {
            let behind = at + line.len() as u64;
            if line.starts_with("Gone") {
                ranges.push(at..behind);
            }
            at = behind;
        }
        let stayed: String =
            lines.iter().filter(|line| !line.starts_with("Gone")).copied().collect();
        let budget = Budget::new(1 << 30);
        let (mut wire, mut content) = (BodyBuilder::new(&budget), BodyBuilder::plain(&budget));
        for line in &lines {
            content.push(line.as_bytes(), false).unwrap();
            match line.starts_with('.') {
                true => wire.push(format!(".{line}").as_bytes(), true).unwrap(),
                false => wire.push(line.as_bytes(), false).unwrap(),
            }
        }
        let (wire, content) = (wire.finish_without(&ranges), content.finish_without(&ranges));
        for body in [&wire, &content] {
            assert_eq!(body.content().collect::<Vec<_>>().concat(), stayed.as_bytes());
            assert_eq!(body.content_octets(), stayed.len() as u64);
            assert_eq!(body.wire_octets(), stayed.len() as u64 + 4);
            let all = body.wire().collect::<Vec<_>>().concat();
            for from in [0, 1, 20, 100, all.len() as u64 - 3] {
                let rest = body.wire_from(from).collect::<Vec<_>>().concat();
                assert_eq!(rest, all[from as usize..], "{from}");
            }
        }
    }

    /// Blocks of which nothing stays go back.
    #[test]
    fn blocks_that_are_left_out_go_back() {
        let budget = Budget::new(1 << 30);
        let mut builder = BodyBuilder::plain(&budget);
        let line = format!("Gone: {}\r\n", "x".repeat(3 * BODY_BLOCK_OCTETS));
        builder.push(format!("a: b\r\n{line}\r\n").as_bytes(), false).unwrap();
        let gone = 6..6 + line.len() as u64;
        let body = builder.finish_without(std::slice::from_ref(&gone));
        assert_eq!(body.content().collect::<Vec<_>>().concat(), b"a: b\r\n\r\n");
        assert_eq!(budget.taken(), 2 * BODY_BLOCK_OCTETS as u64);
        drop(body);
        assert_eq!(budget.taken(), 0);
    }

    /// What a framer makes of a body that comes by DATA, in pieces of this size.
    fn framed(wire: &[u8], size: usize) -> Arc<Body> {
        struct Kept(BodyBuilder);
        impl ContentSink for Kept {
            fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
                self.0.push(wire, dot_stuffed).unwrap();
            }
            fn malformed(&mut self) {
                panic!("the test's own content");
            }
        }
        let mut kept = Kept(BodyBuilder::new(&Budget::new(1 << 30)));
        let mut framer = Framer::new(Newlines::Reject);
        for piece in wire.chunks(size) {
            assert_eq!(framer.feed(piece, &mut kept), Framed::More);
        }
        kept.0.finish()
    }

    fn joined<'a>(slices: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        slices.flatten().copied().collect()
    }

    /// RFC 5321 4.5.2, line by line.
    fn stuffed(content: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for line in content.split_inclusive(|octet| *octet == b'\n') {
            wire.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
            wire.extend_from_slice(line);
        }
        if !content.is_empty() && !content.ends_with(b"\r\n") {
            wire.extend_from_slice(b"\r\n");
        }
        wire
    }

    fn check_both_forms(body: &Body, content: &[u8], wire: &[u8]) {
        assert_eq!(joined(body.content()), content);
        assert_eq!(joined(body.wire()), wire);
        assert_eq!(body.content_octets(), content.len() as u64);
        assert_eq!(body.wire_octets(), wire.len() as u64);
    }

    #[test]
    fn a_body_from_data_has_both_forms() {
        let long = vec![b'x'; BODY_BLOCK_OCTETS];
        let wire = [b"..a\r\n", &long[..], b"\r\n...\r\n"].concat();
        let content = [b".a\r\n", &long[..], b"\r\n..\r\n"].concat();
        check_both_forms(&framed(&wire, wire.len()), &content, &wire);
        check_both_forms(&framed(b"", 1), b"", b"");
    }

    #[test]
    fn a_body_from_bdat_has_both_forms() {
        let table: [(&[u8], &[u8]); 8] = [
            (b"", b""),
            (b".", b"..\r\n"),
            (b"a", b"a\r\n"),
            (b"a\r\n", b"a\r\n"),
            (b"\r\n", b"\r\n"),
            (b".\r\n..\r\n", b"..\r\n...\r\n"),
            (b"a\r\n.\r\nb", b"a\r\n..\r\nb\r\n"),
            // Nothing that was data here can be an end mark for a lenient reader further on.
            (b"a\n.\r\nb\r\n", b"a\n..\r\nb\r\n"),
        ];
        for (content, wire) in table {
            check_both_forms(&plain(content), content, wire);
        }
    }

    /// Pieces of content that lie badly at the border between two blocks.
    fn at_a_border() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec!["\r\n", ".", "..", "x", ".\r\n", "\r\n.\r\n"]);
        (0..16usize, prop::collection::vec(piece, 1..24)).prop_map(|(short, pieces)| {
            let filler = "y".repeat(BODY_BLOCK_OCTETS - short);
            format!("{filler}{}", pieces.concat()).into_bytes()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn both_forms_of_both_bodies_agree_wherever_the_border_lies(
            content in at_a_border(),
            size in 1..64usize,
        ) {
            let wire = stuffed(&content);
            let from_bdat = plain(&content);
            check_both_forms(&from_bdat, &content, &wire);
            let from_data = framed(&joined(from_bdat.wire()), size);
            let content = joined(from_data.content());
            check_both_forms(&from_data, &content, &wire);
            prop_assert_eq!(stuffed(&content), wire);
        }

        #[test]
        fn a_send_goes_on_at_any_octet(content in at_a_border(), at in 0..100_000u64) {
            for body in [plain(&content), framed(&stuffed(&content), 997)] {
                let (wire, content) = (joined(body.wire()), joined(body.content()));
                let near_the_end = |all: usize| (all as u64).saturating_sub(at % 64) as usize;
                for at in [at as usize % (wire.len() + 1), near_the_end(wire.len())] {
                    prop_assert_eq!(joined(body.wire_from(at as u64)), &wire[at..]);
                }
                for at in [at as usize % (content.len() + 1), near_the_end(content.len())] {
                    prop_assert_eq!(joined(body.content_from(at as u64)), &content[at..]);
                }
            }
        }
    }

    #[test]
    fn a_budget_is_kept_and_given_back() {
        let budget = Budget::new(2 * BODY_BLOCK_OCTETS as u64);
        let build = |octets: &[u8]| {
            let mut builder = BodyBuilder::new(&budget);
            builder.push(octets, false).map(|()| builder.finish())
        };
        let body = build(&vec![b'x'; 2 * BODY_BLOCK_OCTETS]).unwrap();
        assert!(!budget.has_room());
        assert_eq!(build(b"y").unwrap_err(), PoolEmpty);
        drop(body);
        assert_eq!(budget.taken(), 0);
        assert!(build(b"y").is_ok());
    }
}
