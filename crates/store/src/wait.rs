//! Waiting for an event or for time to pass, whichever comes first.
//!
//! Used by the store's own tasks, never on the way to an acknowledgement. Each wait is a fresh
//! future, dropped when done.

use std::future::poll_fn;
use std::pin::pin;
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
