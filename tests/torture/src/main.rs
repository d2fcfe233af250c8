//! `torture`: campaigns that hurt a real broker and end in the checker's verdict.
//!
//! One sub-command per campaign. What must always hold: a campaign whose surroundings are missing
//! (root, FUSE, loop devices) says so and fails; nothing is skipped.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test program on plain threads and wall-clock time that speaks on stdout"
)]

mod broker;
mod dump;
mod java;
mod journal;
mod kill9;
mod receive;
mod send;
mod world;

use anyhow::Result;
use clap::{Parser, Subcommand};
use harness::java::Java;
use harness::programs::Programs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Hurts a broker and judges what its clients saw.
#[derive(Parser)]
#[command(name = "torture")]
struct Arguments {
    /// The program under test; without it `RINGMQ_BINARY`, or the release build.
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
    /// Where data, logs and histories go.
    #[arg(long, global = true)]
    work: Option<PathBuf>,
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Subcommand)]
enum Campaign {
    /// kill -9 at random instants under load, also while the broker starts.
    Kill9(kill9::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let root = root.canonicalize()?;
    let work = arguments
        .work
        .unwrap_or_else(|| root.join("target/torture"));
    let binary = arguments
        .binary
        .or_else(|| std::env::var_os("RINGMQ_BINARY").map(PathBuf::from))
        .unwrap_or_else(|| root.join("target/release/ringmq"));
    let java = Java::new(&root, &work);
    let programs = Programs::new(binary, &work)?;
    programs.require_binary()?;
    match arguments.campaign {
        Campaign::Kill9(options) => kill9::run(&programs, &java, &options)?,
    }
    programs.remove_data()
}
