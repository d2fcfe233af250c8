//! What can be wrong with a history, as opposed to the broker that it tells of.
//!
//! A history that cannot be read gives no verdict. Invariant: no variant is ever turned into a
//! clean verdict.

use std::path::PathBuf;

/// A history that cannot be read or judged.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file does not begin as a history does.
    #[error("{0} is no history: it does not begin with RMQHIST1")]
    Magic(PathBuf),
    /// The file's records have another length.
    #[error("{path} has records of {len} bytes, this program reads 64")]
    RecordLen {
        /// The file.
        path: PathBuf,
        /// What its header says.
        len: u32,
    },
    /// The files tell of different runs.
    #[error("{path} is of run {found:#x}, the files before it of run {wanted:#x}")]
    Run {
        /// The file.
        path: PathBuf,
        /// Its run.
        found: u64,
        /// That of the files before.
        wanted: u64,
    },
    /// No such kind.
    #[error("a record of kind {0}")]
    Kind(u8),
    /// No such operation.
    #[error("a record of operation {0}")]
    Op(u8),
    /// Time goes back within one file.
    #[error("{path}: record {index} is older than the one before it")]
    Order {
        /// The file.
        path: PathBuf,
        /// Its number from 0.
        index: u64,
    },
    /// The side table is broken.
    #[error("{path}: {what}")]
    Strings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A record names a string that the side table does not have.
    #[error("{path}: record {index} names string {id}, which the side table does not have")]
    NoString {
        /// The file.
        path: PathBuf,
        /// The record's number from 0.
        index: u64,
        /// The string.
        id: u16,
    },
    /// More different strings than a record can name.
    #[error("more than 65,535 topics, groups and brokers")]
    TooManyStrings,
    /// The events cannot be those of a client: the harness is wrong.
    #[error("at {t_ns} ns: {what}")]
    Malformed {
        /// When.
        t_ns: u64,
        /// What is wrong.
        what: String,
    },
}

impl PartialEq for HistoryError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
