//! Ground for every other crate: ids, offsets, Java's string hash and deterministic maps.
//!
//! Nothing here knows a message, a file or a socket. Invariant: the same input gives the same
//! output in every process, so that a simulation seed replays.

pub mod activity;
pub mod bugs;
mod hash;
mod ids;
mod offsets;
pub mod points;

pub use hash::{HashMap, HashSet, hash_map, java_string_hash};
pub use ids::{QueueId, ShardId, owner_of, shard_of_group};
pub use offsets::{LogPosition, PhyOffset, QueueOffset};
