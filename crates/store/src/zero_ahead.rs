//! Writes zeros ahead of the log, so that an acknowledgement never pays for a file that grows.
//!
//! Owned by the shard; a task of low priority. Invariant: a segment is used only when its header,
//! its zeros up to the frontier and its name are synced; a full disk, and a process that may open no
//! further file, are noticed here, before a log write could fail.

use crate::error::FenceReason;
use crate::retention::{Limit, Spare};
use crate::segment::{Segment, SegmentHeader};
use crate::stats::add;
use crate::store::Inner;
use crate::wait::first_of;
use base::activity::{Activity, Busy};
use rt::{Disk, File, IoBuf, OpenMode, Rt, Space};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const CHUNK_LEN: usize = 512 << 10;

/// Keeps the frontier ahead of the log until the store closes.
pub(crate) async fn zero_task<R: Rt>(inner: Rc<Inner<R>>) {
    while !inner.closing.get() && inner.fenced.borrow().is_none() {
        let seen = inner.zero_wanted.count();
        if !inner.wants_zeros() {
            inner.zero_wanted.wait_past(seen).await;
            continue;
        }
        while inner.can_zero_more() && !inner.closing.get() && inner.fenced.borrow().is_none() {
            match inner.zero_step().await {
                Ok(()) => {
                    if inner.no_space.take().is_some() {
                        base::reached!(SpaceCameBack);
                        inner.full.take();
                        tracing::info!(shard = %inner.settings.shard, "the log grows again");
                    }
                    inner.room.notify();
                }
                Err(error) if will_pass(&error) => {
                    inner.cannot_grow(&error).await;
                    break;
                }
                Err(error) => {
                    let position = inner.log.borrow().segments.frontier();
                    inner.fence(FenceReason::Prepare {
                        path: inner.paths.commit_log.clone(),
                        position,
                        error: error.to_string(),
                    });
                    return;
                }
            }
        }
    }
}

/// Whether the file system has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether the process, or the machine, has no file descriptor left. Nothing was opened then.
pub(crate) fn lacks_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Whether what failed was refused before anything was done, and may succeed later.
pub(crate) fn will_pass(error: &io::Error) -> bool {
    is_full(error) || lacks_files(error)
}

/// The numbers of Linux.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

impl<R: Rt> Inner<R> {
    /// Whether so little is zeroed that the task has to work.
    pub(crate) fn wants_zeros(&self) -> bool {
        let settings = &self.settings;
        let log = self.log.borrow();
        log.segments.frontier() < log.sealed() + settings.zero_low_bytes() && self.may_zero(&log)
    }

    fn can_zero_more(&self) -> bool {
        let log = self.log.borrow();
        log.segments.frontier() < log.sealed() + self.settings.zero_ahead_bytes
            && self.may_zero(&log)
    }

    /// Whether the limit of prepared segments allows more.
    fn may_zero(&self, log: &crate::commit_log::CommitLog<R::Disk>) -> bool {
        let Some(last) = log.segments.last() else {
            return true;
        };
        let ahead = last
            .start
            .saturating_sub(log.sealed())
            .div_ceil(self.settings.segment_bytes);
        // Where segments are short, the room that producers wait for comes before the limit.
        let is_needed = log.segments.frontier() < log.sealed() + self.room_kept();
        last.zeroed_to < last.end || ahead < self.settings.segments_ahead.max(1) as u64 || is_needed
    }

    async fn cannot_grow(&self, error: &io::Error) {
        self.note_full(error).await;
        self.room.notify();
        // What may go goes now.
        self.retention.wanted.notify();
        let pause = Duration::from_millis(self.settings.no_space_retry_ms);
        first_of(self.closed.wait(), self.rt.sleep(pause)).await;
    }

    /// Messages are refused once what is zeroed is used up.
    pub(crate) async fn note_full(&self, error: &io::Error) {
        let space = self.rt.disk().space(&self.paths.commit_log).await;
        let space = space.unwrap_or(Space {
            total: 0,
            free: 0,
            available: 0,
        });
        let needed = self.settings.zero_step_bytes;
        let limit = if lacks_files(error) {
            Limit::Files
        } else {
            Limit::Device { needed }
        };
        let shortage = self.shortage_of(space, limit);
        if self.no_space.borrow().is_none() {
            base::reached!(DiskFull);
            self.full.replace(Some(Busy::begin(Activity::Full)));
            tracing::warn!(shard = %self.settings.shard, %shortage, "the log cannot grow");
        }
        self.no_space.replace(Some(Arc::new(shortage)));
    }

    /// Zeroes one step more: the rest of the last segment, or the start of a new one.
    pub(crate) async fn zero_step(&self) -> io::Result<()> {
        let step = self.settings.zero_step_bytes;
        let last = {
            let log = self.log.borrow();
            let last = log.segments.last();
            last.map(|s| (Rc::clone(&s.file), s.start, s.zeroed_to, s.end))
        };
        let grows = last.as_ref().is_some_and(|(_, _, to, end)| to < end);
        if grows || !self.has_spare() {
            let space = self.rt.disk().space(&self.paths.commit_log).await?;
            if space.available < step {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        match last {
            Some((file, start, from, end)) if from < end => {
                let to = (from + step).min(end);
                self.zero(&file, from - start, to - start).await?;
                self.may_sync()?;
                file.datasync().await?;
                let mut log = self.log.borrow_mut();
                let segment = log.segments.last_mut().expect("it was there");
                assert_eq!(segment.zeroed_to, from, "one task zeroes");
                segment.zeroed_to = to;
                Ok(())
            }
            other => {
                let start = other.map_or(self.first_start, |(_, _, _, end)| end);
                let made = match self.take_spare() {
                    Some(spare) => self.recycled_segment(start, spare).await,
                    None => self.new_segment(start).await,
                };
                if made.is_err() {
                    // Nothing of it was used; what is left would only take room.
                    let _ = self.rt.disk().remove(&self.paths.segment(start)).await;
                }
                self.log.borrow_mut().segments.push(made?);
                Ok(())
            }
        }
    }

    async fn new_segment(&self, start: u64) -> io::Result<Segment<<R::Disk as Disk>::File>> {
        let (disk, settings) = (self.rt.disk(), &self.settings);
        let path = self.paths.segment(start);
        let file = disk.open(&path, OpenMode::CreateNew).await?;
        if !settings.block_align.is_multiple_of(file.alignment()) {
            let (wants, made) = (file.alignment(), settings.block_align);
            let text = format!("the device wants writes aligned to {wants} bytes, not {made}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let header = self.next_header(start);
        let mut buf = disk.alloc(settings.block_align);
        header.encode(buf.as_bytes_mut());
        file.write_at(Rc::new(buf), 0).await?;
        let first = settings.block_align as u64;
        let to = settings.zero_step_bytes.min(settings.segment_bytes);
        self.zero(&file, first, to).await?;
        self.may_sync()?;
        file.datasync().await?;
        if !base::bug!(SegmentNameNotSynced) {
            disk.sync_dir(&self.paths.commit_log).await?;
        }
        Ok(Segment {
            start,
            end: start + settings.segment_bytes,
            generation: header.generation,
            file: Rc::new(file),
            zeroed_to: start + to,
        })
    }

    /// A segment whose file was another one. All of its blocks exist on the device, so that all of
    /// it may be written at once; the old blocks count no more.
    async fn recycled_segment(
        &self,
        start: u64,
        spare: Spare,
    ) -> io::Result<Segment<<R::Disk as Disk>::File>> {
        let header = self.next_header(start);
        let is_new = |segment: &Segment<_>| segment.generation < header.generation;
        base::always!(
            GenerationIsNew,
            self.log.borrow().segments.iter().all(is_new)
        );
        let file = self.recycle(spare, &header).await?;
        base::reached!(SegmentReused);
        let end = start + self.settings.segment_bytes;
        Ok(Segment {
            start,
            end,
            generation: header.generation,
            file: Rc::new(file),
            zeroed_to: end,
        })
    }

    fn next_header(&self, start: u64) -> SegmentHeader {
        let settings = &self.settings;
        let generation = self.next_generation.replace(self.next_generation.get() + 1);
        SegmentHeader {
            shard: settings.shard,
            generation,
            secret: self.log.borrow().secret,
            start,
            segment_bytes: settings.segment_bytes,
            block_align: settings.block_align as u32,
        }
    }

    /// Writes zeros, giving way to everybody else after each chunk.
    async fn zero(&self, file: &<R::Disk as Disk>::File, mut from: u64, to: u64) -> io::Result<()> {
        let disk = self.rt.disk();
        let mut zeros = None;
        while from < to {
            self.may_sync()?;
            let len = (to - from).min(CHUNK_LEN as u64) as usize;
            let buf = match zeros.take() {
                Some(buf) if len == CHUNK_LEN => buf,
                _ => Rc::new(disk.alloc(len)),
            };
            file.write_at(Rc::clone(&buf), from).await?;
            add(&self.counters.zeroed_bytes, len as u64);
            from += len as u64;
            zeros = Some(buf);
            self.rt.yield_now().await;
        }
        Ok(())
    }

    /// Nothing more is written or synced once the shard is fenced.
    fn may_sync(&self) -> io::Result<()> {
        match self.fenced.borrow().as_ref() {
            Some(reason) => Err(io::Error::other(reason.to_string())),
            None => Ok(()),
        }
    }
}
