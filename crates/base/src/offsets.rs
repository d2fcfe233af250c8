//! Offsets: places in a queue, in a shard's log, and in the broker's physical address space.
//!
//! Five integers that must never be swapped, hence three types. Invariant: a `PhyOffset` is never
//! negative, so it travels as a Java `long`.

use crate::ids::ShardId;
use std::fmt;

/// The place of a message in its queue, from 0, without gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueOffset(pub i64);

/// A byte position in one shard's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition(pub u64);

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A physical offset as clients see it: shard in the high bits, log position in the low 52.
///
/// Clients treat it as opaque, and three requests (`END_TRANSACTION`,
/// `CONSUMER_SEND_MSG_BACK`, `VIEW_MESSAGE_BY_ID`) bring nothing else to route by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhyOffset(i64);

impl PhyOffset {
    /// Bits of the log position: 4 PiB per shard.
    pub const POSITION_BITS: u32 = 52;

    /// # Panics
    /// When `position` needs more than 52 bits.
    pub const fn new(shard: ShardId, position: LogPosition) -> Self {
        assert!(position.0 < 1 << Self::POSITION_BITS);
        Self((shard.as_u16() as i64) << Self::POSITION_BITS | position.0.cast_signed())
    }

    /// Reads a physical offset that a client sent; `None` when negative.
    pub const fn from_wire(value: i64) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The number that travels on the wire.
    pub const fn to_wire(self) -> i64 {
        self.0
    }

    /// The shard whose log holds the message.
    pub const fn shard(self) -> ShardId {
        ShardId::new((self.0 >> Self::POSITION_BITS) as u16)
    }

    /// The byte position in that shard's log.
    pub const fn position(self) -> LogPosition {
        LogPosition(self.0.cast_unsigned() & ((1 << Self::POSITION_BITS) - 1))
    }
}

const _: () = assert!(63 - PhyOffset::POSITION_BITS == ShardId::COUNT_MAX.trailing_zeros());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_physical_offset_gives_back_its_shard_and_position() {
        for shard in [0, 1, 2_047] {
            for position in [0, 1, (1 << 52) - 1] {
                let offset = PhyOffset::new(ShardId::new(shard), LogPosition(position));
                let wire = PhyOffset::from_wire(offset.to_wire()).unwrap();
                assert_eq!(wire.shard(), ShardId::new(shard));
                assert_eq!(wire.position(), LogPosition(position));
            }
        }
        assert_eq!(PhyOffset::from_wire(-1), None);
    }
}
