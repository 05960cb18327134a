//! `postern import spamassassin`: rules of SpamAssassin as rules of a configuration, and what could
//! not be taken over, with the reason.
//!
//! What is taken means about the same: `body` is what a reader sees with the subject, `rawbody` the
//! decoded text, `uri` the links, `header` a field. Conditions (`meta`) are taken if they are all of
//! some rules, one of some, or more than a number of some. What asks the network or a plugin is not.

use crate::limits::{REGEXES_MAX, REGEXES_UNGATED_MAX};
use crate::scan::{RuleSpec, Rules, Surface, Tags};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What became of a file of rules.
#[derive(Debug, Default)]
pub struct Imported {
    /// The rules that were taken, as text of a configuration.
    pub rules: String,
    /// How many these are.
    pub taken: usize,
    /// Those that were not taken: line, name, reason.
    pub refused: Vec<(usize, String, String)>,
}

/// A rule as its file has it.
struct Rule<'a> {
    line: usize,
    name: &'a str,
    kind: &'a str,
    definition: &'a str,
}

/// What a rule becomes.
struct Taken {
    /// The lines below its title.
    body: String,
    expressions: usize,
    ungated: usize,
}

/// Reads rules of SpamAssassin.
pub fn spamassassin(text: &str) -> Imported {
    let (mut rules, mut scores, mut told) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for (line, text) in text.lines().enumerate() {
        let text = text.trim();
        let Some((kind, rest)) = text.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        let (name, definition) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let definition = definition.trim_start();
        match kind {
            "body" | "rawbody" | "full" | "uri" | "header" | "meta" => {
                rules.push(Rule { line: line + 1, name, kind, definition });
            }
            "score" => {
                // Of four scores, the first one is that without network and learning.
                let score = definition.split_whitespace().next().and_then(|one| one.parse().ok());
                scores.extend(score.map(|score: f64| (name, score)));
            }
            "describe" => {
                told.insert(name, definition);
            }
            _ => {}
        }
    }
    // The last definition of a name is the one that counts.
    let last: BTreeMap<&str, usize> = rules.iter().map(|rule| (rule.name, rule.line)).collect();
    rules.retain(|rule| last.get(rule.name) == Some(&rule.line));
    let mut all = Imported::default();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let (mut expressions, mut ungated) = (0, 0);
    let (metas, simple): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|rule| rule.kind == "meta");
    for rule in simple {
        let taken = expression(&rule).and_then(|taken| {
            if expressions + taken.expressions > REGEXES_MAX {
                return Err(format!("{REGEXES_MAX} expressions may be"));
            }
            if ungated + taken.ungated > REGEXES_UNGATED_MAX {
                return Err(format!(
                    "it has no literal that every match has, and {REGEXES_UNGATED_MAX} such may be"
                ));
            }
            Ok(taken)
        });
        match taken {
            Ok(taken) => {
                (expressions, ungated) = (expressions + taken.expressions, ungated + taken.ungated);
                known.insert(rule.name);
                all.add(&rule, &taken.body, &scores, &told);
            }
            Err(reason) => all.refused.push((rule.line, rule.name.to_owned(), reason)),
        }
    }
    // A condition stands below what it waits for, which may be another one.
    let mut open = metas;
    loop {
        let before = open.len();
        open.retain(|rule| match condition(rule.definition, &known) {
            Ok(body) => {
                known.insert(rule.name);
                all.add(rule, &body, &scores, &told);
                false
            }
            Err(_) => true,
        });
        if open.len() == before {
            break;
        }
    }
    for rule in open {
        let reason = condition(rule.definition, &known).err().unwrap_or_default();
        all.refused.push((rule.line, rule.name.to_owned(), reason));
    }
    all.refused.sort();
    all
}

impl Imported {
    fn add(
        &mut self,
        rule: &Rule<'_>,
        body: &str,
        scores: &BTreeMap<&str, f64>,
        told: &BTreeMap<&str, &str>,
    ) {
        // Writing into a String cannot fail.
        if let Some(words) = told.get(rule.name) {
            let _ = writeln!(self.rules, "# {words}");
        }
        let _ = writeln!(self.rules, "[rule.{}]\n{body}", rule.name);
        // Rules whose names begin with two underscores are there for conditions alone.
        let score = scores.get(rule.name).copied();
        let score = score.unwrap_or(if rule.name.starts_with("__") { 0.0 } else { 1.0 });
        if score != 0.0 {
            let _ = writeln!(self.rules, "score = {score:?}");
        }
        self.rules.push('\n');
        self.taken += 1;
    }
}

/// A rule with an expression.
fn expression(rule: &Rule<'_>) -> Result<Taken, String> {
    let (surfaces, fields, pattern) = match rule.kind {
        "body" => (vec![Surface::Subject, Surface::Visible], None, rule.definition),
        "rawbody" => (vec![Surface::Text], None, rule.definition),
        "uri" => (vec![Surface::Url], None, rule.definition),
        "header" => {
            let (field, pattern) = rule
                .definition
                .split_once("=~")
                .ok_or("only `FIELD =~ /.../` can be taken, no exists: or eval:")?;
            let field = field.trim().split(':').next().unwrap_or_default().to_ascii_lowercase();
            let (surface, field) = match field.as_str() {
                "subject" => (Surface::Subject, None),
                "from" => (Surface::From, None),
                "to" | "cc" | "tocc" => (Surface::To, None),
                "reply-to" => (Surface::ReplyTo, None),
                "all" => (Surface::Header, None),
                "" => return Err("it names no field".into()),
                _ => (Surface::Field, Some(field)),
            };
            (vec![surface], field, pattern)
        }
        _ => return Err("expressions do not see raw messages".into()),
    };
    let regex = pattern_of(pattern.trim())?;
    if !rule.name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
        return Err("its name is none".into());
    }
    let spec = RuleSpec {
        regexes: vec![regex.clone()],
        surfaces: surfaces.clone(),
        fields: field_names(&fields),
        tag: rule.name.to_owned(),
        ..RuleSpec::default()
    };
    let compiled = Rules::compile(Tags::new(), &[spec]).map_err(|error| error.to_string())?;
    let streams = [Surface::Visible, Surface::Text];
    let in_streams = surfaces.iter().any(|surface| streams.contains(surface));
    let ungated = if in_streams { compiled.tables().ungated.0 } else { 0 };
    let names: Vec<String> = surfaces
        .iter()
        .map(|surface| match &fields {
            Some(field) => format!("\"header:{field}\""),
            None => format!("\"{}\"", surface.name()),
        })
        .collect();
    let body = format!("regex = {}\nin = [{}]", quoted(&regex), names.join(", "));
    Ok(Taken { body, expressions: 1, ungated })
}

fn field_names(field: &Option<String>) -> Vec<Vec<u8>> {
    field.iter().map(|field| field.clone().into_bytes()).collect()
}

/// `/pattern/flags` or `m{pattern}flags` as an expression with its flags in front.
fn pattern_of(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('m').unwrap_or(text);
    let open = bare.chars().next().ok_or("it has no expression")?;
    let close = match open {
        '{' => '}',
        '(' => ')',
        '[' => ']',
        '<' => '>',
        other if other.is_ascii_punctuation() => other,
        _ => return Err("only /.../ can be taken, no eval:".into()),
    };
    let end = bare.rfind(close).filter(|end| *end > 0).ok_or("its expression has no end")?;
    let (pattern, flags) = (&bare[open.len_utf8()..end], &bare[end + close.len_utf8()..]);
    let flags: String = flags.chars().filter(|flag| "imsx".contains(*flag)).collect();
    let pattern = if open == '/' { pattern.replace("\\/", "/") } else { pattern.to_owned() };
    Ok(if flags.is_empty() { pattern } else { format!("(?{flags}){pattern}") })
}

/// A text as TOML, if it can be so as it is.
fn quoted(text: &str) -> String {
    match text.contains('\'') || text.contains(char::is_control) {
        false => format!("'{text}'"),
        true => toml::Value::from(text).to_string(),
    }
}

/// The keys of a rule that waits for others: `A && B && !C`, `A || B`, `(A + B + C) > 1`.
fn condition(text: &str, known: &BTreeSet<&str>) -> Result<String, String> {
    let check = |name: &str| match known.contains(name) {
        true => Ok(()),
        false => Err(format!("it waits for {name}, which was not taken")),
    };
    let list = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("[{}]", names.join(", "))
    };
    let text = without_brackets(text);
    if let Some((sum, least)) = at_least(text) {
        let names: Vec<&str> = without_brackets(sum).split('+').map(str::trim).collect();
        names.iter().try_for_each(|name| check(name))?;
        return Ok(format!("any = {}\ncount = {least}", list(&names)));
    }
    if text.contains("||") && !text.contains("&&") {
        let names: Vec<&str> = text.split("||").map(str::trim).collect();
        names.iter().try_for_each(|name| check(name))?;
        return Ok(format!("any = {}", list(&names)));
    }
    let (mut all, mut none) = (Vec::new(), Vec::new());
    for one in text.split("&&").map(str::trim) {
        let (name, to) = match one.strip_prefix('!') {
            Some(name) => (name.trim(), &mut none),
            None => (one, &mut all),
        };
        if !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
            return Err("its condition is more than all, one, or more than a number of some".into());
        }
        check(name)?;
        to.push(name);
    }
    let mut lines = Vec::new();
    for (key, names) in [("all", all), ("none", none)] {
        if !names.is_empty() {
            lines.push(format!("{key} = {}", list(&names)));
        }
    }
    Ok(lines.join("\n"))
}

/// `SUM > n` or `SUM >= n`: the sum, and how many it takes.
fn at_least(text: &str) -> Option<(&str, usize)> {
    let (sum, number) = text.split_once('>')?;
    let (number, more) = match number.strip_prefix('=') {
        Some(number) => (number, 0),
        None => (number, 1),
    };
    let number: usize = number.trim().parse().ok()?;
    Some((sum.trim(), number + more)).filter(|(sum, least)| sum.contains('+') && *least > 0)
}

/// A text without brackets around the whole of it.
fn without_brackets(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    inner.filter(|inner| !inner.contains(['(', ')'])).map_or(text, str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    const FILE: &str = r#"
# a comment
body     DEAR_FRIEND  /^\s*Dear\s+friend\b/i
describe DEAR_FRIEND  Contains "Dear friend"
score    DEAR_FRIEND  2.6 2.7 2.8 2.9
body     __MONEY      m{million (?:us )?dollars}
header   __SUBJ_FREE  Subject =~ /\bfree/i
header   X_MAILER     X-Mailer =~ /it's me\/you/
uri      EXE_LINK     /\.exe$/
rawbody  __SCRIPT     /<script/i
meta     SCAM         (__MONEY && DEAR_FRIEND && !X_MAILER)
meta     SOME         (__MONEY + __SUBJ_FREE + SCAM) > 1
meta     EITHER       EXE_LINK || LATER
meta     LATER        __SCRIPT
body     LOOKS        /free(?!dom)/
body     ASKS         eval:check_something()
full     WHOLE        /raw message/
meta     LOST         LOOKS && __MONEY
meta     HARD         (A && B) || C
"#;

    #[test]
    fn what_is_taken_is_a_configuration_and_the_rest_is_told() {
        let imported = spamassassin(FILE);
        let refused: Vec<&str> = imported.refused.iter().map(|(_, name, _)| &**name).collect();
        assert_eq!(refused, ["LOOKS", "ASKS", "WHOLE", "LOST", "HARD"]);
        assert_eq!(imported.taken, 10);
        assert_eq!(imported.refused[0].0, 15);
        for words in [
            "[rule.DEAR_FRIEND]\nregex = '(?i)^\\s*Dear\\s+friend\\b'\nin = [\"subject\", \"visible\"]\nscore = 2.6",
            "[rule.X_MAILER]\nregex = \"it's me/you\"\nin = [\"header:x-mailer\"]\nscore = 1.0",
            "all = [\"__MONEY\", \"DEAR_FRIEND\"]\nnone = [\"X_MAILER\"]",
            "any = [\"__MONEY\", \"__SUBJ_FREE\", \"SCAM\"]\ncount = 2",
            "# Contains \"Dear friend\"",
        ] {
            assert!(imported.rules.contains(words), "{words} is not in\n{}", imported.rules);
        }
        let head = "[listen.mx]\naddress = \"127.0.0.1:1\"\nprotocol = \"smtp\"\n[route.m]\n\
                    to = \"maildir:m\"\n[domain.\"x.example\"]\nroute = \"m\"\nrecipients = \"any\"\n";
        let text = format!("{head}{}", imported.rules);
        let config = Config::parse(&text, "imported", Path::new("."));
        assert!(config.is_ok(), "{:?}\n{text}", config.err().map(|faults| faults.in_one_line()));
    }
}
