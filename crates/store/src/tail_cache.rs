//! The newest blocks of the log in memory: the buffers they were written from.
//!
//! Owned by the log. Blocks enter in log order when sealed and leave in log order when memory is
//! short; data that was read from disk never enters. Invariant: a block that is not yet written is
//! here, so that everything above the written position can be read.

use rt::IoBuf;
use std::collections::VecDeque;
use std::rc::Rc;

/// A sealed block in memory.
pub(crate) struct CachedBlock<B> {
    pub(crate) position: u64,
    pub(crate) buf: Rc<B>,
    cost: usize,
}

/// Sealed blocks, oldest first.
pub(crate) struct TailCache<B> {
    blocks: VecDeque<CachedBlock<B>>,
    bytes: usize,
    bytes_max: usize,
}

impl<B: IoBuf> TailCache<B> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Adds the newest block, whose memory is `cost` bytes.
    pub(crate) fn push(&mut self, position: u64, buf: Rc<B>, cost: usize) {
        let newest = self.blocks.back().map_or(0, CachedBlock::end);
        assert!(newest <= position, "blocks enter in log order");
        self.bytes += cost;
        self.blocks.push_back(CachedBlock {
            position,
            buf,
            cost,
        });
    }

    /// Gives up the oldest block, if it is below `written` and more than the limit is held.
    pub(crate) fn shed(&mut self, written: u64) -> Option<Rc<B>> {
        self.shed_above(self.bytes_max, written)
    }

    /// The same with another limit, in bytes.
    pub(crate) fn shed_above(&mut self, bytes_max: usize, written: u64) -> Option<Rc<B>> {
        let too_much = self.bytes > bytes_max;
        let oldest = self
            .blocks
            .front()
            .filter(|oldest| too_much && oldest.end() <= written)?;
        self.bytes -= oldest.cost;
        self.blocks.pop_front().map(|oldest| oldest.buf)
    }

    /// The block that holds `position`.
    pub(crate) fn find(&self, position: u64) -> Option<&CachedBlock<B>> {
        let after = self
            .blocks
            .partition_point(|block| block.position <= position);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        (position < block.end()).then_some(block)
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<B: IoBuf> CachedBlock<B> {
    /// Where the next block may start.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.buf.as_bytes().len() as u64
    }
}
