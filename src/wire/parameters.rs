//! Parameters of MAIL and RCPT: keywords, and values that are not what they seem.

use super::address::{is_domain_name, is_dot_string};
use super::command::Offers;
use super::{Reply, decode_xtext, is_unitext, replies};
use crate::limits::{ENVID_OCTETS, ORCPT_OCTETS};
use memchr::{memchr, memrchr};

/// `keyword` or `keyword=value`.
pub(super) struct Parameter<'a> {
    pub keyword: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Parameter<'a> {
    /// RFC 5321 4.1.2: esmtp-keyword is letters, digits and hyphens, and does not begin with a
    /// hyphen; esmtp-value is any printable octet but `=`. RFC 6531 3.3 adds characters of UTF-8,
    /// which stand in ORCPT alone: whoever reads another value sees that it is none of its own.
    pub fn read(text: &'a [u8], offers: Offers) -> Result<Parameter<'a>, Reply> {
        // RFC 5321 2.2.1: extensions are known after EHLO only; what stands here then is no
        // parameter, well formed or not.
        if !offers.extended {
            return Err(replies::UNKNOWN_PARAMETER);
        }
        let (keyword, value) = match memchr(b'=', text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let keyword_ok = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
            && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
        let value_ok = value.is_none_or(|value| {
            !value.is_empty()
                && core::str::from_utf8(value).is_ok()
                && value.iter().all(|octet| match octet {
                    b'=' => false,
                    octet if octet.is_ascii() => octet.is_ascii_graphic(),
                    _ => offers.smtputf8,
                })
        });
        if keyword_ok && value_ok {
            Ok(Parameter { keyword, value })
        } else {
            Err(replies::BAD_PARAMETER)
        }
    }
}

pub(super) fn parameters(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    rest.split(|octet| *octet == b' ').filter(|word| !word.is_empty())
}

/// What follows `FROM:` or `TO:`; one blank between is tolerated.
pub(super) fn behind_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then(|| rest.strip_prefix(b" ").unwrap_or(rest))
}

pub(super) fn once(first_time: bool) -> Result<(), Reply> {
    if first_time { Ok(()) } else { Err(replies::BAD_PARAMETER) }
}

pub(super) fn needed(value: Option<&[u8]>) -> Result<&[u8], Reply> {
    value.ok_or(replies::BAD_PARAMETER)
}

/// RFC 1870 6: size-value = 1*20DIGIT. What does not fit into 64 bits is over any limit.
pub(super) fn size(value: &[u8]) -> Result<u64, Reply> {
    if value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
        return Err(replies::BAD_PARAMETER);
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(value.iter().fold(0, add))
}

/// RFC 3461 4.4: an envelope identifier, before its encoding, consists of printable US-ASCII.
pub(super) fn envelope_id(value: &[u8]) -> Result<&[u8], Reply> {
    let ascii = decode_xtext(value).is_some_and(|decoded| decoded.is_ascii());
    if ascii && value.len() <= ENVID_OCTETS { Ok(value) } else { Err(replies::BAD_PARAMETER) }
}

/// RFC 3461 4.2: original-recipient-address = addr-type ";" xtext. The xtext of an internationalized
/// address is let through whatever its type, since there are senders who encode its UTF-8 so.
///
/// RFC 6533 3: an address of type utf-8 has its own encoding, and stands there unencoded only where
/// SMTPUTF8 is offered, too.
pub(super) fn original_recipient(value: &[u8], smtputf8: bool) -> Result<&[u8], Reply> {
    let semicolon = memchr(b';', value).ok_or(replies::BAD_PARAMETER)?;
    let (kind, address) = (&value[..semicolon], &value[semicolon + 1..]);
    let kind_ok = !kind.is_empty()
        && kind.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    if !kind_ok || value.len() > ORCPT_OCTETS {
        return Err(replies::BAD_PARAMETER);
    }
    let is_utf8 = kind.eq_ignore_ascii_case(b"utf-8");
    let encoded = (is_utf8 && is_unitext(address) && (smtputf8 || address.is_ascii()))
        || decode_xtext(address).is_some_and(|_| !(is_utf8 && address.contains(&b'\\')));
    if encoded { Ok(value) } else { Err(replies::BAD_PARAMETER) }
}

/// draft-fanf-smtp-rfc1845bis-01 2.2: transid-value = "<" transid-spec ">"; transid-spec =
/// dot-string "@" domain, opaque, of so many characters at most.
pub(super) fn transid(value: &[u8], octets_max: usize) -> Result<&[u8], Reply> {
    let spec = value.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">"));
    let good = |spec: &&[u8]| {
        let at = memrchr(b'@', spec).unwrap_or(0);
        spec.is_ascii()
            && spec.len() <= octets_max
            && is_dot_string(&spec[..at])
            && spec[..at].split(|octet| *octet == b'.').all(|atom| !atom.is_empty())
            && is_domain_name(spec.get(at + 1..).unwrap_or_default())
    };
    spec.filter(good).ok_or(replies::BAD_PARAMETER)
}
