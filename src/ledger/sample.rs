//! A record for tests.

use super::digest::ContentDigest;
use super::key::{IdentityKey, Key};
use super::record::{Content, CopyState, Form, Mail, Phase, Recipient, Record, Told, Transfer};

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
