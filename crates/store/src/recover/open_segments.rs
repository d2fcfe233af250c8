//! Opening the segments that are there and reading their headers.
//!
//! Part of recovery. A segment at the end whose header never became whole was being prepared and is
//! removed; a damaged header anywhere else is replaced by what its first block says. Invariants:
//! afterwards segments follow each other without a gap; a log that is refused was not changed.

use crate::block::{BlockHeader, HEADER_LEN, Identity, u32_at};
use crate::checkpoint::CheckpointHead;
use crate::error::OpenError;
use crate::layout::{ShardPaths, segment_start, spare_start};
use crate::retention::Spare;
use crate::segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader, Segments};
use crate::settings::Settings;
use base::LogPosition;
use rt::{Disk, File, OpenMode};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

pub(super) struct Opened<F> {
    pub(super) segments: Segments<F>,
    pub(super) secret: Option<u32>,
    pub(super) next_generation: u32,
    pub(super) spares: VecDeque<Spare>,
}

struct Candidate<F> {
    start: u64,
    size: u64,
    file: F,
    header: Option<SegmentHeader>,
    /// Whether the file begins like a segment that was being prepared, or like a damaged one.
    may_be_ours: bool,
}

/// Opens all segments of a shard. The segment length is that of the segments that are there.
pub(super) async fn open<D: Disk>(
    disk: &D,
    settings: &mut Settings,
    paths: &ShardPaths,
    checkpoint: Option<&CheckpointHead>,
) -> Result<Opened<D::File>, OpenError> {
    let mut candidates = read_headers(disk, settings, paths).await?;
    if let Some(header) = candidates.iter().find_map(|candidate| candidate.header) {
        settings.segment_bytes = header.segment_bytes;
    }
    let secret = checkpoint.map(|head| head.secret);
    let secret = secret.or(candidates.iter().find_map(|c| c.header.map(|h| h.secret)));
    check_secrets(&candidates, secret, paths)?;
    check_extent(&candidates, settings, paths, checkpoint)?;
    let mut generations = Vec::new();
    for candidate in &candidates {
        generations.push(match (candidate.header, secret) {
            (Some(header), _) => Some(header.generation),
            (None, Some(secret)) => first_block_generation(settings, candidate, secret)
                .await
                .map_err(|source| OpenError::io("read of a segment", &paths.commit_log, source))?,
            (None, None) => None,
        });
    }
    remove_unfinished(
        disk,
        settings,
        paths,
        checkpoint,
        (&mut candidates, &mut generations),
    )
    .await?;
    let next_generation = generations
        .iter()
        .flatten()
        .max()
        .map_or(1, |newest| newest + 1);
    let mut segments = Segments::new(settings.segment_bytes);
    for (candidate, generation) in candidates.into_iter().zip(generations) {
        let align = settings.block_align as u64;
        let size = candidate.size.min(settings.segment_bytes);
        segments.push(Segment {
            start: candidate.start,
            end: candidate.start + settings.segment_bytes,
            generation: generation.unwrap_or(0),
            file: Rc::new(candidate.file),
            zeroed_to: candidate.start + (size - size % align).max(align),
        });
    }
    Ok(Opened {
        segments,
        secret,
        next_generation,
        spares: spares(disk, paths).await?,
    })
}

/// All segments are of one store, which is the checkpoint's.
fn check_secrets<F>(
    candidates: &[Candidate<F>],
    secret: Option<u32>,
    paths: &ShardPaths,
) -> Result<(), OpenError> {
    let differs = |candidate: &&Candidate<F>| {
        let own = candidate.header.map(|header| header.secret);
        own.is_some() && own != secret
    };
    match candidates.iter().find(differs) {
        None => Ok(()),
        Some(candidate) => Err(OpenError::ForeignSegment {
            path: paths.segment(candidate.start),
            reason: format!(
                "the segment is of another store than the checkpoint or the segments before; {RESTORE}"
            ),
        }),
    }
}

/// Segments follow each other, from where the checkpoint begins to where it was durable.
fn check_extent<F>(
    candidates: &[Candidate<F>],
    settings: &Settings,
    paths: &ShardPaths,
    checkpoint: Option<&CheckpointHead>,
) -> Result<(), OpenError> {
    let dir = paths.commit_log.clone();
    let start = candidates.first().map_or(0, |first| first.start);
    let mut end = start;
    for candidate in candidates {
        if candidate.start != end {
            return Err(OpenError::MissingSegment { dir, position: end });
        }
        end += settings.segment_bytes;
    }
    let Some(head) = checkpoint else {
        return Ok(());
    };
    let (position, durable) = (head.position, head.durable);
    // A log that ends with a segment may count the header of the next one, which holds nothing.
    if durable > end + settings.block_align as u64 {
        return Err(OpenError::EndsEarly { dir, end, durable });
    }
    if position < start {
        return Err(OpenError::BeginsLate {
            dir,
            start,
            position,
        });
    }
    Ok(())
}

/// Removes segments at the end that never became whole: they were being prepared.
async fn remove_unfinished<D: Disk>(
    disk: &D,
    settings: &Settings,
    paths: &ShardPaths,
    checkpoint: Option<&CheckpointHead>,
    (candidates, generations): (&mut Vec<Candidate<D::File>>, &mut Vec<Option<u32>>),
) -> Result<(), OpenError> {
    let durable = checkpoint.map_or(0, |head| head.durable);
    let unfinished = |start: u64| start + settings.block_align as u64 >= durable;
    let pairs = candidates.iter().zip(generations.iter()).rev();
    let ahead =
        pairs.take_while(|(candidate, known)| known.is_none() && unfinished(candidate.start));
    let mut count = 0;
    for (candidate, _) in ahead {
        if !candidate.may_be_ours {
            let path = paths.segment(candidate.start);
            let reason = "it is no segment of a store; nothing was changed; move it elsewhere";
            let reason = reason.to_owned();
            return Err(OpenError::ForeignSegment { path, reason });
        }
        count += 1;
    }
    generations.truncate(generations.len() - count);
    // The last one first: what a crash leaves has no gap.
    for _ in 0..count {
        let candidate = candidates.pop().expect("they were counted");
        let path = paths.segment(candidate.start);
        drop(candidate.file);
        let removed = disk.remove(&path).await;
        removed.map_err(|source| OpenError::io("removal", &path, source))?;
    }
    Ok(())
}

/// Segments that left the log before.
async fn spares<D: Disk>(disk: &D, paths: &ShardPaths) -> Result<VecDeque<Spare>, OpenError> {
    let dir = &paths.commit_log;
    let names = disk.list(dir).await;
    let names = names.map_err(|source| OpenError::io("list", dir, source))?;
    let spare = |entry: &rt::DirEntry| {
        let start = spare_start(&entry.name)?;
        let len = entry.len;
        Some(Spare { start, len })
    };
    Ok(names.iter().filter_map(spare).collect())
}

async fn read_headers<D: Disk>(
    disk: &D,
    settings: &Settings,
    paths: &ShardPaths,
) -> Result<Vec<Candidate<D::File>>, OpenError> {
    let dir = &paths.commit_log;
    let names = disk
        .list(dir)
        .await
        .map_err(|source| OpenError::io("list", dir, source))?;
    let mut candidates = Vec::new();
    for start in names.iter().filter_map(|entry| segment_start(&entry.name)) {
        let path = paths.segment(start);
        let failed = |source| OpenError::io("open of a segment", &path, source);
        let file = disk
            .open(&path, OpenMode::ReadWrite)
            .await
            .map_err(failed)?;
        if !settings.block_align.is_multiple_of(file.alignment()) {
            let reason = format!(
                "the device wants writes aligned to {} bytes, the store was made for {}; put it on a \
                 device with smaller sectors",
                file.alignment(),
                settings.block_align
            );
            return Err(OpenError::ForeignSegment { path, reason });
        }
        let size = file.size().await.map_err(failed)?;
        let bytes = file.read_at(0, SEGMENT_HEADER_LEN).await.map_err(failed)?;
        let header = SegmentHeader::decode(&bytes);
        if let Some(header) = &header {
            check(header, settings, start, &path)?;
        }
        candidates.push(Candidate {
            start,
            size,
            file,
            header,
            may_be_ours: SegmentHeader::may_begin(&bytes),
        });
    }
    Ok(candidates)
}

fn check(
    header: &SegmentHeader,
    settings: &Settings,
    start: u64,
    path: &Path,
) -> Result<(), OpenError> {
    let foreign = |reason: String| {
        Err(OpenError::ForeignSegment {
            path: path.to_owned(),
            reason: format!("{reason}; {RESTORE}"),
        })
    };
    if header.shard != settings.shard {
        return foreign(format!("the segment belongs to shard {}", header.shard));
    }
    if header.start != start {
        return foreign(format!("the segment was made as position {}", header.start));
    }
    if header.block_align as usize != settings.block_align {
        return foreign(format!(
            "its blocks are aligned to {} bytes",
            header.block_align
        ));
    }
    Ok(())
}

/// The generation that the first block of a segment carries, when that block is good.
async fn first_block_generation<F: File>(
    settings: &Settings,
    candidate: &Candidate<F>,
    secret: u32,
) -> std::io::Result<Option<u32>> {
    let first = settings.block_align as u64;
    let head = candidate.file.read_at(first, HEADER_LEN).await?;
    if head.len() < HEADER_LEN {
        return Ok(None);
    }
    let identity = Identity {
        shard: settings.shard,
        generation: u32_at(&head, 8),
        secret,
    };
    let position = LogPosition(candidate.start + first);
    let Some(header) = BlockHeader::peek(identity, position, &head) else {
        return Ok(None);
    };
    let len = header.used_len();
    if len as u64 > candidate.size {
        return Ok(None);
    }
    let block = candidate.file.read_at(first, len).await?;
    Ok(header
        .verify(identity, &block)
        .then_some(identity.generation))
}

const RESTORE: &str = "nothing was changed; restore the right file from a copy of the store";
