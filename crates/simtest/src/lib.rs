//! The seeded sweeps: what must hold of store and broker, tried on the simulation.
//!
//! A development tool, linked by no other program. [`run`] plays one seed and says how it went;
//! [`sweep`] plays many on several threads; [`minimise`] makes a failing one smaller. Invariant: a seed gives the same run every time, down
//! to its trace hash, so that a failure is replayed by its number alone.

mod broker;
mod coverage;
mod cuts;
mod hunt;
mod minimise;
mod store;
mod sweep;

pub use coverage::Coverage;
pub use cuts::Cuts;
pub use hunt::{Hunted, hunt};
pub use minimise::{Minimised, minimise};
pub use sweep::{
    Failure, Outcome, Report, Scene, describe, keep_panics_quiet, run, run_scene, sweep,
};

/// What one run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Digest of everything that happened.
    pub trace_hash: u64,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// Lives of the host.
    pub lives: u64,
    /// Crashes inside a recovery.
    pub recovery_crashes: u64,
    /// Messages that were made.
    pub records: u64,
    /// Messages that were read and compared after recoveries.
    pub verified: u64,
    /// Records that crashes took and recoveries gave up.
    pub given_up: u64,
    /// Messages that were lost to damage, and said to be.
    pub lost: u64,
    /// Events of histories that the checker judged.
    pub judged: u64,
}

impl Summary {
    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            trace_hash: self.trace_hash.rotate_left(1) ^ other.trace_hash,
            virtual_ms: self.virtual_ms + other.virtual_ms,
            lives: self.lives + other.lives,
            recovery_crashes: self.recovery_crashes + other.recovery_crashes,
            records: self.records + other.records,
            verified: self.verified + other.verified,
            given_up: self.given_up + other.given_up,
            lost: self.lost + other.lost,
            judged: self.judged + other.judged,
        }
    }
}
