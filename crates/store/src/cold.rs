//! Old blocks that were read from disk, each one checked.
//!
//! Owned by the shard. Blocks leave in the order they came; they never enter the tail cache, so a
//! reader that catches up pushes nobody else's blocks out. Invariant: what is kept was verified
//! against its checksum, or tells which of its messages are proven good.

use base::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

/// A block that was read.
#[derive(Clone)]
pub(crate) enum ColdBlock {
    /// Header and records.
    Good(Rc<[u8]>),
    /// It does not match its checksum; the messages at these positions are proven good.
    Salvaged(Rc<[u8]>, Rc<[u64]>),
    /// It does not match its checksum, and nothing of it is proven good.
    Damaged,
}

/// See the module.
pub(crate) struct ColdCache {
    blocks: HashMap<u64, ColdBlock>,
    order: VecDeque<u64>,
    bytes: usize,
    bytes_max: usize,
}

const ENTRY_COST: usize = 64;

impl ColdCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            blocks: HashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn get(&self, position: u64) -> Option<&ColdBlock> {
        self.blocks.get(&position)
    }

    /// Drops the oldest until `more` bytes fit. What is added next may go beyond the limit alone.
    pub(crate) fn make_room(&mut self, more: usize) {
        while self.bytes + more > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let gone = self.blocks.remove(&oldest);
            self.bytes -= gone.map_or(0, |block| cost(&block));
        }
    }

    /// Forgets blocks below `start`, where the log begins now.
    pub(crate) fn drop_below(&mut self, start: u64) {
        self.order.retain(|position| *position >= start);
        let bytes = &mut self.bytes;
        self.blocks.retain(|position, block| {
            let stays = *position >= start;
            if !stays {
                *bytes -= cost(block);
            }
            stays
        });
    }

    pub(crate) fn add(&mut self, position: u64, block: ColdBlock) {
        let more = cost(&block);
        if let Some(old) = self.blocks.insert(position, block) {
            self.bytes -= cost(&old);
        } else {
            self.order.push_back(position);
        }
        self.bytes += more;
    }
}

fn cost(block: &ColdBlock) -> usize {
    ENTRY_COST
        + match block {
            ColdBlock::Good(bytes) => bytes.len(),
            ColdBlock::Salvaged(bytes, proven) => bytes.len() + 8 * proven.len(),
            ColdBlock::Damaged => 0,
        }
}
