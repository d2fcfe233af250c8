//! What a load costs: the broker's process, counted events, and who else used the machine.
//!
//! All of it is read from outside, from /proc and by `perf`, so that every broker is measured alike.

pub(crate) mod counters;
pub(crate) mod noise;
pub(crate) mod process;
