//! Lists: in brackets in the configuration, or `file:PATH` with one entry a line.

use super::fault::{Collector, Spot, Wrong};
use super::files::Files;
use super::table::Text;
use crate::limits::LIST_LINE_OCTETS;
use std::rc::Rc;

/// A list as a configuration gives it.
pub(super) enum List<'a> {
    /// A word that stands for a list.
    Word,
    /// The path of a file.
    File(Text<'a>),
    /// The entries themselves.
    Texts(Vec<Text<'a>>),
}

impl List<'_> {
    /// Gives each entry to `take`, and tells what is wrong with it at its place.
    ///
    /// In a file, empty lines and lines that begin with `#` are no entries. False if the file cannot
    /// be read.
    pub fn each(
        &self,
        faults: &Collector<'_>,
        files: &Files<'_>,
        octets_max: u64,
        take: &mut dyn FnMut(&Spot, &str) -> Result<(), Wrong>,
    ) -> bool {
        let mut tell = |spot: &Spot, entry: &str| {
            if let Err(wrong) = take(spot, entry) {
                faults.add_at(spot, entry, wrong);
            }
        };
        match self {
            List::Word => {}
            List::Texts(texts) => texts.iter().for_each(|one| tell(&one.spot(), one.text)),
            List::File(path) => {
                let octets = files.read(path.text, octets_max);
                let Some(octets) = faults.good(path.span.clone(), octets) else { return false };
                let file: Rc<str> = files.path(path.text).display().to_string().into();
                for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
                    let spot = Spot::Line(Rc::clone(&file), index + 1);
                    match entry_of(line) {
                        Ok("") => {}
                        Ok(entry) => tell(&spot, entry),
                        Err(wrong) => faults.add_at(&spot, "", wrong),
                    }
                }
            }
        }
        true
    }
}

/// The entry in a line; empty if there is none.
fn entry_of(line: &[u8]) -> Result<&str, Wrong> {
    if line.len() > LIST_LINE_OCTETS {
        let help = format!("a line has at most {LIST_LINE_OCTETS} octets and one entry");
        return Err(Wrong::new(format!("a line of {} octets", line.len()), help));
    }
    match std::str::from_utf8(line) {
        Ok(line) => Ok(Some(line.trim()).filter(|line| !line.starts_with('#')).unwrap_or("")),
        Err(_) => Err(Wrong::new("the line is no UTF-8", "write the file in UTF-8")),
    }
}
