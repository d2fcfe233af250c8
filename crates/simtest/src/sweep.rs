//! Running seeds: one, or many on several threads, each failure with its seed.
//!
//! Owned by the caller. A violation is a panic inside the run; it is caught here, so that the
//! sweep goes on and the seed is printed last. Invariant: threads share nothing but the next seed.

use crate::Summary;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A seed that violated a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was violated.
    pub sentence: String,
}

/// How a seed went.
pub type Outcome = Result<Summary, Failure>;

/// How a sweep went.
#[derive(Debug, Default)]
pub struct Report {
    /// Sums over all seeds that held.
    pub total: Summary,
    /// How many seeds held.
    pub held: u64,
    /// Seeds that did not, in order.
    pub failures: Vec<Failure>,
}

/// What a seed plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// One shard's store.
    Store,
    /// A whole broker with clients.
    Broker,
}

/// What a seed draws, for people: settings, sizes, crashes and faults of every scene.
pub fn describe(seed: u64) -> String {
    let (store, broker) = (crate::store::describe(seed), crate::broker::describe(seed));
    format!("store: {store}\nbroker: {broker}")
}

/// Plays one seed in every scene.
pub fn run(seed: u64) -> Outcome {
    let store = run_scene(seed, Scene::Store)?;
    let broker = run_scene(seed, Scene::Broker)?;
    Ok(store.and(&broker))
}

/// Plays one seed in one scene.
pub fn run_scene(seed: u64, scene: Scene) -> Outcome {
    let play = || match scene {
        Scene::Store => crate::store::run(seed),
        Scene::Broker => crate::broker::run(seed),
    };
    catch_unwind(AssertUnwindSafe(play)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let sentence = text
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned());
        Failure { seed, sentence }
    })
}

/// Plays `count` seeds from `first` on, on `jobs` threads, stopping early at `failures_max`.
pub fn sweep(first: u64, count: u64, jobs: usize, failures_max: usize) -> Report {
    let next = AtomicU64::new(first);
    let report = Mutex::new(Report::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let outcome = run(seed);
            let Ok(mut report) = report.lock() else {
                return;
            };
            match outcome {
                Ok(summary) => {
                    report.held += 1;
                    report.total = report.total.and(&summary);
                }
                Err(failure) => report.failures.push(failure),
            }
            if report.failures.len() >= failures_max {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_default();
    report.failures.sort_by_key(|failure| failure.seed);
    report
}
