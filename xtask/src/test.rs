//! `cargo xtask test`: everything that a change must pass, in the order that fails soonest.
//!
//! Each stage runs the tool that a person would run by hand. The last line counts what ran, so
//! that a run which tested nothing cannot look green.

use crate::process::{cargo, program, root};
use crate::{runtimes, tidy};
use anyhow::{Context, Result, ensure};
use clap::Args;

#[derive(Args)]
pub(crate) struct Options {
    /// Leaves out the real clients (which need a JDK, Maven, Go, Python and Node).
    #[arg(long)]
    without_clients: bool,
    /// Simulation seeds to run.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
}

/// Rounds of the campaign that every test run plays; a long one is a command by hand.
const KILLS: u64 = 10;
/// From so many seeds on, every assertion and rare case of the program must be reached.
const REACH_SEEDS: u64 = 500;
/// Seeds that may be tried to find each seeded bug; a hunt ends with the first one that does.
const BUG_SEEDS: u64 = 500;
/// The other campaigns, in their short versions. They want root, FUSE and loop devices. The one case
/// that wants a memory controller, which a container may lack, is played by hand.
const CAMPAIGNS: [&[&str]; 8] = [
    &["eio"],
    &["enospc"],
    &["stall"],
    &["rot"],
    &["power"],
    &["pressure", "--case", "time,files,writes"],
    &["soak"],
    &["crash-states"],
];

/// Runs every stage; the first failure ends it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.without_clients {
        runtimes::require_all()?;
    }
    cargo(["fmt", "--all", "--check"]).run()?;
    tidy::run()?;
    cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
    .run()?;
    let lines = cargo(["test", "--workspace", "--no-fail-fast"]).run_and_read()?;
    let mut passed = count_passed(&lines);
    ensure!(passed > 0, "no unit test ran");
    let reach = Reach {
        prints: false,
        demands: options.seeds >= REACH_SEEDS,
    };
    simulate(options.seeds, 0, None, None, "", reach)?;
    passed += options.seeds;
    hunt_bugs(BUG_SEEDS, 0, None)?;
    passed += 1;
    if !options.without_clients {
        build_release()?;
        passed += end_to_end_count()?;
        bench_gate()?;
        passed += 1;
        torture(&["kill9", "--rounds", &KILLS.to_string()])?;
        passed += KILLS;
        for campaign in CAMPAIGNS {
            torture(campaign)?;
            passed += 1;
        }
    }
    println!("\n{passed} passed, 0 failed");
    Ok(())
}

/// Builds what the real-client suites start.
pub(crate) fn build_release() -> Result<()> {
    cargo([
        "build",
        "--release",
        "--package",
        "ringmq",
        "--package",
        "e2e",
        "--package",
        "faultfs",
        "--package",
        "torture",
    ])
    .run()
}

/// A short load with limits that do not depend on the machine's speed; wants `perf`, which is installed
/// when missing.
pub(crate) fn bench_gate() -> Result<()> {
    if program("perf").arguments(["--version"]).run().is_err() {
        program("apt-get")
            .arguments(["install", "-y", "-q", "linux-perf"])
            .run()
            .context("bench-gate counts system calls with perf: install linux-perf")?;
    }
    cargo([
        "build",
        "--release",
        "--package",
        "ringmq",
        "--package",
        "bench-harness",
    ])
    .run()?;
    program(root().join("target/release/ringmq-bench"))
        .arguments(["run", "gate-1k", "--out", "target/bench/gate"])
        .run()
}

/// What a sweep says of the assertions and rare cases that it reached.
#[derive(Clone, Copy)]
pub(crate) struct Reach {
    /// It prints all.
    pub(crate) prints: bool,
    /// It fails when one was not reached.
    pub(crate) demands: bool,
}

/// Runs the seeds, or replays one, in the profile that is made for it.
pub(crate) fn simulate(
    seeds: u64,
    first: u64,
    jobs: Option<u64>,
    seed: Option<u64>,
    cut: &str,
    reach: Reach,
) -> Result<()> {
    let run = ["run", "--quiet", "--profile", "sim", "--package", "simtest"];
    let mut arguments: Vec<String> = run.map(str::to_owned).into();
    arguments.push("--".to_owned());
    let mut add = |name: &str, value: u64| arguments.extend([name.to_owned(), value.to_string()]);
    if let Some(jobs) = jobs {
        add("--jobs", jobs);
    }
    if let Some(seed) = seed {
        add("--seed", seed);
    } else {
        add("--seeds", seeds);
        add("--first", first);
        add("--coverage", u64::from(reach.prints));
        add("--must-reach", u64::from(reach.demands));
    }
    if !cut.is_empty() {
        arguments.extend(["--cut".to_owned(), cut.to_owned()]);
    }
    cargo(arguments).run()
}

/// Hunts each seeded bug with the sweep, in a build of its own: the feature is on nowhere else.
pub(crate) fn hunt_bugs(seeds: u64, first: u64, jobs: Option<u64>) -> Result<()> {
    let run = ["run", "--quiet", "--profile", "sim", "--package", "simtest"];
    let mut arguments: Vec<String> = run.map(str::to_owned).into();
    arguments.extend(["--features", "seeded-bugs", "--"].map(str::to_owned));
    let mut add = |name: &str, value: u64| arguments.extend([name.to_owned(), value.to_string()]);
    add("--bugs", seeds);
    add("--first", first);
    if let Some(jobs) = jobs {
        add("--jobs", jobs);
    }
    cargo(arguments).run()
}

/// Runs the real-client driver with arguments of one's own.
pub(crate) fn end_to_end(arguments: &[String]) -> Result<()> {
    program(root().join("target/release/e2e"))
        .arguments(arguments)
        .run()
}

/// Runs one campaign.
pub(crate) fn torture<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Result<()> {
    program(root().join("target/release/torture"))
        .arguments(arguments)
        .run()
}

fn end_to_end_count() -> Result<u64> {
    let lines = program(root().join("target/release/e2e")).run_and_read()?;
    let passed = count_passed(&lines);
    ensure!(passed > 0, "no real client ran");
    Ok(passed)
}

/// Adds up `test result: ok. 12 passed; …` and the driver's `12 passed, 0 failed`.
fn count_passed(lines: &[String]) -> u64 {
    let count = |line: &String| -> Option<u64> {
        let line = line.strip_prefix("test result: ok. ").unwrap_or(line);
        let (number, _) = line.split_once(" passed")?;
        number.trim().parse().ok()
    };
    lines.iter().filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_from_both_kinds_of_closing_line() {
        let lines = [
            "running 3 tests".to_owned(),
            "test result: ok. 3 passed; 0 failed; 0 ignored".to_owned(),
            "41 passed, 0 failed".to_owned(),
        ];
        assert_eq!(count_passed(&lines), 44);
    }
}
