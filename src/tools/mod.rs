//! What stands beside the gateway: a next hop and a crowd of clients for tests, and a scan without a server.

pub mod load;
pub mod scan;
pub mod sink;
