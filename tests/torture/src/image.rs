//! File systems in files: what a campaign may cut, fill or break without touching the machine's own.
//!
//! Wants root and loop devices. Invariant: one that is dropped is unmounted.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const IMAGE_LEN: u64 = 1 << 30;

/// A file system in a file, unmounted when dropped.
pub(crate) struct Image {
    file: PathBuf,
    at: PathBuf,
    is_mounted: bool,
}

impl Image {
    /// Makes it in `dir`; `kind` is what mkfs calls it.
    pub(crate) fn make(dir: &Path, kind: &str) -> Result<Self> {
        let (file, at) = (dir.join("image"), dir.join("mnt"));
        File::create(&file)?.set_len(IMAGE_LEN)?;
        fs::create_dir_all(&at)?;
        let force = if kind == "xfs" { "-f" } else { "-F" };
        tool(
            Command::new(format!("mkfs.{kind}"))
                .args(["-q", force])
                .arg(&file),
        )?;
        Ok(Self {
            file,
            at,
            is_mounted: false,
        })
    }

    pub(crate) fn mount(&mut self) -> Result<()> {
        let mut mount = Command::new("mount");
        tool(mount.args(["-o", "loop"]).arg(&self.file).arg(&self.at))
            .context("the campaign mounts a file: it wants root and loop devices")?;
        self.is_mounted = true;
        Ok(())
    }

    /// The file that holds it.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Shuts the file system down; what its journal has not written is gone.
    pub(crate) fn cut(&self) -> Result<()> {
        tool(
            Command::new("xfs_io")
                .args(["-x", "-c", "shutdown"])
                .arg(&self.at),
        )
    }

    /// Makes the kernel find an error in it, as on a disk that gives wrong data. Of ext4.
    pub(crate) fn fail(&self) -> Result<()> {
        let mut find = Command::new("findmnt");
        let device = find.args(["-n", "-o", "SOURCE"]).arg(&self.at).output()?;
        let device = String::from_utf8_lossy(&device.stdout);
        let name = device.trim().rsplit('/').next().unwrap_or_default();
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        fs::write(&trigger, "1").with_context(|| format!("cannot write {trigger}"))
    }

    /// Repairs it; it is not mounted.
    pub(crate) fn mend(&self) -> Result<()> {
        let mut check = Command::new("e2fsck");
        let status = check.args(["-f", "-y"]).arg(&self.file).output()?.status;
        // 1: errors were there and are mended.
        ensure!(matches!(status.code(), Some(0 | 1)), "e2fsck: {status}");
        Ok(())
    }

    pub(crate) fn unmount(&mut self) -> Result<()> {
        tool(Command::new("umount").arg(&self.at))?;
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// Runs a tool of the system to its end.
pub(crate) fn tool(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
