//! Erasing what lies beyond the end of the log, before the first append.
//!
//! Part of recovery. Bytes beyond a tear may be whole blocks, or become whole once a later write
//! fills the gap; left in place, a block that this recovery gave up could be back after the next
//! one. No block lies further beyond the end than the window that the log was held to. Invariant: when
//! this returns, everything below the end is durable and everything in the window is zeros that are
//! durable too.

use crate::segment::{Segment, Segments};
use crate::settings::Settings;
use rt::{Disk, File};
use std::io;
use std::ops::Range;
use std::rc::Rc;

const CHUNK_LEN: usize = 512 << 10;

/// Erases everything in `beyond`, from the end of the log on, and syncs the segments from `scanned_from` on, which no
/// checkpoint vouches for. Gives the number of bytes that were not zero and are now.
pub(super) async fn beyond<D: Disk>(
    disk: &D,
    segments: &mut Segments<D::File>,
    scanned_from: u64,
    beyond: Range<u64>,
    settings: &Settings,
) -> io::Result<u64> {
    let align = settings.block_align as u64;
    let last = segments.last().map_or(0, |segment| segment.start);
    let mut erased = 0;
    for segment in segments.iter_mut() {
        let first = beyond.start.max(segment.start + align);
        let span = first..segment.zeroed_to.min(beyond.end);
        if !base::bug!(KeepStaleTail) {
            erased += erase(disk, segment, span, align as usize).await?;
        }
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

/// Writes zeros over the pieces of a span of the log that hold anything else.
async fn erase<D: Disk>(
    disk: &D,
    segment: &Segment<D::File>,
    span: Range<u64>,
    align: usize,
) -> io::Result<u64> {
    let mut erased = 0;
    let mut from = span.start;
    while from < span.end {
        let len = (span.end - from).min(CHUNK_LEN as u64) as usize;
        let bytes = segment.file.read_at(from - segment.start, len).await?;
        let is_dirty = |piece: &[u8]| piece.iter().any(|byte| *byte != 0);
        if let Some(first) = bytes.chunks(align).position(is_dirty) {
            let dirty_end = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
            let to = dirty_end.next_multiple_of(align);
            let zeros = Rc::new(disk.alloc(to - first * align));
            let at = from - segment.start + (first * align) as u64;
            segment.file.write_at(zeros, at).await?;
            erased += bytes.iter().filter(|byte| **byte != 0).count() as u64;
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
