//! A file of rules of SpamAssassin, read line by line.

use std::collections::{BTreeMap, BTreeSet};

/// What stands in a file, as far as it can become rules of a configuration.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The last definition of each name, in the order of the file.
    pub rules: Vec<Rule>,
    scores: BTreeMap<String, f64>,
    descriptions: BTreeMap<String, String>,
    replaced: BTreeSet<String>,
}

/// A rule as its file has it.
#[derive(Debug)]
pub(super) struct Rule {
    pub line: usize,
    pub name: String,
    pub kind: String,
    pub definition: String,
}

impl File {
    pub(super) fn read(text: &str) -> File {
        let mut file = File::default();
        // Whether what stands in the conditional blocks that are open is read.
        let mut open = Vec::new();
        for (text, line) in text.lines().zip(1..) {
            let text = without_comment(text);
            let (kind, rest) = split_at_blank(text.trim());
            match kind {
                "if" | "ifplugin" => open.push(holds(rest)),
                "else" => open.iter_mut().rev().take(1).for_each(|last| *last = !*last),
                "endif" => drop(open.pop()),
                _ if !open.contains(&false) => file.add(line, kind, rest),
                _ => {}
            }
        }
        // The last definition of a name is the one that counts.
        let named = file.rules.iter().map(|rule| (rule.name.clone(), rule.line));
        let last: BTreeMap<String, usize> = named.collect();
        file.rules.retain(|rule| last.get(&rule.name) == Some(&rule.line));
        file
    }

    fn add(&mut self, line: usize, kind: &str, rest: &str) {
        let (name, definition) = split_at_blank(rest);
        let (name, kind) = (name.to_owned(), kind.to_owned());
        match &*kind {
            "body" | "rawbody" | "full" | "uri" | "header" | "meta" => {
                self.rules.push(Rule { line, name, kind, definition: definition.to_owned() });
            }
            "score" => {
                // Of four scores, the first one is that without network and learning.
                let score = definition.split_whitespace().next().and_then(|one| one.parse().ok());
                self.scores.extend(score.map(|score| (name, score)));
            }
            "describe" => {
                self.descriptions.insert(name, definition.to_owned());
            }
            "replace_rules" => self.replaced.extend(rest.split_whitespace().map(str::to_owned)),
            _ => {}
        }
    }

    /// The score of a rule. Where the file has none it is one, and nothing if the rule is there for
    /// conditions.
    pub(super) fn score(&self, rule: &Rule) -> f64 {
        let supposed = if rule.is_for_conditions() { 0.0 } else { 1.0 };
        self.scores.get(&rule.name).copied().unwrap_or(supposed)
    }

    pub(super) fn description(&self, name: &str) -> Option<&str> {
        self.descriptions.get(name).map(String::as_str)
    }

    /// Whether letters of the rule's expression stand for others that look like them.
    pub(super) fn is_replaced(&self, rule: &Rule) -> bool {
        self.replaced.contains(&rule.name)
    }
}

impl Rule {
    /// Rules whose names begin with two underscores are there for conditions alone.
    pub(super) fn is_for_conditions(&self) -> bool {
        self.name.starts_with("__")
    }
}

/// A line up to its comment; a number sign behind a backslash begins none, and loses it.
fn without_comment(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for piece in line.split_inclusive('#') {
        match (piece.strip_suffix("\\#"), piece.strip_suffix('#')) {
            (Some(before), _) => text.extend([before, "#"]),
            (None, Some(before)) => {
                text.push_str(before);
                break;
            }
            (None, None) => text.push_str(piece),
        }
    }
    text
}

fn split_at_blank(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

/// Whether a condition of a block holds for a SpamAssassin that is new and has all plugins: the
/// rules that are worth taking are written for that one.
fn holds(condition: &str) -> bool {
    let asks_for_old = condition.contains("version") && condition.contains('<');
    !condition.starts_with('!') && !asks_for_old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_conditional_blocks_are_left_out() {
        let file = File::read(
            "body A /one/ # not /two/i\n  body B /\\#1 and #2/\n\
             if (version < 4.000000)\nbody A /old/\nifplugin X\nbody OLD /x/\nelse\nbody OLD /y/\nendif\n\
             else\nbody NEW /new/\nendif\n\
             if !can(Y)\nmeta NEW 0\nendif\nscore A 2 3 4 5\ndescribe A Words # and a comment\n\
             replace_rules B\n",
        );
        let rules: Vec<(usize, &str, &str)> = file
            .rules
            .iter()
            .map(|rule| (rule.line, &*rule.name, rule.definition.trim()))
            .collect();
        assert_eq!(rules, [(1, "A", "/one/"), (2, "B", "/#1 and"), (11, "NEW", "/new/")]);
        assert_eq!((file.score(&file.rules[0]), file.score(&file.rules[1])), (2.0, 1.0));
        assert_eq!(file.description("A").map(str::trim), Some("Words"));
        assert!(file.is_replaced(&file.rules[1]) && !file.is_replaced(&file.rules[0]));
    }
}
