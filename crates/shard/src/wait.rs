//! Waiting for the first of two things.
//!
//! Both futures are fresh and dropped when the wait is over, so no waker stays behind.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Completes with the first of the two. Whether it was `first`.
pub async fn first_of(first: impl Future<Output = ()>, second: impl Future<Output = ()>) -> bool {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if first.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        second.as_mut().poll(context).map(|()| false)
    })
    .await
}
