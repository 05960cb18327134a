//! What stands beside the gateway: a next hop for tests, a scan without a server, and a look into the
//! ledger.

pub mod ledger;
pub mod scan;
pub mod sink;
