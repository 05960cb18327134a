//! Archives: what is packed in them is found, up to three in one another; and nothing costs more
//! than its bound.

use super::Cuts;
use super::hidden::{Choices, WORD, is_found, scan};
use miniz_oxide::deflate::compress_to_vec;
use postern::scan::Surface;

const HEAD: &[u8] = b"From: a@b\r\nContent-Type: application/octet-stream\r\n\r\n";

/// The octets are a part as it came, and one that was deflated; and they are what is packed beside a
/// word, and how.
pub fn check(octets: &[u8], cuts: Cuts) {
    scan(&[HEAD, octets].concat(), cuts);
    scan(&[HEAD, &gzip(octets)].concat(), cuts);
    let mut choices = Choices::new(octets);
    let mut packed = [WORD.as_bytes(), octets].concat();
    for _ in 0..=choices.below(3) {
        packed = match choices.below(4) {
            0 => gzip(&packed),
            1 => tar(&packed),
            2 => zip(&packed, 0, choices.below(2)),
            _ => zip(&packed, 8, choices.below(2)),
        };
    }
    is_found(&[HEAD, &packed].concat(), Surface::Part, cuts);
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
    [&head[..], &compress_to_vec(octets, 6), &[0; 8]].concat()
}

/// One local header with what is packed; without a directory, which nobody needs.
fn zip(octets: &[u8], method: u8, streamed: u8) -> Vec<u8> {
    let packed = if method == 0 { octets.to_vec() } else { compress_to_vec(octets, 6) };
    // The size may stand behind what is deflated.
    let is_streamed = streamed == 1 && method == 8;
    let size =
        |octets: &[u8]| if is_streamed { [0; 4] } else { (octets.len() as u32).to_le_bytes() };
    let flags = if is_streamed { 8 } else { 0 };
    let head = [b"PK\x03\x04\x14\x00", &[flags, 0, method, 0][..], &[0; 8]].concat();
    [&head[..], &size(&packed), &size(octets), b"\x01\x00\x00\x00a", &packed].concat()
}

fn tar(octets: &[u8]) -> Vec<u8> {
    let mut archive = vec![0; 512];
    archive[0] = b'a';
    archive[124..135].copy_from_slice(format!("{:011o}", octets.len()).as_bytes());
    archive[156] = b'0';
    archive[257..262].copy_from_slice(b"ustar");
    archive[148..156].fill(b' ');
    let sum: u32 = archive.iter().map(|octet| u32::from(*octet)).sum();
    archive[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend_from_slice(octets);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
