//! `e2e`: the real clients and the hard treatment, against processes that it starts itself.
//!
//! `cargo xtask test` builds and runs it. Prints one line per check and a closing total. What must
//! always hold: nothing is skipped silently, and no process of a run outlives it.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test program on plain threads and wall-clock time that speaks on stdout"
)]

mod bad_input;
mod bad_store;
mod clock;
mod cluster;
mod crash;
mod disk;
mod mounts;
mod official;
mod packages;
mod pop;
mod report;
mod restart;
mod standalone;
mod suites;
mod transactions;

use anyhow::{Result, ensure};
use clap::Parser;
use harness::places::{Places, exit_code};
use harness::programs::Programs;
use harness::server;
use packages::Packages;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the end-to-end checks.
#[derive(Parser)]
#[command(name = "e2e")]
struct Arguments {
    /// Only suites whose name contains this; `suite:check` narrows it further.
    #[arg(long, default_value = "")]
    only: String,
    /// Runs the client suites against the official Apache RocketMQ 5.5.0 instead of RingMQ.
    #[arg(long)]
    official: bool,
    /// How often the broker is killed under load.
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// How often the disk becomes full and free again.
    #[arg(long, default_value_t = 20)]
    full_cycles: u32,
    /// Size of the store that is built for the restart, in MB.
    #[arg(long, default_value_t = 256)]
    store_mb: u64,
    /// The program under test; without it `RINGMQ_BINARY`, or the release build.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Over how many queues its messages are spread.
    #[arg(long, default_value_t = 64)]
    store_queues: u32,
    /// How often the broker of that store is killed under load.
    #[arg(long, default_value_t = 3)]
    store_kills: u32,
    /// Where packages, data and logs go.
    #[arg(long)]
    work: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit_code(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    let Places { root, work, binary } = Places::new("e2e", arguments.binary, arguments.work)?;
    let programs = Programs::new(binary, &work)?;
    let packages = Packages::new(&root, &work);
    let mut report = Report::new(&arguments.only);
    if arguments.official {
        packages.install(&report)?;
        official::run(&mut report, &packages, &work)?;
    } else {
        programs.require_binary()?;
        standalone::run(&mut report, &programs);
        bad_input::run(&mut report, &programs)?;
        bad_store::run(&mut report, &programs);
        clock::run(&mut report, &programs);
        disk::run(&mut report, &programs, arguments.full_cycles);
        crash::run(&mut report, &programs, arguments.kills);
        transactions::run(&mut report, &programs, arguments.kills);
        let shape = restart::Shape {
            megabytes: arguments.store_mb,
            queues: arguments.store_queues,
            kills: arguments.store_kills,
        };
        pop::run(&mut report, &programs);
        restart::run(&mut report, &programs, shape);
        cluster::run(&mut report, &programs);
        if suites::NAMES.iter().any(|suite| report.wants(suite)) {
            packages.install(&report)?;
            suites::run(&mut report, &packages, &programs)?;
            cluster::run_java(&mut report, &packages, &programs);
        }
    }
    report.check("processes", "no_process_of_this_run_is_left", || {
        let left = server::survivors();
        let me = format!("/proc/{}:", std::process::id());
        let left: Vec<_> = left.iter().filter(|line| !line.starts_with(&me)).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    });
    report.close()?;
    // Logs and data of a run that failed stay, until a later run finds that its process is gone.
    programs.remove_data()
}
