//! Mail that ends here: one job for a thread that may wait for a disk.

use super::plan::{Envelope, Outcome};
use crate::wire::{Body, BodyKind};
use std::path::PathBuf;
use std::sync::Arc;

/// A group whose route ends here: a copy for each of its recipients, durable before it is told.
///
/// It owns all that it needs, so that it can be done on any thread.
#[derive(Clone, Debug)]
pub struct StoreJob {
    /// Where the answer belongs.
    pub key: StoreKey,
    /// The folder of the route.
    pub folder: PathBuf,
    /// Who sends what to whom.
    pub envelope: Arc<Envelope>,
    /// Places in the envelope's list.
    pub recipients: Vec<usize>,
    /// Header lines to put on top, in wire form.
    pub prepend: Vec<u8>,
    /// The message as it came.
    pub body: Arc<Body>,
    /// A name that no other job of this host has.
    pub id: String,
}

/// Where the answer to a [`StoreJob`] belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreKey {
    pub(super) job: usize,
    pub(super) group: usize,
}

impl StoreJob {
    /// The folder of a recipient's Maildir.
    ///
    /// RFC 5321 4.1.2 lets a local-part hold almost any octet: what is not a harmless letter of a
    /// file name is written as `%` and two hex digits, so that no address leads out of the folder.
    pub fn maildir(&self, recipient: usize) -> PathBuf {
        let address = self.envelope.recipients.get(recipient).map_or(&[][..], |one| &*one.address);
        let at = memchr::memrchr(b'@', address).unwrap_or(address.len());
        let local_part = crate::wire::unquoted(&address[..at]);
        let domain = address.get(at + 1..).unwrap_or_default();
        self.folder.join(file_name(domain)).join(file_name(&local_part))
    }

    /// The message as it is stored: header lines, then content without stuffed dots, with LF for
    /// CRLF, which is what readers of Maildirs expect. Binary content is stored octet by octet, and
    /// then all header lines end with CRLF as its own do.
    ///
    /// RFC 5321 4.4: when the delivery server makes the final delivery, it inserts a return-path
    /// line at the beginning of the mail data.
    pub fn write(&self, recipient: usize, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let address = self.envelope.recipients.get(recipient).map_or(&[][..], |one| &*one.address);
        let reverse_path = &*self.envelope.reverse_path;
        let own =
            [b"Return-Path: <", reverse_path, b">\r\nDelivered-To: ", address, b"\r\n"].concat();
        for slice in [&*own, &*self.prepend].into_iter().chain(self.body.content()) {
            if self.envelope.body == BodyKind::BinaryMime {
                out.write_all(slice)?;
                continue;
            }
            // Text holds CR only in front of LF: the CRs can simply be left out.
            for line_part in slice.split(|octet| *octet == b'\r') {
                out.write_all(line_part)?;
            }
        }
        Ok(())
    }

    /// The answer when nothing could be stored.
    pub fn failed(&self, reply: &crate::wire::Reply) -> Vec<Outcome> {
        self.recipients.iter().map(|_| Outcome::Failed(reply.clone())).collect()
    }
}

fn file_name(octets: &[u8]) -> String {
    let mut name = String::with_capacity(octets.len());
    for (index, octet) in octets.to_ascii_lowercase().iter().enumerate() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'+' | b'=' => name.push(char::from(*octet)),
            b'.' if index > 0 => name.push('.'),
            _ => name.push_str(&format!("%{octet:02X}")),
        }
    }
    if name.is_empty() { "%".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ClassId, RouteId};
    use crate::relay::Recipient;
    use crate::wire::{BodyBuilder, Budget};

    fn stored(body: BodyKind, content: &[u8]) -> Vec<u8> {
        let mut builder = BodyBuilder::plain(&Budget::new(1 << 20));
        builder.push(content, false).unwrap();
        let recipient = Recipient {
            address: b"b@example.net".as_slice().into(),
            notify: None,
            orcpt: None,
            class: ClassId(0),
            route: RouteId(0),
        };
        let envelope = Envelope { body, recipients: vec![recipient], ..Envelope::default() };
        let job = StoreJob {
            key: StoreKey { job: 0, group: 0 },
            folder: PathBuf::new(),
            envelope: Arc::new(envelope),
            recipients: vec![0],
            prepend: b"Received: x\r\n".to_vec(),
            body: builder.finish(),
            id: "a-1".to_owned(),
        };
        let mut file = Vec::new();
        job.write(0, &mut file).unwrap();
        file
    }

    #[test]
    fn text_is_stored_with_lf_and_binary_content_as_it_is() {
        let text = stored(BodyKind::EightBitMime, b"Subject: y\r\n\r\n.z");
        let own = "Return-Path: <>\nDelivered-To: b@example.net\nReceived: x\n";
        assert_eq!(text, [own.as_bytes(), b"Subject: y\n\n.z"].concat());
        let content = b"Subject: y\r\n\r\na\rb\nc\0\r\n";
        let binary = stored(BodyKind::BinaryMime, content);
        assert_eq!(binary, [own.replace('\n', "\r\n").as_bytes(), content].concat());
    }

    #[test]
    fn no_address_leads_out_of_the_folder() {
        let table: [(&[u8], &str); 7] = [
            (b"Ok1", "ok1"),
            (b"first.last+tag", "first.last+tag"),
            (b"..", "%2E."),
            (b".", "%2E"),
            (b"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (b"a\0b", "a%00b"),
            (b"", "%"),
        ];
        for (local_part, expected) in table {
            assert_eq!(file_name(local_part), expected);
        }
    }
}
