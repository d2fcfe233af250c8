//! Campaign `crash-states`: states that a power cut may leave, made from a recording, each started.
//!
//! Clients load a broker whose disk is recorded. Then, for instants all over the recording, states
//! are drawn: what a sync covered, and any part of the rest. The broker starts on each, and its
//! queues are judged together with what clients knew at that instant. Wants root and FUSE for the
//! recording. Invariant: a state is a function of recording, seed and number.

use crate::dump;
use crate::fault_disk::FaultDisk;
use crate::journal::{Journal, now_ns};
use crate::send::Targets;
use crate::starter::{Starter, stores_dir};
use crate::world::{Load, World};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use faultfs::replay::Replay;
use faultfs::trace::{self, Event, What};
use harness::programs::Programs;
use hdrhistogram::Histogram;
use rmq_check::draw::Draw;
use rmq_check::error::HistoryError;
use rmq_check::file::Strings;
use rmq_check::outcome::CODE_CONNECTION_LOST;
use rmq_check::record::{Kind, Op, Record};
use rmq_check::source::{Files, Source};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Options of `torture crash-states`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// How many states are started.
    #[arg(long, default_value_t = 60)]
    states: u64,
    /// How long the recording is.
    #[arg(long, default_value_t = 2_000)]
    record_ms: u64,
    /// States of one instant.
    #[arg(long, default_value_t = 3)]
    per_instant: u64,
    /// Where the draws come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Takes the recording of an earlier run, from its directory.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Starts only the state of this number.
    #[arg(long)]
    only: Option<u64>,
    /// Where the states are made; in memory when none and there is /dev/shm.
    #[arg(long)]
    states_dir: Option<PathBuf>,
}

const TOPICS_MADE: &str = "topics are made";
const REPORT_EVERY: u64 = 500;
/// Failing states whose directories are kept.
const KEPT_MAX: u64 = 3;

/// A recording: what the disk did and what clients saw.
struct Recording {
    dir: PathBuf,
    events: Vec<Event>,
    history: PathBuf,
    targets: Targets,
    /// From when on the topics must be there.
    topics_ns: u64,
}

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    let dir = match &options.from {
        Some(dir) => dir.clone(),
        None => record(programs, options)?,
    };
    let recording = Recording::open(dir)?;
    let states_dir = stores_dir(options.states_dir.as_ref(), &recording.dir)?;
    let result = play(programs, options, &recording, &states_dir);
    fs::remove_dir_all(&states_dir)?;
    result
}

fn record(programs: &Programs, options: &Options) -> Result<PathBuf> {
    let dir = programs.fresh_dir("crash-states")?;
    let mut disk = FaultDisk::mount(&dir, None, true)?;
    let load = load();
    let run = 0xC5_0000_0000 | options.seed;
    let (store, config) = (disk.store(), config());
    let mut world = World::with_store(programs, dir.clone(), store, run, &config, &load)?;
    disk.ask(&format!("mark {TOPICS_MADE}"))?;
    world.start_load()?;
    std::thread::sleep(Duration::from_millis(options.record_ms));
    world.require_clients()?;
    world.stop_producers()?;
    world.broker.kill()?;
    world.journal.flush()?;
    drop(world);
    disk.unmount()?;
    Ok(dir)
}

fn config() -> Vec<String> {
    vec![
        "flushDiskType=SYNC_FLUSH".to_owned(),
        "mappedFileSizeCommitLog=8388608".to_owned(),
    ]
}

fn load() -> Load {
    Load {
        consumers: 0,
        ..Load::default()
    }
}

impl Recording {
    fn open(dir: PathBuf) -> Result<Self> {
        let events = trace::read(&dir.join("trace"))?;
        let is_mark =
            |event: &&Event| matches!(&event.what, What::Mark { text } if text == TOPICS_MADE);
        let mark = events.iter().find(is_mark);
        let topics_ns = mark.context("a recording without topics")?.end_ns;
        Ok(Self {
            events,
            history: dir.join("rust.hist"),
            targets: load().targets,
            topics_ns,
            dir,
        })
    }
}

fn play(
    programs: &Programs,
    options: &Options,
    recording: &Recording,
    states_dir: &Path,
) -> Result<()> {
    let mut replay = Replay::new(&recording.events);
    let (mut failed, mut started) = (0, 0);
    let (mut took_us, mut open) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let instants = (options.states / options.per_instant.max(1)).max(1);
    let starter = Starter::new(programs, states_dir, &config())?;
    for number in 0..options.states {
        let instant = number / options.per_instant.max(1);
        let events = recording.events.len() as u64;
        replay.advance_to((events * instant.min(instants) / instants) as usize);
        if options.only.is_some_and(|only| only != number) {
            continue;
        }
        let begun = Instant::now();
        let mut draw = Draw::new(options.seed << 32 ^ number);
        replay
            .state(&mut |end| draw.below(end))
            .write_to(&starter.disk)?;
        open.record(replay.open_changes() as u64)?;
        started += 1;
        if let Err(error) = judge(&starter, states_dir, recording, replay.cut_ns()) {
            failed += 1;
            println!("state {number}: {error:#}");
            if failed <= KEPT_MAX {
                keep(&replay, options, number, recording)?;
            }
        }
        took_us.record(begun.elapsed().as_micros() as u64)?;
        if started % REPORT_EVERY == 0 {
            let states = options.states;
            println!("{started} of {states} states, {failed} failed");
        }
    }
    println!(
        "{started} states of {} instants in a recording of {} events; up to {} changes open, p50 {}; a state took p50 {} ms, \
         max {} ms; {failed} failed",
        instants.min(options.states),
        recording.events.len(),
        open.max(),
        open.value_at_quantile(0.5),
        took_us.value_at_quantile(0.5) / 1_000,
        took_us.max() / 1_000,
    );
    if failed > 0 {
        bail!(
            "crash-states found violations; look: torture crash-states --from {} --states {} --per-instant {} --seed {} --only \
             NUMBER",
            recording.dir.display(),
            options.states,
            options.per_instant,
            options.seed
        );
    }
    Ok(())
}

/// Makes a failing state once more, beside the recording: the start has changed the first.
fn keep(replay: &Replay<'_>, options: &Options, number: u64, recording: &Recording) -> Result<()> {
    let mut draw = Draw::new(options.seed << 32 ^ number);
    let dir = recording.dir.join(format!("state-{number}"));
    replay.state(&mut |end| draw.below(end)).write_to(&dir)?;
    println!("  kept in {}", dir.display());
    Ok(())
}

/// Starts, reads everything and judges it with what clients knew before `cut_ns`.
fn judge(starter: &Starter, dir: &Path, recording: &Recording, cut_ns: u64) -> Result<()> {
    let server = starter.start()?;
    let begun_ns = now_ns()?;
    let history = dir.join("dump.hist");
    let journal = Journal::create(&history, run_of(&recording.history)?)?;
    if cut_ns > recording.topics_ns {
        dump::dump(&journal, &starter.address(), &recording.targets)
            .with_context(|| format!("the broker wrote:\n{}", server.log_tail()))?;
    }
    journal.flush()?;
    server.kill()?;
    let source = CutHistory {
        files: Files::open(&[recording.history.clone(), history])?,
        cut_ns,
        begun_ns,
    };
    let report = rmq_check::check::check(&source)?;
    ensure!(report.is_clean(), "{report}");
    Ok(())
}

/// The run that a history's header names.
fn run_of(path: &Path) -> Result<u64> {
    let bytes = fs::read(path)?;
    let run = bytes.get(16..24).and_then(|bytes| bytes.first_chunk());
    Ok(u64::from_le_bytes(
        *run.context("a history without header")?,
    ))
}

/// What clients knew at an instant, and what was found afterwards.
struct CutHistory {
    files: Files,
    cut_ns: u64,
    begun_ns: u64,
}

impl Source for CutHistory {
    fn for_each(
        &self,
        each: &mut dyn FnMut(&Record) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        let open = RefCell::new(BTreeMap::new());
        let each = RefCell::new(each);
        // At the cut every request that is open loses its connection.
        let cut = || {
            for (_, mut record) in std::mem::take(&mut *open.borrow_mut()) {
                let record: &mut Record = &mut record;
                (record.t_ns, record.kind, record.code) =
                    (self.cut_ns, Kind::Info, CODE_CONNECTION_LOST);
                record.offset = -1;
                (each.borrow_mut())(record)?;
            }
            Ok(())
        };
        self.files.for_each(&mut |record| {
            if record.t_ns >= self.begun_ns {
                cut()?;
                return (each.borrow_mut())(record);
            }
            if record.t_ns >= self.cut_ns {
                return Ok(());
            }
            if matches!(record.op, Op::Send | Op::SendBatch) {
                let key = (record.proc, record.uid, record.op as u8);
                if record.kind == Kind::Invoke {
                    open.borrow_mut().insert(key, *record);
                } else {
                    open.borrow_mut().remove(&key);
                }
            }
            (each.borrow_mut())(record)
        })?;
        cut()
    }

    fn strings(&self) -> &Strings {
        self.files.strings()
    }
}
