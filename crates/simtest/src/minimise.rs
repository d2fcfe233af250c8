//! Making a failing seed smaller: whatever can be left out, and it still fails, is left out.
//!
//! Greedy and bounded: every number is tried at its least and then halved, every entry of the plan
//! is left out, until nothing helps or the budget is used. The smaller run need not fail with the
//! same words; a smaller failure is as good. Invariant: the cuts that are given back fail.

use crate::cuts::{Cuts, Part};
use crate::sweep::{Failure, Scene, run_scene};

/// A failing seed with everything left out that it does not need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimised {
    /// What is left out.
    pub cuts: Cuts,
    /// How it fails then.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: u32,
}

/// Makes `failure` smaller in at most `runs_max` runs.
pub fn minimise(failure: &Failure, cuts: &Cuts, runs_max: u32) -> Minimised {
    let mut search = Search {
        best: Minimised {
            cuts: cuts.clone().only(failure.scene.name()),
            failure: failure.clone(),
            runs: 0,
        },
        runs_max,
    };
    while search.round() && search.best.runs < runs_max {}
    search.best
}

struct Search {
    best: Minimised,
    runs_max: u32,
}

impl Search {
    /// Tries everything once. Whether anything helped.
    fn round(&mut self) -> bool {
        let before = self.best.cuts.clone();
        let (_, mut plan) = self.parts();
        let mut step = plan.len().div_ceil(2);
        while step > 0 && !plan.is_empty() {
            let mut at = 0;
            while at < plan.len() {
                let mut fewer = plan.clone();
                fewer.drain(at..(at + step).min(plan.len()));
                if self.still_fails(self.best.cuts.clone().with_plan(fewer.clone())) {
                    plan = fewer;
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        let (parts, _) = self.parts();
        for part in parts {
            self.shrink(&part);
        }
        self.best.cuts != before
    }

    fn shrink(&mut self, part: &Part) {
        let (mut low, mut high) = (part.least, part.value);
        while low < high {
            let middle = if low == part.least && high == part.value {
                low
            } else {
                low.midpoint(high)
            };
            if self.still_fails(self.best.cuts.clone().with(part.name, middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }

    fn parts(&self) -> (Vec<Part>, Vec<usize>) {
        let (seed, cuts) = (self.best.failure.seed, &self.best.cuts);
        match self.best.failure.scene {
            Scene::Store => (crate::store::parts(seed, cuts), Vec::new()),
            Scene::Broker => crate::broker::parts(seed, cuts),
        }
    }

    fn still_fails(&mut self, cuts: Cuts) -> bool {
        if self.best.runs >= self.runs_max || cuts == self.best.cuts {
            return false;
        }
        self.best.runs += 1;
        let failure = &self.best.failure;
        match run_scene(failure.seed, failure.scene, &cuts) {
            Ok(_) => false,
            Err(failure) => {
                self.best.cuts = cuts;
                self.best.failure = failure;
                true
            }
        }
    }
}
