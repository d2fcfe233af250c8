//! The storage engine of one shard: log blocks, group commit, queue index, recovery, reads.
//!
//! Owned by one executor and generic over the runtime seam; it names no engine and knows no
//! request, group or connection. What must hold: `min <= durable <= written <= appended`; what was
//! acknowledged is there after a crash; what recovery gave up never comes back; no topic name is
//! part of a path. Answers to Java's `DefaultMessageStore`, `CommitLog` and `ConsumeQueue`.

mod append;
mod block;
mod checkpoint;
mod checkpoint_file;
mod checkpointer;
mod cold;
mod cold_read;
mod commit_log;
mod consume_queue;
mod damage;
mod error;
mod flush;
mod fresh_file;
mod idle;
mod key_index;
mod layout;
mod lock;
mod page_rebuild;
mod read;
mod record;
mod recover;
mod retention;
mod salvage;
mod scrub;
mod search;
mod segment;
mod settings;
mod stall;
mod start;
mod stats;
mod stopwatch;
mod store;
mod tail_cache;
mod tail_ring;
mod verify;
mod wait;
mod zero_ahead;

pub use append::{AppendReceipt, MessagePlace};
pub use consume_queue::QueueRef;
pub use error::{AppendError, FenceReason, FlushError, OpenError, ReadError};
pub use key_index::{KeyAnswer, KeyKind, KeyQuery, KeyedMessage};
pub use layout::{
    FORMAT_VERSION, Layout, LayoutError, inspect_root, prepare_root, prepare_root_on,
};
pub use lock::{LockedBy, RootLock, lock_root, lock_root_for_reading};
pub use read::{Accept, GetResult, GetStatus, IndexEntry, ReadLimits, TailRead};
pub use record::RecordKind;
pub use recover::{Quarantined, Recovered, RecoveryReport, ScanStart};
pub use retention::{Limit, Retention, Shortage};
pub use search::Boundary;
pub use settings::{FlushMode, Settings};
pub use stats::StoreStats;
pub use stopwatch::{StartStep, StartSteps, Stopwatch};
pub use store::{Moment, ShardStore, SnapshotSource};
pub use verify::{
    DumpedBlock, DumpedSegment, Dumper, Finding, FindingKind, ShardSummary, Source, VerifyError,
    VerifyReport, Wanted, dump, read_layout, stored_bytes, verify,
};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
