//! What a configuration amounts to, in words: what `postern check` prints.

use super::Config;
use super::value::{shown, shown_octets};
use crate::policy::{Action, Class, ClassId, Policy, Recipients};
use crate::relay::Protocol;
use crate::scan::Rules;
use crate::session::{Listener, Mixed, Networks, Offer, TlsMode};
use crate::wire::Newlines;
use std::fmt::{Result, Write};
use std::sync::Arc;

/// A summary in plain text, the same for the same configuration.
pub fn summary(config: &Config) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write_summary(config, &mut out);
    out
}

fn write_summary(config: &Config, out: &mut String) -> Result {
    // A listener with several addresses is told once.
    for listeners in config.listeners.chunk_by(|(_, one), (_, other)| Arc::ptr_eq(one, other)) {
        let addresses: Vec<String> =
            listeners.iter().map(|(address, _)| address.to_string()).collect();
        if let Some((_, listener)) = listeners.first() {
            write_listener(&addresses.join(" and "), listener, out)?;
        }
    }
    for route in &config.route_settings {
        writeln!(out, "route    {route}")?;
    }
    write_domains(config, out)?;
    write_classes(&config.tables.policy, out)?;
    let rules = &config.tables.rules;
    write_rules(rules, out)?;
    writeln!(out, "memory   {} for message bodies", shown_octets(config.body_memory_octets))?;
    if let Some(ledger) = &config.ledger {
        let (outcomes, window) = (shown(ledger.outcome_lifetime), shown(ledger.replay_window));
        let size = shown_octets(ledger.octets_max);
        writeln!(
            out,
            "ledger   outcomes for {outcomes}, messages without an id for {window}, {size}"
        )?;
    }
    if let Some(admin) = &config.admin {
        let reload = if admin.token.is_some() { ", POST /reload with a token" } else { "" };
        writeln!(out, "admin    http://{}{reload}", admin.address)?;
    }
    config.left_out.iter().try_for_each(|what| writeln!(out, "left out {what}"))?;
    config.warnings.iter().try_for_each(|warning| writeln!(out, "warning  {warning}"))
}

fn write_listener(addresses: &str, listener: &Listener, out: &mut String) -> Result {
    let protocol = match listener.protocol {
        Protocol::Smtp => "SMTP",
        Protocol::Lmtp => "LMTP",
    };
    writeln!(out, "listen   {} on {addresses}, {protocol}", listener.name)?;
    let size = match listener.size_octets_max {
        0 => "any size".to_owned(),
        octets => format!("up to {}", shown_octets(octets)),
    };
    let newlines = match listener.newlines {
        Newlines::Reject => "refused",
        Newlines::Normalize => "taken as line ends",
    };
    let long_lines =
        if listener.long_lines_refused { ", as are lines over 998 octets" } else { "" };
    let (recipients, messages) = (listener.recipients_max, listener.messages_max);
    writeln!(
        out,
        "         messages of {size}, {recipients} recipients each, {messages} a connection; bare LF \
         is {newlines}{long_lines}"
    )?;
    if !listener.own_authserv_ids.is_empty() {
        let ids = listener.own_authserv_ids.join(", ");
        writeln!(out, "         Authentication-Results of {ids} are left out")?;
    }
    if listener.lenient_commands {
        writeln!(out, "         a bare LF ends a command line")?;
    }
    let tls = match listener.tls.as_ref().map(|tls| tls.mode) {
        None => "no TLS",
        Some(TlsMode::Offered) => "TLS offered",
        Some(TlsMode::Required) => "TLS required",
        Some(TlsMode::Implicit) => "TLS from the first octet",
    };
    let prdr = match (listener.protocol, listener.prdr) {
        (Protocol::Smtp, true) => ", PRDR",
        _ => "",
    };
    writeln!(out, "         {tls}{prdr}{}", offers(listener))?;
    if listener.protocol == Protocol::Smtp {
        let mixed = match listener.mixed {
            Mixed::Split => "are split over transactions",
            Mixed::Quarantine => "who refuse get it laid aside",
            Mixed::Strictest => "all get what the strictest gets",
        };
        writeln!(out, "         recipients who differ, without PRDR: {mixed}")?;
    }
    let trust = &listener.trust;
    let trusted = [
        ("PROXY", &trust.proxy),
        ("XCLIENT", &trust.xclient),
        ("XFORWARD", &trust.xforward),
        ("RESUME", &trust.resume),
        ("bare LF", &listener.normalized_from),
    ];
    for (what, networks) in trusted.into_iter().filter(|(_, networks)| !networks.is_empty()) {
        writeln!(out, "         {what} taken from {}", list(networks))?;
    }
    writeln!(out, "         {}", waits(listener))
}

fn offers(listener: &Listener) -> String {
    let extensions = [
        ("SMTPUTF8", listener.smtputf8),
        ("DSN", listener.dsn),
        ("BINARYMIME", listener.binarymime),
    ];
    let those = |wanted| {
        let names = extensions.iter().filter(move |(_, offer)| *offer == wanted);
        names.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let always: String = those(Offer::Always).iter().map(|name| format!(", {name}")).collect();
    match those(Offer::WhenHonoured).join(", ") {
        names if names.is_empty() => always,
        names => format!("{always}; when all next hops honour it: {names}"),
    }
}

fn list(networks: &Networks) -> String {
    let networks: Vec<String> = networks.list().iter().map(ToString::to_string).collect();
    networks.join(", ")
}

fn waits(listener: &Listener) -> String {
    let times = [
        ("idle", listener.idle_timeout),
        ("data-timeout", listener.data_timeout),
        ("write-stall", listener.write_stall_timeout),
        ("progress", listener.progress_timeout),
        ("session", listener.session_timeout),
        ("handshake", listener.handshake_timeout),
        ("scan", listener.scan_budget),
    ];
    let times = times.map(|(key, time)| format!("{key} {}", shown(time)));
    let rate = match listener.data_rate_octets_per_s {
        0 => String::new(),
        octets => format!(", data-rate {}", shown_octets(octets)),
    };
    format!("{}{rate}", times.join(", "))
}

fn write_domains(config: &Config, out: &mut String) -> Result {
    let policy = &config.tables.policy;
    let route_name = |index: usize| config.routes.routes.get(index).map_or("", |one| &one.name);
    let mut domains: Vec<_> = policy.domains().collect();
    domains.sort_by_key(|(name, _)| *name);
    for (name, domain) in domains {
        let recipients = match &domain.recipients {
            Recipients::Any => "any recipient".to_owned(),
            Recipients::Listed { list, .. } => {
                let (entries, octets) = (list.len(), list.table_octets());
                format!("a list of {entries} recipients ({octets} octets)")
            }
        };
        let plus = domain.plus.map(|sign| format!(", user{0}tag is user", char::from(sign)));
        let (name, class) = (name.escape_ascii(), policy.class_name(domain.class));
        let (route, plus) = (route_name(domain.route.index()), plus.unwrap_or_default());
        writeln!(out, "domain   {name}: {recipients}{plus}, class {class}, route {route}")?;
    }
    Ok(())
}

fn write_classes(policy: &Policy, out: &mut String) -> Result {
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
    Ok(())
}

fn write_rules(rules: &Rules, out: &mut String) -> Result {
    let octets = about(rules.table_octets());
    writeln!(out, "scan     {octets} of tables, shared by all shards")?;
    let tables = rules.tables();
    let kinds = [
        ("literals in a full table", tables.in_full_table),
        ("literals known by windows", tables.by_windows),
        ("expressions behind literals", tables.gated),
        ("expressions over every octet", tables.ungated),
        ("domains and networks", tables.listed),
        ("digests of parts", tables.digests),
    ];
    for (what, (entries, octets)) in kinds.into_iter().filter(|(_, (entries, _))| *entries > 0) {
        writeln!(out, "         {entries} {what}: {}", about(octets))?;
    }
    let (waiting, most) = rules.suspended_octets();
    writeln!(out, "         a message that waits keeps {waiting} octets, at most {most}")?;
    if let Some((unpacked, memory)) = rules.unpacks() {
        let (unpacked, memory) = (shown_octets(unpacked), about(memory));
        writeln!(
            out,
            "         {unpacked} of a message's archives are unpacked; a shard has {memory} for that"
        )?;
    }
    let cost = rules.cost();
    writeln!(
        out,
        "work     at most {} units an octet of content and {} beside, whatever is sent",
        cost.units_an_octet, cost.units_at_once
    )
}

/// Octets in a unit in which they are easily read.
fn about(octets: usize) -> String {
    match octets {
        0..10_240 => format!("{octets} octets"),
        10_240..1_048_576 => format!("{} KiB", octets / 1024),
        _ => format!("{:.1} MiB", octets as f64 / 1_048_576.0),
    }
}

fn write_lines(class: &Class, out: &mut String) -> Result {
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
