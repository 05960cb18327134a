//! One id on connections of different shards at once.

use crate::message::{Form, Message, Transfer, on_the_wire};
use crate::process::{Client, Process, Site, code};
use std::io;

/// A client whose identity is its login, so that it may come from any address: each source has its shard.
fn client(process: &Process, source: u8) -> Client {
    let mut client = process.client_from(Form::Smtp, source).unwrap();
    client.says(b"XCLIENT LOGIN=somebody\r\n").unwrap();
    assert_eq!(client.codes(1).unwrap(), [220]);
    client.says(Form::Smtp.greeting()).unwrap();
    assert_eq!(client.codes(1).unwrap(), [250]);
    client
}

/// The final reply, or none if the connection has lost its transaction: then it was told 421.
fn ends(client: &mut Client) -> io::Result<Option<Vec<u8>>> {
    let reply = client.reply()?;
    assert!(matches!(code(&reply), 250 | 421), "{}", reply.escape_ascii());
    Ok(Some(reply).filter(|reply| code(reply) == 250))
}

// one id on two connections of different shards at once, 1,000 rounds: one commit, and never a 250
// for two bodies.
#[test]
fn a_87_one_id_on_two_shards_at_once_is_one_commit() {
    let site = Site::new(&[], "outcome");
    let process = site.start("");
    let (mut resumed, mut taken) = (0, 0);
    for round in 0..1_000u32 {
        let id = format!("t{round}");
        let mut older = Message::new(Form::Smtp, 1, Some(&id));
        older.content = format!("Subject: {id}\r\n\r\nolder\r\n").into_bytes();
        let mut newer = older.clone();
        newer.content = format!("Subject: {id}\r\n\r\nnewer\r\n").into_bytes();
        let (mut first, mut second) =
            (client(&process, (round % 200) as u8 + 1), client(&process, (round % 199) as u8 + 2));
        first.envelope(&older, 0).unwrap();
        let wire = on_the_wire(&older.content, 0, Transfer::Data);
        // Both at once, this one or that one in front by a hair.
        if round % 2 == 0 {
            first.says(&wire).unwrap();
            second.says(newer.resume().as_bytes()).unwrap();
        } else {
            second.says(newer.resume().as_bytes()).unwrap();
            first.says(&wire).unwrap();
        }
        let offset = second.offset().unwrap();
        second.envelope(&newer, offset).unwrap();
        let again = if offset == 0 { &newer } else { &older };
        let told = second.content(again, offset).unwrap();
        assert_eq!(code(&told), 250, "{}", told.escape_ascii());
        // Its reply may be lost by design, never be another one.
        let older_told = ends(&mut first).ok().flatten();
        match offset {
            0 => taken += u32::from(older_told.is_none()),
            _ => resumed += 1,
        }
        if let Some(older_told) = older_told {
            assert_eq!(older_told, told, "{id}: two bodies were accepted");
        }
        let subject = format!("Subject: {id}\r\n");
        let mark = subject.as_bytes();
        let kept = site.kept.messages();
        let copies =
            kept.iter().filter(|one| memchr::memmem::find(&one.content, mark).is_some()).count();
        assert_eq!(copies, 1, "{id}");
    }
    println!("{resumed} resumed, {taken} taken over");
    assert!(resumed > 0 && taken > 0, "{resumed} resumed, {taken} taken over");
}
