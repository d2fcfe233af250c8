//! File systems that a check mounts for itself, and takes off when it is done. Wants root.
//!
//! Invariant: what is mounted here is gone when its [`Mount`] is dropped.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of an ext4 in a file.
const IMAGE_BYTES: u64 = 256 << 20;

/// A mounted file system, taken off when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
}

impl Mount {
    /// A small ext4 from a file in `dir`, which is made when it is not there.
    pub(crate) fn ext4(dir: &Path, options: &str) -> Result<Self> {
        let image = dir.join("image");
        if !image.exists() {
            File::create(&image)?.set_len(IMAGE_BYTES)?;
            tool(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        }
        let options = format!("loop{options}");
        Self::of(dir, &["-o", &options], &image)
    }

    /// Memory.
    pub(crate) fn tmpfs(dir: &Path) -> Result<Self> {
        Self::of(dir, &["-t", "tmpfs", "-o", "size=256m"], Path::new("none"))
    }

    /// Two layers, as a container's own files are.
    pub(crate) fn overlay(dir: &Path) -> Result<Self> {
        let layer = |name: &str| -> Result<String> {
            let path = dir.join(name);
            fs::create_dir_all(&path)?;
            Ok(path.display().to_string())
        };
        let (lower, upper, work) = (layer("lower")?, layer("upper")?, layer("work")?);
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let kind = ["-t", "overlay", "-o", &options];
        Self::of(dir, &kind, Path::new("overlay"))
    }

    fn of(dir: &Path, arguments: &[&str], source: &Path) -> Result<Self> {
        let at = dir.join("mnt");
        fs::create_dir_all(&at)?;
        let mut mount = Command::new("mount");
        tool(mount.args(arguments).arg(source).arg(&at))
            .context("some checks mount file systems: run them as root")?;
        Ok(Self { at })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a broker under test may hold files for a moment longer.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Runs a tool of the system to its end; an error with its words when it fails.
pub(crate) fn tool(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
