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
const PREFIX: &str = ".probe-";

/// A name for a probe file in `dir` that nobody else uses.
pub(crate) fn file_name(dir: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    dir.join(format!("{PREFIX}{}-{next}", std::process::id()))
}

/// Removes the probe files that a process left in `dir` when it was killed while it started. Nobody
/// else may start a broker there meanwhile. A directory that is not there has none.
///
/// # Errors
/// The directory cannot be read, or a probe file not be removed.
pub fn remove_stale(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(is_probe_name);
        let metadata = entry.metadata()?;
        if is_ours && metadata.is_file() && metadata.len() <= PROBE_BYTES as u64 {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// `.probe-PID-NUMBER`.
fn is_probe_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.strip_prefix(PREFIX);
    let numbers = numbers.and_then(|numbers| numbers.split_once('-'));
    numbers.is_some_and(|(pid, number)| is_number(pid) && is_number(number))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_files_of_a_killed_start_go_and_nothing_else_does() {
        let dir = std::env::temp_dir().join(format!("engine-probes-{}", std::process::id()));
        fs::create_dir_all(dir.join(".probe-5-5")).unwrap();
        write(&dir.join(".probe-999999-0")).unwrap();
        write(&file_name(&dir)).unwrap();
        let kept = [
            ".probe",
            ".probe--1",
            ".probe-1-x",
            ".probe-1",
            "probe-1-1",
            "layout",
        ];
        for name in kept {
            fs::write(dir.join(name), b"kept").unwrap();
        }
        fs::write(dir.join(".probe-1-2"), vec![1; PROBE_BYTES + 1]).unwrap();
        remove_stale(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), kept.len() + 2);
        for name in kept {
            assert!(dir.join(name).exists(), "{name}");
        }
        remove_stale(&dir.join("missing")).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
