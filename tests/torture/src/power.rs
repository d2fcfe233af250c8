//! Campaign `power`: the file system goes down under load, as in a power cut, and comes back.
//!
//! ext4 and XFS on loop images; the shutdown that drops what their journals have not written. Wants
//! root, loop devices and xfsprogs (its `xfs_io` shuts down both file systems). Invariant: a round
//! is load, cut, kill, unmount, mount, restart; all rounds of a file system are one history.

use crate::image::{Image, tool};
use crate::power_async::{Cost, cut_once};
use crate::world::{Load, World};
use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::programs::Programs;
use hdrhistogram::Histogram;
use rmq_check::draw::Draw;
use rmq_check::record::{Fault, Kind, Op};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Options of `torture power`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Cuts of each file system.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// The file systems.
    #[arg(long, default_values_t = ["ext4".to_owned(), "xfs".to_owned()])]
    file_system: Vec<String>,
    /// What an acknowledgement means to the broker.
    #[arg(long, default_value = "SYNC_FLUSH", value_parser = ["SYNC_FLUSH", "ASYNC_FLUSH"])]
    flush: String,
    /// Under `ASYNC_FLUSH`: how long before the cut a message may have been acknowledged and be lost.
    #[arg(long, default_value_t = 2_000)]
    loss_bound_ms: u64,
    /// Where the random instants come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const LOAD_MS_MIN: u64 = 200;
const LOAD_MS_MAX: u64 = 800;
/// The broker goes on for so long after the cut, to show what it does with its errors.
const AFTER_MS_MAX: u64 = 40;

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    require_tools()?;
    for kind in &options.file_system {
        campaign(programs, options, kind).with_context(|| kind.clone())?;
    }
    Ok(())
}

fn campaign(programs: &Programs, options: &Options, kind: &str) -> Result<()> {
    let dir = programs.fresh_dir(&format!("power-{kind}"))?;
    let mut image = Image::make(&dir, kind)?;
    image.mount()?;
    if options.flush == "ASYNC_FLUSH" {
        return asynchronous(programs, options, &mut image, kind);
    }
    let config = [
        "flushDiskType=SYNC_FLUSH".to_owned(),
        "mappedFileSizeCommitLog=16777216".to_owned(),
    ];
    let run = 0x90E_0000_0000 | options.seed;
    let store = image.path().join("store");
    let mut world = World::with_store(programs, dir, store, run, &config, &Load::default())?;
    let result = rounds(&mut world, &mut image, options, kind);
    if result.is_err() {
        println!("{}", world.how_to_look());
    }
    drop(world);
    result
}

fn asynchronous(
    programs: &Programs,
    options: &Options,
    image: &mut Image,
    kind: &str,
) -> Result<()> {
    let (mut draw, mut cost) = (Draw::new(options.seed), Cost::default());
    for number in 1..=options.rounds {
        let round = (number, options.loss_bound_ms);
        cut_once(programs, image, &mut draw, round, &mut cost)
            .with_context(|| format!("cut {number}"))?;
    }
    println!(
        "{} power cuts on {kind} under ASYNC_FLUSH; {} acknowledged, {} of them lost, each at the end of its queue and at \
         most {} ms before the cut",
        options.rounds, cost.acknowledged, cost.lost, cost.oldest_ms,
    );
    Ok(())
}

fn rounds(world: &mut World, image: &mut Image, options: &Options, kind: &str) -> Result<()> {
    let mut draw = Draw::new(options.seed);
    let mut recovery_ms = Histogram::<u64>::new(3)?;
    world.broker.wait_serving(&mut world.probe, None)?;
    world.start_load()?;
    for round in 1..=options.rounds {
        let load_ms = LOAD_MS_MIN + draw.below(LOAD_MS_MAX - LOAD_MS_MIN);
        std::thread::sleep(Duration::from_millis(load_ms));
        world.require_clients()?;
        fault(world, Kind::Invoke)?;
        image.cut()?;
        std::thread::sleep(Duration::from_millis(draw.below(AFTER_MS_MAX)));
        world.broker.kill()?;
        image.unmount()?;
        image.mount()?;
        fault(world, Kind::Ok)?;
        world.broker.start()?;
        let took = world.broker.wait_serving(&mut world.probe, None)?;
        let took = took.context("not serving")?;
        recovery_ms.record(took.as_millis() as u64)?;
        if draw.one_in(4) {
            world.rebalance();
        }
        if round % REPORT_EVERY == 0 {
            println!("{kind}: {round} cuts");
        }
    }
    let report = world.close(&[])?;
    println!(
        "{} power cuts on {kind}; {} acknowledged; first acknowledgement after p50 {} ms, max {} ms",
        options.rounds,
        world.sums.acknowledged.load(Ordering::Relaxed),
        recovery_ms.value_at_quantile(0.5),
        recovery_ms.max(),
    );
    println!("{report}");
    ensure!(
        report.is_clean(),
        "power found violations (seed {})",
        options.seed
    );
    Ok(())
}

const REPORT_EVERY: u32 = 10;

/// Notes that the power goes (invoke) or comes back (ok).
pub(crate) fn fault(world: &World, kind: Kind) -> Result<()> {
    world.journal.event(Op::Fault, kind, |record| {
        record.aux = Fault::Power as i64;
    })
}

/// xfsprogs has the tool that shuts file systems down; as root it is installed when missing.
fn require_tools() -> Result<()> {
    let is_there = || {
        ["xfs_io", "mkfs.xfs"]
            .iter()
            .all(|name| Command::new(name).arg("-V").output().is_ok())
    };
    if is_there() {
        return Ok(());
    }
    println!("power: xfs_io or mkfs.xfs is missing: apt-get install xfsprogs");
    tool(Command::new("apt-get").args(["install", "-y", "-q", "xfsprogs"]))
        .context("power wants xfs_io and mkfs.xfs: install xfsprogs")?;
    ensure!(is_there(), "xfsprogs is installed and has no xfs_io");
    Ok(())
}
