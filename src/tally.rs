//! What a shard counts.
//!
//! Each shard has its own [`Tally`] of plain cells, without atomics or locks; a scrape asks each
//! shard for a [`Counts`] and sums them. One list makes the cells, the names and the help texts.

use std::cell::Cell;
use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// The counters of one shard.
        #[derive(Debug, Default)]
        pub struct Tally {
            $($(#[doc = $help])+ pub $name: Counter,)+
        }

        /// The values of all counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[doc = $help])+ pub $name: u64,)+
        }

        impl Tally {
            /// The values now.
            pub fn counts(&self) -> Counts {
                Counts { $($name: self.$name.value(),)+ }
            }
        }

        impl Counts {
            /// Name, help text and value of each counter.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($help),+).trim_ascii(), self.$name),)+].into_iter()
            }
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Counts) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections,
    /// Connections closed.
    connections_closed,
    /// Connections turned away because the limit was reached.
    connections_shed,
    /// Connections turned away because their source had too many.
    connections_refused,
    /// Connections that the kernel gave to another shard than the one that is computed; expected to
    /// stay 0.
    connections_astray,
    /// TLS handshakes with clients that were done.
    tls_handshakes,
    /// TLS handshakes with clients that went on from an earlier one.
    tls_resumed,
    /// TLS handshakes with clients that failed, or whose client went.
    tls_handshakes_failed,
    /// TLS handshakes not begun because the source of the client had too many under way.
    tls_handshakes_refused,
    /// TLS handshakes with next hops that were done.
    next_hop_tls_handshakes,
    /// Connections to next hops that failed under TLS.
    next_hop_tls_failed,
    /// Sessions that ended by a mistake of ours (a panic); expected to stay 0.
    sessions_panicked,
    /// Replies 500, 501, 502, 503 and 555 for errors of the client's own making.
    protocol_errors,
    /// Sessions closed by a timeout.
    timeouts,
    /// RCPT commands accepted.
    recipients_accepted,
    /// RCPT commands refused or put off.
    recipients_refused,
    /// RCPT commands put off to a transaction of their own class.
    recipients_split,
    /// Messages scanned: one for each message, whatever the number of recipients.
    scans,
    /// Content octets scanned.
    scanned_octets,
    /// Messages read to their end.
    messages,
    /// Messages lost with their connection before their end.
    messages_lost,
    /// Copies that a next hop or a store has taken.
    copies_delivered,
    /// Copies laid aside in quarantine.
    copies_quarantined,
    /// Copies accepted and thrown away.
    copies_discarded,
    /// Copies refused for good.
    copies_refused,
    /// Copies put off.
    copies_deferred,
    /// Of those, copies that a next hop may have: it took the message and did not answer.
    copies_unknown,
    /// Copies delivered that may be second ones: an earlier try may have delivered them, and not every
    /// next hop of the route could be asked.
    copies_repeated,
    /// Stored reply sets given again.
    replies_repeated,
    /// Reply sets handed to the socket, each in one send.
    reply_sets,
    /// Log records dropped because the log was behind, or could not be written.
    log_records_lost,
}

/// A counter of one thread.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get().wrapping_add(more));
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}
