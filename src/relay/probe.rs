//! Asking a next hop about a recipient before RCPT is answered.

use crate::policy::RouteId;
use crate::wire::Reply;

/// The question: would the next hop take mail for this recipient?
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The route whose next hop is asked.
    pub route: RouteId,
    /// The recipient's address, without angle brackets.
    pub recipient: Box<[u8]>,
    /// The address is outside ASCII.
    pub smtputf8: bool,
}

/// The answer to a [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The next hop takes the recipient, or takes it for now.
    Accepted,
    /// It does not: the reply that RCPT gets, 4xx or 5xx.
    Refused(Reply),
}
