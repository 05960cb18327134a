//! A record for tests.

use super::digest::ContentDigest;
use super::key::{IdentityKey, Key};
use super::record::{
    Content, CopyState, Form, Mail, Phase, Recipient, Record, Sending, Told, Transfer,
};

/// An intent of a plain SMTP transaction with these recipients, all accepted.
pub(crate) fn record(addresses: &[&str]) -> Record {
    let recipient = |address: &&str| Recipient {
        rcpt: format!("TO:<{address}>").into_bytes().into(),
        address: address.as_bytes().into(),
        reply: Told::new(*b"250 2.1.5 recipient ok\r\n"),
        copy: CopyState::NotSent,
        superseded: false,
    };
    Record {
        key: Some(Key([1; 16])),
        fingerprint: None,
        identity: IdentityKey([2; 16]),
        tls: false,
        form: Form::Smtp,
        created_s: 1_800_000_000,
        expires_s: 1_800_000_000 + 48 * 3600,
        rules: 7,
        trace_id: "5f1z3-1".into(),
        mail: Mail { reverse_path: (*b"s@client.example").into(), parameters: Vec::new() },
        recipients: addresses.iter().map(recipient).collect(),
        transfer: Transfer::Data,
        content: Some(Content { octets: 17, digest: ContentDigest([3; 32]) }),
        partial: None,
        phase: Phase::Intent,
    }
}

/// A copy of so many octets, by this transaction alone.
pub(crate) fn sent(octets: u64) -> CopyState {
    CopyState::Sent { octets, earlier: Vec::new() }
}

/// A transaction that a next hop can be asked for.
pub(crate) fn sending(trace_id: &str, octets: u64) -> Sending {
    Sending { trace_id: trace_id.into(), octets }
}

/// The octets that an earlier version has written of this record.
pub(crate) fn octets_of_version(version: u8, record: &Record) -> Vec<u8> {
    let mut octets = record.encode();
    octets.truncate(octets.len() - 8);
    octets[1] = version;
    for recipient in &record.recipients {
        let behind = [&*recipient.address, &[24], recipient.reply.octets(), &[0]].concat();
        let place = memchr::memmem::find(&octets, &behind).unwrap() + behind.len();
        let (now, then) = match &recipient.copy {
            CopyState::Sent { octets, .. } => (vec![1, *octets as u8, 0], vec![1, *octets as u8]),
            CopyState::Unknown(sendings) => {
                let Sending { trace_id, octets } = &sendings[0];
                let name = [&[3, 1, trace_id.len() as u8], trace_id.as_bytes()].concat();
                ([name, vec![*octets as u8]].concat(), vec![3, *octets as u8])
            }
            CopyState::NotSent | CopyState::Done(_) => continue,
        };
        assert_eq!(octets[place..place + now.len()], now);
        // The first version had nothing but the state.
        let then = if version == 1 { &then[..1] } else { &then[..] };
        octets.splice(place..place + now.len(), then.iter().copied());
    }
    let sum = blake3::hash(&octets);
    octets.extend_from_slice(&sum.as_bytes()[..8]);
    octets
}
