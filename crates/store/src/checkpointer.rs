//! Takes checkpoints: after so many bytes of log, and when the store closes.
//!
//! Owned by the shard; a task of low priority. The order is the argument: what queues are is noted
//! at a block boundary, the log up to there becomes durable, then the pages that they name, then
//! the file, in pieces, so that neither the turn nor the memory depends on the number of queues.
//! Invariant: a checkpoint on disk never names anything that is not on disk.

use crate::checkpoint::{CheckpointHead, put_end, put_head};
use crate::checkpoint_file::CheckpointFile;
use crate::consume_queue::Frozen;
use crate::error::FenceReason;
use crate::record::RecordKind;
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use crate::zero_ahead::will_pass;
use base::activity::{Activity, Busy};
use rt::Rt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Full pages that wait in memory before they are written between checkpoints.
const DIRTY_PAGES_MAX: usize = 64;
/// How much of a checkpoint is made and written in one turn, in bytes.
const PIECE_LEN: usize = 256 << 10;

/// Takes checkpoints until the store closes.
pub(crate) async fn checkpoint_task<R: Rt>(inner: Rc<Inner<R>>) {
    while !inner.closing.get() && inner.fenced.borrow().is_none() {
        let seen = inner.checkpoint_wanted.count();
        let result = if inner.checkpoint_is_due() {
            inner.checkpoint().await
        } else if inner.pages.borrow().dirty_len() >= DIRTY_PAGES_MAX {
            inner.write_pages().await
        } else {
            inner.checkpoint_wanted.wait_past(seen).await;
            continue;
        };
        if let Err(error) = result {
            inner.index_failed(&error).await;
        }
    }
}

impl<R: Rt> Inner<R> {
    fn checkpoint_is_due(&self) -> bool {
        let appended = self.log.borrow().appended();
        self.checkpoints_owed.get() > 0
            || appended >= self.checkpoint_position.get() + self.settings.checkpoint_bytes
            || self.retention.wants_checkpoint()
    }

    /// Wakes the tasks of low priority that have work now.
    pub(crate) fn note_background_work(&self) {
        if self.wants_zeros() {
            self.zero_wanted.notify();
        }
        if self.keys_are_behind() {
            self.keys.follow_wanted.notify();
        }
        if self.checkpoint_is_due() || self.pages.borrow().dirty_len() >= DIRTY_PAGES_MAX {
            self.checkpoint_wanted.notify();
        }
    }

    /// Takes a checkpoint of everything appended so far. Done without effect when fenced.
    pub(crate) async fn checkpoint(&self) -> io::Result<()> {
        let _busy = Busy::begin(Activity::Checkpoint);
        let (head, start) = self.freeze();
        let given_back = self.pages.borrow_mut().checkpoint_begins();
        let written = self.write_checkpoint(&head, start).await;
        self.frozen.take();
        self.thawed.notify();
        if !matches!(written, Ok(true)) {
            // They count as given back after this checkpoint, which is only later than need be.
            self.pages.borrow_mut().checkpoint_failed(given_back);
            return written.map(drop);
        }
        self.pages.borrow_mut().checkpoint_done(given_back);
        self.checkpoint_sequence.set(head.sequence + 1);
        let owed = self.checkpoints_owed.get();
        self.checkpoints_owed.set(owed.saturating_sub(1));
        self.checkpoint_position.set(head.position);
        self.retention
            .checkpoint_done((head.sequence % 2) as usize, head.position);
        add(&self.counters.checkpoints, 1);
        let page_end = self.pages.borrow_mut().cut_free_end();
        if let Err(error) = self.page_files.cut(page_end).await {
            // Only room is at stake; the next checkpoint tries again.
            let dir = self.paths.index.display();
            tracing::warn!(%dir, %error, "an unused file of the queue index stays");
        }
        Ok(())
    }

    /// Notes what all queues are as of a block boundary, in one go. Gives what a checkpoint of that
    /// begins with, and where the log starts.
    fn freeze(&self) -> (CheckpointHead, u64) {
        let mut log = self.log.borrow_mut();
        log.seal(self.rt.now_ms());
        let position = log.sealed();
        let head = CheckpointHead {
            shard: self.settings.shard,
            sequence: self.checkpoint_sequence.get(),
            position,
            durable: position,
            secret: log.secret,
            window: log.window(),
        };
        let before = self.frozen.replace(Some(Frozen::of(&self.queues.borrow())));
        assert!(before.is_none(), "one checkpoint at a time");
        (head, log.segments.start())
    }

    /// Writes a checkpoint of what is frozen; `false` when fenced.
    async fn write_checkpoint(&self, head: &CheckpointHead, start: u64) -> io::Result<bool> {
        if !self.wait_durable(head.position).await {
            return Ok(false);
        }
        // Everything before the position is acknowledged; those who waited for it run once, so
        // that the source knows of it.
        self.rt.yield_now().await;
        self.write_pages().await?;
        self.page_files.sync().await?;
        let source = self.snapshot_source.borrow().clone();
        let mut records = source.map_or_else(|| self.carried.borrow().clone(), |source| source());
        records.push((RecordKind::RETENTION, self.retention_record(start)));
        // The source tells of what was appended meanwhile, too, and an effect must not survive a power
        // cut that takes its cause.
        let told = self.log.borrow().appended();
        if !self.wait_durable(told).await {
            return Ok(false);
        }
        base::always!(
            CheckpointIsDurable,
            head.position <= self.log.borrow().durable()
        );
        base::always!(
            CheckpointAdvances,
            head.position >= self.checkpoint_position.get()
        );
        let slot = (head.sequence % 2) as u8;
        let mut file = CheckpointFile::create(self.rt.disk(), &self.paths, slot).await?;
        let filled = self.fill_checkpoint(head, &records, &mut file).await;
        file.finish(filled).await.map(|()| true)
    }

    /// Writes queues and metadata, a piece in each turn.
    async fn fill_checkpoint(
        &self,
        head: &CheckpointHead,
        records: &[(RecordKind, Vec<u8>)],
        file: &mut CheckpointFile<R::Disk>,
    ) -> io::Result<()> {
        let count = self.frozen.borrow().as_ref().map_or(0, Frozen::count);
        file.waiting = put_head(head, count);
        loop {
            let is_all = {
                let mut frozen = self.frozen.borrow_mut();
                let frozen = frozen.as_mut().expect("it was frozen for this");
                frozen.take(&self.queues.borrow(), &mut file.waiting, PIECE_LEN)
            };
            if is_all {
                break;
            }
            file.write().await?;
            self.rt.yield_now().await;
        }
        put_end(&mut file.waiting, records);
        Ok(())
    }

    /// Completes when no checkpoint takes queues over, which must not lose their beginning meanwhile.
    pub(crate) async fn wait_thawed(&self) {
        loop {
            let seen = self.thawed.count();
            if self.frozen.borrow().is_none() {
                return;
            }
            self.thawed.wait_past(seen).await;
        }
    }

    /// Waits until everything before `position` is durable; `false` when fenced.
    pub(crate) async fn wait_durable(&self, position: u64) -> bool {
        self.sync_wanted.set(position.max(self.sync_wanted.get()));
        self.work.notify();
        self.written.notify();
        loop {
            let seen = self.progress.count();
            if self.log.borrow().durable() >= position {
                return true;
            }
            if self.fenced.borrow().is_some() {
                return false;
            }
            self.progress.wait_past(seen).await;
        }
    }

    /// Writes the full pages that are only in memory.
    async fn write_pages(&self) -> io::Result<()> {
        let dirty = self.pages.borrow_mut().dirty();
        let written = |page| self.pages.borrow_mut().written(page);
        self.page_files.write(&dirty, written).await?;
        add(&self.counters.pages_written, dirty.len() as u64);
        self.room.notify();
        Ok(())
    }

    async fn index_failed(&self, error: &io::Error) {
        if !will_pass(error) {
            return self.fence(FenceReason::Index {
                path: self.paths.shard.clone(),
                error: error.to_string(),
            });
        }
        let pause = Duration::from_millis(self.settings.no_space_retry_ms);
        first_of(self.closed.wait(), self.rt.sleep(pause)).await;
    }
}
