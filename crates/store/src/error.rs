//! What can go wrong in a store, one enum per capability.
//!
//! Every variant carries the numbers and the place that a remark or a log line needs. Invariant:
//! nothing here is a response code; turning errors into codes belongs to the broker.

use crate::retention::Shortage;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a shard's store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings do not fit together.
    #[error("store settings: {0}")]
    Settings(String),
    /// The store was made with another layout.
    #[error(transparent)]
    Layout(#[from] crate::layout::LayoutError),
    /// The file system does not allow writing.
    #[error("{path}: it cannot be written: {source}; choose another directory or device")]
    ReadOnly {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory is not this user's.
    #[error(
        "{path}: {source}; give the whole directory to the user that runs the broker (chown -R)"
    )]
    NotAllowed {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is full.
    #[error("{path}: no space left on the device ({available} bytes available)")]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes that are left.
        available: u64,
    },
    /// Any other failure of the disk.
    #[error("{path}: {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A segment between two others is not there.
    #[error(
        "{dir}: segment {position:020} is missing, though later ones are there; nothing was \
         changed; restore it from a copy of the store"
    )]
    MissingSegment {
        /// The log's directory.
        dir: PathBuf,
        /// Where the segment starts.
        position: u64,
    },
    /// The checkpoint tells of more log than there is.
    #[error(
        "{dir}: the log ends at {end:020}, though the checkpoint says that it was safe up to \
         {durable}: the segments from there on are missing; nothing was changed; restore them from \
         a copy of the store"
    )]
    EndsEarly {
        /// The log's directory.
        dir: PathBuf,
        /// Where the last segment that is there ends.
        end: u64,
        /// How far the log was durable.
        durable: u64,
    },
    /// The log begins behind the checkpoint, which only goes where the log is.
    #[error(
        "{dir}: the log begins at {start:020}, though the checkpoint needs it from {position} on: \
         the segments before are missing; nothing was changed; restore them from a copy of the store"
    )]
    BeginsLate {
        /// The log's directory.
        dir: PathBuf,
        /// Where the first segment that is there starts.
        start: u64,
        /// Where the checkpoint has recovery begin.
        position: u64,
    },
    /// A segment belongs to another shard or format.
    #[error("{path}: {reason}")]
    ForeignSegment {
        /// The segment.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
}

impl OpenError {
    /// The variant for a failure of the disk.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, source },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, available: 0 }
            }
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }
}

/// Why a record was not appended. Nothing of it is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A write or sync failed before; the shard takes no more.
    #[error("shard is fenced: {0}; check the disk, then restart the broker")]
    Fenced(FenceReason),
    /// The store is closing.
    #[error("store is closing")]
    Closed,
    /// There is no space for messages.
    #[error("{0}")]
    NoSpace(Arc<Shortage>),
    /// The log does not keep up: too much is appended and not written.
    #[error("{unwritten} bytes wait to be written, at most {max} may")]
    Busy {
        /// Bytes appended and not written.
        unwritten: u64,
        /// The limit.
        max: u64,
    },
    /// What was acknowledged under `ASYNC_FLUSH` waits too long for its sync.
    #[error(
        "{unsynced} bytes have waited {waited_ms} ms for the disk to sync them, at most {max_ms} ms may pass"
    )]
    SyncLate {
        /// Bytes that are not synced.
        unsynced: u64,
        /// How long the oldest of them has waited, in milliseconds.
        waited_ms: u64,
        /// The limit, in milliseconds.
        max_ms: u64,
    },
    /// The disk stands still, and what it owes fills the memory for it.
    #[error(
        "the disk has not answered for more than {limit_ms} ms and {unwritten} bytes wait for it, at most {max} may"
    )]
    Stalled {
        /// How long is too long, in milliseconds.
        limit_ms: u64,
        /// Bytes appended and not written.
        unwritten: u64,
        /// The limit.
        max: u64,
    },
    /// The record is too long.
    #[error("record of {len} bytes, at most {max} are taken")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The queue was deleted.
    #[error("queue was deleted")]
    QueueGone,
}

/// Why a shard takes no more writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FenceReason {
    /// Writing the log failed.
    #[error("write of {path} at log position {position} failed: {error}", path = path.display())]
    Write {
        /// The segment.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What the system said.
        error: String,
    },
    /// Syncing the log failed; what it covered may be lost, and it is not retried.
    #[error("sync of {path} up to log position {position} failed: {error}", path = path.display())]
    Sync {
        /// The log's directory.
        path: PathBuf,
        /// The end of what it covered.
        position: u64,
        /// What the system said.
        error: String,
    },
    /// Writing the queue index or a checkpoint failed.
    #[error("write of the index or checkpoint in {path} failed: {error}", path = path.display())]
    Index {
        /// The shard's directory.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// Preparing a segment failed.
    #[error("preparing {path} ahead at log position {position} failed: {error}", path = path.display())]
    Prepare {
        /// The log's directory.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What the system said.
        error: String,
    },
}

/// Why waiting for an acknowledgement, or closing, ended without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The shard was fenced: whether the record survives is unknown.
    #[error("shard is fenced: {0}; check the disk, then restart the broker")]
    Fenced(FenceReason),
    /// The store closed before.
    #[error("store is closed")]
    Closed,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error("read of {path} at {position}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        position: u64,
        /// What the system said.
        source: io::Error,
    },
}
