//! `ringmq-load`: a pipelined producer that speaks native frames, for any broker of the protocol.
//!
//! Closed loop: a fixed number of sends is in flight over a few connections. It counts what was
//! acknowledged, by response code, and checks at the end that the queues grew by exactly as many.
//! `compare` does so with two builds of the broker in turn.
//! Invariant: an error is reported beside the rate, never dropped.

#![allow(
    clippy::print_stdout,
    reason = "a command-line program speaks on stdout"
)]

mod admin;
mod compare;
mod connection;
mod cost;
mod frames;
mod report;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::time::Duration;

/// Sends messages as fast as a broker acknowledges them.
#[derive(Parser, Debug)]
#[command(name = "ringmq-load", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs two builds of the broker in turn under the same load and compares them.
    Compare(compare::Options),
}

/// The broker that is loaded.
#[derive(Args, Debug, Clone)]
pub(crate) struct Target {
    /// The broker's address.
    #[arg(long, default_value = "127.0.0.1:10911")]
    broker: SocketAddr,
    /// Process whose CPU time and memory are reported beside the rate.
    #[arg(long)]
    broker_pid: Option<u32>,
}

/// What is sent, and how.
#[derive(Args, Debug, Clone)]
pub(crate) struct Load {
    /// Topic; made new with `--queues` queues.
    #[arg(long, default_value = "LoadTopic")]
    topic: String,
    /// Queues of the topic.
    #[arg(long, default_value_t = 8)]
    queues: u32,
    /// Body, in bytes.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Sends in flight, over all connections.
    #[arg(long, default_value_t = 1024)]
    in_flight: usize,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Header form.
    #[arg(long, value_enum, default_value_t = Codec::Binary)]
    codec: Codec,
    /// Pins the generator's threads to this CPU.
    #[arg(long)]
    cpu: Option<usize>,
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    /// ROCKETMQ binary headers.
    Binary,
    /// JSON headers, the Java client's choice.
    Json,
}

fn main() -> Result<()> {
    let line = CommandLine::parse();
    match line.command {
        Some(Command::Compare(options)) => compare::compare(&options),
        None => {
            let outcome = measure(&line.target, &line.load)?;
            report::print(&line.load, &outcome)
        }
    }
}

/// One run, with its checks.
pub(crate) fn measure(target: &Target, load: &Load) -> Result<report::Outcome> {
    ensure!(
        load.in_flight >= load.connections && load.connections > 0,
        "--in-flight must be at least --connections, and that at least 1"
    );
    let mut admin = admin::Admin::connect(target.broker)?;
    admin.create_topic(&load.topic, load.queues)?;
    let before = admin.messages_in(&load.topic, load.queues)?;
    let mut outcome = run(target, load)?;
    let after = settled(&mut admin, load, before + outcome.acknowledged_in_all)?;
    outcome.stored = after - before;
    ensure!(
        outcome.stored == outcome.acknowledged_in_all,
        "{} acknowledged, but the queues grew by {}",
        outcome.acknowledged_in_all,
        outcome.stored
    );
    Ok(outcome)
}

fn run(target: &Target, load: &Load) -> Result<report::Outcome> {
    let clock = connection::Clock::start(
        Duration::from_secs(load.warm_up),
        Duration::from_secs(load.seconds),
    );
    let per_connection = load.in_flight / load.connections;
    let cost = cost::Meter::over(target.broker_pid, clock);
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.connections)
            .map(|index| {
                scope.spawn(move || {
                    connection::drive(target.broker, load, index, per_connection, clock)
                })
            })
            .collect();
        let cost = cost.map(cost::Meter::measure).transpose();
        let results: Vec<_> = threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
            })
            .collect();
        cost.map(|cost| (results, cost))
    });
    let (results, cost) = results?;
    let mut outcome = report::Outcome::new(cost);
    for result in results {
        outcome.add(&result.context("a connection failed")?);
    }
    Ok(outcome)
}

/// Waits until the queues show what was acknowledged: consumers may see it a little later.
fn settled(admin: &mut admin::Admin, load: &Load, expected: u64) -> Result<u64> {
    let mut count = 0;
    for _ in 0..20 {
        count = admin.messages_in(&load.topic, load.queues)?;
        if count >= expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(count)
}
