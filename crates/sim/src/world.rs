//! A world: virtual time, tasks, hosts and the network between them, all from one seed.
//!
//! Owned by a test. A [`Host`] is one broker or client process on one machine; its shards share a
//! file system and live until a crash, after which the same host lives again with what the crash
//! left on its disk. Invariant: nothing of an earlier life of a host runs, writes or is
//! answered in a later one.

use crate::clock::{Clock, Entry};
use crate::coverage::{Struck, note};
use crate::disk::SimDisk;
use crate::executor::{Executor, Owner};
use crate::faults::Rule;
use crate::file_system::{DiskShape, FileSystem};
use crate::mesh::{SimMesh, full_mesh};
use crate::network::{Network, SimNet};
use crate::seed::Rng;
use base::ShardId;
use base::activity::end_life;
use rt::{Class, Rt};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// What ends a host's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The power goes: only what was synced certainly stays.
    Power,
    /// The process is killed: what the kernel was handed stays.
    Kill,
}

/// Why a run ended before its future did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The host of the future crashed.
    Crashed,
    /// No task can run and nothing is planned.
    Deadlock,
    /// The longest virtual time of a run has passed.
    TimeUp,
}

/// Everything that is simulated.
pub struct World {
    core: Rc<Core>,
}

/// One process on one machine.
#[derive(Clone)]
pub struct Host {
    core: Rc<Core>,
    host: Rc<HostState>,
}

/// One shard of one life of a host: the simulation's [`Rt`].
#[derive(Clone)]
pub struct Sim(Rc<SimState>);

struct SimState {
    life: Life,
    shard: ShardId,
    disk: SimDisk,
    net: SimNet,
    rng: RefCell<Rng>,
}

pub(crate) struct Core {
    pub(crate) seed: u64,
    pub(crate) clock: Rc<Clock>,
    pub(crate) executor: Executor,
    pub(crate) network: Rc<Network>,
    hosts: RefCell<Vec<Rc<HostState>>>,
    trace: Cell<u64>,
    polls: Cell<u64>,
    planned_crash: Cell<Option<(usize, u64, Crash)>>,
}

pub(crate) struct HostState {
    pub(crate) index: usize,
    shard_count: u16,
    files: Rc<FileSystem>,
    /// Which life this is, from 1.
    life: Cell<u64>,
    wall_offset_ms: Cell<i64>,
    crashed_ns: Cell<u64>,
}

/// A handle of one life of one host.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) core: Rc<Core>,
    pub(crate) host: Rc<HostState>,
    number: u64,
}

/// Virtual time that one poll takes: loops that only yield still see time pass.
const POLL_NS: u64 = 200;
/// The wall clock at the start of a world: 2023-11-14T22:13:20Z.
const WALL_START_MS: i64 = 1_700_000_000_000;
/// Longest virtual time of one `run`.
const RUN_MAX: Duration = Duration::from_hours(24);

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        let clock = Rc::new(Clock::default());
        Self {
            core: Rc::new(Core {
                seed,
                network: Network::new(Rc::clone(&clock), Rng::for_subject(seed, "network")),
                clock,
                executor: Executor::new(Rng::for_subject(seed, "executor")),
                hosts: RefCell::default(),
                trace: Cell::new(seed),
                polls: Cell::new(0),
                planned_crash: Cell::new(None),
            }),
        }
    }

    /// Adds a host of `shard_count` shards with a disk whose shape is drawn from the seed.
    pub fn host(&self, shard_count: u16) -> Host {
        let index = self.core.hosts.borrow().len();
        end_life(index);
        let mut rng = Rng::for_subject(self.core.seed, &format!("disk {index}"));
        let shape = DiskShape::draw(&mut rng);
        let host = Rc::new(HostState {
            index,
            shard_count,
            files: Rc::new(FileSystem::new(shape, rng)),
            life: Cell::new(1),
            wall_offset_ms: Cell::new(0),
            crashed_ns: Cell::new(0),
        });
        self.core.hosts.borrow_mut().push(Rc::clone(&host));
        Host {
            core: Rc::clone(&self.core),
            host,
        }
    }

    /// Runs everything until `future` is done.
    ///
    /// # Panics
    /// When it never will be: nothing can run, or a day of virtual time has passed.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        match self.core.run(None, future) {
            Ok(value) => value,
            Err(stop) => panic!("seed {}: {stop:?}", self.core.seed),
        }
    }

    /// Runs everything until `future` is done, or tells why it will not be.
    pub fn try_block_on<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, Stop> {
        self.core.run(None, future)
    }

    /// Runs everything for a stretch of virtual time.
    pub fn run_for(&self, duration: Duration) {
        let sleep = self.core.clock.sleep(duration);
        self.block_on(sleep);
    }

    /// Runs everything until `done` says so; false when nothing more can happen before.
    pub fn run_until(&self, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if !self.core.step() {
                return false;
            }
        }
    }

    /// Completes when `duration` has passed, for use in the test's own futures.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        self.core.clock.sleep(duration)
    }

    /// Starts a task that belongs to no host and survives every crash.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.core.executor.spawn(None, task);
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.core.clock.now_ns())
    }

    /// A digest of everything that happened so far: two runs of one seed have the same.
    pub fn trace_hash(&self) -> u64 {
        self.core.trace.get()
    }

    /// How many task polls have happened.
    pub fn polls(&self) -> u64 {
        self.core.polls.get()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold the world they run in: break the circle.
        self.core.executor.drop_tasks(|_| true);
        self.core.clock.clear();
        self.core.network.clear();
    }
}

impl Host {
    /// The runtime of one shard in the present life.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn sim(&self, shard: u16) -> Sim {
        assert!(shard < self.host.shard_count, "no such shard");
        let life = self.life();
        let subject = format!(
            "host {} life {} shard {shard}",
            self.host.index, life.number
        );
        Sim(Rc::new(SimState {
            shard: ShardId::new(shard),
            disk: SimDisk::new(life.clone(), Rc::clone(&self.host.files)),
            net: SimNet::new(life.clone()),
            rng: RefCell::new(Rng::for_subject(self.core.seed, &subject)),
            life,
        }))
    }

    /// The runtimes of all shards in the present life.
    pub fn sims(&self) -> Vec<Sim> {
        (0..self.host.shard_count).map(|s| self.sim(s)).collect()
    }

    /// New lanes between all shards, one end per shard, each lane with room for `capacity`.
    pub fn mesh<M: Send + 'static>(&self, capacity: usize) -> Vec<SimMesh<M>> {
        let rng = Rng::for_subject(self.core.seed, &format!("mesh {}", self.host.life.get()));
        full_mesh(&self.life(), self.host.shard_count, capacity, rng)
    }

    /// Runs everything until `task` on one shard is done.
    ///
    /// # Panics
    /// When the host crashes, or the task never ends.
    pub fn block_on<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        shard: u16,
        task: impl FnOnce(Sim) -> F,
    ) -> T {
        match self.try_block_on(shard, task) {
            Ok(value) => value,
            Err(stop) => panic!("seed {}: {stop:?}", self.core.seed),
        }
    }

    /// Runs everything until `task` on one shard is done, or tells why it will not be.
    pub fn try_block_on<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        shard: u16,
        task: impl FnOnce(Sim) -> F,
    ) -> Result<T, Stop> {
        let life = self.life();
        self.core.run(Some(&life), task(self.sim(shard)))
    }

    /// Ends this life at once: every task is dropped, the disk settles, connections break. The
    /// next [`Host::sim`] begins the next life. May be called while tasks run.
    pub fn crash(&self, crash: Crash) {
        self.core.crash(&self.host, crash);
    }

    /// Plans a crash after so many more polls of this host's tasks.
    pub fn crash_after(&self, polls: u64, crash: Crash) {
        self.core
            .planned_crash
            .set(Some((self.host.index, polls, crash)));
    }

    /// Forgets a planned crash that has not come; false when there is none.
    pub fn spare(&self) -> bool {
        self.core.planned_crash.take().is_some()
    }

    /// Lets this life make only so many more stores into mapped files; those after them are lost. For
    /// tests of a kill between two stores: the crash is to come before any task runs again.
    pub fn limit_stores(&self, left: u64) {
        self.host.files.limit_stores(left);
    }

    /// Which life this is, from 1.
    pub fn lives(&self) -> u64 {
        self.host.life.get()
    }

    /// When the last life ended; zero in the first.
    pub fn crashed_at(&self) -> Duration {
        Duration::from_nanos(self.host.crashed_ns.get())
    }

    /// Adds a scripted disk fault.
    pub fn add_fault(&self, rule: Rule) {
        self.host.files.add_rule(rule);
    }

    /// Forgets all scripted faults.
    pub fn clear_faults(&self) {
        self.host.files.clear_rules();
    }

    /// How many disk operations were struck by a fault.
    pub fn faults_struck(&self) -> u64 {
        self.host.files.struck()
    }

    /// Changes the disk's shape.
    pub fn shape_disk(&self, change: impl FnOnce(&mut DiskShape)) {
        self.host.files.with_shape(change);
    }

    /// Files with their length and the length that certainly survives a power cut.
    pub fn files(&self) -> Vec<(PathBuf, u64, u64)> {
        self.host.files.files()
    }

    /// A file's bytes.
    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        self.host.files.peek(path)
    }

    /// Damages a stored byte by flipping the bits of `mask`; false when there is none durable.
    pub fn rot(&self, path: &Path, position: u64, mask: u8) -> bool {
        let is_there = self.host.files.rot(path, position, mask);
        if is_there {
            note(Struck::Rot, self.host.index);
        }
        is_there
    }

    /// Bytes that the file system holds, with what is reserved.
    pub fn disk_used(&self) -> u64 {
        self.host.files.used()
    }

    /// Cuts or restores the network to another host; bytes wait meanwhile.
    pub fn partition(&self, other: &Self, cut: bool) {
        self.partition_way(other, cut);
        other.partition_way(self, cut);
    }

    /// The same for what this host sends to `to` alone.
    pub fn partition_way(&self, to: &Self, cut: bool) {
        if cut {
            note(Struck::Cut, self.host.index);
        }
        let network = &self.core.network;
        network.cut_way(self.host.index, to.host.index, cut);
    }

    /// Refuses, or accepts again, every connection to this host.
    pub fn refuse_connections(&self, refuses: bool) {
        if refuses {
            note(Struck::Refused, self.host.index);
        }
        self.core.network.refuse(self.host.index, refuses);
    }

    /// Resets every connection of this host.
    pub fn reset_connections(&self) {
        note(Struck::Reset, self.host.index);
        self.core.network.reset(self.host.index);
    }

    /// Makes connections of this host silent: what is sent never arrives, and nobody is told.
    pub fn half_open_connections(&self) {
        note(Struck::HalfOpen, self.host.index);
        self.core.network.half_open(self.host.index);
    }

    /// Delays what is sent from and to this host by up to `extra` more; zero ends that.
    pub fn slow_network(&self, extra: Duration) {
        let extra_ns = extra.as_nanos() as u64;
        if extra_ns > 0 {
            note(Struck::Slow, self.host.index);
        }
        self.core.network.slow_down(self.host.index, extra_ns);
    }

    /// Moves the wall clock, leaving the monotonic one alone.
    pub fn jump_wall_clock(&self, by_ms: i64) {
        note(Struck::ClockJumped, self.host.index);
        let offset = &self.host.wall_offset_ms;
        offset.set(offset.get() + by_ms);
    }

    /// The host's address.
    pub fn ip(&self) -> IpAddr {
        ip_of(self.host.index)
    }

    fn life(&self) -> Life {
        Life {
            core: Rc::clone(&self.core),
            host: Rc::clone(&self.host),
            number: self.host.life.get(),
        }
    }
}

pub(crate) fn ip_of(host: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, (host >> 8) as u8, host as u8))
}

impl Core {
    fn run<T: 'static>(
        &self,
        life: Option<&Life>,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, Stop> {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        let owner = life.map(Life::owner);
        self.executor.spawn(owner, async move {
            let value = future.await;
            slot.replace(Some(value));
        });
        let end_ns = self.clock.now_ns() + RUN_MAX.as_nanos() as u64;
        loop {
            if let Some(value) = result.take() {
                return Ok(value);
            }
            if life.is_some_and(|life| !life.is_current()) {
                return Err(Stop::Crashed);
            }
            if self.clock.now_ns() > end_ns {
                return Err(Stop::TimeUp);
            }
            if !self.step() {
                return Err(Stop::Deadlock);
            }
        }
    }

    /// Lets one thing happen; false when nothing can.
    fn step(&self) -> bool {
        if let Some(entry) = self.clock.take_due() {
            match entry {
                Entry::Wake(waker) => waker.wake(),
                Entry::Act(act) => act(),
            }
            return true;
        }
        if let Some(polled) = self.executor.step() {
            self.clock.advance(POLL_NS);
            self.polls.set(self.polls.get() + 1);
            self.note(polled.slot as u64 ^ self.clock.now_ns() << 16);
            self.crash_if_planned(polled.owner);
            return true;
        }
        let Some(due_ns) = self.clock.next_due_ns() else {
            return false;
        };
        self.clock.jump_to(due_ns);
        true
    }

    fn crash_if_planned(&self, owner: Owner) {
        let Some((host, polls, crash)) = self.planned_crash.get() else {
            return;
        };
        if owner.is_none_or(|(index, _)| index != host) {
            return;
        }
        if polls > 0 {
            self.planned_crash.set(Some((host, polls - 1, crash)));
            return;
        }
        self.planned_crash.set(None);
        let host = Rc::clone(&self.hosts.borrow()[host]);
        self.crash(&host, crash);
    }

    fn crash(&self, host: &HostState, crash: Crash) {
        let struck = match crash {
            Crash::Power => Struck::PowerCut,
            Crash::Kill => Struck::Kill,
        };
        note(struck, host.index);
        self.note(0xdead ^ host.life.get());
        host.life.set(host.life.get() + 1);
        host.crashed_ns.set(self.clock.now_ns());
        self.network.host_crashed(host.index, crash);
        self.executor
            .drop_tasks(|owner| owner.is_some_and(|(index, _)| index == host.index));
        end_life(host.index);
        match crash {
            Crash::Power => host.files.cut_power(),
            Crash::Kill => host.files.kill(),
        }
    }

    fn note(&self, what: u64) {
        let mixed = (self.trace.get() ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace.set(mixed ^ (mixed >> 29));
    }
}

impl Life {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn is_current(&self) -> bool {
        self.host.life.get() == self.number
    }

    fn owner(&self) -> (usize, u64) {
        (self.host.index, self.number)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if self.is_current() {
            self.core.executor.spawn(Some(self.owner()), task);
        }
    }

    /// Adds to the trace.
    pub(crate) fn trace(&self, what: &[u64]) {
        for part in what {
            self.core.note(*part);
        }
    }

    /// Does `act` after a delay, also when nobody waits for it any more; after a crash, neither
    /// is it done nor does the wait end.
    pub(crate) fn perform<T: 'static>(
        &self,
        delay_ns: u64,
        act: impl FnOnce() -> T + 'static,
    ) -> impl Future<Output = T> + 'static {
        let slot = Rc::new((Cell::new(None), Cell::new(None::<Waker>)));
        let (filled, life) = (Rc::clone(&slot), self.clone());
        if self.is_current() {
            self.core.clock.after(delay_ns, move || {
                if life.is_current() {
                    filled.0.set(Some(act()));
                    if let Some(waker) = filled.1.take() {
                        waker.wake();
                    }
                }
            });
        }
        poll_fn(move |context| {
            if let Some(value) = slot.0.take() {
                return Poll::Ready(value);
            }
            slot.1.set(Some(context.waker().clone()));
            Poll::Pending
        })
    }
}

impl Rt for Sim {
    type Disk = SimDisk;
    type Net = SimNet;
    type Mesh<M: Send + 'static> = SimMesh<M>;

    fn shard(&self) -> ShardId {
        self.0.shard
    }

    fn shard_count(&self) -> u16 {
        self.0.life.host.shard_count
    }

    fn now_ms(&self) -> i64 {
        let since_start = self.0.life.core.clock.now_ns() / 1_000_000;
        WALL_START_MS + since_start as i64 + self.0.life.host.wall_offset_ms.get()
    }

    fn monotonic_us(&self) -> u64 {
        self.0.life.core.clock.now_ns() / 1_000
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        self.0.life.core.clock.sleep(duration)
    }

    fn yield_now(&self) -> impl Future<Output = ()> + 'static {
        // What is runnable now runs in this round or the next; the second wake-up comes after.
        let mut turns = 2;
        poll_fn(move |context| {
            if turns == 0 {
                return Poll::Ready(());
            }
            turns -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    fn random_u64(&self) -> u64 {
        self.0.rng.borrow_mut().next_u64()
    }

    fn spawn(&self, _class: Class, task: impl Future<Output = ()> + 'static) {
        self.0.life.spawn(task);
    }

    fn disk(&self) -> &SimDisk {
        &self.0.disk
    }

    fn net(&self) -> &SimNet {
        &self.0.net
    }
}
