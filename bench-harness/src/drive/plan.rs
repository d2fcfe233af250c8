//! What the threads of a generator share: the plan of a cell, and the counters between them.
//!
//! The plan is fixed before the threads start; phase and window are moved by the controller alone.
//! Invariant: a thread looks at the phase once a turn, so that one turn counts in one window.

use super::frames::Form;
use crate::clock::Clock;
use crate::random::Weighted;
use crate::scenario::{Mode, Params};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One cell, concretely.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) clock: Clock,
    /// Marks the bodies of this cell.
    pub(crate) run: u32,
    pub(crate) brokers: Vec<SocketAddr>,
    pub(crate) topics: Vec<String>,
    pub(crate) params: Params,
    pub(crate) form: Form,
    pub(crate) mode: Mode,
    pub(crate) connections: u32,
    /// Over all connections.
    pub(crate) in_flight: u32,
    /// Messages a second over all connections, in an open loop.
    pub(crate) rate: f64,
    pub(crate) groups: u32,
    /// Groups from this one on wait until they are let go: they read a backlog.
    pub(crate) late_group: u32,
    /// CPUs of the generator's threads, one each.
    pub(crate) cpus: Vec<usize>,
    pub(crate) spins: bool,
    pub(crate) filler: Vec<u8>,
    pub(crate) sizes: Option<Weighted>,
    pub(crate) skew: Option<Weighted>,
    /// After so many messages the producers stop by themselves; 0: never.
    pub(crate) messages_max: u64,
}

impl Plan {
    /// Queues of one broker; broker `b` has the numbers from `b` times this on.
    pub(crate) fn queues_per_broker(&self) -> usize {
        self.topics.len() * self.params.queues as usize
    }

    pub(crate) fn queues(&self) -> usize {
        self.queues_per_broker() * self.brokers.len()
    }

    /// Broker, topic and id of a queue by its number.
    pub(crate) fn queue(&self, number: usize) -> (usize, &str, i32) {
        let (broker, rest) = (
            number / self.queues_per_broker(),
            number % self.queues_per_broker(),
        );
        let queues = self.params.queues as usize;
        (broker, &self.topics[rest / queues], (rest % queues) as i32)
    }

    pub(crate) fn threads(&self) -> usize {
        self.cpus.len().max(1)
    }
}

/// What the threads do.
pub(crate) mod phase {
    pub(crate) const RUN: u32 = 0;
    /// No new sends; answers and deliveries that are due are waited for.
    pub(crate) const DRAIN: u32 = 1;
    pub(crate) const STOP: u32 = 2;
}

/// Counters and switches.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    phase: AtomicU32,
    /// 0: nothing counts; else the number of the window that counts.
    window: AtomicU32,
    /// Whether late groups may read.
    pub(crate) late_may_read: AtomicBool,
    /// Whether one consumer connection stands still.
    pub(crate) consumer_stopped: AtomicBool,
    /// Messages, since the start.
    pub(crate) acknowledged: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// Deliveries to all groups but late ones.
    pub(crate) received: AtomicU64,
    pub(crate) received_late: AtomicU64,
    /// Sends that are not answered yet, by thread.
    due: Vec<AtomicU64>,
    /// Producer connections that still live.
    pub(crate) live: AtomicU32,
    /// What ended a connection first.
    pub(crate) failure: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(threads: usize) -> Self {
        let due = (0..threads).map(|_| AtomicU64::new(1)).collect();
        Self {
            due,
            ..Self::default()
        }
    }

    /// A thread tells how many of its sends are not answered yet.
    pub(crate) fn set_due(&self, thread: usize, due: u64) {
        self.due[thread].store(due, Ordering::Relaxed);
    }

    pub(crate) fn due(&self) -> u64 {
        self.due.iter().map(|due| due.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn phase(&self) -> u32 {
        self.phase.load(Ordering::Acquire)
    }

    pub(crate) fn set_phase(&self, phase: u32) {
        self.phase.store(phase, Ordering::Release);
    }

    pub(crate) fn window(&self) -> u32 {
        self.window.load(Ordering::Acquire)
    }

    pub(crate) fn set_window(&self, window: u32) {
        self.window.store(window, Ordering::Release);
    }

    /// Keeps the first.
    pub(crate) fn fail(&self, why: String) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(why);
        }
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|failure| failure.clone())
    }
}
