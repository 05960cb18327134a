//! What stands beside the gateway: a next hop for tests, a scan without a server, what a scan costs
//! on this machine, and rules of others as ours.

pub mod calibrate;
pub mod floods;
pub mod import;
pub mod scan;
pub mod sink;
