//! Group commit: one task that starts writes, one that syncs. Answers to Java's
//! `GroupCommitService` and `FlushRealTimeService`.
//!
//! Owned by the shard. It clocks itself: while one batch is on its way the next one gathers, and a
//! sync answers everyone whose record was written when it began. No timer is on the way to an
//! acknowledgement. Invariant: after the first failed write or sync nothing is acknowledged, nothing
//! is written and no sync is tried again.

use crate::commit_log::SealedBlock;
use crate::error::FenceReason;
use crate::settings::FlushMode;
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use rt::{Class, Disk, File, IoBuf, Rt};
use std::rc::Rc;
use std::time::Duration;

type Buf<R> = <<R as Rt>::Disk as Disk>::Buf;

enum NextWrite<B> {
    Write(SealedBlock<B>),
    Gather(Duration),
    Wait,
    End,
}

/// Starts writes until the store closes.
pub(crate) async fn write_task<R: Rt>(inner: Rc<Inner<R>>) {
    let mut gather_until_us = None;
    loop {
        let seen = inner.work.count();
        match inner.next_write(&mut gather_until_us) {
            NextWrite::Write(block) => inner.start_write(block),
            NextWrite::Gather(rest) => {
                inner.writer_waits.set(true);
                inner.writer_gathers.set(true);
                first_of(inner.work.wait_past(seen), inner.rt.sleep(rest)).await;
                inner.writer_gathers.set(false);
            }
            NextWrite::Wait => {
                inner.writer_waits.set(true);
                inner.work.wait_past(seen).await;
            }
            NextWrite::End => break,
        }
        inner.writer_waits.set(false);
    }
}

/// Syncs what is written until the store closes.
pub(crate) async fn sync_task<R: Rt>(inner: Rc<Inner<R>>) {
    let mut synced_us = inner.rt.monotonic_us();
    loop {
        let seen = inner.written.count();
        let (written, durable, appended) = inner.positions();
        if inner.fenced.borrow().is_some() {
            break;
        }
        if written > durable && inner.sync_is_due(written, durable, synced_us) {
            inner.sync(written).await;
            synced_us = inner.rt.monotonic_us();
        } else if inner.closing.get() && written == durable && durable >= appended {
            break;
        } else if written > durable {
            let due_us = synced_us + inner.settings.async_flush_interval_ms * 1_000;
            let rest = due_us.saturating_sub(inner.rt.monotonic_us()).max(1);
            let timer = inner.rt.sleep(Duration::from_micros(rest));
            first_of(inner.written.wait_past(seen), timer).await;
        } else {
            inner.written.wait_past(seen).await;
        }
    }
}

/// Holds appends back while what was acknowledged waits too long for its sync, until the store
/// closes. It wakes once per bound while something is not durable, and not at all otherwise.
pub(crate) async fn lateness_task<R: Rt>(inner: Rc<Inner<R>>) {
    let bound_us = inner.settings.unsynced_ms_max * 1_000;
    while !inner.closing.get() && inner.fenced.borrow().is_none() {
        let (began, progress) = (inner.unsynced_began.count(), inner.progress.count());
        let Some(since_us) = inner.log.borrow().unsynced_since_us() else {
            inner.unsynced_began.wait_past(began).await;
            continue;
        };
        let now_us = inner.rt.monotonic_us();
        if now_us < since_us + bound_us {
            let rest = Duration::from_micros(since_us + bound_us - now_us);
            first_of(inner.closed.wait(), inner.rt.sleep(rest)).await;
            continue;
        }
        if !inner.is_sync_late.replace(true) {
            let unsynced = inner.log.borrow().unsynced();
            tracing::warn!(
                shard = %inner.settings.shard, unsynced, after_ms = inner.settings.unsynced_ms_max,
                "the disk is late: producers wait until what is acknowledged is durable"
            );
        }
        inner.progress.wait_past(progress).await;
    }
}

impl<R: Rt> Inner<R> {
    /// How long the oldest record that is not durable has waited, in milliseconds.
    pub(crate) fn unsynced_ms(&self, log: &crate::commit_log::CommitLog<R::Disk>) -> u64 {
        let now_us = self.rt.monotonic_us();
        let waited = log
            .unsynced_since_us()
            .map(|since| now_us.saturating_sub(since));
        waited.unwrap_or(0) / 1_000
    }

    /// Appends go on once the oldest record that is not durable is young enough.
    fn note_sync_in_time(&self) {
        let log = self.log.borrow();
        if self.unsynced_ms(&log) < self.settings.unsynced_ms_max {
            self.is_sync_late.set(false);
        }
    }

    fn positions(&self) -> (u64, u64, u64) {
        let log = self.log.borrow();
        (log.written(), log.durable(), log.appended())
    }

    fn next_write(&self, gather_until_us: &mut Option<u64>) -> NextWrite<Buf<R>> {
        if self.fenced.borrow().is_some() {
            return NextWrite::End;
        }
        let mut log = self.log.borrow_mut();
        if log.writes_in_flight() >= self.settings.writes_max {
            return NextWrite::Wait;
        }
        if let Some(block) = log.start_write() {
            return NextWrite::Write(block);
        }
        if log.open_len() == 0 {
            let done = self.closing.get() && log.writes_in_flight() == 0;
            return if done {
                NextWrite::End
            } else {
                NextWrite::Wait
            };
        }
        if log.writes_in_flight() > 0 {
            return NextWrite::Wait;
        }
        let hurry = self.closing.get() || self.sync_wanted.get() > log.written();
        let now_us = self.rt.monotonic_us();
        match self.settings.flush {
            // What is written and not covered by the running sync goes with the next one; a block
            // that is not full joins it rather than the one after.
            FlushMode::Sync
                if !hurry
                    && log.written() > self.sync_target.get()
                    && log.open_len() < self.settings.block_bytes / 4 =>
            {
                return NextWrite::Wait;
            }
            FlushMode::Async if !hurry => {
                let until = *gather_until_us.get_or_insert(now_us + self.settings.async_gather_us);
                if now_us < until {
                    return NextWrite::Gather(Duration::from_micros(until - now_us));
                }
            }
            _ => {}
        }
        *gather_until_us = None;
        log.seal(self.rt.now_ms());
        log.start_write().map_or(NextWrite::Wait, NextWrite::Write)
    }

    fn start_write(self: &Rc<Self>, block: SealedBlock<Buf<R>>) {
        let inner = Rc::clone(self);
        let pass = self.tasks.enter();
        self.rt.spawn(Class::Flush, async move {
            inner.write(block).await;
            drop(pass);
        });
    }

    async fn write(&self, block: SealedBlock<Buf<R>>) {
        if self.fenced.borrow().is_some() {
            return;
        }
        let (position, len) = (block.position, block.buf.as_bytes().len() as u64);
        let (file, start) = {
            let log = self.log.borrow();
            let segment = log
                .segments
                .at(position)
                .expect("a block lies in a segment");
            base::always!(BlockInPreparedSpace, position + len <= segment.zeroed_to);
            (Rc::clone(&segment.file), segment.start)
        };
        // Meanwhile records are appended and other blocks complete, in any order.
        self.stall.write_begins(self.rt.monotonic_us());
        let mut result = file.write_at(block.buf, position - start).await;
        if base::bug!(IgnoreFailedWrite) {
            result = Ok(());
        }
        self.stall.write_ends(self.rt.monotonic_us());
        match result {
            Ok(()) if self.fenced.borrow().is_none() => {
                let moved = self.log.borrow_mut().write_done(position + len);
                add(&self.counters.block_writes, 1);
                add(&self.counters.block_bytes, len);
                if moved {
                    self.written.notify();
                    self.room.notify();
                }
                self.work.notify();
                self.note_background_work();
            }
            Ok(()) => {}
            Err(error) => self.fence(FenceReason::Write {
                path: self.paths.segment(start),
                position,
                error: error.to_string(),
            }),
        }
    }

    fn sync_is_due(&self, written: u64, durable: u64, synced_us: u64) -> bool {
        let interval_us = self.settings.async_flush_interval_ms * 1_000;
        self.settings.flush == FlushMode::Sync
            || self.closing.get()
            || self.sync_wanted.get() > durable
            || written - durable
                >= self
                    .settings
                    .async_flush_bytes
                    .min(self.settings.window() / 4)
            || self.rt.monotonic_us() >= synced_us + interval_us
    }

    /// Makes everything before `target`, all of it written, durable.
    async fn sync(&self, target: u64) {
        self.sync_target.set(target);
        self.work.notify();
        let files = {
            let log = self.log.borrow();
            log.segments.files_between(log.durable(), target)
        };
        self.stall.sync_begins(self.rt.monotonic_us());
        for file in files {
            if self.fenced.borrow().is_some() {
                break;
            }
            // Meanwhile records are appended and later blocks are written; none of them counts.
            let mut synced = file.datasync().await;
            if synced.is_err() && base::bug!(RetrySync) {
                synced = file.datasync().await;
            }
            if let Err(error) = synced
                && !base::bug!(IgnoreFailedSync)
            {
                self.stall.sync_ends();
                return self.fence(FenceReason::Sync {
                    path: self.paths.commit_log.clone(),
                    position: target,
                    error: error.to_string(),
                });
            }
        }
        self.stall.sync_ends();
        add(&self.counters.syncs, 1);
        if self.fenced.borrow().is_none() {
            self.log.borrow_mut().synced(target);
            self.drain_pending(target);
            self.note_sync_in_time();
            self.progress.notify();
            self.room.notify();
            self.work.notify();
        }
    }

    /// Shows consumers what became durable.
    fn drain_pending(&self, durable: u64) {
        base::always!(ShownIsDurable, durable <= self.log.borrow().durable());
        let mut pending = self.pending.borrow_mut();
        let mut queues = self.queues.borrow_mut();
        while pending.front().is_some_and(|(end, _)| *end <= durable) {
            let (_, reference) = pending.pop_front().expect("there is one");
            if let Some(queue) = queues.get_mut(reference) {
                self.became_visible(queue, reference);
            }
        }
    }
}
