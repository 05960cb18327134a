//! What a reader sees of a text: HTML without its tags, entities resolved, blanks and line ends as
//! one blank, and nothing of what has no width.
//!
//! A word that is cut by a tag, a comment, an entity, a line end or a zero-width space is one word
//! to its reader, and so it is to a rule. This is a machine over octets that can stop after each of
//! them and does a bounded work for each. It reads as browsers do, but for what needs a tree.

use super::sixteen::{self, OCTETS, Word, equal, up_to};
use memchr::memchr;
use std::fmt;

/// The state of a text in UTF-8 that is made visible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visible {
    html: bool,
    place: Place,
    /// The last that was shown is a blank, or nothing was.
    after_blank: bool,
    /// The octets of a character that is not complete.
    character: [u8; 3],
    character_octets: u8,
    /// The name of the tag, or the entity, that is open, in lower case for tags.
    name: Name,
}

/// Where a reading of HTML stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    /// Behind `<`.
    Open,
    /// In the name of a tag.
    TagName,
    /// Behind the name, perhaps inside quotes.
    Tag(Option<u8>),
    /// Behind `<!`, with the dashes seen, at most two.
    Markup(u8),
    /// In a comment, behind so many dashes, at most two.
    Comment(u8),
    /// In a declaration or processing instruction.
    Declaration,
    /// In what is no text (`script`, `style`), with so many octets seen of what ends it.
    Hidden(Hidden, u8),
    /// Behind `&`.
    Entity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden {
    Script,
    Style,
}

impl Hidden {
    fn end(self) -> &'static [u8] {
        match self {
            Hidden::Script => b"</script",
            Hidden::Style => b"</style",
        }
    }
}

/// Characters that may be blank or have no width begin with one of these.
const SPECIAL_LEADS: [u8; 6] = [0xc2, 0xcd, 0xe1, 0xe2, 0xe3, 0xef];

/// Whether an octet behind `<` makes it the start of something.
fn opens(octet: u8) -> bool {
    octet.is_ascii_alphabetic() || matches!(octet, b'/' | b'!' | b'?')
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | 0x0c)
}

/// Octets of a name that are kept: no name that matters is longer.
const NAME_OCTETS: usize = 12;

#[derive(Clone, Copy, Default)]
struct Name {
    octets: [u8; NAME_OCTETS],
    length: u8,
}

impl Name {
    fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }

    /// False if there is no room.
    fn push(&mut self, octet: u8) -> bool {
        let Some(place) = self.octets.get_mut(usize::from(self.length)) else { return false };
        *place = octet;
        self.length += 1;
        true
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.octets().escape_ascii())
    }
}

impl Visible {
    /// At the start of a text.
    pub(super) fn new(html: bool) -> Visible {
        Visible {
            html,
            place: Place::Text,
            after_blank: true,
            character: [0; 3],
            character_octets: 0,
            name: Name::default(),
        }
    }

    /// Reads the next octets of the text, and adds what is visible to `out`: no more than a few
    /// octets more than were read.
    pub(super) fn read(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut rest = octets;
        while let Some((octet, after)) = rest.split_first() {
            rest = match self.place {
                Place::Text => self.text(rest, out),
                Place::TagName => self.tag_name(rest, out),
                Place::Tag(quote) => self.tag(rest, quote, out),
                Place::Entity => self.entity_name(rest, out),
                _ => match self.passed_over(rest) {
                    0 if self.markup(*octet, out) => after,
                    0 => rest,
                    passed => &rest[passed..],
                },
            };
        }
    }

    /// The name of a tag, of which not all is kept if it is long. Returns what is left.
    fn tag_name<'a>(&mut self, octets: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        for (place, octet) in octets.iter().enumerate() {
            self.place = match octet {
                b'>' => self.tag_ends(out),
                b' ' | b'\t' | b'\r' | b'\n' | 0x0c | b'/' => Place::Tag(None),
                _ => {
                    self.name.push(octet.to_ascii_lowercase());
                    continue;
                }
            };
            return &octets[place + 1..];
        }
        &[]
    }

    /// What is in a tag behind its name, perhaps in quotes. Returns what is left.
    fn tag<'a>(&mut self, octets: &'a [u8], mut quote: Option<u8>, out: &mut Vec<u8>) -> &'a [u8] {
        for (number, piece) in octets.chunks(OCTETS).enumerate() {
            let word = Word::new(sixteen::padded(piece));
            let ends = equal(word, b'>') | equal(word, b'"') | equal(word, b'\'');
            for place in sixteen::places(sixteen::bits(ends)) {
                let Some(octet) = piece.get(place) else { break };
                quote = match quote {
                    None if *octet == b'>' => {
                        self.place = self.tag_ends(out);
                        return &octets[number * OCTETS + place + 1..];
                    }
                    None => Some(*octet),
                    Some(quote) => Some(quote).filter(|quote| quote != octet),
                };
            }
        }
        self.place = Place::Tag(quote);
        &[]
    }

    /// The name or number of an entity. Returns what is left.
    fn entity_name<'a>(&mut self, octets: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        for (place, octet) in octets.iter().enumerate() {
            if !entity_goes_on(&mut self.name, *octet) {
                self.entity(Some(*octet), out);
                return &octets[place + usize::from(*octet == b';')..];
            }
        }
        &[]
    }

    /// How many octets at the start say nothing in the markup that is open.
    fn passed_over(&self, octets: &[u8]) -> usize {
        let next = match self.place {
            Place::Comment(0) => memchr(b'-', octets),
            Place::Hidden(_, 0) => memchr(b'<', octets),
            Place::Declaration => memchr(b'>', octets),
            _ => Some(0),
        };
        next.unwrap_or(octets.len())
    }

    /// The text has ended: what looked like the start of something stands for itself.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match self.place {
            Place::Entity => self.entity(None, out),
            Place::Open => self.show(b'<', out),
            _ => {}
        }
        let character = self.character;
        out.extend_from_slice(&character[..usize::from(self.character_octets)]);
        self.character_octets = 0;
    }

    /// Text up to what may be markup. Returns what is left.
    fn text<'a>(&mut self, octets: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let mut rest = octets;
        loop {
            if self.character_octets == 0 {
                rest = self.run(rest, out);
            }
            // In floods of what is no run, none is looked for before each octet.
            loop {
                let Some((octet, after)) = rest.split_first() else { return rest };
                match *octet {
                    b'<' if self.html => {
                        // As a rule the next octet is there and says what comes.
                        self.place = Place::Open;
                        if after.first().is_none_or(|next| opens(*next)) {
                            return after;
                        }
                        self.place = Place::Text;
                        self.show(b'<', out);
                    }
                    b'&' if self.html => {
                        (self.place, self.name) = (Place::Entity, Name::default());
                        return after;
                    }
                    octet if self.after_blank && self.character_octets == 0 && is_blank(octet) => {}
                    octet if is_blank(octet) || self.character_octets > 0 || !octet.is_ascii() => {
                        self.show(octet, out);
                    }
                    _ => break,
                }
                rest = after;
            }
        }
    }

    /// Shows the octets at the start that stay as they are: words with one space between them.
    /// Returns what is left.
    #[inline]
    fn run<'a>(&mut self, octets: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let mut rest = octets;
        loop {
            let word = sixteen::padded(rest);
            let length = sixteen::before(self.stops(Word::new(word))).min(rest.len());
            // All of them are put there, since that is one step, and those too many taken away.
            out.extend_from_slice(&word);
            out.truncate(out.len() - (OCTETS - length));
            if let Some(last) = length.checked_sub(1) {
                self.after_blank = word[last] == b' ';
            }
            rest = &rest[length..];
            if length < OCTETS {
                return rest;
            }
        }
    }

    /// A bit for each octet of a word that is not shown as it is, or not for sure.
    #[inline(always)]
    fn stops(&self, word: Word) -> u32 {
        let spaces = sixteen::bits(equal(word, b' '));
        let mut stops = spaces & (spaces << 1 | u32::from(self.after_blank));
        if self.html {
            stops |= sixteen::bits(equal(word, b'<') | equal(word, b'&'));
        }
        if sixteen::bits(up_to(word, 0x1f) | word) != 0 {
            let blanks = equal(word, b'\r') | equal(word, b'\n') | equal(word, b'\t');
            let leads = SPECIAL_LEADS.map(|lead| equal(word, lead));
            let special = leads.into_iter().fold(equal(word, 0x0c), |all, one| all | one);
            stops |= sixteen::bits(blanks | special);
        }
        stops
    }

    /// An octet in what may be markup. False if it is text, and to be read as such.
    fn markup(&mut self, octet: u8, out: &mut Vec<u8>) -> bool {
        self.place = match (self.place, octet) {
            (Place::Open, b'a'..=b'z' | b'A'..=b'Z' | b'/') => {
                self.name = Name::default();
                self.name.push(octet.to_ascii_lowercase());
                Place::TagName
            }
            (Place::Open, b'!') => Place::Markup(0),
            (Place::Open, b'?') => Place::Declaration,
            (Place::Open, _) => {
                self.show(b'<', out);
                self.place = Place::Text;
                return false;
            }
            // These are read a run at a time.
            (Place::Text | Place::TagName | Place::Tag(_) | Place::Entity, _) => self.place,
            (Place::Markup(1), b'-') => Place::Comment(2),
            (Place::Markup(0), b'-') => Place::Markup(1),
            (Place::Markup(_) | Place::Declaration, b'>') => Place::Text,
            (Place::Markup(_) | Place::Declaration, _) => Place::Declaration,
            (Place::Comment(2), b'>') => Place::Text,
            (Place::Comment(dashes), b'-') => Place::Comment(2.min(dashes + 1)),
            // `--!>` ends a comment too.
            (Place::Comment(2), b'!') => Place::Comment(2),
            (Place::Comment(_), _) => Place::Comment(0),
            (Place::Hidden(what, seen), _) => hidden(what, seen, octet, &mut self.name),
        };
        true
    }

    /// A tag is complete.
    fn tag_ends(&mut self, out: &mut Vec<u8>) -> Place {
        let name = self.name;
        match name.octets() {
            b"script" => return Place::Hidden(Hidden::Script, 0),
            b"style" => return Place::Hidden(Hidden::Style, 0),
            _ => {}
        }
        let element = name.octets().strip_prefix(b"/").unwrap_or(name.octets());
        if parts_words(element) {
            self.show(b' ', out);
        }
        Place::Text
    }

    /// An entity is complete, or cut off by the octet `end` or by the end of the text.
    fn entity(&mut self, end: Option<u8>, out: &mut Vec<u8>) {
        let name = self.name;
        self.place = Place::Text;
        if let Some(character) = resolve(name.octets()) {
            let mut utf8 = [0; 4];
            let octets = character.encode_utf8(&mut utf8).as_bytes();
            octets.iter().for_each(|octet| self.show(*octet, out));
            return;
        }
        self.show(b'&', out);
        out.extend_from_slice(name.octets());
        if end == Some(b';') {
            self.show(b';', out);
        }
    }

    /// An octet of the text as it is shown.
    #[inline]
    fn show(&mut self, octet: u8, out: &mut Vec<u8>) {
        if self.character_octets == 0 && matches!(octet, b'!'..=b'~') {
            self.after_blank = false;
            out.push(octet);
        } else {
            self.show_special(octet, out);
        }
    }

    fn show_special(&mut self, octet: u8, out: &mut Vec<u8>) {
        let held = usize::from(self.character_octets);
        if held > 0 && !matches!(octet, 0x80..=0xbf) {
            // The character was never completed.
            out.extend_from_slice(&self.character[..held]);
            self.character_octets = 0;
            return self.show(octet, out);
        }
        match octet {
            _ if held > 0 => self.character_goes_on(octet, out),
            octet if is_blank(octet) => self.blank(out),
            octet if SPECIAL_LEADS.contains(&octet) => {
                self.character[0] = octet;
                self.character_octets = 1;
            }
            _ => {
                self.after_blank = false;
                out.push(octet);
            }
        }
    }

    fn character_goes_on(&mut self, octet: u8, out: &mut Vec<u8>) {
        let held = usize::from(self.character_octets);
        self.character[held] = octet;
        self.character_octets += 1;
        let whole = if self.character[0] < 0xe0 { 2 } else { 3 };
        if held + 1 < whole {
            return;
        }
        self.character_octets = 0;
        let octets = self.character;
        match octets[..whole] {
            // No-break space, the spaces of U+2000 to U+200A, narrow and ideographic space.
            [0xc2, 0xa0] | [0xe2, 0x80, 0x80..=0x8a | 0xaf] | [0xe3, 0x80, 0x80] => self.blank(out),
            // Soft hyphen, joiners, marks and embeddings of direction, word joiners, byte order
            // mark, vowel separator.
            [0xc2, 0xad]
            | [0xcd, 0x8f]
            | [0xe2, 0x80, 0x8b..=0x8f | 0xaa..=0xae]
            | [0xe2, 0x81, 0xa0..=0xaf]
            | [0xe1, 0xa0, 0x8e]
            | [0xef, 0xbb, 0xbf] => {}
            _ => {
                self.after_blank = false;
                out.extend_from_slice(&octets[..whole]);
            }
        }
    }

    fn blank(&mut self, out: &mut Vec<u8>) {
        if !self.after_blank {
            self.after_blank = true;
            out.push(b' ');
        }
    }
}

/// Goes on in what is no text, to its end tag.
fn hidden(what: Hidden, seen: u8, octet: u8, name: &mut Name) -> Place {
    let end = what.end();
    if end.get(usize::from(seen)) != Some(&octet.to_ascii_lowercase()) {
        return Place::Hidden(what, u8::from(octet == b'<'));
    }
    if usize::from(seen) + 1 < end.len() {
        return Place::Hidden(what, seen + 1);
    }
    *name = Name::default();
    end[1..].iter().for_each(|octet| {
        name.push(*octet);
    });
    Place::TagName
}

/// Takes an octet into the name or number of an entity. False if it does not belong there.
fn entity_goes_on(name: &mut Name, octet: u8) -> bool {
    let belongs = match name.octets() {
        [] => octet == b'#' || octet.is_ascii_alphabetic(),
        [b'#'] => matches!(octet, b'x' | b'X' | b'0'..=b'9'),
        [b'#', b'x' | b'X', ..] => octet.is_ascii_hexdigit(),
        [b'#', ..] => octet.is_ascii_digit(),
        _ => octet.is_ascii_alphanumeric(),
    };
    // Zeros in front of a number may be many.
    let is_leading_zero = octet == b'0' && matches!(name.octets(), [b'#'] | [b'#', b'x' | b'X']);
    belongs && (is_leading_zero || name.push(octet))
}

/// Whether an element parts words.
#[rustfmt::skip]
fn parts_words(element: &[u8]) -> bool {
    matches!(
        element,
        b"br" | b"p" | b"div" | b"td" | b"th" | b"tr" | b"li" | b"dd" | b"dt" | b"ul" | b"ol"
            | b"dl" | b"table" | b"hr" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"pre"
            | b"blockquote" | b"center" | b"title" | b"body" | b"head" | b"form" | b"option"
            | b"img"
    )
}

/// The character of an entity, from its name behind the ampersand.
fn resolve(name: &[u8]) -> Option<char> {
    if let Some(number) = name.strip_prefix(b"#") {
        let (digits, radix) = match number.split_first() {
            Some((b'x' | b'X', digits)) => (digits, 16),
            _ => (number, 10),
        };
        let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
        return char::from_u32(code).filter(|character| *character != '\0');
    }
    let first = usize::from(*name.first()?);
    let [from, to] = [ENTITIES_BEFORE[first], ENTITIES_BEFORE[first + 1]].map(usize::from);
    let named = ENTITIES[from..to].iter().find(|(known, _)| known.as_bytes() == name);
    named.map(|(_, character)| *character)
}

/// How many names of entities begin with a lesser octet: few have the same first one.
static ENTITIES_BEFORE: [u8; 257] = {
    let mut before = [0; 257];
    let mut place = 0;
    while place < ENTITIES.len() {
        let mut octet = ENTITIES[place].0.as_bytes()[0] as usize + 1;
        while octet < before.len() {
            before[octet] += 1;
            octet += 1;
        }
        place += 1;
    }
    before
};

/// The names of ASCII characters, of blanks, of what has no width, and of Latin letters: those with
/// which a word can be hidden. In the order of their octets.
#[rustfmt::skip]
const ENTITIES: &[(&str, char)] = &[
    ("AElig", 'Æ'), ("AMP", '&'), ("Aacute", 'Á'), ("Acirc", 'Â'), ("Agrave", 'À'), ("Aring", 'Å'),
    ("Atilde", 'Ã'), ("Auml", 'Ä'), ("Ccedil", 'Ç'), ("Eacute", 'É'), ("Ecirc", 'Ê'),
    ("Egrave", 'È'), ("Euml", 'Ë'), ("GT", '>'), ("Iacute", 'Í'), ("Icirc", 'Î'), ("Igrave", 'Ì'),
    ("Iuml", 'Ï'), ("LT", '<'), ("NewLine", '\n'), ("Ntilde", 'Ñ'), ("Oacute", 'Ó'),
    ("Ocirc", 'Ô'), ("Ograve", 'Ò'), ("Oslash", 'Ø'), ("Otilde", 'Õ'), ("Ouml", 'Ö'),
    ("QUOT", '"'), ("Tab", '\t'), ("Uacute", 'Ú'), ("Ucirc", 'Û'), ("Ugrave", 'Ù'), ("Uuml", 'Ü'),
    ("Yacute", 'Ý'), ("aacute", 'á'), ("acirc", 'â'), ("aelig", 'æ'), ("agrave", 'à'),
    ("amp", '&'), ("apos", '\''), ("aring", 'å'), ("ast", '*'), ("atilde", 'ã'), ("auml", 'ä'),
    ("bsol", '\\'), ("ccedil", 'ç'), ("cent", '¢'), ("colon", ':'), ("comma", ','),
    ("commat", '@'), ("copy", '©'), ("deg", '°'), ("dollar", '$'), ("eacute", 'é'),
    ("ecirc", 'ê'), ("egrave", 'è'), ("emsp", '\u{2003}'), ("ensp", '\u{2002}'), ("equals", '='),
    ("euml", 'ë'), ("euro", '€'), ("excl", '!'), ("grave", '`'), ("gt", '>'),
    ("hyphen", '\u{2010}'), ("iacute", 'í'), ("icirc", 'î'), ("igrave", 'ì'), ("iuml", 'ï'),
    ("lbrace", '{'), ("lbrack", '['), ("lcub", '{'), ("ldquo", '“'), ("lowbar", '_'),
    ("lpar", '('), ("lsqb", '['), ("lsquo", '‘'), ("lt", '<'), ("mdash", '—'), ("nbsp", '\u{a0}'),
    ("ndash", '–'), ("ntilde", 'ñ'), ("num", '#'), ("oacute", 'ó'), ("ocirc", 'ô'),
    ("ograve", 'ò'), ("oslash", 'ø'), ("otilde", 'õ'), ("ouml", 'ö'), ("percnt", '%'),
    ("period", '.'), ("plus", '+'), ("pound", '£'), ("quest", '?'), ("quot", '"'), ("rbrace", '}'),
    ("rbrack", ']'), ("rcub", '}'), ("rdquo", '”'), ("reg", '®'), ("rpar", ')'), ("rsqb", ']'),
    ("rsquo", '’'), ("semi", ';'), ("shy", '\u{ad}'), ("sol", '/'), ("szlig", 'ß'),
    ("thinsp", '\u{2009}'), ("thorn", 'þ'), ("trade", '™'), ("uacute", 'ú'), ("ucirc", 'û'),
    ("ugrave", 'ù'), ("uuml", 'ü'), ("verbar", '|'), ("vert", '|'), ("yacute", 'ý'), ("yen", '¥'),
    ("yuml", 'ÿ'), ("zwj", '\u{200d}'), ("zwnj", '\u{200c}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(html: bool, text: &str, cut: usize) -> String {
        let (mut visible, mut out) = (Visible::new(html), Vec::new());
        visible.read(&text.as_bytes()[..cut], &mut out);
        visible.read(&text.as_bytes()[cut..], &mut out);
        visible.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    // WHATWG HTML 13.2.5, as far as a text goes.
    #[test]
    fn html_is_shown_as_a_reader_sees_it() {
        let table = [
            ("via<b></b>gra", "viagra"),
            ("via<b\nx='>'>gra</b >", "viagra"),
            ("via<!-- x -- > y -->gra", "viagra"),
            ("via<!-->gra", "viagra"),
            ("via<!---->gra", "viagra"),
            ("via<!-- --!>gra", "viagra"),
            ("via<!x>gra<?x?>!", "viagra!"),
            ("a<br>b<P>c</td>d", "a b c d"),
            ("a<style>b</st</style >c<script>\"</b>\"</SCRIPT>d", "acd"),
            ("&#118;&#x69;&#X61gra", "viagra"),
            ("&#118;&#105&#97;gra&period;com", "viagra.com"),
            ("via&shy;gr&zwnj;a&nbsp;&nbsp;x", "viagra x"),
            ("AT&T &unknown; & &", "AT&T &unknown; & &"),
            ("&averyverylongname;x", "&averyverylongname;x"),
            ("1 < 2 <3 <", "1 < 2 <3 <"),
            ("<<b>a", "<a"),
            ("&&amp;&lt;b&gt;", "&&<b>"),
            ("&#0;&#xd800;&#99999999;&#;", "&#;&#xd800;&#99999999;&#;"),
            ("&#00000000000000118;&#x00000000000000069agra", "v\u{69a}gra"),
            ("caf&eacute; \u{200b}x", "café x"),
        ];
        for (html, expected) in table {
            for cut in 0..=html.len() {
                assert_eq!(seen(true, html, cut), expected, "{html} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_text_is_shown_without_what_has_no_width() {
        let table = [
            ("cheap\r\n \t pills\r\n", "cheap pills "),
            ("v\u{200b}i\u{ad}a\u{feff}g\u{2060}r\u{202e}a", "viagra"),
            ("a\u{a0}b\u{2003}c\u{3000} d", "a b c d"),
            ("<b>&amp;", "<b>&amp;"),
            ("é\u{2019}€", "é\u{2019}€"),
        ];
        for (text, expected) in table {
            for cut in 0..=text.len() {
                assert_eq!(seen(false, text, cut), expected, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn octets_that_are_no_utf8_are_kept() {
        for octets in [&b"\xe2"[..], b"\xe2\x80", b"\xc2a\xe2\x80b\x80\xff"] {
            let (mut visible, mut out) = (Visible::new(true), Vec::new());
            visible.read(octets, &mut out);
            visible.finish(&mut out);
            assert_eq!(out, octets);
        }
    }

    #[test]
    fn the_names_of_entities_are_in_order() {
        assert!(ENTITIES.is_sorted_by(|one, other| one.0 < other.0));
        assert!(ENTITIES.iter().all(|(name, _)| name.len() <= NAME_OCTETS));
    }

    proptest::proptest! {
        #[test]
        fn any_html_is_shown_alike_in_any_cut(
            html in "[<>!\\-/&;#x0-9a-z \"'é\u{200b}]{0,120}|(<b>|<!--|-->|</style>|<style>|&amp;|a| ){0,40}",
            cut: proptest::sample::Index,
        ) {
            let mut cut = cut.index(html.len() + 1);
            while !html.is_char_boundary(cut) {
                cut -= 1;
            }
            let whole = seen(true, &html, html.len());
            proptest::prop_assert_eq!(&seen(true, &html, cut), &whole);
            proptest::prop_assert!(whole.len() <= html.len() + 16);
        }
    }
}
