//! Campaign `eio`: the Nth write or the Nth sync of a shard's log fails.
//!
//! A round is one failure under load, then kill, healthy disk, restart; all rounds are one history
//! and one store. The shard that fails and the kind of operation change from round to round. Wants
//! root and FUSE. Invariant: a send that began after the failure is never acknowledged by that
//! shard before the restart.

use crate::fault_disk::FaultDisk;
use crate::probe::{Probe, Sent};
use crate::send::Ending;
use crate::world::{Load, World};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use harness::programs::Programs;
use harness::wire::{Connection, SUCCESS};
use hdrhistogram::Histogram;
use rmq_check::record::Fault;
use std::time::{Duration, Instant};

/// Options of `torture eio`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Write and sync number 1, 1 + step, … up to this.
    #[arg(long, default_value_t = 4)]
    last: u64,
    /// From one number to the next.
    #[arg(long, default_value_t = 1)]
    step: u64,
    /// The first refusal must come within so many ms of the failure.
    #[arg(long, default_value_t = 1_000)]
    fence_limit_ms: u64,
}

const SHARDS: u16 = 2;
/// So long a round waits for its failure: rare writes may not come so far.
const INJECTION_LIMIT: Duration = Duration::from_secs(10);
/// So long the shards are watched after the failure.
const WATCH: Duration = Duration::from_millis(100);
/// How long a probe has for its first answer after the failure.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// Sums over the rounds.
struct Figures {
    fence_us: Histogram<u64>,
    acknowledged_elsewhere: u64,
    refused: u64,
    not_reached: u64,
}

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    let dir = programs.fresh_dir("eio")?;
    let mut disk = FaultDisk::mount(&dir, None, false)?;
    let config = [
        "flushDiskType=SYNC_FLUSH".to_owned(),
        "mappedFileSizeCommitLog=16777216".to_owned(),
    ];
    let store = disk.store();
    let run = 0xE10_0000_0000 | options.last;
    let mut world = World::with_store(programs, dir, store, run, &config, &Load::default())?;
    let result = rounds(&mut world, &mut disk, options);
    if result.is_err() {
        println!("{}", world.how_to_look());
    }
    drop(world);
    disk.unmount()?;
    result
}

fn rounds(world: &mut World, disk: &mut FaultDisk, options: &Options) -> Result<()> {
    let mut figures = Figures {
        fence_us: Histogram::new(3)?,
        acknowledged_elsewhere: 0,
        refused: 0,
        not_reached: 0,
    };
    world.broker.wait_serving(&mut world.probe, None)?;
    let address = world.broker.address();
    let mut probes = Vec::new();
    for shard in 0..SHARDS {
        probes.push(Probe::start(shard, SHARDS, &address, &world.journal)?);
    }
    // A group's first pull makes it known, which shard 0 has to write.
    readable(world, &probes, 0)?;
    world.start_load()?;
    let mut rounds = 0;
    for nth in (1..=options.last).step_by(options.step.max(1) as usize) {
        for op in ["write", "sync"] {
            let shard = (rounds % u64::from(SHARDS)) as usize;
            round(
                world,
                disk,
                &probes,
                &mut figures,
                (op, nth, shard, options),
            )
            .with_context(|| format!("{op} {nth} of shard {shard}"))?;
            rounds += 1;
        }
    }
    for probe in &mut probes {
        probe.stop()?;
    }
    let targets: Vec<_> = probes.iter().map(|probe| probe.targets.clone()).collect();
    let report = world.close(&targets)?;
    println!(
        "{rounds} failures, {} of them not reached; first refusal after p50 {} us, p99 {} us, max {} us; {} sends refused by \
         the shard that failed, {} acknowledged by the other meanwhile",
        figures.not_reached,
        figures.fence_us.value_at_quantile(0.5),
        figures.fence_us.value_at_quantile(0.99),
        figures.fence_us.max(),
        figures.refused,
        figures.acknowledged_elsewhere,
    );
    println!("{report}");
    ensure!(report.is_clean(), "eio found violations");
    Ok(())
}

fn round(
    world: &mut World,
    disk: &mut FaultDisk,
    probes: &[Probe],
    figures: &mut Figures,
    (op, nth, shard, options): (&str, u64, usize, &Options),
) -> Result<()> {
    let before = disk.injected()?;
    for probe in probes {
        probe.take()?;
    }
    let line = format!("fail {op} shard-{shard:03}/commitlog/ nth={nth} times=all");
    disk.begin(&world.journal, Fault::Eio, &line)?;
    let injected = disk.wait_injected(before, INJECTION_LIMIT)?;
    if let Some((failed_ns, what)) = injected {
        std::thread::sleep(WATCH);
        world.require_clients()?;
        world.broker.require_running()?;
        readable(world, probes, shard)?;
        let is_refusal = |send: &Sent| is_refused(send, failed_ns);
        let own = take_until(&probes[shard], is_refusal)?;
        let other = take_until(&probes[1 - shard], |send| is_later_success(send, failed_ns))?;
        judge(&own, &other, failed_ns, figures, options)
            .with_context(|| format!("after {what} failed"))?;
    } else {
        figures.not_reached += 1;
    }
    world.broker.kill()?;
    disk.end(&world.journal, Fault::Eio, "clear")?;
    world.broker.start()?;
    world.broker.wait_serving(&mut world.probe, None)?;
    Ok(())
}

fn is_refused(send: &Sent, failed_ns: u64) -> bool {
    send.end_ns > failed_ns && send.ending != Ending::Acknowledged
}

fn is_later_success(send: &Sent, failed_ns: u64) -> bool {
    send.begin_ns > failed_ns && send.ending == Ending::Acknowledged
}

/// What a probe saw, up to the first send of a kind or a limit: on a machine that does other work it
/// may have to wait for its turn.
fn take_until(probe: &Probe, is_it: impl Fn(&Sent) -> bool) -> Result<Vec<Sent>> {
    let end = Instant::now() + PROBE_LIMIT;
    let mut all = probe.take()?;
    while !all.iter().any(&is_it) && Instant::now() < end {
        std::thread::sleep(WATCH);
        all.extend(probe.take()?);
    }
    Ok(all)
}

/// What the shards' own probes saw.
fn judge(
    own: &[Sent],
    other: &[Sent],
    failed_ns: u64,
    figures: &mut Figures,
    options: &Options,
) -> Result<()> {
    if let Some(send) = own.iter().find(|send| is_later_success(send, failed_ns)) {
        bail!(
            "a send that began {} us after the failure was acknowledged",
            (send.begin_ns - failed_ns) / 1_000
        );
    }
    let is_refusal = |send: &&Sent| is_refused(send, failed_ns);
    let first = own.iter().find(is_refusal).context("no send was refused")?;
    let fence_us = (first.end_ns - failed_ns) / 1_000;
    figures.fence_us.record(fence_us)?;
    figures.refused += own.iter().filter(is_refusal).count() as u64;
    ensure!(
        fence_us < options.fence_limit_ms * 1_000,
        "the first refusal came {fence_us} us after the failure"
    );
    let elsewhere = other
        .iter()
        .filter(|send| is_later_success(send, failed_ns));
    let elsewhere = elsewhere.count() as u64;
    ensure!(elsewhere > 0, "the other shard acknowledged nothing more");
    ensure!(
        other.iter().all(|send| send.ending == Ending::Acknowledged),
        "the other shard refused a send"
    );
    figures.acknowledged_elsewhere += elsewhere;
    Ok(())
}

/// Both shards still give what was acknowledged.
fn readable(world: &World, probes: &[Probe], shard: usize) -> Result<()> {
    let mut connection = Connection::open(&world.broker.address())?;
    for (index, probe) in probes.iter().enumerate() {
        let topic = &probe.targets.topics[0];
        if connection.max_offset(topic, 0)? == 0 {
            continue;
        }
        let pulled = connection.pull(topic, 0, 0)?;
        let whose = if index == shard { "failed" } else { "other" };
        ensure!(
            pulled.code == SUCCESS && !pulled.units.is_empty(),
            "a pull from the {whose} shard gives code {}",
            pulled.code
        );
    }
    Ok(())
}
