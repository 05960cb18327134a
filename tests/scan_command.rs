//! `postern scan` as an operator runs it: over folders, Maildirs and mailboxes, as text and as JSON.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const CONFIGURATION: &str = r#"
[listen.mx]
address = "127.0.0.1:2525"
protocol = "smtp"
[route.mail]
to = "maildir:mail"
[domain."example.net"]
route = "mail"
recipients = "any"
class = "standard"
[class.standard]
decide = [
  { tag = "spam", then = "reject" },
  { score = 2.0, then = "accept", add = "X-Spam-Flag: YES" },
]
[rule.pills]
literals = ["viagra"]
tag = "spam"
[rule.offer]
regex = '(?i)best\s+offer'
score = 2.5
[rule.seen]
literals = ["offer"]
observe = true
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("my.toml", CONFIGURATION);
        folder
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn scan(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.current_dir(self.0.path()).arg("scan").args(["--config", "my.toml"]);
        command.args(arguments).output().unwrap()
    }
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn mails(folder: &Folder) {
    folder.write("mail/cur/1", "From: a@b\n\nviagra\n");
    folder.write("mail/new/2", "From: a@b\n\nhello\n");
    folder.write("mail/tmp/3", "From: a@b\n\nviagra\n");
    let two = "From x\nFrom: a@b\n\nour best\noffer\n\nFrom y\nFrom: a@b\n\nno viagra\n";
    folder.write("old.mbox", two);
}

#[test]
fn a_summary_says_what_would_have_become_of_all() {
    let folder = Folder::new();
    mails(&folder);
    let output = folder.scan(&["mail", "old.mbox"]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    for line in [
        "4 messages, ",
        "tag      spam: 2\n",
        "tag      offer: 1\n",
        "tag      seen: 0, observed 1\n",
        "class    standard: would refuse 2, add a header to 1 of 4\n",
        "         line 13 decides 2\n",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    // A bar is for terminals.
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn an_object_a_line_tells_of_each_message() {
    let folder = Folder::new();
    mails(&folder);
    let output = folder.scan(&["mail", "old.mbox", "--json", "--rcpt", "me@example.net"]);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, messages) = lines.split_last().unwrap();
    assert_eq!(messages.len(), 4);
    let of = |file: &str| messages.iter().find(|message| message["file"] == file).unwrap();
    let spam = of("old.mbox:2");
    assert_eq!(spam["tags"], serde_json::json!(["spam"]));
    assert_eq!(spam["classes"]["standard"], "refuse");
    assert_eq!(spam["hits"][0]["rule"], "pills");
    let verdict = spam["recipients"][0]["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("reject: 550"), "{verdict}");
    assert_eq!(of("old.mbox:1")["score"], 2.5);
    let summary = &summary["summary"];
    assert_eq!((&summary["messages"], &summary["unreadable"]), (&4.into(), &0.into()));
    let standard = summary["classes"].as_array().unwrap();
    let standard = standard.iter().find(|class| class["class"] == "standard").unwrap();
    assert_eq!((&standard["refuse"], &standard["accept"]), (&2.into(), &2.into()));
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_scanned() {
    let folder = Folder::new();
    mails(&folder);
    let output = folder.scan(&["mail", "nowhere"]);
    assert!(!output.status.success());
    assert!(text(&output.stdout).contains("2 messages, "), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("nowhere"), "{}", text(&output.stderr));
}

/// The same code as for one message: what a summary counts is what each report says.
#[test]
fn a_summary_is_the_sum_of_its_messages() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/spam");
    let folder = Folder::new();
    let output = folder.scan(&[corpus.to_str().unwrap(), "--json"]);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, messages) = lines.split_last().unwrap();
    assert_eq!(messages.len(), fs::read_dir(&corpus).unwrap().count());
    let sum =
        |key: &str| messages.iter().map(|message| message[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(summary["summary"]["octets"], sum("octets"));
    assert_eq!(summary["summary"]["units"], sum("units"));
    for tag in summary["summary"]["tags"].as_array().unwrap() {
        let has = |message: &&Value| message["tags"].as_array().unwrap().contains(&tag["tag"]);
        assert_eq!(tag["found"], messages.iter().filter(has).count());
    }
}
