//! The probe file: what glommio sees first on a device decides how it reads there for ever.
//!
//! At the first read-write open on a device glommio tries one polled read, per executor. On an
//! *empty* file that read ends at once and succeeds, polled I/O is taken for supported, and every
//! later read fails with `EOPNOTSUPP`. So each executor opens a file with content first; the same
//! file tells the alignment that the device really asks for.

use crate::error::plain;
use glommio::io::{DmaFile, OpenOptions};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Alignment when the device refuses less.
const ALIGNMENT_MAX: usize = 4_096;
const PROBE_BYTES: usize = 4 * ALIGNMENT_MAX;

/// A name for a probe file in `dir` that nobody else uses.
pub(crate) fn file_name(dir: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    dir.join(format!(".probe-{}-{next}", std::process::id()))
}

/// Writes a probe file and brings it to the disk, so that it has blocks to read.
pub(crate) fn write(path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?;
    file.write_all(&[0x5A; PROBE_BYTES])?;
    file.sync_all()
}

/// Opens the probe file on this executor, the first one on its device, and finds the alignment.
pub(crate) async fn open(path: &Path) -> io::Result<usize> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = options.dma_open(path).await.map_err(plain)?;
    let alignment = alignment_of(&file).await;
    let closed = file.close().await.map_err(plain);
    let alignment = alignment?;
    closed.map(|()| alignment)
}

/// What glommio believes comes from sysfs and is wrong for devices whose minor number is not that
/// of a partition of minor 0. A read at an odd multiple of the believed alignment settles it.
async fn alignment_of(file: &DmaFile) -> io::Result<usize> {
    let believed = (file.alignment() as usize).clamp(512, ALIGNMENT_MAX);
    match file.read_at_aligned(believed as u64, believed).await {
        Ok(_) => Ok(believed),
        Err(error) => {
            let error = plain(error);
            if error.raw_os_error() == Some(nix::libc::EINVAL) {
                file.read_at_aligned(ALIGNMENT_MAX as u64, ALIGNMENT_MAX)
                    .await
                    .map(|_| ALIGNMENT_MAX)
                    .map_err(plain)
            } else {
                Err(error)
            }
        }
    }
}
