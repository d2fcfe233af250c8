//! Counters of one shard's store.
//!
//! Owned by the shard, read by copying. Invariant: counters only grow; gauges are taken when asked.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// A copy of a store's counters and gauges.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct StoreStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Queues that are known.
            pub queues: u64,
            /// Memory of the tail cache, in bytes.
            pub tail_cache_bytes: u64,
            /// Runs of the key index on disk.
            pub key_runs: u64,
            /// Where the log starts.
            pub start: u64,
            /// End of the last record.
            pub appended: u64,
            /// Everything before is written.
            pub written: u64,
            /// Everything before is synced.
            pub durable: u64,
            /// Everything before is zeroed ahead.
            pub frontier: u64,
            /// Bytes of the log that are not durable: what a power cut would cost under
            /// `ASYNC_FLUSH`.
            pub unsynced_bytes: u64,
            /// How long the oldest of them has waited, in milliseconds.
            pub unsynced_ms: u64,
            /// What the bytes never exceed.
            pub unsynced_bytes_max: u64,
            /// When the oldest has waited for so long, nothing more is acknowledged under
            /// `ASYNC_FLUSH`.
            pub unsynced_ms_max: u64,
            /// 1 when the shard is fenced.
            pub fenced: u64,
            /// 1 while the disk stands still.
            pub stalled: u64,
        }

        /// The counters themselves.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Cell<u64>,)+
        }

        impl Counters {
            pub(crate) fn copy(&self) -> StoreStats {
                StoreStats { $($name: self.$name.get(),)+ ..StoreStats::default() }
            }
        }
    };
}

counters! {
    /// Messages appended since the store opened.
    messages,
    /// Bytes of messages appended.
    message_bytes,
    /// Internal records appended.
    records,
    /// Appends that were refused.
    refused,
    /// Blocks written.
    block_writes,
    /// Bytes of blocks written, padding included.
    block_bytes,
    /// Syncs of the log.
    syncs,
    /// Bytes written with zeros ahead of the log.
    zeroed_bytes,
    /// Messages handed out.
    messages_read,
    /// Bytes of messages handed out.
    message_bytes_read,
    /// Reads of the log from the disk.
    cold_reads,
    /// Bytes read from the log on the disk.
    cold_read_bytes,
    /// Pages of the queue index written.
    pages_written,
    /// Pages of the queue index read.
    pages_read,
    /// Messages and pages found damaged on reading.
    damaged,
    /// Blocks with one flipped bit, put right in memory.
    repaired,
    /// Bytes that the scrub has read.
    scrubbed_bytes,
    /// Passes of the scrub over everything.
    scrub_passes,
    /// Damaged places that the scrub has met.
    scrub_damaged,
    /// Index pages that the scrub has made again and written.
    scrub_repaired,
    /// Checkpoints written.
    checkpoints,
    /// How often the disk stood still.
    stalls,
    /// Keys of messages that were indexed.
    keys,
    /// Runs of the key index written.
    key_runs_written,
    /// Bytes of entries written to them.
    key_run_bytes,
    /// Queries by key.
    key_queries,
    /// Segments that retention took out of the log.
    segments_removed,
    /// Segments that became another one.
    segments_recycled,
    /// Pages of the queue index that were trimmed with the log.
    pages_trimmed,
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}
