//! Campaign `pressure`: the machine takes away what a broker counts on, and gives it back.
//!
//! Its time (SIGSTOP), its file descriptors (prlimit), its memory (a memory control group and the
//! kernel's killer), its leave to write (an ext4 that turns read-only at an error, as on a failing
//! disk). All cases are one history and one store, on a file system of its own. Wants root, loop
//! devices and the memory controller of cgroup v1 or v2. Invariant: the broker serves again by
//! itself where its process lives on, and after a start where it cannot.

use crate::image::{Image, tool};
use crate::memory_group::MemoryGroup;
use crate::send::Ending;
use crate::world::{Load, World};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use harness::programs::Programs;
use harness::wire::Connection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rmq_check::record::{Fault, Kind, Op};
use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Options of `torture pressure`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// What is taken away, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Case::Time, Case::Files, Case::Memory, Case::Writes])]
    case: Vec<Case>,
    /// How often.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// How long the process is stopped.
    #[arg(long, default_value_t = 4_000)]
    stop_ms: u64,
    /// What an acknowledgement means to the broker.
    #[arg(long, default_value = "SYNC_FLUSH", value_parser = ["SYNC_FLUSH", "ASYNC_FLUSH"])]
    flush: String,
}

/// What is taken away.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// The process is stopped and goes on.
    Time,
    /// No further file or connection can be opened.
    Files,
    /// The kernel kills the process for its memory.
    Memory,
    /// The file system turns read-only.
    Writes,
}

const LOAD: Duration = Duration::from_millis(500);
const RESUME_LIMIT: Duration = Duration::from_secs(10);
/// Connections that a broker without descriptors is asked for.
const CONNECTIONS: usize = 64;
/// How long it goes on without descriptors: some segments of the log.
const WITHOUT_FILES: Duration = Duration::from_secs(2);
/// What it may write about that meanwhile.
const TOLD_MAX: usize = 64 << 10;
const KILLED_LIMIT: Duration = Duration::from_secs(30);
const FENCED_LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    let dir = programs.fresh_dir("pressure")?;
    let mut image = Image::make(&dir, "ext4")?;
    tool(
        Command::new("tune2fs")
            .args(["-e", "remount-ro"])
            .arg(image.file()),
    )?;
    image.mount()?;
    let config = [
        format!("flushDiskType={}", options.flush),
        // New segments all the time, each of which wants a file.
        "mappedFileSizeCommitLog=1048576".to_owned(),
        "maxMessageSize=65536".to_owned(),
    ];
    let store = image.path().join("store");
    let run = 0x4E5_0000_0000;
    let mut world = World::with_store(programs, dir, store, run, &config, &Load::default())?;
    let result = rounds(&mut world, &mut image, options);
    if result.is_err() {
        println!("{}", world.how_to_look());
    }
    drop(world);
    result
}

fn rounds(world: &mut World, image: &mut Image, options: &Options) -> Result<()> {
    world.broker.wait_serving(&mut world.probe, None)?;
    world.start_load()?;
    for round in 1..=options.rounds {
        for case in &options.case {
            std::thread::sleep(LOAD);
            world.require_clients()?;
            let took = match case {
                Case::Time => time(world, options),
                Case::Files => files(world),
                Case::Memory => memory(world),
                Case::Writes => writes(world, image),
            };
            let took = took.with_context(|| format!("round {round}, {case:?}"))?;
            let (after_ms, sum) = (took.as_millis(), &world.sums.acknowledged);
            let acknowledged = sum.load(Ordering::Relaxed);
            println!(
                "round {round}, {case:?}: acknowledged again after {after_ms} ms, {acknowledged} so far"
            );
        }
    }
    let report = world.close(&[])?;
    println!("{report}");
    ensure!(report.is_clean(), "pressure found violations");
    Ok(())
}

fn fault(world: &World, fault: Fault, kind: Kind) -> Result<()> {
    world
        .journal
        .event(Op::Fault, kind, |record| record.aux = fault as i64)
}

/// Sends until the broker acknowledges; how long that took.
fn resumed(world: &mut World) -> Result<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < RESUME_LIMIT {
        world.broker.require_running()?;
        if let Ok(mut connection) = Connection::open(&world.broker.address())
            && world.probe.send_one(&mut connection)? == Ending::Acknowledged
        {
            return Ok(begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("nothing is acknowledged {RESUME_LIMIT:?} after the end")
}

fn time(world: &mut World, options: &Options) -> Result<Duration> {
    let process = Pid::from_raw(world.broker.id()? as i32);
    fault(world, Fault::Stop, Kind::Invoke)?;
    kill(process, Signal::SIGSTOP)?;
    std::thread::sleep(Duration::from_millis(options.stop_ms));
    kill(process, Signal::SIGCONT)?;
    fault(world, Fault::Stop, Kind::Ok)?;
    resumed(world)
}

/// The log goes on into new segments meanwhile, for which there is no descriptor either.
fn files(world: &mut World) -> Result<Duration> {
    let process = world.broker.id()?;
    let open = fs::read_dir(format!("/proc/{process}/fd"))?.count();
    let limits = fs::read_to_string(format!("/proc/{process}/limits"))?;
    let limits = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let limit = limits.and_then(|soft_and_hard| soft_and_hard.split_whitespace().next());
    let limit = limit.context("no limit of open files")?.to_owned();
    let told = world.broker.output()?.len();
    limit_files(process, &open.to_string())?;
    let address = world.broker.address();
    let refused: Vec<_> = (0..CONNECTIONS)
        .filter_map(|_| TcpStream::connect(&address).ok())
        .collect();
    let before = world.sums.acknowledged.load(Ordering::Relaxed);
    std::thread::sleep(WITHOUT_FILES);
    world.broker.require_running()?;
    let acknowledged = world.sums.acknowledged.load(Ordering::Relaxed) - before;
    drop(refused);
    let told = world.broker.output()?.len() - told;
    limit_files(process, &limit)?;
    println!("  without descriptors: {acknowledged} acknowledged, {told} bytes of log");
    ensure!(acknowledged > 0, "open connections are not served");
    ensure!(told < TOLD_MAX, "it wrote {told} bytes about it");
    resumed(world)
}

/// The soft limit alone: the hard one could not be raised again by everybody.
fn limit_files(process: u32, soft: &str) -> Result<()> {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg("--pid").arg(process.to_string());
    tool(prlimit.arg(format!("--nofile={soft}:")))
}

fn memory(world: &mut World) -> Result<Duration> {
    let group = MemoryGroup::make(world.broker.id()?)?;
    fault(world, Fault::Kill, Kind::Invoke)?;
    let end = Instant::now() + KILLED_LIMIT;
    while !group.has_killed()? {
        ensure!(
            Instant::now() < end,
            "the kernel killed nobody in {KILLED_LIMIT:?}"
        );
        group.squeeze()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    world.broker.wait_ended(RESUME_LIMIT)?;
    fault(world, Fault::Kill, Kind::Ok)?;
    restart(world)
}

fn restart(world: &mut World) -> Result<Duration> {
    world.broker.start()?;
    let took = world.broker.wait_serving(&mut world.probe, None)?;
    took.context("not serving")
}

fn writes(world: &mut World, image: &mut Image) -> Result<Duration> {
    fault(world, Fault::Eio, Kind::Invoke)?;
    image.fail()?;
    let end = Instant::now() + FENCED_LIMIT;
    let mut connection = Connection::open(&world.broker.address())?;
    while world.probe.send_one(&mut connection)? == Ending::Acknowledged {
        ensure!(
            Instant::now() < end,
            "it acknowledges on a read-only file system"
        );
    }
    // What was refused so is refused for good; reads go on.
    ensure!(connection.max_offset("Probe", 0)? > 0, "reads have ended");
    world.broker.require_running()?;
    world.broker.kill()?;
    image.unmount()?;
    image.mend()?;
    image.mount()?;
    fault(world, Fault::Eio, Kind::Ok)?;
    restart(world)
}
