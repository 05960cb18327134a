//! Paths and mailboxes of MAIL and RCPT (RFC 5321 4.1.2, RFC 6531 3.3).

use crate::limits::{
    DOMAIN_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS, REVERSE_LOCAL_PART_OCTETS, REVERSE_PATH_OCTETS,
};
use core::net::{Ipv4Addr, Ipv6Addr};
use memchr::{memchr, memrchr};
use smallvec::SmallVec;

/// The address that a bounce would go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath<'a> {
    /// `<>`: the sender of bounces, to which nothing is ever sent. RFC 5321 4.5.5.
    Null,
    /// A mailbox.
    Mailbox(Mailbox<'a>),
}

/// The address that a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardPath<'a> {
    /// `<postmaster>` without a domain, in any case. RFC 5321 4.5.1.
    Postmaster(&'a [u8]),
    /// A mailbox.
    Mailbox(Mailbox<'a>),
}

/// A local-part at a domain, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The whole address, without angle brackets and without a source route.
    pub address: &'a [u8],
    /// What stands before the last unquoted `@`: a dot-string, or a quoted string with its quotes.
    pub local_part: &'a [u8],
    /// What stands behind it.
    pub domain: Domain<'a>,
}

/// Where a mailbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain<'a> {
    /// A domain name.
    Name(&'a [u8]),
    /// `[192.0.2.1]`, `[IPv6:2001:db8::1]`, with the brackets.
    Literal(&'a [u8]),
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It does not follow the grammar, or a part is longer than it may be.
    #[error("not an address")]
    Syntax,
}

impl<'a> ReversePath<'a> {
    /// Reads `<...>` from the beginning of `input`; what stands behind it comes along.
    pub fn read(input: &'a [u8]) -> Result<(ReversePath<'a>, &'a [u8]), PathFault> {
        let (inner, rest) = bracketed(input, REVERSE_PATH_OCTETS)?;
        if inner.is_empty() {
            return Ok((ReversePath::Null, rest));
        }
        // RFC 5321 4.5.3.1: what we can cope with is not refused for its length.
        let mailbox = Mailbox::read_up_to(REVERSE_LOCAL_PART_OCTETS, without_route(inner)?)?;
        Ok((ReversePath::Mailbox(mailbox), rest))
    }

    /// The address as it came; empty for `<>`.
    pub fn address(&self) -> &'a [u8] {
        match self {
            ReversePath::Null => b"",
            ReversePath::Mailbox(mailbox) => mailbox.address,
        }
    }
}

impl<'a> ForwardPath<'a> {
    /// Reads `<...>` from the beginning of `input`; what stands behind it comes along.
    pub fn read(input: &'a [u8]) -> Result<(ForwardPath<'a>, &'a [u8]), PathFault> {
        let (inner, rest) = bracketed(input, PATH_OCTETS)?;
        // RFC 5321 4.1.1.3: RCPT TO:<Postmaster>, without domain, must be accepted, in any case.
        if inner.eq_ignore_ascii_case(b"postmaster") {
            return Ok((ForwardPath::Postmaster(inner), rest));
        }
        Ok((ForwardPath::Mailbox(Mailbox::read(without_route(inner)?)?), rest))
    }

    /// The address as it came.
    pub fn address(&self) -> &'a [u8] {
        match self {
            ForwardPath::Postmaster(address) => address,
            ForwardPath::Mailbox(mailbox) => mailbox.address,
        }
    }
}

impl<'a> Mailbox<'a> {
    /// Reads a whole address.
    pub fn read(address: &'a [u8]) -> Result<Mailbox<'a>, PathFault> {
        Mailbox::read_up_to(LOCAL_PART_OCTETS, address)
    }

    fn read_up_to(local_part_octets: usize, address: &'a [u8]) -> Result<Mailbox<'a>, PathFault> {
        let at = match address.first() {
            Some(b'"') => quoted_length(address).ok_or(PathFault::Syntax)?,
            _ => memrchr(b'@', address).ok_or(PathFault::Syntax)?,
        };
        let (local_part, domain) = address.split_at(at);
        let domain = domain.strip_prefix(b"@").ok_or(PathFault::Syntax)?;
        // RFC 5321 4.5.3.1.1 and 4.5.3.1.2: 64 octets of local-part, 255 of domain.
        if local_part.is_empty() || local_part.len() > local_part_octets {
            return Err(PathFault::Syntax);
        }
        if local_part[0] != b'"' && !is_dot_string(local_part) {
            return Err(PathFault::Syntax);
        }
        if core::str::from_utf8(address).is_err() {
            return Err(PathFault::Syntax);
        }
        Ok(Mailbox { address, local_part, domain: Domain::read(domain)? })
    }

    /// Whether the address can only be used with SMTPUTF8. RFC 6531 3.5.
    pub fn needs_smtputf8(&self) -> bool {
        !self.address.is_ascii()
    }
}

impl<'a> Domain<'a> {
    fn read(domain: &'a [u8]) -> Result<Domain<'a>, PathFault> {
        if domain.is_empty() || domain.len() > DOMAIN_OCTETS {
            return Err(PathFault::Syntax);
        }
        if domain.first() == Some(&b'[') {
            return is_address_literal(domain)
                .then_some(Domain::Literal(domain))
                .ok_or(PathFault::Syntax);
        }
        is_domain_name(domain).then_some(Domain::Name(domain)).ok_or(PathFault::Syntax)
    }
}

/// The local-part as the mailbox knows it: without quotes and backslashes.
///
/// RFC 5321 4.1.2: a quoted form stands for the same mailbox as the unquoted one.
pub fn unquoted(local_part: &[u8]) -> SmallVec<[u8; LOCAL_PART_OCTETS]> {
    let Some(inner) = local_part.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return local_part.into();
    };
    let mut plain = SmallVec::new();
    let mut octets = inner.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => plain.extend(octets.next().copied()),
            _ => plain.push(*octet),
        }
    }
    plain
}

/// Whether a name may stand in EHLO or in an address: letters, digits, hyphens and dots.
///
/// Underscores are let through, as many hosts have them; octets above ASCII are U-labels.
pub(super) fn is_domain_name(name: &[u8]) -> bool {
    name.split(|octet| *octet == b'.').all(|label| {
        // RFC 1035 2.3.4: a label has 1 to 63 octets.
        (1..=63).contains(&label.len())
            && label.iter().all(|octet| {
                octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_') || !octet.is_ascii()
            })
            && label[0] != b'-'
            && label[label.len() - 1] != b'-'
    })
}

/// Whether this is `[` IPv4 `]` or `[IPv6:` IPv6 `]`. RFC 5321 4.1.3.
pub(super) fn is_address_literal(literal: &[u8]) -> bool {
    let inner = literal.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let Some(text) = inner.and_then(|inner| core::str::from_utf8(inner).ok()) else {
        return false;
    };
    match text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")) {
        Some(_) => text[5..].parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<Ipv4Addr>().is_ok(),
    }
}

/// What stands between `<` and its `>`, and what follows. A `>` in a quoted string is text.
fn bracketed(input: &[u8], octets_max: usize) -> Result<(&[u8], &[u8]), PathFault> {
    let inner = input.strip_prefix(b"<").ok_or(PathFault::Syntax)?;
    let mut at = 0;
    let end = loop {
        match inner.get(at).ok_or(PathFault::Syntax)? {
            b'>' => break at,
            b'"' => at += quoted_length(&inner[at..]).ok_or(PathFault::Syntax)?,
            _ => at += 1,
        }
    };
    let (path, rest) = (&inner[..end], &inner[end + 1..]);
    // RFC 5321 4.5.3.1.3: a path has at most 256 octets with its punctuation. A source route is
    // not counted, as it is thrown away.
    let too_long = without_route(path)?.len() + "<>".len() > octets_max;
    // A parameter needs a blank before it.
    let glued = !rest.is_empty() && rest[0] != b' ';
    if too_long || glued { Err(PathFault::Syntax) } else { Ok((path, rest)) }
}

/// The mailbox behind a source route `@a,@b:`. RFC 5321 appendix C: accepted and ignored.
fn without_route(path: &[u8]) -> Result<&[u8], PathFault> {
    if path.first() != Some(&b'@') {
        return Ok(path);
    }
    let colon = memchr(b':', path).ok_or(PathFault::Syntax)?;
    let (route, mailbox) = (&path[..colon], &path[colon + 1..]);
    let well_formed = route
        .split(|octet| *octet == b',')
        .all(|hop| hop.strip_prefix(b"@").is_some_and(is_domain_name));
    if well_formed { Ok(mailbox) } else { Err(PathFault::Syntax) }
}

/// Octets of the quoted string that begins here, with both quotes.
fn quoted_length(input: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match input.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' if matches!(input.get(at + 1)?, b' '..=b'~') => at += 2,
            b' ' | b'!' | b'#'..=b'[' | b']'..=b'~' | 0x80.. => at += 1,
            _ => return None,
        }
    }
}

/// Whether this is atoms and dots. Dots may stand anywhere: some large providers have such
/// mailboxes, and the dots are no danger here.
pub(super) fn is_dot_string(local_part: &[u8]) -> bool {
    local_part.iter().all(|octet| match octet {
        b'.' => true,
        octet if octet.is_ascii_alphanumeric() => true,
        octet if !octet.is_ascii() => true,
        octet => b"!#$%&'*+-/=?^_`{|}~".contains(octet),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        match ForwardPath::read(input).ok()?.0 {
            ForwardPath::Postmaster(_) => Some((b"postmaster".to_vec(), Vec::new())),
            ForwardPath::Mailbox(mailbox) => {
                let domain = match mailbox.domain {
                    Domain::Name(name) | Domain::Literal(name) => name,
                };
                Some((unquoted(mailbox.local_part).to_vec(), domain.to_vec()))
            }
        }
    }

    // the domain is what follows the last unquoted @; %, ! and source routes mean nothing.
    #[test]
    fn a_34_the_domain_is_behind_the_last_unquoted_at() {
        let table: [(&str, &str, &str); 12] = [
            ("<a%b@example.net>", "a%b", "example.net"),
            ("<a!b@example.net>", "a!b", "example.net"),
            ("<\"a@evil.example\"@example.net>", "a@evil.example", "example.net"),
            ("<@x,@y:u@evil.example>", "u", "evil.example"),
            ("<u@[127.0.0.1]>", "u", "[127.0.0.1]"),
            ("<u@[IPv6:::1]>", "u", "[IPv6:::1]"),
            ("<PostMaster>", "postmaster", ""),
            ("<\"a\\\"b>c\"@example.net>", "a\"b>c", "example.net"),
            ("<a..b.@example.net>", "a..b.", "example.net"),
            ("<;sleep/66@example.net>", "", ""),
            ("<\";sleep 66\"@example.net>", ";sleep 66", "example.net"),
            ("<jørn@exämple.net>", "jørn", "exämple.net"),
        ];
        for (input, local_part, domain) in table {
            let expected = (!local_part.is_empty())
                .then(|| (local_part.as_bytes().to_vec(), domain.as_bytes().to_vec()));
            assert_eq!(forward(input.as_bytes()), expected, "{input}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long_local = format!("<{}@example.net>", "x".repeat(65));
        let long_domain = format!("<a@{}.net>", "x.".repeat(128));
        let table: [&[u8]; 20] = [
            b"",
            b"<",
            b"a@b",
            b"<a@b",
            b"<a>",
            b"<>",
            b"<a@@b>",
            b"<u@evil@example.net>",
            b"<a@b>x",
            b"<u@example.net.>",
            b"<@b>",
            b"<a b@c>",
            b"<\"x@b>",
            b"<a@-b>",
            b"<a\xff@b>",
            b"<a\x1b[2J@b>",
            b"<a@[1.2.3]>",
            b"<@x:>",
            long_local.as_bytes(),
            long_domain.as_bytes(),
        ];
        for input in table {
            assert_eq!(
                ForwardPath::read(input),
                Err(PathFault::Syntax),
                "{}",
                input.escape_ascii()
            );
        }
        // RFC 5321 4.5.3.1.1: 64 octets are still a local-part.
        assert!(forward(format!("<{}@example.net>", "x".repeat(64)).as_bytes()).is_some());
    }

    // RFC 5321 4.5.3.1: a sender's local-part may be longer than 64 octets, within our bound.
    #[test]
    fn a_long_local_part_is_good_for_a_sender() {
        for (octets, good) in [
            (LOCAL_PART_OCTETS + 1, true),
            (REVERSE_LOCAL_PART_OCTETS, true),
            (REVERSE_LOCAL_PART_OCTETS + 1, false),
        ] {
            let path = format!("<{}@example.net>", "x".repeat(octets));
            assert_eq!(ReversePath::read(path.as_bytes()).is_ok(), good, "{octets}");
            assert!(ForwardPath::read(path.as_bytes()).is_err(), "{octets}");
        }
        let domain = [["x".repeat(63).as_str(); 3].join("."), "x".repeat(63)].join(".");
        let path = |octets| format!("<{}@{domain}>", "x".repeat(octets));
        assert_eq!(domain.len(), DOMAIN_OCTETS);
        let longest = path(REVERSE_LOCAL_PART_OCTETS);
        assert_eq!(longest.len(), REVERSE_PATH_OCTETS);
        assert!(ReversePath::read(longest.as_bytes()).is_ok());
    }

    #[test]
    fn the_null_path_is_only_a_sender() {
        assert_eq!(ReversePath::read(b"<> SIZE=1"), Ok((ReversePath::Null, &b" SIZE=1"[..])));
    }
}
