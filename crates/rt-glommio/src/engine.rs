//! One shard's world on glommio: clock, randomness, tasks, disk and network.
//!
//! Owned by the shard's executor; every clone means the same shard. Invariant: it is used only on
//! the thread of its executor, which its `Rc` sees to.

use crate::disk::GlommioDisk;
use crate::mesh::GlommioMesh;
use crate::net::GlommioNet;
use crate::task_queues::TaskQueues;
use base::ShardId;
use glommio::timer::Timer;
use rt::{Class, Rt};
use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One shard's view of the world, on glommio.
#[derive(Debug, Clone)]
pub struct Glommio(Rc<World>);

#[derive(Debug)]
struct World {
    shard: ShardId,
    shard_count: u16,
    begin: Instant,
    random: Cell<u64>,
    queues: TaskQueues,
    disk: GlommioDisk,
    net: GlommioNet,
}

impl Glommio {
    /// Makes the world of `shard` on the executor that runs here.
    pub(crate) fn new(shard: ShardId, shard_count: u16) -> Self {
        let queues = TaskQueues::new();
        Self(Rc::new(World {
            shard,
            shard_count,
            begin: begin(),
            random: Cell::new(seed()),
            disk: GlommioDisk::default(),
            net: GlommioNet::new(queues.clone()),
            queues,
        }))
    }

    pub(crate) fn queues(&self) -> &TaskQueues {
        &self.0.queues
    }
}

impl Rt for Glommio {
    type Disk = GlommioDisk;
    type Net = GlommioNet;
    type Mesh<M: Send + 'static> = GlommioMesh<M>;

    fn shard(&self) -> ShardId {
        self.0.shard
    }

    fn shard_count(&self) -> u16 {
        self.0.shard_count
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam's clock")]
    fn now_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64)
    }

    fn monotonic_us(&self) -> u64 {
        self.0.begin.elapsed().as_micros() as u64
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        // A glommio timer keeps one waker and takes itself out when it is dropped.
        let timer = Timer::new(duration);
        async move {
            timer.await;
        }
    }

    fn yield_now(&self) -> impl Future<Output = ()> + 'static {
        turn()
    }

    fn random_u64(&self) -> u64 {
        // xorshift64*: period 2^64 - 1, good enough for jitter and ids that are not secret.
        let mut x = self.0.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        self.0.queues.spawn(class, task);
    }

    fn release_memory(&self) {
        crate::heap::release();
    }

    fn disk(&self) -> &GlommioDisk {
        &self.0.disk
    }

    fn net(&self) -> &GlommioNet {
        &self.0.net
    }
}

/// One turn of the executor: every queue runs, then the rings and channels are looked at.
///
/// glommio's own yield goes to the back of one task queue: the other queues, and whatever the disk
/// has finished, could then wait for the preempt timer, 100 ms. A timer is looked at once per turn,
/// so one that is due as soon as possible comes back after everybody else. A timer that is due when
/// first polled would not wait at all: then the next one is due later. How long it takes to make and
/// poll one depends on the clock, which on some machines is a system call or a slow device.
pub(crate) async fn turn() {
    let mut timer: Option<Timer> = None;
    poll_fn(|context| {
        if let Some(timer) = timer.as_mut() {
            return Pin::new(timer).poll(context).map(|_| ());
        }
        let mut after = SOON;
        loop {
            let mut soon = Timer::new(after);
            if Pin::new(&mut soon).poll(context).is_pending() {
                timer = Some(soon);
                return Poll::Pending;
            }
            after = after.saturating_mul(2);
        }
    })
    .await;
}

/// The start of the monotonic clock, the same for all shards of the process.
#[expect(clippy::disallowed_methods, reason = "this is the seam's clock")]
fn begin() -> Instant {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    *BEGIN.get_or_init(Instant::now)
}

/// A seed that is never zero, from the keys that the standard library draws from the kernel.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish() | 1
}

/// Longer than creating a timer and polling it takes with a clock that is read in user space, shorter
/// than any turn.
const SOON: Duration = Duration::from_nanos(300);
