//! Hunting the seeded bugs: the standard sweep, once per bug, until a seed fails.
//!
//! Owned by the caller. A bug is on for one thread, so that each thread hunts one at a time, seed by
//! seed from the first on. Invariant: a seed counts as a find only if it holds without the bug.

use crate::{Cuts, Failure, run};
use base::bugs::{Bug, switch};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How the hunt for one bug went.
#[derive(Debug)]
pub struct Hunted {
    /// The bug.
    pub bug: Bug,
    /// The seed that found it, and the property that it broke.
    pub found: Option<Failure>,
    /// Seeds that were played.
    pub seeds: u64,
    /// Real time of one thread.
    pub took: Duration,
}

impl fmt::Display for Hunted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bug, seeds, seconds) = (self.bug, self.seeds, self.took.as_secs_f64());
        let Some(failure) = &self.found else {
            return write!(f, "{bug:?}: NOT FOUND in {seeds} seeds, {seconds:.1} s");
        };
        let (seed, scene) = (failure.seed, failure.scene.name());
        // The first line of a panic says where, the second what.
        let mut lines = failure.sentence.lines();
        let place = lines.next().unwrap_or_default();
        let what = lines.next().unwrap_or(place).trim();
        write!(
            f,
            "{bug:?}: seed {seed} ({scene}), {seeds} tried, {seconds:.1} s: {what}"
        )
    }
}

/// Hunts every bug with at most `seeds_max` seeds from `first` on, on `jobs` threads. `tell` is called
/// as each hunt ends; the result is in the order of [`Bug::ALL`].
pub fn hunt(first: u64, seeds_max: u64, jobs: usize, tell: impl Fn(&Hunted) + Sync) -> Vec<Hunted> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(bug) = Bug::ALL.get(number) else {
                return;
            };
            let hunted = hunt_one(*bug, first, seeds_max);
            tell(&hunted);
            if let Ok(mut all) = all.lock() {
                all.push((number, hunted));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut all = all.into_inner().unwrap_or_default();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, hunted)| hunted).collect()
}

fn hunt_one(bug: Bug, first: u64, seeds_max: u64) -> Hunted {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a hunt takes is real time"
    )]
    let started = Instant::now();
    let mut hunted = Hunted {
        bug,
        found: None,
        seeds: 0,
        took: Duration::ZERO,
    };
    for seed in first..first + seeds_max {
        hunted.seeds += 1;
        switch(Some(bug));
        let outcome = run(seed, &Cuts::default());
        switch(None);
        if let Err(failure) = outcome
            && run(seed, &Cuts::default()).is_ok()
        {
            hunted.found = Some(failure);
            break;
        }
    }
    hunted.took = started.elapsed();
    hunted
}
