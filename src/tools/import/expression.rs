//! Rules with an expression: where they look, and what Perl means by it in our words.

use super::file::Rule;
use crate::scan::{RuleSpec, Surface};

/// The rule of a configuration that looks for the same.
///
/// # Errors
/// Why it cannot be taken, in words.
pub(super) fn expression(rule: &Rule) -> Result<RuleSpec, String> {
    let definition = rule.definition.trim();
    let (surfaces, fields, regex) = match &*rule.kind {
        "body" => (vec![Surface::Subject, Surface::Visible], Vec::new(), pattern_of(definition)?),
        "rawbody" => (vec![Surface::Text], Vec::new(), pattern_of(definition)?),
        "uri" => (vec![Surface::Url], Vec::new(), pattern_of(definition)?),
        "header" => header(definition)?,
        _ => return Err("expressions do not see raw messages".into()),
    };
    Ok(RuleSpec { regexes: vec![regex], surfaces, fields, ..RuleSpec::default() })
}

type Looks = (Vec<Surface>, Vec<Vec<u8>>, String);

/// `FIELD =~ /.../`, perhaps with what stands for a field that is not there, or `exists:FIELD`.
fn header(definition: &str) -> Result<Looks, String> {
    if let Some(field) = definition.strip_prefix("exists:") {
        // One that is empty is not seen.
        return Ok((vec![Surface::Field], named(field)?, "(?s:.)".into()));
    }
    let only = "only `FIELD =~ /.../` and exists: can be taken, no eval: and `!~`";
    let (field, expression) = definition.split_once("=~").ok_or(only)?;
    let field = field.trim();
    if field.contains(char::is_whitespace) {
        return Err(only.into());
    }
    let expression = match expression.split_once("[if-unset:") {
        Some((expression, _)) => expression,
        None => expression,
    };
    let regex = pattern_of(expression.trim())?;
    let (field, part) = field.split_once(':').unwrap_or((field, ""));
    if part.split(':').any(|part| part == "addr" || part == "name") && is_anchored(&regex) {
        return Err("it looks for the ends of one address, and all of the field is seen".into());
    }
    let surface = match &*field.to_ascii_lowercase() {
        "subject" => Surface::Subject,
        "from" => Surface::From,
        "to" | "cc" | "tocc" => Surface::To,
        "reply-to" => Surface::ReplyTo,
        "all" => Surface::Header,
        _ => return Ok((vec![Surface::Field], named(field)?, regex)),
    };
    Ok((vec![surface], Vec::new(), regex))
}

/// The fields that a name stands for.
fn named(field: &str) -> Result<Vec<Vec<u8>>, String> {
    let field = field.trim().to_ascii_lowercase();
    if field.is_empty()
        || !field.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    {
        return Err("it names no field".into());
    }
    // What SpamAssassin itself makes of the message and its way.
    if field.starts_with("x-spam-relays-") || field.starts_with("all-") || field == "envelopefrom" {
        return Err(format!("{field} is no field of a message"));
    }
    Ok(match &*field {
        "messageid" => {
            ["message-id", "resent-message-id", "x-message-id"].map(|name| name.into()).to_vec()
        }
        _ => vec![field.into_bytes()],
    })
}

/// Whether an expression looks for the start or the end of a text.
fn is_anchored(regex: &str) -> bool {
    let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(regex);
    parsed.is_ok_and(|parsed| parsed.properties().look_set().contains_anchor())
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
    let no_end = "its expression has no end";
    let end = bare.rfind(close).filter(|end| *end > 0).ok_or(no_end)?;
    let (pattern, flags) = (&bare[open.len_utf8()..end], &bare[end + close.len_utf8()..]);
    if !flags.bytes().all(|flag| flag.is_ascii_lowercase()) {
        return Err(no_end.into());
    }
    if pattern.contains(char::REPLACEMENT_CHARACTER) {
        return Err("it has octets that are no UTF-8: write them as \\xNN".into());
    }
    // The others say how Perl goes about it.
    let flags: String = "imsx".chars().filter(|flag| flags.contains(*flag)).collect();
    let pattern = from_perl(pattern, flags.contains('x'));
    Ok(if flags.is_empty() { pattern } else { format!("(?{flags}){pattern}") })
}

/// What Perl reads there, in the words of our expressions. Behind a backslash some letters mean
/// something to Perl alone, and `<` and `>` to us alone; and a brace that begins no number stands
/// for itself.
fn from_perl(pattern: &str, passes_over_blanks: bool) -> String {
    let mut ours = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(sign) = rest.chars().next() {
        rest = match sign {
            '\\' => escape_from_perl(rest, false, &mut ours),
            '[' => class_from_perl(rest, passes_over_blanks, &mut ours),
            _ => {
                if sign == '{' && !begins_number_in_braces(rest) {
                    ours.push('\\');
                }
                ours.push(sign);
                &rest[sign.len_utf8()..]
            }
        };
    }
    ours
}

/// Reads a backslash and what it is for. Returns what is left.
fn escape_from_perl<'a>(text: &'a str, in_class: bool, ours: &mut String) -> &'a str {
    let escaped = text[1..].chars().next();
    let (escape, rest) = text.split_at(1 + escaped.map_or(0, char::len_utf8));
    ours.push_str(match (escaped, in_class) {
        (Some('<' | '>' | '/'), _) => &escape[1..],
        (Some('e'), _) => "\\x1b",
        (Some('h'), true) => "\\x20\\t",
        (Some('h'), false) => "[\\x20\\t]",
        (Some('Z'), false) => "\\n?\\z",
        _ => escape,
    });
    rest
}

/// Reads a class of octets. In it, Perl knows no other classes but those with names, no operators,
/// and no blank that is passed over. Returns what is left.
fn class_from_perl<'a>(text: &'a str, passes_over_blanks: bool, ours: &mut String) -> &'a str {
    let (start, mut rest) = text.split_at(if text.starts_with("[^") { 2 } else { 1 });
    ours.push_str(start);
    let mut before = None;
    while let Some(sign) = rest.chars().next() {
        if sign == '\\' {
            rest = escape_from_perl(rest, true, ours);
            before = Some(sign);
            continue;
        }
        let named = rest.strip_prefix("[:").and_then(|name| name.find(":]"));
        let taken = named.map_or(sign.len_utf8(), |octets| octets + 4);
        match sign {
            ']' if before.is_some() => {
                ours.push(']');
                return &rest[1..];
            }
            '[' if named.is_some() => ours.push_str(&rest[..taken]),
            ' ' if passes_over_blanks => ours.push_str("\\x20"),
            '\t' if passes_over_blanks => ours.push_str("\\t"),
            _ => {
                let is_operator = "&-~".contains(sign) && before == Some(sign);
                if is_operator || "[]".contains(sign) || passes_over_blanks && sign == '#' {
                    ours.push('\\');
                }
                ours.push(sign);
            }
        }
        before = Some(sign);
        rest = &rest[taken..];
    }
    rest
}

/// Whether a text begins with `{n}`, `{n,}` or `{n,m}`.
fn begins_number_in_braces(text: &str) -> bool {
    let Some((inner, _)) = text[1..].split_once('}') else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let are_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    !least.is_empty() && are_digits(least) && are_digits(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_perl() {
        for (perl, ours) in [
            (r"/it's me\/you/", "it's me/you"),
            (r"m{a{2}b{2,}c{1,3}}i", "(?i)a{2}b{2,}c{1,3}"),
            (r"m!\<b\>{x{,3}\Z!", r"<b>\{x\{,3}\n?\z"),
            (r"/[[a&&b--c]+/", r"[\[a&\&b-\-c]+"),
            (r"/[]a][^]b][[:alpha:]_]/", r"[\]a][^\]b][[:alpha:]_]"),
            (r"/\h\e[\h\]x]/", r"[\x20\t]\x1b[\x20\t\]x]"),
            (r"/a [b #]/xi", r"(?ix)a [b\x20\#]"),
            (r"/abc/gio", "(?i)abc"),
            (r"/http://x/", "http://x"),
            (r"/a\/", r"a\"),
        ] {
            assert_eq!(pattern_of(perl).as_deref(), Ok(ours), "{perl}");
        }
        for text in
            ["", "/", "m", "/abc", "/abc/ # more", "eval:check()", r"/\", "/caf\u{fffd}/", "m[a"]
        {
            assert!(pattern_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_are_those_of_the_message() {
        let fields = |definition| {
            header(definition).map(|(surfaces, fields, regex)| {
                let fields: Vec<String> =
                    fields.iter().map(|field| String::from_utf8_lossy(field).into()).collect();
                format!("{} {} {regex}", surfaces[0].name(), fields.join(","))
            })
        };
        for (definition, expected) in [
            ("Subject =~ /a/i", "subject  (?i)a"),
            ("From:addr =~ /a/", "from  a"),
            ("Subject:raw=~/^a/", "subject  ^a"),
            ("MESSAGEID =~ /a/", "field message-id,resent-message-id,x-message-id a"),
            ("X-A =~ /a/ [if-unset: is/]", "field x-a a"),
            ("exists:X-A", "field x-a (?s:.)"),
        ] {
            assert_eq!(fields(definition).as_deref(), Ok(expected), "{definition}");
        }
        for definition in [
            "Subject !~ /a/",
            "Subject !~ /=~/",
            "From:addr =~ /a$/",
            "X-Spam-Relays-External =~ /a/",
            "EnvelopeFrom =~ /a/",
            "=~ /a/",
            "exists:",
            "exists:a b",
            "eval:check()",
        ] {
            assert!(header(definition).is_err(), "{definition}");
        }
    }
}
