//! The disk of one shard: `rt::Disk` over the host's simulated file system.
//!
//! Owned by one life of a shard. An operation, once started, is carried out at its time whether or
//! not somebody still waits for it, as the kernel does; a crash in between leaves it to
//! the file system's draw. Operations of a shard that has crashed never complete.

use crate::faults::{DiskOp, Fault};
use crate::file_system::{FileSystem, InodeId, eio};
use crate::world::Life;
use rt::{DirEntry, Disk, File, IoBuf, OpenMode, SharedMap, Space};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A disk of the simulation.
#[derive(Clone)]
pub struct SimDisk {
    life: Life,
    files: Rc<FileSystem>,
}

/// An aligned buffer, zeroed when allocated.
#[derive(Debug, Clone)]
pub struct SimBuf {
    bytes: Vec<u8>,
}

impl IoBuf for SimBuf {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn truncate(&mut self, len: usize) {
        assert!(len <= self.bytes.len(), "a buffer cannot grow");
        self.bytes.truncate(len);
    }
}

/// An open file of the simulation.
pub struct SimFile {
    disk: SimDisk,
    id: InodeId,
    path: PathBuf,
    writable: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if self.disk.life.is_current() {
            self.disk.files.close(self.id);
        }
    }
}

impl SimDisk {
    pub(crate) fn new(life: Life, files: Rc<FileSystem>) -> Self {
        Self { life, files }
    }

    /// Waits as long as the operation takes, then does it.
    async fn perform<T: 'static>(
        &self,
        op: DiskOp,
        path: &Path,
        act: impl FnOnce(&FileSystem, Option<Fault>) -> Result<T> + 'static,
    ) -> Result<T> {
        let (delay_ns, fault) = self.files.begin(op, path);
        self.perform_in(delay_ns, move |files| act(files, fault))
            .await
    }

    async fn perform_in<T: 'static>(
        &self,
        delay_ns: u64,
        act: impl FnOnce(&FileSystem) -> T + 'static,
    ) -> T {
        let files = Rc::clone(&self.files);
        self.life.perform(delay_ns, move || act(&files)).await
    }

    async fn meta<T: 'static>(
        &self,
        path: &Path,
        act: impl FnOnce(&FileSystem) -> Result<T> + 'static,
    ) -> Result<T> {
        self.perform(DiskOp::Meta, path, |files, fault| {
            fail_on(fault)?;
            act(files)
        })
        .await
    }

    fn handle(&self, id: InodeId, path: &Path, mode: OpenMode) -> SimFile {
        SimFile {
            disk: self.clone(),
            id,
            path: path.to_owned(),
            writable: mode != OpenMode::Read,
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Buf = SimBuf;
    type Map = SimMap;

    fn alloc(&self, len: usize) -> SimBuf {
        SimBuf {
            bytes: vec![0; len],
        }
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> Result<SimFile> {
        let owned = path.to_owned();
        let id = self
            .meta(path, move |files| files.open(&owned, mode))
            .await?;
        Ok(self.handle(id, path, mode))
    }

    async fn create_dir_all(&self, path: &Path) -> Result<()> {
        let owned = path.to_owned();
        self.meta(path, move |files| files.create_dir_all(&owned))
            .await
    }

    async fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let owned = path.to_owned();
        self.meta(path, move |files| files.list(&owned)).await
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        let owned = path.to_owned();
        self.meta(path, move |files| files.remove(&owned)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (owned, to) = (from.to_owned(), to.to_owned());
        self.meta(from, move |files| files.rename(&owned, &to))
            .await
    }

    async fn sync_dir(&self, path: &Path) -> Result<()> {
        let watermark = self.files.names_watermark();
        let owned = path.to_owned();
        self.meta(path, move |files| files.finish_sync_dir(&owned, watermark))
            .await
    }

    async fn read_small(&self, path: &Path, len_max: usize) -> Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read).await?;
        if file.size().await? > len_max as u64 {
            return Err(Error::from(ErrorKind::InvalidData));
        }
        file.read_at(0, len_max).await
    }

    async fn write_atomic(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let beside = path.with_file_name(name);
        match self.remove(&beside).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.open(&beside, OpenMode::CreateNew).await?;
        file.write_unaligned(bytes, 0).await?;
        file.datasync().await?;
        file.close().await?;
        self.rename(&beside, path).await?;
        self.sync_dir(path.parent().unwrap_or(Path::new("/"))).await
    }

    async fn map_shared(&self, path: &Path, len: usize) -> Result<SimMap> {
        let owned = path.to_owned();
        let id = self
            .meta(path, move |files| files.open_map(&owned, len as u64))
            .await?;
        let file = self.handle(id, path, OpenMode::ReadWrite);
        Ok(SimMap { file, len })
    }

    async fn space(&self, path: &Path) -> Result<Space> {
        self.meta(path, |files| Ok(files.space())).await
    }
}

impl SimFile {
    async fn write_unaligned(&self, bytes: &[u8], position: u64) -> Result<()> {
        if !self.writable {
            return Err(Error::from(ErrorKind::PermissionDenied));
        }
        let (delay_ns, fault) = self.disk.files.begin(DiskOp::Write, &self.path);
        self.disk
            .life
            .trace(&[self.id as u64, position, bytes.len() as u64]);
        if !self.disk.life.is_current() {
            return std::future::pending().await;
        }
        let ticket = self
            .disk
            .files
            .begin_write(self.id, position, bytes, fault)?;
        self.disk
            .perform_in(delay_ns, move |files| files.finish_write(&ticket))
            .await
    }
}

impl File for SimFile {
    type Buf = SimBuf;

    fn alignment(&self) -> usize {
        self.disk.files.alignment()
    }

    async fn size(&self) -> Result<u64> {
        self.disk.files.size(self.id)
    }

    async fn write_at(&self, buf: Rc<SimBuf>, position: u64) -> Result<()> {
        let alignment = self.alignment();
        let aligned =
            position.is_multiple_of(alignment as u64) && buf.bytes.len().is_multiple_of(alignment);
        if !aligned {
            return Err(Error::from(ErrorKind::InvalidInput));
        }
        self.write_unaligned(&buf.bytes, position).await
    }

    async fn read_at(&self, position: u64, len: usize) -> Result<Vec<u8>> {
        let id = self.id;
        self.disk
            .perform(DiskOp::Read, &self.path, move |files, fault| {
                fail_on(fault)?;
                files.read(id, position, len)
            })
            .await
    }

    async fn datasync(&self) -> Result<()> {
        let id = self.id;
        let mark = self.disk.files.sync_mark(id)?;
        self.disk.life.trace(&[id as u64, mark.watermark]);
        self.disk
            .perform(DiskOp::Sync, &self.path, move |files, fault| {
                files.finish_sync(id, mark, fault)
            })
            .await
    }

    async fn allocate(&self, len: u64) -> Result<()> {
        let id = self.id;
        self.disk
            .meta(&self.path, move |files| files.allocate(id, len))
            .await
    }

    async fn truncate(&self, len: u64) -> Result<()> {
        let id = self.id;
        self.disk
            .meta(&self.path, move |files| files.truncate(id, len))
            .await
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

/// A mapped file of the simulation. Stores take no time; those of an earlier life do nothing.
pub struct SimMap {
    file: SimFile,
    len: usize,
}

impl SharedMap for SimMap {
    fn size(&self) -> usize {
        self.len
    }

    fn store(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.len && bytes.len() <= self.len - at);
        if self.file.disk.life.is_current() {
            self.file.disk.files.store(self.file.id, at, bytes);
        }
    }

    fn store_word(&self, at: usize, word: u64) {
        assert!(at.is_multiple_of(8), "a word is aligned");
        self.store(at, &word.to_le_bytes());
    }

    fn load(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at <= self.len && len <= self.len - at);
        let read = self.file.disk.files.read(self.file.id, at as u64, len);
        read.unwrap_or_default()
    }

    async fn sync(&self) -> Result<()> {
        let file = &self.file;
        let (pages, mark) = file.disk.files.mapped(file.id)?;
        let id = file.id;
        file.disk
            .perform(DiskOp::Sync, &file.path, move |files, fault| {
                fail_on(fault)?;
                files.finish_map_sync(id, &pages, mark)
            })
            .await
    }
}

/// The number of Linux: too many open files.
const EMFILE: i32 = 24;

fn fail_on(fault: Option<Fault>) -> Result<()> {
    match fault {
        None => Ok(()),
        Some(Fault::Enospc) => Err(Error::from(ErrorKind::StorageFull)),
        Some(Fault::Emfile) => Err(Error::from_raw_os_error(EMFILE)),
        Some(_) => Err(eio()),
    }
}
