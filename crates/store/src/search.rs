//! Searching a queue by store time. Answers to Java's `ConsumeQueue.getOffsetInQueueByTime`.
//!
//! A binary search over the queue; each step reads one message's head, which is one block of the log
//! and one page of the queue index at most. Where messages were lost to damage a step looks at the
//! next ones, ever farther apart, so that the number of reads stays bounded by the square of the
//! logarithm of the queue's length. Store times of a queue ascend as long as the clock does.

use crate::consume_queue::QueueRef;
use crate::error::ReadError;
use crate::record;
use crate::store::Inner;
use base::QueueOffset;
use rt::Rt;

/// Which offset is wanted when several, or none, have the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first whose time is not before; the end of the queue when there is none.
    Lower,
    /// The last whose time is not after; the first offset when there is none.
    Upper,
}

impl<R: Rt> Inner<R> {
    pub(crate) async fn store_timestamp_at(
        &self,
        reference: QueueRef,
        offset: QueueOffset,
    ) -> Result<Option<i64>, ReadError> {
        self.view_message(reference, offset, record::store_timestamp_ms)
            .await
    }

    pub(crate) async fn offset_by_time(
        &self,
        reference: QueueRef,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError> {
        let Some((min, max)) = self.bounds(reference) else {
            return Ok(QueueOffset(0));
        };
        let (mut low, mut high) = (min, max);
        // Everything below `low` is before the boundary, everything from `high` on is not.
        while low < high {
            let middle = low + (high - low) / 2;
            let (at, time) = self.first_readable(reference, middle, high).await?;
            let before = match (time, boundary) {
                (None, _) => false,
                (Some(time), Boundary::Lower) => time < timestamp_ms,
                (Some(time), Boundary::Upper) => time <= timestamp_ms,
            };
            if before {
                low = at + 1;
            } else {
                high = if at < middle + NEAR { middle } else { at };
            }
        }
        let offset = match boundary {
            Boundary::Lower => low,
            Boundary::Upper => (low - 1).max(min),
        };
        Ok(QueueOffset(offset))
    }

    fn bounds(&self, reference: QueueRef) -> Option<(i64, i64)> {
        self.queues
            .borrow()
            .get(reference)
            .map(|queue| (queue.min, queue.visible))
    }

    /// A message of `from..to` that can be read, and its time: the first one, if it is near, else
    /// one of those that are looked at. `from` and no time when there is none.
    async fn first_readable(
        &self,
        reference: QueueRef,
        from: i64,
        to: i64,
    ) -> Result<(i64, Option<i64>), ReadError> {
        let (mut offset, mut step) = (from, 1);
        while offset < to {
            let time = self
                .store_timestamp_at(reference, QueueOffset(offset))
                .await?;
            if time.is_some() {
                return Ok((offset, time));
            }
            if offset >= from + NEAR - 1 {
                step *= 2;
            }
            offset += step;
        }
        Ok((from, None))
    }
}

/// Messages that are looked at one after the other where some cannot be read.
const NEAR: i64 = 256;
