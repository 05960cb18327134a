//! Records as octets: versioned, every field with its length, and a checksum over all.
//!
//! ```text
//! 'p' version  body  checksum
//! ```
//!
//! Numbers are LEB128, lists and texts begin with their length. The checksum is the first eight octets
//! of a BLAKE3 hash: the store below may hand out octets that a disk has changed without noticing.
//! Octets that are no record never do more harm than to be counted.
//!
//! Records of earlier versions are read: the first one did not tell what was sent of a copy, the second
//! one not by which earlier transactions.

use super::digest::ContentDigest;
use super::key::{Fingerprint, IdentityKey, Key};
use super::record::{
    Content, CopyState, Form, Mail, Outcome, Partial, Phase, Recipient, Record, Sending, Told,
    Transfer,
};
use crate::limits::{LEDGER_RECORD_OCTETS, RECIPIENTS_MAX};

const MAGIC: u8 = b'p';

/// The version that is written, and the newest that is read.
pub const VERSION: u8 = 3;

/// The first version.
const OLDEST: u8 = 1;

const CHECKSUM_OCTETS: usize = 8;

/// A record with some recipients.
const USUAL_OCTETS: usize = 512;

/// Why octets are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// They were written by a newer version of this program.
    #[error("the record has version {0}, this program reads versions up to {VERSION}")]
    Newer(u8),
    /// They are damaged, or something else.
    #[error("the record is damaged")]
    Damaged,
}

impl Record {
    /// The octets of the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer { octets: Vec::with_capacity(USUAL_OCTETS) };
        out.array(&[MAGIC, VERSION]);
        out.record(self);
        let checksum = checksum(&out.octets);
        out.octets.extend_from_slice(&checksum);
        out.octets
    }

    /// Reads a record back.
    pub fn decode(octets: &[u8]) -> Result<Record, Unreadable> {
        let (inner, sum) =
            octets.split_last_chunk::<CHECKSUM_OCTETS>().ok_or(Unreadable::Damaged)?;
        if octets.len() > LEDGER_RECORD_OCTETS || checksum(inner) != *sum {
            return Err(Unreadable::Damaged);
        }
        match inner {
            [MAGIC, version @ OLDEST..=VERSION, body @ ..] => {
                let mut reader = Reader { rest: body, version: *version };
                let record = reader.record().filter(|_| reader.rest.is_empty());
                record.ok_or(Unreadable::Damaged)
            }
            [MAGIC, version, ..] if *version > VERSION => Err(Unreadable::Newer(*version)),
            _ => Err(Unreadable::Damaged),
        }
    }
}

fn checksum(octets: &[u8]) -> [u8; CHECKSUM_OCTETS] {
    let mut sum = [0; CHECKSUM_OCTETS];
    sum.copy_from_slice(&blake3::hash(octets).as_bytes()[..CHECKSUM_OCTETS]);
    sum
}

struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    fn record(&mut self, record: &Record) {
        self.optional(record.key.as_ref(), |out, key| out.array(&key.0));
        self.optional(record.fingerprint.as_ref(), |out, print| out.array(&print.0));
        self.array(&record.identity.0);
        self.number(u64::from(record.tls));
        self.number(match record.form {
            Form::Smtp => 0,
            Form::Prdr => 1,
            Form::Lmtp => 2,
        });
        self.number(record.created_s);
        self.number(record.expires_s);
        self.number(record.rules);
        self.text(record.trace_id.as_bytes());
        self.text(&record.mail.reverse_path);
        self.list(&record.mail.parameters, |out, parameter| out.text(parameter));
        self.list(&record.recipients, Writer::recipient);
        self.number(match record.transfer {
            Transfer::Data => 0,
            Transfer::Bdat => 1,
        });
        self.optional(record.content.as_ref(), |out, content| {
            out.number(content.octets);
            out.array(&content.digest.0);
        });
        self.optional(record.partial.as_ref(), |out, partial| {
            out.number(partial.synced);
            out.number(partial.line_end);
        });
        match &record.phase {
            Phase::Open => self.number(0),
            Phase::Intent => self.number(1),
            Phase::Committed(outcome) => {
                self.number(2);
                self.number(u64::from(outcome.confirmed));
                self.list(&outcome.replies, |out, told| out.text(told.octets()));
            }
        }
    }

    fn recipient(&mut self, recipient: &Recipient) {
        self.text(&recipient.rcpt);
        self.text(&recipient.address);
        self.text(recipient.reply.octets());
        self.number(u64::from(recipient.superseded));
        match &recipient.copy {
            CopyState::NotSent => self.number(0),
            CopyState::Sent { octets, earlier } => {
                self.number(1);
                self.number(*octets);
                self.list(earlier, Writer::sending);
            }
            CopyState::Done(told) => {
                self.number(2);
                self.text(told.octets());
            }
            CopyState::Unknown(sendings) => {
                self.number(3);
                self.list(sendings, Writer::sending);
            }
        }
    }

    fn sending(&mut self, sending: &Sending) {
        self.text(sending.trace_id.as_bytes());
        self.number(sending.octets);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.octets.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.octets.push(number as u8);
    }

    fn array(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    fn text(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        self.array(octets);
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Writer, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn optional<T>(&mut self, value: Option<&T>, some: impl FnOnce(&mut Writer, &T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            some(self, value);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    version: u8,
}

impl Reader<'_> {
    fn record(&mut self) -> Option<Record> {
        let mut record = self.fields()?;
        for recipient in &mut record.recipients {
            // Before the third version a transaction went on under the name of its first one.
            if let CopyState::Unknown(sendings) = &mut recipient.copy
                && self.version < 3
            {
                sendings.iter_mut().for_each(|one| one.trace_id.clone_from(&record.trace_id));
            }
        }
        Some(record)
    }

    fn fields(&mut self) -> Option<Record> {
        Some(Record {
            key: self.optional(|from| from.array().map(Key))?,
            fingerprint: self.optional(|from| from.array().map(Fingerprint))?,
            identity: IdentityKey(self.array()?),
            tls: self.flag()?,
            form: match self.number()? {
                0 => Form::Smtp,
                1 => Form::Prdr,
                2 => Form::Lmtp,
                _ => return None,
            },
            created_s: self.number()?,
            expires_s: self.number()?,
            rules: self.number()?,
            trace_id: self.name()?,
            mail: Mail { reverse_path: self.text()?, parameters: self.list(|from| from.text())? },
            recipients: self.list(Reader::recipient)?,
            transfer: match self.number()? {
                0 => Transfer::Data,
                1 => Transfer::Bdat,
                _ => return None,
            },
            content: self.optional(|from| {
                let octets = from.number()?;
                Some(Content { octets, digest: ContentDigest(from.array()?) })
            })?,
            partial: self.optional(|from| {
                let synced = from.number()?;
                Some(Partial { synced, line_end: from.number()? })
            })?,
            phase: self.phase()?,
        })
    }

    fn recipient(&mut self) -> Option<Recipient> {
        Some(Recipient {
            rcpt: self.text()?,
            address: self.text()?,
            reply: Told::new(self.text()?),
            superseded: self.flag()?,
            copy: match self.number()? {
                0 => CopyState::NotSent,
                1 => CopyState::Sent {
                    octets: if self.version > 1 { self.number()? } else { 0 },
                    earlier: if self.version > 2 { self.list(Reader::sending)? } else { vec![] },
                },
                2 => CopyState::Done(Told::new(self.text()?)),
                3 => CopyState::Unknown(match self.version {
                    1 => Vec::new(),
                    2 => vec![Sending { trace_id: "".into(), octets: self.number()? }],
                    _ => self.list(Reader::sending)?,
                }),
                _ => return None,
            },
        })
    }

    fn sending(&mut self) -> Option<Sending> {
        Some(Sending { trace_id: self.name()?, octets: self.number()? })
    }

    fn name(&mut self) -> Option<Box<str>> {
        Some(String::from_utf8(self.text()?.into()).ok()?.into())
    }

    fn phase(&mut self) -> Option<Phase> {
        Some(match self.number()? {
            0 => Phase::Open,
            1 => Phase::Intent,
            2 => Phase::Committed(Outcome {
                confirmed: self.flag()?,
                replies: self.list(|from| from.text().map(Told::new))?,
            }),
            _ => return None,
        })
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (octet, rest) = self.rest.split_first()?;
            self.rest = rest;
            let digits = u64::from(octet & 0x7F);
            number |= digits.checked_shl(shift)?;
            if digits << shift >> shift != digits {
                return None;
            }
            if octet & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn flag(&mut self) -> Option<bool> {
        match self.number()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn text(&mut self) -> Option<Box<[u8]>> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(text.into())
    }

    /// A list grows with the octets that are there, never with the length that they claim.
    fn list<T>(&mut self, each: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let len = usize::try_from(self.number()?).ok().filter(|len| *len <= LIST_MAX)?;
        let mut items = Vec::with_capacity(len.min(16));
        for _ in 0..len {
            items.push(each(self)?);
        }
        Some(items)
    }

    fn optional<T>(&mut self, some: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => some(self).map(Some),
            false => Some(None),
        }
    }
}

/// Items of one list: recipients, refused ones included, and a PRDR block's replies.
const LIST_MAX: usize = 4 * RECIPIENTS_MAX;

#[cfg(test)]
pub(super) mod tests {
    use super::super::sample;
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn told()(octets in proptest::collection::vec(any::<u8>(), 0..80)) -> Told {
            Told::new(octets)
        }
    }

    fn text() -> impl Strategy<Value = Box<[u8]>> {
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(Vec::into_boxed_slice)
    }

    prop_compose! {
        fn sending()(trace_id in "[ -~]{0,20}", octets: u64) -> Sending {
            Sending { trace_id: trace_id.into(), octets }
        }
    }

    fn copy_state() -> impl Strategy<Value = CopyState> {
        let sendings = || proptest::collection::vec(sending(), 0..4);
        prop_oneof![
            Just(CopyState::NotSent),
            (any::<u64>(), sendings())
                .prop_map(|(octets, earlier)| CopyState::Sent { octets, earlier }),
            told().prop_map(CopyState::Done),
            sendings().prop_map(CopyState::Unknown)
        ]
    }

    prop_compose! {
        fn recipient()(
            rcpt in text(), address in text(), reply in told(), copy in copy_state(), superseded: bool
        ) -> Recipient {
            Recipient { rcpt, address, reply, copy, superseded }
        }
    }

    fn phase() -> impl Strategy<Value = Phase> {
        prop_oneof![
            Just(Phase::Open),
            Just(Phase::Intent),
            (proptest::collection::vec(told(), 0..6), any::<bool>())
                .prop_map(|(replies, confirmed)| Phase::Committed(Outcome { replies, confirmed })),
        ]
    }

    prop_compose! {
        /// Any record.
        pub(crate) fn record()(
            names in any::<(Option<[u8; 16]>, Option<[u8; 32]>, [u8; 16])>(),
            tls: bool,
            form in prop_oneof![Just(Form::Smtp), Just(Form::Prdr), Just(Form::Lmtp)],
            numbers in any::<(u64, u64, u64)>(),
            trace_id in "[ -~]{0,40}",
            mail in (text(), proptest::collection::vec(text(), 0..4)),
            recipients in proptest::collection::vec(recipient(), 0..5),
            bdat: bool,
            content in any::<Option<(u64, [u8; 32])>>(),
            partial in any::<Option<(u64, u64)>>(),
            phase in phase(),
        ) -> Record {
            Record {
                key: names.0.map(Key),
                fingerprint: names.1.map(Fingerprint),
                identity: IdentityKey(names.2),
                tls,
                form,
                created_s: numbers.0,
                expires_s: numbers.1,
                rules: numbers.2,
                trace_id: trace_id.into(),
                mail: Mail { reverse_path: mail.0, parameters: mail.1 },
                recipients,
                transfer: if bdat { Transfer::Bdat } else { Transfer::Data },
                content: content.map(|(octets, digest)| Content {
                    octets,
                    digest: ContentDigest(digest),
                }),
                partial: partial.map(|(synced, line_end)| Partial { synced, line_end }),
                phase,
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was(record in record()) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        // A-84: truncation at each octet.
        #[test]
        fn a_84_no_truncated_record_is_taken_for_one(record in record()) {
            let octets = record.encode();
            for end in 0..octets.len() {
                prop_assert_eq!(Record::decode(&octets[..end]), Err(Unreadable::Damaged));
            }
        }

        // A-84: one bit flipped; and the same behind a checksum that fits, as a forger would do.
        #[test]
        fn a_84_no_flipped_bit_passes_or_panics(record in record(), seed: u64) {
            let octets = record.encode();
            for number in 0..200u64 {
                let draw = (seed ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize;
                let mut damaged = octets.clone();
                let place = draw / 8 % damaged.len();
                damaged[place] ^= 1 << (draw % 8);
                prop_assert_eq!(Record::decode(&damaged), Err(Unreadable::Damaged));
                let inner = damaged.len() - CHECKSUM_OCTETS;
                let sum = checksum(&damaged[..inner]);
                damaged[inner..].copy_from_slice(&sum);
                // Whatever it says now, it says it without a panic.
                let _ = Record::decode(&damaged);
            }
        }

        #[test]
        fn no_octets_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::decode(&body);
            let mut framed = [&[MAGIC, VERSION], &*body].concat();
            let sum = checksum(&framed);
            framed.extend_from_slice(&sum);
            let _ = Record::decode(&framed);
        }
    }

    // A store that earlier versions have written: a copy in doubt can be asked for as far as they told.
    #[test]
    fn records_of_earlier_versions_are_read() {
        let mut record = sample::record(&["a@x", "b@x", "c@x", "d@x"]);
        let sending = |octets| Sending { trace_id: record.trace_id.clone(), octets };
        let done = CopyState::Done(Told::new(*b"250 ok\r\n"));
        let unknown = CopyState::Unknown(vec![sending(9)]);
        for (place, copy) in [(0, sample::sent(7)), (1, unknown), (2, done)] {
            record.recipients[place].copy = copy;
        }
        for version in [1, 2] {
            let mut expected = record.clone();
            if version == 1 {
                // Then no next hop was given an id.
                expected.recipients[0].copy = sample::sent(0);
                expected.recipients[1].copy = CopyState::Unknown(Vec::new());
            }
            let octets = sample::octets_of_version(version, &record);
            assert_eq!(Record::decode(&octets), Ok(expected), "version {version}");
            for end in 0..octets.len() {
                assert_eq!(Record::decode(&octets[..end]), Err(Unreadable::Damaged));
            }
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut octets = vec![MAGIC, VERSION + 1, 1, 2, 3];
        let sum = checksum(&octets);
        octets.extend_from_slice(&sum);
        assert_eq!(Record::decode(&octets), Err(Unreadable::Newer(VERSION + 1)));
        octets[1] = 0;
        assert_eq!(Record::decode(&octets), Err(Unreadable::Damaged));
        assert_eq!(Record::decode(&octets[..octets.len() - 1]), Err(Unreadable::Damaged));
    }

    #[test]
    fn long_lists_cost_no_memory_before_their_items_are_there() {
        let mut reader = Reader { rest: &[0x80, 0xC8, 0x01, 0, 0], version: VERSION };
        assert!(reader.list(|from| from.text()).is_none());
        let mut reader = Reader { rest: &[0xFF; 10], version: VERSION };
        assert!(reader.number().is_none());
        let mut most = [0xFF; 10];
        most[9] = 1;
        let mut reader = Reader { rest: &most, version: VERSION };
        assert_eq!(reader.number(), Some(u64::MAX));
    }
}
