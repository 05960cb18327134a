//! What a configuration amounts to, in words: what `postern check` prints.

use super::Config;
use crate::policy::{Action, Class, ClassId, Recipients};
use crate::relay::{NextHop, Protocol};
use std::fmt::Write;

/// A summary in plain text, the same for the same configuration.
pub fn summary(config: &Config) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write_summary(config, &mut out);
    out
}

fn write_summary(config: &Config, out: &mut String) -> std::fmt::Result {
    let policy = &config.tables.policy;
    for (address, listener) in &config.listeners {
        let protocol = match listener.protocol {
            Protocol::Smtp => "SMTP",
            Protocol::Lmtp => "LMTP",
        };
        writeln!(out, "listen   {} on {address}, {protocol}", listener.name)?;
    }
    let route_name = |index: usize| config.routes.routes.get(index).map_or("", |one| &one.name);
    for route in &config.routes.routes {
        match &route.to {
            NextHop::Maildir(folder) => {
                writeln!(out, "route    {}: Maildirs in {}", route.name, folder.display())?;
            }
            NextHop::Server { addresses, .. } => {
                let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                writeln!(out, "route    {}: {}", route.name, list.join(", then "))?;
            }
        }
    }
    let mut domains: Vec<_> = policy.domains().collect();
    domains.sort_by_key(|(name, _)| *name);
    for (name, domain) in domains {
        let recipients = match &domain.recipients {
            Recipients::Any => "any recipient".to_owned(),
            Recipients::Listed(listed) => format!("{} recipients", listed.len()),
        };
        let (name, class) = (name.escape_ascii(), policy.class_name(domain.class));
        let route = route_name(domain.route.index());
        writeln!(out, "domain   {name}: {recipients}, class {class}, route {route}")?;
    }
    for class in policy.classes() {
        writeln!(out, "class    {}", class.name())?;
        write_lines(class, out)?;
    }
    for one in 0..policy.classes().len() as u16 {
        for other in one + 1..policy.classes().len() as u16 {
            if policy.may_differ(ClassId(one), ClassId(other)) {
                let names = (policy.class_name(ClassId(one)), policy.class_name(ClassId(other)));
                writeln!(out, "split    {} and {} (plain SMTP)", names.0, names.1)?;
            }
        }
    }
    let rules = &config.tables.rules;
    writeln!(out, "scan     {} octets of tables, shared by all shards", rules.table_octets())?;
    let cost = rules.cost();
    writeln!(
        out,
        "work     at most {} units an octet of content and {} beside, whatever is sent",
        cost.units_an_octet, cost.units_at_once
    )?;
    writeln!(out, "memory   {} octets for message bodies", config.body_memory_octets)
}

fn write_lines(class: &Class, out: &mut String) -> std::fmt::Result {
    for line in class.lines() {
        let action = match &line.then {
            Action::Accept { .. } => "accept".to_owned(),
            Action::Reject(reply) => format!("reject: {reply}"),
            Action::Defer(reply) => format!("defer: {reply}"),
            Action::Quarantine(_) => "quarantine".to_owned(),
            Action::Discard => "discard".to_owned(),
        };
        writeln!(out, "         line {}: {action}", line.place.line)?;
    }
    Ok(())
}
