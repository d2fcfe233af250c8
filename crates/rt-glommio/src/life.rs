//! The life of a shard: saying that it is ready, and learning that it shall stop.
//!
//! A shard stops by itself: nothing is cancelled, because a cancelled task leaks in glommio and an
//! executor's exit does not drop what still waits. The order comes from any thread and wakes a
//! parked executor. Invariant: each shard sends one final report, whatever happens to it.

use base::ShardId;
use flume::{Receiver, Sender};
use rt::sync::Latch;
use std::rc::Rc;
use std::sync::Arc;

/// What a shard tells the thread that started it.
#[derive(Debug)]
pub(crate) enum Report {
    Ready(ShardId),
    Ended(ShardId, Result<(), String>),
}

/// Says once that a shard serves.
#[derive(Debug)]
pub struct Ready {
    pub(crate) shard: ShardId,
    pub(crate) reports: Sender<Report>,
}

impl Ready {
    /// Says so. A shard that fails before returns its error from its main instead.
    pub fn report(self) {
        // Nobody listens any more when another shard failed to start.
        let _ = self.reports.send(Report::Ready(self.shard));
    }
}

/// Orders all shards to stop, from any thread.
#[derive(Debug, Clone)]
pub struct StopHandle {
    orders: Arc<[Sender<()>]>,
}

impl StopHandle {
    /// One end per shard to keep, and the handle for everyone.
    pub(crate) fn new(shards: usize) -> (Self, Vec<Receiver<()>>) {
        let (orders, received): (Vec<_>, Vec<_>) = (0..shards).map(|_| flume::bounded(1)).unzip();
        let orders = orders.into();
        (Self { orders }, received)
    }

    /// Gives the order. Giving it again does nothing.
    pub fn stop(&self) {
        for order in self.orders.iter() {
            // Full: the order was given. Disconnected: the shard has ended.
            let _ = order.try_send(());
        }
    }
}

/// One shard's view of the order to stop.
#[derive(Debug, Clone)]
pub struct StopSignal {
    pub(crate) latch: Rc<Latch>,
    pub(crate) handle: StopHandle,
}

impl StopSignal {
    /// Completes when this shard shall stop.
    pub async fn stopped(&self) {
        self.latch.wait().await;
    }

    /// Whether this shard shall stop.
    pub fn is_stopped(&self) -> bool {
        self.latch.is_set()
    }

    /// The same as a latch, for code that is generic over the engine.
    pub fn latch(&self) -> Rc<Latch> {
        Rc::clone(&self.latch)
    }

    /// Orders every shard to stop, this one too.
    pub fn stop_all(&self) {
        self.handle.stop();
    }
}
