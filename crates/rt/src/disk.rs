//! Disk: aligned, direct file access in owned buffers, and the few directory operations.
//!
//! Owned by the shard that opened the file. What must hold: a completed write is *not* durable
//! until a later [`File::datasync`] succeeds; after a failed `datasync` nothing written since the
//! previous success may be trusted, and it must not be retried.

use std::io;
use std::path::Path;
use std::rc::Rc;

/// An aligned buffer for direct I/O, filled with zeros when allocated.
pub trait IoBuf: 'static {
    /// The whole buffer.
    fn as_bytes(&self) -> &[u8];
    /// The whole buffer, for filling.
    fn as_bytes_mut(&mut self) -> &mut [u8];
    /// Makes the buffer end after `len` bytes. The memory stays until the buffer is dropped.
    ///
    /// # Panics
    /// When `len` is above the present length.
    fn truncate(&mut self, len: usize);
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; fails when missing.
    Read,
    /// For reading and writing; fails when missing.
    ReadWrite,
    /// Made new and empty for reading and writing; fails when present.
    CreateNew,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last part of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length of a file in bytes; 0 for a directory.
    pub len: u64,
}

/// Room on the file system that holds a path, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// What is not used, including what is kept for root.
    pub free: u64,
    /// What an unprivileged process may still use.
    pub available: u64,
}

/// Files and directories of one shard.
pub trait Disk: Clone + 'static {
    /// An open file.
    type File: File<Buf = Self::Buf>;
    /// A buffer for direct I/O.
    type Buf: IoBuf;
    /// A file in memory that outlives the process.
    type Map: SharedMap;

    /// A zeroed buffer of `len` bytes, aligned for every file of this disk.
    fn alloc(&self, len: usize) -> Self::Buf;

    /// The same with `bytes` at its start; at most `len` of them.
    fn alloc_copy(&self, bytes: &[u8], len: usize) -> Self::Buf {
        let mut buf = self.alloc(len);
        buf.as_bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        buf
    }

    /// Opens a file for direct I/O.
    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File>;
    /// Makes a directory and its parents; done when it exists.
    async fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    async fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Removes a file.
    async fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file over whatever is at `to`.
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes names created, renamed or removed in a directory durable.
    async fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Reads a small file whole, through any cache; at most `len_max` bytes, else `InvalidData`.
    async fn read_small(&self, path: &Path, len_max: usize) -> io::Result<Vec<u8>>;
    /// Replaces a small file: written beside, synced, renamed, directory synced. After a crash
    /// the old or the new content is there, whole.
    async fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Maps a file of `len` bytes, which is made, cut or extended with zeros to that length. Its room
    /// is claimed, so that a store never finds the file system full; what it holds stays.
    async fn map_shared(&self, path: &Path, len: usize) -> io::Result<Self::Map>;
    /// Room on the file system of `path`.
    async fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file. Positions and lengths given to `write_at` are multiples of [`File::alignment`].
pub trait File: 'static {
    /// A buffer for direct I/O.
    type Buf: IoBuf;

    /// Alignment of positions, lengths and buffers, in bytes: a power of two from 512 to 4,096.
    fn alignment(&self) -> usize;
    /// Length of the file, in bytes.
    async fn size(&self) -> io::Result<u64>;
    /// Writes the whole buffer at `position`, extending the file when needed. The buffer may be
    /// read by others meanwhile. A write that comes back short is an error (`WriteZero`).
    async fn write_at(&self, buf: Rc<Self::Buf>, position: u64) -> io::Result<()>;
    /// Reads up to `len` bytes at `position`; shorter only at the end of the file. Neither needs
    /// to be aligned.
    async fn read_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Makes all completed writes durable.
    async fn datasync(&self) -> io::Result<()>;
    /// Reserves room up to `len` bytes without changing the file's length.
    async fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    async fn truncate(&self, len: u64) -> io::Result<()>;
    /// Closes the file; a failure here loses nothing that was synced.
    async fn close(self) -> io::Result<()>;
}

/// A mapped file. A store is a plain copy in memory: no system call, nothing to wait for. When the
/// process is killed at any instant, the file holds every store before that instant and none after.
/// After a power cut each page is as it was at some earlier moment, or a mixture of such moments,
/// unless a [`SharedMap::sync`] covered it.
pub trait SharedMap: 'static {
    /// Length of the file, in bytes.
    fn size(&self) -> usize;
    /// Copies `bytes` to `at`.
    ///
    /// # Panics
    /// When they do not fit in the file.
    fn store(&self, at: usize, bytes: &[u8]);
    /// Stores a little-endian word at `at`, a multiple of 8, in one piece. Whoever finds it in the
    /// file after a kill finds everything that was stored before it.
    ///
    /// # Panics
    /// When it does not fit in the file, or is not aligned.
    fn store_word(&self, at: usize, word: u64);
    /// The bytes at `at`.
    ///
    /// # Panics
    /// When they reach beyond the file.
    fn load(&self, at: usize, len: usize) -> Vec<u8>;
    /// Makes everything that was stored durable.
    async fn sync(&self) -> io::Result<()>;
}
