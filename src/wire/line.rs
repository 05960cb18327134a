//! Command lines out of a stream.

use crate::limits::{COMMAND_LINE_OCTETS, COMMAND_LINE_SWALLOWED_OCTETS};
use memchr::{memchr, memchr3};

/// Cuts command lines out of octets that arrive in any pieces.
///
/// A line that lies whole in one read is lent from it; only a line that was cut is put together in
/// memory of its own, which is freed with it. An overlong line is swallowed without being kept.
#[derive(Debug, Default)]
pub struct LineReader {
    /// The beginning of a line whose end has not come, or the line lent last.
    kept: Vec<u8>,
    lent: bool,
    /// Octets of an overlong line, once it is one.
    swallowed: u64,
    swallowed_cr: bool,
    swallowed_bdat: bool,
    /// A bare LF ends a line, too.
    bare_lf_ends: bool,
}

/// One command line, without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line with no CR, LF or NUL in it.
    Whole(&'a [u8]),
    /// A line with a bare CR, a bare LF or a NUL in it: one bad command, whatever it says.
    BareControl,
    /// A line over [`COMMAND_LINE_OCTETS`].
    TooLong,
    /// A line that is one of these two, and a BDAT. How many octets follow it cannot be known, and
    /// what follows must not be taken for commands.
    BadBdat,
    /// [`COMMAND_LINE_SWALLOWED_OCTETS`] have come without a CRLF.
    Endless,
}

impl LineReader {
    /// A reader for which a bare LF ends a line, too: for what is no mail client, such as a health
    /// check. RFC 5321 2.3.8 has lines end with CRLF only.
    pub fn lenient() -> LineReader {
        LineReader { bare_lf_ends: true, ..LineReader::default() }
    }

    /// The next line of `input`, which is advanced behind it. `None` when `input` holds no line end:
    /// then all of it was taken.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Line<'s>> {
        if std::mem::take(&mut self.lent) {
            self.kept = Vec::new();
        }
        if self.swallowed > 0 {
            return self.swallow(input);
        }
        let continued = !self.kept.is_empty();
        let Some(length) = self.line_length(input) else {
            self.keep(input);
            return (self.swallowed > COMMAND_LINE_SWALLOWED_OCTETS).then_some(Line::Endless);
        };
        let (line, rest) = input.split_at(length);
        *input = rest;
        if self.kept.len() + line.len() > COMMAND_LINE_OCTETS {
            let kept = std::mem::take(&mut self.kept);
            return Some(too_long(is_bdat(kept.iter().chain(line))));
        }
        if !continued {
            return Some(checked(line));
        }
        self.kept.extend_from_slice(line);
        self.lent = true;
        Some(checked(&self.kept))
    }

    /// Octets of `input` up to and with the CRLF that ends the line. The CR may be the last octet
    /// kept from before.
    fn line_length(&self, input: &[u8]) -> Option<usize> {
        let mut from = 0;
        loop {
            let feed = from + memchr(b'\n', &input[from..])?;
            let before = match feed.checked_sub(1) {
                Some(index) => input.get(index),
                None => self.kept.last(),
            };
            if self.bare_lf_ends || before == Some(&b'\r') {
                return Some(feed + 1);
            }
            from = feed + 1;
        }
    }

    /// Takes all of an input without a line end.
    fn keep(&mut self, input: &mut &[u8]) {
        let piece = std::mem::take(input);
        if self.kept.len() + piece.len() < COMMAND_LINE_OCTETS {
            self.kept.extend_from_slice(piece);
            return;
        }
        self.swallowed = (self.kept.len() + piece.len()) as u64;
        self.swallowed_cr = piece.last().or(self.kept.last()) == Some(&b'\r');
        self.swallowed_bdat = is_bdat(self.kept.iter().chain(piece));
        self.kept = Vec::new();
    }

    /// Drops octets of an overlong line up to its CRLF.
    fn swallow(&mut self, input: &mut &[u8]) -> Option<Line<'static>> {
        let ended_before = self.swallowed_cr && input.first() == Some(&b'\n');
        let length = match ended_before {
            true => Some(1),
            false if self.bare_lf_ends => memchr(b'\n', input).map(|at| at + 1),
            false => memchr::memmem::find(input, b"\r\n").map(|at| at + 2),
        };
        let taken = length.unwrap_or(input.len());
        self.swallowed += taken as u64;
        if let Some(last) = input[..taken].last() {
            self.swallowed_cr = *last == b'\r';
        }
        *input = &input[taken..];
        if self.swallowed > COMMAND_LINE_SWALLOWED_OCTETS {
            return Some(Line::Endless);
        }
        length?;
        self.swallowed = 0;
        Some(too_long(self.swallowed_bdat))
    }
}

fn too_long(bdat: bool) -> Line<'static> {
    if bdat { Line::BadBdat } else { Line::TooLong }
}

/// Whether a line that cannot be read begins with BDAT, whatever stands behind that.
fn is_bdat<'a>(line: impl Iterator<Item = &'a u8>) -> bool {
    line.take(4).map(u8::to_ascii_uppercase).eq(*b"BDAT")
}

/// The line without its end, if it holds no control octet that could end it elsewhere.
fn checked(line: &[u8]) -> Line<'_> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // RFC 5321 2.3.8: a client must not send CR or LF alone, and a line ends with CRLF only.
    match memchr3(b'\r', b'\n', 0, line) {
        Some(_) if is_bdat(line.iter()) => Line::BadBdat,
        Some(_) => Line::BareControl,
        None => Line::Whole(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines of a stream, cut into pieces of `size` octets.
    fn lines(stream: &[u8], size: usize) -> Vec<String> {
        lines_by(LineReader::default(), stream, size)
    }

    fn lines_by(mut reader: LineReader, stream: &[u8], size: usize) -> Vec<String> {
        let mut found = Vec::new();
        for mut piece in stream.chunks(size) {
            while let Some(line) = reader.next(&mut piece) {
                found.push(match line {
                    Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                    other => format!("{other:?}"),
                });
                if found.last().is_some_and(|line| line == "Endless") {
                    return found;
                }
            }
        }
        found
    }

    #[test]
    fn the_same_lines_come_out_of_any_cut() {
        let stream = b"EHLO a\r\nNOOP\rQUIT\r\n\r\nX\nY\r\nN\0\r\n\r\r\nQUIT\r\nrest";
        let expected =
            ["EHLO a", "BareControl", "", "BareControl", "BareControl", "BareControl", "QUIT"];
        for size in 1..=stream.len() {
            assert_eq!(lines(stream, size), expected, "pieces of {size}");
        }
    }

    // A-19: a command of 4,096 octets passes, of 4,097 does not, and a line without end is bounded.
    #[test]
    fn a_19_a_line_may_have_4096_octets_and_no_more() {
        let longest = [vec![b'x'; COMMAND_LINE_OCTETS - 2], b"\r\nNOOP\r\n".to_vec()].concat();
        let longer = [vec![b'x'; COMMAND_LINE_OCTETS - 1], b"\r\nNOOP\r\n".to_vec()].concat();
        for size in [1, 2, 3, 1_000, 4_095, 4_096, 4_097, 10_000] {
            let found = lines(&longest, size);
            assert_eq!((found[0].len(), found[1].as_str()), (4_094, "NOOP"), "pieces of {size}");
            assert_eq!(lines(&longer, size), ["TooLong", "NOOP"], "pieces of {size}");
        }
        let endless = vec![b'x'; COMMAND_LINE_SWALLOWED_OCTETS as usize + 1];
        assert_eq!(lines(&endless, 16_384), ["Endless"]);
        assert_eq!(lines(&endless, endless.len()), ["Endless"]);
    }

    #[test]
    fn a_lenient_reader_takes_a_bare_lf_for_a_line_end_and_nothing_else() {
        let long = [vec![b'x'; COMMAND_LINE_OCTETS], b"\nNOOP\n".to_vec()].concat();
        let table: [(&[u8], &[&str]); 2] = [
            (
                b"EHLO a\nNOOP\r\n\n\r\nX\rY\nN\0\n\r\r\nQUIT\nrest",
                &["EHLO a", "NOOP", "", "", "BareControl", "BareControl", "BareControl", "QUIT"],
            ),
            (&long, &["TooLong", "NOOP"]),
        ];
        for (stream, expected) in table {
            for size in 1..=stream.len().min(100) {
                let found = lines_by(LineReader::lenient(), stream, size);
                assert_eq!(found, expected, "pieces of {size}");
            }
            assert_eq!(lines_by(LineReader::lenient(), stream, stream.len()), expected);
        }
    }

    // A-15: the payload of a BDAT whose line cannot be read must not become commands.
    #[test]
    fn a_15_a_bdat_that_cannot_be_read_is_told_apart() {
        let mut long = b"bDaT 5 ".to_vec();
        long.resize(COMMAND_LINE_OCTETS - 1, b' ');
        long.extend_from_slice(b"\r\n");
        let table: [(&[u8], &str); 6] = [
            (&long, "BadBdat"),
            (&[&long[..7], &long].concat(), "BadBdat"),
            (b"BDAT 5\0\r\n", "BadBdat"),
            (b"BDAT 5\rLAST\r\n", "BadBdat"),
            (b"BDAT\n5\r\n", "BadBdat"),
            (b"BDA\0T 5\r\n", "BareControl"),
        ];
        for (line, told) in table {
            for size in (1..20).chain(4_090..4_110) {
                assert_eq!(lines(line, size), [told], "pieces of {size}");
            }
        }
    }

    #[test]
    fn nothing_is_held_between_lines() {
        let mut reader = LineReader::default();
        let mut cut: &[u8] = b"NO";
        assert_eq!(reader.next(&mut cut), None);
        let mut rest: &[u8] = b"OP\r\n";
        assert_eq!(reader.next(&mut rest), Some(Line::Whole(b"NOOP")));
        assert_eq!(reader.next(&mut rest), None);
        assert_eq!(reader.kept.capacity(), 0);
    }
}
