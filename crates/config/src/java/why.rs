//! Why a key of Java has no effect here: one sentence for each reason.
//!
//! Shown to users at the start and in `docs/configuration.md`.

pub(super) const PROGRAM: &str = "where the program lies does not matter to it";
pub(super) const THREADS: &str = "shards serve requests on their own cores: there are no thread pools, queues between them, or waits in those";
pub(super) const RETENTION: &str = "the disk is looked at every second, one file of the log goes at a time, and the queue index goes with its log";
pub(super) const LAYOUT: &str =
    "everything lies in storePathRootDir, and no file is mapped to memory";
pub(super) const FLUSH: &str = "a flush starts as soon as the one before it has ended";
pub(super) const INDEX: &str =
    "queues share index files, which grow as needed and are rebuilt from the log";
pub(super) const CHECKS: &str = "every block carries a checksum, which is always checked";
pub(super) const LOCKS: &str = "a shard appends on one core: there are no locks";
pub(super) const ROCKSDB: &str = "there is no RocksDB";
pub(super) const COMPACTION: &str = "compacted topics are not served yet";
pub(super) const COLD: &str =
    "old messages are read through buffers of their own, within the limits of pulls from memory";
pub(super) const REPLICATION: &str = "replication is not served yet";
pub(super) const CONTROLLER: &str = "the controller is not served yet";
pub(super) const TIMERS: &str =
    "timed messages of arbitrary delay are not served yet; delay levels are";
pub(super) const TRANSACTIONS: &str = "a committed message is the record of its commit: there is no topic of operations, and pending messages are counted in memory";
pub(super) const POP: &str = "what is popped is kept in the log of its shard: there are no revive queues, buffers and scans to tune";
pub(super) const FILTER: &str = "expressions are compiled once per subscription and asked while the log is read; there is no bitmap beside it";
pub(super) const METRICS: &str = "metrics are not served yet";
pub(super) const AUTH: &str = "access control is not served yet";
pub(super) const NETTY: &str =
    "sockets are driven by the engine, whose bounds are maxConnections and its neighbours";
pub(super) const NAMESRV: &str = "the broker registers with the addresses in namesrvAddr, all topics at once, whenever a topic changes and every registerNameServerPeriod";
pub(super) const OFFSETS: &str = "consumer offsets are records of the log";
pub(super) const BEHAVIOUR: &str = "this cannot be chosen yet";
