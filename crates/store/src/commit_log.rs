//! The log of one shard in memory: the open block, sealed blocks on their way to the disk, and the
//! positions that say how far everything has come. Answers to Java's `CommitLog`.
//!
//! Owned by the shard; nothing here waits. Invariant, asserted at each change:
//! `durable <= written <= sealed`, and no byte is placed at or above the zeroed frontier.

use crate::block::{BlockHeader, HEADER_LEN, Identity};
use crate::retention::Ended;
use crate::segment::Segments;
use crate::settings::Settings;
use crate::tail_cache::TailCache;
use crate::tail_ring::{SlotHead, TailRing};
use base::{LogPosition, ShardId};
use rt::{Disk, IoBuf};
use std::collections::VecDeque;
use std::rc::Rc;

/// Buffers that are kept for the next blocks.
const SPARES_MAX: usize = 4;

/// The block that takes records.
pub(crate) struct OpenBlock<B> {
    pub(crate) position: u64,
    pub(crate) buf: B,
    /// Header and records so far, in bytes.
    pub(crate) used: usize,
    records: u32,
    /// As much of it as is in the tail ring, in bytes, where there is one.
    kept: usize,
    /// Of the records that are in the tail ring.
    sum: crc32fast::Hasher,
}

/// A block on its way to the disk.
pub(crate) struct SealedBlock<B> {
    pub(crate) position: u64,
    pub(crate) buf: Rc<B>,
}

/// What decides where a record goes.
#[derive(Debug, Clone, Copy)]
struct OpenShape {
    position: u64,
    used: usize,
    capacity: usize,
}

struct InFlight {
    end: u64,
    done: bool,
}

/// Why there is no place for a record now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// It would lie above the zeroed frontier.
    AboveFrontier { end: u64 },
    /// The tail ring has no slot for its block.
    RingFull,
    /// It would lie too far ahead of what is durable.
    TooFarAhead { end: u64 },
}

/// Where a record goes: in the open block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Position of the record's first byte (its tag word).
    pub(crate) position: u64,
    /// Where the block starts.
    pub(crate) block: u64,
    /// Where the record starts in the block's buffer.
    pub(crate) at: usize,
}

/// See the module.
pub(crate) struct CommitLog<D: Disk> {
    disk: D,
    shard: ShardId,
    pub(crate) secret: u32,
    align: usize,
    block_bytes: usize,
    /// How far the log may run ahead of what is durable, in bytes.
    window: u64,
    pub(crate) segments: Segments<D::File>,
    pub(crate) tail: TailCache<D::Buf>,
    /// Where records are kept until they are written; none where an acknowledgement waits for the
    /// disk.
    pub(crate) ring: Option<TailRing<D::Map>>,
    /// Whether records wait for [`Self::keep`] rather than go into the ring one by one.
    pub(crate) gathers: bool,
    /// Checksum of the records of the last sealed block, for the ring.
    sealed_sum: u32,
    open: Option<OpenBlock<D::Buf>>,
    /// Buffers of a full block's length to use again.
    spares: Vec<D::Buf>,
    ready: VecDeque<SealedBlock<D::Buf>>,
    in_flight: VecDeque<InFlight>,
    /// Where the next block starts, if the open one is sealed or there is none.
    sealed: u64,
    /// End of the last record.
    appended: u64,
    written: u64,
    durable: u64,
    /// Blocks that are not durable: where each starts, and when it was opened, in microseconds.
    opened: VecDeque<(u64, u64)>,
}

impl<D: Disk> CommitLog<D> {
    /// A log that ends at `end`, all of it durable.
    pub(crate) fn new(
        disk: D,
        settings: &Settings,
        secret: u32,
        segments: Segments<D::File>,
        end: u64,
    ) -> Self {
        Self {
            disk,
            shard: settings.shard,
            secret,
            align: settings.block_align,
            block_bytes: settings.block_bytes,
            window: settings.window(),
            segments,
            tail: TailCache::new(settings.tail_cache_bytes),
            ring: None,
            gathers: false,
            sealed_sum: 0,
            open: None,
            spares: Vec::new(),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            sealed: end,
            appended: end,
            written: end,
            durable: end,
            opened: VecDeque::new(),
        }
    }

    /// What blocks at `position` are checked with.
    pub(crate) fn identity_at(&self, position: u64) -> Identity {
        self.segments.identity_at(position, self.shard, self.secret)
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Segments that take no more blocks, all of them durable, oldest first.
    pub(crate) fn ended_segments(&self) -> Vec<Ended> {
        let last = self.segments.last().map_or(0, |last| last.start);
        let ended = self.segments.iter();
        ended
            .take_while(|segment| segment.end <= self.durable && segment.start < last)
            .map(|segment| Ended {
                start: segment.start,
                end: segment.end,
            })
            .collect()
    }

    /// Where the next block will start once the open one is sealed.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Bytes appended and not written.
    pub(crate) fn unwritten(&self) -> u64 {
        self.appended.saturating_sub(self.written)
    }

    pub(crate) fn writes_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The newest block was opened now. Tells whether it is the only one that is not durable.
    pub(crate) fn note_opened(&mut self, block: u64, now_us: u64) -> bool {
        self.opened.push_back((block, now_us));
        self.opened.len() == 1
    }

    /// When the oldest block that is not durable was opened, in microseconds.
    pub(crate) fn unsynced_since_us(&self) -> Option<u64> {
        self.opened.front().map(|(_, opened_us)| *opened_us)
    }

    /// Bytes in the open block; 0 when there is nothing to write in it.
    pub(crate) fn open_len(&self) -> usize {
        self.open.as_ref().map_or(0, |block| block.used)
    }

    /// Finds room for a record of `len` bytes with its tag word, sealing and opening blocks as
    /// needed. Changes nothing when it fails.
    ///
    /// # Panics
    /// When a segment cannot hold the record; callers check the length against the settings.
    pub(crate) fn place(
        &mut self,
        len: usize,
        reserve: u64,
        now_ms: i64,
    ) -> Result<Place, NoPlace> {
        let limit = self.segments.frontier().saturating_sub(reserve);
        let present = self.open_shape();
        let shape = self.shape_for(present, len, limit)?;
        if present.is_none_or(|present| present.position != shape.position) {
            let ring = self.ring.as_ref();
            if ring.is_some_and(|ring| !ring.has_room(shape.capacity)) {
                return Err(NoPlace::RingFull);
            }
            self.begin_block(shape, now_ms);
        }
        Ok(Self::place_in(self.open.as_ref().expect("there is one")))
    }

    /// Whether records of these lengths, with their tag words, would all find room, one after the
    /// other.
    pub(crate) fn has_room_for(
        &self,
        lens: impl IntoIterator<Item = usize>,
        reserve: u64,
    ) -> Result<(), NoPlace> {
        let limit = self.segments.frontier().saturating_sub(reserve);
        let mut shape = self.open_shape();
        let mut fresh = Vec::new();
        for len in lens {
            let next = self.shape_for(shape, len, limit)?;
            if shape.is_none_or(|shape| shape.position != next.position) {
                fresh.push(next.capacity);
            }
            shape = Some(OpenShape {
                used: next.used + len,
                ..next
            });
        }
        let ring = self.ring.as_ref();
        if ring.is_some_and(|ring| !ring.has_room_for(&fresh)) {
            return Err(NoPlace::RingFull);
        }
        Ok(())
    }

    fn open_shape(&self) -> Option<OpenShape> {
        self.open.as_ref().map(|open| OpenShape {
            position: open.position,
            used: open.used,
            capacity: open.buf.as_bytes().len(),
        })
    }

    /// The block that takes a record of `len` bytes, without the record: `open` or a new one.
    fn shape_for(
        &self,
        open: Option<OpenShape>,
        len: usize,
        limit: u64,
    ) -> Result<OpenShape, NoPlace> {
        if let Some(open) = open {
            let end = open.used + len;
            // A block that is longer than a full one holds one record only: a search for the
            // block of a position looks back by one full block.
            let takes_more = open.capacity <= self.block_bytes;
            if takes_more && end <= open.capacity {
                let padded = open.position + self.block_len(end, open.capacity) as u64;
                self.check_end(padded, limit)?;
                return Ok(open);
            }
        }
        let need = (HEADER_LEN + len).next_multiple_of(self.align) as u64;
        let after_open = open.map_or(self.sealed, |open| {
            open.position + self.block_len(open.used, open.capacity) as u64
        });
        let (position, room) = self.next_block(after_open, need);
        let capacity = (self.block_bytes as u64).max(need).min(room) as usize;
        let end = position + self.block_len(HEADER_LEN + len, capacity) as u64;
        self.check_end(end, limit)?;
        Ok(OpenShape {
            position,
            used: HEADER_LEN,
            capacity,
        })
    }

    /// Whether a block may end at `end`.
    fn check_end(&self, end: u64, limit: u64) -> Result<(), NoPlace> {
        if end > self.durable + self.window {
            return Err(NoPlace::TooFarAhead { end });
        }
        if end > limit {
            return Err(NoPlace::AboveFrontier { end });
        }
        Ok(())
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// Holds the log to a smaller window than the settings ask for.
    pub(crate) fn narrow_window(&mut self, window: u64) {
        self.window = self.window.min(window);
    }

    /// Bytes that a power cut would cost now.
    pub(crate) fn unsynced(&self) -> u64 {
        self.appended.saturating_sub(self.durable)
    }

    fn place_in(open: &OpenBlock<D::Buf>) -> Place {
        Place {
            position: open.position + open.used as u64,
            block: open.position,
            at: open.used,
        }
    }

    /// Opens a block, sealing the present one.
    fn begin_block(&mut self, shape: OpenShape, now_ms: i64) {
        let OpenShape {
            position,
            used,
            capacity,
        } = shape;
        self.seal(now_ms);
        let previous_end = self.sealed;
        if position > self.sealed {
            self.end_segment(position, now_ms);
        }
        let spare = if capacity == self.block_bytes {
            self.spares.pop()
        } else {
            None
        };
        let buf = spare.unwrap_or_else(|| self.disk.alloc(capacity));
        let generation = self.identity_at(position).generation;
        if let Some(ring) = &mut self.ring {
            ring.open_block(&SlotHead {
                generation,
                position,
                previous_end,
                previous_sum: self.sealed_sum,
                opened_ms: now_ms,
                capacity: capacity as u32,
            });
        }
        self.open = Some(OpenBlock {
            position,
            buf,
            used,
            records: 0,
            kept: used,
            sum: crc32fast::Hasher::new(),
        });
    }

    /// Length in the log of a block that holds `used` bytes in a buffer of `capacity`.
    fn block_len(&self, used: usize, capacity: usize) -> usize {
        BlockHeader::padded_len(used, capacity, self.block_bytes, self.align)
    }

    fn keep_spare(&mut self, buf: D::Buf) {
        if buf.as_bytes().len() == self.block_bytes && self.spares.len() < SPARES_MAX {
            self.spares.push(buf);
        }
    }

    /// Drops what the tail cache cannot hold, keeping buffers for the next blocks.
    fn shrink_tail(&mut self) {
        while let Some(buf) = self.tail.shed(self.written) {
            if let Ok(buf) = Rc::try_unwrap(buf) {
                self.keep_spare(buf);
            }
        }
    }

    /// Drops blocks that are written until the tail cache holds at most `keep` bytes, and spare
    /// buffers.
    pub(crate) fn release_memory(&mut self, keep: usize) {
        while self.tail.shed_above(keep, self.written).is_some() {}
        self.spares = Vec::new();
    }

    /// Where a block of at least `need` bytes may start at or after `position`, and the room that
    /// its segment has from there.
    fn next_block(&self, position: u64, need: u64) -> (u64, u64) {
        let segment_bytes = self.segments_bytes();
        let into = position % segment_bytes;
        let first = self.align as u64;
        // The end of a segment is the start of the next one, whose first block follows its header.
        let into = if into == 0 { first } else { into };
        let start = position - position % segment_bytes;
        if into + need <= segment_bytes {
            return (start + into, segment_bytes - into);
        }
        assert!(
            first + need <= segment_bytes,
            "the segment holds the longest record"
        );
        (start + segment_bytes + first, segment_bytes - first)
    }

    fn segments_bytes(&self) -> u64 {
        self.segments
            .last()
            .map_or(1, |segment| segment.end - segment.start)
    }

    /// Says on disk that nothing follows in the segment that is left for `next`.
    fn end_segment(&mut self, next: u64, now_ms: i64) {
        let segment_bytes = self.segments_bytes();
        let next_start = next - next % segment_bytes;
        if self.sealed < next_start && !self.sealed.is_multiple_of(segment_bytes) {
            let position = self.sealed;
            let header = self.header(position, 0, self.align, 0, now_ms, true);
            let mut buf = self.disk.alloc(self.align);
            let identity = self.segments.identity_at(position, self.shard, self.secret);
            header.seal(identity, &mut buf.as_bytes_mut()[..HEADER_LEN]);
            self.push_ready(position, buf, self.align);
        }
        self.sealed = next;
    }

    fn header(
        &self,
        position: u64,
        payload_len: usize,
        block_len: usize,
        record_count: u32,
        now_ms: i64,
        end_of_segment: bool,
    ) -> BlockHeader {
        BlockHeader {
            position: LogPosition(position),
            payload_len: payload_len as u32,
            block_len: block_len as u32,
            record_count,
            durable_before: LogPosition(self.durable),
            sealed_ms: now_ms,
            end_of_segment,
        }
    }

    /// The bytes where a record of `len` bytes goes.
    pub(crate) fn record_mut(&mut self, place: Place, len: usize) -> &mut [u8] {
        let open = self.open.as_mut().expect("a place is in the open block");
        &mut open.buf.as_bytes_mut()[place.at..place.at + len]
    }

    /// The record at `place`, of `len` bytes, is there.
    pub(crate) fn placed(&mut self, place: Place, len: usize) {
        let open = self.open.as_mut().expect("a place is in the open block");
        assert_eq!(open.used, place.at, "nothing came between");
        open.used += len;
        open.records += 1;
        self.appended = place.position + len as u64;
        if !self.gathers {
            self.keep();
        }
    }

    /// Copies what was placed since the last copy into the tail ring, where there is one. Only then
    /// may its acknowledgement leave the process.
    pub(crate) fn keep(&mut self) {
        let (Some(ring), Some(open)) = (&self.ring, &mut self.open) else {
            return;
        };
        if open.kept < open.used {
            let records = &open.buf.as_bytes()[open.kept..open.used];
            open.sum.update(records);
            let sum = open.sum.clone().finalize();
            ring.records(open.kept, records, (open.used - HEADER_LEN, sum));
            open.kept = open.used;
        }
    }

    /// Seals the open block, if it holds anything, and queues it for writing.
    pub(crate) fn seal(&mut self, now_ms: i64) {
        self.keep();
        let Some(mut open) = self.open.take() else {
            return;
        };
        if open.records == 0 {
            self.keep_spare(open.buf);
            return;
        }
        let padded = self.block_len(open.used, open.buf.as_bytes().len());
        let payload_len = open.used - HEADER_LEN;
        let header = self.header(
            open.position,
            payload_len,
            padded,
            open.records,
            now_ms,
            false,
        );
        let identity = self
            .segments
            .identity_at(open.position, self.shard, self.secret);
        let block = &mut open.buf.as_bytes_mut()[..open.used];
        match &self.ring {
            Some(_) => {
                self.sealed_sum = open.sum.clone().finalize();
                header.seal_summed(identity, block, &open.sum);
            }
            None => header.seal(identity, block),
        }
        let capacity = open.buf.as_bytes().len();
        if padded < capacity && capacity == self.block_bytes {
            // What is not full is copied: the cache holds what it needs and no more, and the buffer,
            // which is still in the processor's cache, takes the next block.
            let short = self
                .disk
                .alloc_copy(&open.buf.as_bytes()[..open.used], padded);
            self.keep_spare(open.buf);
            self.push_ready(open.position, short, padded);
        } else {
            open.buf.as_bytes_mut()[open.used..padded].fill(0);
            if padded < capacity {
                open.buf.truncate(padded);
            }
            self.push_ready(open.position, open.buf, capacity);
        }
    }

    fn push_ready(&mut self, position: u64, buf: D::Buf, cost: usize) {
        assert!(self.sealed <= position);
        self.sealed = position + buf.as_bytes().len() as u64;
        assert!(self.sealed <= self.segments.frontier());
        let buf = Rc::new(buf);
        self.tail.push(position, Rc::clone(&buf), cost);
        self.shrink_tail();
        self.ready.push_back(SealedBlock { position, buf });
    }

    /// Takes the next sealed block to write.
    pub(crate) fn start_write(&mut self) -> Option<SealedBlock<D::Buf>> {
        let block = self.ready.pop_front()?;
        let end = block.position + block.buf.as_bytes().len() as u64;
        self.in_flight.push_back(InFlight { end, done: false });
        Some(block)
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The write of the block that ends at `end` has completed. Tells whether the written position
    /// moved.
    pub(crate) fn write_done(&mut self, end: u64) -> bool {
        let before = self.written;
        let write = self.in_flight.iter_mut().find(|write| write.end == end);
        write.expect("a completed write was started").done = true;
        while self.in_flight.front().is_some_and(|write| write.done) {
            let write = self.in_flight.pop_front().expect("there is one");
            base::always!(
                WritesCountInOrder,
                self.written < write.end && write.end <= self.sealed
            );
            self.written = write.end;
        }
        if let Some(ring) = &mut self.ring {
            ring.written(self.written);
        }
        self.shrink_tail();
        self.written > before
    }

    /// Everything before `position`, which was written when a sync began, is durable.
    pub(crate) fn synced(&mut self, position: u64) {
        base::always!(
            SyncCoversWritten,
            self.durable <= position && position <= self.written
        );
        self.durable = position;
        while self
            .opened
            .front()
            .is_some_and(|(block, _)| *block < position)
        {
            self.opened.pop_front();
        }
    }

    /// The open block when it holds anything: where it starts, header and records so far. The header
    /// is not filled in yet.
    pub(crate) fn open_block(&self) -> Option<(u64, &[u8])> {
        let open = self.open.as_ref()?;
        Some((open.position, &open.buf.as_bytes()[..open.used]))
    }

    /// Bytes of the block that holds `position`, when it is in memory. The block starts at the
    /// position that comes with them.
    pub(crate) fn in_memory(&self, position: u64) -> Option<(u64, &[u8])> {
        if let Some(open) = &self.open
            && position >= open.position
        {
            return Some((open.position, &open.buf.as_bytes()[..open.used]));
        }
        let block = self.tail.find(position)?;
        Some((block.position, block.buf.as_bytes()))
    }
}
