//! Virtual time: it stands while a task can run and then jumps to the next thing that is due.
//!
//! Owned by the world. What is due at the same instant happens in the order in which it was
//! planned. Invariant: time never goes back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type Due = (u64, u64);

/// What happens when its time has come.
pub(crate) enum Entry {
    Wake(Waker),
    Act(Box<dyn FnOnce()>),
}

#[derive(Default)]
pub(crate) struct Clock {
    now_ns: Cell<u64>,
    planned: RefCell<BTreeMap<Due, Entry>>,
    next_seq: Cell<u64>,
}

impl Clock {
    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    pub(crate) fn advance(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }

    /// Plans `act` for `delay_ns` from now.
    pub(crate) fn after(&self, delay_ns: u64, act: impl FnOnce() + 'static) {
        self.plan(self.now_ns.get() + delay_ns, Entry::Act(Box::new(act)));
    }

    pub(crate) fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
        Sleep {
            clock: Rc::clone(self),
            until_ns: self.now_ns.get().saturating_add(ns),
            planned: None,
        }
    }

    /// Takes one entry that is due, if any.
    pub(crate) fn take_due(&self) -> Option<Entry> {
        let mut planned = self.planned.borrow_mut();
        let first = planned.first_entry()?;
        (first.key().0 <= self.now_ns.get()).then(|| first.remove())
    }

    /// When the next entry is due.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.planned
            .borrow()
            .first_key_value()
            .map(|(due, _)| due.0)
    }

    /// Moves time on to `ns`, unless it is past that.
    pub(crate) fn jump_to(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get().max(ns));
    }

    /// Forgets everything planned.
    pub(crate) fn clear(&self) {
        let planned = std::mem::take(&mut *self.planned.borrow_mut());
        drop(planned);
    }

    fn plan(&self, at_ns: u64, entry: Entry) -> Due {
        let seq = self.next_seq.replace(self.next_seq.get() + 1);
        self.planned.borrow_mut().insert((at_ns, seq), entry);
        (at_ns, seq)
    }
}

/// Completes when its time has come.
pub(crate) struct Sleep {
    clock: Rc<Clock>,
    until_ns: u64,
    planned: Option<Due>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.clock.now_ns() >= self.until_ns {
            return Poll::Ready(());
        }
        if let Some(due) = self.planned {
            let mut planned = self.clock.planned.borrow_mut();
            if let Some(Entry::Wake(waker)) = planned.get_mut(&due) {
                waker.clone_from(context.waker()); // the same one, mostly: no clone then
                return Poll::Pending;
            }
        }
        let entry = Entry::Wake(context.waker().clone());
        self.planned = Some(self.clock.plan(self.until_ns, entry));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(due) = self.planned.take() {
            self.clock.planned.borrow_mut().remove(&due);
        }
    }
}
