//! What operators see of the record of outcomes: its metrics, and its routes on the admin port.

mod admin;
mod metrics;

pub use admin::admin_routes;
pub use metrics::ledger_metrics;
