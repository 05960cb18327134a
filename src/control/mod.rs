//! What is not per core: the admin port, signals, reloads, and the log.
//!
//! One tokio thread answers HTTP, waits for signals and looks at files; what waits for a disk or for
//! the shards has a thread of its own for so long. One plain thread writes the log. None of them is ever
//! waited for by a shard. [`ledger`] is what operators see of the record of outcomes.

mod admin;
mod confine;
pub mod ledger;
mod log;
mod metrics;
mod reload;
mod retired;
mod watch;

pub use confine::forbid_programs;
pub use log::{LogWriter, log_queues};
pub use metrics::{ControlCounts, render};
pub use reload::{ReloadCounts, Served};

use crate::durable::LedgerHandle;
use crate::limits::{CONTROL_REST, FILE_LOOK};
use crate::shard::executor::ShardPanicked;
use crate::shard::gateway::Gateway;
use admin::AdminPort;
use reload::Reloader;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
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

/// Runs until SIGTERM or SIGINT, or until a shard has ended by itself; then has the shards bring their
/// open transactions to an end, and returns when they are gone. SIGHUP, and a change of a file that
/// the configuration names, reload what is `served`.
///
/// The calling thread is the control thread. A panic on it stops no mail: what it did begins again.
pub fn run(
    gateway: Gateway,
    served: Served,
    ledger: Option<LedgerHandle>,
    log_lines_lost: Arc<AtomicU64>,
) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            gateway.stop()?;
            return Err(error.into());
        }
    };
    let draining = Arc::new(AtomicBool::new(false));
    let settings = served.config.admin.clone();
    let restarts = Arc::new(AtomicU64::new(0));
    let reloader = Reloader::new(gateway.handle(), served);
    let told = again_after_panics(&restarts, || {
        let port = settings.clone().map(|settings| AdminPort {
            settings: Arc::new(settings),
            gateway: gateway.handle(),
            reloader: reloader.clone(),
            ledger: ledger.clone(),
            draining: Arc::clone(&draining),
            restarts: Arc::clone(&restarts),
            log_lines_lost: Arc::clone(&log_lines_lost),
        });
        runtime.block_on(until_told(&gateway, &reloader, port))
    });
    runtime.block_on(async {
        draining.store(true, Ordering::Relaxed);
        tell_systemd(NotifyState::Stopping);
        gateway.handle().drain();
        let gone = tokio::task::spawn_blocking(move || gateway.join()).await;
        told?;
        // A panic of the thread that waited has been printed.
        Ok(gone.unwrap_or(Ok(()))?)
    })
}

/// Opens the admin port, says that all stands, and serves until it is told to stop or a shard is gone.
async fn until_told(
    gateway: &Gateway,
    reloader: &Reloader,
    port: Option<AdminPort>,
) -> Result<(), ControlError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut admin = JoinSet::new();
    if let Some(port) = port {
        let address = port.settings.address;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| ControlError::Listen(address, error))?;
        eprintln!("postern: metrics and health are at http://{}", listener.local_addr()?);
        admin.spawn(admin::serve(listener, port));
    }
    let mut look = interval(FILE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tell_systemd(NotifyState::Ready);
    loop {
        let reloader = reloader.clone();
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => blocking(move || _ = reloader.again("SIGHUP")).await,
            _ = look.tick() => {
                if gateway.has_lost_a_shard() {
                    break;
                }
                blocking(move || reloader.if_files_changed()).await;
            }
            // It ends by a panic alone.
            Some(Err(end)) = admin.join_next() => {
                if let Ok(panic) = end.try_into_panic() {
                    resume_unwind(panic);
                }
            }
        }
    }
    // The admin port answers until the shards are gone.
    admin.detach_all();
    Ok(())
}

/// Does something until it comes to an end that is no panic. Between two tries there is a rest, lest a
/// panic that comes each time takes a core.
fn again_after_panics<T>(restarts: &AtomicU64, mut what: impl FnMut() -> T) -> T {
    loop {
        if let Ok(done) = catch_unwind(AssertUnwindSafe(&mut what)) {
            return done;
        }
        // The panic's message has been printed.
        eprintln!("postern: control begins again; mail was not concerned");
        restarts.fetch_add(1, Ordering::Relaxed);
        thread::sleep(CONTROL_REST);
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

#[cfg(test)]
mod tests {
    use super::*;

    // a panic in control ends nothing; it begins again.
    #[test]
    fn a_104_control_begins_again_after_a_panic() {
        let (mut tries, restarts) = (0, AtomicU64::new(0));
        let done = again_after_panics(&restarts, || {
            tries += 1;
            assert!(tries > 2, "the panic of a test");
            tries
        });
        assert_eq!((done, restarts.into_inner()), (3, 2));
    }

    // the admin port's own panic is the thread's, which so begins again as a whole.
    #[test]
    fn a_104_a_task_that_panics_is_seen() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut tries, restarts) = (0, AtomicU64::new(0));
        again_after_panics(&restarts, || {
            tries += 1;
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                tasks.spawn(async move { assert!(tries > 1, "the panic of a test") });
                while let Some(end) = tasks.join_next().await {
                    if let Err(end) = end {
                        resume_unwind(end.into_panic());
                    }
                }
            });
        });
        assert_eq!((tries, restarts.into_inner()), (2, 1));
    }
}
