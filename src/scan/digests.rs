//! Digests of leaves and of what is unpacked from them: only those that some rule asks for.

use super::compile::by_digest;
use super::rules::RuleSpec;
use foldhash::fast::RandomState;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The rules that ask for each digest of a kind.
pub(super) type Digests<const OCTETS: usize> = HashMap<[u8; OCTETS], Vec<u16>, RandomState>;

/// The digests that rules ask for. MD5 and SHA-1 can be forged, so that two parts have the same one:
/// they are for lists of what is bad, whose makers gain nothing by being found.
#[derive(Debug, Default)]
pub(super) struct DigestTables {
    sha256: Digests<32>,
    sha1: Digests<20>,
    md5: Digests<16>,
    blake3: Digests<32>,
}

/// The digests of a leaf, as far as it has come: there where rules ask for them, and kept from leaf to
/// leaf.
#[derive(Debug, Default)]
pub(super) struct PartDigests {
    sha256: Option<Box<Sha256>>,
    sha1: Option<Box<Sha1>>,
    md5: Option<Box<Md5>>,
    blake3: Option<Box<blake3::Hasher>>,
}

impl DigestTables {
    pub(super) fn new(specs: &[RuleSpec]) -> DigestTables {
        DigestTables {
            sha256: by_digest(specs, |spec| &spec.digests),
            sha1: by_digest(specs, |spec| &spec.sha1),
            md5: by_digest(specs, |spec| &spec.md5),
            blake3: by_digest(specs, |spec| &spec.blake3),
        }
    }

    /// How many digests of each octet of a leaf are made.
    pub(super) fn kinds(&self) -> u64 {
        let asked = [
            !self.sha256.is_empty(),
            !self.sha1.is_empty(),
            !self.md5.is_empty(),
            !self.blake3.is_empty(),
        ];
        asked.into_iter().map(u64::from).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.sha256.len() + self.sha1.len() + self.md5.len() + self.blake3.len()
    }

    /// Memory of the tables, in octets, about.
    pub(super) fn octets(&self) -> usize {
        let an_entry = size_of::<Vec<u16>>() + size_of::<u16>();
        (self.sha256.capacity() + self.blake3.capacity()) * (32 + an_entry)
            + self.sha1.capacity() * (20 + an_entry)
            + self.md5.capacity() * (16 + an_entry)
    }

    /// Memory beside its own that the digests of one leaf take, in octets.
    pub(super) fn suspended_octets(&self) -> usize {
        let of_kinds = [
            (self.sha256.is_empty(), size_of::<Sha256>()),
            (self.sha1.is_empty(), size_of::<Sha1>()),
            (self.md5.is_empty(), size_of::<Md5>()),
            (self.blake3.is_empty(), size_of::<blake3::Hasher>()),
        ];
        of_kinds.into_iter().filter(|(nobody_asks, _)| !nobody_asks).map(|(_, octets)| octets).sum()
    }
}

impl PartDigests {
    /// A leaf begins.
    pub(super) fn begin(&mut self, tables: &DigestTables) {
        begin(&mut self.sha256, tables.sha256.is_empty(), Sha256::reset);
        begin(&mut self.sha1, tables.sha1.is_empty(), Sha1::reset);
        begin(&mut self.md5, tables.md5.is_empty(), Md5::reset);
        begin(&mut self.blake3, tables.blake3.is_empty(), |digest| _ = digest.reset());
    }

    /// The next octets of the leaf.
    pub(super) fn update(&mut self, octets: &[u8]) {
        let PartDigests { sha256, sha1, md5, blake3 } = self;
        sha256.iter_mut().for_each(|digest| digest.update(octets));
        sha1.iter_mut().for_each(|digest| digest.update(octets));
        md5.iter_mut().for_each(|digest| digest.update(octets));
        blake3.iter_mut().for_each(|digest| _ = digest.update(octets));
    }

    /// The leaf has ended: gives the rules that ask for it.
    pub(super) fn finish(&mut self, tables: &DigestTables, mut found: impl FnMut(u16)) {
        let rules = [
            self.sha256.as_mut().and_then(|digest| tables.sha256.get(&*digest.finalize_reset())),
            self.sha1.as_mut().and_then(|digest| tables.sha1.get(&*digest.finalize_reset())),
            self.md5.as_mut().and_then(|digest| tables.md5.get(&*digest.finalize_reset())),
            self.blake3.as_ref().and_then(|digest| tables.blake3.get(digest.finalize().as_bytes())),
        ];
        rules.into_iter().flatten().flatten().for_each(|rule| found(*rule));
    }
}

fn begin<D: Default>(digest: &mut Option<Box<D>>, nobody_asks: bool, reset: impl Fn(&mut D)) {
    match nobody_asks {
        true => *digest = None,
        false => reset(digest.get_or_insert_default()),
    }
}
