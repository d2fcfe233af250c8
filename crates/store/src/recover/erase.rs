//! Erasing what lies beyond the end of the log, before the first append.
//!
//! Part of recovery. Bytes beyond a tear may be whole blocks, or become whole once a later write
//! fills the gap; left in place, a block that this recovery gave up could be back after the next
//! one. No block lies further beyond the end than the window that the log was held to, and the
//! search for later blocks has seen every byte of it. Invariant: when this returns, everything below
//! the end is durable and everything in the window is zeros that are durable too.

use crate::segment::{Segment, Segments};
use rt::{Disk, File};
use std::io;
use std::ops::Range;
use std::rc::Rc;

const CHUNK_LEN: usize = 512 << 10;

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
