//! The mesh: bounded lanes between the shards of one host, with delays drawn from the seed.
//!
//! Owned by one life of a host. Messages of a lane arrive in order, each some microseconds after
//! it was sent. Invariant: a lane never holds more than its capacity, under way or arrived.

use crate::seed::Rng;
use crate::world::Life;
use base::ShardId;
use rt::sync::Event;
use rt::{Lane, Mesh};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// One shard's ends of all lanes of its host.
pub struct SimMesh<M> {
    life: Life,
    shard: ShardId,
    lanes: Rc<Lanes<M>>,
}

struct Lanes<M> {
    shard_count: usize,
    capacity: usize,
    rng: RefCell<Rng>,
    all: Vec<Rc<OneWay<M>>>,
}

struct OneWay<M> {
    messages: RefCell<VecDeque<M>>,
    /// How many at the front have arrived.
    arrived: Cell<usize>,
    last_arrival_ns: Cell<u64>,
    sender_closed: Cell<bool>,
    receiver_gone: Cell<bool>,
    for_receiver: Event,
    for_sender: Event,
}

/// Longest time on the way, in nanoseconds.
const DELAY_MAX_NS: u64 = 40_000;

pub(crate) fn full_mesh<M: Send + 'static>(
    life: &Life,
    shard_count: u16,
    capacity: usize,
    rng: Rng,
) -> Vec<SimMesh<M>> {
    let count = usize::from(shard_count);
    let lanes = Rc::new(Lanes {
        shard_count: count,
        capacity,
        rng: RefCell::new(rng),
        all: (0..count * count * 2).map(|_| Rc::default()).collect(),
    });
    let ends = (0..shard_count).map(|shard| SimMesh {
        life: life.clone(),
        shard: ShardId::new(shard),
        lanes: Rc::clone(&lanes),
    });
    ends.collect()
}

impl<M> Default for OneWay<M> {
    fn default() -> Self {
        Self {
            messages: RefCell::default(),
            arrived: Cell::new(0),
            last_arrival_ns: Cell::new(0),
            sender_closed: Cell::new(false),
            receiver_gone: Cell::new(false),
            for_receiver: Event::new(),
            for_sender: Event::new(),
        }
    }
}

impl<M> Lanes<M> {
    fn lane(&self, lane: Lane, from: ShardId, to: ShardId) -> &Rc<OneWay<M>> {
        let pair = from.index() * self.shard_count + to.index();
        &self.all[pair * 2 + usize::from(lane == Lane::Reply)]
    }
}

impl<M: Send + 'static> Mesh<M> for SimMesh<M> {
    fn try_send(&self, lane: Lane, to: ShardId, message: M) -> Result<(), M> {
        let one_way = self.lanes.lane(lane, self.shard, to);
        let full = one_way.messages.borrow().len() >= self.lanes.capacity;
        if full || one_way.is_over() || !self.life.is_current() {
            return Err(message);
        }
        one_way.messages.borrow_mut().push_back(message);
        let clock = &self.life.core.clock;
        let delay_ns = self.lanes.rng.borrow_mut().below(DELAY_MAX_NS);
        let arrival_ns = one_way.last_arrival_ns.get().max(clock.now_ns() + delay_ns);
        one_way.last_arrival_ns.set(arrival_ns);
        let arriving = Rc::clone(one_way);
        clock.after(arrival_ns - clock.now_ns(), move || {
            arriving.arrived.set(arriving.arrived.get() + 1);
            arriving.for_receiver.notify();
        });
        Ok(())
    }

    async fn send(&self, lane: Lane, to: ShardId, message: M) -> Result<(), M> {
        let mut message = message;
        loop {
            let one_way = self.lanes.lane(lane, self.shard, to);
            let seen = one_way.for_sender.count();
            match self.try_send(lane, to, message) {
                Ok(()) => return Ok(()),
                Err(back) if one_way.is_over() => return Err(back),
                Err(back) => message = back,
            }
            one_way.for_sender.wait_past(seen).await;
        }
    }

    async fn recv(&self, lane: Lane, from: ShardId) -> Option<M> {
        let one_way = self.lanes.lane(lane, from, self.shard);
        loop {
            let seen = one_way.for_receiver.count();
            if one_way.arrived.get() > 0 {
                one_way.arrived.set(one_way.arrived.get() - 1);
                let message = one_way.messages.borrow_mut().pop_front();
                one_way.for_sender.notify();
                return message;
            }
            if one_way.sender_closed.get() && one_way.messages.borrow().is_empty() {
                return None;
            }
            one_way.for_receiver.wait_past(seen).await;
        }
    }

    fn close(&self) {
        for to in (0..self.lanes.shard_count as u16).map(ShardId::new) {
            for lane in [Lane::Request, Lane::Reply] {
                let one_way = self.lanes.lane(lane, self.shard, to);
                one_way.sender_closed.set(true);
                one_way.for_receiver.notify();
                one_way.for_sender.notify();
            }
        }
    }
}

impl<M> OneWay<M> {
    fn is_over(&self) -> bool {
        self.sender_closed.get() || self.receiver_gone.get()
    }
}

impl<M> Drop for SimMesh<M> {
    fn drop(&mut self) {
        for peer in (0..self.lanes.shard_count as u16).map(ShardId::new) {
            for lane in [Lane::Request, Lane::Reply] {
                let out = self.lanes.lane(lane, self.shard, peer);
                out.sender_closed.set(true);
                out.for_receiver.notify();
                let into = self.lanes.lane(lane, peer, self.shard);
                into.receiver_gone.set(true);
                into.for_sender.notify();
            }
        }
    }
}
