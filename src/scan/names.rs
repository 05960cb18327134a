//! The names of attachments, in every reading that a mail client may make of them.
//!
//! A name stands in `filename=` of a Content-Disposition or in `name=` of a Content-Type: plain, in
//! quotes, as encoded words (which RFC 2047 forbids there), percent-encoded with a character set
//! (RFC 2231 4), or cut into numbered pieces (RFC 2231 3), which may be out of order, incomplete, or
//! there beside a plain one. Clients choose differently, so all readings are given.

use super::charset::ToUtf8;
use super::content_type::{Reader, Value, strip_prefix_in_any_case, undo_percent};
use super::decode::DECODED_STEP_OCTETS;
use super::words;
use crate::limits::PARAMETER_PIECES_MAX;
use smallvec::SmallVec;

/// A piece `filename*3*=`.
#[derive(Clone, Copy)]
struct Piece<'a> {
    number: u32,
    extended: bool,
    value: Value<'a>,
}

/// Room for readings of a name while they are made.
pub(super) struct Room<'a> {
    pub plain: &'a mut [u8; DECODED_STEP_OCTETS],
    pub name: &'a mut Vec<u8>,
    pub other: &'a mut Vec<u8>,
}

/// Gives each reading of the name in parameter `key` of an unfolded value. False if clients may
/// read it differently.
pub(super) fn readings(
    value: &[u8],
    key: &[u8],
    room: &mut Room<'_>,
    mut each: impl FnMut(&[u8]),
) -> bool {
    let mut reader = Reader::at_parameters(value);
    let mut pieces: SmallVec<[Piece; PARAMETER_PIECES_MAX]> = SmallVec::new();
    let (mut forms, mut clear) = (0, true);
    while let Some(parameter) = reader.parameter_name() {
        let Some(form) = strip_prefix_in_any_case(parameter, key) else {
            reader.parameter_value();
            continue;
        };
        let value = reader.parameter_value();
        match Form::read(form) {
            Some(Form::Whole { extended }) => {
                forms += 1;
                whole(&value, extended, room, &mut each);
            }
            Some(Form::Piece { number, extended }) if pieces.len() < PARAMETER_PIECES_MAX => {
                pieces.push(Piece { number, extended, value });
            }
            _ => clear = false,
        }
    }
    if !pieces.is_empty() {
        forms += 1;
        clear &= pieces.iter().zip(0..).all(|(piece, number)| piece.number == number);
        joined(&pieces, room, &mut each);
        if !clear {
            pieces.sort_by_key(|piece| piece.number);
            joined(&pieces, room, &mut each);
        }
    }
    clear && forms <= 1
}

/// What follows the name of a parameter in its own name.
enum Form {
    Whole { extended: bool },
    Piece { number: u32, extended: bool },
}

impl Form {
    fn read(form: &[u8]) -> Option<Form> {
        let Some(numbered) = form.strip_prefix(b"*") else {
            return Some(Form::Whole { extended: false });
        };
        let (digits, extended) = match numbered.strip_suffix(b"*") {
            Some(digits) => (digits, true),
            None => (numbered, false),
        };
        if digits.is_empty() {
            return Some(Form::Whole { extended: true });
        }
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Form::Piece { number, extended })
    }
}

/// A name in one piece: as it stands, with its words undone, and percent-decoded.
fn whole(value: &Value<'_>, extended: bool, room: &mut Room<'_>, each: &mut impl FnMut(&[u8])) {
    room.name.clear();
    room.name.extend(value.octets());
    give(room.name, each);
    if extended || room.name.contains(&b'%') {
        room.other.clear();
        decode_extended(room.name, room.other);
        give(room.other, each);
    }
    room.other.clear();
    if words::undo(room.name, room.plain, room.other).decoded > 0 {
        give(room.other, each);
    }
}

/// The pieces one behind the other: those that say so percent-decoded, and then all of them.
fn joined(pieces: &[Piece<'_>], room: &mut Room<'_>, each: &mut impl FnMut(&[u8])) {
    room.name.clear();
    room.other.clear();
    for piece in pieces {
        // The part before the text belongs to the first piece alone.
        if piece.extended {
            undo_percent(piece.value.octets(), |octet| room.name.push(octet));
        } else {
            room.name.extend(piece.value.octets());
        }
        room.other.extend(piece.value.octets());
    }
    give(room.name, each);
    room.name.clear();
    decode_extended(room.other, room.name);
    give(room.name, each);
    room.name.clear();
    if words::undo(room.other, room.plain, room.name).decoded > 0 {
        give(room.name, each);
    }
}

/// RFC 2231 4: `charset'language'text`, percent-decoded; without the quotes it is all text.
fn decode_extended(written: &[u8], out: &mut Vec<u8>) {
    let mut parts = written.splitn(3, |octet| *octet == b'\'');
    let (charset, text) = match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(text)) => (charset, text),
        _ => (&b""[..], written),
    };
    let mut converter = ToUtf8::from_name(charset).unwrap_or_else(ToUtf8::unchanged);
    undo_percent(text.iter().copied(), |octet| {
        converter.convert(&[octet], |utf8| out.extend_from_slice(utf8));
    });
    converter.finish(|utf8| out.extend_from_slice(utf8));
}

/// A name as it is; and where Windows would drop dots and blanks at its end, so too.
fn give(name: &[u8], each: &mut impl FnMut(&[u8])) {
    each(name);
    let end = name.iter().rposition(|octet| !b". \t\0".contains(octet)).map_or(0, |last| last + 1);
    if end < name.len() {
        each(&name[..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str) -> (Vec<String>, bool) {
        let (mut plain, mut name, mut other) = ([0; DECODED_STEP_OCTETS], vec![], vec![]);
        let mut room = Room { plain: &mut plain, name: &mut name, other: &mut other };
        let mut all = Vec::new();
        let clear = readings(value.as_bytes(), b"filename", &mut room, |name| {
            all.push(String::from_utf8_lossy(name).into_owned());
        });
        (all, clear)
    }

    // RFC 2231 3 and 4, RFC 2047 5; and a name that is hidden in each form, A-45.
    #[test]
    fn a_45_a_name_is_found_in_every_form() {
        let table = [
            ("attachment; filename=x.exe", true),
            ("attachment; filename=\"x.exe\"", true),
            ("attachment; FileName = \"x.exe\"", true),
            ("attachment; filename=\"x\\.exe\"", true),
            ("attachment; filename=x.exe; size=3", true),
            ("attachment; filename=\"x.exe", true),
            ("attachment; filename=x.exe.", true),
            ("attachment; filename=\"x.exe . \"", true),
            ("attachment; filename=\"=?utf-8?B?eC5leGU=?=\"", true),
            ("attachment; filename==?utf-8?Q?x=2Eexe?=", true),
            ("attachment; filename=\"=?utf-8?Q?x=2E?= =?utf-8?Q?exe?=\"", true),
            ("attachment; filename*=utf-8''x%2Eexe", true),
            ("attachment; filename*=utf-8'en'x.exe", true),
            ("attachment; filename*=x%2Eexe", true),
            ("attachment; filename*=utf-16be''%00x%00.%00e%00x%00e", true),
            ("attachment; filename=\"x%2Eexe\"", true),
            ("attachment; filename*0=x.; filename*1=exe", true),
            ("attachment; filename*0=\"x.\"; filename*1=\"exe\"", true),
            ("attachment; filename*0*=utf-8''x%2E; filename*1=exe", true),
            ("attachment; filename*0*=utf-8''x; filename*1*=%2Eexe", true),
            ("attachment; filename*0=x; filename*1*=%2Eexe", true),
            ("attachment; filename*0=x%2E; filename*1=exe", true),
            ("attachment; filename*1=exe; filename*0=x.", false),
            ("attachment; filename*0=x.; filename*2=exe", false),
            ("attachment; filename*1=x.; filename*2=exe", false),
            ("attachment; filename*2=e; filename*1=ex; filename*0=x.", false),
            ("attachment; filename=x.txt; filename*=utf-8''x.exe", false),
            ("attachment; filename=x.exe; filename*=utf-8''x.txt", false),
            ("attachment; filename=x.txt; filename*0=x.; filename*1=exe", false),
            ("attachment; filename=x.txt; filename=x.exe", false),
            ("attachment; filename*0=\"=?utf-8?Q?x=2E\"; filename*1=\"exe?=\"", true),
        ];
        for (value, clear) in table {
            let (names, was_clear) = names(value);

            assert!(names.iter().any(|name| name == "x.exe"), "{value}: {names:?}");
            assert_eq!(was_clear, clear, "{value}");
        }
    }

    #[test]
    fn pieces_beyond_the_limit_are_left_out() {
        let pieces = |count: usize| -> String {
            let piece = |number| format!("; filename*{number}=x");
            "attachment".to_owned() + &(0..count).map(piece).collect::<String>()
        };
        let (all, clear) = names(&pieces(PARAMETER_PIECES_MAX));
        assert!(clear && all[0] == "x".repeat(PARAMETER_PIECES_MAX));
        let (all, clear) = names(&pieces(100_000));
        assert!(!clear && all[0].len() == PARAMETER_PIECES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_read_without_a_panic(value in "[a;*0-9='\"%? =filename\\\\(é]{0,200}") {
            names(&value);
        }
    }
}
