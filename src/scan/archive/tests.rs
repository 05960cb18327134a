//! Archives as data: each is read whole and in every cut.

use super::*;
use crate::limits::{ARCHIVE_DEPTH_MAX, UNPACK_PLACES};
use crate::scan::Tags;
use proptest::prelude::*;

fn told<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    told_unpacking(0, pieces)
}

fn told_unpacking<'a>(
    unpacked_max: u64,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<String> {
    let tags = Tags::new();
    let (mut archives, mut all) = (Archives::default(), Vec::new());
    archives.begin_message(unpacked_max);
    let mut see = |told: Told<'_>| {
        let text = match told {
            Told::Name(name) => name.escape_ascii().to_string(),
            Told::Tag(tag) => format!("[{}]", tags.name(tag)),
            Told::Unpacked(_, octets) => format!("<{}", octets.escape_ascii()),
            Told::UnpackedEnd(_) => ">".to_owned(),
        };
        // A tag is a tag, however often it is told.
        if text.starts_with('[') && all.contains(&text) {
            return;
        }
        all.push(text);
    };
    pieces.into_iter().for_each(|piece| archives.read(piece, &mut see));
    archives.finish(&mut see);
    all
}

fn told_in_every_cut(octets: &[u8]) -> String {
    let whole = told([octets]);
    assert_eq!(told(octets.chunks(1)), whole, "in single octets");
    for cut in 1..octets.len() {
        let (head, tail) = octets.split_at(cut);
        assert_eq!(told([head, tail]), whole, "cut at {cut}");
    }
    whole.join(" ")
}

// ---- zip ------------------------------------------------------------------------------------

#[derive(Clone)]
struct Entry<'a> {
    name: &'a [u8],
    flags: u16,
    method: u16,
    packed: u32,
    unpacked: u32,
    /// Octets that lie there.
    octets: usize,
}

fn entry(name: &str) -> Entry<'_> {
    Entry { name: name.as_bytes(), flags: 0, method: 8, packed: 5, unpacked: 9, octets: 5 }
}

fn numbers(numbers: &[(usize, u64)]) -> Vec<u8> {
    numbers.iter().flat_map(|(octets, number)| number.to_le_bytes()[..*octets].to_vec()).collect()
}

fn local(entry: &Entry<'_>) -> Vec<u8> {
    let Entry { name, flags, method, packed, unpacked, octets } = entry;
    let header = numbers(&[
        (2, 20),
        (2, u64::from(*flags)),
        (2, u64::from(*method)),
        (8, 0),
        (4, u64::from(*packed)),
        (4, u64::from(*unpacked)),
        (2, name.len() as u64),
        (2, 0),
    ]);
    [b"PK\x03\x04", &header[..], name, &vec![b'.'; *octets]].concat()
}

fn central(entry: &Entry<'_>) -> Vec<u8> {
    let Entry { name, flags, method, packed, unpacked, .. } = entry;
    let header = numbers(&[
        (2, 20),
        (2, 20),
        (2, u64::from(*flags)),
        (2, u64::from(*method)),
        (8, 0),
        (4, u64::from(*packed)),
        (4, u64::from(*unpacked)),
        (2, name.len() as u64),
        (8, 0),
        (8, 0),
    ]);
    [b"PK\x01\x02", &header[..], name].concat()
}

fn end() -> Vec<u8> {
    [&b"PK\x05\x06"[..], &[0; 18]].concat()
}

fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let locals: Vec<u8> = entries.iter().flat_map(local).collect();
    let centrals: Vec<u8> = entries.iter().flat_map(central).collect();
    [locals, centrals, end()].concat()
}

#[test]
fn the_names_in_a_zip_archive_are_given() {
    assert_eq!(
        told_in_every_cut(&zip(&[entry("a.txt"), entry("b.exe")])),
        "a.txt b.exe a.txt b.exe"
    );
    let picture = [&b"\x89PNG and PK and P"[..], &zip(&[entry("a")])].concat();
    assert_eq!(told_in_every_cut(&picture), "a a");
    let locked = Entry { flags: 1, ..entry("a") };
    assert_eq!(told_in_every_cut(&zip(&[locked])), "[archive-encrypted] a a");
    assert_eq!(told_in_every_cut(b"PK is a football club; PK\x03\x04"), "[archive-broken] ");
    assert_eq!(told_in_every_cut(b"no archive, P"), "");
}

/// more octets together than there are, or a ratio that no honest file has.
#[test]
fn a_53_bombs_are_known_by_what_they_say() {
    let many: Vec<Entry> =
        (0..40).map(|_| Entry { packed: 20_000, unpacked: 60_000, ..entry("a") }).collect();
    assert!(told([&zip(&many)[..]]).contains(&"[archive-bomb]".to_owned()));
    let dense = Entry { unpacked: 9 << 20, ..entry("a") };
    assert!(told_in_every_cut(&zip(&[dense])).contains("[archive-bomb]"));
    // What stands in the extra field does not fit in a message.
    let large = Entry { packed: u32::MAX, unpacked: u32::MAX, ..entry("a") };
    assert!(told_in_every_cut(&zip(&[large])).contains("[archive-bomb]"));
    let small = Entry { unpacked: 1 << 20, ..entry("a") };
    assert!(!told_in_every_cut(&zip(&[small])).contains("[archive-bomb]"));
}

/// every name is given that any reader may see, and what does not agree is told.
#[test]
fn a_54_a_hidden_name_is_found_by_every_reading() {
    let (seen, hidden) = (entry("a.txt"), entry("b.exe"));
    let in_local = [local(&seen), local(&hidden), central(&seen), end()].concat();
    let in_central = [local(&seen), central(&seen), central(&hidden), end()].concat();
    let renamed = [local(&hidden), central(&seen), end()].concat();
    let [of_seen, of_hidden] = [&seen, &hidden].map(|one| zip(std::slice::from_ref(one)));
    let two = [&of_seen[..], &of_hidden].concat();
    let behind = [of_seen, local(&hidden)].concat();
    let in_name = [
        local(&Entry { name: &[b"x", &local(&hidden)[..]].concat(), ..entry("") }),
        central(&seen),
        end(),
    ];
    let stored = zip(&[seen.clone(), Entry { method: 0, ..hidden.clone() }]);
    for archive in [in_local, in_central, renamed, two, behind, in_name.concat(), stored] {
        let told = told_in_every_cut(&archive);
        assert!(told.contains("b.exe") && told.contains("[archive-ambiguous]"), "{told}");
    }
}

/// a name is octets, of which the first are looked at.
#[test]
fn a_55_a_name_is_data() {
    for name in ["../../x", "$(id).tar", "a\r\nb", "a\0b", "\u{202e}exe.txt"] {
        let told = told_in_every_cut(&zip(&[entry(name)]));
        let name = name.as_bytes().escape_ascii();
        assert_eq!(told, format!("{name} {name}"));
    }
    let long = "x".repeat(65_535);
    let told = told([&zip(&[entry(&long)])[..]]);
    assert!(told.contains(&"[archive-limit]".to_owned()));
    assert!(told.iter().all(|name| name.len() <= ENTRY_NAME_OCTETS));
}

/// no archive costs more than its octets, or makes the scan wait.
#[test]
fn a_56_headers_without_end_are_counted_and_let_go() {
    let many = zip(&[entry("a")]).repeat(ARCHIVE_NAMES_MAX as usize);
    let told_of_many = told([&many[..]]);
    let names = told_of_many.iter().filter(|told| *told == "a").count();
    assert_eq!(names, ARCHIVE_NAMES_MAX as usize);
    assert!(told_of_many.contains(&"[archive-limit]".to_owned()));
    // Each header says that the rest of the archive is its name.
    let nested = local(&Entry { name: &[b'P'; 600], ..entry("") })[..30].repeat(2000);
    assert_eq!(told([&nested[..]]), told(nested.chunks(7)));
    for archive in [zip(&[entry("a"), entry("b")]), tar(&[("a", 700)]), rar5(&[("a", false)])] {
        for length in 0..archive.len() {
            told([&archive[..length]]);
        }
    }
}

// ---- tar ------------------------------------------------------------------------------------

fn block(name: &str, kind: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    let length = name.len().min(100);
    block[..length].copy_from_slice(&name.as_bytes()[..length]);
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = kind;
    block[257..262].copy_from_slice(b"ustar");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|octet| u64::from(*octet)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn tar(entries: &[(&str, usize)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, size) in entries {
        if name.len() > 100 {
            archive.extend(block("long", b'L', name.len() + 1));
            archive.extend(name.as_bytes());
            archive.resize((archive.len() + 1).next_multiple_of(512), 0);
        }
        archive.extend(block(name, b'0', *size));
        archive.resize((archive.len() + size).next_multiple_of(512), b'.');
    }
    archive.extend([0; 1024]);
    archive
}

#[test]
fn the_names_in_a_tar_archive_are_given() {
    assert_eq!(told([&tar(&[("a", 0), ("b.exe", 700), ("c", 512)])[..]]).join(" "), "a b.exe c");
    let long = format!("{}.exe", "x".repeat(120));
    let archive = tar(&[(&long, 3)]);
    let whole = told([&archive[..]]);
    assert_eq!(whole[0], long);
    for piece in [1, 7, 511, 512, 513] {
        assert_eq!(told(archive.chunks(piece)), whole, "{piece}");
    }
    let mut pax = block("x", b'x', 19);
    pax.extend(b"19 path=from/pax.y\n");
    pax.resize(1024, 0);
    pax.extend(tar(&[("short", 0)]));
    assert_eq!(told([&pax[..]]).join(" "), "from/pax.y short");
    let cut = &tar(&[("a", 5000)])[..1024];
    assert_eq!(told([cut]).join(" "), "a [archive-broken]");
    let mut other = tar(&[("a", 0), ("b", 0)]);
    other[600] ^= 1;
    assert_eq!(told([&other[..]]).join(" "), "a [archive-broken]");
}

// ---- rar, 7z, gzip --------------------------------------------------------------------------

/// Blocks of the fifth format: a main header, files, an end.
fn rar5(entries: &[(&str, bool)]) -> Vec<u8> {
    let block = |body: &[u8]| [&[0; 4][..], &[body.len() as u8], body].concat();
    let mut archive = b"Rar!\x1a\x07\x01\x00".to_vec();
    archive.extend(block(&[1, 0, 0]));
    for (name, is_encrypted) in entries {
        let extra: &[u8] = if *is_encrypted { &[2, 1, 0] } else { &[] };
        let head = [2, 3, extra.len() as u8, 5, 0, 9, 0, 0, 0, name.len() as u8];
        archive.extend(block(&[&head, name.as_bytes(), extra].concat()));
        archive.extend(b".....");
    }
    archive.extend(block(&[5, 0, 0]));
    archive
}

fn rar4(name: &str, flags: u64, main_flags: u64) -> Vec<u8> {
    let main = [&numbers(&[(2, 0), (1, 0x73), (2, main_flags), (2, 13)])[..], &[0; 6]].concat();
    let size = 32 + name.len() as u64;
    let file = [(2, 0), (1, 0x74), (2, 0x8000 | flags), (2, size), (4, 5), (4, 9), (1, 0), (8, 0)];
    let rest = numbers(&[(2, 0x301d), (2, name.len() as u64), (4, 0)]);
    let file = [&numbers(&file)[..numbers(&file).len()], &rest, name.as_bytes(), b"....."].concat();
    let end = numbers(&[(2, 0), (1, 0x7b), (2, 0), (2, 7)]);
    [b"Rar!\x1a\x07\x00".to_vec(), main, file, end].concat()
}

#[test]
fn the_names_in_a_rar_archive_are_given() {
    let archive = rar5(&[("a.txt", false), ("b.exe", false)]);
    assert_eq!(told_in_every_cut(&archive), "a.txt b.exe");
    assert_eq!(told_in_every_cut(&rar5(&[("a", true)])), "a [archive-encrypted]");
    let all = [&b"Rar!\x1a\x07\x01\x00"[..], &[0, 0, 0, 0, 3, 4, 0, 0]].concat();
    assert_eq!(told_in_every_cut(&all), "[archive-encrypted]");
    assert_eq!(told_in_every_cut(&rar4("b.exe", 0, 0)), "b.exe");
    assert_eq!(told_in_every_cut(&rar4("b.exe", 4, 0)), "[archive-encrypted] b.exe");
    assert_eq!(told_in_every_cut(&rar4("b.exe", 0, 0x80)), "[archive-encrypted]");
    let broken = [&b"Rar!\x1a\x07\x00"[..], &[0; 40]].concat();
    assert_eq!(told_in_every_cut(&broken), "[archive-broken]");
}

fn seven_zip(header: &[u8]) -> Vec<u8> {
    let start = numbers(&[(2, 4), (4, 0), (8, 9), (8, header.len() as u64), (4, 0)]);
    [b"7z\xbc\xaf\x27\x1c", &start[..], &[b'.'; 9], header].concat()
}

#[test]
fn the_names_in_a_7z_archive_are_given_if_they_are_not_packed() {
    let names: Vec<u8> = "a.txt\0b.exe\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let header = [&[1, 5, 2, 0x11, names.len() as u8 + 1, 0], &names[..], &[0]].concat();
    assert_eq!(told_in_every_cut(&seven_zip(&header)), "a.txt b.exe");
    assert_eq!(told_in_every_cut(&seven_zip(&[0x17, 6, 0])), "[archive-hidden]");
    let locked = seven_zip(&[0x17, 6, 0x24, 0x06, 0xf1, 0x07, 0x01, 0]);
    assert_eq!(told_in_every_cut(&locked), "[archive-encrypted] [archive-hidden]");
    let cut = &seven_zip(&header)[..40];
    assert_eq!(told_in_every_cut(cut), "[archive-broken]");
}

#[test]
fn the_name_in_a_gzip_file_is_given() {
    let head = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03b.exe\0....";
    assert_eq!(told_in_every_cut(head), "b.exe");
    let with_extra = b"\x1f\x8b\x08\x0c\x00\x00\x00\x00\x00\x03\x02\x00..b.exe\0....";
    assert_eq!(told_in_every_cut(with_extra), "b.exe");
    assert_eq!(told_in_every_cut(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03...."), "");
}

// ---- what is packed --------------------------------------------------------------------------

const MUCH: u64 = 1 << 20;

fn unpacked_in_every_cut(octets: &[u8]) -> String {
    let whole = told_unpacking(MUCH, [octets]);
    assert_eq!(told_unpacking(MUCH, octets.chunks(1)), whole, "in single octets");
    for cut in 1..octets.len() {
        let (head, tail) = octets.split_at(cut);
        assert_eq!(told_unpacking(MUCH, [head, tail]), whole, "cut at {cut}");
    }
    whole.join(" ")
}

fn deflated(octets: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(octets, 6)
}

/// A local header with what is packed behind it.
fn packed(name: &str, flags: u16, method: u16, packed: &[u8], unpacked: usize) -> Vec<u8> {
    let sizes = if flags & 8 == 0 { (packed.len() as u32, unpacked as u32) } else { (0, 0) };
    let (packed_size, unpacked) = sizes;
    let entry = Entry { flags, method, packed: packed_size, unpacked, octets: 0, ..entry(name) };
    [&local(&entry)[..], packed].concat()
}

/// An archive of one entry that is deflated.
fn zipped(name: &str, octets: &[u8]) -> Vec<u8> {
    let body = deflated(octets);
    let sizes = Entry { packed: body.len() as u32, unpacked: octets.len() as u32, ..entry(name) };
    [packed(name, 0, 8, &body, octets.len()), central(&sizes), end()].concat()
}

fn gzipped(octets: &[u8]) -> Vec<u8> {
    [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", &deflated(octets)[..], &[0; 8]].concat()
}

fn tarred(name: &str, octets: &[u8]) -> Vec<u8> {
    let mut archive = block(name, b'0', octets.len());
    archive.extend(octets);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

#[test]
fn what_is_packed_is_unpacked_in_any_cut() {
    assert_eq!(unpacked_in_every_cut(&zipped("a", b"hello hello")), "a <hello hello > a");
    assert_eq!(unpacked_in_every_cut(&gzipped(b"hello")), "<hello >");
    assert_eq!(unpacked_in_every_cut(&tarred("a", b"hello")), "a <hello >");
    let stored = [packed("a", 0, 0, b"hello", 5), central(&entry("a")), end()].concat();
    assert_eq!(unpacked_in_every_cut(&stored), "a <hello > a");
    // RFC 1952 2.2: "A gzip file consists of a series of members".
    let members = [gzipped(b"he"), gzipped(b"llo")].concat();
    assert_eq!(unpacked_in_every_cut(&members), "<hello >");
    let all = b"\x1f\x8b\x08\x1e\x00\x00\x00\x00\x00\x03\x02\x00..name\0a comment\0..";
    let all = [&all[..], &deflated(b"hello"), &[0; 8]].concat();
    assert_eq!(unpacked_in_every_cut(&all), "<hello > name");
    assert_eq!(unpacked_in_every_cut(&[&gzipped(b"a")[..], b"and more"].concat()), "<a >");
}

#[test]
fn a_size_behind_the_entry_or_in_another_field_is_not_needed() {
    let body = deflated(b"hello");
    let descriptor = [&b"PK\x07\x08"[..], &[0; 12]].concat();
    let streamed = [packed("a", 8, 8, &body, 5), descriptor, central(&entry("a")), end()].concat();
    assert_eq!(unpacked_in_every_cut(&streamed), "a <hello > a");
    let mut large = packed("a", 0, 8, &body, 5);
    large[18..26].fill(0xff);
    let large = [large, central(&entry("a")), end()].concat();
    assert_eq!(unpacked_in_every_cut(&large), "a <hello > a");
}

#[test]
fn archives_in_archives_are_read_alike() {
    let inner = zipped("b", b"hello");
    let b = "b <hello > b";
    let escaped = |octets: &[u8]| octets.escape_ascii().to_string();
    let told = unpacked_in_every_cut(&zipped("a", &inner));
    assert_eq!(told, format!("a <{} {b} > a", escaped(&inner)));
    let tar = tarred("b", b"hello");
    let told = unpacked_in_every_cut(&gzipped(&tar));
    assert_eq!(told, format!("<{} b <hello > >", escaped(&tar)));
}

/// what becomes far larger than it is ends, and costs no more than was allowed.
#[test]
fn a_53_unpacking_ends_at_its_limit_and_a_bomb_is_told() {
    let zeroes = zipped("a", &vec![0; 3 << 20]);
    let whole = told_unpacking(MUCH, [&zeroes[..]]);
    let unpacked: usize = whole
        .iter()
        .filter_map(|told| told.strip_prefix('<'))
        .map(|octets| octets.len() / b"\\x00".len())
        .sum();
    assert_eq!(unpacked as u64, MUCH);
    for tag in ["[archive-limit]", "[archive-bomb]"] {
        assert!(whole.contains(&tag.to_owned()), "{tag}");
    }
    assert_eq!(told_unpacking(MUCH, zeroes.chunks(1)), whole);
    // All layers together.
    let twice = gzipped(&gzipped(&vec![0; 3 << 20]));
    let whole = told_unpacking(MUCH, [&twice[..]]);
    assert!(whole.contains(&"[archive-bomb]".to_owned()), "{}", whole.len());
    assert_eq!(told_unpacking(MUCH, twice.chunks(3)), whole);
    let honest: Vec<u8> = (0..200_000u32).flat_map(|n| (n.wrapping_mul(n)).to_le_bytes()).collect();
    let whole = told_unpacking(MUCH, [&gzipped(&honest)[..]]);
    assert!(!whole.iter().any(|told| told.starts_with('[')));
}

/// what a header says wrongly is told, and what lies there is unpacked all the same.
#[test]
fn a_54_what_lies_behind_a_lying_header_is_unpacked() {
    let body = deflated(b"hello");
    // Stored, says the header; it is not.
    let zombie = packed("a", 0, 0, &body, 5);
    assert_eq!(unpacked_in_every_cut(&zombie), "[archive-ambiguous] a <hello > [archive-broken]");
    let mut short = packed("a", 0, 8, &body, 5);
    short[18] -= 1;
    assert!(unpacked_in_every_cut(&short).contains("a [archive-ambiguous] <hello >"));
    // An entry in the octets of another one, out of which it does not come.
    let hidden = packed("b.exe", 0, 8, &deflated(b"bad"), 3);
    let mut around = hidden.clone();
    around.truncate(35);
    let cover = [&[0, around.len() as u8, 0, !(around.len() as u8), 0xff][..], &around].concat();
    let told = unpacked_in_every_cut(&packed("a", 0, 8, &[&cover[..], &[3, 0]].concat(), 35));
    assert!(told.contains("b.exe"), "{told}");
    // Headers that are also the codes of other octets, the second of an entry that is encrypted.
    let codes: [(&[u8], usize); 2] = [
        (
            b"\xfbPK\x03\x04\x16\0z\xd6\x01\x04\x0e\x16\x1f8\xb0\xa4\x0c\x9c\x1e\xaaK\x1d\x1c\x07\x97\xfa\x01\0\
              \x92z-r\x9f1\0\0",
            992,
        ),
        (
            b"\x1bPK\x03\x04!\0\x11R\x22\xce\xd4\xa52r@\xca|p\xc6.^\xbdM\x1e\x10\xc9\x01\0\
              \x0fE\xae\xc5 9\0\0",
            1022,
        ),
    ];
    for (codes, unpacked) in codes {
        let both = [&b"\0\x58\x02\xa7\xfd"[..], &[b'x'; 600], codes].concat();
        let told = unpacked_in_every_cut(&packed("a", 0, 8, &both, unpacked));
        assert!(told.contains("[archive-ambiguous]"), "{told}");
    }
}

/// depth is counted by what is there, whatever it is called.
#[test]
fn a_56_archives_too_deep_in_one_another_are_told() {
    let mut archive = zipped("0.txt", b"hello");
    for depth in 1..6 {
        let told = told_unpacking(MUCH, [&archive[..]]).join(" ");
        let is_too_deep = depth > ARCHIVE_DEPTH_MAX;
        assert_eq!(told.contains("[archive-depth]"), is_too_deep, "{depth}: {told}");
        assert_eq!(told.contains("<hello >"), !is_too_deep, "{depth}: {told}");
        archive = zipped(&format!("{depth}.txt"), &archive);
    }
}

/// cut off anywhere, with any octet turned, or with lies for numbers.
#[test]
fn a_56_hostile_archives_are_read_alike_in_any_cut() {
    let tar_gz = gzipped(&tarred("a", b"hello"));
    for archive in [zipped("a", &zipped("b", b"hello hello")), tar_gz] {
        for length in 0..archive.len() {
            let cut = &archive[..length];
            assert_eq!(told_unpacking(MUCH, cut.chunks(1)), told_unpacking(MUCH, [cut]));
        }
        for place in 0..archive.len() {
            for octet in [0, 1, 8, 0x50, 0x7f, 0xff] {
                let mut turned = archive.clone();
                turned[place] = octet;
                let whole = told_unpacking(MUCH, [&turned[..]]);
                assert_eq!(told_unpacking(MUCH, turned.chunks(1)), whole, "{place}: {octet}");
            }
        }
    }
}

#[test]
fn what_cannot_be_unpacked_is_told() {
    let locked = packed("a", 1, 8, &deflated(b"hello"), 5);
    assert!(unpacked_in_every_cut(&locked).starts_with("[archive-encrypted] a"));
    assert!(unpacked_in_every_cut(&packed("a", 0, 14, b"12345", 5)).contains("[archive-unread]"));
    assert!(unpacked_in_every_cut(&packed("a", 0, 8, b"\xff\xff", 5)).contains("[archive-broken]"));
    let cut = gzipped(b"hello hello");
    assert!(unpacked_in_every_cut(&cut[..cut.len() - 9]).contains("[archive-broken]"));
}

/// APPNOTE 4.5.3: sizes that do not fit stand in the extra field, and writers that do not know them
/// before put them there in any case.
#[test]
fn sizes_in_the_extra_field_delimit_an_entry() {
    let zip64 = |name: &str, octets: &[u8], said: u64, before: &[u8]| {
        let extra = [before, &numbers(&[(2, 1), (2, 16), (8, said), (8, said)])].concat();
        let header = numbers(&[
            (2, 45),
            (2, 0),
            (2, 0),
            (8, 0),
            (8, u64::MAX),
            (2, name.len() as u64),
            (2, extra.len() as u64),
        ]);
        [b"PK\x03\x04", &header[..], name.as_bytes(), &extra, octets].concat()
    };
    let (none, other) = (&b""[..], &b"\x99\x99\x02\x00ab"[..]);
    for before in [none, other] {
        let two = [zip64("a", b"one", 3, before), zip64("b", b"other", 5, before)].concat();
        let told = unpacked_in_every_cut(&two);
        assert!(told.starts_with("a <one > b <other >"), "{told}");
        assert!(!told.contains("ambiguous"), "{told}");
    }
    // One that says too much is as long as the leaf.
    let cut = unpacked_in_every_cut(&zip64("a", b"one", 9, none));
    assert!(cut.contains("<one") && cut.contains("[archive-broken]"), "{cut}");
}

#[test]
fn archives_that_are_only_listed_are_told_if_others_are_unpacked() {
    let signatures: [&[u8]; 8] = [
        b"Rar!\x1a\x07\x00",
        b"Rar!\x1a\x07\x01\x00",
        b"7z\xbc\xaf\x27\x1c",
        b"BZh91AY",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"LZIP\x01",
        b"MSCF\0\0\0\0",
    ];
    for signature in signatures {
        for octets in [0, 20, 700] {
            let archive = [signature, &vec![0; octets]].concat();
            assert!(unpacked_in_every_cut(&archive).contains("[archive-unread]"), "{archive:?}");
            assert!(!told_in_every_cut(&archive).contains("[archive-unread]"), "{archive:?}");
            let inside = packed("a", 0, 8, &deflated(&archive), archive.len());
            assert!(unpacked_in_every_cut(&inside).contains("[archive-unread]"), "{archive:?}");
        }
    }
    for other in [&b"BZ compressed"[..], b"Rar", b"words", b""] {
        assert!(!unpacked_in_every_cut(other).contains("[archive-unread]"), "{other:?}");
    }
}

/// A message that finds no memory to unpack in goes on, and what it held comes back.
#[test]
fn places_are_lent_and_come_back() {
    let archive = gzipped(&[b'x'; 100]);
    let half = &archive[..12];
    let mut open: Vec<Archives> = (0..UNPACK_PLACES).map(|_| Archives::default()).collect();
    for archives in &mut open {
        archives.begin_message(MUCH);
        archives.read(half, |_| {});
    }
    assert_eq!(told_unpacking(MUCH, [&archive[..]]).join(" "), "[archive-unread]");
    open.pop();
    assert!(told_unpacking(MUCH, [&archive[..]]).join(" ").starts_with("<xxx"));
}

/// Nothing at all is packed.
#[test]
fn an_empty_archive_is_unpacked_alike_in_any_cut() {
    for octets in [zipped("a", b""), gzipped(&tarred("a", &gzipped(b"")))] {
        let whole = told_unpacking(MUCH, [&octets[..]]);
        assert_eq!(told_unpacking(MUCH, octets.chunks(1)), whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_archive_is_unpacked_alike_in_any_cut(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..40),
        piece in 1usize..80,
    ) {
        let inner = tokens.concat();
        for octets in [zipped("a", &inner), gzipped(&tarred("a", &gzipped(&inner))), inner] {
            let whole = told_unpacking(MUCH, [&octets[..]]);
            prop_assert_eq!(&told_unpacking(MUCH, octets.chunks(piece)), &whole);
            prop_assert_eq!(&told_unpacking(MUCH, octets.chunks(1)), &whole);
        }
    }

    #[test]
    fn any_octets_are_read_alike_in_any_cut(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..40),
        piece in 1usize..80,
    ) {
        let octets = tokens.concat();
        let whole = told([&octets[..]]);
        prop_assert_eq!(&told(octets.chunks(piece)), &whole);
        prop_assert_eq!(&told(octets.chunks(1)), &whole);
    }
}

const TOKENS: &[&[u8]] = &[
    b"PK",
    b"P",
    b"\x03\x04",
    b"\x01\x02",
    b"\x05\x06",
    b"\x14\x00",
    b"\x00\x00\x00\x00",
    b"\x00",
    b"\x01",
    b"\x05\x00",
    b"name.exe",
    b"Rar!\x1a\x07\x01\x00",
    b"Rar!\x1a\x07\x00",
    b"7z\xbc\xaf\x27\x1c",
    b"\x74",
    b"\xff\xff\xff\xff",
    b"\x80",
    b"\x0a\x00",
    b"................",
];
