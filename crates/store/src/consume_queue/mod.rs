//! The index of every queue: where its messages lie in the log. Answers to Java's `ConsumeQueue`.
//!
//! Owned by the shard and derived from the log. A queue's newest units are in a chunk that grows
//! from small; a full chunk becomes a page of 4 KiB in shard-wide index files, so that a queue costs
//! neither a file nor a page before it needs one. Invariant: `min <= visible <= next`, and units
//! are dense from `min` to `next`.

mod freeze;
pub(crate) mod page_io;
pub(crate) mod pages;
mod table;

pub(crate) use freeze::Frozen;
pub(crate) use table::{Queue, QueueTable, UnitPlace, fits_together};

/// A queue of this shard. Small and copyable; it stays valid until the queue is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueRef {
    pub(crate) slot: u32,
    /// Counts how often the slot was given to another queue.
    pub(crate) turn: u32,
}

/// Length of an index unit, in bytes, as in RocketMQ.
pub(crate) const UNIT_LEN: usize = 20;
const POSITION_BITS: u32 = base::PhyOffset::POSITION_BITS;
/// How many alignment steps a record may lie behind the start of its block.
pub(crate) const BLOCK_BACK_MAX: usize = (1 << (64 - POSITION_BITS)) - 1;

/// Where one message of a queue lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Position of the message in the log.
    pub(crate) position: u64,
    /// Steps of the block alignment from the start of the message's block to the message, rounded
    /// down; it tells where the block starts, so that a read can check the block.
    pub(crate) block_back: u16,
    /// Length of the message; 0 when it was lost to damage.
    pub(crate) len: u32,
    pub(crate) tags_code: i64,
}

pub(crate) type UnitBytes = [u8; UNIT_LEN];

impl Unit {
    /// A place in the queue whose message was lost to damage of the log.
    pub(crate) const LOST: Self = Self {
        position: 0,
        block_back: 0,
        len: 0,
        tags_code: 0,
    };

    pub(crate) fn new(block: u64, position: u64, len: u32, tags_code: i64, align: usize) -> Self {
        let block_back =
            u16::try_from((position - block) / align as u64).expect("checked in settings");
        Self {
            position,
            block_back,
            len,
            tags_code,
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.len == 0
    }

    /// Where the block starts that holds the message.
    pub(crate) fn block(&self, align: usize) -> u64 {
        let align = align as u64;
        let steps = self.position / align;
        // A block starts at a multiple of the alignment.
        (steps - u64::from(self.block_back)) * align
    }

    pub(crate) fn encode(&self) -> UnitBytes {
        let mut bytes = [0; UNIT_LEN];
        let word = self.position | u64::from(self.block_back) << POSITION_BITS;
        bytes[0..8].copy_from_slice(&word.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.tags_code.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &UnitBytes) -> Self {
        let word = crate::block::u64_at(bytes, 0);
        Self {
            position: word & ((1 << POSITION_BITS) - 1),
            block_back: (word >> POSITION_BITS) as u16,
            len: crate::block::u32_at(bytes, 8),
            tags_code: crate::block::u64_at(bytes, 12).cast_signed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_tells_where_its_block_starts() {
        for (block, at) in [(4_096, 72), (4_096, 512), (512, 131_000), (1 << 40, 64)] {
            let unit = Unit::new(block, block + at, 7, -3, 512);
            assert_eq!(unit.block(512), block);
            assert_eq!(Unit::decode(&unit.encode()), unit);
        }
    }
}
