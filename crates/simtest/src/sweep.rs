//! Running seeds: one, or many on several threads, each failure with its seed.
//!
//! Owned by the caller. A violation is a panic inside the run; it is caught here, so that the
//! sweep goes on and the seed is printed last. Invariant: threads share nothing but the next seed,
//! and a report is the same whatever their number.

use crate::{Coverage, Cuts, Summary};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A seed that violated a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The scene that it happened in.
    pub scene: Scene,
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
    /// What all seeds came to.
    pub coverage: Coverage,
    /// Seeds that did not, in order.
    pub failures: Vec<Failure>,
}

/// What a seed plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// One shard's store.
    Store,
    /// Whole brokers with clients and name servers.
    Broker,
}

impl Scene {
    /// As it is written in cuts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Broker => "broker",
        }
    }
}

const SCENES: [Scene; 2] = [Scene::Store, Scene::Broker];

/// What a seed draws, for people: settings, sizes, crashes and faults of every scene.
pub fn describe(seed: u64, cuts: &Cuts) -> String {
    let mut lines = Vec::new();
    for scene in SCENES.into_iter().filter(|scene| cuts.plays(scene.name())) {
        let shape = match scene {
            Scene::Store => crate::store::describe(seed, cuts),
            Scene::Broker => crate::broker::describe(seed, cuts),
        };
        lines.push(format!("{}: {shape}", scene.name()));
    }
    lines.join("\n")
}

/// Plays one seed in every scene that `cuts` leaves.
pub fn run(seed: u64, cuts: &Cuts) -> Outcome {
    let mut total = Summary::default();
    for scene in SCENES.into_iter().filter(|scene| cuts.plays(scene.name())) {
        total = total.and(&run_scene(seed, scene, cuts)?);
    }
    Ok(total)
}

/// Plays one seed in one scene.
pub fn run_scene(seed: u64, scene: Scene, cuts: &Cuts) -> Outcome {
    let play = || match scene {
        Scene::Store => crate::store::run(seed, cuts),
        Scene::Broker => crate::broker::run(seed, cuts),
    };
    FIRST_PANIC.take();
    catch_unwind(AssertUnwindSafe(play)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let sentence = text
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned());
        let sentence = FIRST_PANIC.take().unwrap_or(sentence);
        Failure {
            seed,
            scene,
            sentence,
        }
    })
}

thread_local! {
    /// What this thread panicked with first since a run began, and where.
    static FIRST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps violations, which are panics, from being printed where they happen: each is told with its
/// seed.
pub fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        let first = info.to_string();
        FIRST_PANIC.with_borrow_mut(|kept| {
            kept.get_or_insert(first);
        });
    }));
}

/// Plays `count` seeds from `first` on, on `jobs` threads, stopping early at `failures_max`.
pub fn sweep(first: u64, count: u64, jobs: usize, failures_max: usize, cuts: &Cuts) -> Report {
    let next = AtomicU64::new(first);
    let report = Mutex::new(Report::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            Coverage::take();
            let outcome = run(seed, cuts);
            let coverage = Coverage::take();
            let Ok(mut report) = report.lock() else {
                return;
            };
            report.coverage.add(&coverage);
            report.add(outcome);
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

impl Report {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Ok(summary) => {
                self.held += 1;
                self.total = self.total.and(&summary);
            }
            Err(failure) => self.failures.push(failure),
        }
    }
}
