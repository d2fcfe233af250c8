//! Notices a disk that stands still: a write or sync of the log that does not come back.
//!
//! Owned by the shard. One timer per limit while all is well, none on the way to an
//! acknowledgement. Invariant: standing still refuses what does not fit into memory and changes
//! nothing else; the first operation that completes ends it. Answers to Java's
//! `osPageCacheBusyTimeOutMills`.

use crate::store::Inner;
use crate::wait::first_of;
use rt::Rt;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Since when the flush path waits for the disk, in monotonic microseconds.
#[derive(Default)]
pub(crate) struct Stall {
    writes: Cell<usize>,
    write_since: Cell<Option<u64>>,
    sync_since: Cell<Option<u64>>,
    is_stalled: Cell<bool>,
}

impl Stall {
    pub(crate) fn write_begins(&self, now_us: u64) {
        if self.writes.replace(self.writes.get() + 1) == 0 {
            self.write_since.set(Some(now_us));
        }
    }

    pub(crate) fn write_ends(&self, now_us: u64) {
        self.writes.set(self.writes.get() - 1);
        self.write_since
            .set((self.writes.get() > 0).then_some(now_us));
    }

    pub(crate) fn sync_begins(&self, now_us: u64) {
        self.sync_since.set(Some(now_us));
    }

    pub(crate) fn sync_ends(&self) {
        self.sync_since.set(None);
    }

    /// Whether the disk stands still.
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled.get()
    }

    /// Since when the oldest operation, or the last sign of life of many, is waited for.
    fn since(&self) -> Option<u64> {
        let (write, sync) = (self.write_since.get(), self.sync_since.get());
        write.into_iter().chain(sync).min()
    }
}

/// Watches until the store closes.
pub(crate) async fn stall_task<R: Rt>(inner: Rc<Inner<R>>) {
    let limit_us = inner.settings.stall_limit_ms * 1_000;
    while !inner.closing.get() && inner.fenced.borrow().is_none() {
        let now_us = inner.rt.monotonic_us();
        let due_us = inner.stall.since().unwrap_or(now_us) + limit_us;
        inner.note_stall(now_us >= due_us);
        // What begins later is due later still.
        let rest_us = if now_us < due_us {
            due_us - now_us
        } else {
            limit_us.min(RECHECK_US)
        };
        let timer = inner.rt.sleep(Duration::from_micros(rest_us));
        first_of(inner.closed.wait(), timer).await;
    }
    inner.stall.is_stalled.set(false);
}

impl<R: Rt> Inner<R> {
    fn note_stall(&self, stalled: bool) {
        if self.stall.is_stalled.replace(stalled) == stalled {
            return;
        }
        let shard = self.settings.shard;
        if stalled {
            base::reached!(DiskStood);
            crate::stats::add(&self.counters.stalls, 1);
            tracing::error!(
                %shard,
                dir = %self.paths.commit_log.display(),
                limit_ms = self.settings.stall_limit_ms,
                "the disk does not answer: what does not fit into memory is refused until it does. \
                 Check the device"
            );
            // Those who wait for room are refused instead.
            self.room.notify();
        } else {
            tracing::warn!(%shard, "the disk answers again");
        }
    }
}

/// How soon the end of a standstill is noticed.
const RECHECK_US: u64 = 50_000;
