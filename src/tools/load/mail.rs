//! The messages of a load, in both forms.

use crate::wire::{BodyBuilder, Budget};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most octets that the messages of a load may have together.
const OCTETS_MAX: u64 = 1 << 30;

/// Octets of a line of made-up text, with its CRLF.
const LINE_OCTETS: usize = 72;

/// Syllables of which made-up text consists: no pattern set has words of them.
const SYLLABLES: [&str; 16] = [
    "ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "wi", "zo", "ka", "le",
];

/// Messages that are brought in turn.
#[derive(Clone, Debug)]
pub struct LoadMail {
    messages: Arc<[Content]>,
}

/// One message, behind the field that the load puts on top.
#[derive(Debug)]
pub(super) struct Content {
    /// As BDAT carries it.
    pub plain: Box<[u8]>,
    /// As DATA carries it, with the end mark.
    pub wire: Box<[u8]>,
}

/// No messages could be made ready.
#[derive(Debug, thiserror::Error)]
pub enum MailFault {
    /// A file or folder cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder without a file in it.
    #[error("{0}: there is no file in this folder")]
    Empty(PathBuf),
    /// The messages are too large together.
    #[error("the messages have more than 1 GiB together: take fewer of them")]
    TooLarge,
}

impl LoadMail {
    /// One message of made-up text, of so many octets at least, the same each time.
    pub fn of_size(octets: usize) -> Result<LoadMail, MailFault> {
        let mut text = b"Subject: load\r\nFrom: <load@client.example>\r\n\r\n".to_vec();
        let mut dice = fastrand::Rng::with_seed(7);
        let mut line_begins = text.len();
        while text.len() + 2 < octets {
            text.extend_from_slice(SYLLABLES[dice.usize(..SYLLABLES.len())].as_bytes());
            if text.len() - line_begins >= LINE_OCTETS - 2 {
                text.extend_from_slice(b"\r\n");
                line_begins = text.len();
            } else if dice.u8(..4) == 0 {
                text.push(b' ');
            }
        }
        text.extend_from_slice(b"\r\n");
        LoadMail::of_contents([text])
    }

    /// The message in a file, or those in a folder and the folders below it, in the order of their
    /// names. A line end that is LF alone becomes CRLF.
    pub fn of_files(path: &Path) -> Result<LoadMail, MailFault> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| MailFault::Unreadable { path, source }
        };
        let mut folders = Vec::new();
        let mut files = Vec::new();
        match path.is_dir() {
            true => folders.push(path.to_owned()),
            false => files.push(path.to_owned()),
        }
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
                let entry = entry.map_err(unreadable(&folder))?;
                match entry.file_type().map_err(unreadable(&entry.path()))?.is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push(entry.path()),
                }
            }
        }
        if files.is_empty() {
            return Err(MailFault::Empty(path.to_owned()));
        }
        files.sort();
        let mut octets = 0;
        let mut contents = Vec::new();
        for file in files {
            let content = with_crlf(&fs::read(&file).map_err(unreadable(&file))?);
            octets += content.len() as u64;
            if octets > OCTETS_MAX {
                return Err(MailFault::TooLarge);
            }
            contents.push(content);
        }
        LoadMail::of_contents(contents)
    }

    fn of_contents(contents: impl IntoIterator<Item = Vec<u8>>) -> Result<LoadMail, MailFault> {
        let messages: Result<Vec<Content>, MailFault> =
            contents.into_iter().map(Content::new).collect();
        Ok(LoadMail { messages: messages?.into() })
    }

    /// The content of a message, by its number.
    pub(super) fn content(&self, number: u64) -> &Content {
        &self.messages[(number % self.messages.len() as u64) as usize]
    }
}

impl Content {
    fn new(plain: Vec<u8>) -> Result<Content, MailFault> {
        let mut body = BodyBuilder::plain(&Budget::new(2 * OCTETS_MAX));
        body.push(&plain, false).map_err(|_| MailFault::TooLarge)?;
        let mut wire: Vec<u8> = body.finish().wire().flatten().copied().collect();
        wire.extend_from_slice(b".\r\n");
        Ok(Content { plain: plain.into(), wire: wire.into() })
    }
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(octets.len() + octets.len() / 32);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                content.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                content.extend_from_slice(b"\r\n");
            }
            None => content.extend_from_slice(line),
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_size_that_was_asked_for() {
        for octets in [0, 100, 4_096, 1_000_000] {
            let mail = LoadMail::of_size(octets).unwrap();
            let content = mail.content(0);
            assert!((octets..octets + 100).contains(&content.plain.len()), "{octets}");
            let lines = content.plain.split(|octet| *octet == b'\n');
            assert!(lines.map(<[u8]>::len).max() < Some(LINE_OCTETS + 2));
        }
    }

    #[test]
    fn files_are_brought_in_turn_and_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("1"), "A: b\n\n.dot\r\nend").unwrap();
        fs::create_dir(folder.path().join("2")).unwrap();
        fs::write(folder.path().join("2/x"), "C: d\r\n").unwrap();
        let mail = LoadMail::of_files(folder.path()).unwrap();
        for number in [0, 2] {
            let content = mail.content(number);
            assert_eq!(&*content.plain, b"A: b\r\n\r\n.dot\r\nend");
            assert_eq!(&*content.wire, b"A: b\r\n\r\n..dot\r\nend\r\n.\r\n");
        }
        assert_eq!(&*mail.content(1).wire, b"C: d\r\n.\r\n");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let fault = LoadMail::of_files(folder.path()).unwrap_err().to_string();
        assert!(fault.ends_with("there is no file in this folder"), "{fault}");
        let fault = LoadMail::of_files(&folder.path().join("none")).unwrap_err().to_string();
        assert!(fault.contains("none: No such file"), "{fault}");
    }
}
