//! The cut matrix, in memory: a connection that is lost after each octet.

use crate::dialogues_runner::installation::{Installation, base_listener};
use crate::dialogues_runner::memory::Memory;
use crate::dialogues_runner::stage::{ConnectionId, Stage};
use crate::message::{Form, Message, Transfer, dot_stuffed, on_the_wire};
use crate::on_stage::{Client, PATIENCE, code};
use postern::relay::Protocol;
use postern::session::{Listener, ResumeLevel};
use std::time::Duration;

fn installation(resume: ResumeLevel) -> Installation {
    Installation::with(&Listener { resume, replay: true, ..base_listener() })
}

/// The connection is lost after so many octets of the final reply set; then the client comes again. What
/// it has read of the set, and the set that it gets then.
fn lose_replies(stage: &mut Memory, message: &Message, octets: usize) -> (Vec<u8>, Vec<u8>) {
    let mut first = Client::greeted(stage, message.form);
    first.envelope(message, 0, Transfer::Data);
    let connection = first.connection;
    first.stage.lose_after(connection, octets);
    first.says(&on_the_wire(&message.content, 0, Transfer::Data));
    let mut read = Vec::new();
    while read.len() < octets && !message.is_whole_set(&read) {
        let arrived = first.stage.wait(connection, PATIENCE);
        assert!(!arrived.is_empty(), "no final reply");
        arrived.into_iter().for_each(|one| read.extend(one.octets));
    }
    // A connection that is lost before the first octet: the work goes on.
    stage.advance(Duration::from_secs(1));
    stage.abort(connection);
    let mut second = Client::greeted(stage, message.form);
    let from = match &message.id {
        Some(_) => {
            let offset = second.resumes(message);
            assert_eq!(offset, message.content.len() as u64, "all of it has come");
            offset
        }
        None => 0,
    };
    second.envelope(message, from, Transfer::Data);
    second.says(&on_the_wire(&message.content, from as usize, Transfer::Data));
    let set = second.set(message);
    (read, set)
}

fn assert_delivered_once(stage: &Memory, message: &Message, what: &str) {
    for address in message.delivered_to() {
        let copies = stage.delivered(address);
        assert_eq!(copies.len(), 1, "{what}: {address}");
        assert!(copies[0].ends_with(&message.content), "{what}: {address}");
    }
}

/// Every cut of the final reply set, for one kind of client and so many recipients.
fn cut_replies(form: Form, recipients: usize, id: Option<&str>) {
    let installation = installation(ResumeLevel::Outcome);
    let message = Message::new(form, recipients, id);
    for octets in 0.. {
        let what = format!("{form:?}, {recipients} recipients, {id:?}, cut after {octets} octets");
        let mut stage = Memory::start(&installation, Protocol::Lmtp).unwrap();
        let (read, set) = lose_replies(&mut stage, &message, octets);
        assert_eq!(read.len(), octets.min(set.len()), "{what}");
        assert!(set.starts_with(&read), "{what}: other octets");
        assert_delivered_once(&stage, &message, &what);
        // A message without an id is scanned while it comes again, before it can be known.
        assert_eq!(stage.scans(), if id.is_some() { 1 } else { 2 }, "{what}");
        if octets > set.len() {
            return;
        }
    }
}

// A-82, RFC 1047: by RESUME, the same octets, one scan, one delivery; without it, by replay.
#[test]
fn a_82_lmtp_replies_lost_after_each_octet_come_again() {
    for recipients in [1, 3, 5, 50] {
        cut_replies(Form::Lmtp, recipients, Some("c1"));
        cut_replies(Form::Lmtp, recipients, None);
    }
}

#[test]
fn a_82_prdr_replies_lost_after_each_octet_come_again() {
    for recipients in [1, 3, 5, 50] {
        cut_replies(Form::Prdr, recipients, Some("c1"));
        cut_replies(Form::Prdr, recipients, None);
    }
}

#[test]
fn a_82_plain_replies_lost_after_each_octet_come_again() {
    for recipients in [1, 3, 50] {
        cut_replies(Form::Smtp, recipients, Some("c1"));
        cut_replies(Form::Smtp, recipients, None);
    }
}

/// What the client says from the first octet of content to the last, in chunks of seven octets if it
/// sends chunks, and how many octets of content each of its octets completes.
fn stream(content: &[u8], by: Transfer) -> Vec<u8> {
    match by {
        Transfer::Data => [&dot_stuffed(content), b".\r\n".as_slice()].concat(),
        Transfer::Bdat => {
            let mut stream = Vec::new();
            for chunk in content.chunks(7) {
                stream.extend(format!("BDAT {}\r\n", chunk.len()).into_bytes());
                stream.extend(chunk);
            }
            stream.extend(b"BDAT 0 LAST\r\n");
            stream
        }
    }
}

/// Every cut of the content at level partial: the parts make the original.
fn cut_content(form: Form, by: Transfer, gone: fn(&mut Memory, ConnectionId)) {
    let installation = installation(ResumeLevel::Partial);
    let message = Message::new(form, 1, Some("c1"));
    let stream = stream(&message.content, by);
    let mut offsets = Vec::new();
    for cut in 0..=stream.len() {
        let what = format!("{form:?}, {by:?}, cut after {cut} octets");
        let mut stage = Memory::start(&installation, Protocol::Lmtp).unwrap();
        let mut first = Client::greeted(&mut stage, form);
        first.envelope(&message, 0, by);
        first.says(&stream[..cut]);
        let connection = first.connection;
        gone(&mut stage, connection);
        stage.advance(Duration::from_secs(1));
        let mut second = Client::greeted(&mut stage, form);
        let offset = second.resumes(&message);
        second.envelope(&message, offset, by);
        second.says(&on_the_wire(&message.content, offset as usize, by));
        let set = second.set(&message);
        assert_eq!(code(&set), 250, "{what}");
        assert_delivered_once(&stage, &message, &what);
        offsets.push(offset);
    }
    assert!(offsets.is_sorted() && offsets.ends_with(&[message.content.len() as u64]));
    let steps = offsets.windows(2).filter(|pair| pair[0] < pair[1]).count();
    let wanted = match by {
        // Revision of RFC 1845, 2.4: at the starts of lines only; the last one comes with the end mark.
        Transfer::Data => message.content.iter().filter(|octet| **octet == b'\n').count(),
        // A CR is told from what follows it when that has come.
        Transfer::Bdat => message.content.iter().filter(|octet| **octet != b'\r').count(),
    };
    assert!(steps >= wanted, "{form:?}, {by:?}: {offsets:?}");
}

// Checkpoint 7: cut after each octet of DATA and of BDAT at level 2, the content is the original.
#[test]
fn content_cut_after_each_octet_goes_on_where_it_was_kept() {
    let lost: fn(&mut Memory, ConnectionId) = |stage, connection| stage.abort(connection);
    let closed: fn(&mut Memory, ConnectionId) = |stage, connection| stage.close(connection);
    for form in Form::ALL {
        for by in [Transfer::Data, Transfer::Bdat] {
            cut_content(form, by, lost);
            cut_content(form, by, closed);
        }
    }
}
