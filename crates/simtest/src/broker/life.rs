//! One life of a broker after the other: start, look at what recovery found, crash, stop.
//!
//! Owned by the run's driver. Invariant: after a failed write or sync a broker is power-cut, never
//! only killed, since what a later start would read from the kernel's cache is not what the disk
//! has.

use super::Run;
use super::inspect::inspect;
use super::model::Loss;
use broker::{BootReport, BrokerSettings, run_shard};
use rt::sync::Latch;
use rt::{Class, Rt};
use sim::{Crash, Host};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::prepare_root_on;

/// A broker host.
pub(crate) struct Broker {
    pub(crate) host: Host,
    pub(crate) settings: Arc<BrokerSettings>,
    /// Stops the present life.
    stop: Rc<Latch>,
    /// How many shards of the present life have ended.
    ended: Rc<Cell<usize>>,
    /// What the next crash may take.
    pub(crate) loss: Option<Loss>,
    /// Damages to be done at the next crash.
    pub(crate) rots: u64,
    /// Whether a write or sync failed in this life.
    pub(crate) has_failed: bool,
    /// How a planned crash ends it.
    pub(crate) planned: Crash,
    struck: u64,
    /// The life that the driver knows of.
    noted: u64,
}

/// Extra time that a commit may take from its answer to the disk, in milliseconds.
pub(crate) const COMMIT_SLACK_MS: u64 = 2_000;
/// Longest time that `ASYNC_FLUSH` may leave a message in memory, on the slowest disk of the
/// simulation, in milliseconds.
pub(crate) const ASYNC_SLACK_MS: u64 = 2_500;
/// Longest time until a broker serves, in virtual time.
const START_MAX: Duration = Duration::from_mins(2);
/// Starts that may fail one after the other while the disk is in trouble.
const STARTS_MAX: u64 = 6;

/// How a start went.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Serves,
    Refused(String),
    Crashed,
}

impl Broker {
    pub(crate) fn new(host: Host, settings: BrokerSettings) -> Self {
        Self {
            host,
            settings: Arc::new(settings),
            stop: Rc::default(),
            ended: Rc::default(),
            loss: None,
            rots: 0,
            has_failed: false,
            planned: Crash::Power,
            struck: 0,
            noted: 1,
        }
    }

    /// Whether the broker died by a planned crash and nobody has noted it.
    pub(crate) fn is_dead(&self) -> bool {
        self.host.lives() != self.noted
    }
}

impl Run {
    /// Starts a broker until it serves, looks at it and lets clients in.
    pub(crate) fn start(&mut self, number: usize) {
        for attempt in 0.. {
            if attempt == STARTS_MAX {
                self.clear_disk(number);
            }
            if attempt < STARTS_MAX && self.rng.one_in(self.shared.shape.crash_start_one_in) {
                let polls = self.rng.skewed(1, 400);
                self.brokers[number].host.crash_after(polls, Crash::Power);
            }
            let started = self.try_start(number);
            let inspected = started == Start::Serves && self.inspect(number);
            self.brokers[number].host.spare();
            if inspected {
                break;
            }
            if let Start::Refused(reason) = &started {
                let excused = self.shared.brokers[number].disk_trouble.get()
                    || !self.shared.shape.trouble.is_honest();
                assert!(excused, "the broker does not start: {reason}");
            }
            if attempt > STARTS_MAX && !self.shared.shape.trouble.is_honest() {
                // What a disk changed or lost may be what no broker can start without.
                self.is_over = true;
                return;
            }
            assert!(
                attempt < STARTS_MAX + 2,
                "the broker never serves: {started:?}"
            );
            if started == Start::Crashed {
                self.summary.recovery_crashes += 1;
            }
            if self.brokers[number].is_dead() {
                self.note_death(number, Crash::Power);
            } else {
                self.crash(number, Crash::Power);
            }
        }
        self.brokers[number].loss = None;
        let now_ms = self.now_ms();
        self.shared
            .history
            .borrow_mut()
            .broker_serves(now_ms, number);
        self.shared.brokers[number].is_open.set(true);
    }

    fn try_start(&mut self, number: usize) -> Start {
        let broker = &mut self.brokers[number];
        let (store, shards) = (broker.settings.store.clone(), self.shared.shape.shards);
        let prepared = broker.host.try_block_on(0, move |sim| async move {
            let prepared = prepare_root_on(sim.disk(), &store.dir, shards, store.block_align);
            prepared.await.map(drop).map_err(|error| error.to_string())
        });
        match prepared {
            // It may be done and crash in the same turn.
            _ if broker.is_dead() => return Start::Crashed,
            Err(_) => return Start::Crashed,
            Ok(Err(reason)) => return Start::Refused(reason),
            Ok(Ok(())) => {}
        }
        broker.stop = Rc::default();
        broker.ended = Rc::default();
        let (serving, failed) = spawn_shards(broker, self.shared.shape.lane_len);
        let world = &self.world;
        let end = world.now() + START_MAX;
        let count = usize::from(shards);
        let happened = world.run_until(|| {
            assert!(world.now() < end, "the broker never serves");
            failed.borrow().is_some() || broker.is_dead() || serving.get() == count
        });
        assert!(
            happened,
            "the broker never serves: nothing can happen any more"
        );
        if broker.is_dead() {
            return Start::Crashed;
        }
        let reason = failed.borrow_mut().take();
        reason.map_or(Start::Serves, Start::Refused)
    }

    /// Looks at what recovery found. False when the broker died or failed meanwhile.
    fn inspect(&mut self, number: usize) -> bool {
        let sim = self.inspector.sim(0);
        let loss = self.brokers[number].loss;
        let done = Rc::new(Cell::new(None));
        let (slot, shared) = (Rc::clone(&done), Rc::clone(&self.shared));
        self.inspector.sim(0).spawn(Class::Request, async move {
            slot.set(Some(inspect(sim, shared, number, loss).await));
        });
        let (world, broker) = (&self.world, &self.brokers[number]);
        let end = world.now() + START_MAX;
        world.run_until(|| {
            assert!(
                world.now() < end,
                "the broker does not answer after its start"
            );
            done.get().is_some() || broker.is_dead()
        });
        if broker.is_dead() {
            return false;
        }
        let Some(read) = done.get().flatten() else {
            return !self.shared.shape.trouble.is_honest();
        };
        self.summary.verified += read;
        true
    }

    /// Ends a broker's life at once.
    pub(crate) fn crash(&mut self, number: usize, crash: Crash) {
        self.note_failures(number);
        self.brokers[number].host.crash(crash);
        self.note_death(number, crash);
    }

    /// A broker has died.
    pub(crate) fn note_death(&mut self, number: usize, crash: Crash) {
        let shape = &self.shared.shape;
        let now_ms = self.brokers[number].host.crashed_at().as_millis() as u64;
        let survives = shape.is_sync || crash == Crash::Kill;
        let flush_ms = self.brokers[number].settings.store.async_flush_interval_ms;
        let mut window_ms = if survives {
            0
        } else {
            flush_ms + ASYNC_SLACK_MS
        };
        if !survives && self.shared.brokers[number].disk_trouble.get() {
            window_ms = now_ms; // a stalled or failing disk takes nothing for as long as it likes
        }
        if !survives {
            let kept_until_ms = now_ms.saturating_sub(window_ms);
            let before = self.brokers[number].loss;
            let kept_until_ms =
                before.map_or(kept_until_ms, |loss| loss.kept_until_ms.min(kept_until_ms));
            self.brokers[number].loss = Some(Loss { kept_until_ms });
        }
        let commit_ms = shape.commit_interval_ms + COMMIT_SLACK_MS + window_ms;
        let state = &self.shared.brokers[number];
        // A fenced shard writes no commits.
        let sure_ms = if state.disk_trouble.get() {
            0
        } else {
            now_ms.saturating_sub(commit_ms)
        };
        self.shared.model.borrow_mut().crashed(number, sure_ms);
        let noted_ms = self.world.now().as_millis() as u64;
        self.shared
            .history
            .borrow_mut()
            .broker_died(noted_ms, number);
        self.brokers[number].noted = self.brokers[number].host.lives();
        state.is_open.set(false);
        self.summary.lives += 1;
        self.damage(number);
        self.brokers[number].has_failed = false;
        self.note_failures(number);
    }

    pub(crate) fn note_failures(&mut self, number: usize) {
        let broker = &mut self.brokers[number];
        let struck = broker.host.faults_struck();
        broker.has_failed |= struck > broker.struck;
        broker.struck = struck;
    }

    /// Flips bits of a drawn byte of the store.
    fn damage(&mut self, number: usize) {
        let broker = &mut self.brokers[number];
        for _ in 0..std::mem::take(&mut broker.rots) {
            let files = broker.host.files();
            let files: Vec<_> = files.into_iter().filter(|file| file.2 > 0).collect();
            if files.is_empty() {
                return;
            }
            let (path, _, durable) = self.rng.pick(&files).clone();
            let position = self.rng.below(durable);
            let mask = 1 << self.rng.below(8);
            broker.host.rot(&path, position, mask);
        }
    }

    /// Stops a broker as SIGTERM does, and starts it again.
    pub(crate) fn stop(&mut self, number: usize) {
        self.shared.brokers[number].is_open.set(false);
        self.brokers[number].stop.set();
        let count = usize::from(self.shared.shape.shards);
        let (world, broker) = (&self.world, &self.brokers[number]);
        let end = world.now() + STOP_MAX;
        world.run_until(|| {
            let excused = self.shared.brokers[number].disk_trouble.get();
            assert!(
                excused || world.now() < end,
                "the broker does not stop within {STOP_MAX:?}"
            );
            world.now() >= end || broker.is_dead() || broker.ended.get() == count
        });
        let is_clean = broker.ended.get() == count;
        if broker.is_dead() {
            self.note_death(number, Crash::Power);
        } else if is_clean && !self.shared.brokers[number].disk_trouble.get() {
            // Nothing is lost by a stop, not even what a power cut could take.
            let now_ms = self.world.now().as_millis() as u64;
            self.brokers[number].host.crash(Crash::Power);
            self.note_death(number, Crash::Power);
            if !self.shared.shape.is_sync {
                let kept_until_ms = now_ms;
                self.brokers[number].loss = Some(Loss { kept_until_ms });
            }
        } else {
            self.crash(number, Crash::Power);
        }
        self.start(number);
    }
}

/// Longest time of a stop: name servers, held sends, connections, the last flush.
const STOP_MAX: Duration = Duration::from_secs(30);

type Failed = Rc<RefCell<Option<String>>>;

fn spawn_shards(broker: &Broker, lane_len: usize) -> (Rc<Cell<usize>>, Failed) {
    let serving = Rc::new(Cell::new(0));
    let failed = Failed::default();
    let meshes = broker.host.mesh(lane_len);
    for (sim, mesh) in broker.host.sims().into_iter().zip(meshes) {
        let settings = Arc::clone(&broker.settings);
        let (serving, failed) = (Rc::clone(&serving), Rc::clone(&failed));
        let (stop, ended) = (Rc::clone(&broker.stop), Rc::clone(&broker.ended));
        let rt = sim.clone();
        sim.spawn(Class::Request, async move {
            let ready = |result: Result<BootReport, String>| match result {
                Ok(_) => serving.set(serving.get() + 1),
                Err(reason) => drop(failed.replace(Some(reason))),
            };
            let waiting = Rc::clone(&stop);
            let stopped = async move { waiting.wait().await };
            let result = run_shard(rt, mesh, settings, ready, stopped).await;
            ended.set(ended.get() + 1);
            let by_itself = !stop.is_set() && result.is_ok();
            assert!(!by_itself, "a shard ended by itself");
        });
    }
    (serving, failed)
}
