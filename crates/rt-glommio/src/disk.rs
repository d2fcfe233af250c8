//! Files by direct I/O on the rings; directory operations on a small pool of blocking threads.
//!
//! Owned by the shard that opened them. Log writing is done by the store on plain positioned
//! writes: glommio's stream writer rewrites its whole buffer at each sync. Invariant: every glommio
//! future is awaited behind `once::shielded`, and no operation is cancelled.

use crate::buf::GlommioBuf;
use crate::error::plain;
use crate::file_system::holds_up_submission;
use crate::map::GlommioMap;
use crate::once::shielded;
use crate::probe;
use glommio::io::{DmaFile, OpenOptions};
use glommio::sync::{Permit, Semaphore};
use rt::{DirEntry, Disk, File, IoBuf, OpenMode, Space};
use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The files and directories of one shard.
#[derive(Debug, Clone, Default)]
pub struct GlommioDisk(Rc<Probed>);

/// What this executor has learned about devices. glommio keeps its own view per thread too.
#[derive(Debug, Default)]
struct Probed {
    of_device: RefCell<Vec<(u64, Device)>>,
    in_dir: RefCell<Vec<(PathBuf, Device)>>,
}

/// What counts about the device of a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device {
    /// What positions and lengths of direct I/O must be multiples of, bytes.
    pub(crate) alignment: usize,
    /// See `file_system`: changes of one file go one at a time.
    holds_up_submission: bool,
}

/// An open file. glommio stats a file by the path it was opened with, so its length is asked of
/// the descriptor here: after a rename the path may mean another file.
#[derive(Debug)]
pub struct GlommioFile {
    file: DmaFile,
    alignment: usize,
    /// One permit, where changes of a file go one at a time.
    turn: Option<Semaphore>,
}

impl GlommioDisk {
    /// Has this executor open a file with content on the device of `dir` before any other, and
    /// tells what counts there. See `probe`.
    pub(crate) async fn probe(&self, dir: &Path) -> io::Result<Device> {
        if let Some(device) = self.0.known_in(dir) {
            return Ok(device);
        }
        let owned = dir.to_owned();
        let number = blocking(move || Ok(fs::metadata(owned)?.dev())).await?;
        let device = self.probe_device(number, dir).await?;
        let mut known = self.0.in_dir.borrow_mut();
        known.push((dir.to_owned(), device));
        Ok(device)
    }

    async fn probe_device(&self, number: u64, dir: &Path) -> io::Result<Device> {
        if let Some(device) = self.0.known_of(number) {
            return Ok(device);
        }
        let path = probe::file_name(dir);
        let (owned, written) = (dir.to_owned(), path.clone());
        let holds_up_submission = blocking(move || {
            probe::write(&written)?;
            holds_up_submission(&owned)
        })
        .await?;
        let alignment = shielded(probe::open(&path)).await;
        blocking(move || fs::remove_file(path)).await?;
        let device = Device {
            alignment: alignment?,
            holds_up_submission,
        };
        self.0.of_device.borrow_mut().push((number, device));
        Ok(device)
    }
}

impl Probed {
    fn known_in(&self, dir: &Path) -> Option<Device> {
        let known = self.in_dir.borrow();
        known
            .iter()
            .find(|(d, _)| d == dir)
            .map(|(_, known)| *known)
    }

    fn known_of(&self, number: u64) -> Option<Device> {
        let known = self.of_device.borrow();
        known
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, known)| *known)
    }
}

impl GlommioFile {
    /// Waits until no other change of this file is under way, where that matters.
    async fn turn(&self) -> io::Result<Option<Permit<'_>>> {
        match &self.turn {
            Some(turn) => Ok(Some(shielded(turn.acquire_permit(1)).await.map_err(plain)?)),
            None => Ok(None),
        }
    }
}

impl Disk for GlommioDisk {
    type File = GlommioFile;
    type Buf = GlommioBuf;
    type Map = GlommioMap;

    fn alloc(&self, len: usize) -> GlommioBuf {
        GlommioBuf::zeroed(len)
    }

    fn alloc_copy(&self, bytes: &[u8], len: usize) -> GlommioBuf {
        GlommioBuf::starting_with(bytes, len)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<GlommioFile> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let probed = match self.probe(dir).await {
            // A directory that cannot be written may still be read from.
            Err(_) if mode == OpenMode::Read => None,
            probed => Some(probed?),
        };
        let holds_up_submission = probed.is_none_or(|device| device.holds_up_submission);
        if holds_up_submission && mode != OpenMode::CreateNew {
            // A ring may open a known file inside the submission, too: first see that it answers.
            let path = path.to_owned();
            blocking(move || fs::File::open(path).map(drop)).await?;
        }
        let mut options = OpenOptions::new();
        options.read(true).mode(0o644);
        options.write(mode != OpenMode::Read);
        options.create_new(mode == OpenMode::CreateNew);
        let file = shielded(options.dma_open(path)).await.map_err(plain)?;
        let believed = (file.alignment() as usize).clamp(512, 4_096);
        Ok(GlommioFile {
            alignment: probed.map_or(believed, |device| device.alignment),
            file,
            turn: holds_up_submission.then(|| Semaphore::new(1)),
        })
    }

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || fs::create_dir_all(path)).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = path.to_owned();
        blocking(move || {
            let mut names = fs::read_dir(path)?
                .map(|entry| {
                    let entry = entry?;
                    let metadata = entry.metadata()?;
                    let is_dir = metadata.is_dir();
                    Ok(DirEntry {
                        name: entry.file_name().to_string_lossy().into_owned(),
                        is_dir,
                        len: if is_dir { 0 } else { metadata.len() },
                    })
                })
                .collect::<io::Result<Vec<_>>>()?;
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || fs::remove_file(path)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        blocking(move || fs::rename(from, to)).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || sync_dir(&path)).await
    }

    async fn read_small(&self, path: &Path, len_max: usize) -> io::Result<Vec<u8>> {
        let path = path.to_owned();
        blocking(move || {
            let mut bytes = Vec::new();
            let file = fs::File::open(&path)?;
            file.take(len_max as u64 + 1).read_to_end(&mut bytes)?;
            if bytes.len() > len_max {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("{} is longer than {len_max} bytes", path.display()),
                ));
            }
            Ok(bytes)
        })
        .await
    }

    async fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (path, bytes) = (path.to_owned(), bytes.to_owned());
        blocking(move || {
            let mut beside = path.clone().into_os_string();
            beside.push(".new");
            let mut file = fs::File::create(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            match path.parent() {
                Some(dir) if !dir.as_os_str().is_empty() => sync_dir(dir),
                _ => sync_dir(Path::new(".")),
            }
        })
        .await
    }

    async fn map_shared(&self, path: &Path, len: usize) -> io::Result<GlommioMap> {
        let path = path.to_owned();
        blocking(move || GlommioMap::open(&path, len)).await
    }

    async fn space(&self, path: &Path) -> io::Result<Space> {
        let path = path.to_owned();
        blocking(move || {
            let stat = nix::sys::statvfs::statvfs(&path)?;
            Ok(Space {
                total: stat.blocks() * stat.fragment_size(),
                free: stat.blocks_free() * stat.fragment_size(),
                available: stat.blocks_available() * stat.fragment_size(),
            })
        })
        .await
    }
}

impl File for GlommioFile {
    type Buf = GlommioBuf;

    fn alignment(&self) -> usize {
        self.alignment
    }

    async fn size(&self) -> io::Result<u64> {
        // A disk that stands still must not hold up the executor, so not even this is asked on it.
        let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        blocking(move || Ok(fs::metadata(descriptor)?.len())).await
    }

    async fn write_at(&self, buf: Rc<GlommioBuf>, position: u64) -> io::Result<()> {
        let len = buf.as_bytes().len();
        let mask = self.alignment - 1;
        assert!(
            len & mask == 0 && position as usize & mask == 0,
            "direct writes are aligned: {len} bytes at {position}",
        );
        let _turn = self.turn().await?;
        let shared = Rc::clone(&buf.0);
        let written = shielded(self.file.write_rc_at(shared, position))
            .await
            .map_err(plain)?;
        if written != len {
            return Err(io::Error::new(
                ErrorKind::WriteZero,
                format!("{written} of {len} bytes were written at {position}"),
            ));
        }
        Ok(())
    }

    async fn read_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let mask = self.alignment as u64 - 1;
        let end = (position + len as u64 + mask) & !mask;
        let mut at = position & !mask;
        let mut skip = (position - at) as usize;
        let mut bytes = Vec::new();
        // glommio's unaligned read may hand out bytes behind the end of the file, so alignment is
        // done here, and a short read in the middle of a file is continued.
        while bytes.len() < len {
            let part = shielded(self.file.read_at_aligned(at, (end - at) as usize))
                .await
                .map_err(plain)?;
            let wanted = part.len().min(skip + len - bytes.len());
            bytes.extend_from_slice(part.get(skip..wanted).unwrap_or_default());
            at += part.len() as u64;
            if part.is_empty() || part.len() as u64 & mask != 0 {
                break;
            }
            skip = skip.saturating_sub(part.len());
        }
        Ok(bytes)
    }

    async fn datasync(&self) -> io::Result<()> {
        let _turn = self.turn().await?;
        shielded(self.file.fdatasync()).await.map_err(plain)
    }

    async fn allocate(&self, len: u64) -> io::Result<()> {
        let _turn = self.turn().await?;
        shielded(self.file.pre_allocate(len, true))
            .await
            .map_err(plain)
    }

    async fn truncate(&self, len: u64) -> io::Result<()> {
        let _turn = self.turn().await?;
        shielded(self.file.truncate(len)).await.map_err(plain)
    }

    async fn close(self) -> io::Result<()> {
        shielded(self.file.close()).await.map_err(plain)
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Runs `work` on a blocking thread. A panic there would leave glommio's caller waiting for ever,
/// so it is caught and becomes an error.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let caught = move || catch_unwind(AssertUnwindSafe(work));
    shielded(glommio::executor().spawn_blocking(caught))
        .await
        .unwrap_or_else(|_| Err(io::Error::other("a disk operation panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

    fn on_an_executor<T>(task: impl Future<Output = T>) -> T {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(1 << 20)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .make()
            .unwrap();
        executor.run(task)
    }

    #[test]
    fn a_panic_on_a_blocking_thread_is_an_error() {
        on_an_executor(async {
            let outcome = blocking(|| -> io::Result<()> { panic!("on purpose") }).await;
            assert_eq!(
                outcome.unwrap_err().to_string(),
                "a disk operation panicked"
            );
            assert_eq!(blocking(|| Ok(5)).await.unwrap(), 5);
        });
    }

    #[test]
    fn reads_work_although_the_first_file_is_empty() {
        let dir = std::env::temp_dir().join(format!("engine-disk-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        on_an_executor(async {
            let disk = GlommioDisk::default();
            let path = dir.join("empty");
            let file = disk.open(&path, OpenMode::CreateNew).await.unwrap();
            let mut buf = disk.alloc(4_096);
            buf.as_bytes_mut().fill(7);
            file.write_at(Rc::new(buf), 0).await.unwrap();
            assert_eq!(file.read_at(0, 4_096).await.unwrap(), vec![7; 4_096]);
        });
        assert_eq!(
            fs::read_dir(&dir).unwrap().count(),
            1,
            "no probe file is left"
        );
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_renamed_file_still_tells_its_own_length() {
        let dir = std::env::temp_dir().join(format!("engine-rename-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        on_an_executor(async {
            let disk = GlommioDisk::default();
            let (a, b) = (dir.join("a"), dir.join("b"));
            let file = disk.open(&a, OpenMode::CreateNew).await.unwrap();
            let buf = Rc::new(disk.alloc(8_192));
            file.write_at(Rc::clone(&buf), 0).await.unwrap();
            disk.rename(&a, &b).await.unwrap();
            disk.write_atomic(&a, b"short").await.unwrap();
            assert_eq!(file.size().await.unwrap(), 8_192);
            disk.remove(&b).await.unwrap();
            assert_eq!(file.size().await.unwrap(), 8_192);
        });
        fs::remove_dir_all(&dir).unwrap();
    }
}
