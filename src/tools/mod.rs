//! What stands beside the gateway: a next hop and a crowd of clients for tests, a scan without a
//! server and what it costs on this machine, and a look into the ledger.

pub mod calibrate;
pub mod floods;
pub mod ledger;
pub mod load;
pub mod scan;
pub mod sink;
