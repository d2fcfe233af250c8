//! Tending runs: removing those of removed log and cutting the oldest, merging, and making again what
//! is missing or damaged.
//!
//! Owned by the shard; a task of low priority that reads the log no faster than it may. Invariant: a
//! run is removed only when all of its log is gone, when a merged run covers it, or when it is
//! damaged; what no run covers is read from the log again, newest part first.

use super::RunRef;
use super::batch::Batch;
use super::merge::{Size, choose};
use super::run::{PageError, Run};
use super::{FileOf, batch_entries_max};
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use rt::{Disk, Rt};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

const RETRY_MS: u64 = 1_000;
/// A merged run covers at most this part of the log.
const SPAN_PARTS: u64 = 8;
/// Between two lines about progress, in microseconds.
const SAY_EVERY_US: u64 = 5_000_000;

/// Tends the runs until the store closes.
pub(crate) async fn tend_task<R: Rt>(inner: Rc<Inner<R>>) {
    let mut rebuild = Rebuild::default();
    while !inner.closing.get() && inner.fenced.borrow().is_none() {
        let seen = inner.keys.tend_wanted.count();
        inner.remove_dead_runs().await;
        let done = if let Some(inputs) = inner.runs_to_merge() {
            inner.merge_runs(&inputs).await.map(|()| true)
        } else if let Some(input) = inner.run_to_cut() {
            inner.merge_runs(&[input]).await.map(|()| true)
        } else if let Some(gap) = inner.newest_gap() {
            inner.index_gap(gap, &mut rebuild).await.map(|()| true)
        } else {
            rebuild.say_end(&inner);
            Ok(false)
        };
        match done {
            Ok(true) => {}
            Ok(false) => inner.keys.tend_wanted.wait_past(seen).await,
            Err(error) => {
                tracing::error!(shard = %inner.settings.shard, %error, "the key index cannot be tended now");
                let pause = inner.rt.sleep(Duration::from_millis(RETRY_MS));
                first_of(inner.closed.wait(), pause).await;
            }
        }
    }
}

/// How far the work on missing parts has come.
#[derive(Default)]
struct Rebuild {
    is_told: bool,
    read_bytes: u64,
    said_us: u64,
}

impl Rebuild {
    fn say<R: Rt>(&mut self, inner: &Inner<R>, more: u64) {
        self.read_bytes += more;
        let now_us = inner.rt.monotonic_us();
        if self.is_told && now_us < self.said_us + SAY_EVERY_US {
            return;
        }
        (self.is_told, self.said_us) = (true, now_us);
        let left: u64 = inner.key_gaps().iter().map(|gap| gap.end - gap.start).sum();
        tracing::info!(
            shard = %inner.settings.shard,
            read_bytes = self.read_bytes,
            left_bytes = left,
            "making the key index again from the log; queries by key may miss older messages until then"
        );
    }

    fn say_end<R: Rt>(&mut self, inner: &Inner<R>) {
        if std::mem::take(&mut self.is_told) {
            tracing::info!(
                shard = %inner.settings.shard,
                read_bytes = self.read_bytes,
                "the key index is whole again"
            );
        }
        self.read_bytes = 0;
    }
}

impl<R: Rt> Inner<R> {
    /// Parts of the log that neither a run nor a batch covers, oldest first.
    pub(crate) fn key_gaps(&self) -> Vec<Range<u64>> {
        if !self.keys.is_on() {
            return Vec::new();
        }
        let start = self.log.borrow().segments.start();
        let end = match self.keys.full.borrow().as_ref() {
            Some(full) => full.from,
            None => self.keys.gathering.borrow().from,
        };
        let runs = self.keys.runs.borrow();
        let good = runs.iter().filter(|run| !run.is_damaged.get());
        let mut gaps = Vec::new();
        let mut position = start;
        for run in good {
            // Between the end of a segment and its successor's first block lies no message.
            if self.settle(position) < run.head.from {
                gaps.push(position..run.head.from);
            }
            position = position.max(run.head.to);
        }
        if self.settle(position) < end {
            gaps.push(position..end);
        }
        gaps
    }

    fn newest_gap(&self) -> Option<Range<u64>> {
        self.key_gaps().pop()
    }

    /// Notes that a run cannot be used; the task removes it and reads its part of the log again.
    pub(super) fn damaged_run(&self, run: &Run<FileOf<R>>, error: &PageError) {
        if !run.is_damaged.replace(true) {
            add(&self.counters.damaged, 1);
            tracing::error!(
                shard = %self.settings.shard,
                path = %run.path.display(),
                from = run.head.from,
                to = run.head.to,
                %error,
                "damaged run of the key index, made again from the log"
            );
        }
        self.keys.tend_wanted.notify();
    }

    /// Removes runs that are damaged and runs whose part of the log is gone.
    async fn remove_dead_runs(&self) {
        let start = self.log.borrow().segments.start();
        let is_dead = |run: &RunRef<R>| run.is_damaged.get() || run.head.to <= start;
        let dead: Vec<_> = {
            let mut runs = self.keys.runs.borrow_mut();
            runs.extract_if(.., |run| is_dead(run)).collect()
        };
        for run in dead {
            self.remove_run_file(&run).await;
        }
    }

    pub(super) async fn remove_run_file(&self, run: &Run<FileOf<R>>) {
        match self.rt.disk().remove(&run.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // The next start finds it and tries again.
                tracing::warn!(path = %run.path.display(), %error, "a run of the key index stays");
            }
            _ => {}
        }
    }

    fn runs_to_merge(&self) -> Option<Vec<RunRef<R>>> {
        let runs = self.keys.runs.borrow();
        let size = |run: &RunRef<R>| Size {
            from: run.head.from,
            to: run.head.to,
            entries: run.head.entries,
        };
        let sizes: Vec<_> = runs.iter().map(size).collect();
        let log = self.log.borrow();
        let span = (log.written() - log.segments.start()) / SPAN_PARTS;
        let span_max = span.max(16 * self.settings.checkpoint_bytes);
        let chosen = choose(&sizes, batch_entries_max(&self.settings) as u64, span_max)?;
        Some(runs[chosen].to_vec())
    }

    /// The oldest run, when the log has lost most of what it covers: it is written again without that.
    fn run_to_cut(&self) -> Option<RunRef<R>> {
        let start = self.log.borrow().segments.start();
        let runs = self.keys.runs.borrow();
        let oldest = runs.first()?;
        let (from, to) = (oldest.head.from, oldest.head.to);
        let is_mostly_gone = start.saturating_sub(from) > to.saturating_sub(start);
        (is_mostly_gone && oldest.head.pages() > 1).then(|| Rc::clone(oldest))
    }

    /// Reads a part of the log that nothing covers and writes a run for the beginning of it, as long
    /// as a batch takes.
    async fn index_gap(&self, gap: Range<u64>, rebuild: &mut Rebuild) -> io::Result<()> {
        let mut batch = Batch::new(gap.start);
        let align = self.settings.block_align;
        rebuild.say(self, 0);
        while batch.to < gap.end && !self.is_full_batch(&batch) {
            if self.closing.get() {
                return Ok(());
            }
            let (start, secret) = {
                let log = self.log.borrow();
                (log.segments.start(), log.secret)
            };
            let from = batch.to.max(start);
            if from >= gap.end {
                return Ok(());
            }
            let window = self
                .read_window(from, gap.end)
                .await
                .map_err(io::Error::other)?;
            let before = batch.entries.len();
            let next = self.each_block(&window, |block, payload, next| {
                batch.add_block(block, payload, next, secret, align);
            });
            add(&self.counters.keys, (batch.entries.len() - before) as u64);
            batch.to = next;
            rebuild.say(self, next - from);
            self.pace_rebuild(next - from).await;
        }
        batch.to = batch.to.min(gap.end);
        let run = self.write_batch(&mut batch).await?;
        self.keys.add_run(run);
        Ok(())
    }

    /// Waits as long as reading so many bytes may take at least.
    async fn pace_rebuild(&self, bytes: u64) {
        let us = bytes.saturating_mul(1_000_000) / self.settings.key_rebuild_rate.max(1);
        let pause = self.rt.sleep(Duration::from_micros(us));
        first_of(self.closed.wait(), pause).await;
    }
}
