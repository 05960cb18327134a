//! What sessions may know of the routes behind them: written by the relay, read at EHLO and RCPT.

use crate::policy::RouteId;
use std::cell::RefCell;
use std::rc::Rc;

/// The board of one shard.
#[derive(Clone, Debug, Default)]
pub struct Board {
    routes: Rc<RefCell<Vec<Standing>>>,
}

/// What is known of one route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What its next hops offer: what all of them did that were greeted; `None` before the first.
    pub offers: Option<HopOffers>,
    /// No next hop of it can be reached: a message for it would only wait.
    pub down: bool,
    /// The next hop is asked before RCPT is answered.
    pub asks_ahead: bool,
}

/// The extensions of a next hop that somebody in front of it may want to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopOffers {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binarymime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// PRDR (draft-hall-prdr-00).
    pub prdr: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// RESUME (draft-fanf-smtp-rfc1845bis-01).
    pub resume: bool,
    /// XCLIENT with at least NAME, ADDR and HELO.
    pub xclient: bool,
}

impl HopOffers {
    /// What a folder of Maildirs can honour: it keeps any octets, tells nobody of a delivery, and
    /// promises nothing of what is done with the mail from there.
    pub(super) const OF_MAILDIRS: HopOffers = HopOffers {
        pipelining: true,
        size: true,
        eight_bit_mime: true,
        chunking: true,
        binarymime: true,
        smtputf8: true,
        dsn: false,
        prdr: false,
        starttls: false,
        requiretls: false,
        resume: false,
        xclient: false,
    };

    /// What both offer.
    pub(super) fn common(self, other: HopOffers) -> HopOffers {
        HopOffers {
            pipelining: self.pipelining && other.pipelining,
            size: self.size && other.size,
            eight_bit_mime: self.eight_bit_mime && other.eight_bit_mime,
            chunking: self.chunking && other.chunking,
            binarymime: self.binarymime && other.binarymime,
            smtputf8: self.smtputf8 && other.smtputf8,
            dsn: self.dsn && other.dsn,
            prdr: self.prdr && other.prdr,
            starttls: self.starttls && other.starttls,
            requiretls: self.requiretls && other.requiretls,
            resume: self.resume && other.resume,
            xclient: self.xclient && other.xclient,
        }
    }
}

impl Board {
    /// A board on which nothing is known of `routes` routes.
    pub fn new(routes: usize) -> Board {
        Board { routes: Rc::new(RefCell::new(vec![Standing::default(); routes])) }
    }

    /// What is known of a route.
    pub fn standing(&self, route: RouteId) -> Standing {
        self.routes.borrow().get(route.index()).copied().unwrap_or_default()
    }

    /// Notes what is known of a route.
    pub fn note(&self, route: RouteId, standing: Standing) {
        if let Some(known) = self.routes.borrow_mut().get_mut(route.index()) {
            *known = standing;
        }
    }
}
