//! Vectors: a file is read into steps, or refused with its line.

use super::expand::Names;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One exchange with a server.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Where it was read.
    pub file: PathBuf,
    /// The file's name without its ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The rule it comes from.
    pub source: String,
    /// The listener of connections that name none.
    pub listener: String,
    /// Server settings.
    pub settings: Vec<Setting>,
    /// The grouping of writes matters.
    pub nosplit: bool,
    /// The dialogue.
    pub lines: Vec<Line>,
}

/// `key=value`, with its line.
#[derive(Clone, Debug)]
pub struct Setting {
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// A step, with its line in the file.
#[derive(Clone, Debug)]
pub struct Line {
    pub number: usize,
    pub step: Step,
}

/// What is done, or expected. Texts and patterns are not expanded yet.
#[derive(Clone, Debug)]
pub enum Step {
    /// Lines that are sent in one write.
    Send(Vec<Sent>),
    Reply {
        code: String,
        pattern: Option<String>,
    },
    /// Replies with these codes, one after the other.
    Codes(Vec<String>),
    SomeLine(String),
    NoLine(String),
    OneWrite(usize),
    Nothing(Duration),
    End,
    HalfClose,
    DropFin,
    DropReset,
    Pause(Duration),
    Tls,
    Connection {
        name: String,
        listener: Option<String>,
        from: Option<IpAddr>,
    },
    Delivered(Holding),
    Quarantined(Holding),
    Scans(u64),
}

/// A piece of a write.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Text and CRLF.
    Command(String),
    /// Text alone.
    Raw(String),
    /// A BDAT command and its chunk.
    Chunk { text: String, last: bool },
}

/// What is held for a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    pub recipient: String,
    pub count: usize,
    pub has: Option<String>,
    pub not: Option<String>,
}

impl Vector {
    /// Reads a file.
    ///
    /// # Errors
    /// In words, with file and line.
    pub fn read(file: &Path) -> Result<Vector, String> {
        let octets = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let text = String::from_utf8(octets).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|octet| **octet == b'\n').count();
            format!("{}:{line}: not UTF-8", file.display())
        })?;
        Vector::parse(file, &text)
    }

    /// Reads the text of a file.
    pub fn parse(file: &Path, text: &str) -> Result<Vector, String> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut vector = Vector {
            file: file.to_owned(),
            name,
            title: String::new(),
            source: String::new(),
            listener: "smtp".to_owned(),
            settings: Vec::new(),
            nosplit: false,
            lines: Vec::new(),
        };
        for (index, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let read = match line.strip_prefix('@') {
                Some(_) if !vector.lines.is_empty() => {
                    Err("a header line behind the first line of the dialogue".to_owned())
                }
                Some(header) => vector.header(index + 1, header),
                None => vector.dialogue(index + 1, line),
            };
            read.map_err(|fault| format!("{}:{}: {fault}", file.display(), index + 1))?;
        }
        vector.check()?;
        Ok(vector)
    }

    /// Where a line of it stands.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.file.display())
    }

    fn header(&mut self, line: usize, header: &str) -> Result<(), String> {
        let (key, value) = header.split_once(char::is_whitespace).unwrap_or((header, ""));
        let value = value.trim();
        match key {
            "title" => self.title = value.to_owned(),
            "source" => self.source = value.to_owned(),
            "nosplit" if value.is_empty() => self.nosplit = true,
            "listener" => match value {
                "smtp" | "lmtp" | "smtp-proxy" | "smtp-xclient" => self.listener = value.to_owned(),
                _ => return Err(format!("no listener is called {value:?}")),
            },
            "set" if !value.is_empty() => {
                for setting in value.split_whitespace() {
                    let (key, value) =
                        setting.split_once('=').ok_or(format!("{setting:?} is no KEY=VALUE"))?;
                    let (key, value) = (key.to_owned(), value.to_owned());
                    self.settings.push(Setting { line, key, value });
                }
            }
            _ => return Err(format!("no header line reads @{header}")),
        }
        Ok(())
    }

    fn dialogue(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (kind, text) = line.split_once(':').ok_or("a line without a colon")?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        let sent = match kind {
            "C" => Some(Sent::Command(text.to_owned())),
            "R" => Some(Sent::Raw(text.to_owned())),
            "K" => Some(Sent::Chunk { text: text.to_owned(), last: false }),
            "KL" => Some(Sent::Chunk { text: text.to_owned(), last: true }),
            _ => None,
        };
        match (sent, self.lines.last_mut()) {
            (Some(sent), Some(Line { step: Step::Send(group), .. })) => group.push(sent),
            (Some(sent), _) => self.lines.push(Line { number, step: Step::Send(vec![sent]) }),
            (None, _) => self.lines.push(Line { number, step: step(kind, text.trim())? }),
        }
        Ok(())
    }

    /// Expands and compiles all that can be, so that a fault is known before anything is run.
    fn check(&self) -> Result<(), String> {
        let mut names = Names::new();
        for line in &self.lines {
            check_step(&line.step, &mut names)
                .map_err(|fault| format!("{}: {fault}", self.place(line.number)))?;
        }
        Ok(())
    }
}

fn step(kind: &str, text: &str) -> Result<Step, String> {
    if let Some(times) = kind.strip_prefix("S*") {
        let times = times.parse().map_err(|_| format!("cannot repeat {times:?} times"))?;
        let codes: Vec<String> = text.split(';').map(|code| code.trim().to_owned()).collect();
        if codes.iter().any(String::is_empty) {
            return Err("a code is missing".to_owned());
        }
        return Ok(Step::Codes(vec![codes; times].concat()));
    }
    Ok(match (kind, text) {
        ("S" | "S+" | "S-", "") => return Err("nothing to match".to_owned()),
        ("S", _) => match text.split_once(char::is_whitespace) {
            Some((code, pattern)) => {
                Step::Reply { code: code.to_owned(), pattern: Some(pattern.trim().to_owned()) }
            }
            None => Step::Reply { code: text.to_owned(), pattern: None },
        },
        ("S+", _) => Step::SomeLine(text.to_owned()),
        ("S-", _) => Step::NoLine(text.to_owned()),
        ("ONEWRITE", _) => match number(text)? {
            0 => return Err("no reply comes in no write".to_owned()),
            replies => Step::OneWrite(replies as usize),
        },
        ("NONE", _) => Step::Nothing(Duration::from_millis(number(text)?)),
        ("PAUSE", _) => Step::Pause(Duration::from_millis(number(text)?)),
        ("SCANS", _) => Step::Scans(number(text)?),
        ("EOF", "") => Step::End,
        ("SHUT", "") => Step::HalfClose,
        ("TLS", "") => Step::Tls,
        ("DROP", "fin") => Step::DropFin,
        ("DROP", "rst") => Step::DropReset,
        ("CONN", _) => connection(text)?,
        ("D", _) => Step::Delivered(holding(text)?),
        ("Q", _) => Step::Quarantined(holding(text)?),
        _ => return Err(format!("no line reads {kind}: {text}")),
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn connection(text: &str) -> Result<Step, String> {
    let mut words = text.split_whitespace();
    let name = words.next().ok_or("the connection has no name")?.to_owned();
    let (mut listener, mut from) = (None, None);
    for word in words {
        match word.split_once('=') {
            Some(("listener", name)) => listener = Some(name.to_owned()),
            Some(("from", address)) => {
                let address = address.parse().map_err(|_| format!("{address:?} is no address"))?;
                from = Some(address);
            }
            _ => return Err(format!("{word:?} is neither listener=NAME nor from=ADDRESS")),
        }
    }
    Ok(Step::Connection { name, listener, from })
}

/// Reads `rcpt count=n [has=/re/] [not=/re/]`.
fn holding(text: &str) -> Result<Holding, String> {
    let (recipient, mut rest) = text.split_once(char::is_whitespace).ok_or("no count")?;
    let mut holding = Holding { recipient: recipient.to_owned(), ..Holding::default() };
    let mut counted = false;
    loop {
        rest = rest.trim_start();
        if let Some(value) = rest.strip_prefix("count=") {
            let end = value.find(char::is_whitespace).unwrap_or(value.len());
            holding.count = number(&value[..end])? as usize;
            (counted, rest) = (true, &value[end..]);
        } else if let Some(value) = rest.strip_prefix("has=/") {
            let (pattern, behind) = slashed(value)?;
            (holding.has, rest) = (Some(pattern.to_owned()), behind);
        } else if let Some(value) = rest.strip_prefix("not=/") {
            let (pattern, behind) = slashed(value)?;
            (holding.not, rest) = (Some(pattern.to_owned()), behind);
        } else {
            break;
        }
    }
    match (rest, counted) {
        ("", true) => Ok(holding),
        ("", false) => Err("no count".to_owned()),
        _ => Err(format!("cannot read {rest:?}: count=N, has=/RE/ or not=/RE/ was expected")),
    }
}

/// Splits at the next slash that no backslash stands before.
fn slashed(text: &str) -> Result<(&str, &str), String> {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if char == '/' && !escaped {
            return Ok((&text[..at], &text[at + 1..]));
        }
        escaped = char == '\\' && !escaped;
    }
    Err("a pattern has no closing slash".to_owned())
}

fn check_step(step: &Step, names: &mut Names) -> Result<(), String> {
    let pattern = |names: &mut Names, text: &String| -> Result<(), String> {
        let pattern = names.pattern(text)?;
        for group in pattern.capture_names().flatten() {
            names.set(group, b"captured".to_vec());
        }
        Ok(())
    };
    match step {
        Step::Send(group) => group.iter().try_for_each(|sent| match sent {
            Sent::Command(text) | Sent::Raw(text) | Sent::Chunk { text, .. } => {
                names.octets(text).map(drop)
            }
        }),
        Step::Reply { code, pattern: text } => {
            names.pattern(code)?;
            text.iter().try_for_each(|text| pattern(names, text))
        }
        Step::Codes(codes) => codes.iter().try_for_each(|code| names.pattern(code).map(drop)),
        Step::SomeLine(text) | Step::NoLine(text) => pattern(names, text),
        Step::Delivered(holding) | Step::Quarantined(holding) => {
            names.octets(&holding.recipient)?;
            holding.has.iter().chain(&holding.not).try_for_each(|text| pattern(names, text))
        }
        Step::OneWrite(_)
        | Step::Nothing(_)
        | Step::End
        | Step::HalfClose
        | Step::DropFin
        | Step::DropReset
        | Step::Pause(_)
        | Step::Tls
        | Step::Connection { .. }
        | Step::Scans(_) => Ok(()),
    }
}
