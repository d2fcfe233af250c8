//! What kind of file system holds a directory: whether a store may lie there, and how it takes
//! direct writes.
//!
//! A ring tries each write without waiting first, and hands it to a worker when it would wait. The
//! disk file systems named here keep that promise. Others take the file's lock inside the attempt
//! (FUSE, measured on Linux 6.18: `fuse_file_write_iter` below `io_submit_sqes`), so a second write
//! on a file whose first one waits for the device stops the executor. There, changes of one file go
//! one at a time. Invariant: all is decided by the number that statfs(2) gives; the name from
//! mountinfo is for people.

use nix::sys::statfs::{self, FsType, statfs};
use std::fs;
use std::io;
use std::path::Path;

/// How far what is written there can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A disk, or something that behaves like one.
    Disk,
    /// Memory: gone when the machine restarts.
    Memory,
    /// Layers, as of a container's own files: gone with the container.
    Layers,
    /// Another machine's: two hosts may write at once, and a lock may be lost with a lease.
    Network,
}

/// A file system's kind and name, such as `ext4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

impl FileSystem {
    /// The one that holds `dir`, which exists.
    ///
    /// # Errors
    /// What statfs(2) said.
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let magic = statfs(dir)?.filesystem_type().0;
        Ok(Self {
            // The width of the field differs between targets; the numbers are of 32 bits.
            kind: kind_of(magic as u32),
            name: name_of(dir),
        })
    }

    /// What the operator should know of it, if anything.
    pub(crate) fn note(&self, dir: &Path) -> Option<String> {
        let (dir, name) = (dir.display(), &self.name);
        match self.kind {
            Kind::Disk | Kind::Network => None,
            Kind::Memory => Some(format!(
                "the data directory {dir} is on {name}, which is memory: all messages are gone when \
                 the machine restarts. Put it on a disk unless that is wanted"
            )),
            Kind::Layers => Some(format!(
                "the data directory {dir} is on {name}, the layers of a container: all messages are \
                 gone with the container. Mount a volume unless that is wanted"
            )),
        }
    }
}

/// Decides by `f_type` of statfs(2), as linux/magic.h lists it.
pub(crate) fn kind_of(magic: u32) -> Kind {
    match magic {
        // tmpfs, ramfs.
        0x0102_1994 | 0x8584_58f6 => Kind::Memory,
        // overlayfs, aufs.
        0x794c_7630 | 0x6175_6673 => Kind::Layers,
        // NFS; SMB 1, CIFS and SMB 2; AFS twice; Coda; NCP; 9P.
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x5346_414f | 0x6b41_4653 | 0x7375_7245
        | 0x564c | 0x0102_1997 => Kind::Network,
        _ => Kind::Disk,
    }
}

const KEEP_THEIR_PROMISE: [FsType; 3] = [
    statfs::EXT4_SUPER_MAGIC,
    statfs::XFS_SUPER_MAGIC,
    statfs::BTRFS_SUPER_MAGIC,
];

/// True when a write in flight on a file of this directory may hold up the next one's submission.
///
/// # Errors
/// When the directory cannot be asked.
pub(crate) fn holds_up_submission(dir: &Path) -> io::Result<bool> {
    let kind = statfs(dir)?.filesystem_type();
    Ok(!KEEP_THEIR_PROMISE.contains(&kind))
}

/// The type of the file system that holds `dir`, such as `ext4`; `unknown` when not told.
fn name_of(dir: &Path) -> String {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    name_in(&table, &dir).unwrap_or_else(|| "unknown".to_owned())
}

fn name_in(mountinfo: &str, dir: &Path) -> Option<String> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, source) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?.replace("\\040", " ");
            let kind = source.split(' ').next()?;
            dir.starts_with(&point)
                .then(|| (point.len(), kind.to_owned()))
        })
        // Of mounts at one place the last one is seen.
        .max_by_key(|(len, _)| *len)
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn the_number_of_a_file_system_decides_what_it_is() {
        for (magic, kind) in [
            (0xef53, Kind::Disk),         // ext4
            (0x5846_5342, Kind::Disk),    // XFS
            (0x9123_683e, Kind::Disk),    // btrfs
            (0x6573_5546, Kind::Disk),    // FUSE
            (0x0102_1994, Kind::Memory),  // tmpfs
            (0x794c_7630, Kind::Layers),  // overlayfs
            (0x6969, Kind::Network),      // NFS
            (0xff53_4d42, Kind::Network), // CIFS
            (0x0102_1997, Kind::Network), // 9P
        ] {
            assert_eq!(kind_of(magic), kind, "{magic:#x}");
        }
    }

    #[test]
    fn a_file_system_is_told_by_kind_and_name() {
        let proc = FileSystem::of(Path::new("/proc/self")).unwrap();
        assert_eq!((proc.kind, proc.name.as_str()), (Kind::Disk, "proc"));
        assert_eq!(proc.note(Path::new("/d")), None);
        if name_of(Path::new("/dev/shm")) == "tmpfs" {
            let memory = FileSystem::of(Path::new("/dev/shm")).unwrap();
            assert_eq!(memory.kind, Kind::Memory);
            let note = memory.note(Path::new("/dev/shm")).unwrap();
            assert!(
                note.contains("/dev/shm is on tmpfs, which is memory"),
                "{note}"
            );
        }
        assert!(FileSystem::of(Path::new("/no/such/directory")).is_err());
    }

    #[test]
    fn a_directory_of_the_kernel_is_not_trusted_to_take_writes_without_waiting() {
        assert!(holds_up_submission(Path::new("/proc")).unwrap());
    }

    #[test]
    fn the_innermost_mount_names_the_file_system() {
        let table = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                     30 22 0:25 / /srv/my\\040data rw shared:1 - nfs4 host:/x rw\n";
        let check = |dir: &str, expected: &str| {
            let kind = name_in(table, &PathBuf::from(dir));
            assert_eq!(kind.as_deref(), Some(expected));
        };
        check("/srv/my data/store", "nfs4");
        check("/srv/my", "ext4");
    }
}
