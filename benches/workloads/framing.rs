//! The content of DATA: its end, its stuffed dots, its line ends.

use super::{Size, WORDS, Workload};
use postern::wire::{ContentSink, Framer, Newlines};
use std::hint::black_box;

const OCTETS: usize = 64 * 1024;

pub fn workloads() -> Vec<Workload> {
    let filled = |line: &str| line.repeat(OCTETS / line.len());
    let table = [
        ("text", filled(WORDS), 16 * 1024, Newlines::Reject),
        ("text, normalized", filled(WORDS), 16 * 1024, Newlines::Normalize),
        ("bare LF, normalized", filled("text\n"), 16 * 1024, Newlines::Normalize),
        ("one line", "y".repeat(OCTETS), 16 * 1024, Newlines::Reject),
        ("empty lines", filled("\r\n"), 16 * 1024, Newlines::Reject),
        ("lines of a stuffed dot", filled("..\r\n"), 16 * 1024, Newlines::Reject),
        ("false end marks", filled("\r\n.\r"), 16 * 1024, Newlines::Reject),
        ("text, octet by octet", filled(WORDS), 1, Newlines::Reject),
    ];
    let workload =
        |(name, text, read_octets, newlines): (&str, String, usize, Newlines)| Workload {
            group: "content framing",
            name: format!("{name} 64 KiB"),
            size: Size::Octets(text.len()),
            prepare: Box::new(move || {
                let content = [text.as_bytes(), b"\r\n.\r\n"].concat();
                Box::new(move || {
                    let (mut framer, mut count) = (Framer::new(newlines), Count::default());
                    for read in content.chunks(read_octets) {
                        black_box(framer.feed(black_box(read), &mut count));
                    }
                    black_box(count);
                })
            }),
        };
    table.into_iter().map(workload).collect()
}

/// A sink that costs nothing.
#[derive(Default)]
struct Count {
    octets: usize,
    malformed: usize,
}

impl ContentSink for Count {
    fn content(&mut self, wire: &[u8], _: bool) {
        self.octets += wire.len();
    }

    fn malformed(&mut self) {
        self.malformed += 1;
    }
}
