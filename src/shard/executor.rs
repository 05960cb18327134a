//! The thread of a shard: a glommio executor on one core, and in it the one task that drives the
//! ring.
//!
//! # Why the loop looks as it does
//!
//! The thread sleeps inside glommio, so that glommio's own timers, channels and files work on the
//! shard; the ring's completions reach it through the bell, which glommio reads like a file. While
//! the driver is awake the bell is silent. Before it sleeps it arms the bell and looks once more,
//! which closes the race.
//!
//! glommio 0.9 can sleep with a runnable task: `run_task_queues` returns `false` when the preempt
//! timer has fired already before the first queue ran, and `run` takes that for «nothing to do».
//! Hence no `Latency::Matters` queue on a shard (it shortens that timer), a long preempt timer, a
//! driver that yields by itself, and a tick: a glommio timer that shakes the executor every
//! [`limits::TICK_IDLE_MS`], or [`limits::TICK_BUSY_MS`] while work is in hand.
//! [`Counters::rescued`](super::Counters) counts what the tick found and is expected to stay 0.
//!
//! [`run_alone`] runs the same driver without glommio. It is the way out should the executor fail
//! us, and tests compare the two.

use super::bell::{Bell, BellRope};
use super::ring::{Event, Ring, RingSettings};
use super::start::StartError;
use crate::limits;
use glommio::timer::Timer;
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What is done with the sockets. Every verb is called on the shard's thread and must not block.
pub trait Driver {
    /// Something happened to a socket.
    fn event(&mut self, ring: &mut Ring, event: Event<'_>);

    /// The bell was pulled: look at the mailbox.
    fn woken(&mut self, ring: &mut Ring);

    /// Called once a round after its events: do what is due, and say how long it is until the next
    /// deadline. `None`: there is none. A deadline is kept to some milliseconds.
    fn tick(&mut self, ring: &mut Ring) -> Option<Duration>;

    /// Whether work is in hand, so that a lost wake-up would hurt somebody.
    fn busy(&self) -> bool;

    /// Whether the shard ends. What has not been sent is then dropped.
    fn finished(&self) -> bool;
}

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// The thread's name, at most 15 octets of which are seen outside.
    pub name: String,
    /// The core, counted from 0; `None` lets the kernel choose.
    pub cpu: Option<usize>,
    /// Sizes of the ring.
    pub ring: RingSettings,
}

/// A shard that runs.
#[derive(Debug)]
pub struct Shard {
    name: String,
    rope: BellRope,
    thread: thread::JoinHandle<()>,
}

/// A shard ended by a panic: a mistake of ours. The message went to standard error as well.
#[derive(Debug, thiserror::Error)]
#[error("{name} ended by a panic: {message}")]
pub struct ShardPanicked {
    /// The shard's name.
    pub name: String,
    /// What the panic said.
    pub message: String,
}

impl Shard {
    /// A rope to the shard's bell.
    pub fn rope(&self) -> BellRope {
        self.rope.clone()
    }

    /// Whether its thread is gone.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the driver has finished and everything is closed.
    pub fn join(self) -> Result<(), ShardPanicked> {
        let name = self.name;
        self.thread.join().map_err(|panic| ShardPanicked { name, message: message_of(&*panic) })
    }
}

/// Starts a shard: a thread with an executor and a ring, and on it the driver that `build` makes.
///
/// It returns when the driver is built; if the machine does not let it start, it returns what is
/// to be changed, and nothing is left behind.
pub fn run_shard<D, B>(settings: ShardSettings, bell: Bell, build: B) -> Result<Shard, StartError>
where
    D: Driver + 'static,
    B: FnOnce(&mut Ring) -> D + Send + 'static,
{
    let (started, start) = mpsc::channel();
    let (name, rope) = (settings.name.clone(), bell.rope());
    let thread = thread::Builder::new()
        .name(name.clone())
        .spawn(move || live(&settings, &bell, build, &started))
        .map_err(|error| StartError::of("spawn the shard's thread", error))?;
    match start.recv() {
        Ok(Ok(())) => Ok(Shard { name, rope, thread }),
        Ok(Err(error)) => {
            // It has nothing left to do, and ends.
            let _ = thread.join();
            Err(error)
        }
        Err(mpsc::RecvError) => {
            let panic = thread.join().err();
            let message = panic.map_or(String::new(), |panic| message_of(&*panic));
            Err(StartError::Thread(message))
        }
    }
}

/// Runs `driver` on `ring` alone, without an executor, until it has finished. Nothing but sockets,
/// deadlines and the bell wakes it.
pub fn run_alone<D: Driver>(mut ring: Ring, bell: &Bell, driver: &mut D) {
    ring.watch_bell(bell);
    let mut idle = false;
    while !driver.finished() {
        let mut handler = |ring: &mut Ring, event: Event<'_>| driver.event(ring, event);
        let completions = if idle { ring.wait_turn(&mut handler) } else { ring.turn(&mut handler) };
        let round = finish_round(&mut ring, bell, driver, completions);
        idle = !round.worked;
        if idle {
            ring.set_alarm(round.deadline);
        }
    }
    ring.end();
}

/// The life of a shard's thread.
fn live<D, B>(
    settings: &ShardSettings,
    bell: &Bell,
    build: B,
    started: &mpsc::Sender<Result<(), StartError>>,
) where
    D: Driver + 'static,
    B: FnOnce(&mut Ring) -> D,
{
    // The ring comes first: what the machine refuses it says in words, where the executor panics.
    let made = Ring::new(settings.ring).and_then(|mut ring| {
        ring.register_bell(bell)?;
        Ok((ring, make_executor(settings)?))
    });
    let (mut ring, executor) = match made {
        Ok(made) => made,
        Err(error) => return drop(started.send(Err(error))),
    };
    let driver = build(&mut ring);
    // The spawner waits for this; if it is gone, the shard runs all the same.
    let _ = started.send(Ok(()));
    executor.run(drive(ring, bell, driver));
}

fn make_executor(settings: &ShardSettings) -> Result<LocalExecutor, StartError> {
    // It panics if it runs out of descriptors half-way.
    let spare = (0..limits::EXECUTOR_DESCRIPTORS).map(|_| File::open("/dev/null"));
    spare
        .collect::<Result<Vec<File>, _>>()
        .map_err(|error| StartError::of("set descriptors aside for the executor", error))?;
    let placement = settings.cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(&settings.name)
        .io_memory(limits::EXECUTOR_FILE_MEMORY_OCTETS)
        .preempt_timer(Duration::from_millis(limits::PREEMPT_TIMER_MS))
        .make()
        .map_err(|error| match error {
            // An error of its own in the clothes of the kernel's.
            GlommioError::IoError(error) if error.to_string().starts_with("MemLockLimit") => {
                StartError::LockedMemory { step: "make the executor", error }
            }
            GlommioError::IoError(error) => StartError::of("make the executor", error),
            GlommioError::ReactorError(reactor) => StartError::LockedMemory {
                step: "make the executor",
                error: std::io::Error::other(reactor.to_string()),
            },
            other => StartError::Thread(other.to_string()),
        })
}

/// What the tick must know of the driver.
#[derive(Debug, Default)]
struct Watch {
    /// The driver waits for the bell.
    asleep: Cell<bool>,
    /// How often it has gone to sleep.
    sleeps: Cell<u64>,
    busy: Cell<bool>,
}

/// The driver task.
async fn drive<D: Driver>(ring: Ring, bell: &Bell, mut driver: D) {
    let Ok(eventfd) = bell.as_fd().try_clone_to_owned() else {
        panic!("no file descriptor is left to listen to the shard's bell")
    };
    // SAFETY: the descriptor is a fresh duplicate, which the file owns and closes.
    let ears = unsafe { glommio::io::BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
    let (ring, watch) = (Rc::new(RefCell::new(ring)), Rc::new(Watch::default()));
    let tick = glommio::spawn_local(tick(Rc::clone(&ring), Rc::clone(&watch), bell.rope()));
    let mut rounds = 0u32;
    while !driver.finished() {
        rounds = rounds.wrapping_add(1);
        // The executor asks for the thread only when a timer or another thread wants it.
        let asked = glommio::executor().need_preempt();
        if asked || rounds.is_multiple_of(limits::ROUNDS_BEFORE_YIELD) {
            yield_to_executor(&ring).await;
        }
        let awake = round(&mut ring.borrow_mut(), bell, &mut driver);
        watch.busy.set(driver.busy());
        if awake.worked {
            continue;
        }
        ring.borrow_mut().arm_bell();
        ring.borrow_mut().set_alarm(awake.deadline);
        let last_look = round(&mut ring.borrow_mut(), bell, &mut driver);
        if !last_look.worked && !driver.finished() {
            watch.asleep.set(true);
            watch.sleeps.set(watch.sleeps.get() + 1);
            let heard = ears.read_at(0, size_of::<u64>()).await;
            watch.asleep.set(false);
            assert!(heard.is_ok(), "the shard cannot hear its bell: {heard:?}");
        }
        ring.borrow_mut().hush_bell();
    }
    // Executors do not drop futures that wait for an operation, so nothing may be waiting when this
    // one ends.
    tick.cancel().await;
    ring.borrow_mut().end();
    // It fails only if the descriptor is closed already.
    let _ = ears.close().await;
}

/// What came of one round.
struct Round {
    /// There was something to do, or there is something to submit: no sleep yet.
    worked: bool,
    deadline: Option<Duration>,
}

fn round<D: Driver>(ring: &mut Ring, bell: &Bell, driver: &mut D) -> Round {
    let completions = ring.turn(&mut |ring, event| driver.event(ring, event));
    finish_round(ring, bell, driver, completions)
}

fn finish_round<D: Driver>(
    ring: &mut Ring,
    bell: &Bell,
    driver: &mut D,
    completions: usize,
) -> Round {
    let rung = bell.answer();
    if rung {
        driver.woken(ring);
    }
    let deadline = driver.tick(ring);
    Round { worked: completions > 0 || rung || ring.has_work(), deadline }
}

/// Lets the executor look at its timers, files and channels, and run whoever else is on the shard.
async fn yield_to_executor(ring: &RefCell<Ring>) {
    let (began, sleeps) = (Instant::now(), voluntary_sleeps());
    glommio::executor().yield_task_queue_now().await;
    // This takes microseconds. If it took long because the thread slept, with this task runnable,
    // then the executor has lost the wake-up and the tick has brought it back; if the thread did
    // not sleep, others had the core.
    if began.elapsed() >= Duration::from_millis(1) && voluntary_sleeps() > sleeps {
        ring.borrow_mut().count_rescue();
    }
}

/// How often this thread has gone to sleep of its own will.
fn voluntary_sleeps() -> i64 {
    // SAFETY: rusage is plain numbers, for which zero is a value; the call fills it.
    unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage.ru_nvcsw
    }
}

/// Shakes the executor now and then, and looks after a driver that sleeps though there is work.
async fn tick(ring: Rc<RefCell<Ring>>, watch: Rc<Watch>, rope: BellRope) {
    let mut suspected = None;
    loop {
        let pause = if watch.busy.get() { limits::TICK_BUSY_MS } else { limits::TICK_IDLE_MS };
        // That the timer wakes the thread is the whole cure for a sleep with a runnable task.
        Timer::new(Duration::from_millis(pause)).await;
        let overslept = watch.asleep.get() && ring.borrow_mut().has_completions();
        let sleep = overslept.then(|| watch.sleeps.get());
        // Seen once, the wake-up may be on its way; seen in the same sleep a tick later, it is lost.
        if sleep.is_some() && sleep == suspected {
            ring.borrow_mut().count_rescue();
            rope.shake();
        }
        suspected = sleep;
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
