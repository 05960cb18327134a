//! What stands beside the gateway: a next hop for tests, and a scan without a server.

pub mod scan;
pub mod sink;
