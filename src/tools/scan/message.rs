//! One message: what was found in it, and what becomes of it for each recipient.

use super::{Scanned, summary};
use crate::config::Config;
use crate::policy::{Action, ClassId, Standing};
use crate::scan::{Findings, Hit, Scanner, TagSet};
use crate::wire::Mailbox;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// What a configuration finds in a message, and what it decides for each recipient: plain text.
///
/// Bare LF line ends are taken as they are in files.
pub fn report(config: &Config, message: &[u8], recipients: &[String]) -> String {
    let mut scanner = Scanner::new(Arc::clone(&config.tables.rules));
    scanner.feed(message);
    let findings = scanner.finish();
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write_findings(config, &findings, &mut out);
    for recipient in recipients {
        let _ = writeln!(out, "{recipient}: {}", verdict(config, &findings, recipient));
    }
    out
}

/// A message as an object of JSON.
pub(super) fn json(config: &Config, scanned: &Scanned, recipients: &[String]) -> Value {
    let Scanned { name, octets, findings } = scanned;
    let (rules, policy) = (&config.tables.rules, &config.tables.policy);
    let names =
        |tags: &TagSet| -> Vec<&str> { tags.iter().map(|tag| rules.tags().name(tag)).collect() };
    let hit = |hit: &Hit| {
        json!({
            "rule": rules.rule_name(hit.rule),
            "in": hit.surface.name(),
            "part": hit.part,
            "offset": hit.offset,
        })
    };
    let classes = policy.classes().iter().zip(0..).map(|(class, id)| {
        let verdict = policy.verdict(ClassId::at(id), findings);
        (class.name().to_owned(), Value::from(summary::fate_name(verdict.action)))
    });
    let mut object = json!({
        "file": name,
        "octets": octets,
        "tags": names(findings.tags()),
        "observed": names(findings.observed()),
        "score": findings.score().points(),
        "units": findings.units(),
        "hits": findings.hits().iter().map(hit).collect::<Vec<_>>(),
        "classes": classes.collect::<serde_json::Map<_, _>>(),
    });
    if !recipients.is_empty() {
        let verdict = |to: &String| json!({ "to": to, "verdict": verdict(config, findings, to) });
        object["recipients"] = recipients.iter().map(verdict).collect();
    }
    object
}

fn write_findings(config: &Config, findings: &Findings, out: &mut String) -> std::fmt::Result {
    let rules = &config.tables.rules;
    let names: Vec<&str> = findings.tags().iter().map(|tag| rules.tags().name(tag)).collect();
    let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    writeln!(out, "tags: {list}; score: {}", findings.score())?;
    for hit in findings.hits() {
        let (rule, surface) = (rules.rule_name(hit.rule), hit.surface.name());
        writeln!(out, "  rule {rule} in {surface}, part {}, at octet {}", hit.part, hit.offset)?;
    }
    Ok(())
}

fn verdict(config: &Config, findings: &Findings, recipient: &str) -> String {
    let policy = &config.tables.policy;
    let Ok(mailbox) = Mailbox::read(recipient.as_bytes()) else {
        return "501 5.1.3 this is no address".to_owned();
    };
    let class = match policy.recipient(&mailbox) {
        Standing::Refused(reply) => return format!("refused at RCPT: {reply}"),
        Standing::Accepted { class, .. } => class,
    };
    let verdict = policy.verdict(class, findings);
    let action = match verdict.action {
        Action::Accept { .. } => "accept".to_owned(),
        Action::Reject(reply) => format!("reject: {reply}"),
        Action::Defer(reply) => format!("defer: {reply}"),
        Action::Quarantine(_) => "quarantine".to_owned(),
        Action::Discard => "discard".to_owned(),
    };
    let added = verdict.add.map(|line| format!(", adds {}", line.trim_ascii().escape_ascii()));
    let place = verdict.place.map(|place| format!(" (line {})", place.line));
    let name = policy.class_name(class);
    format!("{action}{}, class {name}{}", added.unwrap_or_default(), place.unwrap_or_default())
}
