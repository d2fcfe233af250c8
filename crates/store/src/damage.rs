//! Damage that is met while serving: counted, told a few times a minute, and worked around.
//!
//! Owned by the shard. Invariant: a damaged place is never written to; what is left of it is decided
//! by `salvage` alone.

use crate::block::BlockHeader;
use crate::salvage::{Salvaged, salvage};
use crate::stats::add;
use crate::store::Inner;
use rt::Rt;
use std::cell::Cell;

/// Lets a few lines a minute pass, so that a bad disk does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct LineBudget {
    minute: Cell<u64>,
    lines: Cell<u32>,
}

impl LineBudget {
    pub(crate) fn allows(&self, now_us: u64) -> bool {
        let minute = now_us / 60_000_000 + 1;
        if self.minute.replace(minute) != minute {
            self.lines.set(0);
        }
        self.lines.set(self.lines.get().saturating_add(1));
        self.lines.get() <= LINES_PER_MINUTE
    }
}

const LINES_PER_MINUTE: u32 = 20;

/// What is left of a block that was read.
pub(crate) enum Left {
    /// All of it.
    Whole(BlockHeader, Vec<u8>),
    /// The messages at these positions.
    Parts(Vec<u64>),
}

impl<R: Rt> Inner<R> {
    /// Looks at what is left of the block at `position`, whose bytes do not match its checksum.
    pub(crate) fn damaged_block(&self, position: u64, bytes: &[u8]) -> Left {
        let identity = self.log.borrow().identity_at(position);
        add(&self.counters.damaged, 1);
        let salvaged = salvage(identity, position, bytes);
        let left = match &salvaged {
            Salvaged::Whole(..) => "all of it: one bit was flipped",
            Salvaged::Parts(proven) if proven.is_empty() => "nothing",
            Salvaged::Parts(_) => "messages that are proven good",
        };
        if self.damage_lines.allows(self.rt.monotonic_us()) {
            let segment = position - position % self.settings.segment_bytes;
            tracing::error!(
                shard = %self.settings.shard,
                path = %self.paths.segment(segment).display(),
                at = position - segment,
                left,
                "damaged log block. Check the disk; `ringmq store verify` lists all damage"
            );
        }
        match salvaged {
            Salvaged::Whole(header, block) => {
                add(&self.counters.repaired, 1);
                Left::Whole(header, block)
            }
            Salvaged::Parts(proven) => Left::Parts(proven),
        }
    }

    /// Notes a page of the queue index that has to be made again.
    pub(crate) fn damaged_page(&self, page: u32) {
        add(&self.counters.damaged, 1);
        if self.damage_lines.allows(self.rt.monotonic_us()) {
            tracing::error!(
                shard = %self.settings.shard,
                dir = %self.paths.index.display(),
                page,
                "damaged index page, made again from the log"
            );
        }
    }
}
