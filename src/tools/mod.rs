//! What stands beside the gateway: a next hop for tests, a scan without a server, and what a scan
//! costs on this machine.

pub mod calibrate;
pub mod floods;
pub mod scan;
pub mod sink;
