//! Another configuration in the place of the one that serves, without a pause.
//!
//! The new tables are built and checked here, whole, and only then handed to the shards. Whatever is
//! wrong with them, the old ones stay.

use super::retired::Retired;
use super::watch::Watch;
use crate::config::{Config, Faults, Source, Stamp};
use crate::session::Listener;
use crate::shard::gateway::GatewayHandle;
use crate::shard::memory;
use crate::tls::TlsWarning;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is served, and how it came about.
#[derive(Debug)]
pub struct Served {
    /// The file; without one there is nothing to read again.
    pub path: Option<PathBuf>,
    /// The text that was last taken.
    pub source: Source,
    /// What it amounts to.
    pub config: Config,
}

/// Why a new configuration was not taken. The old one stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The embedded configuration never changes.
    #[error("the configuration is the embedded one: start with --config FILE to be able to reload")]
    NoFile,
    /// It has faults.
    #[error("{}", .0.in_one_line())]
    Faulty(#[from] Faults),
    /// Something is different that only a restart can change.
    #[error("{0} cannot change while postern runs: restart it, or undo that change")]
    Fixed(String),
    /// A certificate that is valid would be replaced by one that is not.
    #[error("{0}; the one in use is still valid")]
    Certificate(TlsWarning),
}

impl Refused {
    /// What is wrong with the configuration, if that is why.
    pub fn faults(&self) -> Option<&Faults> {
        match self {
            Refused::Faulty(faults) => Some(faults),
            Refused::NoFile | Refused::Fixed(_) | Refused::Certificate(_) => None,
        }
    }
}

/// Reloads, for whoever asks. Shared by the signals, the watch and the admin port.
#[derive(Clone, Debug)]
pub(super) struct Reloader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gateway: GatewayHandle,
    served: Mutex<(Served, Watch)>,
    retired: Mutex<Retired>,
    done: AtomicU64,
    failed: AtomicU64,
    last_success_unix_s: AtomicU64,
    certificate_expiry_unix_s: AtomicU64,
}

/// What the metrics say of reloads.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReloadCounts {
    /// New configurations that were taken.
    pub done: u64,
    /// New configurations that were not.
    pub failed: u64,
    /// When the configuration that serves was taken, in seconds since 1970.
    pub last_success_unix_s: u64,
    /// When the first of the listeners' certificates expires, in seconds since 1970; 0 without any.
    pub certificate_expiry_unix_s: u64,
}

impl Reloader {
    pub fn new(gateway: GatewayHandle, served: Served) -> Reloader {
        let watch = Watch::new(&served.config.files);
        let shared = Shared {
            gateway,
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last_success_unix_s: AtomicU64::new(unix_s()),
            certificate_expiry_unix_s: AtomicU64::new(expiry(&served.config)),
            served: Mutex::new((served, watch)),
            retired: Mutex::default(),
        };
        Reloader { shared: Arc::new(shared) }
    }

    /// Reads the configuration and all files that it names again, because `why`. It waits for the
    /// disk.
    pub fn again(&self, why: &str) -> Result<(), Refused> {
        let mut served = self.shared.served.lock().unwrap_or_else(PoisonError::into_inner);
        let source = match &served.0.path {
            Some(path) => Source::read(path).map_err(Refused::from),
            None => Err(Refused::NoFile),
        };
        self.take(&mut served, source, why)
    }

    /// Reads the named files again if they have changed. The configuration itself may just be edited:
    /// its text is the one that was last taken. Old tables that are out of use are freed on the way.
    pub fn if_files_changed(&self) {
        if self.retired().free_unused() {
            memory::give_back();
        }
        let mut served = self.shared.served.lock().unwrap_or_else(PoisonError::into_inner);
        if served.1.look(Stamp::of) {
            let source = served.0.source.clone();
            // What came of it is in the log and in the metrics.
            let _ = self.take(&mut served, Ok(source), "a file that it names has changed");
        }
    }

    fn retired(&self) -> MutexGuard<'_, Retired> {
        self.shared.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn counts(&self) -> ReloadCounts {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReloadCounts {
            done: value(&self.shared.done),
            failed: value(&self.shared.failed),
            last_success_unix_s: value(&self.shared.last_success_unix_s),
            certificate_expiry_unix_s: value(&self.shared.certificate_expiry_unix_s),
        }
    }

    fn take(
        &self,
        served: &mut (Served, Watch),
        source: Result<Source, Refused>,
        why: &str,
    ) -> Result<(), Refused> {
        let taken = source.and_then(|source| {
            let config = aside(|| source.check())?;
            let listeners = permitted(&served.0.config, &config)?;
            self.retired().take(&served.0.config.tables);
            self.shared.gateway.replace(&listeners, &config.tables);
            served.0 = Served { path: served.0.path.take(), source, config };
            served.1 = Watch::new(&served.0.config.files);
            Ok(())
        });
        match &taken {
            Ok(()) => {
                self.shared.last_success_unix_s.store(unix_s(), Ordering::Relaxed);
                let expiry = expiry(&served.0.config);
                self.shared.certificate_expiry_unix_s.store(expiry, Ordering::Relaxed);
                self.shared.done.fetch_add(1, Ordering::Relaxed);
                eprintln!("postern: the configuration is loaded anew ({why})");
                for warning in &served.0.config.warnings {
                    eprintln!("postern: {warning}");
                }
            }
            Err(refused) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("postern: the old configuration stays ({why}): {refused}");
            }
        }
        taken
    }
}

/// Works on a thread of its own to which every other one is preferred: large tables take some tenths of
/// a second, for which no shard shall wait for its processor.
fn aside<T: Send>(work: impl Fn() -> T + Sync) -> T {
    thread::scope(|scope| {
        let named = thread::Builder::new().name("postern-tables".to_owned());
        let thread = named.spawn_scoped(scope, || {
            // Where it is not allowed, shards wait for their turn.
            let _ = rustix::process::nice(LEAST_PREFERRED);
            let made = work();
            memory::give_back();
            made
        });
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

/// The nice value of threads that run when nobody else wants to (sched(7)).
const LEAST_PREFERRED: i32 = 19;

/// The listeners of a new configuration in the order of those that run, if nothing is different that
/// cannot change.
fn permitted(old: &Config, new: &Config) -> Result<Vec<Arc<Listener>>, Refused> {
    if let Some(difference) = old.fixed_difference(new) {
        return Err(Refused::Fixed(difference));
    }
    let expired = |warning: &&TlsWarning| !old.warnings.contains(warning);
    if let Some(warning) = new.warnings.iter().find(expired) {
        return Err(Refused::Certificate(warning.clone()));
    }
    let mut left: Vec<_> = new.listeners.iter().collect();
    let listeners = old.listeners.iter().map(|(address, _)| {
        let place = left.iter().position(|(other, _)| other == address)?;
        Some(Arc::clone(&left.remove(place).1))
    });
    let listeners: Option<Vec<_>> = listeners.collect();
    listeners.ok_or_else(|| Refused::Fixed("where it listens".to_owned()))
}

fn expiry(config: &Config) -> u64 {
    config.certificate_expiry_unix_s.and_then(|end| u64::try_from(end).ok()).unwrap_or(0)
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
