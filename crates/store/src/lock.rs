//! The lock that keeps a second process out of a store directory.
//!
//! Owned by the program, not by a shard: taken before the first shard opens and kept until the
//! last one closed. Invariant: the lock ends with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Holds a store directory for this process.
#[derive(Debug)]
pub struct RootLock {
    _file: File,
}

/// Why a store directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockedBy {
    /// Another process holds it.
    #[error("{path} is in use by another process (pid {pid})")]
    Process {
        /// The lock file.
        path: PathBuf,
        /// The process id that it left there, or `unknown`.
        pid: String,
    },
    /// The directory cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The lock file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Locks a store's root directory, making it when missing.
///
/// # Errors
/// Another process holds it, or the directory cannot be written.
pub fn lock_root(root: &Path) -> Result<RootLock, LockedBy> {
    let path = root.join("lock");
    let failed = |source| LockedBy::Io {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(root).map_err(failed)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = holder(&mut file);
            return Err(LockedBy::Process { path, pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(failed)?;
    Ok(RootLock { _file: file })
}

/// Keeps brokers out of a store directory while it is looked at. Writes nothing; `None` when no
/// broker ever had it.
///
/// # Errors
/// A process holds it, or the lock file cannot be read.
pub fn lock_root_for_reading(root: &Path) -> Result<Option<RootLock>, LockedBy> {
    let path = root.join("lock");
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LockedBy::Io { path, source }),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(RootLock { _file: file })),
        Err(TryLockError::WouldBlock) => {
            let pid = holder(&mut file);
            Err(LockedBy::Process { path, pid })
        }
        Err(TryLockError::Error(source)) => Err(LockedBy::Io { path, source }),
    }
}

/// The process id that a holder left in the lock file.
fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let read = file.take(20).read_to_string(&mut pid);
    let known = read.is_ok() && !pid.trim().is_empty();
    if known {
        pid.trim().to_owned()
    } else {
        "unknown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_directory_names_its_holder_and_is_free_again_afterwards() {
        let root = std::env::temp_dir().join(format!("ringmq-lock-{}", std::process::id()));
        let lock = lock_root(&root).unwrap();
        let error = lock_root(&root).unwrap_err();
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        assert!(lock_root_for_reading(&root).is_err());
        drop(lock);
        let reading = lock_root_for_reading(&root).unwrap();
        assert!(reading.is_some() && lock_root_for_reading(&root).is_ok());
        assert!(
            lock_root(&root).is_err(),
            "no broker starts while it is looked at"
        );
        drop(reading);
        drop(lock_root(&root).unwrap());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
