//! What is looked at before the first executor is made, so that errors come in plain words.
//!
//! glommio panics where `io_uring` is refused, and reports other failures only when an executor is
//! joined. Invariant: nothing is left behind; a check that passes changes nothing.

use crate::error::StartError;
use crate::file_system::{FileSystem, Kind};
use crate::probe;
use io_uring::IoUring;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// glommio refuses to make an executor below this.
const MEMLOCK_MIN: u64 = 512 * 1_024;

/// Fails when the kernel, a sysctl or a sandbox refuses `io_uring`.
///
/// # Errors
/// [`StartError::IoUringRefused`] with the likely cause.
pub fn ensure_io_uring() -> Result<(), StartError> {
    match IoUring::new(4) {
        Ok(_) => Ok(()),
        Err(source) => {
            let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let hint = io_uring_hint(&source, disabled.as_deref(), &status);
            Err(StartError::IoUringRefused { source, hint })
        }
    }
}

fn io_uring_hint(error: &io::Error, disabled: Option<&str>, status: &str) -> String {
    let filtered = status
        .lines()
        .any(|line| line.strip_prefix("Seccomp:").map(str::trim) == Some("2"));
    match (error.kind(), disabled.map(str::trim)) {
        (_, Some(level @ ("1" | "2"))) => format!(
            "The sysctl kernel.io_uring_disabled is {level}: set it to 0 \
             (`sysctl -w kernel.io_uring_disabled=0`)"
        ),
        (ErrorKind::PermissionDenied | ErrorKind::Unsupported, _) if filtered => {
            "A seccomp filter forbids it, as container engines do by default: run the container \
             with a profile that allows io_uring_setup, io_uring_enter and io_uring_register \
             (`--security-opt seccomp=…`)"
                .to_owned()
        }
        (ErrorKind::Unsupported, _) => {
            "The kernel is older than 5.8 or built without it: use a newer kernel".to_owned()
        }
        (ErrorKind::OutOfMemory, _) => {
            "The limit of locked memory is too small: raise RLIMIT_MEMLOCK (`ulimit -l`)".to_owned()
        }
        _ => "Check the kernel, the sysctl kernel.io_uring_disabled and the sandbox".to_owned(),
    }
}

/// Fails when the limit of locked memory is below what an executor needs at all. With less than
/// three times `io_memory` per shard the rings work without registered buffers, a little slower.
///
/// # Errors
/// [`StartError::MemlockTooSmall`] with the limit.
pub fn ensure_memlock() -> Result<(), StartError> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((u64::MAX, u64::MAX));
    memlock_suffices(limit)
}

fn memlock_suffices(limit: u64) -> Result<(), StartError> {
    if limit < MEMLOCK_MIN {
        return Err(StartError::MemlockTooSmall {
            limit,
            needed: MEMLOCK_MIN,
        });
    }
    Ok(())
}

/// Says when the limit of locked memory keeps the buffers of `shards` executors from being
/// registered: each pins its memory once in each of its three rings.
pub(crate) fn memlock_note(shards: u16, io_memory: usize) -> Option<String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let wanted = u64::from(shards) * 3 * io_memory as u64;
    (limit < wanted && !nix::unistd::geteuid().is_root()).then(|| {
        format!(
            "RLIMIT_MEMLOCK is {} KiB; with {} KiB the disk buffers of {shards} shards could be \
             registered with the kernel, which saves some CPU",
            limit / 1_024,
            wanted / 1_024,
        )
    })
}

/// Raises the limit of open files as far as this process may: each connection is one.
pub(crate) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Refused where a sandbox forbids it; then the limit stays as it was.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Makes `dir` when it is missing, and fails when files in it cannot be written with direct I/O or
/// are another machine's.
///
/// # Errors
/// [`StartError::DirNotWritable`], [`StartError::NetworkFileSystem`] or [`StartError::NoDirectIo`].
pub fn ensure_direct_io(dir: &Path) -> Result<(), StartError> {
    let not_writable = |source| StartError::DirNotWritable {
        dir: dir.to_owned(),
        source,
    };
    fs::create_dir_all(dir).map_err(not_writable)?;
    let FileSystem { kind, name } = FileSystem::of(dir).map_err(not_writable)?;
    if kind == Kind::Network {
        return Err(StartError::NetworkFileSystem {
            dir: dir.to_owned(),
            file_system: name,
        });
    }
    let path = probe::file_name(dir);
    let outcome = probe::write(&path).map(|()| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_DIRECT)
            .open(&path)
    });
    let removed = fs::remove_file(&path);
    match outcome.map_err(not_writable)? {
        Ok(_) => removed.map_err(not_writable),
        // All of it is memory: glommio goes without direct I/O there.
        Err(_) if kind == Kind::Memory => Ok(()),
        Err(_) => Err(StartError::NoDirectIo {
            dir: dir.to_owned(),
            file_system: name,
        }),
    }
}

/// What the operator should know of the file system of `dir`.
pub(crate) fn file_system_note(dir: &Path) -> Option<String> {
    FileSystem::of(dir).ok()?.note(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_io_uring_names_its_cause() {
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        let missing = io::Error::from(ErrorKind::Unsupported);
        let check = |error: &io::Error, disabled, status, expected: &str| {
            let hint = io_uring_hint(error, disabled, status);
            assert!(hint.contains(expected), "{hint}");
        };
        check(&denied, Some("2\n"), "", "kernel.io_uring_disabled is 2");
        check(&denied, Some("0\n"), "Seccomp:\t2\n", "seccomp filter");
        check(&missing, None, "Seccomp:\t2\n", "seccomp filter");
        check(&missing, None, "Seccomp:\t0\n", "older than 5.8");
    }

    #[test]
    fn too_little_locked_memory_is_refused_with_the_limit() {
        assert!(memlock_suffices(8 << 20).is_ok());
        let error = memlock_suffices(64 << 10).unwrap_err().to_string();
        assert!(
            error.contains("64 KiB") && error.contains("512 KiB"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_below_a_file_is_not_writable() {
        let base = std::env::temp_dir().join(format!("engine-preflight-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        ensure_direct_io(&base.join("new/store")).unwrap();
        assert_eq!(fs::read_dir(base.join("new/store")).unwrap().count(), 0);
        fs::write(base.join("file"), b"x").unwrap();
        let error = ensure_direct_io(&base.join("file/store")).unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error}");
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn a_file_system_without_direct_io_is_named() {
        let error = ensure_direct_io(Path::new("/proc/self")).unwrap_err();
        assert!(
            matches!(error, StartError::DirNotWritable { .. }),
            "{error}"
        );
    }
}
