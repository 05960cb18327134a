//! `postern scan`: a message against a configuration, without a server.

use crate::config::Config;
use crate::policy::{Action, Standing};
use crate::scan::{Findings, Scanner};
use crate::wire::Mailbox;
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
