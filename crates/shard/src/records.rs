//! Metadata records of a shard's log: their kinds, their bytes, and how they are replayed.
//!
//! Owned by the shard that wrote them. Topics and groups are records of shard 0; offsets and
//! delivery progress are records of each shard. Invariant: a replay in log order gives the state
//! at the last record; a kind's number and bytes never change their meaning.

use remoting::body::topic_config::DataVersion;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Numbers of the record kinds. New ones are added at the end.
pub mod kinds {
    /// A topic was created or changed.
    pub const TOPIC: u16 = 1;
    /// A topic was removed.
    pub const TOPIC_REMOVED: u16 = 2;
    /// A subscription group was created or changed.
    pub const GROUP: u16 = 3;
    /// A subscription group was removed.
    pub const GROUP_REMOVED: u16 = 4;
    /// Consumer offsets that changed.
    pub const CONSUMER_OFFSETS: u16 = 5;
    /// How far delayed messages of a level were delivered.
    pub const DELAY_PROGRESS: u16 = 6;
    /// Half messages that are decided; the store gives one for each committed message, too.
    pub const HALF_MESSAGES_DECIDED: u16 = store::RecordKind::HALF_MESSAGES_DECIDED.0;
    /// How often producers were asked about half messages.
    pub const HALF_MESSAGES_CHECKED: u16 = 8;
    /// Half messages that are undecided, and how far the half queue was looked at.
    pub const HALF_MESSAGES_OPEN: u16 = 9;
    /// What a group has popped of a queue changed.
    pub const POPS: u16 = 10;
    /// How a group gets the messages of a topic: by pulling or by popping.
    pub const REQUEST_MODE: u16 = 11;
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a metadata record of kind {kind} with {len} bytes cannot be read: {reason}")]
pub struct ReplayError {
    /// Its kind.
    pub kind: u16,
    /// Its length.
    pub len: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// A table row with the version of the table it belongs to.
pub(crate) fn encode_row(version: &DataVersion, row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&(version, row)).expect("rows are plain data")
}

/// Reads what [`encode_row`] wrote.
pub(crate) fn decode_row<T: DeserializeOwned>(
    kind: u16,
    payload: &[u8],
) -> Result<(DataVersion, T), ReplayError> {
    serde_json::from_slice(payload).map_err(|error| ReplayError {
        kind,
        len: payload.len(),
        reason: error.to_string(),
    })
}
