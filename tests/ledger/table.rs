//! The fault table of `docs/nothing-twice.md`: what a client that lost its connection must do and what it
//! gets, measured, and compared with what is checked in.
//!
//! `POSTERN_WRITE_TABLE=1 cargo test --test ledger -- table` writes it anew.

use crate::dialogues_runner::installation::{Installation, base_listener};
use crate::dialogues_runner::memory::Memory;
use crate::dialogues_runner::stage::Stage;
use crate::kills::killed_at;
use crate::message::{Form, Message, Transfer, on_the_wire};
use crate::on_stage::Client;
use postern::durable::CrashPoint;
use postern::relay::Protocol;
use postern::session::{Listener, ResumeLevel};
use std::fmt::Write;
use std::time::Duration;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nothing-twice.md");
const BEGIN: &str = "<!-- measured by tests/ledger/table.rs -->\n";
const END: &str = "<!-- end -->\n";

/// Where a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// In the middle of the content.
    InContent,
    /// Behind the end mark, while verdicts are waited for.
    WhileJudged,
    /// While a next hop works at it.
    WhileHandedOn,
    /// Before the first octet of the final reply set has arrived.
    BeforeReply,
    /// In the middle of the final reply set.
    InReply,
    /// The client says nothing any more, and nobody hears that it is gone.
    Silently,
}

impl Loss {
    const ALL: [Loss; 6] = [
        Loss::InContent,
        Loss::WhileJudged,
        Loss::WhileHandedOn,
        Loss::BeforeReply,
        Loss::InReply,
        Loss::Silently,
    ];

    fn words(self) -> &'static str {
        match self {
            Loss::InContent => "in the content",
            Loss::WhileJudged => "after the end mark, while it is judged",
            Loss::WhileHandedOn => "while a next hop has it",
            Loss::BeforeReply => "before the final reply arrives",
            Loss::InReply => "in the final reply",
            Loss::Silently => "after the end mark, and nobody hears of it",
        }
    }
}

/// What a client meets that comes again.
fn lost(loss: Loss, form: Form, level: ResumeLevel, id: Option<&str>) -> String {
    let installation =
        Installation::with(&Listener { resume: level, replay: true, ..base_listener() });
    let mut stage = Memory::start(&installation, Protocol::Lmtp).unwrap();
    let mut message = Message::new(form, 2, id);
    message.recipients = vec!["ok1@example.net".to_owned(), "slow1@example.net".to_owned()];
    if loss == Loss::WhileJudged {
        message.content.extend(b"TEST*SCAN*DELAY*1500MS\r\n");
    }
    let mut first = Client::greeted(&mut stage, form);
    first.envelope(&message, 0, Transfer::Data);
    let connection = first.connection;
    let wire = on_the_wire(&message.content, 0, Transfer::Data);
    match loss {
        Loss::BeforeReply => first.stage.lose_after(connection, 0),
        Loss::InReply => first.stage.lose_after(connection, 20),
        _ => {}
    }
    match loss {
        Loss::InContent => first.says(&wire[..wire.len() / 2]),
        _ => first.says(&wire),
    }
    let pause = match loss {
        Loss::InContent | Loss::WhileJudged => Duration::from_millis(100),
        Loss::WhileHandedOn => Duration::from_millis(500),
        Loss::BeforeReply | Loss::InReply | Loss::Silently => Duration::from_secs(5),
    };
    stage.advance(pause);
    if !matches!(loss, Loss::BeforeReply | Loss::InReply | Loss::Silently) {
        stage.abort(connection);
    }
    let mut second = Client::greeted(&mut stage, form);
    let offset = if id.is_some() { second.resumes(&message) } else { 0 };
    second.envelope(&message, offset, Transfer::Data);
    second.says(&on_the_wire(&message.content, offset as usize, Transfer::Data));
    let set = second.set(&message);
    let whole = message.content.len() as u64;
    let sends = match offset {
        0 => "sends all",
        kept if kept == whole => "sends no content",
        _ => "sends the rest",
    };
    // The id in the reply is that of the transaction that it speaks of.
    let own = String::from_utf8(set).unwrap().contains("sim1-");
    let told = if own { "a new reply" } else { "the same reply" };
    cell(
        sends,
        told,
        ["ok1@example.net", "slow1@example.net"].map(|one| stage.delivered(one).len()),
    )
}

fn cell(sends: &str, told: &str, copies: [usize; 2]) -> String {
    assert_eq!(copies[0], copies[1]);
    let copies = match copies[0] {
        1 => "1 copy".to_owned(),
        more => format!("**{more} copies**"),
    };
    format!("{sends}, {told}, {copies}")
}

/// The same for a process that dies.
fn killed(point: CrashPoint, form: Form, id: Option<&str>, level: &str, offers: &[&str]) -> String {
    let message = Message::new(form, 1, id);
    let killed = killed_at(point, &message, level, offers);
    let told = if killed.stored { "the same reply" } else { "a new reply" };
    let sends = match killed.offset {
        // How much of the content was durable by then is a race with the disk.
        _ if level == "partial" && !killed.stored => "sends what is missing",
        0 => "sends all",
        kept if kept == message.content.len() as u64 => "sends no content",
        _ => "sends the rest",
    };
    let copies = 1 + killed.twice as usize;
    cell(sends, told, [copies, copies])
}

fn words_of_kill(point: CrashPoint) -> &'static str {
    match point {
        CrashPoint::Received => "the process dies after the end mark",
        CrashPoint::Intent => "it dies before anything is handed on",
        CrashPoint::HandedOn => "it dies after handing on, before the outcome is durable",
        CrashPoint::Committed => "it dies before the final reply leaves",
        CrashPoint::Replied => "it dies after the final reply",
    }
}

/// A row for forms that meet the same; one for each that does not.
fn rows(out: &mut String, words: &str, cells: [[String; 3]; 3]) {
    let mut left: Vec<usize> = (0..3).collect();
    while let Some(first) = left.first().copied() {
        let same: Vec<usize> =
            left.iter().copied().filter(|form| cells[*form] == cells[first]).collect();
        left.retain(|form| !same.contains(form));
        let names: Vec<&str> = same.iter().map(|form| ["LMTP", "PRDR", "SMTP"][*form]).collect();
        let [outcome, partial, none] = &cells[first];
        let names = if names.len() == 3 { "all".to_owned() } else { names.join(", ") };
        let _ = writeln!(out, "| {words} | {names} | {outcome} | {partial} | {none} |");
    }
}

fn table() -> String {
    let mut out = String::from(
        "| the connection is lost | by | RESUME, `outcome` | RESUME, `partial` | without RESUME |\n\
         |---|---|---|---|---|\n",
    );
    let (outcome, partial) = (ResumeLevel::Outcome, ResumeLevel::Partial);
    for loss in Loss::ALL {
        let cells = Form::ALL.map(|form| {
            [
                lost(loss, form, outcome, Some("t1")),
                lost(loss, form, partial, Some("t1")),
                lost(loss, form, outcome, None),
            ]
        });
        rows(&mut out, loss.words(), cells);
    }
    for point in CrashPoint::ALL {
        let cells = Form::ALL.map(|form| {
            let named = |level| killed(point, form, Some("t1"), level, &[]);
            let unnamed = match point {
                // Only what has an id is told to the ledger at its end mark.
                CrashPoint::Received => "sends all, a new reply, 1 copy".to_owned(),
                _ => killed(point, form, None, "outcome", &[]),
            };
            [named("outcome"), named("partial"), unnamed]
        });
        rows(&mut out, words_of_kill(point), cells);
        if point == CrashPoint::HandedOn {
            let cells = Form::ALL.map(|form| {
                let killed = |id, level| killed(point, form, id, level, &["RESUME"]);
                let (named, unnamed) = (Some("t1"), None);
                [killed(named, "outcome"), killed(named, "partial"), killed(unnamed, "outcome")]
            });
            rows(&mut out, "the same, with a next hop that offers RESUME", cells);
        }
    }
    out
}

#[test]
fn the_fault_table_in_the_documentation_is_what_happens() {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let measured = table();
    if std::env::var_os("POSTERN_WRITE_TABLE").is_some() {
        std::fs::write(DOCUMENT, [before, BEGIN, &measured, END, after].concat()).unwrap();
        return;
    }
    assert!(shown == measured, "the table is out of date; measured:\n{measured}");
}
