//! Waiting for the first of two, or for all of several.
//!
//! Used by the store's own tasks and by recovery, never on the way to an acknowledgement. Each wait
//! is a fresh future, dropped when done.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

/// Completes with the first of the two. Tells whether it was `event`.
pub(crate) async fn first_of(
    event: impl Future<Output = ()>,
    timer: impl Future<Output = ()>,
) -> bool {
    let mut event = pin!(event);
    let mut timer = pin!(timer);
    poll_fn(|context| {
        if event.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        timer.as_mut().poll(context).map(|()| false)
    })
    .await
}

/// Completes when all have; their values in order. They are under way at once.
pub(crate) async fn all_of<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = futures.into_iter().map(State::waiting).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for state in &mut all {
            if let State::Waiting(future) = state {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *state = State::Done(value),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let values = all.into_iter().map(|state| match state {
        State::Done(value) => value,
        State::Waiting(_) => unreachable!("all are done"),
    });
    values.collect()
}

enum State<F: Future> {
    Waiting(Pin<Box<F>>),
    Done(F::Output),
}

impl<F: Future> State<F> {
    fn waiting(future: F) -> Self {
        Self::Waiting(Box::pin(future))
    }
}
