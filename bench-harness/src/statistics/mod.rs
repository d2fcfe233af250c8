//! What a row of figures says: percentiles, medians with intervals, steadiness, the knee.
//!
//! Pure functions. Invariant: the same figures give the same verdict; whatever is drawn at random
//! is drawn from a fixed seed.

pub(crate) mod interval;
pub(crate) mod knee;
pub(crate) mod latency;
pub(crate) mod steady;
