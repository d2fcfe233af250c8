//! A shield around glommio's futures: poll it as often as you like.
//!
//! glommio pushes one more waker for every poll of a pending operation, and its count of a task's
//! wakers is 16 bits wide: 32 thousand polls of one pending future end the process. A task that
//! waits for a slow sync and for something busy at once gets there. Behind this shield the inner
//! future is polled again only after it was woken, with a waker that is not the task's.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Wraps a future so that each of its waits leaves one waker behind, however often it is polled.
pub(crate) fn shielded<F: Future>(inner: F) -> Shielded<F> {
    Shielded {
        inner: Box::pin(inner),
        signal: Arc::new(Signal {
            woken: AtomicBool::new(true),
            outer: Mutex::new(None),
        }),
    }
}

pub(crate) struct Shielded<F> {
    inner: Pin<Box<F>>,
    signal: Arc<Signal>,
}

struct Signal {
    woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Signal {
    fn outer(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.outer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let outer = self.outer().take();
        if let Some(waker) = outer {
            waker.wake();
        }
    }
}

impl<F: Future> Future for Shielded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        {
            let mut outer = self.signal.outer();
            match outer.as_mut() {
                Some(waker) => waker.clone_from(context.waker()),
                None => *outer = Some(context.waker().clone()),
            }
        }
        if !self.signal.woken.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.signal));
        self.inner.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl<F> Drop for Shielded<F> {
    fn drop(&mut self) {
        self.signal.outer().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::pin::pin;
    use std::rc::Rc;

    #[test]
    fn a_pending_future_is_polled_again_only_after_it_was_woken() {
        let polls = Rc::new(Cell::new(0));
        let kept = Rc::new(RefCell::new(None::<Waker>));
        let (polls2, kept2) = (Rc::clone(&polls), Rc::clone(&kept));
        let inner = poll_fn(move |context| {
            polls2.set(polls2.get() + 1);
            if polls2.get() == 3 {
                return Poll::Ready(7);
            }
            kept2.replace(Some(context.waker().clone()));
            Poll::Pending
        });
        let mut shield = pin!(shielded(inner));
        let mut context = Context::from_waker(Waker::noop());
        for expected in [1, 2] {
            for _ in 0..100_000 {
                assert!(shield.as_mut().poll(&mut context).is_pending());
            }
            assert_eq!(polls.get(), expected);
            kept.take().unwrap().wake();
        }
        assert_eq!(shield.as_mut().poll(&mut context), Poll::Ready(7));
    }
}
