//! xtext: printable ASCII in parameter values, the rest as `+` and two hex digits (RFC 3461 4).

/// Decodes a value. `None` if it is not xtext, or if it hides a control octet.
///
/// RFC 3461 4: xtext = *( xchar / hexchar ); hexchar = "+" followed by two upper case hexadecimal
/// digits. An encoded line end must never become one in a log, a header or a command.
pub fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut octets = value.iter();
    while let Some(octet) = octets.next() {
        let plain = match octet {
            b'+' => hex(*octets.next()?)? << 4 | hex(*octets.next()?)?,
            b'=' => return None,
            b'!'..=b'~' => *octet,
            _ => return None,
        };
        if plain.is_ascii_control() {
            return None;
        }
        decoded.push(plain);
    }
    Some(decoded)
}

/// Encodes any octets, behind what `out` already holds.
pub fn encode(octets: &[u8], out: &mut Vec<u8>) {
    for octet in octets {
        // RFC 3461 4: xchar is any ASCII character from "!" to "~", except "+" and "=".
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => out.push(*octet),
            _ => out.extend_from_slice(format!("+{octet:02X}").as_bytes()),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn no_control_octet_comes_out() {
        assert_eq!(decode(b"abc+2B1").as_deref(), Some(&b"abc+1"[..]));
        assert_eq!(decode(b"").as_deref(), Some(&b""[..]));
        assert_eq!(decode(b"j+C3+BCrgen").as_deref(), Some("j\u{fc}rgen".as_bytes()));
        let bad: [&[u8]; 9] =
            [b"+0A", b"+0D+0Ab", b"+ZZ", b"+2", b"+", b"+2b", b"a=b", b"a b", b"+7F"];
        for value in bad {
            assert_eq!(decode(value), None, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn any_octets_go_in() {
        let mut value = Vec::new();
        encode(b"a+b=c d\r\n\xff", &mut value);
        assert_eq!(value, b"a+2Bb+3Dc+20d+0D+0A+FF");
        for octet in b' '..=b'~' {
            let mut value = Vec::new();
            encode(&[octet], &mut value);
            assert_eq!(decode(&value).as_deref(), Some(&[octet][..]));
        }
    }
}
