//! The data directory, looked at and taken before any part starts.
//!
//! First what only reads: is it a store's or an empty one, and may this user use every file of it?
//! Then the lock, and what needs it. Invariant: a directory that is refused is left as it was, but
//! for the lock file of a directory that is a store's or was empty.

use crate::failure::{Failure, Outcome};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat, geteuid};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::{LayoutError, LockedBy, RootLock};

/// Takes the directory of a store for this process.
///
/// # Errors
/// In words: what was found there, and what to do.
pub(crate) fn claim(settings: &store::Settings) -> Outcome<RootLock> {
    let dir = &settings.dir;
    let (count, align) = (settings.shard_count, settings.block_align);
    match store::inspect_root(dir, count, align) {
        // What cannot be read is told below: whose it is, or what the system says.
        Ok(()) | Err(LayoutError::Io { .. }) => ensure_usable(dir)?,
        Err(error) => return Err(Failure::new(error)),
    }
    let lock = match store::lock_root(dir) {
        Err(LockedBy::Io { source, .. }) => {
            let dir = dir.clone();
            return Err(rt_glommio::StartError::DirNotWritable { dir, source }.into());
        }
        other => other.map_err(Failure::new)?,
    };
    for dir in directories(dir) {
        // What cannot be removed now does no harm.
        if let Err(error) = rt_glommio::remove_stale_probes(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "old probe files stay");
        }
    }
    rt_glommio::ensure_direct_io(dir)?;
    store::prepare_root(dir, count, align).map_err(Failure::new)?;
    Ok(lock)
}

/// Fails when a file or directory of the store is closed to the user of this process.
fn ensure_usable(root: &Path) -> Outcome {
    let own = ["lock", "layout"].map(|name| root.join(name));
    let dirs = directories(root);
    let inner = dirs.iter().skip(1).flat_map(|dir| names_in(dir));
    for path in dirs.iter().cloned().chain(own).chain(inner) {
        let rights = if path.is_dir() {
            AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK
        } else {
            AccessFlags::R_OK | AccessFlags::W_OK
        };
        // A read-only file system and the like are told by what fails first on them.
        if faccessat(AT_FDCWD, &path, rights, AtFlags::AT_EACCESS) == Err(Errno::EACCES) {
            return Err(Failure::new(not_ours(root, &path)));
        }
    }
    Ok(())
}

fn not_ours(root: &Path, path: &Path) -> String {
    let (me, shown) = (geteuid(), root.display());
    let whose = fs::symlink_metadata(path).map_or_else(
        |_| "lies where this program may not look".to_owned(),
        |found| {
            let (owner, mode) = (found.uid(), found.mode() & 0o7777);
            format!("belongs to user {owner} (mode {mode:o})")
        },
    );
    format!(
        "{} {whose}; this program runs as user {me} and may not read and write it. Nothing was \
         changed. Give the whole directory to that user (chown -R {me} {shown}), or start the \
         program as its owner",
        path.display(),
    )
}

/// The root, then the directories of the shards that are there.
fn directories(root: &Path) -> Vec<PathBuf> {
    let is_shard = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("shard-")) && path.is_dir()
    };
    let mut found = vec![root.to_owned()];
    for shard in names_in(root).into_iter().filter(is_shard) {
        let inner = ["commitlog", "index", "keys"].map(|name| shard.join(name));
        found.push(shard);
        found.extend(inner);
    }
    found
}

/// Paths of what is in a directory, in order; none when it cannot be listed.
fn names_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> = entries
        .unwrap_or_default()
        .iter()
        .map(fs::DirEntry::path)
        .collect();
    paths.sort_unstable();
    paths
}
