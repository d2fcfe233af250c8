//! The one clock of all records: `CLOCK_MONOTONIC`, which every process of the machine shares.
//!
//! Owned by nobody. Invariant: never goes back, so that instants of the broker's clients and of
//! the disk can be compared.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
