//! Internationalized addresses in parameter values: UTF-8, and `\x{...}` for what cannot stand there
//! (RFC 6533 3).

/// Whether a value follows the grammar: that of `utf-8-addr-xtext` if it is ASCII, and otherwise that
/// of `utf-8-addr-unitext`. One that hides a control octet does not pass: an encoded line end must
/// never become one in a log, a header or a command.
pub fn is_unitext(value: &[u8]) -> bool {
    let Ok(mut rest) = core::str::from_utf8(value) else { return false };
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\\' => match embedded(rest) {
                Some(rest) => rest,
                None => return false,
            },
            // RFC 6533 3: QCHAR is printable ASCII without "\", "+" and "="; QUCHAR adds the rest of
            // Unicode.
            '+' | '=' | ' ' => return false,
            plain if plain.is_control() => return false,
            plain => &rest[plain.len_utf8()..],
        };
    }
    !value.is_empty()
}

/// What follows the `\x{HEX}` that `text` begins with.
///
/// RFC 6533 3: HEXPOINT is 2 to 6 upper case digits without needless zeroes, and of the characters
/// that may stand there as they are it can mean none.
fn embedded(text: &str) -> Option<&str> {
    let (digits, rest) = text.strip_prefix("\\x{")?.split_once('}')?;
    let upper_case = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    let shortest =
        (2..=6).contains(&digits.len()) && (digits.len() == 2 || !digits.starts_with('0'));
    let meant = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
    let needed = matches!(meant, ' ' | '+' | '=' | '\\') || !meant.is_ascii();
    (upper_case && shortest && needed && !meant.is_control()).then_some(rest)
}

/// The same value for a server that does not offer SMTPUTF8.
///
/// RFC 6533 3: `utf-8-addr-xtext`, the 7-bit form, is safe where SMTPUTF8 is not advertised.
pub fn in_seven_bits(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                ascii if ascii.is_ascii() => out.push(ascii as u8),
                other => out.extend_from_slice(format!("\\x{{{:X}}}", other as u32).as_bytes()),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6533 3, and A-33: control octets are not let in by this door either.
    #[test]
    fn a_33_unitext_by_its_grammar() {
        let good = [
            "jørn@exämple.net",
            "j\\x{F8}rn@example.net",
            "a\\x{20}b\\x{2B}c\\x{3D}d\\x{5C}e",
            "\\x{A0}\\x{3B1}\\x{1F4A9}\\x{10FFFF}",
            "💩",
        ];
        for value in good {
            assert!(is_unitext(value.as_bytes()), "{value}");
        }
        let bad = [
            "",
            "a+b",
            "a=b",
            "a b",
            "\\",
            "\\x",
            "\\x{",
            "\\x{}",
            "\\x{F8",
            "\\X{F8}",
            "\\x{f8}",
            "\\x{+F8}",
            "\\x{F}",
            "\\x{0F8}",
            "\\x{41}",
            "\\x{0A}",
            "\\x{0D}",
            "\\x{1B}",
            "\\x{7F}",
            "\\x{85}",
            "\\x{D800}",
            "\\x{110000}",
            "\\x{1000000}",
            "a\nb",
            "a\u{85}b",
        ];
        for value in bad {
            assert!(!is_unitext(value.as_bytes()), "{value:?}");
        }
        assert!(!is_unitext(b"a\xff"));
    }

    #[test]
    fn seven_bits_say_the_same() {
        let table = [
            ("jørn@example.net", "j\\x{F8}rn@example.net"),
            ("a\\x{20}💩", "a\\x{20}\\x{1F4A9}"),
            ("plain@example.net", "plain@example.net"),
        ];
        for (value, expected) in table {
            let converted = in_seven_bits(value.as_bytes());
            assert_eq!(String::from_utf8_lossy(&converted), expected);
            assert!(is_unitext(&converted));
        }
    }
}
