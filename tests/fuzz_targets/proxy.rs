//! Headers of the PROXY protocol: the same in any cut, not an octet taken behind them, and read as
//! another implementation reads them.

use super::Cuts;
use postern::limits::{PROXY_LINE_OCTETS, PROXY_PREFIX_OCTETS};
use postern::wire::{Proxied, ProxyFault, ProxyReader};
use ppp::{HeaderResult, v1, v2};
use std::net::SocketAddr;

/// All octets are what the peer sends first.
pub fn check(octets: &[u8], cuts: Cuts) {
    let told = cuts.agree(octets, read);
    assert!(told.taken <= octets.len());
    let theirs = HeaderResult::parse(octets);
    match told.header {
        Ok(None) => {
            assert_eq!(told.taken, octets.len(), "octets are left though more must come");
            assert!(theirs_is_bad(&theirs), "they read {theirs:?}");
        }
        Ok(Some(proxied)) => compare(&octets[..told.taken], proxied),
        Err(fault) => assert!(they_may_take(octets, fault) || theirs_is_bad(&theirs), "{theirs:?}"),
    }
}

/// What a reader makes of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    header: Result<Option<Proxied>, ProxyFault>,
    /// Octets up to and with the end of the header; none for what is no header.
    taken: usize,
}

fn read(pieces: &[&[u8]]) -> Told {
    let (mut reader, mut taken) = (ProxyReader::default(), 0);
    for piece in pieces {
        let mut rest = *piece;
        match reader.next(&mut rest) {
            Ok(None) => taken += piece.len() - rest.len(),
            Ok(found) => {
                taken += piece.len() - rest.len();
                assert!(!reader.has_begun(), "something is kept of a header that was read");
                return Told { header: Ok(found), taken };
            }
            Err(fault) => return Told { header: Err(fault), taken: 0 },
        }
    }
    Told { header: Ok(None), taken }
}

/// Whether they read no header, or one that a bare LF ends behind a blank: to us CRLF does alone.
fn theirs_is_bad(theirs: &HeaderResult<'_>) -> bool {
    match theirs {
        HeaderResult::V1(Ok(theirs)) => !theirs.header.ends_with("\r\n"),
        HeaderResult::V2(Ok(_)) => false,
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => true,
    }
}

/// A header that we take is the same header to them.
fn compare(header: &[u8], proxied: Proxied) {
    if !header.starts_with(b"PROXY ") {
        return compare_binary(header, proxied, v2::Header::try_from(header));
    }
    assert!(header.len() <= PROXY_LINE_OCTETS && header.ends_with(b"\r\n"));
    match (proxied, v1::Header::try_from(header).map(|theirs| theirs.addresses)) {
        // What stands behind UNKNOWN is ignored, and need not be text.
        (Proxied::Peer, _) => assert!(header.starts_with(b"PROXY UNKNOWN")),
        (Proxied::Client { from, to }, Ok(v1::Addresses::Tcp4(it))) => {
            assert_eq!(from, SocketAddr::from((it.source_address, it.source_port)));
            assert_eq!(to, SocketAddr::from((it.destination_address, it.destination_port)));
        }
        (Proxied::Client { from, to }, Ok(v1::Addresses::Tcp6(it))) => {
            assert_eq!(from, SocketAddr::from((it.source_address, it.source_port)));
            assert_eq!(to, SocketAddr::from((it.destination_address, it.destination_port)));
        }
        (ours, theirs) => panic!("{ours:?}, to them {theirs:?}"),
    }
}

fn compare_binary(header: &[u8], proxied: Proxied, theirs: Result<v2::Header<'_>, v2::ParseError>) {
    let announced = usize::from(u16::from_be_bytes([header[14], header[15]]));
    assert_eq!(header.len(), PROXY_PREFIX_OCTETS + announced);
    let (local, family) = (header[12] == 0x20, header[13]);
    let Ok(theirs) = theirs else {
        // LOCAL without addresses, and families that neither knows, are passed over by us.
        let known = matches!(family, 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32);
        assert!(proxied == Proxied::Peer && (!known || (local && announced == 0)), "{theirs:?}");
        return;
    };
    match (proxied, theirs.addresses) {
        (Proxied::Client { from, to }, v2::Addresses::IPv4(it)) => {
            assert_eq!(from, SocketAddr::from((it.source_address, it.source_port)));
            assert_eq!(to, SocketAddr::from((it.destination_address, it.destination_port)));
        }
        (Proxied::Client { from, to }, v2::Addresses::IPv6(it)) => {
            assert_eq!(from, SocketAddr::from((it.source_address, it.source_port)));
            assert_eq!(to, SocketAddr::from((it.destination_address, it.destination_port)));
        }
        (Proxied::Client { .. }, other) => panic!("a client, to them {other:?}"),
        // Only TCP is a client's.
        (Proxied::Peer, _) => assert!(local || !matches!(family, 0x11 | 0x21)),
    }
    let is_client = matches!(proxied, Proxied::Client { .. });
    assert_eq!(is_client, !local && matches!(family, 0x11 | 0x21));
}

/// Where we are stricter than they are.
fn they_may_take(octets: &[u8], fault: ProxyFault) -> bool {
    match fault {
        // They do not look at checksums, nor at extensions unless they are asked for them.
        ProxyFault::BadChecksum | ProxyFault::BadBinary => true,
        // A port is digits to us, and may have a plus sign to them.
        ProxyFault::BadLine => octets.contains(&b'+'),
        ProxyFault::NotAHeader => false,
    }
}
