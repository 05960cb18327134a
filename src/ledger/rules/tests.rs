//! Records and commands as tables.

use super::super::sample;
use super::*;
use crate::ledger::record::{Outcome, Partial};
use crate::ledger::{Content, folded_rcpt};

fn told(text: &str) -> Told {
    Told::new(format!("{text}\r\n").into_bytes())
}

/// A committed record with these recipients and this final reply.
fn committed(form: Form, recipients: &[&str], replies: &[&str]) -> Record {
    let mut record = sample::record(recipients);
    record.form = form;
    let replies = replies.iter().map(|text| told(text)).collect();
    record.phase = Phase::Committed(Outcome { replies, confirmed: false });
    record
}

// Revision 2.4 and checkpoint 5, «RESUME answers».
#[test]
fn the_offset_is_what_need_not_come_again() {
    let content = sample::record(&["a@b"]).content;
    let partial = |synced, line_end| Some(Partial { synced, line_end });
    let table = [
        // (phase committed, content, transfer, kept, offset)
        (true, content, Transfer::Data, None, 17),
        (true, content, Transfer::Bdat, None, 17),
        (true, None, Transfer::Data, None, 0),
        (false, None, Transfer::Data, None, 0),
        (false, None, Transfer::Data, partial(24, 20), 20),
        (false, None, Transfer::Bdat, partial(24, 20), 24),
        (false, content, Transfer::Data, None, 0),
        (false, content, Transfer::Data, partial(16, 10), 0),
        (false, content, Transfer::Data, partial(17, 17), 17),
        (false, content, Transfer::Bdat, partial(17, 3), 17),
    ];
    for (is_committed, content, transfer, partial, expected) in table {
        let mut record = committed(Form::Smtp, &["a@b"], &["250 ok"]);
        if !is_committed {
            record.phase = if content.is_some() { Phase::Intent } else { Phase::Open };
        }
        (record.content, record.transfer, record.partial) = (content, transfer, partial);
        assert_eq!(offset(&record), expected, "{record:?}");
    }
    assert_eq!(Recalled::Nothing.offset(), 0);
    let mut running = sample::record(&["a@b"]);
    running.phase = Phase::Open;
    assert_eq!(Recalled::Running(Arc::new(running)).offset(), 17, "all of it has come");
}

// Checkpoint 4: strangers, other TLS levels and expired records are told nothing; A-101: a record
// from the future counts as new.
#[test]
fn a_80_only_the_same_client_at_the_same_tls_level_is_told() {
    let record = sample::record(&["a@b"]);
    let (key, who, now) = (record.key.unwrap(), record.identity, record.created_s);
    assert!(is_told_to(&record, key, who, false, now));
    assert!(!is_told_to(&record, Key([9; 16]), who, false, now));
    assert!(!is_told_to(&record, key, IdentityKey([9; 16]), false, now));
    assert!(!is_told_to(&record, key, who, true, now));
    assert!(is_told_to(&record, key, who, false, record.expires_s - 1));
    assert!(!is_told_to(&record, key, who, false, record.expires_s));
    assert!(is_told_to(&record, key, who, false, now - 1_000_000), "clock went back");
}

// Revision 2.8, and dialogue resume-04.
#[test]
fn mail_with_an_offset_must_be_the_mail_that_was_resumed() {
    let record = Arc::new(committed(Form::Smtp, &["a@b"], &["250 ok"]));
    let (key, other) = (record.key.unwrap(), Key([9; 16]));
    let mail = record.mail.clone();
    let changed = Mail { reverse_path: (*b"z@y").into(), ..mail.clone() };
    let mut resumes = Resumes::default();
    assert_eq!(resumes.mail(key, 17, &mail), MailRuling::Refused, "no RESUME before");
    assert_eq!(resumes.mail(key, 0, &mail), MailRuling::New);
    assert_eq!(resumes.note(key, Recalled::Stored(Arc::clone(&record))), 17);
    assert_eq!(resumes.note(other, Recalled::Nothing), 0);
    let found = MailRuling::Resumed(Recalled::Stored(Arc::clone(&record)));
    assert_eq!(resumes.mail(key, 17, &mail), found);
    assert_eq!(resumes.mail(key, 16, &mail), MailRuling::Refused, "another offset");
    assert_eq!(resumes.mail(key, 17, &changed), MailRuling::Refused, "another MAIL");
    assert_eq!(resumes.mail(other, 17, &mail), MailRuling::Refused, "another id");
    assert_eq!(resumes.mail(other, 5, &mail), MailRuling::Refused, "nothing is held");
    assert_eq!(resumes.mail(key, 0, &changed), MailRuling::New);
    resumes.forget_all();
    assert_eq!(resumes.mail(key, 17, &mail), MailRuling::Refused, "TLS has begun");
    // A later RESUME counts, not an earlier one.
    resumes.note(key, Recalled::Stored(Arc::clone(&record)));
    resumes.note(key, Recalled::Nothing);
    assert_eq!(resumes.mail(key, 17, &mail), MailRuling::Refused);
}

// Revision 3.2, and dialogue resume-09.
#[test]
fn the_checkpoint_form_is_resume_and_mail_in_one() {
    let record = Arc::new(committed(Form::Smtp, &["a@b"], &["250 ok"]));
    let stored = Recalled::Stored(Arc::clone(&record));
    let changed = Mail { reverse_path: (*b"z@y").into(), ..record.mail.clone() };
    let resumes = Resumes::default();
    let ruling = |recalled: &Recalled, mail: &Mail| resumes.checkpoint_mail(recalled, mail);
    assert_eq!(ruling(&stored, &record.mail), MailRuling::Resumed(stored.clone()));
    assert_eq!(ruling(&stored, &changed), MailRuling::Refused);
    assert_eq!(ruling(&Recalled::Nothing, &record.mail), MailRuling::New);
}

// over 1,000 RESUMEs of one connection are too many.
#[test]
fn a_81_resumes_of_a_connection_are_counted() {
    let mut resumes = Resumes::default();
    for number in 0..RESUMES_MAX {
        assert!(!resumes.is_exhausted());
        resumes.note(Key((number as u128).to_le_bytes()), Recalled::Nothing);
    }
    assert!(resumes.is_exhausted());
}

// Revision 2.9, and dialogue resume-05: order kept, all, some or none; unknown ones 553.
#[test]
fn repeated_recipients_get_the_replies_that_they_got() {
    let mut record = sample::record(&["a@b", "c@d", "e@f", "a@b"]);
    record.recipients[1].reply = told("550 5.1.1 no");
    let record = Arc::new(record);
    let orders: [(&[&str], &[u16]); 7] = [
        (&["a@b", "c@d", "e@f", "a@b"], &[250, 550, 250, 250]),
        (&["c@d", "a@b"], &[550, 250]),
        (&["a@b", "a@b", "a@b"], &[250, 250, 553]),
        (&["e@f", "c@d"], &[250, 553]),
        (&["x@y", "e@f"], &[553, 250]),
        (&["e@f", "x@y", "a@b", "a@b"], &[250, 553, 250, 553]),
        (&[], &[]),
    ];
    for (order, expected) in orders {
        let mut repeated = Repeated::new(Arc::clone(&record));
        let codes: Vec<u16> = order
            .iter()
            .map(|address| folded_rcpt(format!("TO:<{address}>").as_bytes()))
            .map(|rcpt| repeated.rcpt(&rcpt).map_or(553, Told::code))
            .collect();
        assert_eq!(codes, expected, "{order:?}");
    }
    let mut repeated = Repeated::new(record);
    assert_eq!(repeated.rcpt(b"TO:<a@b> NOTIFY=NEVER"), None, "another RCPT");
    assert!(repeated.takes(Transfer::Data) && !repeated.takes(Transfer::Bdat));
}

// Checkpoint 6: per recipient; 2xx stand, 5xx stand under the same rules, 4xx never.
#[test]
fn what_a_retry_is_told_of_each_recipient() {
    use Form::{Lmtp, Prdr, Smtp};
    let three = ["a@x", "b@x", "c@x"];
    let block = ["353 go", "250 a", "550 b", "450 c", "250 all"];
    let unmade = ["353 go", "250 a", "550 b", "450 c", "451 all"];
    let refused = ["353 go", "550 a", "550 b", "551 c", "550 all"];
    let table: [(Form, &[&str], [u16; 3]); 9] = [
        (Lmtp, &["250 a", "550 b", "450 c"], [250, 550, 0]),
        (Smtp, &["250 all"], [250, 250, 250]),
        (Smtp, &["550 all"], [550, 550, 550]),
        (Smtp, &["451 all"], [0, 0, 0]),
        (Prdr, &["250 all"], [250, 250, 250]),
        (Prdr, &block, [250, 550, 0]),
        // The lines count for nothing but refusals: nothing was taken.
        (Prdr, &unmade, [0, 550, 0]),
        (Prdr, &refused, [550, 550, 550]),
        (Smtp, &[], [0, 0, 0]),
    ];
    for (form, replies, expected) in table {
        let record = committed(form, &three, replies);
        for (address, code) in three.iter().zip(expected) {
            let told = match known_copy(&record, address.as_bytes(), record.rules) {
                Some(Known::Done(told)) => {
                    assert_eq!(told.code() / 100, 2);
                    told.code()
                }
                Some(Known::Refused(told)) => told.code(),
                Some(Known::Unknown(_)) => panic!("the outcome is known"),
                None => 0,
            };
            assert_eq!(told, code, "{form:?} {replies:?} {address}");
            // a refusal is void under new rules, an acceptance is not.
            let later = known_copy(&record, address.as_bytes(), record.rules + 1);
            assert_eq!(later.is_some(), code / 100 == 2, "{form:?} {replies:?} {address}");
        }
        assert_eq!(known_copy(&record, b"d@x", record.rules), None, "one more");
    }
}

// Checkpoint 6: plain SMTP, one next hop accepted, another deferred: 451, and the retry goes only
// to those not done (dialogue resume-12).
#[test]
fn a_77_a_copy_that_was_delivered_behind_a_451_is_not_delivered_again() {
    let mut record = committed(Form::Smtp, &["a@x", "b@x"], &["451 4.2.0 later"]);
    record.recipients[0].copy = CopyState::Done(told("250 2.6.0 taken"));
    assert!(record.is_owed());
    let known = |address: &[u8]| known_copy(&record, address, record.rules);
    assert_eq!(known(b"a@x"), Some(Known::Done(told("250 2.6.0 taken"))));
    assert_eq!(known(b"a@X"), known(b"a@x"), "the domain's case does not matter");
    assert_eq!(known(b"A@x"), None);
    assert_eq!(known(b"b@x"), None);
    assert_eq!(whole_reply(&record, Form::Smtp, &[b"a@x", b"b@x"], record.rules), None);
    record.recipients[0].superseded = true;
    assert_eq!(known_copy(&record, b"a@x", record.rules), None);
    let all_done = committed(Form::Smtp, &["a@x"], &["250 ok"]);
    assert!(!all_done.is_owed());
    let mut lmtp = committed(Form::Lmtp, &["a@x", "b@x"], &["250 a", "450 b"]);
    lmtp.recipients[0].copy = CopyState::Done(told("250 a"));
    assert!(!lmtp.is_owed(), "LMTP has told each its own");
}

// Checkpoint 5, «crash between (2) and (3)»: deliver only to recipients not known as done.
#[test]
fn after_a_crash_the_done_are_spared_and_the_unknown_are_asked_for() {
    let mut record = sample::record(&["a@x", "b@x", "c@x"]);
    record.phase = Phase::Intent;
    record.recipients[0].copy = CopyState::Done(told("250 taken"));
    record.recipients[1].copy = sample::sent(20);
    let known = |address: &[u8]| known_copy(&record, address, record.rules);
    assert_eq!(known(b"a@x"), Some(Known::Done(told("250 taken"))));
    let unknown = Some(Known::Unknown(vec![sample::sending("5f1z3-1", 20)]));
    assert_eq!(known(b"b@x"), unknown);
    assert_eq!(known(b"c@x"), None);
    let mut again = record.clone();
    again.phase = Phase::Open;
    assert!(carries_over(&record, &again));
    again.content = Some(Content { octets: 18, ..record.content.unwrap() });
    assert!(!carries_over(&record, &again), "another message under the same id");
    again.content = None;
    assert!(!carries_over(&record, &again));
}

// Checkpoint 5: whatever may have sent a copy can be asked for, and none of them once one is known to
// have delivered it; at most so many, the oldest are forgotten.
#[test]
fn of_several_earlier_records_one_that_knows_decides_and_else_all_are_asked_for() {
    let of = |trace_id: &str, copy: CopyState, phase: &Phase| {
        let mut record = sample::record(&["a@x"]);
        (record.trace_id, record.phase) = (trace_id.into(), phase.clone());
        record.recipients[0].copy = copy;
        record
    };
    let ended =
        |text: &str| Phase::Committed(Outcome { replies: vec![told(text)], confirmed: false });
    let intent = Phase::Intent;
    let names = |known: Option<Known>| match known {
        Some(Known::Unknown(sendings)) => {
            sendings.iter().map(|one| one.trace_id.to_string()).collect::<Vec<_>>()
        }
        known => vec![format!("{known:?}")],
    };
    let known = |records: &[&Record]| names(known_of(records.iter().copied(), b"a@x", 7));
    let first = of("t-1", sample::sent(1), &intent);
    let second = {
        let earlier = vec![sample::sending("t-1", 1)];
        of("t-2", CopyState::Sent { octets: 2, earlier }, &intent)
    };
    let blind = of("t-3", sample::sent(3), &intent);
    let done = of("t-4", CopyState::Done(told("250 taken")), &ended("250 ok"));
    let deferred = of("t-5", CopyState::NotSent, &ended("450 later"));
    let refused = of("t-6", CopyState::NotSent, &ended("550 no"));
    assert_eq!(known(&[&first]), ["t-1"]);
    assert_eq!(known(&[&second, &first]), ["t-1", "t-2"]);
    assert_eq!(known(&[&blind, &second]), ["t-1", "t-2", "t-3"]);
    assert_eq!(known(&[&blind, &deferred, &first]), ["t-1", "t-3"]);
    assert_eq!(known(&[&blind, &refused]), ["t-3"]);
    assert_eq!(known(&[&blind, &done]), ["Some(Done(Told(250 ok)))"]);
    assert_eq!(known(&[&refused, &blind]), ["Some(Refused(Told(550 no)))"]);
    assert_eq!(known(&[&deferred]), ["None"]);
    let numbers = |range: std::ops::Range<u64>| {
        range.map(|number| sample::sending(&format!("t-{number}"), number)).collect()
    };
    let long = of("t-9", CopyState::Sent { octets: 9, earlier: numbers(0..9) }, &intent);
    assert_eq!(known(&[&long]).first().map(String::as_str), Some("t-2"));
    assert_eq!(known(&[&long]).len(), LEDGER_SENDINGS_MAX);
    let other = of("t-20", CopyState::Unknown(numbers(10..18)), &ended("450 later"));
    assert_eq!(known(&[&other, &long]).len(), LEDGER_SENDINGS_MAX);
    assert_eq!(known(&[&other, &long]).last().map(String::as_str), Some("t-17"));
}

// the same octets; only for the same recipients in the same form.
#[test]
fn a_82_the_whole_stored_reply_is_given_to_the_same_message_only() {
    let lmtp = committed(Form::Lmtp, &["a@x", "b@x"], &["250 a", "550 b"]);
    let whole = |record: &Record, form, addresses: &[&[u8]]| {
        whole_reply(record, form, addresses, record.rules)
    };
    let both: [&[u8]; 2] = [b"a@x", b"b@x"];
    assert_eq!(whole(&lmtp, Form::Lmtp, &both), Some(vec![told("250 a"), told("550 b")]));
    assert_eq!(whole(&lmtp, Form::Smtp, &both), None);
    assert_eq!(whole(&lmtp, Form::Lmtp, &[b"b@x", b"a@x"]), None);
    assert_eq!(whole(&lmtp, Form::Lmtp, &[b"a@x"]), None);
    assert_eq!(whole_reply(&lmtp, Form::Lmtp, &both, lmtp.rules + 1), None, "5xx is void");
    let block = ["353 go", "250 a", "550 b", "250 all"];
    let prdr = committed(Form::Prdr, &["a@x", "b@x"], &block);
    assert_eq!(whole(&prdr, Form::Prdr, &both).unwrap().len(), 4);
    let deferred = committed(Form::Lmtp, &["a@x", "b@x"], &["250 a", "450 b"]);
    assert_eq!(whole(&deferred, Form::Lmtp, &both), None, "4xx is judged afresh");
    let mut open = lmtp.clone();
    open.phase = Phase::Intent;
    assert_eq!(whole(&open, Form::Lmtp, &both), None);
}

// Checkpoint 5, «if (3) fails».
#[test]
fn without_a_record_what_was_handed_on_is_told_truly() {
    assert_eq!(without_record(true, true), Unrecorded::TrueReply);
    assert_eq!(without_record(true, false), Unrecorded::TryAgain);
    assert_eq!(without_record(false, true), Unrecorded::TrueReply);
    assert_eq!(without_record(false, false), Unrecorded::TrueReply);
}
