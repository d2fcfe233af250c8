//! Writing a checkpoint's file piece by piece, beside its name, which it takes when it is whole.
//!
//! Owned by the task that takes checkpoints. Invariant: the name means the old file or the new one,
//! each whole and durable; what a crash leaves of a file without a name is overwritten by the next.

use crate::fresh_file::fresh_file;
use crate::layout::ShardPaths;
use rt::{Disk, File, IoBuf};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

/// See the module.
pub(crate) struct CheckpointFile<D: Disk> {
    disk: D,
    file: D::File,
    beside: PathBuf,
    path: PathBuf,
    dir: PathBuf,
    written: u64,
    sum: crc32fast::Hasher,
    /// What comes next and is not written yet.
    pub(crate) waiting: Vec<u8>,
}

impl<D: Disk> CheckpointFile<D> {
    pub(crate) async fn create(disk: &D, paths: &ShardPaths, slot: u8) -> io::Result<Self> {
        let (path, beside) = (paths.checkpoint(slot), paths.checkpoint_beside(slot));
        Ok(Self {
            file: fresh_file(disk, &beside).await?,
            disk: disk.clone(),
            beside,
            path,
            dir: paths.shard.clone(),
            written: 0,
            sum: crc32fast::Hasher::new(),
            waiting: Vec::new(),
        })
    }

    /// Writes what waits, but for the rest that fills no step of the alignment.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        let len = self.waiting.len() - self.waiting.len() % self.file.alignment();
        self.sum.update(&self.waiting[..len]);
        self.write_first(len).await
    }

    /// Writes so many of the bytes that wait, filled up with zeros to the alignment.
    async fn write_first(&mut self, len: usize) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let padded = len.next_multiple_of(self.file.alignment());
        let mut buf = self.disk.alloc(padded);
        buf.as_bytes_mut()[..len].copy_from_slice(&self.waiting[..len]);
        self.file.write_at(Rc::new(buf), self.written).await?;
        self.waiting.drain(..len);
        self.written += len as u64;
        Ok(())
    }

    /// Writes the rest and the checksum, and gives the file its name, all of it durable. When that
    /// fails, or `filled` is an error, the file goes.
    pub(crate) async fn finish(mut self, filled: io::Result<()>) -> io::Result<()> {
        let finished = match filled {
            Ok(()) => self.finish_file().await,
            Err(error) => Err(error),
        };
        if finished.is_err() {
            // What cannot be removed now is removed before the next one.
            let _ = self.disk.remove(&self.beside).await;
        }
        finished
    }

    async fn finish_file(&mut self) -> io::Result<()> {
        self.sum.update(&self.waiting);
        let sum = self.sum.clone().finalize();
        self.waiting.extend(sum.to_le_bytes());
        self.write_first(self.waiting.len()).await?;
        self.file.truncate(self.written).await?;
        self.file.datasync().await?;
        self.disk.rename(&self.beside, &self.path).await?;
        self.disk.sync_dir(&self.dir).await
    }
}
