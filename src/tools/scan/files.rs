//! Where messages lie: files with one, mailboxes with many in one file, Maildirs, folders of all of
//! them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The files to be scanned.
pub(super) struct Files {
    found: Vec<Found>,
}

enum Found {
    File { path: PathBuf, octets: u64 },
    Unreadable(String),
}

/// A message that waits for a thread.
pub(super) enum Work {
    /// A file with one message.
    File(PathBuf),
    /// A message of a mailbox.
    Message { name: String, content: Vec<u8> },
    /// What could not be read, and why.
    Unreadable(String),
}

impl Files {
    /// All files in these paths, folder by folder in the order of their names.
    pub(super) fn find(paths: &[PathBuf]) -> Files {
        let mut files = Files { found: Vec::new() };
        paths.iter().for_each(|path| files.visit(path));
        files
    }

    /// Octets of all of them.
    pub(super) fn octets(&self) -> u64 {
        let octets = |found: &Found| match found {
            Found::File { octets, .. } => *octets,
            Found::Unreadable(_) => 0,
        };
        self.found.iter().map(octets).sum()
    }

    /// Gives each message until `take` wants no more.
    pub(super) fn each(self, mut take: impl FnMut(Work) -> bool) {
        for found in self.found {
            let goes_on = match found {
                Found::Unreadable(what) => take(Work::Unreadable(what)),
                Found::File { path, .. } => match is_mailbox(&path) {
                    Ok(false) => take(Work::File(path)),
                    Ok(true) => each_of_mailbox(&path, &mut take),
                    Err(error) => take(Work::Unreadable(format!("{}: {error}", path.display()))),
                },
            };
            if !goes_on {
                return;
            }
        }
    }

    fn visit(&mut self, path: &Path) {
        let found = fs::metadata(path).and_then(|metadata| {
            if metadata.is_dir() {
                return self.visit_folder(path);
            }
            if metadata.is_file() {
                let (path, octets) = (path.to_owned(), metadata.len());
                self.found.push(Found::File { path, octets });
            }
            Ok(())
        });
        if let Err(error) = found {
            self.found.push(Found::Unreadable(format!("{}: {error}", path.display())));
        }
    }

    /// Of a Maildir, what was delivered, and the Maildirs below it; of another folder, everything
    /// that is not hidden. What links lead to is left out: it would be scanned twice, or for ever.
    fn visit_folder(&mut self, folder: &Path) -> io::Result<()> {
        let entries: io::Result<Vec<fs::DirEntry>> = fs::read_dir(folder)?.collect();
        let mut entries = entries?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let is_maildir = folder.join("cur").is_dir() && folder.join("new").is_dir();
        for entry in entries {
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let name = name.to_string_lossy();
            let wanted = match is_maildir {
                true => kind.is_dir() && name != "tmp",
                false => !name.starts_with('.') && !kind.is_symlink(),
            };
            if wanted {
                self.visit(&entry.path());
            }
        }
        Ok(())
    }
}

/// RFC 4155 A: the line that begins each message of a mailbox.
const SEPARATOR: &[u8] = b"From ";

/// Whether a file is a mailbox with many messages.
pub(super) fn is_mailbox(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(SEPARATOR.len() as u64).read_to_end(&mut start)?;
    Ok(start == SEPARATOR)
}

/// Gives each message of a mailbox until `take` wants no more.
fn each_of_mailbox(path: &Path, take: &mut dyn FnMut(Work) -> bool) -> bool {
    let name = path.display();
    let mut number = 0;
    let read = File::open(path).and_then(|file| {
        split(BufReader::new(file), |content| {
            number += 1;
            take(Work::Message { name: format!("{name}:{number}"), content })
        })
    });
    read.unwrap_or_else(|error| take(Work::Unreadable(format!("{name}: {error}"))))
}

/// Splits a mailbox at the separators behind empty lines. A line of a message that looked like one
/// has a `>` in front (RFC 4155 5), which is taken away, as is the empty line at the end.
fn split(mut mailbox: impl BufRead, mut take: impl FnMut(Vec<u8>) -> bool) -> io::Result<bool> {
    let (mut content, mut line, mut after_empty) = (Vec::new(), Vec::new(), true);
    let mut begun = false;
    loop {
        line.clear();
        let ended = mailbox.read_until(b'\n', &mut line)? == 0;
        if ended || (after_empty && line.starts_with(SEPARATOR)) {
            if begun {
                if after_empty {
                    let end = content.strip_suffix(b"\r\n").or(content.strip_suffix(b"\n"));
                    let length = end.map_or(content.len(), <[u8]>::len);
                    content.truncate(length);
                }
                if !take(std::mem::take(&mut content)) {
                    return Ok(false);
                }
            }
            if ended {
                return Ok(true);
            }
            (begun, after_empty) = (true, false);
            continue;
        }
        after_empty = matches!(line.as_slice(), b"\n" | b"\r\n");
        let quotes = line.iter().take_while(|octet| **octet == b'>').count();
        let is_quoted = quotes > 0 && line[quotes..].starts_with(SEPARATOR);
        content.extend_from_slice(&line[usize::from(is_quoted)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_split_at_its_separators() {
        let table: [(&str, &[&str]); 6] = [
            ("From a\nA: b\n\nx\n\nFrom c\nC: d\n\ny\n\n", &["A: b\n\nx\n", "C: d\n\ny\n"]),
            ("From a\nA: b\n\nx\nFrom c\n", &["A: b\n\nx\nFrom c\n"]),
            ("From a\nA: b\n\n>From c\n>>From d\n>x\n", &["A: b\n\nFrom c\n>From d\n>x\n"]),
            ("From a\r\nA: b\r\n\r\nx\r\n\r\nFrom c\r\n", &["A: b\r\n\r\nx\r\n", ""]),
            ("From a\nA: b\n\nno end", &["A: b\n\nno end"]),
            ("", &[]),
        ];
        for (mailbox, expected) in table {
            let mut messages = Vec::new();
            let all = split(mailbox.as_bytes(), |content| {
                messages.push(String::from_utf8(content).unwrap());
                true
            });
            assert!(all.unwrap());
            assert_eq!(messages, expected, "{mailbox}");
        }
    }

    #[test]
    fn folders_are_walked_as_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.eml", "A: b\n\n1");
        write("a/mailbox", "From x\nA: b\n\n2\n\nFrom y\nA: b\n\n3\n");
        write("maildir/cur/1:2,S", "A: b\n\n4");
        write("maildir/new/2", "A: b\n\n5");
        write("maildir/tmp/3", "half a mess");
        write("maildir/.Junk/cur/4", "A: b\n\n6");
        write("maildir/.Junk/new/5", "A: b\n\n7");
        write("maildir/dovecot.index", "no message");
        write(".hidden", "no message");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("round")).unwrap();
        let mut texts = Vec::new();
        let paths = [folder.path().to_owned(), folder.path().join("absent")];
        Files::find(&paths).each(|work| {
            let content = match work {
                Work::File(path) => fs::read(path).unwrap(),
                Work::Message { content, .. } => content,
                Work::Unreadable(what) => what.into_bytes(),
            };
            texts.push(String::from_utf8(content).unwrap());
            true
        });
        assert!(texts.pop().unwrap().contains("absent"));
        let last: Vec<&str> = texts.iter().map(|text| text.trim_end()).collect();
        let last: String = last.iter().filter_map(|text| text.chars().last()).collect();
        assert_eq!(last, "2316745");
    }
}
