//! Project automation: `cargo xtask <command>`.
//!
//! Everything that a change must pass is a command here, so that a person and the build machine
//! run the same thing. Invariant: a command that cannot do its whole work fails; none skips.

#![allow(
    clippy::print_stdout,
    reason = "a command-line program speaks on stdout"
)]

mod flamegraph;
mod fuzz;
mod process;
mod runtimes;
mod test;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use process::cargo;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Automation of the RingMQ project")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything: format, lints, tidy, unit and golden tests, simulation, fuzz corpus, and
    /// the real clients. Fails when a runtime that a suite needs is missing.
    Test(test::Options),
    /// Checks layering, file and function sizes, module comments, unsafe code and licences.
    Tidy,
    /// Rewrites the generated pages: docs/compat.md, docs/configuration.md, conf/broker.conf.
    Docs,
    /// Runs the seeded simulation.
    Sim {
        /// How many seeds to run.
        #[arg(long, default_value_t = 500)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Threads; all cores when not given.
        #[arg(long)]
        jobs: Option<u64>,
        /// Replays one seed, with its trace.
        #[arg(long, conflicts_with_all = ["seeds", "first"])]
        seed: Option<u64>,
        /// What to leave out, as the sweep prints it after making a failing seed smaller.
        #[arg(long, default_value = "")]
        cut: String,
        /// Prints which faults struck what, and which assertions and rare cases were reached.
        #[arg(long)]
        coverage: bool,
        /// Hunts each seeded bug instead, with at most that many seeds: a test of the sweep itself.
        #[arg(long, conflicts_with_all = ["seed", "cut"])]
        bugs: bool,
    },
    /// Runs the real-client suites only.
    E2e {
        /// Arguments for the driver; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Hurts a real broker and judges what its clients saw: `torture kill9 --rounds 100`.
    Torture {
        /// The campaign and its options; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Draws where the broker's time goes under a scenario, into flamegraphs/ (needs perf).
    Flamegraph {
        /// The scenario, such as P1.
        scenario: String,
        /// Its parameters, KEY=VALUE.
        changes: Vec<String>,
    },
    /// Fails when the broker makes more system calls or changes of thread for a message than allowed.
    BenchGate,
    /// Fuzzes the decoders with libFuzzer (needs a nightly toolchain and cargo-fuzz).
    Fuzz {
        /// Seconds per target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Test(options) => test::run(&options),
        Command::Tidy => tidy::run(),
        Command::Docs => write_docs(),
        Command::Sim {
            seeds,
            first,
            jobs,
            seed,
            cut,
            coverage,
            bugs,
        } => {
            if bugs {
                return test::hunt_bugs(seeds, first, jobs);
            }
            let reach = test::Reach {
                prints: coverage,
                demands: false,
            };
            test::simulate(seeds, first, jobs, seed, &cut, reach)
        }
        Command::E2e { arguments } => {
            runtimes::require_all()?;
            test::build_release()?;
            test::end_to_end(&arguments)
        }
        Command::Torture { arguments } => {
            test::build_release()?;
            test::torture(&arguments)
        }
        Command::Flamegraph { scenario, changes } => flamegraph::run(&scenario, &changes),
        Command::BenchGate => test::bench_gate(),
        Command::Fuzz { seconds } => fuzz::run(seconds),
    }
}

fn write_docs() -> Result<()> {
    for package in ["broker", "config"] {
        cargo(["test", "--quiet", "--package", package, "generated"])
            .env("UPDATE_GENERATED", "1")
            .run()?;
    }
    Ok(())
}
