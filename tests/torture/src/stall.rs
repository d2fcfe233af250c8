//! Campaign `stall`: one shard's disk stands still for a while and then goes on.
//!
//! The other shard's probe is measured before and during the stall. Wants root and FUSE. Invariant:
//! nothing is acknowledged by a shard whose disk stands still.

use crate::fault_disk::FaultDisk;
use crate::journal::now_ns;
use crate::probe::{Probe, Sent, latencies_us};
use crate::send::Ending;
use crate::world::{Load, World};
use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::programs::Programs;
use rmq_check::record::Fault;
use std::time::{Duration, Instant};

/// Options of `torture stall`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// How long the disk stands still.
    #[arg(long, default_value_t = 4_000)]
    stall_ms: u64,
    /// How often.
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// syncFlushTimeout of the broker.
    #[arg(long, default_value_t = 1_000)]
    timeout_ms: u64,
    /// Fails when the other shard's p99 grows beyond so many times; 0 only reports.
    #[arg(long, default_value_t = 0.0)]
    p99_factor_max: f64,
}

const SHARDS: u16 = 2;
/// How long the other shard is measured before the stall.
const BASELINE: Duration = Duration::from_secs(2);
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    let dir = programs.fresh_dir("stall")?;
    let mut disk = FaultDisk::mount(&dir, None, false)?;
    let config = [
        "flushDiskType=SYNC_FLUSH".to_owned(),
        format!("syncFlushTimeout={}", options.timeout_ms),
        "mappedFileSizeCommitLog=16777216".to_owned(),
    ];
    let store = disk.store();
    let run = 0x57A_0000_0000 | options.stall_ms;
    let mut world = World::with_store(programs, dir, store, run, &config, &Load::default())?;
    let result = rounds(&mut world, &mut disk, options);
    if result.is_err() {
        println!("{}", world.how_to_look());
    }
    // A broker whose disk stands still cannot be waited for.
    disk.ask("clear")?;
    drop(world);
    disk.unmount()?;
    result
}

fn rounds(world: &mut World, disk: &mut FaultDisk, options: &Options) -> Result<()> {
    world.broker.wait_serving(&mut world.probe, None)?;
    let address = world.broker.address();
    let mut probes = Vec::new();
    for shard in 0..SHARDS {
        probes.push(Probe::start(shard, SHARDS, &address, &world.journal)?);
    }
    world.start_load()?;
    for number in 1..=options.rounds {
        let shard = (number % u64::from(SHARDS)) as usize;
        round(world, disk, &probes, shard, options)
            .with_context(|| format!("stall {number}, of shard {shard}"))?;
    }
    for probe in &mut probes {
        probe.stop()?;
    }
    let targets: Vec<_> = probes.iter().map(|probe| probe.targets.clone()).collect();
    let report = world.close(&targets)?;
    println!("{report}");
    ensure!(report.is_clean(), "stall found violations");
    Ok(())
}

fn round(
    world: &mut World,
    disk: &mut FaultDisk,
    probes: &[Probe],
    shard: usize,
    options: &Options,
) -> Result<()> {
    probes[1 - shard].take()?;
    std::thread::sleep(BASELINE);
    let before = probes[1 - shard].take()?;
    probes[shard].take()?;
    let line = format!("stall any shard-{shard:03}/");
    disk.begin(&world.journal, Fault::Stall, &line)?;
    let begun_ns = now_ns()?;
    std::thread::sleep(Duration::from_millis(options.stall_ms));
    world.broker.require_running()?;
    world.require_clients()?;
    let (own, during) = (probes[shard].take()?, probes[1 - shard].take()?);
    disk.end(&world.journal, Fault::Stall, "clear")?;
    let released_ns = now_ns()?;
    let (recovered_ms, waiting) = recover(&probes[shard], released_ns)?;
    let stall_ns = (begun_ns, released_ns);
    let answers_ms = waited(&own, &waiting, stall_ns, options.timeout_ms)?;
    let (calm, loud) = (latencies_us(&before)?, latencies_us(&during)?);
    let (calm_us, loud_us) = (calm.value_at_quantile(0.99), loud.value_at_quantile(0.99));
    let factor = loud_us as f64 / calm_us.max(1) as f64;
    println!(
        "shard {shard} stood still for {} ms: the other shard's p99 {calm_us} us before ({} sends), {loud_us} us meanwhile \
         ({} sends), {factor:.2} times; waiting sends answered after {answers_ms:?} ms; first acknowledgement {recovered_ms} \
         ms after the end",
        options.stall_ms,
        calm.len(),
        loud.len(),
    );
    ensure!(!loud.is_empty(), "the other shard acknowledged nothing");
    ensure!(
        options.p99_factor_max == 0.0 || factor <= options.p99_factor_max,
        "the other shard's p99 grew {factor:.2} times"
    );
    Ok(())
}

/// Waits until the shard acknowledges again: ms since the release, and what it answered meanwhile.
fn recover(probe: &Probe, released_ns: u64) -> Result<(u64, Vec<Sent>)> {
    let end = Instant::now() + RECOVERY_LIMIT;
    let mut all = Vec::new();
    loop {
        all.extend(probe.take()?);
        let is_good =
            |send: &&Sent| send.ending == Ending::Acknowledged && send.end_ns > released_ns;
        if let Some(send) = all.iter().find(is_good) {
            return Ok(((send.end_ns - released_ns) / 1_000_000, all));
        }
        ensure!(
            Instant::now() < end,
            "no acknowledgement within {RECOVERY_LIMIT:?} after the end"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long sends waited that were answered during the stall, ms. None may wait much longer than
/// `timeout_ms`.
fn waited(
    own: &[Sent],
    later: &[Sent],
    (begun_ns, released_ns): (u64, u64),
    timeout_ms: u64,
) -> Result<Vec<u64>> {
    let of_the_stall: Vec<_> = own
        .iter()
        .chain(later)
        .filter(|send| send.end_ns > begun_ns && send.end_ns < released_ns)
        .collect();
    let is_wrong = |send: &&&Sent| send.begin_ns > begun_ns && send.ending == Ending::Acknowledged;
    ensure!(
        !of_the_stall.iter().any(|send| is_wrong(&send)),
        "a shard whose disk stood still acknowledged a send"
    );
    let wait_ms = |send: &Sent| (send.end_ns - send.begin_ns) / 1_000_000;
    // A shard that hangs inside a submission answers nobody until the disk does.
    let begun_in_it = own.iter().chain(later).filter(|send| {
        let begins = begun_ns..released_ns;
        begins.contains(&send.begin_ns)
    });
    let longest = begun_in_it.map(wait_ms).max();
    let longest = longest.context("nothing was sent while the disk stood still")?;
    ensure!(
        longest <= timeout_ms + ANSWER_SLACK_MS,
        "a send waited {longest} ms for its answer, with syncFlushTimeout at {timeout_ms} ms"
    );
    let answered = of_the_stall
        .iter()
        .filter(|send| send.ending != Ending::Acknowledged);
    Ok(answered.map(|send| wait_ms(send)).take(SHOWN_MAX).collect())
}

/// What an answer may be late on a machine that does other work, too.
const ANSWER_SLACK_MS: u64 = 2_000;
/// Waits that the report shows.
const SHOWN_MAX: usize = 5;
