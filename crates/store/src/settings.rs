//! Settings of one shard's store, already translated from configuration keys.
//!
//! Owned by whoever opens the shard. The store does not know configuration keys; each number here
//! has one unit and one meaning. Invariant: [`Settings::check`] accepts before a file is touched.

use crate::retention::Retention;
use base::ShardId;
use std::path::PathBuf;

/// What an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// Written and synced: it survives a power cut (`SYNC_FLUSH`).
    Sync,
    /// Copied to the tail ring, where it survives a killed process; written at once, synced now and
    /// then (`ASYNC_FLUSH`).
    Async,
}

/// Settings of one shard's store.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The store's root; the shard lives in `shard-NNN` below it.
    pub dir: PathBuf,
    /// Which shard this is.
    pub shard: ShardId,
    /// How many shards the store has; fixed when it is made.
    pub shard_count: u16,
    /// Alignment of log blocks in bytes; fixed when the store is made. 4,096 keeps a torn physical
    /// sector from reaching a neighbour that is already durable.
    pub block_align: usize,
    /// Length of a log segment in bytes.
    pub segment_bytes: u64,
    /// Length of a full log block in bytes; a larger record gets a block of its own.
    pub block_bytes: usize,
    /// Longest record that is accepted, in bytes.
    pub record_len_max: usize,
    /// What an acknowledgement waits for.
    pub flush: FlushMode,
    /// Appended and not yet written bytes at which [`crate::ShardStore::has_room`] turns false.
    /// At twice this length appends are refused.
    pub unflushed_bytes_max: usize,
    /// Length of the tail ring in asynchronous mode, in bytes; more where the longest record needs
    /// it. At most so much is acknowledged and not yet written.
    pub tail_ring_bytes: usize,
    /// How far the log may run ahead of what is durable, in bytes: what a power cut can cost in
    /// asynchronous mode, and how far a recovery looks beyond the end of the log. More where the
    /// longest record needs it.
    pub unsynced_bytes_max: u64,
    /// How long a message may be acknowledged and not durable in asynchronous mode, in milliseconds;
    /// appends wait then.
    pub unsynced_ms_max: u64,
    /// Memory for the newest blocks of the log, in bytes.
    pub tail_cache_bytes: usize,
    /// Memory for old blocks that were read, in bytes.
    pub cold_cache_bytes: usize,
    /// Memory for pages of the queue index, in bytes.
    pub index_cache_bytes: usize,
    /// Whether messages are indexed by their keys.
    pub key_index: bool,
    /// Memory for the key index, in bytes: entries that are gathered, written or merged.
    pub key_index_bytes: usize,
    /// How fast the log is read at most when parts of the key index are made again, in bytes per
    /// second.
    pub key_rebuild_rate: u64,
    /// Writes of log blocks under way at once.
    pub writes_max: usize,
    /// How many segments may be prepared beyond the one in use.
    pub segments_ahead: usize,
    /// How far the log is written with zeros ahead of the append position, in bytes.
    pub zero_ahead_bytes: u64,
    /// How much is zeroed before the store opens, and in each step after, in bytes.
    pub zero_step_bytes: u64,
    /// Log bytes between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Longest time between two syncs in asynchronous mode, in milliseconds.
    pub async_flush_interval_ms: u64,
    /// Written and unsynced bytes at which asynchronous mode syncs early.
    pub async_flush_bytes: u64,
    /// How long a block that is not full may gather in asynchronous mode, in microseconds.
    pub async_gather_us: u64,
    /// How long a write or sync of the log may be under way before the disk counts as standing
    /// still, in milliseconds.
    pub stall_limit_ms: u64,
    /// How much is read again to find damage, in bytes a second; 0 for none.
    pub scrub_bytes_per_second: u64,
    /// How long that waits after a start, in milliseconds.
    pub scrub_first_rest_ms: u64,
    /// How long it rests when everything was read, in milliseconds.
    pub scrub_rest_ms: u64,
    /// Pages of 4 KiB in one file of the queue index.
    pub index_file_pages: u32,
    /// When old segments go.
    pub retention: Retention,
    /// Pause before space is asked for again when the file system is full, in milliseconds.
    pub no_space_retry_ms: u64,
}

/// The unit of [`Settings::window`] on disk, in bytes.
pub(crate) const WINDOW_UNIT: u64 = 4_096;

/// What [`Settings::fit_to_disk`] rounds to, in bytes.
const ZERO_STEP_UNIT: u64 = 1 << 20;

impl Settings {
    /// Settings for production; `dir` and the shard have no default.
    pub fn new(dir: PathBuf, shard: ShardId, shard_count: u16) -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            dir,
            shard,
            shard_count,
            block_align: 4_096,
            segment_bytes: 1 << 30,
            block_bytes: 128 << 10,
            record_len_max: (4 << 20) + (128 << 10),
            flush: FlushMode::Async,
            unflushed_bytes_max: 16 << 20,
            tail_ring_bytes: 32 << 20,
            unsynced_bytes_max: 64 * MIB,
            unsynced_ms_max: 2_000,
            tail_cache_bytes: 32 << 20,
            cold_cache_bytes: 4 << 20,
            index_cache_bytes: 4 << 20,
            key_index: true,
            key_index_bytes: 8 << 20,
            key_rebuild_rate: 128 * MIB,
            writes_max: 4,
            segments_ahead: 1,
            zero_ahead_bytes: 64 * MIB,
            zero_step_bytes: 16 * MIB,
            checkpoint_bytes: 48 * MIB,
            async_flush_interval_ms: 500,
            async_flush_bytes: 16 * MIB,
            async_gather_us: 1_000,
            stall_limit_ms: 1_000,
            scrub_bytes_per_second: MIB,
            scrub_first_rest_ms: 60_000,
            scrub_rest_ms: 3_600_000,
            index_file_pages: 16_384,
            retention: Retention::default(),
            no_space_retry_ms: 200,
        }
    }

    /// Small lengths for tests: many segments, blocks and checkpoints with little data.
    pub fn small(dir: PathBuf, shard: ShardId, shard_count: u16) -> Self {
        Self {
            block_align: 512,
            segment_bytes: 64 << 10,
            block_bytes: 4 << 10,
            record_len_max: 32 << 10,
            unflushed_bytes_max: 64 << 10,
            tail_ring_bytes: 128 << 10,
            unsynced_bytes_max: 256 << 10,
            tail_cache_bytes: 32 << 10,
            cold_cache_bytes: 16 << 10,
            index_cache_bytes: 16 << 10,
            key_index: true,
            key_index_bytes: 4 << 10,
            key_rebuild_rate: 4 << 20,
            segments_ahead: 3,
            zero_ahead_bytes: 128 << 10,
            zero_step_bytes: 16 << 10,
            checkpoint_bytes: 96 << 10,
            async_flush_interval_ms: 20,
            async_flush_bytes: 32 << 10,
            scrub_bytes_per_second: 0,
            index_file_pages: 8,
            retention: Retention::off(),
            ..Self::new(dir, shard, shard_count)
        }
    }

    /// Length of the longest block, in bytes.
    pub(crate) fn block_len_max(&self) -> usize {
        let longest = self.record_len_max + crate::block::HEADER_LEN + crate::record::TAG_LEN;
        longest
            .next_multiple_of(self.block_align)
            .max(self.block_bytes)
    }

    /// How far the log may run ahead of what is durable, in bytes: a multiple of [`WINDOW_UNIT`]. A start
    /// reads as much behind the log's end, so it is no longer than need be: where every acknowledgement
    /// waits for a sync, that is what may wait to be written.
    pub(crate) fn window(&self) -> u64 {
        let least = 4 * (self.block_len_max() + self.block_bytes) as u64;
        let wanted = match self.flush {
            FlushMode::Sync => self.unsynced_bytes_max.min(self.unflushed_bytes_max as u64),
            FlushMode::Async => self.unsynced_bytes_max,
        };
        wanted.max(least).next_multiple_of(WINDOW_UNIT)
    }

    /// Bytes that are not durable above which producers are held back, so that what they have on its
    /// way still fits in the window.
    pub(crate) fn unsynced_high(&self) -> u64 {
        self.window() - 2 * (self.block_len_max() + self.block_bytes) as u64
    }

    /// Slots of the tail ring, each of one block: at least two of the longest blocks and some more.
    pub(crate) fn ring_slots(&self) -> usize {
        let longest = self.block_len_max().div_ceil(self.block_bytes);
        (self.tail_ring_bytes / self.block_bytes).max(2 * longest + 4)
    }

    /// Zeroed room below which more is zeroed, in bytes.
    pub(crate) fn zero_low_bytes(&self) -> u64 {
        let low = self.zero_ahead_bytes.saturating_sub(self.zero_step_bytes);
        low.max(1)
    }

    /// Lowers what is claimed ahead of need to what suits a file system of `total` bytes that all shards
    /// share: on a small one it would leave no room for messages.
    pub fn fit_to_disk(&mut self, total: u64) {
        let share = total / u64::from(self.shard_count.max(1));
        let whole = |bytes: u64| bytes / ZERO_STEP_UNIT * ZERO_STEP_UNIT;
        let step = whole(share / 32).max(ZERO_STEP_UNIT);
        self.zero_step_bytes = self.zero_step_bytes.min(step);
        // Two of the longest records, as much as their segments' ends may lose, and a step to work in.
        let longest = 2 * (self.record_len_max + self.block_bytes) as u64;
        let ahead = whole(share / 8).max(longest + 2 * self.zero_step_bytes);
        self.zero_ahead_bytes = self.zero_ahead_bytes.min(ahead);
        self.tail_ring_bytes = self.tail_ring_bytes.min((share / 16) as usize);
        let free = &mut self.retention.free_bytes_min;
        *free = (*free).min(total / 16);
    }

    /// Whether the numbers fit together.
    ///
    /// # Errors
    /// A sentence that names the number that does not fit.
    pub fn check(&self) -> Result<(), String> {
        let align = self.block_align as u64;
        let largest = (self.record_len_max + crate::block::HEADER_LEN + crate::record::TAG_LEN)
            .next_multiple_of(self.block_align) as u64;
        let room = self.segment_bytes.saturating_sub(2 * align);
        let rules = [
            (
                self.block_align.is_power_of_two() && (512..=4_096).contains(&self.block_align),
                "block alignment must be a power of two from 512 to 4096",
            ),
            (
                self.block_bytes.is_multiple_of(self.block_align) && self.block_bytes > 0,
                "block length must be a multiple of its alignment",
            ),
            (
                self.block_bytes / self.block_align <= crate::consume_queue::BLOCK_BACK_MAX,
                "block length must be at most 4095 times its alignment",
            ),
            (
                self.segment_bytes.is_multiple_of(align),
                "segment length must be a multiple of the block alignment",
            ),
            (
                largest <= room && self.block_bytes as u64 <= room,
                "a segment (mappedFileSizeCommitLog) must hold the longest record (maxMessageSize and its properties)",
            ),
            (
                self.record_len_max < 1 << 31,
                "longest record must be below 2 GiB",
            ),
            (
                self.zero_step_bytes >= 2 * align && self.zero_step_bytes.is_multiple_of(align),
                "zeroing step must be a multiple of the block alignment, at least two blocks",
            ),
            (
                2 * self.zero_step_bytes <= self.zero_ahead_bytes,
                "zeroing step must be at most half of what is zeroed ahead",
            ),
            (
                self.shard.as_u16() < self.shard_count && self.writes_max > 0,
                "shard must be below the shard count, and a write must be allowed",
            ),
            (self.index_file_pages > 0, "an index file must hold a page"),
            (self.stall_limit_ms > 0, "a disk needs time to answer"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => Err((*rule).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn fitted(total: u64, shards: u16) -> Settings {
        let mut settings = Settings::new("store".into(), ShardId::CONTROL, shards);
        settings.fit_to_disk(total);
        settings.check().unwrap();
        settings
    }

    /// What a shard takes before its first message.
    fn claimed(settings: &Settings) -> u64 {
        settings.zero_ahead_bytes + (settings.ring_slots() * settings.block_bytes) as u64
    }

    #[test]
    fn a_small_disk_keeps_most_of_its_room_for_messages() {
        let total = 54 * MIB;
        let settings = fitted(total, 1);
        let left = total - claimed(&settings) - settings.retention.free_bytes_min;
        assert!(left > total / 2, "{left} of {total} bytes are left");
    }

    #[test]
    fn a_disk_of_usual_size_changes_nothing() {
        let plain = Settings::new("store".into(), ShardId::CONTROL, 4);
        let settings = fitted(100 << 30, 4);
        assert_eq!(claimed(&settings), claimed(&plain));
        assert_eq!(settings.zero_step_bytes, plain.zero_step_bytes);
        assert_eq!(
            settings.retention.free_bytes_min,
            plain.retention.free_bytes_min
        );
    }

    #[test]
    fn many_shards_on_a_tiny_disk_still_have_settings_that_fit_together() {
        for total in [0, 1, 8 * MIB, 64 * MIB] {
            fitted(total, 16);
        }
    }
}
