//! Campaign `enospc`: the disk fills up and gets space again, over and over, without a restart.
//!
//! The fault file system's limit is set a little above what is used, and moved on when sends are
//! refused. Wants root and FUSE. Invariant: a refused send has no effect, which the verdict holds
//! the broker to.

use crate::fault_disk::FaultDisk;
use crate::journal::now_ns;
use crate::probe::{Probe, Sent};
use crate::send::Ending;
use crate::world::{Load, World};
use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::programs::Programs;
use harness::wire::{Connection, SUCCESS};
use hdrhistogram::Histogram;
use rmq_check::record::Fault;
use std::time::{Duration, Instant};

/// Options of `torture enospc`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// How often the disk fills up.
    #[arg(long, default_value_t = 4)]
    cycles: u64,
    /// What each cycle adds to the disk, MiB.
    #[arg(long, default_value_t = 6)]
    step_mib: u64,
    /// Sends must be accepted again within so many ms after space returned.
    #[arg(long, default_value_t = 5_000)]
    resume_limit_ms: u64,
}

const SHARDS: u16 = 2;
const FIRST_LIMIT: u64 = 64 << 20;
const FILL_LIMIT: Duration = Duration::from_mins(1);
/// So long refusals are watched in each cycle.
const WATCH: Duration = Duration::from_millis(300);
const GROUP: &str = "CID_full";

/// What was measured over the cycles.
struct Figures {
    refusal_us: Histogram<u64>,
    resume_ms: Histogram<u64>,
}

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    let dir = programs.fresh_dir("enospc")?;
    let mut disk = FaultDisk::mount(&dir, Some(FIRST_LIMIT), false)?;
    let config = [
        "flushDiskType=SYNC_FLUSH".to_owned(),
        "mappedFileSizeCommitLog=8388608".to_owned(),
    ];
    let store = disk.store();
    let run = 0xF11_0000_0000 | options.cycles;
    let load = Load {
        producers: 4,
        ..Load::default()
    };
    let mut world = World::with_store(programs, dir, store, run, &config, &load)?;
    let result = cycles(&mut world, &mut disk, options);
    if result.is_err() {
        println!("{}", world.how_to_look());
    }
    drop(world);
    disk.unmount()?;
    result
}

fn cycles(world: &mut World, disk: &mut FaultDisk, options: &Options) -> Result<()> {
    let mut figures = Figures {
        refusal_us: Histogram::new(3)?,
        resume_ms: Histogram::new(3)?,
    };
    world.broker.wait_serving(&mut world.probe, None)?;
    let address = world.broker.address();
    let mut probes = Vec::new();
    for shard in 0..SHARDS {
        probes.push(Probe::start(shard, SHARDS, &address, &world.journal)?);
    }
    let mut admin = Connection::open(&address)?;
    admin.heartbeat(GROUP, &probes[0].targets.topics[0])?;
    world.start_load()?;
    let mut limit = FIRST_LIMIT;
    for cycle in 1..=options.cycles {
        limit = limit.max(disk.used()?) + (options.step_mib << 20);
        cycle_once(
            world,
            disk,
            &probes,
            &mut figures,
            &mut admin,
            (limit, options),
        )
        .with_context(|| format!("cycle {cycle}, {} MiB", limit >> 20))?;
    }
    disk.ask("limit none")?;
    for probe in &mut probes {
        probe.stop()?;
    }
    let targets: Vec<_> = probes.iter().map(|probe| probe.targets.clone()).collect();
    let report = world.close(&targets)?;
    println!(
        "{} times full at up to {} MiB; refusals answered in p50 {} us, p99 {} us, max {} us ({} of them); accepted again \
         after p50 {} ms, max {} ms",
        options.cycles,
        limit >> 20,
        figures.refusal_us.value_at_quantile(0.5),
        figures.refusal_us.value_at_quantile(0.99),
        figures.refusal_us.max(),
        figures.refusal_us.len(),
        figures.resume_ms.value_at_quantile(0.5),
        figures.resume_ms.max(),
    );
    println!("{report}");
    ensure!(report.is_clean(), "enospc found violations");
    Ok(())
}

fn cycle_once(
    world: &mut World,
    disk: &mut FaultDisk,
    probes: &[Probe],
    figures: &mut Figures,
    admin: &mut Connection,
    (limit, options): (u64, &Options),
) -> Result<()> {
    disk.begin(&world.journal, Fault::Enospc, &format!("limit {limit}"))?;
    for probe in probes {
        probe.take()?;
        until(probe, FILL_LIMIT, Ending::Refused, 0).context("it never became full")?;
    }
    for probe in probes {
        probe.take()?;
    }
    std::thread::sleep(WATCH);
    world.broker.require_running()?;
    world.require_clients()?;
    for send in probes[0].take()?.iter().chain(&probes[1].take()?) {
        ensure!(send.ending != Ending::Lost, "a send got no answer");
        if send.ending == Ending::Refused {
            figures
                .refusal_us
                .record((send.end_ns - send.begin_ns) / 1_000)?;
        }
    }
    still_works(admin, probes)?;
    disk.end(&world.journal, Fault::Enospc, "limit none")?;
    let freed_ns = now_ns()?;
    for probe in probes {
        let limit = Duration::from_millis(options.resume_limit_ms);
        let send = until(probe, limit, Ending::Acknowledged, freed_ns)
            .with_context(|| format!("topic {:?} after space returned", probe.targets.topics))?;
        figures
            .resume_ms
            .record((send.end_ns - freed_ns) / 1_000_000)?;
    }
    Ok(())
}

/// The first send with this ending that ended after `since_ns`.
fn until(probe: &Probe, limit: Duration, ending: Ending, since_ns: u64) -> Result<Sent> {
    let end = Instant::now() + limit;
    loop {
        let sent = probe.take()?;
        let found = sent
            .into_iter()
            .find(|send| send.ending == ending && send.end_ns > since_ns);
        if let Some(send) = found {
            return Ok(send);
        }
        ensure!(Instant::now() < end, "no {ending:?} send within {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// On a full disk consumers read, and offsets are kept.
fn still_works(admin: &mut Connection, probes: &[Probe]) -> Result<()> {
    for probe in probes {
        let topic = &probe.targets.topics[0];
        let last = admin.max_offset(topic, 0)? - 1;
        let pulled = admin.pull(topic, 0, last)?;
        ensure!(
            pulled.code == SUCCESS && !pulled.units.is_empty(),
            "a pull on a full disk gives code {}",
            pulled.code
        );
        admin
            .commit(GROUP, topic, 0, last)
            .context("a commit on a full disk")?;
        let found = admin.committed(GROUP, topic, 0)?;
        ensure!(found == last, "offset {last} was committed and is {found}");
    }
    Ok(())
}
