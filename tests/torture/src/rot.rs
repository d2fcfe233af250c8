//! Campaign `rot`: single bits flip anywhere in a store; the broker starts on it and gives what is
//! whole.
//!
//! A store is filled and stopped in order. Copies of it get a few flipped bits each. Every message
//! that is read must be the one that was sent; only what shares a log block with a flipped bit may
//! be missing. Invariant: a copy is a function of store, seed and number.

use crate::receive::found;
use crate::starter::{Starter, stores_dir};
use crate::world::{Load, World};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use harness::programs::Programs;
use harness::wire::Connection;
use rmq_check::draw::Draw;
use rmq_check::record::{Op, Record};
use rmq_check::source::{Files, Source};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of `torture rot`.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// How many bits flip in all.
    #[arg(long, default_value_t = 200)]
    flips: u64,
    /// Bits that flip before one start.
    #[arg(long, default_value_t = 10)]
    per_start: u64,
    /// How long the store is filled.
    #[arg(long, default_value_t = 1_500)]
    fill_ms: u64,
    /// Where the draws come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the copies are made; in memory when none and there is /dev/shm.
    #[arg(long)]
    stores_dir: Option<PathBuf>,
}

/// A message as the closing dump of the whole store found it.
#[derive(Debug, Clone, Copy)]
struct Known {
    record: Record,
    shard: u16,
    position: u64,
}

/// The store that copies are made of.
struct Whole {
    dir: PathBuf,
    run: u64,
    /// Path below the store, and content.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Log blocks by shard: start and end position.
    blocks: BTreeMap<u16, Vec<(u64, u64)>>,
    /// Messages by topic, queue and offset.
    messages: BTreeMap<(String, u16, i64), Known>,
}

/// Sums over the copies.
#[derive(Default)]
struct Figures {
    starts: u64,
    refused: u64,
    missing: u64,
    by_place: BTreeMap<&'static str, u64>,
}

pub(crate) fn run(programs: &Programs, options: &Options) -> Result<()> {
    let whole = fill(programs, options)?;
    let dir = stores_dir(options.stores_dir.as_ref(), &whole.dir)?;
    let result = starts(programs, options, &whole, &dir);
    fs::remove_dir_all(dir)?;
    result
}

fn config() -> Vec<String> {
    vec![
        "flushDiskType=SYNC_FLUSH".to_owned(),
        "mappedFileSizeCommitLog=8388608".to_owned(),
    ]
}

fn fill(programs: &Programs, options: &Options) -> Result<Whole> {
    let run = 0x207_0000_0000 | options.seed;
    let mut world = World::new(programs, "rot", run, &config(), &Load::default())?;
    world.broker.wait_serving(&mut world.probe, None)?;
    world.start_load()?;
    std::thread::sleep(Duration::from_millis(options.fill_ms));
    let report = world.close(&[])?;
    ensure!(report.is_clean(), "before any bit flipped: {report}");
    let dir = world.broker.dir().to_owned();
    let mut whole = Whole {
        files: Vec::new(),
        blocks: BTreeMap::new(),
        messages: messages(&world.histories())?,
        dir: dir.clone(),
        run,
    };
    read_files(&dir.join("store"), Path::new(""), &mut whole.files)?;
    for (path, bytes) in &whole.files {
        if let Some((shard, start)) = segment(path) {
            let blocks = whole.blocks.entry(shard).or_default();
            blocks.extend(log_blocks(bytes, start));
        }
    }
    Ok(whole)
}

/// What the closing dump found.
fn messages(histories: &[PathBuf]) -> Result<BTreeMap<(String, u16, i64), Known>> {
    let files = Files::open(histories)?;
    let mut messages = BTreeMap::new();
    files.for_each(&mut |record| {
        if record.op == Op::LogDump {
            let topic = files.strings().text(record.topic).to_owned();
            let phy = record.phy.cast_unsigned();
            let known = Known {
                record: *record,
                shard: (phy >> SHARD_SHIFT) as u16,
                position: phy & ((1 << SHARD_SHIFT) - 1),
            };
            messages.insert((topic, record.queue, record.offset), known);
        }
        Ok(())
    })?;
    ensure!(!messages.is_empty(), "the store is empty");
    Ok(messages)
}

/// The shard stands above this bit of a physical offset.
const SHARD_SHIFT: u32 = 52;

fn read_files(root: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
    let mut names: Vec<_> = fs::read_dir(root.join(below))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    for name in names {
        let path = below.join(name);
        let full = root.join(&path);
        if full.is_dir() {
            read_files(root, &path, files)?;
        } else {
            files.push((path, fs::read(full)?));
        }
    }
    Ok(())
}

/// Shard and first position of a log segment.
fn segment(path: &Path) -> Option<(u16, u64)> {
    let mut parts = path.iter().map(|part| part.to_str());
    let shard = parts.next()??.strip_prefix("shard-")?.parse().ok()?;
    if parts.next()?? != "commitlog" {
        return None;
    }
    Some((shard, parts.next()??.parse().ok()?))
}

/// The blocks of a segment, as docs/store-format.md describes them.
fn log_blocks(bytes: &[u8], start: u64) -> Vec<(u64, u64)> {
    let mut blocks = Vec::new();
    let mut at = BLOCK_ALIGN;
    while let Some(header) = bytes.get(at..at + 64) {
        if &header[..4] != b"RqB1" {
            break;
        }
        let len = u32::from_le_bytes([header[48], header[49], header[50], header[51]]) as usize;
        if len == 0 {
            break;
        }
        blocks.push((start + at as u64, start + (at + len) as u64));
        at += len;
    }
    blocks
}

/// The alignment of blocks on every disk that a store is made on here.
const BLOCK_ALIGN: usize = 4_096;

fn starts(programs: &Programs, options: &Options, whole: &Whole, dir: &Path) -> Result<()> {
    let starter = Starter::new(programs, dir, &config())?;
    let mut figures = Figures::default();
    let mut flipped = 0;
    while flipped < options.flips {
        let count = options.per_start.clamp(1, options.flips - flipped);
        let mut draw = Draw::new(options.seed << 32 ^ flipped);
        let flips = whole.copy(&starter.disk.join("store"), count, &mut draw, &mut figures)?;
        flipped += count;
        figures.starts += 1;
        if let Err(error) = judge(&starter, whole, &flips, &mut figures) {
            let kept = whole.dir.join("failed");
            let mut draw = Draw::new(options.seed << 32 ^ (flipped - count));
            whole.copy(&kept, count, &mut draw, &mut Figures::default())?;
            bail!(
                "{error:#}\nflipped bits: {flips:?}\nthe copy is kept in {}",
                kept.display()
            );
        }
    }
    println!(
        "{flipped} flipped bits in {} starts ({}); {} messages in the store, 0 corrupt, {} times one was missing, each in a \
         block with a flipped bit; {} starts refused because of the layout file",
        figures.starts,
        figures
            .by_place
            .iter()
            .map(|(place, count)| format!("{count} in {place}"))
            .collect::<Vec<_>>()
            .join(", "),
        whole.messages.len(),
        figures.missing,
        figures.refused,
    );
    Ok(())
}

/// A flipped bit: path, byte and bit.
type Flip = (PathBuf, u64, u8);

impl Whole {
    /// Makes a copy with flipped bits.
    fn copy(
        &self,
        to: &Path,
        count: u64,
        draw: &mut Draw,
        figures: &mut Figures,
    ) -> Result<Vec<Flip>> {
        match fs::remove_dir_all(to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut flips: Vec<Flip> = Vec::new();
        while (flips.len() as u64) < count {
            let Some((path, at)) = self.draw_place(draw) else {
                continue;
            };
            let bit = draw.below(8) as u8;
            *figures.by_place.entry(self.place(&path, at)).or_default() += 1;
            flips.push((path, at, bit));
        }
        for (path, bytes) in &self.files {
            let full = to.join(path);
            fs::create_dir_all(full.parent().context("a file in a directory")?)?;
            let mut bytes = bytes.clone();
            for (_, at, bit) in flips.iter().filter(|(flipped, ..)| flipped == path) {
                bytes[*at as usize] ^= 1 << bit;
            }
            fs::write(full, bytes)?;
        }
        Ok(flips)
    }

    /// Anywhere, or where something is stored, or in one of the small files.
    fn draw_place(&self, draw: &mut Draw) -> Option<(PathBuf, u64)> {
        let mood = draw.below(3);
        let small = mood == 2;
        let files = self
            .files
            .iter()
            .filter(|(path, bytes)| !bytes.is_empty() && (!small || segment(path).is_none()));
        let total = |(_, bytes): &(PathBuf, Vec<u8>)| bytes.len() as u64;
        let mut at = draw.below(files.clone().map(total).sum());
        for (path, bytes) in files {
            let len = bytes.len() as u64;
            if at >= len {
                at -= len;
                continue;
            }
            let page = at as usize / BLOCK_ALIGN * BLOCK_ALIGN;
            let end = (page + BLOCK_ALIGN).min(bytes.len());
            let is_empty = bytes[page..end].iter().all(|byte| *byte == 0);
            return (mood != 1 || !is_empty).then(|| (path.clone(), at));
        }
        None
    }

    fn place(&self, path: &Path, at: u64) -> &'static str {
        match segment(path) {
            Some((shard, start)) if self.block_of(shard, start + at).is_some() => "log blocks",
            Some(_) if at < BLOCK_ALIGN as u64 => "segment headers",
            Some(_) => "unused log space",
            None if path.iter().any(|part| part == "index") => "the queue index",
            None if path.to_string_lossy().contains("checkpoint-") => "checkpoints",
            None if path == Path::new("layout") => "layout",
            None => "other files",
        }
    }

    fn block_of(&self, shard: u16, position: u64) -> Option<(u64, u64)> {
        let blocks = self.blocks.get(&shard)?;
        let is_in = |(start, end): &&(u64, u64)| (*start..*end).contains(&position);
        blocks.iter().find(is_in).copied()
    }

    /// Whether one of the flips lies in the block of a message.
    fn may_miss(&self, known: &Known, flips: &[Flip]) -> bool {
        let Some((from, to)) = self.block_of(known.shard, known.position) else {
            return false;
        };
        flips.iter().any(|(path, at, _)| {
            segment(path).is_some_and(|(shard, start)| {
                shard == known.shard && (from..to).contains(&(start + at))
            })
        })
    }
}

fn judge(starter: &Starter, whole: &Whole, flips: &[Flip], figures: &mut Figures) -> Result<()> {
    let server = match starter.start() {
        Ok(server) => server,
        Err(error) => {
            // One file has no second copy: what it says decides how everything else is read.
            let is_layout = flips.iter().any(|(path, ..)| path == Path::new("layout"));
            ensure!(is_layout, "the broker does not start: {error:#}");
            figures.refused += 1;
            return Ok(());
        }
    };
    let result = read_all(starter, whole, flips, figures);
    let result = result.with_context(|| format!("the broker wrote:\n{}", server.log_tail()));
    server.kill()?;
    result
}

/// Reads every queue and compares with what the whole store holds.
fn read_all(starter: &Starter, whole: &Whole, flips: &[Flip], figures: &mut Figures) -> Result<()> {
    let mut connection = Connection::open(&starter.address())?;
    let mut ends: BTreeMap<(&str, u16), i64> = BTreeMap::new();
    for (topic, queue, offset) in whole.messages.keys() {
        ends.insert((topic, *queue), offset + 1);
    }
    for ((topic, queue), end) in ends {
        let mut seen = BTreeMap::new();
        let mut next = 0;
        while next < end {
            let pulled = connection.pull(topic, i32::from(queue), next)?;
            for unit in &pulled.units {
                seen.insert(unit.queue_offset, unit.clone());
            }
            if pulled.next_offset <= next {
                break;
            }
            next = pulled.next_offset;
        }
        for offset in 0..end {
            let known = whole.messages.get(&(topic.to_owned(), queue, offset));
            let known =
                known.with_context(|| format!("{topic}/{queue} {offset} was no message"))?;
            let Some(unit) = seen.get(&offset) else {
                ensure!(
                    whole.may_miss(known, flips),
                    "{topic}/{queue} offset {offset} is missing, and its block is whole (position {} of shard {})",
                    known.position,
                    known.shard
                );
                figures.missing += 1;
                continue;
            };
            let mut read = known.record;
            found(unit, whole.run).fill(&mut read);
            ensure!(
                read.digest == known.record.digest && read.flags == known.record.flags,
                "{topic}/{queue} offset {offset} holds something else than was sent"
            );
        }
    }
    Ok(())
}
