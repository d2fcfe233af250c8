//! The generator's clock: nanoseconds since the start of the program.
//!
//! One clock for all threads and for the time that a body carries, so that a consumer of this
//! process can tell how old a message is. Invariant: it never goes back.

use std::time::{Duration, Instant};

/// Copied into every thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Sleeps.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
