//! Keys of the store: where it lies, when it flushes, what a pull may take.
//!
//! Owned by the broker, which maps them to the store's settings. Names, meanings and defaults are
//! those of Java's `MessageStoreConfig` where it has the key.

use crate::spec::config;
use crate::value::{DelayLevels, FlushDiskType, Hours};

config! {
    /// Keys of the store.
    pub struct StoreConfig {
        /// The data directory. Without the key: `./data` in `standalone`, else `$HOME/store`.
        "storePathRootDir" [Restart important] store_path_root_dir: Option<String> = None;
        /// When a message is acknowledged. `SYNC_FLUSH`: when the device has it, so that it survives
        /// a power cut. `ASYNC_FLUSH`: when it would survive the end of the process; the device
        /// follows within `flushIntervalCommitLog`.
        "flushDiskType" [Restart important] flush_disk_type: FlushDiskType = FlushDiskType::Async;
        /// Size of one file of the log, in bytes. Each shard writes files of this size ahead.
        "mappedFileSizeCommitLog" [Restart] mapped_file_size_commit_log_bytes: u64 = 1_073_741_824, in 1_048_576..=17_179_869_184;
        /// Longest message body, in bytes.
        "maxMessageSize" [Restart] max_message_size_bytes: usize = 4_194_304, in 1..=16_000_000;
        /// How long a message may wait for its flush under `SYNC_FLUSH` before the client is told
        /// `FLUSH_DISK_TIMEOUT`, in milliseconds.
        "syncFlushTimeout" [Restart] sync_flush_timeout_ms: u64 = 5_000, in 1..=600_000;
        /// How long the disk may leave a write or sync of the log unanswered before the shard counts
        /// as standing still, in milliseconds: what does not fit into memory is refused then instead
        /// of held back.
        "osPageCacheBusyTimeOutMills" [Restart] os_page_cache_busy_time_out_ms: u64 = 1_000, in 1..=600_000;
        /// How much each shard reads again all the time to find damage on the disk before somebody
        /// wants the data, in bytes a second; 0 for none. Not in Java.
        "scrubBytesPerSecond" [Restart] scrub_bytes_per_second: u64 = 1_048_576, in 0..=10_737_418_240;
        /// How long a message may wait for its flush under `ASYNC_FLUSH`, in milliseconds.
        "flushIntervalCommitLog" [Restart important] flush_interval_commit_log_ms: u64 = 500, in 1..=600_000;
        /// The delays of levels 1, 2, 3 and so on: numbers with `s`, `m`, `h` or `d`,
        /// separated by blanks.
        "messageDelayLevel" [Restart] message_delay_level: DelayLevels = DelayLevels::default();
        /// Most bytes of messages that a pull takes, from memory as from the disk.
        "maxTransferBytesOnMessageInMemory" [Restart important] max_transfer_bytes_on_message_in_memory: usize = 262_144, in 1..=16_000_000;
        /// Most messages that a pull takes, from memory as from the disk.
        "maxTransferCountOnMessageInMemory" [Restart important] max_transfer_count_on_message_in_memory: usize = 32, in 1..=65_536;
        /// How long messages are kept at least while there is space, in hours. A file of the log goes
        /// when its last message is older.
        "fileReservedTime" [Restart important] file_reserved_time_hours: u32 = 72, in 0..=8_760_000;
        /// The hours of the day, separated by `;`, in which files that are too old go, where the broker
        /// stands.
        "deleteWhen" [Restart important] delete_when: Hours = Hours::default();
        /// Above this share of the file system, in percent, files that are too old go at any hour.
        /// From 10 to 95.
        "diskMaxUsedSpaceRatio" [Restart important] disk_max_used_space_ratio: u64 = 75, in 0..=100;
        /// Above this share, in percent, the oldest files go whatever their age. From 30 to 85.
        "diskSpaceCleanForciblyRatio" [Restart] disk_space_clean_forcibly_ratio: u64 = 85, in 0..=100;
        /// Above this share, in percent, messages are refused with 14 until there is space again.
        /// From 35 to 90.
        "diskSpaceWarningLevelRatio" [Restart] disk_space_warning_level_ratio: u64 = 90, in 0..=100;
        /// Whether files may go before their time when `diskSpaceCleanForciblyRatio` is passed.
        "cleanFileForciblyEnable" [Restart] clean_file_forcibly_enable: bool = true;
        /// Pause between two files that go, and between two cuts of a long file, in milliseconds.
        "deleteCommitLogFilesInterval" [Restart] delete_commit_log_files_interval_ms: u64 = 100, in 0..=3_600_000;
        /// Most files of a shard that go in one round.
        "deleteFileBatchMax" [Restart] delete_file_batch_max: usize = 10, in 1..=1_000;
        /// With less free space than this, in bytes, messages are refused; with less than twice as much
        /// the oldest files go whatever their age. At most a 16th of the disk counts. Not in Java.
        "minFreeBytes" [Restart] min_free_bytes: u64 = 8_388_608, in 0..=1_125_899_906_842_624;
        /// Largest log of all shards together, in bytes; the oldest files go above it, whatever their
        /// age. 0: no limit. Not in Java.
        "maxStoreBytes" [Restart] max_store_bytes: u64 = 0, in 0..=1_125_899_906_842_624;
        /// Size of one write to the log, in bytes; a longer message is a write of its own. Not in Java.
        "logBlockBytes" [Restart] log_block_bytes: usize = 131_072, in 8_192..=4_194_304;
        /// How many empty files of the log are kept ready for each shard. Not in Java.
        "segmentsAhead" [Restart] segments_ahead: usize = 1, in 1..=64;
        /// Most bytes that a shard has accepted and not yet written; connections are read no further
        /// while it has. Not in Java.
        "unflushedBytesMax" [Restart] unflushed_bytes_max: usize = 16_777_216, in 1_048_576..=4_294_967_296;
        /// Length of each shard's file of messages that were acknowledged under `ASYNC_FLUSH` and are
        /// not yet written, in bytes; it is read after the process was killed. At most a 16th of a shard's
        /// share of the disk; more where the longest message needs it. Not in Java.
        "tailRingBytes" [Restart] tail_ring_bytes: usize = 33_554_432, in 1_048_576..=4_294_967_296;
        /// Most bytes of each shard's log that are not synced yet: what a power cut can cost under
        /// `ASYNC_FLUSH`, and how far a start looks behind the end of the log. Producers wait rather
        /// than exceed it. Under `SYNC_FLUSH` it is no more than `unflushedBytesMax`. More is used where the
        /// longest message needs it. Not in Java.
        "unsyncedBytesMax" [Restart important] unsynced_bytes_max: u64 = 67_108_864, in 1_048_576..=4_294_967_296;
        /// How long a message that was acknowledged under `ASYNC_FLUSH` may wait for its sync, in
        /// milliseconds. Producers wait rather than exceed it. Not in Java.
        "unsyncedMillisMax" [Restart important] unsynced_millis_max: u64 = 2_000, in 10..=600_000;
        /// Memory for the newest messages of each shard, which are served without the disk, in bytes.
        /// Not in Java.
        "tailCacheBytes" [Restart] tail_cache_bytes: usize = 33_554_432, in 1_048_576..=1_099_511_627_776;
        /// Memory for old messages that each shard has read from the disk, in bytes. Not in Java.
        "coldCacheBytes" [Restart] cold_cache_bytes: usize = 4_194_304, in 1_048_576..=1_099_511_627_776;
        /// Memory for pages of each shard's queue index, in bytes. Not in Java.
        "indexCacheBytes" [Restart] index_cache_bytes: usize = 4_194_304, in 1_048_576..=1_099_511_627_776;
        /// Whether messages can be found by their keys: `UNIQ_KEY` and each word of `KEYS`.
        "messageIndexEnable" [Restart] message_index_enable: bool = true;
        /// Most messages that a query by key gives.
        "maxMsgsNumBatch" [Restart] max_msgs_num_batch: usize = 64, in 1..=1_024;
        /// How many messages a query by `UNIQ_KEY` gives, whatever it asks for.
        "defaultQueryMaxNum" [Restart] default_query_max_num: usize = 32, in 1..=1_024;
        /// Memory of each shard's key index, in bytes: keys that are gathered, sorted and merged. Not in
        /// Java.
        "keyIndexBytes" [Restart] key_index_bytes: usize = 8_388_608, in 1_048_576..=1_099_511_627_776;
        /// How fast each shard reads its log at most to make lost parts of the key index again, in bytes
        /// per second. Not in Java.
        "keyIndexRebuildRate" [Restart] key_index_rebuild_rate: u64 = 134_217_728, in 1_048_576..=1_099_511_627_776;
        /// After how many bytes of log a shard writes a checkpoint; a start reads at most about that
        /// much. Not in Java.
        "checkpointBytes" [Restart] checkpoint_bytes: u64 = 50_331_648, in 1_048_576..=1_099_511_627_776;
    }
}
