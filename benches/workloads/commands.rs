//! Command lines: cut out of the stream and read.

use super::{Size, Workload};
use postern::wire::{Line, LineReader, Mail, Offers, Rcpt, Verb, greeting_name};
use std::hint::black_box;

const OFFERS: Offers = Offers {
    extended: true,
    smtputf8: true,
    dsn: true,
    binarymime: true,
    prdr: true,
    requiretls: true,
    resume: true,
    checkpoint: true,
};

pub fn workloads() -> Vec<Workload> {
    let usual = "EHLO client.example\r\nMAIL FROM:<a@client.example> SIZE=4096 BODY=8BITMIME\r\n\
                 RCPT TO:<b@example.net>\r\nDATA\r\nQUIT\r\n";
    let recipients: String =
        (0..100).map(|number| format!("RCPT TO:<user{number}@example.net>\r\n")).collect();
    let everything = "MAIL FROM:<\"a b\"@client.example> SIZE=4096 BODY=8BITMIME SMTPUTF8 RET=HDRS \
                      ENVID=abc+2B1\r\nRCPT TO:<@a.example:b@[IPv6:2001:db8::1]> \
                      NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;b+40example.net\r\n";
    let table = [
        ("the five of a message", usual.to_owned(), usize::MAX),
        ("100 RCPT in one read", recipients.clone(), usize::MAX),
        ("100 RCPT in reads of 50 octets", recipients, 50),
        ("every parameter", everything.to_owned(), usize::MAX),
        ("100 lines of nonsense", "WIBBLE wobble\r\n".repeat(100), usize::MAX),
    ];
    let workload = |(name, stream, read_octets): (&str, String, usize)| Workload {
        group: "command lines",
        name: name.to_owned(),
        size: Size::Items(stream.matches("\r\n").count()),
        prepare: Box::new(move || {
            let stream = stream.clone().into_bytes();
            Box::new(move || {
                let mut reader = LineReader::default();
                for mut read in stream.chunks(read_octets.min(stream.len())) {
                    while let Some(line) = reader.next(&mut read) {
                        read_command(&line);
                    }
                }
            })
        }),
    };
    table.into_iter().map(workload).collect()
}

fn read_command(line: &Line<'_>) {
    let Line::Whole(line) = line else { return };
    let (verb, argument) = Verb::read(black_box(line));
    match verb {
        Verb::Mail => drop(black_box(Mail::read(argument, OFFERS))),
        Verb::Rcpt => drop(black_box(Rcpt::read(argument, OFFERS, false))),
        Verb::Ehlo => drop(black_box(greeting_name(argument))),
        verb => drop(black_box(verb)),
    }
}
