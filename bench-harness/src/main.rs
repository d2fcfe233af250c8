//! `ringmq-load`: a pipelined producer that speaks native frames, for any broker of the protocol.
//!
//! Closed loop: a fixed number of sends is in flight over a few connections. It counts what was
//! acknowledged, by response code, and checks at the end that the queues grew by exactly as many.
//! Invariant: an error is reported beside the rate, never dropped.

#![allow(
    clippy::print_stdout,
    reason = "a command-line program speaks on stdout"
)]

mod admin;
mod connection;
mod cost;
mod frames;
mod report;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use std::net::SocketAddr;
use std::time::Duration;

/// Sends messages as fast as a broker acknowledges them.
#[derive(Parser, Debug, Clone)]
#[command(name = "ringmq-load", version)]
pub(crate) struct Arguments {
    /// The broker's address.
    #[arg(long, default_value = "127.0.0.1:10911")]
    broker: SocketAddr,
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
    /// Process whose CPU time and memory are reported beside the rate.
    #[arg(long)]
    broker_pid: Option<u32>,
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
    let arguments = Arguments::parse();
    ensure!(
        arguments.in_flight >= arguments.connections && arguments.connections > 0,
        "--in-flight must be at least --connections, and that at least 1"
    );
    let mut admin = admin::Admin::connect(arguments.broker)?;
    admin.create_topic(&arguments.topic, arguments.queues)?;
    let before = admin.messages_in(&arguments.topic, arguments.queues)?;
    let outcome = run(&arguments)?;
    let after = settled(&mut admin, &arguments, before + outcome.acknowledged_in_all)?;
    report::print(&arguments, &outcome, after - before)?;
    ensure!(
        after - before == outcome.acknowledged_in_all,
        "{} acknowledged, but the queues grew by {}",
        outcome.acknowledged_in_all,
        after - before
    );
    Ok(())
}

fn run(arguments: &Arguments) -> Result<report::Outcome> {
    let clock = connection::Clock::start(
        Duration::from_secs(arguments.warm_up),
        Duration::from_secs(arguments.seconds),
    );
    let per_connection = arguments.in_flight / arguments.connections;
    let cost = cost::Meter::over(arguments.broker_pid, clock);
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.connections)
            .map(|index| {
                scope.spawn(move || connection::drive(arguments, index, per_connection, clock))
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
fn settled(admin: &mut admin::Admin, arguments: &Arguments, expected: u64) -> Result<u64> {
    let mut count = 0;
    for _ in 0..20 {
        count = admin.messages_in(&arguments.topic, arguments.queues)?;
        if count >= expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(count)
}
