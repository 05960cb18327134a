//! Addresses, paths, xtext and unitext: what is read can be written and read again.

use super::Cuts;
use postern::limits::{LOCAL_PART_OCTETS, PATH_OCTETS, REVERSE_PATH_OCTETS};
use postern::wire::{
    Domain, ForwardPath, Mailbox, ReversePath, decode_xtext, is_unitext, unitext_in_seven_bits,
    unquoted,
};

/// The octets are an address, a path, or an encoded value, whichever they can be.
pub fn check(octets: &[u8], _: Cuts) {
    if let Ok(mailbox) = Mailbox::read(octets) {
        check_mailbox(octets, mailbox);
    }
    check_path(octets);
    check_xtext(octets);
    check_unitext(octets);
}

fn check_mailbox(address: &[u8], mailbox: Mailbox<'_>) {
    let (Domain::Name(domain) | Domain::Literal(domain)) = mailbox.domain;
    assert_eq!(mailbox.address, address);
    assert_eq!([mailbox.local_part, b"@", domain].concat(), address);
    assert!(std::str::from_utf8(address).is_ok());
    assert!(!address.iter().any(u8::is_ascii_control), "{}", address.escape_ascii());
    // RFC 5321 4.1.2: a quoted form stands for the same mailbox.
    let plain = unquoted(mailbox.local_part);
    let quoted = quoted(&plain);
    if quoted.len() <= LOCAL_PART_OCTETS {
        let again = [&quoted, &b"@"[..], domain].concat();
        let again = Mailbox::read(&again).map(|again| unquoted(again.local_part));
        assert_eq!(again, Ok(plain));
    }
    if address.len() + "<>".len() > PATH_OCTETS {
        return;
    }
    // RFC 5321 appendix C: a source route changes nothing.
    for route in ["", "@a,@b-c.example:"] {
        let path = [b"<", route.as_bytes(), address, b"> SIZE=1"].concat();
        let expected = (ForwardPath::Mailbox(mailbox), &b" SIZE=1"[..]);
        assert_eq!(ForwardPath::read(&path), Ok(expected));
    }
}

fn quoted(local_part: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for octet in local_part {
        if matches!(octet, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*octet);
    }
    quoted.push(b'"');
    quoted
}

/// Both readings of a path agree, and what stands behind it is a parameter or nothing.
fn check_path(input: &[u8]) {
    let (forward, reverse) = (ForwardPath::read(input), ReversePath::read(input));
    let address = match (forward, reverse) {
        (Ok((ForwardPath::Mailbox(one), rest)), Ok((ReversePath::Mailbox(other), rest_too))) => {
            assert_eq!((one, rest), (other, rest_too));
            one.address
        }
        (Ok((ForwardPath::Postmaster(name), _)), Err(_)) => {
            assert!(name.eq_ignore_ascii_case(b"postmaster"));
            name
        }
        (Err(_), Ok((ReversePath::Null, rest))) => {
            assert_eq!([b"<>", rest].concat(), input);
            return;
        }
        // RFC 5321 4.5.3.1: a sender's address may be longer than a recipient's.
        (Err(_), Ok((ReversePath::Mailbox(long), _))) => {
            let octets = long.address.len() + "<>".len();
            assert!(long.local_part.len() > LOCAL_PART_OCTETS || octets > PATH_OCTETS);
            assert!(octets <= REVERSE_PATH_OCTETS);
            return;
        }
        (Err(_), Err(_)) => return,
        other => panic!("the readings of a path differ: {other:?}"),
    };
    let rest = forward.map_or(&b""[..], |(_, rest)| rest);
    assert!(rest.is_empty() || rest[0] == b' ');
    assert!(input.ends_with(&[address, b">", rest].concat()));
    assert!(address.len() + 2 <= PATH_OCTETS);
}

/// RFC 3461 4: what was decoded can be encoded again, and no control octet comes out.
fn check_xtext(value: &[u8]) {
    if let Some(plain) = decode_xtext(value) {
        assert!(!plain.iter().any(u8::is_ascii_control));
        assert_eq!(decode_xtext(&encoded(&plain)).as_deref(), Some(&plain[..]));
    }
    let harmless = !value.iter().any(u8::is_ascii_control);
    assert_eq!(decode_xtext(&encoded(value)).is_some(), harmless);
}

/// RFC 6533 3: seven bits say the same, and no control octet hides in either.
fn check_unitext(value: &[u8]) {
    if is_unitext(value) {
        let seven_bits = unitext_in_seven_bits(value);
        assert!(is_unitext(&seven_bits) && seven_bits.is_ascii());
        assert!(value.is_ascii() == (seven_bits == value));
        assert!(!value.iter().any(u8::is_ascii_control));
    }
}

fn encoded(plain: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    for octet in plain {
        match octet {
            b'+' | b'=' | 0..=b' ' | 0x7f.. => value.extend(format!("+{octet:02X}").bytes()),
            _ => value.push(*octet),
        }
    }
    value
}
