//! What goes where: the recipients of one message, grouped by next hop and action.

use crate::ledger::Naming;
use crate::policy::{ClassId, RouteId};
use crate::wire::{Body, BodyKind, Notify, Reply, Ret};
use core::net::IpAddr;
use std::sync::Arc;

/// Who sends what to whom, as far as next hops are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// MAIL FROM without angle brackets; empty for the null sender.
    pub reverse_path: Box<[u8]>,
    /// What the client said of the content's octets.
    pub body: BodyKind,
    /// The client asked for SMTPUTF8.
    pub smtputf8: bool,
    /// RET, if given.
    pub ret: Option<Ret>,
    /// ENVID as it came, if given.
    pub envid: Option<Box<[u8]>>,
    /// The client asked for REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// Who the client is.
    pub origin: Origin,
    /// The recipients whose RCPT got 2xx, in that order, repetitions included.
    pub recipients: Vec<Recipient>,
}

/// The client, as far as next hops that ask for it (XCLIENT) are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its address; `None` for a unix socket, or when it is not known.
    pub address: Option<IpAddr>,
    /// Its port, if known.
    pub port: Option<u16>,
    /// Its name, if a trusted peer has told one.
    pub name: Option<Box<[u8]>>,
    /// The name of its greeting.
    pub helo: Box<[u8]>,
    /// It greeted with EHLO or LHLO.
    pub extended: bool,
    /// The name that it has authenticated with, as a trusted peer has told it.
    pub login: Option<Box<[u8]>>,
}

/// One accepted RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address that next hops are given, without angle brackets.
    pub address: Box<[u8]>,
    /// NOTIFY, if given.
    pub notify: Option<Notify>,
    /// ORCPT as it came, if given.
    pub orcpt: Option<Box<[u8]>>,
    /// How its mail is judged.
    pub class: ClassId,
    /// Where its mail goes.
    pub route: RouteId,
}

/// A message that is to be handed on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The transaction's id: no other message of this host has it.
    pub id: String,
    /// Who sends what to whom.
    pub envelope: Arc<Envelope>,
    /// The message as it came.
    pub body: Arc<Body>,
    /// The groups; each recipient is in one at most.
    pub groups: Vec<Group>,
    /// What its transactions are named by with next hops that offer RESUME; without it they have no
    /// names.
    pub naming: Option<Naming>,
}

/// Recipients that get the same octets over the same route: one downstream transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where they go.
    pub route: RouteId,
    /// Header lines that are put on top, in wire form.
    pub prepend: Vec<u8>,
    /// Places in the envelope's list, in its order.
    pub recipients: Vec<usize>,
    /// Transactions by which a next hop may have them already, the oldest first: it is asked for them
    /// before anything is handed on.
    pub earlier: Vec<Earlier>,
}

/// An earlier transaction of the same recipients, whose answer was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// What it was named by.
    pub naming: Naming,
    /// The octets of its message, with the lines on top.
    pub octets: u64,
}

/// What came of one recipient's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop, or the durable store, has taken it.
    Delivered,
    /// The same; but an earlier transaction may have delivered it, and not every next hop of the route could
    /// be asked: it may be a second copy.
    Repeated,
    /// It was not taken: a 4xx or 5xx reply, fit to be told to the client.
    Failed(Reply),
    /// The next hop has the whole message and did not say what became of it: a 4xx reply. When the
    /// client sends it again, there may be a second copy (RFC 1047).
    Unknown(Reply),
    /// An earlier transaction may have delivered it, and whoever could tell cannot be asked now: a 4xx
    /// reply. This one has sent nothing.
    Unasked(Reply),
}

impl Plan {
    /// A plan without groups yet.
    pub fn new(id: String, envelope: Arc<Envelope>, body: Arc<Body>) -> Plan {
        Plan { id, envelope, body, groups: Vec::new(), naming: None }
    }

    /// Puts a recipient to those who go the same way with the same header lines, and of whom the same
    /// is known.
    pub fn add(
        &mut self,
        recipient: usize,
        route: RouteId,
        trace: &[u8],
        add: Option<&[u8]>,
        earlier: Vec<Earlier>,
    ) {
        let lines = add.unwrap_or_default();
        let same = |group: &Group| {
            group.route == route
                && group.earlier == earlier
                && group.prepend.strip_suffix(trace).is_some_and(|added| added == lines)
        };
        match self.groups.iter_mut().find(|group| same(group)) {
            Some(group) => group.recipients.push(recipient),
            None => self.groups.push(Group {
                route,
                prepend: [lines, trace].concat(),
                recipients: vec![recipient],
                earlier,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{BodyBuilder, Budget};

    #[test]
    fn recipients_are_grouped_by_route_and_header_lines() {
        let body = BodyBuilder::new(&Budget::new(0)).finish();
        let mut plan = Plan::new("a-1".to_owned(), Arc::new(Envelope::default()), body);
        let mark: Option<&[u8]> = Some(b"X-Spam-Flag: YES\r\n");
        for (recipient, route, add) in
            [(0, 1, None), (1, 2, None), (2, 1, mark), (3, 1, None), (4, 1, mark)]
        {
            plan.add(recipient, RouteId(route), b"Received: x\r\n", add, Vec::new());
        }
        let groups: Vec<_> =
            plan.groups.iter().map(|group| (group.route.0, group.recipients.clone())).collect();
        assert_eq!(groups, [(1, vec![0, 3]), (2, vec![1]), (1, vec![2, 4])]);
        assert_eq!(plan.groups[2].prepend, b"X-Spam-Flag: YES\r\nReceived: x\r\n");
    }
}
