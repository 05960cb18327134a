//! Tests of the whole scanner: tables of (input, expected), each entry also run cut at every octet.

mod any;
mod rules;
mod structure;
mod surfaces;

use super::*;
use std::fmt::Write;

/// Writes the part tree down: number, type, encoding and decoded octets, indented by depth.
#[derive(Debug, Default)]
struct Outline {
    lines: Vec<(usize, String)>,
    leaves: Vec<(u32, Vec<u8>)>,
    open: Vec<u32>,
    fields: Vec<String>,
}

impl Watch for Outline {
    fn part_begins(&mut self, part: &PartBegins<'_>) {
        assert_eq!(part.depth, self.open.len());
        self.open.push(part.part);
        let media_type = String::from_utf8_lossy(part.media_type.octets());
        let line = match part.kind {
            PartKind::Leaf => format!("{} {media_type} {}", part.part, part.encoding.name()),
            PartKind::Multipart => format!("{} {media_type} multipart", part.part),
            PartKind::Message => format!("{} {media_type} message", part.part),
        };
        self.lines.push((part.depth, line));
        if part.kind == PartKind::Leaf {
            self.leaves.push((part.part, Vec::new()));
        }
    }

    fn decoded(&mut self, part: u32, octets: &[u8]) {
        let (last, leaf) = self.leaves.last_mut().unwrap();
        assert_eq!(*last, part);
        leaf.extend_from_slice(octets);
    }

    fn part_ends(&mut self, part: u32) {
        assert_eq!(self.open.pop(), Some(part));
    }

    fn header_field(&mut self, part: u32, name: &[u8], _: Option<&[u8]>) {
        self.fields.push(format!("{part} {}", String::from_utf8_lossy(name)));
    }
}

impl Outline {
    fn text(&self) -> String {
        let mut text = String::new();
        for (depth, line) in &self.lines {
            write!(text, "{:width$}{line}", "", width = 2 * depth).unwrap();
            let number: u32 = line.split(' ').next().unwrap().parse().unwrap();
            if let Some((_, leaf)) = self.leaves.iter().find(|(part, _)| *part == number) {
                write!(text, " \"{}\"", leaf.escape_ascii()).unwrap();
            }
            text.push('\n');
        }
        text
    }
}

/// What a scan gives: findings, the outline, and the fields seen.
type Seen = (Findings, String, Vec<String>);

fn scan<'a>(rules: &Arc<Rules>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut scanner = Scanner::watched(rules.clone(), Outline::default());
    pieces.into_iter().for_each(|piece| scanner.feed(piece));
    let findings = scanner.finish();
    let outline = scanner.into_watch();
    assert!(outline.open.is_empty(), "every part that began has ended");
    (findings, outline.text(), outline.fields)
}

/// The scan of a message, which is the same whole, cut at every octet, and in single octets.
fn scan_in_every_cut(rules: &Arc<Rules>, message: &[u8]) -> Seen {
    let whole = scan(rules, [message]);
    assert_eq!(whole, scan(rules, message.chunks(1)), "in single octets");
    for cut in 1..message.len() {
        let (head, tail) = message.split_at(cut);
        assert_eq!(whole, scan(rules, [head, tail]), "cut at {cut}");
    }
    whole
}

fn rule(tag: &str, literal: &str, surfaces: &[Surface]) -> RuleSpec {
    RuleSpec {
        name: format!("{tag}: {literal}"),
        literals: vec![literal.as_bytes().to_vec()],
        surfaces: surfaces.to_vec(),
        tag: tag.into(),
        score: Score(1000),
        ..RuleSpec::default()
    }
}

fn compile(specs: &[RuleSpec]) -> Arc<Rules> {
    Arc::new(Rules::compile(Tags::new(), specs).unwrap())
}

/// `viagra` on each surface, with the surface's name as the tag.
fn surface_rules() -> Arc<Rules> {
    let all = [Surface::Raw, Surface::Header, Surface::Subject, Surface::Text, Surface::Part];
    compile(&all.map(|surface| rule(surface.name(), "viagra", &[surface])))
}

fn tags_of(rules: &Rules, findings: &Findings) -> String {
    // Most messages here are too short to have a sender.
    let tags = findings.tags().iter().filter(|tag| *tag != Tags::FROM_AMBIGUOUS);
    let names: Vec<&str> = tags.map(|tag| rules.tags().name(tag)).collect();
    names.join(" ")
}

/// (name, message, outline, tags): the message once with CRLF and once with bare LF line ends.
fn structures_hold(table: &[(&str, &str, &str, &str)]) {
    let rules = surface_rules();
    for (name, message, outline, tags) in table {
        for message in [message.to_string(), message.replace('\n', "\r\n")] {
            let (findings, seen, _) = scan_in_every_cut(&rules, message.as_bytes());
            let outline: String = outline.lines().map(|l| format!("{}\n", &l[8..])).collect();
            assert_eq!(seen.replace("\\r\\n", "\\n"), outline, "{name}");
            assert_eq!(tags_of(&rules, &findings), *tags, "{name}");
        }
    }
}
#[test]
fn a_scanner_is_used_again_without_a_trace() {
    let rules = surface_rules();
    let first =
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64";
    let second = b"Subject: viagra\n\n--b\n";
    let mut scanner = Scanner::new(rules.clone());
    scanner.feed(first);
    scanner.reset(rules.clone());
    scanner.feed(second);
    let reused = scanner.finish();
    assert_eq!(reused, scan(&rules, [&second[..]]).0);
    scanner.reset(rules.clone());
    assert_eq!(scanner.finish(), scan(&rules, []).0);
}
