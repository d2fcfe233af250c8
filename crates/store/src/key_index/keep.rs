//! Keeping what was gathered: a full batch becomes a run once its part of the log is durable.
//!
//! Owned by the shard; a task of low priority. Invariant: no run covers log that a power cut could
//! take back; a batch leaves memory only when its run is durable.

use super::RunRef;
use super::batch::Batch;
use super::follow::Followed;
use super::keys::Entry;
use super::page::{RunHead, RunKey};
use super::run::RunWriter;
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use base::activity::{Activity, Busy};
use rt::Rt;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// Parts by the high bits of the hash, each sorted in one go.
const PARTS: usize = 64;
const RETRY_MS: u64 = 1_000;
/// Pieces of the log that a close reads for the index, at most, so that it ends soon.
const CLOSE_WINDOWS_MAX: u32 = 16;

/// Writes full batches until the store closes.
pub(crate) async fn keep_task<R: Rt>(inner: Rc<Inner<R>>) {
    while !inner.closing.get() && inner.fenced.borrow().is_none() {
        let (seen, progress) = (inner.keys.keep_wanted.count(), inner.progress.count());
        let to = inner.keys.full.borrow().as_ref().map(|batch| batch.to);
        let Some(to) = to else {
            inner.keys.keep_wanted.wait_past(seen).await;
            continue;
        };
        if inner.log.borrow().durable() < to {
            inner.progress.wait_past(progress).await;
            continue;
        }
        if let Err(error) = inner.keep_full_batch().await {
            tracing::error!(shard = %inner.settings.shard, %error, "a run of the key index was not written");
            let pause = inner.rt.sleep(Duration::from_millis(RETRY_MS));
            first_of(inner.closed.wait(), pause).await;
        }
    }
}

impl<R: Rt> Inner<R> {
    /// Writes the full batch as a run.
    async fn keep_full_batch(&self) -> io::Result<()> {
        let _busy = Busy::begin(Activity::Keys);
        let (head, parts) = {
            let mut full = self.keys.full.borrow_mut();
            let batch = full.as_mut().expect("only this task takes it away");
            (batch.head(), split(&mut batch.entries))
        };
        let mut writer = self.run_writer().await?;
        let written = self.write_full_batch(&mut writer, parts).await;
        let run = self.finish_run(writer, written.map(|()| head)).await?;
        self.keys.add_run(run);
        base::reached!(KeyRunWritten);
        self.keys.full.take();
        self.keys.moved.notify();
        self.keys.tend_wanted.notify();
        Ok(())
    }

    /// Queries look at the batch meanwhile, so its parts are sorted as copies.
    async fn write_full_batch(
        &self,
        writer: &mut RunWriter<R::Disk>,
        parts: Vec<Range<usize>>,
    ) -> io::Result<()> {
        for part in parts {
            let mut sorted = {
                let full = self.keys.full.borrow();
                let batch = full.as_ref().expect("only this task takes it away");
                batch.entries[part].to_vec()
            };
            sorted.sort_unstable_by_key(|entry| entry.order());
            self.write_entries(writer, &sorted).await?;
            self.rt.yield_now().await;
        }
        Ok(())
    }

    /// A run to write.
    pub(super) async fn run_writer(&self) -> io::Result<RunWriter<R::Disk>> {
        let key = RunKey {
            shard: self.settings.shard,
            secret: self.log.borrow().secret,
            number: self.keys.next_number(),
            mark: self.rt.random_u64() as u32,
        };
        RunWriter::create(self.rt.disk(), &self.paths, key).await
    }

    /// Writes a batch of its own as a run.
    pub(super) async fn write_batch(&self, batch: &mut Batch) -> io::Result<RunRef<R>> {
        let mut writer = self.run_writer().await?;
        let head = self.write_parts(&mut writer, batch).await;
        self.finish_run(writer, head).await
    }

    async fn write_parts(
        &self,
        writer: &mut RunWriter<R::Disk>,
        batch: &mut Batch,
    ) -> io::Result<RunHead> {
        for part in split(&mut batch.entries) {
            batch.entries[part.clone()].sort_unstable_by_key(|entry| entry.order());
            self.write_entries(writer, &batch.entries[part]).await?;
            self.rt.yield_now().await;
        }
        Ok(batch.head())
    }

    async fn write_entries(
        &self,
        writer: &mut RunWriter<R::Disk>,
        entries: &[Entry],
    ) -> io::Result<()> {
        for entry in entries {
            if writer.push(*entry) {
                let len = writer.write().await?;
                add(&self.counters.key_run_bytes, len);
            }
        }
        Ok(())
    }

    pub(super) async fn finish_run(
        &self,
        writer: RunWriter<R::Disk>,
        head: io::Result<RunHead>,
    ) -> io::Result<RunRef<R>> {
        let run = writer.finish(head).await?;
        add(&self.counters.key_runs_written, 1);
        Ok(Rc::new(run))
    }

    /// At the end, when everything is durable: writes what was gathered, so that the next start
    /// reads none of it again. Without effect where that fails; the log holds everything.
    pub(crate) async fn close_keys(&self) {
        if !self.keys.is_on() {
            return;
        }
        let mut windows = 0;
        loop {
            let done = match self.follow_in_memory(u64::MAX / 4) {
                Followed::ToEnd | Followed::More => break,
                Followed::NoRoom => self.keep_full_batch().await.is_ok(),
                Followed::OnDisk => {
                    windows += 1;
                    windows < CLOSE_WINDOWS_MAX && self.follow_on_disk().await.is_ok()
                }
            };
            if !done {
                break;
            }
        }
        let is_full = self.keys.full.borrow().is_some();
        if is_full && self.keep_full_batch().await.is_err() {
            return;
        }
        let mut batch = {
            let mut gathering = self.keys.gathering.borrow_mut();
            let next = Batch::new(gathering.to);
            std::mem::replace(&mut *gathering, next)
        };
        let is_durable = batch.to <= self.log.borrow().durable();
        if is_durable && !batch.entries.is_empty() {
            match self.write_batch(&mut batch).await {
                Ok(run) => return self.keys.add_run(run),
                Err(error) => {
                    tracing::warn!(shard = %self.settings.shard, %error, "the last keys are read again at the next start");
                }
            }
        }
        // Reads go on after the end.
        let mut gathering = self.keys.gathering.borrow_mut();
        if gathering.from == gathering.to && gathering.from == batch.to {
            *gathering = batch;
        }
    }
}

/// Brings entries into the order of the high bits of their hashes, and gives the parts. Entries of
/// one hash stay in one part.
fn split(entries: &mut [Entry]) -> Vec<Range<usize>> {
    let part = |entry: &Entry| entry.hash >> (64 - PARTS.ilog2());
    entries.sort_unstable_by_key(part);
    let mut parts = Vec::with_capacity(PARTS);
    let mut from = 0;
    for number in 0..PARTS as u64 {
        let to = from + entries[from..].partition_point(|entry| part(entry) <= number);
        parts.push(from..to);
        from = to;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_everything_and_each_sorted_gives_the_order() {
        let mut state = 7_u64;
        let mut entries: Vec<Entry> = (0..5_000_u64)
            .map(|i| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                Entry::new(state & !0xFF, 512, 600 + i, 512)
            })
            .collect();
        let mut expected = entries.clone();
        expected.sort_by_key(|entry| entry.order());
        let parts = split(&mut entries);
        assert_eq!(parts.len(), PARTS);
        for part in parts {
            entries[part].sort_unstable_by_key(|entry| entry.order());
        }
        assert!(entries == expected);
        assert_eq!(split(&mut []).len(), PARTS);
    }
}
