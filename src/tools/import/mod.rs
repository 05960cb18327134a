//! `postern import spamassassin`: rules of SpamAssassin as rules of a configuration, and what could
//! not be taken over, with the reason.
//!
//! What is taken means about the same: `body` is what a reader sees with the subject, `rawbody` the
//! decoded text, `uri` the links, `header` a field. Conditions (`meta`) are taken if they ask for
//! all of some rules, one or a number of others, and none of a third kind. What asks the network or
//! a plugin is not.
//!
//! A `file` is read first, each of its rules becomes one of ours if it can (`expression`,
//! `condition`), and of those as many are taken as one configuration may have.

mod condition;
mod expression;
mod file;

use crate::limits::{
    FIELD_NAMES_MAX, FULL_TABLE_OCTETS, REGEXES_MAX, REGEXES_UNGATED_MAX, TABLES_OCTETS, TAGS_MAX,
};
use crate::scan::{Condition, RuleError, RuleSpec, Rules, Score, Surface, Tables, Tags};
use file::{File, Rule};
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

/// Reads rules of SpamAssassin.
pub fn spamassassin(text: &str) -> Imported {
    let file = File::read(text);
    let (mut possible, mut reasons) = (BTreeMap::new(), BTreeMap::new());
    for rule in &file.rules {
        match Possible::of(rule, &file) {
            Ok(rule_of_ours) => drop(possible.insert(&*rule.name, rule_of_ours)),
            Err(reason) => drop(reasons.insert(&*rule.name, reason)),
        }
    }
    let mut taken = Taken::default();
    for rule in file.rules.iter().filter(|rule| !rule.is_for_conditions()) {
        if possible.contains_key(&*rule.name)
            && let Err(reason) = taken.take(&rule.name, &possible)
        {
            reasons.insert(&rule.name, reason);
        }
    }
    let mut imported = Imported { taken: taken.names.len(), ..Imported::default() };
    for name in &taken.names {
        imported.write(&possible[name].spec, file.description(name));
    }
    for rule in file.rules.iter().filter(|rule| !taken.names.contains(&&*rule.name)) {
        let unused = || "no rule that was taken waits for it".to_owned();
        let reason = reasons.remove(&*rule.name).unwrap_or_else(unused);
        imported.refused.push((rule.line, rule.name.clone(), reason));
    }
    imported
}

impl Imported {
    fn write(&mut self, spec: &RuleSpec, description: Option<&str>) {
        let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
        let tags = |tags: &[String]| list(tags.iter().map(|tag| format!("\"{tag}\"")).collect());
        let mut lines = vec![format!("[rule.{}]", spec.name)];
        lines.extend(spec.regexes.iter().map(|regex| format!("regex = {}", quoted(regex))));
        if !spec.surfaces.is_empty() {
            lines.push(format!("in = {}", list(places(spec))));
        }
        let Condition { all, any, count, none } = &spec.when;
        for (key, names) in [("all", all), ("any", any), ("none", none)] {
            if !names.is_empty() {
                lines.push(format!("{key} = {}", tags(names)));
            }
        }
        if *count > 1 {
            lines.push(format!("count = {count}"));
        }
        if spec.score != Score::ZERO {
            lines.push(format!("score = {:?}", spec.score.points()));
        }
        // Writing into a String cannot fail.
        if let Some(description) = description {
            let _ = writeln!(self.rules, "# {}", description.trim());
        }
        let _ = writeln!(self.rules, "{}\n", lines.join("\n"));
    }
}

/// Where a rule looks, as the key `in` has it.
fn places(spec: &RuleSpec) -> Vec<String> {
    let named = |surface: &&Surface| **surface != Surface::Field;
    let surfaces = spec.surfaces.iter().filter(named).map(|surface| surface.name().to_owned());
    let fields =
        spec.fields.iter().map(|field| format!("header:{}", String::from_utf8_lossy(field)));
    surfaces.chain(fields).map(|place| format!("\"{place}\"")).collect()
}

/// A text as TOML, if it can be so as it is.
fn quoted(text: &str) -> String {
    match text.contains('\'') || text.contains(char::is_control) {
        false => format!("'{text}'"),
        true => toml::Value::from(text).to_string(),
    }
}

/// A rule of ours that could be taken.
struct Possible {
    spec: RuleSpec,
    /// Expressions that run over every octet of a text.
    ungated: usize,
    /// Memory of its expressions.
    table_octets: usize,
}

impl Possible {
    fn of(rule: &Rule, file: &File) -> Result<Possible, String> {
        if !condition::is_name(&rule.name) {
            return Err("its name is none".into());
        }
        if file.is_replaced(rule) {
            return Err("letters of it stand for others that look like them".into());
        }
        let points = file.score(rule);
        if points == 0.0 && !rule.is_for_conditions() {
            return Err("its score is 0, which switches it off".into());
        }
        let looks = match &*rule.kind {
            "meta" => {
                let when = condition::condition(&rule.definition)?;
                RuleSpec { when, ..RuleSpec::default() }
            }
            _ => expression::expression(rule)?,
        };
        let score = Score::from_points(points).ok_or("its score is out of range")?;
        let spec = RuleSpec { name: rule.name.clone(), tag: rule.name.clone(), score, ..looks };
        let (ungated, table_octets) = cost(&spec)?;
        Ok(Possible { spec, ungated, table_octets })
    }
}

/// Expressions of a rule that run over every octet of a text, and the memory of all.
fn cost(spec: &RuleSpec) -> Result<(usize, usize), String> {
    if spec.regexes.is_empty() {
        return Ok((0, 0));
    }
    let alone = std::slice::from_ref(spec);
    let compiled = Rules::compile(Tags::new(), alone).map_err(|error| match error {
        RuleError::Regex { reason, .. } => reason,
        other => other.to_string(),
    })?;
    let Tables { gated, ungated, .. } = compiled.tables();
    let streams = [Surface::Visible, Surface::Text];
    let in_streams = spec.surfaces.iter().any(|surface| streams.contains(surface));
    Ok((if in_streams { ungated.0 } else { 0 }, gated.1 + ungated.1))
}

/// The rules that are taken, each below those that it waits for.
#[derive(Default)]
struct Taken<'a> {
    names: Vec<&'a str>,
    fields: BTreeSet<&'a [u8]>,
    regexes: usize,
    ungated: usize,
    table_octets: usize,
}

impl<'a> Taken<'a> {
    /// Takes a rule with all that it waits for, or nothing.
    fn take(
        &mut self,
        name: &'a str,
        possible: &'a BTreeMap<&str, Possible>,
    ) -> Result<(), String> {
        let mut names = self.names.clone();
        gather(name, possible, &mut names, 0)?;
        let new = || names[self.names.len()..].iter().map(|name| &possible[name]);
        let mut fields = self.fields.clone();
        fields.extend(new().flat_map(|rule| rule.spec.fields.iter().map(Vec::as_slice)));
        let regexes = self.regexes + new().map(|rule| rule.spec.regexes.len()).sum::<usize>();
        let ungated = self.ungated + new().map(|rule| rule.ungated).sum::<usize>();
        let table_octets = self.table_octets + new().map(|rule| rule.table_octets).sum::<usize>();
        for (there, most, what) in [
            (names.len(), TAGS_MAX - Tags::new().names().count(), "tags of rules"),
            (fields.len(), FIELD_NAMES_MAX, "header fields"),
            (regexes, REGEXES_MAX, "expressions"),
            (ungated, REGEXES_UNGATED_MAX, "expressions without a literal that every match has"),
            (table_octets, TABLES_OCTETS - FULL_TABLE_OCTETS, "octets of expressions"),
        ] {
            if there > most {
                return Err(format!("there is no room for it: {most} {what} may be"));
            }
        }
        *self = Taken { names, fields, regexes, ungated, table_octets };
        Ok(())
    }
}

/// Adds a rule below those that it waits for, if they are not there yet. So many rules wait for it
/// in turn.
fn gather<'a>(
    name: &'a str,
    possible: &'a BTreeMap<&str, Possible>,
    names: &mut Vec<&'a str>,
    depth: usize,
) -> Result<(), String> {
    if names.contains(&name) {
        return Ok(());
    }
    let rule =
        possible.get(name).ok_or_else(|| format!("it waits for {name}, which cannot be taken"))?;
    // What goes deeper waits for itself, or has no room.
    if depth == TAGS_MAX {
        return Err("it waits for itself".into());
    }
    let Condition { all, any, none, .. } = &rule.spec.when;
    for waited_for in [all, any, none].into_iter().flatten() {
        gather(waited_for, possible, names, depth + 1)?;
    }
    names.push(name);
    Ok(())
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
        assert_loads(&imported);
    }

    /// What is taken is a configuration with a few lines before it.
    fn assert_loads(imported: &Imported) {
        let head = "[listen.mx]\naddress = \"127.0.0.1:1\"\nprotocol = \"smtp\"\n[route.m]\n\
                    to = \"maildir:m\"\n[domain.\"x.example\"]\nroute = \"m\"\nrecipients = \"any\"\n";
        let text = format!("{head}{}", imported.rules);
        let config = Config::parse(&text, "imported", Path::new("."));
        assert!(config.is_ok(), "{:?}\n{text}", config.err().map(|faults| faults.in_one_line()));
    }

    #[test]
    fn no_more_is_taken_than_a_configuration_may_have() {
        let most = TAGS_MAX - Tags::new().names().count();
        let mut file = String::new();
        for number in 0..most {
            let _ = writeln!(file, "body WORD_{number} /word number {number}\\b/");
        }
        let imported = spamassassin(&file);
        assert_eq!((imported.taken, imported.refused.len()), (most, 0));
        assert_loads(&imported);

        let with_pair = format!("body __UNUSED /unused/\nbody __A /aaa/\nmeta PAIR __A\n{file}");
        let imported = spamassassin(&with_pair);
        assert_eq!(imported.taken, most);
        let refused: Vec<&str> = imported.refused.iter().map(|(_, name, _)| &**name).collect();
        let last = [most - 2, most - 1].map(|number| format!("WORD_{number}"));
        assert_eq!(refused, ["__UNUSED", &last[0], &last[1]]);
        assert_loads(&imported);
    }

    #[test]
    fn what_waits_for_itself_or_is_switched_off_is_not_taken() {
        let imported = spamassassin(
            "meta A B\nmeta B !C\nmeta C A\nbody OFF /off/\nscore OFF 0 1 0 1\n\
             body FUZZY /f<A>b/\nreplace_rules FUZZY\nbody 0 /zero/\n\
             body FAR /far/\nscore FAR 1e9\n",
        );
        let reasons: Vec<&str> = imported.refused.iter().map(|(_, _, reason)| &**reason).collect();
        assert_eq!(
            reasons,
            [
                "it waits for itself",
                "it waits for itself",
                "it waits for itself",
                "its score is 0, which switches it off",
                "letters of it stand for others that look like them",
                "its name is none",
                "its score is out of range",
            ]
        );
    }
}
