//! Campaign `kill9`: kill -9 at random instants under load, also while the broker starts.
//!
//! A round is load, kill, restart; all rounds are one history and one store. Invariant: the clients
//! never learn of a kill but by their connections.

use crate::world::{Load, World};
use anyhow::{Result, bail};
use clap::Args;
use harness::java::Java;
use harness::programs::Programs;
use hdrhistogram::Histogram;
use rmq_check::draw::Draw;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Options of `torture kill9`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// How often the broker is killed under load.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// What an acknowledgement means to the broker.
    #[arg(long, default_value = "SYNC_FLUSH", value_parser = ["SYNC_FLUSH", "ASYNC_FLUSH"])]
    flush: String,
    /// Where the random instants come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leaves out the Java clients.
    #[arg(long)]
    without_java: bool,
}

const LOAD_MS_MIN: u64 = 200;
const LOAD_MS_MAX: u64 = 800;
/// One round in so many kills the broker while it starts, too.
const START_KILL_ONE_IN: u64 = 4;
const START_KILLS_MAX: u32 = 3;

pub(crate) fn run(programs: &Programs, java: &Java, options: &Options) -> Result<()> {
    let config = [
        format!("flushDiskType={}", options.flush),
        "mappedFileSizeCommitLog=67108864".to_owned(),
    ];
    let run = 0x9_0000_0000 | options.seed;
    let mut world = World::new(programs, "kill9", run, &config, &Load::default())?;
    let result = rounds(&mut world, java, options);
    if result.is_err() {
        println!("{}", world.how_to_look());
    }
    result
}

fn rounds(world: &mut World, java: &Java, options: &Options) -> Result<()> {
    let mut draw = Draw::new(options.seed);
    let mut recovery_us = Histogram::<u64>::new(3)?;
    let mut start_kills = 0;
    world.broker.wait_serving(&mut world.probe, None)?;
    if !options.without_java {
        world.start_java(java)?;
    }
    world.start_load()?;
    for round in 1..=options.rounds {
        let load_ms = LOAD_MS_MIN + draw.below(LOAD_MS_MAX - LOAD_MS_MIN);
        std::thread::sleep(Duration::from_millis(load_ms));
        world.require_clients()?;
        world.broker.kill()?;
        let mut killed = 0;
        let recovered = loop {
            world.broker.start()?;
            let early = killed < START_KILLS_MAX && draw.one_in(START_KILL_ONE_IN);
            let typical_us = recovery_us.value_at_quantile(0.5).max(50_000);
            let until = early
                .then(|| Instant::now() + Duration::from_micros(draw.below(typical_us * 5 / 4)));
            if let Some(took) = world.broker.wait_serving(&mut world.probe, until)? {
                break took;
            }
            world.broker.kill()?;
            killed += 1;
        };
        start_kills += killed;
        recovery_us.record(recovered.as_micros() as u64)?;
        if draw.one_in(4) {
            world.rebalance();
        }
        println!(
            "round {round}: load {load_ms} ms, {killed} kills while starting, first \
             acknowledgement after {} ms, {} acknowledged so far",
            recovered.as_millis(),
            world.sums.acknowledged.load(Ordering::Relaxed)
        );
    }
    let report = world.close(&[])?;
    let sum = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} kills under {}, {start_kills} of them while starting; {} acknowledged, {} unknown, {} failed; recovery p50 {} ms, \
         p99 {} ms, max {} ms",
        options.rounds + start_kills,
        options.flush,
        sum(&world.sums.acknowledged),
        sum(&world.sums.unknown),
        sum(&world.sums.failed),
        recovery_us.value_at_quantile(0.5) / 1000,
        recovery_us.value_at_quantile(0.99) / 1000,
        recovery_us.max() / 1000
    );
    println!("{report}");
    if !report.is_clean() {
        bail!("kill9 found violations (seed {})", options.seed);
    }
    Ok(())
}
