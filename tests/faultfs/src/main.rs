//! The fault file system as a program: mounts, says so on stdout, serves until it is told to end.
//!
//! Ends at SIGTERM, SIGINT or SIGHUP, and with `--with-parent` when standard input ends.
//! Invariant: whatever ends it but SIGKILL, the mount is gone when the process is.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program of plain threads that speaks on stdout and stderr"
)]

use anyhow::{Context, Result};
use clap::Parser;
use faultfs::{MountOptions, Served};
use nix::sys::signal::{SigSet, Signal};
use std::path::PathBuf;
use std::process::ExitCode;

/// A directory that fails on demand.
#[derive(Debug, Parser)]
struct Arguments {
    /// The directory that holds the content.
    #[arg(long)]
    backing: PathBuf,
    /// Where it is mounted.
    #[arg(long)]
    mount: PathBuf,
    /// The socket that takes rules, one per line.
    #[arg(long)]
    control: PathBuf,
    /// Records every write, sync and change of a name into this file.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// How many bytes it holds.
    #[arg(long)]
    limit: Option<u64>,
    /// Ends when standard input ends, as it does when the parent is gone.
    #[arg(long)]
    with_parent: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faultfs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let mut ends = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        ends.add(signal);
    }
    // Before any thread starts, so that all inherit it.
    ends.thread_block().context("cannot block signals")?;
    let options = MountOptions {
        backing: arguments.backing,
        at: arguments.mount,
        trace: arguments.trace,
        limit: arguments.limit,
    };
    let served = Served::start(&options, &arguments.control)?;
    println!("mounted at {}", options.at.display());
    if arguments.with_parent {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = nix::sys::signal::kill(nix::unistd::getpid(), Signal::SIGTERM);
        });
    }
    ends.wait().context("cannot wait for signals")?;
    served.end().context("the trace is not whole")
}
