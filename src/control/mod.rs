//! What is not per core: the admin port, signals, reloads, and the log.
//!
//! One tokio thread answers HTTP, waits for signals and looks at files; what waits for a disk or for
//! the shards has a thread of its own for so long. One plain thread writes the log. None of them is
//! ever waited for by a shard.

mod admin;
mod confine;
pub mod ledger;
mod log;
mod metrics;
mod reload;
mod watch;

pub use confine::forbid_programs;
pub use log::{LogWriter, log_queues};
pub use metrics::render;
pub use reload::{ReloadCounts, Served};

use crate::limits::FILE_LOOK;
use crate::shard::executor::ShardPanicked;
use crate::shard::gateway::{Gateway, GatewayHandle};
use admin::AdminPort;
use ledger::LedgerHandle;
use reload::Reloader;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// Why control cannot run, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The admin port cannot be opened.
    #[error("cannot listen on {0} for the admin port: {1}; choose another `[admin] address`")]
    Listen(SocketAddr, std::io::Error),
    /// The runtime or the signal handlers cannot be made.
    #[error("the control thread cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// A shard has ended by itself.
    #[error(transparent)]
    Shard(#[from] ShardPanicked),
}

/// Runs until SIGTERM or SIGINT, then has the shards bring their open transactions to an end, and
/// returns when they are gone. SIGHUP, and a change of a file that the configuration names, reload
/// what is `served`.
///
/// The calling thread is the control thread.
pub fn run(
    gateway: Gateway,
    served: Served,
    ledger: Option<LedgerHandle>,
) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            gateway.stop()?;
            return Err(error.into());
        }
    };
    runtime.block_on(async {
        let draining = Arc::new(AtomicBool::new(false));
        let told = until_told(&gateway.handle(), served, ledger, &draining).await;
        draining.store(true, Ordering::Relaxed);
        tell_systemd(NotifyState::Stopping);
        gateway.handle().drain();
        // The admin port answers until the shards are gone.
        let gone = tokio::task::spawn_blocking(move || gateway.join()).await;
        told?;
        // A panic of the thread that waited has been printed.
        Ok(gone.unwrap_or(Ok(()))?)
    })
}

/// Opens the admin port, says that all stands, and serves until it is told to stop.
async fn until_told(
    gateway: &GatewayHandle,
    served: Served,
    ledger: Option<LedgerHandle>,
    draining: &Arc<AtomicBool>,
) -> Result<(), ControlError> {
    let settings = served.config.admin.clone();
    let reloader = Reloader::new(gateway.clone(), served);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    if let Some(settings) = settings {
        let listener = TcpListener::bind(settings.address).await;
        let listener = listener.map_err(|error| ControlError::Listen(settings.address, error))?;
        eprintln!("postern: metrics and health are at http://{}", listener.local_addr()?);
        let port = AdminPort {
            settings: Arc::new(settings),
            gateway: gateway.clone(),
            reloader: reloader.clone(),
            ledger,
            draining: Arc::clone(draining),
        };
        tokio::spawn(admin::serve(listener, port));
    }
    let mut look = interval(FILE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tell_systemd(NotifyState::Ready);
    loop {
        let reloader = reloader.clone();
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => blocking(move || _ = reloader.again("SIGHUP")).await,
            _ = look.tick() => blocking(move || reloader.if_files_changed()).await,
        }
    }
}

/// Waits for what waits for a disk, on another thread.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    // A panic in it has been printed, and what it was about to change has not changed.
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Without systemd there is nobody to tell.
fn tell_systemd(state: NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}
