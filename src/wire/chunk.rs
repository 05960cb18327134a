//! BDAT (RFC 3030): the command's argument, and line ends over the edges of chunks.

use super::content::{ContentSink, Newlines, next_special};
use super::{Reply, replies};

/// What a BDAT command announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets of payload that follow the command line, whatever is answered. Numbers of more than
    /// 64 bits are held at the end of the range.
    pub octets: u64,
    /// The message ends with this chunk.
    pub last: bool,
}

impl Chunk {
    /// Reads what stands behind `BDAT `.
    ///
    /// RFC 3030 2: bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ]; chunk-size = 1*DIGIT;
    /// end-marker = "LAST". If it cannot be read, how many octets follow cannot be known either, so
    /// nothing on the connection can be trusted any more.
    pub fn read(argument: &[u8]) -> Result<Chunk, Reply> {
        let mut words = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
        let (size, marker, more) = (words.next(), words.next(), words.next());
        let size = size.filter(|size| size.len() <= 20 && size.iter().all(u8::is_ascii_digit));
        let last = match marker {
            None => Some(false),
            Some(word) => word.eq_ignore_ascii_case(b"LAST").then_some(true),
        };
        match (size, last, more) {
            (Some(size), Some(last), None) => {
                let add = |sum: u64, digit: &u8| {
                    sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
                };
                Ok(Chunk { octets: size.iter().fold(0, add), last })
            }
            _ => Err(replies::BAD_CHUNK),
        }
    }
}

/// Reads the payload of chunks as one stream of content, in any cut.
///
/// Nothing is stuffed in it and nothing ends it: its octets are counted by the commands. Unless the
/// content is binary, its lines must end with CRLF as those of DATA do; a CR at the end of one
/// chunk and the LF at the beginning of the next are one line end.
#[derive(Clone, Debug)]
pub struct ChunkReader {
    lines: Lines,
    /// The last octet so far was a CR, which was not handed on yet.
    cr: bool,
}

/// What is asked of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// RFC 3030 3: with BODY=BINARYMIME any octet may come.
    Binary,
    Text(Newlines),
}

impl ChunkReader {
    /// A reader at the beginning of content, which is `binary` or made of lines.
    pub fn new(binary: bool, newlines: Newlines) -> ChunkReader {
        let lines = if binary { Lines::Binary } else { Lines::Text(newlines) };
        ChunkReader { lines, cr: false }
    }

    /// Takes octets of a chunk.
    pub fn feed(&mut self, octets: &[u8], sink: &mut impl ContentSink) {
        match self.lines {
            Lines::Binary => hand_on(octets, sink),
            Lines::Text(newlines) => self.text(octets, newlines, sink),
        }
    }

    /// The last chunk has ended.
    pub fn finish(&mut self, sink: &mut impl ContentSink) {
        if std::mem::take(&mut self.cr) {
            sink.malformed();
        }
    }

    fn text(&mut self, octets: &[u8], newlines: Newlines, sink: &mut impl ContentSink) {
        let (mut from, mut at) = (0, 0);
        // RFC 5321 2.3.8: a line ends with CRLF only. A CR waits for its LF, so that both are
        // handed on together.
        if self.cr && !octets.is_empty() {
            self.cr = false;
            if octets[0] == b'\n' {
                hand_on(b"\r\n", sink);
                (from, at) = (1, 1);
            } else {
                sink.malformed();
            }
        }
        while let Some(found) = next_special(&octets[at..]) {
            at += found;
            match (octets[at], octets.get(at + 1)) {
                (b'\r', Some(b'\n')) => at += 2,
                (b'\r', None) => {
                    self.cr = true;
                    hand_on(&octets[from..at], sink);
                    return;
                }
                (b'\n', _) if newlines == Newlines::Normalize => {
                    hand_on(&octets[from..at], sink);
                    hand_on(b"\r\n", sink);
                    at += 1;
                    from = at;
                }
                // What came before is handed on before: which of two faults of a message comes first
                // must not depend on the cut.
                _ => {
                    hand_on(&octets[from..at], sink);
                    sink.malformed();
                    at += 1;
                    from = at;
                }
            }
        }
        hand_on(&octets[from..], sink);
    }
}

fn hand_on(octets: &[u8], sink: &mut impl ContentSink) {
    if !octets.is_empty() {
        sink.content(octets, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A-16: not a number, or more than 20 digits, cannot be understood; large numbers can.
    #[test]
    fn a_16_arguments_are_numbers_of_at_most_20_digits() {
        let taken = |octets, last| Some(Chunk { octets, last });
        let table: [(&[u8], Option<Chunk>); 17] = [
            (b"0", taken(0, false)),
            (b"12", taken(12, false)),
            (b"12 LAST", taken(12, true)),
            (b"12 last", taken(12, true)),
            (b" 12  LAST", taken(12, true)),
            (b"9223372036854775808", taken(1 << 63, false)),
            (b"18446744073709551615", taken(u64::MAX, false)),
            (b"18446744073709551616", taken(u64::MAX, false)),
            (b"99999999999999999999 LAST", taken(u64::MAX, true)),
            (b"100000000000000000000", None),
            (b"", None),
            (b"x", None),
            (b"-1", None),
            (b"1 LASTX", None),
            (b"0x10", None),
            (b"1 LAST 2", None),
            (b"LAST", None),
        ];
        for (argument, expected) in table {
            let read = Chunk::read(argument).ok();
            assert_eq!(read, expected, "{}", argument.escape_ascii());
        }
    }

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Collected {
        content: Vec<u8>,
        malformed: bool,
    }

    impl ContentSink for Collected {
        fn content(&mut self, wire: &[u8], dot_stuffed: bool) {
            assert!(!dot_stuffed && !wire.is_empty());
            self.content.extend_from_slice(wire);
        }

        fn malformed(&mut self) {
            self.malformed = true;
        }
    }

    fn collect(octets: &[u8], binary: bool, newlines: Newlines, size: usize) -> Collected {
        let (mut reader, mut found) = (ChunkReader::new(binary, newlines), Collected::default());
        octets.chunks(size).for_each(|piece| reader.feed(piece, &mut found));
        reader.finish(&mut found);
        found
    }

    #[test]
    fn lines_are_judged_over_the_edges_of_chunks() {
        type Case = (&'static [u8], bool, Option<&'static [u8]>);
        let table: [Case; 9] = [
            (b"a\r\nb\r\n", false, Some(b"a\r\nb\r\n")),
            (b".\r\n..\r\n\r\n.\r\n", false, Some(b".\r\n..\r\n\r\n.\r\n")),
            (b"no end", false, Some(b"no end")),
            (b"a\nb\n", true, Some(b"a\r\nb\r\n")),
            (b"a\r", true, None),
            (b"a\rb", true, None),
            (b"a\r\rb\r\n", true, None),
            (b"a\0b", true, None),
            (b"a\r\n\r", true, None),
        ];
        for (octets, reject_too, normalized) in table {
            for size in 1..=octets.len() {
                let (reject, normalize) = (
                    collect(octets, false, Newlines::Reject, size),
                    collect(octets, false, Newlines::Normalize, size),
                );
                let shown = octets.escape_ascii();
                assert_eq!(reject.malformed, reject_too, "{shown} by {size}");
                assert_eq!(normalize.malformed, normalized.is_none(), "{shown} by {size}");
                if let Some(expected) = normalized {
                    assert_eq!(normalize.content, expected, "{shown} by {size}");
                }
                if !reject_too {
                    assert_eq!(reject.content, octets, "{shown} by {size}");
                }
            }
        }
    }

    // RFC 3030 3: with BINARYMIME any octet passes as it came.
    #[test]
    fn binary_content_passes_as_it_came() {
        let octets = b"a\nb\rc\0.\n.\r\nend\r";
        for size in 1..=octets.len() {
            let found = collect(octets, true, Newlines::Reject, size);
            assert_eq!((found.content.as_slice(), found.malformed), (&octets[..], false));
        }
    }
}
