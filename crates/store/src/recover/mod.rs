//! Recovery: from a checkpoint and the blocks after it to the state that everything acknowledged
//! asks for.
//!
//! Runs once, when a shard opens, before anything is appended. A block that does not check out is
//! damage when anything says that it was durable, else the torn end of the log. Damage is reported
//! and stepped over; a torn end is cut, and what lies beyond is erased and synced. Invariant:
//! nothing that an earlier recovery gave up comes back, and running recovery again changes nothing.

mod apply;
mod damage;
mod erase;
mod open_segments;
mod ring;
mod scan;

use crate::checkpoint::{CHECKPOINT_LEN_MAX, Checkpoint};
use crate::consume_queue::QueueTable;
use crate::consume_queue::page_io::PageFiles;
use crate::consume_queue::pages::Pages;
use crate::error::OpenError;
use crate::layout::ShardPaths;
use crate::record::RecordKind;
use crate::retention::Spare;
use crate::segment::Segments;
use crate::settings::Settings;
use crate::stopwatch::Stopwatch;
use base::LogPosition;
use rt::Disk;
use scan::{Later, Scanner};
use std::collections::VecDeque;
use std::io;

/// Where recovery began to scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanStart {
    /// There was no store.
    Empty,
    /// At the newest checkpoint.
    Checkpoint,
    /// At the older checkpoint: the newest one is damaged.
    OlderCheckpoint,
    /// At the start of the log: there is no checkpoint that can be read.
    WholeLog {
        /// Whether there were checkpoints, all of them damaged.
        damaged: bool,
    },
}

/// A part of the log that was durable and cannot be read any more. Kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it begins.
    pub from: LogPosition,
    /// Where the next good block begins.
    pub to: LogPosition,
}

/// What recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Where it began.
    pub start: ScanStart,
    /// First position that was scanned.
    pub scanned_from: LogPosition,
    /// End of the log: where the next block goes.
    pub end: LogPosition,
    /// End of the last record that was found, or of damage behind it; the end of the log where
    /// nothing was scanned.
    pub records_end: LogPosition,
    /// Blocks that were read.
    pub blocks: u64,
    /// Messages that were found in them.
    pub messages: u64,
    /// Internal records that were found in them.
    pub records: u64,
    /// Bytes beyond the end that were erased: the torn tail.
    pub erased_bytes: u64,
    /// Bytes of records that the log did not hold and the tail ring did.
    pub ring_bytes: u64,
    /// Whether there was a tail ring that could not be read.
    pub is_ring_damaged: bool,
    /// Damage below a durable position.
    pub quarantined: Vec<Quarantined>,
    /// Blocks with one flipped bit, put right in memory.
    pub repaired: u64,
    /// Messages that lie in damaged parts, as far as later messages tell.
    pub lost_messages: u64,
    /// Queues whose offsets went back without a record of their deletion.
    pub restarted_queues: u64,
}

/// What a store was when it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Metadata: the last checkpoint's records, then those of the log after it, in log order.
    pub records: Vec<(RecordKind, Vec<u8>)>,
    /// What recovery did.
    pub report: RecoveryReport,
    /// Runs since the start began; its steps so far are those of the store.
    pub watch: Stopwatch,
}

/// State that recovery found.
pub(crate) struct State<D: Disk> {
    pub(crate) segments: Segments<D::File>,
    pub(crate) end: u64,
    pub(crate) secret: u32,
    pub(crate) next_generation: u32,
    pub(crate) checkpoint_sequence: u64,
    pub(crate) checkpoint_position: u64,
    pub(crate) queues: QueueTable,
    pub(crate) pages: Pages,
    pub(crate) records: Vec<(RecordKind, Vec<u8>)>,
    /// Checksum of the records of the last good block that was scanned.
    pub(crate) last_sum: Option<u32>,
    /// What the checkpoint tells of retention.
    pub(crate) retention: Option<Vec<u8>>,
    /// Positions of the checkpoints that can be read; 0 for one that cannot.
    pub(crate) slots: [u64; 2],
    /// Segments that are no longer part of the log.
    pub(crate) spares: VecDeque<Spare>,
    /// How far beyond the end of the log a block may lie, in bytes; 0: unknown.
    pub(crate) window: u64,
    /// The least that a checkpoint tells of it.
    pub(crate) window_on_disk: Option<u64>,
    pub(crate) report: RecoveryReport,
}

/// Recovers one shard. `fresh_secret` is used when there is no log yet.
pub(crate) async fn recover<D: Disk>(
    disk: &D,
    settings: &mut Settings,
    paths: &ShardPaths,
    page_files: &PageFiles<D>,
    fresh_secret: u32,
    watch: &mut Stopwatch,
) -> Result<State<D>, OpenError> {
    let (checkpoint, start, slots, window_on_disk) = load_checkpoint(disk, settings, paths).await?;
    watch.lap("checkpoint");
    let head = checkpoint.as_ref().map(|checkpoint| checkpoint.head);
    let opened = open_segments::open(disk, settings, paths, head.as_ref()).await?;
    watch.lap("segments");
    let start = match start {
        ScanStart::WholeLog { damaged: false } if opened.segments.last().is_none() => {
            ScanStart::Empty
        }
        other => other,
    };
    let first = opened.segments.start();
    let mut state = State {
        end: head.map_or(first, |head| head.position.max(first)),
        secret: opened.secret.unwrap_or(fresh_secret),
        next_generation: opened.next_generation,
        checkpoint_sequence: head.map_or(0, |head| head.sequence + 1),
        checkpoint_position: head.map_or(first, |head| head.position),
        queues: QueueTable::default(),
        pages: Pages::new(&[], settings.index_cache_bytes),
        records: Vec::new(),
        last_sum: None,
        retention: None,
        slots,
        spares: opened.spares,
        window: head.map_or(0, |head| head.window),
        window_on_disk,
        report: empty_report(start),
        segments: opened.segments,
    };
    let durable = head.map_or(0, |head| head.durable);
    if let Some(checkpoint) = checkpoint {
        apply::checkpoint(&mut state, checkpoint, settings);
    }
    state.report.scanned_from = LogPosition(state.end);
    replay(disk, settings, &mut state, durable, page_files, watch)
        .await
        .map_err(|source| OpenError::io("recovery", &paths.commit_log, source))?;
    let ring_failed = |source| OpenError::io("read of the tail ring", &paths.tail_ring(), source);
    if let Some(bytes) = ring::read(disk, paths).await.map_err(ring_failed)?
        && !base::bug!(TailRingNotReplayed)
    {
        ring::replay(disk, settings, &mut state, bytes)
            .await
            .map_err(|source| OpenError::io("recovery", &paths.commit_log, source))?;
    }
    watch.lap("tail ring");
    state
        .queues
        .iter_mut()
        .for_each(|queue| queue.visible = queue.next);
    state.report.end = LogPosition(state.end);
    note_cases(&state.report);
    if state.report.records_end == LogPosition(0) {
        state.report.records_end = state.report.end;
    }
    Ok(state)
}

/// Counts what a test must have come to.
fn note_cases(report: &RecoveryReport) {
    match report.start {
        ScanStart::OlderCheckpoint => base::reached!(OlderCheckpoint),
        ScanStart::WholeLog { .. } => base::reached!(WholeLog),
        ScanStart::Empty | ScanStart::Checkpoint => {}
    }
    if report.erased_bytes > 0 {
        base::reached!(TailErased);
    }
    if report.ring_bytes > 0 {
        base::reached!(RingReplayed);
    }
    if report.is_ring_damaged {
        base::reached!(RingDamaged);
    }
    if !report.quarantined.is_empty() {
        base::reached!(DamageSkipped);
    }
    if report.repaired > 0 {
        base::reached!(BitRepaired);
    }
}

fn empty_report(start: ScanStart) -> RecoveryReport {
    RecoveryReport {
        start,
        scanned_from: LogPosition(0),
        end: LogPosition(0),
        records_end: LogPosition(0),
        blocks: 0,
        messages: 0,
        records: 0,
        erased_bytes: 0,
        ring_bytes: 0,
        is_ring_damaged: false,
        quarantined: Vec::new(),
        repaired: 0,
        lost_messages: 0,
        restarted_queues: 0,
    }
}

/// The newest checkpoint that can be read, and the smallest window that any of them tells.
async fn load_checkpoint<D: Disk>(
    disk: &D,
    settings: &Settings,
    paths: &ShardPaths,
) -> Result<(Option<Checkpoint>, ScanStart, [u64; 2], Option<u64>), OpenError> {
    let mut found = Vec::new();
    let mut damaged = false;
    let mut slots = [0; 2];
    for slot in 0..2 {
        let path = paths.checkpoint(slot);
        match disk.read_small(&path, CHECKPOINT_LEN_MAX).await {
            Ok(bytes) => {
                let checkpoint = Checkpoint::decode(settings.shard, &bytes);
                if checkpoint.is_none() {
                    tracing::error!(path = %path.display(), "damaged checkpoint, not used");
                    damaged = true;
                }
                let position = checkpoint.as_ref().map_or(0, |c| c.head.position);
                slots[usize::from(slot)] = position;
                found.extend(checkpoint);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::io("read of a checkpoint", &path, source)),
        }
    }
    let windows = found
        .iter()
        .map(|checkpoint: &Checkpoint| checkpoint.head.window);
    let window = windows.filter(|window| *window > 0).min();
    let newest = found
        .into_iter()
        .max_by_key(|checkpoint| checkpoint.head.sequence);
    let start = match (&newest, damaged) {
        (Some(_), false) => ScanStart::Checkpoint,
        // Which of the two was newer is unknown; the scan is right from either.
        (Some(_), true) => ScanStart::OlderCheckpoint,
        (None, damaged) => ScanStart::WholeLog { damaged },
    };
    Ok((newest, start, slots, window))
}

/// Where recovery stops to look when the log ends at `end`.
fn limit_of<D: Disk>(state: &State<D>, end: u64) -> u64 {
    match state.window {
        0 => u64::MAX,
        window => end + window,
    }
}

/// Whether the block at `position` is followed by none. For a seeded bug.
async fn is_last<D: Disk>(
    scanner: &mut Scanner,
    state: &State<D>,
    position: u64,
) -> io::Result<bool> {
    let Some(header) = scanner.block(&state.segments, position).await? else {
        return Ok(false);
    };
    let next = if header.end_of_segment {
        scanner.segment_end(position)
    } else {
        header.end()
    };
    match scanner.settle(&state.segments, next) {
        Some(next) => Ok(scanner.block(&state.segments, next).await?.is_none()),
        None => Ok(true),
    }
}

/// Reads blocks from `state.end` on, finds the end of the log and erases what is beyond.
async fn replay<D: Disk>(
    disk: &D,
    settings: &Settings,
    state: &mut State<D>,
    durable: u64,
    page_files: &PageFiles<D>,
    watch: &mut Stopwatch,
) -> io::Result<()> {
    let mut scanner = Scanner::new(settings, state.secret);
    // The highest position of which something says that all before it was durable.
    let mut mark = durable;
    let mut beyond = Later::default();
    while let Some(position) = scanner.settle(&state.segments, state.end) {
        state.end = position;
        if base::bug!(DropTailBlock) && is_last(&mut scanner, state, position).await? {
            let limit = limit_of(state, position);
            beyond = scanner.later(&state.segments, position, limit).await?;
            break;
        }
        if let Some(header) = scanner.block(&state.segments, position).await? {
            mark = mark.max(header.durable_before.0);
            state.report.blocks += 1;
            apply::block(state, settings, position, scanner.payload());
            if header.payload_len > 0 {
                state.last_sum = Some(crc32fast::hash(scanner.payload()));
            }
            if state.pages.dirty_len() >= 1_024 {
                let dirty = state.pages.dirty();
                page_files
                    .write(&dirty, |page| state.pages.written(page))
                    .await?;
            }
            state.end = if header.end_of_segment {
                scanner.segment_end(position)
            } else {
                header.end()
            };
            continue;
        }
        let limit = limit_of(state, position);
        let later = scanner.later(&state.segments, position, limit).await?;
        mark = mark.max(later.mark);
        if position >= mark || base::bug!(CutAtDamage) {
            beyond = later;
            break;
        }
        let to = later.first.map_or(mark, |first| first.min(mark));
        assert!(to > position);
        let left = damage::take(&mut scanner, settings, state, position, to).await?;
        if let Some(next) = left {
            state.end = next;
            continue;
        }
        tracing::error!(shard = %settings.shard, from = position, to, "damaged part of the log");
        let (from, end) = (LogPosition(position), LogPosition(to));
        state.report.quarantined.push(Quarantined { from, to: end });
        state.end = to;
        state.last_sum = None;
        state.report.records_end = end;
    }
    watch.lap("scan");
    let from = state.report.scanned_from.0;
    let unproven = mark.clamp(from, state.end)..state.end;
    erase::write_again(disk, &state.segments, unproven).await?;
    watch.lap("write again");
    erase::beyond(disk, &mut state.segments, from, &beyond.dirty).await?;
    state.report.erased_bytes = beyond.dirty_bytes;
    watch.lap("erase and sync");
    Ok(())
}
