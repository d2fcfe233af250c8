//! What can go wrong before and while shards run, in plain words that name the fix.
//!
//! Read by a person at a terminal: each message says what was tried, what the system answered and
//! what to change. Invariant: one place words them; the rest of the crate only fills in numbers.

use crate::port::Owner;
use base::ShardId;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the shards did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The kernel or a sandbox refuses `io_uring`.
    IoUringRefused {
        /// What `io_uring_setup` answered.
        source: io::Error,
        /// The likely cause and what to do about it.
        hint: String,
    },
    /// The limit of locked memory is below what the rings need.
    MemlockTooSmall {
        /// `RLIMIT_MEMLOCK` of this process, in bytes.
        limit: u64,
        /// The least that works, in bytes.
        needed: u64,
    },
    /// The file system of the data directory has no direct I/O.
    NoDirectIo {
        /// The data directory.
        dir: PathBuf,
        /// Its type as in `/proc/self/mountinfo`, such as `overlay`.
        file_system: String,
    },
    /// The data directory is another machine's.
    NetworkFileSystem {
        /// The data directory.
        dir: PathBuf,
        /// Its type as in `/proc/self/mountinfo`, such as `nfs4`.
        file_system: String,
    },
    /// The data directory cannot be made or written.
    DirNotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Somebody else listens there.
    PortInUse {
        /// The address that was asked for.
        address: SocketAddr,
        /// Who holds it, when that may be seen.
        owner: Option<Owner>,
    },
    /// The address cannot be listened on.
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// A CPU was asked for that this process may not use.
    CpuNotAllowed {
        /// The CPU.
        cpu: usize,
        /// Those it may use.
        allowed: Vec<usize>,
    },
    /// A shard did not come up.
    Shard(ShardError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUringRefused { source, hint } => {
                write!(f, "io_uring is not available here: {source}. {hint}")
            }
            Self::MemlockTooSmall { limit, needed } => write!(
                f,
                "the limit of locked memory (RLIMIT_MEMLOCK) is {} KiB, and at least {} KiB are \
                 needed. Raise it: `ulimit -l {}` in the shell, `LimitMEMLOCK=infinity` in a \
                 systemd unit, `--ulimit memlock=-1` for a container",
                limit / 1_024,
                needed / 1_024,
                needed / 1_024,
            ),
            Self::NoDirectIo { dir, file_system } => write!(
                f,
                "the file system of {} ({file_system}) does not support direct I/O (O_DIRECT). \
                 Put the data directory on ext4, XFS or btrfs; in a container mount a volume",
                dir.display(),
            ),
            Self::NetworkFileSystem { dir, file_system } => write!(
                f,
                "{} is on a network file system ({file_system}), where a lock can be lost and two \
                 brokers can write one store. Put the data directory on a disk of this machine or \
                 on a block volume",
                dir.display(),
            ),
            Self::DirNotWritable { dir, source } => write!(
                f,
                "the data directory {} cannot be written: {source}. {}",
                dir.display(),
                dir_hint(source),
            ),
            Self::PortInUse { address, owner } => match owner {
                Some(owner) => write!(
                    f,
                    "{address} is in use by {owner}. Stop that program or choose another port",
                ),
                None => write!(
                    f,
                    "{address} is in use by a program that this user may not see. `ss -ltnp` as \
                     root names it; stop it or choose another port",
                ),
            },
            Self::Listen { address, source } => {
                write!(f, "cannot listen on {address}: {source}")
            }
            Self::CpuNotAllowed { cpu, allowed } => write!(
                f,
                "CPU {cpu} is not among those this process may use: {allowed:?}. See `taskset`, \
                 the cpuset of the container, or leave the choice to the program",
            ),
            Self::Shard(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ShardError> for StartError {
    fn from(error: ShardError) -> Self {
        Self::Shard(error)
    }
}

/// A shard that ended with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardError {
    /// Which one.
    pub shard: ShardId,
    /// What it said.
    pub reason: String,
}

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}: {}", self.shard, self.reason)
    }
}

impl std::error::Error for ShardError {}

fn dir_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "Give it to the user that runs this program (chown), or choose another directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "The file system is mounted read-only: remount it, or choose another directory"
        }
        io::ErrorKind::StorageFull => "The disk is full: free some room",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "A part of that path is a file: choose another directory"
        }
        _ => "Choose another directory",
    }
}

/// The error beneath glommio's wrapping, with its number and kind kept.
pub(crate) fn plain(error: glommio::GlommioError<()>) -> io::Error {
    match error {
        // glommio's own conversion keeps the kind but drops the number, and callers need it.
        glommio::GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_error_names_a_way_out() {
        let dir = PathBuf::from("/srv/data");
        let errors = [
            (
                StartError::MemlockTooSmall {
                    limit: 65_536,
                    needed: 524_288,
                },
                "64 KiB, and at least 512 KiB",
            ),
            (
                StartError::NoDirectIo {
                    dir: dir.clone(),
                    file_system: "overlay".into(),
                },
                "(overlay) does not support direct I/O",
            ),
            (
                StartError::NetworkFileSystem {
                    dir: dir.clone(),
                    file_system: "nfs4".into(),
                },
                "/srv/data is on a network file system (nfs4)",
            ),
            (
                StartError::DirNotWritable {
                    dir,
                    source: io::ErrorKind::ReadOnlyFilesystem.into(),
                },
                "mounted read-only",
            ),
            (
                StartError::CpuNotAllowed {
                    cpu: 9,
                    allowed: vec![0, 1],
                },
                "CPU 9 is not among those this process may use: [0, 1]",
            ),
        ];
        for (error, expected) in errors {
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
