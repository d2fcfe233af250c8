//! `simtest --seeds N [--first F] [--jobs J]` sweeps; `simtest --seed S [--cut CUTS]` replays one
//! seed twice; `simtest --bugs N` hunts each seeded bug with at most N seeds.
//!
//! Started by `cargo xtask sim`. The first failing seed is made smaller and printed last, with the command
//! that replays it; the exit code says whether all held.

#![allow(
    clippy::print_stdout,
    reason = "a command-line program speaks on stdout"
)]

use simtest::Cuts;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments.execute(),
        Err(sentence) => {
            println!(
                "{sentence}\nusage: simtest --seeds N [--first F] [--jobs J] | --seed S [--cut CUTS] \
                 | --bugs N [--first F] [--jobs J]"
            );
            ExitCode::from(2)
        }
    }
}

struct Arguments {
    seeds: u64,
    first: u64,
    jobs: usize,
    seed: Option<u64>,
    cuts: Cuts,
    /// Whether to print what was reached.
    coverage: bool,
    /// Whether all that the program names must be reached.
    must_reach: bool,
    /// Most seeds per seeded bug; 0: no hunt.
    bugs: u64,
}

/// Failures after which a sweep stops.
const FAILURES_MAX: usize = 5;
/// Runs that making a failing seed smaller may take.
const MINIMISE_RUNS_MAX: u32 = 400;

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut arguments = Self {
            seeds: 500,
            first: 0,
            jobs,
            seed: None,
            cuts: Cuts::default(),
            coverage: false,
            must_reach: false,
            bugs: 0,
        };
        while let Some(word) = words.next() {
            let text = words.next().unwrap_or_default();
            if word == "--cut" {
                arguments.cuts = text.parse()?;
                continue;
            }
            let value = text.parse::<u64>().ok();
            let value = value.ok_or_else(|| format!("{word}: a number must follow"))?;
            match word.as_str() {
                "--seeds" => arguments.seeds = value,
                "--first" => arguments.first = value,
                "--bugs" => arguments.bugs = value,
                "--coverage" => arguments.coverage = value > 0,
                "--must-reach" => arguments.must_reach = value > 0,
                "--jobs" => arguments.jobs = value as usize,
                "--seed" => arguments.seed = Some(value),
                _ => return Err(format!("{word}: no such argument")),
            }
        }
        Ok(arguments)
    }

    fn execute(&self) -> ExitCode {
        simtest::keep_panics_quiet();
        if self.bugs > 0 {
            return hunt(self.first, self.bugs, self.jobs);
        }
        match self.seed {
            Some(seed) => replay(seed, &self.cuts),
            None => self.sweep(),
        }
    }

    fn sweep(&self) -> ExitCode {
        #[expect(
            clippy::disallowed_methods,
            reason = "how fast a sweep is, is real time"
        )]
        let started = Instant::now();
        let report = simtest::sweep(self.first, self.seeds, self.jobs, FAILURES_MAX, &self.cuts);
        let seconds = started.elapsed().as_secs_f64().max(0.001);
        let total = &report.total;
        println!(
            "{} seeds held: {} lives, {} crashes inside recovery, {} messages made, {} read back, \
             {} given up by crashes, {} lost to damage and reported, {} events judged by rmq-check, \
             {} s of virtual time",
            report.held,
            total.lives,
            total.recovery_crashes,
            total.records,
            total.verified,
            total.given_up,
            total.lost,
            total.judged,
            total.virtual_ms / 1_000,
        );
        println!(
            "{seconds:.1} s with {} jobs: {:.1} seeds/s, {:.0} x real time",
            self.jobs,
            report.held as f64 / seconds,
            total.virtual_ms as f64 / 1_000.0 / seconds,
        );
        if self.coverage {
            println!("\n{}", report.coverage);
        } else {
            println!("{}", report.coverage.summary());
        }
        for failure in &report.failures {
            let (seed, scene) = (failure.seed, failure.scene.name());
            println!("seed {seed}, {scene}: {}", failure.sentence);
        }
        if let Some(failure) = report.failures.first() {
            println!(
                "\n{} seeds failed; the first is made smaller",
                report.failures.len()
            );
            let smaller = simtest::minimise(failure, &self.cuts, MINIMISE_RUNS_MAX);
            let (seed, cuts) = (failure.seed, &smaller.cuts);
            println!("after {} runs: {}", smaller.runs, smaller.failure.sentence);
            println!("cargo xtask sim --seed {seed} --cut {cuts}");
            return ExitCode::FAILURE;
        }
        let unreached = report.coverage.missing();
        let mut is_covered = true;
        for point in unreached.iter().filter(|_| self.must_reach) {
            is_covered = false;
            println!("never reached: {point:?}: {}", point.sentence());
        }
        if report.held == self.seeds && is_covered {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Plays a seed twice and compares.
fn replay(seed: u64, cuts: &Cuts) -> ExitCode {
    println!("{}", simtest::describe(seed, cuts));
    let (first, second) = (simtest::run(seed, cuts), simtest::run(seed, cuts));
    if first != second {
        println!("{first:?}\n{second:?}\nthe two runs differ; seed: {seed}");
        return ExitCode::FAILURE;
    }
    match first {
        Ok(summary) => {
            println!("{summary:#?}\nseed {seed} holds");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!(
                "{}\ncargo xtask sim --seed {seed} --cut {cuts}",
                failure.sentence
            );
            ExitCode::FAILURE
        }
    }
}

/// Sweeps with each seeded bug until a seed finds it.
fn hunt(first: u64, seeds_max: u64, jobs: usize) -> ExitCode {
    if !base::bugs::COMPILED_IN {
        println!("this build has no seeded bugs: it lacks the feature seeded-bugs");
        return ExitCode::from(2);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a hunt takes is real time"
    )]
    let started = Instant::now();
    let hunted = simtest::hunt(first, seeds_max, jobs, |hunted| println!("{hunted}"));
    let found = hunted.iter().filter(|hunted| hunted.found.is_some());
    let (found, all) = (found.count(), hunted.len());
    let seconds = started.elapsed().as_secs_f64();
    println!("{found} of {all} seeded bugs found in {seconds:.1} s with {jobs} jobs");
    if found == all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
