//! Bringing what the tail ring holds beyond the end of the log into the log.
//!
//! Part of recovery, after the end was found and what lies beyond is erased. A block of the ring
//! counts when it begins where the log ends and its generation is that of its segment; it is written
//! where it would have been, with the same length. Invariant: when this returns, the blocks are
//! durable, and doing it again, after a crash anywhere inside it, gives the same log.

use super::{State, apply};
use crate::block::{BlockHeader, HEADER_LEN};
use crate::layout::ShardPaths;
use crate::record;
use crate::segment::Segment;
use crate::settings::Settings;
use crate::tail_ring::{RING_LEN_MAX, RingBlock, RingContent};
use base::LogPosition;
use rt::{Disk, File, IoBuf};
use std::io;
use std::rc::Rc;

/// The bytes of a ring's file; `None` when there is none.
pub(super) async fn read<D: Disk>(disk: &D, paths: &ShardPaths) -> io::Result<Option<Vec<u8>>> {
    match disk.read_small(&paths.tail_ring(), RING_LEN_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Appends to the log what the ring holds beyond its end.
pub(super) async fn replay<D: Disk>(
    disk: &D,
    settings: &Settings,
    state: &mut State<D>,
    bytes: Vec<u8>,
) -> io::Result<()> {
    let Some(content) = RingContent::parse(settings.shard, state.secret, bytes) else {
        tracing::error!(
            shard = %settings.shard,
            "damaged tail ring, not used: messages that were acknowledged under ASYNC_FLUSH in the \
             last moments before the stop may be missing"
        );
        state.report.is_ring_damaged = true;
        return Ok(());
    };
    let from = state.end;
    // Also the first block must follow what the log ends with: an earlier recovery, which was cut
    // short, may have brought an older state of the block before.
    let mut previous_sum = state.last_sum;
    for block in content.blocks() {
        let Some((next, len)) = continues(settings, state, &content, &block) else {
            continue;
        };
        let told = block.head.previous_sum;
        if told != 0 && previous_sum.is_some_and(|sum| sum != told) {
            break;
        }
        previous_sum = Some(block.sum);
        if next.marks_end {
            write_end_of_segment(disk, settings, state, from).await?;
        }
        let (segment_bytes, align) = (settings.segment_bytes, settings.block_align as u64);
        let is_first = block.head.position % segment_bytes == align;
        base::always!(RingContinues, block.head.position == state.end || is_first);
        state.end = block.head.position;
        write(disk, settings, state, &block, len, from).await?;
        apply::block(state, settings, block.head.position, block.payload);
        state.end += len;
        state.report.ring_bytes += block.payload.len() as u64;
        state.report.blocks += 1;
    }
    for file in state.segments.files_between(from, state.end) {
        file.datasync().await?;
    }
    Ok(())
}

/// How a block of the ring follows the end of the log.
struct Next {
    /// The segment before is left, and nothing on disk says so yet.
    marks_end: bool,
}

/// Whether the log goes on with this block, and the block's length in the log then.
fn continues<D: Disk>(
    settings: &Settings,
    state: &State<D>,
    content: &RingContent,
    block: &RingBlock<'_>,
) -> Option<(Next, u64)> {
    let (head, end) = (&block.head, state.end);
    let (segment_bytes, align) = (settings.segment_bytes, settings.block_align as u64);
    let is_at_start = head.position % segment_bytes == align;
    let start = head.position - head.position % segment_bytes;
    let marks_end = is_at_start && head.previous_end == end && end < start;
    let follows = head.position == end || is_at_start && (end == start || marks_end);
    if !follows || !head.position.is_multiple_of(align) {
        return None;
    }
    let segment = state.segments.at(head.position)?;
    let (used, full) = (HEADER_LEN + block.payload.len(), content.slot_len());
    let len = BlockHeader::padded_len(used, head.capacity as usize, full, align as usize) as u64;
    let fits = segment.generation == head.generation
        && len.is_multiple_of(align)
        && head.position + len <= segment.zeroed_to.min(segment.end);
    fits.then_some((Next { marks_end }, len))
}

async fn write<D: Disk>(
    disk: &D,
    settings: &Settings,
    state: &State<D>,
    block: &RingBlock<'_>,
    len: u64,
    durable: u64,
) -> io::Result<()> {
    let header = BlockHeader {
        position: LogPosition(block.head.position),
        payload_len: block.payload.len() as u32,
        block_len: len as u32,
        record_count: record::count(block.payload),
        durable_before: LogPosition(durable),
        sealed_ms: block.head.opened_ms,
        end_of_segment: false,
    };
    put(disk, settings, state, &header, block.payload).await
}

/// Says that nothing follows in the segment of the log's end.
async fn write_end_of_segment<D: Disk>(
    disk: &D,
    settings: &Settings,
    state: &State<D>,
    durable: u64,
) -> io::Result<()> {
    if state.end.is_multiple_of(settings.segment_bytes) {
        return Ok(());
    }
    let header = BlockHeader {
        position: LogPosition(state.end),
        payload_len: 0,
        block_len: settings.block_align as u32,
        record_count: 0,
        durable_before: LogPosition(durable),
        sealed_ms: 0,
        end_of_segment: true,
    };
    put(disk, settings, state, &header, &[]).await
}

async fn put<D: Disk>(
    disk: &D,
    settings: &Settings,
    state: &State<D>,
    header: &BlockHeader,
    payload: &[u8],
) -> io::Result<()> {
    let position = header.position.0;
    let identity = state
        .segments
        .identity_at(position, settings.shard, state.secret);
    let mut buf = disk.alloc(header.block_len as usize);
    let used = &mut buf.as_bytes_mut()[..header.used_len()];
    used[HEADER_LEN..].copy_from_slice(payload);
    header.seal(identity, used);
    let segment: &Segment<D::File> = state.segments.at(position).expect("checked before");
    let at = position - segment.start;
    segment.file.write_at(Rc::new(buf), at).await
}
