//! The PROXY protocol, versions 1 and 2: whose connection a trusted peer has passed on.
//!
//! The header is required where it is expected, and never looked for elsewhere. What is no header
//! ends the connection without a word.

use crate::limits::{PROXY_LINE_OCTETS, PROXY_PREFIX_OCTETS};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads a header that arrives in any pieces, and nothing behind it.
#[derive(Debug, Default)]
pub struct ProxyReader {
    /// What has come, at most the length that the header announces.
    kept: Vec<u8>,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The client is at this address, and has connected to the other.
    Client {
        /// The client.
        from: SocketAddr,
        /// Where it connected to.
        to: SocketAddr,
    },
    /// The peer speaks for itself (LOCAL, a health check), or does not say for whom (UNKNOWN, a
    /// family that we do not speak).
    Peer,
}

/// What came is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    /// Neither a line of version 1 nor the signature of version 2.
    #[error("no PROXY header")]
    NotAHeader,
    /// A header of version 1 that does not follow its grammar.
    #[error("a bad PROXY line")]
    BadLine,
    /// A header of version 2 with a bad version, command, length or extension.
    #[error("a bad binary PROXY header")]
    BadBinary,
    /// The checksum of a header of version 2 does not match.
    #[error("a PROXY header with a wrong checksum")]
    BadChecksum,
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Type of the extension that holds a CRC32C over the whole header, with its own value as zeros.
const CHECKSUM_TYPE: u8 = 0x03;

impl ProxyReader {
    /// Takes octets up to the end of the header; `input` is advanced behind them. `None` while more
    /// must come.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Proxied>, ProxyFault> {
        while let Some((first, rest)) = input.split_first() {
            // As soon as the length is known, the rest is taken at once.
            let wanted = match binary_length(&self.kept) {
                Some(length) => length - self.kept.len(),
                None => 0,
            };
            if wanted > 0 {
                let (taken, rest) = input.split_at(wanted.min(input.len()));
                self.kept.extend_from_slice(taken);
                *input = rest;
            } else {
                self.kept.push(*first);
                *input = rest;
            }
            if let Some(proxied) = self.read()? {
                self.kept = Vec::new();
                return Ok(Some(proxied));
            }
        }
        Ok(None)
    }

    /// Whether part of a header has come.
    pub fn has_begun(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Reads what has come, if it is a whole header.
    fn read(&self) -> Result<Option<Proxied>, ProxyFault> {
        let kept = self.kept.as_slice();
        let begins = |whole: &[u8]| kept.iter().zip(whole).all(|(one, other)| one == other);
        if begins(SIGNATURE) {
            return match binary_length(kept) {
                Some(length) if kept.len() == length => binary(kept).map(Some),
                Some(_) => Ok(None),
                None if kept.len() < PROXY_PREFIX_OCTETS => Ok(None),
                None => Err(ProxyFault::BadBinary),
            };
        }
        if !begins(b"PROXY ") {
            return Err(ProxyFault::NotAHeader);
        }
        match kept.strip_suffix(b"\r\n") {
            Some(line) => read_line(line).map(Some),
            None if kept.len() < PROXY_LINE_OCTETS => Ok(None),
            None => Err(ProxyFault::BadLine),
        }
    }
}

/// Octets of a whole header of version 2, once its prefix is there.
fn binary_length(kept: &[u8]) -> Option<usize> {
    if kept.len() < PROXY_PREFIX_OCTETS || !kept.starts_with(SIGNATURE) {
        return None;
    }
    Some(PROXY_PREFIX_OCTETS + usize::from(u16::from_be_bytes([kept[14], kept[15]])))
}

/// PROXY protocol 2.1: `PROXY TCP4|TCP6 src dst sport dport`, or `PROXY UNKNOWN` and anything.
fn read_line(line: &[u8]) -> Result<Proxied, ProxyFault> {
    // Whatever stands behind UNKNOWN must be ignored, and need not be text.
    if line == b"PROXY UNKNOWN" || line.starts_with(b"PROXY UNKNOWN ") {
        return Ok(Proxied::Peer);
    }
    let text = core::str::from_utf8(line).map_err(|_| ProxyFault::BadLine)?;
    let mut words = text.split(' ');
    let (_, family) = (words.next(), words.next());
    let mut word = || words.next().ok_or(ProxyFault::BadLine);
    let (source, target, source_port, target_port) = (word()?, word()?, word()?, word()?);
    let address = |text: &str| -> Result<IpAddr, ProxyFault> {
        match family {
            Some("TCP4") => text.parse().map(IpAddr::V4).map_err(|_| ProxyFault::BadLine),
            Some("TCP6") => text.parse().map(IpAddr::V6).map_err(|_| ProxyFault::BadLine),
            _ => Err(ProxyFault::BadLine),
        }
    };
    let from = SocketAddr::new(address(source)?, port(source_port)?);
    let to = SocketAddr::new(address(target)?, port(target_port)?);
    match words.next() {
        None => Ok(Proxied::Client { from, to }),
        Some(_) => Err(ProxyFault::BadLine),
    }
}

/// A port in decimal, without leading zeros and signs.
fn port(text: &str) -> Result<u16, ProxyFault> {
    let plain =
        text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyFault::BadLine)
}

/// PROXY protocol 2.2: signature, version and command, family, length, addresses, extensions.
fn binary(header: &[u8]) -> Result<Proxied, ProxyFault> {
    let (version_command, family) = (header[12], header[13]);
    let payload = &header[PROXY_PREFIX_OCTETS..];
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyFault::BadBinary),
    };
    let address_octets = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        // A family that is not known has no extensions that could be found: it is passed over.
        _ => payload.len(),
    };
    // A LOCAL header may leave its addresses out, whatever family it names.
    let Some((addresses, extensions)) = payload.split_at_checked(address_octets) else {
        return if local && payload.is_empty() {
            Ok(Proxied::Peer)
        } else {
            Err(ProxyFault::BadBinary)
        };
    };
    check_extensions(header, extensions)?;
    if local {
        return Ok(Proxied::Peer);
    }
    Ok(match (family, addresses) {
        (0x11, &[a, b, c, d, e, f, g, h, p0, p1, q0, q1]) => Proxied::Client {
            from: SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([p0, p1])),
            to: SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), u16::from_be_bytes([q0, q1])),
        },
        (0x21, addresses) => {
            let part =
                |at: usize| -> [u8; 16] { core::array::from_fn(|index| addresses[at + index]) };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            Proxied::Client {
                from: SocketAddr::new(Ipv6Addr::from(part(0)).into(), port(32)),
                to: SocketAddr::new(Ipv6Addr::from(part(16)).into(), port(34)),
            }
        }
        _ => Proxied::Peer,
    })
}

/// PROXY protocol 2.2.1 and 2.2.3: type, length, value; one of them may be a checksum.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), ProxyFault> {
    while !extensions.is_empty() {
        let (&[kind, high, low], rest) =
            extensions.split_first_chunk::<3>().ok_or(ProxyFault::BadBinary)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(ProxyFault::BadBinary)?;
        if kind == CHECKSUM_TYPE {
            let told = value.try_into().map(u32::from_be_bytes);
            let at = header.len() - rest.len() - length;
            let sum = crc32c::crc32c(&header[..at]);
            let sum = crc32c::crc32c_append(sum, &[0; 4]);
            let sum = crc32c::crc32c_append(sum, rest);
            match told {
                Ok(told) if told == sum => {}
                Ok(_) => return Err(ProxyFault::BadChecksum),
                Err(_) => return Err(ProxyFault::BadBinary),
            }
        }
        extensions = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a stream in pieces: what was found, and how many octets were taken.
    fn read(stream: &[u8], size: usize) -> (Result<Option<Proxied>, ProxyFault>, usize) {
        let mut reader = ProxyReader::default();
        let mut taken = 0;
        for piece in stream.chunks(size) {
            let mut rest = piece;
            let answer = reader.next(&mut rest);
            taken += piece.len() - rest.len();
            if !matches!(answer, Ok(None)) {
                return (answer, taken);
            }
        }
        (Ok(None), taken)
    }

    fn client(from: &str, to: &str) -> Proxied {
        Proxied::Client { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    #[test]
    fn lines_of_version_1_in_any_cut() {
        let v4 = client("192.0.2.7:4711", "198.51.100.1:25");
        let v6 = client("[2001:db8::7]:1", "[2001:db8::1]:65535");
        let table: [(&[u8], Result<Proxied, ProxyFault>); 16] = [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n", Ok(v4)),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", Ok(v6)),
            (b"PROXY UNKNOWN\r\n", Ok(Proxied::Peer)),
            (b"PROXY UNKNOWN ffff:: what ever 1 2 3\r\n", Ok(Proxied::Peer)),
            (b"PROXY UNKNOWN \xff\xfe\r\n", Ok(Proxied::Peer)),
            (b"PROXY UNKNOWNX\r\n", Err(ProxyFault::BadLine)),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n", Err(ProxyFault::BadLine)),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25 \r\n", Err(ProxyFault::BadLine)),
            (b"PROXY TCP4 2001:db8::7 198.51.100.1 4711 25\r\n", Err(ProxyFault::BadLine)),
            (b"PROXY TCP4 192.0.2.256 198.51.100.1 4711 25\r\n", Err(ProxyFault::BadLine)),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n", Err(ProxyFault::BadLine)),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 25\r\n", Err(ProxyFault::BadLine)),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 01 25\r\n", Err(ProxyFault::BadLine)),
            (b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 25\r\n", Err(ProxyFault::BadLine)),
            (b"EHLO client.example\r\n", Err(ProxyFault::NotAHeader)),
            (b"proxy TCP4 192.0.2.7 198.51.100.1 1 25\r\n", Err(ProxyFault::NotAHeader)),
        ];
        for (header, expected) in table {
            let stream = [header, b"EHLO x\r\n"].concat();
            for size in 1..=stream.len() {
                let (found, taken) = read(&stream, size);
                assert_eq!(found, expected.map(Some), "{} by {size}", header.escape_ascii());
                if expected.is_ok() {
                    assert_eq!(taken, header.len(), "nothing behind the header is taken");
                }
            }
        }
    }

    // PROXY protocol 2.1: a line has at most 107 octets with its CRLF.
    #[test]
    fn a_line_has_107_octets_and_no_more() {
        let line = |octets: usize| {
            let head = b"PROXY UNKNOWN ".to_vec();
            let filler = vec![b'x'; octets - head.len() - 2];
            [head, filler, b"\r\n".to_vec()].concat()
        };
        for size in [1, 7, 200] {
            assert_eq!(read(&line(107), size).0, Ok(Some(Proxied::Peer)));
            assert_eq!(read(&line(108), size).0, Err(ProxyFault::BadLine));
            assert_eq!(read(&line(107)[..106], size).0, Ok(None));
        }
    }

    fn header(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, payload].concat()
    }

    fn with_checksum(version_command: u8, family: u8, addresses: &[u8], off: u32) -> Vec<u8> {
        let zeros = [addresses, &[0x04, 0, 1, b'x', CHECKSUM_TYPE, 0, 4, 0, 0, 0, 0]].concat();
        let mut whole = header(version_command, family, &zeros);
        let sum = crc32c::crc32c(&whole).wrapping_add(off);
        let at = whole.len() - 4;
        whole[at..].copy_from_slice(&sum.to_be_bytes());
        whole
    }

    // bad headers are told from good ones whatever the cut, LOCAL is the peer itself.
    #[test]
    fn a_10_binary_headers_in_any_cut() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 25];
        let v6: Vec<u8> = (0..36).collect();
        let from_v4 = client("192.0.2.7:4711", "198.51.100.1:25");
        let from_v6 = Proxied::Client {
            from: SocketAddr::new(
                Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|at| at as u8)).into(),
                0x2021,
            ),
            to: SocketAddr::new(
                Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|at| at as u8 + 16)).into(),
                0x2223,
            ),
        };
        let tlv = [&v4[..], &[0x02, 0, 3, b'a', b'b', b'c', 0xEE, 0, 0]].concat();
        let cut_tlv = [&v4[..], &[0x02, 0, 4, b'a', b'b', b'c']].concat();
        let short_checksum = [&v4[..], &[CHECKSUM_TYPE, 0, 3, 1, 2, 3]].concat();
        let bad = Err(ProxyFault::BadBinary);
        let table = [
            (header(0x21, 0x11, &v4), Ok(from_v4)),
            (header(0x21, 0x21, &v6), Ok(from_v6)),
            (header(0x21, 0x11, &tlv), Ok(from_v4)),
            (with_checksum(0x21, 0x11, &v4, 0), Ok(from_v4)),
            (with_checksum(0x21, 0x11, &v4, 1), Err(ProxyFault::BadChecksum)),
            (with_checksum(0x20, 0x00, &[], 0), Ok(Proxied::Peer)),
            (with_checksum(0x20, 0x00, &[], 7), Err(ProxyFault::BadChecksum)),
            (header(0x20, 0x00, b""), Ok(Proxied::Peer)),
            (header(0x20, 0x11, b""), Ok(Proxied::Peer)),
            (header(0x20, 0x11, &tlv), Ok(Proxied::Peer)),
            (header(0x21, 0x31, &[7; 216]), Ok(Proxied::Peer)),
            (header(0x21, 0x00, b""), Ok(Proxied::Peer)),
            (header(0x21, 0x77, b"anything"), Ok(Proxied::Peer)),
            (header(0x21, 0x11, &v4[..4]), bad),
            (header(0x21, 0x21, &v6[..35]), bad),
            (header(0x11, 0x11, &v4), bad),
            (header(0x22, 0x11, &v4), bad),
            (header(0x31, 0x11, &v4), bad),
            (header(0x21, 0x11, &cut_tlv), bad),
            (header(0x21, 0x11, &short_checksum), bad),
        ];
        for (whole, expected) in table {
            let stream = [&whole[..], b"EHLO x\r\n"].concat();
            for size in 1..=stream.len() {
                let (found, taken) = read(&stream, size);
                assert_eq!(found, expected.map(Some), "{} by {size}", whole.escape_ascii());
                assert_eq!(taken, whole.len(), "{} by {size}", whole.escape_ascii());
            }
            for length in 0..whole.len() {
                assert_eq!(read(&whole[..length], 5).0, Ok(None), "cut at {length}");
            }
        }
    }

    // a length of 65,535 costs only what has really come.
    #[test]
    fn a_10_an_announced_length_is_not_reserved() {
        let mut reader = ProxyReader::default();
        let head = header(0x21, 0x11, &[0; 12]);
        let mut octets = [&head[..14], &[0xFF, 0xFF], &head[16..]].concat();
        assert_eq!(reader.next(&mut octets.as_slice()), Ok(None));
        assert!(reader.kept.capacity() < 1_024);
        octets = vec![0; 65_535 - 12];
        assert!(reader.next(&mut octets.as_slice()).is_ok_and(|proxied| proxied.is_some()));
    }
}
