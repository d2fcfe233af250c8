//! Waiting inside one shard: an event that wakes all its waiters, a one-value slot, a gate.
//!
//! Owned by the tasks of one shard; no atomics, no locks. Each wait is a fresh future and keeps
//! one waker (the engine limits wakers per task), removed when the future is dropped.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Something that happens again and again. A waiter sees every happening after it began to wait.
#[derive(Debug, Default)]
pub struct Event {
    happened: Cell<u64>,
    waiters: RefCell<Vec<(u64, Waker)>>,
    next_id: Cell<u64>,
}

impl Event {
    /// An event that has not happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it has happened.
    pub fn count(&self) -> u64 {
        self.happened.get()
    }

    /// Makes it happen: wakes every waiter once.
    pub fn notify(&self) {
        self.happened.set(self.happened.get() + 1);
        for (_, waker) in self.waiters.take() {
            waker.wake();
        }
    }

    /// Completes at the next happening after this call.
    pub fn wait(&self) -> impl Future<Output = ()> + '_ {
        self.wait_past(self.happened.get())
    }

    /// Completes as soon as [`Event::count`] is above `seen`.
    pub async fn wait_past(&self, seen: u64) {
        let registration = Registration {
            event: self,
            id: Cell::new(None),
        };
        poll_fn(|context| {
            if self.happened.get() > seen {
                return Poll::Ready(());
            }
            let mut waiters = self.waiters.borrow_mut();
            let id = registration.id.get();
            if let Some((_, waker)) = waiters.iter_mut().find(|(w, _)| Some(*w) == id) {
                waker.clone_from(context.waker());
            } else {
                let id = self.next_id.replace(self.next_id.get() + 1);
                registration.id.set(Some(id));
                waiters.push((id, context.waker().clone()));
            }
            Poll::Pending
        })
        .await;
    }
}

struct Registration<'a> {
    event: &'a Event,
    id: Cell<Option<u64>>,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.get() {
            self.event
                .waiters
                .borrow_mut()
                .retain(|(waiter, _)| *waiter != id);
        }
    }
}

/// The giving end of a one-value slot.
#[derive(Debug)]
pub struct Giver<T>(Rc<Slot<T>>);

/// The taking end of a one-value slot.
#[derive(Debug)]
pub struct Taker<T>(Rc<Slot<T>>);

#[derive(Debug)]
struct Slot<T> {
    value: RefCell<Option<T>>,
    gone: Cell<bool>,
    event: Event,
}

/// A slot for one value between two tasks of a shard.
pub fn oneshot<T>() -> (Giver<T>, Taker<T>) {
    let slot = Rc::new(Slot {
        value: RefCell::new(None),
        gone: Cell::new(false),
        event: Event::new(),
    });
    (Giver(Rc::clone(&slot)), Taker(slot))
}

impl<T> Giver<T> {
    /// Gives the value; lost when the taker is gone.
    pub fn give(self, value: T) {
        self.0.value.replace(Some(value));
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.0.gone.set(true);
        self.0.event.notify();
    }
}

impl<T> Taker<T> {
    /// The value; `None` when the giver was dropped without giving.
    pub async fn take(self) -> Option<T> {
        while !self.0.gone.get() {
            self.0.event.wait().await;
        }
        self.0.value.take()
    }
}

/// Something that happens at most once and then stays so, such as the order to stop.
#[derive(Debug, Default)]
pub struct Latch {
    set: Cell<bool>,
    event: Event,
}

impl Latch {
    /// A latch that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it and wakes every waiter. Setting it again does nothing.
    pub fn set(&self) {
        if !self.set.replace(true) {
            self.event.notify();
        }
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Completes once it is set.
    pub async fn wait(&self) {
        while !self.is_set() {
            self.event.wait().await;
        }
    }
}

/// Counts work under way and lets one task wait for the end of it.
#[derive(Debug, Default)]
pub struct Gate {
    inside: Cell<usize>,
    left: Event,
}

/// Work under way; leaves the gate when dropped.
#[derive(Debug)]
pub struct Pass(Rc<Gate>);

impl Gate {
    /// Enters; the pass is to be kept until the work is done.
    pub fn enter(self: &Rc<Self>) -> Pass {
        self.inside.set(self.inside.get() + 1);
        Pass(Rc::clone(self))
    }

    /// How many are inside.
    pub fn inside(&self) -> usize {
        self.inside.get()
    }

    /// Completes when nobody is inside.
    pub async fn empty(&self) {
        while self.inside.get() > 0 {
            self.left.wait().await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.set(self.0.inside.get() - 1);
        if self.0.inside.get() == 0 {
            self.0.left.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_event_wakes_those_who_waited_and_forgets_those_who_left() {
        let event = Event::new();
        {
            let mut left = pin!(event.wait());
            assert!(poll(left.as_mut()).is_pending());
        }
        assert_eq!(event.waiters.borrow().len(), 0);
        let mut stayed = pin!(event.wait());
        assert!(poll(stayed.as_mut()).is_pending());
        assert!(poll(stayed.as_mut()).is_pending());
        assert_eq!(event.waiters.borrow().len(), 1);
        event.notify();
        assert!(poll(stayed.as_mut()).is_ready());
    }

    #[test]
    fn a_slot_tells_when_its_giver_is_gone() {
        let (giver, taker) = oneshot::<u8>();
        giver.give(7);
        assert_eq!(poll(pin!(taker.take())), Poll::Ready(Some(7)));
        let (giver, taker) = oneshot::<u8>();
        drop(giver);
        assert_eq!(poll(pin!(taker.take())), Poll::Ready(None));
    }

    #[test]
    fn a_latch_lets_those_pass_who_come_before_and_after_it_is_set() {
        let latch = Latch::new();
        let mut before = pin!(latch.wait());
        assert!(poll(before.as_mut()).is_pending());
        latch.set();
        latch.set();
        assert!(latch.is_set() && poll(before.as_mut()).is_ready());
        assert!(poll(pin!(latch.wait())).is_ready());
    }

    #[test]
    fn a_gate_is_empty_when_every_pass_is_dropped() {
        let gate = Rc::new(Gate::default());
        let pass = gate.enter();
        assert!(poll(pin!(gate.empty())).is_pending());
        drop(pass);
        assert!(poll(pin!(gate.empty())).is_ready());
    }
}
