//! What kind of file system a directory lies on, as far as direct writes care.
//!
//! A ring tries each write without waiting first, and hands it to a worker when it would wait. The
//! file systems named here keep that promise. Others take the file's lock inside the attempt (FUSE,
//! measured on Linux 6.18: `fuse_file_write_iter` below `io_submit_sqes`), so a second write on a
//! file whose first one waits for the device stops the executor. There, changes of one file go one
//! at a time.

use nix::sys::statfs::{self, FsType};
use std::io;
use std::path::Path;

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
    let kind = statfs::statfs(dir)?.filesystem_type();
    Ok(!KEEP_THEIR_PROMISE.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_kernel_is_not_trusted_to_take_writes_without_waiting() {
        assert!(holds_up_submission(Path::new("/proc")).unwrap());
    }
}
