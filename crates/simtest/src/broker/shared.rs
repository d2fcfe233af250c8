//! What the tasks of one broker run share: shape, model, and how each broker is doing.
//!
//! Owned by one run. The driver writes how things stand; clients read it to judge what they are
//! answered. Invariant: an excuse has a cause that the plan names.

use super::client::{Client, NoAnswer};
use super::history::History;
use super::model::{Key, Model, Topic};
use super::shape::Shape;
use rt::sync::Gate;
use sim::{Host, Rng};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// See the module.
pub(crate) struct Shared {
    pub(crate) shape: Shape,
    pub(crate) model: RefCell<Model>,
    pub(crate) history: RefCell<History>,
    pub(crate) brokers: Vec<BrokerState>,
    /// Set when the clients shall end.
    pub(crate) stop: Cell<bool>,
    pub(crate) working: Rc<Gate>,
    pub(crate) locks: RefCell<BTreeMap<(u64, Key), Lock>>,
}

/// One broker as the driver knows it.
pub(crate) struct BrokerState {
    pub(crate) address: SocketAddr,
    host: Host,
    /// Whether clients may come: not before everything that its recovery found was looked at.
    pub(crate) is_open: Cell<bool>,
    /// Until when its network was in trouble, in milliseconds.
    pub(crate) net_trouble_ms: Cell<u64>,
    /// Whether its disk had trouble in this life.
    pub(crate) disk_trouble: Cell<bool>,
}

/// Who holds a queue of a group, as the answers say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lock {
    pub(crate) holder: u64,
    pub(crate) asked_ms: u64,
    pub(crate) life: u64,
}

impl BrokerState {
    pub(crate) fn new(host: Host, address: SocketAddr) -> Self {
        Self {
            address,
            host,
            is_open: Cell::new(false),
            net_trouble_ms: Cell::new(0),
            disk_trouble: Cell::new(false),
        }
    }

    /// Which life this is, from 1.
    pub(crate) fn life(&self) -> u64 {
        self.host.lives()
    }
}

impl Shared {
    /// A queue of a topic that producers send to.
    pub(crate) fn draw_key(&self, broker: usize, rng: &mut Rng) -> Key {
        let topic = Topic::Plain(rng.below(self.shape.topics));
        let queue = rng.below(self.shape.queues as u64) as i32;
        Key {
            broker,
            topic,
            queue,
        }
    }

    /// Every queue of a broker that can be read.
    pub(crate) fn keys(&self, broker: usize) -> Vec<Key> {
        let shape = &self.shape;
        let key = move |topic, queue| Key {
            broker,
            topic,
            queue,
        };
        let plain = (0..shape.topics).flat_map(move |topic| {
            (0..shape.queues).map(move |queue| key(Topic::Plain(topic), queue))
        });
        let retry = (0..shape.consumers).map(move |group| key(Topic::Retry(group), 0));
        plain.chain(retry).collect()
    }

    /// A call without an answer has a cause: the broker died or stops, or its network or disk had
    /// trouble.
    pub(crate) fn check_excused(&self, broker: usize, client: &Client, why: NoAnswer) {
        let state = &self.brokers[broker];
        let excused = state.life() != client.life
            || !state.is_open.get()
            || state.net_trouble_ms.get() >= client.since_ms
            || state.disk_trouble.get();
        assert!(excused, "no answer from a broker that runs: {why:?}");
    }

    /// Whether an answer over this connection says something about the broker as it is now: under
    /// `ASYNC_FLUSH`, what a dead broker said need not be true any more.
    pub(crate) fn counts(&self, broker: usize, client: &Client) -> bool {
        self.shape.is_sync || self.brokers[broker].life() == client.life
    }
}
