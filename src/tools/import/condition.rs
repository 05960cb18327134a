//! `meta` rules: what they wait for.

use crate::scan::Condition;

/// Reads `A && !B && (C || D) && !(E || F)`, where each part may be missing, and sums such as
/// `(A + B + C) > 1` instead of the alternatives.
///
/// # Errors
/// Why it cannot be taken, in words.
pub(super) fn condition(text: &str) -> Result<Condition, String> {
    let mut read = Condition::default();
    let parts = parts(without_brackets(text));
    for part in &parts {
        let (not, part) = match part.trim().strip_prefix('!') {
            Some(part) => (true, part.trim()),
            None => (false, part.trim()),
        };
        let inner = without_brackets(part);
        let (some, count) = match at_least(inner) {
            Some((sum, count)) => (names(without_brackets(sum).split('+'))?, count),
            None => (names(inner.split("||"))?, 1),
        };
        // Without brackets, alternatives would reach over what stands beside them.
        let reaches_over = inner == part && (not || parts.len() > 1);
        match (not, &some[..]) {
            (_, [_, _, ..]) if reaches_over => return Err(MORE.into()),
            (false, [_]) => read.all.extend(some),
            (true, _) if count == 1 => read.none.extend(some),
            (false, _) if read.any.is_empty() => (read.any, read.count) = (some, count),
            _ => return Err(MORE.into()),
        }
    }
    Ok(read)
}

const MORE: &str =
    "its condition is more than all of some, one or a number of others, and none of a third kind";

/// What stands between `&&` that are in no brackets.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0usize);
    for (place, octet) in text.bytes().enumerate() {
        match octet {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'&' if depth == 0 && place >= from && text[place..].starts_with("&&") => {
                parts.push(&text[from..place]);
                from = place + 2;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn names<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let name = |text: &str| match text.trim() {
        name if is_name(name) => Ok(name.to_owned()),
        _ => Err(MORE.to_owned()),
    };
    texts.map(name).collect()
}

/// Whether a rule can be called so.
pub(super) fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    begins && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
}

/// `SUM > n` or `SUM >= n`: the sum, and how many it takes.
fn at_least(text: &str) -> Option<(&str, usize)> {
    let (sum, number) = text.split_once('>')?;
    let (number, more) = match number.strip_prefix('=') {
        Some(number) => (number, 0),
        None => (number, 1),
    };
    let number: usize = number.trim().parse().ok()?;
    Some((sum.trim(), number.checked_add(more)?))
        .filter(|(sum, least)| sum.contains('+') && *least > 0)
}

/// A text without brackets around the whole of it.
fn without_brackets(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        let mut depth = 0i64;
        let stays_inside = inner.bytes().all(|octet| {
            depth += i64::from(octet == b'(') - i64::from(octet == b')');
            depth >= 0
        });
        if !stays_inside {
            break;
        }
        text = inner.trim();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_all_one_or_a_number() {
        let read = |text| {
            let Condition { all, any, count, none } = condition(text).unwrap();
            format!("{} | {} {count} | {}", all.join(" "), any.join(" "), none.join(" "))
        };
        for (text, expected) in [
            ("A", "A |  0 | "),
            ("((A))", "A |  0 | "),
            ("(A && !B && ! C)", "A |  0 | B C"),
            ("A || __B", " | A __B 1 | "),
            ("(A + B + C) > 1", " | A B C 2 | "),
            ("(A + B >= 2)", " | A B 2 | "),
            ("(A && (B || C) && !(D || E) && !F)", "A | B C 1 | D E F"),
            ("(A || B) && (C)", "C | A B 1 | "),
            ("!(A || B)", " |  0 | A B"),
            ("A && (B + C + D > 2)", "A | B C D 3 | "),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in [
            "",
            "0",
            "A && ",
            "!A || B",
            "A && B || C",
            "A && !B || C",
            "(A || B) && (C || D)",
            "(A && B) || C",
            "A && (B && C)",
            "!(A + B > 1)",
            "2*A + B > 1",
            "A > 1",
            "A & B",
            "A &&& B",
            "(A",
            ")A(",
            "(A || B) && C)",
        ] {
            assert!(condition(text).is_err(), "{text}");
        }
        assert!(condition("A + B > 18446744073709551615").is_err());
    }
}
