//! Segments that left the log: used again as the next one, or cut step by step and removed.
//!
//! Owned by the retention task and the task that zeroes ahead. Removing a large file at once keeps
//! the file system busy for long; so a file that is not used again gets shorter by steps first.
//! Invariants: a file gets another name before it is changed; a spare is as long as a segment.

use crate::segment::SegmentHeader;
use crate::stats::add;
use crate::store::Inner;
use rt::{Disk, File, IoBuf, OpenMode, Rt};
use std::io;
use std::path::Path;
use std::rc::Rc;

/// A file that was a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spare {
    /// Where the segment started; part of the file's name.
    pub(crate) start: u64,
    /// Its length, in bytes.
    pub(crate) len: u64,
}

impl<R: Rt> Inner<R> {
    /// Takes its name from the first segment. Its bytes stay as they are, so that reads go on.
    pub(super) async fn rename_to_spare(&self, start: u64) -> io::Result<()> {
        let disk = self.rt.disk();
        let (from, to) = (self.paths.segment(start), self.paths.spare(start));
        match disk.rename(&from, &to).await {
            // An earlier try may have come so far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(disk.open(&to, OpenMode::Read).await.map_err(|_| error)?);
            }
            other => other?,
        }
        disk.sync_dir(&self.paths.commit_log).await
    }

    /// The first segment, which is a spare by name already, may be changed from now on.
    pub(super) fn add_spare(&self, spare: Spare) {
        self.retention.spares.borrow_mut().push_back(spare);
    }

    /// A spare that can become a segment.
    pub(crate) fn take_spare(&self) -> Option<Spare> {
        let mut spares = self.retention.spares.borrow_mut();
        let whole = |spare: &Spare| spare.len == self.settings.segment_bytes;
        let index = spares.iter().position(whole)?;
        spares.remove(index)
    }

    pub(crate) fn has_spare(&self) -> bool {
        let spares = self.retention.spares.borrow();
        let whole = |spare: &Spare| spare.len == self.settings.segment_bytes;
        spares.iter().any(whole)
    }

    /// Makes a spare the segment that `header` describes. The name comes last: a file with a
    /// segment's name has the segment's header.
    pub(crate) async fn recycle(
        &self,
        spare: Spare,
        header: &SegmentHeader,
    ) -> io::Result<<R::Disk as Disk>::File> {
        let disk = self.rt.disk();
        let from = self.paths.spare(spare.start);
        let file = disk.open(&from, OpenMode::ReadWrite).await?;
        let len = file.size().await?;
        if len != self.settings.segment_bytes {
            let text = format!("{}: {len} bytes are no segment", from.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut buf = disk.alloc(self.settings.block_align);
        header.encode(buf.as_bytes_mut());
        file.write_at(Rc::new(buf), 0).await?;
        file.datasync().await?;
        disk.rename(&from, &self.paths.segment(header.start))
            .await?;
        disk.sync_dir(&self.paths.commit_log).await?;
        add(&self.counters.segments_recycled, 1);
        Ok(file)
    }

    /// Removes spares that will not be used again.
    pub(super) async fn cut_spares(&self) {
        while !self.closing.get() && self.fenced.borrow().is_none() {
            let Some(spare) = self.spare_too_many() else {
                return;
            };
            let path = self.paths.spare(spare.start);
            if let Err(error) = self.cut(&path, spare.len).await {
                // The next start finds it again.
                tracing::warn!(path = %path.display(), %error, "an old segment was not removed");
            }
        }
    }

    /// One that is too short, or the oldest when there are more than will be needed.
    fn spare_too_many(&self) -> Option<Spare> {
        let mut spares = self.retention.spares.borrow_mut();
        let short = |spare: &Spare| spare.len != self.settings.segment_bytes;
        let index = spares.iter().position(short);
        let kept = self.settings.segments_ahead.max(1);
        match index {
            Some(index) => spares.remove(index),
            None if spares.len() > kept => spares.pop_front(),
            None => None,
        }
    }

    /// Cuts a file by steps, so that no step keeps the file system busy for long, and removes it.
    async fn cut(&self, path: &Path, mut len: u64) -> io::Result<()> {
        let disk = self.rt.disk();
        let align = self.settings.block_align as u64;
        let step = self.settings.retention.cut_bytes.max(align);
        let file = disk.open(path, OpenMode::ReadWrite).await?;
        while len > step {
            len = (len - step) / align * align;
            file.truncate(len).await?;
            self.pause().await;
            if self.stops() {
                return Ok(());
            }
        }
        file.close().await?;
        disk.remove(path).await
    }
}
