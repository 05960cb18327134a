//! What a rule set costs: memory, and work at the most.

use super::archive::{Archives, PLACE_OCTETS};
use super::findings::Surface;
use super::frames::{FRAMES_AT_REST, Frame};
use super::header::VALUE_OCTETS_AT_REST;
use super::links::Links;
use super::regexes::Regex;
use super::rules::{DECODED, FIELDS, Rules, VISIBLE};
use super::sniff::Head;
use super::windows::{WAITING_CELLS, Windows};
use super::{STREAMS, Scanner};
use crate::limits::{
    ARCHIVE_HEADER_OCTETS, ARCHIVE_HELD_OCTETS, HEADER_FIELD_OCTETS, MIME_DEPTH_MAX,
    REGEX_UNITS_AN_OCTET, REGEX_UNITS_AT_ONCE, UNPACK_PLACES,
};

/// A bound on work, see [`Rules::cost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Units that a message of any size may cost.
    pub units_at_once: u64,
    /// Units that each octet of its content may cost beside.
    pub units_an_octet: u64,
}

/// The tables of a rule set, each kind as a number of entries and the octets of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Literals, and gates of expressions, in a table with a step for every octet: the fastest, and
    /// large.
    pub in_full_table: (usize, usize),
    /// Literals that are known by a window of theirs: for large sets.
    pub by_windows: (usize, usize),
    /// Expressions that are asked only where a literal of theirs was found.
    pub gated: (usize, usize),
    /// Expressions that run over every octet of a text.
    pub ungated: (usize, usize),
    /// Domains and networks that are looked up.
    pub listed: (usize, usize),
    /// Digests of parts.
    pub digests: (usize, usize),
}

impl Rules {
    /// Memory of the tables, in octets.
    pub fn table_octets(&self) -> usize {
        let Tables { in_full_table, by_windows, gated, ungated, listed, digests } = self.tables();
        let all = [in_full_table, by_windows, gated, ungated, listed, digests];
        all.iter().map(|(_, octets)| octets).sum()
    }

    /// What the tables hold.
    pub fn tables(&self) -> Tables {
        let (gated, ungated): (Vec<_>, Vec<_>) =
            self.regexes.all.iter().partition(|regex| !regex.gates.is_empty());
        let octets = |regexes: &[&Regex]| regexes.iter().map(|regex| regex.table_octets()).sum();
        let (in_full_table, by_windows) = self.literals.tables();
        Tables {
            in_full_table,
            by_windows,
            gated: (gated.len(), octets(&gated)),
            ungated: (ungated.len(), octets(&ungated)),
            listed: (
                self.domains.len() + self.networks.len(),
                self.domains.octets() + self.networks.octets(),
            ),
            digests: (self.digests.len(), self.digests.octets()),
        }
    }

    /// Memory of a message that waits for its next octets, in octets: as a rule, and at the most,
    /// in the middle of a long header field, many parts deep, with archives.
    pub fn suspended_octets(&self) -> (usize, usize) {
        let matches = self.rules.len().div_ceil(64) * STREAMS * size_of::<u64>();
        let asked = |asked: bool, octets: usize| if asked { octets } else { 0 };
        let gates = WAITING_CELLS * self.regexes.all.len().div_ceil(64) * size_of::<u64>();
        let expressed = [DECODED, VISIBLE].iter().filter(|on| self.express(**on).is_some()).count();
        let fixed = size_of::<Scanner>()
            + matches
            + size_of::<Archives>()
            + expressed * (size_of::<Windows>() + gates)
            + asked(self.ask_links(), size_of::<Links>())
            + self.digests.suspended_octets()
            + asked(self.ask(Surface::Type), size_of::<Head>());
        // Headers of archives, in memory that grows in powers of two.
        let held = ARCHIVE_HELD_OCTETS + ARCHIVE_HEADER_OCTETS.next_power_of_two();
        let at_rest = VALUE_OCTETS_AT_REST + FRAMES_AT_REST * size_of::<Frame>();
        let at_most = HEADER_FIELD_OCTETS + MIME_DEPTH_MAX * size_of::<Frame>() + held;
        (fixed + at_rest, fixed + at_most)
    }

    /// Octets of a message that may be unpacked, and the memory in which a shard does it, in octets;
    /// nothing where archives are only listed.
    pub fn unpacks(&self) -> Option<(u64, usize)> {
        let octets = self.unpacked_octets;
        (octets > 0).then_some((octets, UNPACK_PLACES * PLACE_OCTETS))
    }

    /// Some of the literals for which the tables were made, in lower case: what texts are made of
    /// that shall be hard on them.
    pub fn literal_sample(&self) -> impl Iterator<Item = &[u8]> {
        self.sample.iter().map(AsRef::as_ref)
    }

    /// The most that a scan with these rules can cost: work units at once, and so many more for each
    /// content octet.
    pub fn cost(&self) -> Cost {
        let asked = |asked: bool, units: u64| if asked { units } else { 0 };
        let regex = asked(self.have_regexes(), REGEX_UNITS_AN_OCTET);
        // Each octet is taken by the structure, and as one of a leaf by its decoder and, where a
        // header says so, by a second one; and is looked at for archives. Beside, it lies either in
        // a header or in a leaf.
        let always = 4;
        // A field is seen as it is, undone and bared, on up to three surfaces; a name of an attachment
        // in up to four readings. In up to nine views links are read and looked up.
        let views = asked(self.surfaces & FIELDS != 0, 9) + asked(self.ask(Surface::Name), 12);
        let in_header =
            asked(self.ask(Surface::Header), 1) + asked(self.ask_hosts(), 18) + views * (1 + regex);
        // A character of one octet may become one of three.
        let visible = asked(self.ask_visible(), 3);
        let digests = self.digests.kinds();
        // Links are read, what they hold is looked up, and they are seen as a whole. Of the names of
        // entries, which two forms are seen, an octet may become three. The type of a leaf is told
        // even if it has fewer octets.
        let links = asked(self.ask_links(), 3) + asked(self.ask(Surface::Url), regex);
        let told = asked(self.ask(Surface::Entry), 6) + asked(self.ask(Surface::Type), 4);
        let running = self.regexes.running.len() as u64;
        let in_leaf =
            visible + digests + links + told * (1 + regex) + (1 + visible) * (regex + running);
        let an_octet = always + in_header.max(in_leaf);
        // What is unpacked is looked at as a part, and for archives.
        let unpacked = 2 + digests + told * (1 + regex) + regex + running;
        // Hosts of other alphabets are read within the same bounds as expressions, but earn nothing.
        let bounded = match (self.have_regexes(), self.ask_hosts()) {
            (true, _) => 4 * REGEX_UNITS_AT_ONCE,
            (false, true) => REGEX_UNITS_AT_ONCE,
            (false, false) => 0,
        };
        let at_once = self.unpacked_octets * unpacked + bounded;
        Cost { units_at_once: at_once, units_an_octet: an_octet }
    }
}
