//! The mesh: for every two shards and each lane one bounded channel, built before the shards start.
//!
//! Owned by the shards at its ends. The channels are flume's, whose wakers glommio takes from other
//! threads (it queues them and writes its eventfd when the executor is parked). glommio's own
//! shared channels are not used: a receive that is dropped or polled twice leaves wakers behind
//! that count against a task's 32 thousand, two senders waiting for room can panic on machines with
//! weakly ordered memory, and each channel takes its whole capacity from the start.
//! Invariant: order is kept per lane and pair; nothing is lost unless an end is gone.

use crate::engine::turn;
use base::ShardId;
use flume::{Receiver, Sender};
use rt::{Lane, Mesh};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// One shard's ends of all lanes, carrying messages of type `M`.
#[derive(Debug)]
pub struct GlommioMesh<M>(Rc<Ends<M>>);

/// The ends of one shard, on their way to its thread.
pub(crate) struct Unplugged<M> {
    senders: Vec<Option<Sender<M>>>,
    receivers: Vec<Option<Receiver<M>>>,
}

#[derive(Debug)]
struct Ends<M> {
    /// By peer and lane; none for the shard itself and after closing.
    senders: RefCell<Vec<Option<Rc<Sender<M>>>>>,
    receivers: RefCell<Vec<Option<Rc<Receiver<M>>>>>,
    /// How many messages in a row were there when asked for, by peer and lane.
    streaks: Vec<Cell<u32>>,
}

const LANES: usize = 2;
const STREAK_MAX: u32 = 64;

fn slot(lane: Lane, peer: usize) -> usize {
    let lane = match lane {
        Lane::Request => 0,
        Lane::Reply => 1,
    };
    peer * LANES + lane
}

/// Makes all lanes between `shards` shards, each with room for `capacity` messages.
pub(crate) fn full<M>(shards: usize, capacity: usize) -> Vec<Unplugged<M>> {
    let empty = || Unplugged {
        senders: (0..shards * LANES).map(|_| None).collect(),
        receivers: (0..shards * LANES).map(|_| None).collect(),
    };
    let mut all: Vec<_> = (0..shards).map(|_| empty()).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            for lane in [Lane::Request, Lane::Reply] {
                let (sender, receiver) = flume::bounded(capacity);
                all[from].senders[slot(lane, to)] = Some(sender);
                all[to].receivers[slot(lane, from)] = Some(receiver);
            }
        }
    }
    all
}

impl<M> Unplugged<M> {
    pub(crate) fn plug(self) -> GlommioMesh<M> {
        let streaks = self.senders.iter().map(|_| Cell::new(0)).collect();
        let senders = self.senders.into_iter().map(|s| s.map(Rc::new));
        let receivers = self.receivers.into_iter().map(|r| r.map(Rc::new));
        GlommioMesh(Rc::new(Ends {
            senders: RefCell::new(senders.collect()),
            streaks,
            receivers: RefCell::new(receivers.collect()),
        }))
    }
}

impl<M> GlommioMesh<M> {
    /// A second handle for the engine, which closes the ends of a shard that has ended.
    pub(crate) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    /// Drops both kinds of ends: peers see that this shard is gone, in either direction.
    pub(crate) fn unplug(&self) {
        self.0.senders.borrow_mut().fill_with(|| None);
        self.0.receivers.borrow_mut().fill_with(|| None);
    }

    fn sender(&self, lane: Lane, to: ShardId) -> Option<Rc<Sender<M>>> {
        let senders = self.0.senders.borrow();
        senders.get(slot(lane, to.index()))?.clone()
    }

    fn receiver(&self, lane: Lane, from: ShardId) -> Option<Rc<Receiver<M>>> {
        let receivers = self.0.receivers.borrow();
        receivers.get(slot(lane, from.index()))?.clone()
    }
}

impl<M: Send + 'static> Mesh<M> for GlommioMesh<M> {
    fn try_send(&self, lane: Lane, to: ShardId, message: M) -> Result<(), M> {
        let senders = self.0.senders.borrow();
        match senders.get(slot(lane, to.index())) {
            Some(Some(sender)) => sender
                .try_send(message)
                .map_err(flume::TrySendError::into_inner),
            _ => Err(message),
        }
    }

    async fn send(&self, lane: Lane, to: ShardId, message: M) -> Result<(), M> {
        match self.sender(lane, to) {
            Some(sender) => sender
                .send_async(message)
                .await
                .map_err(flume::SendError::into_inner),
            None => Err(message),
        }
    }

    async fn recv(&self, lane: Lane, from: ShardId) -> Option<M> {
        let receiver = self.receiver(lane, from)?;
        let streak = self.0.streaks.get(slot(lane, from.index()))?;
        if streak.get() >= STREAK_MAX {
            // A peer that never lets the lane run dry must not keep this shard from its rings.
            streak.set(0);
            turn().await;
        }
        if let Ok(message) = receiver.try_recv() {
            streak.set(streak.get() + 1);
            return Some(message);
        }
        streak.set(0);
        receiver.recv_async().await.ok()
    }

    fn close(&self) {
        self.0.senders.borrow_mut().fill_with(|| None);
    }
}
