//! Names of records: keyed hashes, so that no id, address or user name is stored in clear.
//!
//! A record is found by a [`Key`]: of a client's identity and the id it has chosen (checkpoint 5), or
//! of a message's [`Fingerprint`] and one of its recipients (checkpoint 6). Without the server's
//! [`Secret`] nobody can make a key, so nobody can make two that collide.

use super::digest::ContentDigest;
use super::record::Mail;
use core::net::IpAddr;
use std::fmt;

/// The server's secret. All that share a store share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// Who a client is, as far as a record is bound to it: the first of these that is known.
///
/// The revision of RFC 1845, 2.2: a client that has authenticated is known by that, wherever it comes
/// from; another one by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The name that it has authenticated with.
    Login(&'a [u8]),
    /// SHA-256 of the public key of its certificate.
    ClientKey(&'a [u8; 32]),
    /// Its address: the whole one of IPv4, the /64 of IPv6.
    Address(IpAddr),
    /// A unix socket, or an address that is not known.
    Unknown,
}

/// The hash of an identity at one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdentityKey(pub [u8; 16]);

/// What a record is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

/// What is the same in a message and in its repetition, its recipients apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// What a hash is of: no octets of one kind can pass for those of another.
#[derive(Clone, Copy)]
enum Kind {
    Identity = 1,
    Transaction = 2,
    Fingerprint = 3,
    Copy = 4,
    Naming = 5,
}

/// What the ids of a message's transactions with next hops are made from. Whoever knows such an id may
/// ask for its outcome, so nobody can guess one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Naming([u8; 32]);

impl Secret {
    /// A secret of 32 random octets.
    pub fn new(octets: [u8; 32]) -> Secret {
        Secret(octets)
    }

    /// Who the client is, at a listener.
    pub fn identity(&self, identity: Identity<'_>, listener: &str) -> IdentityKey {
        let mut hasher = self.hasher(Kind::Identity);
        hasher.part(listener.as_bytes());
        match identity {
            Identity::Login(name) => hasher.part(b"auth").part(name),
            Identity::ClientKey(key) => hasher.part(b"cert").part(key),
            Identity::Address(address) => match address.to_canonical() {
                IpAddr::V4(address) => hasher.part(b"ip").part(&address.octets()),
                IpAddr::V6(address) => hasher.part(b"ip").part(&address.octets()[..8]),
            },
            Identity::Unknown => hasher.part(b"unknown"),
        };
        IdentityKey(hasher.short())
    }

    /// The key of a transaction that the client has named itself; the id is case-sensitive.
    pub fn transaction(&self, identity: IdentityKey, transid: &[u8]) -> Key {
        Key(self.hasher(Kind::Transaction).part(&identity.0).part(transid).short())
    }

    /// The fingerprint of a message of a client without ids. `identity` is the one of its address.
    pub fn fingerprint(
        &self,
        identity: IdentityKey,
        mail: &Mail,
        content: &ContentDigest,
    ) -> Fingerprint {
        let mut hasher = self.hasher(Kind::Fingerprint);
        hasher.part(&identity.0).part(&mail.reverse_path).part(&content.0);
        for parameter in mail.meaningful_parameters() {
            hasher.part(parameter);
        }
        Fingerprint(hasher.whole())
    }

    /// The key of one recipient's copy of a message. The case of a domain does not matter.
    pub fn copy(&self, fingerprint: &Fingerprint, address: &[u8]) -> Key {
        let at = memchr::memrchr(b'@', address).unwrap_or(address.len());
        let (local_part, domain) = address.split_at(at);
        let mut hasher = self.hasher(Kind::Copy);
        hasher.part(&fingerprint.0).part(local_part).part(domain).lower_last(domain.len());
        Key(hasher.short())
    }

    /// What names the transactions with next hops of the message with this trace id.
    pub fn naming(&self, trace_id: &str) -> Naming {
        let mut hasher = self.hasher(Kind::Naming);
        Naming(hasher.part(trace_id.as_bytes()).whole())
    }

    fn hasher(&self, kind: Kind) -> Hasher<'_> {
        let mut hasher = Hasher::new(&self.0);
        hasher.octets.push(kind as u8);
        hasher
    }
}

impl Key {
    /// The part by which the index knows it.
    pub fn tag(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// A keyed hash of parts. They are put together first: what is hashed at once is done in less than half the
/// time, and it is always short.
struct Hasher<'a> {
    key: &'a [u8; 32],
    octets: Vec<u8>,
}

impl Naming {
    /// The id, without angle brackets, of the transaction in which these recipients are offered over a
    /// route: the same whenever they are.
    ///
    /// draft-fanf-smtp-rfc1845bis-01 2.1: transid-spec = dot-string "@" domain.
    pub fn transid<'a>(
        &self,
        route: &str,
        recipients: impl Iterator<Item = &'a [u8]>,
        hostname: &str,
    ) -> Box<str> {
        let mut hasher = Hasher::new(&self.0);
        hasher.part(route.as_bytes());
        for address in recipients {
            hasher.part(address);
        }
        format!("{:032x}@{hostname}", u128::from_be_bytes(hasher.short())).into()
    }
}

impl<'a> Hasher<'a> {
    fn new(key: &'a [u8; 32]) -> Hasher<'a> {
        // Enough for a fingerprint or a copy of all but the longest paths.
        Hasher { key, octets: Vec::with_capacity(256) }
    }

    /// Adds a part with its length, so that no two lists of parts are the same octets.
    fn part(&mut self, octets: &[u8]) -> &mut Hasher<'a> {
        self.octets.extend_from_slice(&(octets.len() as u64).to_le_bytes());
        self.octets.extend_from_slice(octets);
        self
    }

    /// The case of the last octets does not matter.
    fn lower_last(&mut self, count: usize) {
        let from = self.octets.len() - count;
        self.octets[from..].make_ascii_lowercase();
    }

    fn whole(&self) -> [u8; 32] {
        *blake3::keyed_hash(self.key, &self.octets).as_bytes()
    }

    fn short(&self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.whole()[..16]);
        short
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Debug for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Naming(..)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:016x})", self.tag())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Fingerprint({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new([7; 32])
    }

    fn at(address: &str) -> Identity<'static> {
        Identity::Address(address.parse().unwrap())
    }

    // Revision of RFC 1845, 2.2: identity is the transid with a secure client identity.
    #[test]
    fn identities_that_are_the_same_and_those_that_are_not() {
        let key = |identity, listener| secret().identity(identity, listener);
        let same = [
            (at("192.0.2.1"), at("::ffff:192.0.2.1")),
            (at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9")),
            (Identity::Login(b"x"), Identity::Login(b"x")),
        ];
        for (one, other) in same {
            assert_eq!(key(one, "mx"), key(other, "mx"));
            assert_ne!(key(one, "mx"), key(other, "filter"), "a listener is part of it");
        }
        let strangers = [
            at("192.0.2.1"),
            at("192.0.2.2"),
            at("2001:db8:1:2::1"),
            at("2001:db8:1:3::1"),
            Identity::Login(b"ip"),
            Identity::Login(b"192.0.2.1"),
            Identity::ClientKey(&[1; 32]),
            Identity::ClientKey(&[2; 32]),
            Identity::Unknown,
        ];
        for (index, one) in strangers.iter().enumerate() {
            for other in &strangers[..index] {
                assert_ne!(key(*one, "mx"), key(*other, "mx"), "{one:?} {other:?}");
            }
        }
    }

    // Revision of RFC 1845, 2.1: transid-spec is opaque and case-sensitive; the same one of two clients
    // is two transactions. Checkpoint 5: ids are not stored in clear.
    #[test]
    fn ids_are_bound_to_their_client_and_to_the_servers_secret() {
        let (one, other) = (secret().identity(at("192.0.2.1"), "mx"), IdentityKey([0; 16]));
        let key = secret().transaction(one, b"a@b");
        assert_ne!(key, secret().transaction(other, b"a@b"));
        assert_ne!(key, secret().transaction(one, b"A@b"));
        assert_ne!(key, Secret::new([8; 32]).transaction(one, b"a@b"));
        assert_eq!(key, secret().transaction(one, b"a@b"));
        assert_eq!(format!("{:?}", secret()), "Secret(..)");
    }

    // Revision of RFC 1845, 2.1: an id names one transaction, and cannot be guessed.
    #[test]
    fn ids_towards_next_hops_are_the_same_for_the_same_offer_alone() {
        let naming = secret().naming("a-1");
        let id = |naming: Naming, route, recipients: &[&[u8]]| {
            naming.transid(route, recipients.iter().copied(), "mx.example.net")
        };
        let first = id(naming, "inside", &[b"a@b", b"c@d"]);
        assert_eq!(first, id(secret().naming("a-1"), "inside", &[b"a@b", b"c@d"]));
        assert!(first.ends_with("@mx.example.net") && first.len() == 32 + 15, "{first}");
        for other in [
            id(secret().naming("a-2"), "inside", &[b"a@b", b"c@d"]),
            id(Secret::new([8; 32]).naming("a-1"), "inside", &[b"a@b", b"c@d"]),
            id(naming, "outside", &[b"a@b", b"c@d"]),
            id(naming, "inside", &[b"a@b"]),
            id(naming, "inside", &[b"c@d", b"a@b"]),
            id(naming, "inside", &[b"a@bc@d"]),
        ] {
            assert_ne!(first, other);
        }
        assert_eq!(format!("{naming:?}"), "Naming(..)");
    }

    // Checkpoint 6: the fingerprint holds what changes the meaning of a message.
    #[test]
    fn a_fingerprint_depends_on_sender_content_and_meaningful_parameters() {
        let identity = IdentityKey([1; 16]);
        let (content, other_content) = (ContentDigest([1; 32]), ContentDigest([2; 32]));
        let print = |mail: &[u8], content| {
            secret().fingerprint(identity, &Mail::read(mail).unwrap(), content)
        };
        let plain = print(b"FROM:<a@b>", &content);
        let same: [&[u8]; 4] = [
            b"from:<a@b>",
            b"FROM:<a@b> SIZE=100",
            b"FROM:<a@b> PRDR",
            b"FROM:<a@b> TRANSID=<x@y> TRANSOFF=0",
        ];
        for mail in same {
            assert_eq!(print(mail, &content), plain);
        }
        let others: [&[u8]; 4] =
            [b"FROM:<a@c>", b"FROM:<>", b"FROM:<a@b> RET=HDRS", b"FROM:<a@b> SMTPUTF8"];
        for mail in others {
            assert_ne!(print(mail, &content), plain);
        }
        assert_ne!(print(b"FROM:<a@b>", &other_content), plain);
        let copy = |address: &[u8]| secret().copy(&plain, address);
        assert_eq!(copy(b"x@Example.NET"), copy(b"x@example.net"));
        assert_ne!(copy(b"X@example.net"), copy(b"x@example.net"));
        assert_ne!(copy(b"y@example.net"), copy(b"x@example.net"));
    }
}
