//! Starting, watching and ending the shards: one thread, executor and CPU for each.
//!
//! Owned by the program's main thread. Checks come first, so that errors are plain words and no
//! shard has touched anything. Memory for the rings is pinned three times per executor, hence the
//! small `io_memory`. Invariant: [`run`] returns only when every shard is ready or none runs.

use crate::engine::Glommio;
use crate::error::{ShardError, StartError, plain};
use crate::life::{Ready, Report, StopHandle, StopSignal};
use crate::mesh::{self, GlommioMesh, Unplugged};
use crate::placement::{allowed_cpus, place};
use crate::port::ensure_port_free;
use crate::preflight::{
    ensure_direct_io, ensure_io_uring, ensure_memlock, file_system_note, memlock_note,
    raise_open_files,
};
use crate::watchdog::{Heartbeat, Watchdog};
use base::ShardId;
use flume::{Receiver, Sender};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use rt::Rt;
use rt::sync::Latch;
use std::cell::Cell;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How to run the shards.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many shards, from 1.
    pub shards: u16,
    /// The CPUs to use, each allowed to this process; all allowed ones when none.
    pub cpus: Option<Vec<usize>>,
    /// The store's directory: made when missing, checked for direct I/O, probed by each executor.
    pub data_dir: Option<PathBuf>,
    /// Addresses that the shards will listen on, checked to be free before any shard starts.
    pub listen: Vec<SocketAddr>,
    /// Room on each lane between two shards, in messages.
    pub mesh_capacity: usize,
    /// How long a shard may stand still before the process aborts, from 1.5 s; never when none.
    pub stall_limit: Option<Duration>,
    /// How long a shard waits for its tasks to end after its main has.
    pub drain_limit: Duration,
}

impl Options {
    /// The usual options for `shards` shards.
    pub fn new(shards: u16) -> Self {
        Self {
            shards,
            cpus: None,
            data_dir: None,
            listen: Vec::new(),
            mesh_capacity: 1_024,
            stall_limit: Some(Duration::from_secs(10)),
            drain_limit: Duration::from_millis(100),
        }
    }
}

/// Shards that run.
#[derive(Debug)]
pub struct Running {
    cpus: Vec<usize>,
    notes: Vec<String>,
    stop: StopHandle,
    threads: Vec<JoinHandle<()>>,
    reports: Receiver<Report>,
    watchdog: Option<Watchdog>,
    hearts: Arc<[Heartbeat]>,
}

/// Starts the shards and waits until each has reported ready. `main` runs once on each shard, with
/// the shard's world, its ends of the mesh, the means to say "ready", and the order to stop.
///
/// # Errors
/// Why they did not start, in words for a person. Shards that did start are stopped before.
pub fn run<M, F, Fut>(options: &Options, main: F) -> Result<Running, StartError>
where
    M: Send + 'static,
    F: FnOnce(Glommio, GlommioMesh<M>, Ready, StopSignal) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), String>> + 'static,
{
    assert!(options.shards > 0 && options.mesh_capacity > 0);
    let cpus = check(options)?;
    raise_open_files();
    die_when_a_shard_panics();

    let shards = usize::from(options.shards);
    let (stop, orders) = StopHandle::new(shards);
    let (reporter, reports) = flume::unbounded();
    let mut running = Running {
        cpus,
        notes: notes(options),
        stop,
        threads: Vec::with_capacity(shards),
        reports,
        watchdog: None,
        hearts: (0..shards).map(|_| Heartbeat::default()).collect(),
    };
    let lanes = mesh::full::<M>(shards, options.mesh_capacity);
    for (index, (mesh, order)) in lanes.into_iter().zip(orders).enumerate() {
        let seat = Seat {
            shard: ShardId::new(index as u16),
            shard_count: options.shards,
            cpu: running.cpus[index],
            data_dir: options.data_dir.clone(),
            drain_limit: options.drain_limit,
            mesh,
            order,
            reporter: reporter.clone(),
            stop: running.stop.clone(),
            hearts: Arc::clone(&running.hearts),
        };
        running.start_thread(seat, main.clone())?;
    }
    drop(reporter);
    if let Some(limit) = options.stall_limit {
        let hearts = Arc::clone(&running.hearts);
        running.watchdog = Watchdog::start(hearts, limit).ok();
    }
    running.wait_until_ready()
}

fn check(options: &Options) -> Result<Vec<usize>, StartError> {
    ensure_io_uring()?;
    ensure_memlock()?;
    let allowed = allowed_cpus().map_err(|error| ShardError {
        shard: ShardId::CONTROL,
        reason: format!("cannot learn which CPUs may be used: {error}"),
    })?;
    let cpus = place(options.shards, &allowed, options.cpus.as_deref())?;
    if let Some(dir) = &options.data_dir {
        ensure_direct_io(dir)?;
    }
    for address in &options.listen {
        ensure_port_free(*address)?;
    }
    Ok(cpus)
}

/// What could be better here, or should be known.
fn notes(options: &Options) -> Vec<String> {
    let dir = options.data_dir.as_deref();
    let memlock = memlock_note(options.shards, IO_MEMORY_BYTES);
    dir.and_then(file_system_note)
        .into_iter()
        .chain(memlock)
        .collect()
}

impl Running {
    /// The CPU of each shard, in the order of shards.
    pub fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// What could be better or should be known, in words for the start-up lines of the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A handle that stops the shards from any thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Orders all shards to stop.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Waits until every shard has ended. When one fails, the others are ordered to stop.
    ///
    /// # Errors
    /// The first shard that ended with an error, and what it said.
    pub fn join(mut self) -> Result<(), ShardError> {
        let mut first = None;
        while let Ok(report) = self.reports.recv() {
            if let Report::Ended(shard, Err(reason)) = report {
                self.stop.stop();
                first.get_or_insert(ShardError { shard, reason });
            }
        }
        for thread in self.threads.drain(..) {
            // A panic on a shard's thread has ended the process before.
            let _ = thread.join();
        }
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.end();
        }
        first.map_or(Ok(()), Err)
    }

    fn start_thread<M, F, Fut>(&mut self, seat: Seat<M>, main: F) -> Result<(), StartError>
    where
        M: Send + 'static,
        F: FnOnce(Glommio, GlommioMesh<M>, Ready, StopSignal) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + 'static,
    {
        let shard = seat.shard;
        let thread = thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(move || seat.serve(main));
        match thread {
            Ok(thread) => {
                self.threads.push(thread);
                Ok(())
            }
            Err(error) => {
                self.stop.stop();
                let reason = format!("cannot start its thread: {error}");
                Err(ShardError { shard, reason }.into())
            }
        }
    }

    fn wait_until_ready(self) -> Result<Self, StartError> {
        let mut ready = vec![false; self.threads.len()];
        while ready.contains(&false) {
            let (shard, reason) = match self.reports.recv() {
                Ok(Report::Ready(shard)) => {
                    ready[shard.index()] = true;
                    continue;
                }
                Ok(Report::Ended(shard, Ok(()))) if ready[shard.index()] => continue,
                Ok(Report::Ended(shard, Ok(()))) => {
                    (shard, "it ended before it was ready".to_owned())
                }
                Ok(Report::Ended(shard, Err(reason))) => (shard, reason),
                Err(_) => (ShardId::CONTROL, "it ended without a word".to_owned()),
            };
            self.stop.stop();
            self.wait_for_the_others();
            return Err(ShardError { shard, reason }.into());
        }
        Ok(self)
    }

    /// After a failed start: gives the other shards a moment to end in order.
    fn wait_for_the_others(self) {
        while self.reports.recv_timeout(START_UNDONE_LIMIT).is_ok() {}
        if self.reports.is_disconnected() {
            for thread in self.threads {
                let _ = thread.join();
            }
        }
        if let Some(watchdog) = self.watchdog {
            watchdog.end();
        }
    }
}

/// Everything that a shard's thread takes with it.
struct Seat<M> {
    shard: ShardId,
    shard_count: u16,
    cpu: usize,
    data_dir: Option<PathBuf>,
    drain_limit: Duration,
    mesh: Unplugged<M>,
    order: Receiver<()>,
    reporter: Sender<Report>,
    stop: StopHandle,
    hearts: Arc<[Heartbeat]>,
}

impl<M: Send + 'static> Seat<M> {
    fn serve<F, Fut>(self, main: F)
    where
        F: FnOnce(Glommio, GlommioMesh<M>, Ready, StopSignal) -> Fut,
        Fut: Future<Output = Result<(), String>> + 'static,
    {
        RUNS_SHARD.set(Some(self.shard));
        let (shard, reporter) = (self.shard, self.reporter.clone());
        let hearts = Arc::clone(&self.hearts);
        hearts[shard.index()].on_this_thread();
        let executor = LocalExecutorBuilder::new(Placement::Fixed(self.cpu))
            .name("shard")
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            // Made before this thread is pinned, so the pool may run on every allowed CPU: its
            // work would otherwise wait for the very core whose shard waits for it.
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .make();
        let ended = match executor {
            Ok(executor) => executor.run(self.live(main)),
            Err(error) => Err(format!("cannot make its executor: {}", plain(error))),
        };
        hearts[shard.index()].rest();
        RUNS_SHARD.set(None);
        // Nobody listens any more after a failed start that took too long to undo.
        let _ = reporter.send(Report::Ended(shard, ended));
    }

    /// The whole life of the shard, on its executor.
    async fn live<F, Fut>(self, main: F) -> Result<(), String>
    where
        F: FnOnce(Glommio, GlommioMesh<M>, Ready, StopSignal) -> Fut,
        Fut: Future<Output = Result<(), String>> + 'static,
    {
        let rt = Glommio::new(self.shard, self.shard_count);
        let ended = Rc::new(Latch::new());
        tick(Arc::clone(&self.hearts), self.shard, Rc::clone(&ended));
        if let Some(dir) = &self.data_dir {
            let probed = rt.disk().probe(dir).await;
            probed.map_err(|error| format!("cannot probe {}: {error}", dir.display()))?;
        }
        let signal = StopSignal {
            latch: Rc::new(Latch::new()),
            handle: self.stop,
        };
        obey(self.order, Rc::clone(&signal.latch));
        let mesh = self.mesh.plug();
        let ends = mesh.share();
        let ready = Ready {
            shard: self.shard,
            reports: self.reporter,
        };
        let outcome = main(rt.clone(), mesh, ready, signal).await;
        ends.unplug();
        rt.net().close_all();
        // An executor's exit does not drop what still waits, so tasks get time to end by themselves:
        // with lanes and connections gone, whoever waited there does.
        let tasks = Rc::clone(rt.queues().tasks());
        futures_lite::future::or(tasks.empty(), rt.sleep(self.drain_limit)).await;
        ended.set();
        outcome
    }
}

/// The ticker of one executor, see `watchdog`: quick while the shard works, slow while it idles.
fn tick(hearts: Arc<[Heartbeat]>, shard: ShardId, ended: Rc<Latch>) {
    glommio::spawn_local(async move {
        let mut pause = TICK_MIN;
        while !ended.is_set() {
            hearts[shard.index()].beat();
            glommio::timer::sleep(pause).await;
            // Counted since the last look; the ticker itself is one of them.
            let worked = glommio::executor().executor_stats().tasks_executed() > 2;
            pause = if worked {
                TICK_MIN
            } else {
                (pause * 2).min(TICK_MAX)
            };
        }
    })
    .detach();
}

/// Waits for the order to stop, which comes from another thread and wakes a parked executor.
fn obey(order: Receiver<()>, latch: Rc<Latch>) {
    glommio::spawn_local(async move {
        // Disconnected: nobody is left who could give the order.
        let _ = order.recv_async().await;
        latch.set();
    })
    .detach();
}

/// A panic on a shard's thread would kill its executor and leave the rest of the broker with a
/// dead shard: it is the end of the process, at once, before any destructor runs.
fn die_when_a_shard_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let Some(shard) = RUNS_SHARD.get() else {
                return previous(panic);
            };
            previous(panic);
            // Straight to the descriptor: tests capture what is printed, and lose it on abort.
            let _ = writeln!(
                std::io::stderr(),
                "fatal: shard {shard} panicked: {panic}\nThis is a bug. The process aborts, so \
                 that nothing is acknowledged on a doubtful state; the next start recovers the log.",
            );
            std::process::abort();
        }));
    });
}

thread_local! {
    /// The shard whose executor runs on this thread.
    static RUNS_SHARD: Cell<Option<ShardId>> = const { Cell::new(None) };
}

const IO_MEMORY_BYTES: usize = 1 << 20;
const RING_DEPTH: usize = 128;
const BLOCKING_THREADS: usize = 2;
const TICK_MIN: Duration = Duration::from_millis(100);
/// A tick costs 40 to 90 us of CPU: two in a second are at most 0.02 % of a core per shard.
const TICK_MAX: Duration = Duration::from_millis(500);
const START_UNDONE_LIMIT: Duration = Duration::from_secs(5);
