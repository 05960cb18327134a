//! What stands beside the gateway: a next hop and a crowd of clients for tests, a scan without a
//! server, and what a scan costs on this machine.

pub mod calibrate;
pub mod floods;
pub mod load;
pub mod scan;
pub mod sink;
