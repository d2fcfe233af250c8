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
mod crash_states;
mod dump;
mod eio;
mod enospc;
mod fault_disk;
mod image;
mod java;
mod journal;
mod kill9;
mod memory_group;
mod power;
mod power_async;
mod pressure;
mod probe;
mod receive;
mod rot;
mod send;
mod soak;
mod stall;
mod starter;
mod world;

use anyhow::Result;
use clap::{Parser, Subcommand};
use harness::java::Java;
use harness::places::{Places, exit_code};
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
    /// The Nth write or sync of a shard fails.
    Eio(eio::Options),
    /// The disk fills up and gets space again.
    Enospc(enospc::Options),
    /// A disk stands still and goes on.
    Stall(stall::Options),
    /// The file system goes down as in a power cut, and comes back.
    Power(power::Options),
    /// Time, file descriptors, memory or the leave to write are taken away.
    Pressure(pressure::Options),
    /// Weeks of use in minutes: memory, descriptors and latency must not grow.
    Soak(soak::Options),
    /// Single bits flip anywhere in a store.
    Rot(rot::Options),
    /// States that a power cut may leave, made from a recording, each started and read.
    CrashStates(crash_states::Options),
}

fn main() -> ExitCode {
    exit_code(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    let Places { root, work, binary } = Places::new("torture", arguments.binary, arguments.work)?;
    let java = Java::new(&root, &work);
    fault_disk::clean_up(&work)?;
    let programs = Programs::new(binary, &work)?;
    programs.require_binary()?;
    // Until the run has succeeded: what a failed one leaves is to be looked at.
    programs.keep_data()?;
    match arguments.campaign {
        Campaign::Kill9(options) => kill9::run(&programs, &java, &options)?,
        Campaign::Eio(options) => eio::run(&programs, &options)?,
        Campaign::Enospc(options) => enospc::run(&programs, &options)?,
        Campaign::Stall(options) => stall::run(&programs, &options)?,
        Campaign::Power(options) => power::run(&programs, &options)?,
        Campaign::Pressure(options) => pressure::run(&programs, &options)?,
        Campaign::Soak(options) => soak::run(&programs, &options)?,
        Campaign::Rot(options) => rot::run(&programs, &options)?,
        Campaign::CrashStates(options) => crash_states::run(&programs, &options)?,
    }
    programs.remove_data()
}
