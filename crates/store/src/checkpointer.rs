//! Takes checkpoints: after so many bytes of log, and when the store closes.
//!
//! Owned by the shard; a task of low priority. The order is the argument: state is copied at a
//! block boundary, the log up to there becomes durable, then the pages that the copy names, then
//! the file. Invariant: a checkpoint on disk never names anything that is not on disk.

use crate::checkpoint::{CheckpointHead, CheckpointWriter};
use crate::error::FenceReason;
use crate::record::RecordKind;
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use crate::zero_ahead::is_full;
use base::activity::{Activity, Busy};
use rt::{Disk, Rt};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Full pages that wait in memory before they are written between checkpoints.
const DIRTY_PAGES_MAX: usize = 64;

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
        let (position, writer, start) = self.copy_state();
        if !self.wait_durable(position).await {
            return Ok(());
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
            return Ok(());
        }
        let sequence = self.checkpoint_sequence.get();
        let path = self.paths.checkpoint((sequence % 2) as u8);
        let given_back = self.pages.borrow_mut().checkpoint_begins();
        base::always!(CheckpointIsDurable, position <= self.log.borrow().durable());
        base::always!(
            CheckpointAdvances,
            position >= self.checkpoint_position.get()
        );
        let written = self
            .rt
            .disk()
            .write_atomic(&path, &writer.finish(&records))
            .await;
        if let Err(error) = written {
            // They count as given back after this checkpoint, which is only later than need be.
            self.pages.borrow_mut().checkpoint_failed(given_back);
            return Err(error);
        }
        self.pages.borrow_mut().checkpoint_done(given_back);
        self.checkpoint_sequence.set(sequence + 1);
        let owed = self.checkpoints_owed.get();
        self.checkpoints_owed.set(owed.saturating_sub(1));
        self.checkpoint_position.set(position);
        self.retention
            .checkpoint_done((sequence % 2) as usize, position);
        add(&self.counters.checkpoints, 1);
        Ok(())
    }

    /// Copies the state of all queues as of a block boundary, in one go. Gives that position and
    /// where the log starts.
    fn copy_state(&self) -> (u64, CheckpointWriter, u64) {
        let mut log = self.log.borrow_mut();
        log.seal(self.rt.now_ms());
        let position = log.sealed();
        let mut writer = CheckpointWriter::new(&CheckpointHead {
            shard: self.settings.shard,
            sequence: self.checkpoint_sequence.get(),
            position,
            durable: position,
            secret: log.secret,
            window: log.window(),
        });
        self.queues
            .borrow()
            .iter()
            .filter(|q| q.next > 0)
            .for_each(|q| writer.queue(q));
        (position, writer, log.segments.start())
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
        if !is_full(error) {
            return self.fence(FenceReason::Index {
                path: self.paths.shard.clone(),
                error: error.to_string(),
            });
        }
        let pause = Duration::from_millis(self.settings.no_space_retry_ms);
        first_of(self.closed.wait(), self.rt.sleep(pause)).await;
    }
}
