//! The runtime seam: everything that a shard asks of the world outside it.
//!
//! One trait bundle, [`Rt`], stands for clock, randomness, tasks, disk, network and the mesh
//! between shards. The broker, the shards and the store are generic over it and name no engine, so
//! the same code runs on glommio and inside the seeded simulation.
//! Invariant: this crate names no engine, starts no thread and reads no clock.

#![allow(
    async_fn_in_trait,
    reason = "executors are single-threaded: futures need not be Send"
)]

pub mod conformance;
mod disk;
mod mesh;
mod net;
pub mod sync;

pub use disk::{DirEntry, Disk, File, IoBuf, OpenMode, SharedMap, Space};
pub use mesh::{Lane, Mesh};
pub use net::{Listener, Net, ReadHalf, Stream, WriteHalf};

use base::ShardId;
use std::time::Duration;

/// What a task is for. An engine may give each class its own share of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Connections and requests.
    Request,
    /// Writing and syncing the log.
    Flush,
    /// Work that follows an append: waking waiting pulls, delivering delayed messages.
    Dispatch,
    /// Checkpoints, registration, retention, statistics.
    Housekeeping,
}

/// One shard's view of the world. Cheap to clone; every clone means the same shard.
pub trait Rt: Clone + 'static {
    /// Files and directories.
    type Disk: Disk;
    /// TCP.
    type Net: Net;
    /// Lanes to the other shards, carrying messages of type `M`.
    type Mesh<M: Send + 'static>: Mesh<M>;

    /// The shard that runs here.
    fn shard(&self) -> ShardId;
    /// How many shards this broker has.
    fn shard_count(&self) -> u16;

    /// Wall clock, in milliseconds since the epoch. It may jump; use it for what users see.
    fn now_ms(&self) -> i64;
    /// Monotonic clock, in microseconds from an arbitrary start. Use it for deadlines.
    fn monotonic_us(&self) -> u64;
    /// Completes when at least `duration` has passed. Dropping the future is allowed.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static;
    /// Lets every other runnable task of this shard run once.
    fn yield_now(&self) -> impl Future<Output = ()> + 'static;

    /// 64 random bits. Not for secrets.
    fn random_u64(&self) -> u64;

    /// Starts a task on this shard. It runs until it ends by itself: there is no cancel.
    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static);

    /// Gives free memory back to the system, where the engine can. It may take milliseconds: for
    /// quiet moments.
    fn release_memory(&self) {}

    /// The shard's disk.
    fn disk(&self) -> &Self::Disk;
    /// The shard's network.
    fn net(&self) -> &Self::Net;
}
