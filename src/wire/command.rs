//! Command lines: the verb, and the arguments of MAIL and RCPT.
//!
//! Reading borrows from the line and allocates nothing. A fault is told as the reply it becomes.

use super::address::{ForwardPath, ReversePath, is_address_literal, is_domain_name};
use super::parameters::{
    Parameter, behind_keyword, envelope_id, needed, once, original_recipient, parameters, size,
    transid,
};
use super::{Reply, replies};
use crate::limits::{CHECKPOINT_ID_OCTETS, DOMAIN_OCTETS, TRANSID_OCTETS};
use memchr::memchr;

/// What a command line asks for, by its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// HELO.
    Helo,
    /// EHLO.
    Ehlo,
    /// LHLO (RFC 2033).
    Lhlo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// BDAT (RFC 3030).
    Bdat,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// RESUME (draft-fanf-smtp-rfc1845bis-01).
    Resume,
    /// XCLIENT (Postfix).
    Xclient,
    /// XFORWARD (Postfix).
    Xforward,
    /// A command that is known and not done: EXPN, TURN, ETRN, SEND, SOML, SAML, AUTH.
    NotDone,
    /// HTTP, or a header field where a command belongs: a body or a browser, not a mail client.
    NotSmtp,
    /// Anything else.
    Unknown,
}

/// The extensions that the greeting offered: parameters of others are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Greeted with EHLO or LHLO: SIZE and BODY are known.
    pub extended: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// BINARYMIME (RFC 3030).
    pub binarymime: bool,
    /// PRDR (draft-hall-prdr-00).
    pub prdr: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// RESUME (draft-fanf-smtp-rfc1845bis-01).
    pub resume: bool,
    /// CHECKPOINT (RFC 1845).
    pub checkpoint: bool,
}

/// MAIL's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail<'a> {
    /// FROM.
    pub reverse_path: ReversePath<'a>,
    /// SIZE, in octets, held at the end of the range.
    pub size_octets: Option<u64>,
    /// BODY.
    pub body: BodyKind,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
    /// PRDR was given.
    pub prdr: bool,
    /// REQUIRETLS was given.
    pub requiretls: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, as it came (xtext, checked).
    pub envid: Option<&'a [u8]>,
    /// TRANSID, without its angle brackets.
    pub transid: Option<&'a [u8]>,
    /// TRANSOFF, in octets.
    pub transoff: Option<u64>,
}

/// RCPT's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// TO.
    pub forward_path: ForwardPath<'a>,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT, as it came (type and address in one of their encodings, checked).
    pub orcpt: Option<&'a [u8]>,
}

/// What a client says of its content's octets. RFC 6152.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing was said.
    #[default]
    Unsaid,
    /// BODY=7BIT.
    SevenBit,
    /// BODY=8BITMIME.
    EightBitMime,
    /// BODY=BINARYMIME (RFC 3030): any octets, by BDAT alone.
    BinaryMime,
}

/// How much of the message a bounce shall bring. RFC 3461 4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// RET=FULL.
    Full,
    /// RET=HDRS.
    Headers,
}

/// When the sender wants to hear of a recipient. RFC 3461 4.1. All false is NEVER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// On delay.
    pub delay: bool,
}

impl Verb {
    /// Divides a line into its verb and its argument, which is empty or begins behind the blank.
    ///
    /// Verbs are known in any case (RFC 5321 2.4); blanks at the end are passed over.
    pub fn read(line: &[u8]) -> (Verb, &[u8]) {
        let line = line.trim_ascii_end();
        let end = memchr(b' ', line).unwrap_or(line.len());
        let (word, rest) = line.split_at(end);
        let verb = match Verb::of(word) {
            Verb::Unknown if looks_foreign(word) => Verb::NotSmtp,
            verb => verb,
        };
        (verb, rest.strip_prefix(b" ").unwrap_or(rest))
    }

    fn of(word: &[u8]) -> Verb {
        let mut upper = [0u8; 8];
        let Some(upper) = upper.get_mut(..word.len()) else {
            return Verb::Unknown;
        };
        upper.copy_from_slice(word);
        upper.make_ascii_uppercase();
        match &*upper {
            b"HELO" => Verb::Helo,
            b"EHLO" => Verb::Ehlo,
            b"LHLO" => Verb::Lhlo,
            b"MAIL" => Verb::Mail,
            b"RCPT" => Verb::Rcpt,
            b"DATA" => Verb::Data,
            b"BDAT" => Verb::Bdat,
            b"RSET" => Verb::Rset,
            b"NOOP" => Verb::Noop,
            b"VRFY" => Verb::Vrfy,
            b"HELP" => Verb::Help,
            b"QUIT" => Verb::Quit,
            b"STARTTLS" => Verb::StartTls,
            b"RESUME" => Verb::Resume,
            b"XCLIENT" => Verb::Xclient,
            b"XFORWARD" => Verb::Xforward,
            b"EXPN" | b"TURN" | b"ETRN" | b"SEND" | b"SOML" | b"SAML" | b"AUTH" => Verb::NotDone,
            _ => Verb::Unknown,
        }
    }
}

/// Whether a first word is an HTTP method or the name of a header field.
fn looks_foreign(word: &[u8]) -> bool {
    let http: [&[u8]; 7] = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"CONNECT"];
    let field_name = word.strip_suffix(b":").is_some_and(|name| {
        !name.is_empty() && name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
    });
    field_name || http.iter().any(|method| word.eq_ignore_ascii_case(method))
}

/// The name of a greeting: HELO, EHLO, LHLO. What it says is not checked further, as a bad name is
/// no reason to refuse (RFC 5321 4.1.4).
pub fn greeting_name(argument: &[u8]) -> Result<&[u8], Reply> {
    let name = argument.trim_ascii();
    match name.len() {
        1..=DOMAIN_OCTETS => Ok(name),
        _ => Err(replies::BAD_ARGUMENT),
    }
}

/// Whether a greeting's name follows the grammar, so that it may stand in a trace header.
pub(crate) fn is_greeting_name(name: &[u8]) -> bool {
    name.is_ascii() && (is_domain_name(name) || is_address_literal(name))
}

impl<'a> Mail<'a> {
    /// Reads what stands behind `MAIL `.
    pub fn read(argument: &'a [u8], offers: Offers) -> Result<Mail<'a>, Reply> {
        let path = behind_keyword(argument, b"FROM:").ok_or(replies::BAD_ARGUMENT)?;
        let (reverse_path, rest) = ReversePath::read(path).map_err(|_| replies::BAD_SENDER)?;
        let mut mail = Mail {
            reverse_path,
            size_octets: None,
            body: BodyKind::Unsaid,
            smtputf8: false,
            prdr: false,
            requiretls: false,
            ret: None,
            envid: None,
            transid: None,
            transoff: None,
        };
        for parameter in parameters(rest) {
            mail.take(Parameter::read(parameter, offers)?, offers)?;
        }
        // draft-fanf-smtp-rfc1845bis-01 2.3: TRANSID and TRANSOFF, both, once each; 3.2: TRANSID alone
        // is the form of CHECKPOINT.
        match (mail.transid, mail.transoff) {
            (None, Some(_)) => return Err(replies::BAD_PARAMETER),
            (Some(_), None) if !offers.checkpoint => return Err(replies::BAD_PARAMETER),
            _ => {}
        }
        match mail.reverse_path {
            ReversePath::Mailbox(mailbox) if mailbox.needs_smtputf8() && !mail.smtputf8 => {
                Err(replies::NEEDS_SMTPUTF8)
            }
            _ => Ok(mail),
        }
    }

    fn take(&mut self, parameter: Parameter<'a>, offers: Offers) -> Result<(), Reply> {
        let Parameter { keyword, value } = parameter;
        let is = |name: &[u8]| keyword.eq_ignore_ascii_case(name);
        if offers.extended && is(b"SIZE") {
            once(self.size_octets.is_none())?;
            self.size_octets = Some(size(needed(value)?)?);
        } else if offers.extended && is(b"BODY") {
            once(self.body == BodyKind::Unsaid)?;
            self.body = match needed(value)? {
                kind if kind.eq_ignore_ascii_case(b"7BIT") => BodyKind::SevenBit,
                kind if kind.eq_ignore_ascii_case(b"8BITMIME") => BodyKind::EightBitMime,
                kind if offers.binarymime && kind.eq_ignore_ascii_case(b"BINARYMIME") => {
                    BodyKind::BinaryMime
                }
                _ => return Err(replies::BAD_PARAMETER),
            };
        } else if offers.smtputf8 && is(b"SMTPUTF8") {
            once(!self.smtputf8 && value.is_none())?;
            self.smtputf8 = true;
        } else if offers.prdr && is(b"PRDR") {
            once(!self.prdr && value.is_none())?;
            self.prdr = true;
        } else if offers.requiretls && is(b"REQUIRETLS") {
            // RFC 8689 2: the parameter has no value.
            once(!self.requiretls && value.is_none())?;
            self.requiretls = true;
        } else if (offers.resume || offers.checkpoint) && is(b"TRANSID") {
            once(self.transid.is_none())?;
            let octets_max = if offers.resume { TRANSID_OCTETS } else { CHECKPOINT_ID_OCTETS };
            self.transid = Some(transid(needed(value)?, octets_max)?);
        } else if offers.resume && is(b"TRANSOFF") {
            once(self.transoff.is_none())?;
            self.transoff = Some(size(needed(value)?)?);
        } else if offers.dsn && is(b"RET") {
            once(self.ret.is_none())?;
            self.ret = Some(match needed(value)? {
                ret if ret.eq_ignore_ascii_case(b"FULL") => Ret::Full,
                ret if ret.eq_ignore_ascii_case(b"HDRS") => Ret::Headers,
                _ => return Err(replies::BAD_PARAMETER),
            });
        } else if offers.dsn && is(b"ENVID") {
            once(self.envid.is_none())?;
            self.envid = Some(envelope_id(needed(value)?)?);
        } else {
            return Err(replies::UNKNOWN_PARAMETER);
        }
        Ok(())
    }
}

/// RESUME's argument: the id without its angle brackets.
///
/// draft-fanf-smtp-rfc1845bis-01 2.2: resume-command = "RESUME" SP transid-value.
pub fn resume_id(argument: &[u8]) -> Result<&[u8], Reply> {
    transid(argument, TRANSID_OCTETS).map_err(|_| replies::BAD_ARGUMENT)
}

impl<'a> Rcpt<'a> {
    /// Reads what stands behind `RCPT `. `smtputf8` is whether MAIL had that parameter.
    pub fn read(argument: &'a [u8], offers: Offers, smtputf8: bool) -> Result<Rcpt<'a>, Reply> {
        let path = behind_keyword(argument, b"TO:").ok_or(replies::BAD_ARGUMENT)?;
        let (forward_path, rest) = ForwardPath::read(path).map_err(|_| replies::BAD_RECIPIENT)?;
        let mut rcpt = Rcpt { forward_path, notify: None, orcpt: None };
        for parameter in parameters(rest) {
            rcpt.take(Parameter::read(parameter, offers)?, offers)?;
        }
        match rcpt.forward_path {
            ForwardPath::Mailbox(mailbox) if mailbox.needs_smtputf8() && !smtputf8 => {
                Err(replies::NEEDS_SMTPUTF8)
            }
            _ => Ok(rcpt),
        }
    }

    fn take(&mut self, parameter: Parameter<'a>, offers: Offers) -> Result<(), Reply> {
        let Parameter { keyword, value } = parameter;
        if offers.dsn && keyword.eq_ignore_ascii_case(b"NOTIFY") {
            once(self.notify.is_none())?;
            self.notify = Some(Notify::read(needed(value)?)?);
        } else if offers.dsn && keyword.eq_ignore_ascii_case(b"ORCPT") {
            once(self.orcpt.is_none())?;
            self.orcpt = Some(original_recipient(needed(value)?, offers.smtputf8)?);
        } else {
            return Err(replies::UNKNOWN_PARAMETER);
        }
        Ok(())
    }
}

impl Notify {
    /// RFC 3461 4.1: NEVER alone, or a list of SUCCESS, FAILURE, DELAY.
    fn read(value: &[u8]) -> Result<Notify, Reply> {
        let mut notify = Notify::default();
        if value.eq_ignore_ascii_case(b"NEVER") {
            return Ok(notify);
        }
        for word in value.split(|octet| *octet == b',') {
            let wish = match word {
                word if word.eq_ignore_ascii_case(b"SUCCESS") => &mut notify.success,
                word if word.eq_ignore_ascii_case(b"FAILURE") => &mut notify.failure,
                word if word.eq_ignore_ascii_case(b"DELAY") => &mut notify.delay,
                _ => return Err(replies::BAD_PARAMETER),
            };
            *wish = true;
        }
        Ok(notify)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ORCPT_OCTETS;

    const ALL: Offers = Offers {
        extended: true,
        smtputf8: true,
        dsn: true,
        binarymime: true,
        prdr: true,
        requiretls: true,
        resume: true,
        checkpoint: false,
    };

    #[test]
    fn verbs_in_any_case_with_blanks_behind() {
        let table: [(&[u8], Verb, &[u8]); 14] = [
            (b"ehlo  a ", Verb::Ehlo, b" a"),
            (b"MaIl FROM:<>", Verb::Mail, b"FROM:<>"),
            (b"RSET  ", Verb::Rset, b""),
            (b"DATA now", Verb::Data, b"now"),
            (b"", Verb::Unknown, b""),
            (b"POST / HTTP/1.1", Verb::NotSmtp, b"/ HTTP/1.1"),
            (b"get /", Verb::NotSmtp, b"/"),
            (b"Subject: x", Verb::NotSmtp, b"x"),
            (b"Subject", Verb::Unknown, b""),
            (b"STARTTLS", Verb::StartTls, b""),
            (b"bdat 1 LAST", Verb::Bdat, b"1 LAST"),
            (b"AUTH PLAIN", Verb::NotDone, b"PLAIN"),
            (b"WIBBLEWOBBLE x", Verb::Unknown, b"x"),
            (b"\xf0\x9f\x92\xa9", Verb::Unknown, b""),
        ];
        for (line, verb, argument) in table {
            assert_eq!(Verb::read(line), (verb, argument), "{}", line.escape_ascii());
        }
    }

    fn mail_reply(argument: &str, offers: Offers) -> u16 {
        match Mail::read(argument.as_bytes(), offers) {
            Ok(_) => 250,
            Err(reply) => reply.code(),
        }
    }

    // 501 for what is known and wrong or given twice, 555 for what is not known.
    #[test]
    fn a_21_parameters_of_mail() {
        let table = [
            ("FROM:<>", 250),
            ("from: <a@b> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=abc+2B1", 250),
            ("FROM:<a@b>  SIZE=0", 250),
            ("FROM:<a@b> SIZE=99999999999999999999", 250),
            ("FROM:<a@b> SIZE=100000000000000000000", 501),
            ("FROM:<a@b> SIZE=", 501),
            ("FROM:<a@b> SIZE", 501),
            ("FROM:<a@b> SIZE==1", 501),
            ("FROM:<a@b> SIZE=1 SIZE=1", 501),
            ("FROM:<a@b> SIZE=-1", 501),
            ("FROM:<a@b> BODY=9BIT", 501),
            ("FROM:<a@b> BODY=BINARYMIME", 250),
            ("FROM:<a@b> BODY=8BITMIME BODY=7BIT", 501),
            ("FROM:<a@b> SMTPUTF8=1", 501),
            ("FROM:<a@b> =", 501),
            ("FROM:<a@b> =x", 501),
            ("FROM:<a@b> \"=", 501),
            ("FROM:<a@b>\tSIZE=1", 501),
            ("FROM:<a@b> RET=ALL", 501),
            ("FROM:<a@b> ENVID=+0A", 501),
            ("FROM:<a@b> ENVID=+C3+BC", 501),
            ("FROM:<a@b> AUTH=<>", 555),
            ("FROM:<a@b> WIBBLE=1", 555),
            ("FROM:<a@b> PRDR REQUIRETLS", 250),
            ("FROM:<a@b> PRDR=x", 501),
            ("FROM:<a@b> PRDR PRDR", 501),
            ("FROM:<a@b> REQUIRETLS=yes", 501),
            ("FROM:<a@b>SIZE=1", 501),
            ("FROM <a@b>", 501),
            ("a@b", 501),
            ("FROM:<jørn@b>", 553),
            ("FROM:<jørn@b> SMTPUTF8", 250),
        ];
        for (argument, code) in table {
            assert_eq!(mail_reply(argument, ALL), code, "{argument}");
        }
        for parameter in ["SIZE=1", "=x", "WIBBLE", "SIZE="] {
            let argument = format!("FROM:<a@b> {parameter}");
            assert_eq!(mail_reply(&argument, Offers::default()), 555, "{parameter}");
        }
        let few = Offers { extended: true, ..Offers::default() };
        for parameter in ["PRDR", "REQUIRETLS", "SMTPUTF8", "RET=FULL", "ENVID=a"] {
            assert_eq!(mail_reply(&format!("FROM:<a@b> {parameter}"), few), 555, "{parameter}");
        }
        // RFC 3030 3: a value that was not offered is a bad one of a known parameter.
        assert_eq!(mail_reply("FROM:<a@b> BODY=BINARYMIME", few), 501);
        let long = |n: usize| format!("FROM:<a@b> ENVID={}", "x".repeat(n));
        assert_eq!(mail_reply(&long(100), ALL), 250);
        assert_eq!(mail_reply(&long(101), ALL), 501);
    }

    // checkpoint 5: what is malformed or over length is 501, what was not offered 555.
    #[test]
    fn ids_and_offsets_of_transactions() {
        let resume = ALL;
        let both = Offers { checkpoint: true, ..ALL };
        let checkpoint = Offers { resume: false, checkpoint: true, ..ALL };
        let neither = Offers { resume: false, checkpoint: false, ..ALL };
        let table = [
            ("TRANSID=<x@y> TRANSOFF=0", [250, 250, 555, 555]),
            ("transoff=99999999999999999999 transid=<a.b@c.example>", [250, 250, 555, 555]),
            ("TRANSID=<x@y> TRANSOFF=123456789012345678901", [501, 501, 555, 555]),
            ("TRANSID=<x@y>", [501, 250, 250, 555]),
            ("TRANSOFF=0", [501, 501, 555, 555]),
            ("TRANSID=<x@y> TRANSID=<x@y> TRANSOFF=0", [501, 501, 501, 555]),
            ("TRANSID=<x@y> TRANSOFF=0 TRANSOFF=0", [501, 501, 555, 555]),
            ("TRANSID=x@y TRANSOFF=0", [501, 501, 501, 555]),
            ("TRANSID=<x> TRANSOFF=0", [501, 501, 501, 555]),
            ("TRANSID=<@y> TRANSOFF=0", [501, 501, 501, 555]),
            ("TRANSID=<x@> TRANSOFF=0", [501, 501, 501, 555]),
            ("TRANSID=<x..z@y> TRANSOFF=0", [501, 501, 501, 555]),
            ("TRANSID TRANSOFF=0", [501, 501, 501, 555]),
            ("TRANSID=<x@y> TRANSOFF=-1", [501, 501, 555, 555]),
        ];
        for (parameters, codes) in table {
            let argument = format!("FROM:<a@b> {parameters}");
            let found =
                [resume, both, checkpoint, neither].map(|offers| mail_reply(&argument, offers));
            assert_eq!(found, codes, "{parameters}");
        }
        let id =
            |octets: usize| format!("FROM:<> TRANSID=<{}@y> TRANSOFF=0", "x".repeat(octets - 2));
        assert_eq!(mail_reply(&id(TRANSID_OCTETS), resume), 250);
        assert_eq!(mail_reply(&id(TRANSID_OCTETS + 1), resume), 501);
        let id = |octets: usize| format!("FROM:<> TRANSID=<{}@y>", "x".repeat(octets - 2));
        assert_eq!(mail_reply(&id(CHECKPOINT_ID_OCTETS), checkpoint), 250);
        assert_eq!(mail_reply(&id(CHECKPOINT_ID_OCTETS + 1), checkpoint), 501);
        assert_eq!(resume_id(b"<x@y>"), Ok(&b"x@y"[..]));
        for bad in [&b""[..], b"x@y", b"<x@y", b"<x@y> z", b"<>", b"< x@y>"] {
            assert_eq!(resume_id(bad).map_err(|reply| reply.code()), Err(501), "{bad:?}");
        }
    }

    #[test]
    fn parameters_of_rcpt() {
        let table = [
            ("TO:<a@b> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+40b", 250),
            ("TO:<a@b> ORCPT=rfc822;j+C3+BCrgen+40b", 250),
            ("TO:<a@b> NOTIFY=never", 250),
            ("TO:<a@b> NOTIFY=NEVER,FAILURE", 501),
            ("TO:<a@b> NOTIFY=", 501),
            ("TO:<a@b> NOTIFY=SUCCESS,", 501),
            ("TO:<a@b> ORCPT=rfc822", 501),
            ("TO:<a@b> ORCPT=;x", 501),
            ("TO:<a@b> ORCPT=rfc822;a+0D+0Ab", 501),
            ("TO:<a@b> ORCPT=utf-8;jørn@b", 250),
            ("TO:<a@b> ORCPT=UTF-8;j\\x{F8}rn@b", 250),
            ("TO:<a@b> ORCPT=utf-8;j+C3+B8rn+40b", 250),
            ("TO:<a@b> ORCPT=utf-8;j\\x{F8}rn+40b", 501),
            ("TO:<a@b> ORCPT=rfc822;jørn@b", 501),
            ("TO:<a@b> ORCPT=utf-8;j\\x{A}rn@b", 501),
            ("TO:<a@b> NOTIFY=nøver", 501),
            ("TO:<a@b> SIZE=1", 555),
            ("TO:<>", 501),
            ("TO:<jørn@b>", 553),
        ];
        for (argument, code) in table {
            let reply = Rcpt::read(argument.as_bytes(), ALL, false).err();
            assert_eq!(reply.map_or(250, |reply| reply.code()), code, "{argument}");
        }
        // RFC 6533 3: octets over 127 are safe in ORCPT only where SMTPUTF8 is offered, too.
        let seven_bit = Offers { smtputf8: false, ..ALL };
        for (orcpt, code) in [("utf-8;jørn@b", 501), ("utf-8;j\\x{F8}rn@b", 250)] {
            let argument = format!("TO:<a@b> ORCPT={orcpt}");
            let reply = Rcpt::read(argument.as_bytes(), seven_bit, false).err();
            assert_eq!(reply.map_or(250, |reply| reply.code()), code, "{orcpt}");
        }
        let long = |octets: usize| format!("TO:<a@b> ORCPT=utf-8;{}", "x".repeat(octets - 6));
        assert!(Rcpt::read(long(ORCPT_OCTETS).as_bytes(), ALL, false).is_ok());
        assert!(Rcpt::read(long(ORCPT_OCTETS + 1).as_bytes(), ALL, false).is_err());
    }

    #[test]
    fn a_greeting_needs_a_name_of_at_most_255_octets() {
        assert!(greeting_name(b"").is_err());
        assert!(greeting_name(&[b'x'; 255]).is_ok());
        assert!(greeting_name(&[b'x'; 256]).is_err());
        assert!(is_greeting_name(b"[192.0.2.1]") && is_greeting_name(b"a_b.example"));
        assert!(
            !is_greeting_name(b"a\x1b") && !is_greeting_name(b"a b") && !is_greeting_name(b"()")
        );
    }
}
