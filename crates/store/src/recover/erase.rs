//! Settling the end of the log, before the first append: what lies before it becomes durable, what
//! lies beyond is erased.
//!
//! Part of recovery. Bytes beyond a tear may be whole blocks, or become whole once a later write
//! fills the gap; left in place, a block that this recovery gave up could be back after the next
//! one. No block lies further beyond the end than the window that the log was held to, and the
//! search for later blocks has seen every byte of it. Invariant: when this returns, everything below
//! the end is durable and everything in the window is zeros that are durable too.

use crate::segment::{Segment, Segments};
use crate::wait::all_of;
use rt::{Disk, File, IoBuf};
use std::io;
use std::ops::Range;
use std::rc::Rc;

/// How much is written at once, in bytes, and how many of these are under way together.
const CHUNK_LEN: usize = 512 << 10;
const CHUNKS_AT_ONCE: usize = 8;

/// Writes blocks that were found, and of which nothing says that they were durable, once more. After
/// a failed sync the kernel may show what the disk never got, and call the next sync a success; a
/// process that was only killed then would build on it. The bytes are the same, so that a power cut
/// meanwhile tears nothing: a disk writes a sector whole or not at all.
pub(super) async fn write_again<D: Disk>(
    disk: &D,
    segments: &Segments<D::File>,
    unproven: Range<u64>,
) -> io::Result<()> {
    for segment in segments.iter() {
        let (from, to) = (
            unproven.start.max(segment.start),
            unproven.end.min(segment.end),
        );
        for group in (from..to.max(from)).step_by(CHUNK_LEN * CHUNKS_AT_ONCE) {
            let end = to.min(group + (CHUNK_LEN * CHUNKS_AT_ONCE) as u64);
            let chunks = (group..end).step_by(CHUNK_LEN);
            let copies = chunks.map(|at| copy(disk, segment, at..end.min(at + CHUNK_LEN as u64)));
            for copied in all_of(copies).await {
                copied?;
            }
        }
    }
    Ok(())
}

/// Reads a piece of a segment and writes it where it was.
async fn copy<D: Disk>(disk: &D, segment: &Segment<D::File>, span: Range<u64>) -> io::Result<()> {
    let (at, len) = (span.start - segment.start, (span.end - span.start) as usize);
    let bytes = segment.file.read_at(at, len).await?;
    let mut buf = disk.alloc(len);
    // Shorter at the end of a file that a later segment says was whole: zeros follow.
    buf.as_bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
    segment.file.write_at(Rc::new(buf), at).await
}

/// Writes zeros over `dirty`, which is everything in the window that holds anything else, and syncs
/// the segments from `scanned_from` on, which no checkpoint vouches for.
pub(super) async fn beyond<D: Disk>(
    disk: &D,
    segments: &mut Segments<D::File>,
    scanned_from: u64,
    dirty: &[Range<u64>],
) -> io::Result<()> {
    let last = segments.last().map_or(0, |segment| segment.start);
    for segment in segments.iter_mut() {
        for range in dirty.iter().filter(|_| !base::bug!(KeepStaleTail)) {
            let span = range.start.max(segment.start)..range.end.min(segment.zeroed_to);
            zero(disk, segment, span).await?;
        }
        if segment.start < last && segment.zeroed_to < segment.end {
            // A later segment says that this one was whole; what is missing reads as zeros.
            zero(disk, segment, segment.zeroed_to..segment.end).await?;
            segment.zeroed_to = segment.end;
        }
    }
    // What was read may never have been synced: a block that was found here and is lost in the
    // next power cut would be a message that was seen and is gone.
    for segment in segments.iter().filter(|segment| segment.end > scanned_from) {
        segment.file.datasync().await?;
    }
    Ok(())
}

/// Writes zeros over a span of the log that lies in one segment; none when it is empty.
async fn zero<D: Disk>(disk: &D, segment: &Segment<D::File>, span: Range<u64>) -> io::Result<()> {
    let mut from = span.start;
    while from < span.end {
        let len = (span.end - from).min(CHUNK_LEN as u64);
        let zeros = Rc::new(disk.alloc(len as usize));
        let at = from - segment.start;
        segment.file.write_at(zeros, at).await?;
        from += len;
    }
    Ok(())
}
