//! Which of the files that a configuration names have changed, without reading them.

use crate::config::{NamedFile, Stamp};
use std::path::{Path, PathBuf};

/// The files of a configuration, as they were when it was made.
///
/// A file that is being written looks different each time: a change counts when every changed file
/// has looked the same twice.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What it was when it was taken.
    taken: Stamp,
    /// What it was at the last look; `None` when it was not there.
    seen: Option<Stamp>,
}

impl Watch {
    /// Files as a configuration has taken them.
    pub fn new(files: &[NamedFile]) -> Watch {
        let watched = |file: &NamedFile| Watched {
            path: file.path.clone(),
            taken: file.stamp,
            seen: Some(file.stamp),
        };
        Watch { files: files.iter().map(watched).collect() }
    }

    /// Looks at all files. True if some have changed and all are at rest; they then count as taken,
    /// so that a change of which nothing comes is told once.
    ///
    /// A file that is gone is at rest: whoever removes it may be about to put another one there.
    pub fn look(&mut self, stamp_of: impl Fn(&Path) -> Option<Stamp>) -> bool {
        let (mut changed, mut resting) = (false, true);
        for file in &mut self.files {
            let now = stamp_of(&file.path);
            resting &= now == file.seen;
            changed |= now.is_some_and(|now| now != file.taken);
            file.seen = now;
        }
        if !changed || !resting {
            return false;
        }
        for file in &mut self.files {
            file.taken = file.seen.unwrap_or(file.taken);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_change_counts_when_it_has_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        for path in [&one, &two] {
            fs::write(path, "a\n").unwrap();
        }
        let named =
            |path: &PathBuf| NamedFile { path: path.clone(), stamp: Stamp::of(path).unwrap() };
        let mut watch = Watch::new(&[named(&one), named(&two)]);
        assert!(!watch.look(Stamp::of));
        fs::write(&one, "a\nb").unwrap();
        assert!(!watch.look(Stamp::of), "it may still be written");
        fs::write(&one, "a\nbc\n").unwrap();
        assert!(!watch.look(Stamp::of), "it was");
        fs::write(&two, "more\n").unwrap();
        assert!(!watch.look(Stamp::of), "the other one is");
        assert!(watch.look(Stamp::of));
        assert!(!watch.look(Stamp::of), "once");
        // Renamed into place: as many octets, another file.
        fs::write(folder.path().join("new"), "a\nbd\n").unwrap();
        fs::rename(folder.path().join("new"), &one).unwrap();
        assert!(!watch.look(Stamp::of));
        assert!(watch.look(Stamp::of));
        // Gone, and back as another file.
        fs::remove_file(&one).unwrap();
        assert!(!watch.look(Stamp::of) && !watch.look(Stamp::of));
        fs::write(&one, "back again\n").unwrap();
        assert!(!watch.look(Stamp::of));
        assert!(watch.look(Stamp::of));
    }
}
