//! Command lines: the same in any cut, read without a panic, written and read again, and read as
//! another program reads them.

use super::Cuts;
use memchr::memmem;
use postern::wire::{
    BodyKind, Domain, ForwardPath, Line, LineReader, Mail, Mailbox, Notify, Offers, Rcpt, Reply,
    Ret, ReversePath, Verb, decode_xtext, greeting_name, unquoted,
};
use smtp_proto::{MailFrom, RcptTo, Request};
use std::borrow::Cow;

/// The octets are what a client sends.
pub fn check(octets: &[u8], cuts: Cuts) {
    for line in cuts.agree(octets, lines) {
        if let Told::Whole(line) = line {
            check_line(&line);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Whole(Vec<u8>),
    Refused(&'static str),
}

fn lines(pieces: &[&[u8]]) -> Vec<Told> {
    let (mut reader, mut lines) = (LineReader::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while let Some(line) = reader.next(&mut rest) {
            lines.push(match line {
                Line::Whole(line) => Told::Whole(line.to_vec()),
                Line::BareControl => Told::Refused("bare control"),
                Line::TooLong => Told::Refused("too long"),
                Line::BadBdat => Told::Refused("bad BDAT"),
                // The session ends here.
                Line::Endless => return lines,
            });
        }
        assert!(rest.is_empty(), "octets are left though no line is");
    }
    lines
}

const OFFERS: Offers = Offers {
    extended: true,
    smtputf8: true,
    dsn: true,
    binarymime: true,
    prdr: false,
    requiretls: false,
    resume: false,
    checkpoint: false,
};

fn check_line(line: &[u8]) {
    let (verb, argument) = Verb::read(line);
    // RFC 5321 4.1.1 has white space at the end passed over; they take tabs there for part of a value.
    let wire = [line.trim_ascii_end(), b"\r\n"].concat();
    let theirs = Request::parse(&mut wire.iter()).ok();
    match verb {
        Verb::Mail => return check_mail(argument, theirs),
        Verb::Rcpt => return check_rcpt(argument, theirs),
        Verb::Helo | Verb::Ehlo | Verb::Lhlo => match greeting_name(argument) {
            Ok(name) => assert!((1..=255).contains(&name.len())),
            Err(reply) => check_refusal(&reply),
        },
        _ => {}
    }
    // They take other white space for blanks, and blanks before the verb: RFC 5321 4.1.1 has neither.
    let odd_blanks = line.iter().any(|octet| octet.is_ascii_whitespace() && *octet != b' ');
    if !odd_blanks && !line.starts_with(b" ") {
        check_verb(verb, theirs.as_ref());
    }
}

/// A refusal of a command line is one of those that the spec has for them.
fn check_refusal(reply: &Reply) {
    assert!(matches!(reply.code(), 501 | 553 | 555), "{reply}");
}

/// What both know is the same command.
fn check_verb(verb: Verb, theirs: Option<&Request<Cow<'_, str>>>) {
    let theirs = match theirs {
        Some(Request::Ehlo { .. }) => Verb::Ehlo,
        Some(Request::Helo { .. }) => Verb::Helo,
        Some(Request::Lhlo { .. }) => Verb::Lhlo,
        Some(Request::Data) => Verb::Data,
        Some(Request::Rset) => Verb::Rset,
        Some(Request::Quit) => Verb::Quit,
        Some(Request::Noop { .. }) => Verb::Noop,
        Some(Request::Vrfy { .. }) => Verb::Vrfy,
        Some(Request::Help { .. }) => Verb::Help,
        Some(Request::Mail { .. }) => Verb::Mail,
        Some(Request::Rcpt { .. }) => Verb::Rcpt,
        _ => return,
    };
    assert_eq!(verb, theirs);
}

// ---- MAIL and RCPT ----------------------------------------------------------------------------

fn check_mail(argument: &[u8], theirs: Option<Request<Cow<'_, str>>>) {
    let mail = match Mail::read(argument, OFFERS) {
        Ok(mail) => mail,
        Err(reply) => return check_refusal(&reply),
    };
    let written = written_mail(&mail);
    assert_eq!(Mail::read(&written, OFFERS), Ok(mail), "{}", written.escape_ascii());
    let mailbox = match mail.reverse_path {
        ReversePath::Null => None,
        ReversePath::Mailbox(mailbox) => Some(mailbox),
    };
    match theirs {
        Some(Request::Mail { from }) => compare_mail(&mail, mailbox, &from),
        Some(other) => panic!("they read MAIL as {}", other.name()),
        None => assert!(they_refuse_mail(&mail, mailbox), "{}", argument.escape_ascii()),
    }
}

fn compare_mail(mail: &Mail<'_>, mailbox: Option<Mailbox<'_>>, theirs: &MailFrom<Cow<'_, str>>) {
    compare_address(mailbox, &theirs.address);
    assert_eq!(mail.size_octets.unwrap_or(0), theirs.size as u64);
    let body = match mail.body {
        BodyKind::Unsaid => 0,
        BodyKind::SevenBit => smtp_proto::MAIL_BODY_7BIT,
        BodyKind::EightBitMime => smtp_proto::MAIL_BODY_8BITMIME,
        BodyKind::BinaryMime => smtp_proto::MAIL_BODY_BINARYMIME,
    };
    let ret = match mail.ret {
        None => 0,
        Some(Ret::Full) => smtp_proto::MAIL_RET_FULL,
        Some(Ret::Headers) => smtp_proto::MAIL_RET_HDRS,
    };
    let smtputf8 = if mail.smtputf8 { smtp_proto::MAIL_SMTPUTF8 } else { 0 };
    assert_eq!(body | ret | smtputf8, theirs.flags);
    compare_xtext(mail.envid, theirs.env_id.as_deref());
}

fn written_mail(mail: &Mail<'_>) -> Vec<u8> {
    let mut line = [b"FROM:<", mail.reverse_path.address(), b">"].concat();
    if let Some(octets) = mail.size_octets {
        line.extend(format!(" SIZE={octets}").bytes());
    }
    line.extend_from_slice(match mail.body {
        BodyKind::Unsaid => b"",
        BodyKind::SevenBit => b" BODY=7BIT",
        BodyKind::EightBitMime => b" BODY=8BITMIME",
        BodyKind::BinaryMime => b" BODY=BINARYMIME",
    });
    if mail.smtputf8 {
        line.extend_from_slice(b" SMTPUTF8");
    }
    line.extend_from_slice(match mail.ret {
        None => b"",
        Some(Ret::Full) => b" RET=FULL",
        Some(Ret::Headers) => b" RET=HDRS",
    });
    if let Some(envid) = mail.envid {
        line.extend_from_slice(&[b" ENVID=", envid].concat());
    }
    line
}

fn check_rcpt(argument: &[u8], theirs: Option<Request<Cow<'_, str>>>) {
    let rcpt = match Rcpt::read(argument, OFFERS, true) {
        Ok(rcpt) => rcpt,
        Err(reply) => return check_refusal(&reply),
    };
    let written = written_rcpt(&rcpt);
    assert_eq!(Rcpt::read(&written, OFFERS, true), Ok(rcpt), "{}", written.escape_ascii());
    let mailbox = match rcpt.forward_path {
        ForwardPath::Postmaster(_) => None,
        ForwardPath::Mailbox(mailbox) => Some(mailbox),
    };
    match theirs {
        Some(Request::Rcpt { to }) => compare_rcpt(&rcpt, mailbox, &to),
        Some(other) => panic!("they read RCPT as {}", other.name()),
        None => assert!(they_refuse_rcpt(&rcpt, mailbox), "{}", argument.escape_ascii()),
    }
}

fn compare_rcpt(rcpt: &Rcpt<'_>, mailbox: Option<Mailbox<'_>>, theirs: &RcptTo<Cow<'_, str>>) {
    compare_address(mailbox, &theirs.address);
    let notify = rcpt.notify.map_or(0, |Notify { success, failure, delay }| {
        let flag = |on, flag| if on { flag } else { 0 };
        match (success, failure, delay) {
            (false, false, false) => smtp_proto::RCPT_NOTIFY_NEVER,
            _ => {
                flag(success, smtp_proto::RCPT_NOTIFY_SUCCESS)
                    | flag(failure, smtp_proto::RCPT_NOTIFY_FAILURE)
                    | flag(delay, smtp_proto::RCPT_NOTIFY_DELAY)
            }
        }
    });
    assert_eq!(notify, theirs.flags);
    let address = |orcpt: &'_ [u8]| {
        let semicolon = memchr::memchr(b';', orcpt).expect("ORCPT has a type");
        orcpt[semicolon + 1..].to_vec()
    };
    compare_xtext(rcpt.orcpt.map(address).as_deref(), theirs.orcpt.as_deref());
}

fn written_rcpt(rcpt: &Rcpt<'_>) -> Vec<u8> {
    let mut line = [b"TO:<", rcpt.forward_path.address(), b">"].concat();
    if let Some(Notify { success, failure, delay }) = rcpt.notify {
        let wishes = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let words: Vec<&str> =
            wishes.iter().filter(|(wished, _)| *wished).map(|(_, word)| *word).collect();
        let words = if words.is_empty() { "NEVER".to_owned() } else { words.join(",") };
        line.extend(format!(" NOTIFY={words}").bytes());
    }
    if let Some(orcpt) = rcpt.orcpt {
        line.extend_from_slice(&[b" ORCPT=", orcpt].concat());
    }
    line
}

// ---- the other program ------------------------------------------------------------------------

fn compare_address(ours: Option<Mailbox<'_>>, theirs: &str) {
    let ours = ours.map_or(Vec::new(), |mailbox| {
        let domain = &mailbox.address[mailbox.local_part.len()..];
        [&unquoted(mailbox.local_part), domain].concat()
    });
    assert_eq!(ours.escape_ascii().to_string(), theirs.as_bytes().escape_ascii().to_string());
}

fn compare_xtext(ours: Option<&[u8]>, theirs: Option<&str>) {
    let ours = ours.map(|value| decode_xtext(value).expect("it was checked"));
    assert_eq!(ours.as_deref(), theirs.map(str::as_bytes));
}

// What they refuse and we take, each for a reason. What they take and we refuse is not compared: they
// know more parameters, take tabs for blanks and parameters twice, and local-parts, domains and xtext
// of any form.

fn they_refuse_mail(mail: &Mail<'_>, mailbox: Option<Mailbox<'_>>) -> bool {
    // More than they can count; RFC 1870 6 allows 20 digits.
    mail.size_octets == Some(u64::MAX) || mailbox.is_some_and(they_refuse_mailbox)
}

fn they_refuse_rcpt(rcpt: &Rcpt<'_>, mailbox: Option<Mailbox<'_>>) -> bool {
    // They know mail addresses alone, not empty and of at most 256 octets. RFC 3461 4.2 has other
    // types (and `utf-8`, RFC 6533) and 500 octets.
    let orcpt = rcpt.orcpt.is_some_and(|orcpt| {
        let address = orcpt.get(b"rfc822;".len()..).unwrap_or_default();
        let known = orcpt.len() > 7 && orcpt[..7].eq_ignore_ascii_case(b"rfc822;");
        !known || !(1..=256).contains(&address.len())
    });
    orcpt || mailbox.is_some_and(they_refuse_mailbox)
}

fn they_refuse_mailbox(mailbox: Mailbox<'_>) -> bool {
    let local_part = mailbox.local_part;
    // They have no address literals: RFC 5321 4.1.3 does.
    matches!(mailbox.domain, Domain::Literal(_))
        // They have addresses of at most 256 octets; senders have longer ones (RFC 5321 4.5.3.1).
        || mailbox.address.len() > 256
        // Some large providers have such mailboxes, and the dots are no danger here.
        || (local_part[0] != b'"'
            && (local_part[0] == b'.' || memmem::find(local_part, b"..").is_some()))
        // `""@example.net` is a Mailbox by the grammar of RFC 5321 4.1.2.
        || local_part == b"\"\""
}
