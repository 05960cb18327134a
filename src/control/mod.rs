//! What is not per core: the admin port, signals, and the log.
//!
//! One tokio thread answers HTTP and waits for signals; one plain thread writes the log. Neither is
//! ever waited for by a shard.

pub mod ledger;
mod log;
mod metrics;

pub use log::{LogWriter, log_queues};
pub use metrics::render;

use crate::shard::gateway::GatewayHandle;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What the admin port answers from.
#[derive(Clone)]
struct Admin {
    gateway: GatewayHandle,
    draining: Arc<AtomicBool>,
}

/// Why control cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The admin port cannot be opened.
    #[error("cannot listen on {0} for the admin port: {1}; choose another `[admin] address`")]
    Listen(SocketAddr, std::io::Error),
    /// The runtime or the signal handlers cannot be made.
    #[error("the control thread cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT, then tells the shards to drain.
///
/// The calling thread is the control thread.
pub fn run(gateway: GatewayHandle, admin: Option<SocketAddr>) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let draining = Arc::new(AtomicBool::new(false));
        if let Some(address) = admin {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| ControlError::Listen(address, error))?;
            let state = Admin { gateway: gateway.clone(), draining: Arc::clone(&draining) };
            tokio::spawn(serve(listener, state));
        }
        let (mut term, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        draining.store(true, Ordering::Relaxed);
        gateway.drain();
        Ok(())
    })
}

async fn serve(listener: TcpListener, state: Admin) {
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(state);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("postern: the admin port has failed: {error}");
    }
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    // The shards answer within a round; the runtime's other work can wait for that.
    let text = metrics::render(&admin.gateway.snapshots());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.draining.load(Ordering::Relaxed) {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}
