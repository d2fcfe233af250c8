//! The history of this process: one writer that all threads share.
//!
//! The clock is read under the writer's lock, so that the file is in time order. Invariant: an
//! invocation is written before its request leaves, its end after the answer came.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use rmq_check::file::Writer;
use rmq_check::record::{Kind, Op, Record};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// Shared by every thread of the campaign.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    writer: Arc<Mutex<Writer>>,
    path: PathBuf,
    run: u64,
    next_proc: Arc<AtomicU16>,
}

impl Journal {
    pub(crate) fn create(path: &Path, run: u64) -> Result<Self> {
        Ok(Self {
            writer: Arc::new(Mutex::new(Writer::create(path, run)?)),
            path: path.to_owned(),
            run,
            next_proc: Arc::new(AtomicU16::new(1)),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// A number for a thread of its own.
    pub(crate) fn proc(&self) -> u16 {
        self.next_proc.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn string(&self, text: &str) -> Result<u16> {
        Ok(self.lock()?.string(text)?)
    }

    /// Writes one event at the present time.
    pub(crate) fn event(
        &self,
        op: Op,
        kind: Kind,
        mut fill: impl FnMut(&mut Record),
    ) -> Result<()> {
        self.batch(op, kind, 1, |_, record| fill(record))
    }

    /// Writes several events of one instant; `fill` gets the index of each.
    pub(crate) fn batch(
        &self,
        op: Op,
        kind: Kind,
        count: usize,
        mut fill: impl FnMut(usize, &mut Record),
    ) -> Result<()> {
        let mut writer = self.lock()?;
        let t_ns = now_ns()?;
        for index in 0..count {
            let mut record = Record::new(t_ns, op, kind);
            fill(index, &mut record);
            writer.append(&record)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&self) -> Result<()> {
        Ok(self.lock()?.flush()?)
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Writer>> {
        self.writer
            .lock()
            .map_err(|_| anyhow::anyhow!("a thread died while it wrote the history"))
    }
}

/// `CLOCK_MONOTONIC` in ns: the clock of Rust's `Instant` and of Java's `System.nanoTime` on Linux.
pub(crate) fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("the monotonic clock")?;
    Ok(now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned())
}
