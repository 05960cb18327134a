//! What is read of a leaf beside its literals and expressions: its links and hosts, its type by its
//! first octets, the names in archives and what is packed there, its digests. Of none of these a place
//! is known but that of the leaf.

use super::archive::{self, Archives, Told};
use super::digests::PartDigests;
use super::leaf::{Sink, asks_visible};
use super::links::{Found, Links, What};
use super::rules::Rules;
use super::scratch::Search;
use super::sniff::Head;
use super::windows::Asked;
use super::{Hit, Score, Stream, Surface, Tags, Watch};

/// What is kept of a leaf that is read: large, so there only where rules ask for it. An archive reader
/// is small until a leaf looks like an archive.
#[derive(Debug, Default)]
pub(super) struct Beside {
    links: Option<Box<Links>>,
    head: Option<Box<Head>>,
    archives: Option<Box<Archives>>,
    digests: PartDigests,
    /// What was unpacked was asked this.
    pub(super) asked: Asked,
}

impl Beside {
    /// A message begins: makes room for what these rules ask for.
    pub(super) fn prepare(&mut self, rules: &Rules) {
        self.asked = Asked::default();
        self.archives.get_or_insert_default().begin_message(rules.unpacked_octets);
        match rules.ask_links() {
            true => self.links.get_or_insert_default().clear(),
            false => self.links = None,
        }
        match rules.ask(Surface::Type) {
            true => self.head.get_or_insert_default().clear(),
            false => self.head = None,
        }
    }

    /// A leaf begins.
    pub(super) fn begin_leaf(&mut self, rules: &Rules) {
        if let Some(head) = &mut self.head {
            head.clear();
        }
        if let Some(archives) = &mut self.archives {
            archives.begin_leaf();
        }
        self.digests.begin(&rules.digests);
    }

    /// No message is read: what was lent for one goes back.
    pub(super) fn rest(&mut self) {
        if let Some(archives) = &mut self.archives {
            archives.begin_leaf();
        }
    }
}

/// Where a leaf lies.
#[derive(Clone, Copy)]
pub(super) struct LeafPlace {
    pub part: u32,
    /// The content octet at which its body begins.
    pub start: u64,
}

impl LeafPlace {
    pub(super) fn hit(self, rule: u16, surface: Surface) -> Hit {
        Hit { rule, surface, part: self.part, offset: self.start }
    }
}

/// Reads decoded octets of a leaf.
pub(super) fn read<W: Watch>(
    octets: &[u8],
    is_text: bool,
    place: LeafPlace,
    search: &mut Search,
    sink: &mut Sink<'_, W>,
) {
    if let Some(sniffed) = sink.beside.head.as_mut().and_then(|head| head.take(octets)) {
        look_at_type(sniffed, place, search, sink);
    }
    sink.findings.charge(octets.len() as u64 * sink.rules.digests.kinds());
    sink.beside.digests.update(octets);
    // Each is taken out while the rest of the sink is used.
    if let Some(mut archives) = sink.beside.archives.take() {
        archives.read(octets, |told| look_into(told, place, search, sink));
        sink.findings.charge(octets.len() as u64);
        sink.beside.archives = Some(archives);
    }
    let wanted = is_text && sink.rules.ask_links();
    if let Some(mut links) = sink.beside.links.take_if(|_| wanted) {
        let looked = links.read(octets, |found| look_at_link(&found, place, search, sink));
        sink.findings.charge((octets.len() + looked) as u64);
        sink.beside.links = Some(links);
    }
}

/// The leaf has ended.
pub(super) fn finish<W: Watch>(place: LeafPlace, search: &mut Search, sink: &mut Sink<'_, W>) {
    if let Some(sniffed) = sink.beside.head.as_mut().and_then(|head| head.finish()) {
        look_at_type(sniffed, place, search, sink);
    }
    look_at_digests(place, sink);
    if let Some(mut archives) = sink.beside.archives.take() {
        archives.finish(|told| look_into(told, place, search, sink));
        archives.begin_leaf();
        sink.beside.archives = Some(archives);
    }
    if let Some(mut links) = sink.beside.links.take() {
        let looked = links.finish(|found| look_at_link(&found, place, search, sink));
        sink.findings.charge(looked as u64);
        sink.beside.links = Some(links);
    }
}

/// The digests of a leaf that has ended.
fn look_at_digests<W: Watch>(place: LeafPlace, sink: &mut Sink<'_, W>) {
    let Sink { rules, matches, findings, beside, .. } = sink;
    beside.digests.finish(&rules.digests, |rule| {
        if matches.first(Stream::Fields, rule) {
            findings.note(place.hit(rule, Surface::Part));
        }
    });
}

/// The type that the first octets of a leaf tell, or of what is unpacked, as rules see it.
pub(super) fn look_at_type<W: Watch>(
    media_type: &str,
    place: LeafPlace,
    search: &mut Search,
    sink: &mut Sink<'_, W>,
) {
    let Sink { rules, matches, findings, asked, .. } = sink;
    if !rules.ask(Surface::Type) {
        return;
    }
    findings.charge(media_type.len() as u64);
    let asks = |rule| rules.asks(rule, Surface::Type);
    rules.look_at_whole(media_type.as_bytes(), search, asked, asks, |rule, _| {
        if matches.first(Stream::Sniffed, rule) {
            findings.note(place.hit(rule, Surface::Type));
        }
    });
}

/// What is told of an archive: its findings, the names of its entries, and what is in them.
fn look_into<W: Watch>(
    told: Told<'_>,
    place: LeafPlace,
    search: &mut Search,
    sink: &mut Sink<'_, W>,
) {
    match told {
        Told::Name(name) => look_at_entry(name, place, search, sink),
        Told::Tag(tag) => _ = sink.findings.add(tag, Score::ZERO),
        Told::Unpacked(looking, octets) => looking.read(octets, place, search, sink),
        Told::UnpackedEnd(looking) => looking.finish(place, search, sink),
    }
}

/// The name of an entry, as rules see it.
fn look_at_entry<W: Watch>(
    name: &[u8],
    place: LeafPlace,
    search: &mut Search,
    sink: &mut Sink<'_, W>,
) {
    let Sink { rules, matches, findings, asked, .. } = sink;
    let trimmed = name.iter().rposition(|octet| !matches!(octet, b'.' | b' ' | 0));
    let trimmed = &name[..trimmed.map_or(0, |at| at + 1)];
    if archive::is_archive(trimmed) {
        findings.add(Tags::ARCHIVE_NESTED, Score::ZERO);
    }
    if !rules.ask(Surface::Entry) {
        return;
    }
    let asks = |rule| rules.asks(rule, Surface::Entry);
    let forms = [Some(name), Some(trimmed).filter(|form| form.len() < name.len())];
    for form in forms.into_iter().flatten().filter(|form| !form.is_empty()) {
        findings.charge(form.len() as u64);
        rules.look_at_whole(form, search, asked, asks, |rule, _| {
            if matches.first(Stream::Entries, rule) {
                findings.note(place.hit(rule, Surface::Entry));
            }
        });
    }
}

/// A link, a host or an address of a text, as rules see it.
fn look_at_link<W: Watch>(
    found: &Found<'_>,
    place: LeafPlace,
    search: &mut Search,
    sink: &mut Sink<'_, W>,
) {
    let Sink { rules, matches, findings, asked, .. } = sink;
    let mut note = |rule, surface| {
        if matches.first(Stream::Links, rule) {
            findings.note(place.hit(rule, surface));
        }
    };
    let What::Link(link) = found.what else {
        return rules.look_up(found.what, asked, |rule| {
            if found.in_link && rules.asks(rule, Surface::Url) {
                note(rule, Surface::Url);
            } else if asks_visible(rules, rule) {
                note(rule, Surface::Text);
            }
        });
    };
    if rules.ask(Surface::Url) {
        let asks = |rule| rules.asks(rule, Surface::Url);
        rules.look_at_whole(link, search, asked, asks, |rule, _| note(rule, Surface::Url));
        findings.charge(link.len() as u64);
    }
}
