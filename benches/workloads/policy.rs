//! Look-ups of recipients and verdicts: for each recipient, and so never dear.

use super::{Size, Workload};
use postern::config::Config;
use postern::policy::{ClassId, Policy, Standing};
use postern::scan::{Findings, Score};
use postern::session::Tables;
use postern::wire::Mailbox;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

const RECIPIENTS: usize = 1_000;
const CLASSES: u16 = 12;

pub fn workloads() -> Vec<Workload> {
    vec![
        look_ups("recipient of 1,000 that are listed", "user", "example.net"),
        look_ups("recipient that is not there", "nobody", "example.net"),
        look_ups("recipient of a foreign domain", "user", "foreign.example"),
        Workload {
            group: GROUP,
            name: "verdict of a class with 12 lines".to_owned(),
            size: Size::Items(CLASSES.into()),
            prepare: Box::new(|| {
                let tables = tables();
                let findings = findings(&tables);
                Box::new(move || {
                    for class in 0..CLASSES {
                        black_box(tables.policy.verdict(ClassId::at(class), black_box(&findings)));
                    }
                })
            }),
        },
        Workload {
            group: GROUP,
            name: "whether two classes may differ".to_owned(),
            size: Size::Items(usize::from(CLASSES) * usize::from(CLASSES)),
            prepare: Box::new(|| {
                let tables = tables();
                Box::new(move || {
                    for one in 0..CLASSES {
                        for other in 0..CLASSES {
                            let (one, other) = black_box((ClassId::at(one), ClassId::at(other)));
                            black_box(tables.policy.may_differ(one, other));
                        }
                    }
                })
            }),
        },
    ]
}

const GROUP: &str = "policy";

/// A thousand addresses are read and looked up.
fn look_ups(name: &str, local_part: &'static str, domain: &'static str) -> Workload {
    Workload {
        group: GROUP,
        name: name.to_owned(),
        size: Size::Items(RECIPIENTS),
        prepare: Box::new(move || {
            let tables = tables();
            check(&tables.policy);
            let address = |number| format!("{local_part}{number}@{domain}");
            let addresses: Vec<String> = (0..RECIPIENTS).map(address).collect();
            Box::new(move || {
                for address in &addresses {
                    let mailbox = Mailbox::read(black_box(address.as_bytes()));
                    black_box(mailbox.map(|mailbox| tables.policy.recipient(&mailbox)).ok());
                }
            })
        }),
    }
}

/// What only the last lines of the classes ask for.
fn findings(tables: &Tables) -> Findings {
    let mut findings = Findings::default();
    if let Some(tag) = tables.rules.tags().find("tag-11") {
        findings.add(tag, Score(1));
    }
    findings
}

/// The names that are looked up are there, or not, as it is said.
fn check(policy: &Policy) {
    let standing = |address: &str| {
        policy.recipient(&Mailbox::read(address.as_bytes()).expect("it is an address"))
    };
    assert!(matches!(standing("user7@example.net"), Standing::Accepted { .. }));
    assert!(matches!(standing("nobody7@example.net"), Standing::Refused(_)));
    assert_eq!(policy.classes().len(), usize::from(CLASSES) + 1, "there is lax besides");
}

/// A thousand recipients, and twelve classes of twelve lines, no two alike.
fn tables() -> Arc<Tables> {
    let mut text = String::from(
        "[listen.mx]\naddress = \"127.0.0.1:1\"\nprotocol = \"smtp\"\n\
         [route.mail]\nto = \"lmtp://127.0.0.1:2\"\n\
         [domain.\"example.net\"]\nroute = \"mail\"\nclass = \"class-0\"\n",
    );
    let names: Vec<String> = (0..RECIPIENTS).map(|number| format!("user{number}")).collect();
    writeln!(text, "recipients = {names:?}").expect("a text takes all");
    for rule in 0..CLASSES {
        writeln!(
            text,
            "[rule.r{rule}]\nliterals = [\"l{rule}\"]\nin = [\"raw\"]\ntag = \"tag-{rule}\""
        )
        .expect("a text takes all");
    }
    let exceptions: Vec<String> =
        (1..CLASSES).map(|class| format!("\"user{class}*\" = \"class-{class}\"")).collect();
    text = text.replace(
        "class = \"class-0\"\n",
        &format!("class = \"class-0\"\nexceptions = {{ {} }}\n", exceptions.join(", ")),
    );
    for class in 0..CLASSES {
        writeln!(text, "[class.class-{class}]\ndecide = [").expect("a text takes all");
        for line in 0..CLASSES {
            let then = if line >= class { "reject" } else { "accept" };
            writeln!(text, "  {{ tag = \"tag-{line}\", then = \"{then}\" }},")
                .expect("a text takes all");
        }
        text.push_str("]\n");
    }
    match Config::parse(&text, "the bench's own", Path::new(".")) {
        Ok(config) => config.tables,
        Err(faults) => panic!("{faults:?}"),
    }
}
