//! `ringmq-bench`: the load-generation harness.
//!
//! Scenarios are files; brokers are started or found; every message is checked while it is measured;
//! results are JSON and one page of HTML. The method is in docs/performance.md. Invariant: the exit
//! code is 0 only when everything ran to its end and no message was lost.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures real time on plain threads and speaks on stdout"
)]

mod arguments;
mod body;
mod cell;
mod clock;
mod compare;
mod control;
mod cost;
mod drive;
mod figures;
mod interrupt;
mod ledger;
mod list;
mod machine;
mod nearest;
mod progress;
mod quick;
mod random;
mod report;
mod restart;
mod result;
mod run;
mod scenario;
mod selftest;
mod sink;
mod statistics;
mod suite;
mod sweep;
mod target;
mod verify;

use anyhow::Result;
use arguments::{Command, CommandLine};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::process::ExitCode;

fn main() -> ExitCode {
    raise_file_limit();
    let line = CommandLine::parse();
    match interrupt::watch().and_then(|()| run(line.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::List { scenario } => list::list(scenario.as_deref()),
        Command::Run { scenario, common } => suite::run_one(&scenario, &common),
        Command::Suite { scenarios, common } => suite::run_suite(&scenarios, &common),
        Command::Compare { a, b } => compare::compare(&a, &b),
        Command::Report { dir, html } => {
            let page = report::write(&dir, html.as_deref())?;
            println!("{}", page.display());
            Ok(())
        }
        Command::Selftest { common } => selftest::command(&common),
        Command::Quick { common } => quick::quick(&common),
    }
}

/// Ten thousand connections want as many files, here and in the broker that is started from here.
fn raise_file_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without it large scenarios tell why they fail.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
