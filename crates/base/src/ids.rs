//! Ids of shards and queues, and the placement formula that ties them together.
//!
//! Placement is a formula, not a table: every shard, and every restart, computes the same owner
//! without asking anybody. Invariant: the number of shards of a store never changes.

use crate::hash::java_string_hash;
use std::fmt;

/// A shard: a data directory with one `CommitLog`, owned by one executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(u16);

impl ShardId {
    /// The number of shards that a physical offset can name (11 bits).
    pub const COUNT_MAX: u16 = 2_048;

    /// The shard that owns broker-wide state: topics, groups, configuration.
    pub const CONTROL: Self = Self(0);

    /// # Panics
    /// When `index` is not below [`Self::COUNT_MAX`].
    pub const fn new(index: u16) -> Self {
        assert!(index < Self::COUNT_MAX);
        Self(index)
    }

    /// The position of this shard among the broker's shards, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The same as a number for the wire and the disk.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A queue's number inside its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u32);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The shard that owns one queue: `(java_hash(topic) + queue) mod shards`, so that consecutive
/// queues of a topic lie on consecutive shards.
///
/// # Panics
/// When `shard_count` is 0.
pub fn owner_of(topic: &str, queue: QueueId, shard_count: u16) -> ShardId {
    let hash = u64::from(java_string_hash(topic).cast_unsigned());
    let index = (hash + u64::from(queue.0)) % u64::from(shard_count);
    ShardId::new(u16::try_from(index).expect("below shard_count"))
}

/// The shard that owns a group's members, subscriptions and queue locks.
///
/// # Panics
/// When `shard_count` is 0.
pub fn shard_of_group(group: &str, shard_count: u16) -> ShardId {
    owner_of(group, QueueId(0), shard_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_queues_lie_on_consecutive_shards() {
        let first = owner_of("TopicTest", QueueId(0), 4).index();
        for queue in 1..9 {
            let owner = owner_of("TopicTest", QueueId(queue), 4).index();
            assert_eq!(owner, (first + queue as usize) % 4);
        }
    }
}
