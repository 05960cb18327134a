//! The one pass: content octets in, in any cut; a set of findings out.
//!
//! A [`Scanner`] belongs to one message. It takes un-stuffed content as it arrives, follows header
//! fields and the MIME structure, undoes base64 and quoted-printable, and runs the literals of the
//! [`Rules`] over raw and decoded octets with their state carried over every cut. What it found is a
//! [`Findings`]: tags with a score, and where they were found. It knows nothing of recipients.

mod findings;

pub use findings::{Findings, Hit, Score, Surface, TagId, TagSet, Tags};
