//! What the admin port tells of the ledger: `/ledger` and `/ledger/ID`.

use crate::durable::LedgerHandle;
use crate::tools::ledger::{record_text, report_text};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;

/// The routes, to be merged with the others of the admin port. They only read.
pub fn admin_routes(ledger: LedgerHandle) -> Router {
    Router::new().route("/ledger", get(stat)).route("/ledger/{id}", get(show)).with_state(ledger)
}

async fn stat(State(ledger): State<LedgerHandle>) -> impl IntoResponse {
    report_text(&ledger.report())
}

async fn show(State(ledger): State<LedgerHandle>, Path(id): Path<String>) -> impl IntoResponse {
    let answer = ledger.show(&id);
    // The store is read in steps between commits; the control thread goes on meanwhile.
    let found = tokio::task::spawn_blocking(move || answer.recv().ok().flatten()).await;
    match found.ok().flatten() {
        Some(record) => (StatusCode::OK, record_text(&record)),
        None => (StatusCode::NOT_FOUND, format!("no record of {id}\n")),
    }
}
