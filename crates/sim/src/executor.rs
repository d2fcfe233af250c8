//! The tasks of all hosts in one thread, run in an order drawn from the seed.
//!
//! Owned by the world. Runnable tasks run in rounds: each once, in random order, and what they
//! wake runs in the next round. Invariant: a task that was dropped by a crash is never polled
//! again, whoever still holds its waker.

use crate::seed::Rng;
use base::activity::turn_to;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Which life of which host a task belongs to; `None` for the test itself.
pub(crate) type Owner = Option<(usize, u64)>;

type Future_ = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TaskKey {
    slot: usize,
    generation: u64,
}

struct Task {
    owner: Owner,
    /// Taken out while it is polled.
    future: Option<Future_>,
    waker: Waker,
    wake: Arc<TaskWake>,
}

#[derive(Default)]
struct Slot {
    generation: u64,
    task: Option<Task>,
}

struct TaskWake {
    key: TaskKey,
    queued: AtomicBool,
    woken: Arc<Mutex<Vec<TaskKey>>>,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            woken.push(self.key);
        }
    }
}

pub(crate) struct Executor {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    woken: Arc<Mutex<Vec<TaskKey>>>,
    round: RefCell<Vec<TaskKey>>,
    rng: RefCell<Rng>,
    next_generation: Cell<u64>,
}

/// What one step did.
pub(crate) struct Polled {
    pub(crate) owner: Owner,
    pub(crate) slot: usize,
}

impl Executor {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            slots: RefCell::default(),
            free: RefCell::default(),
            woken: Arc::default(),
            round: RefCell::default(),
            rng: RefCell::new(rng),
            next_generation: Cell::new(1),
        }
    }

    pub(crate) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + 'static) {
        let mut slots = self.slots.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        let generation = self.next_generation.replace(self.next_generation.get() + 1);
        let wake = Arc::new(TaskWake {
            key: TaskKey { slot, generation },
            queued: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        slots[slot] = Slot {
            generation,
            task: Some(Task {
                owner,
                future: Some(Box::pin(task)),
                waker: Waker::from(Arc::clone(&wake)),
                wake: Arc::clone(&wake),
            }),
        };
        wake.wake();
    }

    /// Polls one runnable task; `None` when there is none.
    pub(crate) fn step(&self) -> Option<Polled> {
        loop {
            let key = self.next_key()?;
            let Some((owner, mut future, waker)) = self.take(key) else {
                continue;
            };
            // What no host owns gets a number of its own.
            turn_to(owner.map_or(usize::MAX, |(host, _)| host));
            let done = matches!(
                future.as_mut().poll(&mut Context::from_waker(&waker)),
                Poll::Ready(())
            );
            let left_over = self.put_back(key, future, done);
            drop(left_over);
            return Some(Polled {
                owner,
                slot: key.slot,
            });
        }
    }

    /// Drops every task of an owner, as a crash does.
    pub(crate) fn drop_tasks(&self, of: impl Fn(Owner) -> bool) {
        let mut dropped = Vec::new();
        for (slot, held) in self.slots.borrow_mut().iter_mut().enumerate() {
            if held.task.as_ref().is_some_and(|task| of(task.owner)) {
                held.generation = 0;
                dropped.push((slot, held.task.take()));
            }
        }
        for (slot, task) in dropped {
            drop(task); // may run code of the task that spawns or wakes
            self.free.borrow_mut().push(slot);
        }
    }

    fn next_key(&self) -> Option<TaskKey> {
        let mut round = self.round.borrow_mut();
        if round.is_empty() {
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *round, &mut *woken);
        }
        if round.is_empty() {
            return None;
        }
        let choice = self.rng.borrow_mut().index(round.len());
        Some(round.swap_remove(choice))
    }

    fn take(&self, key: TaskKey) -> Option<(Owner, Future_, Waker)> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(key.slot)?;
        if slot.generation != key.generation {
            return None;
        }
        let task = slot.task.as_mut()?;
        task.wake.queued.store(false, Ordering::Relaxed);
        let future = task.future.take()?;
        Some((task.owner, future, task.waker.clone()))
    }

    /// Gives back what must be dropped outside the borrow.
    fn put_back(
        &self,
        key: TaskKey,
        future: Future_,
        done: bool,
    ) -> (Option<Future_>, Option<Task>) {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[key.slot];
        if slot.generation != key.generation {
            return (Some(future), None); // a crash came while it ran
        }
        if done {
            self.free.borrow_mut().push(key.slot);
            slot.generation = 0;
            return (Some(future), slot.task.take());
        }
        if let Some(task) = slot.task.as_mut() {
            task.future = Some(future);
        }
        (None, None)
    }
}
