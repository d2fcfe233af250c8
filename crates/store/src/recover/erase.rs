//! Erasing what lies beyond the end of the log, before the first append.
//!
//! Part of recovery. Bytes beyond a tear may be whole blocks, or become whole once a later write
//! fills the gap; left in place, a block that this recovery gave up could be back after the next
//! one. A block without its header never counts, and what a recycled segment held under another
//! generation does not count either. Invariant: when this returns, everything below the end is
//! durable and above it, up to the frontier, no block of the present generation begins.

use crate::block::{BlockHeader, Identity};
use crate::segment::{Segment, Segments};
use crate::settings::Settings;
use base::LogPosition;
use rt::{Disk, File};
use std::io;
use std::ops::Range;
use std::rc::Rc;

const CHUNK_LEN: usize = 512 << 10;

/// Erases everything from `end` on and syncs the segments from `scanned_from` on, which no
/// checkpoint vouches for. Gives the number of bytes that were not zero and are now.
pub(super) async fn beyond<D: Disk>(
    disk: &D,
    segments: &mut Segments<D::File>,
    secret: u32,
    scanned_from: u64,
    end: u64,
    settings: &Settings,
) -> io::Result<u64> {
    let align = settings.block_align as u64;
    let last = segments.last().map_or(0, |segment| segment.start);
    let mut erased = 0;
    for segment in segments.iter_mut() {
        let span = end.max(segment.start + align)..segment.zeroed_to;
        let identity = Identity {
            shard: settings.shard,
            generation: segment.generation,
            secret,
        };
        erased += erase(disk, segment, identity, span, align as usize).await?;
        if segment.start < last && segment.zeroed_to < segment.end {
            // A later segment says that this one was whole; what is missing reads as zeros.
            fill(disk, segment).await?;
        }
    }
    // What was read may never have been synced: a block that was found here and is lost in the
    // next power cut would be a message that was seen and is gone.
    for segment in segments.iter().filter(|segment| segment.end > scanned_from) {
        segment.file.datasync().await?;
    }
    Ok(erased)
}

/// Writes zeros over the pieces of a span of the log that a block may begin with.
async fn erase<D: Disk>(
    disk: &D,
    segment: &Segment<D::File>,
    identity: Identity,
    span: Range<u64>,
    align: usize,
) -> io::Result<u64> {
    let mut erased = 0;
    let mut from = span.start;
    while from < span.end {
        let len = (span.end - from).min(CHUNK_LEN as u64) as usize;
        let bytes = segment.file.read_at(from - segment.start, len).await?;
        for (index, piece) in bytes.chunks(align).enumerate() {
            let at = from + (index * align) as u64;
            let header = BlockHeader::peek(identity, LogPosition(at), piece);
            let Some(header) = header else { continue };
            let wanted = (header.block_len as usize).next_multiple_of(align);
            let len = wanted.clamp(align, bytes.len().next_multiple_of(align) - index * align);
            let zeros = Rc::new(disk.alloc(len));
            segment.file.write_at(zeros, at - segment.start).await?;
            erased += len as u64;
        }
        from += len as u64;
    }
    Ok(erased)
}

/// Writes zeros up to the end of a segment that is shorter than its span.
async fn fill<D: Disk>(disk: &D, segment: &mut Segment<D::File>) -> io::Result<()> {
    while segment.zeroed_to < segment.end {
        let len = (segment.end - segment.zeroed_to).min(CHUNK_LEN as u64);
        let zeros = Rc::new(disk.alloc(len as usize));
        segment
            .file
            .write_at(zeros, segment.zeroed_to - segment.start)
            .await?;
        segment.zeroed_to += len;
    }
    Ok(())
}
